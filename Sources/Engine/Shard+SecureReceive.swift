import CRing
import CTLS
import Glibc

/// TLS, the receiving half: handshake steps and decryption.
///
/// ```
///  received (ciphertext) ─► input queue of the slot ─► end of the turn's completions ─► handshake step, or decrypt in place
///                                                                                            └─► received (plaintext)
/// ```
/// The plaintext of a buffer is closed up at its front: one event for all records in it. Only a record that began in an earlier
/// buffer may give more than its last part has room for; that plaintext goes to small buffers, ahead of the rest.
extension Shard {
    /// Ciphertext came.
    @inline(never)
    func secureReceived(_ slot: SlotIndex, _ buffer: BufferIndex, _ count: Int) {
        let entry = secure(slot)
        if entry.pointee.flags.contains(.closeReceived) { return release(buffer) }
        record(buffer).pointee = BufferRecord(
            next: BufferIndex.none.raw, start: 0, count: UInt32(truncatingIfNeeded: count), payloadBytes: 0, pieceBytes: 0,
            headerBytes: 0, holder: .queue, isEncrypted: true)
        if entry.pointee.inputHead == BufferIndex.none.raw {
            entry.pointee.inputHead = buffer.raw
            aim(slot)
        } else {
            record(BufferIndex(entry.pointee.inputTail)).pointee.next = buffer.raw
        }
        entry.pointee.inputTail = buffer.raw
        if state.pointee.slots[Int(slot.raw)].flags.contains(.handshaking) {
            state.pointee.slots[Int(slot.raw)].flags.insert(.secureHeld)
            state.pointee.handshakes.received()
        }
        planWork(slot)
    }

    /// FIN or an error came: it counts when the input is used up.
    @inline(never)
    func secureEnded(_ slot: SlotIndex, _ error: Int32) {
        let entry = secure(slot)
        entry.pointee.flags.insert(.tcpEnded)
        entry.pointee.error = error
        planWork(slot)
    }

    /// Sets the cursor to the first buffer of the input.
    private func aim(_ slot: SlotIndex) {
        let buffer = BufferIndex(secure(slot).pointee.inputHead)
        secure(slot).pointee.input = tls_input(
            base: bytes(buffer).assumingMemoryBound(to: UInt8.self), count: record(buffer).pointee.count, read: 0, written: 0)
    }

    /// Takes the first buffer off the input.
    private func shiftInput(_ slot: SlotIndex) -> BufferIndex {
        let entry = secure(slot)
        let buffer = BufferIndex(entry.pointee.inputHead)
        entry.pointee.inputHead = record(buffer).pointee.next
        record(buffer).pointee.holder = .owner
        if entry.pointee.inputHead != BufferIndex.none.raw {
            aim(slot)
        } else {
            entry.pointee.inputTail = BufferIndex.none.raw
            entry.pointee.input = tls_input()
        }
        return buffer
    }

    func discardInput(_ slot: SlotIndex) {
        while secure(slot).pointee.inputHead != BufferIndex.none.raw { release(shiftInput(slot)) }
    }

    /// The next event out of what came over secure streams.
    @inline(never)
    func nextSecure(_ event: inout Event) -> Bool {
        while !state.pointee.secureWork.isEmpty {
            let slot = SlotIndex(state.pointee.secureWork.head)
            switch work(slot, &event) {
            case .event: return true
            case .later: postpone(slot)
            case .done: if state.pointee.secureWork.head == slot.raw { forgetWork(slot) }
            }
        }
        return false
    }

    private enum Work {
        /// `event` holds something; there may be more.
        case event
        /// Nothing is left to do, or the stream is closed.
        case done
        /// The budget, or the pool, is used up.
        case later
    }

    private func work(_ slot: SlotIndex, _ event: inout Event) -> Work {
        let stream = state.pointee.slots + Int(slot.raw)
        let entry = secure(slot)
        while true {
            if !stream.pointee.flags.isDisjoint(with: [.closing, .failed]) || stream.pointee.owner == Owner.engine.raw {
                discardInput(slot)
                if stream.pointee.flags.contains(.secureHeld) { readOn(slot) }
                return .done
            }
            if entry.pointee.flags.contains(.closeReceived) { return tellClose(slot, &event) }
            if entry.pointee.flags.contains(.broken) { return tellBroken(slot, &event) }
            if stream.pointee.flags.contains(.handshaking) {
                // Input, or the first words of a client.
                if entry.pointee.inputHead == BufferIndex.none.raw, entry.pointee.flags.contains(.tcpEnded) { return tellEnd(slot, &event) }
                if entry.pointee.inputHead == BufferIndex.none.raw, isServer(slot), !keepsOutput(slot) { return .done }
                if let outcome = handshakeStep(slot, &event) { return outcome }
                continue
            }
            guard stream.pointee.flags.contains(.receiveWanted) else { return .done }
            guard entry.pointee.inputHead != BufferIndex.none.raw else {
                guard entry.pointee.flags.contains(.tcpEnded) else { return .done }
                return tellEnd(slot, &event)
            }
            if let outcome = decryptStep(slot, &event) { return outcome }
        }
    }

