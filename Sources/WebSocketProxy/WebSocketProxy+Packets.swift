import Engine
import Glibc
import HTTP
import Policy
import Wire

/// What an inspected session says itself, and what is told of it: rare beside the packets it carries.
extension WebSocketProxy {
    /// Sends a side bytes in a binary frame of their own. False without buffers.
    @inline(never)
    func sendFrame(_ index: UInt32, _ party: ProxyParty, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return true }
        let shard = state.pointee.shard
        let slot = side(session(index), party).pointee.slot
        let end = state.pointee.scratch + FrameHeader.maximumClientBytes
        var key: UInt32 = 0
        var header = 0
        if party == .client {
            header = FrameHeader.encode(.binary, payloadBytes: bytes.count, endingAt: end)
        } else {
            key = state.pointee.masks.next()
            header = FrameHeader.encodeMasked(.binary, payloadBytes: bytes.count, key: key, endingAt: end)
        }
        guard shard.canAppend(slot, header + bytes.count), shard.append(slot, end - header, header) else { return false }
        session(index).pointee.dataAt = shard.now
        return shard.append(slot, source, bytes.count, key: key)
    }

    /// What was collected before the session was inspected goes upstream as one message. False without buffers.
    func inspectFirst(_ index: UInt32, _ bytes: inout [UInt8]) -> Bool {
        let session = session(index)
        guard let inspector = session.pointee.inspector, let target = details(index).target, let inspection = target.inspection else {
            defer { bytes = [] }
            return bytes.withUnsafeBytes { sendFrame(index, .upstream, $0) }
        }
        var ending = ProxyEnding.none
        // Nothing is kept of a stream that begins here, so nothing has to be put in front.
        let isSent = bytes.withUnsafeMutableBytes { area -> Bool in
            guard let base = area.baseAddress else { return true }
            var cursor = inspection.connectBytes
            var run = MQTTRun(start: cursor, floor: cursor)
            switch inspector.pointee.client(base, &cursor, area.count, &run) {
            case .fault(let fault): ending = .packet(fault)
            case .denied: ending = .denied
            case .end, .boundary, .insert, .answers: break
            }
            // What was refused in front leaves a gap behind the CONNECT.
            memmove(base + inspection.connectBytes, base + run.start, run.count)
            return sendFrame(index, .upstream, UnsafeRawBufferPointer(start: base, count: inspection.connectBytes + run.count))
        }
        bytes = []
        state.pointee.counters.addPackets(.connect, up: true, 1)
        countPackets(inspector, up: true)
        if isSent, ending != .none { finish(index, .client, ending) }
        return isSent
    }

    // MARK: Refusals

    /// Counts refusals, and tells those that were not told before.
    @inline(never)
    func tellDenials(_ index: UInt32) {
        let session = session(index)
        guard let inspector = session.pointee.inspector else { return }
        let counters = state.pointee.counters
        counters.add(.deniedPublishes, session.pointee.route, inspector.pointee.deniedPublishes)
        counters.add(.deniedSubscriptions, session.pointee.route, inspector.pointee.deniedSubscriptions)
        let denials = inspector.pointee.denials
        inspector.pointee.clearDenials()
        for denial in denials { state.pointee.report?(.denied(details(index).record, denial)) }
    }

    /// Sends the client the answers it is owed, where they may stand; while too many wait it is not read.
    @inline(never)
    func giveAnswers(_ index: UInt32) {
        let session = session(index)
        guard let inspector = session.pointee.inspector else { return }
        if inspector.pointee.hasAnswers, inspector.pointee.mayAnswer {
            guard sendAnswers(index, behind: UnsafeRawBufferPointer(start: nil, count: 0)) else {
                return finish(index, .client, .exhausted)
            }
            // A client that asks and does not read the answers is not read either.
            stopFlood(index, .client)
        }
        if owesAnswers(session) {
            if !session.pointee.client.flags.contains(.pausedReplies) { pause(side(session, .client), .pausedReplies) }
        } else if session.pointee.client.flags.contains(.pausedReplies), !state.pointee.shard.isCongested(session.pointee.client.slot) {
            resume(side(session, .client), .pausedReplies)
            forgiveWait(session)
            lookForSlot(index)
        }
    }

    /// Sends the client what is to go in front, then the answers. False without buffers.
    @inline(never)
    func sendAnswers(_ index: UInt32, behind bytes: UnsafeRawBufferPointer) -> Bool {
        guard let inspector = session(index).pointee.inspector, sendFrame(index, .client, bytes),
            inspector.pointee.answers.withUnsafeBytes({ sendFrame(index, .client, $0) })
        else { return false }
        inspector.pointee.clearAnswers()
        return true
    }

    /// Whether so many answers wait that the client must not be read.
    func owesAnswers(_ session: UnsafeMutablePointer<ProxySession>) -> Bool {
        guard let inspector = session.pointee.inspector else { return false }
        return inspector.pointee.answers.count >= ProxyBounds.answerBytes
    }

    // MARK: Ends

    /// Whether the client is to be told by a packet why its session ends, and is in the middle of another.
    func awaitsPacketEnd(_ session: UnsafeMutablePointer<ProxySession>) -> Bool {
        guard let inspector = session.pointee.inspector, inspector.pointee.saysDisconnect else { return false }
        return !inspector.pointee.isBetweenPackets
    }

    /// A DISCONNECT, if the client gets one, in front of its Close (specification, section 16). False when the Close must wait for the
    /// end of a packet, or there is no buffer.
    func sayDisconnect(_ index: UInt32) -> Bool {
        let session = session(index)
        guard let inspector = session.pointee.inspector, let reason = details(index).disconnectReason, inspector.pointee.saysDisconnect
        else { return true }
        guard inspector.pointee.isBetweenPackets else { return session.pointee.phase != .finishing }
        // Acknowledgements that wait come before it.
        let packet = inspector.pointee.answers + MQTTInspector.disconnect(reason)
        guard packet.withUnsafeBytes({ sendFrame(index, .client, $0) }) else { return false }
        inspector.pointee.clearAnswers()
        details(index).disconnectReason = nil
        return true
    }

    /// What was waited for towards the client did not end in time: between two frames its Close still can stand.
    func giveUpWaiting(_ index: UInt32) {
        details(index).disconnectReason = nil
        if mayInterject(session(index), .client) { sendWaiting(index, .client) }
        conclude(index)
    }
}
