/// An issuer of tokens with its rules, as configured. Where its keys come from says `KeySources`.
public struct TokenProvider: Sendable, Hashable {
    /// What to do with a token without `kid`.
    public enum MissingKeyID: String, Sendable, Hashable, CaseIterable {
        /// Refuse it.
        case reject
        /// Take the key if exactly one of the set is usable.
        case single
    }

    /// Name in metrics and logs.
    public var name: String
    /// `iss` must be one of these. Empty: any (`allowsAnyIssuer`).
    public var issuers: [String]
    /// `aud` must hold one of these. Empty: any (`allowsAnyAudience`).
    public var audiences: [String]
    /// Algorithms that are accepted.
    public var algorithms: [TokenAlgorithm]
    /// An empty list of issuers is meant.
    public var allowsAnyIssuer = false
    /// An empty list of audiences is meant.
    public var allowsAnyAudience = false
    /// Clocks may differ by this much, 0 to 300.
    public var leewaySeconds = 30
    /// Tokens without `exp` are refused.
    public var requiresExpiry = true
    /// Tokens without `sub` are refused.
    public var requiresSubject = true
    /// Tokens without `typ` are refused.
    public var requiresType = false
    /// What to do with a token without `kid`.
    public var missingKeyID = MissingKeyID.reject
    /// Tokens whose `iat` is longer ago are refused; nil accepts any age, and tokens without `iat`.
    public var maximumAgeSeconds: Int?
    /// Longest compact token.
    public var maximumTokenBytes = TokenLimits.tokenBytes
    /// What the claims must be.
    public var rules = ClaimRules()

    /// Accepted when a native configuration names none.
    public static let defaultAlgorithms: [TokenAlgorithm] = [.rs256, .ps256, .es256, .edDSA]
    /// Accepted when the environment of the program this one replaces names none.
    public static let compatibleAlgorithms: [TokenAlgorithm] = [.rs256]
    /// Most entries of the lists of issuers and audiences.
    public static let maximumEntries = 256

    /// A provider with the defaults.
    public init(
        name: String, issuers: [String] = [], audiences: [String] = [], algorithms: [TokenAlgorithm] = Self.defaultAlgorithms
    ) {
        self.name = name
        self.issuers = issuers
        self.audiences = audiences
        self.algorithms = algorithms
    }

    /// Whether the provider's keys are secrets.
    public var isSymmetric: Bool { algorithms.first?.isSymmetric ?? false }

    /// What is wrong with the provider, one line each, naming key, value and remedy; empty when it can be used.
    public var problems: [String] {
        var problems: [String] = []
        func check(_ holds: Bool, _ problem: @autoclosure () -> String) {
            if !holds { problems.append("provider \(name): \(problem())") }
        }
        check(!algorithms.isEmpty, "algorithms: the list is empty; name at least one of those supported")
        check(
            Set(algorithms.map(\.isSymmetric)).count < 2,
            "algorithms: HS256, HS384 and HS512 cannot stand beside others; a secret that passes for a public key would let anybody sign")
        check(!issuers.isEmpty || allowsAnyIssuer, "issuer: missing; set it, or allow_any_issuer: true")
        check(!audiences.isEmpty || allowsAnyAudience, "audiences: missing; set them, or allow_any_audience: true")
        check(
            issuers.count <= Self.maximumEntries && audiences.count <= Self.maximumEntries,
            "issuer, audiences: more than \(Self.maximumEntries) entries")
        check(!issuers.contains("") && !audiences.contains(""), "issuer, audiences: an entry is empty; remove it")
        check((0...300).contains(leewaySeconds), "leeway: \(leewaySeconds) s is not within 0 to 300 s")
        check(maximumAgeSeconds.map { $0 > 0 } ?? true, "max_token_age: must be above 0 s; leave it out to accept any age")
        check(
            (1...TokenLimits.tokenBytesMaximum).contains(maximumTokenBytes),
            "max_token_bytes: \(maximumTokenBytes) is not within 1 to \(TokenLimits.tokenBytesMaximum)")
        let rules = [rules.requiredScopes.count, rules.authorizedParties.count, rules.conditions.count]
        check(rules.allSatisfy { $0 <= ClaimRules.maximumEntries }, "rules: more than \(ClaimRules.maximumEntries) entries of a kind")
        return problems
    }
}
