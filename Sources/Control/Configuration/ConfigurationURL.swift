// The two URLs of the configuration. Only what they can mean is accepted; nothing is repaired.

/// `gateway.public_base_url`: where clients find the gateway.
struct BaseURL: Equatable {
    /// Normalised origin.
    var origin: String
    /// Path without trailing slashes: empty, or `/…`.
    var path: String
    /// The whole without one trailing slash.
    var text: String

    init?(_ text: String) {
        guard let parts = URLParts(text), parts.scheme == "http" || parts.scheme == "https",
            let origin = PolicyText.normalizedOrigin("\(parts.scheme)://\(parts.authority)")
        else { return nil }
        self.origin = origin
        var path = parts.path
        let whole = origin + (path.hasSuffix("/") ? String(path.dropLast()) : path)
        while path.hasSuffix("/") { path.removeLast() }
        self.path = path
        self.text = whole
    }

    static func problem(_ text: String) -> String? {
        if text.isEmpty || BaseURL(text) != nil { return nil }
        return "\(shown(text)) is not allowed; allowed: an absolute http or https URL without user name, query and fragment"
    }
}

/// `UDP_RELAY_BASE_URL`: where clients find the relay.
struct RelayURL: Equatable {
    /// Lower-case scheme and host, no default port, no trailing slash.
    var text: String

    init?(_ text: String) {
        guard let parts = URLParts(text) else { return nil }
        // A WebSocket scheme has the default port and host rules of its HTTP twin.
        let twins = ["http": "http", "https": "https", "ws": "http", "wss": "https"]
        guard let twin = twins[parts.scheme], let origin = PolicyText.normalizedOrigin("\(twin)://\(parts.authority)") else {
            return nil
        }
        let path = parts.path.hasSuffix("/") ? String(parts.path.dropLast()) : parts.path
        self.text = parts.scheme + origin.dropFirst(twin.count) + path
    }

    static func problem(_ text: String) -> String? {
        if text.isEmpty || RelayURL(text) != nil { return nil }
        return
            "\(shown(text)) is not allowed; allowed: an absolute http, https, ws or wss URL without user name, query and fragment"
    }
}

/// `scheme://authority/path` taken apart, RFC 3986 section 3.
struct URLParts: Equatable {
    /// Lower-case.
    var scheme: String
    var authority: String
    var path: String

    /// nil when there is a query, a fragment, a blank, a backslash, a dot segment, or no authority.
    init?(_ text: String) {
        guard text.utf8.count <= 4096,
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x5C && $0 != 0x3F && $0 != 0x23 && $0 != 0x22 }),
            let separator = text.utf8.firstIndex(of: 0x3A), text[separator...].hasPrefix("://")
        else { return nil }
        scheme = text[..<separator].lowercased()
        let rest = text[text.utf8.index(separator, offsetBy: 3)...]
        let slash = rest.utf8.firstIndex(of: 0x2F) ?? rest.endIndex
        authority = String(rest[..<slash])
        path = String(rest[slash...])
        guard !scheme.isEmpty, !authority.isEmpty, !authority.utf8.contains(0x40) else { return nil }
        guard path.split(separator: "/").allSatisfy({ $0 != "." && $0 != ".." }) else { return nil }
    }
}

/// A refused URL as it is repeated: not when it may hold a password or a token.
private func shown(_ text: String) -> String {
    text.utf8.contains { $0 == 0x40 || $0 == 0x3F } ? "this URL" : "`\(Quantity.excerpt(text))`"
}
