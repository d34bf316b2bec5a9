/// The closed set of paths this process answers to plain requests; also the label of the request metrics.
public enum Route: String, CaseIterable, Sendable {
    case healthz = "/healthz"
    case readyz = "/readyz"
    case version = "/version"
    case metrics = "/metrics"
    case session = "/session"
    case relayToken = "/udp-relay/token"
    case selfTest = "/e2e"
    case dnsQuery = "/dns-query"
    case dnsJSON = "/dns-json"
    case demo = "/demo"
    case demoConfiguration = "/demo/config.json"
    /// Any path of an OPTIONS request.
    case options = "/*"
    /// No route.
    case unknown

    /// The route of a path, and whether it was called through the base path. Exact, case-sensitive.
    public static func match(_ path: UnsafeRawBufferPointer, basePath: String) -> (route: Route, viaBase: Bool) {
        if let route = named(path) { return (route, false) }
        let base = basePath.utf8
        if !base.isEmpty, path.count > base.count, path.starts(with: base),
            let route = named(UnsafeRawBufferPointer(rebasing: path[base.count...]))
        {
            return (route, true)
        }
        return (.unknown, false)
    }

    private static func named(_ path: UnsafeRawBufferPointer) -> Route? {
        for route in paths where path.count == route.rawValue.utf8.count && path.elementsEqual(route.rawValue.utf8) { return route }
        return nil
    }

    /// Those that are a path.
    private static let paths = allCases.filter { $0 != .options && $0 != .unknown }

    /// Whether it is still served while the process drains: load balancers and scrapes watch it go.
    var isProbe: Bool { self == .healthz || self == .readyz || self == .metrics }

    /// Whether DNS answers it.
    var isDNS: Bool { self == .dnsQuery || self == .dnsJSON }

    /// Whether the request limiter leaves this route alone: probes and scrapes must work under attack.
    public var isExemptFromLimit: Bool {
        self == .healthz || self == .readyz || self == .metrics || self == .options
    }
}
