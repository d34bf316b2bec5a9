// What the keys of the schema accept beyond their type. Each check returns the words that follow the key's name, or nil.

import Policy

extension ConfigurationSchema {
    static func checkName(_ name: String) -> String? {
        let valid =
            !name.isEmpty && name.utf8.count <= 63
            && name.utf8.allSatisfy { ($0 >= 0x61 && $0 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2D || $0 == 0x5F }
        return valid ? nil : "`\(Quantity.excerpt(name))` is no name; allowed: 1 to 63 of a-z, 0-9, - and _"
    }

    static func checkAddress(_ text: String) -> String? {
        ListenAddress(text) == nil
            ? "`\(Quantity.excerpt(text))` is no address; allowed: IP:PORT, [IPv6]:PORT or localhost:PORT" : nil
    }

    static func checkHost(_ text: String) -> String? {
        ListenAddress.numericHost(text) == nil
            ? "`\(Quantity.excerpt(text))` is no address to listen on; allowed: an IP address or localhost" : nil
    }

    static func checkFeature(_ text: String) -> String? {
        if Feature(rawValue: text) != nil { return nil }
        if unavailableSections.contains(text) { return " entry `\(text)`: this feature is not available in this version" }
        let hint = NearestName.find(text, among: Feature.allCases.map(\.rawValue)).map { "; did you mean `\($0)`?" } ?? ""
        return " entry `\(Quantity.excerpt(text))`: no such feature\(hint)"
    }

    static func checkOrigin(_ text: String) -> String? {
        if text == "*" || text == "null" { return nil }
        return PolicyText.normalizedOrigin(text) == nil
            ? " entry `\(Quantity.excerpt(text))`: not an origin; allowed: *, null or scheme://host[:port] with http or https"
            : nil
    }

    static func checkHostPattern(_ text: String) -> String? {
        PolicyText.hostPatternProblem(text).map { " entry \(Quantity.excerpt($0, characters: 400))" }
    }

    static func checkPort(_ text: String) -> String? {
        guard let port = Quantity.integer(text) else { return " number `\(Quantity.excerpt(text))`: not an integer" }
        return (1...65_535).contains(port) ? nil : " entry `\(text)`: ports are from 1 to 65535"
    }

    static func checkClient(_ text: String) -> String? {
        IPAddress(text) == nil ? " entry `\(Quantity.excerpt(text))`: not an IP address" : nil
    }

    static func checkUpstream(_ text: String) -> String? {
        // Says nothing of what may be a password.
        if text.contains("@") { return " entry with `@`: a user name or password would not be sent; leave it out" }
        if PolicyText.upstream(text) != nil { return nil }
        return " entry `\(Quantity.excerpt(DNSUpstream.masked(text)))`: "
            + "allowed: host, host:port, [IPv6]:port, udp://host:port, http:// or https:// URL"
    }

    /// The placeholder of the chart must be replaced; a gateway that starts with it would accept forged sessions.
    static func checkSecret(_ text: String) -> String? {
        Quantity.trimmed(text) == placeholderSecret
            ? "this is the placeholder, not a secret; generate one, for example with `openssl rand -hex 32`" : nil
    }

    /// Says nothing of the URL itself, which holds a password.
    static func checkRedisURL(_ text: String) -> String? {
        let text = Quantity.trimmed(text)
        if text.isEmpty { return nil }
        return RedisLocation(text) == nil
            ? "not a Redis URL; allowed: redis:// or, with TLS, rediss:// and [[user]:password@]host[:port][/database]" : nil
    }

    static func checkRedisPrefix(_ text: String) -> String? {
        let isSound = !text.isEmpty && text.utf8.count <= RedisSettings.maximumPrefixBytes
            && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "*") }
        return isSound ? nil : "allowed: 1 to \(RedisSettings.maximumPrefixBytes) printable ASCII characters without blanks and *"
    }

    /// A token that can be guessed is none.
    static func checkAdminToken(_ text: String) -> String? {
        if text.isEmpty { return nil }
        if !text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) { return "a token has visible ASCII characters and no blanks" }
        return text.utf8.count >= adminTokenBytesMinimum
            ? checkSecret(text) : "shorter than \(adminTokenBytesMinimum) characters; generate one, for example with `openssl rand -hex 32`"
    }

    /// 64 bits in hexadecimal: beyond guessing over a network.
    static let adminTokenBytesMinimum = 16

    static let placeholderSecret = "__REPLACE_ME__"
}

extension ListenAddress {
    /// The address written as `IP:PORT`, `[IPv6]:PORT`, `localhost:PORT` or `:PORT` (every IPv4 address).
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = String(text[..<colon])
        let digits = text[text.index(after: colon)...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let port = UInt16(digits) else { return nil }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil  // 1::2:80 could be an address alone or an address with a port
        }
        guard let numeric = ListenAddress.numericHost(host.isEmpty ? "0.0.0.0" : host) else { return nil }
        self.init(host: numeric, port: port)
    }

    /// The IP address that `text` names: an address, or `localhost`. Names are not looked up: which address a gateway listens on
    /// must not depend on a resolver.
    static func numericHost(_ text: String) -> String? {
        if text == "localhost" { return "127.0.0.1" }
        return IPAddress(text).map { "\($0)" }
    }
}