    // MARK: Handshake

    /// One step, nil when the work goes on with what it brought.
    private func handshakeStep(_ slot: SlotIndex, _ event: inout Event) -> Work? {
        let entry = secure(slot)
        guard state.pointee.small.freeCount > 0, mayStep(), let output = acquire() else {
            state.pointee.statistics.add(.tlsHandshakesDeferred)
            return .later
        }
        if entry.pointee.session == nil, let context = entry.pointee.context {
            entry.pointee.session = tls_session_create_server(context)
            entry.pointee.context = nil
            tls_context_release(context)
        }
        guard let session = entry.pointee.session else {
            release(output)
            handshakeLost(slot)
            return .done
        }
        tls_session_output(session, bytes(output), capacity(output))
        let result = tls_session_handshake(session, &entry.pointee.input)
        queueSecure(slot, output, tls_session_written(session))
        let isQueued = queueSpill(slot, session)
        if entry.pointee.input.read == entry.pointee.input.count, entry.pointee.inputHead != BufferIndex.none.raw {
            release(shiftInput(slot))
        }
        switch tls_outcome(rawValue: result) {
        case TLS_MORE:
            // No buffer for the rest of what it said: the peer cannot answer before that has left.
            if !isQueued { return .later }
            if entry.pointee.inputHead != BufferIndex.none.raw { return nil }
            readOn(slot)
            return entry.pointee.flags.contains(.tcpEnded) ? nil : .done
        case TLS_DONE:
            if !isQueued { breakSession(slot) }
            return handshakeDone(slot, session, &event)
        default: return handshakeFailed(slot, &event)
        }
    }

    /// Whether the session keeps output for want of buffers.
    private func keepsOutput(_ slot: SlotIndex) -> Bool { secure(slot).pointee.session.map { tls_session_has_spill($0) != 0 } ?? false }

    private func mayStep() -> Bool {
        let ring = state.pointee.ring.pointer
        return state.pointee.handshakes.mayStep { ring_now_nanoseconds(ring) }
    }

    private func handshakeDone(_ slot: SlotIndex, _ session: OpaquePointer, _ event: inout Event) -> Work? {
        let stream = state.pointee.slots + Int(slot.raw)
        stream.pointee.flags.remove(.handshaking)
        secure(slot).pointee.messagesMilliseconds = now
        tls_session_allow(session, EngineLimits.sessionMessagesMaximum, EngineLimits.sessionMessagesMaximum)
        state.pointee.statistics.add(.tlsHandshakes)
        state.pointee.statistics.add(tls_session_version(session) == 0x0304 ? .tlsVersion13 : .tlsVersion12)
        if tls_session_resumed(session) != 0 { state.pointee.statistics.add(.tlsResumed) }
        if stream.pointee.queuedBuffers > 0 || stream.pointee.flags.contains(.finishWanted) { markDirty(slot) }
        readOn(slot)
        if isServer(slot) {
            clearTimer(slot)
            fill(&event, .accepted, slot)
            event.detail = secure(slot).pointee.tag
        } else {
            fill(&event, .connected, slot)
        }
        return .event
    }

    private func handshakeFailed(_ slot: SlotIndex, _ event: inout Event) -> Work {
        state.pointee.statistics.add(.tlsHandshakesFailed)
        discardInput(slot)
        breakSession(slot)
        guard isServer(slot) else { return tellBroken(slot, &event) }
        // Also without an alert the peer reads an end, not a reset: its bytes are read and dropped.
        secure(slot).pointee.flags.insert(.alertQueued)
        close(slot)
        return .done
    }

    /// A stream that was not read while its input waited is read again, behind what this turn sends: a request that came with the
    /// end of the handshake may have made its owner pause meanwhile.
    private func readOn(_ slot: SlotIndex) {
        state.pointee.slots[Int(slot.raw)].flags.remove(.secureHeld)
        armLater(slot)
    }

