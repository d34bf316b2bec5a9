// One route of the JWT proxy as plain values, and how requests become requests to its upstream.

import Wire

/// What a session speaks.
public enum ProxyProtocol: String, Sendable, Hashable, CaseIterable {
    /// Found out from the subprotocol or the first message.
    case auto
    case mqtt
    case raw

    /// What a chosen subprotocol says about a session; `auto` when the first message has to decide.
    public func decided(bySubprotocol chosen: String?) -> ProxyProtocol {
        guard self == .auto, let chosen else { return self }
        return SubprotocolOffer.mqttNames.contains(chosen) ? .mqtt : .raw
    }
}

/// Which profile a behaviour follows where they differ.
public enum ProxyProfile: String, Sendable, Hashable, CaseIterable {
    /// As go-ws-gateway-proxy is started.
    case compat
    /// With a configuration file of our own.
    case native
}

/// One upstream of a route.
public struct ProxyUpstream: Sendable, Hashable {
    /// Where it is.
    public var url: ProxyUpstreamURL
    /// Its share of new sessions relative to the others'.
    public var weight: Int

    /// Largest weight.
    public static let maximumWeight = 1000

    /// An upstream.
    public init(url: ProxyUpstreamURL, weight: Int = 1) {
        self.url = url
        self.weight = weight
    }
}

/// What becomes of the client's query.
public enum ProxyQuery: Sendable, Hashable {
    /// The upstream's own query is sent, the client's is not.
    case drop
    /// The client's replaces the upstream's, even by nothing.
    case preserve
    /// Pairs of these names follow the upstream's own.
    case keep([String])
}

/// A route.
public struct ProxyRoute: Sendable, Equatable {
    /// How a prefix is compared with a request's path.
    public enum Match: String, Sendable, Hashable, CaseIterable {
        /// Whole segments: `/mqtt` matches `/mqtt` and `/mqtt/x`.
        case segment
        /// Characters: `/mqtt` matches `/mqttx`, too.
        case string
        /// The whole path.
        case exact
    }

    /// When the upstream is dialled.
    public enum Dial: String, Sendable, Hashable, CaseIterable {
        case beforeAccept = "before_accept"
        case afterAccept = "after_accept"
        /// Before, if the client is authenticated by then.
        case auto
    }

    /// How a refused client is told.
    public enum Rejection: String, Sendable, Hashable, CaseIterable {
        /// An HTTP status.
        case http
        /// Upgrade, then a close frame.
        case close
    }

    /// What happens when the token runs out.
    public enum Expiry: String, Sendable, Hashable, CaseIterable {
        case close, grace, ignore
    }

    /// Name in metrics and logs.
    public var name: String
    /// Host names it is for; none: all.
    public var hosts: [ProxyHostPattern]
    /// Compared with the path, case-sensitively. Empty matches all.
    public var prefix: String
    /// How it is compared.
    public var match: Match
    /// What is spoken.
    public var sessionProtocol: ProxyProtocol
    /// Where sessions go; at least one.
    public var upstreams: [ProxyUpstream]
    /// Where raw sessions go instead, if that is another place.
    public var rawUpstreams: [ProxyUpstream]
    /// How one of several upstreams is chosen.
    public var balancing: EndpointBalancing
    /// Whether the path behind the prefix is appended to the upstream's.
    public var appendsPath: Bool
    /// Put in place of the prefix; the result replaces the upstream's path.
    public var rewritePrefix: String?
    /// Subprotocols.
    public var subprotocols: SubprotocolRule
    /// What becomes of the client's query.
    public var query: ProxyQuery
    /// Whether a credential may stay in the query.
    public var keepsCredentialQuery: Bool
    /// Names of token providers; none: the default one.
    public var providers: [String]
    /// Where tokens are looked for; nil: the defaults of the protocol.
    public var sources: [TokenSource]?
    /// Whether a session needs a token.
    public var requiresToken: Bool
    /// How refusals are told.
    public var rejection: Rejection
    /// Further conditions on claims.
    public var conditions: [ClaimCondition]
    /// Topic rights.
    public var topics: TopicSettings
    /// Whether permessage-deflate may be agreed between client and upstream.
    public var passesCompression: Bool
    /// When the upstream is dialled.
    public var dial: Dial
    /// What happens when the token runs out.
    public var expiry: Expiry
    /// What the upstream learns about the client.
    public var identity: UpstreamIdentity
    /// Message rate; nil: the global one.
    public var rate: MessageRate?
    /// Largest message; nil: the default, 1 MiB on routes that inspect, none on others.
    public var maximumMessageBytes: Int?
    /// Whether MQTT packets are looked at even if nothing else needs it.
    public var countsPackets: Bool

