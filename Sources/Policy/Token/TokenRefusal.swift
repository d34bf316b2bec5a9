/// Why a token is refused. A closed set: the codes are labels of metrics, and none of them says more to the client than the close
/// codes and the status do. Whether a key id is known is not told (`publicDescription`).
public enum TokenRefusal: String, Error, Sendable, Hashable, CaseIterable {
    /// Not a compact token: length, alphabet, parts.
    case malformed
    /// The header is not canonical base64url of a small JSON object.
    case malformedHeader
    /// The payload is not canonical base64url.
    case malformedPayload
    /// The payload is not a JSON object, or too deep, too large, or repeats a name.
    case malformedClaims
    /// Five parts: an encrypted token.
    case encrypted
    /// `alg` is missing, not a text, or not in the provider's list.
    case algorithmNotAllowed
    /// `crit`, `b64`, `typ` or the type of `kid`.
    case header
    /// `iss` is missing or nobody's.
    case issuer
    /// No key has this `kid`.
    case keyIDUnknown
    /// There is no `kid`, and there must be one.
    case keyIDMissing
    /// The key with this `kid` does not fit the algorithm or is not for signatures.
    case keyMismatch
    /// The signature is not the key's.
    case signature
    /// `exp` has passed.
    case expired
    /// `nbf` is to come.
    case notYet
    /// `iat` is to come.
    case issuedInFuture
    /// `iat` is longer ago than the provider allows.
    case tooOld
    /// `aud` names nobody of ours.
    case audience
    /// `sub` is missing or not fit for use.
    case subject
    /// A claim has the wrong type or range, or is missing.
    case claims
    /// A rule of provider or route about claims is not met.
    case rule
    /// A required scope is missing.
    case scope
    /// The deny list holds the token.
    case revoked

    /// The reason code for logs and metrics.
    public var code: String {
        switch self {
        case .malformed, .malformedHeader, .malformedPayload, .malformedClaims: "malformed"
        case .encrypted: "encrypted"
        case .algorithmNotAllowed: "alg_not_allowed"
        case .header: "header"
        case .issuer: "issuer"
        case .keyIDUnknown: "kid_unknown"
        case .keyIDMissing: "kid_missing"
        case .keyMismatch: "key_mismatch"
        case .signature: "signature"
        case .expired: "expired"
        case .notYet: "not_yet"
        case .issuedInFuture: "issued_future"
        case .tooOld: "too_old"
        case .audience: "audience"
        case .subject: "subject"
        case .claims, .rule: "claims"
        case .scope: "scope"
        case .revoked: "revoked"
        }
    }

    /// What the client may read, in `error_description` and in a close reason: it does not tell an unknown key from a bad signature.
    public var publicDescription: String {
        switch self {
        case .malformed, .malformedHeader, .malformedPayload, .malformedClaims, .encrypted: "token malformed"
        case .algorithmNotAllowed, .header, .keyIDUnknown, .keyIDMissing, .keyMismatch, .signature: "token not verified"
        case .issuer, .audience, .subject, .claims: "token not accepted"
        case .expired, .tooOld: "token expired"
        case .notYet, .issuedInFuture: "token not yet valid"
        case .rule, .scope: "insufficient scope"
        case .revoked: "token revoked"
        }
    }

    /// Whether the token is good and its bearer may not do this: 403 `insufficient_scope`, not 401.
    public var isForbidden: Bool { self == .rule || self == .scope }
}
