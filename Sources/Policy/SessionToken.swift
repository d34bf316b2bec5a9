// The session token: a signed statement "this session id until then", shared with the L2 tunnel service.
//
//     token = P "." S        P = base64url({"v":1,"sid":"…","exp":<unix seconds>})
//                            S = base64url(HMAC-SHA-256(secret, the characters of P)), always 43 characters
//
// Nothing is stored: whoever holds the secret accepts the token until it expires. The order of verification matters:
// sizes and shape first, then the MAC over the encoded text in constant time, and only then is anything decoded, so a
// stranger never reaches the JSON reader.

import Wire

/// A verified or freshly made session.
public struct SessionToken: Hashable, Sendable {
    /// The session id; limits are counted under it.
    public let sessionID: String
    /// End of validity, seconds since 1970. A token made elsewhere may carry a fraction.
    public let expirySeconds: Double

    /// Longest encoded payload; longer ones are neither made nor read.
    public static let maximumPayloadCharacters = 16_384
    /// 32 bytes in base64url.
    public static let signatureCharacters = 43
    /// Longest token: payload, dot, signature.
    public static let maximumCharacters = maximumPayloadCharacters + 1 + signatureCharacters

    /// A session with a known id and expiry.
    public init(sessionID: String, expirySeconds: Double) {
        self.sessionID = sessionID
        self.expirySeconds = expirySeconds
    }

    // MARK: Minting

    /// The text of a token; nil when the payload would be too long.
    public static func mint(sessionID: String, expirySeconds: Int64, secret: [UInt8]) -> String? {
        let json = "{\"v\":1,\"sid\":\(TextEncoding.json(sessionID)),\"exp\":\(expirySeconds)}"
        let payload = TextEncoding.base64URL(Array(json.utf8))
        guard payload.utf8.count <= maximumPayloadCharacters else { return nil }
        return payload + "." + signature(of: Array(payload.utf8), secret: secret)
    }

    /// Expiry of a token made at `nowMilliseconds` that lives for `lifetimeSeconds`: whole seconds, rounded down.
    public static func expirySeconds(nowMilliseconds: Int64, lifetimeSeconds: Int) -> Int64 {
        floorSeconds(nowMilliseconds + Int64(lifetimeSeconds) * 1000)
    }

    private static func signature(of payload: [UInt8], secret: [UInt8]) -> String {
        TextEncoding.base64URL(Digest.hmacSHA256(key: secret, payload))
    }

    // MARK: Verifying

    /// The session a token states, nil unless every rule holds at `nowMilliseconds`.
    public static func verify(_ token: String, secret: [UInt8], nowMilliseconds: Int64) -> SessionToken? {
        guard token.utf8.count <= maximumCharacters else { return nil }
        let parts = Array(token.utf8).split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, parts[0].count <= maximumPayloadCharacters,
            parts[1].count == signatureCharacters
        else { return nil }
        let payload = Array(parts[0])
        guard let mac = Base64.decodeURL(Array(parts[1]).span), mac.count == Digest.macBytes,
            Digest.constantTimeEqual(mac, Digest.hmacSHA256(key: secret, payload)),
            let json = Base64.decodeURL(payload.span),
            let session = SessionToken(json: json),
            session.expirySeconds * 1000 > Double(nowMilliseconds)
        else { return nil }
        return session
    }

    /// Reads the payload: `v` is the number 1, `sid` a non-empty string, `exp` a finite number.
    private init?(json: [UInt8]) {
        guard let value = JSONReader.read(json.span), value["v"]?.number == 1,
            let id = value["sid"]?.string, !id.isEmpty,
            let expiry = value["exp"]?.number, expiry.isFinite
        else { return nil }
        self.init(sessionID: id, expirySeconds: expiry)
    }
}

/// Whole seconds of a time in milliseconds, rounded towards the past also before 1970.
func floorSeconds(_ milliseconds: Int64) -> Int64 {
    let quotient = milliseconds / 1000
    return milliseconds % 1000 < 0 ? quotient - 1 : quotient
}
