import Engine
import HTTP
import Policy
import Wire

/// From an upgrade to two WebSockets.
extension WebSocketProxy {
    /// Takes the client's stream over and opens a session, or refuses. An event may have been told before it returns.
    ///
    /// - Returns: what names the session to `close`, though it may be over; nil when there was no place for it.
    @discardableResult
    public func open(_ request: ProxyRequest) -> ProxyTicket? {
        let shard = state.pointee.shard
        guard let index = allocate() else {
            if request.leftover.buffer != .none { shard.release(request.leftover.buffer) }
            state.pointee.counters.add(.exhausted)
            state.pointee.report?(.refused(request.record, status: 503, reason: "session_limit"))
            shard.transfer(request.client, to: .engine, context: 0)
            ProxyAnswer.refuse(request.client, status: 503, reason: "overloaded", on: shard)
            return nil
        }
        let details = ProxyDetails(request, now: shard.now)
        let life = session(index).pointee.life &+ 1
        var client = ProxySide(expectsMask: true, slot: request.client, now: shard.now)
        client.flags = []
        session(index).pointee = ProxySession(
            client: client, upstream: ProxySide(expectsMask: false, slot: .none, now: shard.now),
            maximumMessageBytes: request.settings.maximumMessageBytes, bufferBytes: request.settings.bufferBytes, dataAt: shard.now,
            details: Unmanaged.passRetained(details), inspector: nil, nextFree: .max, life: life,
            route: min(request.route, UInt16(ProxyCounters.routes - 1)),
            phase: .dialling, mode: .opaque)
        shard.transfer(request.client, to: state.pointee.owners.client, context: index)
        // It is read while its upstream is dialled: so its leaving is noticed. What it sends meanwhile waits, as what came with the head.
        if request.leftover.buffer != .none {
            details.early = [request.leftover]
            details.earlyBytes = request.leftover.count
        }
        readWhileWaiting(index)
        switch request.admission {
        case .dial(let target): begin(index, target)
        case .firstData(let subprotocol): listen(index, subprotocol)
        }
        return ProxyTicket(index: index, life: life)
    }

