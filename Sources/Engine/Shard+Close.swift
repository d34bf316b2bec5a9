import CRing
import Ring

/// Closing.
///
/// io_uring keeps its own reference to a file: close(2) does not cancel requests (io_uring_cancelation(7)). So a close is
/// a join: stop, cancel everything on the descriptor, wait until nothing is in flight, close, free.
extension Shard {
    /// Ends the stream at once: queued output is dropped, no further event comes, the owner may forget it now.
    public func close(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        precondition(stream.pointee.flags.contains(.used))
        if stream.pointee.flags.contains(.closing) { return }
        stream.pointee.flags.insert(.closing)
        stream.pointee.flags.remove(.receiveWanted)
        stream.pointee.owner = Owner.engine.raw
        forgetStarved(slot)
        clearTimer(slot)
        closeStep(slot)
    }

    /// Ends the stream politely: what is queued is sent, then FIN, then the peer has until `EngineLimits.lingerMilliseconds`
    /// to close its side. No further event comes; the owner may forget the stream now.
    ///
    /// - Parameter drainMilliseconds: how long the queue may make no progress before the stream is ended at once.
    public func linger(_ slot: SlotIndex, drainMilliseconds: UInt64) {
        let stream = state.pointee.slots + Int(slot.raw)
        precondition(stream.pointee.flags.contains(.used))
        if stream.pointee.flags.contains(.closing) { return }
        if stream.pointee.flags.contains(.failed) { return close(slot) }
        stream.pointee.owner = Owner.engine.raw
        stream.pointee.flags.insert(.lingering)
        stream.pointee.lingerMilliseconds = UInt16(min(drainMilliseconds, UInt64(UInt16.max)))
        setTimer(slot, afterMilliseconds: UInt64(stream.pointee.lingerMilliseconds))
        finish(slot)
        // The peer's remaining bytes are read and dropped: closing with unread bytes would send a reset, which takes
        // from the peer what it has not read yet (RFC 9293 section 3.6.1, RFC 9112 section 9.6).
        resumeReceive(slot)
        armReceive(slot)
        if stream.pointee.flags.contains(.finishDone) { finishCompleted(slot) }
    }

    /// The time for a polite end is over, unless the send that waits in the kernel has moved bytes meanwhile: cancelled,
    /// it reports them, and the time starts again; with none it fails and the stream is closed.
    func lingerTimePassed(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        guard stream.pointee.flags.isSuperset(of: [.sendInFlight, .sendWaiting]) else { return close(slot) }
        stream.pointee.inFlight &+= 1
        ring_prepare_cancel(state.pointee.ring.entry(), token(.send, slot), token(.cancel, slot))
    }

    /// FIN is out: the peer's FIN ends a lingering stream, or its time does. A peer that keeps sending buys no time.
    func finishCompleted(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        guard stream.pointee.flags.contains(.lingering) else { return }
        if stream.pointee.flags.contains(.receiveEnded) { return close(slot) }
        setTimer(slot, afterMilliseconds: UInt64(EngineLimits.lingerMilliseconds))
    }

    /// The peer's FIN came in on a lingering stream.
    func lingerEnded(_ slot: SlotIndex) {
        if state.pointee.slots[Int(slot.raw)].flags.isSuperset(of: [.lingering, .finishDone]) { close(slot) }
    }

    func closeStep(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        if stream.pointee.flags.contains(.closeSent) { return }
        if stream.pointee.inFlight > 0 {
            if stream.pointee.flags.contains(.cancelSent) { return }
            stream.pointee.flags.insert(.cancelSent)
            stream.pointee.inFlight &+= 1
            ring_prepare_cancel_descriptor(state.pointee.ring.entry(), stream.pointee.descriptor, token(.cancel, slot))
            return
        }
        dropQueue(stream)
        stream.pointee.flags.insert(.closeSent)
        stream.pointee.inFlight &+= 1
        ring_prepare_close(state.pointee.ring.entry(), stream.pointee.descriptor, token(.close, slot))
    }

    private func dropQueue(_ stream: UnsafeMutablePointer<Slot>) {
        while stream.pointee.queueHead != BufferIndex.none.raw {
            let buffer = BufferIndex(stream.pointee.queueHead)
            stream.pointee.queueHead = record(buffer).pointee.next
            put(buffer, from: .queue)
        }
        stream.pointee.queueTail = BufferIndex.none.raw
        stream.pointee.queuedBuffers = 0
        stream.pointee.queuedBytes = 0
        stream.pointee.queuedCapacity = 0
    }

    func closeCompleted(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        stream.pointee.inFlight &-= 1
        if stream.pointee.flags.contains(.dirty) { forgetDirty(slot) }
        freeSlot(slot)
    }

    /// Takes a closing slot out of the dirty list; rare, since every turn empties the list.
    private func forgetDirty(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        var previous = SlotIndex.none.raw
        var current = state.pointee.dirty
        while current != slot.raw {
            previous = current
            current = state.pointee.slots[Int(current)].nextInList
        }
        if previous == SlotIndex.none.raw {
            state.pointee.dirty = stream.pointee.nextInList
        } else {
            state.pointee.slots[Int(previous)].nextInList = stream.pointee.nextInList
        }
        stream.pointee.flags.remove(.dirty)
    }

    func cancelCompleted(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        stream.pointee.inFlight &-= 1
        if stream.pointee.flags.contains(.closing) {
            closeStep(slot)
        } else {
            armReceive(slot)
        }
    }
}
