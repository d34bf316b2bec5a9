import HTTP
import Policy

/// The limiters of the gateways of all shards. They outlive a configuration: a reload changes their rates, not what
/// clients have used up.
public final class GatewayLimiters: Sendable {
    private let requests: RateLimiter<IPAddress>
    private let relayTokens: RateLimiter<String>

    /// Limiters nobody has used yet; `limits` says whether other instances share them.
    public init(_ settings: GatewaySettings, limits: SharedLimits) {
        requests = RateLimiter("requests", .requests(perMinute: settings.http.requestsPerMinute), limits: limits)
        relayTokens = RateLimiter("relay", .relayTokens(), limits: limits)
    }

    /// Puts the rates of another configuration in force.
    public func apply(_ settings: GatewaySettings) {
        requests.apply(.requests(perMinute: settings.http.requestsPerMinute))
    }

    func admitRequest(from address: IPAddress, nowMilliseconds: Int64) -> Bool {
        requests.admit(address.limitKey, nowMilliseconds: nowMilliseconds)
    }

    func admitRelayToken(_ session: String, nowMilliseconds: Int64) -> Bool {
        relayTokens.admit(session, nowMilliseconds: nowMilliseconds)
    }
}
