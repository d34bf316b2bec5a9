import HTTP
import Policy
import Testing

@testable import SessionGateway

/// `/session`: bodies, cookies, refresh.
@Suite struct SessionTests {
    private static let json = "Content-Type: application/json"

    @Test(arguments: [
        ([], "", 201), ([json], "{}", 201), ([json], " {\"origin\":\"x\",\"clientVersion\":\"1\"} ", 201),
        (["Content-Type: Application/JSON ; charset=utf-8"], "{\"a\":[1,{}]}", 201),
        ([json], "null", 400), ([json], "[]", 400), ([json], "\"s\"", 400), ([json], "1", 400), ([json], "true", 400),
        ([json], "", 400), ([json], "{", 400), ([json], "{} {}", 400), ([json], "{a:1}", 400),
        (["Content-Type: text/plain"], "hello", 400), (["Content-Type: text/plain;charset=UTF-8"], "{}", 400),
        (["Content-Type: application/x-www-form-urlencoded"], "a=b", 415), (["Content-Type: multipart/form-data"], "x", 415),
        (["Content-Type:"], "x", 415), ([], "{}", 415), (["Content-Type: application/octet-stream"], "", 201),
    ] as [([String], String, Int)])
    func bodies(_ fields: [String], _ body: String, _ status: Int) throws {
        let response = try GatewayBench().send("POST", "/session", fields, body: body)
        #expect(response.status == status, "\(fields) \(body)")
        #expect(response.value("Cache-Control") == "no-store")
        #expect((response.value("Set-Cookie") != nil) == (status == 201))
        if status == 415 { #expect(response.text == "{\"error\":\"unsupported_media_type\",\"message\":\"Unsupported media type\"}") }
        if status == 400 { #expect(response.text.hasPrefix("{\"error\":\"bad_request\",\"message\":\"")) }
        if status == 400, ["null", "[]", "1", "hello"].contains(body) {
            #expect(response.text.contains("Request body must be a JSON object"))
        }
    }

    @Test func theDocumentAdvertisesTheBasePathWhicheverAliasIsCalled() throws {
        let bench = GatewayBench { $0.http.basePath = "/p" }
        for target in ["/session", "/p/session"] {
            let text = try bench.send("POST", target).text
            for path in ["/p/tcp\"", "/p/tcp-mux\"", "/p/dns-query\"", "/p/dns-json\"", "/p/l2\"", "/p/udp-relay/token\""] {
                #expect(text.contains(path))
            }
            #expect(!text.contains("udpRelay\":{"))
        }
    }

    @Test func theCookieHasItsAttributesInOrder() throws {
        let bench = GatewayBench { $0.session.lifetimeSeconds = 77 }
        for method in ["POST", "GET"] {
            let cookie = try #require(try bench.send(method, "/session").value("Set-Cookie"))
            #expect(cookie.hasPrefix("aero_session=") && cookie.hasSuffix("; Max-Age=77; Path=/; HttpOnly; SameSite=Lax"))
        }
        #expect(try bench.send("GET", "/session").text == "{\"ok\":true}")
    }

    @Test func secureFollowsATrustedProxyOnly() throws {
        for trusts in [false, true] {
            let bench = GatewayBench { $0.http.trustProxy = trusts }
            for (proto, isSecure) in [("https", true), ("HTTPS , http", true), ("http, https", false), ("", false)] {
                let cookie = try #require(
                    try bench.send("POST", "/session", ["X-Forwarded-Proto: \(proto)"]).value("Set-Cookie"))
                #expect(cookie.hasSuffix("; Secure") == (trusts && isSecure), "\(trusts) \(proto)")
            }
        }
    }

    @Test func secureFollowsTheConnection() throws {
        let bench = GatewayBench()
        for isSecure in [false, true] {
            bench.isSecure = isSecure
            for method in ["POST", "GET"] {
                let cookie = try #require(try bench.send(method, "/session").value("Set-Cookie"))
                #expect(cookie.hasSuffix("; Secure") == isSecure, "\(method)")
            }
        }
    }

    private func identifier(_ response: Response, _ bench: GatewayBench) throws -> String {
        let cookie = try #require(response.value("Set-Cookie"))
        let token = String(try #require(cookie.split(separator: ";").first).dropFirst("aero_session=".count))
        let authority = SessionAuthority(bench.settings.session)
        return try #require(authority.session(cookie: token, nowMilliseconds: WallClock.nowMilliseconds)).sessionID
    }

    @Test func aValidCookieKeepsItsSession() throws {
        let bench = GatewayBench()
        let first = try bench.token()
        let authority = SessionAuthority(bench.settings.session)
        let known = try #require(authority.session(cookie: first, nowMilliseconds: WallClock.nowMilliseconds)).sessionID
        func refresh(_ cookies: [String]) throws -> String {
            try identifier(try bench.send("POST", "/session", cookies.map { "Cookie: " + $0 }), bench)
        }
        #expect(try refresh(["aero_session=\(first)"]) == known)
        #expect(try refresh(["other=1; aero_session=\(first)"]) == known)
        #expect(try refresh(["other=1", "aero_session=\(first)"]) == known)
        // The first pair of the name decides.
        #expect(try refresh(["aero_session=bad; aero_session=\(first)"]) != known)
        #expect(try refresh(["aero_session=", "aero_session=\(first)"]) != known)
        #expect(try refresh(["AERO_SESSION=\(first)"]) != known)
        #expect(try refresh(["aero_session=\(first)x"]) != known)
        #expect(try refresh([]) != known)
    }

    // MARK: - Relay tokens

    @Test func relayTokensAreJudgedInOrder() throws {
        let without = GatewayBench()
        #expect(try without.send("POST", "/udp-relay/token").text == "{\"error\":\"not_found\",\"message\":\"UDP relay not configured\"}")
        let bench = GatewayBench {
            $0.relay = GatewaySettings.RelaySettings(baseURL: "wss://relay.test", authentication: .apiKey("key"))
        }
        let origin = "Origin: https://app.test"
        let cookie = "Cookie: aero_session=\(try bench.token())"
        func ask(_ fields: [String]) throws -> (Int, String) {
            let response = try bench.send("POST", "/udp-relay/token", fields)
            return (response.status, response.text)
        }
        #expect(try ask([]) == (403, "{\"error\":\"forbidden\",\"message\":\"Origin header required\"}"))
        #expect(try ask([cookie]) == (403, "{\"error\":\"forbidden\",\"message\":\"Origin header required\"}"))
        #expect(try ask(["Origin: nonsense", cookie]) == (403, "{\"error\":\"forbidden\",\"message\":\"Origin not allowed\"}"))
        #expect(try ask([origin]) == (401, "{\"error\":\"unauthorized\",\"message\":\"Missing or expired session\"}"))
        for _ in 0..<5 {
            let response = try bench.send("POST", "/udp-relay/token", [origin, cookie])
            #expect(response.status == 200 && response.text.hasPrefix("{\"authMode\":\"api_key\",\"token\":\"key\""))
            #expect(response.value("Cache-Control") == "no-store" && response.values("Set-Cookie").isEmpty)
        }
        #expect(try ask([origin, cookie]) == (429, "{\"error\":\"too_many_requests\",\"message\":\"Rate limit exceeded\"}"))
        let document = try bench.send("POST", "/session").text
        #expect(document.contains("\"udpRelay\":{\"baseUrl\":\"wss://relay.test\",\"authMode\":\"api_key\""))
    }

    @Test func aRelayTokenThatCannotBeMintedIsSaid() throws {
        let bench = GatewayBench { settings in
            var relay = GatewaySettings.RelaySettings(baseURL: "wss://relay.test", authentication: .jwt(secret: Array("secret".utf8)))
            relay.audience = String(repeating: "a", count: 20_000)
            settings.relay = relay
        }
        let session = try bench.send("POST", "/session")
        #expect(session.status == 201 && !session.text.contains("udpRelay\":") && session.value("Set-Cookie") != nil)
        #expect(bench.gateway.takeWarning() != nil && bench.gateway.takeWarning() == nil, "said once")
        let answer = try bench.send("POST", "/udp-relay/token", ["Origin: https://app.test", "Cookie: aero_session=\(try bench.token())"])
        #expect(answer.status == 500)
        #expect(answer.text == "{\"error\":\"internal_error\",\"message\":\"Failed to mint UDP relay token\"}")
    }

    @Test func aCookieThatBrowsersDropIsSetAndSaid() throws {
        let bench = GatewayBench { $0.session.sameSite = .none }
        for method in ["POST", "GET"] {
            bench.isSecure = false
            #expect(try bench.send(method, "/session").value("Set-Cookie")?.hasSuffix("SameSite=None") == true)
            #expect(bench.gateway.takeWarning() != nil, "\(method)")
            bench.isSecure = true
            #expect(try bench.send(method, "/session").value("Set-Cookie")?.hasSuffix("SameSite=None; Secure") == true)
            #expect(bench.gateway.takeWarning() == nil, "\(method)")
        }
    }
}
