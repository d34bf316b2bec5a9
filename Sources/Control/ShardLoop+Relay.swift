import Engine
import HTTP
import Policy
import SessionGateway
import UDPRelay
import Wire

/// The UDP relay between the HTTP servers, its endpoints and its WebSockets.
///
/// - A listener that serves nothing else has an HTTP server of its own, with the relay's times and sizes and all of its paths.
/// - On a shared listener the gateway's HTTP server serves it on the relay's mounted paths.
extension ShardLoop {
    /// How long a client of the relay's own listener may take for the head of a request.
    static let relayHeadMilliseconds: UInt64 = 5000
    /// Largest body there; an offer that is larger is refused.
    static let relayBodyBytes = 2 << 20
    /// How long the end of a WebSocket may take when the process leaves: upgraded connections must not hold it up.
    private static let relayEndMilliseconds: UInt64 = 2000

    @inline(never)
    func serveRelay(_ event: Event) {
        var action = relayHTTP.handle(event)
        while let index = answerRelay(action) { action = relayHTTP.next(index) }
    }

    private func answerRelay(_ action: HTTPServer.Action) -> UInt32? {
        switch action {
        case .none: return nil
        case .request(let index):
            respondRelay(index, relayHTTP)
            return index
        case .upgrade(let index): return upgradeRelay(index, relayHTTP)
        case .violation(let index, let violation): refuseRelay(index, violation.problem, relayHTTP)
        case .late(let index): refuseRelay(index, Problem(408, "request_timeout", "Request not received in time"), relayHTTP)
        case .overloaded(let index): refuseRelay(index, Problem(503, "unavailable", "Too many unfinished requests"), relayHTTP)
        }
        return nil
    }

    /// Whether a request of a listener with these features is the relay's.
    func isRelayed(_ request: RequestView, _ features: FeatureSet) -> Bool {
        features.contains(.udp) && RelayGateway.isMounted(request.pathBytes)
    }

    /// Answers a request that is no upgrade.
    func respondRelay(_ index: UInt32, _ server: HTTPServer) {
        let request = server.request(index)
        let requestID = relayGateway.requestIdentifier(request)
        let access = beginAccess(request, requestID)
        send(relayGateway.respond(request, requestID: requestID), index, server, access)
    }

    /// Judges an upgrade: its stream goes to the relay, or the connection goes on behind an answer.
    func upgradeRelay(_ index: UInt32, _ server: HTTPServer) -> UInt32? {
        let request = server.request(index)
        let requestID = relayGateway.requestIdentifier(request)
        switch relayGateway.judgeUpgrade(request, requestID: requestID) {
        case .answer(let response):
            if response.status >= 400 { gateway.counters.add(GatewayCounters.Reason(upgradeStatus: response.status)) }
            send(response, index, server, beginAccess(request, requestID))
            return index
        case .accepted(let verdict, let key, let fields):
            let record = relayRecord(request, requestID, verdict)
            let taken = server.detach(index)
            guard taken.count >= 0 else {
                shard.transfer(taken.slot, to: .engine, context: 0)
                UpgradeAnswer.refuse(taken.slot, .internalError, "WebSocket upgrade failed", fields, on: shard)
                return nil
            }
            relay.open(
                RelayRequest(
                    client: taken.slot, verdict: verdict, webSocketKey: key, fields: fields,
                    leftover: (buffer: taken.leftover, start: taken.start, count: taken.count), record: record))
            return nil
        }
    }

    private func send(_ response: Response, _ index: UInt32, _ server: HTTPServer, _ access: RequestAccess?) {
        endAccess(access, status: response.status, bytes: response.bodyCount)
        server.respond(index, response)
    }

    /// Answers a request that was not read to its end as the relay does, and closes the connection.
    func refuseRelay(_ index: UInt32, _ problem: Problem, _ server: HTTPServer) {
        let (request, headIsComplete) = server.refused(index)
        gateway.counters.add(problem.status == 408 ? .requestLate : problem.status == 503 ? .requestOverload : .requestMalformed)
        let requestID = relayGateway.requestIdentifier(request)
        let access = beginAccess(request, requestID, headIsComplete: headIsComplete)
        send(relayGateway.refuse(problem, request, headIsComplete: headIsComplete, requestID: requestID), index, server, access)
    }

    private func relayRecord(_ request: RequestView, _ requestID: String, _ verdict: RelayAccess.Verdict) -> ConnectionRecord {
        var sessionID = ""
        if case .granted(let holder?) = verdict { sessionID = holder }
        return ConnectionRecord(
            requestID: requestID, traceID: trace(request).traceID, path: request.path, peer: request.peer.host,
            client: gateway.clientText(request), target: "", sessionID: sessionID)
    }

    /// Ends what lives of the relay: it does not hold up the process.
    func drainRelay(graceMilliseconds: UInt64) {
        relayGateway.draining = true
        relayHTTP.drain()
        relay.drain(graceMilliseconds: min(graceMilliseconds, Self.relayEndMilliseconds))
        echo.close()
    }

    /// Opens or closes the datagram echo of the demonstration, beside its service.
    func placeEcho(_ plans: [ListenerPlan]) {
        guard shard.index == 0 else { return }
        let service = plans.first { $0.kind == .demoService }
        guard service?.tag != echoTag else { return }
        echoTag = service?.tag
        echo.close()
        guard let address = service?.address, let local = SocketAddress(address.host, port: address.port) else { return }
        let code = echo.open(at: local)
        guard code != 0, log.begin(.warn, "the demonstration has no UDP echo", timeMilliseconds: WallClock.nowMilliseconds) else { return }
        log.field("address", "\(address)")
        log.field("error", Int(code))
        log.commit()
    }
}
