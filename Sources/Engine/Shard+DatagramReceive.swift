import CRing
import Glibc
import Ring

/// Receiving datagrams.
///
/// Theory of operation
/// - One multishot recvmsg is armed for each socket that is read. It costs no buffer until a datagram arrives; the kernel then
///   takes a packet buffer, or a train buffer of a socket that reads trains.
///
/// ```
///  buffer's first payload byte                    start (72)
///  ▼                                              ▼
///  │ io_uring_recvmsg_out 16 │ address 32 │ UDP_GRO 24 │ payload …
/// ```
/// - A socket begins with packets. When a turn brings `burstToGrow` of them, it lets the kernel join datagrams (UDP_GRO) and
///   from then on reads into train buffers only, which hold the longest train: the other order could cut one.
/// - Buffers know which socket filled them until they are back. A socket that holds as many as its credit is not read until
///   half of them are back; its own buffer in the kernel then fills and the kernel drops, which is counted.
/// - Without a free buffer sockets wait in line, one line for each class, until buffers came back.
/// - An ICMP error ends the receive, is counted, and the receive is armed again behind the turn's sends.
struct BufferSource {
    /// In use 1 bit, generation 16, slot 32; 0 for none.
    private let packed: UInt64

    @inline(__always)
    init(_ slot: SlotIndex, generation: UInt16) { packed = 1 &<< 63 | UInt64(generation) &<< 32 | UInt64(slot.raw) }

    private init() { packed = 0 }
    static var none: BufferSource { BufferSource() }

    @inline(__always)
    var isNone: Bool { packed == 0 }
    @inline(__always)
    var slot: UInt32 { UInt32(truncatingIfNeeded: packed) }
    @inline(__always)
    var generation: UInt16 { UInt16(truncatingIfNeeded: packed &>> 32) }
}

extension Shard {
    /// Who sent what a `datagrams` event brought; valid until something is written in front of its payload.
    @inline(__always)
    public func datagramSource(_ event: Event) -> SocketAddress {
        let place = bytes(event.buffer) + Int(RING_DATAGRAM_NAME.rawValue)
        return SocketAddress(storage: place.loadUnaligned(as: sockaddr_in6.self))
    }

    func armDatagrams(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        let blocked: Slot.Flags = [.receiveArmed, .closing, .failed, .starved, .creditUsed]
        guard socket.pointee.flags.isDisjoint(with: blocked), socket.pointee.flags.contains(.receiveWanted) else { return }
        if socket.pointee.flags.contains(.bulk), !socket.pointee.flags.contains(.coalescing) {
            // A system that joins nothing still has datagrams for large buffers: not asked again.
            _ = ring_coalesce_datagrams(state.pointee.ring.pointer, socket.pointee.descriptor)
            socket.pointee.flags.insert(.coalescing)
        }
        let group: UInt16
        if socket.pointee.flags.contains(.bulk) {
            socket.pointee.flags.insert([.receiveArmed, .receiveBulk])
            group = state.pointee.trains.group
        } else {
            socket.pointee.flags.insert(.receiveArmed)
            group = state.pointee.packets.group
        }
        socket.pointee.inFlight &+= 1
        ring_prepare_receive_datagrams(
            state.pointee.ring.entry(), socket.pointee.descriptor, state.pointee.receiveHeader, group, token(.receiveDatagrams, slot))
    }

