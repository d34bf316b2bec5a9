import Engine
import HTTP
import Policy
import Synchronization

/// What the admin interface needs of the process, whatever the configuration: metrics, shards, and the control thread's ear.
final class AdminHub: Sendable {
    /// Commands that wait for the control thread. More than a few is somebody hammering.
    static let commandsMaximum = 64

    let metrics: MetricsRegistry
    private let inboxes = Mutex<[Inbox]>([])
    private let commands = Mutex<[AdminExchange]>([])
    private let draining = Atomic<Bool>(false)
    private let longestLifetimeSeconds = Atomic<Int>(0)

    init(metrics: MetricsRegistry) { self.metrics = metrics }

    /// Whether the process drains.
    var isDraining: Bool {
        get { draining.load(ordering: .relaxed) }
        set {
            draining.store(newValue, ordering: .relaxed)
            metrics.isDraining = newValue
        }
    }

    /// The longest lifetime sessions of this process have had: a cookie issued before a reload shortened it still has it.
    func longestLifetime(including seconds: Int) -> Int {
        longestLifetimeSeconds.max(seconds, ordering: .relaxed).newValue
    }

    /// Adds the next shard's inbox. All are added before the first shard serves.
    func add(_ inbox: Inbox) { inboxes.withLock { $0.append(inbox) } }

    /// The inboxes of all shards by number.
    var shards: [Inbox] { inboxes.withLock { $0 } }

    /// Leaves a command for the control thread; false when too many wait.
    func leave(_ command: AdminExchange) -> Bool {
        commands.withLock { commands in
            guard commands.count < Self.commandsMaximum else { return false }
            commands.append(command)
            return true
        }
    }

    /// Takes the commands. The control thread.
    func takeCommands() -> [AdminExchange] {
        commands.withLock { commands in
            defer { commands = [] }
            return commands
        }
    }
}

/// The admin interface under one configuration.
final class AdminShared: Sendable {
    let hub: AdminHub
    let access: AdminAccess
    let generation: UInt64
    /// Body of `/config`, as JSON and as YAML; secrets are masked already.
    let configurationDocument: String
    let configurationText: String
    private let limits: SharedLimits
    private let sessionLifetimeSeconds: Int

    init(hub: AdminHub, configuration: Configuration, loaded: LoadedConfiguration, listeners: [ListenerPlan], generation: UInt64,
         limits: SharedLimits) {
        self.hub = hub
        self.limits = limits
        sessionLifetimeSeconds = hub.longestLifetime(including: configuration.gateway.session.lifetimeSeconds)
        self.generation = generation
        access = AdminAccess(token: configuration.admin.token?.revealed)
        configurationText = loaded.effectiveText
        configurationDocument = ConfigurationDocument(loaded: loaded, listeners: listeners, generation: generation).text
    }
}

extension AdminShared {
    /// Ends a session everywhere. It stays revoked as long as any cookie this process issued could live. False when no more can be
    /// revoked.
    func revoke(sessionID: String) -> Bool {
        let now = Double(WallClock.nowMilliseconds) / 1000
        return limits.revoke(sessionID: sessionID, expirySeconds: now + Double(sessionLifetimeSeconds))
    }
}

/// The effective configuration as JSON, secrets masked.
struct ConfigurationDocument {
    let loaded: LoadedConfiguration
    let listeners: [ListenerPlan]
    let generation: UInt64

    var text: String {
        let keys = ConfigurationSchema().keys
        let sources = loaded.draft.sources.sorted { $0.key < $1.key }
        return JSONDocument.object([
            ("generation", .count(generation)),
            ("files", JSONDocument(loaded.filesRead)),
            ("listeners", .array(listeners.map(listener))),
            ("values", .object(keys.map { ($0.path, value($0)) })),
            ("sources", .object(sources.map { ($0.key, .string($0.value.summary)) })),
            ("warnings", JSONDocument(loaded.warnings)),
        ]).text
    }

    private func listener(_ plan: ListenerPlan) -> JSONDocument {
        .object([
            ("name", .string(plan.name)), ("address", .string("\(plan.address)")), ("serves", .string("\(plan.kind)")),
            ("scheme", .string(plan.security == nil ? "http" : "https")),
        ])
    }

    /// As a file would have it: amounts are texts with their unit.
    private func value(_ key: ConfigurationSchema.Key) -> JSONDocument {
        let value = key.printed(loaded.draft)
        if key.isSecret { return value == .text("") ? .null : "***" }
        switch value {
        case .flag(let flag): return .flag(flag)
        case .list(let items): return JSONDocument(items)
        case .pairs(let pairs): return .object(pairs.map { ($0.name, .string($0.value)) })
        case .text(let text): return .string(text)
        case .number(let number): return .fraction(number)
        case .integer(let amount):
            let text = key.type.fileText(value)
            return text == "\(amount)" ? .number(amount) : .string(text)
        }
    }
}
