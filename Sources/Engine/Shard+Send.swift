import CRing
import Glibc
import Ring

/// Sending.
///
/// Theory of operation
/// - `send` appends a buffer to the stream's queue and marks the stream dirty; the flush at the end of the turn makes one
///   request of all that is queued: a plain send of one buffer, a vectored send of several.
/// - One request per stream is under way at a time: two could be executed in the wrong order.
/// - The first try does not wait (MSG_DONTWAIT): it ends inside the entry that submits it. It is *silent*: success posts no
///   completion (IOSQE_CQE_SKIP_SUCCESS), and when the entry returns, every silent send without a completion has sent all
///   it was given. A silent send costs no completion, and cannot end the wait for something to happen.
/// - When success has consequences (somebody waits for `drained`, FIN follows, streams are starved of buffers), the send
///   is not silent. What did not fit is submitted again as a request that waits in the kernel (MSG_WAITALL: one
///   completion for all of it).
extension Shard {
    /// Queues bytes of a buffer that the caller has; ownership passes to the stream.
    ///
    /// - Parameters:
    ///   - start: offset from the buffer's first payload byte; negative for bytes in the headroom, and of a train's buffer in the
    ///     room for its headers.
    ///   - count: bytes to send. None returns the buffer at once.
    @inline(__always)
    public func send(_ slot: SlotIndex, _ buffer: BufferIndex, start: Int, count: Int) {
        let stream = state.pointee.slots + Int(slot.raw)
        let entry = record(buffer)
        precondition(entry.pointee.holder == .owner)
        assert(!stream.pointee.flags.contains(.datagram), "datagrams leave by sendDatagram")
        if count == 0 || !stream.pointee.flags.isDisjoint(with: [.closing, .failed, .finishWanted]) {
            release(buffer)
            return
        }
        assert(start >= -frontBytes(buffer) && start &+ count <= capacity(buffer) &+ EngineLimits.tailroomBytes)
        entry.pointee = BufferRecord(
            next: BufferIndex.none.raw, start: UInt32(truncatingIfNeeded: start &+ EngineLimits.headroomBytes),
            count: UInt32(truncatingIfNeeded: count), payloadBytes: 0, pieceBytes: 0, headerBytes: 0, holder: .queue)
        enqueue(slot, stream, buffer, entry)
    }

    /// Queues a buffer's payload in pieces, each behind a header of its own.
    ///
    /// ```
    /// headroom: header 0 │ header 1 │ …        sent: header 0, piece 0, header 1, piece 1, …
    /// payload:  piece 0 … │ piece 1 … │ …
    /// ```
    /// - Parameters:
    ///   - count: payload bytes, from the buffer's first.
    ///   - pieceBytes: of every piece but the last, which may be shorter.
    ///   - headerBytes: of every piece's header; all of them fit into the headroom.
    ///   - header: writes the header of a piece with so many payload bytes in front of the address it is given.
    public func sendFramed(_ slot: SlotIndex, _ buffer: BufferIndex, count: Int, pieceBytes: Int, headerBytes: Int,
                           header: (_ pieceBytes: Int, _ end: UnsafeMutableRawPointer) -> Void) {
        let stream = state.pointee.slots + Int(slot.raw)
        let entry = record(buffer)
        precondition(entry.pointee.holder == .owner && pieceBytes > 0 && pieceBytes <= EngineLimits.pieceBytesMaximum)
        if !stream.pointee.flags.isDisjoint(with: [.closing, .failed, .finishWanted]) { return release(buffer) }
        let pieces = (count &+ pieceBytes &- 1) / pieceBytes
        precondition(pieces * headerBytes <= EngineLimits.headroomBytes)
        let base = bytes(buffer) - EngineLimits.headroomBytes
        for piece in 0..<pieces {
            header(min(pieceBytes, count &- piece &* pieceBytes), base + (piece &+ 1) &* headerBytes)
        }
        entry.pointee = BufferRecord(
            next: BufferIndex.none.raw, start: 0, count: UInt32(count &+ pieces &* headerBytes), payloadBytes: UInt32(count),
            pieceBytes: UInt16(pieceBytes), headerBytes: UInt8(headerBytes), holder: .queue)
        enqueue(slot, stream, buffer, entry)
    }

