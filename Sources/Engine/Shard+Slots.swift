import CRing
import Ring

extension Shard {
    /// Takes a slot for a descriptor; `.none` when all are used.
    func openSlot(_ descriptor: Int32, owner: Owner, context: UInt32) -> SlotIndex {
        let index: UInt32
        if state.pointee.freeSlots != SlotIndex.none.raw {
            index = state.pointee.freeSlots
            state.pointee.freeSlots = state.pointee.slots[Int(index)].nextInList
        } else {
            guard state.pointee.slotsTouched < state.pointee.slotCapacity else { return .none }
            index = UInt32(state.pointee.slotsTouched)
            state.pointee.slotsTouched &+= 1
        }
        let record = state.pointee.slots + Int(index)
        let generation = record.pointee.generation
        record.pointee = Slot(
            descriptor: descriptor, flags: .used, generation: generation, owner: owner.raw, inFlight: 0, context: context,
            queueHead: BufferIndex.none.raw, queueTail: BufferIndex.none.raw, queuedBytes: 0, queuedCapacity: 0,
            queuedBuffers: 0, sendingBuffers: 0, nextInList: SlotIndex.none.raw, nextStarved: SlotIndex.none.raw, readScore: 0,
            closeOwner: 0, lingerMilliseconds: 0, receivedBytes: 0, sentBytes: 0)
        state.pointee.slotsUsed &+= 1
        state.pointee.statistics.set(.slotsUsed, UInt64(state.pointee.slotsUsed))
        return SlotIndex(index)
    }

    /// Gives a joined slot back. Its generation changes, so that a late completion finds nobody.
    func freeSlot(_ slot: SlotIndex) {
        let record = state.pointee.slots + Int(slot.raw)
        precondition(record.pointee.inFlight == 0 && record.pointee.queuedBuffers == 0)
        precondition(!record.pointee.flags.contains(.dirty) && !record.pointee.flags.contains(.starved))
        if record.pointee.flags.contains(.receiveArmed) { preconditionFailure("a freed slot has no receive armed") }
        clearTimer(slot)
        record.pointee.flags = []
        record.pointee.generation &+= 1
        record.pointee.descriptor = -1
        record.pointee.nextInList = state.pointee.freeSlots
        state.pointee.freeSlots = slot.raw
        state.pointee.slotsUsed &-= 1
        state.pointee.statistics.set(.slotsUsed, UInt64(state.pointee.slotsUsed))
        state.pointee.statistics.add(.closes)
        if state.pointee.acceptPaused { resumeAccepting() }
    }

    /// The owner's index of a stream.
    @inline(__always)
    public func context(_ slot: SlotIndex) -> UInt32 { state.pointee.slots[Int(slot.raw)].context }

    /// Hands a stream to another owner; events from now on carry the new owner and context.
    public func transfer(_ slot: SlotIndex, to owner: Owner, context: UInt32) {
        state.pointee.slots[Int(slot.raw)].owner = owner.raw
        state.pointee.slots[Int(slot.raw)].context = context
    }

    /// The peer's address; of an accepted stream asked from the kernel at accept, of a dialled one the dialled address.
    public func peerAddress(_ slot: SlotIndex) -> SocketAddress { state.pointee.addresses[Int(slot.raw)].address }

    /// Bytes received and sent on this stream so far.
    public func byteCounts(_ slot: SlotIndex) -> (received: UInt64, sent: UInt64) {
        (state.pointee.slots[Int(slot.raw)].receivedBytes, state.pointee.slots[Int(slot.raw)].sentBytes)
    }

    /// Number of the slot's life; together with the index it names a connection for ever.
    public func generation(_ slot: SlotIndex) -> UInt16 { state.pointee.slots[Int(slot.raw)].generation }

    @inline(__always)
    func token(_ operation: Token.Operation, _ slot: SlotIndex) -> UInt64 {
        Token(operation, slot: slot.raw, generation: state.pointee.slots[Int(slot.raw)].generation).packed
    }
}
