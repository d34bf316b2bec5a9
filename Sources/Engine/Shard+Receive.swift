import CRing
import Glibc
import Ring

/// Receiving.
///
/// Theory of operation
/// - An interactive stream has one multishot receive armed on small buffers: a message costs no submission. Idle, it
///   holds no buffer; the kernel takes one when bytes arrive.
/// - A stream whose reads keep filling small buffers is bulk: a multishot receive on bulk buffers, of which only one more
///   is offered than streams read, so that a burst stays small. Reads that a small buffer would have held make it small again.
/// - Pausing cancels the receive; what the kernel had already received still arrives and is queued, bounded by the
///   kernel's own 32 reads a turn.
/// - A small ring without buffers parks the stream (`starved`) until buffers came back. A bulk stream that finds none asks
///   again at the end of the turn; when all are with streams it becomes small.
extension Shard {
    /// Starts or resumes reading.
    @inline(__always)
    public func resumeReceive(_ slot: SlotIndex) {
        let record = state.pointee.slots + Int(slot.raw)
        if record.pointee.flags.contains(.receiveWanted) { return }
        record.pointee.flags.insert(.receiveWanted)
        if record.pointee.flags.contains(.secure) { planWork(slot) }
        if !record.pointee.flags.contains(.connecting) { armReceive(slot) }
    }

    /// Stops reading. Buffers already filled still arrive.
    public func pauseReceive(_ slot: SlotIndex) {
        let record = state.pointee.slots + Int(slot.raw)
        if !record.pointee.flags.contains(.receiveWanted) { return }
        record.pointee.flags.remove(.receiveWanted)
        state.pointee.statistics.add(.receivePaused)
        cancelReceive(slot)
    }

    /// Whether the owner wants to read.
    @inline(__always)
    public func isReceiving(_ slot: SlotIndex) -> Bool {
        state.pointee.slots[Int(slot.raw)].flags.contains(.receiveWanted)
    }

    func cancelReceive(_ slot: SlotIndex) {
        let record = state.pointee.slots + Int(slot.raw)
        guard record.pointee.flags.contains(.receiveArmed), !record.pointee.flags.contains(.receiveCancelling) else { return }
        record.pointee.flags.insert(.receiveCancelling)
        record.pointee.inFlight &+= 1
        let operation: Token.Operation = record.pointee.flags.contains(.datagram) ? .receiveDatagrams : .receive
        ring_prepare_cancel(state.pointee.ring.entry(), token(operation, slot), token(.cancel, slot))
    }

    /// Arms again at the end of the turn: then the buffer just received is sent first, and the owner may have paused.
    @inline(__always)
    func armLater(_ slot: SlotIndex) {
        // A stream can end several receives in one turn when the submission queue overflows into early entries.
        if state.pointee.rearmCount == state.pointee.slotCapacity { return armReceive(slot) }
        state.pointee.rearm[state.pointee.rearmCount] = slot.raw
        state.pointee.rearmCount &+= 1
    }

    func armBehindSends() {
        for index in 0..<state.pointee.rearmCount { armReceive(SlotIndex(state.pointee.rearm[index])) }
        state.pointee.rearmCount = 0
    }

