import Engine
import Glibc
import HTTP
import Policy
import Wire

/// The bytes of one received buffer that leave as one run.
struct Departure {
    var start: Int
    var end: Int

    @inline(__always)
    var count: Int { end &- start }
}

/// The data path: what runs for every received buffer.
extension WebSocketProxy {
    /// Reads the frames in `[start, end)` of the buffer's payload; takes the buffer over.
    @inline(__always)
    func read(_ index: UInt32, _ party: ProxyParty, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let session = session(index)
        let source = side(session, party)
        source.pointee.heardAt = state.pointee.shard.now
        // Phases before `open` come first.
        guard session.pointee.phase.rawValue >= ProxySession.Phase.open.rawValue,
            source.pointee.flags.isDisjoint(with: [.deaf, .shown, .pausedRate])
        else { return readOtherwise(index, party, buffer, start, end) }
        if session.pointee.mode == .inspected { return inspect(index, session, party, buffer, start, end) }
        pass(index, session, party, buffer, start, end)
    }

    /// Passes on what leaves of a buffer, and deals with what does not.
    func pass(_ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty, _ buffer: BufferIndex, _ start: Int,
              _ end: Int) {
        let shard = state.pointee.shard
        let source = side(session, party)
        let sink = side(session, party.other)
        let base = shard.bytes(buffer)
        var leaving = Departure(start: start, end: start)
        var cursor = start
        var ending = ProxyEnding.none
        var wait: UInt64 = 0
        reading: while true {
            let stops = source.pointee.flags.contains(.boundaries) || sink.pointee.flags.contains(.waiting)
            if stops {
                if source.pointee.flags.contains(.throttled) {
                    wait = mustWait(session, base, cursor, end, inFront: leaving.count)
                    if wait > 0 { break reading }
                }
                source.pointee.sieve.freshMask = state.pointee.masks.next()
            }
            let item = source.pointee.sieve.next(
                base, &cursor, end, maximumMessageBytes: session.pointee.maximumMessageBytes, stopsAtBoundaries: stops)
            if item.start != item.end {
                if stops, !mayPass(session, party) {
                    source.pointee.flags.insert(.held)
                    ending = .aboveRate
                    break reading
                }
                if leaving.start == leaving.end {
                    leaving = Departure(start: item.start, end: item.end)
                } else if leaving.end == item.start {
                    leaving.end = item.end
                } else {
                    closeUp(&leaving, item, buffer, base, sink.pointee.slot)
                }
            }
            switch item.stop {
            case .end: break reading
            case .boundary: if sink.pointee.flags.contains(.waiting) { interject(index, party.other, buffer, &leaving, cursor) }
            case .control(let run):
                ending = control(index, party, base, run)
                if ending != .none { break reading }
                if sink.pointee.flags.contains(.waiting) { interject(index, party.other, buffer, &leaving, cursor) }
            case .violation(let code):
                ending = .violation(code)
                break reading
            }
        }
        if wait > 0 {
            part(index, session, buffer, leaving, cursor, end, wait)
        } else {
            send(index, session, party, buffer, leaving)
        }
        if ending != .none { return finish(index, party, ending) }
        if sink.pointee.flags.contains(.waiting), source.pointee.sieve.isAtBoundary { sendWaiting(index, party.other) }
    }

    /// What stands in front of a message that waits for its budget leaves; the rest of the buffer stays.
    @inline(never)
    private func part(_ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ buffer: BufferIndex, _ leaving: Departure,
                      _ cursor: Int, _ end: Int, _ waitNanoseconds: UInt64) {
        let shard = state.pointee.shard
        let sink = side(session, .upstream)
        count(session, .client)
        if leaving.count > 0 {
            session.pointee.dataAt = shard.now
            // There is room for a copy: that was asked before.
            let isShared = leaving.count >= ProxyBounds.shareMinimumBytes
                && shard.share(sink.pointee.slot, buffer, start: leaving.start, count: leaving.count)
            if !isShared { _ = shard.append(sink.pointee.slot, shard.bytes(buffer) + leaving.start, leaving.count) }
            if isBehind(session, sink) { sinkBehind(index, .upstream) }
        }
        if session.pointee.bytesPerSecond != 0 { throttleBytes(index, session) }
        hold(index, buffer, cursor, end, waitNanoseconds)
    }

