import CTLS
import Glibc

/// TLS, the sending half: the queue of a secure stream is encrypted where it lies when it leaves.
///
/// ```
///  queue at the flush   │ encrypted, not taken yet │ plaintext of this turn … │
///                                                    ▼ small ones closed up into one buffer
///  buffer   │ record room │ headroom │ plaintext          │ tailroom │
///            ▲ record 1 header, ciphertext, tag │ record 2 … ─► never ahead of the plaintext still to be read
/// ```
/// - Nothing is encrypted before it can leave: a stream whose peer is behind keeps plaintext, which still counts in its queue.
/// - A message is short and waits for nobody; but a long record can be read only when its last byte came. So a stream begins with records
///   of one packet, and goes over to full ones when it goes on without a pause.
extension Shard {
    /// Encrypts what is queued; false when nothing may be sent now.
    @inline(never)
    func flushSecure(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>) -> Bool {
        let entry = secure(slot)
        if stream.pointee.flags.contains(.handshaking) { return flushHandshake(slot, stream) }
        guard let session = entry.pointee.session, !entry.pointee.flags.contains(.broken) else { return false }
        if now &- entry.pointee.lastSendMilliseconds >= EngineLimits.recordIdleMilliseconds { entry.pointee.freshBytes = 0 }
        var buffer = BufferIndex(stream.pointee.queueHead)
        while buffer != .none, record(buffer).pointee.isEncrypted { buffer = BufferIndex(record(buffer).pointee.next) }
        while buffer != .none {
            entry.pointee.lastSendMilliseconds = now
            guard encrypt(buffer, stream, entry, session) else {
                breakSession(slot)
                planWork(slot)
                return false
            }
            guard queueSpill(slot, session) else {
                breakSession(slot)
                planWork(slot)
                return false
            }
            buffer = BufferIndex(record(buffer).pointee.next)
            while buffer != .none, record(buffer).pointee.isEncrypted { buffer = BufferIndex(record(buffer).pointee.next) }
        }
        _ = mustSayClose(slot)
        return stream.pointee.queuedBuffers > 0
    }

    /// Queues close_notify in front of FIN; false when there is none to say, or it is said.
    @inline(never)
    func mustSayClose(_ slot: SlotIndex) -> Bool {
        let entry = secure(slot)
        if state.pointee.slots[Int(slot.raw)].flags.contains(.handshaking) { return true }
        guard state.pointee.slots[Int(slot.raw)].flags.contains(.finishWanted), let session = entry.pointee.session,
            entry.pointee.flags.isDisjoint(with: [.closeSent, .broken])
        else { return false }
        entry.pointee.flags.insert(.closeSent)
        tls_session_output(session, nil, 0)
        tls_session_close_notify(session)
        guard tls_session_has_spill(session) != 0 else { return false }
        if !queueSpill(slot, session) {
            breakSession(slot)
            planWork(slot)
        }
        return true
    }

    /// During a handshake only what it brought leaves.
    private func flushHandshake(_ slot: SlotIndex, _ stream: UnsafeMutablePointer<Slot>) -> Bool {
        guard stream.pointee.queuedBuffers > 0 else { return false }
        guard record(BufferIndex(stream.pointee.queueHead)).pointee.isEncrypted else { return false }
        if record(BufferIndex(stream.pointee.queueTail)).pointee.isEncrypted { return true }
        submitSend(slot, stream, alone: true)
        return false
    }

    /// Encrypts one buffer of the queue, and small ones behind it along with it.
    private func encrypt(_ buffer: BufferIndex, _ stream: UnsafeMutablePointer<Slot>, _ entry: UnsafeMutablePointer<SecureSlot>,
                         _ session: OpaquePointer) -> Bool {
        let part = record(buffer)
        let base = bytes(buffer) - EngineLimits.headroomBytes
        let room = buffer.bufferClass.frontRoomBytes
        var writer = RecordWriter(session: session, output: base - room)
        if part.pointee.pieceBytes == 0 {
            closeUp(buffer, stream)
            let plain = base + Int(Int32(bitPattern: part.pointee.start))
            guard seal(plain, Int(part.pointee.count), end: end(buffer), &writer, entry) >= 0 else { return false }
        } else {
            guard sealFramed(buffer, &writer, entry) else { return false }
        }
        let after = UInt32(writer.output - (base - room))
        stream.pointee.queuedBytes = stream.pointee.queuedBytes &+ after &- part.pointee.count
        part.pointee.start = UInt32(bitPattern: Int32(-room))
        part.pointee.count = after
        part.pointee.pieceBytes = 0
        part.pointee.isEncrypted = true
        return true
    }