    @inline(__always)
    func enqueue(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>, _ buffer: BufferIndex,
                         _ entry: UnsafeMutablePointer<BufferRecord>) {
        if stream.pointee.queueTail == BufferIndex.none.raw {
            stream.pointee.queueHead = buffer.raw
        } else {
            record(BufferIndex(stream.pointee.queueTail)).pointee.next = buffer.raw
        }
        stream.pointee.queueTail = buffer.raw
        stream.pointee.queuedBuffers &+= 1
        stream.pointee.queuedBytes &+= entry.pointee.count
        stream.pointee.queuedCapacity &+= queuedCapacity(buffer)
        markDirty(slot)
    }

    @inline(__always)
    func markDirty(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        if stream.pointee.flags.contains(.dirty) { return }
        stream.pointee.flags.insert(.dirty)
        stream.pointee.nextInList = state.pointee.dirty
        state.pointee.dirty = slot.raw
    }

    /// Whether the stream holds as much output as it may: its source should be paused, and `notifyWhenDrained` called.
    @inline(__always)
    public func isCongested(_ slot: SlotIndex) -> Bool {
        let stream = state.pointee.slots + Int(slot.raw)
        return stream.pointee.queuedBuffers >= queuedBuffersAllowed || stream.pointee.queuedCapacity >= EngineLimits.queuedCapacityHigh
    }

    /// Asks for one `drained` event when output falls below the low watermark.
    @inline(__always)
    public func notifyWhenDrained(_ slot: SlotIndex) { state.pointee.slots[Int(slot.raw)].flags.insert(.drainedWanted) }

    /// Bytes queued and not yet taken by the kernel.
    @inline(__always)
    public func queuedBytes(_ slot: SlotIndex) -> Int { Int(state.pointee.slots[Int(slot.raw)].queuedBytes) }

    /// Whether output waits because the peer, or the connect, is behind; what was only queued this turn does not count.
    public func isStalled(_ slot: SlotIndex) -> Bool {
        !state.pointee.slots[Int(slot.raw)].flags.isDisjoint(with: [.sendWaiting, .connecting])
    }

    /// Moves the queue of a stream that never connected to another, in order.
    public func moveQueue(from former: SlotIndex, to slot: SlotIndex) {
        let source = state.pointee.slots + Int(former.raw)
        let destination = state.pointee.slots + Int(slot.raw)
        precondition(source.pointee.sendingBuffers == 0 && destination.pointee.queuedBuffers == 0)
        destination.pointee.queueHead = source.pointee.queueHead
        destination.pointee.queueTail = source.pointee.queueTail
        destination.pointee.queuedBuffers = source.pointee.queuedBuffers
        destination.pointee.queuedBytes = source.pointee.queuedBytes
        destination.pointee.queuedCapacity = source.pointee.queuedCapacity
        source.pointee.queueHead = BufferIndex.none.raw
        source.pointee.queueTail = BufferIndex.none.raw
        source.pointee.queuedBuffers = 0
        source.pointee.queuedBytes = 0
        source.pointee.queuedCapacity = 0
        markDirty(slot)
    }

    /// Sends FIN when the queue is empty. Nothing can be sent afterwards.
    public func finish(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        if stream.pointee.flags.contains(.finishWanted) { return }
        stream.pointee.flags.insert(.finishWanted)
        markDirty(slot)
    }

    /// Turns every dirty stream's queue into one request.
    func flush() {
        var index = state.pointee.dirty
        state.pointee.dirty = SlotIndex.none.raw
        while index != SlotIndex.none.raw {
            let stream = state.pointee.slots + Int(index)
            let next = stream.pointee.nextInList
            stream.pointee.nextInList = SlotIndex.none.raw
            stream.pointee.flags.remove(.dirty)
            flush(SlotIndex(index), stream)
            index = next
        }
    }

    @inline(__always)
    func flush(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>) {
        if !stream.pointee.flags.isDisjoint(with: [.sendInFlight, .connecting, .closing, .failed]) { return }
        if stream.pointee.queuedBuffers == 0 {
            if stream.pointee.flags.contains(.secure), mustSayClose(slot) { return }
            if stream.pointee.flags.contains(.finishWanted), !stream.pointee.flags.contains(.finished) { sendFinish(slot) }
            return
        }
        if stream.pointee.flags.contains(.secure), !flushSecure(slot, stream) { return }
        // A vectored send needs a place for its vector; without one it waits for the next turn.
        if needsVector(stream), !hasVectorPlace() { return markDirty(slot) }
        submitSend(slot, stream)
    }

