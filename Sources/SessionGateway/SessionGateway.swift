import Engine
import HTTP
import Policy
import Synchronization
import Wire

/// A request that passed Origin guard and limiter.
struct AdmittedRequest {
    let route: Route
    let viaBase: Bool
    let origin: Origin?
    let startedSeconds: Double
}

/// The plain HTTP side of the session gateway, and the checks every upgrade passes.
///
/// Theory of operation. A request is judged in the order of the specification, first match answers: Origin guard, request
/// limiter, then (timed and counted) the route. An upgrade is judged in its own order: shutdown, path, handshake, session,
/// client address, Origin. Nothing here does I/O; answers are values.
public final class SessionGateway {
    private var shared: GatewayShared
    private var settings: GatewaySettings
    private var authority: SessionAuthority
    private let sessions = SessionCache()
    private var identifiers = RequestIdentifiers()
    /// `commonFields` but the request id, as they are sent.
    private(set) var commonLines: [UInt8] = []
    /// Request families of this shard.
    public let metrics = RequestMetrics()
    /// What was refused, and why.
    public let counters = GatewayCounters()
    /// Readiness is off and upgrades are refused.
    public var draining = false
    /// What the operator should know of the request answered last.
    private var warning: StaticString?

    /// The gateway of one shard.
    public init(shared: GatewayShared) {
        self.shared = shared
        settings = shared.settings
        authority = SessionAuthority(shared.settings.session)
        commonLines = encodeCommonFields()
    }

    /// Takes a new configuration for requests from now on.
    public func apply(_ shared: GatewayShared) {
        self.shared = shared
        settings = shared.settings
        authority = SessionAuthority(shared.settings.session)
        commonLines = encodeCommonFields()
        sessions.forget()
    }

    /// What the operator should know of the request answered last, once; nil when there is nothing.
    public func takeWarning() -> StaticString? {
        defer { warning = nil }
        return warning
    }

    /// Answers a plain request.
    public func respond(_ request: RequestView, features: FeatureSet, secondsSinceArrival: Double, requestID: String? = nil)
        -> Response
    {
        judge(request, secondsSinceArrival, requestID) { route, origin in answer(route, request, features, origin) }
    }

    /// What a client is told of a fault the parser found.
    ///
    /// Here an unknown method is 404 like an unknown path, not 405. That holds for the methods the parser knows and never
    /// serves (TRACE, CONNECT …); a token that is no registered method does not pass as HTTP and is 400, as with every
    /// listener of this program. Both end the connection.
    public static func problem(_ violation: HTTPViolation) -> Problem {
        violation == .methodNotAllowed ? Problem(404, "not_found", "Not found") : violation.problem
    }

    /// Answers a request that the parser, a limit or a timeout refused, and ends its connection.
    ///
    /// One whose head was read is judged like every other up to its handler: a strange Origin learns nothing of the fault,
    /// an allowed one can read the answer, and the answer is counted. Of any other, only the request id is echoed.
    public func refuse(_ problem: Problem, _ request: RequestView, headIsComplete: Bool, requestID: String? = nil) -> Response {
        var response =
            headIsComplete
            ? judge(request, 0, requestID) { _, _ in problem.response }
            : complete(problem.response, commonFields(requestID ?? requestIdentifier(request)))
        response.closes = true
        return response
    }

    /// Steps 2 to 5 of the processing order: Origin, request limiter, and, timed and counted, the handler.
    private func judge(_ request: RequestView, _ secondsSinceArrival: Double, _ requestID: String?,
                       _ handler: (Route, Origin?) -> Response) -> Response {
        let requestID = requestID ?? requestIdentifier(request)
        switch admit(request, requestID) {
        case .answered(let response): return response
        case .admitted(let admitted):
            return finish(request, admitted, secondsSinceArrival, requestID, handler(admitted.route, admitted.origin))
        }
    }

    enum Admission {
        case answered(Response)
        case admitted(AdmittedRequest)
    }