    @inline(__always)
    func receivedDatagrams(_ slot: SlotIndex, _ completion: ring_completion, _ event: inout Event) -> Bool {
        let socket = state.pointee.slots + Int(slot.raw)
        let isTrain = socket.pointee.flags.contains(.receiveBulk)
        let more = completion.flags & UInt32(IORING_CQE_F_MORE) != 0
        if !more {
            socket.pointee.flags.subtract([.receiveArmed, .receiveCancelling, .receiveBulk])
            socket.pointee.inFlight &-= 1
        }
        let count = Int(completion.result) &- EngineLimits.datagramMetadataBytes
        guard count >= 0, completion.flags & UInt32(IORING_CQE_F_BUFFER) != 0 else {
            return receivedNoDatagram(slot, completion, isTrain, &event)
        }
        let buffer = takeDatagram(Int(completion.flags &>> UInt32(IORING_CQE_BUFFER_SHIFT)), isTrain)
        if !socket.pointee.flags.isDisjoint(with: [.closing, .failed]) {
            release(buffer)
            if !more, socket.pointee.flags.contains(.closing) { closeStep(slot) }
            return false
        }
        holdCredit(slot, buffer, isTrain)
        let place = bytes(buffer)
        let segment = isTrain ? Int(ring_segment_bytes(place)) : 0
        let segments = segment > 0 && segment < count ? (count &+ segment &- 1) / segment : 1
        let isCut = place.load(fromByteOffset: Int(RING_DATAGRAM_FLAGS.rawValue), as: UInt32.self) & UInt32(MSG_TRUNC) != 0
        let statistics = state.pointee.statistics
        statistics.add(.datagramsReceived, UInt64(segments))
        statistics.add(.datagramBytesReceived, UInt64(count))
        statistics.addTrain(.received, segments: segments)
        if isCut { statistics.add(.datagramsCut) }
        socket.pointee.receivedBytes &+= UInt64(count)
        if !isTrain { countBurst(slot) }
        if !more { armLater(slot) }
        fill(&event, .datagrams, slot)
        event.buffer = buffer
        event.start = UInt32(EngineLimits.datagramMetadataBytes)
        event.count = count
        event.detail = UInt32(segments > 1 ? segment : count)
        event.result = isCut ? EMSGSIZE : 0
        return true
    }

    @inline(__always)
    private func takeDatagram(_ number: Int, _ isTrain: Bool) -> BufferIndex {
        if isTrain {
            precondition(state.pointee.trains.records[number].holder == .kernel)
            state.pointee.trains.records[number].holder = .owner
            state.pointee.trains.offered &-= 1
            return BufferIndex(UInt32(BufferClass.train.rawValue) &<< 16 | UInt32(truncatingIfNeeded: number))
        }
        precondition(state.pointee.packets.records[number].holder == .kernel)
        state.pointee.packets.records[number].holder = .owner
        state.pointee.packets.offered &-= 1
        return BufferIndex(UInt32(BufferClass.packet.rawValue) &<< 16 | UInt32(truncatingIfNeeded: number))
    }

    // MARK: credit

    @inline(__always)
    private func holdCredit(_ slot: SlotIndex, _ buffer: BufferIndex, _ isTrain: Bool) {
        let socket = state.pointee.slots + Int(slot.raw)
        let sources = isTrain ? state.pointee.trainSources : state.pointee.packetSources
        sources[buffer.number] = BufferSource(slot, generation: socket.pointee.generation)
        socket.pointee.heldBuffers &+= 1
        if socket.pointee.heldBuffers >= (isTrain ? EngineLimits.trainCredit : EngineLimits.packetCredit) { creditUsed(slot) }
    }

    @inline(never)
    private func creditUsed(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        if socket.pointee.flags.contains(.creditUsed) { return }
        socket.pointee.flags.insert(.creditUsed)
        state.pointee.datagramsParked &+= 1
        state.pointee.statistics.add(.datagramCreditUsed)
        cancelReceive(slot)
    }

    /// A buffer is back in the pool: the socket that had it filled may have waited for that.
    @inline(__always)
    func returnCredit(_ source: UnsafeMutablePointer<BufferSource>) {
        let filler = source.pointee
        if filler.isNone { return }
        source.pointee = .none
        let socket = state.pointee.slots + Int(filler.slot)
        // The socket may be closed, and its slot somebody else's, before its last buffer is back.
        guard socket.pointee.generation == filler.generation else { return }
        socket.pointee.heldBuffers &-= 1
        if socket.pointee.flags.contains(.creditUsed) { creditReturned(SlotIndex(filler.slot)) }
    }

    @inline(never)
    private func creditReturned(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        let credit = socket.pointee.flags.contains(.bulk) ? EngineLimits.trainCredit : EngineLimits.packetCredit
        guard socket.pointee.heldBuffers <= credit / 2 else { return }
        socket.pointee.flags.remove(.creditUsed)
        state.pointee.datagramsParked &-= 1
        countLost(slot)
        armLater(slot)
    }

    // MARK: growing

