/// The JWT WebSocket proxy of a configuration.
public struct ProxyConfiguration: Sendable {
    /// Somebody configured it. Otherwise it does not exist.
    public var isConfigured = false
    /// The process is a JWT proxy and nothing else: only its own variables, flag or listener were given.
    public var isAlone = false
    /// Every value, settled: nothing in it is left to a profile.
    var settings = ProxyDraft()
    /// What is decided by; nil when it is not configured.
    var policy: ProxyPolicy?

    /// Nothing configured.
    public init() {}

    /// Whether the defaults are those of go-ws-gateway-proxy.
    public var isCompatible: Bool { settings.profile == "compat" }
}
