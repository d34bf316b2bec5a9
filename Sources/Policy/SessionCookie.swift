// The session cookie: finding it in Cookie headers and writing Set-Cookie.
//
// The first pair with the right name decides, valid or not. Were a later pair allowed to rescue it, whoever can plant a
// cookie for a parent domain could choose which of two sessions the gateway sees.

import Wire

/// The `aero_session` cookie.
public enum SessionCookie {
    /// The cookie's name, compared exactly.
    public static let name = "aero_session"
    /// A longer Cookie line counts as present but invalid.
    public static let maximumLineBytes = 16_384
    /// A longer value is cut here, and then fails verification.
    public static let maximumValueBytes = 4096

    /// The `SameSite` attribute; the raw value is its spelling.
    public enum SameSite: String, Sendable, CaseIterable {
        case lax = "Lax"
        case strict = "Strict"
        case none = "None"
    }

    /// What one Cookie line says.
    public enum Line: Equatable, Sendable {
        /// The name does not occur: look at the next line.
        case absent
        /// It occurs with this value (percent-decoded, possibly empty): stop here.
        case found(String)
    }

    /// The value in all Cookie lines of a request in wire order, nil when there is none. A present but useless cookie
    /// yields a text that no verification accepts.
    public static func value(inLines lines: [String]) -> String? {
        for line in lines {
            if case .found(let value) = scan(line.utf8.span) { return value }
        }
        return nil
    }

    /// Looks for the cookie in one Cookie line. Call it for each line in wire order until it is found.
    public static func scan(_ line: Span<UInt8>) -> Line {
        guard line.count <= maximumLineBytes else { return .found("") }
        var start = 0
        while start < line.count {
            var end = start
            var equals: Int?
            while end < line.count, line[end] != UInt8(ascii: ";") {
                if equals == nil, line[end] == UInt8(ascii: "=") { equals = end }
                end += 1
            }
            if let equals, isName(line, line.trimmedOfControls(start..<equals)) {
                return .found(decode(line, line.trimmedOfControls(equals + 1..<end)))
            }
            start = end + 1
        }
        return .absent
    }

    private static func isName(_ line: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard range.count == name.utf8.count else { return false }
        for (offset, byte) in name.utf8.enumerated() where line[range.lowerBound + offset] != byte { return false }
        return true
    }

    private static func decode(_ line: Span<UInt8>, _ range: Range<Int>) -> String {
        var raw: [UInt8] = []
        for index in range.prefix(maximumValueBytes) { raw.append(line[index]) }
        if raw.contains(UInt8(ascii: "%")), let decoded = PercentCoding.decodeStrictly(raw.span, 0..<raw.count) {
            return String(decoding: decoded, as: UTF8.self)
        }
        return String(decoding: raw, as: UTF8.self)
    }

    /// The Set-Cookie value for a token.
    public static func setCookie(token: String, maxAgeSeconds: Int, sameSite: SameSite, secure: Bool) -> String {
        "\(name)=\(token); Max-Age=\(maxAgeSeconds); Path=/; HttpOnly; SameSite=\(sameSite.rawValue)" + (secure ? "; Secure" : "")
    }
}