    /// First byte behind what belongs to the buffer.
    private func end(_ buffer: BufferIndex) -> UnsafeMutableRawPointer {
        bytes(buffer) + (capacity(buffer) &+ EngineLimits.tailroomBytes)
    }

    /// Appends the small plain buffers behind this one as long as they fit: one record, one part to send.
    private func closeUp(_ buffer: BufferIndex, _ stream: UnsafeMutablePointer<Slot>) {
        let part = record(buffer)
        let base = bytes(buffer) - EngineLimits.headroomBytes
        let room = EngineLimits.headroomBytes &+ capacity(buffer)
        while part.pointee.next != BufferIndex.none.raw {
            let next = BufferIndex(part.pointee.next)
            let other = record(next).pointee
            let end = Int(part.pointee.start &+ part.pointee.count)
            guard other.pieceBytes == 0, !other.isEncrypted, next.bufferClass == .small, end &+ Int(other.count) <= room else { return }
            (base + end).copyMemory(from: bytes(next) - EngineLimits.headroomBytes + Int(other.start), byteCount: Int(other.count))
            part.pointee.count &+= other.count
            part.pointee.next = other.next
            if other.next == BufferIndex.none.raw { stream.pointee.queueTail = buffer.raw }
            stream.pointee.queuedBuffers &-= 1
            stream.pointee.queuedCapacity &-= UInt32(truncatingIfNeeded: capacity(next))
            put(next, from: .queue)
        }
    }

    /// Where the records of one buffer go.
    private struct RecordWriter {
        let session: OpaquePointer
        var output: UnsafeMutableRawPointer

        /// One record, which may reach up to `end`. What finds no place is kept by the session.
        mutating func seal(_ bytes: UnsafeMutableRawPointer, _ count: Int, until end: UnsafeMutableRawPointer) -> Bool {
            tls_session_output(session, output, max(0, end - output))
            guard tls_session_encrypt(session, bytes, count) == TLS_DONE.rawValue else { return false }
            output += tls_session_written(session)
            return true
        }
    }

    /// Seals bytes in records and returns how many, or -1 when the session broke. The last record may reach up to `end`; without an end
    /// more bytes follow, and only full records are made.
    private func seal(_ bytes: UnsafeMutableRawPointer, _ count: Int, end: UnsafeMutableRawPointer?, _ writer: inout RecordWriter,
                      _ entry: UnsafeMutablePointer<SecureSlot>) -> Int {
        var done = 0
        while done < count {
            let wanted = recordBytes(entry)
            if count &- done < wanted, end == nil { return done }
            let part = min(count &- done, wanted)
            let limit = done &+ part == count ? end ?? bytes + count : bytes + (done &+ part)
            guard writer.seal(bytes + done, part, until: limit) else { return -1 }
            done &+= part
            entry.pointee.freshBytes = min(entry.pointee.freshBytes &+ UInt32(truncatingIfNeeded: part), EngineLimits.recordFreshBytes)
        }
        return done
    }

    @inline(__always)
    private func recordBytes(_ entry: UnsafeMutablePointer<SecureSlot>) -> Int {
        entry.pointee.freshBytes < EngineLimits.recordFreshBytes ? EngineLimits.recordBytesFresh : EngineLimits.recordBytesMaximum
    }

    /// Seals pieces with their headers. A header lies in front of its piece once the bytes there are sealed; a piece's last bytes that
    /// fill no record move up to make room for it, and go with the next.
    private func sealFramed(_ buffer: BufferIndex, _ writer: inout RecordWriter, _ entry: UnsafeMutablePointer<SecureSlot>) -> Bool {
        let part = record(buffer).pointee
        let headerBytes = Int(part.headerBytes)
        let payload = bytes(buffer)
        // The records will reach the headers before these are used.
        var headers = InlineArray<128, UInt8>(repeating: 0)
        var piece = 0
        var start = 0
        var carried = 0
        for index in 0..<EngineLimits.headroomBytes {
            headers[index] = (payload - EngineLimits.headroomBytes).load(fromByteOffset: index, as: UInt8.self)
        }
        while start < Int(part.payloadBytes) {
            let next = min(start &+ Int(part.pieceBytes), Int(part.payloadBytes))
            let first = payload + (start &- carried &- headerBytes)
            if carried > 0 { memmove(first, payload + (start &- carried), carried) }
            for index in 0..<headerBytes {
                (payload + (start &- headerBytes &+ index)).storeBytes(of: headers[piece &* headerBytes &+ index], as: UInt8.self)
            }
            let isLast = next == Int(part.payloadBytes)
            let count = carried &+ headerBytes &+ next &- start
            let sealed = seal(first, count, end: isLast ? end(buffer) : nil, &writer, entry)
            guard sealed >= 0 else { return false }
            carried = count &- sealed
            piece &+= 1
            start = next
        }
        return true
    }

