import Engine
import HTTP
import Policy
import Wire

/// Sides that are not read for a while: because the other does not take what comes from them, or because they send too often.
extension WebSocketProxy {
    /// A side does not take what is for it: the other is not read.
    @inline(never)
    func sinkBehind(_ index: UInt32, _ party: ProxyParty) {
        let session = session(index)
        let sink = side(session, party)
        let shard = state.pointee.shard
        shard.notifyWhenDrained(sink.pointee.slot)
        let source = side(session, party.other)
        guard !source.pointee.flags.contains(.pausedBehind) else { return }
        pause(source, .pausedBehind)
        guard sink.pointee.stalledAt == 0 else { return }
        sink.pointee.stalledAt = max(1, shard.now)
        sink.pointee.taken = shard.byteCounts(sink.pointee.slot).sent
        sink.pointee.idleLooks = 0
        sink.pointee.pressAt = shard.now &+ ProxyBounds.lookMilliseconds(details(index).settings.writeMilliseconds)
        // The wheel is set only when the timer would come too late.
        schedule(index)
    }

    func pause(_ side: UnsafeMutablePointer<ProxySide>, _ reason: ProxySide.Flags) {
        side.pointee.flags.insert(reason)
        if !side.pointee.flags.contains(.gone) { state.pointee.shard.pauseReceive(side.pointee.slot) }
    }

    func resume(_ side: UnsafeMutablePointer<ProxySide>, _ reason: ProxySide.Flags) {
        side.pointee.flags.subtract(reason)
        guard side.pointee.flags.isDisjoint(with: [.pausedAny, .gone]) else { return }
        // A side that was not read could not be heard.
        side.pointee.heardAt = state.pointee.shard.now
        state.pointee.shard.resumeReceive(side.pointee.slot)
    }

    func sideDrained(_ index: UInt32, _ party: ProxyParty) {
        let session = session(index)
        guard session.pointee.phase != .free, session.pointee.phase != .ending else { return }
        let sink = side(session, party)
        sink.pointee.flags.remove(.pressed)
        if sink.pointee.stalledAt != 0 {
            let stalled = state.pointee.shard.now &- sink.pointee.stalledAt
            sink.pointee.stalledMilliseconds &+= stalled
            state.pointee.counters.add(party == .upstream ? .stallUpMilliseconds : .stallDownMilliseconds, session.pointee.route, stalled)
            sink.pointee.stalledAt = 0
        }
        if sink.pointee.flags.contains(.pausedReplies), !owesAnswers(session) {
            resume(sink, .pausedReplies)
            if party == .client { forgiveWait(session) }
        }
        let source = side(session, party.other)
        if source.pointee.flags.contains(.pausedBehind) {
            resume(source, .pausedBehind)
            if party == .upstream { forgiveWait(session) }
        }
        lookForSlot(index)
    }

    /// A client was kept back by something else: that is not being above its rate.
    func forgiveWait(_ session: UnsafeMutablePointer<ProxySession>) {
        if session.pointee.client.flags.contains(.pausedRate) { session.pointee.throttledAt = max(1, state.pointee.shard.now) }
    }

    /// Charges the payload that has come from the client; it is not read before that could have been carried at its rate, less one
    /// second's worth.
    func throttleBytes(_ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>) {
        let shard = state.pointee.shard
        let now = shard.nowNanoseconds
        let came = session.pointee.client.sieve.payloadBytes &- session.pointee.bytesCharged
        session.pointee.bytesCharged &+= came
        // Behind a Close only the answer to it is waited for.
        guard session.pointee.phase == .open else { return }
        // A buffer holds far less than the 18 GB that would overflow.
        let cost = came &* 1_000_000_000 / session.pointee.bytesPerSecond
        session.pointee.bytesPaidAt = max(session.pointee.bytesPaidAt, now) &+ cost
        let ahead = session.pointee.bytesPaidAt &- now
        if ahead > 1_000_000_000 { shutBytes(index, milliseconds: (ahead &- 1_000_000_000) / 1_000_000 &+ 1) }
    }

    @inline(never)
    private func shutBytes(_ index: UInt32, milliseconds: UInt64) {
        let session = session(index)
        if !session.pointee.client.flags.contains(.pausedBytes) {
            state.pointee.counters.add(.throttled, session.pointee.route, 1)
            pause(side(session, .client), .pausedBytes)
        }
        session.pointee.bytesOpen = state.pointee.shard.now &+ milliseconds
        schedule(index)
    }
}
