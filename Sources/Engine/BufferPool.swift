import CRing
import CSocket
import Ring

/// A buffer of a shard's pool, or a slice of one.
public struct BufferIndex: Equatable, Sendable {
    /// slice << 18 | class << 16 | number, or `UInt32.max` for none. Slice 0 is the buffer itself.
    public let raw: UInt32
    /// Wraps a raw index.
    @inline(__always) public init(_ raw: UInt32) { self.raw = raw }
    /// No buffer.
    public static let none = BufferIndex(.max)
    /// The class this buffer is of.
    @inline(__always) public var bufferClass: BufferClass {
        BufferClass(rawValue: UInt8(truncatingIfNeeded: raw &>> 16 & 3)).unsafelyUnwrapped
    }
    @inline(__always) var number: Int { Int(raw & 0xFFFF) }
    @inline(__always) var slice: Int { Int(raw &>> 18) }
    @inline(__always) var isSlice: Bool { raw &>> 18 != 0 }
    @inline(__always) init(_ buffer: BufferIndex, slice: Int) { raw = buffer.raw | UInt32(truncatingIfNeeded: slice) &<< 18 }
    /// Slices that can be named, and one more for none.
    static let slicesMaximum = 1 << 14 - 1
}

/// The sizes buffers come in.
public enum BufferClass: UInt8, Sendable {
    /// What interactive streams read into, and output is written into.
    case small = 0
    /// What streams with much to read read into.
    case bulk = 1
    /// One datagram behind what the kernel says about it.
    case packet = 2
    /// A train of datagrams, likewise.
    case train = 3

    /// Room in front of the headroom: for what TLS adds, and in a train's buffer for the headers between its datagrams.
    var frontRoomBytes: Int {
        switch self {
        case .small, .packet: EngineLimits.recordRoomSmall
        case .bulk: EngineLimits.recordRoomBulk
        case .train: EngineLimits.recordRoomBulk + EngineLimits.spreadRoomBytes
        }
    }
}

/// Who has a buffer. At any time exactly one of these.
enum BufferHolder: UInt8 {
    case pool = 0
    case kernel
    case owner
    case queue
    case shared  // only slices of it are left
    case sending  // sends of this turn read from it
}

/// Book-keeping of one buffer, 24 bytes, apart from the buffer itself so that walking a queue touches no payload.
///
/// A plain buffer sends `count` bytes from `start`. A framed one sends its payload in pieces, each behind a header of
/// `headerBytes` that lies in the headroom; `start` then counts the bytes already sent, headers included.
struct BufferRecord {
    var next: UInt32  // BufferIndex of the next in its queue
    var start: UInt32  // plain: first byte to send, from the buffer's base; framed: bytes sent
    var count: UInt32  // bytes still to send
    var payloadBytes: UInt32  // framed only
    var pieceBytes: UInt16  // 0: plain
    var headerBytes: UInt8  // framed only: of each piece's header
    var holder: BufferHolder
    var isEncrypted = false  // a secure stream's ciphertext, on its way in or out
}

/// One size class: a mapping that is touched only where used, a stack of free buffers, and the ring from which the
/// kernel takes them.
///
/// ```
/// base + number × stride
/// ┌─────────────┬──────────────┬──────────────────────────────┬────────────┐
/// │ front room  │ headroom 128 │ payload (capacity)           │ tailroom 32│
/// └─────────────┴──────────────┴──────────────────────────────┴────────────┘
///                              ▲ registered with the kernel
/// ```
/// The kernel takes buffers in ring order, so everything that is offered gets touched. Only as many as are likely to
/// be filled are offered; behind them the stack hands out the most recently used, which is still in the cache.
struct BufferClassPool {
    let base: UnsafeMutableRawPointer
    let stride: Int
    let front: Int  // front room and headroom
    let capacity: UInt32
    let count: Int
    let records: UnsafeMutablePointer<BufferRecord>
    let references: UnsafeMutablePointer<UInt16>  // slices of each buffer
    let free: UnsafeMutablePointer<UInt16>
    var freeCount: Int
    var clean: Int  // at the bottom of the stack: without memory (`Shard+Trim`)
    var floor: Int  // the fewest free ones since the last trim
    let ring: UnsafeMutablePointer<io_uring_buf_ring>
    let ringMask: UInt32
    let group: UInt16
    var offered: Int  // with the kernel now
    var offeredTarget: Int
    var offeredBefore = 0  // by the last `refillAsUsed`
    var filledMost = 0  // between two refills, since the target was last lowered
    var refills = 0  // in which any had been filled, likewise
    let offeredMaximum: Int
    let reserve: Int

