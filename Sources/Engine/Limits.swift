import CRing

/// Every size and time the engine is bound by, with its reason.
public enum EngineLimits {
    /// Submission queue. One turn of 1,000 busy streams prepares about 2,000 entries; a full queue only means one more
    /// kernel entry.
    public static let submissionEntries: UInt32 = 4096
    /// Completion queue, eight times the submissions: multishot requests complete without being submitted again.
    public static let completionEntries: UInt32 = 32768
    /// Slots a token can name (24 bits).
    public static let slotsMaximum = 1 << 24

    /// Payload of a small receive buffer: a page holds what interactive traffic sends at once.
    public static let smallBufferBytes = 4096
    /// Largest piece of a framed send: what a WebSocket header of four bytes can announce.
    public static let pieceBytesMaximum = 65535
    /// Payload of a bulk receive buffer: seven pieces, 448 KiB, so that two of them stay below 1 MiB. The larger a read, the
    /// fewer window updates the sender is woken by (`Decisions.md`).
    public static let bulkBufferBytes = 7 * pieceBytesMaximum
    /// Room in front of every payload: the largest frame header any feature writes (14 for WebSocket, 24 for the relay), and those
    /// of all messages a bulk read leaves in (eight of 13 bytes for multiplexed streams); two cache lines.
    public static let headroomBytes = 128
    /// Room in front of a small buffer's headroom for what TLS adds: with it and the headroom three records of one packet.
    public static let recordRoomSmall = 64
    /// And of a bulk buffer: 47 records of one packet while a stream is fresh and 28 full ones add 2,200 bytes.
    public static let recordRoomBulk = 4096
    /// Room behind every payload: the largest trailer (a TLS record's tag and padding).
    public static let tailroomBytes = 32
    /// Small buffers offered to the kernel at first; doubled when it ran out, because unused offers cost cache misses.
    public static let smallBuffersOffered = 256
    /// Most small buffers offered: the buffer ring's length.
    public static let smallBuffersOfferedMaximum = 4096
    /// Most bulk buffers offered.
    public static let bulkBuffersOfferedMaximum = 64
    /// Largest payload of a datagram over IPv4 (65,535 less IP's 20 and UDP's 8); a train is bound by the same.
    public static let datagramBytesMaximum = 65507
    /// What lies in front of a received datagram in its buffer: struct io_uring_recvmsg_out, address and control message.
    public static let datagramMetadataBytes = Int(RING_DATAGRAM_PAYLOAD.rawValue)
    /// Largest datagram a packet buffer holds: a page, more than any path but loopback carries unfragmented.
    public static let packetBytes = 4096
    /// Payload of a train buffer: the largest train (IPv6: 65,535 less UDP's 8) behind what is said about it.
    public static let trainBufferBytes = datagramMetadataBytes + 65527
    /// Room in front of a train for one header for each of its datagrams: 128 (the kernel's bound) of 28 bytes (a relay frame of
    /// 24 in a WebSocket frame of 4) are 3,584.
    public static let spreadRoomBytes = 4096
    /// Packet buffers of a shard.
    public static let packetBuffers = 4096
    /// Train buffers of a shard.
    public static let trainBuffers = 256
    /// What the buffers of datagrams hold when every one is used at once: 33 MiB a shard.
    public static let datagramBufferBytes = packetBuffers * packetBytes + trainBuffers * trainBufferBytes
    /// Packet buffers offered to the kernel at first; doubled when it ran out.
    public static let packetsOffered = 256
    /// Most packet buffers offered.
    public static let packetsOfferedMaximum = 2048
    /// Train buffers offered at first: a look of the kernel at one socket brings 32 at most.
    public static let trainsOffered = 32
    /// Train buffers offered after a while in which no more were used at a time: 272 KiB, of which bulk finds most in the cache again.
    public static let trainsOfferedLeast = 4
    /// Times that buffers were offered again after which no more are offered than were used at a time. More at once then cost one
    /// receive that finds none, and is armed again behind the turn.
    public static let refillsToLower = 256
    /// Most train buffers offered.
    public static let trainsOfferedMaximum = 128
    /// Packet buffers one socket may have filled and not back before it is no longer read; its own buffer in the kernel then
    /// fills, and what comes beyond is dropped there. A turn adds a look of the kernel (32) to it. 1/16 of a shard's.
    public static let packetCredit: UInt32 = 256
    /// Train buffers likewise: 1/4 of a shard's, 4 MiB. Half of it, at which reading begins again, is what one send of a stream may
    /// hold: a socket whose datagrams wait for a client that takes nothing goes on being read.
    public static let trainCredit: UInt32 = 64
    /// Datagrams of one turn after which a socket reads trains.
    public static let burstToGrow: UInt8 = 8
    /// Segments of one train that is sent (the kernel's bound before Linux 6.9).
    public static let trainSegments = 64
    /// Trains of one turn before they must be submitted.
    public static let trainsPerTurn = 512
    /// Trains of one socket that are looked at for one to the same destination.
    public static let trainSearchDepth = 8
    /// Bytes one socket may have waiting because its own buffer in the kernel is full: about what that buffer holds.
    public static let datagramBytesQueued = 256 * 1024
    /// Buffers likewise.
    public static let datagramBuffersQueued: UInt16 = 16

    /// Buffers only the engine's own output may take: Close and Pong frames, error answers. Receives never get them.
    public static let buffersReserved = 64

    /// How often free bulk buffers that nobody used since the last look give their memory back.
    public static let trimMilliseconds: UInt64 = 10_000
    /// So many at a time: releasing 448 KiB takes some 10 µs.
    public static let trimBuffers = 16

