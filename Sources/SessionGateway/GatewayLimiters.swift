import Policy
import Synchronization

/// The limiters of the gateways of all shards. They outlive a configuration: a reload changes their rates, not what
/// clients have used up.
public final class GatewayLimiters: Sendable {
    private let requests: Mutex<BucketTable<IPAddress>?>
    private let relayTokens: Mutex<BucketTable<String>?>

    /// Limiters nobody has used yet.
    public init(_ settings: GatewaySettings) {
        requests = Mutex(BucketTable<IPAddress>.requests(perMinute: settings.http.requestsPerMinute))
        relayTokens = Mutex(BucketTable<String>.relayTokens())
    }

    /// Puts the rates of another configuration in force.
    public func apply(_ settings: GatewaySettings) {
        let perMinute = settings.http.requestsPerMinute
        requests.withLock { table in
            if table?.change(capacity: Double(perMinute), perSecond: Double(perMinute) / 60) == true { return }
            table = BucketTable<IPAddress>.requests(perMinute: perMinute)
        }
    }

    func admitRequest(from address: IPAddress, nowMilliseconds: Int64) -> Bool {
        requests.withLock { $0?.admit(address, nowMilliseconds: nowMilliseconds) ?? true }
    }

    func admitRelayToken(_ session: String, nowMilliseconds: Int64) -> Bool {
        relayTokens.withLock { $0?.admit(session, nowMilliseconds: nowMilliseconds) ?? true }
    }
}
