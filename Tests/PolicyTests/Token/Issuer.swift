import CCrypto
import Foundation
import Policy
import Signing
import Wire

/// A private key of a test issuer, made once per run.
final class IssuerKey: @unchecked Sendable {
    private let key: OpaquePointer
    /// Bytes of a coordinate, 0 for other keys.
    let width: Int

    init(_ type: String, bits: Int = 0, curve: String = "", width: Int = 0) {
        guard let key = signing_key_make(type, Int32(bits), curve) else { fatalError("no \(type) key") }
        self.key = key
        self.width = width
    }

    static let rsa = IssuerKey("RSA", bits: 2048)
    static let otherRSA = IssuerKey("RSA", bits: 2048)
    static let weakRSA = IssuerKey("RSA", bits: 1024)
    static let p256 = IssuerKey("EC", curve: "P-256", width: 32)
    static let p384 = IssuerKey("EC", curve: "P-384", width: 48)
    static let p521 = IssuerKey("EC", curve: "P-521", width: 66)
    static let ed25519 = IssuerKey("ED25519")

    private func filled(_ fill: (UnsafeMutablePointer<UInt8>, Int) -> Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in count = buffer.baseAddress.map { fill($0, 4096) } ?? 0 }
    }

    /// The signature in the form of RFC 7518, or DER with `isDER`.
    func sign(_ algorithm: TokenAlgorithm, _ data: [UInt8], salt: Int32 = -1, isDER: Bool = false) -> [UInt8] {
        let signature = filled { signing_sign(key, algorithm.number, salt, isDER ? 0 : width, data, data.count, $0, $1) }
        precondition(!signature.isEmpty)
        return signature
    }

    var publicDER: [UInt8] { filled { signing_public_der(key, $0, $1) } }
    var publicPEM: String { Issuer.pem(publicDER, "PUBLIC KEY") }
    var privatePEM: String { String(decoding: filled { signing_private_pem(key, $0, $1) }, as: UTF8.self) }
    func parameter(_ name: String) -> [UInt8] { filled { signing_parameter(key, name, $0, $1) } }

    /// The public key as a JWK with more members in front.
    func jwk(_ more: String = "") -> String {
        let start = "{" + (more.isEmpty ? "" : more + ",")
        if width > 0 {
            let point = parameter("pub").dropFirst()
            let curve = [32: "P-256", 48: "P-384", 66: "P-521"][width] ?? ""
            let (x, y) = (Issuer.base64URL(Array(point.prefix(width))), Issuer.base64URL(Array(point.suffix(width))))
            return start + #""kty":"EC","crv":"\#(curve)","x":"\#(x)","y":"\#(y)"}"#
        }
        let modulus = parameter("n")
        if modulus.isEmpty { return start + #""kty":"OKP","crv":"Ed25519","x":"\#(Issuer.base64URL(parameter("pub")))"}"# }
        return start + #""kty":"RSA","n":"\#(Issuer.base64URL(modulus))","e":"\#(Issuer.base64URL(parameter("e")))"}"#
    }
}

extension TokenAlgorithm {
    /// As the C sources number it.
    var number: Int32 {
        let hash = Int32(rawValue.hasSuffix("512") ? CRYPTO_HASH_512 : rawValue.hasSuffix("384") ? CRYPTO_HASH_384 : CRYPTO_HASH_256)
        switch rawValue.prefix(2) {
        case "RS": return Int32(CRYPTO_SCHEME_PKCS1) | hash
        case "PS": return Int32(CRYPTO_SCHEME_PSS) | hash
        case "ES": return Int32(CRYPTO_SCHEME_ECDSA) | hash
        case "HS": return Int32(CRYPTO_SCHEME_HMAC) | hash
        default: return Int32(CRYPTO_SCHEME_ED25519)
        }
    }
}

/// A test issuer: what it puts into tokens, and its clock.
enum Issuer {
    static let name = "https://id.example"
    static let audience = "broker"
    static let now: Int64 = 1_700_000_000
    static let nowMilliseconds = now * 1000
    static let secret = Array("a secret of at least sixty-four bytes, as the longest hash demands it.".utf8)

    static let keys: [(id: String, key: IssuerKey)] = [
        ("rsa", .rsa), ("p256", .p256), ("p384", .p384), ("p521", .p521), ("ed", .ed25519),
    ]

