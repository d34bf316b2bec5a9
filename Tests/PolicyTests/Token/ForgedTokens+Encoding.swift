import Policy

extension Forgery {
    private static let good = Issuer.token(claims: Issuer.claims())
    private static let parts = good.split(separator: ".").map(String.init)

    private static func joined(_ header: String? = nil, _ payload: String? = nil, _ signature: String? = nil) -> String {
        [header ?? parts[0], payload ?? parts[1], signature ?? parts[2]].joined(separator: ".")
    }

    private static func signed(_ header: [UInt8], _ payload: [UInt8]) -> String {
        let text = Issuer.base64URL(header) + "." + Issuer.base64URL(payload)
        return text + "." + Issuer.base64URL(IssuerKey.rsa.sign(.rs256, Array(text.utf8)))
    }

    private static let rsaHeader = Array(#"{"alg":"RS256","kid":"rsa"}"#.utf8)

    /// Signs parts that were encoded by hand.
    private static func signed(encodedHeader: String, encodedPayload: String) -> String {
        let text = encodedHeader + "." + encodedPayload
        return text + "." + Issuer.base64URL(IssuerKey.rsa.sign(.rs256, Array(text.utf8)))
    }

    // MARK: Encodings

    /// A header of a length whose encoding has unused bits, which are then set.
    private static let unusedBits: String = {
        let header = #"{"alg":"RS256","kid":"rsa" }"#
        let encoded = Issuer.base64URL(header)
        precondition(encoded.utf8.count % 4 == 2)
        // The last character stands for two bits of the byte and four unused ones.
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        let last = encoded.last.flatMap { alphabet.firstIndex(of: $0) } ?? 0
        return String(encoded.dropLast()) + String(alphabet[last | 1])
    }()

    static let encodings: [ForgedToken] = [
        ForgedToken("padding after the header", signed(encodedHeader: Issuer.base64URL(#"{"alg":"RS256","kid":"rsa" }"#) + "==",
                                                       encodedPayload: parts[1]), "malformed"),
        ForgedToken("padding after the signature", good + "==", "malformed"),
        ForgedToken("unused bits of the header", signed(encodedHeader: unusedBits, encodedPayload: parts[1]), "malformed"),
        ForgedToken("unused bits of the signature", joined(nil, nil, String(parts[2].dropLast()) + (parts[2].hasSuffix("B") ? "C" : "B"))),
        ForgedToken("the alphabet of base64", joined(nil, nil, "+/" + parts[2].dropFirst(2)), "malformed"),
        ForgedToken("one character too many", signed(encodedHeader: Issuer.base64URL(#"{"alg":"RS256","kid":"rsa"}"#) + "A",
                                                     encodedPayload: parts[1]), "malformed"),
        ForgedToken("a line break inside", joined(nil, parts[1].prefix(8) + "\n" + parts[1].dropFirst(8)), "malformed"),
        ForgedToken("a blank in front", " " + good, "malformed"),
        ForgedToken("a blank behind", good + " ", "malformed"),
        ForgedToken("a NUL behind", good + "\0", "malformed"),
        ForgedToken("percent coding", joined(nil, parts[1].prefix(8) + "%41" + parts[1].dropFirst(8)), "malformed"),
        ForgedToken("letters beyond ASCII", joined("é" + parts[0]), "malformed"),
        ForgedToken("Bearer in front", "Bearer " + good, "malformed"),
        ForgedToken("header not UTF-8", signed([0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D], Array(Issuer.claims().utf8)), "malformed"),
        ForgedToken("payload not UTF-8", signed(rsaHeader, Array(#"{"sub":""#.utf8) + [0xC0, 0x80, 0x22, 0x7D]), "malformed"),
        ForgedToken("payload of UTF-16", signed(rsaHeader, Issuer.claims().utf16.flatMap { [UInt8($0 >> 8), UInt8($0 & 255)] }),
            "malformed"),
        ForgedToken("a byte order mark", signed(rsaHeader, [0xEF, 0xBB, 0xBF] + Array(Issuer.claims().utf8)), "malformed"),
    ]

    // MARK: Shapes

    static let shapes: [ForgedToken] = {
        let deepHeader = #"{"alg":"RS256","kid":"rsa","x":[[[[1]]]]}"#
        let nested = String(repeating: "[", count: 16) + String(repeating: "]", count: 16)
        let veryDeep = String(repeating: "[", count: 5000) + String(repeating: "]", count: 5000)
        let long = String(repeating: "a", count: 17_000)
        func claimed(_ claims: String) -> String { signed(rsaHeader, Array(claims.utf8)) }
        func headed(_ header: String) -> String { signed(Array(header.utf8), Array(Issuer.claims().utf8)) }
        var lax = Issuer.provider()
        lax.maximumTokenBytes = TokenLimits.tokenBytesMaximum
        return [
            ForgedToken("nothing", "", "malformed"), ForgedToken("dots", "..", "malformed"), ForgedToken("one part", parts[0], "malformed"),
            ForgedToken("two parts", parts[0] + "." + parts[1], "malformed"), ForgedToken("four parts", good + ".x", "malformed"),
            ForgedToken("five parts", good + ".x.y", "encrypted"), ForgedToken("five parts, the second empty", "a..b.c.d", "encrypted"),
            ForgedToken("six parts", good + ".x.y.z", "malformed"), ForgedToken("no header", joined(""), "malformed"),
            ForgedToken("no payload", joined(nil, ""), "malformed"), ForgedToken("a dot behind", good + ".", "malformed"),
            ForgedToken("a dot in front", "." + good, "malformed"),
            ForgedToken("parts exchanged", [parts[1], parts[0], parts[2]].joined(separator: "."), "alg_not_allowed"),
            ForgedToken(
                "JSON serialisation", #"{"payload":"\#(parts[1])","protected":"\#(parts[0])","signature":"\#(parts[2])"}"#, "malformed"),
            ForgedToken("header a list", headed("[]"), "malformed"), ForgedToken("header a text", headed("\"RS256\""), "malformed"),
            ForgedToken("two values in the header", headed(#"{"alg":"RS256","kid":"rsa"}{}"#), "malformed"),
            ForgedToken("a comment in the header", headed(#"{"alg":"RS256",/*x*/"kid":"rsa"}"#), "malformed"),
            ForgedToken("a comma too many", headed(#"{"alg":"RS256","kid":"rsa",}"#), "malformed"),
            ForgedToken("header too deep", headed(deepHeader), "malformed"),
            ForgedToken("header too long", headed(#"{"alg":"RS256","kid":"rsa","x":"\#(long.prefix(4096))"}"#), "malformed"),
            ForgedToken("payload a list", claimed("[1]"), "malformed"), ForgedToken("payload null", claimed("null"), "malformed"),
            ForgedToken("payload too deep", claimed(Issuer.claims(["x": nested])), "malformed"),
            ForgedToken("payload very deep", claimed(Issuer.claims(["x": veryDeep])), "malformed"),
            ForgedToken("payload very deep where tokens may be long", claimed(Issuer.claims(["x": veryDeep])), "malformed")
                .with(lax, Issuer.keySet()),
            ForgedToken("token too long", claimed(Issuer.claims(["x": "\"\(long)\""])), "malformed"),
            ForgedToken("payload too long where tokens may be", claimed(Issuer.claims(["x": "\"\(long)\""])), "malformed")
                .with(lax, Issuer.keySet()),
            ForgedToken("a megabyte", String(repeating: "A", count: 1_000_000), "malformed"),
            ForgedToken("a megabyte of dots", String(repeating: ".", count: 1_000_000), "malformed"),
        ]
    }()

    // MARK: Signatures

    static let signatures: [ForgedToken] = {
        func es256(_ change: @escaping ([UInt8]) -> [UInt8]) -> String {
            Issuer.token(Issuer.header(.es256, keyID: "p256"), Issuer.claims()) { change(IssuerKey.p256.sign(.es256, $0)) }
        }
        func rs256(_ change: @escaping ([UInt8]) -> [UInt8]) -> String {
            Issuer.token(Issuer.header(.rs256, keyID: "rsa"), Issuer.claims()) { change(IssuerKey.rsa.sign(.rs256, $0)) }
        }
        func ed(_ change: @escaping ([UInt8]) -> [UInt8]) -> String {
            Issuer.token(Issuer.header(.edDSA, keyID: "ed"), Issuer.claims()) { change(IssuerKey.ed25519.sign(.edDSA, $0)) }
        }
        // The order of P-256 (FIPS 186-4 D.1.2.3).
        let order = Issuer.bytes("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE") ?? []
        let zero = [UInt8](repeating: 0, count: 32)
        let one = [UInt8](repeating: 0, count: 31) + [1]
        return [
            ForgedToken("ECDSA in DER", Issuer.token(Issuer.header(.es256, keyID: "p256"), Issuer.claims()) {
                IssuerKey.p256.sign(.es256, $0, isDER: true)
            }, "signature"),
            ForgedToken("r zero", es256 { zero + $0.suffix(32) }, "signature"),
            ForgedToken("s zero", es256 { $0.prefix(32) + zero }, "signature"),
            ForgedToken("r the order", es256 { order + $0.suffix(32) }, "signature"),
            ForgedToken("s the order", es256 { $0.prefix(32) + order }, "signature"),
            ForgedToken("r and s the order", es256 { _ in order + order }, "signature"),
            ForgedToken("r and s one", es256 { _ in one + one }, "signature"),
            ForgedToken("r beyond the order", es256 { [UInt8](repeating: 255, count: 32) + $0.suffix(32) }, "signature"),
            ForgedToken("r and s exchanged", es256 { Array($0.suffix(32) + $0.prefix(32)) }, "signature"),
            ForgedToken("ECDSA with a byte more", es256 { $0 + [0] }, "signature"),
            ForgedToken("ECDSA with a byte less", es256 { Array($0.dropLast()) }, "signature"),
            ForgedToken(
                "ECDSA at the width of P-384", es256 { Array(zero[..<16] + $0.prefix(32) + zero[..<16] + $0.suffix(32)) }, "signature"),
            ForgedToken("RSA with a byte more", rs256 { $0 + [0] }, "signature"),
            ForgedToken("RSA with a zero in front", rs256 { [0] + $0 }, "signature"),
            ForgedToken("RSA with a byte less", rs256 { Array($0.dropLast()) }, "signature"),
            ForgedToken("RSA of one", rs256 { _ in [UInt8](repeating: 0, count: 255) + [1] }, "signature"),
            ForgedToken("RSA of the modulus", rs256 { _ in IssuerKey.rsa.parameter("n") }, "signature"),
            ForgedToken("RSA of 64 KiB", rs256 { _ in [UInt8](repeating: 7, count: 65_536) }, "malformed"),
            ForgedToken("RSA truncated to a hash", rs256 { Array($0.prefix(32)) }, "signature"),
            ForgedToken("PSS with an empty salt", Issuer.token(Issuer.header(.ps256, keyID: "rsa"), Issuer.claims()) {
                IssuerKey.rsa.sign(.ps256, $0, salt: 0)
            }, "signature"),
            ForgedToken("PSS with a long salt", Issuer.token(Issuer.header(.ps256, keyID: "rsa"), Issuer.claims()) {
                IssuerKey.rsa.sign(.ps256, $0, salt: 64)
            }, "signature"),
            ForgedToken("Ed25519 with a byte more", ed { $0 + [0] }, "signature"),
            ForgedToken("Ed25519 with half", ed { Array($0.prefix(32)) }, "signature"),
            ForgedToken("Ed25519 with s beyond the order", ed { $0.prefix(32) + [UInt8](repeating: 255, count: 32) }, "signature"),
            ForgedToken("claims changed after signing", joined(nil, Issuer.base64URL(Issuer.claims(["sub": "\"root\""]))), "signature"),
            ForgedToken("header changed after signing", joined(Issuer.base64URL(#"{"kid":"rsa","alg":"RS256"}"#)), "signature"),
            ForgedToken("signature of another token", joined(nil, nil, Issuer.token(claims: Issuer.claims(["sub": "\"bob\""]))
                .split(separator: ".").map(String.init)[2]), "signature"),
            ForgedToken("signature over the decoded parts", Issuer.token(Issuer.header(.rs256, keyID: "rsa"), Issuer.claims()) { _ in
                IssuerKey.rsa.sign(.rs256, Array((Issuer.header(.rs256, keyID: "rsa") + "." + Issuer.claims()).utf8))
            }, "signature"),
            ForgedToken("signature over the payload alone", Issuer.token(Issuer.header(.rs256, keyID: "rsa"), Issuer.claims()) { _ in
                IssuerKey.rsa.sign(.rs256, Array(parts[1].utf8))
            }, "signature"),
        ]
    }()

    // MARK: Keys that no set may hold

    static let weakKeys: [ForgedToken] = {
        func published(_ name: String, _ jwk: String, _ token: String, _ code: String = "kid_unknown", more: String = "") -> ForgedToken {
            let json = Issuer.keySetJSON([jwk])
            let entries = (try? KeySetDocument(json: json))?.entries ?? []
            return ForgedToken(name, token, code).with(Issuer.provider(TokenAlgorithm.allCases), KeySet(generation: 1, entries: entries))
        }
        let modulus = Issuer.base64URL(IssuerKey.rsa.parameter("n"))
        func rsa(_ exponent: [UInt8]) -> String { #"{"kid":"rsa","kty":"RSA","n":"\#(modulus)","e":"\#(Issuer.base64URL(exponent))"}"# }
        let ones = Issuer.token(Issuer.header(.rs256, keyID: "rsa"), Issuer.claims()) { _ in [UInt8](repeating: 0, count: 255) + [1] }
        let secret = Issuer.token(Issuer.header(.hs256, keyID: "rsa"), Issuer.claims()) { Issuer.mac(.hs256, secret: Issuer.secret, $0) }
        let point = IssuerKey.p256.parameter("pub")
        let (x, y) = (Issuer.base64URL(Array(point[1..<33])), Issuer.base64URL(Array(point[33...])))
        let es256 = Issuer.token(.es256, .p256, keyID: "p256")
        func ec(_ curve: String, _ x: String, _ y: String) -> String {
            #"{"kid":"p256","kty":"EC","crv":"\#(curve)","x":"\#(x)","y":"\#(y)"}"#
        }
        let zero = Issuer.base64URL([UInt8](repeating: 0, count: 32))
        return [
            published("RSA of 1024 bits", IssuerKey.weakRSA.jwk(#""kid":"rsa""#), Issuer.token(.rs256, .weakRSA, keyID: "rsa")),
            published("an even exponent", rsa([2]), ones), published("the exponent one", rsa([1]), ones),
            published("the exponent zero", rsa([0]), ones),
            published("an exponent of 72 bits", rsa([1, 0, 0, 0, 0, 0, 0, 0, 1]), good),
            published("a secret from the network", #"{"kid":"rsa","kty":"oct","k":"\#(Issuer.base64URL(Issuer.secret))"}"#, secret),
            published("a private key", #"{"d":"AQAB","# + IssuerKey.rsa.jwk(#""kid":"rsa""#).dropFirst(), good),
            published("a key for encryption", IssuerKey.rsa.jwk(#""kid":"rsa","use":"enc""#), good, "key_mismatch"),
            published("a key that only signs", IssuerKey.rsa.jwk(#""kid":"rsa","key_ops":["sign"]"#), good, "key_mismatch"),
            published("a key for RSA-OAEP", IssuerKey.rsa.jwk(#""kid":"rsa","alg":"RSA-OAEP""#), good, "key_mismatch"),
            published("a key for PS256 only", IssuerKey.rsa.jwk(#""kid":"rsa","alg":"PS256""#), good, "key_mismatch"),
            published("a point off the curve", ec("P-256", x, Issuer.base64URL([UInt8](repeating: 1, count: 32))), es256),
            published("the point zero", ec("P-256", zero, zero), es256), published("a short coordinate", ec("P-256", x, "AQ"), es256),
            published("a point of another curve", ec("P-384", x, y), es256), published("an unknown curve", ec("secp256k1", x, y), es256),
            published("a padded number", #"{"kid":"rsa","kty":"RSA","n":"\#(modulus)==","e":"AQAB"}"#, good),
            published("a key without a name", IssuerKey.rsa.jwk(), good),
            published("a name that is a number", IssuerKey.rsa.jwk(#""kid":1"#), good),
        ]
    }()

    // MARK: Claims

    static let claims: [ForgedToken] = [
        ("exp a text", ["exp": "\"1700000300\""], "claims"), ("exp 1e400", ["exp": "1e400"], "claims"), ("exp negative", ["exp": "-1"],
        "claims"),
        ("exp beyond 2^53", ["exp": "9007199254740994"], "claims"), ("exp NaN", ["exp": "NaN"], "malformed"),
        ("exp Infinity", ["exp": "Infinity"], "malformed"), ("exp in hexadecimal", ["exp": "0x7fffffff"], "malformed"),
        ("exp with leading zeros", ["exp": "0001900000000"], "malformed"), ("no exp", ["exp": Issuer.absent], "claims"),
        ("exp long past", ["exp": "1"], "expired"), ("nbf in the future", ["nbf": "1900000000"], "not_yet"),
        ("iat in the future", ["iat": "1900000000", "exp": "1900000300"], "issued_future"), ("iat a text", ["iat": "\"0\""], "claims"),
        ("aud with a number", ["aud": "[\"broker\",1]"], "audience"), ("aud with a null", ["aud": "[\"broker\",null]"], "audience"),
        ("aud an object", ["aud": "{\"broker\":true}"], "audience"), ("aud a prefix", ["aud": "\"brok\""], "audience"),
        ("aud with a NUL", ["aud": "\"broker\\u0000\""], "audience"), ("aud joined", ["aud": "\"x broker\""], "audience"),
        ("no aud", ["aud": Issuer.absent], "audience"), ("no iss", ["iss": Issuer.absent], "issuer"),
        ("iss a list", ["iss": "[\"https://id.example\"]"], "issuer"), ("iss longer", ["iss": "\"https://id.example.evil\""], "issuer"),
        ("iss with a NUL", ["iss": "\"https://id.example\\u0000\""], "issuer"), ("no sub", ["sub": Issuer.absent], "subject"),
        ("sub empty", ["sub": "\"\""], "subject"), ("sub a number", ["sub": "1"], "subject"),
        ("sub with a line break", ["sub": "\"a\\r\\nb\""], "subject"),
        ("sub too long", ["sub": "\"\(String(repeating: "a", count: 256))\""], "subject"), ("jti a number", ["jti": "1"], "claims"),
        ("sid a list", ["sid": "[]"], "claims"),
    ].map { name, changes, code in ForgedToken(name, Issuer.token(claims: Issuer.claims(changes)), code) }
}
