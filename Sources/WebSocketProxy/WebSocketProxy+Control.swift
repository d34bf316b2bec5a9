import Engine
import HTTP
import Policy
import Wire

/// How reading a buffer ended the session, or began its end.
enum ProxyEnding: Equatable {
    case none
    /// The side broke a rule of RFC 6455, or sent more than it may: Close with this code.
    case violation(CloseCode)
    /// The side sent a Close frame; its payload is in the session's details.
    case closed
    /// The client sends more messages than it may.
    case aboveRate
    /// A packet of the payload breaks its protocol.
    case packet(MQTTFault)
    /// The client did something it may not, and the route ends its session for that.
    case denied
    /// There was no buffer for what has to be said.
    case exhausted
}

/// Control frames.
extension WebSocketProxy {
    /// Takes a control frame from a side, or a piece of one, and reacts when it is whole.
    @inline(never)
    func control(_ index: UInt32, _ party: ProxyParty, _ base: UnsafeMutableRawPointer, _ run: ControlRun) -> ProxyEnding {
        let source = side(session(index), party)
        if run.endsFrame, run.offset == 0 {
            ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
            return react(index, party, run.opcode, UnsafeRawBufferPointer(start: base + run.start, count: run.count))
        }
        if source.pointee.partial == nil {
            source.pointee.partial = .allocate(capacity: 1)
            source.pointee.partial?.initialize(to: ControlPayload())
        }
        guard let partial = source.pointee.partial else { return .none }
        partial.pointee.count = Int(run.offset) + run.count
        partial.pointee.withBytes { ByteKernel.unmask(base + run.start, $0.baseAddress! + Int(run.offset), run.count, key: run.key) }
        guard run.endsFrame else { return .none }
        var payload = partial.pointee
        partial.deallocate()
        source.pointee.partial = nil
        return payload.withBytes { react(index, party, run.opcode, UnsafeRawBufferPointer($0)) }
    }

    private func react(_ index: UInt32, _ party: ProxyParty, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> ProxyEnding {
        let settings = details(index).settings
        switch opcode {
        case .ping:
            if settings.forwardsPings {
                wait(index, party.other) { $0.ping = ControlPayload(payload) }
            } else {
                wait(index, party) { $0.pong = ControlPayload(payload) }
                if mayInterject(session(index), party) { sendWaiting(index, party) }
                stopFlood(index, party)
            }
            return .none
        case .pong:
            if settings.forwardsPings, !isOurs(payload) { wait(index, party.other) { $0.pong = ControlPayload(payload) } }
            return .none
        case .close:
            if let fault = CloseCode.violation(inPayload: Span(_unsafeElements: payload.assumingMemoryBound(to: UInt8.self))) {
                return .violation(fault)
            }
            let details = details(index)
            if details.closePayload == nil {
                details.closeFrom = party.origin
                details.closePayload = ControlPayload(payload)
            }
            wait(index, party.other) { $0.close = ControlPayload(payload) }
            return .closed
        default: return .none
        }
    }

    private func isOurs(_ payload: UnsafeRawBufferPointer) -> Bool {
        payload.count == 8 && payload.loadUnaligned(as: UInt64.self) == state.pointee.nonce
    }

    /// A side that sends Pings and does not read the Pongs is not read either.
    func stopFlood(_ index: UInt32, _ party: ProxyParty) {
        let source = side(session(index), party)
        guard state.pointee.shard.isCongested(source.pointee.slot), !source.pointee.flags.contains(.pausedReplies) else { return }
        pause(source, .pausedReplies)
        state.pointee.shard.notifyWhenDrained(source.pointee.slot)
    }

    /// Puts a control frame into what waits for a side.
    func wait(_ index: UInt32, _ party: ProxyParty, _ put: (inout WaitingControls) -> Void) {
        let side = side(session(index), party)
        guard side.pointee.flags.isDisjoint(with: [.closeSent, .gone]) else { return }
        if side.pointee.queue == nil {
            side.pointee.queue = .allocate(capacity: 1)
            side.pointee.queue?.initialize(to: WaitingControls())
        }
        if let queue = side.pointee.queue { put(&queue.pointee) }
        side.pointee.flags.insert(.waiting)
    }

    /// Sends a side the control frames that wait for it; the last bytes sent to it must end between two frames. What finds no
    /// buffer goes on waiting.
    @inline(never)
    func sendWaiting(_ index: UInt32, _ party: ProxyParty) {
        let side = side(session(index), party)
        guard side.pointee.flags.contains(.waiting), side.pointee.slot != .none, let queue = side.pointee.queue else { return }
        if var pong = queue.pointee.pong {
            guard write(index, party, .pong, &pong) else { return }
            queue.pointee.pong = nil
        }
        if var ping = queue.pointee.ping {
            guard write(index, party, .ping, &ping) else { return }
            queue.pointee.ping = nil
        }
        if var close = queue.pointee.close {
            if party == .client, !sayDisconnect(index) { return }
            guard write(index, party, .close, &close) else { return }
            side.pointee.flags.insert(.closeSent)
        }
        forgetWaiting(side)
        if session(index).pointee.phase == .finishing, party == .client { conclude(index) }
    }

    func forgetWaiting(_ side: UnsafeMutablePointer<ProxySide>) {
        side.pointee.queue?.deallocate()
        side.pointee.queue = nil
        side.pointee.flags.remove(.waiting)
    }

    /// Writes one frame behind what is queued for a side.
    private func write(_ index: UInt32, _ party: ProxyParty, _ opcode: Opcode, _ payload: inout ControlPayload) -> Bool {
        let scratch = state.pointee.scratch
        let slot = side(session(index), party).pointee.slot
        let masks = state.pointee.masks
        return payload.withBytes { bytes in
            var header = 0
            if party == .client {
                header = FrameHeader.encode(opcode, payloadBytes: bytes.count, endingAt: scratch + 6)
            } else {
                let key = masks.next()
                if let source = bytes.baseAddress { ByteKernel.unmask(source, source, bytes.count, key: key) }
                header = FrameHeader.encodeMasked(opcode, payloadBytes: bytes.count, key: key, endingAt: scratch + 6)
            }
            if let source = bytes.baseAddress { (scratch + 6).copyMemory(from: source, byteCount: bytes.count) }
            return state.pointee.shard.append(slot, scratch + (6 - header), header + bytes.count)
        }
    }

    /// Asks a side whether it is there.
    func sendPing(_ index: UInt32, _ party: ProxyParty) {
        let session = session(index)
        side(session, party).pointee.askedAt = side(session, party).pointee.heardAt
        state.pointee.counters.add(.pingsSent)
        var nonce = state.pointee.nonce
        withUnsafeBytes(of: &nonce) { bytes in wait(index, party) { $0.ping = ControlPayload(bytes) } }
        if mayInterject(session, party) { sendWaiting(index, party) }
    }

    /// Whether the bytes sent to a side end between two frames; nothing has left of what is shown first.
    func mayInterject(_ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty) -> Bool {
        let source = side(session, party.other)
        return session.pointee.mode == .inspected || source.pointee.sieve.isAtBoundary
            || !source.pointee.flags.isDisjoint(with: [.held, .shown])
    }
}
