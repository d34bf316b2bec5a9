// Fixed and computed CORS header values (WHATWG Fetch, section 3.3).

/// Header values of CORS answers.
public enum CrossOriginHeaders {
    /// `Access-Control-Expose-Headers`.
    public static let exposeHeaders = "x-request-id, content-length"
    /// `Access-Control-Allow-Methods` of a preflight.
    public static let allowMethods = "GET,POST,PUT,PATCH,DELETE,OPTIONS"
    /// `Access-Control-Max-Age` of a preflight, seconds.
    public static let maxAgeSeconds = 600
    /// Longest `Access-Control-Request-Headers` that is echoed.
    public static let maximumRequestedCharacters = 4096

    /// `Access-Control-Allow-Headers` for the value of `Access-Control-Request-Headers`, nil when that was not sent.
    /// `Content-Type` is always among them, because every client needs it; a list with a byte that no list of header
    /// names holds is answered as if it were absent, so nothing odd is ever echoed.
    public static func allowHeaders(requested: String?) -> String {
        let fallback = "Content-Type"
        guard let list = echo(requested) else { return fallback }
        let names = list.split(separator: ",").map { String($0).trimmingBlanks().lowercased() }
        return names.contains("content-type") ? list : fallback + ", " + list
    }

    /// The value of `Access-Control-Request-Headers` when it is a list of header names, trimmed; nil when it is not, or not there.
    public static func echo(_ requested: String?) -> String? {
        guard let requested, requested.utf8.count <= maximumRequestedCharacters,
            requested.utf8.allSatisfy({ $0 <= 0x20 || $0 == UInt8(ascii: ",") || isTokenByte($0) })
        else { return nil }
        let list = String(decoding: requested.utf8.drop { $0 <= 0x20 }.reversed().drop { $0 <= 0x20 }.reversed(), as: UTF8.self)
        // Line breaks cannot arrive in a parsed header; refusing them here keeps the echo safe whoever calls.
        return list.isEmpty || list.utf8.contains(where: { $0 < 0x20 && $0 != 0x09 }) ? nil : list
    }
}

/// Whether a byte may stand in a header name or another token (RFC 9110 section 5.6.2, tchar).
func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"):
        true
    default:
        "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
}
