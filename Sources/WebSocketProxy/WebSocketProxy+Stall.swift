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
        sink.pointee.pressAt = shard.now &+ details(index).settings.writeMilliseconds
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
        if sink.pointee.flags.contains(.pausedReplies) { resume(sink, .pausedReplies) }
        let source = side(session, party.other)
        if source.pointee.flags.contains(.pausedBehind) { resume(source, .pausedBehind) }
    }

    /// Charges the messages that have come from the client; while some are not paid for it is not read.
    func throttle(_ index: UInt32) {
        let session = session(index)
        guard let cell = session.pointee.rateCell, let rate = session.pointee.rate else { return }
        let shard = state.pointee.shard
        let now = shard.nowNanoseconds
        while session.pointee.charged != session.pointee.client.sieve.messages {
            let wait = cell._withUnsafeGuaranteedRef { $0.take(rate, nowNanoseconds: now) }
            guard wait == 0 else { return shut(index, waitNanoseconds: wait) }
            session.pointee.charged &+= 1
        }
        if session.pointee.throttledAt != 0, !session.pointee.client.flags.contains(.pausedRate) { session.pointee.throttledAt = 0 }
    }

    @inline(never)
    private func shut(_ index: UInt32, waitNanoseconds: UInt64) {
        let session = session(index)
        let shard = state.pointee.shard
        if session.pointee.throttledAt == 0 { session.pointee.throttledAt = max(1, shard.now) }
        if !session.pointee.client.flags.contains(.pausedRate) {
            state.pointee.counters.add(.throttled)
            pause(side(session, .client), .pausedRate)
        }
        session.pointee.rateOpens = shard.now &+ (waitNanoseconds &+ 999_999) / 1_000_000
        schedule(index)
    }
}
