import Engine
import HTTP
import Policy
import Wire

/// Clients that are not authenticated when they get their 101: what they send first is collected, shown, and sent on when they are
/// admitted.
///
/// - Payloads are collected unmasked, all messages together; the layer above sees all of them each time more has come.
/// - On admission what was collected leaves as one message, or as its first fragment when the client is in the middle of one. The rest of a
///   frame that was shown in part leaves as it comes, behind a header of its own with the client's mask turned to its first byte.
/// - A client that was authenticated by its handshake has its upstream already when its first data must still be seen
///   (`ProxyFirst.shown`): its session is open, and only its own direction waits. It may stay silent; its upstream need not.
extension WebSocketProxy {
    /// Answers 101 and waits for data.
    func listen(_ index: UInt32, _ subprotocol: String?) {
        let session = session(index)
        let shard = state.pointee.shard
        let details = details(index)
        guard UpgradeAnswer.accept(session.pointee.client.slot, key: details.webSocketKey, subprotocol: subprotocol, on: shard) else {
            return refuse(index, status: UpgradeAnswer.failure.status, reason: "overloaded")
        }
        reportOpened(index)
        session.pointee.phase = .first
        session.pointee.client.sieve = FrameSieve(expectsMask: true, replacesMasks: details.settings.replacesMasks)
        session.pointee.phaseEnds = shard.now + details.settings.firstDataMilliseconds
        schedule(index)
        shard.resumeReceive(session.pointee.client.slot)
        replay(index)
    }

    /// Bytes that cannot simply be passed on: before the session is open, or from a side that is not listened to.
    @inline(never)
    func readOtherwise(_ index: UInt32, _ party: ProxyParty, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let session = session(index)
        let source = side(session, party)
        switch session.pointee.phase {
        case .first: readFirst(index, buffer, start, end)
        case .dialling, .judged, .admitted: keepEarly(index, buffer, start, end)
        case .open where source.pointee.flags.contains(.pausedJudged) && !source.pointee.flags.contains(.deaf):
            keepEarly(index, buffer, start, end)
        case .open where source.pointee.flags.contains(.pausedRate) && !source.pointee.flags.contains(.deaf):
            guard keep(index, buffer, start, end - start) else { return finish(index, .client, .aboveRate) }
        case .open, .closing:
            guard source.pointee.flags.isDisjoint(with: .deaf), source.pointee.flags.contains(.shown) else {
                return state.pointee.shard.release(buffer)
            }
            readFirst(index, buffer, start, end)
        case .finishing, .free, .ending: state.pointee.shard.release(buffer)
        }
    }

    /// What a client sent while it cannot be used yet.
    private func keepEarly(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        guard keep(index, buffer, start, end - start) else {
            if session(index).pointee.phase == .dialling { return refuse(index, status: 400, reason: "early_data") }
            return turnAway(index, .firstDataTooBig, ProxyRefusal(ProxyClose(.messageTooBig)))
        }
        if session(index).pointee.phase != .open { readWhileWaiting(index) }
    }

    private func readFirst(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let session = session(index)
        let details = details(index)
        let shard = state.pointee.shard
        let base = shard.bytes(buffer)
        // A client that is authenticated may have a large message to begin with: a few bytes tell whether it is to be judged.
        let isUnknown = session.pointee.phase == .first
        let largest = details.settings.maximumFirstBytes
        let limit = isUnknown ? min(session.pointee.maximumMessageBytes, UInt64(largest)) : session.pointee.maximumMessageBytes
        var cursor = start
        while true {
            switch session.pointee.client.sieve.collect(base, &cursor, end, maximumMessageBytes: limit) {
            case .needMore: return shard.release(buffer)
            case .data(let run):
                // Behind the upstream's Close only the client's own is of interest.
                if session.pointee.phase == .closing { continue }
                ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
                if details.first.isEmpty { details.firstIsText = run.opcode == .text }
                details.first.append(contentsOf: UnsafeRawBufferPointer(start: base + run.start, count: run.count))
                let isTooBig = details.first.count > largest
                if !isUnknown || !isTooBig {
                    guard judge(index, endsMessage: run.endsMessage) else {
                        keepRest(index, buffer, cursor, end)
                        return
                    }
                }
                if isTooBig {
                    shard.release(buffer)
                    return turnAway(index, .firstDataTooBig, ProxyRefusal(ProxyClose(.messageTooBig)))
                }
            case .control(let run):
                let ending = control(index, .client, base, run)
                if ending == .none {
                    // Without an upstream it goes on waiting.
                    if session.pointee.phase != .first, session.pointee.upstream.flags.contains(.waiting) { sendWaiting(index, .upstream) }
                    continue
                }
                shard.release(buffer)
                if session.pointee.phase != .first {
                    session.pointee.client.flags.insert(.held)
                    return finish(index, .client, ending)
                }
                details.cause = ending == .closed ? .clientClosed : .clientViolation
                if case .violation(let code) = ending { return reject(index, .clientViolation, ProxyRefusal(ProxyClose(code))) }
                return answerClose(index)
            case .violation(let code):
                shard.release(buffer)
                let cause: ProxyCause = code == .messageTooBig ? .firstDataTooBig : .clientViolation
                return turnAway(index, cause, ProxyRefusal(ProxyClose(code)))
            }
        }
    }

