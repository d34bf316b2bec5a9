/// What a completion belongs to, packed into `user_data`.
///
/// ```
///  63      56 55            40 39            24 23                     0
/// ┌──────────┬────────────────┬────────────────┬────────────────────────┐
/// │ operation│   generation   │     detail     │          slot          │
/// └──────────┴────────────────┴────────────────┴────────────────────────┘
/// ```
/// `generation` tells a late completion of a slot's former life from one of its present life; `detail` is free for
/// the operation.
public struct Token: Equatable, Sendable {
    /// The packed value.
    public let packed: UInt64

    /// Packs the parts; `slot` keeps its low 24 bits.
    @inline(__always)
    public init(_ operation: Operation, slot: UInt32, generation: UInt16 = 0, detail: UInt16 = 0) {
        packed = UInt64(operation.rawValue) &<< 56 | UInt64(generation) &<< 40 | UInt64(detail) &<< 24 | UInt64(slot & 0xFF_FFFF)
    }

    /// Reads a token back from a completion.
    @inline(__always)
    public init(packed: UInt64) { self.packed = packed }

    /// What was asked of the kernel.
    @inline(__always)
    public var operation: Operation? { Operation(rawValue: UInt8(truncatingIfNeeded: packed &>> 56)) }
    /// The slot's life this request was made in.
    @inline(__always)
    public var generation: UInt16 { UInt16(truncatingIfNeeded: packed &>> 40) }
    /// The operation's own argument.
    @inline(__always)
    public var detail: UInt16 { UInt16(truncatingIfNeeded: packed &>> 24) }
    /// Index of the slot, listener or poll this belongs to.
    @inline(__always)
    public var slot: UInt32 { UInt32(truncatingIfNeeded: packed) & 0xFF_FFFF }

    /// Requests the engine makes. Those from `receive` on belong to a slot and count as in flight there.
    public enum Operation: UInt8, Sendable {
        case ignored = 0, wake, accept, poll
        case train  // names a train by `detail` and its life by `generation`; counted with its socket's other trains
        case receive = 8, send, connect, cancel, close
        case receiveDatagrams, sendDatagrams
    }
}
