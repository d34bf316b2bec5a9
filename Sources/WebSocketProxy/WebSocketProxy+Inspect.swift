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
    func inspect(_ index: UInt32, _ party: ProxyParty, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let session = session(index)
        let shard = state.pointee.shard
        let base = shard.bytes(buffer)
        let source = side(session, party)
        var cursor = start
        var runStart = 0
        var runEnd = 0
        var ending = ProxyEnding.none
        reading: while true {
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
        leaveInspected(index, party, buffer, runStart, runEnd - runStart)
        if ending != .none { return finish(index, party, ending) }
        sendWaiting(index, party.other)
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

    /// Sends inspected bytes of a buffer as one frame.
    private func leaveInspected(_ index: UInt32, _ party: ProxyParty, _ buffer: BufferIndex, _ start: Int, _ count: Int) {
        let shard = state.pointee.shard
        guard count > 0 else { return send(index, session(index), party, buffer, Departure(start: 0, end: 0)) }
        let payload = shard.bytes(buffer) + start
        var header = 0
        if party == .client {
            let key = state.pointee.masks.next()
            ByteKernel.unmask(payload, payload, count, key: key)
            header = FrameHeader.encodeMasked(.binary, payloadBytes: count, key: key, endingAt: payload)
        } else {
            header = FrameHeader.encode(.binary, payloadBytes: count, endingAt: payload)
        }
        send(index, session(index), party, buffer, Departure(start: start - header, end: start + count))
    }

    /// What was collected before the session was inspected goes upstream as one message. False without buffers.
    func inspectFirst(_ index: UInt32, _ bytes: inout [UInt8]) -> Bool {
        let key = state.pointee.masks.next()
        var frame = [UInt8](repeating: 0, count: FrameHeader.maximumClientBytes) + bytes
        bytes = []
        return frame.withUnsafeMutableBytes { area in
            let payload = area.baseAddress! + FrameHeader.maximumClientBytes
            let count = area.count - FrameHeader.maximumClientBytes
            ByteKernel.unmask(payload, payload, count, key: key)
            let header = FrameHeader.encodeMasked(.binary, payloadBytes: count, key: key, endingAt: payload)
            return state.pointee.shard.append(session(index).pointee.upstream.slot, payload - header, header + count)
        }
    }
}
