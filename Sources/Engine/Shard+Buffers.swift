import CRing

extension Shard {
    /// Address of the buffer's first payload byte. In front of it lie `EngineLimits.headroomBytes` more.
    @inline(__always)
    public func bytes(_ buffer: BufferIndex) -> UnsafeMutableRawPointer {
        buffer.bufferClass == .small ? state.pointee.small.payload(buffer.number) : state.pointee.bulk.payload(buffer.number)
    }

    /// Payload bytes the buffer holds.
    @inline(__always)
    public func capacity(_ buffer: BufferIndex) -> Int {
        buffer.bufferClass == .small ? Int(state.pointee.small.capacity) : Int(state.pointee.bulk.capacity)
    }

    /// Bytes in front of the headroom that TLS records of this buffer may take.
    @inline(__always)
    func recordRoom(_ buffer: BufferIndex) -> Int {
        buffer.bufferClass == .small ? EngineLimits.recordRoomSmall : EngineLimits.recordRoomBulk
    }

    @inline(__always)
    func record(_ buffer: BufferIndex) -> UnsafeMutablePointer<BufferRecord> {
        if buffer.isSlice { return state.pointee.slices.records + buffer.slice }
        return (buffer.bufferClass == .small ? state.pointee.small.records : state.pointee.bulk.records) + buffer.number
    }

    /// Takes a buffer for output of one's own, from the reserve if need be; nil when even that is used up.
    public func acquire(_ bufferClass: BufferClass = .small) -> BufferIndex? {
        if bufferClass == .small {
            guard state.pointee.small.freeCount > 0 else { return nil }
            return BufferIndex(UInt32(state.pointee.small.take(for: .owner)))
        }
        guard state.pointee.bulk.freeCount > 0 else { return nil }
        return BufferIndex(1 << 16 | UInt32(state.pointee.bulk.take(for: .owner)))
    }

    /// Returns a buffer the caller has.
    @inline(__always)
    public func release(_ buffer: BufferIndex) { put(buffer, from: .owner) }

    @inline(__always)
    func put(_ buffer: BufferIndex, from holder: BufferHolder) {
        if buffer.bufferClass == .small {
            state.pointee.small.put(buffer.number, from: holder)
        } else if buffer.isSlice {
            dropSlice(buffer)
        } else if state.pointee.bulk.references[buffer.number] > 0 {
            precondition(state.pointee.bulk.records[buffer.number].holder == holder, "a buffer has exactly one owner")
            state.pointee.bulk.records[buffer.number].holder = .shared
        } else {
            state.pointee.bulk.put(buffer.number, from: holder)
        }
    }

    /// How many buffers one stream may hold queued now: fewer as the pool runs low, so that slow peers cannot take all.
    @inline(__always)
    var queuedBuffersAllowed: UInt16 {
        let free = state.pointee.small.freeCount
        let quarter = state.pointee.small.count &>> 2
        if free > quarter { return EngineLimits.queuedBuffersHigh }
        return free > quarter &>> 1 ? EngineLimits.queuedBuffersLow : 1
    }

    /// Buffers that are neither in the pool nor offered to the kernel, and slices: with owners or in queues.
    public var buffersHeld: Int {
        let small = state.pointee.small.count &- state.pointee.small.freeCount &- state.pointee.small.offered
        let bulk = state.pointee.bulk.count &- state.pointee.bulk.freeCount &- state.pointee.bulk.offered
        return small &+ bulk &+ state.pointee.slices.count &- state.pointee.slices.freeCount
    }

    /// Bytes of the pool's mappings; memory is used only where a buffer was ever used.
    public var poolBytes: Int {
        state.pointee.small.stride &* state.pointee.small.count &+ state.pointee.bulk.stride &* state.pointee.bulk.count
    }
}
