import Policy
import Testing

/// A token that nobody may accept, and how it came to be.
struct ForgedToken: Sendable, CustomTestStringConvertible {
    let name: String
    let token: String
    /// The code it is refused with; nil where more than one is right.
    let code: String?
    var provider = Issuer.provider()
    var keys = Issuer.keySet()

    init(_ name: String, _ token: String, _ code: String? = nil) {
        self.name = name
        self.token = token
        self.code = code
    }

    func with(_ provider: TokenProvider, _ keys: KeySet) -> ForgedToken {
        var copy = self
        copy.provider = provider
        copy.keys = keys
        return copy
    }

    var testDescription: String { name }
}

/// Attempts at forging, by kind. Most begin with a token that would be good and change one thing.
enum Forgery {
    static let all = confusion + unsigned + embedded + headers + keyNames + duplicates + encodings + shapes + signatures + weakKeys + claims

    private static let good = Issuer.token(claims: Issuer.claims())
    private static let parts = good.split(separator: ".").map(String.init)

    /// A token with a header of its own over good claims, signed by the issuer's RSA key all the same.
    private static func headed(_ header: String) -> String {
        Issuer.token(header, Issuer.claims()) { IssuerKey.rsa.sign(.rs256, $0) }
    }

    private static func mac(_ algorithm: TokenAlgorithm, _ secret: [UInt8], header: String? = nil) -> String {
        Issuer.token(header ?? Issuer.header(algorithm, keyID: "rsa"), Issuer.claims()) { Issuer.mac(algorithm, secret: secret, $0) }
    }

    /// Both kinds of algorithm in one list, which `problems` forbids; keys are bound to their kind even then.
    private static let careless = Issuer.provider(TokenAlgorithm.allCases)

    // MARK: Algorithm confusion

