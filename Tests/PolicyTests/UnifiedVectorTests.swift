import Policy
import Testing

/// The unified set of vectors: what the gateway shares with the tunnel and the relay.
@Suite struct UnifiedVectorTests {
    private func object(_ file: String, _ key: String) throws -> [String: Any]? {
        guard let root = try Vectors.load(file) else { return nil }
        guard let found = (root as? [String: Any])?[key] as? [String: Any], found["tokens"] is [String: Any] else {
            throw VectorError.missing(file + "/" + key)
        }
        return found
    }

    private func tokens(_ object: [String: Any]) throws -> [String: [String: Any]] {
        let tokens = try #require(object["tokens"] as? [String: [String: Any]])
        #expect(Set(tokens.keys) == ["valid", "expired", "badSignature"])
        return tokens
    }

    @Test(arguments: ["aero-vectors-v1.json", "aero-vectors-v2.json"]) func sessions(_ file: String) throws {
        guard let set = try object(file, "aero_session") else { return }
        let (secret, now) = (Array(try #require(set.string("secret")).utf8), try #require(set.integer("nowMs")))
        for (name, entry) in try tokens(set) {
            let token = try #require(entry.string("token"))
            let claims = try #require(entry["claims"] as? [String: Any])
            let (session, expiry) = (try #require(claims.string("sid")), try #require(claims.integer("exp")))
            let verified = SessionToken.verify(token, secret: secret, nowMilliseconds: now)
            #expect(verified?.sessionID == (name == "valid" ? session : nil), "\(name)")
            let minted = SessionToken.mint(sessionID: session, expirySeconds: expiry, secret: secret)
            #expect((minted == token) == (name != "badSignature"), "\(name)")
            if name == "valid" { #expect(expiry == now / 1000 + (try #require(set.integer("ttlSeconds")))) }
            if name == "expired" {
                #expect(SessionToken.verify(token, secret: secret, nowMilliseconds: expiry * 1000 - 1)?.sessionID == session)
            }
        }
    }

    @Test(arguments: ["aero-vectors-v1.json", "aero-vectors-v2.json"]) func relayTokens(_ file: String) throws {
        guard let set = try object(file, "aero-udp-relay-jwt-hs256") else { return }
        let secret = Array(try #require(set.string("secret")).utf8)
        for (name, entry) in try tokens(set) {
            let claims = try #require(entry["claims"] as? [String: Any])
            let minted = RelayToken.sign(
                RelayToken.Claims(
                    issuedAt: try #require(claims.integer("iat")), expiry: try #require(claims.integer("exp")),
                    sessionID: try #require(claims.string("sid")), origin: claims.string("origin"), audience: claims.string("aud") ?? "",
                    issuer: claims.string("iss") ?? ""), secret: secret)
            #expect((minted == entry.string("token")) == (name != "badSignature"), "\(name)")
        }
    }
}
