import Engine
import HTTP
import Policy
import Wire

/// The relay's plain HTTP side, and the checks of its upgrades.
///
/// Theory of operation. A request is judged in the order of the specification, the first refusal answers:
///
/// ```
///   origin ─► preflight ─► path ─► method ─► (upgrade ─► handshake) ─► credential ─► place
/// ```
/// - On a listener of the relay's own all of its paths are there; on a shared one only `/webrtc/…`, `/offer` and `/udp`, because the
///   others are the gateway's.
/// - A wrong credential of `/udp` is no matter of HTTP: it is told on the WebSocket.
/// - WebRTC is not served by this version: its endpoints say so, behind the same checks.
/// - Nothing here does I/O; answers are values.
public final class RelayGateway {
    private var shared: RelayGatewayShared
    private let counters: RelayCounters
    /// Readiness is off and upgrades are refused.
    public var draining = false

    /// The endpoints of one shard; `counters` are those of its relay.
    public init(shared: RelayGatewayShared, counters: RelayCounters) {
        self.shared = shared
        self.counters = counters
    }

    /// Takes a new configuration for requests from now on.
    public func apply(_ shared: RelayGatewayShared) { self.shared = shared }

    /// Whether a path is the relay's on a listener that others serve too. Never a prefix of `/udp`: `/udp-relay/token` is the gateway's.
    public static func isMounted(_ path: UnsafeRawBufferPointer) -> Bool {
        let prefix = "/webrtc/".utf8
        return path.elementsEqual("/udp".utf8) || path.elementsEqual("/offer".utf8)
            || (path.count > prefix.count && path.starts(with: prefix))
    }

    /// Outcome of the checks of an upgrade.
    public enum UpgradeVerdict {
        /// `/udp`: go on; `fields` belong into the answer.
        case accepted(RelayAccess.Verdict, webSocketKey: String, fields: [(name: String, value: String)])
        /// An answer of HTTP.
        case answer(Response)
    }

    // MARK: - Requests

    /// Answers a request that is no upgrade.
    public func respond(_ request: RequestView, requestID: String) -> Response {
        judge(request, requestID) { route in
            if route.isWebSocket { return self.error(.badMessage, "a WebSocket upgrade is expected", route) }
            return self.answer(route, request)
        }
    }

    /// Judges an upgrade.
    public func judgeUpgrade(_ request: RequestView, requestID: String) -> UpgradeVerdict {
        var accepted: (verdict: RelayAccess.Verdict, key: String)?
        let response = judge(request, requestID) { route in
            guard route.isWebSocket else { return self.answer(route, request) }
            guard let key = Self.handshakeKey(request) else {
                return self.error(.badMessage, "not a WebSocket upgrade of version 13 with a key of 16 bytes", route)
            }
            if self.draining { return Self.json(503, Self.errorText("unavailable", "the relay is shutting down", route)) }
            if route == .signal { return Self.unavailable(route) }
            accepted = (self.credential(request), key)
            return Response(status: 101)
        }
        guard let accepted else { return .answer(response) }
        return .accepted(accepted.verdict, webSocketKey: accepted.key, fields: response.fields)
    }

    /// Answers a request that the parser, a limit or a time refused, and ends its connection.
    public func refuse(_ problem: Problem, _ request: RequestView, headIsComplete: Bool, requestID: String) -> Response {
        // What cannot be read, and a body beyond what is taken, is a bad message by the relay's table; all else says what the
        // listener found.
        let isUnreadable = problem.status == 400 || problem.status == 413
        let code = isUnreadable ? "bad_message" : problem.identifier
        let status = isUnreadable ? 400 : problem.status
        var response: Response
        if headIsComplete {
            response = judge(request, requestID) { route in
                Self.json(status, Self.errorText(code, problem.message, route))
            }
        } else {
            response = Self.json(status, Self.errorText(code, problem.message, nil))
            response.fields.append((name: "X-Request-ID", value: requestID))
        }
        response.closes = true
        return response
    }

