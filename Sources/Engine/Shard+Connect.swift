import CRing
import CSocket
import CTLS
import Glibc
import Ring

/// A listening socket of this shard.
struct ListenerState {
    var descriptor: Int32
    var owner: UInt8
    var tag: UInt32
    var armed: Bool
    var closing: Bool
    var tls: OpaquePointer?  // a reference to a server context
}

extension Shard {
    /// Accepts from a listening descriptor, for which `accepted` events go to `owner` with `tag` as detail. The shard
    /// owns the descriptor from now on. With `tls` the streams are encrypted, and accepted when their handshake is complete.
    public func listen(_ descriptor: Int32, owner: Owner, tag: UInt32, tls: TLSServerContext? = nil) {
        // The place of a listener that is closed is free: nothing of it is with the kernel.
        let number = (0..<state.pointee.listenerCount).first { state.pointee.listeners[$0].descriptor < 0 } ?? state.pointee.listenerCount
        precondition(number < EngineLimits.listenersMaximum)
        if let tls { tls_context_retain(tls.raw) }
        state.pointee.listeners[number] = ListenerState(
            descriptor: descriptor, owner: owner.raw, tag: tag, armed: false, closing: false, tls: tls?.raw)
        if number == state.pointee.listenerCount { state.pointee.listenerCount &+= 1 }
        armAccept(number)
    }

    /// Listeners that are open or being closed: their places of `EngineLimits.listenersMaximum`.
    public var listenersUsed: Int {
        (0..<state.pointee.listenerCount).count { state.pointee.listeners[$0].descriptor >= 0 }
    }

    /// Stops accepting on the listener with this tag and closes it; connections it accepted stay.
    public func closeListener(tag: UInt32) {
        for number in 0..<state.pointee.listenerCount where state.pointee.listeners[number].tag == tag { stopListening(number) }
    }

    /// Stops accepting on every listener and closes them.
    public func closeListeners() {
        for number in 0..<state.pointee.listenerCount { stopListening(number) }
    }

    private func stopListening(_ number: Int) {
        guard !state.pointee.listeners[number].closing else { return }
        state.pointee.listeners[number].closing = true
        if state.pointee.listeners[number].armed {
            let target = Token(.accept, slot: UInt32(number)).packed
            ring_prepare_cancel(state.pointee.ring.entry(), target, Token(.ignored, slot: 0).packed)
        } else {
            forgetListener(number)
        }
    }

    private func forgetListener(_ number: Int) {
        ring_close_descriptor(state.pointee.ring.pointer, state.pointee.listeners[number].descriptor)
        state.pointee.listeners[number].descriptor = -1
        dropListenerTLS(number)
    }

    /// Drops the listener's reference to its context.
    func dropListenerTLS(_ number: Int) {
        if let context = state.pointee.listeners[number].tls { tls_context_release(context) }
        state.pointee.listeners[number].tls = nil
    }

    /// Whether every listener is closed.
    public var listenersClosed: Bool {
        (0..<state.pointee.listenerCount).allSatisfy { state.pointee.listeners[$0].descriptor < 0 }
    }

    private func armAccept(_ number: Int) {
        state.pointee.listeners[number].armed = true
        ring_prepare_accept(
            state.pointee.ring.entry(), state.pointee.listeners[number].descriptor, Token(.accept, slot: UInt32(number)).packed)
    }

    func resumeAccepting() {
        state.pointee.acceptPaused = false
        for number in 0..<state.pointee.listenerCount {
            let listener = state.pointee.listeners[number]
            if !listener.armed, !listener.closing { armAccept(number) }
        }
    }

    func accepted(_ completion: ring_completion, _ event: inout Event) -> Bool {
        let number = Int(Token(packed: completion.token).slot)
        let listener = state.pointee.listeners[number]
        if completion.flags & UInt32(IORING_CQE_F_MORE) == 0 { acceptEnded(number, completion.result) }
        guard completion.result >= 0 else { return false }
        if listener.closing {
            ring_close_descriptor(state.pointee.ring.pointer, completion.result)
            return false
        }
        let slot = openSlot(completion.result, owner: Owner(listener.owner), context: 0)
        guard slot != .none else {
            state.pointee.statistics.add(.refusedNoSlot)
            ring_close_descriptor(state.pointee.ring.pointer, completion.result)
            return false
        }
        state.pointee.statistics.add(.accepted)
        // Multishot accept brings no address (io_uring_prep_accept(3)).
        let address = state.pointee.addresses + Int(slot.raw)
        address.pointee.address = SocketAddress()
        _ = ring_peer_address(state.pointee.ring.pointer, completion.result, &address.pointee.address.storage)
        if let context = listener.tls {
            beginSecure(slot, context: context, tag: listener.tag)
            return false
        }
        fill(&event, .accepted, slot)
        event.detail = listener.tag
        return true
    }

