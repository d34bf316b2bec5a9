// Where `/tcp` and `/tcp-mux` may connect to.
//
//     port list ─► host allowlist ─► host rules ─► address given? ─ yes ─► address rules ─► dial it
//                                                       └ no ─► resolve once ─► address rules on each ─► dial the first
//
// The name is looked up once and the numeric address that passed is dialled, so a name that changes between check and
// use gains nothing (DNS rebinding).

/// The whole egress policy as one immutable value.
public struct EgressPolicy: Sendable, Equatable {
    /// Sorted; empty admits every port.
    private let allowedPorts: [UInt16]
    private let hosts: HostPolicy
    private let allowsPrivateAddresses: Bool

    /// A policy from parsed rules.
    public init(allowedPorts: [UInt16] = [], hosts: HostPolicy = HostPolicy(), allowsPrivateAddresses: Bool = false) {
        self.allowedPorts = allowedPorts.sorted()
        self.hosts = hosts
        self.allowsPrivateAddresses = allowsPrivateAddresses
    }

    /// The policy the settings describe.
    public init(_ settings: GatewaySettings.TCPSettings) {
        self.init(
            allowedPorts: settings.allowedPorts,
            hosts: HostPolicy(
                allowed: settings.allowedHosts, blocked: settings.blockedHosts, requiresName: settings.requireDNSName),
            allowsPrivateAddresses: settings.allowPrivateAddresses)
    }

    /// What to do with a target.
    public enum Verdict: Hashable, Sendable {
        /// Dial this address; no lookup is needed. IPv4-mapped IPv6 has become IPv4.
        case address(IPAddress)
        /// Look this name up (ASCII, lower-case, no trailing dot), then ask `permits` for each address.
        case resolve(hostname: String)
        /// Answer with this refusal.
        case refused(Refusal)
    }

    /// Judges a target by its text and port (rows 10 to 13 of the `/tcp` table).
    public func judge(host: String, port: UInt16) -> Verdict {
        guard allowedPorts.isEmpty || allowedPorts.contains(port) else { return .refused(.portNotAllowed) }
        let target = TargetHost(classifying: host)
        if !hosts.allowed.isEmpty {
            guard target != .malformed else { return .refused(.hostMalformedUnderAllowlist) }
            guard hosts.admits(target) else { return .refused(.hostNotAllowlisted) }
        }
        switch hosts.decide(target) {
        case .malformed: return .refused(.hostMalformed)
        case .literalForbidden: return .refused(.literalForbidden)
        case .blocked: return .refused(.hostBlocked)
        case .notAllowed: return .refused(.hostNotAllowed)
        case .allow: break
        }
        switch target {
        case .address(let address):
            guard allowsPrivateAddresses || AddressRules.isPublic(address) else { return .refused(.addressNotPublic) }
            return .address(address.normalized)
        case .name(let name):
            return .resolve(hostname: name)
        case .malformed:
            return .refused(.hostMalformed)
        }
    }

    /// Whether an address that a name resolved to may be dialled (row 15).
    public func permits(_ resolved: IPAddress) -> Bool {
        guard !hosts.blocks(resolved) else { return false }
        return allowsPrivateAddresses || AddressRules.isPublic(resolved)
    }
}
