// The keys of a provider at one moment, and which of them a token may be verified with.

/// A key with what its issuer says about it.
public struct KeySetEntry: Sendable {
    /// Which algorithms the issuer means the key for.
    enum Purpose: Sendable, Equatable {
        /// Any that fits.
        case signatures
        /// This one.
        case algorithm(TokenAlgorithm)
        /// Not for signatures, or for an algorithm that is not supported.
        case other
    }

    /// The key.
    public let key: VerificationKey
    /// `kid`; nil when it has none.
    public let keyID: String?
    let purpose: Purpose

    /// A key of the configuration, for any algorithm that fits.
    public init(key: VerificationKey, keyID: String?) {
        self.init(key: key, keyID: keyID, purpose: .signatures)
    }

    init(key: VerificationKey, keyID: String?, purpose: Purpose) {
        self.key = key
        self.keyID = keyID
        self.purpose = purpose
    }

    /// Whether the key verifies tokens of an algorithm.
    func isUsable(for algorithm: TokenAlgorithm) -> Bool {
        guard key.fits(algorithm) else { return false }
        switch purpose {
        case .signatures: return true
        case .algorithm(let own): return own == algorithm
        case .other: return false
        }
    }

    /// Whether the two are the same key under the same name and for the same purpose.
    func isSame(as other: KeySetEntry) -> Bool {
        key.thumbprint == other.key.thumbprint && keyID == other.keyID && purpose == other.purpose
    }
}

/// The keys of a provider. A value that never changes: shards swap the whole.
public struct KeySet: Sendable {
    /// Rises with every change of the provider's keys.
    public let generation: UInt64
    /// The keys, those of the first source first.
    public let entries: [KeySetEntry]
    /// All keys are of the configuration, so that a key without `kid` may stand for any `kid`.
    private let isLocal: Bool
    private let places: [[UInt8]: [Int]]
    private let thumbprints: Set<TokenDigest>

    /// No keys yet.
    public static let empty = KeySet(generation: 0, entries: [])

    /// A set of keys.
    public init(generation: UInt64, entries: [KeySetEntry], isLocal: Bool = false) {
        self.generation = generation
        self.entries = entries
        self.isLocal = isLocal
        var places: [[UInt8]: [Int]] = [:]
        for (index, entry) in entries.enumerated() {
            if let keyID = entry.keyID { places[Array(keyID.utf8), default: []].append(index) }
        }
        self.places = places
        thumbprints = Set(entries.map(\.key.thumbprint))
    }

    /// Whether no token can be verified: the set was never loaded, or is too old.
    public var isEmpty: Bool { entries.isEmpty }

    /// Whether a key with this thumbprint is in the set.
    public func holds(_ thumbprint: TokenDigest) -> Bool { thumbprints.contains(thumbprint) }

    /// Whether a key of this name is in the set.
    func has(_ keyID: String) -> Bool { places[Array(keyID.utf8)] != nil }

    /// The keys that may verify a token, `TokenLimits.candidateKeys` at most.
    func keys(
        _ keyID: String?, _ algorithm: TokenAlgorithm, missing: TokenProvider.MissingKeyID
    ) throws(TokenRefusal) -> [VerificationKey] {
        guard let keyID else {
            guard missing == .single else { throw .keyIDMissing }
            let usable = entries.filter { $0.isUsable(for: algorithm) }
            guard usable.count == 1 else { throw .keyIDMissing }
            return [usable[0].key]
        }
        guard keyID.utf8.count <= TokenLimits.keyIDBytes else { throw .keyIDUnknown }
        var named = places[Array(keyID.utf8), default: []].map { entries[$0] }
        if named.isEmpty, isLocal { named = entries.filter { $0.keyID == nil } }
        guard !named.isEmpty else { throw .keyIDUnknown }
        let usable = named.filter { $0.isUsable(for: algorithm) }
        guard !usable.isEmpty else { throw .keyMismatch }
        return usable.prefix(TokenLimits.candidateKeys).map(\.key)
    }
}
