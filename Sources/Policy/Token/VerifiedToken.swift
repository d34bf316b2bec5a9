import Wire

/// What a verified token says. Made by `TokenVerifier` only.
public struct VerifiedToken: Sendable {
    /// The provider's place in the list of the configuration.
    public let provider: Int
    /// `iss`; empty when the token has none and the provider accepts any.
    public let issuer: String
    /// `sub`; empty when there is none and the provider accepts that.
    public let subject: String
    /// `jti`.
    public let tokenID: String?
    /// `sid`.
    public let sessionID: String?
    /// `kid` of the header.
    public let keyID: String?
    /// Which algorithm verified it.
    public let algorithm: TokenAlgorithm
    /// Which key did. A purge of that key ends the token.
    public let keyThumbprint: TokenDigest
    /// `exp`, `nbf`, `iat`: seconds since 1970, with a fraction if the issuer sends one.
    public let expirySeconds: Double?
    public let notBeforeSeconds: Double?
    public let issuedSeconds: Double?
    /// The claims, JSON as received; `document` is them parsed.
    public let claims: [UInt8]

    /// The claims parsed, for rules, pointers and topic rights. Costs a parse.
    public var document: JSONValue {
        JSONReader.read(claims.span, depth: TokenLimits.payloadDepth, uniqueNames: true) ?? .null
    }

    /// The roles in the claims. Costs a parse.
    public var roles: TokenRoles { TokenRoles(claims: document) }

    /// Memory a remembered token takes, bytes, rounded up.
    var bytes: Int {
        let texts = issuer.utf8.count + subject.utf8.count + (tokenID?.utf8.count ?? 0) + (sessionID?.utf8.count ?? 0)
        return 512 + claims.count + texts + (keyID?.utf8.count ?? 0)
    }
}
