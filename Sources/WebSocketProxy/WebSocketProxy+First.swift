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
        replayFirst(index)
    }

    private func replayFirst(_ index: UInt32) {
        let details = details(index)
        let early = details.early
        details.early = []
        for piece in early { read(index, .client, piece.buffer, piece.start, piece.start + piece.count) }
    }

    /// Bytes that cannot simply be passed on: before the session is open, or from a side that is not listened to.
    @inline(never)
    func readOtherwise(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let session = session(index)
        let shard = state.pointee.shard
        switch session.pointee.phase {
        case .first: readFirst(index, buffer, start, end)
        case .dialling, .judged, .admitted:
            let details = details(index)
            guard details.early.count < ProxyBounds.earlyBuffers else {
                shard.release(buffer)
                if session.pointee.phase == .dialling { return refuse(index, status: 400, reason: "early_data") }
                return reject(index, .firstDataTooBig, ProxyRefusal(ProxyClose(.messageTooBig)))
            }
            details.early.append((buffer, start, end - start))
        case .open, .closing, .finishing, .free, .ending: shard.release(buffer)
        }
    }

    private func readFirst(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let session = session(index)
        let details = details(index)
        let shard = state.pointee.shard
        let base = shard.bytes(buffer)
        let limit = min(session.pointee.maximumMessageBytes, UInt64(details.settings.maximumFirstBytes))
        var cursor = start
        while true {
            switch session.pointee.client.sieve.collect(base, &cursor, end, maximumMessageBytes: limit) {
            case .needMore: return shard.release(buffer)
            case .data(let run):
                ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
                if details.first.isEmpty { details.firstIsText = run.opcode == .text }
                details.first.append(contentsOf: UnsafeRawBufferPointer(start: base + run.start, count: run.count))
                guard details.first.count <= details.settings.maximumFirstBytes else {
                    shard.release(buffer)
                    return reject(index, .firstDataTooBig, ProxyRefusal(ProxyClose(.messageTooBig)))
                }
                guard judge(index, endsMessage: run.endsMessage) else {
                    keepRest(index, buffer, cursor, end)
                    return
                }
            case .control(let run):
                let ending = control(index, .client, base, run)
                if ending == .none { continue }
                shard.release(buffer)
                details.cause = ending == .closed ? .clientClosed : .clientViolation
                if case .violation(let code) = ending { return reject(index, .clientViolation, ProxyRefusal(ProxyClose(code))) }
                return answerClose(index)
            case .violation(let code):
                shard.release(buffer)
                let cause: ProxyCause = code == .messageTooBig ? .firstDataTooBig : .clientViolation
                return reject(index, cause, ProxyRefusal(ProxyClose(code)))
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
            details(index).early.append((buffer, cursor, end - cursor))
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
        concludeEarly(index)
    }

    /// Shows what has come; true when more is to be read.
    private func judge(_ index: UInt32, endsMessage: Bool) -> Bool {
        let details = details(index)
        guard let judge = state.pointee.judge else {
            reject(index, .refused, ProxyRefusal(ProxyClose(.policyViolation)))
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
            session(index).pointee.phase = .judged
            state.pointee.shard.pauseReceive(session(index).pointee.client.slot)
        case .admit(let admitted): admit(index, admitted)
        case .refuse(let refusal): reject(index, .refused, refusal)
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
        reject(ticket.index, .refused, refusal)
        return true
    }

    private func isJudged(_ ticket: ProxyTicket) -> Bool {
        Int(ticket.index) < state.pointee.touched && session(ticket.index).pointee.life == ticket.life
            && session(ticket.index).pointee.phase == .judged
    }

    private func admit(_ index: UInt32, _ admitted: ProxyAdmit) {
        let details = details(index)
        details.identity = admitted.identity
        if let replacement = admitted.replacement {
            precondition(replacement.of <= details.first.count, "only what was shown is replaced")
            details.first.replaceSubrange(..<replacement.of, with: replacement.by)
        }
        session(index).pointee.phase = .admitted
        state.pointee.shard.pauseReceive(session(index).pointee.client.slot)
        begin(index, admitted.target)
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
        concludeEarly(index)
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
