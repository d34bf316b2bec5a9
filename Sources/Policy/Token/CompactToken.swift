// The compact form of RFC 7515 section 7.1, and what the header says: steps 1 to 4 of the verification. Nothing here trusts anything.

import Wire

/// Where the parts of a compact token stand.
struct CompactToken: Sendable {
    /// Encoded header, payload and signature.
    let header: Range<Int>
    let payload: Range<Int>
    let signature: Range<Int>
    /// What the signature covers: header, dot, payload.
    var signed: Range<Int> { header.lowerBound..<payload.upperBound }

    /// Finds the parts of a text of `A–Z a–z 0–9 - _ .`, none of them empty.
    init(_ text: Span<UInt8>) throws(TokenRefusal) {
        var dots = (0, 0)
        var count = 0
        var isPayloadSound = true
        for index in 0..<text.count {
            let byte = text[index]
            if byte == UInt8(ascii: ".") {
                count += 1
                if count == 1 { dots.0 = index }
                if count == 2 { dots.1 = index }
            } else if !Self.isAllowed(byte) {
                // Behind the first dot it is the payload that is broken, if the rest has the form: clients are told so.
                guard count == 1 else { throw .malformed }
                isPayloadSound = false
            }
        }
        if count == 4 { throw .encrypted }
        guard count == 2 else { throw .malformed }
        header = 0..<dots.0
        payload = dots.0 + 1..<dots.1
        signature = dots.1 + 1..<text.count
        guard !header.isEmpty, !payload.isEmpty, !signature.isEmpty else { throw .malformed }
        guard isPayloadSound else { throw .malformedPayload }
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x41...0x5A, 0x61...0x7A, 0x30...0x39, 0x2D, 0x5F: true
        default: false
        }
    }
}

/// The header parameters that count. `jku`, `jwk`, `x5u` and `x5c` are read by nobody.
struct TokenHeader: Sendable {
    let algorithm: TokenAlgorithm
    /// Nil when there is none. Longer than `TokenLimits.keyIDBytes` it is no key's.
    let keyID: String?
    let hasType: Bool

    /// Reads a decoded header; its algorithm must be one of `allowed`.
    init(json: [UInt8], allowed: Set<TokenAlgorithm>) throws(TokenRefusal) {
        guard json.count <= TokenLimits.headerBytes,
            case .object(let members)? = JSONReader.read(json.span, depth: TokenLimits.headerDepth, uniqueNames: true)
        else { throw .malformedHeader }
        let header = JSONValue.object(members)
        guard let name = header["alg"]?.string, let algorithm = TokenAlgorithm(name: name), allowed.contains(algorithm) else {
            throw .algorithmNotAllowed
        }
        self.algorithm = algorithm
        // RFC 7515 section 4.1.11: an extension that is not understood refuses the token, and none is.
        guard header["crit"] == nil, header["b64"] == nil || header["b64"] == .boolean(true) else { throw .header }
        hasType = header["typ"] != nil
        if let type = header["typ"] {
            guard let type = type.string, Self.isToken(type) else { throw .header }
        }
        keyID = header["kid"]?.string
        guard header["kid"] == nil || keyID != nil else { throw .header }
    }

    /// `JWT` or `at+jwt` (RFC 9068 section 2.1), with or without `application/`, in any case. Other kinds of token, an ID token's
    /// logout notice for example, must not pass for these.
    private static func isToken(_ type: String) -> Bool {
        guard type.utf8.count <= 32 else { return false }
        let lower = String(decoding: type.utf8.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }, as: UTF8.self)
        return ["jwt", "at+jwt", "application/jwt", "application/at+jwt"].contains(lower)
    }
}
