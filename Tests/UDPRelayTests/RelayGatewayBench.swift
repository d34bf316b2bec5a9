import Engine
import Foundation
import Testing
import Wire

@testable import HTTP
@testable import Policy
@testable import UDPRelay

/// The relay's HTTP side without a server around it: requests go in as bytes, answers come out as values.
final class RelayGatewayBench {
    static let secret = "test-jwt-secret"

    let gateway: RelayGateway
    let shared: RelayShared
    let counters = RelayCounters()

    init(access: RelayAccess = .open, origins: [String] = [], maximumSessions: Int = 0,
         servers: (inout ICEServers.Input) -> Void = { _ in }, turn: TURNCredential.Settings? = nil) {
        var settings = RelaySettings()
        settings.maximumSessions = maximumSessions
        shared = RelayShared(settings: settings, access: access, destinations: RelayDestinations(RelayDestinationSettings()))
        var input = ICEServers.Input()
        servers(&input)
        let found = Result { () throws(ICEServers.Fault) in try ICEServers(input, withREST: turn != nil) }
        gateway = RelayGateway(
            shared: RelayGatewayShared(
                relay: shared, origins: OriginAllowlist(anyOrigin: origins == ["*"], origins: Set(origins)), iceServers: found, turn: turn,
                versionDocument: "{\"commit\":\"c\",\"buildTime\":\"t\"}\n", metricsText: { "# scrape\n" }),
            counters: counters)
    }

    /// One of the configurations the vectors name.
    convenience init(named name: String) {
        switch name {
        case "key": self.init(access: .apiKey(Array("secret".utf8)))
        case "jwt": self.init(access: .jwt(secret: Array(Self.secret.utf8)))
        case "one": self.init(maximumSessions: 1)
        case "badice": self.init(servers: { $0.stunURLs = "x" })
        case "none": self.init(origins: ["https://app.example"])
        default: self.init()
        }
    }

    /// A credential for a session, good for five minutes; each `salt` makes another text.
    static func token(sid: String, salt: Int = 0) -> String {
        let now = Int64(Date().timeIntervalSince1970)
        let claims = RelayToken.Claims(issuedAt: now, expiry: now + 300 + Int64(salt), sessionID: sid)
        return RelayToken.sign(claims, secret: Array(secret.utf8)) ?? ""
    }

    /// Fields of an upgrade that is sound.
    static let upgrade = [
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]

    /// Sends a request that is no upgrade.
    func send(_ method: String, _ target: String, _ fields: [String] = [], body: String = "") throws -> Response {
        try view(method, target, fields, body) { gateway.respond($0, requestID: gateway.requestIdentifier($0)) }
    }

    /// Sends an upgrade.
    func upgrade(_ target: String, _ fields: [String] = RelayGatewayBench.upgrade, method: String = "GET", version: String = "HTTP/1.1",
                 body: String = "") throws -> RelayGateway.UpgradeVerdict {
        try view(method, target, fields, body, version: version) { gateway.judgeUpgrade($0, requestID: gateway.requestIdentifier($0)) }
    }

    /// Sends an upgrade that is answered with HTTP.
    func refusedUpgrade(_ target: String, _ fields: [String] = RelayGatewayBench.upgrade, method: String = "GET",
                        version: String = "HTTP/1.1", body: String = "") throws -> Response {
        switch try upgrade(target, fields, method: method, version: version, body: body) {
        case .accepted: throw NotARequest(head: "\(target) \(fields) is upgraded")
        case .answer(let response): return response
        }
    }

    /// A request that the server refused.
    func refuse(_ problem: Problem, _ method: String, _ target: String, _ fields: [String] = [], headIsComplete: Bool = true) throws
        -> Response
    {
        try view(method, target, fields, "") {
            gateway.refuse(problem, $0, headIsComplete: headIsComplete, requestID: gateway.requestIdentifier($0))
        }
    }

    private func view<Result>(_ method: String, _ target: String, _ fields: [String], _ body: String, version: String = "HTTP/1.1",
                              _ use: (RequestView) throws -> Result) throws -> Result {
        let length = body.isEmpty ? [] : ["Content-Length: \(body.utf8.count)"]
        let host = fields.contains { $0.hasPrefix("Host:") } ? [] : ["Host: relay.example"]
        let head = (["\(method) \(target) \(version)"] + host + length + fields).joined(separator: "\r\n") + "\r\n\r\n"
        let parsed = UnsafeMutablePointer<RequestHead>.allocate(capacity: 1)
        parsed.initialize(to: RequestHead(limits: HTTPLimits()))
        defer {
            parsed.deinitialize(count: 1)
            parsed.deallocate()
        }
        let address = try #require(SocketAddress("192.0.2.1", port: 4000))
        return try Array((head + body).utf8).withUnsafeBytes { raw in
            guard case .complete = parsed.pointee.parse(Span(_unsafeElements: raw.assumingMemoryBound(to: UInt8.self))) else {
                throw NotARequest(head: head)
            }
            let content = UnsafeRawBufferPointer(rebasing: raw[head.utf8.count...])
            return try use(
                RequestView(head: UnsafePointer(parsed), bytes: raw, body: content, peer: address, listener: 0, isSecure: false))
        }
    }

    struct NotARequest: Error { let head: String }
}

extension Response {
    func values(_ name: String) -> [String] { fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value) }
    func value(_ name: String) -> String? { values(name).count == 1 ? values(name)[0] : nil }
    var text: String {
        guard case .bytes(let bytes) = body else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }
    /// The body as an object of JSON; empty of any other.
    var object: [String: Any] { (try? JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]) ?? [:] }
    var code: String? { object["code"] as? String }
}
