import Foundation
import Policy
import Testing
import Wire

/// Algorithms, clock and claims: what is accepted, and where acceptance ends.
@Suite struct TokenVerifierTests {
    @Test("published signatures verify, and no bit of them may change", arguments: PublishedSignature.all)
    func published(vector: PublishedSignature) throws {
        let document = try KeySetDocument(json: Array(#"{"keys":[\#(vector.jwk)]}"#.utf8), allowsSecrets: true)
        let key = try #require(document.entries.first).key
        let data = Array((vector.header + "." + vector.payload).utf8)
        let signature = try #require(Issuer.bytes(vector.signature))
        func verify(_ algorithm: TokenAlgorithm, _ data: [UInt8], _ signature: [UInt8]) -> Bool {
            key.verify(algorithm, data: data.span, signature: signature.span)
        }
        #expect(verify(vector.algorithm, data, signature))
        for place in [0, signature.count / 2, signature.count - 1] {
            var changed = signature
            changed[place] ^= 1
            #expect(!verify(vector.algorithm, data, changed))
        }
        #expect(!verify(vector.algorithm, data + [0], signature))
        #expect(!verify(vector.algorithm, data, signature + [0]))
        #expect(!verify(vector.algorithm, data, signature.dropLast()))
        #expect(!verify(vector.algorithm, data, []))
        for other in TokenAlgorithm.allCases where other.number != vector.algorithm.number {
            #expect(!verify(other, data, signature), "\(other)")
        }
    }

    private static let own: [(TokenAlgorithm, IssuerKey, String)] = [
        (.rs256, .rsa, "rsa"), (.rs384, .rsa, "rsa"), (.rs512, .rsa, "rsa"), (.ps256, .rsa, "rsa"), (.ps384, .rsa, "rsa"),
        (.ps512, .rsa, "rsa"), (.es256, .p256, "p256"), (.es384, .p384, "p384"), (.es512, .p521, "p521"), (.edDSA, .ed25519, "ed"),
        (.ed25519, .ed25519, "ed"),
    ]

    @Test("every algorithm with an own key", arguments: own.indices)
    func algorithms(index: Int) throws {
        let (algorithm, key, keyID) = Self.own[index]
        let token = Issuer.token(algorithm, key, keyID: keyID)
        let verified = try Issuer.verify(token).get()
        #expect(verified.algorithm == algorithm && verified.keyID == keyID && verified.subject == "alice" && verified.tokenID == "t-1")
        #expect(verified.issuer == Issuer.name && verified.sessionID == "s-1" && verified.expirySeconds == Double(Issuer.now + 300))
        #expect(verified.document["aud"] == .string(Issuer.audience))
        // The list decides, not the key.
        #expect(Issuer.refusal(token, provider: Issuer.provider(Issuer.asymmetric.filter { $0 != algorithm })) == .algorithmNotAllowed)
        // The same key under PEM.
        let pem = try VerificationKey(pem: Array(key.publicPEM.utf8))
        #expect(Issuer.refusal(token, keys: KeySet(generation: 1, entries: [KeySetEntry(key: pem, keyID: keyID)])) == nil)
    }

    @Test("every HMAC with a secret of the right length", arguments: [TokenAlgorithm.hs256, .hs384, .hs512])
    func secrets(algorithm: TokenAlgorithm) throws {
        for length in [algorithm.minimumSecretBytes - 1, algorithm.minimumSecretBytes] {
            let secret = Array(Issuer.secret.prefix(length))
            let keys = KeySet(generation: 1, entries: [KeySetEntry(key: try VerificationKey(secret: secret), keyID: nil)], isLocal: true)
            let token = Issuer.token(#"{"alg":"\#(algorithm.rawValue)","kid":"any"}"#, Issuer.claims()) {
                Issuer.mac(algorithm, secret: secret, $0)
            }
            let isLongEnough = length == algorithm.minimumSecretBytes
            #expect(Issuer.refusal(token, provider: Issuer.provider([algorithm]), keys: keys) == (isLongEnough ? nil : .keyMismatch))
            #expect(Issuer.refusal(token + "A", provider: Issuer.provider([algorithm]), keys: keys) != nil)
        }
    }

    @Test("exp, nbf and iat hold to the second of leeway")
    func clock() {
        func at(_ seconds: Int64, _ claims: [String: String?]) -> TokenRefusal? {
            Issuer.refusal(Issuer.token(claims: Issuer.claims(claims)), at: seconds * 1000)
        }
        let now = Issuer.now
        let exp: [String: String?] = ["exp": "\(now)", "iat": "\(now - 60)"]
        #expect(at(now + 29, exp) == nil && at(now + 30, exp) == .expired && at(now + 31, exp) == .expired)
        let nbf: [String: String?] = ["nbf": "\(now)", "iat": "\(now - 60)"]
        #expect(at(now - 31, nbf) == .notYet && at(now - 30, nbf) == nil && at(now - 29, nbf) == nil)
        #expect(at(now - 31, [:]) == .issuedInFuture && at(now - 30, [:]) == nil)
        // The time of day is exact to the millisecond.
        let token = Issuer.token(claims: Issuer.claims(exp))
        #expect(Issuer.refusal(token, at: (now + 30) * 1000 - 1) == nil && Issuer.refusal(token, at: (now + 30) * 1000) == .expired)
        var strict = Issuer.provider()
        strict.leewaySeconds = 0
        #expect(Issuer.refusal(token, provider: strict, at: now * 1000 - 1) == nil)
        #expect(Issuer.refusal(token, provider: strict, at: now * 1000) == .expired)
    }

    @Test("unfit times are refused", arguments: [
        ("exp", "\"1700000300\""), ("exp", "1e400"), ("exp", "-1"), ("exp", "null"), ("exp", "true"), ("exp", "[1700000300]"),
        ("exp", "9007199254740994"), ("exp", "1e300"), ("nbf", "\"1\""), ("nbf", "-1e400"), ("iat", "{}"), ("iat", "\"now\""),
    ])
    func unfitTimes(name: String, value: String) {
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims([name: value]))) == .claims)
    }

    @Test("what is required is required, and only that")
    func required() {
        let noExpiry = Issuer.token(claims: Issuer.claims(["exp": Issuer.absent]))
        let noSubject = Issuer.token(claims: Issuer.claims(["sub": Issuer.absent]))
        #expect(Issuer.refusal(noExpiry) == .claims && Issuer.refusal(noSubject) == .subject)
        var lenient = Issuer.provider()
        lenient.requiresExpiry = false
        lenient.requiresSubject = false
        #expect(Issuer.refusal(noExpiry, provider: lenient) == nil && Issuer.refusal(noSubject, provider: lenient) == nil)
        // Unfit is not absent.
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims(["exp": "null"])), provider: lenient) == .claims)
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims(["sub": "\"\""])), provider: lenient) == .subject)
        var typed = Issuer.provider()
        typed.requiresType = true
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims()), provider: typed) == .header)
        for type in ["JWT", "jwt", "at+jwt", "application/AT+JWT", "application/jwt"] {
            let token = Issuer.token(#"{"alg":"RS256","kid":"rsa","typ":"\#(type)"}"#, Issuer.claims()) { IssuerKey.rsa.sign(.rs256, $0) }
            #expect(Issuer.refusal(token, provider: typed) == nil, "\(type)")
        }
        var young = Issuer.provider()
        young.maximumAgeSeconds = 60
        let token = Issuer.token(claims: Issuer.claims())
        #expect(Issuer.refusal(token, provider: young, at: (Issuer.now + 89) * 1000) == nil)
        #expect(Issuer.refusal(token, provider: young, at: (Issuer.now + 90) * 1000) == .tooOld)
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims(["iat": Issuer.absent])), provider: young) == .claims)
    }

    @Test("issuer and audience are any of the list", arguments: [
        ("aud", "\"broker\"", nil), ("aud", "[\"x\",\"broker\"]", nil), ("aud", "\"other\"", nil), ("aud", "[]", TokenRefusal.audience),
        ("aud", "\"brokers\"", .audience), ("aud", "\"BROKER\"", .audience), ("aud", "[\"x\"]", .audience), ("aud", "{\"a\":1}", .audience),
        ("aud", "[\"broker\",1]", .audience), ("aud", "[[\"broker\"]]", .audience), ("aud", "1", .audience), ("aud", "null", .audience),
        ("iss", "\"https://id.example\"", nil), ("iss", "\"https://second.example\"", nil),
        ("iss", "\"https://id.example/\"", .issuer), ("iss", "\"https://ID.example\"", .issuer), ("iss", "1", .issuer),
        ("iss", "[\"https://id.example\"]", .issuer),
    ] as [(String, String, TokenRefusal?)])
    func parties(name: String, value: String, expected: TokenRefusal?) {
        var provider = Issuer.provider()
        provider.issuers.append("https://second.example")
        provider.audiences.append("other")
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims([name: value])), provider: provider) == expected)
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims([name: Issuer.absent])), provider: provider) != nil)
    }

    @Test("subjects", arguments: [
        ("\"a\"", true), ("\"auth0|123\"", true), ("\"\(String(repeating: "x", count: 255))\"", true),
        ("\"\(String(repeating: "x", count: 256))\"", false), ("\"\"", false), ("\"a\\u0000\"", false), ("\"a\\nb\"", false),
        ("\"a\\u007f\"", false), ("\"a\\u0085\"", false), ("5", false), ("null", false), ("[\"a\"]", false),
    ])
    func subjects(value: String, isGood: Bool) {
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims(["sub": value]))) == (isGood ? nil : .subject))
    }

    @Test("the provider is chosen by the issuer, and its own rules count")
    func providers() throws {
        let second = IssuerKey.otherRSA
        var other = TokenProvider(name: "other", issuers: ["https://other.example"], audiences: ["other"], algorithms: [.ps256])
        other.rules.requiredScopes = ["mqtt"]
        let verifier = TokenVerifier(providers: [Issuer.provider(), other])
        let otherKeys = KeySet(
            generation: 1, entries: try KeySetDocument(json: Array("{\"keys\":[\(second.jwk(#""kid":"rsa""#))]}".utf8)).entries)
        func verify(_ token: String, among: [Int]? = nil) -> TokenRefusal? {
            let text = Array(token.utf8)
            do throws(TokenRefusal) {
                let candidate = try verifier.examine(text.span, among: among, nowMilliseconds: Issuer.nowMilliseconds)
                let keys = candidate.provider == 0 ? Issuer.keySet() : otherKeys
                let token = try verifier.verify(candidate, text: text.span, keys: keys, nowMilliseconds: Issuer.nowMilliseconds)
                #expect(token.provider == candidate.provider)
                return nil
            } catch {
                return error
            }
        }
        let claims = ["iss": "\"https://other.example\"", "aud": "\"other\"", "scope": "\"read mqtt\""]
        let good = Issuer.token(.ps256, second, keyID: "rsa", claims: Issuer.claims(claims))
        #expect(verify(good) == nil && verify(good, among: [1]) == nil && verify(good, among: [0]) == .issuer)
        #expect(verify(Issuer.token(claims: Issuer.claims())) == nil)
        // An algorithm of one provider is not another's; nor are its keys.
        #expect(verify(Issuer.token(.rs256, second, keyID: "rsa", claims: Issuer.claims(claims))) == .algorithmNotAllowed)
        #expect(verify(Issuer.token(.ps256, .rsa, keyID: "rsa", claims: Issuer.claims(claims))) == .signature)
        let poor = claims.merging(["scope": "\"read\""]) { $1 }
        #expect(verify(Issuer.token(.ps256, second, keyID: "rsa", claims: Issuer.claims(poor))) == .scope)
    }

    @Test("a provider that cannot work says so")
    func problems() {
        #expect(Issuer.provider().problems.isEmpty)
        var provider = TokenProvider(name: "p", algorithms: [.rs256, .hs256])
        provider.leewaySeconds = 301
        #expect(provider.problems.count == 4)
        provider.allowsAnyIssuer = true
        provider.allowsAnyAudience = true
        provider.leewaySeconds = 300
        provider.algorithms = []
        #expect(provider.problems.count == 1)
        #expect(TokenAlgorithm(name: "none") == nil && TokenAlgorithm(name: "rs256") == nil && TokenAlgorithm(name: "RS256") == .rs256)
    }
}
