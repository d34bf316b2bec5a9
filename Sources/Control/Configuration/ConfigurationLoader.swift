// From layers to a configuration.
//
// Theory of operation. The layers are applied to one `ConfigurationDraft` in the order of their precedence, so that a later one overrides:
//
//     defaults < demonstration < flags < file < environment < flags of the UDP relay
//
// The relay's own flags come last because whoever starts it as a relay puts everything into the environment and corrects that with flags.
// The first three after the defaults are the same shape, a tree of YAML nodes: a flag `--set a.b=c` is the tree {a: {b: c}}. Every
// fault is collected and loading goes on with the value left out, so that one run shows everything that is wrong; a
// configuration comes out only when there was none.

import Policy

/// Reads and checks configurations.
public struct ConfigurationLoader {
    /// A `--set key=value` of the command line.
    public struct Assignment: Sendable, Equatable {
        /// Dotted path, such as `log.level`.
        public var key: String
        /// YAML: `8080`, `[80, 443]`, `"text"`.
        public var value: String
        /// What the user typed, for messages.
        public var flag: String
        /// `key` is a flag of the UDP relay, without dashes, and `value` is written as its variable would be.
        public var isRelayFlag = false

        /// An assignment of `value` to `key`.
        public init(key: String, value: String, flag: String) {
            self.key = key
            self.value = value
            self.flag = flag
        }
    }

    /// The file to read; nil when there is none.
    public var filePath: String?
    /// `--set`, in order.
    public var assignments: [Assignment] = []
    /// The port of `--port`, for the first listener.
    public var port: UInt16?
    /// The process's variables; those the schema does not know are ignored.
    public var environment: [String: String] = [:]
    /// Start from the demonstration instead of from the plain defaults.
    public var demonstration = false
    /// Used when no session secret is configured: pass the present one on a reload, so that sessions survive it.
    public var fallbackSecret: [UInt8]?

    let schema = ConfigurationSchema()

    /// A loader of the defaults alone.
    public init() {}

    /// The configuration of all layers.
    public func load() throws(ConfigurationFaults) -> LoadedConfiguration {
        var folding = ConfigurationFolding(schema: schema)
        if demonstration { folding.apply(text: Self.demonstrationText) { _ in .demonstration } }
        for assignment in assignments where !assignment.isRelayFlag { folding.apply(assignment) }
        apply(flagsLast: false, to: &folding)
        if let port { folding.apply(firstListenerPort: port, .flag("--port")) }
        if let filePath { folding.applyFile(filePath) }
        folding.apply(environment: environment)
        apply(flagsLast: true, to: &folding)
        return try folding.finish(fallbackSecret: fallbackSecret)
    }

    /// Applies the flags a reference has. The relay's win over its variables, the others yield to theirs.
    private func apply(flagsLast: Bool, to folding: inout ConfigurationFolding) {
        for assignment in assignments where assignment.isRelayFlag {
            guard let key = schema.keys.first(where: { $0.flags.contains(assignment.key) }), key.isRelayed == flagsLast else { continue }
            folding.apply(relayFlag: assignment, .flag(assignment.flag))
        }
    }

    /// What `sluice serve --demo` starts from. `demo.enabled` permits the demonstration service and nothing else.
    static let demonstrationText = """
        listeners: [{ name: public, address: "127.0.0.1:8080" }]
        demo: { enabled: true }
        """
}

/// A valid configuration with what should be said about it.
public struct LoadedConfiguration: Sendable {
    /// What is in force.
    public var configuration: Configuration
    /// Lines worth a warning in the log: valid, but probably not meant.
    public var warnings: [String]
    /// The same of the UDP relay, each with the code its operators look for.
    public var relayWarnings: [RelayWarning]
    /// The effective configuration as YAML, secrets masked, with the source of every value that is not a default.
    public var effectiveText: String
    /// Files that were read: the configuration, mounted secrets, certificates. When one changes, the configuration may have changed.
    public var filesRead: [String] { files.map(\.path) }
    /// The same with what each was before it was read.
    let files: [SeenFile]
    /// Every value as it was written, for comparison with another configuration.
    let draft: ConfigurationDraft
}

/// The fold: a draft and the faults so far.
struct ConfigurationFolding {
    let schema: ConfigurationSchema
    var draft = ConfigurationDraft()
    var faults: [ConfigurationFault] = []
    var files: [SeenFile] = []
    /// Names of the variables that are set.
    var environmentNames: [String] = []

    init(schema: ConfigurationSchema) { self.schema = schema }

    typealias SourceOf = (TextPosition) -> ConfigurationSource

    /// Notes a file that is about to be read: a change while it is must show later.
    mutating func willRead(_ path: String) { files.append(SeenFile(path: path, identity: FileIdentity.of(path))) }

    // MARK: Trees

    mutating func applyFile(_ path: String) {
        willRead(path)
        do {
            let bytes = try SmallFile.read(path, limit: YAMLLimits().bytes)
            apply(bytes: bytes) { .file(path, $0) }
        } catch {
            faults.append(ConfigurationFault(source: nil, key: "", message: error.message))
        }
    }

    mutating func apply(text: String, _ source: SourceOf) { apply(bytes: Array(text.utf8), source) }