    static let confusion: [ForgedToken] = {
        let pem = Array(IssuerKey.rsa.publicPEM.utf8)
        let der = IssuerKey.rsa.publicDER
        let modulus = IssuerKey.rsa.parameter("n")
        let jwk = Array(IssuerKey.rsa.jwk().utf8)
        let secrets: [(String, [UInt8])] = [
            ("PEM", pem), ("PEM without its last newline", pem.dropLast()), ("DER", der), ("modulus", modulus),
            ("modulus in base64url", Array(Issuer.base64URL(modulus).utf8)), ("JWK", jwk), ("nothing", []),
            ("EC point", IssuerKey.p256.parameter("pub")), ("EC PEM", Array(IssuerKey.p256.publicPEM.utf8)),
            ("Ed25519 key", IssuerKey.ed25519.parameter("pub")),
        ]
        var forged: [ForgedToken] = []
        for (name, secret) in secrets {
            forged.append(ForgedToken("HS256 with the public key's \(name)", mac(.hs256, secret), "alg_not_allowed"))
            forged.append(ForgedToken("the same where HS256 is listed: \(name)", mac(.hs256, secret), "key_mismatch")
                .with(careless, Issuer.keySet()))
        }
        forged += [TokenAlgorithm.hs384, .hs512].map { algorithm in
            ForgedToken("\(algorithm.rawValue) with the public key's PEM", mac(algorithm, pem), "key_mismatch")
                .with(careless, Issuer.keySet())
        }
        forged += [
            ForgedToken("RS256 signature called PS256", relabelled(.rs256, as: .ps256, .rsa, "rsa"), "signature"),
            ForgedToken("PS256 signature called RS256", relabelled(.ps256, as: .rs256, .rsa, "rsa"), "signature"),
            ForgedToken("RS256 signature called RS512", relabelled(.rs256, as: .rs512, .rsa, "rsa"), "signature"),
            ForgedToken("ES256 called ES384", relabelled(.es256, as: .es384, .p256, "p384"), "signature"),
            ForgedToken("ES256 over the P-384 key", Issuer.token(.es256, .p384, keyID: "p384"), "key_mismatch"),
            ForgedToken("ES384 over the P-256 key", Issuer.token(.es384, .p256, keyID: "p256"), "key_mismatch"),
            ForgedToken("ES512 over the P-256 key", Issuer.token(.es512, .p256, keyID: "p256"), "key_mismatch"),
            ForgedToken("EdDSA under the RSA key's name", Issuer.token(.edDSA, .ed25519, keyID: "rsa"), "key_mismatch"),
            ForgedToken("EdDSA under the P-256 key's name", Issuer.token(.edDSA, .ed25519, keyID: "p256"), "key_mismatch"),
            ForgedToken("RS256 under the Ed25519 key's name", Issuer.token(.rs256, .rsa, keyID: "ed"), "key_mismatch"),
            ForgedToken("RS256 of another key", Issuer.token(.rs256, .otherRSA, keyID: "rsa"), "signature"),
            ForgedToken("ES256K", headed(#"{"alg":"ES256K","kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("rs256 in small letters", headed(#"{"alg":"rs256","kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("RS256 with a blank", headed(#"{"alg":"RS256 ","kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("RS256 with a NUL", headed(#"{"alg":"RS256\u0000","kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("alg a list", headed(#"{"alg":["RS256"],"kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("alg a number", headed(#"{"alg":256,"kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("alg null", headed(#"{"alg":null,"kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("no alg", headed(#"{"kid":"rsa"}"#), "alg_not_allowed"),
            ForgedToken("alg outside the list", Issuer.token(.rs512, .rsa, keyID: "rsa"), "alg_not_allowed")
                .with(Issuer.provider([.rs256]), Issuer.keySet()),
        ]
        return forged
    }()

    private static func relabelled(_ real: TokenAlgorithm, as shown: TokenAlgorithm, _ key: IssuerKey, _ keyID: String) -> String {
        Issuer.token(Issuer.header(shown, keyID: keyID), Issuer.claims()) { key.sign(real, $0) }
    }

    // MARK: No signature

    static let unsigned: [ForgedToken] = {
        let spellings = ["none", "None", "NONE", "nOnE", "none ", " none", "no\\u006ee", "NoNe", "", "none\\u0000"]
        let labelled = spellings.flatMap { spelling in
            let header = #"{"alg":"\#(spelling)","kid":"rsa"}"#
            let text = Issuer.base64URL(header) + "." + Issuer.base64URL(Issuer.claims())
            return [
                ForgedToken("alg '\(spelling)' without signature", text + ".", "malformed"),
                ForgedToken("alg '\(spelling)' with a signature", text + "." + parts[2], "alg_not_allowed"),
            ]
        }
        let text = parts[0] + "." + parts[1] + "."
        return labelled + [
            ForgedToken("RS256 without signature", text, "malformed"),
            ForgedToken("RS256 with an empty JSON object for signature", text + Issuer.base64URL("{}"), "signature"),
            ForgedToken("RS256 with zeros", text + Issuer.base64URL([UInt8](repeating: 0, count: 256)), "signature"),
            ForgedToken("EdDSA with zeros", zeroed(.edDSA, "ed", 64), "signature"),
            ForgedToken("ES256 with r and s zero", zeroed(.es256, "p256", 64), "signature"),
            ForgedToken("ES384 with r and s zero", zeroed(.es384, "p384", 96), "signature"),
            ForgedToken("ES512 with r and s zero", zeroed(.es512, "p521", 132), "signature"),
        ]
    }()

    private static func zeroed(_ algorithm: TokenAlgorithm, _ keyID: String, _ count: Int) -> String {
        Issuer.token(Issuer.header(algorithm, keyID: keyID), Issuer.claims()) { _ in [UInt8](repeating: 0, count: count) }
    }

    // MARK: Keys of the forger's own

    static let embedded: [ForgedToken] = {
        let own = IssuerKey.otherRSA
        let jwk = own.jwk(#""kid":"rsa""#)
        let certificate = Issuer.base64URL(own.publicDER)
        let headers = [
            ("jwk", #""kid":"rsa","jwk":\#(jwk)"#), ("jwk under an unknown name", #""kid":"mine","jwk":\#(jwk)"#),
            ("jwk alone", #""jwk":\#(jwk)"#),
            ("jku", #""kid":"rsa","jku":"https://evil.example/keys""#), ("x5u", #""kid":"rsa","x5u":"https://evil.example/c""#),
            ("x5c", #""kid":"rsa","x5c":["\#(certificate)"]"#), ("x5t", #""kid":"rsa","x5t":"AAAA""#),
            ("pem", #""kid":"rsa","pem":"AAAA""#),
        ]
        return headers.map { name, members in
            let token = Issuer.token("{\"alg\":\"RS256\",\(members)}", Issuer.claims()) { own.sign(.rs256, $0) }
            return ForgedToken("a key in the header: \(name)", token)
        }
    }()

    // MARK: Header parameters

    static let headers: [ForgedToken] = [
        ("crit", #""crit":["exp"]"#), ("crit empty", #""crit":[]"#), ("crit null", #""crit":null"#),
        ("crit of b64", #""crit":["b64"],"b64":true"#),
        ("b64 false", #""b64":false"#), ("b64 a text", #""b64":"false""#), ("b64 null", #""b64":null"#),
        ("typ of a logout", #""typ":"logout+jwt""#),
        ("typ of a DPoP proof", #""typ":"dpop+jwt""#), ("typ JWS", #""typ":"JOSE""#), ("typ a list", #""typ":["JWT"]"#),
        ("typ null", #""typ":null"#),
        ("typ with a blank", #""typ":"JWT ""#), ("typ of a security event", #""typ":"secevent+jwt""#), ("kid a number", #""kid":1"#),
    ].map { name, member in
        let rest = member.contains("\"kid\"") ? "" : #","kid":"rsa""#
        return ForgedToken(name, headed("{\"alg\":\"RS256\",\(member)\(rest)}"), "header")
    }

    // MARK: Names of keys

    static let keyNames: [ForgedToken] = [
        ("a path", #"../../../../dev/null"#), ("an absolute path", "/proc/self/environ"), ("SQL", "rsa' OR '1'='1"),
        ("a union", "x' UNION SELECT 'AA';--"), ("a NUL", #"rsa\u0000"#), ("a NUL in front", #"\u0000rsa"#), ("nothing", ""),
        ("blanks", "rsa "),
        ("another case", "RSA"), ("a URL", "https://evil.example/keys#rsa"), ("a shell", "rsa|whoami"), ("a line break", #"rsa\r\n"#),
        ("256 letters", String(repeating: "r", count: 256)), ("257 letters", String(repeating: "r", count: 257)),
        ("2,000 letters", String(repeating: "r", count: 2000)), ("a letter that only looks like it", "r\u{455}a"),
        ("an accent", "rsa\u{301}"),
    ].map { name, keyID in
        ForgedToken("kid: \(name)", headed(#"{"alg":"RS256","kid":"\#(keyID)"}"#), "kid_unknown")
    } + [
        ForgedToken("kid missing", headed(#"{"alg":"RS256"}"#), "kid_missing"),
        ForgedToken("kid null", headed(#"{"alg":"RS256","kid":null}"#), "header"),
        ForgedToken("kid a list", headed(#"{"alg":"RS256","kid":["rsa"]}"#), "header"),
        ForgedToken("kid an object", headed(#"{"alg":"RS256","kid":{"$ne":""}}"#), "header"),
    ]

    // MARK: Duplicate members

    static let duplicates: [ForgedToken] = [
        ForgedToken("alg twice", headed(#"{"alg":"none","alg":"RS256","kid":"rsa"}"#), "malformed"),
        ForgedToken("alg twice, the good one first", headed(#"{"alg":"RS256","kid":"rsa","alg":"none"}"#), "malformed"),
        ForgedToken("alg twice, once escaped", headed(#"{"alg":"RS256","\u0061lg":"HS256","kid":"rsa"}"#), "malformed"),
        ForgedToken("kid twice", headed(#"{"alg":"RS256","kid":"rsa","kid":"ed"}"#), "malformed"),
        ForgedToken("the same alg twice", headed(#"{"alg":"RS256","alg":"RS256","kid":"rsa"}"#), "malformed"),
    ] + ["sub", "exp", "iss", "aud"].map { name in
        let claims = Issuer.claims()
        return ForgedToken("\(name) twice", Issuer.token(claims: "{\"\(name)\":1," + claims.dropFirst()), "malformed")
    } + [
        ForgedToken(
            "a role twice below", Issuer.token(claims: Issuer.claims(["realm_access": #"{"roles":[],"roles":["admin"]}"#])), "malformed"),
    ]
}