    @inline(__always)
    private func needsVector(_ stream: UnsafeMutablePointer<Slot>) -> Bool {
        stream.pointee.queuedBuffers > 1 || record(BufferIndex(stream.pointee.queueHead)).pointee.pieceBytes > 0
    }

    @inline(__always)
    private func hasVectorPlace() -> Bool {
        state.pointee.vectorsUsed < EngineLimits.vectorsPerTurn || freeVectorPlaces()
    }

    /// Vectors are read when a request is submitted: once all are, their places are free again.
    @inline(never)
    private func freeVectorPlaces() -> Bool {
        _ = state.pointee.ring.enter(waitingFor: 0, timeoutNanoseconds: 0)
        guard state.pointee.ring.unconsumed == 0 else { return false }
        state.pointee.vectorsUsed = 0
        return true
    }

    @inline(__always)
    func submitSend(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>, alone: Bool = false) {
        let waiting = stream.pointee.flags.contains(.sendWaiting)
        var flags = Int32(MSG_NOSIGNAL)
        // Waiting for everything saves completions, and hides how much is left meanwhile.
        if !waiting || !stream.pointee.flags.contains(.exactQueue) { flags |= Int32(MSG_WAITALL) }
        if !waiting { flags |= Int32(MSG_DONTWAIT) }
        stream.pointee.flags.insert(.sendInFlight)
        stream.pointee.inFlight &+= 1
        if waiting { state.pointee.statistics.add(.sendsWaiting) } else if stream.pointee.flags.contains(.finishWanted), !alone {
            // FIN is next, and takes these bytes with it: one packet instead of two (tcp_send_fin).
            flags |= Int32(MSG_MORE)
        }
        let head = BufferIndex(stream.pointee.queueHead)
        let entry: UnsafeMutablePointer<io_uring_sqe>
        if alone || !needsVector(stream) {
            let part = record(head).pointee
            stream.pointee.sendingBuffers = 1
            let address = bytes(head) - EngineLimits.headroomBytes + Int(Int32(bitPattern: part.start))
            entry = state.pointee.ring.entry()
            ring_prepare_send(entry, stream.pointee.descriptor, address, part.count, flags, token(.send, slot))
        } else {
            entry = submitVector(slot, stream, flags)
        }
        let consequences: Slot.Flags = [.sendWaiting, .drainedWanted, .finishWanted, .lingering]
        if stream.pointee.flags.isDisjoint(with: consequences), stream.pointee.sendingBuffers == stream.pointee.queuedBuffers,
            state.pointee.starvedHead == SlotIndex.none.raw, state.pointee.datagramsParked == 0
        {
            ring_silence_success(entry)
            state.pointee.silentSends[state.pointee.silentCount] = slot.raw
            state.pointee.silentCount &+= 1
        }
    }

    /// After an entry: silent sends that reported nothing have sent everything.
    func retireSilentSends() {
        let ring = state.pointee.ring.pointer
        // A report may be held back, or the send not even submitted: then nothing can be concluded yet.
        if state.pointee.ring.unconsumed > 0 || ring_overflowed(ring) { return }
        for index in 0..<ring_waiting(ring) {
            let token = Token(packed: ring_waiting_token(ring, index))
            if token.operation == .send { state.pointee.slots[Int(token.slot)].flags.insert(.sendReported) }
        }
        let count = state.pointee.silentCount
        state.pointee.silentCount = 0
        for index in 0..<count { retireSilent(SlotIndex(state.pointee.silentSends[index])) }
    }

    /// A send that was silent has reported while the conclusion about the others still waits (see `retireSilentSends`).
    @inline(never)
    private func forgetSilent(_ slot: SlotIndex) {
        for index in 0..<state.pointee.silentCount where state.pointee.silentSends[index] == slot.raw {
            state.pointee.silentCount &-= 1
            state.pointee.silentSends[index] = state.pointee.silentSends[state.pointee.silentCount]
            return
        }
    }

