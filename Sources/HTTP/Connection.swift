import Engine
import Glibc
import Wire

/// A connection in its HTTP phase. Freed when it is closed or handed to a feature: an upgraded connection costs nothing here.
struct Connection {
    enum Phase: UInt8 {
        case head  // waiting for, or in the middle of, a request's head
        case body  // the head is parsed, its body is not complete
        case ready  // a complete request is with its handler
        case postponed  // its handler answers later
        case streaming  // an answer is being produced as the client takes it
        case free
    }

    var slot: SlotIndex
    var listener: UInt32
    var phase: Phase
    var started: Bool  // the first byte of a request came
    var ended: Bool  // the client will send no more
    var congested: Bool  // pipelined requests wait until the client has taken its answers
    var headBytes: Int32  // length of the present request's head, when parsed, else 0
    var bodyLength: Int32  // length of its body, or `chunkedBody`
    var bodyBytes: Int32  // length of its decoded body so far
    var bodyWire: Int32  // bytes behind the head that belong to it, so far
    var generation: UInt32  // changes whenever the place is freed
    var postponedTraits: PostponedTraits
    var input: Input
    var cold: Unmanaged<ConnectionCold>?
    var nextFree: UInt32

    static let chunkedBody: Int32 = -1

    /// Whether what is received waits behind an answer that the client has not taken.
    var isWaiting: Bool { phase == .streaming || phase == .postponed || congested }

    /// Forgets the present request.
    mutating func clearRequest() {
        headBytes = 0
        bodyLength = 0
        bodyBytes = 0
        bodyWire = 0
    }
}

/// What of a postponed request its answer depends on.
struct PostponedTraits: OptionSet {
    let rawValue: UInt8
    static let bodyless = PostponedTraits(rawValue: 1)  // HEAD
    static let closes = PostponedTraits(rawValue: 2)
    static let oldClient = PostponedTraits(rawValue: 4)  // HTTP/1.0
}

/// A request whose answer comes later: the connection may be gone by then.
public struct PostponedRequest: Sendable {
    /// Index of the connection.
    public let index: UInt32
    let generation: UInt32
}

/// State only few connections need: a chunked body, a streamed answer.
final class ConnectionCold {
    var chunked: ChunkedDecoder?
    var fill: ((UInt64, UnsafeMutableRawBufferPointer) -> Void)?
    var offset: UInt64 = 0
    var count: UInt64 = 0
    var closes = false
}

/// Bytes a connection received and has not used up.
///
/// While an event is dealt with they may stand in the receive buffer they came in. What has to wait for more is moved to
/// a block of its own (`settle`), so that slow senders hold no buffer of the pool, and what they hold is counted.
struct Input {
    /// Smallest block: most heads fit.
    private static let blockBytesMinimum = 1024


    var buffer = BufferIndex.none
    var block: UnsafeMutableRawPointer?
    var start: Int32 = 0
    var end: Int32 = 0
    var blockCapacity: Int32 = 0

    var count: Int { Int(end &- start) }

    /// The bytes.
    func bytes(_ shard: Shard) -> UnsafeMutableRawBufferPointer {
        if let block { return UnsafeMutableRawBufferPointer(start: block + Int(start), count: count) }
        if buffer == .none { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        return UnsafeMutableRawBufferPointer(start: shard.bytes(buffer) + Int(start), count: count)
    }

    /// Takes a received buffer over. Returns the change of bytes held in blocks, or nil when the limit is exceeded; the
    /// buffer is the connection's or released in any case.
    mutating func append(_ received: BufferIndex, _ receivedCount: Int, _ shard: Shard, limit: Int) -> Int? {
        if count == 0 && block == nil {
            if buffer != .none { shard.release(buffer) }
            buffer = received
            start = 0
            end = Int32(receivedCount)
            return 0
        }
        defer { shard.release(received) }
        guard count + receivedCount <= limit else { return nil }
        let before = Int(blockCapacity)
        reserve(count + receivedCount, shard)
        (block! + Int(end)).copyMemory(from: shard.bytes(received), byteCount: receivedCount)
        end += Int32(receivedCount)
        return Int(blockCapacity) - before
    }

    /// Makes room for `wanted` bytes in a block, moving what there is to its front.
    private mutating func reserve(_ wanted: Int, _ shard: Shard) {
        if block != nil, wanted <= Int(blockCapacity) - Int(start) { return }
        var capacity = max(Int(blockCapacity), Self.blockBytesMinimum)
        while capacity < wanted { capacity *= 2 }
        let fresh = malloc(capacity)!
        let held = count
        fresh.copyMemory(from: bytes(shard).baseAddress!, byteCount: held)
        free(block)
        if buffer != .none {
            shard.release(buffer)
            buffer = .none
        }
        block = fresh
        blockCapacity = Int32(capacity)
        start = 0
        end = Int32(held)
    }

    /// Moves what stands in a receive buffer to a block. Returns the change of bytes held in blocks.
    mutating func settle(_ shard: Shard) -> Int {
        guard buffer != .none else { return 0 }
        reserve(count, shard)
        return Int(blockCapacity)
    }

    /// Takes `removed` bytes at `offset` out of the middle.
    mutating func cut(_ offset: Int, _ removed: Int, _ shard: Shard) {
        guard removed > 0 else { return }
        let bytes = bytes(shard)
        precondition(offset + removed <= bytes.count)
        let behind = bytes.count - offset - removed
        (bytes.baseAddress! + offset).copyMemory(from: bytes.baseAddress! + offset + removed, byteCount: behind)
        end -= Int32(removed)
    }

    /// Drops `used` bytes from the front; what is empty is returned. Returns the bytes of blocks freed.
    mutating func consume(_ used: Int, _ shard: Shard) -> Int {
        start += Int32(used)
        precondition(start <= end)
        return count == 0 ? discard(shard) : 0
    }

    /// Returns everything. Returns the bytes of blocks freed.
    mutating func discard(_ shard: Shard) -> Int {
        let freed = Int(blockCapacity)
        if buffer != .none { shard.release(buffer) }
        free(block)
        self = Input()
        return freed
    }
}
