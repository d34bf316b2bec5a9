import Engine
import HTTP
import Policy
import Wire

/// Sessions whose payload is looked at: streams of bytes in binary messages.
///
/// The payloads of a received buffer are unmasked towards its front, so that they lie behind one another, inspected, and leave
/// as one frame of that same buffer: the header is written in front of them. Messages of such protocols (MQTT 3.1.1 section 6)
/// mean nothing, so theirs need not be kept.
extension WebSocketProxy {
    /// Reads frames of an inspected session; takes the buffer over.
    @inline(never)
    func inspect(
        _ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty, _ buffer: BufferIndex, _ start: Int, _ end: Int
    ) {
        let shard = state.pointee.shard
        guard session.pointee.phase != .ending else { return shard.release(buffer) }
        let base = shard.bytes(buffer)
        let source = side(session, party)
        var cursor = start
        var runStart = 0
        var runEnd = 0
        var ending = ProxyEnding.none
        var wait: UInt64 = 0
        reading: while true {
            if source.pointee.flags.contains(.throttled) {
                wait = mustWait(session, base, cursor, end, inFront: runEnd - runStart)
                if wait > 0 { break reading }
            }
            switch source.pointee.sieve.collect(base, &cursor, end, maximumMessageBytes: session.pointee.maximumMessageBytes) {
            case .needMore: break reading
            case .data(let run):
                guard run.opcode == .binary else {
                    ending = .violation(.unsupportedData)
                    break reading
                }
                if runEnd == runStart {
                    runStart = run.start
                    runEnd = run.start
                }
                // Headers only shrink away, so the writing end never passes the reading one.
                ByteKernel.unmask(base + run.start, base + runEnd, run.count, key: run.key)
                runEnd += run.count
            case .control(let run):
                ending = control(index, party, base, run)
                if ending != .none { break reading }
            case .violation(let code):
                ending = .violation(code)
                break reading
            }
        }
        if ending == .none, runEnd > runStart, party == .client, !chargeInspected(session) { ending = .aboveRate }
        if ending == .aboveRate { runEnd = runStart }
        var leaving = Departure(start: runStart, end: runEnd)
        if let inspector = session.pointee.inspector, runEnd > runStart {
            let found = judge(index, session, inspector, party, base, &leaving)
            if found != .none { ending = found }
        }
        if wait == 0 || ending != .none {
            leaveInspected(index, session, party, buffer, leaving.start, leaving.count)
        } else {
            count(session, party)
            // There is room for it: that was asked before. What is inserted in front has room of its own, or ended the session.
            let payload = UnsafeRawBufferPointer(start: base + leaving.start, count: leaving.count)
            let sink = side(session, .upstream)
            let isSent = sendFrame(index, .upstream, payload)
            if !isSent { ending = .exhausted } else if isBehind(session, sink) { sinkBehind(index, .upstream) }
            if session.pointee.bytesPerSecond != 0 { throttleBytes(index, session) }
            hold(index, buffer, cursor, end, wait)
        }
        if session.pointee.inspector != nil { settle(index, session, party) }
        if ending != .none { return finish(index, party, ending) }
        if side(session, party.other).pointee.flags.contains(.waiting) { sendWaiting(index, party.other) }
    }

    private func chargeInspected(_ session: UnsafeMutablePointer<ProxySession>) -> Bool {
        guard session.pointee.closesAboveRate, let cell = session.pointee.rateCell, let rate = session.pointee.rate
        else { return true }
        let now = state.pointee.shard.nowNanoseconds
        while session.pointee.charged < session.pointee.client.sieve.messages {
            session.pointee.charged &+= 1
            guard cell._withUnsafeGuaranteedRef({ $0.take(rate, nowNanoseconds: now) }) == 0 else { return false }
        }
        return true
    }

    /// Shows the payload `leaving` to the inspector, which leaves of it what goes on.
    @inline(__always)
    private func judge(
        _ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ inspector: UnsafeMutablePointer<MQTTInspector>,
        _ party: ProxyParty, _ base: UnsafeMutableRawPointer, _ leaving: inout Departure
    ) -> ProxyEnding {
        var cursor = leaving.start
        var run = MQTTRun(start: leaving.start, floor: ProxyBounds.inspectedFloor)
        defer { leaving = Departure(start: run.start, end: run.end) }
        while true {
            let stop =
                party == .client
                ? inspector.pointee.client(base, &cursor, leaving.end, &run)
                : inspector.pointee.broker(
                    base, &cursor, leaving.end, &run, stopsAtBoundary: session.pointee.phase == .finishing)
            switch stop {
            case .end, .boundary: return .none
            case .insert(let bytes): if !sendFrame(index, party.other, bytes) { return .exhausted }
            case .answers:
                guard sendAnswers(index, behind: UnsafeRawBufferPointer(start: base + run.start, count: run.count)) else {
                    return .exhausted
                }
                run = MQTTRun(start: cursor, floor: ProxyBounds.inspectedFloor)
            case .fault(let fault): return .packet(fault)
            case .denied: return .denied
            }
        }
    }

    /// Counts packets and refusals, and gives the client its answers.
    @inline(__always)
    private func settle(_ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty) {
        guard let inspector = session.pointee.inspector else { return }
        countPackets(inspector, up: party == .client)
        if inspector.pointee.hasDenials { tellDenials(index) }
        if inspector.pointee.hasAnswers || session.pointee.client.flags.contains(.pausedReplies) { giveAnswers(index) }
    }

    @inline(__always)
    func countPackets(_ inspector: UnsafeMutablePointer<MQTTInspector>, up: Bool) {
        if inspector.pointee.tally.isEmpty { return }
        let counters = state.pointee.counters
        var number: UInt8 = 1
        while let type = MQTTType(rawValue: number) {
            let count = inspector.pointee.takePackets(type)
            if count > 0 { counters.addPackets(type, up: up, count) }
            number &+= 1
        }
    }

    /// Sends inspected bytes of a buffer as one frame.
    @inline(__always)
    private func leaveInspected(
        _ index: UInt32, _ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty, _ buffer: BufferIndex, _ start: Int,
        _ count: Int
    ) {
        let shard = state.pointee.shard
        guard count > 0 else { return send(index, session, party, buffer, Departure(start: 0, end: 0)) }
        let payload = shard.bytes(buffer) + start
        var header = 0
        if party == .client {
            let key = state.pointee.masks.next()
            ByteKernel.unmask(payload, payload, count, key: key)
            header = FrameHeader.encodeMasked(.binary, payloadBytes: count, key: key, endingAt: payload)
        } else {
            header = FrameHeader.encode(.binary, payloadBytes: count, endingAt: payload)
        }
        send(index, session, party, buffer, Departure(start: start - header, end: start + count))
    }
}
