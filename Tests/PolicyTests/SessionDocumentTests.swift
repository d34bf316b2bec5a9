import Foundation
import Policy
import Testing

@Suite struct SessionDocumentTests {
    private func object(_ text: String) throws -> NSDictionary {
        try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? NSDictionary)
    }

    @Test func withoutRelay() throws {
        var settings = GatewaySettings()
        settings.http.basePath = "/p"
        let text = SessionDocument.session(expiryMilliseconds: 1_935_731_289_123, settings: settings, relay: nil)
        let expected = """
            {"session":{"expiresAt":"2031-05-05T07:08:09.123Z"},\
            "endpoints":{"tcp":"/p/tcp","tcpMux":"/p/tcp-mux","dnsQuery":"/p/dns-query",\
            "dnsJson":"/p/dns-json","l2":"/p/l2","udpRelayToken":"/p/udp-relay/token"},"limits":{"tcp":{"maxConnections":64,\
            "maxMessageBytes":1048576,"connectTimeoutMs":10000,"idleTimeoutMs":300000},"dns":{"maxQueryBytes":4096},\
            "l2":{"maxFramePayloadBytes":2048,"maxControlPayloadBytes":256}}}
            """
        #expect(text == expected)
        _ = try object(text)
    }

    @Test func withRelay() throws {
        var settings = GatewaySettings()
        var relay = GatewaySettings.RelaySettings(baseURL: "wss://relay.test/x")
        settings.relay = relay
        let open = try object(SessionDocument.session(expiryMilliseconds: 0, settings: settings, relay: .notNeeded))
        let endpoints = [
            "webrtcSignal": "/webrtc/signal", "webrtcOffer": "/webrtc/offer", "udp": "/udp", "webrtcIce": "/webrtc/ice",
        ]
        #expect(
            open["udpRelay"] as? NSDictionary == ["baseUrl": "wss://relay.test/x", "authMode": "none", "endpoints": endpoints])
        relay.authentication = .apiKey("k\"ey")
        settings.relay = relay
        let outcome = RelayToken.mint(relay, sessionID: "s", origin: nil, nowMilliseconds: 1_935_731_289_123)
        let keyed = try object(SessionDocument.session(expiryMilliseconds: 0, settings: settings, relay: outcome))
        #expect(
            keyed["udpRelay"] as? NSDictionary == [
                "baseUrl": "wss://relay.test/x", "authMode": "api_key", "endpoints": endpoints, "token": "k\"ey",
                "expiresAt": "2031-05-05T07:13:09.123Z",
            ])
        #expect(try object(SessionDocument.session(expiryMilliseconds: 0, settings: settings, relay: .failed))["udpRelay"] == nil)
        #expect(
            SessionDocument.relayToken(relay, outcome)
                == #"{"authMode":"api_key","token":"k\"ey","expiresAt":"2031-05-05T07:13:09.123Z"}"#)
        #expect(SessionDocument.relayToken(relay, .failed) == nil)
        relay.authentication = .none
        #expect(SessionDocument.relayToken(relay, .notNeeded) == #"{"authMode":"none"}"#)
    }

    @Test func tokensAreSigned() throws {
        var relay = GatewaySettings.RelaySettings(baseURL: "https://r", authentication: .jwt(secret: Array("key".utf8)))
        relay.audience = "a\"b"
        relay.tokenLifetimeSeconds = 7
        guard case .minted(let minted) = RelayToken.mint(relay, sessionID: "s", origin: .opaque, nowMilliseconds: 1999) else {
            Issue.record("not minted")
            return
        }
        #expect(minted.expiryMilliseconds == 8999)
        let parts = minted.token.split(separator: ".")
        #expect(parts.count == 3 && parts[0] == "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" && parts[2].utf8.count == 43)
        let payload = parts[1].replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        let padded = payload + String(repeating: "=", count: (4 - payload.count % 4) % 4)
        #expect(
            String(decoding: try #require(Data(base64Encoded: padded)), as: UTF8.self)
                == #"{"iat":1,"exp":8,"sid":"s","origin":"null","aud":"a\"b"}"#)
    }

    @Test func tooLongATokenIsNotMinted() {
        let relay = GatewaySettings.RelaySettings(baseURL: "https://r", authentication: .jwt(secret: [1]))
        let longest = 12_288 - #"{"iat":1,"exp":301,"sid":""}"#.utf8.count
        func mint(_ count: Int) -> RelayToken.Outcome {
            RelayToken.mint(relay, sessionID: String(repeating: "s", count: count), origin: nil, nowMilliseconds: 1000)
        }
        #expect(mint(longest) != .failed)
        #expect(mint(longest + 1) == .failed)
    }

    @Test func publishedTokens() throws {
        let entries = try Vectors.list("auth-tokens.json", "jwtTokens", "vectors", atLeast: 44).filter {
            $0.boolean("expectError") != true
        }
        for entry in entries {
            let claims = RelayToken.Claims(
                issuedAt: try #require(entry.integer("iat")), expiry: try #require(entry.integer("exp")),
                sessionID: try #require(entry.string("sid")),
                origin: entry.string("origin"), audience: entry.string("aud") ?? "", issuer: entry.string("iss") ?? "")
            #expect(
                RelayToken.sign(claims, secret: Array(try #require(entry.string("secret")).utf8)) == entry.string("token"),
                "\(entry)")
        }
        for entry in try Vectors.list("observed-gateway.json", "mint", "udpRelay", atLeast: 3) {
            var relay = GatewaySettings.RelaySettings(
                baseURL: "https://r", authentication: .jwt(secret: Array(try #require(entry.string("secret")).utf8)))
            relay.tokenLifetimeSeconds = Int(try #require(entry.integer("ttlSeconds")))
            relay.audience = try #require(entry.string("aud"))
            relay.issuer = try #require(entry.string("iss"))
            let outcome = RelayToken.mint(
                relay, sessionID: try #require(entry.string("sid")), origin: entry.string("origin").flatMap { Origin($0) },
                nowMilliseconds: try #require(entry.integer("nowMs")))
            guard case .minted(let minted) = outcome else { Issue.record("not minted: \(entry)"); continue }
            #expect(minted.token == entry.string("token"))
            #expect(Timestamp.iso8601(milliseconds: minted.expiryMilliseconds) == entry.string("expiresAt"))
        }
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"), (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"), (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (8_640_000_000_000_000, "+275760-09-13T00:00:00.000Z"),
        ] as [(Int64, String)])
    func timestamps(_ milliseconds: Int64, _ expected: String) {
        #expect(Timestamp.iso8601(milliseconds: milliseconds) == expected)
    }

    @Test func timestampsAgreeWithTheCalendar() {
        let format = Date.ISO8601FormatStyle()
        for day in stride(from: Int64(-10_000), to: 60_000, by: 17) {
            // Foundation's dates are fractions in binary, so only whole seconds can be compared exactly.
            let seconds = day * 86_400 + (day * 7919 % 86_400 + 86_400) % 86_400
            let whole = Date(timeIntervalSince1970: Double(seconds)).formatted(format).dropLast()
            #expect(Timestamp.iso8601(milliseconds: seconds * 1000 + 7) == whole + ".007Z")
        }
    }
}
