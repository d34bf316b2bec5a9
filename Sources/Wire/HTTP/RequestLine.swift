/// The request line (RFC 9112 section 3): `method SP request-target SP HTTP-version`.
struct RequestLine {
    var method = HTTPMethod.get
    var minorVersion: UInt8 = 1
    var hasQuery = false
    var target = 0..<0
    var path = 0..<0
    var query = 0..<0
    /// Authority of an absolute-form target, else empty.
    var authority = 0..<0

    /// Whether the unfinished line at `start` begins with something of the size of a method and a space, so that its
    /// length is the target's.
    static func hasMethod(_ bytes: Span<UInt8>, from start: Int) -> Bool {
        let end = min(bytes.count, start + HTTPLimits.methodBytes + 1)
        let space = ByteScan.first(Character7.space, in: bytes, from: start, to: end)
        return space > start && space < end
    }

    /// Reads the line `bytes[start..<end]`, which is not empty and holds no control character.
    ///
    /// When several things are wrong: the shape comes first, then the length, the version, the method, the target.
    mutating func read(_ bytes: Span<UInt8>, _ start: Int, _ end: Int, targetBytes: Int) -> HTTPViolation? {
        let firstSpace = ByteScan.first(Character7.space, in: bytes, from: start, to: end)
        guard firstSpace > start, firstSpace < end, firstSpace - start <= HTTPLimits.methodBytes else { return .badRequest }
        for index in start..<firstSpace where !Character7.isToken(bytes[index]) { return .badRequest }
        let secondSpace = ByteScan.first(Character7.space, in: bytes, from: firstSpace + 1, to: end)
        target = (firstSpace + 1)..<secondSpace
        if target.count > targetBytes { return .targetTooLong }
        guard !target.isEmpty, secondSpace < end else { return .badRequest }

        if let violation = readVersion(bytes, (secondSpace + 1)..<end) { return violation }
        switch HTTPMethod.recognise(bytes, start..<firstSpace) {
        case .served(let method): self.method = method
        case .forbidden: return .methodNotAllowed
        case .unknown: return .badRequest
        }
        return readTarget(bytes)
    }

    /// `HTTP/1.0` or `HTTP/1.1`; other digits are another version, anything else is malformed. The name is
    /// case-sensitive (RFC 9112 section 2.3).
    private mutating func readVersion(_ bytes: Span<UInt8>, _ range: Range<Int>) -> HTTPViolation? {
        let start = range.lowerBound
        guard range.count == 8, bytes.equals("HTTP/", in: start..<start + 5), Character7.isDigit(bytes[start + 5]),
            bytes[start + 6] == 0x2E, Character7.isDigit(bytes[start + 7])
        else { return .badRequest }
        guard bytes[start + 5] == 0x31, bytes[start + 7] <= 0x31 else { return .versionNotSupported }
        minorVersion = bytes[start + 7] - 0x30
        return nil
    }

    private mutating func readTarget(_ bytes: Span<UInt8>) -> HTTPViolation? {
        // Controls and spaces cannot be here any more. A fragment is never sent, and bytes above 0x7F are not a URI.
        for index in target where bytes[index] >= 0x80 || bytes[index] == 0x23 { return .targetMalformed }
        if bytes[target.lowerBound] == 0x2F {
            splitPath(bytes, from: target.lowerBound)
            return nil
        }
        if target.count == 1, bytes[target.lowerBound] == 0x2A {
            path = target
            query = target.upperBound..<target.upperBound
            return method == .options ? nil : .targetMalformed
        }
        return readAbsoluteTarget(bytes)
    }

    /// `http://authority/path?query`; what is left over may be the authority form, which belongs to CONNECT.
    private mutating func readAbsoluteTarget(_ bytes: Span<UInt8>) -> HTTPViolation? {
        let start = target.lowerBound
        var slashes = start
        if target.count > 7, bytes.equalsIgnoringCase("http://", in: start..<start + 7) { slashes = start + 7 }
        if target.count > 8, bytes.equalsIgnoringCase("https://", in: start..<start + 8) { slashes = start + 8 }
        guard slashes > start else { return HostField.isAuthorityForm(bytes, target) ? .methodNotAllowed : .targetMalformed }
        var end = slashes
        while end < target.upperBound, bytes[end] != 0x2F, bytes[end] != 0x3F { end += 1 }
        authority = slashes..<end
        guard HostField.isValid(bytes, authority) else { return .targetMalformed }
        if end < target.upperBound, bytes[end] == 0x2F {
            splitPath(bytes, from: end)
        } else {
            path = (slashes - 1)..<slashes
            hasQuery = end < target.upperBound
            query = (hasQuery ? end + 1 : end)..<target.upperBound
        }
        return nil
    }

    private mutating func splitPath(_ bytes: Span<UInt8>, from start: Int) {
        let mark = ByteScan.first(0x3F, in: bytes, from: start, to: target.upperBound)
        hasQuery = mark < target.upperBound
        path = start..<mark
        query = (hasQuery ? mark + 1 : mark)..<target.upperBound
    }
}
