// A command line, understood.

/// What the user asked for.
public enum Invocation: Equatable {
    /// What `serve` and `check` take.
    public struct Options: Equatable {
        /// `--config`.
        public var configurationPath: String?
        /// `--set`, in the order given.
        public var assignments: [ConfigurationLoader.Assignment] = []
        /// `--port`.
        public var port: UInt16?
        /// `--demo`.
        public var demonstration = false

        /// No flag at all.
        public init() {}
    }

    /// What `top` takes.
    public struct TopOptions: Equatable {
        /// `--admin`.
        public var url = "http://127.0.0.1:9901"
        /// `--token-file`.
        public var tokenPath: String?
        /// `--once`.
        public var once = false

        /// No flag at all.
        public init() {}
    }

    case serve(Options)
    case check(Options)
    /// `check --reference` and `help configuration`.
    case reference
    case doctor(Options)
    case top(TopOptions)
    case version
    /// The help of one command, or the overview.
    case help(CommandName?)
}

/// The commands of this version.
public enum CommandName: String, CaseIterable, Sendable {
    case serve, check, doctor, top, version, help

    /// Commands of the complete product that this version does not have.
    static let unavailable = ["controller", "agent"]
}

/// Why a command line was not understood. One line.
public struct UsageError: Error, Equatable {
    /// What is wrong and what was probably meant.
    public var message: String
}

extension Invocation {
    /// Understands the arguments behind the program's name.
    public static func parse(_ arguments: [String]) throws(UsageError) -> Invocation {
        guard let first = arguments.first else { return .help(nil) }
        switch first {
        case "-h", "--help": return .help(nil)
        case "-V", "--version": return .version
        default: break
        }
        guard let command = CommandName(rawValue: first) else {
            // The systems that are taken over have no commands: their flags mean `serve`.
            var reader = ArgumentReader(command: .serve, rest: arguments[...])
            guard reader.isReferenceFlag(first) else { throw unknownCommand(first) }
            return try reader.read()
        }
        var reader = ArgumentReader(command: command, rest: arguments.dropFirst())
        return try reader.read()
    }

    private static func unknownCommand(_ name: String) -> UsageError {
        if CommandName.unavailable.contains(name) {
            return UsageError(message: "`sluice \(name)` is not available in this version")
        }
        if name.hasPrefix("-") { return UsageError(message: "flag `\(name)` before a command; write `sluice COMMAND \(name)`") }
        let hint =
            NearestName.find(name, among: CommandName.allCases.map(\.rawValue)).map { "did you mean `sluice \($0)`?" }
            ?? "commands: \(CommandName.allCases.map(\.rawValue).joined(separator: ", "))"
        return UsageError(message: "unknown command `\(Quantity.excerpt(name))`; \(hint)")
    }
}

/// Reads the flags of one command.
private struct ArgumentReader {
    let command: CommandName
    var rest: ArraySlice<String>
    var options = Invocation.Options()
    var wantsReference = false
    var wantsCheck = false
    var top = Invocation.TopOptions()

    init(command: CommandName, rest: ArraySlice<String>) {
        self.command = command
        self.rest = rest
    }

    private var flags: [String] {
        switch command {
        case .serve: ["--config", "--set", "--port", "--demo", "--help"]
        case .check: ["--config", "--set", "--port", "--demo", "--reference", "--help"]
        case .doctor: ["--config", "--set", "--port", "--demo", "--help"]
        case .top: ["--admin", "--token-file", "--once", "--help"]
        case .version, .help: ["--help"]
        }
    }

    mutating func read() throws(UsageError) -> Invocation {
        while let argument = rest.popFirst() {
            if argument == "-h" || argument == "--help" { return .help(command) }
            guard argument.hasPrefix("-"), argument != "-" else {
                if command == .help { return try topic(argument) }
                throw UsageError(
                    message:
                        "`sluice \(command.rawValue)` takes no argument `\(Quantity.excerpt(argument))`; a file is given as --config FILE"
                )
            }
            try readFlag(argument)
        }
        switch command {
        case .serve: return wantsCheck ? .check(options) : .serve(options)
        case .check: return wantsReference ? .reference : .check(options)
        case .doctor: return .doctor(options)
        case .top: return .top(top)
        case .version: return .version
        case .help: return .help(nil)
        }
    }

