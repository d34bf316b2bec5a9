// Entries of DNS_UPSTREAMS.

/// One upstream resolver.
public enum DNSUpstream: Hashable, Sendable {
    /// DNS over UDP. `host` is a name or an address without brackets.
    case datagram(host: String, port: UInt16)
    /// DNS over HTTPS (RFC 8484), POST to this URL.
    case https(url: String)

    /// Longest accepted entry.
    public static let maximumEntryBytes = 4096
    /// Port of an entry that names none.
    public static let defaultPort: UInt16 = 53

    /// The value of the `upstream` metric label: `host:port`, IPv6 without brackets, or the URL.
    public var label: String {
        switch self {
        case .datagram(let host, let port): "\(host):\(port)"
        case .https(let url): Self.masked(url)
        }
    }

    /// A URL as it may be shown: its query may hold a key of the resolver's customer.
    public static func masked(_ url: String) -> String {
        guard let query = url.firstIndex(of: "?") else { return url }
        return url[...query] + "***"
    }

    /// Reads one entry: `host`, `host:port`, `udp://host[:port]`, `[v6]`, `[v6]:port`, `http://…` or `https://…`.
    /// Nil when it is none of these; an IPv6 address without brackets is refused because its port would be ambiguous, a URL with a
    /// user name because it would not be sent.
    public init?(parsing entry: String) {
        let text = entry.trimmingBlanks()
        guard !text.isEmpty, text.utf8.count <= Self.maximumEntryBytes else { return nil }
        let lower = text.lowercased()
        if lower.hasPrefix("https://") || lower.hasPrefix("http://") {
            guard !text.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7F }), HTTPSTarget(text) != nil else { return nil }
            self = .https(url: text)
            return
        }
        let endpoint = lower.hasPrefix("udp://") ? String(text.dropFirst(6)) : text
        guard let (host, port) = Self.split(endpoint) else { return nil }
        self = .datagram(host: host, port: port)
    }

    private static func split(_ endpoint: String) -> (String, UInt16)? {
        if endpoint.hasPrefix("[") {
            guard let close = endpoint.firstIndex(of: "]") else { return nil }
            let host = String(endpoint[endpoint.index(after: endpoint.startIndex)..<close])
            guard let address = IPAddress(host), address.family == .v6 else { return nil }
            let rest = endpoint[endpoint.index(after: close)...]
            if rest.isEmpty { return (host, defaultPort) }
            guard rest.hasPrefix(":"), let port = decimalPort(String(rest.dropFirst())) else { return nil }
            return (host, port)
        }
        let parts = endpoint.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = parts.first else { return nil }
        let host = String(first)
        guard TargetHost(classifying: host) != .malformed else { return nil }
        if parts.count == 1 { return (host, defaultPort) }
        guard let port = decimalPort(String(parts[1])) else { return nil }
        return (host, port)
    }
}

/// A port written in decimal digits only, 1...65535; leading zeros are allowed.
func decimalPort(_ text: String) -> UInt16? {
    guard !text.isEmpty, text.utf8.count <= 16, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
        let value = UInt64(text), value >= 1, value <= 65_535
    else { return nil }
    return UInt16(value)
}