    /// The key set it publishes.
    static let keySetJSON = keySetJSON(keys.map { $0.key.jwk(#""kid":"\#($0.id)","use":"sig""#) })

    static func keySetJSON(_ keys: [String]) -> [UInt8] { Array("{\"keys\":[\(keys.joined(separator: ","))]}".utf8) }

    static func keySet(generation: UInt64 = 1) -> KeySet {
        guard let document = try? KeySetDocument(json: keySetJSON) else { fatalError("the test's own key set") }
        return KeySet(generation: generation, entries: document.entries)
    }

    /// A claim that is left out.
    static let absent: String? = nil

    static func bytes(_ base64URL: String) -> [UInt8]? { Base64.decodeURL(Array(base64URL.utf8).span) }

    static func json(_ text: String) -> JSONValue { JSONReader.read(Array(text.utf8).span) ?? .null }

    static let asymmetric = TokenAlgorithm.allCases.filter { !$0.isSymmetric }

    static func provider(_ algorithms: [TokenAlgorithm] = asymmetric) -> TokenProvider {
        TokenProvider(name: "test", issuers: [name], audiences: [audience], algorithms: algorithms)
    }

    /// Claims that are accepted, with members replaced or added by `more`, left out where it is nil; the values are JSON.
    static func claims(_ more: [String: String?] = [:]) -> String {
        var members: [String: String?] = [
            "iss": "\"\(name)\"", "aud": "\"\(audience)\"", "sub": "\"alice\"", "jti": "\"t-1\"", "sid": "\"s-1\"",
            "exp": "\(now + 300)", "iat": "\(now)",
        ]
        members.merge(more) { $1 }
        return "{" + members.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }.sorted().joined(separator: ",") + "}"
    }

    static func base64URL(_ bytes: [UInt8]) -> String {
        Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }

    static func base64URL(_ text: String) -> String { base64URL(Array(text.utf8)) }

    static func pem(_ der: [UInt8], _ label: String) -> String {
        "-----BEGIN \(label)-----\n" + Data(der).base64EncodedString(options: .lineLength64Characters) + "\n-----END \(label)-----\n"
    }

    static func header(_ algorithm: TokenAlgorithm, keyID: String) -> String { #"{"alg":"\#(algorithm.rawValue)","kid":"\#(keyID)"}"# }

    /// `H.P.` and a signature over both.
    static func token(_ header: String, _ claims: String, sign: ([UInt8]) -> [UInt8]) -> String {
        let signed = base64URL(header) + "." + base64URL(claims)
        return signed + "." + base64URL(sign(Array(signed.utf8)))
    }

    static func token(_ algorithm: TokenAlgorithm, _ key: IssuerKey, keyID: String, claims: String = claims()) -> String {
        token(header(algorithm, keyID: keyID), claims) { key.sign(algorithm, $0) }
    }

    /// A good token of the RSA key.
    static func token(claims: String) -> String { token(.rs256, .rsa, keyID: "rsa", claims: claims) }

    static func mac(_ algorithm: TokenAlgorithm, secret: [UInt8], _ data: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
            count = signing_mac(algorithm.number, secret, secret.count, data, data.count, buffer.baseAddress)
        }
    }

    /// What the verifier says about a token.
    static func verify(
        _ token: String, provider: TokenProvider = provider(), keys: KeySet? = nil, at milliseconds: Int64 = nowMilliseconds
    ) -> Result<VerifiedToken, TokenRefusal> {
        let verifier = TokenVerifier(providers: [provider])
        let text = Array(token.utf8)
        do throws(TokenRefusal) {
            let candidate = try verifier.examine(text.span, nowMilliseconds: milliseconds)
            return .success(try verifier.verify(candidate, text: text.span, keys: keys ?? keySet(), nowMilliseconds: milliseconds))
        } catch {
            return .failure(error)
        }
    }

    /// Why a token is refused; nil when it is accepted.
    static func refusal(
        _ token: String, provider: TokenProvider = provider(), keys: KeySet? = nil, at milliseconds: Int64 = nowMilliseconds
    ) -> TokenRefusal? {
        if case .failure(let refusal) = verify(token, provider: provider, keys: keys, at: milliseconds) { return refusal }
        return nil
    }

    /// A gate with the test's provider and keys.
    static func gate(_ provider: TokenProvider = provider(), perSecond: Int = 10_000, entries: Int = 1000) -> TokenGate {
        var gate = TokenGate(
            providers: [provider], shards: 1, monotonicMilliseconds: 0, verificationsPerSecond: perSecond, cacheEntries: entries)
        gate.replace(keySet: keySet(), provider: 0)
        return gate
    }

    /// What a gate says, `milliseconds` after it was made.
    static func judge(
        _ gate: inout TokenGate, _ token: String, rules: ClaimRules = ClaimRules(), after milliseconds: Int64 = 0
    ) -> TokenGate.Verdict {
        let text = Array(token.utf8)
        return gate.judge(text.span, rules: rules, nowMilliseconds: nowMilliseconds + milliseconds, monotonicMilliseconds: milliseconds)
    }
}
