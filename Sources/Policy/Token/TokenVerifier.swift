// Theory of operation
//
// A stranger's token passes the steps below in this order; each can only refuse it, and what is decoded before the signature is
// trusted for nothing but choosing a provider and refusing.
//
//     text ── length, alphabet, three parts ── header ── algorithm ── crit, b64, typ, kid ── payload ── provider by iss
//          ── exp, nbf, iss, aud (cheap) ── key by kid ── signature over the received bytes ── claims ── the provider's rules
//
// The algorithm comes from the provider's list and the key must be of its kind, so that no header can turn a public key into a secret
// (RFC 8725 sections 3.1 and 3.2). Header parameters that carry or name keys are not read. Steps that depend on a shard's state, which
// are remembered tokens, denials and budgets, are `TokenGate`'s.

import Wire

/// Verifies tokens of the configured providers. A value without state; keys and time come in.
public struct TokenVerifier: Sendable {
    /// The providers, whose place is their name elsewhere.
    public let providers: [TokenProvider]
    private let allAlgorithms: Set<TokenAlgorithm>
    private let allowed: [Set<TokenAlgorithm>]
    private let maximumTokenBytes: Int

    /// A verifier. The providers have no `problems`.
    public init(providers: [TokenProvider]) {
        self.providers = providers
        allowed = providers.map { Set($0.algorithms) }
        allAlgorithms = allowed.reduce([]) { $0.union($1) }
        maximumTokenBytes = providers.map(\.maximumTokenBytes).max() ?? 0
    }

    /// A token that passed steps 1 to 6 and waits for a key.
    public struct Candidate: Sendable {
        /// The provider it claims to come from.
        public let provider: Int
        /// `kid`, for asking the provider's keys.
        public var keyID: String? { header.keyID }
        let header: TokenHeader
        let claims: TokenClaims
        let parts: CompactToken
        let signature: [UInt8]
    }

    /// Steps 1 to 6. `among` are the providers that the route accepts, in its order; nil accepts all.
    public func examine(_ text: Span<UInt8>, among: [Int]? = nil, nowMilliseconds: Int64) throws(TokenRefusal) -> Candidate {
        guard text.count <= maximumTokenBytes else { throw .malformed }
        let parts = try CompactToken(text)
        guard let headerJSON = Base64.decodeURL(text.extracting(parts.header)) else { throw .malformedHeader }
        let header = try TokenHeader(json: headerJSON, allowed: allAlgorithms)
        guard let signature = Base64.decodeURL(text.extracting(parts.signature)) else { throw .malformed }
        guard let json = Base64.decodeURL(text.extracting(parts.payload)) else { throw .malformedPayload }
        let claims = try TokenClaims(json: json)
        let provider = try select(claims.issuer, among: among ?? Array(providers.indices))
        let rules = providers[provider]
        guard text.count <= rules.maximumTokenBytes else { throw .malformed }
        guard allowed[provider].contains(header.algorithm) else { throw .algorithmNotAllowed }
        guard header.hasType || !rules.requiresType else { throw .header }
        if let refusal = claims.cheapRefusal(rules, nowMilliseconds: nowMilliseconds) { throw refusal }
        return Candidate(provider: provider, header: header, claims: claims, parts: parts, signature: signature)
    }

    /// Steps 7, 9, 10 and 11, these with the provider's rules. `text` is what was examined. Throws `keyIDUnknown` when the keys must be
    /// fetched again, unless it was just done.
    public func verify(
        _ candidate: Candidate, text: Span<UInt8>, keys: KeySet, nowMilliseconds: Int64
    ) throws(TokenRefusal) -> VerifiedToken {
        let provider = providers[candidate.provider]
        let usable = try self.keys(for: candidate, in: keys)
        let signed = text.extracting(candidate.parts.signed)
        let algorithm = candidate.header.algorithm
        guard let key = usable.first(where: { $0.verify(algorithm, data: signed, signature: candidate.signature.span) }) else {
            throw .signature
        }
        if let refusal = candidate.claims.refusal(provider, nowMilliseconds: nowMilliseconds) { throw refusal }
        if let refusal = candidate.claims.refusal(of: provider.rules) { throw refusal }
        return candidate.claims.verified(provider: candidate.provider, header: candidate.header, key: key.thumbprint)
    }

    /// Step 7 alone: whether there is a key is known without the cost of a signature.
    func keys(for candidate: Candidate, in keys: KeySet) throws(TokenRefusal) -> [VerificationKey] {
        try keys.keys(candidate.header.keyID, candidate.header.algorithm, missing: providers[candidate.provider].missingKeyID)
    }

    /// The first provider that has this issuer, or else the first that accepts any.
    private func select(_ issuer: String?, among places: [Int]) throws(TokenRefusal) -> Int {
        if let issuer {
            let named = places.first { place in providers[place].issuers.contains { $0.utf8.elementsEqual(issuer.utf8) } }
            if let named { return named }
        }
        guard let any = places.first(where: { providers[$0].issuers.isEmpty }) else { throw .issuer }
        return any
    }
}
