import CSocket

/// Parts of one buffer in the queues of several streams.
///
/// Theory of operation
/// - A bulk buffer that holds bytes for several streams is not copied apart: each stream's queue gets a *slice*, a record of its
///   own that points into the buffer. The buffer counts its slices and returns to the pool when the last is sent and its
///   owner has released it.
/// - A slice lives for a turn. A stream whose peer does not take its bytes at once gets copies of what is left
///   (`keepCopies`), so that a slow peer holds no bulk buffer that was filled for others too, unless small ones are used up.
/// - Slices of secure streams do not exist: encryption needs room around the bytes.
extension Shard {
    /// Queues `count` bytes, from `start` of the payload, of a bulk buffer that the caller keeps and must release later.
    ///
    /// The bytes must not change any more. False when the stream is behind, or not connected, or there are no more slices: the
    /// bytes then have to be copied (`append`). With `evenIfBehind` only the lack of slices is a reason: for when there are no
    /// small buffers to copy into. A stream that can send no more takes the bytes and drops them.
    @inline(__always)
    public func share(_ slot: SlotIndex, _ buffer: BufferIndex, start: Int, count: Int, evenIfBehind: Bool = false) -> Bool {
        let stream = state.pointee.slots + Int(slot.raw)
        if !stream.pointee.flags.isDisjoint(with: [.closing, .failed, .finishWanted]) { return true }
        guard buffer.bufferClass == .bulk, !stream.pointee.flags.contains(.secure), state.pointee.slices.freeCount > 0
        else { return false }
        if !evenIfBehind {
            guard stream.pointee.flags.isDisjoint(with: [.connecting, .sendWaiting, .sendInFlight]),
                stream.pointee.queuedBuffers < EngineLimits.queuedSlices
            else { return false }
        }
        precondition(state.pointee.bulk.records[buffer.number].holder == .owner)
        let slice = BufferIndex(buffer, slice: state.pointee.slices.take())
        state.pointee.bulk.references[buffer.number] &+= 1
        let entry = record(slice)
        entry.pointee = BufferRecord(
            next: BufferIndex.none.raw, start: UInt32(truncatingIfNeeded: start &+ EngineLimits.headroomBytes),
            count: UInt32(truncatingIfNeeded: count), payloadBytes: 0, pieceBytes: 0, headerBytes: 0, holder: .queue)
        state.pointee.statistics.add(.slices)
        enqueue(slot, stream, slice, entry)
        return true
    }

    /// Forgets a slice; with the last one its buffer returns to the pool, unless its owner still has it.
    @inline(__always)
    func dropSlice(_ slice: BufferIndex) {
        state.pointee.slices.put(slice.slice)
        let number = slice.number
        state.pointee.bulk.references[number] &-= 1
        guard state.pointee.bulk.references[number] == 0, state.pointee.bulk.records[number].holder == .shared else { return }
        state.pointee.bulk.put(number, from: .shared)
    }

    /// The peer is behind: what the stream's queue holds of shared buffers moves into small ones. Without free small
    /// buffers the rest stays where it is.
    @inline(never)
    func keepCopies(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>) {
        var previous = BufferIndex.none
        var current = BufferIndex(stream.pointee.queueHead)
        while current != .none {
            let entry = record(current).pointee
            var last = current
            if current.isSlice {
                guard let copies = copy(stream, current, entry) else { return }
                if previous == .none {
                    stream.pointee.queueHead = copies.first.raw
                } else {
                    record(previous).pointee.next = copies.first.raw
                }
                record(copies.last).pointee.next = entry.next
                if entry.next == BufferIndex.none.raw { stream.pointee.queueTail = copies.last.raw }
                dropSlice(current)
                state.pointee.statistics.add(.slicesCopied)
                last = copies.last
            }
            previous = last
            current = BufferIndex(entry.next)
        }
    }

    /// Copies of a slice's bytes in small buffers, linked to one another; nil without enough free ones.
    private func copy(_ stream: UnsafeMutablePointer<Slot>, _ slice: BufferIndex, _ entry: BufferRecord)
        -> (first: BufferIndex, last: BufferIndex)?
    {
        let room = EngineLimits.smallBufferBytes
        let needed = (Int(entry.count) &+ room &- 1) / room
        guard needed <= state.pointee.small.freeCount &- state.pointee.small.reserve else { return nil }
        let source = bytes(slice) - EngineLimits.headroomBytes + Int(Int32(bitPattern: entry.start))
        var first = BufferIndex.none
        var last = BufferIndex.none
        var done = 0
        while done < Int(entry.count) {
            guard let buffer = acquire(.small) else { preconditionFailure("free buffers were counted") }
            let part = min(Int(entry.count) &- done, room)
            bytes(buffer).copyMemory(from: source + done, byteCount: part)
            record(buffer).pointee = BufferRecord(
                next: BufferIndex.none.raw, start: UInt32(EngineLimits.headroomBytes), count: UInt32(truncatingIfNeeded: part),
                payloadBytes: 0, pieceBytes: 0, headerBytes: 0, holder: .queue)
            if last == .none { first = buffer } else { record(last).pointee.next = buffer.raw }
            last = buffer
            done &+= part
        }
        stream.pointee.queuedBuffers &+= UInt16(truncatingIfNeeded: needed &- 1)
        stream.pointee.queuedCapacity &+= UInt32(truncatingIfNeeded: needed &* room) &- queuedCapacity(slice)
        return (first, last)
    }

    /// What a queued buffer counts against its stream's capacity.
    @inline(__always)
    func queuedCapacity(_ buffer: BufferIndex) -> UInt32 {
        buffer.isSlice ? UInt32(EngineLimits.smallBufferBytes) : UInt32(truncatingIfNeeded: capacity(buffer))
    }
}

/// The records of slices.
struct SliceTable {
    let records: UnsafeMutablePointer<BufferRecord>
    let count: Int
    let free: UnsafeMutablePointer<UInt16>
    var freeCount: Int

    init?(count: Int) {
        precondition(count > 0 && count < BufferIndex.slicesMaximum)
        guard let records = memory_map((count + 1) * MemoryLayout<BufferRecord>.stride), let free = memory_map(count * 2)
        else { return nil }
        self.records = records.bindMemory(to: BufferRecord.self, capacity: count + 1)
        self.free = free.bindMemory(to: UInt16.self, capacity: count)
        self.count = count
        freeCount = count
        for index in 0..<count { self.free[index] = UInt16(count - index) }
    }

    func unmap() {
        memory_unmap(records, (count + 1) * MemoryLayout<BufferRecord>.stride)
        memory_unmap(free, count * 2)
    }

    @inline(__always)
    mutating func take() -> Int {
        precondition(freeCount > 0)
        freeCount &-= 1
        return Int(free[freeCount])
    }

    @inline(__always)
    mutating func put(_ number: Int) {
        precondition(records[number].holder == .queue, "a slice has exactly one queue")
        records[number].holder = .pool
        free[freeCount] = UInt16(truncatingIfNeeded: number)
        freeCount &+= 1
    }
}
