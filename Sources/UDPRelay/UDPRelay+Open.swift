import Engine
import HTTP
import Policy
import Wire

/// From an upgrade to a session that is ready.
extension UDPRelay {
    /// Takes the client's stream over and answers 101; what is wrong with the credential is told on the WebSocket.
    public func open(_ request: RelayRequest) {
        let shard = state.pointee.shard
        guard let index = state.pointee.sessions.take() else {
            if request.leftover.buffer != .none { shard.release(request.leftover.buffer) }
            state.pointee.counters.add(.webSocketsRefused)
            return UpgradeAnswer.refuse(request.client, .tooManySessions, "no room for another WebSocket", request.fields, on: shard)
        }
        initialize(index, request)
        state.pointee.counters.add(.connections)
        state.pointee.counters.add(.socketsActive)
        shard.transfer(request.client, to: state.pointee.clientOwner, context: index)
        shard.countQueueExactly(request.client)
        guard UpgradeAnswer.accept(request.client, key: request.webSocketKey, fields: request.fields, on: shard) else {
            if request.leftover.buffer != .none { shard.release(request.leftover.buffer) }
            return shut(index, .outOfBuffers)
        }
        state.pointee.report?(.opened(request.record))
        schedule(index)
        shard.resumeReceive(request.client)
        judge(index, request.verdict)
        guard request.leftover.buffer != .none else { return }
        if session(index).pointee.phase == .ending { return shard.release(request.leftover.buffer) }
        clientBytes(index, request.leftover.buffer, request.leftover.start, request.leftover.start + request.leftover.count)
    }

    private func initialize(_ index: UInt32, _ request: RelayRequest) {
        let rules = RelayRules.take(state.pointee.rules)
        let settings = rules.pointee.shared.settings
        let now = state.pointee.shard.now
        session(index).initialize(
            to: RelaySession(
                reader: FrameReader(expectsMask: true), client: request.client, prefersV2: settings.prefersV2,
                maximumMessageBytes: UInt64(settings.maximumControlMessageBytes), maximumPayloadBytes: settings.maximumPayloadBytes,
                sendQueueBytes: settings.sendQueueBytes, rules: rules,
                limiter: RelayLimiter(settings.limits, nowMilliseconds: now), bindings: RelayBindings(settings.bindings), lastFrame: now,
                authenticationEnds: now + settings.authenticationMilliseconds,
                detail: .passRetained(RelayDetail(record: request.record))))
    }

    /// Goes on with what a credential is worth.
    func judge(_ index: UInt32, _ verdict: RelayAccess.Verdict) {
        switch verdict {
        case .granted(let sessionID): begin(index, sessionID)
        case .refused: end(index, .invalidCredentials)
        case .missing: break  // the first message, or the end of its time, decides
        }
    }

    /// Takes a place and says so, or why not.
    private func begin(_ index: UInt32, _ sessionID: String?) {
        let session = session(index)
        let settings = session.pointee.rules.pointee.shared.settings
        switch session.pointee.rules.pointee.shared.open(sessionID: sessionID) {
        case .busy: end(index, .sessionAlreadyActive)
        case .full: end(index, .tooManySessions)
        case .opened(let place):
            let detail = session.pointee.detail.takeUnretainedValue()
            detail.place = place
            session.pointee.phase = .ready
            session.pointee.maximumMessageBytes = UInt64(settings.maximumPayloadBytes + RelayFrame.maximumHeaderBytes)
            session.pointee.authenticationEnds = RelaySession.never
            session.pointee.nextPing = state.pointee.shard.now + settings.pingMilliseconds
            state.pointee.counters.add(.sessionsActive)
            guard sendText(index, { $0.relayReady(sessionID: place.id) }) else { return end(index, .internalError) }
            detail.sessionID = place.id
            state.pointee.report?(.sessionOpened(detail.record, sessionID: place.id))
            schedule(index)
        }
    }

    /// Text of the client: its credential, later what is ignored or refused. `run` may be binary before there was a credential.
    @inline(never)
    func text(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ run: DataRun) -> RelayStop {
        let session = session(index)
        if run.opcode == .binary { return .end(.authenticationRequired) }
        ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
        let detail = session.pointee.detail.takeUnretainedValue()
        // The reader refuses messages beyond the limit.
        detail.text.append(contentsOf: UnsafeRawBufferPointer(start: base + run.start, count: run.count))
        guard run.endsMessage else { return .none }
        let bytes = detail.text
        let message = RelayControlMessage.read(bytes.span)
        detail.text = []
        if session.pointee.phase == .ready { return message.isAuthentication ? .none : .end(.expectedBinary) }
        if let refusal = RelayEnding(message) { return .end(refusal) }
        guard case .credential(let credential) = message else { return .none }
        let access = session.pointee.rules.pointee.shared.access
        judge(index, access.judge(credential, nowSeconds: WallClock.nowMilliseconds / 1000))
        return session.pointee.phase == .ending ? .ended : .none
    }
}

extension UpgradeAnswer {
    /// Refuses an upgrade in the form of the relay's errors, and ends the stream politely.
    public static func refuse(_ client: SlotIndex, _ code: RelayErrorCode, _ message: StaticString,
                              _ fields: [(name: String, value: String)], on shard: Shard) {
        let json = "{\"type\":\"error\",\"code\":\"\(code.text)\",\"message\":\"\(message)\"}"
        refuse(client, status: code.status, json: json, fields: fields, on: shard)
    }
}
