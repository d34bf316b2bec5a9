// The value of an Origin header in one normal form, or nothing.
//
// The rule is narrower than "parse it as a URL": a browser sends exactly `scheme://host[:port]` or `null`, so anything
// that needs repair to look like that was not sent by a browser on a user's behalf and is refused.

/// A normalised web origin: `null`, or `http`/`https` `://host[:port]` without the scheme's default port.
public struct Origin: Hashable, Sendable, CustomStringConvertible {
    /// The normal form, fit for `Access-Control-Allow-Origin`.
    public let text: String
    /// The normal form.
    public var description: String { text }

    /// The opaque origin of sandboxed documents and files.
    public static let opaque = Origin(text: "null")
    /// Longest accepted header value after trimming.
    public static let maximumCharacters = 4096

    private init(text: String) {
        self.text = text
    }

    /// Normalises the value of an Origin header or an allowlist entry; nil when it is not an origin.
    public init?(_ raw: String) {
        let value = raw.trimmingBlanks()
        guard !value.isEmpty, value.utf8.count <= Self.maximumCharacters else { return nil }
        if value == "null" { self = .opaque; return }
        guard !value.utf8.contains(where: Self.isRefused) else { return nil }
        let scheme: Scheme
        let rest: Substring
        if let after = Self.dropping("https://", from: value) {
            (scheme, rest) = (.https, after)
        } else if let after = Self.dropping("http://", from: value) {
            (scheme, rest) = (.http, after)
        } else {
            return nil
        }
        let authority = rest.hasSuffix("/") ? rest.dropLast() : rest
        guard !authority.isEmpty, !authority.utf8.contains(UInt8(ascii: "/")), authority.utf8.last != UInt8(ascii: ":"),
            let normalized = WebHost.authority(String(authority), defaultPort: scheme.defaultPort)
        else { return nil }
        text = scheme.rawValue + "://" + normalized
    }

    /// Whether this origin is the one a `Host` header names under this origin's scheme. The Host is read as strictly as
    /// an Origin: at most 4096 printable ASCII characters, no trailing `:`.
    public func isSameHost(as host: String) -> Bool {
        let value = host.trimmingBlanks()
        guard let scheme, !value.isEmpty, value.utf8.count <= Self.maximumCharacters, value.utf8.last != UInt8(ascii: ":"),
            !value.utf8.contains(where: { Self.isRefused($0) || $0 == UInt8(ascii: "/") }),
            let normalized = WebHost.authority(value, defaultPort: scheme.defaultPort)
        else { return false }
        return text == scheme.rawValue + "://" + normalized
    }

    private var scheme: Scheme? {
        if text.hasPrefix("https://") { return .https }
        return text.hasPrefix("http://") ? .http : nil
    }

    private enum Scheme: String {
        case http, https
        var defaultPort: UInt16 { self == .https ? 443 : 80 }
    }

    private static func isRefused(_ byte: UInt8) -> Bool {
        byte <= 0x20 || byte >= 0x7F || "%,{}\\`?#@".utf8.contains(byte)
    }

    private static func dropping(_ prefix: String, from value: String) -> Substring? {
        let head = value.utf8.prefix(prefix.utf8.count)
        guard String(decoding: head, as: UTF8.self).lowercased() == prefix else { return nil }
        return value.dropFirst(prefix.count)
    }
}