    /// Buffers one stream may hold queued before its source is no longer read: 64 KiB of small ones.
    public static let queuedBuffersHigh: UInt16 = 16
    /// Below this many queued buffers the source is read again.
    public static let queuedBuffersLow: UInt16 = 4
    /// Capacity one stream may hold queued: two bulk buffers, what a burst of a lone stream brings.
    public static let queuedCapacityHigh: UInt32 = UInt32(2 * bulkBufferBytes)
    /// Below this the source is read again.
    public static let queuedCapacityLow: UInt32 = 128 * 1024
    /// Parts of one vectored send; as many as a stream may hold.
    public static let vectorParts = 36
    /// Parts one framed buffer may need: a header and a payload for each of its pieces, and one more for a piece cut short.
    public static let framedParts = 18
    /// Parts of shared buffers one shard has queued, nearly all of them for one turn; what finds none left is copied.
    public static let slices = 8192
    /// Buffers a stream may have queued when a slice is added: below `vectorParts`, so that all of them leave in this turn.
    public static let queuedSlices: UInt16 = 32
    /// Vectored sends prepared in one turn before they must be submitted.
    public static let vectorsPerTurn = 256

    /// Full reads in a row after which a stream is bulk.
    public static let fullReadsToGrow: UInt8 = 2
    /// Reads in a row that a small buffer would have held, after which it is no longer.
    public static let smallReadsToShrink: UInt8 = 8

    /// Payload of a TLS record while a stream is fresh: with what TLS and TCP add it fits one packet of 1,500 bytes.
    public static let recordBytesFresh = 1400
    /// Payload of a full record (RFC 8446 section 5.1).
    public static let recordBytesMaximum = 16384
    /// So much is sent in short records: what TCP's window grows to in about four round trips.
    public static let recordFreshBytes: UInt32 = 64 * 1024
    /// After such a pause a stream is fresh again: TCP's own window has shrunk (RFC 5681 section 4.1).
    public static let recordIdleMilliseconds: UInt64 = 1000
    /// Time one turn spends on handshakes: as much as a quarter of a millisecond more for a message that waits behind them.
    public static let handshakeNanosecondsPerTurn: UInt64 = 250_000
    /// And of a turn that follows one in which hardly anything else came.
    public static let handshakeNanosecondsPerQuietTurn: UInt64 = 1_000_000
    /// Handshake steps of one turn, however fast: bounds the output of one turn.
    public static let handshakeStepsPerTurn = 64
    /// TLS messages beside data that a peer may have dealt with in a row (key updates, tickets, renegotiations that are refused): each
    /// costs as much as many records of data and may ask for an answer. A server sends a few tickets at once.
    public static let sessionMessagesMaximum: UInt32 = 64
    /// And one more after each such time. Keys are due for an update once in hundreds of gigabytes (RFC 8446 section 5.5).
    public static let sessionMessageMilliseconds: UInt64 = 64
    /// Buffers with answers to such messages that may wait at a time: a peer that takes none of them does not want them.
    public static let sessionAnswersMaximum: UInt8 = 16
    /// While TLS waits for a buffer to come back: how long the shard sleeps before it looks again.
    public static let bufferRetryMilliseconds: UInt64 = 1
    /// A peer's time from accept to the end of its handshake.
    public static let handshakeMilliseconds: UInt64 = 10_000
    /// How long an alert may take to be read.
    public static let alertMilliseconds: UInt64 = 1000
    /// Age at which ticket keys are replaced.
    public static let ticketKeySeconds = 3600
    /// Older ticket keys that are still accepted.
    public static let ticketKeysAccepted: UInt32 = 6
    /// How long a ticket may be used: as long as its key is accepted for certain.
    public static let ticketSeconds = UInt32(ticketKeySeconds) * ticketKeysAccepted

    /// Pause after accept failed for want of descriptors, unless one is closed first.
    public static let acceptRetryMilliseconds: UInt32 = 100
    /// Keep-alive of streams that ask for it: a minute of silence, then four probes 15 s apart; with data on its way 30 s without an
    /// acknowledgement. Two minutes after a peer lost its power its stream is gone.
    public static let keepAliveIdleSeconds: Int32 = 60
    public static let keepAliveIntervalSeconds: Int32 = 15
    public static let keepAliveProbes: Int32 = 4
    public static let unacknowledgedMilliseconds: UInt32 = 30_000
    /// Pending connections a listener holds; the kernel caps it at net.core.somaxconn.
    public static let listenBacklog: Int32 = 4096
    /// Listeners of one shard.
    public static let listenersMaximum = 64
    /// Messages an inbox holds; a sender finds it full and keeps its message.
    public static let inboxMessages = 1024
    /// Name look-ups under way on one shard; more wait in a queue of this length, then fail.
    public static let lookupsMaximum = 1024
    /// A look-up's time, all attempts together.
    public static let lookupTimeoutMilliseconds: Int32 = 5000
    /// Addresses kept of one name.
    public static let addressesPerName = 16
    /// Unit in which the end of a polite end is kept: 32 bits of it last eight years.
    public static let lingerUnitMilliseconds: UInt64 = 64
    /// Longest polite end, unless its owner says otherwise.
    public static let lingerTotalMilliseconds: UInt64 = 600_000
    /// After a half-close, how long the peer may take to close its side.
    public static let lingerMilliseconds: UInt32 = 2000
    /// Longest sleep of a shard without any event: bounds the staleness of the readings other threads take.
    public static let turnMilliseconds: UInt64 = 1000
}
