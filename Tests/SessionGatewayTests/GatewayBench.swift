import Engine
import Policy
import Synchronization
import Testing
import Wire

@testable import HTTP
@testable import SessionGateway

/// A gateway without a server around it: requests go in as bytes, answers come out as values.
final class GatewayBench {
    let gateway: SessionGateway
    /// Seconds of the gateway's clock.
    let clock: TestClock
    let settings: GatewaySettings
    /// Whether requests come over TLS.
    var isSecure = false

    /// A clock that stands until it is moved.
    final class TestClock: Sendable {
        let seconds = Mutex(100.0)
        func advance(_ by: Double) { seconds.withLock { $0 += by } }
    }

    static let peer = "192.0.2.1"

    init(_ change: (inout GatewaySettings) -> Void = { _ in }) {
        var settings = GatewaySettings()
        settings.session.secret = Array("a secret of the tests".utf8)
        settings.origins = OriginAllowlist(anyOrigin: false, origins: ["https://app.test"])
        change(&settings)
        self.settings = settings
        let clock = TestClock()
        self.clock = clock
        let shared = GatewayShared(
            settings: settings, versionDocument: "{\"version\":\"1\",\"gitSha\":\"2\",\"builtAt\":\"3\"}",
            demoPage: Array("<html>".utf8), demoConfiguration: "{}", metricsText: { "# scrape\n" },
            clock: { clock.seconds.withLock { $0 } })
        gateway = SessionGateway(shared: shared)
    }

    /// Sends `METHOD target` with fields and body.
    func send(_ method: String, _ target: String, _ fields: [String] = [], body: String = "", peer: String = GatewayBench.peer,
              features: FeatureSet = [.sessions, .tcp, .demo]) throws -> Response {
        let length = body.isEmpty ? [] : ["Content-Length: \(body.utf8.count)"]
        return try view(lines("\(method) \(target) HTTP/1.1", ["Host: gateway.test"] + length + fields), body, peer) { request, complete in
            #expect(complete)
            return gateway.respond(request, features: features, secondsSinceArrival: 0)
        }
    }

    /// A request that is refused: what came of it is `text`.
    func refuse(_ problem: Problem, _ text: String) throws -> Response {
        try view(text, "", Self.peer) { gateway.refuse(problem, $0, headIsComplete: $1) }
    }

    /// An upgrade with good fields, of which some are replaced or removed (nil).
    func upgrade(_ target: String, _ method: String = "GET", version: String = "HTTP/1.1", cookie: String? = nil,
                 _ extra: [String] = [], without: String? = nil, peer: String = GatewayBench.peer,
                 features: FeatureSet = [.sessions, .tcp]) throws -> UpgradeVerdict {
        var fields = ["Host: gateway.test", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        if let without { fields.removeAll { $0.hasPrefix(without + ":") } }
        if let cookie { fields.append("Cookie: aero_session=\(cookie)") }
        return try view(lines("\(method) \(target) \(version)", fields + extra), "", peer) { request, complete in
            #expect(complete)
            return gateway.judgeUpgrade(request, features: features)
        }
    }

    func upgrade(_ target: String, _ extra: [String], without: String? = nil, peer: String = GatewayBench.peer) throws -> UpgradeVerdict {
        try upgrade(target, "GET", extra, without: without, peer: peer)
    }

    /// A token that the gateway accepts.
    func token() throws -> String {
        let cookie = try #require(try send("POST", "/session").value("Set-Cookie"))
        return String(try #require(cookie.split(separator: ";").first).dropFirst("aero_session=".count))
    }

    private func lines(_ first: String, _ fields: [String]) -> String {
        ([first] + fields).joined(separator: "\r\n") + "\r\n\r\n"
    }

    private func view<Result>(_ head: String, _ body: String, _ peer: String, _ use: (RequestView, Bool) throws -> Result) throws
        -> Result
    {
        let parsed = UnsafeMutablePointer<RequestHead>.allocate(capacity: 1)
        parsed.initialize(to: RequestHead(limits: HTTPLimits()))
        defer {
            parsed.deinitialize(count: 1)
            parsed.deallocate()
        }
        let bytes = Array((head + body).utf8)
        let address = try #require(SocketAddress(peer, port: 4000))
        return try bytes.withUnsafeBytes { raw in
            let outcome = parsed.pointee.parse(Span(_unsafeElements: raw.assumingMemoryBound(to: UInt8.self)))
            var isComplete = false
            if case .complete = outcome { isComplete = true }
            let content = UnsafeRawBufferPointer(rebasing: raw[head.utf8.count...])
            let view = RequestView(
                head: UnsafePointer(parsed), bytes: raw, body: content, peer: address, listener: 0, isSecure: isSecure)
            return try use(view, isComplete)
        }
    }
}

extension Response {
    func values(_ name: String) -> [String] { fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value) }
    func value(_ name: String) -> String? { values(name).count == 1 ? values(name)[0] : nil }
    var text: String {
        guard case .bytes(let bytes) = body else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension UpgradeVerdict {
    /// `status text`, or `tcp host:port`.
    var summary: String {
        switch self {
        case .refused(let status, let message): "\(status) \(message)"
        case .tcp(_, let target): "tcp \(target.host):\(target.port)"
        case .mux: "mux"
        }
    }
}
