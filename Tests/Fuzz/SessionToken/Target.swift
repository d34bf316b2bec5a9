import Policy
import Wire

private let secret = Array("fuzzing secret".utf8)
private let now: Int64 = 1_800_000_000_000

/// Any text as a token, and any text as the payload of a token with a good signature.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzSessionToken(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    // Nobody guesses a MAC.
    precondition(SessionToken.verify(text, secret: secret, nowMilliseconds: now) == nil)
    let payload = encoded(bytes)
    let signed = payload + "." + encoded(Digest.hmacSHA256(key: secret, Array(payload.utf8)))
    if let session = SessionToken.verify(signed, secret: secret, nowMilliseconds: now) {
        let value = JSONReader.read(bytes.span)
        precondition(value?["v"]?.number == 1 && value?["sid"]?.string == session.sessionID && !session.sessionID.isEmpty)
        precondition(session.expirySeconds.isFinite && session.expirySeconds * 1000 > Double(now))
    }
    // The characters themselves as payload: decoding must refuse what is not canonical.
    let direct = text + "." + encoded(Digest.hmacSHA256(key: secret, Array(text.utf8)))
    if SessionToken.verify(direct, secret: secret, nowMilliseconds: now) != nil {
        precondition(Base64.decodeURL(Array(text.utf8).span).map(encoded) == text)
    }
    // Any session id survives a round trip.
    if !text.isEmpty, let minted = SessionToken.mint(sessionID: text, expirySeconds: now / 1000 + 1, secret: secret) {
        precondition(
            SessionToken.verify(minted, secret: secret, nowMilliseconds: now)?.sessionID.utf8.elementsEqual(text.utf8) == true)
    }
    return 0
}

private func encoded(_ bytes: [UInt8]) -> String {
    withUnsafeTemporaryAllocation(byteCount: bytes.count * 2 + 4, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        Base64.encodeURL(bytes.span, to: &writer)
        return String(decoding: buffer[..<writer.count], as: Unicode.UTF8.self)
    }
}
