// Verifying relay tokens. The order matters: lengths and alphabet first, then the MAC over the encoded text in constant time, and only
// then is anything decoded, so a stranger never reaches the JSON reader. Nothing tells one failure from another.

import Wire

extension RelayToken {
    /// Longest encoded header that is accepted.
    public static let maximumHeaderCharacters = 4096
    /// 32 bytes in base64url.
    static let signatureCharacters = 43

    /// The claims of a token, nil unless every rule holds at `nowSeconds` since 1970. Audience and issuer are empty when absent; no
    /// value but the times is compared with anything, and there is no leeway. Time is linear in the token's length.
    public static func verify(_ token: String, secret: [UInt8], nowSeconds: Int64) -> Claims? {
        guard token.utf8.count <= maximumCharacters else { return nil }
        let text = Array(token.utf8)
        guard let parts = try? CompactToken(text.span), parts.header.count <= maximumHeaderCharacters,
            parts.payload.count <= maximumPayloadCharacters, parts.signature.count == signatureCharacters
        else { return nil }
        // Decoding writes bytes without reading them.
        guard let header = Base64.decodeURL(text.span.extracting(parts.header)),
            let payload = Base64.decodeURL(text.span.extracting(parts.payload)),
            let mac = Base64.decodeURL(text.span.extracting(parts.signature)), mac.count == Digest.macBytes
        else { return nil }
        let signed = Array(text[parts.signed])
        guard Digest.constantTimeEqual(mac, Digest.hmacSHA256(key: secret, signed)), isHeader(header),
            let claims = Claims(json: payload, nowSeconds: nowSeconds)
        else { return nil }
        return claims
    }

    /// `alg` is HS256, `typ` a string if it is there.
    private static func isHeader(_ json: [UInt8]) -> Bool {
        guard let fields = JSONReader.fields(json.span) else { return false }
        let algorithms = fields.filter { $0.name == "alg" }
        return !algorithms.isEmpty && algorithms.allSatisfy { $0.value.string == "HS256" }
            && fields.allSatisfy { $0.name != "typ" || $0.value.string != nil }
    }
}

extension RelayToken.Claims {
    /// Reads a payload. Every occurrence of a repeated name must be of the right type; the last one counts.
    init?(json: [UInt8], nowSeconds: Int64) {
        guard let fields = JSONReader.fields(json.span) else { return nil }
        var times: (issued: Int64?, expiry: Int64?, notBefore: Int64?) = (nil, nil, nil)
        var texts: (session: String?, origin: String?, audience: String?, issuer: String?) = (nil, nil, nil, nil)
        for field in fields {
            switch field.name {
            case "iat", "exp", "nbf":
                guard let time = field.integer(in: json.span) else { return nil }
                switch field.name {
                case "iat": times.issued = time
                case "exp": times.expiry = time
                default: times.notBefore = time
                }
            case "sid", "origin", "aud", "iss":
                guard let text = field.value.string else { return nil }
                switch field.name {
                case "sid": texts.session = text
                case "origin": texts.origin = text
                case "aud": texts.audience = text
                default: texts.issuer = text
                }
            default: continue
            }
        }
        guard let issued = times.issued, let expiry = times.expiry, let session = texts.session, !session.isEmpty, nowSeconds < expiry,
            nowSeconds >= times.notBefore ?? nowSeconds
        else { return nil }
        self.init(
            issuedAt: issued, expiry: expiry, sessionID: session, origin: texts.origin, audience: texts.audience ?? "",
            issuer: texts.issuer ?? "")
    }
}