    private mutating func readFlag(_ argument: String) throws(UsageError) {
        let equals = argument.firstIndex(of: "=")
        let name = String(argument[..<(equals ?? argument.endIndex)])
        if try readRelayFlag(name, equals.map { String(argument[argument.index(after: $0)...]) }) { return }
        if command == .serve, argument == Self.checkFlag {
            wantsCheck = true
            return
        }
        guard flags.contains(name) else { throw unknownFlag(name) }
        switch name {
        case "--demo", "--reference", "--once":
            if equals != nil { throw UsageError(message: "`\(name)` takes no value") }
            switch name {
            case "--demo": options.demonstration = true
            case "--once": top.once = true
            default: wantsReference = true
            }
        default:
            let value: String
            if let equals {
                value = String(argument[argument.index(after: equals)...])
            } else {
                guard let next = rest.popFirst() else { throw UsageError(message: "`\(name)` needs a value") }
                value = next
            }
            try set(name, value)
        }
    }

    /// The flags of the UDP relay: one for each of its variables, with one dash or two.
    private var relayFlags: [(name: String, isSwitch: Bool)] {
        guard command == .serve || command == .check || command == .doctor else { return [] }
        return ConfigurationSchema().keys.flatMap { key in key.flags.map { ($0, key.isSwitch) } }
    }

    /// Checks what would be served, as the command `check`.
    private static let checkFlag = "--check-config"

    /// Whether an argument is a flag of a system that is taken over, with or without its value.
    func isReferenceFlag(_ argument: String) -> Bool {
        if argument == Self.checkFlag { return true }
        guard argument.hasPrefix("-") else { return false }
        let name = argument.drop { $0 == "-" }.prefix { $0 != "=" }
        return relayFlags.contains { $0.name == name }
    }

    private mutating func readRelayFlag(_ name: String, _ value: String?) throws(UsageError) -> Bool {
        let bare = String(name.dropFirst(name.hasPrefix("--") ? 2 : 1))
        guard let flag = relayFlags.first(where: { $0.name == bare }) else { return false }
        guard let text = value ?? (flag.isSwitch ? "true" : rest.popFirst()) else { throw UsageError(message: "`\(name)` needs a value") }
        var assignment = ConfigurationLoader.Assignment(key: bare, value: text, flag: name)
        assignment.isRelayFlag = true
        options.assignments.append(assignment)
        return true
    }

    private mutating func set(_ name: String, _ value: String) throws(UsageError) {
        switch name {
        case "--admin": top.url = value
        case "--token-file": top.tokenPath = value
        case "--config":
            if value.isEmpty { throw UsageError(message: "`--config` needs the path of a file") }
            if options.configurationPath != nil {
                throw UsageError(message: "`--config` is given twice; one file holds the configuration")
            }
            options.configurationPath = value
        case "--port":
            guard let number = Quantity.integer(value), let port = UInt16(exactly: number) else {
                throw UsageError(message: "`--port \(Quantity.excerpt(value))`: allowed: an integer from 0 to 65535")
            }
            options.port = port
        default:
            guard let equals = value.firstIndex(of: "="), equals != value.startIndex else {
                throw UsageError(
                    message: "`--set \(Quantity.excerpt(value))`: write --set KEY=VALUE, for example --set log.level=debug")
            }
            let key = String(value[..<equals])
            options.assignments.append(.init(key: key, value: String(value[value.index(after: equals)...]), flag: "--set \(key)"))
        }
    }

    private func unknownFlag(_ name: String) -> UsageError {
        let hint =
            NearestName.find(name, among: flags + relayFlags.map { "--\($0.name)" }).map { "did you mean `\($0)`?" }
            ?? "known: \(flags.joined(separator: ", "))"
        return UsageError(message: "unknown flag `\(Quantity.excerpt(name))` of `sluice \(command.rawValue)`; \(hint)")
    }

    private func topic(_ name: String) throws(UsageError) -> Invocation {
        if name == "configuration" { return .reference }
        if let command = CommandName(rawValue: name) { return .help(command) }
        let topics = CommandName.allCases.map(\.rawValue) + ["configuration"]
        let hint =
            NearestName.find(name, among: topics).map { "did you mean `\($0)`?" } ?? "topics: \(topics.joined(separator: ", "))"
        throw UsageError(message: "no help on `\(Quantity.excerpt(name))`; \(hint)")
    }
}