    // MARK: The queue

    /// Puts what the session itself has to say behind what is encrypted already: records leave in the order in which they were made.
    func queueSecure(_ slot: SlotIndex, _ buffer: BufferIndex, _ count: Int) {
        if count == 0 { return release(buffer) }
        let stream = state.pointee.slots + Int(slot.raw)
        var before = BufferIndex.none
        var after = BufferIndex(stream.pointee.queueHead)
        while after != .none, record(after).pointee.isEncrypted {
            before = after
            after = BufferIndex(record(after).pointee.next)
        }
        record(buffer).pointee = BufferRecord(
            next: after.raw, start: UInt32(EngineLimits.headroomBytes), count: UInt32(truncatingIfNeeded: count), payloadBytes: 0,
            pieceBytes: 0, headerBytes: 0, holder: .queue, isEncrypted: true)
        if before == .none { stream.pointee.queueHead = buffer.raw } else { record(before).pointee.next = buffer.raw }
        if after == .none { stream.pointee.queueTail = buffer.raw }
        stream.pointee.queuedBuffers &+= 1
        stream.pointee.queuedBytes &+= UInt32(truncatingIfNeeded: count)
        stream.pointee.queuedCapacity &+= UInt32(truncatingIfNeeded: capacity(buffer))
        markDirty(slot)
    }

    /// Queues what the session kept for want of a place; false when there are not enough buffers, and the session keeps the rest.
    @inline(__always)
    func queueSpill(_ slot: SlotIndex, _ session: OpaquePointer) -> Bool {
        tls_session_has_spill(session) == 0 || queueAllSpill(slot, session)
    }

    @inline(never)
    private func queueAllSpill(_ slot: SlotIndex, _ session: OpaquePointer) -> Bool {
        while tls_session_has_spill(session) != 0 {
            guard let buffer = acquire() else { return false }
            queueSecure(slot, buffer, tls_session_spill(session, bytes(buffer), capacity(buffer)))
        }
        return true
    }

    /// Queues what the session has to say to what it read; false when the peer takes no answers, or there are no buffers. Behind
    /// close_notify nothing may follow (RFC 8446 section 6.1).
    @inline(never)
    func queueAnswers(_ slot: SlotIndex, _ session: OpaquePointer) -> Bool {
        let entry = secure(slot)
        if entry.pointee.flags.contains(.closeSent) {
            tls_session_drop_spill(session)
            return true
        }
        let stream = state.pointee.slots + Int(slot.raw)
        if stream.pointee.sentBytes >= entry.pointee.answersEnd { entry.pointee.answers = 0 }
        guard entry.pointee.answers < EngineLimits.sessionAnswersMaximum, queueAllSpill(slot, session) else { return false }
        entry.pointee.answers &+= 1
        entry.pointee.answersEnd = stream.pointee.sentBytes &+ UInt64(stream.pointee.queuedBytes)
        return true
    }

    /// What the session did not encrypt will not leave.
    func dropPlaintext(_ slot: SlotIndex) {
        let stream = state.pointee.slots + Int(slot.raw)
        var last = BufferIndex.none
        var buffer = BufferIndex(stream.pointee.queueHead)
        while buffer != .none, record(buffer).pointee.isEncrypted {
            last = buffer
            buffer = BufferIndex(record(buffer).pointee.next)
        }
        if last == .none { stream.pointee.queueHead = BufferIndex.none.raw } else { record(last).pointee.next = BufferIndex.none.raw }
        stream.pointee.queueTail = last.raw
        while buffer != .none {
            let entry = record(buffer).pointee
            stream.pointee.queuedBuffers &-= 1
            stream.pointee.queuedBytes &-= entry.count
            stream.pointee.queuedCapacity &-= UInt32(truncatingIfNeeded: capacity(buffer))
            put(buffer, from: .queue)
            buffer = BufferIndex(entry.next)
        }
    }
}
