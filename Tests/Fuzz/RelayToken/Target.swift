import Policy
import Wire

private let secret = Array("fuzzing secret".utf8)
private let now: Int64 = 1_800_000_000

/// Any text as a token, as the payload of a token with a good signature, and as headers and query of a request.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRelayToken(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    // Nobody guesses a MAC.
    precondition(RelayToken.verify(text, secret: secret, nowSeconds: now) == nil)
    let header = encoded(Array("{\"alg\":\"HS256\"}".utf8))
    if let claims = RelayToken.verify(signed(header + "." + encoded(bytes)), secret: secret, nowSeconds: now) {
        let value = JSONReader.read(bytes.span)
        precondition(value?["sid"]?.string == claims.sessionID && !claims.sessionID.isEmpty && claims.expiry > now)
        precondition(value?["exp"]?.number == Double(claims.expiry) && value?["iat"]?.number == Double(claims.issuedAt))
        // Signing what was read gives a token that reads alike.
        if let again = RelayToken.sign(claims, secret: secret) {
            precondition(RelayToken.verify(again, secret: secret, nowSeconds: now) == claims)
        }
    }
    let payload = encoded(Array("{\"iat\":1,\"exp\":1800000001,\"sid\":\"s\"}".utf8))
    if RelayToken.verify(signed(encoded(bytes) + "." + payload), secret: secret, nowSeconds: now) != nil {
        precondition(JSONReader.read(bytes.span)?["alg"]?.string == "HS256")
    }
    request(text, bytes)
    return 0
}

/// The same text in every place of a request.
private func request(_ text: String, _ bytes: [UInt8]) {
    let key = RelayAccess.apiKey(Array("secret".utf8))
    for access in [key, .jwt(secret: secret), .open] {
        let verdict = access.judge(
            authorization: [text], apiKeys: [text], query: bytes.span, 0..<bytes.count, nowSeconds: now)
        precondition((access == .open) == (verdict == .granted(sessionID: nil)) || access == key)
        if access == key, verdict == .granted(sessionID: nil) { precondition(text.contains("secret") || text.contains("%")) }
    }
}

private func signed(_ text: String) -> String { text + "." + encoded(Digest.hmacSHA256(key: secret, Array(text.utf8))) }

private func encoded(_ bytes: [UInt8]) -> String {
    withUnsafeTemporaryAllocation(byteCount: bytes.count * 2 + 4, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        Base64.encodeURL(bytes.span, to: &writer)
        return String(decoding: buffer[..<writer.count], as: Unicode.UTF8.self)
    }
}
