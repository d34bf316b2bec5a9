import Foundation
import HTTP
import Policy
import Testing

@testable import UDPRelay

/// The relay's plain HTTP side: the order of checks, the answers, and what an upgrade must have.
@Suite("HTTP of the UDP relay")
struct RelayGatewayTests {
    // MARK: - What was observed

    private static let crossOrigin = [
        "access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers",
        "access-control-allow-methods", "access-control-allow-headers", "access-control-max-age", "vary", "allow", "cache-control",
        "pragma", "expires", "content-type",
    ]

    /// Requests and answers of a reference: single ones, then sequences that hold places.
    @Test func observedRequests() throws {
        let url = URL(filePath: #filePath).appending(path: "../../../../shared/vectors/aero/observed-udp-relay.json").standardized
        guard let data = try? Data(contentsOf: url) else { return print("skipped: no vectors at \(url.path)") }
        let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        var benches: [String: RelayGatewayBench] = [:]
        var judged = 0
        for key in ["http", "httpSidSequence", "httpMaxSessionsSequence"] {
            for entry in try #require(root[key] as? [[String: Any]]) {
                let configuration = try #require(entry["config"] as? String)
                let bench = benches[configuration] ?? RelayGatewayBench(named: configuration)
                benches[configuration] = bench
                try compare(entry, bench, &judged)
            }
            benches = [:]
        }
        #expect(judged >= 55)
    }

    private func compare(_ entry: [String: Any], _ bench: RelayGatewayBench, _ judged: inout Int) throws {
        let request = try #require(entry["request"] as? [String: Any])
        let wanted = try #require(entry["response"] as? [String: Any])
        let name = Comment(rawValue: "\(request)")
        let target = try #require(request["path"] as? String)
        let path = String(target.prefix { $0 != "?" })
        let status = try #require(wanted["status"] as? Int)
        let response = try answer(request, target, bench)
        #expect(response.value("X-Request-ID")?.isEmpty == false, name)
        // WebRTC has no endpoint yet: whoever would be judged by its description is told so.
        if ["/webrtc/offer", "/offer"].contains(path), ![403, 405, 204].contains(status),
            (request["body"] as? String)?.hasPrefix("2097153") != true
        {
            #expect(response.status == 404 && response.code == "not_found", name)
            return
        }
        judged += 1
        #expect(response.status == status, name)
        if let code = wanted["code"] as? String {
            #expect(response.code == code && (response.object["type"] as? String == "error") == (wanted["isUdpShape"] as? Bool), name)
        }
        if let object = wanted["json"] as? [String: Any], request["method"] as? String != "HEAD" {
            #expect(Set(object.keys) == Set(response.object.keys), name)
            for (key, value) in object where value as? String != "<text>" {
                #expect("\(response.object[key] ?? "")" == "\(value)", name)
            }
        }
        let fields = try #require(wanted["headers"] as? [String: String])
        for field in Self.crossOrigin {
            // Plain texts have a type here, which the reference leaves out for some.
            if field == "content-type", fields[field] == nil { continue }
            #expect(response.value(field) == fields[field], "\(name): \(field)")
        }
    }

    private func answer(_ request: [String: Any], _ target: String, _ bench: RelayGatewayBench) throws -> Response {
        let good = RelayGatewayBench.token(sid: "G")
        var fields = (request["headers"] as? [[String]] ?? []).map { "\($0[0]): \($0[1].replacingOccurrences(of: "<good>", with: good))" }
        if let bearer = request["bearer"] as? String {
            let sid = bearer.contains("S2") ? "S2" : "S1"
            fields.append("Authorization: Bearer " + RelayGatewayBench.token(sid: sid, salt: bearer.contains("token 2") ? 2 : 1))
        }
        let method = try #require(request["method"] as? String)
        let path = target.replacingOccurrences(of: "<good>", with: good)
        let body = request["body"] as? String ?? ""
        guard !body.hasPrefix("2097153") else {
            return try bench.refuse(Problem(413, "body_too_large", "Body too large"), method, path, fields)
        }
        guard fields.contains(where: { $0.hasPrefix("Upgrade:") }) else { return try bench.send(method, path, fields, body: body) }
        switch try bench.upgrade(path, fields, method: method, body: body) {
        case .accepted: return Response(status: 101)
        case .answer(let response): return response
        }
    }

