import Foundation
import Testing

@testable import Control

/// What a command printed and how it ended.
private struct Run {
    var status: Int32 = -1
    var output = ""
    var errors = ""
    var served: [Configuration] = []

    init(_ arguments: [String], environment: [String: String] = [:], serveStatus: Int32 = 0) {
        var output = ""
        var errors = ""
        var served: [Configuration] = []
        status = Program.run(
            arguments, environment: environment,
            console: Program.Console(output: { output += $0 }, errors: { errors += $0 }),
            serve: { loaded, _ in
                served.append(loaded.configuration)
                return serveStatus
            })
        (self.output, self.errors, self.served) = (output, errors, served)
    }
}

@Suite struct ProgramTests {
    @Test(arguments: [
        (["srve"], "unknown command `srve`; did you mean `sluice serve`?"),
        (["chekc"], "unknown command `chekc`; did you mean `sluice check`?"),
        (["frobnicate"], "unknown command `frobnicate`; commands: serve, check, doctor, top, version, help"),
        (["top", "--port", "1"], "unknown flag `--port` of `sluice top`"),
        (["top", "--once=1"], "`--once` takes no value"),
        (["agent"], "`sluice agent` is not available in this version"),
        (["--config", "x"], "flag `--config` before a command"),
        (["serve", "--confg", "x"], "unknown flag `--confg` of `sluice serve`; did you mean `--config`?"),
        (["serve", "--reference"], "unknown flag `--reference` of `sluice serve`"),
        (["serve", "-x"], "unknown flag `-x` of `sluice serve`; known: --config"),
        (["serve", "sluice.yaml"], "`sluice serve` takes no argument `sluice.yaml`; a file is given as --config FILE"),
        (["serve", "--config"], "`--config` needs a value"),
        (["serve", "--config="], "`--config` needs the path of a file"),
        (["serve", "--config", "a", "--config", "b"], "`--config` is given twice"),
        (["serve", "--port", "65536"], "`--port 65536`: allowed: an integer from 0 to 65535"),
        (["serve", "--port=http"], "`--port http`: allowed"),
        (["serve", "--demo=1"], "`--demo` takes no value"),
        (["serve", "--set", "log.level"], "`--set log.level`: write --set KEY=VALUE"),
        (["serve", "--set", "=x"], "`--set =x`: write --set KEY=VALUE"),
        (["version", "--config", "x"], "unknown flag `--config` of `sluice version`"),
        (["help", "serv"], "no help on `serv`; did you mean `serve`?"),
    ]) func refusesCommandLines(_ arguments: [String], _ words: String) {
        let run = Run(arguments)
        #expect(run.status == 2)
        #expect(run.errors.hasPrefix("sluice: \(words)"), "\(run.errors)")
        #expect(run.output.isEmpty && run.served.isEmpty)
    }

    @Test(arguments: [
        [], ["--help"], ["-h"], ["help"], ["help", "serve"], ["serve", "--help"], ["check", "-h"], ["doctor", "--help"],
        ["version", "--help"],
    ])
    func helpIsNoError(_ arguments: [String]) {
        let run = Run(arguments)
        #expect(run.status == 0 && run.errors.isEmpty && run.output.contains("Usage: sluice"))
        #expect(run.output.split(separator: "\n").allSatisfy { $0.count <= 120 })
    }

