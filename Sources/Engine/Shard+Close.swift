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
        if stream.pointee.flags.contains(.secure), closeSecure(slot) { return }
        stream.pointee.flags.insert(.closing)
        stream.pointee.flags.remove(.receiveWanted)
        stream.pointee.owner = Owner.engine.raw
        forgetStarved(slot)
        clearTimer(slot)
        if stream.pointee.flags.contains(.datagram) { forgetDatagrams(slot) }
        closeStep(slot)
    }

    /// Ends the stream politely: what is queued is sent, then FIN, then the peer has until `EngineLimits.lingerMilliseconds`
    /// to close its side. No further event comes; the owner may forget the stream now.
    ///
    /// - Parameters:
    ///   - drainMilliseconds: how long the queue may make no progress before the stream is ended at once; 65 s at most.
    ///   - totalMilliseconds: how long all of it may take, progress or not: a peer that reads a byte a second does not stay.
    ///   - reporting: one more event comes, `closed`, with the present owner and context.
    public func linger(_ slot: SlotIndex, drainMilliseconds: UInt64,
                       totalMilliseconds: UInt64 = EngineLimits.lingerTotalMilliseconds, reporting: Bool = false) {
        let stream = state.pointee.slots + Int(slot.raw)
        precondition(stream.pointee.flags.contains(.used))
        if stream.pointee.flags.contains(.closing) { return }
        if reporting {
            stream.pointee.flags.insert(.reportsClose)
            stream.pointee.closeOwner = stream.pointee.owner
        }
        if !stream.pointee.flags.isDisjoint(with: [.failed, .handshaking]) { return close(slot) }
        stream.pointee.owner = Owner.engine.raw
        stream.pointee.flags.insert(.lingering)
        stream.pointee.lingerMilliseconds = UInt16(min(drainMilliseconds, UInt64(UInt16.max)))
        let end = (now &+ totalMilliseconds) / EngineLimits.lingerUnitMilliseconds &+ 1
        state.pointee.addresses[Int(slot.raw)].lingerUntil = UInt32(truncatingIfNeeded: end)
        extendLinger(slot)
        finish(slot)
        // The peer's remaining bytes are read and dropped: closing with unread bytes would send a reset, which takes
        // from the peer what it has not read yet (RFC 9293 section 3.6.1, RFC 9112 section 9.6).
        resumeReceive(slot)
        armReceive(slot)
        if stream.pointee.flags.contains(.finished) { finishCompleted(slot) }
    }

    /// Progress: the time without progress starts again, within the time for all of it.
    func extendLinger(_ slot: SlotIndex) {
        let end = UInt64(state.pointee.addresses[Int(slot.raw)].lingerUntil) &* EngineLimits.lingerUnitMilliseconds
        let left = end > now ? end &- now : 0
        setTimer(slot, afterMilliseconds: min(UInt64(state.pointee.slots[Int(slot.raw)].lingerMilliseconds), left))
    }

    private func lingerIsOver(_ slot: SlotIndex) -> Bool {
        UInt64(state.pointee.addresses[Int(slot.raw)].lingerUntil) &* EngineLimits.lingerUnitMilliseconds <= now
    }

    /// The time for a polite end is over, unless the send that waits in the kernel has moved bytes meanwhile: cancelled,
    /// it reports them, and the time starts again; with none it fails and the stream is closed.
    func lingerTimePassed(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        guard stream.pointee.flags.isSuperset(of: [.sendInFlight, .sendWaiting]), !lingerIsOver(slot) else { return close(slot) }
        demandProgress(slot)
    }

    /// A peer that takes nothing is not waited for: the send that waits in the kernel must have moved bytes since it began. It is
    /// cancelled, reports what it moved and goes on; with nothing moved the stream fails with ECANCELED. Without such a send nothing
    /// happens.
    public func demandProgress(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        guard stream.pointee.flags.isSuperset(of: [.sendInFlight, .sendWaiting]) else { return }
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
        if state.pointee.slots[Int(slot.raw)].flags.isSuperset(of: [.lingering, .finished]) { close(slot) }
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

    func closeCompleted(_ slot: SlotIndex, _ event: inout Event) -> Bool {
        let stream = state.pointee.slots + Int(slot.raw)
        stream.pointee.inFlight &-= 1
        if stream.pointee.flags.contains(.dirty) { forgetDirty(slot) }
        if stream.pointee.flags.contains(.datagram) { state.pointee.datagramSockets &-= 1 }
        let reports = stream.pointee.flags.contains(.reportsClose)
        if reports {
            fill(&event, .closed, slot)
            event.owner = Owner(stream.pointee.closeOwner)
        }
        freeSlot(slot)
        return reports
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
