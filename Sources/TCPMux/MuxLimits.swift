import Wire

/// Every size and time multiplexing is bound by that is no setting, with its reason.
///
/// Memory of one WebSocket. Towards targets: `TCP_MUX_MAX_STREAMS` times `TCP_MUX_MAX_STREAM_BUFFER_BYTES`, in buffers at least
/// half full, and never more of the shard's pool than `queuedBuffersLow` once the pool runs low. Towards the client:
/// `unsentBytesMaximum` and what its targets' receives bring before they are paused. Frames in pieces: `pingBytesMaximum`.
enum MuxLimits {
    /// Largest DATA payload to a client: its message has a header of four bytes, and stays below 64 KiB.
    static let dataBytesMaximum = 65535 - MuxFrame.headerBytes
    /// Messages up to this size are copied behind one another; copying half a buffer costs less than sending one more part.
    static let copiedMessageBytesMaximum = 2048
    /// Bytes of one stream in a row from which they are sent as a slice of the client's buffer: copying fewer costs less than
    /// one more part of a send.
    static let sharedRunBytesMinimum = 512
    /// Bytes for the client that the kernel was not offered yet, above which its targets are not read: a burst of two bulk reads.
    static let unsentBytesMaximum = 1 << 20
    /// Buffers all streams of one WebSocket may hold queued when the shard's pool runs low, before its client is not read.
    static let queuedBuffersLow = 64
    /// Bytes of answers that may wait for a client when the pool runs low, before the next ends it. Frames of nine bytes ask for answers
    /// of forty, and what was read is dealt with before the client is paused.
    static let answerBytesLow = 512 << 10
    /// Largest PING payload; the PONG has to be kept until it can leave as one message.
    static let pingBytesMaximum = 65536
    /// Names one session may have looked up at a time: as many streams as it may open by default.
    static let lookupsOfSession = 64
    /// How long bytes already accepted from a client may take to reach a target after the client is gone.
    static let acceptedBytesMilliseconds: UInt64 = 2000
    /// How long the bytes of a stream that both sides finished may make no progress.
    static let undeliveredMilliseconds: UInt64 = 30_000
    /// How long all of a polite end may take.
    static let endMilliseconds: UInt64 = 60_000
    /// A WebSocket without a stream and without a byte for this long is closed: an edge in front of it would, too.
    static let idleSocketMilliseconds: UInt64 = 3_600_000
}
