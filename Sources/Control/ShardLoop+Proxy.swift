import Engine
import HTTP
import Policy
import SessionGateway
import WebSocketProxy
import Wire

/// The JWT proxy between the HTTP server and its sessions.
///
/// - Paths of the other features come first; then routes by prefix, on every listener that serves the proxy.
/// - A listener that serves nothing else has what go-ws-gateway-proxy has beside: `/healthz`, `/readyz`, `/metrics` where that is
///   allowed, and `/admin/revoke` where a token keeps strangers out.
extension ShardLoop {
    /// Number of the shard timer of clients that wait, and of keys.
    static let proxyTimer: UInt32 = 1

    /// Whether a request may be the proxy's: not on the paths of the other features of its listener.
    func isProxied(_ request: RequestView, _ features: FeatureSet) -> Bool {
        guard features.contains(.jwt) else { return false }
        if features == [.jwt] { return true }
        return !Self.reservedPaths.contains(request.path)
    }

    /// Exact paths of the features that stand before routes.
    private static let reservedPaths: Set<String> = Set(Route.allCases.map(\.rawValue)).union([
        "/tcp", "/tcp-mux", "/udp", "/offer", "/l2", "/l2/", "/eth", "/eth/",
    ])

    /// Whether a connection that was just accepted may stay.
    func admitsConnection(_ event: Event) -> Bool {
        !serves(.jwt, listener: event.detail) || proxy.mayConnect(event.slot)
    }

    /// Where sessions of a request go; nil: the request is not the proxy's.
    func proxyRoute(_ request: RequestView, _ features: FeatureSet) -> Int? {
        guard features.contains(.jwt), let plan = proxy.plan else { return nil }
        return plan.policy.routes.match(path: request.path, host: request.first(.host) ?? "")
    }

    /// Judges an upgrade: the stream is the proxy's, or the connection goes on behind an answer.
    func upgradeProxy(_ index: UInt32, _ route: Int) -> UInt32? {
        let request = http.request(index)
        guard let plan = proxy.plan else { return nil }
        let visitor: ProxyVisitor
        do throws(ProxyVisitor.Fault) {
            visitor = try ProxyVisitor(
                request, plan: plan, route: route, requestID: gateway.requestIdentifier(request), trace: trace(request),
                nowNanoseconds: shard.nowNanoseconds)
        } catch {
            countHandshake(plan.routings[route].label, error.status)
            respondProxy(index, request, Self.response(error))
            return index
        }
        // It stays counted under its address, as the visitor's.
        let taken = http.detach(index, silently: true)
        guard taken.count >= 0 else {
            proxy.disconnected(taken.slot)
            UpgradeAnswer.fail(taken.slot, on: shard)
            return nil
        }
        proxy.begin(visitor, taken.slot, leftover: (buffer: taken.leftover, start: taken.start, count: taken.count))
        return nil
    }

    /// Answers a request that is no upgrade, on a route or on a listener of the proxy's own; false when it is neither.
    func answerProxy(_ index: UInt32, _ features: FeatureSet) -> Bool {
        let request = http.request(index)
        let isAlone = features == [.jwt]
        guard features.contains(.jwt), isAlone || proxyRoute(request, features) != nil else { return false }
        // As that program has it, but not for everybody.
        if isAlone, request.path == "/admin/revoke", admin.access.hasToken {
            answerAdmin(index)
            return true
        }
        if isAlone, request.method == .options, let plan = proxy.plan, let response = proxyPreflight(request, plan) {
            respondProxy(index, request, response)
            return true
        }
        if isAlone, let response = proxyDocument(request) {
            respondProxy(index, request, response)
            return true
        }
        guard let route = proxyRoute(request, features), let plan = proxy.plan else {
            if request.count(.upgrade) > 0 { countHandshake("other", 404) }
            respondProxy(index, request, Self.response(ProxyVisitor.Fault(status: 404, reason: "no_route")))
            return true
        }
        if request.method == .options, let response = proxyPreflight(request, plan) {
            respondProxy(index, request, response)
            return true
        }
        // Its own checks say what is wrong with it.
        var fault = ProxyVisitor.Fault(status: 400, reason: "websocket")
        do throws(ProxyVisitor.Fault) {
            _ = try ProxyVisitor(request, plan: plan, route: route, requestID: "", trace: trace(request), nowNanoseconds: 0)
        } catch { fault = error }
        countHandshake(plan.routings[route].label, fault.status)
        respondProxy(index, request, Self.response(fault))
        return true
    }

    /// Counts a handshake that came to nothing before anybody was judged.
    private func countHandshake(_ route: String, _ status: Int) {
        proxy.common.metrics.add(.handshakes, "route=\"\(route)\",code=\"\(status)\"")
    }

    private func respondProxy(_ index: UInt32, _ request: RequestView, _ response: Response) {
        // A flood of requests that are none is no flood of lines.
        let isFailure = response.status >= 400 && response.status != 503
        let suppressed = isFailure
            ? proxy.common.lines.admit("status_\(response.status)", nowMilliseconds: MonotonicClock.milliseconds) : 0
        let access = suppressed != nil ? beginAccess(request, gateway.requestIdentifier(request)) : nil
        var response = response
        response.fields += ShardProxy.safetyFields
        if let plan = proxy.plan { response.fields += plan.policy.sharingFields(request.all(.origin)) }
        if proxy.isDraining || proxy.isLeaving { response.closes = true }
        endAccess(access, status: response.status, bytes: response.bodyCount, suppressed: suppressed ?? 0)
        http.respond(index, response)
    }

