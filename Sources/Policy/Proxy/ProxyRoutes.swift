// The table of routes: checked as a whole when it is made, asked once for each request.

import Wire

/// Which hosts a route is for.
public enum ProxyHostPattern: Sendable, Hashable {
    /// This name.
    case exact(String)
    /// Names below this one.
    case below(String)

    /// Reads `name` or `*.name`; nil when it is neither.
    public init?(_ text: String) {
        let isBelow = text.hasPrefix("*.")
        guard let name = WebHost.normalize(isBelow ? String(text.dropFirst(2)) : text), !name.contains("*") else { return nil }
        self = isBelow ? .below(name) : .exact(name)
    }

    /// Whether a host, normalised and without port, fits.
    func matches(_ host: String) -> Bool {
        switch self {
        case .exact(let name): host == name
        case .below(let name): host.utf8.count > name.utf8.count + 1 && host.hasSuffix("." + name)
        }
    }
}

/// An entry of `routes.yaml`, read and typed but not yet checked.
public struct CompatRoute: Sendable, Equatable {
    /// `prefix`.
    public var prefix: String
    /// `upstream`.
    public var upstream: String
    /// `copySubProtocol`.
    public var copiesSubprotocol: Bool
    /// `preserveQuery`.
    public var preservesQuery: Bool

    /// An entry with the format's defaults.
    public init(prefix: String = "", upstream: String, copiesSubprotocol: Bool = false, preservesQuery: Bool = false) {
        self.prefix = prefix
        self.upstream = upstream
        self.copiesSubprotocol = copiesSubprotocol
        self.preservesQuery = preservesQuery
    }
}

/// Why a table is refused: the entry counted from 1 (0: the table itself), the key, and what is wrong with a remedy.
public struct ProxyRouteFault: Error, Sendable, Equatable, CustomStringConvertible {
    /// Position of the entry in its file, from 1; 0 when no entry is at fault.
    public let entry: Int
    /// The key at fault, or the variable.
    public let key: String
    /// What is wrong, and what to do.
    public let problem: String

    /// A fault.
    public init(entry: Int, key: String, problem: String) {
        self.entry = entry
        self.key = key
        self.problem = problem
    }

    /// One line for the operator, to stand behind the file's name.
    public var description: String { entry > 0 ? "route \(entry): \(key) \(problem)" : "\(key) \(problem)" }
}

/// The routes, in the order in which they are tried.
public struct ProxyRoutes: Sendable, Equatable {
    /// All routes; an index into it names a route while a session lives.
    public let routes: [ProxyRoute]

    /// Most routes: each is a label of metrics.
    public static let maximumRoutes = 1024
    /// Most upstreams of a route.
    public static let maximumUpstreams = 64
    /// Longest prefix.
    public static let maximumPrefixBytes = 1024
    /// Longest name.
    public static let maximumNameBytes = 64
    /// The path that is always served.
    public static let commonPath = "/ws"

    /// Checks routes of a native configuration.
    public init(_ routes: [ProxyRoute]) throws(ProxyRouteFault) {
        guard !routes.isEmpty else {
            throw ProxyRouteFault(entry: 0, key: "routes", problem: "is empty; add a route with prefix and upstreams")
        }
        guard routes.count <= Self.maximumRoutes else {
            throw ProxyRouteFault(entry: 0, key: "routes", problem: "has more than \(Self.maximumRoutes) entries")
        }
        var names: Set<String> = []
        for (index, route) in routes.enumerated() {
            if let (key, problem) = Self.fault(route) { throw ProxyRouteFault(entry: index + 1, key: key, problem: problem) }
            guard names.insert(route.name).inserted else {
                throw ProxyRouteFault(entry: index + 1, key: "name", problem: "'\(route.name)' is used twice; give each route its own")
            }
        }
        self.routes = routes
    }

    /// Checks entries of `routes.yaml`. `upstream` and `rawUpstream` are UPSTREAM_WS_URL and RAW_WS_BACKEND_URL.
    public init(compat entries: [CompatRoute], upstream: String? = nil, rawUpstream: String? = nil) throws(ProxyRouteFault) {
        var routes: [ProxyRoute] = []
        var names: Set<String> = []
        for (index, entry) in entries.enumerated() {
            var route = try Self.route(entry, number: index + 1, key: "upstream")
            // Nothing in this format is unique; a label has to be.
            var number = 2
            let name = route.name
            while !names.insert(route.name).inserted {
                route.name = "\(name)#\(number)"
                number += 1
            }
            routes.append(route)
        }
        if let implicit = try Self.implicitRoute(upstream, rawUpstream, taken: names) { routes.append(implicit) }
        guard !routes.isEmpty else {
            let problem = "are none; add an entry with prefix and upstream, or set UPSTREAM_WS_URL"
            throw ProxyRouteFault(entry: 0, key: "routes", problem: problem)
        }
        try self.init(routes)
    }

