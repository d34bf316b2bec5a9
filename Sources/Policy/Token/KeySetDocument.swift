// A JWK set (RFC 7517) as fetched or read from a file.

import Wire

/// What a JWK set holds. Entries that are of no use are skipped and counted, never fatal: issuers publish keys for encryption and for
/// algorithms to come beside those that matter.
public struct KeySetDocument: Sendable {
    /// Why a text is no key set.
    public enum Failure: Error, Sendable, Hashable {
        /// Not a JSON object with a list `keys`.
        case malformed
        /// More than `TokenLimits.keysPerSet` keys.
        case tooManyKeys
    }

    /// The keys that can be used for something.
    public private(set) var entries: [KeySetEntry] = []
    /// Entries of unknown type, with broken numbers, or too weak.
    public private(set) var skippedCount = 0
    /// Entries with private members; skipped, and the issuer's operator should know.
    public private(set) var privateCount = 0

    /// Members of private keys (RFC 7518 sections 6.2.2 and 6.3.2); `k` is a secret itself.
    private static let privateMembers: Set<String> = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]

    /// Reads a set. Secrets (`kty` of `oct`) are read only where `allowsSecrets`, from a file of ours: one that came over the network
    /// would let whoever can change the answer sign tokens with it.
    public init(json: [UInt8], allowsSecrets: Bool = false) throws(Failure) {
        guard json.count <= TokenLimits.fetchBodyBytes,
            let document = JSONReader.read(json.span, depth: TokenLimits.keySetDepth, uniqueNames: true),
            case .array(let keys)? = document["keys"]
        else { throw .malformed }
        guard keys.count <= TokenLimits.keysPerSet else { throw .tooManyKeys }
        for key in keys { add(key, allowsSecrets: allowsSecrets) }
    }

    private mutating func add(_ jwk: JSONValue, allowsSecrets: Bool) {
        guard case .object(let members) = jwk, let type = jwk["kty"]?.string else {
            skippedCount += 1
            return
        }
        let isSecret = type == "oct"
        let isPrivate = members.contains { Self.privateMembers.contains($0.name) && !(isSecret && $0.name == "k") }
        if isPrivate { privateCount += 1 }
        guard !isPrivate, !isSecret || allowsSecrets, jwk["kid"] == nil || jwk["kid"]?.string != nil,
            jwk["kid"]?.string?.utf8.count ?? 0 <= TokenLimits.keyIDBytes, let purpose = Self.purpose(jwk),
            let key = try? Self.key(jwk, type)
        else {
            skippedCount += 1
            return
        }
        entries.append(KeySetEntry(key: key, keyID: jwk["kid"]?.string, purpose: purpose))
    }

    /// What `use`, `key_ops` and `alg` say (RFC 7517 sections 4.2 to 4.4); nil when one has the wrong type.
    private static func purpose(_ jwk: JSONValue) -> KeySetEntry.Purpose? {
        if let use = jwk["use"] {
            guard let use = use.string else { return nil }
            if use != "sig" { return .other }
        }
        if let operations = jwk["key_ops"] {
            guard case .array(let names) = operations else { return nil }
            if !names.contains(.string("verify")) { return .other }
        }
        guard let algorithm = jwk["alg"] else { return .signatures }
        guard let name = algorithm.string else { return nil }
        return TokenAlgorithm(name: name).map { .algorithm($0) } ?? .other
    }

    private static func key(_ jwk: JSONValue, _ type: String) throws(VerificationKey.Problem) -> VerificationKey {
        switch type {
        case "RSA":
            return try VerificationKey(rsaModulus: bytes(jwk, "n"), exponent: bytes(jwk, "e"))
        case "EC":
            let curves: [String: VerificationKey.Kind] = ["P-256": .p256, "P-384": .p384, "P-521": .p521]
            guard let name = jwk["crv"]?.string, let curve = curves[name] else { throw .kind }
            return try VerificationKey(curve: curve, x: bytes(jwk, "x"), y: bytes(jwk, "y"))
        case "OKP":
            guard jwk["crv"]?.string == "Ed25519" else { throw .kind }
            return try VerificationKey(ed25519: bytes(jwk, "x"))
        case "oct":
            return try VerificationKey(secret: bytes(jwk, "k"))
        default:
            throw .kind
        }
    }

    private static func bytes(_ jwk: JSONValue, _ name: String) throws(VerificationKey.Problem) -> [UInt8] {
        guard let text = jwk[name]?.string, let bytes = Base64.decodeURL(Array(text.utf8).span), !bytes.isEmpty else { throw .unreadable }
        return bytes
    }
}