    /// Steps 2 and 3: Origin and request limiter.
    func admit(_ request: RequestView, _ requestID: String) -> Admission {
        var origin: Origin?
        switch originDecision(request) {
        case .refused:
            counters.add(.requestOrigin)
            return .answered(complete(Problem(403, "forbidden", "Origin not allowed").response, commonFields(requestID)))
        case .allowed(let allowed):
            if request.method == .options, request.count(.accessControlRequestMethod) > 0 {
                return .answered(complete(preflight(request, allowed), commonFields(requestID)))
            }
            origin = allowed
        case .absent: break
        }
        let (named, viaBase) = Route.match(request.pathBytes, basePath: settings.http.basePath)
        let route = request.method == .options ? .options : named
        if draining, !route.isProbe {
            counters.add(.requestWhileDraining)
            var response = complete(Problem(503, "unavailable", "Shutting down").response, fields(requestID, origin))
            response.closes = true
            return .answered(response)
        }
        if !route.isExemptFromLimit, !shared.admitRequest(from: clientAddress(request)) {
            counters.add(.requestRateLimited)
            let refusal = route == .dnsQuery ? Self.limitedQuery : Problem(429, "too_many_requests", "Rate limit exceeded").response
            return .answered(complete(refusal, fields(requestID, origin)))
        }
        return .admitted(AdmittedRequest(route: route, viaBase: viaBase, origin: origin, startedSeconds: shared.clock()))
    }

    /// Most requests carry no Origin, and need not be looked at closer.
    private func originDecision(_ request: RequestView) -> OriginAllowlist.Decision {
        if request.count(.origin) == 0 { return .absent }
        return settings.origins.judge(originLines: request.all(.origin), hosts: request.all(.host))
    }

