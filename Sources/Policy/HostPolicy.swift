// Allow and deny lists for target hosts. Deny overrides allow.

/// The host rules of the egress policy.
public struct HostPolicy: Sendable, Equatable {
    /// Empty admits every host.
    public let allowed: [HostPattern]
    /// Wins over `allowed`.
    public let blocked: [HostPattern]
    /// Whether targets written as an address are refused.
    public let requiresName: Bool

    /// Rules from parsed patterns.
    public init(allowed: [HostPattern] = [], blocked: [HostPattern] = [], requiresName: Bool = false) {
        self.allowed = allowed
        self.blocked = blocked
        self.requiresName = requiresName
    }

    /// What the rules say about one host.
    public enum Decision: Hashable, Sendable {
        case allow
        case malformed
        case literalForbidden
        case blocked
        case notAllowed
    }

    /// Decides in this order: malformed, literal forbidden, blocked, not allowed.
    public func decide(_ host: TargetHost) -> Decision {
        switch host {
        case .malformed:
            return .malformed
        case .address where requiresName:
            return .literalForbidden
        case .address, .name:
            if blocked.contains(where: { $0.matches(host) }) { return .blocked }
            return admits(host) ? .allow : .notAllowed
        }
    }

    /// Whether the allowlist alone admits a host.
    public func admits(_ host: TargetHost) -> Bool {
        allowed.isEmpty || allowed.contains { $0.matches(host) }
    }

    /// Whether a resolved address is itself denied by an address pattern, so that a name cannot lead around it.
    public func blocks(_ resolved: IPAddress) -> Bool {
        blocked.contains { $0.matches(.address(resolved)) }
    }
}
