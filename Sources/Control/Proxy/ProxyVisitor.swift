import Engine
import HTTP
import Policy
import WebSocketProxy
import Wire

/// A client of the JWT proxy from its request to its session's end: what was asked, and what was found out since.
final class ProxyVisitor {
    let plan: ProxyPlan
    let route: Int
    let routing: ProxyRouting
    /// Where its session is counted.
    var samples: ShardSamples?
    let path: String
    let query: String
    let webSocketKey: String
    let offer: SubprotocolOffer
    /// `Sec-WebSocket-Extensions`; nil: none, or not to be passed on.
    let extensions: String?
    let origins: [String]
    let host: String
    let isSecure: Bool
    let address: IPAddress
    let credentials: TokenRequest
    /// Fields of the request that go on, and those that say who is there.
    let passed: FieldLines
    let record: ConnectionRecord
    let beganNanoseconds: UInt64

    /// What the log and the admin interface call its connection.
    var connection: ConnectionIdentifier?
    var spoken: ProxyProtocol
    var finding: TokenSources.Finding?
    var token: VerifiedToken?
    /// What it holds; given back when its session ends.
    var lease: ProxyCommon.Lease?
    /// Places it holds over all instances, or waits for.
    var places: Places?
    var claim: PlaceClaim?
    /// All places of its subject are taken.
    var isPlaceRefused = false
    /// The credential of its CONNECT was judged.
    var isConnectJudged = false
    /// Under which it waits.
    var waitingNumber: UInt32?
    /// Endpoints that were given a pass, by number.
    var passes: [(number: UInt32, pass: CircuitBreaker.Pass)] = []
    /// The endpoint that has it.
    var endpoint: EndpointState?
    var isOpen = false
    /// Names its session to the proxy.
    var ticket: ProxyTicket?
    /// Counts as a handshake in progress.
    var isHandshaking = false
    /// Its number among the sessions of its subject, where the oldest of them gives way.
    var placeNumber: UInt64?
    /// The address its connection counts under.
    var connectionKey: IPAddress?
    /// Version of its MQTT once that is known: its refusals are told in it.
    var version: MQTTVersion?

    /// What stands in the way of a handshake: a status, and a word for it.
    struct Fault: Error {
        let status: Int
        let reason: String
        var fields: [(name: String, value: String)] = []
    }

    var policy: ProxyPolicy { plan.policy }
    var proxyRoute: ProxyRoute { routing.route }
    var routeName: String { routing.route.name }
    var detail: ProxyPolicy.Route { routing.detail }
    /// What it is called in labels.
    var label: String { routing.label }

    /// Fields of an upgrade (specification, section 17).
    private static let maximumFields = 64

    /// Reads a request on a route; what no route could serve is refused.
    init(
        _ request: RequestView, plan: ProxyPlan, route: Int, requestID: String, trace: TraceContext, nowNanoseconds: UInt64
    ) throws(Fault) {
        self.plan = plan
        self.route = route
        guard request.head.pointee.fieldCount <= Self.maximumFields else { throw Fault(status: 431, reason: "fields") }
        let routing = plan.routings[route]
        self.routing = routing
        webSocketKey = try Self.key(request)
        path = request.path
        query = request.string(request.query)
        do throws(SubprotocolOffer.Fault) {
            offer = try SubprotocolOffer(lines: request.all(.secWebSocketProtocol))
        } catch { throw Fault(status: 400, reason: "subprotocol") }
        let extensions = request.all(.secWebSocketExtensions)
        self.extensions = routing.route.passesCompression && !extensions.isEmpty ? extensions.joined(separator: ", ") : nil
        origins = request.all(.origin)
        let peer = request.peerAddress.normalized
        let isTrusted = plan.policy.trusted.contains { $0.contains(peer) }
        host = request.first(.host) ?? ""
        // Traefik writes wss for an upgrade over TLS.
        let scheme = isTrusted ? request.first(.xForwardedProto)?.lowercased() : nil
        isSecure = request.isSecure || scheme == "https" || scheme == "wss"
        address = isTrusted ? Self.client(request.all(.xForwardedFor), peer: peer, trusted: plan.policy.trusted) : peer
        spoken = routing.route.sessionProtocol
        credentials = TokenRequest(fields: Self.credentials(request, routing), query: query, offer: offer)
        let text = Span<UInt8>(_unsafeBytes: request.bytes)
        var passed = FieldLines(capacity: Self.passedBytes)
        for name in routing.passedNames {
            for index in 0..<request.head.pointee.fieldCount where request.isNamed(index, name) {
                passed.append(text.extracting(request.head.pointee.name(index)), text.extracting(request.head.pointee.value(index)))
            }
        }
        let chain = isTrusted ? request.all(.xForwardedFor) : []
        let client = "\(address)"
        let own = address == peer ? client : "\(peer)"
        passed.append("X-Forwarded-For", chain.isEmpty ? own : (chain + [own]).joined(separator: ", "))
        passed.append("X-Forwarded-Proto", isSecure ? "https" : "http")
        passed.append("X-Forwarded-Host", host.isEmpty ? plan.policy.draft.publicHost : host)
        passed.append("X-Request-Id", requestID)
        Self.appendTrace(request, trace, to: &passed)
        self.passed = passed
        record = ConnectionRecord(
            requestID: requestID, traceID: trace.traceID, path: path, peer: "\(peer)", client: client, target: "",
            sessionID: "")
        beganNanoseconds = nowNanoseconds
    }