    /// Counts the packets of a turn; many of them make the socket read trains.
    @inline(__always)
    private func countBurst(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        if socket.pointee.burst == .max { return }
        let turn = UInt16(truncatingIfNeeded: state.pointee.statistics.read(.turns))
        if socket.pointee.burstTurn != turn {
            socket.pointee.burstTurn = turn
            socket.pointee.burst = 0
        }
        socket.pointee.burst &+= 1
        if socket.pointee.burst >= EngineLimits.burstToGrow { grow(slot) }
    }

    @inline(never)
    private func grow(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        socket.pointee.burst = .max
        socket.pointee.flags.insert(.bulk)
        state.pointee.statistics.add(.datagramSocketsGrown)
        cancelReceive(slot)
    }

    // MARK: nothing received

    @inline(never)
    private func receivedNoDatagram(_ slot: SlotIndex, _ completion: ring_completion, _ isTrain: Bool, _ event: inout Event) -> Bool {
        let socket = state.pointee.slots + Int(slot.raw)
        if completion.flags & UInt32(IORING_CQE_F_BUFFER) != 0 {
            release(takeDatagram(Int(completion.flags &>> UInt32(IORING_CQE_BUFFER_SHIFT)), isTrain))
        }
        if completion.flags & UInt32(IORING_CQE_F_MORE) != 0 { return false }
        if socket.pointee.flags.contains(.closing) {
            closeStep(slot)
            return false
        }
        switch -completion.result {
        case ENOBUFS: parkStarved(slot, isTrain)
        case 0, ECANCELED, EAGAIN, EINTR: armDatagrams(slot)
        case EBADF, ENOTSOCK, EINVAL, EFAULT:
            // The kernel cannot read from this: asking again would be answered in the same way for ever.
            return fail(slot, -completion.result, &event)
        default:
            state.pointee.statistics.add(.datagramReceiveErrors)
            armLater(slot)
            guard state.pointee.addresses[Int(slot.raw)].address.family != 0 else { return false }
            fill(&event, .unreachable, slot)
            event.result = -completion.result
            return true
        }
        return false
    }

    private func parkStarved(_ slot: SlotIndex, _ isTrain: Bool) {
        let socket = state.pointee.slots + Int(slot.raw)
        state.pointee.statistics.add(.datagramReceivesStarved)
        socket.pointee.flags.insert(.starved)
        state.pointee.datagramsParked &+= 1
        if isTrain {
            state.pointee.trains.offeredTarget = min(state.pointee.trains.offeredTarget &* 2, state.pointee.trains.offeredMaximum)
            socket.pointee.flags.insert(.receiveBulk)
            state.pointee.starvedTrains.append(slot, state.pointee.slots)
        } else {
            state.pointee.packets.offeredTarget = min(state.pointee.packets.offeredTarget &* 2, state.pointee.packets.offeredMaximum)
            state.pointee.starvedPackets.append(slot, state.pointee.slots)
        }
    }

    /// Offers freed buffers to the kernel again and arms the sockets that found none.
    @inline(__always)
    func recycleDatagrams() {
        state.pointee.packets.refill()
        state.pointee.trains.refillAsUsed(least: EngineLimits.trainsOfferedLeast)
        if !state.pointee.starvedPackets.isEmpty || !state.pointee.starvedTrains.isEmpty { armStarvedDatagrams() }
    }

    @inline(never)
    private func armStarvedDatagrams() {
        var budget = state.pointee.packets.offered
        while budget > 0, !state.pointee.starvedPackets.isEmpty {
            unpark(state.pointee.starvedPackets.removeFirst(state.pointee.slots))
            budget &-= 1
        }
        budget = state.pointee.trains.offered
        while budget > 0, !state.pointee.starvedTrains.isEmpty {
            unpark(state.pointee.starvedTrains.removeFirst(state.pointee.slots))
            budget &-= 1
        }
    }

    private func unpark(_ slot: SlotIndex) {
        state.pointee.slots[Int(slot.raw)].flags.subtract([.starved, .receiveBulk])
        state.pointee.datagramsParked &-= 1
        armDatagrams(slot)
    }

    /// Takes a closing socket out of its line.
    func forgetStarvedDatagrams(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        if socket.pointee.flags.contains(.receiveBulk) {
            state.pointee.starvedTrains.remove(slot, state.pointee.slots)
        } else {
            state.pointee.starvedPackets.remove(slot, state.pointee.slots)
        }
        socket.pointee.flags.subtract([.starved, .receiveBulk])
        state.pointee.datagramsParked &-= 1
    }
}
