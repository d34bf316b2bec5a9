// Hosts as the WHATWG URL standard reads and writes them inside http and https URLs, limited to ASCII input.

enum WebHost {
    /// Longest host text that is looked at; an Origin or Host header is never longer.
    static let maximumBytes = 4096

    /// Normalises a host without port: lower-case name, dotted IPv4, or bracketed compressed IPv6. Nil when it is
    /// invalid. The caller has already refused characters above 0x7E, blanks and `%`.
    static func normalize(_ host: String) -> String? {
        guard !host.isEmpty, host.utf8.count <= maximumBytes else { return nil }
        if host.hasPrefix("[") {
            guard host.hasSuffix("]"), host.utf8.count > 2, let address = IPAddress(String(host.dropFirst().dropLast())),
                address.family == .v6
            else { return nil }
            return "[" + address.compressedHexadecimal + "]"
        }
        for byte in host.utf8 where isForbidden(byte) { return nil }
        guard let ascii = IDNA.toASCII(host) else { return nil }
        switch LegacyIPv4.webHost(ascii) {
        case .notNumeric: return ascii
        case .failure: return nil
        case .address(let value): return IPAddress(v4: value).description
        }
    }

    /// Forbidden domain code points (WHATWG URL, section 3.1).
    private static func isForbidden(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x00...0x20, 0x7F...0xFF: return true
        default: return "#/:<>?@[\\]^|%".utf8.contains(byte)
        }
    }

    /// Splits `host[:port]`, normalises both and drops `defaultPort`. Nil for an empty or zero port, a port above
    /// 65535 or an invalid host.
    static func authority(_ text: String, defaultPort: UInt16) -> String? {
        var host = text
        var port: UInt16?
        // The port's colon is the last one outside brackets.
        let close = text.utf8.lastIndex(of: UInt8(ascii: "]"))
        if let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")), close.map({ $0 < colon }) ?? true {
            guard let value = portNumber(text[text.index(after: colon)...]) else { return nil }
            port = value
            host = String(text[..<colon])
        }
        guard let normalized = normalize(host) else { return nil }
        guard let port, port != defaultPort else { return normalized }
        return normalized + ":" + String(port)
    }

    /// Decimal digits with any number of leading zeros, 1...65535.
    private static func portNumber(_ digits: Substring) -> UInt16? {
        guard !digits.isEmpty else { return nil }
        var value: UInt32 = 0
        for byte in digits.utf8 {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value * 10 + UInt32(byte - 0x30)
            guard value <= 65_535 else { return nil }
        }
        return value == 0 ? nil : UInt16(value)
    }
}
