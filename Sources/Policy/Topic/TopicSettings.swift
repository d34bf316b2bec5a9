// What a route says about topics (`authz`), read once at load.

import Wire

/// Topic rights of a route.
public struct TopicSettings: Sendable, Equatable {
    /// Where rights come from; several may be combined.
    public struct Modes: OptionSet, Sendable, Hashable {
        /// One bit for each source.
        public let rawValue: UInt8

        /// A set of sources.
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// OAuth 2 scopes as RabbitMQ reads them.
        public static let scopes = Modes(rawValue: 1)
        /// A claim `acl` as EMQX reads it.
        public static let acl = Modes(rawValue: 2)
        /// Rules of the configuration.
        public static let rules = Modes(rawValue: 4)
    }

    /// How several sources are combined.
    public enum Combination: String, Sendable, Hashable, CaseIterable {
        /// Each must allow.
        case all
        /// One must allow.
        case any
    }

    /// What becomes of a client that does what it may not.
    public enum Denial: String, Sendable, Hashable, CaseIterable {
        /// The packet is dropped and answered.
        case drop
        /// The session ends.
        case disconnect
    }

    /// None: topics are not judged.
    public var modes: Modes
    /// Default: each source must allow.
    public var combination: Combination
    /// Default: drop.
    public var denial: Denial
    /// Scopes.
    public var scopes: TopicScopeSettings
    /// Claim with the EMQX list.
    public var aclClaim: JSONPointer
    /// Rules of the configuration.
    public var rules: [TopicRule]
    /// Whether claim values may contain `/`, and so stand for several levels.
    public var allowsSlash: Bool

    /// Settings; without arguments topics are not judged.
    public init(
        modes: Modes = [], combination: Combination = .all, denial: Denial = .drop,
        scopes: TopicScopeSettings = TopicScopeSettings(), aclClaim: JSONPointer = TopicSettings.defaultACLClaim, rules: [TopicRule] = [],
        allowsSlash: Bool = false
    ) {
        self.modes = modes
        self.combination = combination
        self.denial = denial
        self.scopes = scopes
        self.aclClaim = aclClaim
        self.rules = rules
        self.allowsSlash = allowsSlash
    }

    /// `/acl`.
    public static let defaultACLClaim = TopicSettings.pointer("/acl")

    static func pointer(_ text: String) -> JSONPointer {
        guard let pointer = JSONPointer(text) else { preconditionFailure("a pointer of ours is well formed") }
        return pointer
    }
}

/// How scopes are read.
public struct TopicScopeSettings: Sendable, Equatable {
    /// What stands in front of every scope that counts, with its dot; empty: nothing.
    public var prefix: String
    /// The claim with the scopes; nil: `scope` and `scp`.
    public var claim: JSONPointer?
    /// The virtual host this route leads to.
    public var vhost: String
    /// The exchange its topics belong to.
    public var exchange: String
    /// Words in the claim that stand for lists of scopes.
    public var aliases: [String: [String]]

    /// Settings.
    public init(
        prefix: String = "", claim: JSONPointer? = nil, vhost: String = "/", exchange: String = "amq.topic",
        aliases: [String: [String]] = [:]
    ) {
        self.prefix = prefix
        self.claim = claim
        self.vhost = vhost
        self.exchange = exchange
        self.aliases = aliases
    }
}

/// A rule of the configuration: who it is for, and what they may do.
public struct TopicRule: Sendable, Equatable {
    /// All must hold; none: everybody.
    public var conditions: [ClaimCondition]
    /// Filters that may be published to.
    public var publish: [TopicTemplate]
    /// Filters that may be subscribed to.
    public var subscribe: [TopicTemplate]

    /// A rule.
    public init(when conditions: [ClaimCondition] = [], publish: [TopicTemplate] = [], subscribe: [TopicTemplate] = []) {
        self.conditions = conditions
        self.publish = publish
        self.subscribe = subscribe
    }
}