    private mutating func apply(bytes: [UInt8], _ source: SourceOf) {
        do {
            guard let root = try YAMLDocument.parse(bytes) else { return }
            apply(root: root, source)
        } catch {
            faults.append(ConfigurationFault(source: source(error.position), key: "", message: error.message))
        }
    }

    mutating func apply(_ assignment: ConfigurationLoader.Assignment) {
        let source = ConfigurationSource.flag(assignment.flag)
        do {
            guard var node = try YAMLDocument.parse(assignment.value) else { return }
            for name in assignment.key.split(separator: ".", omittingEmptySubsequences: false).reversed() {
                node = YAMLNode(
                    content: .mapping([YAMLEntry(key: String(name), position: node.position, value: node)]),
                    position: node.position)
            }
            apply(root: node) { _ in source }
        } catch {
            faults.append(ConfigurationFault(source: source, key: assignment.key, message: error.message))
        }
    }

    mutating func apply(firstListenerPort port: UInt16, _ source: ConfigurationSource) {
        guard var address = ListenAddress(draft.listeners[0].address) else { return }
        address.port = port
        draft.listeners[0].address = "\(address)"
        draft.sources["listeners"] = source
    }

    private mutating func apply(root: YAMLNode, _ source: SourceOf) {
        guard case .mapping(let entries) = root.content else {
            if root.isNull { return }
            faults.append(
                ConfigurationFault(
                    source: source(root.position), key: "",
                    message: "\(root.shape) where the sections of a configuration belong"))
            return
        }
        var known: [YAMLEntry] = []
        for var entry in entries {
            if let name = ConfigurationSchema.sectionAliases[entry.key] {
                if entries.contains(where: { $0.key == name }) {
                    refuse(source(entry.position), entry.key, "another name of section `\(name)`, which is there too")
                    continue
                }
                entry.key = name
            }
            known.append(entry)
        }
        var changed = draft  // folding notes faults and sources in self, so the draft cannot be lent out of it
        fold(known, into: &changed, of: schema.root, at: "", source)
        changed.sources = draft.sources
        draft = changed
    }

    /// Stores the value of a node, or records everything that is wrong with it.
    mutating func set<Root>(
        _ key: ConfigurationKey<Root>, of node: YAMLNode, in root: inout Root, path: String,
        _ source: SourceOf
    ) -> Bool {
        do {
            let value = try key.type.value(of: node)
            let refused = key.refusedItems(value)
            if case .sequence(let items) = node.content {
                for item in refused { refuse(source(items[item.index].position), path, Self.words(ValueRefusal(item.message))) }
            } else if let first = refused.first {
                refuse(source(node.position), path, Self.words(ValueRefusal(first.message)))
            }
            guard refused.isEmpty else { return false }
            try key.store(&root, value)
            return true
        } catch {
            refuse(source(node.position), path, Self.words(error))
            return false
        }
    }

    /// The content of a mounted secret.
    mutating func secret(at path: String) throws(ValueRefusal) -> String {
        willRead(path)
        return try Self.read(path)
    }

    private static func read(_ path: String) throws(ValueRefusal) -> String {
        do { return try SmallFile.text(path) } catch { throw ValueRefusal(": \(error.message)") }
    }

    /// A refusal's words without the separator that follows a variable's name.
    static func words(_ refusal: ValueRefusal) -> String {
        var message = Substring(refusal.message)
        while let first = message.first, first == ":" || first == " " { message.removeFirst() }
        return String(message)
    }

    mutating func refuse(_ source: ConfigurationSource?, _ key: String, _ message: String) {
        let fault = ConfigurationFault(source: source, key: key, message: message)
        // A variable may set two keys, and is wrong once.
        if !faults.contains(where: { $0.description == fault.description }) { faults.append(fault) }
    }

    // MARK: Environment

    /// Applies every variable of the schema; others are none of our business.
    mutating func apply(environment: [String: String]) {
        environmentNames = environment.filter { !Quantity.trimmed($0.value).isEmpty }.map(\.key)
        for key in schema.keys {
            for variable in key.variables {
                if apply(variable, of: key, in: environment) { break }
            }
        }
    }

    /// - Returns: whether the variable decided the key.
    private mutating func apply(_ variable: String, of key: ConfigurationSchema.Key, in environment: [String: String]) -> Bool {
        let path = environment[variable + "_FILE"].map { Quantity.trimmed($0) } ?? ""
        var source = ConfigurationSource.environment(variable)
        var value = environment[variable]
        do throws(ValueRefusal) {
            if !path.isEmpty {
                source = .environmentFile(variable, path: path)
                if let value, !Quantity.trimmed(value).isEmpty {
                    throw ValueRefusal(": \(variable) and \(variable)_FILE are both set")
                }
                value = try secret(at: path)
            }
            guard let value else { return false }
            let text = Quantity.trimmed(value)
            if text.isEmpty {
                guard key.blankIsValue else { return false }
            }
            let parsed = key.isRelayed ? try key.type.value(ofRelayText: text) : try key.type.value(ofVariable: text)
            let refused = key.refusedItems(parsed)
            for item in refused { refuse(source, key.path, "Invalid \(variable)\(item.message)") }
            guard refused.isEmpty else { return true }
            try key.store(&draft, parsed)
            draft.sources[key.path] = source
        } catch {
            refuse(source, key.path, "Invalid \(variable)\(error.message)")
        }
        return true
    }
}