    // MARK: - The order of checks

    @Test("origin before path, path before method, method before credential")
    func order() throws {
        let bench = RelayGatewayBench(access: .apiKey(Array("k".utf8)), origins: ["https://app.example"])
        let foreign = "Origin: https://evil.example"
        #expect(try bench.send("DELETE", "/nope", [foreign]).status == 403)
        #expect(try bench.send("GET", "/session", [foreign]).status == 403)
        #expect(try bench.send("DELETE", "/nope").status == 404)
        #expect(try bench.send("GET", "/session").status == 405)
        #expect(try bench.send("POST", "/session").status == 401)
        #expect(try bench.send("OPTIONS", "/session", [foreign, "Access-Control-Request-Method: POST"]).status == 403)
        #expect(bench.counters.read(.authFailure) == 1)
    }

    @Test("paths are exact", arguments: [
        "/udp/", "/UDP", "/udp-relay/token", "/healthz/", "//udp", "/webrtc", "/webrtc/", "/", "/session/x",
    ])
    func exactPaths(path: String) throws {
        #expect(try RelayGatewayBench().send("GET", path).status == 404)
    }

    @Test("what is mounted beside a gateway", arguments: [
        ("/udp", true), ("/offer", true), ("/webrtc/ice", true), ("/webrtc/x", true), ("/webrtc/", false), ("/webrtc", false),
        ("/udp-relay/token", false), ("/udp/", false), ("/session", false), ("/healthz", false), ("/offers", false), ("", false),
    ])
    func mounting(path: String, isMounted: Bool) {
        #expect(Array(path.utf8).withUnsafeBytes { RelayGateway.isMounted($0) } == isMounted)
    }

