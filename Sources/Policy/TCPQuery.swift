// The query of `/tcp`: where the client wants to go.
//
//     v=1&host=<name or address>&port=<n>      or      v=1&target=<host>:<port>
//
// The answer to a bad query is one of sixteen fixed texts, which clients show to their users.

import Wire

/// A parsed `/tcp` query.
public struct TCPQuery: Hashable, Sendable {
    /// The host as sent, without brackets; not classified yet.
    public let host: String
    /// The port, never 0.
    public let port: UInt16

    // Lengths are in UTF-16 units, as the clients count them.

    /// Longest `host`.
    public static let maximumHostCharacters = 1024
    /// Longest `port`.
    public static let maximumPortCharacters = 16
    /// Longest `target`.
    public static let maximumTargetCharacters = 1056

    /// Why a query is refused, always with status 400. The raw value is the text sent.
    public enum Fault: String, Error, Sendable, CaseIterable {
        case unsupportedVersion = "Unsupported TCP proxy protocol version"
        case hostMissing = "Missing required query parameter: host"
        case portMissing = "Missing required query parameter: port"
        case hostEmpty = "Host must not be empty"
        case hostTooLong = "Invalid host: too long"
        case hostBracketsMismatched = "Invalid host: mismatched brackets"
        case hostBracketsEmpty = "Invalid host: empty bracketed host"
        case portInvalid = "Invalid port"
        case targetEmpty = "Query parameter target must not be empty"
        case targetTooLong = "Invalid target: too long"
        case targetBracketUnclosed = "Invalid target: missing closing bracket for IPv6 literal"
        case targetLiteralEmpty = "Invalid target: empty IPv6 literal"
        case targetSeparatorMissing = "Invalid target: missing port separator"
        case targetIncomplete = "Invalid target: expected <host>:<port>"
        case targetLiteralUnbracketed = "Invalid target: IPv6 literals must use bracket form, e.g. [::1]:443"
        case targetBracketStray = "Invalid target: unexpected bracket in host"

        /// The text sent as the body of the 400.
        public var message: String { rawValue }
    }

    /// Parses the bytes after the `?`. The first occurrence of a name counts; `target` wins over `host` and `port`,
    /// which are then not looked at.
    public static func parse(_ query: Span<UInt8>) throws(Fault) -> TCPQuery {
        let whole = 0..<query.count
        let version = FormQuery.string("v", in: query, whole) ?? ""
        guard version.isEmpty || version == "1" else { throw .unsupportedVersion }
        if let target = FormQuery.string("target", in: query, whole) { return try parseTarget(target) }
        guard let host = FormQuery.string("host", in: query, whole) else { throw .hostMissing }
        guard let port = FormQuery.string("port", in: query, whole) else { throw .portMissing }
        return TCPQuery(host: try bareHost(host), port: try number(port))
    }

    /// Parses a query given as text.
    public static func parse(_ query: String) throws(Fault) -> TCPQuery {
        try parse(query.utf8.span)
    }

    // Delimiters are looked for among bytes: a combining mark behind a bracket must not hide it.

    private static func bareHost(_ host: String) throws(Fault) -> String {
        guard !host.isEmpty else { throw .hostEmpty }
        guard host.utf16.count <= maximumHostCharacters else { throw .hostTooLong }
        let (opens, closes) = (host.utf8.first == open, host.utf8.last == close)
        guard opens == closes else { throw .hostBracketsMismatched }
        guard opens else { return host }
        guard host.utf8.count > 2 else { throw .hostBracketsEmpty }
        return String(decoding: host.utf8.dropFirst().dropLast(), as: UTF8.self)
    }

    private static func number(_ text: String) throws(Fault) -> UInt16 {
        guard text.utf16.count <= maximumPortCharacters, let port = decimalPort(text) else { throw .portInvalid }
        return port
    }

    private static func parseTarget(_ target: String) throws(Fault) -> TCPQuery {
        guard !target.isEmpty else { throw .targetEmpty }
        guard target.utf16.count <= maximumTargetCharacters else { throw .targetTooLong }
        let bytes = Array(target.utf8)
        func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
        if bytes[0] == open {
            guard let end = bytes.firstIndex(of: close) else { throw .targetBracketUnclosed }
            guard end > 1 else { throw .targetLiteralEmpty }
            guard end + 1 < bytes.count, bytes[end + 1] == colon else { throw .targetSeparatorMissing }
            return TCPQuery(host: text(1..<end), port: try number(text(end + 2..<bytes.count)))
        }
        guard let separator = bytes.lastIndex(of: colon) else { throw .targetSeparatorMissing }
        guard separator > 0, separator + 1 < bytes.count else { throw .targetIncomplete }
        let host = bytes[..<separator]
        guard !host.contains(colon) else { throw .targetLiteralUnbracketed }
        guard !host.contains(open), !host.contains(close) else { throw .targetBracketStray }
        return TCPQuery(host: text(0..<separator), port: try number(text(separator + 1..<bytes.count)))
    }

    private static let open = UInt8(ascii: "[")
    private static let close = UInt8(ascii: "]")
    private static let colon = UInt8(ascii: ":")
}
