// Theory of operation
//
// What a shard keeps for deciding about tokens: the key sets it was given last, the tokens it has verified, those that failed, its copy
// of the deny list and its budget of signature checks.
//
//     token ─ digest ─┬─ remembered ─────────────────────────────────┐
//                     ├─ failed a moment ago ─► refused               ├─► times, rules, denials ─► accepted
//                     └─ examine ─ key ─ budget ─ signature, claims ──┘
//
// Waiting is the caller's: it keeps a handshake whose key is unknown (`TokenLimits.waitForKeyMilliseconds`, `waitingForKey`) or for
// which there is no budget (one second at most), and asks again.

import Wire

/// Decides about the tokens of one shard.
public struct TokenGate {
    /// What becomes of a token.
    public enum Verdict: Sendable {
        /// It is good. `fromCache` when no signature had to be checked.
        case accepted(VerifiedToken, fromCache: Bool)
        /// It is not.
        case refused(TokenRefusal, provider: Int?)
        /// No key of the provider has this `kid`: ask `ProviderKeys.unknown`, and again when it answered.
        case unknownKey(provider: Int, keyID: String)
        /// The provider has no keys yet, or none that is recent enough: 503.
        case keysUnavailable(provider: Int)
        /// The shard has checked as many signatures as it may: ask again after this time.
        case busy(milliseconds: Int64)
    }

    private struct Failure {
        let provider: Int
        let generation: UInt64
    }

    private var verifier: TokenVerifier
    private var keySets: [KeySet]
    private var cache: TokenCache
    /// Digests of failed tokens, and whose keys they failed with.
    private var failures: RecentDigests<Failure>
    private var budget: TokenBucket
    private var verificationsPerSecond: Double
    /// What is denied.
    public var denyList = DenyList()

    /// The gate of one of `shards` shards, without keys.
    public init(
        providers: [TokenProvider], shards: Int, monotonicMilliseconds: Int64,
        verificationsPerSecond: Int = TokenLimits.verificationsPerSecond, cacheEntries: Int = TokenLimits.cacheEntries
    ) {
        verifier = TokenVerifier(providers: providers)
        keySets = providers.map { _ in .empty }
        cache = TokenCache(maximumEntries: cacheEntries, maximumBytes: TokenLimits.cacheProcessBytes / max(1, shards))
        failures = RecentDigests(capacity: TokenLimits.failureEntries, lifetimeMilliseconds: TokenLimits.failureMilliseconds)
        self.verificationsPerSecond = Double(verificationsPerSecond)
        budget = TokenBucket(capacity: Self.burst(Double(verificationsPerSecond)), nowMilliseconds: monotonicMilliseconds)
    }

    /// A tenth of a second's checks may come at once.
    private static func burst(_ perSecond: Double) -> Double { max(1, perSecond / 10) }

    /// The configured providers.
    public var providers: [TokenProvider] { verifier.providers }

    /// Tokens remembered.
    public var cachedCount: Int { cache.count }

    /// Replaces the providers after a reload. What was remembered was verified under other rules, so it goes; the key sets come again.
    public mutating func replace(providers: [TokenProvider]) {
        verifier = TokenVerifier(providers: providers)
        keySets = providers.map { _ in .empty }
        cache.removeAll()
        failures.removeAll()
    }

    /// Takes another budget of signatures a second; what is left of the former one stays, up to the new burst.
    public mutating func replace(verificationsPerSecond: Int) { self.verificationsPerSecond = Double(verificationsPerSecond) }

    /// Replaces a provider's keys.
    public mutating func replace(keySet: KeySet, provider: Int) {
        guard keySets.indices.contains(provider) else { return }
        keySets[provider] = keySet
    }

