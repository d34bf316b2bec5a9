import Policy
import Testing
import Wire

private let secret = Array("test-jwt-secret".utf8)
private let now: Int64 = 1_700_000_000

private func base64URL(_ bytes: [UInt8]) -> String {
    withUnsafeTemporaryAllocation(byteCount: bytes.count * 2 + 4, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        Base64.encodeURL(bytes.span, to: &writer)
        return String(decoding: buffer[..<writer.count], as: UTF8.self)
    }
}

/// A token with a good signature over any header and payload.
private func signed(_ header: String, _ payload: String) -> String {
    let text = base64URL(Array(header.utf8)) + "." + base64URL(Array(payload.utf8))
    return text + "." + base64URL(Digest.hmacSHA256(key: secret, Array(text.utf8)))
}

private let header = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
private func verify(_ token: String, at seconds: Int64 = now) -> RelayToken.Claims? {
    RelayToken.verify(token, secret: secret, nowSeconds: seconds)
}

@Suite struct RelayTokenTests {
    @Test func whatIsMintedIsVerified() throws {
        let claims = RelayToken.Claims(
            issuedAt: now, expiry: now + 300, sessionID: " s\u{308}\u{1F600}\"", origin: "https://a.b", audience: "aud", issuer: "iss")
        let token = try #require(RelayToken.sign(claims, secret: secret))
        #expect(verify(token) == claims && verify(token, at: now + 299) == claims)
        #expect(verify(token, at: now + 300) == nil)
        #expect(verify(token + "A") == nil && verify("." + token) == nil && verify(token + ".") == nil)
        #expect(RelayToken.verify(token, secret: Array("other".utf8), nowSeconds: now) == nil)
    }

    @Test(arguments: [
        (header, "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", true),
        ("{\"alg\":\"HS256\"}", "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", true),
        (header, "{\"iat\":9999999999,\"exp\":1700000001,\"sid\":\" \"}", true),
        (header, "{\"iat\":1,\"exp\":1700000001,\"nbf\":1700000000,\"sid\":\"s\"}", true),
        (header, "{\"iat\":1,\"exp\":1,\"exp\":1700000001,\"sid\":\"s\",\"x\":null} ", true),
        (header, "{\"iat\":1,\"exp\":1700000001,\"nbf\":1700000001,\"sid\":\"s\"}", false),
        (header, "{\"iat\":1,\"exp\":1700000000,\"sid\":\"s\"}", false), (header, "{\"iat\":1,\"exp\":1700000060.0,\"sid\":\"s\"}", false),
        (header, "{\"iat\":1,\"exp\":\"1700000060\",\"sid\":\"s\"}", false), (header, "{\"iat\":1,\"exp\":17e9,\"sid\":\"s\"}", false),
        (header, "{\"iat\":1,\"exp\":99999999999999999999,\"sid\":\"s\"}", false),
        (header, "{\"exp\":1700000001,\"sid\":\"s\"}", false), (header, "{\"iat\":1,\"sid\":\"s\"}", false),
        (header, "{\"iat\":1,\"exp\":1700000001}", false), (header, "{\"iat\":1,\"exp\":1700000001,\"sid\":\"\"}", false),
        (header, "{\"iat\":1,\"exp\":1700000001,\"sid\":5}", false), (header, "{\"iat\":null,\"exp\":1700000001,\"sid\":\"s\"}", false),
        (header, "{\"iat\":1,\"exp\":1700000001,\"nbf\":null,\"sid\":\"s\"}", false),
        (header, "{\"iat\":1,\"exp\":\"x\",\"exp\":1700000001,\"sid\":\"s\"}", false),
        (header, "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\",\"aud\":[\"a\"]}", false),
        (header, "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\",\"iss\":null}", false),
        (header, "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\",\"origin\":1}", false),
        (header, "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}{}", false), (header, "[]", false), (header, "x", false),
        ("{\"alg\":\"none\"}", "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", false),
        ("{}", "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", false),
        ("{\"alg\":\"hs256\"}", "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", false),
        ("{\"alg\":\"HS256\",\"typ\":null}", "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", false),
        ("{\"alg\":\"HS256\"}x", "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", false),
        ("{\"alg\":\"none\",\"alg\":\"HS256\"}", "{\"iat\":1,\"exp\":1700000001,\"sid\":\"s\"}", false),
    ] as [(String, String, Bool)])
    func signedTokens(_ header: String, _ payload: String, _ accepted: Bool) {
        #expect((verify(signed(header, payload)) != nil) == accepted)
    }

    @Test func lengths() {
        func token(header count: Int, payload: Int) -> String {
            let fixed = "{\"alg\":\"HS256\",\"x\":\"\"}".utf8.count
            let json = "{\"alg\":\"HS256\",\"x\":\"\(String(repeating: "h", count: count * 3 / 4 - fixed))\"}"
            let claims = "{\"iat\":1,\"exp\":1700000001,\"sid\":\"\"}".utf8.count
            return signed(json, "{\"iat\":1,\"exp\":1700000001,\"sid\":\"\(String(repeating: "s", count: payload * 3 / 4 - claims))\"}")
        }
        #expect(verify(token(header: 4096, payload: 16_384)) != nil)
        #expect(verify(token(header: 4100, payload: 1000)) == nil)
        #expect(verify(token(header: 1000, payload: 16_388)) == nil)
    }

    @Test func publishedTokens() throws {
        var accepted = 0
        for entry in try Vectors.list("auth-tokens.json", "jwtTokens", "vectors", atLeast: 44) {
            let token = try #require(entry.string("token"))
            let claims = RelayToken.verify(
                token, secret: Array(try #require(entry.string("secret")).utf8), nowSeconds: try #require(entry.integer("nowSec")))
            let refused = entry.boolean("expectError") ?? false
            #expect((claims == nil) == refused, "\(entry.string("name") ?? "")")
            guard let claims else { continue }
            accepted += 1
            #expect(claims.sessionID == entry.string("sid") && claims.expiry == entry.integer("exp"))
            #expect(claims.issuedAt == entry.integer("iat") && claims.origin == entry.string("origin"))
            #expect(claims.audience == entry.string("aud") ?? "" && claims.issuer == entry.string("iss") ?? "")
        }
        #expect(accepted == 5 || accepted == 0)
    }

    @Test(arguments: ["aero-vectors-v1.json", "aero-vectors-v2.json"])
    func unifiedVectors(_ file: String) throws {
        guard let root = try Vectors.load(file) as? [String: Any] else { return }
        let set = try #require(root["aero-udp-relay-jwt-hs256"] as? [String: Any])
        let secret = Array(try #require(set.string("secret")).utf8)
        let now = try #require(set.integer("nowUnix"))
        let tokens = try #require(set["tokens"] as? [String: [String: Any]])
        #expect(tokens.count == 3)
        for (name, entry) in tokens {
            let claims = RelayToken.verify(try #require(entry.string("token")), secret: secret, nowSeconds: now)
            #expect((claims != nil) == (name == "valid"))
            if let claims { #expect(claims.sessionID == (entry["claims"] as? [String: Any])?.string("sid")) }
        }
    }
}
