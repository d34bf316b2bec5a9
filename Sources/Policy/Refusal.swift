// Why a target, or an upgrade to reach one, is refused.

/// A refusal with its wire-visible answer for `/tcp`. The texts are part of the protocol.
public enum Refusal: Hashable, Sendable, CaseIterable {
    /// The client's address is in the block list.
    case clientBlocked
    /// The Origin is repeated, invalid or not listed.
    case originNotAllowed
    /// Port outside the port allowlist.
    case portNotAllowed
    /// Unusable host while a host allowlist is in force.
    case hostMalformedUnderAllowlist
    /// No allowlist pattern matches.
    case hostNotAllowlisted
    /// Unusable host without an allowlist.
    case hostMalformed
    /// An address was given and only names are accepted.
    case literalForbidden
    /// A deny pattern matches.
    case hostBlocked
    /// The host policy admits only other hosts.
    case hostNotAllowed
    /// The address given is not public.
    case addressNotPublic
    /// The name has no address, or the resolver failed.
    case lookupFailed
    /// The name resolved, but to no acceptable address.
    case noAddressAcceptable
    /// The session has all the connections it may have.
    case tooManyConnections

    /// HTTP status of the rejected upgrade.
    public var status: Int {
        switch self {
        case .hostMalformedUnderAllowlist, .hostMalformed: 400
        case .lookupFailed: 502
        case .tooManyConnections: 429
        default: 403
        }
    }

    /// One line of text for the client.
    public var message: String {
        switch self {
        case .clientBlocked: "Client IP blocked"
        case .originNotAllowed: "Origin not allowed"
        case .portNotAllowed: "Target port not allowed"
        case .hostMalformedUnderAllowlist: "Invalid target host"
        case .hostNotAllowlisted: "Target host not allowed"
        case .hostMalformed: "Invalid host"
        case .literalForbidden: "IP-literal targets are not allowed"
        case .hostBlocked: "Target is blocked"
        case .hostNotAllowed: "Target is not allowed"
        case .addressNotPublic, .noAddressAcceptable: "Target IP is not allowed by IP egress policy"
        case .lookupFailed: "DNS lookup failed"
        case .tooManyConnections: "Too many concurrent connections"
        }
    }

    /// Whether `tcp_proxy_blocked_by_host_policy_total` counts it. Allowlist denials are counted too.
    public var countsAsHostPolicy: Bool {
        switch self {
        case .hostMalformedUnderAllowlist, .hostNotAllowlisted, .hostMalformed, .literalForbidden, .hostBlocked, .hostNotAllowed:
            true
        default: false
        }
    }

    /// Whether `tcp_proxy_blocked_by_ip_policy_total` counts it.
    public var countsAsIPPolicy: Bool {
        self == .addressNotPublic || self == .noAddressAcceptable
    }
}