    /// The client's trace, with its state when that is no longer than everybody has to carry; or one of its own.
    private static func appendTrace(_ request: RequestView, _ trace: TraceContext, to lines: inout FieldLines) {
        guard request.count(.traceparent) == 1, let parent = request.first(.traceparent), TraceContext(parent.utf8.span) != nil
        else { return lines.append("traceparent", trace.field) }
        lines.append("traceparent", parent)
        let state = request.all(.tracestate).joined(separator: ",")
        let isPassed = !state.isEmpty && state.utf8.count <= TraceContext.stateBytes && state.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
        if isPassed { lines.append("tracestate", state) }
    }

    /// Room for the fields that are passed on and those that say where a request came from; more is made where it is needed.
    private static let passedBytes = 512

    /// Fields that a credential may stand in, names in lower case.
    private static func credentials(_ request: RequestView, _ routing: ProxyRouting) -> [(name: String, value: String)] {
        (0..<request.head.pointee.fieldCount).compactMap { index in
            guard request.isNamed(index, routing.credentialNames) else { return nil }
            let name = request.string(request.head.pointee.name(index)).lowercased()
            return (name, request.string(request.head.pointee.value(index)))
        }
    }

    /// The right-most address that is no trusted proxy's; the peer when there is none, or something that is no address.
    static func client(_ lines: [String], peer: IPAddress, trusted: [AddressBlock]) -> IPAddress {
        var client = peer
        for text in lines.flatMap({ $0.split(separator: ",") }).reversed() {
            guard let address = IPAddress(Quantity.trimmed(text))?.normalized else { return client }
            client = address
            if !trusted.contains(where: { $0.contains(address) }) { return client }
        }
        return client
    }

    /// RFC 6455 section 4.2.1, strictly.
    private static func key(_ request: RequestView) throws(Fault) -> String {
        guard request.method == .get else { throw Fault(status: 405, reason: "method", fields: [(name: "Allow", value: "GET")]) }
        let head = request.head
        let text = Span<UInt8>(_unsafeBytes: request.bytes)
        // Lists may stand in several fields (RFC 9110 section 5.3).
        func names(_ token: StaticString, _ field: KnownField) -> Bool {
            var (found, bytes) = (false, -Self.separatorBytes)
            var next = head.pointee.first(field)
            while let index = next {
                let value = head.pointee.value(index)
                bytes += value.count + Self.separatorBytes
                found = found || FieldList.contains(token, in: text, value)
                next = head.pointee.next(field, after: index)
            }
            return found && bytes <= HandshakeRule.maximumFieldBytes
        }
        guard names("websocket", .upgrade) else { throw notWebSocket }
        guard request.count(.secWebSocketVersion) == 1, let version = head.pointee.first(.secWebSocketVersion),
            HandshakeRule.isVersion(text.extracting(head.pointee.value(version)))
        else { throw Fault(status: 426, reason: "version", fields: [(name: "Upgrade", value: "websocket")]) }
        guard head.pointee.minorVersion == 1, head.pointee.body == .none || head.pointee.body == .length(0),
            names("upgrade", .connection), request.count(.secWebSocketKey) == 1, let key = head.pointee.first(.secWebSocketKey)
        else { throw notWebSocket }
        let place = text.trimmed(head.pointee.value(key))
        guard isSixteenBytes(text.extracting(place)) else { throw notWebSocket }
        return request.string(place)
    }

    /// Between the fields of a list, were they one.
    private static let separatorBytes = 2
    private static let notWebSocket = Fault(status: 400, reason: "websocket")

    /// Base64 of 16 bytes: 22 characters, the last with four bits that are zero, and two of padding (RFC 4648 section 4).
    private static func isSixteenBytes(_ key: Span<UInt8>) -> Bool {
        guard key.count == 24, key[22] == UInt8(ascii: "="), key[23] == UInt8(ascii: "=") else { return false }
        for index in 0..<22 {
            switch key[index] {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "+"), UInt8(ascii: "/"): break
            default: return false
            }
        }
        switch key[21] {
        case UInt8(ascii: "A"), UInt8(ascii: "Q"), UInt8(ascii: "g"), UInt8(ascii: "w"): return true
        default: return false
        }
    }
}

extension AddressBlock {
    /// Whether an address, normalised, is of the block.
    func contains(_ address: IPAddress) -> Bool {
        address.family == first.family && (first.high, first.low) <= (address.high, address.low)
            && (address.high, address.low) <= (last.high, last.low)
    }
}
