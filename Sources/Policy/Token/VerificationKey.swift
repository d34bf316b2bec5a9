// A key as the library holds it. Only this file of the module calls the shim's key functions.

import CCrypto
import Wire

/// A key that verifies signatures. Immutable, so shards may share it; the memory of a secret is overwritten at the end.
@safe public final class VerificationKey: Sendable {
    /// What a key is. The raw values are the shim's.
    public enum Kind: Int32, Sendable, Hashable {
        case rsa = 1
        case p256 = 2
        case p384 = 3
        case p521 = 4
        case ed25519 = 5
        case secret = 6
    }

    /// Why there is no key. The raw values are the shim's.
    public enum Problem: Int32, Error, Sendable, Hashable, CaseIterable {
        /// An RSA modulus of less than 2048 or more than 8192 bits, or an even one.
        case size = 1
        /// An RSA exponent that is even, below 3 or beyond 64 bits.
        case exponent = 2
        /// A point that is not on the curve, or of the wrong length.
        case point = 3
        /// A type or curve that is not supported.
        case kind = 4
        /// A private key, where only public ones belong.
        case isPrivate = 5
        /// Not a key.
        case unreadable = 6

        /// For messages to the operator.
        public var text: String {
            switch self {
            case .size: "the RSA modulus must have 2048 to 8192 bits"
            case .exponent: "the RSA exponent must be odd, at least 3 and at most 64 bits long"
            case .point: "the point is not on its curve"
            case .kind: "only RSA, P-256, P-384, P-521 and Ed25519 keys in one PUBLIC KEY block are supported"
            case .isPrivate: "this is a private key; put its public key here"
            case .unreadable: "this is not a PEM PUBLIC KEY block"
            }
        }
    }

    /// The shim's key, which is only read from here on.
    private nonisolated(unsafe) let pointer: OpaquePointer
    /// What the key is.
    public let kind: Kind
    /// Bits of the modulus, the field or the secret.
    public let bits: Int
    /// Equal for equal keys only; for a secret it is a keyed digest that tells nothing.
    public let thumbprint: TokenDigest

    private init(_ made: OpaquePointer?, _ problem: Int32) throws(Problem) {
        guard let made = unsafe made else { throw Problem(rawValue: problem) ?? .unreadable }
        var digest = [UInt8](repeating: 0, count: Digest.macBytes)
        let done = unsafe digest.withUnsafeMutableBufferPointer { unsafe crypto_key_thumbprint(made, $0.baseAddress) }
        guard done == 1, let kind = unsafe Kind(rawValue: crypto_key_kind(made)) else {
            unsafe crypto_key_free(made)
            throw .unreadable
        }
        unsafe pointer = made
        self.kind = kind
        bits = unsafe Int(crypto_key_bits(made))
        thumbprint = TokenDigest(digest)
    }

    deinit { unsafe crypto_key_free(pointer) }

    /// An RSA key of big-endian numbers.
    public convenience init(rsaModulus: [UInt8], exponent: [UInt8]) throws(Problem) {
        var problem: Int32 = 0
        try unsafe self.init(crypto_key_rsa(rsaModulus, rsaModulus.count, exponent, exponent.count, &problem), problem)
    }

    /// A point on P-256, P-384 or P-521, its coordinates at the full width of the field.
    public convenience init(curve: Kind, x: [UInt8], y: [UInt8]) throws(Problem) {
        guard x.count == y.count else { throw .point }
        var problem: Int32 = 0
        try unsafe self.init(crypto_key_ec(curve.rawValue, x, y, x.count, &problem), problem)
    }

    /// An Ed25519 key, 32 bytes.
    public convenience init(ed25519: [UInt8]) throws(Problem) {
        var problem: Int32 = 0
        try unsafe self.init(crypto_key_ed25519(ed25519, ed25519.count, &problem), problem)
    }

    /// A secret. Whether it is long enough depends on the algorithm (`TokenAlgorithm.minimumSecretBytes`).
    public convenience init(secret: [UInt8]) throws(Problem) {
        var problem: Int32 = 0
        try unsafe self.init(crypto_key_secret(secret, secret.count, &problem), problem)
    }

    /// The first block of a PEM text, which must be a `PUBLIC KEY` (RFC 7468 section 13).
    public convenience init(pem: [UInt8]) throws(Problem) {
        var problem: Int32 = 0
        try unsafe self.init(crypto_key_pem(pem, pem.count, &problem), problem)
    }

    /// Whether an RSA exponent is below the recommended 65 537; worth a warning.
    public var hasSmallExponent: Bool { unsafe crypto_key_has_small_exponent(pointer) == 1 }

    /// What a verification costs beside one with RSA of 2048 bits, about 25 µs; measured, rounded. The library has fast code for P-256
    /// and Ed25519 and none for the larger curves.
    var cost: Double {
        switch kind {
        case .rsa: max(1, Double(bits * bits) / (2048 * 2048))
        case .p256, .ed25519, .secret: 1
        case .p384, .p521: 12
        }
    }

    /// Whether the key may be used with an algorithm: the kind fits, and a secret is long enough.
    public func fits(_ algorithm: TokenAlgorithm) -> Bool {
        algorithm.keyKind == kind && bits / 8 >= algorithm.minimumSecretBytes
    }

    /// Whether `signature`, in the form of RFC 7518 section 3, is this key's over `data`. False for anything else, a key that does not
    /// fit and a signature of another length included.
    public func verify(_ algorithm: TokenAlgorithm, data: Span<UInt8>, signature: Span<UInt8>) -> Bool {
        guard fits(algorithm) else { return false }
        return unsafe data.withUnsafeBufferPointer { data in
            unsafe signature.withUnsafeBufferPointer { signature in
                unsafe crypto_verify(
                    pointer, algorithm.shimCode, data.baseAddress, data.count, signature.baseAddress, signature.count) == 1
            }
        }
    }
}
