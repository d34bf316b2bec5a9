import Policy
import Testing

@Suite struct HandshakeRuleTests {
    private typealias Field = HandshakeRule.Field

    private func check(
        upgrade: HandshakeRule.Field = .init(count: 1, value: "websocket"),
        connection: HandshakeRule.Field = .init(count: 1, value: "Upgrade"),
        version: HandshakeRule.Field = .init(count: 1, value: "13"), key: HandshakeRule.Field = .init(count: 1, value: "x")
    ) -> String {
        do throws(HandshakeRule.Fault) {
            return "key " + (try HandshakeRule.check(upgrade: upgrade, connection: connection, version: version, key: key))
        } catch {
            return error.message
        }
    }

    @Test func accepted() {
        #expect(check() == "key x")
        #expect(
            check(upgrade: Field(count: 1, value: "h2c, WebSocket"), connection: Field(count: 1, value: "keep-alive ,\tUPGRADE"))
                == "key x")
        #expect(check(version: Field(count: 1, value: " 13\t"), key: Field(count: 1, value: "  a b ")) == "key a b")
        #expect(check(key: Field(count: 1, value: String(repeating: "k", count: 256))).utf8.count == 260)
    }

    @Test func refused() {
        let invalid = "Invalid WebSocket upgrade"
        for value in ["", "websocket2", "web socket", "websocket/13", String(repeating: ",", count: 248) + "websocket"] {
            #expect(check(upgrade: Field(count: 1, value: value)) == invalid, "\(value)")
        }
        for value in ["", "close", "upgraded", String(repeating: " ", count: 250) + "upgrade"] {
            #expect(check(connection: Field(count: 1, value: value)) == invalid, "\(value)")
        }
        for value in ["", "8", "13, 8", "013", "13.0", String(repeating: " ", count: 31) + "13"] {
            #expect(check(version: Field(count: 1, value: value)) == invalid, "\(value)")
        }
        #expect(check(upgrade: Field(count: 2, value: "websocket")) == invalid)
        #expect(check(connection: Field(count: 2, value: "upgrade")) == invalid)
        #expect(check(version: Field(count: 2, value: "13")) == invalid)
        #expect(check(key: Field(count: 2, value: "x")) == invalid)
        #expect(check(key: Field(count: 1, value: String(repeating: "k", count: 257))) == invalid)
        #expect(check(upgrade: .absent, key: .absent) == invalid)
        let missing = "Missing required header: Sec-WebSocket-Key"
        #expect(check(key: .absent) == missing)
        #expect(check(key: Field(count: 1, value: "  ")) == missing)
    }

    private func mux(_ lines: [String]) -> String {
        do throws(HandshakeRule.Fault) {
            try HandshakeRule.checkMuxSubprotocol(lines: lines)
            return "ok"
        } catch {
            return error.message
        }
    }

    @Test func subprotocols() {
        let missing = "Missing required subprotocol: aero-tcp-mux-v1"
        let invalid = "Invalid Sec-WebSocket-Protocol header"
        #expect(mux(["aero-tcp-mux-v1"]) == "ok")
        #expect(mux(["a,, b", ", aero-tcp-mux-v1 ,"]) == "ok")
        #expect(mux([]) == missing)
        #expect(mux([""]) == missing)
        #expect(mux(["Aero-TCP-Mux-v1", "aero-tcp-mux-v2"]) == missing)
        #expect(mux(["aero-tcp-mux-v1, a b"]) == invalid)
        #expect(mux(["aero-tcp-mux-v1", "a/b"]) == invalid)
        #expect(mux(["aero-tcp-mux-v1," + String(repeating: "a,", count: 31)]) == "ok")
        #expect(mux(["aero-tcp-mux-v1," + String(repeating: "a,", count: 32)]) == invalid)
        #expect(mux(["aero-tcp-mux-v1," + String(repeating: "a", count: 4080)]) == "ok")
        #expect(mux(["aero-tcp-mux-v1," + String(repeating: "a", count: 4081)]) == invalid)
    }

    @Test(arguments: [("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), ("x", "JVxkmtKFjDcI/Pm/AGPEKSN6wT8=")])
    func accept(_ key: String, _ expected: String) {
        #expect(Digest.webSocketAccept(key: key) == expected)
    }
}
