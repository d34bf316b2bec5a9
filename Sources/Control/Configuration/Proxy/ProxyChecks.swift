// What the keys of the JWT proxy accept beyond their type. Each check returns the words that follow the key's name, or nil.

import Policy
import Wire

extension ConfigurationSchema {
    static func checkProxyBlock(_ text: String) -> String? {
        IPAddress(text) != nil || AddressBlock(text) != nil
            ? nil : " entry `\(Quantity.excerpt(text))`: not an IP address or a block; a block is an address, a slash and the prefix length"
    }

    /// Section 5.3: `https://host[:port]`, `*.suffix`, `scheme://*.suffix[:port or *]`, `null`, `*`.
    static func checkProxyOrigin(_ text: String) -> String? {
        ProxyOriginText(text) == nil
            ? " entry `\(Quantity.excerpt(text))`: not an origin; allowed: scheme://host[:port] with http or https, *.suffix, "
                + "scheme://*.suffix:*, null or *" : nil
    }

    static func checkCookieName(_ text: String) -> String? {
        if text.isEmpty { return "a cookie has a name" }
        if text.utf8.count > 64 { return "longer than 64 characters" }
        return checkHTTPToken(text).map { "`\(Quantity.excerpt(text))` is not allowed; \($0)" }
    }

    static func checkQuotable(_ text: String) -> String? {
        text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C }
            ? nil : "allowed: printable ASCII without quotes and backslashes"
    }

    static func checkPublicHost(_ text: String) -> String? {
        text.isEmpty || PolicyText.normalizedOrigin("https://\(text)") != nil
            ? nil : "`\(Quantity.excerpt(text))` is no host; allowed: a name or an address, and a port behind a colon"
    }

    static func checkAbsolutePath(_ text: String) -> String? {
        text.isEmpty || text.hasPrefix("/") ? checkAbsoluteOrRelativePath(text) : "`\(Quantity.excerpt(text))`: allowed: an absolute path"
    }

    static func checkAbsoluteOrRelativePath(_ text: String) -> String? {
        text.utf8.count < 4096 && !text.utf8.contains(0) ? nil : "allowed: the path of a file"
    }

    static func checkStorePrefix(_ text: String) -> String? {
        let isSound = !text.isEmpty && text.utf8.count <= 64 && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "*") }
        return isSound ? nil : "allowed: 1 to 64 printable ASCII characters without blanks and *"
    }

    static func checkKeySetURL(_ text: String) -> String? {
        if text.isEmpty { return nil }
        return ProxyURL(text, schemes: ["http", "https"]) == nil
            ? "`\(Quantity.excerpt(ProxyURL.withoutCredentials(text)))` is not allowed; allowed: an absolute http or https URL "
                + "without user, password and fragment" : nil
    }

    static func checkProxyUpstream(_ text: String) -> String? {
        if text.isEmpty { return nil }
        return ProxyURL(text, schemes: ["ws", "wss", "http", "https"]) == nil
            ? "`\(Quantity.excerpt(ProxyURL.withoutCredentials(text)))` is not allowed; allowed: an absolute ws or wss URL with a host, "
                + "without user, password and fragment" : nil
    }

    /// Section 8.3. `none` is no algorithm in any spelling.
    static let algorithms = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "HS384", "HS512",
    ]

    static func checkAlgorithm(_ text: String) -> String? {
        if algorithms.contains(text) { return nil }
        let hint = algorithms.first { $0.lowercased() == text.lowercased() }.map { "; did you mean `\($0)`?" } ?? ""
        return " entry `\(Quantity.excerpt(text))`: no algorithm of this version\(hint); allowed: \(algorithms.joined(separator: ", "))"
    }

    /// RFC 6901.
    static func checkPointer(_ text: String) -> String? {
        let parts = text.split(separator: "~", omittingEmptySubsequences: false).dropFirst()
        let isSound = text.isEmpty
            || (text.hasPrefix("/") && text.utf8.count <= 256 && parts.allSatisfy { $0.hasPrefix("0") || $0.hasPrefix("1") })
        return isSound ? nil : "`\(Quantity.excerpt(text))` is no JSON pointer, for example /realm_access/roles"
    }

    static func checkPublicKey(_ text: String) -> String? {
        let trimmed = Quantity.trimmed(text)
        return trimmed.hasPrefix("-----BEGIN PUBLIC KEY-----") || trimmed.hasPrefix("-----BEGIN RSA PUBLIC KEY-----")
            || trimmed.hasPrefix("-----BEGIN CERTIFICATE-----")
            ? nil : " entry: not a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----"
    }

    static func checkMaximumStale(_ text: String) -> String? {
        if text == "never" { return nil }
        guard let milliseconds = Quantity.milliseconds(text), (60_000...2_592_000_000).contains(milliseconds), milliseconds % 1000 == 0
        else {
            return "`\(Quantity.excerpt(text))` is not allowed; allowed: a duration with unit from 1m to 30d, or never"
        }
        return nil
    }

    static func checkRoutePath(_ text: String) -> String? {
        let isSound = text.isEmpty
            || (text.hasPrefix("/") && text.utf8.count <= 1024
                && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x3F && $0 != 0x23 })
        return isSound ? nil : "`\(Quantity.excerpt(text))` is no path; a path begins with / and has neither blanks nor ? nor #"
    }

    static func checkSubprotocol(_ text: String) -> String? {
        text.isEmpty || checkHTTPToken(text) != nil ? " entry `\(Quantity.excerpt(text))`: not a subprotocol" : nil
    }

    static func checkQueryName(_ text: String) -> String? {
        text.isEmpty || text.utf8.count > 128 || !text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x26 && $0 != 0x3D && $0 != 0x23 }
            ? " entry `\(Quantity.excerpt(text))`: not the name of a parameter" : nil
    }

    static func checkHealth(_ text: String) -> String? {
        if ["tcp", "ws", "off"].contains(text) { return nil }
        if text.hasPrefix("http:/"), checkRoutePath(String(text.dropFirst(5))) == nil { return nil }
        return "`\(Quantity.excerpt(text))` is not allowed; allowed: tcp, http:/PATH, ws or off"
    }

    static func checkTokenSource(_ text: String) -> String? {
        if ["authorization", "cookie", "query", "subprotocol", "mqtt_password", "mqtt_username"].contains(text) { return nil }
        if text.hasPrefix("header:") {
            let parts = text.dropFirst(7).split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let isPrefix = parts.count < 2 || parts[1].utf8.count <= 64 && parts[1].utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
            if isPrefix, checkHeaderName(String(parts[0])) == nil { return nil }
        }
        if text.hasPrefix("cookie:"), checkCookieName(String(text.dropFirst(7))) == nil { return nil }
        if text.hasPrefix("query:"), checkQueryName(String(text.dropFirst(6))) == nil { return nil }
        let names = ["authorization", "header:NAME", "cookie", "query", "subprotocol", "mqtt_password", "mqtt_username"]
        let hint = NearestName.find(text, among: names).map { "; did you mean `\($0)`?" } ?? ""
        return " entry `\(Quantity.excerpt(text))`: no source of tokens\(hint)"
    }

    static func checkTokenTarget(_ text: String) -> String? {
        if text == "authorization" || text == "none" { return nil }
        if text.hasPrefix("header:"), checkHeaderName(String(text.dropFirst(7))) == nil { return nil }
        if text.hasPrefix("cookie:"), checkCookieName(String(text.dropFirst(7))) == nil { return nil }
        if text.hasPrefix("query:"), checkQueryName(String(text.dropFirst(6))) == nil { return nil }
        return "`\(Quantity.excerpt(text))` is not allowed; allowed: authorization, header:NAME, query:NAME, cookie:NAME or none"
    }

    /// Fields that the proxy writes itself.
    private static let ownHeaders: Set<String> = [
        "host", "connection", "upgrade", "content-length", "transfer-encoding", "sec-websocket-key", "sec-websocket-version",
        "sec-websocket-protocol", "sec-websocket-extensions", "sec-websocket-accept", "te", "trailer", "keep-alive", "proxy-connection",
    ]

    static func checkHeaderName(_ text: String) -> String? {
        if text.isEmpty || text.utf8.count > 64 || checkHTTPToken(text) != nil {
            return "`\(Quantity.excerpt(text))` is no name of a header field"
        }
        return ownHeaders.contains(text.lowercased()) ? "`\(text)` is written by the proxy itself" : nil
    }

    static func checkHeaderItem(_ text: String) -> String? { checkHeaderName(text).map { " entry \($0)" } }

    static func checkHeaderPair(_ pair: ConfigurationPair) -> String? {
        checkHeaderName(pair.name) ?? (pair.value.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F } ? nil : "allowed: printable ASCII")
    }

    static func checkClaimPair(_ pair: ConfigurationPair) -> String? {
        checkHeaderName(pair.name) ?? (pair.value.isEmpty ? "a JSON pointer is missing" : checkPointer(pair.value))
    }

    static func checkUpstreamHost(_ text: String) -> String? {
        text.isEmpty ? "allowed: upstream, client, or a name" : checkPublicHost(text)
    }

    static func checkCredential(_ text: String, _ words: [String]) -> String? {
        words.contains(text) || (text.hasPrefix("file:") && text.utf8.count > 5)
            ? nil : "`\(Quantity.excerpt(text))` is not allowed; allowed: \(words.joined(separator: ", ")) or file:PATH"
    }

    static func checkUserName(_ text: String) -> String? {
        if text.hasPrefix("claim:/"), checkPointer(String(text.dropFirst(6))) == nil { return nil }
        return checkCredential(text, ["keep", "claim:POINTER"])
    }

    static func checkClientIdentifier(_ text: String) -> String? {
        if text == "any" { return nil }
        for word in ["prefix_claim:", "equals_claim:", "rewrite_prefix:"] where text.hasPrefix(word + "/") {
            return checkPointer(String(text.dropFirst(word.utf8.count)))
        }
        return "`\(Quantity.excerpt(text))` is not allowed; allowed: any, prefix_claim:POINTER, "
            + "equals_claim:POINTER or rewrite_prefix:POINTER"
    }

    static func checkAuthorizationMode(_ text: String) -> String? {
        ["off", "scopes", "acl", "rules"].contains(text) ? nil : " entry `\(Quantity.excerpt(text))`: allowed: off, scopes, acl, rules"
    }

    /// MQTT 5 section 4.7.
    static func checkTopicFilter(_ text: String) -> String? {
        let levels = text.split(separator: "/", omittingEmptySubsequences: false)
        let isSound = !text.isEmpty && text.utf8.count <= 65_535
            && levels.enumerated().allSatisfy { index, level in
                level.contains("#") ? level == "#" && index == levels.count - 1 : !level.contains("+") || level == "+"
            }
        return isSound ? nil : " entry `\(Quantity.excerpt(text))`: not a topic filter; + stands for one level, # for the rest at the end"
    }
}

