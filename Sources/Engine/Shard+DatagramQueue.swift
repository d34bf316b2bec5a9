import CRing
import Glibc
import Ring

/// Datagrams that wait: the socket's own buffer is full, or the kernel did not cut their train.
///
/// Theory of operation
/// - The queue is the slot's, of packet or train buffers. Each holds one train: its record and vector in the room in front of the
///   headroom, its payloads one behind the other from the first payload byte on.
/// - One request is under way at a time. It waits in the kernel until the socket has room, and completes.
/// - While anything waits, whatever else is sent on the socket queues behind it, in the same trains. What exceeds
///   `datagramBytesQueued` or `datagramBuffersQueued` is dropped: the newest, counted.
/// - A train that the kernel does not cut leaves one datagram at a time.
enum SendFault {
    /// No room now.
    case full
    /// The kernel does not cut trains of this segment size; the socket's limit is lower now.
    case uncut
    /// The error of an earlier datagram (ICMP); this one was not tried.
    case foreign
    /// Not sent, and never will be.
    case lost
}

extension Shard {
    /// What an errno of a send means, and what is learnt from it.
    func sendFault(_ slot: SlotIndex, _ error: Int32, isTrain: Bool, _ segmentBytes: Int) -> SendFault {
        let socket = state.pointee.slots + Int(slot.raw)
        switch error {
        case EAGAIN: return .full
        case EINVAL where isTrain, EMSGSIZE where isTrain:
            // The segment may be longer than the path's MTU allows.
            socket.pointee.segmentLimit = min(socket.pointee.segmentLimit, UInt16(max(0, segmentBytes &- 1)))
            state.pointee.statistics.add(.segmentationRefused)
            return .uncut
        case EIO where isTrain, EOPNOTSUPP where isTrain, ENOPROTOOPT where isTrain:
            socket.pointee.segmentLimit = 0
            state.pointee.statistics.add(.segmentationRefused)
            return .uncut
        case ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, EPROTO:
            return state.pointee.addresses[Int(slot.raw)].address.family != 0 ? .foreign : .lost
        default: return .lost
        }
    }

    // MARK: in

    /// Queues a datagram behind those that wait; false when it was dropped.
    @inline(never)
    func queueDatagram(_ slot: SlotIndex, _ destination: SocketAddress, _ payload: UnsafeRawPointer, _ count: Int) -> Bool {
        let socket = state.pointee.slots + Int(slot.raw)
        if !socket.pointee.flags.isDisjoint(with: [.closing, .failed]) || count > EngineLimits.datagramBytesMaximum {
            state.pointee.statistics.add(.datagramSendErrors)
            return false
        }
        if Int(socket.pointee.queuedBytes) &+ count <= EngineLimits.datagramBytesQueued, joinQueued(slot, destination, payload, count) {
            return true
        }
        guard let buffer = queueBuffer(slot, count) else {
            state.pointee.statistics.add(.datagramsDroppedFull)
            return false
        }
        bytes(buffer).copyMemory(from: payload, byteCount: count)
        start(queuedTrain(buffer), slot, destination, count)
        enqueue(slot, buffer, count)
        return true
    }

    /// Copies a train that was not sent to the queue.
    func queueTrain(_ train: UnsafeMutablePointer<ring_train>, _ number: Int) {
        let slot = SlotIndex(train.pointee.slot)
        let count = Int(train.pointee.bytes)
        guard let buffer = queueBuffer(slot, count) else {
            state.pointee.statistics.add(.datagramsDroppedFull, UInt64(train.pointee.segments))
            return
        }
        let parts = state.pointee.trainParts + number &* EngineLimits.trainSegments
        var end = bytes(buffer)
        for part in 0..<Int(train.pointee.parts) where parts[part].iov_len > 0 {
            end.copyMemory(from: parts[part].iov_base, byteCount: parts[part].iov_len)
            end += parts[part].iov_len
        }
        queuedTrain(buffer).pointee = train.pointee
        queuedTrain(buffer).pointee.result = 0
        enqueue(slot, buffer, count)
    }

    /// Where a queued buffer keeps its train, and behind it the vector of one part.
    @inline(__always)
    private func queuedTrain(_ buffer: BufferIndex) -> UnsafeMutablePointer<ring_train> {
        let room = EngineLimits.headroomBytes &+ EngineLimits.recordRoomSmall
        return (bytes(buffer) - room).assumingMemoryBound(to: ring_train.self)
    }

    /// A buffer that the socket may queue; half of a class is left to receives.
    private func queueBuffer(_ slot: SlotIndex, _ count: Int) -> BufferIndex? {
        let socket = state.pointee.slots + Int(slot.raw)
        guard socket.pointee.queuedBuffers < EngineLimits.datagramBuffersQueued,
            Int(socket.pointee.queuedBytes) &+ count <= EngineLimits.datagramBytesQueued
        else { return nil }
        let bufferClass = count <= EngineLimits.packetBytes ? BufferClass.packet : .train
        return runsLow(bufferClass) ? nil : acquire(bufferClass)
    }