    // MARK: Data

    /// Decrypts until there is an event; nil when the work goes on.
    private func decryptStep(_ slot: SlotIndex, _ event: inout Event) -> Work? {
        let entry = secure(slot)
        guard let session = entry.pointee.session else { return .done }
        allowMessages(entry, session)
        tls_session_output(session, nil, 0)
        let result = tls_session_decrypt(session, &entry.pointee.input)
        if tls_session_has_spill(session) != 0, !queueAnswers(slot, session) { breakSession(slot) }
        if result == TLS_ROOM.rawValue { return takeElsewhere(slot, session, &event) }
        if state.pointee.slots[Int(slot.raw)].flags.contains(.secureHeld) { readOn(slot) }
        let written = Int(entry.pointee.input.written)
        let buffer = shiftInput(slot)
        if result == TLS_CLOSED.rawValue { entry.pointee.flags.insert(.closeReceived) }
        if result == TLS_FAILED.rawValue { breakSession(slot) }
        guard written > 0 else {
            release(buffer)
            return nil
        }
        return give(slot, buffer, written, &event)
    }

    @inline(__always)
    private func allowMessages(_ entry: UnsafeMutablePointer<SecureSlot>, _ session: OpaquePointer) {
        let earned = (now &- entry.pointee.messagesMilliseconds) / EngineLimits.sessionMessageMilliseconds
        guard earned > 0 else { return }
        entry.pointee.messagesMilliseconds &+= earned &* EngineLimits.sessionMessageMilliseconds
        tls_session_allow(session, UInt32(clamping: earned), EngineLimits.sessionMessagesMaximum)
    }

    private func give(_ slot: SlotIndex, _ buffer: BufferIndex, _ count: Int, _ event: inout Event) -> Work {
        fill(&event, .received, slot)
        event.buffer = buffer
        event.count = count
        return .event
    }

    /// Plaintext of a record that began in an earlier buffer.
    private func takeElsewhere(_ slot: SlotIndex, _ session: OpaquePointer, _ event: inout Event) -> Work {
        precondition(secure(slot).pointee.input.written == 0, "only a buffer's first record can be longer than its part here")
        guard let buffer = acquire() else {
            // Nowhere to put it: the ciphertext waits, and no more is read, until buffers came back.
            if !state.pointee.slots[Int(slot.raw)].flags.contains(.secureHeld) {
                state.pointee.statistics.add(.receiveStarved)
                state.pointee.slots[Int(slot.raw)].flags.insert(.secureHeld)
                cancelReceive(slot)
            }
            return .later
        }
        let count = tls_session_take(session, bytes(buffer), capacity(buffer))
        return give(slot, buffer, count, &event)
    }

    // MARK: Ends

    private func tellClose(_ slot: SlotIndex, _ event: inout Event) -> Work {
        let entry = secure(slot)
        discardInput(slot)
        if entry.pointee.flags.contains(.closeTold) {
            // After its close_notify a peer may still break.
            return entry.pointee.error != 0 && fail(slot, entry.pointee.error, &event) ? .event : .done
        }
        entry.pointee.flags.insert(.closeTold)
        state.pointee.slots[Int(slot.raw)].flags.insert(.receiveEnded)
        fill(&event, .ended, slot)
        return .event
    }

    private func tellEnd(_ slot: SlotIndex, _ event: inout Event) -> Work {
        let isOpen = !state.pointee.slots[Int(slot.raw)].flags.contains(.handshaking)
        if isOpen, secure(slot).pointee.error == 0 { state.pointee.statistics.add(.tlsTruncated) }
        let error = secure(slot).pointee.error == 0 ? ECONNRESET : secure(slot).pointee.error
        return fail(slot, error, &event) ? .event : .done
    }

    func breakSession(_ slot: SlotIndex) {
        secure(slot).pointee.flags.insert(.broken)
        if state.pointee.slots[Int(slot.raw)].queuedBuffers > 0 { secure(slot).pointee.flags.insert(.alertQueued) }
    }

    private func tellBroken(_ slot: SlotIndex, _ event: inout Event) -> Work {
        discardInput(slot)
        guard let session = secure(slot).pointee.session else { return .done }
        let rejected = tls_session_is_rejected(session) != 0
        return fail(slot, rejected ? EKEYREJECTED : EPROTO, &event) ? .event : .done
    }
}