    /// What stands behind the data that was judged waits for the upstream.
    private func keepRest(_ index: UInt32, _ buffer: BufferIndex, _ cursor: Int, _ end: Int) {
        let session = session(index)
        let shard = state.pointee.shard
        switch session.pointee.phase {
        case .judged, .admitted:
            if cursor == end { return shard.release(buffer) }
            // In front of what waits already: this buffer was read before it.
            details(index).early.insert((buffer, cursor, end - cursor), at: 0)
            details(index).earlyBytes += end - cursor
            readWhileWaiting(index)
        case .open where session.pointee.client.flags.contains(.pausedJudged):
            if cursor == end { return shard.release(buffer) }
            details(index).early.insert((buffer, cursor, end - cursor), at: 0)
            details(index).earlyBytes += end - cursor
        case .open: read(index, .client, buffer, cursor, end)
        default: shard.release(buffer)
        }
    }

    /// The client closed before it said who it is: it gets its Close back.
    private func answerClose(_ index: UInt32) {
        if let payload = details(index).closePayload {
            wait(index, .client) { $0.close = payload }
            sendWaiting(index, .client)
        }
        conclude(index)
    }

    /// Shows what has come; true when more is to be read.
    private func judge(_ index: UInt32, endsMessage: Bool) -> Bool {
        let details = details(index)
        guard let judge = state.pointee.judge else {
            turnAway(index, .refused, ProxyRefusal(ProxyClose(.policyViolation)))
            return false
        }
        let ticket = ProxyTicket(index: index, life: session(index).pointee.life)
        let verdict = details.first.withUnsafeBytes {
            judge(ProxyFirstData(
                ticket: ticket, record: details.record, bytes: $0, isText: details.firstIsText, endsMessage: endsMessage))
        }
        switch verdict {
        case .more: return true
        case .later:
            if session(index).pointee.phase == .open {
                pause(side(session(index), .client), .pausedJudged)
            } else {
                session(index).pointee.phase = .judged
            }
        case .admit(let admitted): admit(index, admitted)
        case .refuse(let refusal): turnAway(index, .refused, refusal)
        }
        return false
    }

    /// Admits a client that was put off. False when it is gone.
    public func admit(_ ticket: ProxyTicket, _ admitted: ProxyAdmit) -> Bool {
        guard isJudged(ticket) else { return false }
        admit(ticket.index, admitted)
        return true
    }

    /// Refuses a client that was put off. False when it is gone.
    public func refuse(_ ticket: ProxyTicket, _ refusal: ProxyRefusal) -> Bool {
        guard isJudged(ticket) else { return false }
        turnAway(ticket.index, .refused, refusal)
        return true
    }

    private func isJudged(_ ticket: ProxyTicket) -> Bool {
        guard Int(ticket.index) < state.pointee.touched, session(ticket.index).pointee.life == ticket.life else { return false }
        let session = session(ticket.index)
        return session.pointee.phase == .judged
            || session.pointee.phase == .open && session.pointee.client.flags.contains(.pausedJudged)
    }

    private func admit(_ index: UInt32, _ admitted: ProxyAdmit) {
        let details = details(index)
        details.identity = admitted.identity
        details.unavailable = admitted.unavailable
        if let replacement = admitted.replacement {
            precondition(replacement.of <= details.first.count, "only what was shown is replaced")
            details.first.replaceSubrange(..<replacement.of, with: replacement.by)
        }
        guard let target = admitted.target else { return letThrough(index, admitted) }
        session(index).pointee.phase = .admitted
        readWhileWaiting(index)
        begin(index, target)
    }

