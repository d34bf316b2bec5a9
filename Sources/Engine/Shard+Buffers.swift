import CRing

/// Having buffers: where they lie, who takes and gives them back, and when there are few.
///
/// What waits for a slow peer may hold buffers for long. Receives must find some meanwhile, so more than a share of a class is not
/// given to output: for streams the share shrinks with what is left (`queuedBuffersAllowed`), of what datagrams come in it is half
/// (`runsLow`).
extension Shard {
    /// Address of the buffer's first payload byte. In front of it lie `EngineLimits.headroomBytes` more.
    @inline(__always)
    public func bytes(_ buffer: BufferIndex) -> UnsafeMutableRawPointer {
        switch buffer.bufferClass {
        case .small: state.pointee.small.payload(buffer.number)
        case .bulk: state.pointee.bulk.payload(buffer.number)
        case .packet: state.pointee.packets.payload(buffer.number)
        case .train: state.pointee.trains.payload(buffer.number)
        }
    }

    /// Payload bytes the buffer holds.
    @inline(__always)
    public func capacity(_ buffer: BufferIndex) -> Int {
        switch buffer.bufferClass {
        case .small: Int(state.pointee.small.capacity)
        case .bulk: Int(state.pointee.bulk.capacity)
        case .packet: Int(state.pointee.packets.capacity)
        case .train: Int(state.pointee.trains.capacity)
        }
    }

    /// Bytes in front of the first payload byte that output may begin in.
    @inline(__always)
    func frontBytes(_ buffer: BufferIndex) -> Int {
        EngineLimits.headroomBytes &+ (buffer.bufferClass == .train ? EngineLimits.spreadRoomBytes : 0)
    }

    @inline(__always)
    func record(_ buffer: BufferIndex) -> UnsafeMutablePointer<BufferRecord> {
        if buffer.isSlice { return state.pointee.slices.records + buffer.slice }
        return switch buffer.bufferClass {
        case .small: state.pointee.small.records + buffer.number
        case .bulk: state.pointee.bulk.records + buffer.number
        case .packet: state.pointee.packets.records + buffer.number
        case .train: state.pointee.trains.records + buffer.number
        }
    }

    /// Takes a buffer for output of one's own, from the reserve if need be; nil when even that is used up.
    public func acquire(_ bufferClass: BufferClass = .small) -> BufferIndex? {
        let number: Int
        switch bufferClass {
        case .small:
            guard state.pointee.small.freeCount > 0 else { return nil }
            number = state.pointee.small.take(for: .owner)
        case .bulk:
            guard state.pointee.bulk.freeCount > 0 else { return nil }
            number = state.pointee.bulk.take(for: .owner)
        case .packet:
            guard state.pointee.packets.freeCount > 0 else { return nil }
            number = state.pointee.packets.take(for: .owner)
        case .train:
            guard state.pointee.trains.freeCount > 0 else { return nil }
            number = state.pointee.trains.take(for: .owner)
        }
        return BufferIndex(UInt32(bufferClass.rawValue) &<< 16 | UInt32(truncatingIfNeeded: number))
    }

    /// Returns a buffer the caller has.
    @inline(__always)
    public func release(_ buffer: BufferIndex) { put(buffer, from: .owner) }

    @inline(__always)
    func put(_ buffer: BufferIndex, from holder: BufferHolder) {
        switch buffer.bufferClass {
        case .small: state.pointee.small.put(buffer.number, from: holder)
        case .bulk: putBulk(buffer, from: holder)
        case .packet:
            state.pointee.packets.put(buffer.number, from: holder)
            returnCredit(state.pointee.packetSources + buffer.number)
        case .train:
            state.pointee.trains.put(buffer.number, from: holder)
            returnCredit(state.pointee.trainSources + buffer.number)
        }
    }

    @inline(__always)
    private func putBulk(_ buffer: BufferIndex, from holder: BufferHolder) {
        if buffer.isSlice {
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

    /// Whether more than half of a class are held. What is left is for receives: nothing more should wait in such buffers.
    @inline(__always)
    public func runsLow(_ bufferClass: BufferClass) -> Bool {
        switch bufferClass {
        case .small: queuedBuffersAllowed < EngineLimits.queuedBuffersHigh
        case .bulk: state.pointee.bulk.held > state.pointee.bulk.count &>> 1
        case .packet: state.pointee.packets.held > state.pointee.packets.count &>> 1
        case .train: state.pointee.trains.held > state.pointee.trains.count &>> 1
        }
    }

    /// Buffers that are neither in the pool nor offered to the kernel, and slices: with owners or in queues.
    public var buffersHeld: Int {
        let pools = state.pointee.small.held &+ state.pointee.bulk.held &+ state.pointee.packets.held &+ state.pointee.trains.held
        return pools &+ state.pointee.slices.count &- state.pointee.slices.freeCount
    }

    /// Bytes of the pool's mappings; memory is used only where a buffer was ever used.
    public var poolBytes: Int {
        state.pointee.small.mappedBytes &+ state.pointee.bulk.mappedBytes &+ state.pointee.packets.mappedBytes
            &+ state.pointee.trains.mappedBytes
    }
}
