import Policy
import Wire

private let secret = Array("a secret of at least thirty-two bytes".utf8)
private let now: Int64 = 1_800_000_000_000

private let provider: TokenProvider = {
    var provider = TokenProvider(name: "fuzz", algorithms: [.hs256])
    provider.allowsAnyIssuer = true
    provider.allowsAnyAudience = true
    return provider
}()

private func gate() -> TokenGate {
    guard let key = try? VerificationKey(secret: secret) else { fatalError("no key") }
    var gate = TokenGate(providers: [provider], shards: 1, monotonicMilliseconds: 0)
    gate.replace(keySet: KeySet(generation: 1, entries: [KeySetEntry(key: key, keyID: "k")]), provider: 0)
    return gate
}

/// Any text as a token, as the header and as the payload of a token with a good signature, and as a revocation.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzToken(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    // Nobody guesses a MAC.
    precondition(accepted(bytes) == nil)
    let payload = Array("{\"exp\":1800000001,\"sub\":\"s\"}".utf8)
    if accepted(signed(bytes, payload)) != nil {
        let header = JSONReader.read(bytes.span, uniqueNames: true)
        precondition(header?["alg"]?.string == "HS256" && header?["kid"]?.string == "k" && header?["crit"] == nil)
    }
    if let token = accepted(signed(Array("{\"alg\":\"HS256\",\"kid\":\"k\"}".utf8), bytes)) {
        let claims = token.document
        precondition(claims["sub"]?.string == token.subject && !token.subject.isEmpty)
        precondition(claims == JSONReader.read(bytes.span, depth: TokenLimits.payloadDepth, uniqueNames: true))
        precondition((claims["exp"]?.number ?? 0) > 1_799_999_970)
        _ = token.roles
        var rules = ClaimRules()
        rules.requiredScopes = ["a"]
        precondition(rules.refusal(of: claims) == nil || rules.refusal(of: claims) == .scope)
    }
    revoke(bytes)
    return 0
}

private func accepted(_ text: [UInt8]) -> VerifiedToken? {
    var gate = gate()
    guard case .accepted(let token, false) = gate.judge(text.span, nowMilliseconds: now, monotonicMilliseconds: 0) else { return nil }
    guard case .accepted(let again, true) = gate.judge(text.span, nowMilliseconds: now, monotonicMilliseconds: 1) else {
        fatalError("a token that was accepted is remembered")
    }
    precondition(again.document == token.document)
    return token
}

private func revoke(_ bytes: [UInt8]) {
    guard let revocation = try? Revocation(json: bytes.span, nowSeconds: 1) else { return }
    precondition((try? Revocation(json: Array(revocation.json.utf8).span, nowSeconds: 2)) == revocation)
    var list = DenyList(capacity: 4)
    let outcome = list.insert(revocation, nowSeconds: 1)
    precondition((outcome == .kept) == (revocation.expirySeconds > 1))
}

private func signed(_ header: [UInt8], _ payload: [UInt8]) -> [UInt8] {
    let text = encoded(header) + [0x2E] + encoded(payload)
    return text + [0x2E] + encoded(Digest.hmacSHA256(key: secret, text))
}

private func encoded(_ bytes: [UInt8]) -> [UInt8] {
    withUnsafeTemporaryAllocation(byteCount: bytes.count * 2 + 4, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        Base64.encodeURL(bytes.span, to: &writer)
        return Array(buffer[..<writer.count])
    }
}