    private func joinQueued(_ slot: SlotIndex, _ destination: SocketAddress, _ payload: UnsafeRawPointer, _ count: Int) -> Bool {
        let socket = state.pointee.slots + Int(slot.raw)
        let isSending = socket.pointee.flags.contains(.sendInFlight)
        guard socket.pointee.queuedBuffers > (isSending ? 1 : 0) else { return false }
        let buffer = BufferIndex(socket.pointee.queueTail)
        let train = queuedTrain(buffer)
        let entry = record(buffer)
        let end = Int(entry.pointee.count)
        guard entry.pointee.start == 0, takes(train, count), end &+ count <= capacity(buffer), isTo(train, destination) else {
            return false
        }
        (bytes(buffer) + end).copyMemory(from: payload, byteCount: count)
        entry.pointee.count &+= UInt32(count)
        socket.pointee.queuedBytes &+= UInt32(count)
        extend(train, count)
        return true
    }

    private func enqueue(_ slot: SlotIndex, _ buffer: BufferIndex, _ count: Int) {
        let socket = state.pointee.slots + Int(slot.raw)
        record(buffer).pointee = BufferRecord(
            next: BufferIndex.none.raw, start: 0, count: UInt32(count), payloadBytes: 0, pieceBytes: 0, headerBytes: 0, holder: .queue)
        if socket.pointee.queuedBuffers == 0 {
            socket.pointee.queueHead = buffer.raw
        } else {
            record(BufferIndex(socket.pointee.queueTail)).pointee.next = buffer.raw
        }
        socket.pointee.queueTail = buffer.raw
        socket.pointee.queuedBuffers &+= 1
        socket.pointee.queuedBytes &+= UInt32(count)
        if !socket.pointee.flags.contains(.sendInFlight) { submitQueued(slot) }
    }

    // MARK: out

    /// Sends the oldest queued train, or its next datagram when the kernel does not cut it.
    private func submitQueued(_ slot: SlotIndex) {
        let socket = state.pointee.slots + Int(slot.raw)
        let buffer = BufferIndex(socket.pointee.queueHead)
        let train = queuedTrain(buffer)
        let entry = record(buffer)
        let segment = Int(train.pointee.segment_bytes)
        let left = Int(entry.pointee.count)
        let isTrain = left > segment && segment <= Int(socket.pointee.segmentLimit)
        let part = UnsafeMutableRawPointer(train + 1).assumingMemoryBound(to: iovec.self)
        part.pointee = iovec(iov_base: bytes(buffer) + Int(entry.pointee.start), iov_len: isTrain ? left : min(left, segment))
        socket.pointee.flags.insert(.sendInFlight)
        socket.pointee.inFlight &+= 1
        ring_prepare_train(
            state.pointee.ring.entry(), socket.pointee.descriptor, train, part, 1, isTrain, Int32(MSG_NOSIGNAL),
            token(.sendDatagrams, slot))
    }

    @inline(never)
    func queuedSendEnded(_ slot: SlotIndex, _ result: Int32) {
        let socket = state.pointee.slots + Int(slot.raw)
        socket.pointee.flags.remove(.sendInFlight)
        socket.pointee.inFlight &-= 1
        if socket.pointee.flags.contains(.closing) { return closeStep(slot) }
        let buffer = BufferIndex(socket.pointee.queueHead)
        let train = queuedTrain(buffer)
        let segment = Int(train.pointee.segment_bytes)
        let count = UnsafeMutableRawPointer(train + 1).assumingMemoryBound(to: iovec.self).pointee.iov_len
        let segments = segment > 0 ? (count &+ segment &- 1) / segment : 1
        if result >= 0 {
            countSent(slot, segments, count)
        } else if retriesQueued(slot, train, -result, isTrain: segments > 1) {
            return submitQueued(slot)
        } else {
            state.pointee.statistics.add(.datagramSendErrors, UInt64(segments))
        }
        retireQueued(slot, buffer, count)
        if socket.pointee.queuedBuffers > 0 { submitQueued(slot) }
    }

    /// Whether the same datagrams are tried again: each of two reasons once.
    private func retriesQueued(_ slot: SlotIndex, _ train: UnsafeMutablePointer<ring_train>, _ error: Int32, isTrain: Bool) -> Bool {
        switch sendFault(slot, error, isTrain: isTrain, Int(train.pointee.segment_bytes)) {
        case .uncut: return true
        case .foreign where train.pointee.result == 0:
            train.pointee.result = 1
            return true
        case .full, .foreign, .lost: return false
        }
    }

    private func retireQueued(_ slot: SlotIndex, _ buffer: BufferIndex, _ count: Int) {
        let socket = state.pointee.slots + Int(slot.raw)
        let entry = record(buffer)
        socket.pointee.queuedBytes &-= UInt32(count)
        queuedTrain(buffer).pointee.result = 0
        if Int(entry.pointee.count) > count {
            entry.pointee.start &+= UInt32(count)
            entry.pointee.count &-= UInt32(count)
            return
        }
        socket.pointee.queueHead = entry.pointee.next
        socket.pointee.queuedBuffers &-= 1
        if socket.pointee.queuedBuffers == 0 { socket.pointee.queueTail = BufferIndex.none.raw }
        put(buffer, from: .queue)
    }
}
