import CTLS
import Glibc

/// TLS: how a stream becomes secure, and how it ends.
///
/// Theory of operation
///
/// ```
///  accept ─► handshaking ─► accepted ─► open ─► close_notify, FIN
///                │              ▲
///  connect ──────┴──► connected ┘       owners see plaintext only
/// ```
/// - A secure stream is a slot with the flag `secure` and an entry in a table of its own. The plain path tests the flag and no more.
/// - Received ciphertext waits at the slot until all completions of the turn are read; then it is decrypted where it lies
///   (`Shard+SecureReceive`). Plaintext is encrypted where it lies when the turn's output leaves (`Shard+SecureSend`).
/// - An accepted stream is its owner's when the handshake is complete; its session is made when the first bytes come, so a peer that
///   says nothing costs no more than a plain one. A dialled stream's owner bounds the time until `connected` with the slot's timer,
///   as for any connect.
/// - Handshakes are the expensive part: a turn makes as many steps as fit its `HandshakeBudget`, then data goes on,
///   and the turn does not sleep while steps wait. A peer whose step waits is not read.
/// - The peer's close_notify is `ended`. A FIN without it may come from an attacker who cuts the stream short (RFC 8446 section 6.1): it
///   is `failed` with ECONNRESET, after everything that came before it.
/// - A stream whose owner does not read keeps ciphertext.
/// - What a peer sends beside data costs work and may have to be answered: it is bounded in time and in answers that wait.
/// - A broken session gets its alert: the stream is then closed like a lingering one. A peer that does not speak TLS at all gets
///   nothing but the close.
extension Shard {
    /// Whether the stream is encrypted.
    @inline(__always)
    public func isSecure(_ slot: SlotIndex) -> Bool { state.pointee.slots[Int(slot.raw)].flags.contains(.secure) }