    @Test func overviewNamesEveryCommand() {
        for command in CommandName.allCases { #expect(Run(["--help"]).output.contains("  \(command.rawValue) ")) }
    }

    @Test func versionIsTheOneOfTheService() {
        #expect(Run(["version"]).output == "sluice dev\n")
        let environment = ["AERO_GATEWAY_VERSION": "1.2.3", "GIT_SHA": "abc", "BUILD_TIMESTAMP": "today", "PORT": "broken"]
        #expect(Run(["version"], environment: environment).output == "sluice 1.2.3 (abc) built today\n")
        #expect(Run(["--version"]).status == 0)
    }

    @Test func serveGetsTheConfiguration() {
        let run = Run(
            ["serve", "--demo", "--port=0", "--set", "log.level=silent", "--set=tcp.max_connections=3"], serveStatus: 7)
        #expect(run.status == 7)
        #expect(run.served.count == 1)
        #expect(run.served.first?.demo.enabled == true && run.served.first?.listeners[0].address.port == 0)
        #expect(run.served.first?.gateway.tcp.maxConnections == 3)
    }

    /// As harnesses of the relay start it: flags and no command.
    @Test(arguments: [
        ["--listen-addr", "127.0.0.1:4000"], ["-listen-addr=127.0.0.1:4000"], ["--max-sessions", "3", "--listen-addr=127.0.0.1:4000"],
    ])
    func flagsOfAReferenceMeanServe(_ arguments: [String]) {
        let run = Run(arguments, environment: ["AUTH_MODE": "none"], serveStatus: 7)
        #expect(run.status == 7 && run.served.first?.udp.isAlone == true && run.served.first?.listeners[0].address.port == 4000)
    }

    /// Whoever starts a relay alone expects 2, also when what makes it one is wrong.
    @Test func aRelayWithoutAUsableAddressEndsWithTwo() {
        let relay = Run(["serve", "--listen-addr", "nowhere"], environment: ["AUTH_MODE": "none"])
        #expect(relay.status == 2 && relay.errors.contains("udp.listen_address: `nowhere`"))
        let variable = Run(["serve"], environment: ["AUTH_MODE": "none", "AERO_WEBRTC_UDP_RELAY_LISTEN_ADDR": "nowhere"])
        #expect(variable.status == 2)
        let both = Run(["serve", "--listen-addr", "nowhere", "--port", "4000"], environment: ["AUTH_MODE": "none"])
        #expect(both.status == 1)
    }

    @Test func serveRefusesWithOneAndServesNothing() {
        let run = Run(["serve"], environment: ["PORT": "x", "TLS_ENABLED": "1"])
        #expect(run.status == 1 && run.served.isEmpty && run.output.isEmpty)
        let lines = run.errors.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines.allSatisfy { $0.hasPrefix("sluice: Invalid configuration: ") })
        #expect(run.errors.contains("TLS_CERT_PATH is required") && run.errors.contains("TLS_KEY_PATH is required"))
    }

