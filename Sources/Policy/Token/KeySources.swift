/// Where the keys of a provider come from, and how they are kept, as configured.
public struct KeySources: Sendable, Hashable {
    /// A source that is read again and again.
    public enum Origin: Sendable, Hashable {
        /// A key set.
        case url(KeyLocation)
        /// The key set that the discovery document of this issuer names (OpenID Connect Discovery section 4).
        case discovery(issuer: String)
        /// A file with a key set.
        case file(path: String)

        /// Whether it is read over the network.
        public var isRemote: Bool {
            if case .file = self { return false }
            return true
        }
    }

    /// In the order of precedence.
    public var origins: [Origin] = []
    /// Plain `http` is accepted.
    public var allowsPlain = false
    /// Keys are fetched again before they are older, 60 to 86,400.
    public var refreshSeconds = 600
    /// Between fetches for unknown key ids, once the burst is used up.
    public var minimumRefetchSeconds = 10
    /// How long a key that left the set stays usable, 0 to 86,400.
    public var keyGraceSeconds = 0
    /// How old keys may get while they cannot be fetched; nil is for ever.
    public var maximumStaleSeconds: Int? = 86_400
    /// Limits of a fetch.
    public var connectMilliseconds = 3000
    public var totalMilliseconds = 5000

    /// Most origins of a provider.
    public static let maximumOrigins = 8

    /// No source yet.
    public init() {}

    /// What is wrong, one line each; empty when the sources can be used by the provider with the static keys it has.
    public func problems(of provider: TokenProvider, staticKeys: [KeySetEntry]) -> [String] {
        var problems: [String] = []
        func check(_ holds: Bool, _ problem: @autoclosure () -> String) {
            if !holds { problems.append("provider \(provider.name): \(problem())") }
        }
        check(
            !origins.isEmpty || !staticKeys.isEmpty,
            "no keys: set one of jwks_url, discovery, jwks_file, public_keys or, for HMAC, a secret")
        check(origins.count <= Self.maximumOrigins, "more than \(Self.maximumOrigins) sources of keys")
        check(
            !provider.isSymmetric || !origins.contains(where: \.isRemote),
            "jwks_url, discovery: secrets are never fetched; HMAC algorithms need a secret file")
        for algorithm in provider.algorithms where algorithm.isSymmetric {
            let isShort = staticKeys.contains { $0.key.kind == .secret && $0.key.bits / 8 < algorithm.minimumSecretBytes }
            check(!isShort, "the secret is too short for \(algorithm.rawValue): \(algorithm.minimumSecretBytes) bytes at least")
        }
        for case .url(let location) in origins {
            check(location.isSecure || allowsPlain, "jwks_url: \(location) is not https; use it, or set jwks_allow_http: true")
        }
        for case .discovery(let issuer) in origins {
            let location = DiscoveryDocument.location(issuer: issuer)
            check(location != nil, "discovery: the issuer \(issuer) is not a URL")
            check(location?.isSecure ?? true || allowsPlain, "discovery: \(issuer) is not https; use it, or set jwks_allow_http: true")
            check(provider.issuers.contains(issuer), "discovery: \(issuer) is not among the issuers")
        }
        check((60...86_400).contains(refreshSeconds), "refresh: \(refreshSeconds) s is not within 1 minute to 24 hours")
        check((1...3600).contains(minimumRefetchSeconds), "min_refetch: \(minimumRefetchSeconds) s is not within 1 s to 1 hour")
        check((0...86_400).contains(keyGraceSeconds), "key_grace: \(keyGraceSeconds) s is not within 0 s to 24 hours")
        check(maximumStaleSeconds.map { $0 >= refreshSeconds } ?? true, "max_stale: must not be below refresh")
        check(
            connectMilliseconds > 0 && totalMilliseconds >= connectMilliseconds,
            "jwks timeouts: total must not be below connect, and connect not 0")
        return problems
    }
}

/// The `http` or `https` URL of a key set or discovery document, in the parts a client needs.
public struct KeyLocation: Sendable, Hashable, CustomStringConvertible {
    /// As given.
    public let description: String
    /// `https`.
    public let isSecure: Bool
    /// A name or an address, an IPv6 address without brackets; as it is for the Host field when put in brackets again.
    public let host: String
    /// 443 or 80 unless the URL says otherwise.
    public let port: UInt16
    /// Path and query, `/` at least: the request's target.
    public let target: String

    /// Longest URL that is read.
    public static let maximumBytes = 2048

    /// Reads an absolute URL; nil when it is none, or has a user or a fragment.
    public init?(_ text: String) {
        guard text.utf8.count <= Self.maximumBytes, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        let lower = text.lowercased()
        guard lower.hasPrefix("https://") || lower.hasPrefix("http://"), !text.contains("#"), !text.contains("\\") else { return nil }
        isSecure = lower.hasPrefix("https")
        let rest = text.dropFirst(isSecure ? 8 : 7)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        guard let (host, port) = Self.split(rest[..<end]) else { return nil }
        self.host = host
        self.port = port ?? (isSecure ? 443 : 80)
        target = rest[end...].first == "/" ? String(rest[end...]) : "/" + rest[end...]
        description = text
    }

    private static func split(_ authority: Substring) -> (host: String, port: UInt16?)? {
        guard !authority.contains("@") else { return nil }
        var host = authority
        var port: UInt16?
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            let digits = authority[authority.index(after: colon)...]
            guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let number = UInt16(digits), number > 0 else {
                return nil
            }
            port = number
            host = authority[..<colon]
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            let inside = host.dropFirst().dropLast()
            return inside.contains(":") && !inside.contains(where: { "[]%".contains($0) }) ? (String(inside), port) : nil
        }
        let isName = host.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
            default: false
            }
        }
        return isName && !host.isEmpty && host.utf8.count <= 255 ? (String(host), port) : nil
    }
}
