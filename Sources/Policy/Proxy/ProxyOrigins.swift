// Which web pages may open sessions (WS_ALLOWED_ORIGINS, `origins`), and the stricter rule for credentials that a browser adds
// by itself.

import Wire

/// The list of admitted origins, with wildcards for hosts and ports.
public struct ProxyOrigins: Sendable, Equatable {
    /// One entry.
    enum Entry: Sendable, Equatable {
        /// A normal form, `null` included.
        case exact(String)
        /// Hosts below a suffix.
        case below(suffix: String, http: Bool, https: Bool, port: Port)
        /// `*`.
        case any
    }

    enum Port: Sendable, Equatable {
        case schemeDefault
        case number(UInt16)
        case any
    }

    let entries: [Entry]
    /// Whether a request without Origin, so not from a web page, is admitted when its credential is no cookie.
    public var allowsMissing: Bool

    /// Most entries.
    public static let maximumEntries = 1024

    /// Why a list is refused.
    public enum Fault: Error, Equatable, CustomStringConvertible {
        case tooManyEntries
        case malformed(String)
        case anyWithCookies

        /// One line for the operator.
        public var description: String {
            switch self {
            case .tooManyEntries: "origin list has more than \(ProxyOrigins.maximumEntries) entries"
            case .malformed(let entry):
                "'\(entry)' is no origin; write https://app.example.com[:port], *.example.com, http://*.example.com:*, null or *"
            case .anyWithCookies:
                "'*' admits pages that could use a visitor's cookie; list the origins, or take cookie out of the token sources"
            }
        }
    }

    /// Reads entries, blanks around them ignored and empty ones skipped. `usesCookies`: whether a token may come from a cookie.
    public init(_ texts: [String], profile: ProxyProfile, usesCookies: Bool, allowsMissing: Bool = true) throws(Fault) {
        var entries: [Entry] = []
        for text in texts {
            let text = text.trimmingBlanks()
            guard !text.isEmpty else { continue }
            guard entries.count < Self.maximumEntries else { throw .tooManyEntries }
            guard let entry = Self.entry(text, profile) else { throw .malformed(text) }
            entries.append(entry)
        }
        guard !usesCookies || !entries.contains(.any) else { throw .anyWithCookies }
        self.entries = entries
        self.allowsMissing = allowsMissing
    }

    /// Reads the comma list of WS_ALLOWED_ORIGINS.
    public static func list(_ text: String) -> [String] {
        text.split(separator: ",").map { String($0).trimmingBlanks() }.filter { !$0.isEmpty }
    }

    private static func entry(_ text: String, _ profile: ProxyProfile) -> Entry? {
        if text == "*" { return .any }
        guard text.contains("*") else { return Origin(text).map { .exact($0.text) } }
        var (http, https) = (profile == .compat, true)
        var rest = text.lowercased()
        if rest.hasPrefix("https://") {
            rest.removeFirst(8)
            http = false
        } else if rest.hasPrefix("http://") {
            rest.removeFirst(7)
            (http, https) = (true, false)
        }
        guard rest.hasPrefix("*.") else { return nil }
        rest.removeFirst(2)
        var port = Port.schemeDefault
        if let colon = rest.lastIndex(of: ":") {
            let digits = String(rest[rest.index(after: colon)...])
            if digits == "*" {
                port = .any
            } else {
                guard let number = decimalPort(digits), number > 0 else { return nil }
                port = .number(number)
            }
            rest = String(rest[..<colon])
        }
        guard !rest.contains("*"), rest.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "%") }),
            let suffix = WebHost.normalize(rest), suffix.utf8.contains(where: { $0 >= 0x61 && $0 <= 0x7A }), !suffix.hasPrefix("[")
        else { return nil }
        return .below(suffix: suffix, http: http, https: https, port: port)
    }

    /// Whether no list is configured.
    public var isEmpty: Bool { entries.isEmpty }

    /// Whether an origin is listed.
    public func lists(_ origin: Origin) -> Bool { entries.contains { Self.matches($0, origin) } }

    private static func matches(_ entry: Entry, _ origin: Origin) -> Bool {
        switch entry {
        case .any: return true
        case .exact(let text): return text == origin.text
        case .below(let suffix, let http, let https, let port):
            let isSecure = origin.text.hasPrefix("https://")
            guard isSecure ? https : http && origin.text.hasPrefix("http://") else { return false }
            var host = origin.text.dropFirst(isSecure ? 8 : 7)
            var number: UInt16?
            if !host.hasSuffix("]"), let colon = host.lastIndex(of: ":") {
                number = UInt16(host[host.index(after: colon)...])
                host = host[..<colon]
            }
            let isPort =
                switch port {
                case .any: true
                case .schemeDefault: number == nil
                case .number(let wanted): wanted == number ?? (isSecure ? 443 : 80)
                }
            return isPort && host.utf8.count > suffix.utf8.count + 1 && host.hasSuffix("." + suffix)
        }
    }

    /// What the Origin of a request means.
    public enum Decision: Sendable, Equatable {
        /// None was sent, and none is needed.
        case absent
        /// Admitted. CORS fields name this origin if it is listed.
        case allowed(Origin)
        /// 403.
        case refused
        /// More than one Origin: 400.
        case malformed
    }

    /// Judges a request before its credential is known: without a list every origin passes. `lines` are its Origin fields.
    public func judge(_ lines: [String]) -> Decision {
        guard lines.count <= 1 else { return .malformed }
        guard let line = lines.first else { return allowsMissing ? .absent : .refused }
        guard let origin = Origin(line) else { return isEmpty ? .absent : .refused }
        return isEmpty || lists(origin) ? .allowed(origin) : .refused
    }

    /// Judges a request whose credential came from a cookie: an Origin must be there and listed or, without a list, be the
    /// request's own scheme and host.
    public func judgeCookie(_ lines: [String], host: String, isSecure: Bool) -> Decision {
        guard lines.count <= 1 else { return .malformed }
        guard let line = lines.first, let origin = Origin(line) else { return .refused }
        if isEmpty {
            return origin.text.hasPrefix(isSecure ? "https://" : "http://") && origin.isSameHost(as: host) ? .allowed(origin) : .refused
        }
        return lists(origin) ? .allowed(origin) : .refused
    }
}