    /// A route with the defaults of a profile.
    public init(
        name: String = "", prefix: String, upstreams: [ProxyUpstream], sessionProtocol: ProxyProtocol = .auto,
        profile: ProxyProfile = .native
    ) {
        self.name = name.isEmpty ? prefix : name
        hosts = []
        self.prefix = prefix
        match = profile == .compat ? .string : .segment
        self.sessionProtocol = sessionProtocol
        self.upstreams = upstreams
        rawUpstreams = []
        balancing = .leastSessions
        appendsPath = false
        rewritePrefix = nil
        subprotocols = SubprotocolRule(defaultsFor: sessionProtocol, profile: profile)
        query = .drop
        keepsCredentialQuery = profile == .compat
        providers = []
        sources = nil
        requiresToken = true
        rejection = profile == .compat ? .close : .http
        conditions = []
        topics = TopicSettings()
        passesCompression = false
        dial = .auto
        expiry = .close
        identity = UpstreamIdentity(profile: profile)
        rate = nil
        maximumMessageBytes = nil
        countsPackets = false
    }

    /// Whether MQTT packets of a session of this route are looked at behind CONNECT.
    public var inspects: Bool { sessionProtocol != .raw && (!topics.modes.isEmpty || countsPackets) }

    /// Whether a path is the route's.
    public func matches(path: String) -> Bool {
        let bytes = path.utf8
        switch match {
        case .exact: return bytes.elementsEqual(prefix.utf8)
        case .string: return bytes.starts(with: prefix.utf8)
        case .segment:
            guard bytes.starts(with: prefix.utf8) else { return false }
            let rest = bytes.dropFirst(prefix.utf8.count)
            return rest.isEmpty || prefix.utf8.isEmpty || prefix.utf8.last == UInt8(ascii: "/") || rest.first == UInt8(ascii: "/")
        }
    }

    /// The request target at an upstream for a client's path and query (without `?`, credentials already taken out); nil when
    /// the path would leave the upstream's by `..`.
    public func target(at upstream: ProxyUpstream, path: String, query clientQuery: String) -> String? {
        var target = upstream.url.path
        if appendsPath || rewritePrefix != nil {
            // By bytes: a slash with a combining character behind it is one character, and still a slash for whoever routes.
            let rest = path.utf8.dropFirst(prefix.utf8.count)
            guard !Self.climbs(rest) else { return nil }
            var joined = Array((rewritePrefix ?? target).utf8)
            let slash = UInt8(ascii: "/")
            if joined.last == slash, rest.first == slash {
                joined.removeLast()
            } else if !rest.isEmpty, joined.last != slash, rest.first != slash {
                joined.append(slash)
            }
            target = String(decoding: joined + rest, as: UTF8.self)
        }
        var query = upstream.url.query
        switch self.query {
        case .drop: break
        case .preserve: query = clientQuery
        case .keep(let names):
            let kept = QueryText.keeping(names, in: clientQuery)
            query = [query, kept].filter { !$0.isEmpty }.joined(separator: "&")
        }
        return query.isEmpty ? target : target + "?" + query
    }

    /// Whether a path has a segment that means "here" or "up", spelt out or escaped.
    private static func climbs(_ path: Substring.UTF8View) -> Bool {
        path.split(separator: UInt8(ascii: "/")).contains { segment in
            var dots = 0
            var rest = segment[...]
            while let first = rest.first {
                if first == UInt8(ascii: ".") {
                    rest.removeFirst()
                } else if rest.count >= 3, rest.prefix(3).elementsEqual("%2e".utf8) || rest.prefix(3).elementsEqual("%2E".utf8) {
                    rest.removeFirst(3)
                } else {
                    return false
                }
                dots += 1
            }
            return dots == 1 || dots == 2
        }
    }
}
