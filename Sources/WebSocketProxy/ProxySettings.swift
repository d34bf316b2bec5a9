import Engine
import Policy
import Wire

/// Everything of a route that a session is bound by. A session keeps what it was opened with.
public struct ProxySettings: Sendable, Equatable {
    /// How long a peer may say nothing, not even a Pong; it gets a Ping at half of it (`WS_IDLE_TIMEOUT_SECONDS`).
    public var deadPeerMilliseconds: UInt64 = 60_000
    /// Pings and foreign Pongs are passed on instead of answered here.
    public var forwardsPings = false
    /// How long neither side may send data; 0 for ever.
    public var idleMilliseconds: UInt64 = 0
    /// How long a receiver may take nothing of what waits for it (`WS_WRITE_TIMEOUT_SECONDS`).
    public var writeMilliseconds: UInt64 = 10_000
    /// How long a frame under way may delay our own Close frame (`WS_CONTROL_TIMEOUT_SECONDS`).
    public var controlMilliseconds: UInt64 = 1000
    /// How long the side that closed first waits for the other one's answer.
    public var closeMilliseconds: UInt64 = 5000
    /// Bytes that may wait for a receiver that is behind before the sender is no longer read. What a read brought is not cut: with
    /// bulk reads it may be exceeded by one.
    public var bufferBytes = 65_536
    /// Largest message, all its fragments together.
    public var maximumMessageBytes = UInt64.max
    /// Frames of clients get a new mask instead of being passed on as they are.
    public var replacesMasks = false
    /// Tries after the first, the pause before the second (doubled each time), and the time for all of them.
    public var dialRetries = 3
    public var dialDelayMilliseconds: UInt64 = 100
    public var dialMilliseconds: UInt64 = 10_000
    /// Upstream's 401, 403 and 404 are given to the client instead of 502.
    public var relaysStatus = false
    /// Without authentication in the handshake: how long the first data may take, and how much it may be before a verdict.
    public var firstDataMilliseconds: UInt64 = 10_000
    public var maximumFirstBytes = 65_536
    /// A client that sends more messages than its rate allows is closed; else it is not read for a while.
    public var closesAboveRate = true
    /// Payload bytes a second of a client, one second's worth at once; what is more waits. 0: no limit.
    public var bytesPerSecond: UInt64 = 0
    /// The codes that clients are told, and the one of a drain.
    public var closeCodes = ProxyCloseCodes.compat
    public var drainCode = CloseCode.goingAway

    /// The defaults.
    public init() {}

    /// The Close frame a client is told by.
    func close(_ end: ProxyEnd) -> ProxyClose { end.close(closeCodes, draining: drainCode) }
}

/// Sizes and times that no configuration changes, with reasons.
enum ProxyBounds {
    /// Buffers of a client that may wait for its upstream, or for its budget. It is no longer read when they hold as much as a receiver
    /// may have waiting, and what small reads bring is put together; the rest is what was under way: a look of the kernel brings 32
    /// reads, and until a cancelled receive ends there can be many. This only bounds what no kernel does.
    static let earlyBuffers = 1024
    /// A part of a bulk buffer below this is moved in place rather than sent as a part of its own: a page is copied faster than a
    /// vectored send grows.
    static let shareMinimumBytes = 4096
    /// Largest control frame: a client's header and 125 bytes (RFC 6455 section 5.5).
    static let controlFrameBytes = 6 + 125
    /// How long bytes that were accepted from a side may take to leave after the session ended.
    static let deliveryMilliseconds: UInt64 = 5000
    /// And all of the end.
    static let endMilliseconds: UInt64 = 15_000
    /// Looks at a side that takes nothing within its write timeout: it ends a look later than the timeout at most.
    static let looksUntilPressed: UInt8 = 4
    static func lookMilliseconds(_ writeMilliseconds: UInt64) -> UInt64 { max(1, writeMilliseconds / UInt64(looksUntilPressed)) }
    /// How long a client may be throttled without a pause.
    static let throttleMilliseconds: UInt64 = 10_000
    /// How long it must have been read on for that to be a pause: more than a flood takes to come again.
    static let throttlePauseMilliseconds: UInt64 = 1000
    /// Sessions of one shard that expire in the same second before the others are put off, and by how much at most.
    static let expiriesPerSecond = 100
    static let expirySpreadMilliseconds: UInt64 = 5000
    /// Between two looks whether a client's frame has ended while its session is to be told to go.
    static let drainRetryMilliseconds: UInt64 = 50
    /// Bytes of our own answers that may wait for the end of a broker's packet before the client is no longer read. What one read asks
    /// for may exceed it; answers are never longer than what they answer.
    static let answerBytes = 4096
    /// The lowest byte of a buffer that inspected payload may move to: in front of it a header must fit into the headroom.
    static let inspectedFloor = FrameHeader.maximumClientBytes - EngineLimits.headroomBytes
    /// A session that has lasted so long has its connections kept alive by the kernel. Telling it takes ten system calls, which sessions
    /// that end before need not; keep-alive itself begins after a minute.
    static let keepAliveMilliseconds: UInt64 = 10_000
    /// Longest pause between two tries.
    static let dialDelayMaximumMilliseconds: UInt64 = 5000
}
