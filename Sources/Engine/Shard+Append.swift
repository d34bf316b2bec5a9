import CRing
import Ring
import Wire

/// Copying behind what is queued.
///
/// A stream that shares its source with others cannot have the received buffer itself: its bytes are copied, or unmasked on
/// the way, to the end of its queue. Many small pieces so share a buffer, and a stream whose peer is behind holds hardly more
/// memory than bytes.
extension Shard {
    /// Room behind the last queued byte that the kernel does not read yet, and where it begins; 0 without such a buffer.
    @inline(__always)
    func tailRoom(_ slot: SlotIndex, _ place: inout UnsafeMutableRawPointer?) -> Int {
        let stream = state.pointee.slots + Int(slot.raw)
        guard stream.pointee.queuedBuffers > stream.pointee.sendingBuffers else { return 0 }
        let tail = BufferIndex(stream.pointee.queueTail)
        guard tail.bufferClass != .bulk else { return 0 }
        let entry = record(tail)
        guard entry.pointee.pieceBytes == 0, !entry.pointee.isEncrypted else { return 0 }
        let end = Int(entry.pointee.start &+ entry.pointee.count) &- EngineLimits.headroomBytes
        place = bytes(tail) + end
        return max(0, capacity(tail) &- end)
    }

    /// Makes bytes written into `tailRoom` part of the queue.
    @inline(__always)
    func extendTail(_ slot: SlotIndex, _ count: Int) {
        let stream = state.pointee.slots + Int(slot.raw)
        record(BufferIndex(stream.pointee.queueTail)).pointee.count &+= UInt32(truncatingIfNeeded: count)
        stream.pointee.queuedBytes &+= UInt32(truncatingIfNeeded: count)
    }

    /// Whether `count` bytes more find room in the last queued buffer and in free ones, with or without the reserve.
    public func canAppend(_ slot: SlotIndex, _ count: Int, fromReserve: Bool = true) -> Bool {
        var place: UnsafeMutableRawPointer?
        let missing = count &- tailRoom(slot, &place)
        let free = state.pointee.small.freeCount &- (fromReserve ? 0 : state.pointee.small.reserve)
        return missing <= 0 || (missing &- 1) / EngineLimits.smallBufferBytes < free
    }

    /// Copies bytes to the end of the stream's queue, XORed with `key` (see `ByteKernel.unmask`; 0 copies them as they are).
    /// All or nothing: false when there are not enough buffers, the reserve included. A stream that can send no more takes
    /// them and drops them.
    public func append(_ slot: SlotIndex, _ source: UnsafeRawPointer, _ count: Int, key: UInt32 = 0) -> Bool {
        let stream = state.pointee.slots + Int(slot.raw)
        if !stream.pointee.flags.isDisjoint(with: [.closing, .failed, .finishWanted]) { return true }
        var place: UnsafeMutableRawPointer?
        let room = tailRoom(slot, &place)
        if count <= room, let place {
            ByteKernel.unmask(source, place, count, key: key)
            extendTail(slot, count)
            return true
        }
        guard canAppend(slot, count) else { return false }
        var done = 0
        if room > 0, let place {
            ByteKernel.unmask(source, place, room, key: key)
            extendTail(slot, room)
            done = room
        }
        while done < count {
            guard let buffer = acquire(.small) else { preconditionFailure("free buffers were counted") }
            let part = min(count &- done, EngineLimits.smallBufferBytes)
            ByteKernel.unmask(source + done, bytes(buffer), part, key: ByteKernel.rotate(key, by: done))
            send(slot, buffer, start: 0, count: part)
            done &+= part
        }
        return true
    }

    /// Where a message of `count` bytes can be written behind the queued ones, all in one buffer; nil when it has to travel in
    /// a buffer of its own. What is written counts after `commitMessage`.
    @inline(__always)
    public func reserveMessage(_ slot: SlotIndex, _ count: Int) -> UnsafeMutableRawPointer? {
        var place: UnsafeMutableRawPointer?
        return tailRoom(slot, &place) >= count ? place : nil
    }

    /// Adds a message that was written where `reserveMessage` said.
    @inline(__always)
    public func commitMessage(_ slot: SlotIndex, _ count: Int) { extendTail(slot, count) }

    /// Buffers queued and not yet taken by the kernel.
    @inline(__always)
    public func queuedBuffers(_ slot: SlotIndex) -> Int { Int(state.pointee.slots[Int(slot.raw)].queuedBuffers) }

    /// Whether the pool is so low that streams may hold fewer buffers than usual.
    @inline(__always)
    public var runsLow: Bool { runsLow(.small) }

    /// From now on `queuedBytes` of this stream falls with every byte the kernel takes, at the price of a completion for
    /// each time a full socket has room again.
    public func countQueueExactly(_ slot: SlotIndex) { state.pointee.slots[Int(slot.raw)].flags.insert(.exactQueue) }

    /// Bytes that the kernel has not taken although it was offered them: what was queued in this turn is offered now.
    /// Cold: for a decision about a stream that seems to be behind. Exact after `countQueueExactly`.
    @inline(never)
    public func unsentBytes(_ slot: SlotIndex) -> Int {
        let stream = state.pointee.slots + Int(slot.raw)
        let queued = Int(stream.pointee.queuedBytes)
        if queued == 0 || !stream.pointee.flags.isDisjoint(with: [.sendWaiting, .connecting, .closing, .failed]) { return queued }
        flush(slot, stream)
        _ = state.pointee.ring.enter(waitingFor: 0, timeoutNanoseconds: 0)
        if state.pointee.silentCount > 0 { retireSilentSends() }
        if state.pointee.ring.unconsumed == 0 { state.pointee.vectorsUsed = 0 }
        guard stream.pointee.flags.contains(.sendInFlight) else { return Int(stream.pointee.queuedBytes) }
        // Its completion waits to be read.
        let ring = state.pointee.ring.pointer
        let wanted = token(.send, slot)
        for index in 0..<ring_waiting(ring) where ring_waiting_token(ring, index) == wanted {
            return Int(stream.pointee.queuedBytes) &- Int(max(0, ring_waiting_result(ring, index)))
        }
        return Int(stream.pointee.queuedBytes)
    }

    /// Has the next turn not wait: the layer above has work left.
    @inline(__always)
    public func turnSoon() { state.pointee.turnsSoon = true }
}