    @inline(__always)
    private func retireSilent(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        if stream.pointee.flags.contains(.sendReported) { return }  // dealt with when its completion is read
        stream.pointee.flags.remove(.sendInFlight)
        stream.pointee.inFlight &-= 1
        if stream.pointee.flags.contains(.closing) {
            stream.pointee.sendingBuffers = 0
            return closeStep(slot)
        }
        var count: UInt32 = 0
        var buffer = BufferIndex(stream.pointee.queueHead)
        for _ in 0..<stream.pointee.sendingBuffers {
            count &+= record(buffer).pointee.count
            buffer = BufferIndex(record(buffer).pointee.next)
        }
        state.pointee.statistics.add(.sends)
        state.pointee.statistics.add(.sentBytes, UInt64(count))
        stream.pointee.sentBytes &+= UInt64(count)
        _ = retire(stream, count)
        if stream.pointee.flags.contains(.drainedWanted), state.pointee.lateDrainedCount < state.pointee.slotCapacity {
            state.pointee.lateDrained[state.pointee.lateDrainedCount] = slot.raw
            state.pointee.lateDrainedCount &+= 1
        }
        if stream.pointee.queuedBuffers > 0 || stream.pointee.flags.contains(.finishWanted) { markDirty(slot) }
    }

    private func submitVector(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>, _ flags: Int32)
        -> UnsafeMutablePointer<io_uring_sqe>
    {
        let number = state.pointee.vectorsUsed
        state.pointee.vectorsUsed &+= 1
        let vector = state.pointee.vectors + number &* EngineLimits.vectorParts
        var buffer = BufferIndex(stream.pointee.queueHead)
        var parts = 0
        var buffers: UInt16 = 0
        while buffer != .none {
            let entry = record(buffer).pointee
            let base = bytes(buffer) - EngineLimits.headroomBytes
            if entry.pieceBytes == 0 {
                if parts == EngineLimits.vectorParts { break }
                vector[parts] = iovec(iov_base: base + Int(Int32(bitPattern: entry.start)), iov_len: Int(entry.count))
                parts &+= 1
            } else {
                // Whole or not at all: a queue's first buffer always fits.
                if parts &+ EngineLimits.framedParts > EngineLimits.vectorParts { break }
                parts &+= framedParts(entry, base, vector + parts)
            }
            buffers &+= 1
            buffer = BufferIndex(entry.next)
        }
        stream.pointee.sendingBuffers = buffers
        let header = state.pointee.headers + number
        header.initialize(to: msghdr())
        header.pointee.msg_iov = vector
        header.pointee.msg_iovlen = parts
        state.pointee.statistics.add(.vectoredSends)
        let entry = state.pointee.ring.entry()
        ring_prepare_send_vector(entry, stream.pointee.descriptor, header, flags, token(.send, slot))
        return entry
    }

    /// Writes what is left of a framed buffer as headers and pieces; returns the number of parts.
    private func framedParts(_ entry: BufferRecord, _ base: UnsafeMutableRawPointer, _ vector: UnsafeMutablePointer<iovec>) -> Int {
        let headerBytes = Int(entry.headerBytes)
        let wireBytes = Int(entry.pieceBytes) &+ headerBytes
        var piece = Int(entry.start) / wireBytes
        var within = Int(entry.start) % wireBytes
        var parts = 0
        while piece &* Int(entry.pieceBytes) < Int(entry.payloadBytes) {
            if within < headerBytes {
                vector[parts] = iovec(iov_base: base + (piece &* headerBytes &+ within), iov_len: headerBytes &- within)
                parts &+= 1
                within = headerBytes
            }
            let offset = piece &* Int(entry.pieceBytes) &+ within &- headerBytes
            let end = min((piece &+ 1) &* Int(entry.pieceBytes), Int(entry.payloadBytes))
            vector[parts] = iovec(iov_base: base + (EngineLimits.headroomBytes &+ offset), iov_len: end &- offset)
            parts &+= 1
            piece &+= 1
            within = 0
        }
        return parts
    }

