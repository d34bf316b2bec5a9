/// What a server connection is bound by, with reasons.
public struct ServerLimits: Sendable {
    /// From the first byte of a request (or from accept) to the end of its head; then 408.
    public var headMilliseconds: UInt64 = 60_000
    /// From the end of the head to the end of the body; then 408.
    public var bodyMilliseconds: UInt64 = 60_000
    /// Between two requests; then the connection is closed without a word. Above the 60 s of common load balancers.
    public var idleMilliseconds: UInt64 = 72_000
    /// How long an answer may make no progress towards a client that does not read.
    public var drainMilliseconds: UInt64 = 30_000
    /// Largest request body held in memory; above, 413.
    public var bodyBytes = 1 << 20
    /// Bytes one connection may hold unparsed: a head, a body, and what a full receive brought behind it.
    public var inputBytes = (1 << 20) + (256 << 10)
    /// Bytes all connections of a shard may hold in unfinished requests; above, the newest is refused with 503, so that
    /// slow senders cannot take the memory of the machine.
    public var shardInputBytes = 64 << 20
    /// Connections that may be in the HTTP phase at a time on one shard.
    public var connections = 65536

    /// The defaults.
    public init() {}
}
