import Engine
import Policy

/// A resolver of the configuration as this shard uses it.
struct Upstream {
    /// How it is asked.
    enum Kind {
        case datagram
        /// DNS over HTTPS: `path` with the query, `authority` as in `Host`.
        case https(isSecure: Bool, authority: String, path: String)
        /// A URL that is none; the configuration has no such.
        case unusable
    }

    let kind: Kind
    let host: String
    let port: UInt16
    /// Known from the start when the host is an address.
    private let literal: SocketAddress?
    /// What the last look-up found.
    private var resolved: [SocketAddress] = []
    /// Which of them answered last: attempts begin there.
    private(set) var preferred = 0
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

    /// Addresses that may be tried.
    var addressCount: Int { literal == nil ? resolved.count : 1 }

    /// Where it is, as far as known; behind the last place comes the first.
    func address(at place: Int, nowMilliseconds: UInt64) -> SocketAddress? {
        if let literal { return literal }
        guard nowMilliseconds < believedUntilMilliseconds else { return nil }
        return resolved[place % resolved.count]
    }

    /// Takes what a look-up found; nothing forgets what was known.
    mutating func learn(_ addresses: [SocketAddress], nowMilliseconds: UInt64) {
        lookup = nil
        resolved = addresses.prefix(DNSLimits.addressesOfUpstream).map { address in
            var address = address
            address.port = port
            return address
        }
        preferred = 0
        believedUntilMilliseconds = resolved.isEmpty ? 0 : nowMilliseconds + DNSLimits.addressMilliseconds
    }

    /// The address at a place has answered.
    mutating func prefer(_ place: Int) {
        if !resolved.isEmpty { preferred = place % resolved.count }
    }

    /// After a failure: the name is looked up again.
    mutating func doubt() { believedUntilMilliseconds = 0 }
}