    /// What a client of DNS over HTTPS is told of the request limiter: SERVFAIL without a question.
    private static var limitedQuery: Response {
        Response(status: 429, fields: [("Content-Type", "application/dns-message"), ("Cache-Control", "no-store")],
                 body: [0, 0, 0x80, 0x82, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Completes and counts the handler's answer.
    func finish(_ request: RequestView, _ admitted: AdmittedRequest, _ secondsSinceArrival: Double, _ requestID: String,
                _ response: Response) -> Response {
        count(admitted, request.method, status: response.status, secondsSinceArrival: secondsSinceArrival)
        return complete(response, fields(requestID, admitted.origin))
    }

    func count(_ admitted: AdmittedRequest, _ method: HTTPMethod, status: Int, secondsSinceArrival: Double) {
        let seconds = max(0, shared.clock() - admitted.startedSeconds + secondsSinceArrival)
        metrics.record(method: method, route: admitted.route, viaBase: admitted.viaBase, basePath: settings.http.basePath,
                       status: status, nanoseconds: UInt64(seconds * 1e9))
    }

    func answer(_ route: Route, _ request: RequestView, _ features: FeatureSet, _ origin: Origin?) -> Response {
        let reads = request.method == .get || request.method == .head
        switch route {
        case .options: return Response(status: 204)
        case .healthz where reads: return json(200, "{\"ok\":true}")
        case .readyz where reads: return json(draining ? 503 : 200, "{\"ok\":\(!draining)}")
        case .version where reads: return json(200, shared.versionDocument)
        case .metrics where reads:
            return Response(status: 200, fields: [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")],
                            body: Array(shared.metricsText().utf8))
        case .session where features.contains(.sessions):
            if request.method == .post { return postSession(request, origin) }
            if reads { return getSession(request) }
        case .relayToken where features.contains(.sessions) && request.method == .post: return relayToken(request, origin)
        case .selfTest where reads && settings.http.selfTestPage:
            return Response(status: 200, fields: [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")],
                            body: Array(SelfTestPage.html.utf8))
        case .demo where reads && features.contains(.demo):
            return Response(status: 200, fields: [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")],
                            body: shared.demoPage)
        case .demoConfiguration where reads && features.contains(.demo): return json(200, shared.demoConfiguration, noStore: true)
        default: break
        }
        return Problem(404, "not_found", "Not found").response
    }

    private func json(_ status: Int, _ text: String, noStore: Bool = false) -> Response {
        var fields = [("Content-Type", "application/json; charset=utf-8")]
        if noStore || status >= 400 { fields.append(("Cache-Control", "no-store")) }
        return Response(status: status, fields: fields.map { (name: $0.0, value: $0.1) }, body: Array(text.utf8))
    }

    // MARK: - Sessions

    func presentedSession(_ request: RequestView, _ now: Int64) -> SessionToken? {
        guard let session = verifiedSession(request, now), !shared.limits.revocations.contains(sessionID: session.sessionID)
        else { return nil }
        return session
    }

    /// The session of the request's cookie, revoked or not.
    private func verifiedSession(_ request: RequestView, _ now: Int64) -> SessionToken? {
        guard request.count(.cookie) == 1, let field = request.head.pointee.first(.cookie) else {
            return authority.session(cookie: SessionCookie.value(inLines: request.all(.cookie)), nowMilliseconds: now)
        }
        let line = UnsafeRawBufferPointer(rebasing: request.bytes[request.head.pointee.value(field)])
        if let known = sessions.find(line, nowMilliseconds: now) { return known }
        let session = authority.session(cookie: SessionCookie.value(inLines: request.all(.cookie)), nowMilliseconds: now)
        if let session { sessions.store(line, session) }
        return session
    }

    private func isSecure(_ request: RequestView) -> Bool {
        ClientAddress.isSecure(
            connectionIsTLS: request.isSecure, forwardedProto: request.first(.xForwardedProto), trustProxy: settings.http.trustProxy)
    }

    private func postSession(_ request: RequestView, _ origin: Origin?) -> Response {
        if let problem = bodyProblem(request) { return problem.response }
        let now = WallClock.nowMilliseconds
        guard let issued = authority.issue(refreshing: presentedSession(request, now), secure: isSecure(request), nowMilliseconds: now)
        else { return Problem(500, "internal_error", "Failed to issue a session").response }
        let relay = settings.relay.map { RelayToken.mint($0, sessionID: issued.sessionID, origin: origin, nowMilliseconds: now) }
        warnOfCookie(request)
        if case .failed? = relay { warning = "no relay token was minted: its claims are too long; the session goes without" }
        var response = json(201, SessionDocument.session(expiryMilliseconds: issued.expiryMilliseconds, settings: settings, relay: relay),
                            noStore: true)
        response.fields.append((name: "Set-Cookie", value: issued.setCookie))
        return response
    }

    /// Browsers drop a cookie for other sites that is not for TLS alone.
    private func warnOfCookie(_ request: RequestView) {
        guard settings.session.sameSite == .none, !isSecure(request) else { return }
        warning = "a session cookie with SameSite=None was set on a request that is not secure: browsers will not keep it"
    }

    private func getSession(_ request: RequestView) -> Response {
        warnOfCookie(request)
        let now = WallClock.nowMilliseconds
        guard let issued = authority.issue(refreshing: presentedSession(request, now), secure: isSecure(request), nowMilliseconds: now)
        else { return Problem(500, "internal_error", "Failed to issue a session").response }
        var response = json(200, "{\"ok\":true}", noStore: true)
        response.fields.append((name: "Set-Cookie", value: issued.setCookie))
        return response
    }

    /// What is wrong with the body of POST /session, which is optional and may only be a JSON object.
    private func bodyProblem(_ request: RequestView) -> Problem? {
        let notAnObject = Problem(400, "bad_request", "Request body must be a JSON object")
        guard let type = request.first(.contentType) else {
            return request.body.isEmpty ? nil : Problem(415, "unsupported_media_type", "Unsupported media type")
        }
        let media = type.prefix { $0 != ";" }.trimmingBlanks().lowercased()
        switch media {
        case "application/json":
            let bytes = Span(_unsafeElements: request.body.assumingMemoryBound(to: UInt8.self))
            guard !request.body.isEmpty, let value = JSONReader.read(bytes) else {
                return Problem(400, "bad_request", "Request body is not valid JSON")
            }
            if case .object = value { return nil }
            return notAnObject
        case "text/plain": return request.body.isEmpty ? nil : notAnObject
        default: return request.body.isEmpty ? nil : Problem(415, "unsupported_media_type", "Unsupported media type")
        }
    }

    private func relayToken(_ request: RequestView, _ origin: Origin?) -> Response {
        guard let relay = settings.relay else { return Problem(404, "not_found", "UDP relay not configured").response }
        guard request.count(.origin) > 0 else { return Problem(403, "forbidden", "Origin header required").response }
        let now = WallClock.nowMilliseconds
        guard let session = presentedSession(request, now) else {
            return Problem(401, "unauthorized", "Missing or expired session").response
        }
        guard shared.admitRelayToken(session.sessionID, nowMilliseconds: now) else {
            counters.add(.relayTokenRateLimited)
            return Problem(429, "too_many_requests", "Rate limit exceeded").response
        }
        let outcome = RelayToken.mint(relay, sessionID: session.sessionID, origin: origin, nowMilliseconds: now)
        guard let text = SessionDocument.relayToken(relay, outcome) else {
            return Problem(500, "internal_error", "Failed to mint UDP relay token").response
        }
        return json(200, text, noStore: true)
    }

    // MARK: - Fields

    /// The id a request came with, when it is a sound one, or a new one.
    public func requestIdentifier(_ request: RequestView) -> String {
        guard let sent = request.first(.xRequestID), !sent.isEmpty, sent.utf8.count <= 128,
            sent.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F })
        else { return identifiers.next() }
        return sent
    }

    private func encodeCommonFields() -> [UInt8] {
        commonFields("").filter { $0.name != "X-Request-Id" }.flatMap { Array("\($0.name): \($0.value)\r\n".utf8) }
    }

    /// What every answer carries, and what an allowed origin may see.
    private func fields(_ requestID: String, _ origin: Origin?) -> [(name: String, value: String)] {
        commonFields(requestID) + (origin.map(crossOriginFields) ?? [])
    }

    private func commonFields(_ identifier: String) -> [(name: String, value: String)] {
        var fields = [
            (name: "X-Content-Type-Options", value: "nosniff"), (name: "Referrer-Policy", value: "no-referrer"),
            (name: "X-Frame-Options", value: "DENY"),
            (name: "Permissions-Policy", value: "camera=(), geolocation=(), microphone=(self), usb=(self)"),
            (name: "X-Request-Id", value: identifier),
        ]
        if settings.http.crossOriginIsolation {
            fields += [
                (name: "Cross-Origin-Opener-Policy", value: "same-origin"), (name: "Cross-Origin-Embedder-Policy", value: "require-corp"),
                (name: "Cross-Origin-Resource-Policy", value: "same-origin"), (name: "Origin-Agent-Cluster", value: "?1"),
            ]
        }
        return fields
    }

    func crossOriginFields(_ origin: Origin) -> [(name: String, value: String)] {
        [
            (name: "Access-Control-Allow-Origin", value: origin.text), (name: "Access-Control-Allow-Credentials", value: "true"),
            (name: "Access-Control-Expose-Headers", value: CrossOriginHeaders.exposeHeaders), (name: "Vary", value: "Origin"),
        ]
    }

    private func preflight(_ request: RequestView, _ origin: Origin) -> Response {
        let requested = request.count(.accessControlRequestHeaders) > 0 ? request.first(.accessControlRequestHeaders) : nil
        return Response(status: 204, fields: crossOriginFields(origin) + [
            (name: "Access-Control-Allow-Methods", value: CrossOriginHeaders.allowMethods),
            (name: "Access-Control-Max-Age", value: "\(CrossOriginHeaders.maxAgeSeconds)"),
            (name: "Access-Control-Allow-Headers", value: CrossOriginHeaders.allowHeaders(requested: requested)),
        ])
    }

    private func complete(_ response: Response, _ fields: [(name: String, value: String)]) -> Response {
        var response = response
        response.fields += fields
        return response
    }

    // MARK: - Upgrades

    /// Judges the request of an upgrade by the checks common to all endpoints, rows 1 to 8 of the table.
    public func judgeUpgrade(_ request: RequestView, features: FeatureSet) -> UpgradeVerdict {
        if draining { return .refused(503, "Shutting down") }
        let path = request.path
        let base = settings.http.basePath
        let isMux = path == "/tcp-mux" || (!base.isEmpty && path == base + "/tcp-mux")
        guard features.contains(.tcp), isMux || path == "/tcp" || (!base.isEmpty && path == base + "/tcp") else {
            return .refused(404, "Not Found")
        }
        // A body in front of frames is where two readers part: refused.
        let bodyless = request.head.pointee.body == .none || request.head.pointee.body == .length(0)
        guard request.method == .get, request.head.pointee.minorVersion == 1, bodyless else {
            return .refused(400, HandshakeRule.Fault.invalidUpgrade.message)
        }
        func field(_ name: KnownField) -> HandshakeRule.Field {
            HandshakeRule.Field(count: request.count(name), value: request.first(name) ?? "")
        }
        let key: String
        do {
            key = try HandshakeRule.check(upgrade: field(.upgrade), connection: field(.connection),
                                          version: field(.secWebSocketVersion), key: field(.secWebSocketKey))
        } catch {
            return .refused(400, error.message)
        }
        guard let session = presentedSession(request, WallClock.nowMilliseconds) else { return .refused(401, "Unauthorized") }
        let client = clientAddress(request)
        if settings.tcp.blockedClients.contains(client) { return .refused(Refusal.clientBlocked.status, Refusal.clientBlocked.message) }
        if settings.origins.judge(originLines: request.all(.origin), hosts: request.all(.host)) == .refused {
            return .refused(Refusal.originNotAllowed.status, Refusal.originNotAllowed.message)
        }
        let admission = UpgradeAdmission(sessionID: session.sessionID, clientAddress: "\(client)", webSocketKey: key)
        return isMux ? judgeMux(request, admission) : judgeTCP(request, admission)
    }

    /// Row 9 of `/tcp`: the query.
    private func judgeTCP(_ request: RequestView, _ admission: UpgradeAdmission) -> UpgradeVerdict {
        let queryBytes = UnsafeRawBufferPointer(rebasing: request.bytes[request.query])
        let query = Span(_unsafeElements: queryBytes.assumingMemoryBound(to: UInt8.self))
        do {
            return .tcp(admission, try TCPQuery.parse(query))
        } catch {
            return .refused(400, error.message)
        }
    }

    /// Row 9 of `/tcp-mux`: the subprotocol.
    private func judgeMux(_ request: RequestView, _ admission: UpgradeAdmission) -> UpgradeVerdict {
        do {
            try HandshakeRule.checkMuxSubprotocol(lines: request.all(.secWebSocketProtocol))
            return .mux(admission)
        } catch {
            return .refused(400, error.message)
        }
    }

    /// The effective address of the client, as text.
    public func clientText(_ request: RequestView) -> String { "\(clientAddress(request))" }

    func clientAddress(_ request: RequestView) -> IPAddress {
        guard settings.http.trustProxy else { return request.peerAddress.normalized }
        return ClientAddress.effective(peer: request.peerAddress, forwardedFor: request.first(.xForwardedFor), trustProxy: true)
    }
}

extension Substring {
    fileprivate func trimmingBlanks() -> String {
        var text = self
        while text.first == " " || text.first == "\t" { text.removeFirst() }
        while text.last == " " || text.last == "\t" { text.removeLast() }
        return String(text)
    }
}
