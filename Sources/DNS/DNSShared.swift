import HTTP
import Policy
import Synchronization

/// What the DNS of all shards share: one configuration's settings, the cache and the limiter, which are per process.
public final class DNSShared: Sendable {
    /// The snapshot's settings.
    public let settings: GatewaySettings.DNSSettings
    /// Answers kept.
    public let cache: DNSCache
    /// Numbers of upstreams.
    public let directory: UpstreamDirectory
    /// The numbers of this configuration's upstreams, in order.
    let plan: [Int]
    let policy: DNSPolicy
    let limits: SharedLimits
    private let limiter: RateLimiter<IPAddress>
    private let isLimited: Bool

    /// Shared state for one configuration. A reload keeps cache and limiter of `former` where their settings are the same.
    public init(settings: GatewaySettings.DNSSettings, limits: SharedLimits, former: DNSShared? = nil) {
        self.settings = settings
        policy = DNSPolicy(settings)
        self.limits = limits
        let directory = former?.directory ?? UpstreamDirectory()
        self.directory = directory
        plan = settings.upstreams.map { directory.number(of: $0) }
        if let former, former.settings.cacheMaxEntries == settings.cacheMaxEntries, former.settings.upstreams == settings.upstreams {
            cache = former.cache
        } else {
            cache = DNSCache(entries: settings.cacheMaxEntries, bytes: DNSLimits.cacheBytes)
        }
        let table = BucketTable<IPAddress>.queries(settings)
        isLimited = table != nil
        if let former {
            limiter = former.limiter
            limiter.apply(table)
        } else {
            limiter = RateLimiter("dns", table, limits: limits)
        }
    }

    /// Whether one more query from an address is within the limit; both endpoints count.
    func admits(_ address: IPAddress, nowNanoseconds: UInt64) -> Bool {
        !isLimited || limiter.admit(address.limitKey, nowMilliseconds: Int64(truncatingIfNeeded: nowNanoseconds / 1_000_000))
    }
}

/// Every upstream this process has been configured with, by number: a number is for ever, so that counters and
/// connections outlive a reload.
public final class UpstreamDirectory: Sendable {
    private let list = Mutex<[DNSUpstream]>([])

    /// All of them; the index is the number.
    public var upstreams: [DNSUpstream] { list.withLock { $0 } }

    func number(of upstream: DNSUpstream) -> Int {
        list.withLock { list in
            if let known = list.firstIndex(of: upstream) { return known }
            list.append(upstream)
            return list.count - 1
        }
    }
}
