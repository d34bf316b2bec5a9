import Engine
import Policy
import Wire

/// Deadlines of a session; its client's stream has one timer for all of them.
extension UDPRelay {
    /// Sets the timer to the next deadline.
    func schedule(_ index: UInt32) {
        let session = session(index)
        let shard = state.pointee.shard
        var next = min(session.pointee.authenticationEnds, session.pointee.nextPing, session.pointee.nextSweep, session.pointee.pingJudged)
        if session.pointee.phase == .ready { next = min(next, idleEnds(session)) }
        shard.setTimer(session.pointee.client, afterMilliseconds: next > shard.now ? next &- shard.now : 1)
    }

    private func idleEnds(_ session: UnsafeMutablePointer<RelaySession>) -> UInt64 {
        session.pointee.lastFrame + session.pointee.rules.pointee.shared.settings.idleMilliseconds
    }

    func timePassed(_ index: UInt32) {
        let session = session(index)
        let now = state.pointee.shard.now
        if session.pointee.phase == .authenticating {
            return now >= session.pointee.authenticationEnds ? end(index, .authenticationTimeout) : schedule(index)
        }
        if now >= idleEnds(session) { return end(index, .idle) }
        if now >= session.pointee.nextSweep { sweep(index) }
        if now >= session.pointee.pingJudged {
            session.pointee.pingJudged = RelaySession.never
            if isStuck(session) { return end(index, .pingFailed) }
        }
        if now >= session.pointee.nextPing {
            session.pointee.nextPing = now + session.pointee.rules.pointee.shared.settings.pingMilliseconds
            session.pointee.takenAtPing = state.pointee.shard.byteCounts(session.pointee.client).sent
            guard sendControl(index, .ping, UnsafeRawBufferPointer(start: nil, count: 0)) else { return end(index, .pingFailed) }
            if isStuck(session) { session.pointee.pingJudged = now + RelayBounds.pingMilliseconds }
        }
        schedule(index)
    }

    /// Whether the client has taken nothing since the last Ping although there is something for it.
    private func isStuck(_ session: UnsafeMutablePointer<RelaySession>) -> Bool {
        let shard = state.pointee.shard
        return shard.isStalled(session.pointee.client) && shard.byteCounts(session.pointee.client).sent == session.pointee.takenAtPing
    }

    /// Closes bindings that were not used for too long.
    private func sweep(_ index: UInt32) {
        let session = session(index)
        let now = state.pointee.shard.now
        while let closed = session.pointee.bindings.expired(nowMilliseconds: now) {
            state.pointee.counters.add(.bindingsIdle)
            bindingClosed(index, closed)
        }
        session.pointee.nextSweep = session.pointee.bindings.count == 0
            ? RelaySession.never : now + session.pointee.rules.pointee.shared.settings.bindings.sweepMilliseconds
    }
}
