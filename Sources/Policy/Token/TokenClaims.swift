// The claims of RFC 7519 section 4.1 and their checks: step 6 on claims nobody has signed yet, which can only refuse, and step 10 on
// verified ones.

import Wire

/// The registered claims of a payload, as far as they have the right type.
struct TokenClaims: Sendable {
    private let document: JSONValue
    private let expiry: Claim<Double>
    private let notBefore: Claim<Double>
    private let issued: Claim<Double>
    let issuer: String?

    /// A claim that is not there, unfit, or there.
    private enum Claim<Value: Sendable>: Sendable {
        case absent
        case unfit
        case present(Value)

        var value: Value? {
            if case .present(let value) = self { return value }
            return nil
        }
        var isUnfit: Bool {
            if case .unfit = self { return true }
            return false
        }
    }

    /// Reads a decoded payload.
    init(json: [UInt8]) throws(TokenRefusal) {
        guard json.count <= TokenLimits.payloadBytes,
            case .object(let members)? = JSONReader.read(json.span, depth: TokenLimits.payloadDepth, uniqueNames: true)
        else { throw .malformedClaims }
        let document = JSONValue.object(members)
        self.document = document
        expiry = Self.time(document["exp"])
        notBefore = Self.time(document["nbf"])
        issued = Self.time(document["iat"])
        issuer = document["iss"]?.string
    }

    /// Times are finite numbers in 0…2^53.
    private static func time(_ value: JSONValue?) -> Claim<Double> {
        guard let value else { return .absent }
        guard let number = value.number, number.isFinite, number >= 0, number <= TokenLimits.timeMaximum else { return .unfit }
        return .present(number)
    }

    /// What already refuses the token although nothing in it can be trusted, so that garbage costs no signature check.
    func cheapRefusal(_ provider: TokenProvider, nowMilliseconds: Int64) -> TokenRefusal? {
        let clock = TokenClock(nowMilliseconds: nowMilliseconds, provider: provider)
        return clock.refusal(expiry: expiry.value, notBefore: notBefore.value) ?? partyRefusal(provider)
    }

    /// The whole of step 10.
    func refusal(_ provider: TokenProvider, nowMilliseconds: Int64) -> TokenRefusal? {
        if expiry.isUnfit || notBefore.isUnfit || issued.isUnfit { return .claims }
        if provider.requiresExpiry, expiry.value == nil { return .claims }
        if provider.maximumAgeSeconds != nil, issued.value == nil { return .claims }
        let clock = TokenClock(nowMilliseconds: nowMilliseconds, provider: provider)
        if let refusal = clock.refusal(expiry: expiry.value, notBefore: notBefore.value)
            ?? clock.refusal(issued: issued.value) ?? partyRefusal(provider)
        {
            return refusal
        }
        guard Self.isSubject(document["sub"], isRequired: provider.requiresSubject) else { return .subject }
        return Self.isName(document["jti"]) && Self.isName(document["sid"]) ? nil : .claims
    }

    /// `iss` and `aud`.
    private func partyRefusal(_ provider: TokenProvider) -> TokenRefusal? {
        if document["iss"] != nil {
            guard let issuer, issuer.utf8.count <= TokenLimits.claimTextBytes else { return .issuer }
        }
        if !provider.issuers.isEmpty {
            guard let issuer, provider.issuers.contains(where: { $0.utf8.elementsEqual(issuer.utf8) }) else { return .issuer }
        }
        if provider.audiences.isEmpty { return nil }
        var named: [String] = []
        switch document["aud"] {
        case .string(let audience): named = [audience]
        case .array(let elements):
            named = elements.compactMap(\.string)
            guard named.count == elements.count else { return .audience }
        default: return .audience
        }
        let isForUs = named.contains { name in provider.audiences.contains { $0.utf8.elementsEqual(name.utf8) } }
        return isForUs ? nil : .audience
    }

    private static func isSubject(_ value: JSONValue?, isRequired: Bool) -> Bool {
        guard let value else { return !isRequired }
        guard let subject = value.string, !subject.isEmpty, subject.utf8.count <= TokenLimits.subjectBytes else { return false }
        return !subject.unicodeScalars.contains(where: TextRule.isControl)
    }

    /// `jti` and `sid` are texts that a revocation can name.
    private static func isName(_ value: JSONValue?) -> Bool {
        guard let value else { return true }
        guard let name = value.string else { return false }
        return name.utf8.count <= TokenLimits.claimTextBytes
    }

    /// The claims of a token whose signature holds.
    func verified(provider: Int, header: TokenHeader, key: TokenDigest) -> VerifiedToken {
        VerifiedToken(
            provider: provider, issuer: issuer ?? "", subject: document["sub"]?.string ?? "", tokenID: document["jti"]?.string,
            sessionID: document["sid"]?.string, keyID: header.keyID, algorithm: header.algorithm, keyThumbprint: key,
            expirySeconds: expiry.value, notBeforeSeconds: notBefore.value, issuedSeconds: issued.value, document: document,
            roleList: RoleList(document))
    }

    /// What the provider's own rules say.
    func refusal(of rules: ClaimRules) -> TokenRefusal? { rules.isEmpty ? nil : rules.refusal(of: document) }
}

/// Comparisons with the clock under a provider's leeway.
struct TokenClock {
    let nowSeconds: Double
    let leewaySeconds: Double
    let maximumAgeSeconds: Int?

    init(nowMilliseconds: Int64, provider: TokenProvider) {
        nowSeconds = Double(nowMilliseconds) / 1000
        leewaySeconds = Double(provider.leewaySeconds)
        maximumAgeSeconds = provider.maximumAgeSeconds
    }

    func refusal(expiry: Double?, notBefore: Double?) -> TokenRefusal? {
        if let expiry, nowSeconds >= expiry + leewaySeconds { return .expired }
        if let notBefore, notBefore > nowSeconds + leewaySeconds { return .notYet }
        return nil
    }

    func refusal(issued: Double?) -> TokenRefusal? {
        guard let issued else { return nil }
        if issued > nowSeconds + leewaySeconds { return .issuedInFuture }
        if let maximumAgeSeconds, nowSeconds >= issued + Double(maximumAgeSeconds) + leewaySeconds { return .tooOld }
        return nil
    }

    /// The times of a token that was verified earlier.
    func refusal(_ token: VerifiedToken) -> TokenRefusal? {
        refusal(expiry: token.expirySeconds, notBefore: token.notBeforeSeconds) ?? refusal(issued: token.issuedSeconds)
    }
}