    /// `pollFirst`: nothing can have come yet, so that the attempt which would find nothing is left out.
    func armReceive(_ slot: SlotIndex, pollFirst: Bool = false) {
        let record = state.pointee.slots + Int(slot.raw)
        if record.pointee.flags.contains(.datagram) { return armDatagrams(slot) }
        let blocked: Slot.Flags = [.receiveArmed, .receiveEnded, .closing, .failed, .starved, .connecting, .secureHeld]
        guard record.pointee.flags.isDisjoint(with: blocked), !record.pointee.flags.isDisjoint(with: [.receiveWanted, .handshaking])
        else { return }
        // A handshake is short, and reads one buffer at a time.
        let bulk = record.pointee.flags.contains(.bulk) && !record.pointee.flags.contains(.handshaking)
        record.pointee.flags.insert(.receiveArmed)
        record.pointee.inFlight &+= 1
        // When the pool runs low a stream gets one buffer at a time: a multishot receive would hand it up to 32 a turn
        // before anybody could pause it.
        let free = state.pointee.small.freeCount > state.pointee.small.count &>> 1
        let multishot = bulk || (free && !record.pointee.flags.contains(.handshaking))
        record.pointee.flags.subtract([.receiveMultishot, .receiveBulk])
        if bulk {
            state.pointee.bulkArmed &+= 1
            record.pointee.flags.insert(.receiveBulk)
        } else if multishot {
            record.pointee.flags.insert(.receiveMultishot)
        }
        let group = bulk ? state.pointee.bulk.group : state.pointee.small.group
        ring_prepare_receive(
            state.pointee.ring.entry(), record.pointee.descriptor, group, multishot, pollFirst, token(.receive, slot))
    }

    @inline(__always)
    func received(_ slot: SlotIndex, _ completion: ring_completion, _ event: inout Event) -> Bool {
        let record = state.pointee.slots + Int(slot.raw)
        let bulk = record.pointee.flags.contains(.receiveBulk)
        let more = completion.flags & UInt32(IORING_CQE_F_MORE) != 0
        if !more {
            record.pointee.flags.subtract([.receiveArmed, .receiveCancelling])
            record.pointee.inFlight &-= 1
            if bulk { state.pointee.bulkArmed &-= 1 }
        }
        guard completion.result > 0, completion.flags & UInt32(IORING_CQE_F_BUFFER) != 0 else {
            return receivedNothing(slot, completion, &event)
        }
        let number = Int(completion.flags &>> UInt32(IORING_CQE_BUFFER_SHIFT))
        let buffer = takeReceived(number, bulk ? .bulk : .small)
        let count = Int(completion.result)
        if !record.pointee.flags.isDisjoint(with: [.closing, .failed]) || record.pointee.owner == Owner.engine.raw {
            release(buffer)
            if !more { receiveStopped(slot) }
            return false
        }
        record.pointee.receivedBytes &+= UInt64(count)
        state.pointee.statistics.add(.receives)
        state.pointee.statistics.add(.receivedBytes, UInt64(count))
        adapt(slot, count, bulk)
        if !more { armLater(slot) }
        if record.pointee.flags.contains(.secure) {
            secureReceived(slot, buffer, count)
            return false
        }
        fill(&event, .received, slot)
        event.buffer = buffer
        event.count = count
        return true
    }

    @inline(__always)
    private func takeReceived(_ number: Int, _ bufferClass: BufferClass) -> BufferIndex {
        if bufferClass == .small {
            precondition(state.pointee.small.records[number].holder == .kernel)
            state.pointee.small.records[number].holder = .owner
            state.pointee.small.offered &-= 1
        } else {
            precondition(state.pointee.bulk.records[number].holder == .kernel)
            state.pointee.bulk.records[number].holder = .owner
            state.pointee.bulk.offered &-= 1
        }
        return BufferIndex(UInt32(bufferClass.rawValue) &<< 16 | UInt32(truncatingIfNeeded: number))
    }

    /// Grows or shrinks the stream's receive class by what it read.
    @inline(__always)
    private func adapt(_ slot: SlotIndex, _ count: Int, _ bulk: Bool) {
        let record = state.pointee.slots + Int(slot.raw)
        if !bulk {
            if count < EngineLimits.smallBufferBytes {
                record.pointee.readScore = 0
            } else if !record.pointee.flags.contains(.bulk) {
                record.pointee.readScore &+= 1
                if record.pointee.readScore >= EngineLimits.fullReadsToGrow, state.pointee.bulk.freeCount > 0 {
                    record.pointee.flags.insert(.bulk)
                    record.pointee.readScore = 0
                    state.pointee.statistics.add(.grownToBulk)
                    cancelReceive(slot)
                }
            }
        } else if count > EngineLimits.smallBufferBytes {
            record.pointee.readScore = 0
        } else {
            record.pointee.readScore &+= 1
            if record.pointee.readScore >= EngineLimits.smallReadsToShrink {
                record.pointee.flags.remove(.bulk)
                record.pointee.readScore = 0
                cancelReceive(slot)
                state.pointee.statistics.add(.shrunkToSmall)
            }
        }
    }

