// The program behind the command line.

import Engine
import Foundation

/// Entry of `sluice`.
public enum Program {
    /// Where a command prints. Tests collect the text instead.
    public struct Console {
        /// Takes text for standard output.
        public var output: (String) -> Void
        /// Takes text for standard error.
        public var errors: (String) -> Void

        /// A console made of two sinks.
        public init(output: @escaping (String) -> Void, errors: @escaping (String) -> Void) {
            self.output = output
            self.errors = errors
        }

        /// Standard output and standard error.
        public static var standard: Console {
            Console(
                output: { FileHandle.standardOutput.write(Data($0.utf8)) },
                errors: { FileHandle.standardError.write(Data($0.utf8)) })
        }
    }

    /// Runs the process's own arguments and environment.
    /// - Returns: the exit status.
    public static func main() -> Int32 {
        TLSLibrary.keepMemory()
        // A reader of our output that has gone away is an error of a write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        // The runtime's crash handler suspends every thread first, which the kernel's own workers of a ring cannot be:
        // the process would hang with its port open. A crash ends it at once, for a supervisor to see.
        for fatal in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE] { signal(fatal, SIG_DFL) }
        return run(
            Array(CommandLine.arguments.dropFirst()), environment: ProcessInfo.processInfo.environment, console: .standard,
            serve: { Server.run($0, loader: $1) })
    }

    /// Runs a command.
    /// - Parameters:
    ///   - arguments: without the program's name.
    ///   - serve: starts the data plane, with what a reload loads again, and returns its exit status.
    /// - Returns: the exit status: 0; 1 when serving or the doctor failed; 2 when the command line is not understood or
    ///   `check` found faults.
    public static func run(
        _ arguments: [String], environment: [String: String], console: Console,
        serve: (LoadedConfiguration, ConfigurationLoader) -> Int32
    ) -> Int32 {
        let invocation: Invocation
        do {
            invocation = try Invocation.parse(arguments)
        } catch {
            console.errors("sluice: \(error.message)\nTry `sluice --help`.\n")
            return 2
        }
        switch invocation {
        case .help(let command):
            console.output(HelpText.text(command))
            return 0
        case .reference:
            console.output(ConfigurationReference.text)
            return 0
        case .version:
            console.output(versionLine(environment))
            return 0
        case .check(let options): return check(options, environment, console)
        case .doctor(let options): return doctor(options, environment, console)
        case .top(let options): return top(options, environment, console)
        case .serve(let options): return self.serve(options, environment, console, serve)
        }
    }

    private static func loader(_ options: Invocation.Options, _ environment: [String: String]) -> ConfigurationLoader {
        var loader = ConfigurationLoader()
        loader.filePath = options.configurationPath
        loader.assignments = options.assignments
        loader.port = options.port
        loader.demonstration = options.demonstration
        loader.environment = environment
        return loader
    }

    private static func serve(
        _ options: Invocation.Options, _ environment: [String: String], _ console: Console,
        _ serve: (LoadedConfiguration, ConfigurationLoader) -> Int32
    ) -> Int32 {
        do {
            let loader = loader(options, environment)
            let loaded = try loader.load()
            let configuration = loaded.configuration
            let descriptors = DescriptorLimit.raise(for: configuration.limits, shards: Doctor.shardCount(configuration.shards))
            var warnings = loaded.warnings
            if descriptors.allowed < min(descriptors.needed, DescriptorLimit.sensible) {
                warnings.append("only \(descriptors.allowed) descriptors may be opened; `sluice doctor` tells the remedy")
            }
            let logger = Logger(level: configuration.log.level, format: configuration.log.format)
            for warning in warnings { logger.log(.warn, warning) }
            for warning in loaded.relayWarnings { logger.log(warning) }
            return serve(loaded, loader)
        } catch {
            for fault in error.faults { console.errors("sluice: Invalid configuration: \(fault)\n") }
            return error.ofRelay ? 2 : 1
        }
    }

    private static func check(_ options: Invocation.Options, _ environment: [String: String], _ console: Console) -> Int32 {
        do {
            let loaded = try loader(options, environment).load()
            for warning in loaded.warnings + loaded.relayWarnings.map({ "\($0.text) (\($0.code))" }) {
                console.output("# warning: \(warning)\n")
            }
            console.output(loaded.effectiveText)
            return 0
        } catch {
            for fault in error.faults { console.errors("\(fault)\n") }
            return 2
        }
    }

    private static func doctor(_ options: Invocation.Options, _ environment: [String: String], _ console: Console) -> Int32 {
        let configuration: Configuration
        do {
            configuration = try loader(options, environment).load().configuration
        } catch {
            for fault in error.faults { console.errors("sluice: Invalid configuration: \(fault)\n") }
            return 1
        }
        let findings = Doctor.examine(configuration)
        for finding in findings { console.output(finding.line + "\n") }
        return findings.contains { $0.verdict == .fail } ? 1 : 0
    }

    private static func top(_ options: Invocation.TopOptions, _ environment: [String: String], _ console: Console) -> Int32 {
        do throws(AdminClient.Failure) {
            let token = try adminToken(options, environment)
            guard let client = AdminClient(url: options.url, token: token) else {
                throw AdminClient.Failure(
                    message: "`--admin \(Quantity.excerpt(options.url))`: allowed: http://IP:PORT, for example http://127.0.0.1:9901")
            }
            let command = TopCommand(client: client)
            let isTerminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1
            if options.once || !isTerminal { console.output(try command.snapshot(columns: 120)) } else { try command.run() }
            return 0
        } catch {
            console.errors("sluice: \(error.message)\n")
            return 1
        }
    }

    /// The token of the flag's file, or of the environment; nil when there is none.
    private static func adminToken(_ options: Invocation.TopOptions, _ environment: [String: String])
        throws(AdminClient.Failure) -> Masked?
    {
        var token = environment["SLUICE_ADMIN_TOKEN"] ?? ""
        if let path = options.tokenPath ?? environment["SLUICE_ADMIN_TOKEN_FILE"], !path.isEmpty {
            do throws(SmallFile.Refusal) {
                token = try SmallFile.text(path)
            } catch {
                throw AdminClient.Failure(message: error.message)
            }
        }
        token = Quantity.trimmed(token)
        return token.isEmpty ? nil : Masked(token)
    }

    private static func versionLine(_ environment: [String: String]) -> String {
        var loader = ConfigurationLoader()
        let names = [
            "AERO_GATEWAY_VERSION", "AERO_GATEWAY_GIT_SHA", "GIT_SHA", "AERO_GATEWAY_BUILD_TIMESTAMP", "BUILD_TIMESTAMP",
        ]
        loader.environment = environment.filter { names.contains($0.key) }
        guard let version = try? loader.load().configuration.gateway.version else { return "sluice dev\n" }
        let revision = version.gitRevision == version.version ? "" : " (\(version.gitRevision))"
        return "sluice \(version.version)\(revision)\(version.builtAt.isEmpty ? "" : " built \(version.builtAt)")\n"
    }
}
