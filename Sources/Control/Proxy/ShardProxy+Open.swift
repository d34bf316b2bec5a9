import Engine
import HTTP
import Policy
import WebSocketProxy
import Wire

/// From a judged client to a session.
extension ShardProxy {
    /// Opens a session for a client that needs no more judging, or whose first data only says where it goes.
    func open(_ visitor: ProxyVisitor, _ slot: SlotIndex, _ leftover: (buffer: BufferIndex, start: Int, count: Int)) {
        // A client's word for what it speaks does not keep its CONNECT from being judged.
        if visitor.spoken == .raw, visitor.plan.judgesConnect(visitor.route) { visitor.spoken = .auto }
        var first = ProxyFirst.leaves
        switch visitor.plan.firstData(visitor.route, visitor.spoken) {
        case .passes: if visitor.proxyRoute.dial == .afterAccept { return listen(visitor, slot, leftover) }
        case .chooses: return listen(visitor, slot, leftover)
        case .isJudged:
            // Without a token the upstream is not dialled before it is known whether one comes.
            if visitor.proxyRoute.dial == .afterAccept || visitor.token == nil { return listen(visitor, slot, leftover) }
            first = visitor.spoken == .mqtt ? .awaited : .shown
        }
        if first == .leaves, visitor.spoken == .auto { visitor.spoken = .raw }
        switch takePlace(visitor) {
        case .granted: break
        case .refused(let refused): return refuse(visitor, slot, leftover, refused)
        case .waiting: return waitForPlace(visitor, .handshake(slot, leftover: leftover))
        }
        let choice = visitor.proxyRoute.subprotocols.choose(visitor.offer, visitor.spoken, dialsFirst: true)
        if case .mismatch = choice { return refuse(visitor, slot, leftover, ProxyRefused(status: 400, reason: "subprotocol")) }
        var target: ProxyTarget
        do throws(ProxyRefused) { target = try self.target(visitor, choice) } catch { return refuse(visitor, slot, leftover, error) }
        target.first = first
        if first != .leaves { target.extensions = nil }
        if visitor.proxyRoute.rejection == .close {
            target.refusal = ProxyTarget.Refusal(subprotocol: chosenSubprotocol(visitor, dialsFirst: false))
        }
        open(visitor, slot, leftover, .dial(target))
    }

    /// Answers the client and waits for what it sends.
    func listen(_ visitor: ProxyVisitor, _ slot: SlotIndex, _ leftover: (buffer: BufferIndex, start: Int, count: Int)) {
        let choice = visitor.proxyRoute.subprotocols.choose(visitor.offer, visitor.spoken, dialsFirst: false)
        guard case .chosen(let answer, _) = choice else {
            return refuse(visitor, slot, leftover, ProxyRefused(status: 400, reason: "subprotocol"))
        }
        open(visitor, slot, leftover, .firstData(subprotocol: answer))
    }

    private func open(
        _ visitor: ProxyVisitor, _ slot: SlotIndex, _ leftover: (buffer: BufferIndex, start: Int, count: Int), _ admission: ProxyAdmission
    ) {
        var request = ProxyRequest(
            client: slot, webSocketKey: visitor.webSocketKey, leftover: leftover, record: visitor.record, admission: admission)
        request.identity = Self.identity(visitor.token)
        request.route = UInt16(clamping: visitor.route)
        request.settings = visitor.routing.settings
        visitor.ticket = sessions.open(request)
    }

    /// Where a client's session goes and what is told there.
    func target(_ visitor: ProxyVisitor, _ choice: SubprotocolRule.Choice) throws(ProxyRefused) -> ProxyTarget {
        let plan = visitor.plan
        let routing = visitor.routing
        let now = clockMilliseconds
        let numbers = plan.endpoints(visitor.route, visitor.spoken)
        var order = common.order(plan, numbers, routing.route.balancing, subject: visitor.token?.subject, nowMilliseconds: now)
        // Of those on trial only the first is tried, and by this session alone.
        var isOnTrial = false
        while let first = order.first {
            if case .admitted(let pass) = plan.endpoints[first].state.pass(plan.breakerSettings, nowMilliseconds: now) {
                visitor.passes.append((UInt32(first), pass))
                if case .probe = pass { isOnTrial = true }
                break
            }
            order.removeFirst()
        }
        if order.count > 1 { order = [order[0]] + order.dropFirst().filter { plan.endpoints[$0].state.circuit == .closed } }
        let tokenText = visitor.token == nil ? nil : visitor.finding?.token
        let query = routing.query(visitor.query, visitor.spoken)
        let endpoints: [ProxyEndpoint] = order.compactMap { number in
            let endpoint = plan.endpoints[number]
            guard var target = routing.route.target(at: endpoint.upstream, path: visitor.path, query: query) else { return nil }
            if let tokenText, let pair = routing.route.identity.query(visitor.spoken, token: tokenText) {
                target += (target.contains("?") ? "&" : "?") + pair
            }
            return ProxyEndpoint(endpoint.client, target: target, number: UInt32(number), isOnTrial: isOnTrial && number == order[0])
        }
        guard !endpoints.isEmpty else {
            if order.isEmpty { throw ProxyRefused(status: 503, reason: "circuit_open", end: .tryAgainLater, retrySeconds: 1) }
            throw ProxyRefused(status: 400, reason: "path")
        }
        var target = ProxyTarget(endpoints: endpoints)
        var lines = FieldLines(capacity: visitor.passed.bytes.count + (tokenText?.utf8.count ?? 0) + Self.identityBytes)
        if let token = visitor.token, let tokenText {
            var droppedRoles = 0
            let fields = routing.route.identity.fields(
                visitor.spoken, token: tokenText, claims: token.document, roles: token.roleList, droppedRoles: &droppedRoles)
            for field in fields { lines.append(field.name, field.value) }
            countDropped(droppedRoles)
        }
        lines.append(visitor.passed)
        target.lines = lines
        switch routing.route.identity.host {
        case .upstream: break
        case .client: target.host = visitor.host
        case .fixed(let name): target.host = name
        }
        switch choice {
        case .relay(let names): target.subprotocols = names
        case .chosen(_, let upstream): target.subprotocols = upstream.map { [$0] } ?? []
        case .mismatch: break
        }
        target.agreement = SubprotocolAgreement(routing.route.subprotocols, visitor.offer, choice)
        target.extensions = visitor.extensions
        target.timeouts = plan.timeouts
        target.rate = visitor.lease?.rate
        if let end = end(visitor) {
            target.endsInMilliseconds = UInt64(max(1, end.milliseconds - WallClock.nowMilliseconds))
            target.endsByAge = end.cause == .tooOld
        }
        return target
    }

    /// Room for the fields of an identity beside the token's own text.
    private static let identityBytes = 128

    /// Counts roles that an upstream is not told of.
    func countDropped(_ roles: Int) {
        if roles > 0 { common.metrics.add(.droppedRoles, "", UInt64(roles)) }
    }

    /// When the session ends because of its token or its age.
    private func end(_ visitor: ProxyVisitor) -> SessionEnd? {
        let leeway = visitor.token.map { visitor.policy.providers[$0.provider].provider.leewaySeconds } ?? 0
        let longest = visitor.detail.draft.maximumSessionSeconds
        return SessionEnd.of(
            expirySeconds: visitor.token?.expirySeconds, rule: visitor.detail.expiry, leewaySeconds: leeway,
            startedMilliseconds: WallClock.nowMilliseconds, maximumSeconds: longest > 0 ? longest : nil)
    }
}
