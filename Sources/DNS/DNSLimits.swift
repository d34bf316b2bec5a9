import HTTP

/// Every size and time DNS over HTTPS is bound by that no configuration sets, with its reason.
enum DNSLimits {
    /// Questions one shard may have with upstreams at a time. Each holds a socket; the rest of the shard needs some too.
    static let exchanges = 4096
    /// Clients that may wait for answers on one shard.
    static let waiters = 16384
    /// Of these, what one session may have on all shards: one client must not take the upstreams from the others. A page asks for a
    /// few dozen names at a time.
    static let waitersPerSession = 256
    /// Clients that may wait for one answer; more would all be answered in one turn.
    static let waitersPerExchange = 1024
    /// Chains of the table that finds an exchange by its query.
    static let exchangeChains = 1024
    /// Bytes of all cached answers, keys included. 10,000 answers of ordinary size take 2 MB.
    static let cacheBytes = 64 << 20
    /// Parts of a large cache, each with a lock, so that shards rarely meet.
    static let cacheStripes = 16
    /// A cache of fewer entries is one part: then the least recently used entry of all is the one dropped.
    static let cacheEntriesToStripe = 1024
    /// Connections to one DoH upstream on one shard. Queries beyond wait their turn, within their time.
    static let connectionsPerUpstream = 16
    /// Connections to all DoH upstreams of one shard.
    static let connections = 1024
    /// How long a connection to a DoH upstream is kept without a query.
    static let idleMilliseconds: UInt64 = 30_000
    /// Largest head of an answer from a DoH upstream.
    static let responseHeadBytes = 8192
    /// How long the addresses of an upstream's name are believed.
    static let addressMilliseconds: UInt64 = 60_000
    /// Addresses of an upstream's name that are tried: a name for IPv4 and IPv6 has two, and an attempt has one time for all.
    static let addressesOfUpstream = 4
    /// How often waiting for a name or a connection is looked at.
    static let tickMilliseconds: UInt64 = 20
    /// Longest `tracestate` that is passed on: what everybody has to (W3C Trace Context section 3.3.1.5).
    static let traceStateBytes = 512
    /// Time of one query with all upstreams together: the client's connection is closed when it has no answer by then.
    static let answerMilliseconds = ServerLimits().answerMilliseconds - 5000
    /// Longest `Content-Type` that is looked at.
    static let contentTypeBytes = 256
}