    @Test func checkRefusesWithTwoAndOneLineForEachFault() {
        let file = TemporaryFile("tcp:\n  max_conections: 1\nl2: {}\n")
        let run = Run(["check", "--config", file.path])
        #expect(run.status == 2 && run.output.isEmpty)
        #expect(
            run.errors == "\(file.path):2:3: tcp.max_conections: unknown key; did you mean `tcp.max_connections`?\n"
                + "\(file.path):3:1: l2: section `l2` is not available in this version\n")
    }

    @Test func checkShowsSourcesAndMasksSecrets() {
        let secretFile = TemporaryFile("from-a-file-1\n", name: "secret")
        let file = TemporaryFile("tcp:\n  max_message: 2MiB\nsessions: { secret: from-yaml-2 }\n")
        let environments = [
            ["SESSION_SECRET": "from-env-3"], ["SESSION_SECRET_FILE": secretFile.path],
            ["AERO_GATEWAY_SESSION_SECRET": "from-own-4"],
            ["UDP_RELAY_API_KEY": "relay-key-5", "UDP_RELAY_JWT_SECRET": "relay-jwt-6"], [:],
        ]
        for environment in environments {
            let run = Run(
                ["check", "--config", file.path, "--set", "sessions.secret=from-flag-7", "--set", "log.level=debug"],
                environment: environment)
            #expect(run.status == 0)
            for secret in [
                "from-a-file-1", "from-yaml-2", "from-env-3", "from-own-4", "relay-key-5", "relay-jwt-6", "from-flag-7",
            ] {
                #expect(!run.output.contains(secret) && !run.errors.contains(secret))
            }
            #expect(run.output.contains("# secret: \"***\"  # "))
            #expect(run.output.contains("  max_message: 2MiB  # \(file.path):2\n"))
            #expect(run.output.contains("  level: debug  # flag --set log.level\n"))
            #expect(run.output.contains("  max_connections: 64\n"))
        }
        #expect(Run(["check"], environment: ["LOG_LEVEL": "warn"]).output.contains("  level: warn  # environment LOG_LEVEL\n"))
    }

    /// Passwords and tokens inside of lists and URLs are secrets too.
    @Test func checkMasksWhatHoldsSecrets() {
        let run = Run(["check"], environment: [
            "AUTH_MODE": "none", "L2_BACKEND_WS_URL": "wss://backend.test/l2?token=hunter1", "AERO_TURN_CREDENTIAL": "hunter2",
            "AERO_ICE_SERVERS_JSON": "[{\"urls\":\"turn:t.test\",\"username\":\"u\",\"credential\":\"hunter3\"}]",
        ])
        #expect(run.status == 0 && run.output.contains("ice_servers: \"***\""))
        #expect(!run.output.contains("hunter") && !run.errors.contains("hunter"))
    }

    @Test func faultsDoNotRevealSecrets() {
        let file = TemporaryFile("sessions: { secret: [hunter2] }\n")
        let run = Run(
            ["check", "--config", file.path], environment: ["SESSION_SECRET": "hunter2", "SESSION_SECRET_FILE": file.path])
        #expect(run.status == 2 && !run.errors.contains("hunter2"))
    }

    @Test func referenceListsEveryKey() {
        let text = Run(["check", "--reference"]).output
        #expect(text == Run(["help", "configuration"]).output)
        for key in ConfigurationSchema().keys {
            if key.inFile { #expect(text.contains("\n\(key.path)\n")) }
            for variable in key.variables { #expect(text.contains(variable)) }
            #expect(key.documentation.hasSuffix(".") && !key.documentation.isEmpty)
        }
    }

    @Test func certificatesAreChecked() throws {
        let certificate = TemporaryFile("no certificate", name: "tls.crt")
        let key = TemporaryFile("no key", name: "tls.key")
        let environment = ["TLS_ENABLED": "1", "TLS_CERT_PATH": certificate.path, "TLS_KEY_PATH": key.path]
        let garbage = Run(["serve"], environment: environment)
        #expect(garbage.status == 1 && garbage.errors.contains("certificate \(certificate.path) with key \(key.path): "))
        #expect(garbage.errors.split(separator: "\n").count == 1)
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl") else {
            print("skipped: a sound pair needs /usr/bin/openssl")
            return
        }
        let openssl = Process()
        openssl.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        openssl.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test", "-days", "2",
            "-keyout", key.path, "-out", certificate.path,
        ]
        openssl.standardError = FileHandle.nullDevice
        try openssl.run()
        openssl.waitUntilExit()
        #expect(openssl.terminationStatus == 0)
        let sound = Run(["serve"], environment: environment)
        #expect(sound.errors == "" && sound.served.count == 1)
        #expect(sound.served.first?.gateway.http.publicBaseURL == "https://localhost:8080")
        #expect(sound.served.first?.listeners[0].tls?.certificates.first?.certificatePath == certificate.path)
        // What is printed of it serves TLS too.
        let printed = Run(["check"], environment: environment)
        let file = TemporaryFile(printed.output)
        let again = Run(["serve", "--config", file.path])
        #expect(printed.status == 0 && again.errors == "")
        #expect(again.served.first?.listeners == sound.served.first?.listeners)
    }

    /// The built program, beside the tests.
    @Test func builtProgramBehavesTheSame() throws {
        let arguments = CommandLine.arguments
        let bundle =
            arguments.firstIndex(of: "--test-bundle-path").flatMap { $0 + 1 < arguments.count ? arguments[$0 + 1] : nil }
            ?? arguments[0]
        let program = URL(fileURLWithPath: bundle).deletingLastPathComponent().appendingPathComponent("sluice")
        guard FileManager.default.isExecutableFile(atPath: program.path) else {
            print("skipped: \(program.path) is not built")
            return
        }
        func run(_ arguments: [String], _ environment: [String: String]) throws -> (Int32, String, String) {
            let process = Process()
            let (output, errors) = (Pipe(), Pipe())
            process.executableURL = program
            process.arguments = arguments
            // A program built with the address sanitizer takes its options from here; what a process holds when it exits is no leak.
            let options = ProcessInfo.processInfo.environment.filter { $0.key == "ASAN_OPTIONS" }
            process.environment = environment.merging(options) { own, _ in own }
            process.standardOutput = output
            process.standardError = errors
            try process.run()
            let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            let errorText = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            return (process.terminationStatus, text, errorText)
        }
        #expect(try run(["--help"], [:]).0 == 0)
        #expect(
            try run(["serv"], [:]) == (
                2, "", "sluice: unknown command `serv`; did you mean `sluice serve`?\nTry `sluice --help`.\n"
            ))
        let refused = try run(["serve"], ["TCP_ALLOWED_PORTS": "80,x"])
        #expect(refused.0 == 1 && refused.1.isEmpty)
        #expect(refused.2 == "sluice: Invalid configuration: environment: Invalid TCP_ALLOWED_PORTS number `x`: not an integer\n")
        #expect(try run(["check"], ["PORT": "x"]).0 == 2)
        #expect(try run(["check"], ["SESSION_SECRET": "x"]).1.hasPrefix("shards: auto\n"))
    }
}