    /// Why the TLS of a `failed` stream failed, for the log; nil when it was not TLS. Before `close`.
    public func secureFailure(_ slot: SlotIndex) -> String? {
        guard isSecure(slot), let session = secure(slot).pointee.session, secure(slot).pointee.flags.contains(.broken) else { return nil }
        var line = [CChar](repeating: 0, count: 256)
        tls_session_error(session, &line, line.count)
        return String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Streams accepted from the listener with this tag are from now on served with another context, or in plain text; those that are
    /// there keep theirs.
    public func replaceTLS(tag: UInt32, with context: TLSServerContext?) {
        for number in 0..<state.pointee.listenerCount where state.pointee.listeners[number].tag == tag {
            guard state.pointee.listeners[number].descriptor >= 0 else { continue }
            dropListenerTLS(number)
            if let context { tls_context_retain(context.raw) }
            state.pointee.listeners[number].tls = context?.raw
        }
    }

    /// Leaves accepted streams whose handshake is not complete no more than so many milliseconds.
    public func hurryHandshakes(milliseconds: UInt64) {
        for index in 0..<state.pointee.slotsTouched {
            let slot = SlotIndex(UInt32(index))
            if state.pointee.slots[index].flags.isSuperset(of: [.used, .handshaking]), isServer(slot) {
                setTimer(slot, afterMilliseconds: milliseconds)
            }
        }
    }

    @inline(__always)
    func secure(_ slot: SlotIndex) -> UnsafeMutablePointer<SecureSlot> { state.pointee.secure + Int(slot.raw) }

    @inline(__always)
    func isServer(_ slot: SlotIndex) -> Bool { secure(slot).pointee.flags.contains(.server) }

    /// A stream was accepted by a TLS listener: `accepted` comes when its handshake is complete.
    @inline(never)
    func beginSecure(_ slot: SlotIndex, context: OpaquePointer, tag: UInt32) {
        clearSecure(slot)
        tls_context_retain(context)
        secure(slot).pointee.context = context
        secure(slot).pointee.tag = tag
        secure(slot).pointee.flags = .server
        state.pointee.slots[Int(slot.raw)].flags.formUnion([.secure, .handshaking])
        state.pointee.statistics.set(.tlsStreams, state.pointee.statistics.read(.tlsStreams) &+ 1)
        setTimer(slot, afterMilliseconds: EngineLimits.handshakeMilliseconds)
        armReceive(slot)
    }

    /// Dials an address and shakes hands. `connected` comes when the peer's certificate is verified: its chain, and that it is for
    /// `serverName`. `failed` has EKEYREJECTED when it is not, EPROTO when TLS failed otherwise; `secureFailure` says more.
    ///
    /// - Parameter serverName: a DNS name, which is also asked for (SNI), or a numeric address.
    /// - Returns: `.none` when no slot, descriptor or memory is left; `error` then holds the errno.
    public func connect(to address: SocketAddress, owner: Owner, context: UInt32, error: inout Int32, tls: TLSClientContext,
                        serverName: String) -> SlotIndex {
        guard let session = tls_session_create_client(tls.raw, serverName) else {
            error = ENOMEM
            return .none
        }
        let slot = connect(to: address, owner: owner, context: context, error: &error, speaksFirst: true)
        guard slot != .none else {
            tls_session_free(session)
            return .none
        }
        clearSecure(slot)
        secure(slot).pointee.session = session
        state.pointee.slots[Int(slot.raw)].flags.formUnion([.secure, .handshaking])
        state.pointee.statistics.set(.tlsStreams, state.pointee.statistics.read(.tlsStreams) &+ 1)
        return slot
    }

    private func clearSecure(_ slot: SlotIndex) {
        secure(slot).initialize(
            to: SecureSlot(
                session: nil, context: nil, input: tls_input(), inputHead: BufferIndex.none.raw, inputTail: BufferIndex.none.raw,
                nextWork: SlotIndex.none.raw, previousWork: SlotIndex.none.raw, list: 0, answers: 0, flags: [], tag: 0,
                freshBytes: 0, error: 0, answersEnd: 0, lastSendMilliseconds: now, messagesMilliseconds: now))
    }

    /// What the session has beside the slot goes; the slot is a plain one afterwards.
    @inline(never)
    func endSecure(_ slot: SlotIndex) {
        let entry = secure(slot)
        discardInput(slot)
        forgetWork(slot)
        if let session = entry.pointee.session { tls_session_free(session) }
        if let context = entry.pointee.context { tls_context_release(context) }
        entry.pointee.session = nil
        entry.pointee.context = nil
        state.pointee.slots[Int(slot.raw)].flags.subtract([.secure, .handshaking, .secureHeld])
        state.pointee.statistics.set(.tlsStreams, state.pointee.statistics.read(.tlsStreams) &- 1)
    }

    /// `close` of a secure stream: true when an alert is still to be sent, and the stream lingers for it.
    @inline(never)
    func closeSecure(_ slot: SlotIndex) -> Bool {
        let stream = state.pointee.slots + Int(slot.raw)
        let tells = secure(slot).pointee.flags.contains(.alertQueued)
        endSecure(slot)
        guard tells else { return false }
        dropPlaintext(slot)
        stream.pointee.flags.remove(.failed)
        // A FIN that was asked for before the stream broke is asked for again.
        markDirty(slot)
        linger(slot, drainMilliseconds: EngineLimits.alertMilliseconds, totalMilliseconds: EngineLimits.alertMilliseconds)
        return true
    }

    /// The time for a handshake is over.
    @inline(never)
    func handshakeTimePassed(_ slot: SlotIndex) {
        state.pointee.statistics.add(.tlsHandshakeTimeouts)
        close(slot)
    }

    /// An accepted stream broke before it was anybody's.
    @inline(never)
    func handshakeLost(_ slot: SlotIndex) {
        state.pointee.statistics.add(.tlsHandshakesFailed)
        close(slot)
    }

    // MARK: Work lists

    /// The slot has TLS work to do when the completions of this turn are read.
    @inline(never)
    @usableFromInline
    func planWork(_ slot: SlotIndex) {
        if secure(slot).pointee.list == 0 { state.pointee.secureWork.append(slot.raw, state.pointee.secure) }
    }

    func forgetWork(_ slot: SlotIndex) {
        switch secure(slot).pointee.list {
        case 0: break
        case state.pointee.secureWork.number: state.pointee.secureWork.remove(slot.raw, state.pointee.secure)
        default: state.pointee.secureLater.remove(slot.raw, state.pointee.secure)
        }
    }

    /// The first slot's work goes on in the next turn.
    func postpone(_ slot: SlotIndex) {
        forgetWork(slot)
        state.pointee.secureLater.append(slot.raw, state.pointee.secure)
    }

    /// A new turn: what was put off goes on, with a new budget.
    @inline(never)
    func resumeSecureWork() {
        state.pointee.handshakes.beginTurn(receives: state.pointee.statistics.read(.receives))
        while !state.pointee.secureLater.isEmpty {
            let index = state.pointee.secureLater.head
            state.pointee.secureLater.remove(index, state.pointee.secure)
            state.pointee.secureWork.append(index, state.pointee.secure)
        }
    }
}
