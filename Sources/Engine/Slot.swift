/// Index of a slot in its shard.
public struct SlotIndex: Equatable, Hashable, Sendable {
    /// 0 ..< capacity, or `UInt32.max` for none.
    public let raw: UInt32
    /// Wraps a raw index.
    @inline(__always) public init(_ raw: UInt32) { self.raw = raw }
    /// No slot.
    public static let none = SlotIndex(.max)
}

/// Who gets a slot's events: a number the layer above assigns. 0 is the engine itself.
public struct Owner: Equatable, Sendable {
    /// The number.
    public let raw: UInt8
    /// Wraps a number from 1 up.
    @inline(__always) public init(_ raw: UInt8) { self.raw = raw }
    /// The engine: streams being closed politely.
    public static let engine = Owner(0)
}

/// The hot record of one stream or datagram socket: 64 bytes, one cache line.
///
/// A stream's state is the set of things that have happened to it and of requests under way, not one enumeration:
/// half-close falls out by itself.
struct Slot {
    struct Flags: OptionSet {
        let rawValue: UInt32
        static let used = Flags(rawValue: 1 << 0)
        static let connecting = Flags(rawValue: 1 << 1)
        static let receiveWanted = Flags(rawValue: 1 << 2)
        static let receiveArmed = Flags(rawValue: 1 << 3)
        static let receiveMultishot = Flags(rawValue: 1 << 4)
        static let receiveCancelling = Flags(rawValue: 1 << 5)
        static let receiveEnded = Flags(rawValue: 1 << 6)
        static let starved = Flags(rawValue: 1 << 7)
        static let sendInFlight = Flags(rawValue: 1 << 8)
        static let sendWaiting = Flags(rawValue: 1 << 9)  // the socket was full: the next send waits in the kernel
        static let dirty = Flags(rawValue: 1 << 10)
        static let drainedWanted = Flags(rawValue: 1 << 11)
        static let finishWanted = Flags(rawValue: 1 << 12)
        static let finished = Flags(rawValue: 1 << 13)
        static let lingering = Flags(rawValue: 1 << 14)
        static let closing = Flags(rawValue: 1 << 15)
        static let cancelSent = Flags(rawValue: 1 << 16)
        static let closeSent = Flags(rawValue: 1 << 17)
        static let bulk = Flags(rawValue: 1 << 18)
        static let failed = Flags(rawValue: 1 << 19)
        static let receiveBulk = Flags(rawValue: 1 << 22)  // the armed receive takes a bulk buffer
        static let reportsClose = Flags(rawValue: 1 << 23)
        static let datagram = Flags(rawValue: 1 << 28)  // a datagram socket
        static let creditUsed = Flags(rawValue: 1 << 27)  // not read: it has as many buffers filled as it may
        static let trainsInFlight = Flags(rawValue: 1 << 30)  // submitted this turn; counted once in `inFlight`
        static let coalescing = Flags(rawValue: 1 << 31)  // the kernel may join datagrams: only train buffers are armed
        static let exactQueue = Flags(rawValue: 1 << 29)  // sends that wait report every progress
        static let sendReported = Flags(rawValue: 1 << 21)  // a completion of the send waits to be read
        static let secure = Flags(rawValue: 1 << 24)  // has an entry in the table of TLS sessions
        static let handshaking = Flags(rawValue: 1 << 25)
        static let secureHeld = Flags(rawValue: 1 << 26)  // not read: ciphertext waits for a turn with time, or for buffers
    }

    var descriptor: Int32  // 4
    var flags: Flags  // 8
    var generation: UInt16  // 10
    var owner: UInt8  // 11
    var inFlight: UInt8  // 12: requests the kernel still holds
    var context: UInt32  // 16: the owner's own index
    var queueHead: UInt32  // 20: BufferIndex of the oldest queued buffer
    var queueTail: UInt32  // 24
    var queuedBytes: UInt32  // 28
    var queuedCapacity: UInt32  // 32: what the queued buffers hold away from others
    var queuedBuffers: UInt16  // 34
    var sendingBuffers: UInt16  // 36: how many of the queue's head are with the kernel
    var nextInList: UInt32  // 40: dirty list
    var nextStarved: UInt32  // 44: starved list, and the free list
    var readScore: UInt8  // 45: full reads in a row, or small reads while bulk
    var closeOwner: UInt8  // 46: who is told when the stream is closed, with `reportsClose`
    var lingerMilliseconds: UInt16  // 48
    var receivedBytes: UInt64  // 56
    var sentBytes: UInt64  // 64
}

/// What a datagram socket keeps in fields that only streams use otherwise.
extension Slot {
    /// Received buffers that are not back in the pool: the receive credit used.
    var heldBuffers: UInt32 {
        @inline(__always) get { queuedCapacity }
        @inline(__always) set { queuedCapacity = newValue }
    }
    /// Newest train of this turn, or none.
    var lastTrain: UInt32 {
        @inline(__always) get { nextInList }
        @inline(__always) set { nextInList = newValue }
    }
    /// Largest segment the kernel is asked to cut a train into: 0 none, smaller after a refusal.
    var segmentLimit: UInt16 {
        @inline(__always) get { lingerMilliseconds }
        @inline(__always) set { lingerMilliseconds = newValue }
    }
    /// Datagrams of the turn `burstTurn`; `UInt8.max` of a socket that never reads trains.
    var burst: UInt8 {
        @inline(__always) get { readScore }
        @inline(__always) set { readScore = newValue }
    }
    /// Low bits of a turn's number.
    var burstTurn: UInt16 {
        @inline(__always) get { sendingBuffers }
        @inline(__always) set { sendingBuffers = newValue }
    }
}

/// A slot's cold record: where the peer is, and where a connect is going while the kernel reads it.
struct SlotAddress {
    var address: SocketAddress  // 28 bytes
    var lingerUntil: UInt32  // 32: end of a polite end in units of `EngineLimits.lingerUnitMilliseconds`

    /// Of a datagram socket: drops of the kernel that are counted already.
    var lostCounted: UInt32 {
        get { lingerUntil }
        set { lingerUntil = newValue }
    }
}