    /// What was shown of a client that has its upstream goes there, and so does all that follows.
    private func letThrough(_ index: UInt32, _ admitted: ProxyAdmit) {
        let session = session(index)
        let details = details(index)
        precondition(session.pointee.phase == .open, "only a session with an upstream is admitted without a target")
        if let inspection = admitted.inspection {
            // A broker says nothing before a CONNECT; were it in the middle of a frame, its packets could not be told apart.
            guard session.pointee.upstream.sieve.reader.isAtBoundary else {
                return finish(index, .upstream, .violation(.protocolError))
            }
            details.target?.inspection = inspection
            inspectFrom(index, inspection.demands)
            session.pointee.mode = .inspected
        }
        let wasJudged = session.pointee.client.flags.contains(.pausedJudged)
        session.pointee.client.flags.remove(.shown)
        session.pointee.phaseEnds = ProxySession.never
        guard sendFirst(index) else { return finish(index, .client, .exhausted) }
        guard session.pointee.phase == .open else { return }
        schedule(index)
        let mayInterject = mayInterject(session, .upstream)
        if mayInterject, session.pointee.upstream.flags.contains(.waiting) { sendWaiting(index, .upstream) }
        guard wasJudged else { return }
        resume(side(session, .client), .pausedJudged)
        replay(index)
    }

    /// Refuses a client that has its 101, whether it has an upstream or not.
    func turnAway(_ index: UInt32, _ cause: ProxyCause, _ refusal: ProxyRefusal) {
        let session = session(index)
        guard session.pointee.phase == .open else { return reject(index, cause, refusal) }
        // Nothing of what it sent has left.
        session.pointee.client.flags.insert(.held)
        if !refusal.message.isEmpty, mayInterject(session, .client) {
            _ = refusal.message.withUnsafeBytes { sendFrame(index, .client, $0) }
        }
        end(index, cause, client: refusal.close, upstream: ProxyClose(.policyViolation))
    }

    /// Closes a client that has its 101 and no upstream.
    func reject(_ index: UInt32, _ cause: ProxyCause, _ refusal: ProxyRefusal) {
        let details = details(index)
        let slot = session(index).pointee.client.slot
        details.cause = cause
        if !refusal.message.isEmpty {
            let shard = state.pointee.shard
            withUnsafeTemporaryAllocation(byteCount: refusal.message.count + FrameHeader.maximumServerBytes, alignment: 8) { area in
                let payload = area.baseAddress! + FrameHeader.maximumServerBytes
                refusal.message.withUnsafeBytes { payload.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
                let header = FrameHeader.encode(.binary, payloadBytes: refusal.message.count, endingAt: payload)
                _ = shard.append(slot, payload - header, header + refusal.message.count)
            }
        }
        details.closePayload = ControlPayload(refusal.close)
        wait(index, .client) { $0.close = ControlPayload(refusal.close) }
        sendWaiting(index, .client)
        conclude(index)
    }

    /// What was collected goes upstream. False without buffers.
    func sendFirst(_ index: UInt32) -> Bool {
        let session = session(index)
        let details = details(index)
        let shard = state.pointee.shard
        let reader = session.pointee.client.sieve.reader
        var bytes = details.first
        details.first = []
        let isWhole = !reader.isInsideMessage
        let key = state.pointee.masks.next()
        session.pointee.dataAt = shard.now
        if session.pointee.mode == .inspected { return inspectFirst(index, &bytes) }
        var head = [UInt8](repeating: 0, count: FrameHeader.maximumClientBytes)
        let count = head.withUnsafeMutableBytes {
            FrameHeader.encodeMasked(
                details.firstIsText ? .text : .binary, payloadBytes: bytes.count, key: key, final: isWhole,
                endingAt: $0.baseAddress! + FrameHeader.maximumClientBytes)
        }
        bytes.withUnsafeMutableBytes { area in
            if let base = area.baseAddress { ByteKernel.unmask(base, base, area.count, key: key) }
        }
        var frame = Array(head.suffix(count)) + bytes
        if reader.isInsideData {
            // The frame that was shown in part goes on as a frame of its own.
            let rest = reader.unfinishedFrame
            let continued = head.withUnsafeMutableBytes {
                FrameHeader.encodeMasked(
                    .continuation, payloadBytes: Int(reader.remainingFrameBytes), key: rest.key, final: rest.isFinal,
                    endingAt: $0.baseAddress! + FrameHeader.maximumClientBytes)
            }
            frame += head.suffix(continued)
        }
        return frame.withUnsafeBytes { shard.append(session.pointee.upstream.slot, $0.baseAddress!, $0.count) }
    }
}
