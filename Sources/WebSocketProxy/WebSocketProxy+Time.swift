import Engine
import HTTP
import Policy
import Wire

/// Deadlines of a session; its client's stream has one timer for all of them.
extension WebSocketProxy {
    /// Sets the timer to the next deadline.
    func schedule(_ index: UInt32) {
        let session = session(index)
        guard session.pointee.phase != .free, session.pointee.phase != .ending, !session.pointee.client.flags.contains(.gone)
        else { return }
        let shard = state.pointee.shard
        let next = nextDeadline(index, session)
        shard.setTimer(session.pointee.client.slot, afterMilliseconds: next > shard.now ? next &- shard.now : 1)
    }

    private func nextDeadline(_ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>) -> UInt64 {
        // Who only waits for the end of a frame has nothing else to end for.
        let isEnding = session.pointee.phase == .finishing
        var next = session.pointee.phaseEnds
        if !isEnding { next = min(next, session.pointee.endsAt, session.pointee.drainAt) }
        let details = details(index)
        switch session.pointee.phase {
        case .dialling, .admitted: return min(next, details.redialAt)
        case .first, .judged: return next
        default: next = min(next, session.pointee.keepAliveAt)
        }
        if waitsForRateAlone(session) { next = min(next, session.pointee.rateOpens) }
        if session.pointee.client.flags.contains(.pausedBytes) { next = min(next, session.pointee.bytesOpen) }
        if details.settings.idleMilliseconds > 0, !isEnding { next = min(next, session.pointee.dataAt + details.settings.idleMilliseconds) }
        for party in [ProxyParty.client, .upstream] {
            let side = side(session, party)
            if side.pointee.stalledAt != 0 { next = min(next, side.pointee.pressAt) }
            next = min(next, lifeEnds(side, details.settings))
        }
        return next
    }

    /// Whether nothing but its budget keeps the client from being passed on.
    private func waitsForRateAlone(_ session: UnsafeMutablePointer<ProxySession>) -> Bool {
        session.pointee.phase == .open && session.pointee.client.flags.intersection(.pausedAny) == .pausedRate
    }

    /// When a side must be asked whether it is there, or has been silent for too long.
    private func lifeEnds(_ side: UnsafeMutablePointer<ProxySide>, _ settings: ProxySettings) -> UInt64 {
        // A side that is not read cannot be heard; whoever does not take its bytes has a deadline.
        if !side.pointee.flags.isDisjoint(with: [.pausedAny, .deaf]) { return ProxySession.never }
        let isAsked = side.pointee.askedAt == side.pointee.heardAt
        return side.pointee.heardAt + (isAsked ? settings.deadPeerMilliseconds : settings.deadPeerMilliseconds / 2)
    }

    func timePassed(_ index: UInt32) {
        let session = session(index)
        let now = state.pointee.shard.now
        switch session.pointee.phase {
        case .free, .ending: return
        case .dialling, .admitted: dialTimePassed(index)
        case .first, .judged:
            if now >= session.pointee.drainAt { return reject(index, .drained, ProxyRefusal(details(index).settings.close(.draining))) }
            guard now >= session.pointee.phaseEnds else { return schedule(index) }
            reject(index, .firstDataLate, ProxyRefusal(details(index).settings.close(.connectTimeout)))
        case .closing: if now >= session.pointee.phaseEnds { echo(index) } else { sessionTimePassed(index) }
        case .finishing: if now >= session.pointee.phaseEnds { giveUpWaiting(index) } else { sessionTimePassed(index) }
        case .open: sessionTimePassed(index)
        }
    }

    private func sessionTimePassed(_ index: UInt32) {
        let session = session(index)
        let details = details(index)
        let settings = details.settings
        let now = state.pointee.shard.now
        if session.pointee.phase == .open, now >= session.pointee.phaseEnds {
            return turnAway(index, .firstDataLate, ProxyRefusal(settings.close(.connectTimeout)))
        }
        if now >= session.pointee.keepAliveAt {
            session.pointee.keepAliveAt = ProxySession.never
            for party in [ProxyParty.client, .upstream] { state.pointee.shard.keepAlive(side(session, party).pointee.slot) }
        }
        // What was read is delivered, whatever its rate.
        if now >= session.pointee.drainAt, session.pointee.phase == .open { passWaiting(index) }
        guard session.pointee.phase == .open || session.pointee.phase == .closing || session.pointee.phase == .finishing else { return }
        if session.pointee.phase != .finishing, endInTime(index) { return }
        if waitsForRateAlone(session), now >= session.pointee.rateOpens {
            if now &- session.pointee.throttledAt >= ProxyBounds.throttleMilliseconds {
                return end(index, .rate, client: settings.close(.messageRate), upstream: ProxyClose(.policyViolation))
            }
            slotCame(index)
            guard session.pointee.phase == .open else { return }
        }
        if session.pointee.client.flags.contains(.pausedBytes), now >= session.pointee.bytesOpen {
            resume(side(session, .client), .pausedBytes)
            forgiveWait(session)
        }
        for party in [ProxyParty.client, .upstream] {
            press(index, party, details.settings)
            guard checkLife(index, party, details.settings) else { return }
        }
        schedule(index)
    }