    /// Decides about a token. `among` and `rules` are the route's: which providers it accepts, in its order, and what it asks of claims.
    /// Times are milliseconds: since 1970, and of a clock that does not go back.
    public mutating func judge(
        _ text: Span<UInt8>, among: [Int]? = nil, rules: ClaimRules = ClaimRules(), nowMilliseconds: Int64, monotonicMilliseconds: Int64
    ) -> Verdict {
        // Also bounds what is digested.
        guard text.count <= TokenLimits.tokenBytesMaximum else { return .refused(.malformed, provider: nil) }
        let digest = TokenDigest(of: text)
        if let token = cache.find(digest, keySets: keySets, nowMilliseconds: monotonicMilliseconds),
            among?.contains(token.provider) ?? true
        {
            return conclude(token, digest, rules: rules, fromCache: true, nowMilliseconds: nowMilliseconds)
        }
        // The same bytes fail again as long as the keys are the same.
        if let failure = failures.value(digest, nowMilliseconds: monotonicMilliseconds), keySets.indices.contains(failure.provider),
            keySets[failure.provider].generation == failure.generation
        {
            return .refused(.signature, provider: failure.provider)
        }
        let candidate: TokenVerifier.Candidate
        do throws(TokenRefusal) {
            candidate = try verifier.examine(text, among: among, nowMilliseconds: nowMilliseconds)
        } catch {
            return .refused(error, provider: nil)
        }
        let provider = candidate.provider
        let keys = keySets[provider]
        guard !keys.isEmpty else { return .keysUnavailable(provider: provider) }
        do throws(TokenRefusal) {
            // Whether there is a key is known without the cost of a signature.
            let cost = try verifier.keys(for: candidate, in: keys).reduce(0) { $0 + $1.cost }
            guard takeBudget(cost, monotonicMilliseconds) else { return .busy(milliseconds: busyMilliseconds) }
            let token = try verifier.verify(candidate, text: text, keys: keys, nowMilliseconds: nowMilliseconds)
            remember(digest, token, keys.generation, nowMilliseconds: nowMilliseconds, monotonicMilliseconds: monotonicMilliseconds)
            return conclude(token, digest, rules: rules, fromCache: false, nowMilliseconds: nowMilliseconds)
        } catch {
            if error == .signature {
                let failure = Failure(provider: provider, generation: keys.generation)
                failures.insert(digest, failure, nowMilliseconds: monotonicMilliseconds)
            }
            if error == .keyIDUnknown, let keyID = candidate.keyID, keyID.utf8.count <= TokenLimits.keyIDBytes {
                return .unknownKey(provider: provider, keyID: keyID)
            }
            return .refused(error, provider: provider)
        }
    }

    /// What holds for remembered tokens as for new ones: the clock, the rules, the deny list.
    private mutating func conclude(
        _ token: VerifiedToken, _ digest: TokenDigest, rules: ClaimRules, fromCache: Bool, nowMilliseconds: Int64
    ) -> Verdict {
        if let refusal = recheck(token, rules: rules, nowMilliseconds: nowMilliseconds) {
            // A denied or expired token will not come good; one that a route refuses may serve another.
            if !refusal.isForbidden { cache.remove(digest) }
            return .refused(refusal, provider: token.provider)
        }
        return .accepted(token, fromCache: fromCache)
    }

    /// Whether a token that was verified earlier is still good: for live sessions when denials arrive.
    public func recheck(_ token: VerifiedToken, rules: ClaimRules = ClaimRules(), nowMilliseconds: Int64) -> TokenRefusal? {
        let provider = providers[token.provider]
        if let refusal = TokenClock(nowMilliseconds: nowMilliseconds, provider: provider).refusal(token) { return refusal }
        if !rules.isEmpty || !provider.rules.isEmpty {
            let document = token.document
            if let refusal = provider.rules.refusal(of: document) ?? rules.refusal(of: document) { return refusal }
        }
        return denyList.denies(token, nowSeconds: Double(nowMilliseconds) / 1000) ? .revoked : nil
    }

    private mutating func remember(
        _ digest: TokenDigest, _ token: VerifiedToken, _ generation: UInt64, nowMilliseconds: Int64, monotonicMilliseconds: Int64
    ) {
        var lifetime = TokenLimits.cacheMilliseconds
        // The rest of a token's time may be too long for an integer; beyond the bound it does not matter.
        if let expiry = token.expirySeconds {
            let rest = (expiry + Double(providers[token.provider].leewaySeconds)) * 1000 - Double(nowMilliseconds)
            if rest < Double(lifetime) { lifetime = Int64(max(0, rest)) }
        }
        cache.insert(digest, token, generation: generation, endMilliseconds: monotonicMilliseconds + lifetime)
    }

    /// Takes the cost of a check, or all the budget holds where that is less.
    private mutating func takeBudget(_ cost: Double, _ nowMilliseconds: Int64) -> Bool {
        let (perSecond, burst) = (verificationsPerSecond, Self.burst(verificationsPerSecond))
        return budget.take(min(cost, burst), capacity: burst, perSecond: perSecond, nowMilliseconds: nowMilliseconds)
    }

    /// When there is room for another check.
    private var busyMilliseconds: Int64 { max(1, Int64(1000 / verificationsPerSecond)) }
}