    /// The id a request came with, when it can be echoed, or a new one: 16 random bytes in hexadecimal.
    public func requestIdentifier(_ request: RequestView) -> String {
        guard let sent = request.first(.xRequestID), !sent.isEmpty, sent.utf8.count <= 128,
            sent.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F })
        else { return Digest.hexadecimal(Digest.random(16)) }
        return sent
    }

    // MARK: - The order

    private func judge(_ request: RequestView, _ requestID: String, _ handler: (RelayRoute) -> Response) -> Response {
        var response: Response
        let route = RelayRoute(rawValue: request.path)
        switch shared.origins.judge(originLines: request.all(.origin), hosts: request.all(.host), blankIsAbsent: true) {
        case .refused: response = Self.json(403, Self.errorText("forbidden", "origin not allowed", nil))
        case .absent: response = answerMethod(route, request, handler)
        case .allowed(let origin):
            response = answerMethod(route, request, handler)
            response.fields += Self.crossOriginFields(origin)
        }
        if route == .ice {
            response.fields += [("Cache-Control", "no-store"), ("Pragma", "no-cache"), ("Expires", "0")].map { (name: $0.0, value: $0.1) }
        }
        response.fields.append((name: "X-Request-ID", value: requestID))
        return response
    }

    private func answerMethod(_ route: RelayRoute?, _ request: RequestView, _ handler: (RelayRoute) -> Response) -> Response {
        if request.method == .options, request.count(.accessControlRequestMethod) > 0 { return Self.preflight(request) }
        guard let route else {
            return request.method == .options
                ? Self.plain(405, "Method not allowed\n", allow: "GET, HEAD, POST") : Self.plain(404, "Not found\n")
        }
        let isRead = request.method == .get || request.method == .head
        guard route.allowed == "POST" ? request.method == .post : isRead else {
            return Self.plain(405, "Method not allowed\n", allow: route.allowed)
        }
        return handler(route)
    }

    private func answer(_ route: RelayRoute, _ request: RequestView) -> Response {
        switch route {
        case .healthz: return Self.json(200, "{\"ok\":true}\n")
        case .readyz: return readiness
        case .version: return Self.json(200, shared.versionDocument)
        case .metrics:
            return Response(status: 200, fields: [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")],
                            body: Array(shared.metricsText().utf8))
        case .session: return reserve(request)
        case .ice: return iceServers(request)
        case .webrtcOffer, .offer, .signal, .udp: return Self.unavailable(route)
        }
    }

    private var readiness: Response {
        if draining { return Self.json(503, "{\"ready\":false}\n") }
        guard case .failure(let fault) = shared.iceServers else { return Self.json(200, "{\"ready\":true}\n") }
        return Self.json(503, "{\"ready\":false,\"error\":\(Self.quoted("\(fault)"))}\n")
    }

    // MARK: - Endpoints with a credential

    private func reserve(_ request: RequestView) -> Response {
        guard case .granted(let sessionID) = credential(request) else { return unauthorized(.session) }
        switch shared.relay.reserve(sessionID: sessionID) {
        case .opened(let place):
            return Response(status: 201, fields: [("Content-Type", "text/plain; charset=utf-8")], body: Array(place.id.utf8))
        case .busy: return error(.sessionAlreadyActive, "the session has a place already", .session)
        case .full:
            counters.count(.tooManySessions)
            return error(.tooManySessions, "no place is left", .session)
        }
    }

    private func iceServers(_ request: RequestView) -> Response {
        guard case .granted = credential(request) else { return unauthorized(.ice) }
        switch shared.iceServers {
        case .success(let servers):
            let made = shared.turn.map { TURNCredential($0, nowSeconds: WallClock.nowMilliseconds / 1000) }
            return Self.json(200, servers.json(turn: made))
        case .failure(let fault): return Self.json(503, "{\"error\":\(Self.quoted("\(fault)"))}\n")
        }
    }

    private func credential(_ request: RequestView) -> RelayAccess.Verdict {
        let bytes = Span(_unsafeElements: request.bytes.assumingMemoryBound(to: UInt8.self))
        return shared.relay.access.judge(
            authorization: request.all(.authorization), apiKeys: request.all(.xAPIKey), query: bytes, request.query,
            nowSeconds: WallClock.nowMilliseconds / 1000)
    }

    private func unauthorized(_ route: RelayRoute) -> Response {
        counters.count(.authFailure)
        return error(.unauthorized, "a credential is missing or wrong", route)
    }

    // MARK: - Handshake

    /// The trimmed key of a sound upgrade (RFC 6455 section 4.2.1), nil of any other.
    private static func handshakeKey(_ request: RequestView) -> String? {
        func field(_ name: KnownField) -> HandshakeRule.Field {
            HandshakeRule.Field(count: request.count(name), value: request.first(name) ?? "")
        }
        // A body in front of frames is where two readers part: refused.
        guard request.method == .get, request.head.pointee.minorVersion == 1,
            request.head.pointee.body == .none || request.head.pointee.body == .length(0),
            let key = try? HandshakeRule.check(
                upgrade: field(.upgrade), connection: field(.connection), version: field(.secWebSocketVersion),
                key: field(.secWebSocketKey)),
            isSixteenBytes(key)
        else { return nil }
        return key
    }

    /// Base64 of 16 bytes: 22 characters of which the last has four unused bits, and two of padding.
    static func isSixteenBytes(_ key: String) -> Bool {
        let bytes = Array(key.utf8)
        guard bytes.count == 24, bytes.suffix(2) == [0x3D, 0x3D], "AQgw".utf8.contains(bytes[21]) else { return false }
        return bytes.prefix(21).allSatisfy { byte in
            (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5A) || (byte >= 0x61 && byte <= 0x7A)
                || byte == 0x2B || byte == 0x2F
        }
    }
}