    /// Ends a session whose time is over: its drain's, its token's, its own, or that without data. False when there is some left.
    private func endInTime(_ index: UInt32) -> Bool {
        let session = session(index)
        let details = details(index)
        let settings = details.settings
        let now = state.pointee.shard.now
        if now >= session.pointee.drainAt, !putOffDrain(session, details) {
            session.pointee.drainAt = ProxySession.never
            end(index, .drained, client: settings.close(.draining), upstream: settings.close(.draining),
                waitMilliseconds: settings.closeMilliseconds)
            return true
        }
        if now >= session.pointee.endsAt, !putOff(index, session, details) {
            if details.target?.endsByAge == true {
                end(index, .tooOld, client: settings.close(.sessionTimeout), upstream: settings.close(.sessionTimeout))
            } else {
                end(index, .expired, client: settings.close(.tokenExpired), upstream: ProxyClose(.policyViolation))
            }
            return true
        }
        guard settings.idleMilliseconds > 0, now >= session.pointee.dataAt + settings.idleMilliseconds else { return false }
        end(index, .idle, client: settings.close(.idle), upstream: settings.close(.idle))
        return true
    }

    /// A side that does not take what waits for it must have taken something since the last look.
    private func press(_ index: UInt32, _ party: ProxyParty, _ settings: ProxySettings) {
        let side = side(session(index), party)
        let shard = state.pointee.shard
        guard side.pointee.stalledAt != 0, shard.now >= side.pointee.pressAt else { return }
        side.pointee.pressAt = shard.now &+ ProxyBounds.lookMilliseconds(settings.writeMilliseconds)
        let taken = shard.byteCounts(side.pointee.slot).sent
        side.pointee.idleLooks = taken == side.pointee.taken ? side.pointee.idleLooks &+ 1 : 0
        side.pointee.taken = taken
        guard side.pointee.idleLooks >= ProxyBounds.looksUntilPressed else { return }
        // Bytes may have moved within the send that waits: it tells, or the stream fails.
        side.pointee.idleLooks = 0
        side.pointee.flags.insert(.pressed)
        shard.demandProgress(side.pointee.slot)
    }

    /// Asks a side that has been silent; false when it was silent for too long and the session ends.
    private func checkLife(_ index: UInt32, _ party: ProxyParty, _ settings: ProxySettings) -> Bool {
        let session = session(index)
        let side = side(session, party)
        let now = state.pointee.shard.now
        guard now >= lifeEnds(side, settings) else { return true }
        if side.pointee.askedAt == side.pointee.heardAt {
            if session.pointee.phase != .open {
                conclude(index)
            } else if party == .client {
                end(index, .clientDead, client: ProxyClose(.goingAway), upstream: ProxyClose(.goingAway))
            } else {
                end(index, .upstreamDead, client: settings.close(.upstreamUnavailable), upstream: ProxyClose(.goingAway))
            }
            return false
        }
        sendPing(index, party)
        return true
    }

    /// A session that is told to go between two frames loses nothing; one in the middle of a client's frame waits for its end, for the
    /// time a Close may take.
    private func putOffDrain(_ session: UnsafeMutablePointer<ProxySession>, _ details: ProxyDetails) -> Bool {
        let now = state.pointee.shard.now
        let client = session.pointee.client
        guard session.pointee.mode == .opaque, !client.sieve.isAtBoundary, client.flags.isDisjoint(with: [.deaf, .held, .shown])
        else { return false }
        if details.drainPutOffEnds == 0 { details.drainPutOffEnds = now + details.settings.closeMilliseconds }
        guard now < details.drainPutOffEnds else { return false }
        session.pointee.drainAt = now + ProxyBounds.drainRetryMilliseconds
        return true
    }

    /// When very many sessions expire in the same second each is put off once, by up to five seconds.
    private func putOff(_ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ details: ProxyDetails) -> Bool {
        let second = state.pointee.shard.now / 1000
        if state.pointee.expiries.second != second { state.pointee.expiries = (second, 0) }
        state.pointee.expiries.count += 1
        guard state.pointee.expiries.count > ProxyBounds.expiriesPerSecond, !details.wasPutOff else { return false }
        details.wasPutOff = true
        session.pointee.endsAt = state.pointee.shard.now + jitter(index, below: ProxyBounds.expirySpreadMilliseconds) + 1
        return true
    }

    /// A number below `bound` that sessions of the same moment do not share: they must not all come back together.
    func jitter(_ index: UInt32, below bound: UInt64) -> UInt64 {
        let mixed = (state.pointee.shard.nowNanoseconds ^ UInt64(index) &<< 32) &* 0x9E37_79B9_7F4A_7C15
        return (mixed ^ mixed &>> 32) % max(bound, 1)
    }
}
