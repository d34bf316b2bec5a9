/// Every size and time `/udp` is bound by that is no setting, with its reason.
///
/// Memory of one session: `DATACHANNEL_SEND_QUEUE_BYTES` towards the client, in small buffers once it is behind; one buffer for a
/// message in pieces; what its bindings and limits remember (see `RelayBindings`, `RelayLimiter`); what its sockets have filled,
/// bounded by the engine's credit for each.
enum RelayBounds {
    /// Sockets opened on one shard in one turn, at some 10 µs each, and as many more for clients that wait for theirs since an earlier
    /// one. A client that cycles through guest ports waits, and neighbours do not wait for it.
    static let socketsPerTurn = 32
    /// Messages of one client that are read in one turn, and as many more at its end when nobody else's are left: about a millisecond.
    /// A flood of tiny frames waits, and neighbours do not wait for it. Bulk does not: it brings two bulk buffers of some 400 messages.
    static let messagesPerTurn = 2048
    /// So many messages does one count as whose datagram begins a train, which costs a send of its own: 512 in a turn if each goes
    /// elsewhere.
    static let messagesPerTrain = 4
    /// Between two log records about sockets that are used up.
    static let socketReportMilliseconds: UInt64 = 60_000
    /// Buffers queued for a client beyond which further frames are copied behind one another: as many parts as one send takes.
    static let queuedBuffers = 32
    /// Buffers a client that is behind may hold once the shard's pool runs low; what comes beyond is dropped.
    static let queuedBuffersLow = 16
    /// Longest payload of a control frame (RFC 6455 section 5.5), rounded up.
    static let controlBytes = 128
    /// How long a Ping may find its client taking nothing at all.
    static let pingMilliseconds: UInt64 = 1000
    /// How long a client that takes nothing may keep what is queued for it at its end.
    static let undeliveredMilliseconds: UInt64 = 2000
    /// How long all of a polite end may take.
    static let endMilliseconds: UInt64 = 10_000
    /// Room for the headers of a message, and for a message whose header is shorter than those before it.
    static let scratchBytes = 256
}
