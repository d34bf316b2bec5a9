import Engine
import HTTP
import Policy
import Wire

/// What is told of sessions, and who may end them from outside.
extension WebSocketProxy {
    func reportOpened(_ index: UInt32) {
        state.pointee.counters.add(.opened)
        state.pointee.counters.add(.active)
        state.pointee.counters.add(.sessions, session(index).pointee.route, 1)
        state.pointee.report?(.opened(details(index).record))
    }

    func reportDial(_ index: UInt32, failure: ClientFailure?, _ milliseconds: UInt64, retries: Bool) {
        let details = details(index)
        guard let report = state.pointee.report, let endpoints = details.target?.endpoints else { return }
        let endpoint = details.onTrial ?? endpoints[(max(details.turn, 1) - 1) % endpoints.count].number
        report(.dialled(details.record, ProxyDial(endpoint: endpoint, failure: failure, milliseconds: milliseconds, retries: retries)))
    }

    func reportEnd(_ index: UInt32) {
        let session = session(index)
        for party in [ProxyParty.client, .upstream] where side(session, party).pointee.stalledAt != 0 { sideDrainedAtEnd(session, party) }
        guard let report = state.pointee.report else { return }
        let details = details(index)
        var payload = details.closePayload ?? ControlPayload()
        let (code, reason) = payload.withBytes { bytes in
            (bytes.count >= 2 ? UInt16(bytes[0]) << 8 | UInt16(bytes[1]) : 0, String(decoding: bytes.dropFirst(2), as: UTF8.self))
        }
        report(.ended(details.record, ProxySummary(
            cause: details.cause, identity: details.identity, route: session.pointee.route,
            milliseconds: state.pointee.shard.now - details.began, messagesUp: session.pointee.client.sieve.messages,
            messagesDown: session.pointee.upstream.sieve.messages, bytesUp: session.pointee.client.sieve.payloadBytes,
            bytesDown: session.pointee.upstream.sieve.payloadBytes, stallUpMilliseconds: session.pointee.upstream.stalledMilliseconds,
            stallDownMilliseconds: session.pointee.client.stalledMilliseconds, closeFrom: details.closeFrom, closeCode: code,
            reason: reason)))
    }

    private func sideDrainedAtEnd(_ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty) {
        let side = side(session, party)
        side.pointee.stalledMilliseconds &+= state.pointee.shard.now &- side.pointee.stalledAt
        side.pointee.stalledAt = 0
    }

    /// Places of sessions that were ever taken.
    public var places: Int { state.pointee.touched }

    /// Calls `body` with every session in these places that lives and has not begun to end.
    public func forEachConnection(in range: Range<Int>, _ body: (LiveConnection) -> Void) {
        let shard = state.pointee.shard
        for index in range.clamped(to: 0..<state.pointee.touched).lazy.map({ UInt32($0) }) where isLive(index) {
            let session = session(index)
            let slot = session.pointee.client.slot
            body(
                LiveConnection(
                    identifier: ConnectionIdentifier(slot, on: shard), feature: "proxy", phase: "\(session.pointee.phase)",
                    record: details(index).record, peer: shard.peerAddress(slot),
                    bytesFromClient: session.pointee.client.sieve.payloadBytes,
                    bytesToClient: session.pointee.upstream.sieve.payloadBytes, quietMilliseconds: shard.now &- session.pointee.dataAt))
        }
    }

    private func isLive(_ index: UInt32) -> Bool {
        let phase = session(index).pointee.phase
        return phase != .free && phase != .ending && phase != .finishing
    }

    /// Ends every session whose identity matches; returns how many. One pass over the shard's sessions.
    public func close(_ cause: ProxyCause, _ close: ProxyClose, where matches: (ProxyIdentity) -> Bool) -> Int {
        var closed = 0
        for index in 0..<UInt32(state.pointee.touched) where isLive(index) && matches(details(index).identity) {
            closed += 1
            self.close(index, cause, close)
        }
        return closed
    }