    @Test("methods and what is allowed", arguments: [
        ("/healthz", "GET, HEAD"), ("/readyz", "GET, HEAD"), ("/version", "GET, HEAD"), ("/metrics", "GET, HEAD"), ("/session", "POST"),
        ("/webrtc/ice", "GET, HEAD"), ("/webrtc/offer", "POST"), ("/offer", "POST"), ("/udp", "GET, HEAD"), ("/webrtc/signal", "GET, HEAD"),
    ])
    func methods(path: String, allowed: String) throws {
        let bench = RelayGatewayBench()
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let isAllowed = allowed.contains(method)
            let response = try bench.send(method, path)
            #expect((response.status == 405) == !isAllowed, "\(method)")
            #expect(response.value("Allow") == (isAllowed ? nil : allowed), "\(method)")
        }
    }

    // MARK: - Answers

    @Test("documents end with a line, and HEAD is answered as GET")
    func documents() throws {
        let bench = RelayGatewayBench()
        for (path, text) in [
            ("/healthz", "{\"ok\":true}\n"), ("/readyz", "{\"ready\":true}\n"), ("/version", "{\"commit\":\"c\",\"buildTime\":\"t\"}\n"),
            ("/metrics", "# scrape\n"), ("/webrtc/ice", "{\"iceServers\":[]}\n"),
        ] {
            let response = try bench.send("GET", path)
            #expect(response.status == 200 && response.text == text)
            let isText = path == "/metrics"
            #expect(response.value("Content-Type") == (isText ? "text/plain; version=0.0.4; charset=utf-8" : "application/json"))
            #expect(try bench.send("HEAD", path).status == 200)
        }
    }

    @Test("no store keeps /webrtc/ice, whatever it answers")
    func neverStored() throws {
        let shut = RelayGatewayBench(access: .apiKey(Array("k".utf8)), origins: ["https://app.example"])
        let broken = RelayGatewayBench(named: "badice")
        for response in [
            try RelayGatewayBench().send("GET", "/webrtc/ice"), try RelayGatewayBench().send("HEAD", "/webrtc/ice"),
            try shut.send("GET", "/webrtc/ice"), try shut.send("GET", "/webrtc/ice", ["Origin: https://evil.example"]),
            try broken.send("GET", "/webrtc/ice"), try shut.send("POST", "/webrtc/ice"),
            try shut.refuse(Problem(408, "request_timeout", "late"), "GET", "/webrtc/ice"),
        ] {
            #expect(response.value("Cache-Control") == "no-store" && response.value("Pragma") == "no-cache")
            #expect(response.value("Expires") == "0")
        }
        #expect(try shut.send("GET", "/healthz").value("Cache-Control") == nil)
    }

    @Test("servers that cannot be told make the relay unready")
    func invalidServers() throws {
        let bench = RelayGatewayBench(named: "badice")
        let ready = try bench.send("GET", "/readyz")
        #expect(ready.status == 503 && ready.object["ready"] as? Bool == false && ready.object["error"] is String)
        let servers = try bench.send("GET", "/webrtc/ice")
        #expect(servers.status == 503 && Set(servers.object.keys) == ["error"])
        #expect(try bench.send("GET", "/healthz").status == 200)
    }

    @Test("draining is unready, serves what is asked plainly, and takes no upgrade")
    func draining() throws {
        let bench = RelayGatewayBench()
        bench.gateway.draining = true
        #expect(try bench.send("GET", "/readyz").text == "{\"ready\":false}\n")
        #expect(try bench.send("GET", "/readyz").status == 503 && bench.send("GET", "/healthz").status == 200)
        let response = try bench.refusedUpgrade("/udp")
        #expect(response.status == 503 && response.code == "unavailable")
    }

    @Test("a request identifier is echoed, or made")
    func requestIdentifiers() throws {
        let bench = RelayGatewayBench()
        #expect(try bench.send("GET", "/healthz", ["X-Request-ID: a b!"]).value("X-Request-ID") == "a b!")
        let long = String(repeating: "x", count: 129)
        for fields in [[], ["X-Request-ID: "], ["X-Request-ID: \(long)"], ["X-Request-ID: \u{e9}"]] {
            let made = try bench.send("GET", "/healthz", fields).value("X-Request-ID") ?? ""
            #expect(made.wholeMatch(of: /[0-9a-f]{32}/) != nil, "\(fields)")
        }
    }

    @Test("a preflight is answered on any path, and only with what it asks")
    func preflight() throws {
        let bench = RelayGatewayBench(access: .apiKey(Array("k".utf8)), origins: ["*"])
        let fields = ["Origin: https://A.example:443", "Access-Control-Request-Method: PUT"]
        for path in ["/nope", "/session", "/udp"] {
            let response = try bench.send("OPTIONS", path, fields + ["Access-Control-Request-Headers: x-api-key, b"])
            #expect(response.status == 204 && response.value("Access-Control-Allow-Origin") == "https://a.example")
            #expect(response.value("Access-Control-Allow-Headers") == "x-api-key, b" && response.value("Access-Control-Max-Age") == "600")
            #expect(response.value("Access-Control-Allow-Methods") == "GET,POST,PUT,PATCH,DELETE,OPTIONS")
        }
        #expect(try bench.send("OPTIONS", "/nope", fields).value("Access-Control-Allow-Headers") == nil)
        #expect(try bench.send("OPTIONS", "/session", ["Origin: https://a.example"]).status == 405)
    }

    @Test("places: one for a sid, so many for all")
    func places() throws {
        let bench = RelayGatewayBench(access: .jwt(secret: Array(RelayGatewayBench.secret.utf8)), maximumSessions: 2)
        func reserve(_ sid: String, _ salt: Int) throws -> Response {
            try bench.send("POST", "/session", ["X-API-Key: " + RelayGatewayBench.token(sid: sid, salt: salt)])
        }
        let first = try reserve("a", 1)
        #expect(first.status == 201 && first.text.wholeMatch(of: /[0-9a-f]{32}/) != nil)
        #expect(first.value("Content-Type") == "text/plain; charset=utf-8")
        #expect(try reserve("a", 2).code == "session_already_active" && bench.counters.read(.tooManySessions) == 0)
        #expect(try reserve("b", 1).status == 201)
        // The lock of a `sid` comes before the number of places.
        #expect(try reserve("a", 3).status == 409)
        let full = try reserve("c", 1)
        #expect(full.status == 503 && full.code == "too_many_sessions" && bench.counters.read(.tooManySessions) == 1)
        #expect(bench.shared.sessionCount == 2)
    }

    // MARK: - Upgrades

    @Test("a wrong credential of /udp is told on the WebSocket")
    func credentials() throws {
        let bench = RelayGatewayBench(access: .apiKey(Array("k".utf8)))
        for (target, fields, expected) in [
            ("/udp", [], RelayAccess.Verdict.missing), ("/udp?apiKey=k", [], .granted(sessionID: nil)),
            ("/udp?token=k", [], .granted(sessionID: nil)),
            ("/udp?apiKey=x&token=k", [], .refused), ("/udp", ["X-API-Key: k"], .granted(sessionID: nil)),
            ("/udp", ["Authorization: ApiKey k"], .granted(sessionID: nil)), ("/udp", ["Authorization: bearer x"], .refused),
            ("/udp?host=a&port=1", ["Authorization: Basic k"], .missing),
        ] {
            guard case .accepted(let verdict, let key, _) = try bench.upgrade(target, RelayGatewayBench.upgrade + fields) else {
                Issue.record("\(target) \(fields) is not taken")
                continue
            }
            #expect(verdict == expected && key == "dGhlIHNhbXBsZSBub25jZQ==", "\(target) \(fields)")
        }
        #expect(bench.counters.read(.authFailure) == 0, "it is counted where it is told")
    }

    @Test("an upgrade is answered with the fields of every response")
    func upgradeFields() throws {
        let bench = RelayGatewayBench(origins: ["https://app.example"])
        let sent = RelayGatewayBench.upgrade + ["Origin: HTTPS://app.example:443", "X-Request-ID: r-1"]
        guard case .accepted(_, _, let fields) = try bench.upgrade("/udp", sent) else { throw RelayGatewayBench.NotARequest(head: "/udp") }
        let found = Response(status: 101, fields: fields)
        #expect(found.value("X-Request-ID") == "r-1" && found.value("Vary") == "Origin")
        #expect(found.value("Access-Control-Allow-Origin") == "https://app.example")
        #expect(found.value("Access-Control-Allow-Credentials") == "true" && found.value("Access-Control-Expose-Headers") == "X-Request-ID")
        guard case .accepted(_, _, let plain) = try bench.upgrade("/udp") else { throw RelayGatewayBench.NotARequest(head: "/udp") }
        #expect(plain.map(\.name) == ["X-Request-ID"] && plain[0].value.utf8.count == 32)
    }

    @Test("a handshake that is not sound is a bad message, in JSON", arguments: [
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"],
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        ["Upgrade: h2c", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="],
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="],
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"],
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ])
    func handshakes(fields: [String]) throws {
        let bench = RelayGatewayBench()
        for target in ["/udp", "/webrtc/signal"] {
            let response = try bench.refusedUpgrade(target, fields)
            #expect(response.status == 400 && response.code == "bad_message" && response.value("Content-Type") == "application/json")
            #expect((response.object["type"] as? String == "error") == (target == "/udp"))
        }
    }

    @Test("an upgrade with a body, of HTTP/1.0 or of another path is none")
    func otherUpgrades() throws {
        let bench = RelayGatewayBench()
        #expect(try bench.refusedUpgrade("/udp", body: "x").status == 400)
        #expect(try bench.refusedUpgrade("/udp", version: "HTTP/1.0").status == 400)
        let plain = try bench.refusedUpgrade("/healthz")
        #expect(plain.status == 200)
        let head = try bench.refusedUpgrade("/udp", method: "HEAD")
        #expect(head.status == 400)
        let foreign = try bench.refusedUpgrade("/udp", RelayGatewayBench.upgrade + ["Origin: https://evil.example"])
        #expect(foreign.status == 403 && foreign.code == "forbidden")
        let plainRequest = try bench.send("GET", "/udp")
        #expect(plainRequest.status == 400 && plainRequest.object["type"] as? String == "error")
    }

    @Test("what the server refuses is said in the relay's words, and ends the connection")
    func refusals() throws {
        let bench = RelayGatewayBench(origins: ["https://app.example"])
        let long = try bench.refuse(Problem(413, "payload_too_large", "Too large"), "POST", "/session", ["Origin: https://app.example"])
        #expect(long.status == 400 && long.code == "bad_message" && long.closes)
        #expect(long.value("Access-Control-Allow-Origin") == "https://app.example")
        let unreadable = try bench.refuse(Problem(400, "bad_request", "Malformed request"), "POST", "/session")
        #expect(unreadable.status == 400 && unreadable.code == "bad_message" && unreadable.closes)
        let late = try bench.refuse(Problem(408, "request_timeout", "Late"), "GET", "/udp", headIsComplete: false)
        #expect(late.status == 408 && late.code == "request_timeout" && late.closes && late.value("X-Request-ID") != nil)
        let foreign = try bench.refuse(Problem(413, "payload_too_large", "Too large"), "POST", "/session", ["Origin: https://evil.example"])
        #expect(foreign.status == 403 && foreign.closes)
    }

    @Test("a reload changes what the next request meets")
    func reload() throws {
        let bench = RelayGatewayBench()
        let other = RelayShared(
            settings: RelaySettings(), access: .apiKey(Array("n".utf8)), destinations: RelayDestinations(RelayDestinationSettings()),
            sessions: bench.shared.sessions)
        #expect(try bench.send("POST", "/session").status == 201)
        bench.gateway.apply(
            RelayGatewayShared(
                relay: other, origins: OriginAllowlist(anyOrigin: true, origins: []),
                iceServers: Result { () throws(ICEServers.Fault) in try ICEServers(ICEServers.Input(), withREST: false) }, turn: nil,
                versionDocument: "{}\n", metricsText: { "" }))
        #expect(try bench.send("POST", "/session").status == 401)
        #expect(try bench.send("POST", "/session", ["X-API-Key: n"]).status == 201)
        #expect(other.sessionCount == 2, "sessions outlive a reload")
    }

    @Test("credentials of TURN are made for each request")
    func turnCredentials() throws {
        let bench = RelayGatewayBench(
            servers: { $0.json = "[{\"urls\":\"stun:a\"},{\"urls\":[\"turn:b\",\"turns:c\"]}]" }, turn: .init(secret: Array("s".utf8)))
        let answers = try (0..<2).map { _ in try #require(try bench.send("GET", "/webrtc/ice").object["iceServers"] as? [[String: Any]]) }
        #expect(answers[0][0]["username"] == nil && answers[0][0]["urls"] as? [String] == ["stun:a"])
        let names = answers.compactMap { $0[1]["username"] as? String }
        #expect(names.count == 2 && names[0] != names[1])
        let parts = names[0].split(separator: ":").map(String.init)
        let expiry = try #require(parts.first.flatMap { Int64($0) })
        #expect(abs(expiry - Int64(Date().timeIntervalSince1970) - 3600) <= 5 && parts.count == 3 && parts[1] == "aero")
        #expect(parts.last?.wholeMatch(of: /[0-9a-f]{32}/) != nil)
    }
}
