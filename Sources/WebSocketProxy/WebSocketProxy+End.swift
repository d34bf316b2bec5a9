import Engine
import HTTP
import Policy
import Wire

/// Ends: what one side learns of the other's, and of ours.
extension WebSocketProxy {
    /// What reading a buffer has found.
    func finish(_ index: UInt32, _ party: ProxyParty, _ ending: ProxyEnding) {
        let settings = details(index).settings
        switch ending {
        case .none: return
        case .closed: closeCame(index, party)
        case .aboveRate: end(index, .rate, client: settings.close(.messageRate), upstream: ProxyClose(.policyViolation))
        case .denied: end(index, .denied, client: settings.close(.forbidden), upstream: ProxyClose(.policyViolation))
        case .exhausted: end(index, .exhausted, client: settings.close(.tryAgainLater), upstream: ProxyClose(.tryAgainLater))
        case .packet(.tooLarge) where party == .client:
            end(index, .messageTooBig, client: settings.close(.messageTooBig), upstream: ProxyClose(.messageTooBig))
        case .packet(let fault):
            details(index).disconnectReason = party == .client ? fault.disconnectReason : nil
            finish(index, party, .violation(.protocolError))
        case .violation(.messageTooBig):
            end(index, .messageTooBig, client: ProxyClose(.messageTooBig), upstream: ProxyClose(.messageTooBig))
        case .violation(.unsupportedData):
            end(index, .unsupportedData, client: ProxyClose(.unsupportedData), upstream: ProxyClose(.unsupportedData))
        case .violation(let code):
            if party == .client {
                end(index, .clientViolation, client: ProxyClose(code), upstream: ProxyClose(.protocolError))
            } else {
                end(index, .upstreamViolation, client: ProxyClose(.badGateway), upstream: ProxyClose(code))
            }
        }
    }

    /// A side has sent Close; what it said waits for the other side, which is between two frames.
    private func closeCame(_ index: UInt32, _ party: ProxyParty) {
        let session = session(index)
        let source = side(session, party)
        let sink = side(session, party.other)
        source.pointee.flags.formUnion([.closeReceived, .deaf])
        sendWaiting(index, party.other)
        guard session.pointee.phase == .open || session.pointee.phase == .closing else { return }
        if sink.pointee.flags.contains(.closeReceived) || source.pointee.flags.contains(.closeSent) {
            return conclude(index)
        }
        details(index).cause = party == .client ? .clientClosed : .upstreamClosed
        session.pointee.phase = .closing
        session.pointee.phaseEnds = state.pointee.shard.now + details(index).settings.closeMilliseconds
        // The rest of a message that was cut short by the Close is not waited for; the answer is.
        let waits = sink.pointee.flags.contains(.pausedRate)
        resume(sink, .pausedAny)
        schedule(index)
        guard party == .upstream else { return }
        if waits { passWaiting(index) } else { replay(index) }
    }

    /// A side's TCP connection ended without a Close, or behind one.
    func sideEnded(_ index: UInt32, _ party: ProxyParty) {
        let session = session(index)
        let source = side(session, party)
        switch session.pointee.phase {
        case .free, .ending: return
        case .dialling, .first, .judged, .admitted: return abandon(index)
        case .finishing: return conclude(index)
        case .open:
            if party == .client, source.pointee.flags.contains(.pausedRate), !details(index).early.isEmpty {
                // What it sent is not all passed on.
                source.pointee.flags.insert(.endsLater)
                return
            }
            vanished(index, party)
        case .closing:
            // Who has sent Close may end its side at once; its answer is on its way. Who has not will not answer any more.
            if source.pointee.flags.contains(.closeReceived) { return }
            echo(index)
        }
    }

    func sideFailed(_ index: UInt32, _ party: ProxyParty) {
        let session = session(index)
        let source = side(session, party)
        switch session.pointee.phase {
        case .free, .ending: return
        case .dialling, .first, .judged, .admitted: return abandon(index)
        case .open, .closing, .finishing: break
        }
        let wasPressed = source.pointee.flags.contains(.pressed)
        source.pointee.flags.formUnion([.gone, .deaf])
        if session.pointee.phase == .finishing { return conclude(index) }
        if session.pointee.phase == .closing { return echo(index) }
        guard wasPressed else { return vanished(index, party) }
        let close = details(index).settings.close(.peerTooSlow)
        end(index, party == .client ? .clientSlow : .upstreamSlow, client: close, upstream: close)
    }

    private func vanished(_ index: UInt32, _ party: ProxyParty) {
        if party == .client {
            end(index, .clientVanished, client: nil, upstream: ProxyClose(.goingAway))
        } else {
            end(index, .upstreamVanished, client: details(index).settings.close(.upstreamUnavailable), upstream: nil)
        }
    }

