// Credentials for the UDP relay: an HS256 JSON Web Token (RFC 7519, RFC 7515), an API key, or nothing.
//
//     token = H "." P "." S     H = base64url({"alg":"HS256","typ":"JWT"})
//                               P = base64url({"iat":…,"exp":…,"sid":"…"[,"origin":"…"][,"aud":"…"][,"iss":"…"]})
//                               S = base64url(HMAC-SHA-256(secret, the characters of H "." P))

/// A credential handed to a client.
public struct RelayToken: Sendable, Equatable {
    /// The credential.
    public let token: String
    /// End of validity, milliseconds since 1970; advisory for an API key.
    public let expiryMilliseconds: Int64

    /// Longest encoded payload that verifiers accept.
    public static let maximumPayloadCharacters = 16_384
    /// Longest whole token that verifiers accept.
    public static let maximumCharacters = 20_525
    /// `{"alg":"HS256","typ":"JWT"}`, encoded.
    static let header = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"

    /// What a minting attempt yields.
    public enum Outcome: Sendable, Equatable {
        /// The relay asks for no credential.
        case notNeeded
        /// Hand this out.
        case minted(RelayToken)
        /// The token would be too long: leave the relay out of the answer, or answer 500 where it was asked for.
        case failed
    }

    /// The claims of a JWT, times in seconds since 1970.
    public struct Claims: Sendable, Equatable {
        /// The `iat` claim.
        public var issuedAt: Int64
        /// The `exp` claim.
        public var expiry: Int64
        /// The `sid` claim.
        public var sessionID: String
        /// The normalised Origin of the request, nil when none was sent.
        public var origin: String?
        /// Left out when empty.
        public var audience: String
        /// Left out when empty.
        public var issuer: String

        /// Claims in their order in the token.
        public init(
            issuedAt: Int64, expiry: Int64, sessionID: String, origin: String? = nil, audience: String = "", issuer: String = ""
        ) {
            self.issuedAt = issuedAt
            self.expiry = expiry
            self.sessionID = sessionID
            self.origin = origin
            self.audience = audience
            self.issuer = issuer
        }

        /// Compact JSON with the keys in the order of the protocol.
        var json: String {
            var text = "{\"iat\":\(issuedAt),\"exp\":\(expiry),\"sid\":\(TextEncoding.json(sessionID))"
            if let origin { text += ",\"origin\":\(TextEncoding.json(origin))" }
            if !audience.isEmpty { text += ",\"aud\":\(TextEncoding.json(audience))" }
            if !issuer.isEmpty { text += ",\"iss\":\(TextEncoding.json(issuer))" }
            return text + "}"
        }
    }

    /// Signs claims; nil when the token would be longer than verifiers accept.
    public static func sign(_ claims: Claims, secret: [UInt8]) -> String? {
        let payload = TextEncoding.base64URL(Array(claims.json.utf8))
        guard payload.utf8.count <= maximumPayloadCharacters else { return nil }
        let signed = header + "." + payload
        let token = signed + "." + TextEncoding.base64URL(Digest.hmacSHA256(key: secret, Array(signed.utf8)))
        return token.utf8.count <= maximumCharacters ? token : nil
    }

    /// The credential for a session under the relay's settings.
    public static func mint(
        _ relay: GatewaySettings.RelaySettings, sessionID: String, origin: Origin?, nowMilliseconds: Int64
    ) -> Outcome {
        let expiryMilliseconds = nowMilliseconds + Int64(relay.tokenLifetimeSeconds) * 1000
        switch relay.authentication {
        case .none:
            return .notNeeded
        case .apiKey(let key):
            return .minted(RelayToken(token: key, expiryMilliseconds: expiryMilliseconds))
        case .jwt(let secret):
            let issuedAt = floorSeconds(nowMilliseconds)
            let claims = Claims(
                issuedAt: issuedAt, expiry: issuedAt + Int64(relay.tokenLifetimeSeconds), sessionID: sessionID,
                origin: origin?.text, audience: relay.audience, issuer: relay.issuer)
            guard let token = sign(claims, secret: secret) else { return .failed }
            return .minted(RelayToken(token: token, expiryMilliseconds: expiryMilliseconds))
        }
    }
}
