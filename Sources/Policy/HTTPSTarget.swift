// Where a resolver of DNS over HTTPS is asked.

/// The parts of a DoH URL.
public struct HTTPSTarget: Equatable, Sendable {
    public let isSecure: Bool
    /// Without brackets.
    public let host: String
    public let port: UInt16
    /// Host and, unless the scheme's own, port: the `Host` field.
    public let authority: String
    /// Path and query, at least `/`.
    public let path: String

    /// Splits `http://…` and `https://…`; nil for anything else, a user name, an empty host or a port that is none.
    public init?(_ url: String) {
        let lower = url.lowercased()
        isSecure = lower.hasPrefix("https://")
        guard isSecure || lower.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
        let authority = rest[..<end]
        let tail = rest[end...].prefix { $0 != "#" }
        path = tail.hasPrefix("/") ? String(tail) : "/" + tail
        let standard: UInt16 = isSecure ? 443 : 80
        guard !authority.contains("@") else { return nil }
        var name = authority
        var digits: Substring?
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { return nil }
            let behind = authority[authority.index(after: close)...]
            guard behind.isEmpty || behind.hasPrefix(":") else { return nil }
            digits = behind.isEmpty ? nil : behind.dropFirst()
            name = authority[authority.index(after: authority.startIndex)..<close]
            guard IPAddress(String(name))?.family == .v6 else { return nil }
        } else if let colon = authority.lastIndex(of: ":") {
            digits = authority[authority.index(after: colon)...]
            name = authority[..<colon]
            guard !name.contains(":") else { return nil }
        }
        guard !name.isEmpty else { return nil }
        if let digits, !digits.isEmpty {
            guard digits.utf8.allSatisfy({ $0 &- 0x30 < 10 }), let number = UInt16(digits), number > 0 else { return nil }
            port = number
        } else {
            port = standard
        }
        host = String(name)
        let bracketed = host.contains(":") ? "[\(host)]" : host
        self.authority = port == standard ? bracketed : "\(bracketed):\(port)"
    }
}
