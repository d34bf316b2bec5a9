// The signature algorithms of RFC 7518 section 3 and RFC 8037 (with the name of RFC 9864) that tokens may carry.

import CCrypto

/// A signature algorithm by its `alg` name. Names compare exactly: `none` in any spelling is no case of this type, so it cannot be
/// configured, let alone accepted.
public enum TokenAlgorithm: String, Sendable, Hashable, CaseIterable {
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"
    case ps256 = "PS256"
    case ps384 = "PS384"
    case ps512 = "PS512"
    case es256 = "ES256"
    case es384 = "ES384"
    case es512 = "ES512"
    case edDSA = "EdDSA"
    case ed25519 = "Ed25519"
    case hs256 = "HS256"
    case hs384 = "HS384"
    case hs512 = "HS512"

    /// The algorithm of a name, exact case; nil for any other. Compared as bytes.
    public init?(name: String) {
        guard let algorithm = Self.allCases.first(where: { $0.rawValue.utf8.elementsEqual(name.utf8) }) else { return nil }
        self = algorithm
    }

    /// Tells algorithms apart where a label stands for each: an enumeration without values is a byte.
    public var number: Int { Int(unsafe unsafeBitCast(self, to: UInt8.self)) }

    /// Whether both ends share a secret.
    public var isSymmetric: Bool { keyKind == .secret }

    /// The kind of key that fits.
    public var keyKind: VerificationKey.Kind {
        switch self {
        case .rs256, .rs384, .rs512, .ps256, .ps384, .ps512: .rsa
        case .es256: .p256
        case .es384: .p384
        case .es512: .p521
        case .edDSA, .ed25519: .ed25519
        case .hs256, .hs384, .hs512: .secret
        }
    }

    /// Shortest secret, bytes: the length of the hash (RFC 7518 section 3.2). 0 for public keys.
    public var minimumSecretBytes: Int {
        switch self {
        case .hs256: 32
        case .hs384: 48
        case .hs512: 64
        default: 0
        }
    }

    /// Scheme and hash as the shim names them.
    var shimCode: Int32 {
        switch self {
        case .rs256: Int32(CRYPTO_SCHEME_PKCS1 | CRYPTO_HASH_256)
        case .rs384: Int32(CRYPTO_SCHEME_PKCS1 | CRYPTO_HASH_384)
        case .rs512: Int32(CRYPTO_SCHEME_PKCS1 | CRYPTO_HASH_512)
        case .ps256: Int32(CRYPTO_SCHEME_PSS | CRYPTO_HASH_256)
        case .ps384: Int32(CRYPTO_SCHEME_PSS | CRYPTO_HASH_384)
        case .ps512: Int32(CRYPTO_SCHEME_PSS | CRYPTO_HASH_512)
        case .es256: Int32(CRYPTO_SCHEME_ECDSA | CRYPTO_HASH_256)
        case .es384: Int32(CRYPTO_SCHEME_ECDSA | CRYPTO_HASH_384)
        case .es512: Int32(CRYPTO_SCHEME_ECDSA | CRYPTO_HASH_512)
        case .edDSA, .ed25519: Int32(CRYPTO_SCHEME_ED25519)
        case .hs256: Int32(CRYPTO_SCHEME_HMAC | CRYPTO_HASH_256)
        case .hs384: Int32(CRYPTO_SCHEME_HMAC | CRYPTO_HASH_384)
        case .hs512: Int32(CRYPTO_SCHEME_HMAC | CRYPTO_HASH_512)
        }
    }
}