/// An origin of `jwt.origins`, taken apart.
struct ProxyOriginText: Equatable {
    init?(_ text: String) {
        if text == "*" || text == "null" { return }
        var rest = Substring(text)
        var scheme = "https"
        if let range = text.utf8.firstRange(of: "://".utf8) {
            scheme = text[..<range.lowerBound].lowercased()
            rest = text[range.upperBound...]
        } else if !text.hasPrefix("*.") {
            return nil
        }
        guard scheme == "http" || scheme == "https" else { return nil }
        if rest.hasSuffix(":*") { rest = rest.dropLast(2) }
        if rest.hasPrefix("*.") { rest = rest.dropFirst(2) }
        guard PolicyText.normalizedOrigin("\(scheme)://\(rest)") != nil else { return nil }
    }
}

/// A URL that the proxy dials.
struct ProxyURL: Equatable {
    /// Lower case; `ws` and `wss` for WebSockets.
    var scheme: String
    /// Without brackets.
    var host: String
    var port: UInt16
    /// Path and query.
    var target: String
    var isSecure: Bool { scheme == "https" || scheme == "wss" }

    /// nil: not absolute, another scheme, no host, user information, a fragment, or characters that no URL has.
    init?(_ text: String, schemes: [String]) {
        guard text.utf8.count <= 4096, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x5C && $0 != 0x22 && $0 != 0x23 }),
            let range = text.utf8.firstRange(of: "://".utf8)
        else { return nil }
        scheme = text[..<range.lowerBound].lowercased()
        let rest = text[range.upperBound...]
        let end = rest.utf8.firstIndex { $0 == 0x2F || $0 == 0x3F } ?? rest.endIndex
        let authority = rest[..<end]
        guard schemes.contains(scheme), !authority.isEmpty, !authority.utf8.contains(0x40) else { return nil }
        let twin = scheme == "https" || scheme == "wss" ? "https" : "http"
        guard let origin = PolicyText.normalizedOrigin("\(twin)://\(authority)") else { return nil }
        var name = origin.dropFirst(twin.utf8.count + 3)
        port = twin == "https" ? 443 : 80
        if let colon = name.lastIndex(of: ":"), !name[colon...].contains("]") {
            guard let number = UInt16(name[name.index(after: colon)...]), number > 0 else { return nil }
            port = number
            name = name[..<colon]
        }
        host = name.hasPrefix("[") ? String(name.dropFirst().dropLast()) : String(name)
        let tail = rest[end...]
        target = tail.hasPrefix("/") ? String(tail) : "/" + tail
    }

    /// A text for a message: what stands before an `@` may be a password.
    static func withoutCredentials(_ text: String) -> String {
        guard let at = text.lastIndex(of: "@") else { return text }
        return "…" + text[at...]
    }
}