    @inline(never)
    private func receivedNothing(_ slot: SlotIndex, _ completion: ring_completion, _ event: inout Event) -> Bool {
        let record = state.pointee.slots + Int(slot.raw)
        if completion.flags & UInt32(IORING_CQE_F_BUFFER) != 0 {
            // A buffer that came with an end or an error is empty.
            let number = Int(completion.flags &>> UInt32(IORING_CQE_BUFFER_SHIFT))
            release(takeReceived(number, record.pointee.flags.contains(.receiveBulk) ? .bulk : .small))
        }
        if record.pointee.flags.contains(.closing) {
            closeStep(slot)
            return false
        }
        if record.pointee.flags.contains(.failed) { return false }
        switch -completion.result {
        case 0:
            record.pointee.flags.insert(.receiveEnded)
            if record.pointee.owner == Owner.engine.raw {
                lingerEnded(slot)
                return false
            }
            if record.pointee.flags.contains(.secure) {
                secureEnded(slot, 0)
                return false
            }
            fill(&event, .ended, slot)
            return true
        case ENOBUFS:
            foundNoBuffer(slot)
            return false
        case ECANCELED, EAGAIN, EINTR:
            armReceive(slot)
            return false
        default:
            if record.pointee.flags.contains(.secure), record.pointee.owner != Owner.engine.raw {
                secureEnded(slot, -completion.result)
                return false
            }
            return fail(slot, -completion.result, &event)
        }
    }

    private func foundNoBuffer(_ slot: SlotIndex) {
        let record = state.pointee.slots + Int(slot.raw)
        state.pointee.statistics.add(.receiveStarved)
        if record.pointee.flags.contains(.receiveBulk) {
            // Others took the buffers that were offered: at the end of the turn there are more, unless all are with streams.
            if state.pointee.bulk.freeCount == 0 { record.pointee.flags.remove(.bulk) }
            armLater(slot)
            return
        }
        let target = state.pointee.small.offeredTarget
        state.pointee.small.offeredTarget = min(target &* 2, state.pointee.small.offeredMaximum)
        guard !record.pointee.flags.contains(.starved) else { return }
        record.pointee.flags.insert(.starved)
        record.pointee.nextStarved = SlotIndex.none.raw
        if state.pointee.starvedTail == SlotIndex.none.raw {
            state.pointee.starvedHead = slot.raw
        } else {
            state.pointee.slots[Int(state.pointee.starvedTail)].nextStarved = slot.raw
        }
        state.pointee.starvedTail = slot.raw
    }

    /// Takes a closing slot out of the starved list.
    func forgetStarved(_ slot: SlotIndex) {
        let record = state.pointee.slots + Int(slot.raw)
        guard record.pointee.flags.contains(.starved) else { return }
        if record.pointee.flags.contains(.datagram) { return forgetStarvedDatagrams(slot) }
        record.pointee.flags.remove(.starved)
        var previous = SlotIndex.none.raw
        var current = state.pointee.starvedHead
        while current != slot.raw {
            previous = current
            current = state.pointee.slots[Int(current)].nextStarved
        }
        let next = record.pointee.nextStarved
        if previous == SlotIndex.none.raw {
            state.pointee.starvedHead = next
        } else {
            state.pointee.slots[Int(previous)].nextStarved = next
        }
        if next == SlotIndex.none.raw { state.pointee.starvedTail = previous }
        record.pointee.nextStarved = SlotIndex.none.raw
    }

    private func receiveStopped(_ slot: SlotIndex) {
        if state.pointee.slots[Int(slot.raw)].flags.contains(.closing) { closeStep(slot) } else { armReceive(slot) }
    }
}