    @inline(__always)
    func sent(_ slot: SlotIndex, _ result: Int32, _ event: inout Event) -> Bool {
        let stream = state.pointee.slots + Int(slot.raw)
        stream.pointee.flags.subtract([.sendInFlight, .sendReported])
        stream.pointee.inFlight &-= 1
        if state.pointee.silentCount > 0 { forgetSilent(slot) }
        if stream.pointee.flags.contains(.closing) {
            stream.pointee.sendingBuffers = 0
            closeStep(slot)
            return false
        }
        guard result > 0 else { return sendFailed(slot, result, &event) }
        state.pointee.statistics.add(.sends)
        state.pointee.statistics.add(.sentBytes, UInt64(result))
        stream.pointee.sentBytes &+= UInt64(result)
        let complete = retire(stream, UInt32(result))
        // A send that took less than it was given has filled the socket: the rest waits in the kernel for room.
        if complete {
            stream.pointee.flags.remove(.sendWaiting)
        } else {
            stream.pointee.flags.insert(.sendWaiting)
            keepCopies(slot, stream)
        }
        if stream.pointee.queuedBuffers > 0 || stream.pointee.flags.contains(.finishWanted) { markDirty(slot) }
        if stream.pointee.flags.contains(.lingering) { extendLinger(slot) }
        return drainedIfLow(slot, stream, &event)
    }

    /// Hands out a `drained` event of a stream whose silent send was retired late.
    func nextLateDrained(_ event: inout Event) -> Bool {
        while state.pointee.lateDrainedCount > 0 {
            state.pointee.lateDrainedCount &-= 1
            let slot = SlotIndex(state.pointee.lateDrained[state.pointee.lateDrainedCount])
            let stream = state.pointee.slots + Int(slot.raw)
            guard stream.pointee.flags.contains(.used), stream.pointee.flags.isDisjoint(with: [.closing, .failed]) else { continue }
            if drainedIfLow(slot, stream, &event) { return true }
        }
        return false
    }

    @inline(__always)
    private func drainedIfLow(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>, _ event: inout Event) -> Bool {
        guard stream.pointee.flags.contains(.drainedWanted), stream.pointee.queuedBuffers <= EngineLimits.queuedBuffersLow,
            stream.pointee.queuedCapacity <= EngineLimits.queuedCapacityLow,
            stream.pointee.queuedBuffers < queuedBuffersAllowed
        else { return false }
        stream.pointee.flags.remove(.drainedWanted)
        if stream.pointee.owner == Owner.engine.raw { return false }
        fill(&event, .drained, slot)
        return true
    }

    /// Takes `count` sent bytes off the queue and returns their buffers. True when all that was with the kernel is sent.
    @inline(__always)
    private func retire(_ stream: UnsafeMutablePointer<Slot>, _ count: UInt32) -> Bool {
        var left = count
        stream.pointee.queuedBytes &-= count
        while stream.pointee.sendingBuffers > 0 {
            let buffer = BufferIndex(stream.pointee.queueHead)
            let entry = record(buffer)
            if entry.pointee.count > left {
                entry.pointee.start &+= left
                entry.pointee.count &-= left
                stream.pointee.sendingBuffers = 0
                return false
            }
            left &-= entry.pointee.count
            stream.pointee.queueHead = entry.pointee.next
            stream.pointee.queuedBuffers &-= 1
            stream.pointee.sendingBuffers &-= 1
            stream.pointee.queuedCapacity &-= queuedCapacity(buffer)
            put(buffer, from: .queue)
        }
        if stream.pointee.queueHead == BufferIndex.none.raw { stream.pointee.queueTail = BufferIndex.none.raw }
        precondition(left == 0)
        return true
    }

    @inline(never)
    private func sendFailed(_ slot: SlotIndex, _ result: Int32, _ event: inout Event) -> Bool {
        let stream = state.pointee.slots + Int(slot.raw)
        stream.pointee.sendingBuffers = 0
        switch -result {
        case EAGAIN, EINTR, ENOBUFS:
            // A send that waits is not refused for want of room but of memory: asking again at once would spin.
            if result == -ENOBUFS, stream.pointee.flags.contains(.sendWaiting) { return fail(slot, ENOBUFS, &event) }
            stream.pointee.flags.insert(.sendWaiting)
            keepCopies(slot, stream)
            markDirty(slot)
            return false
        default:
            return fail(slot, result == 0 ? EPIPE : -result, &event)
        }
    }

    /// A system call of its own: the ring hands every shutdown to a worker thread (io_uring/net.c, io_shutdown_prep), and waking that
    /// costs more than the call. A peer that is gone is told by the receive.
    @inline(never)
    private func sendFinish(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        stream.pointee.flags.insert(.finished)
        ring_finish_sending(state.pointee.ring.pointer, stream.pointee.descriptor)
        finishCompleted(slot)
    }
}