    @inline(never)
    private func acceptEnded(_ number: Int, _ result: Int32) {
        state.pointee.listeners[number].armed = false
        if state.pointee.listeners[number].closing {
            forgetListener(number)
            return
        }
        switch -result {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
            // Nothing to take the connection with: it waits in the backlog until a descriptor is closed or time has passed.
            state.pointee.statistics.add(.acceptFailed)
            state.pointee.acceptPaused = true
            setShardTimer(.acceptRetry, afterMilliseconds: UInt64(EngineLimits.acceptRetryMilliseconds))
        default:
            armAccept(number)
        }
    }

    /// Dials an address. `connected` or `failed` follows. `.none` when no slot or descriptor is left; `error` then holds
    /// the errno.
    ///
    /// - Parameter speaksFirst: the owner sends as soon as it hears `connected`; the first bytes then take the last ACK with them.
    public func connect(
        to address: SocketAddress, owner: Owner, context: UInt32, error: inout Int32, speaksFirst: Bool = false
    ) -> SlotIndex {
        let descriptor = ring_open_stream_socket(state.pointee.ring.pointer, address.family, speaksFirst)
        guard descriptor >= 0 else {
            error = -descriptor
            return .none
        }
        let slot = openSlot(descriptor, owner: owner, context: context)
        guard slot != .none else {
            state.pointee.statistics.add(.refusedNoSlot)
            ring_close_descriptor(state.pointee.ring.pointer, descriptor)
            error = ENOBUFS
            return .none
        }
        state.pointee.statistics.add(.connects)
        let record = state.pointee.slots + Int(slot.raw)
        record.pointee.flags.insert(.connecting)
        record.pointee.inFlight &+= 1
        // The cold record keeps the address in place while the kernel reads it.
        let place = state.pointee.addresses + Int(slot.raw)
        place.pointee.address = address
        UnsafeMutableRawPointer(place).withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
            ring_prepare_connect(state.pointee.ring.entry(), descriptor, raw, address.byteCount, token(.connect, slot))
        }
        return slot
    }

    /// Has the kernel notice when the peer of a stream is gone without a word, though nothing is sent for a long time.
    public func keepAlive(_ slot: SlotIndex) {
        // A simulated kernel's descriptors are no real ones.
        guard state.pointee.ring.pointer.pointee.kernel == nil else { return }
        socket_keep_alive(
            state.pointee.slots[Int(slot.raw)].descriptor, EngineLimits.keepAliveIdleSeconds, EngineLimits.keepAliveIntervalSeconds,
            EngineLimits.keepAliveProbes, EngineLimits.unacknowledgedMilliseconds)
    }

    /// Whether a dialled stream has no connection yet; one that speaks TLS may have one and still shake hands.
    public func isConnecting(_ slot: SlotIndex) -> Bool { state.pointee.slots[Int(slot.raw)].flags.contains(.connecting) }

    func connectCompleted(_ slot: SlotIndex, _ result: Int32, _ event: inout Event) -> Bool {
        let record = state.pointee.slots + Int(slot.raw)
        record.pointee.inFlight &-= 1
        record.pointee.flags.remove(.connecting)
        if record.pointee.flags.contains(.closing) {
            closeStep(slot)
            return false
        }
        guard result == 0 else {
            state.pointee.statistics.add(.connectFailed)
            return fail(slot, -result, &event)
        }
        if record.pointee.flags.contains(.secure) {
            // An owner that asked for input at once has begun the handshake before there was anybody to tell.
            if record.pointee.queuedBuffers > 0 { markDirty(slot) }
            planWork(slot)
            return false
        }
        if record.pointee.queuedBuffers > 0 || record.pointee.flags.contains(.finishWanted) { markDirty(slot) }
        if record.pointee.flags.contains(.receiveWanted) { armReceive(slot, pollFirst: true) }
        if record.pointee.owner == Owner.engine.raw { return false }
        fill(&event, .connected, slot)
        return true
    }

    /// Marks the stream broken and tells its owner, once; a lingering stream is closed.
    func fail(_ slot: SlotIndex, _ error: Int32, _ event: inout Event) -> Bool {
        let record = state.pointee.slots + Int(slot.raw)
        if record.pointee.flags.contains(.failed) { return false }
        if record.pointee.flags.contains(.handshaking), isServer(slot) {
            handshakeLost(slot)
            return false
        }
        record.pointee.flags.insert(.failed)
        if record.pointee.owner == Owner.engine.raw {
            close(slot)
            return false
        }
        fill(&event, .failed, slot)
        event.result = error
        return true
    }
}
