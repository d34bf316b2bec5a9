import Engine
import Policy

/// A resolver of the configuration as this shard uses it.
struct Upstream {
    /// How it is asked.
    enum Kind {
        case datagram
        /// DNS over HTTPS: `path` with the query, `authority` as in `Host`.
        case https(isSecure: Bool, authority: String, path: String)
        /// A URL that cannot be asked; every attempt fails.
        case unusable
    }

    let kind: Kind
    let host: String
    let port: UInt16
    /// Known from the start when the host is an address.
    private let literal: SocketAddress?
    private var resolved: SocketAddress?
    private var believedUntilMilliseconds: UInt64 = 0
    /// The look-up under way.
    var lookup: UInt32?
    /// Idle connections, last used first.
    var idle = UInt32.max
    var connectionCount = 0
    /// Exchanges that wait for a connection.
    var queue = IndexQueue()

    init(_ upstream: DNSUpstream) {
        switch upstream {
        case .datagram(let host, let port):
            kind = .datagram
            self.host = host
            self.port = port
        case .https(let url):
            if let target = HTTPSTarget(url) {
                kind = .https(isSecure: target.isSecure, authority: target.authority, path: target.path)
                host = target.host
                port = target.port
            } else {
                kind = .unusable
                host = ""
                port = 0
            }
        }
        literal = SocketAddress(host, port: port)
    }

    /// Where it is, as far as known.
    func address(nowMilliseconds: UInt64) -> SocketAddress? {
        literal ?? (nowMilliseconds < believedUntilMilliseconds ? resolved : nil)
    }

    /// Takes the first address of a look-up; none forgets what was known.
    mutating func learn(_ addresses: [SocketAddress], nowMilliseconds: UInt64) {
        lookup = nil
        resolved = addresses.first
        resolved?.port = port
        believedUntilMilliseconds = resolved == nil ? 0 : nowMilliseconds + DNSLimits.addressMilliseconds
    }

    /// After a failure: the name is looked up again.
    mutating func doubt() { believedUntilMilliseconds = 0 }
}

/// The parts of a DoH URL.
struct HTTPSTarget: Equatable {
    let isSecure: Bool
    /// Without brackets.
    let host: String
    let port: UInt16
    /// Host and, unless the scheme's own, port: the `Host` field.
    let authority: String
    /// Path and query, at least `/`.
    let path: String

    /// Splits `http://…` and `https://…`; nil for anything else, a user name, an empty host or a port that is none.
    init?(_ url: String) {
        let lower = url.lowercased()
        isSecure = lower.hasPrefix("https://")
        guard isSecure || lower.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst(isSecure ? 8 : 7)
        let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
        let authority = rest[..<end]
        let tail = rest[end...].prefix { $0 != "#" }
        path = tail.hasPrefix("/") ? String(tail) : "/" + tail
        let standard: UInt16 = isSecure ? 443 : 80
        guard !authority.contains("@") else { return nil }
        var name = authority
        var digits: Substring?
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { return nil }
            let behind = authority[authority.index(after: close)...]
            guard behind.isEmpty || behind.hasPrefix(":") else { return nil }
            digits = behind.isEmpty ? nil : behind.dropFirst()
            name = authority[authority.index(after: authority.startIndex)..<close]
        } else if let colon = authority.lastIndex(of: ":") {
            digits = authority[authority.index(after: colon)...]
            name = authority[..<colon]
            guard !name.contains(":") else { return nil }
        }
        guard !name.isEmpty else { return nil }
        if let digits, !digits.isEmpty {
            guard digits.utf8.allSatisfy({ $0 &- 0x30 < 10 }), let number = UInt16(digits), number > 0 else { return nil }
            port = number
        } else {
            port = standard
        }
        host = String(name)
        let bracketed = host.contains(":") ? "[\(host)]" : host
        self.authority = port == standard ? bracketed : "\(bracketed):\(port)"
    }
}