    private func allocate() -> UInt32? {
        guard state.pointee.shared.acquire() else { return nil }
        let index: UInt32
        if state.pointee.freeHead != .max {
            index = state.pointee.freeHead
            state.pointee.freeHead = session(index).pointee.nextFree
        } else {
            guard state.pointee.touched < state.pointee.capacity else {
                state.pointee.shared.release()
                return nil
            }
            index = UInt32(state.pointee.touched)
            state.pointee.touched += 1
            // A place that was never used has had no session.
            (UnsafeMutableRawPointer(session(index))).initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<ProxySession>.size)
        }
        state.pointee.used += 1
        return index
    }

    // MARK: dialling

    /// Begins to dial; the client is answered when that has ended, unless it was before.
    func begin(_ index: UInt32, _ target: ProxyTarget) {
        let session = session(index)
        let details = details(index)
        let now = state.pointee.shard.now
        details.target = target
        details.dialEnds = now + details.settings.dialMilliseconds
        session.pointee.phaseEnds = details.dialEnds
        session.pointee.mode = target.mode
        if target.mode == .inspected, let inspection = target.inspection { inspectFrom(index, inspection.demands) }
        if let milliseconds = target.endsInMilliseconds { session.pointee.endsAt = now &+ milliseconds }
        if let (rate, cell) = target.rate {
            session.pointee.rate = rate
            session.pointee.rateCell = Unmanaged.passRetained(cell)
            session.pointee.closesAboveRate = details.settings.closesAboveRate
        }
        session.pointee.bytesPerSecond = details.settings.bytesPerSecond
        dial(index)
    }

    /// Judges the session's packets from here on.
    func inspectFrom(_ index: UInt32, _ demands: MQTTInspection) {
        let inspector = UnsafeMutablePointer<MQTTInspector>.allocate(capacity: 1)
        inspector.initialize(to: MQTTInspector(demands))
        session(index).pointee.inspector = inspector
    }

    private func dial(_ index: UInt32) {
        let details = details(index)
        // A target is large: what is needed of it is taken one by one, where it lies.
        guard let endpoints = details.target?.endpoints else { return }
        details.redialAt = ProxySession.never
        details.dialBegan = state.pointee.shard.now
        let place = endpoints[details.turn % endpoints.count]
        details.tries += 1
        details.turn += 1
        var request = ClientRequest(place.endpoint, target: place.target)
        request.host = details.target?.host
        request.lines = details.target?.lines ?? FieldLines()
        request.upgrade = ClientRequest.Upgrade(subprotocols: details.target?.subprotocols ?? [], extensions: details.target?.extensions)
        request.timeouts = details.target?.timeouts ?? ClientTimeouts()
        let left = details.dialEnds > state.pointee.shard.now ? details.dialEnds - state.pointee.shard.now : 1
        request.timeouts.totalMilliseconds = min(request.timeouts.totalMilliseconds, left)
        state.pointee.counters.add(.dials)
        schedule(index)
        details.ticket = state.pointee.dialler.begin(request, context: index)
        takeDials()
    }

    /// Deals with dials that have ended.
    func takeDials() {
        while let dial = state.pointee.dialler.takeFinished() {
            let index = dial.context
            details(index).ticket = HTTPClient.noTicket
            switch dial.result {
            case .upgraded(let stream):
                reportDial(index, failure: nil, dial.milliseconds, retries: false)
                connected(index, stream)
            case .failed(let failure): dialFailed(index, failure, dial.milliseconds)
            case .answered: preconditionFailure("an upgrade ends as a WebSocket or as a failure")
            }
        }
    }

    private func dialFailed(_ index: UInt32, _ failure: ClientFailure, _ milliseconds: UInt64) {
        let details = details(index)
        let settings = details.settings
        let now = state.pointee.shard.now
        state.pointee.counters.add(.dialsFailed)
        // Other endpoints are tried at once; when all have failed there is a pause, doubled each time, half of it by chance.
        let mayAgain = forgetTrial(details)
        let endpoints = max(mayAgain, 1)
        var delay: UInt64 = 0
        if details.turn > 0, details.turn % endpoints == 0 {
            let round = UInt64(min(details.turn / endpoints - 1, 16))
            let full = min(settings.dialDelayMilliseconds << round, ProxyBounds.dialDelayMaximumMilliseconds)
            delay = full / 2 + jitter(index, below: full / 2 + 1)
        }
        let retries = mayAgain > 0 && failure.mayRetry && details.tries <= settings.dialRetries && now + delay < details.dialEnds
        reportDial(index, failure: failure, milliseconds, retries: retries)
        details.onTrial = nil
        guard retries else { return unavailable(index, failure) }
        state.pointee.counters.add(.dialsRetried)
        details.redialAt = now + max(delay, 1)
        schedule(index)
    }

    /// An endpoint on trial had its one try: it is not tried again. How many endpoints may be.
    private func forgetTrial(_ details: ProxyDetails) -> Int {
        guard let target = details.target else { return 0 }
        let place = (max(details.turn, 1) - 1) % target.endpoints.count
        guard target.endpoints[place].isOnTrial else { return target.endpoints.count }
        details.onTrial = target.endpoints[place].number
        if target.endpoints.count > 1 {
            details.target?.endpoints.remove(at: place)
            details.turn -= 1
        }
        return target.endpoints.count - 1
    }

    func dialTimePassed(_ index: UInt32) {
        let details = details(index)
        let now = state.pointee.shard.now
        if now >= details.dialEnds {
            if details.ticket != HTTPClient.noTicket {
                state.pointee.dialler.cancel(details.ticket)
                details.ticket = HTTPClient.noTicket
                // Nobody else tells the circuit of a try that was under way.
                state.pointee.counters.add(.dialsFailed)
                reportDial(index, failure: .answerTimeout, now &- details.dialBegan, retries: false)
            }
            return unavailable(index, .answerTimeout)
        }
        if now >= session(index).pointee.endsAt {
            let isByAge = details.target?.endsByAge == true
            if session(index).pointee.phase == .dialling { return refuse(index, status: isByAge ? 503 : 401, reason: "expired") }
            let close = details.settings.close(isByAge ? .sessionTimeout : .tokenExpired)
            return reject(index, isByAge ? .tooOld : .expired, ProxyRefusal(close, message: details.unavailable))
        }
        if now >= details.redialAt { return dial(index) }
        if now >= session(index).pointee.drainAt {
            if session(index).pointee.phase == .dialling { return refuse(index, status: 503, reason: "draining") }
            return reject(index, .drained, ProxyRefusal(details.settings.close(.draining), message: details.unavailable))
        }
        schedule(index)
    }

    /// No upstream could be had.
    private func unavailable(_ index: UInt32, _ failure: ClientFailure) {
        if session(index).pointee.phase == .admitted {
            let details = details(index)
            return reject(
                index, .upstreamUnavailable, ProxyRefusal(details.settings.close(.upstreamUnavailable), message: details.unavailable))
        }
        switch failure {
        case .status(let status) where [401, 403, 404].contains(status) && details(index).settings.relaysStatus:
            refuse(index, status: status, reason: "upstream_status")
        case _ where details(index).target?.refusal != nil: closeUnavailable(index, failure)
        case .exhausted: refuse(index, status: 503, reason: "overloaded")
        default:
            let isTimeout = failure.isTimeout
            refuse(index, status: isTimeout ? 504 : 502, reason: isTimeout ? "upstream_timeout" : "upstream_unavailable")
        }
    }

    /// The client gets its 101 to be told by a Close that there is no upstream.
    private func closeUnavailable(_ index: UInt32, _ failure: ClientFailure) {
        let session = session(index)
        let details = details(index)
        guard UpgradeAnswer.accept(
            session.pointee.client.slot, key: details.webSocketKey, subprotocol: details.target?.refusal?.subprotocol,
            on: state.pointee.shard)
        else { return refuse(index, status: UpgradeAnswer.failure.status, reason: "overloaded") }
        reportOpened(index)
        session.pointee.phase = .admitted
        let end = failure == .exhausted ? ProxyEnd.tryAgainLater : .upstreamUnavailable
        reject(index, .upstreamUnavailable, ProxyRefusal(details.settings.close(end)))
    }

    /// The upstream is a WebSocket: the client gets its answer, unless it has it, and both are carried.
    private func connected(_ index: UInt32, _ stream: ClientUpgraded) {
        let session = session(index)
        let shard = state.pointee.shard
        let details = details(index)
        let isAnswered = session.pointee.phase == .admitted
        shard.transfer(stream.slot, to: state.pointee.owners.upstream, context: index)
        session.pointee.upstream.slot = stream.slot
        session.pointee.upstream.heardAt = shard.now
        if !isAnswered {
            var subprotocol = stream.subprotocol
            // A choice that was not offered has failed the dial.
            if let agreement = details.target?.agreement, case .subprotocol(let answer) = agreement.answer(upstream: subprotocol) {
                subprotocol = answer
            }
            let extensions = stream.extensions.flatMap { $0.isEmpty ? nil : [(name: "Sec-WebSocket-Extensions", value: $0)] }
            guard UpgradeAnswer.accept(
                session.pointee.client.slot, key: details.webSocketKey, subprotocol: subprotocol, fields: extensions ?? [], on: shard)
            else { return abortOpening(index, stream) }
            reportOpened(index)
        }
        let isCompressed = stream.extensions.map { !$0.isEmpty } ?? false
        let replaces = details.settings.replacesMasks
        if !isAnswered {
            session.pointee.client.sieve = FrameSieve(expectsMask: true, allowsCompressed: isCompressed, replacesMasks: replaces)
        }
        session.pointee.upstream.sieve = FrameSieve(expectsMask: false, allowsCompressed: isCompressed)
        if replaces || session.pointee.rateCell != nil { session.pointee.client.flags.insert(.boundaries) }
        if session.pointee.rateCell != nil, !session.pointee.closesAboveRate { session.pointee.client.flags.insert(.throttled) }
        session.pointee.phase = .open
        session.pointee.phaseEnds = ProxySession.never
        session.pointee.keepAliveAt = shard.now + ProxyBounds.keepAliveMilliseconds
        // What came to be while draining goes with the last.
        if state.pointee.drainEnds != ProxySession.never { session.pointee.drainAt = max(shard.now, state.pointee.drainEnds) }
        session.pointee.client.heardAt = shard.now
        session.pointee.dataAt = shard.now
        if !isAnswered, let first = details.target?.first, first != .leaves {
            session.pointee.client.flags.insert(.shown)
            if first == .awaited { session.pointee.phaseEnds = shard.now + details.settings.firstDataMilliseconds }
        }
        schedule(index)
        if isAnswered, !sendFirst(index) {
            if stream.leftover.buffer != .none { shard.release(stream.leftover.buffer) }
            return end(index, .exhausted, client: details.settings.close(.tryAgainLater), upstream: nil)
        }
        // What was sent first may have ended it.
        guard session.pointee.phase == .open else {
            if stream.leftover.buffer != .none { shard.release(stream.leftover.buffer) }
            return
        }
        if stream.leftover.buffer != .none {
            read(index, .upstream, stream.leftover.buffer, stream.leftover.start, stream.leftover.start + stream.leftover.count)
        }
        replay(index)
        // Unless what waited has ended it, or is more than may pass.
        guard session.pointee.phase == .open || session.pointee.phase == .closing,
            session.pointee.client.flags.isDisjoint(with: .pausedAny)
        else { return }
        shard.resumeReceive(session.pointee.client.slot)
    }

    /// There is no buffer for the client's answer.
    private func abortOpening(_ index: UInt32, _ stream: ClientUpgraded) {
        if stream.leftover.buffer != .none { state.pointee.shard.release(stream.leftover.buffer) }
        state.pointee.shard.close(stream.slot)
        session(index).pointee.upstream.slot = .none
        refuse(index, status: UpgradeAnswer.failure.status, reason: "overloaded")
    }

    /// Answers a client that has no answer yet with a status.
    func refuse(_ index: UInt32, status: Int, reason: String) {
        let client = session(index).pointee.client.slot
        let shard = state.pointee.shard
        state.pointee.counters.add(.refused)
        state.pointee.report?(.refused(details(index).record, status: status, reason: reason))
        free(index)
        shard.transfer(client, to: .engine, context: 0)
        ProxyAnswer.refuse(client, status: status, reason: reason, on: shard)
    }
}

/// Refusals of upgrades to upstreams.
enum ProxyAnswer {
    static func refuse(_ slot: SlotIndex, status: Int, reason: String, on shard: Shard) {
        var fields = [
            (name: "Sec-WebSocket-Version", value: "13"), (name: "X-Edge-Error", value: reason),
            (name: "X-Content-Type-Options", value: "nosniff"), (name: "X-Frame-Options", value: "DENY"),
        ]
        if status == 401 { fields.append((name: "WWW-Authenticate", value: "Bearer error=\"invalid_token\"")) }
        if status == 503 { fields.append((name: "Retry-After", value: "1")) }
        UpgradeAnswer.refuse(slot, status: status, message: "\(HTTPStatus.reason(status))", fields: fields, on: shard)
    }
}