    private static func route(_ entry: CompatRoute, number: Int, key: String) throws(ProxyRouteFault) -> ProxyRoute {
        let url: ProxyUpstreamURL
        do { url = try ProxyUpstreamURL(entry.upstream) } catch {
            throw ProxyRouteFault(entry: number, key: key, problem: error.description)
        }
        let name = entry.prefix.isEmpty ? "/" : String(decoding: entry.prefix.utf8.prefix(maximumNameBytes - 8), as: UTF8.self)
        var route = ProxyRoute(name: name, prefix: entry.prefix, upstreams: [ProxyUpstream(url: url)], profile: .compat)
        route.subprotocols.copies = entry.copiesSubprotocol
        route.query = entry.preservesQuery ? .preserve : .drop
        return route
    }

    /// The route that variables ask for, behind all others. With a raw upstream alone it serves raw sessions only.
    private static func implicitRoute(
        _ upstream: String?, _ rawUpstream: String?, taken: Set<String>
    ) throws(ProxyRouteFault) -> ProxyRoute? {
        guard let text = upstream ?? rawUpstream else { return nil }
        let entry = CompatRoute(prefix: commonPath, upstream: text, copiesSubprotocol: true, preservesQuery: true)
        var route = try route(entry, number: 0, key: upstream == nil ? "RAW_WS_BACKEND_URL" : "UPSTREAM_WS_URL")
        if taken.contains(route.name) { route.name = "implicit" }
        if upstream == nil { route.sessionProtocol = .raw }
        if upstream != nil, let rawUpstream {
            let raw = try Self.route(CompatRoute(upstream: rawUpstream), number: 0, key: "RAW_WS_BACKEND_URL")
            route.rawUpstreams = raw.upstreams
        }
        return route
    }

    /// Key and problem of a route that cannot be served.
    private static func fault(_ route: ProxyRoute) -> (String, String)? {
        if route.name.isEmpty || route.name.utf8.count > maximumNameBytes {
            return ("name", "must have 1 to \(maximumNameBytes) bytes; set one if the prefix is longer, or empty")
        }
        if route.prefix.utf8.count > maximumPrefixBytes { return ("prefix", "is longer than \(maximumPrefixBytes) bytes") }
        if route.match != .string, !route.prefix.isEmpty, !route.prefix.hasPrefix("/") {
            return ("prefix", "'\(route.prefix)' does not begin with '/', so no path matches it")
        }
        if route.upstreams.isEmpty { return ("upstreams", "are none; add at least one url") }
        if route.upstreams.count > maximumUpstreams { return ("upstreams", "are more than \(maximumUpstreams)") }
        for upstream in route.upstreams + route.rawUpstreams where !(1...ProxyUpstream.maximumWeight).contains(upstream.weight) {
            return ("weight", "\(upstream.weight) is out of range; use 1 to \(ProxyUpstream.maximumWeight)")
        }
        if route.passesCompression, route.inspects {
            let problem = "cannot be passthrough where MQTT packets are inspected; set it to off, or authz.mode and inspect to off"
            return ("compression", problem)
        }
        if route.passesCompression, route.dial == .afterAccept {
            return ("compression", "cannot be passthrough when dial is after_accept; use before_accept or auto")
        }
        if let rewrite = route.rewritePrefix, !rewrite.hasPrefix("/") || !rewrite.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
            return ("rewrite_prefix", "'\(rewrite)' is no path; it must begin with '/' and hold visible ASCII only")
        }
        return nil
    }

    /// Index of the route for a request; nil: 404. `host` is the Host field.
    public func match(path: String, host: String) -> Int? {
        // Most tables ask for no host, and most hosts need no work then.
        let name = routes.contains { !$0.hosts.isEmpty } ? WebHost.hostName(host) : nil
        if let index = routes.firstIndex(where: { $0.matches(path: path) && Self.admits($0, name) }) { return index }
        guard path == Self.commonPath else { return nil }
        let open = routes.indices.filter { Self.admits(routes[$0], name) }
        return open.first { routes[$0].sessionProtocol == .mqtt } ?? open.first
    }

    private static func admits(_ route: ProxyRoute, _ host: String?) -> Bool {
        guard !route.hosts.isEmpty else { return true }
        guard let host else { return false }
        return route.hosts.contains { $0.matches(host) }
    }
}

extension WebHost {
    /// The host of a Host field, normalised, without its port; nil when it is none.
    static func hostName(_ field: String) -> String? {
        let value = field.trimmingBlanks()
        guard value.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "%") }) else { return nil }
        let bracket = value.lastIndex(of: "]")
        if let colon = value.lastIndex(of: ":"), bracket.map({ $0 < colon }) ?? true {
            return normalize(String(value[..<colon]))
        }
        return normalize(value)
    }
}
