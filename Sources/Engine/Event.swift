/// What happened, as the layer above sees it. Plain values: no reference is held, nothing is allocated.
public struct Event {
    /// What happened.
    public enum Kind: UInt8, Sendable {
        /// A listener accepted `slot`. `detail` is the listener's tag.
        case accepted
        /// A connect succeeded.
        case connected
        /// `buffer` holds `count` received bytes at `bytes`. The owner now has the buffer and sends or releases it.
        case received
        /// `buffer` holds `count` bytes at `bytes` + `start`: a datagram (perhaps empty), or a train of them, each of `detail`
        /// bytes and the last of those that are left. All came from `datagramSource`. `result` is 0, or EMSGSIZE when the end
        /// was cut for want of room. The owner now has the buffer.
        case datagrams
        /// A connected datagram socket heard (ICMP) that its peer is out of reach: `result` is the errno. It stays usable.
        case unreachable
        /// The peer will send no more.
        case ended
        /// The stream broke: `result` is the errno. Nothing more will come; the owner calls `close`.
        case failed
        /// Output fell below the low watermark after `notifyWhenDrained`.
        case drained
        /// A stream that lingered with `reporting` is closed; `slot` names nothing any more.
        case closed
        /// The slot's timer fired.
        case timer
        /// A shard timer fired: `detail` is its number.
        case shardTimer
        /// A name look-up ended: `detail` is the look-up, `result` 0 or the resolver's error.
        case resolved
        /// The inbox has messages.
        case inbox
    }

    /// What happened.
    public internal(set) var kind: Kind = .inbox
    /// Who has to deal with it.
    public internal(set) var owner = Owner.engine
    /// The stream, or `.none`.
    public internal(set) var slot = SlotIndex.none
    /// The owner's index of the stream.
    public internal(set) var context: UInt32 = 0
    /// An errno, or 0.
    public internal(set) var result: Int32 = 0
    /// The received buffer.
    public internal(set) var buffer = BufferIndex.none
    /// Number of received bytes.
    public internal(set) var count = 0
    /// Of `datagrams`: where they begin, from the buffer's first payload byte.
    public internal(set) var start: UInt32 = 0
    /// See `Kind`.
    public internal(set) var detail: UInt32 = 0

    /// An empty event, to be filled by `Shard.next`.
    public init() {}
}