    /// Tells the counters what has come from a side.
    @inline(__always)
    func count(_ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty) {
        let source = side(session, party)
        let (bytes, messages) = (source.pointee.sieve.payloadBytes, source.pointee.sieve.messages)
        let counters = state.pointee.counters
        if party == .client {
            counters.add(.bytesUp, session.pointee.route, bytes &- session.pointee.countedUp.bytes)
            counters.add(.messagesUp, session.pointee.route, messages &- session.pointee.countedUp.messages)
            session.pointee.countedUp = (bytes, messages)
        } else {
            counters.add(.bytesDown, session.pointee.route, bytes &- session.pointee.countedDown.bytes)
            counters.add(.messagesDown, session.pointee.route, messages &- session.pointee.countedDown.messages)
            session.pointee.countedDown = (bytes, messages)
        }
    }

    /// Sends what leaves, counts it, and stops reading a source whose sink is behind.
    @inline(__always)
    func send(_ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty, _ buffer: BufferIndex,
              _ leaving: Departure) {
        let shard = state.pointee.shard
        let sink = side(session, party.other)
        count(session, party)
        if leaving.start == leaving.end {
            shard.release(buffer)
        } else {
            session.pointee.dataAt = shard.now
            shard.send(sink.pointee.slot, buffer, start: leaving.start, count: leaving.count)
            if isBehind(session, sink) { sinkBehind(index, party.other) }
        }
        if party == .client {
            if session.pointee.client.flags.contains(.throttled) { throttle(index) }
            if session.pointee.bytesPerSecond != 0 { throttleBytes(index, session) }
        }
    }

    /// Whether so much waits for a side that the other must not be read.
    @inline(__always)
    func isBehind(_ session: UnsafeMutablePointer<ProxySession>, _ sink: UnsafeMutablePointer<ProxySide>) -> Bool {
        let shard = state.pointee.shard
        if shard.isCongested(sink.pointee.slot) { return true }
        return shard.queuedBytes(sink.pointee.slot) >= session.pointee.bufferBytes && shard.isStalled(sink.pointee.slot)
    }

    /// A control frame was cut out in front of `item`: what was to leave and what leaves now are put together. The shorter moves, so each
    /// byte of a buffer moves a few times at most whatever is in it; from a bulk buffer the first part leaves from where it lies.
    @inline(never)
    private func closeUp(_ leaving: inout Departure, _ item: SieveItem, _ buffer: BufferIndex, _ base: UnsafeMutableRawPointer,
                         _ sink: SlotIndex) {
        let front = leaving.count
        let rest = item.end &- item.start
        if min(front, rest) >= ProxyBounds.shareMinimumBytes,
            state.pointee.shard.share(sink, buffer, start: leaving.start, count: front)
        {
            leaving = Departure(start: item.start, end: item.end)
        } else if front <= rest {
            memmove(base + (item.start &- front), base + leaving.start, front)
            leaving = Departure(start: item.start &- front, end: item.end)
        } else {
            memmove(base + leaving.end, base + item.start, rest)
            leaving.end &+= rest
        }
    }

    /// Between two frames of a buffer: what was to leave leaves, then the control frames that wait for this side. They go on waiting when
    /// there is no room for a copy of it.
    @inline(never)
    private func interject(_ index: UInt32, _ party: ProxyParty, _ buffer: BufferIndex, _ leaving: inout Departure, _ cursor: Int) {
        let shard = state.pointee.shard
        let sink = side(session(index), party)
        guard side(session(index), party.other).pointee.sieve.isAtBoundary else { return }
        if leaving.count > 0 {
            let isShared = leaving.count >= ProxyBounds.shareMinimumBytes
                && shard.share(sink.pointee.slot, buffer, start: leaving.start, count: leaving.count)
            if !isShared {
                guard shard.append(sink.pointee.slot, shard.bytes(buffer) + leaving.start, leaving.count) else { return }
            }
            session(index).pointee.dataAt = shard.now
        }
        leaving = Departure(start: cursor, end: cursor)
        sendWaiting(index, party)
    }

    /// Whether the client's message that has just begun, if one has, is within its rate; only where a message above it ends the session.
    @inline(__always)
    private func mayPass(_ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty) -> Bool {
        guard party == .client, session.pointee.closesAboveRate, let cell = session.pointee.rateCell else { return true }
        let messages = session.pointee.client.sieve.messages
        if messages == session.pointee.charged { return true }
        session.pointee.charged = messages
        let now = state.pointee.shard.nowNanoseconds
        let rate = session.pointee.rate.unsafelyUnwrapped
        return cell._withUnsafeGuaranteedRef { $0.take(rate, nowNanoseconds: now) } == 0
    }
}
