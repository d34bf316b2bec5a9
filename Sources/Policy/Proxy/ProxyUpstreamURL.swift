// URLs of upstreams, checked when they are read: a request never meets a broken one.

import Wire

/// `ws://`, `wss://`, or `http://` and `https://` as other names for them.
public struct ProxyUpstreamURL: Sendable, Hashable, CustomStringConvertible {
    /// Whether the connection is encrypted.
    public let isSecure: Bool
    /// A lower-case name, an IPv4 address, or an IPv6 address without brackets.
    public let host: String
    /// 80 or 443 unless given.
    public let port: UInt16
    /// Begins with `/`.
    public let path: String
    /// Without `?`, possibly empty.
    public let query: String

    /// Longest URL.
    public static let maximumBytes = 4096

    /// Why a URL is refused. `description` goes behind file, entry and key.
    public enum Fault: Error, Equatable, CustomStringConvertible {
        case empty
        case tooLong
        case notASCII
        case relative
        case scheme(String)
        case userInformation
        case fragment
        case host
        case port

        /// One line for the operator.
        public var description: String {
            switch self {
            case .empty: "is empty; write ws://host[:port]/path or wss://host[:port]/path"
            case .tooLong: "is longer than \(ProxyUpstreamURL.maximumBytes) bytes"
            case .notASCII: "holds a blank, a control character or one outside ASCII; percent-encode it, and write names in A-label form"
            case .relative: "is not an absolute URL; write ws://host[:port]/path or wss://host[:port]/path"
            case .scheme(let scheme): "has the scheme '\(scheme)'; use ws, wss, http or https"
            case .userInformation: "holds a user or password; use upstream.token or a client certificate instead"
            case .fragment: "has a fragment, which is never sent; remove '#' and what follows"
            case .host: "has no valid host"
            case .port: "has no valid port; use 1 to 65535"
            }
        }
    }

    /// Reads a URL.
    public init(_ text: String) throws(Fault) {
        guard !text.isEmpty else { throw .empty }
        guard text.utf8.count <= Self.maximumBytes else { throw .tooLong }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\\") }) else { throw .notASCII }
        guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else { throw .relative }
        switch text[..<colon].lowercased() {
        case "ws", "http": isSecure = false
        case "wss", "https": isSecure = true
        default: throw .scheme(String(text[..<colon]))
        }
        let rest = text[text.index(colon, offsetBy: 3)...]
        guard !rest.contains("#") else { throw .fragment }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end]
        guard !authority.contains("@") else { throw .userInformation }
        (host, port) = try Self.split(authority, defaultPort: isSecure ? 443 : 80)
        let mark = rest[end...].firstIndex(of: "?") ?? rest.endIndex
        path = mark == end ? "/" : String(rest[end..<mark])
        query = String(rest[mark...].dropFirst())
    }

    private static func split(_ authority: Substring, defaultPort: UInt16) throws(Fault) -> (String, UInt16) {
        var name = authority
        var port = defaultPort
        let bracket = authority.lastIndex(of: "]")
        if let colon = authority.lastIndex(of: ":"), bracket.map({ $0 < colon }) ?? true {
            let digits = authority[authority.index(after: colon)...]
            guard let number = decimalPort(String(digits)), number > 0 else { throw .port }
            port = number
            name = authority[..<colon]
        }
        guard !name.isEmpty, !name.contains("%"), let host = WebHost.normalize(String(name)) else { throw .host }
        return (host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host, port)
    }

    /// Host and port as a Host field has them.
    public var authority: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }

    /// What a circuit breaker is about: scheme, host, port and path, never the query.
    public var endpoint: String { "\(isSecure ? "wss" : "ws")://\(authority)\(path)" }

    /// The URL without its query, which may hold a secret.
    public var description: String { endpoint }
}
