// Where the store shared by several instances is: the value of `redis.url`.

/// `redis://[[user]:password@]host[:port][/database]`, `rediss://` with TLS. The description leaves the credentials out.
public struct RedisLocation: Sendable, Hashable, CustomStringConvertible {
    /// A name or an address without brackets.
    public let host: String
    /// 6379 unless the URL says otherwise.
    public let port: UInt16
    /// Empty: the default user.
    public let user: String
    /// Empty: no authentication.
    public let password: String
    /// Number of the database.
    public let database: Int
    /// `rediss`.
    public let isSecure: Bool

    /// Longest URL that is read.
    public static let maximumBytes = 4096
    /// Highest database number: servers have 16 unless configured otherwise, none has a million.
    static let maximumDatabase = 1_000_000

    /// Reads a URL; nil when it is none.
    public init?(_ text: String) {
        guard text.utf8.count <= Self.maximumBytes, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        let lower = text.lowercased()
        let rest: Substring
        if lower.hasPrefix("redis://") {
            isSecure = false
            rest = text.dropFirst(8)
        } else if lower.hasPrefix("rediss://") {
            isSecure = true
            rest = text.dropFirst(9)
        } else {
            return nil
        }
        guard !rest.contains("?"), !rest.contains("#") else { return nil }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let path = rest[slash...].dropFirst()
        guard let database = path.isEmpty ? 0 : Int(path), database >= 0, database <= Self.maximumDatabase,
            path.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
        else { return nil }
        self.database = database
        var authority = rest[..<slash]
        var credentials: Substring?
        if let at = authority.lastIndex(of: "@") {
            credentials = authority[..<at]
            authority = authority[authority.index(after: at)...]
        }
        let parts = (credentials ?? "").split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let user = Self.decoded(parts.first ?? ""), let password = Self.decoded(parts.count > 1 ? parts[1] : "") else { return nil }
        guard credentials == nil || !password.isEmpty else { return nil }
        self.user = user
        self.password = password
        guard let (host, port) = Self.split(authority) else { return nil }
        self.host = host
        self.port = port
    }

    /// Where it is, without user and password.
    public var description: String {
        "\(isSecure ? "rediss" : "redis")://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)"
    }

    private static func split(_ authority: Substring) -> (String, UInt16)? {
        var host = authority
        var port: UInt16 = 6379
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { return nil }
            host = authority[authority.index(after: authority.startIndex)..<close]
            guard let address = IPAddress(String(host)), address.family == .v6 else { return nil }
            let rest = authority[authority.index(after: close)...]
            if rest.isEmpty { return (String(host), port) }
            guard rest.hasPrefix(":"), let number = decimalPort(String(rest.dropFirst())) else { return nil }
            return (String(host), number)
        }
        if let colon = authority.firstIndex(of: ":") {
            guard let number = decimalPort(String(authority[authority.index(after: colon)...])) else { return nil }
            host = authority[..<colon]
            port = number
        }
        guard isName(host) else { return nil }
        return (String(host), port)
    }

    /// Names of services and containers may contain underscores, which names of hosts may not.
    private static func isName(_ host: Substring) -> Bool {
        guard !host.isEmpty, host.utf8.count <= 253 else { return false }
        return host.utf8.allSatisfy { byte in
            let isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7A
            return isLetter || (byte >= 0x30 && byte <= 0x39) || byte == 0x2D || byte == 0x2E || byte == 0x5F
        }
    }

    /// Percent-decodes a user or password (RFC 3986 section 2.1); nil when an escape is broken.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        let source = Array(text.utf8)
        var index = 0
        while index < source.count {
            if source[index] != UInt8(ascii: "%") {
                bytes.append(source[index])
                index += 1
                continue
            }
            guard index + 2 < source.count, let high = hexadecimalValue(source[index + 1]), let low = hexadecimalValue(source[index + 2])
            else { return nil }
            bytes.append(high << 4 | low)
            index += 3
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

/// How several instances share their limits.
public struct RedisSettings: Sendable, Hashable {
    /// Where the store is.
    public var location: RedisLocation
    /// Every key in the store begins with it; instances that share a prefix share their limits.
    public var prefix: String
    /// PEM file of the authorities a `rediss` server's certificate may come from; empty: the system's.
    public var authoritiesPath: String
    /// Digest of what that file said when it was read: another one is another set of authorities.
    public var authoritiesDigest: String

    /// Prefix of keys unless configured.
    public static let defaultPrefix = "sluice:"
    /// Longest prefix.
    public static let maximumPrefixBytes = 64

    /// Settings.
    public init(location: RedisLocation, prefix: String = RedisSettings.defaultPrefix, authoritiesPath: String = "",
                authoritiesDigest: String = "") {
        self.location = location
        self.authoritiesPath = authoritiesPath
        self.authoritiesDigest = authoritiesDigest
        self.prefix = prefix
    }
}
