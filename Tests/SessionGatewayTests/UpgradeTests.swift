import Policy
import Testing

@testable import SessionGateway

/// Rows 1 to 9 of the table of upgrades, each with its text, in order.
@Suite struct UpgradeTests {
    private let target = "/tcp?v=1&host=db.test&port=5432"

    @Test func aGoodUpgradeIsAdmittedAtBothPaths() throws {
        let bench = GatewayBench { $0.http.basePath = "/p" }
        let token = try bench.token()
        #expect(try bench.upgrade(target, cookie: token).summary == "tcp db.test:5432")
        #expect(try bench.upgrade("/p" + target, cookie: token).summary == "tcp db.test:5432")
        #expect(try bench.upgrade(target, cookie: token, ["Origin: https://app.test"]).summary == "tcp db.test:5432")
        guard case .tcp(let admission, _) = try bench.upgrade(target, cookie: token) else { return }
        #expect(admission.clientAddress == GatewayBench.peer && admission.webSocketKey == "dGhlIHNhbXBsZSBub25jZQ==")
        // The request limiter does not apply.
        let limited = GatewayBench { $0.http.requestsPerMinute = 1 }
        let cookie = try limited.token()
        for _ in 0..<3 { #expect(try limited.upgrade(target, cookie: cookie).summary == "tcp db.test:5432") }
    }

    @Test func multiplexingNeedsItsSubprotocol() throws {
        let bench = GatewayBench { $0.http.basePath = "/p" }
        let token = try bench.token()
        func answer(_ path: String, _ lines: [String], cookie: String? = nil) throws -> String {
            try bench.upgrade(path, cookie: cookie ?? token, lines.map { "Sec-WebSocket-Protocol: " + $0 }).summary
        }
        for path in ["/tcp-mux", "/p/tcp-mux", "/tcp-mux?token=x&v=2"] {
            #expect(try answer(path, ["aero-tcp-mux-v1"]) == "mux")
            #expect(try answer(path, ["chat, ,", "aero-tcp-mux-v1"]) == "mux")
            #expect(try answer(path, []) == "400 Missing required subprotocol: aero-tcp-mux-v1")
            #expect(try answer(path, ["AERO-tcp-mux-v1"]) == "400 Missing required subprotocol: aero-tcp-mux-v1")
            #expect(try answer(path, ["aero-tcp-mux-v1, a/b"]) == "400 Invalid Sec-WebSocket-Protocol header")
            #expect(try answer(path, ["aero-tcp-mux-v1"] + (0..<32).map { "t\($0)" }) == "400 Invalid Sec-WebSocket-Protocol header")
            let long = String(repeating: "a", count: 4096)
            #expect(try answer(path, ["aero-tcp-mux-v1", long]) == "400 Invalid Sec-WebSocket-Protocol header")
        }
        // The subprotocol is the last of the checks.
        #expect(try answer("/tcp-mux", [], cookie: "") == "401 Unauthorized")
        #expect(try answer("/tcp-mux/", ["aero-tcp-mux-v1"]) == "404 Not Found")
        #expect(try bench.upgrade("/tcp-mux", cookie: token, features: [.sessions]).summary == "404 Not Found")
    }

    @Test func everyRowHasItsTextAndItsPlace() throws {
        let bench = GatewayBench { $0.tcp.blockedClients = [IPAddress(v4: 0xCB00_7107)] }
        let token = try bench.token()
        let blocked = "203.0.113.7"
        let evil = ["Origin: https://evil.test"]
        let bad = "/tcp?v=2"
        #expect(try bench.upgrade(bad, cookie: token).summary == "400 Unsupported TCP proxy protocol version")
        #expect(try bench.upgrade(bad, cookie: token, evil).summary == "403 Origin not allowed")
        #expect(try bench.upgrade(bad, cookie: token, evil, peer: blocked).summary == "403 Client IP blocked")
        #expect(try bench.upgrade(bad, evil, peer: blocked).summary == "401 Unauthorized")
        #expect(try bench.upgrade(bad, evil, without: "Upgrade", peer: blocked).summary == "400 Invalid WebSocket upgrade")
        #expect(try bench.upgrade("/nowhere", evil, without: "Upgrade", peer: blocked).summary == "404 Not Found")
        bench.gateway.draining = true
        #expect(try bench.upgrade("/nowhere").summary == "503 Shutting down")
    }

    @Test func handshakes() throws {
        let bench = GatewayBench()
        let invalid = "400 Invalid WebSocket upgrade"
        #expect(try bench.upgrade(target, "POST").summary == invalid)
        #expect(try bench.upgrade(target, version: "HTTP/1.0").summary == invalid)
        #expect(try bench.upgrade(target, ["Content-Length: 4"]).summary == invalid)
        for field in ["Upgrade", "Connection", "Sec-WebSocket-Version"] {
            #expect(try bench.upgrade(target, without: field).summary == invalid, "\(field)")
        }
        for field in ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: a"] {
            #expect(try bench.upgrade(target, [field]).summary == invalid, "\(field) twice")
        }
        #expect(try bench.upgrade(target, ["Upgrade: websocket2"], without: "Upgrade").summary == invalid)
        #expect(try bench.upgrade(target, ["Sec-WebSocket-Version: 12"], without: "Sec-WebSocket-Version").summary == invalid)
        #expect(try bench.upgrade(target, without: "Sec-WebSocket-Key").summary == "400 Missing required header: Sec-WebSocket-Key")
        // A good handshake without a session is 401, a bad one is 400.
        #expect(try bench.upgrade(target).summary == "401 Unauthorized")
        #expect(try bench.upgrade(target, cookie: "bad").summary == "401 Unauthorized")
    }

    @Test func theFirstCookieDecides() throws {
        let bench = GatewayBench()
        let token = try bench.token()
        #expect(try bench.upgrade(target, cookie: "bad", ["Cookie: aero_session=\(token)"]).summary == "401 Unauthorized")
        #expect(try bench.upgrade(target, cookie: token, ["Cookie: aero_session=bad"]).summary == "tcp db.test:5432")
    }

    @Test func repeatedOriginsAreRefusedAndAbsentOnesAreNot() throws {
        let bench = GatewayBench()
        let token = try bench.token()
        let twice = ["Origin: https://app.test", "Origin: https://app.test"]
        #expect(try bench.upgrade(target, cookie: token, twice).summary == "403 Origin not allowed")
        #expect(try bench.upgrade(target, cookie: token).summary == "tcp db.test:5432")
    }

    @Test func blockedClientsFollowATrustedProxy() throws {
        for trusts in [false, true] {
            let bench = GatewayBench {
                $0.tcp.blockedClients = [IPAddress(v4: 0xCB00_7107)]
                $0.http.trustProxy = trusts
            }
            let verdict = try bench.upgrade(target, cookie: bench.token(), ["X-Forwarded-For: 203.0.113.7, 10.0.0.1"])
            #expect(verdict.summary == (trusts ? "403 Client IP blocked" : "tcp db.test:5432"))
        }
    }
}
