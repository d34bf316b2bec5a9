import Engine
import Wire

/// What a server connection is bound by, with reasons.
public struct ServerLimits: Sendable {
    /// From the first byte of a request (or from accept) to the end of its head; then 408.
    public var headMilliseconds: UInt64 = 60_000
    /// From the end of the head to the end of the body; then 408.
    public var bodyMilliseconds: UInt64 = 60_000
    /// Between two requests; then the connection is closed without a word. Above the 60 s of common load balancers.
    public var idleMilliseconds: UInt64 = 72_000
    /// How long a client may take to accept a buffer's worth of an answer that waits for it.
    public var drainMilliseconds: UInt64 = 30_000
    /// How long a postponed answer may take before its connection is closed: above every time a feature sets itself.
    public var answerMilliseconds: UInt64 = 60_000
    /// Once the server drains: how long a connection may take to send the head of its one request. A client that says
    /// nothing must not hold the process until its grace is over.
    public var drainingHeadMilliseconds: UInt64 = 1000
    /// Largest request body held in memory; above, 413.
    public var bodyBytes = 1 << 20
    /// Bytes all connections of a shard may hold in unfinished requests; above, the newest is refused with 503, so that
    /// slow senders cannot take the memory of the machine.
    public var shardInputBytes = 64 << 20
    /// Connections that may be in the HTTP phase at a time on one shard.
    public var connections = 65536

    /// The defaults.
    public init() {}

    /// Bytes one connection may hold unparsed: a head, a body, and what came behind them before reading stopped, which is
    /// at most a bulk buffer and the reads of one look of the kernel (32 small buffers).
    var inputBytes: Int {
        bodyBytes + HTTPLimits().headBytes + EngineLimits.bulkBufferBytes + 32 * EngineLimits.smallBufferBytes
    }
}