    /// The other side will not answer a Close: the side that sent it gets its own back.
    func echo(_ index: UInt32) {
        let details = details(index)
        let closer: ProxyParty = details.closeFrom == .client ? .client : .upstream
        if let payload = details.closePayload, mayInterject(session(index), closer) {
            wait(index, closer) { $0.close = payload }
            sendWaiting(index, closer)
        }
        conclude(index)
    }

    /// Ends the session with a Close of our own to each side, where one can stand. A frame that is on its way to the client is waited for,
    /// for the control time, and longer when draining.
    func end(_ index: UInt32, _ cause: ProxyCause, client: ProxyClose?, upstream: ProxyClose?, waitMilliseconds: UInt64? = nil) {
        let session = session(index)
        let details = details(index)
        guard session.pointee.phase == .open || session.pointee.phase == .closing else { return }
        details.cause = cause
        if details.closePayload == nil, let client {
            details.closeFrom = cause == .upstreamVanished ? .upstream : .proxy
            details.closePayload = ControlPayload(client)
        }
        if details.disconnectReason == nil { details.disconnectReason = cause.disconnectReason }
        say(index, .upstream, upstream)
        side(session, .client).pointee.flags.insert(.deaf)
        guard let client, !mayInterject(session, .client) || awaitsPacketEnd(session), !session.pointee.client.flags.contains(.gone),
            side(session, .upstream).pointee.flags.isDisjoint(with: [.gone, .deaf]), cause != .upstreamVanished
        else {
            say(index, .client, client)
            return conclude(index)
        }
        wait(index, .client) { $0.close = ControlPayload(client) }
        session.pointee.phase = .finishing
        session.pointee.phaseEnds = state.pointee.shard.now + (waitMilliseconds ?? details.settings.controlMilliseconds)
        schedule(index)
    }

    private func say(_ index: UInt32, _ party: ProxyParty, _ close: ProxyClose?) {
        guard let close, mayInterject(session(index), party) else { return }
        wait(index, party) { $0.close = ControlPayload(close) }
        sendWaiting(index, party)
    }

    /// Both streams end: what is queued leaves, then FIN. The place is held until the client's is closed.
    func conclude(_ index: UInt32) {
        let session = session(index)
        let shard = state.pointee.shard
        guard session.pointee.phase != .ending else { return }
        session.pointee.phase = .ending
        dropEarly(index)
        reportEnd(index)
        state.pointee.counters.subtract(.active)
        state.pointee.counters.add(.sessions, session.pointee.route, UInt64.max)
        if session.pointee.upstream.slot != .none { leave(session.pointee.upstream, reporting: false) }
        leave(session.pointee.client, reporting: true)
        shard.turnSoon()
    }

    private func leave(_ side: ProxySide, reporting: Bool) {
        state.pointee.shard.linger(
            side.slot, drainMilliseconds: ProxyBounds.deliveryMilliseconds, totalMilliseconds: ProxyBounds.endMilliseconds,
            reporting: reporting)
    }

    /// What logs and metrics have for a client that did not wait for its answer; no client is told it.
    private static let clientGoneStatus = 499

    /// The client left before it had an upstream.
    private func abandon(_ index: UInt32) {
        let session = session(index)
        let client = session.pointee.client.slot
        if session.pointee.phase != .dialling {
            details(index).cause = .clientVanished
            return conclude(index)
        }
        // Nobody is there to be answered, but whoever holds something for this client has to hear of it.
        state.pointee.counters.add(.refused)
        state.pointee.report?(.refused(details(index).record, status: Self.clientGoneStatus, reason: "client_gone"))
        free(index)
        state.pointee.shard.close(client)
    }

    /// Gives back what a session waited with and for: buffers that could not be passed on, and a dial.
    func dropEarly(_ index: UInt32) {
        let details = details(index)
        for piece in details.early { state.pointee.shard.release(piece.buffer) }
        details.early = []
        details.earlyBytes = 0
        details.first = []
        if details.ticket != HTTPClient.noTicket { state.pointee.dialler.cancel(details.ticket) }
        details.ticket = HTTPClient.noTicket
    }

    /// Gives the session's place back.
    func free(_ index: UInt32) {
        let session = session(index)
        precondition(session.pointee.phase == .ending || session.pointee.phase == .dialling)
        dropEarly(index)
        for party in [ProxyParty.client, .upstream] {
            let side = side(session, party)
            forgetWaiting(side)
            side.pointee.partial?.deallocate()
            side.pointee.partial = nil
        }
        if let inspector = session.pointee.inspector {
            inspector.pointee.release()
            inspector.deinitialize(count: 1)
            inspector.deallocate()
            session.pointee.inspector = nil
        }
        session.pointee.rateCell?.release()
        session.pointee.rateCell = nil
        session.pointee.details.release()
        session.pointee.phase = .free
        session.pointee.nextFree = state.pointee.freeHead
        state.pointee.freeHead = index
        state.pointee.used -= 1
        state.pointee.shared.release()
    }
}