    /// Ends one session with 1001; false when it is not, or no longer, one of this shard's.
    public func close(_ identifier: ConnectionIdentifier) -> Bool {
        let shard = state.pointee.shard
        for index in 0..<UInt32(state.pointee.touched) where isLive(index) {
            let slot = session(index).pointee.client.slot
            guard slot.raw == identifier.slot, ConnectionIdentifier(slot, on: shard) == identifier else { continue }
            close(index, .closedByAdministrator, ProxyClose(.goingAway))
            return true
        }
        return false
    }

    /// Ends one session; false when it is over already.
    public func close(_ ticket: ProxyTicket, _ cause: ProxyCause, _ close: ProxyClose) -> Bool {
        guard Int(ticket.index) < state.pointee.touched, session(ticket.index).pointee.life == ticket.life, isLive(ticket.index)
        else { return false }
        self.close(ticket.index, cause, close)
        return true
    }

    private func close(_ index: UInt32, _ cause: ProxyCause, _ close: ProxyClose) {
        switch session(index).pointee.phase {
        case .dialling: refuse(index, status: cause == .revoked ? 401 : 503, reason: "\(cause.label)")
        case .first, .judged, .admitted: reject(index, cause, ProxyRefusal(close, message: details(index).unavailable))
        default: end(index, cause, client: close, upstream: ProxyClose(.policyViolation))
        }
    }

    /// Changes when the session with this client stream ends at the latest; nil for never. False when there is none.
    public func setEnd(_ identifier: ConnectionIdentifier, inMilliseconds: UInt64?) -> Bool {
        let shard = state.pointee.shard
        for index in 0..<UInt32(state.pointee.touched) where isLive(index) {
            let slot = session(index).pointee.client.slot
            guard slot.raw == identifier.slot, ConnectionIdentifier(slot, on: shard) == identifier else { continue }
            session(index).pointee.endsAt = inMilliseconds.map { shard.now &+ $0 } ?? ProxySession.never
            schedule(index)
            return true
        }
        return false
    }

    /// Tells every session to go, evenly over so many milliseconds: those that are silent for longest first, the oldest first
    /// among equals. What is being set up may come to an end for `handshakeMilliseconds`, and then is refused, or closed.
    public func drain(spreadMilliseconds: UInt64, handshakeMilliseconds: UInt64 = 0) {
        let shard = state.pointee.shard
        state.pointee.drainEnds = shard.now + spreadMilliseconds
        var open: [UInt32] = []
        for index in 0..<UInt32(state.pointee.touched) where isLive(index) {
            switch session(index).pointee.phase {
            case .open, .closing: open.append(index)
            case _ where handshakeMilliseconds > 0:
                session(index).pointee.drainAt = shard.now + handshakeMilliseconds
                schedule(index)
            case .dialling: refuse(index, status: 503, reason: "draining")
            default:
                let details = details(index)
                reject(index, .drained, ProxyRefusal(details.settings.close(.draining), message: details.unavailable))
            }
        }
        open.sort { left, right in
            let (first, second) = (session(left).pointee.dataAt, session(right).pointee.dataAt)
            return first == second ? details(left).began < details(right).began : first < second
        }
        for (number, index) in open.enumerated() {
            session(index).pointee.drainAt = shard.now + spreadMilliseconds * UInt64(number) / UInt64(open.count)
            schedule(index)
        }
    }

    /// Cuts what is left when the time of a drain is over; how many sessions had not ended. Those that have ended and whose client still
    /// takes its time with the TCP connection are cut too, and not counted.
    public func abort() -> Int {
        let shard = state.pointee.shard
        var cut = 0
        for index in 0..<UInt32(state.pointee.touched) {
            let client = session(index).pointee.client.slot
            switch session(index).pointee.phase {
            case .free: break
            case .dialling: refuse(index, status: 503, reason: "draining")
            case .ending: shard.close(client)
            default:
                cut += 1
                details(index).cause = .drained
                let upstream = session(index).pointee.upstream.slot
                conclude(index)
                shard.close(client)
                if upstream != .none { shard.close(upstream) }
            }
        }
        return cut
    }
}