    /// Maps the class's memory and hands its ring to the kernel. `entries` is a power of two.
    init(bufferClass: BufferClass, payloadBytes: Int, count: Int, entries: Int, reserve: Int, ring owner: Ring) throws(EngineError) {
        precondition(count <= 1 << 16 && entries & (entries - 1) == 0)
        front = EngineLimits.headroomBytes + bufferClass.frontRoomBytes
        let raw = front + payloadBytes + EngineLimits.tailroomBytes
        // An odd number of cache lines: neighbours do not begin in the same set of the cache.
        stride = (raw + 63) & ~63 | 64
        capacity = UInt32(payloadBytes)
        self.count = count
        group = UInt16(bufferClass.rawValue)
        guard let base = memory_map(stride * count), let ringMemory = memory_map(entries * MemoryLayout<io_uring_buf>.stride),
            let recordMemory = memory_map(count * MemoryLayout<BufferRecord>.stride), let freeMemory = memory_map(count * 2),
            let referenceMemory = memory_map(count * 2)
        else { throw .outOfMemory("\(stride * count) bytes of receive buffers") }
        self.base = base
        records = recordMemory.bindMemory(to: BufferRecord.self, capacity: count)
        free = freeMemory.bindMemory(to: UInt16.self, capacity: count)
        references = referenceMemory.bindMemory(to: UInt16.self, capacity: count)
        ring = ringMemory.bindMemory(to: io_uring_buf_ring.self, capacity: 1)
        ringMask = UInt32(entries - 1)
        offered = 0
        // What is offered cannot be had for output: a small pool keeps half for it.
        offeredMaximum = min(entries, max(1, reserve > 0 ? count / 2 : count))
        offeredTarget = 0
        self.reserve = reserve
        freeCount = count
        clean = count
        floor = count
        // Numbers descend so that the stack's top, handed out first, is buffer 0.
        for index in 0..<count { free[index] = UInt16(count - 1 - index) }
        let result = ring_register_buffers(owner.pointer, Int32(group), ring, UInt32(entries))
        guard result == 0 else { throw .kernel("registering a buffer ring", -result) }
    }

    func unmap() {
        memory_unmap(base, stride * count)
        memory_unmap(records, count * MemoryLayout<BufferRecord>.stride)
        memory_unmap(free, count * 2)
        memory_unmap(references, count * 2)
        memory_unmap(ring, (Int(ringMask) + 1) * MemoryLayout<io_uring_buf>.stride)
    }

    /// Buffers that are neither free nor offered.
    @inline(__always)
    var held: Int { count &- freeCount &- offered }

    /// Address space of the buffers.
    var mappedBytes: Int { stride &* count }

    /// Address of the first payload byte.
    @inline(__always)
    func payload(_ number: Int) -> UnsafeMutableRawPointer { base + (number &* stride &+ front) }

    @inline(__always)
    mutating func take(for holder: BufferHolder) -> Int {
        precondition(freeCount > 0)
        freeCount &-= 1
        if freeCount < floor { floor = freeCount }
        if freeCount < clean { clean = freeCount }
        let number = Int(free[freeCount])
        precondition(records[number].holder == .pool)
        records[number].holder = holder
        return number
    }

    @inline(__always)
    mutating func put(_ number: Int, from holder: BufferHolder) {
        precondition(records[number].holder == holder, "a buffer has exactly one owner")
        records[number].holder = .pool
        free[freeCount] = UInt16(truncatingIfNeeded: number)
        freeCount &+= 1
    }

    /// Offers buffers up to the target; one store publishes them all.
    @inline(__always)
    mutating func refill() {
        var wanted = offeredTarget &- offered
        if wanted <= 0 { return }
        wanted = min(wanted, freeCount &- reserve)
        if wanted > 0 { offer(wanted) }
    }

    /// Refills, and from time to time lowers the target to the most buffers that were filled between two refills: the kernel takes
    /// them in order, so each one that is offered gets touched, and few stay in the cache.
    @inline(__always)
    mutating func refillAsUsed(least: Int) {
        let filled = offeredBefore &- offered
        if filled > 0 {
            filledMost = max(filledMost, filled)
            refills &+= 1
            if refills == EngineLimits.refillsToLower {
                offeredTarget = max(least, min(offeredTarget, filledMost))
                filledMost = 0
                refills = 0
            }
        }
        refill()
        offeredBefore = offered
    }

    /// Offers so many, out of the reserve if need be.
    @inline(__always)
    mutating func offer(_ wanted: Int) {
        for offset in 0..<wanted {
            let number = take(for: .kernel)
            ring_buffers_put(ring, payload(number), capacity, UInt16(truncatingIfNeeded: number), ringMask, UInt32(offset))
        }
        ring_buffers_publish(ring, UInt32(wanted))
        offered &+= wanted
    }
}
