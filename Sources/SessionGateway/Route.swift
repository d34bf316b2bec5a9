/// The closed set of paths this process answers to plain requests; also the label of the request metrics.
public enum Route: String, CaseIterable, Sendable {
    case healthz = "/healthz"
    case readyz = "/readyz"
    case version = "/version"
    case metrics = "/metrics"
    case session = "/session"
    case relayToken = "/udp-relay/token"
    case selfTest = "/e2e"
    case demo = "/demo"
    case demoConfiguration = "/demo/config.json"
    /// Any path of an OPTIONS request.
    case options = "/*"
    /// No route.
    case unknown

    /// The route of a path, and whether it was called through the base path. Exact, case-sensitive.
    public static func match(_ path: String, basePath: String) -> (route: Route, viaBase: Bool) {
        if let route = named(path) { return (route, false) }
        if !basePath.isEmpty, path.hasPrefix(basePath), let route = named(String(path.dropFirst(basePath.count))) {
            return (route, true)
        }
        return (.unknown, false)
    }

    private static func named(_ path: String) -> Route? {
        guard path.hasPrefix("/"), let route = Route(rawValue: path), route != .options else { return nil }
        return route
    }

    /// Whether it is still served while the process drains: load balancers and scrapes watch it go.
    var isProbe: Bool { self == .healthz || self == .readyz || self == .metrics }

    /// Whether the request limiter leaves this route alone: probes and scrapes must work under attack.
    public var isExemptFromLimit: Bool {
        self == .healthz || self == .readyz || self == .metrics || self == .options
    }
}