    /// What is there beside routes on a listener of the proxy's own.
    private func proxyDocument(_ request: RequestView) -> Response? {
        let isRead = request.method == .get || request.method == .head
        switch request.path {
        case "/healthz":
            let isAlive = proxy.common.beats.areAlive(nowMilliseconds: MonotonicClock.milliseconds)
            return Self.plain(isAlive ? 200 : 503, isAlive ? "ok" : "a shard does not answer")
        case "/readyz" where isRead:
            let readiness = ProxyReadiness(proxy.plan, proxy.common, isLeaving: proxy.isDraining || proxy.isLeaving)
            guard request.string(request.query).contains("verbose") else {
                return Self.plain(readiness.isReady ? 200 : 503, readiness.isReady ? "ok" : "not ready")
            }
            return AdminInterface.json(readiness.document, status: readiness.isReady ? 200 : 503)
        case "/metrics" where isRead && proxy.plan?.policy.draft.publicMetrics == "true":
            return Response(
                status: 200, fields: [(name: "Content-Type", value: "text/plain; version=0.0.4; charset=utf-8")],
                body: Array(admin.hub.metrics.text().utf8))
        default: return nil
        }
    }

    private func proxyPreflight(_ request: RequestView, _ plan: ProxyPlan) -> Response? {
        guard request.count(.accessControlRequestMethod) > 0, !plan.policy.origins.isEmpty,
            case .allowed = plan.policy.origins.judge(request.all(.origin))
        else { return nil }
        return Response(status: 204, fields: [
            (name: "Access-Control-Allow-Methods", value: "GET, POST, OPTIONS"),
            (name: "Access-Control-Allow-Headers", value: "Authorization, Content-Type"), (name: "Access-Control-Max-Age", value: "600"),
        ])
    }

    private static func response(_ fault: ProxyVisitor.Fault) -> Response {
        var response = plain(fault.status, "\(HTTPStatus.reason(fault.status))")
        response.fields += fault.fields + [
            (name: "Sec-WebSocket-Version", value: "13"), (name: "X-Edge-Error", value: fault.reason),
            (name: "Cache-Control", value: "no-store"),
        ]
        return response
    }

    private static func plain(_ status: Int, _ text: String) -> Response {
        Response(
            status: status, fields: [(name: "Content-Type", value: "text/plain; charset=utf-8")], body: Array(text.utf8))
    }

    // MARK: Keys

    /// Takes a configuration's proxy.
    func applyProxy(_ plan: ProxyPlan?) {
        proxy.apply(plan)
        http.hurryHeads(ofListeners: headTimes(plan))
        keeper?.apply(plan)
        prober?.apply(plan)
        guard plan != nil else { return proxy.common.beats.rest(shard.index) }
        proxy.common.beats.beat(shard.index, nowMilliseconds: MonotonicClock.milliseconds)
        pollKeys()
        shard.setShardTimer(Self.proxyTimer, afterMilliseconds: ShardProxy.tickMilliseconds)
    }

    /// How long the head of a request may take on listeners that serve only the proxy (specification, section 17).
    private func headTimes(_ plan: ProxyPlan?) -> [UInt32: UInt64] {
        guard let milliseconds = plan?.policy.draft.timeouts.headMilliseconds else { return [:] }
        let alone = listenersAlone.map { ($0, UInt64(milliseconds)) }
        return Dictionary(alone) { first, _ in first }
    }

    /// The proxy's timer fired.
    func proxyTimePassed() {
        guard proxy.plan != nil else { return }
        proxy.common.beats.beat(shard.index, nowMilliseconds: MonotonicClock.milliseconds)
        pollKeys()
        proxy.timePassed()
        if draining, shard.now >= proxy.abortsMilliseconds { proxy.common.cut(proxy.sessions.abort()) }
        // What is denied meanwhile still ends sessions: the store stays until the last is gone.
        if draining, !isStoreLeaving, proxy.common.sessions.sessionCount == 0 {
            isStoreLeaving = true
            store?.drain()
        }
        if !draining || !isStoreLeaving || proxy.sessions.count > 0 || !proxy.parked.isEmpty {
            shard.setShardTimer(Self.proxyTimer, afterMilliseconds: ShardProxy.tickMilliseconds)
        } else {
            proxy.common.beats.rest(shard.index)
        }
    }

    private func pollKeys() {
        guard let keeper, !draining else { return }
        prober?.poll()
        if keeper.poll() { keysChanged() }
    }

    /// Keys changed, or clients that wait for some are to be judged again: here and on every shard.
    func keysChanged() {
        proxy.takeKeys()
        limits.directory.wakeAll()
    }

    // MARK: Drain

    /// Of the process's grace, what is left for the ends of sessions that had to be cut.
    private static let cutMilliseconds: UInt64 = 500

    /// Tells sessions to go, evenly; what has no session is refused. All are told before the process leaves.
    func drainProxy(graceMilliseconds: UInt64) {
        proxy.isDraining = true
        keeper?.cancel()
        prober?.apply(nil)
        // Whoever comes now is to reach another instance, or the one that takes this one's place.
        for tag in listenersAlone { shard.closeListener(tag: tag) }
        guard let plan = proxy.plan else { return }
        let drain = plan.policy.draft.drain
        let whole = min(UInt64(drain.timeoutSeconds) * 1000, graceMilliseconds &- min(graceMilliseconds, Self.cutMilliseconds))
        proxy.sessions.drain(
            spreadMilliseconds: whole * UInt64(drain.spreadPercent) / 100,
            handshakeMilliseconds: min(UInt64(drain.hardLimitSeconds) * 1000, whole))
        proxy.abortsMilliseconds = shard.now + whole
        shard.setShardTimer(Self.proxyTimer, afterMilliseconds: ShardProxy.tickMilliseconds)
    }
}