/// Writing answers.
extension RelayGateway {
    private func error(_ code: RelayErrorCode, _ message: String, _ route: RelayRoute) -> Response {
        Self.json(code.status, Self.errorText("\(code.text)", message, route))
    }

    /// What this version has not: as a path that is not there, with words for whoever looks.
    private static func unavailable(_ route: RelayRoute) -> Response {
        json(404, errorText("not_found", "WebRTC is not served by this version; use /udp", route))
    }

    /// `/udp` speaks of errors as its WebSocket does. Codes and messages are literals of the program: nothing in them needs escaping.
    private static func errorText(_ code: String, _ message: String, _ route: RelayRoute?) -> String {
        "{" + (route == .udp ? "\"type\":\"error\"," : "") + "\"code\":\"\(code)\",\"message\":\"\(message)\"}\n"
    }

    private static func quoted(_ text: String) -> String {
        var bytes = [UInt8](repeating: 0, count: text.utf8.count * 6 + 2)
        let count = bytes.withUnsafeMutableBytes { buffer in
            var writer = ByteWriter(buffer)
            writer.jsonString(text)
            return writer.count
        }
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    private static func json(_ status: Int, _ text: String) -> Response {
        Response(status: status, fields: [("Content-Type", "application/json")], body: Array(text.utf8))
    }

    private static func plain(_ status: Int, _ text: String, allow: String? = nil) -> Response {
        var response = Response(status: status, fields: [("Content-Type", "text/plain; charset=utf-8")], body: Array(text.utf8))
        if let allow { response.fields.append((name: "Allow", value: allow)) }
        return response
    }

    private static func crossOriginFields(_ origin: Origin) -> [(name: String, value: String)] {
        [
            (name: "Access-Control-Allow-Origin", value: origin.text), (name: "Access-Control-Allow-Credentials", value: "true"),
            (name: "Access-Control-Expose-Headers", value: "X-Request-ID"), (name: "Vary", value: "Origin"),
        ]
    }

    private static func preflight(_ request: RequestView) -> Response {
        var response = Response(status: 204)
        response.fields = [
            (name: "Access-Control-Allow-Methods", value: CrossOriginHeaders.allowMethods),
            (name: "Access-Control-Max-Age", value: "\(CrossOriginHeaders.maxAgeSeconds)"),
        ]
        if let wanted = CrossOriginHeaders.echo(request.first(.accessControlRequestHeaders)) {
            response.fields.append((name: "Access-Control-Allow-Headers", value: wanted))
        }
        return response
    }
}
