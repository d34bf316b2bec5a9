import Engine
import HTTP
import Policy
import WebSocketProxy

/// One configuration of the JWT proxy, compiled: what all shards share. Immutable; a session keeps the one it was opened under.
final class ProxyPlan: Sendable {
    /// A place sessions go to.
    struct Endpoint: Sendable {
        let upstream: ProxyUpstream
        let client: ClientEndpoint
        /// How it is probed; nil: not.
        let probe: UpstreamProber.Probe?
        let isMQTT: Bool
        /// What breakers and metrics know it by, and the name as a label.
        let name: String
        let label: String
        let state: EndpointState

        init(upstream: ProxyUpstream, client: ClientEndpoint, probe: UpstreamProber.Probe?, isMQTT: Bool, common: ProxyCommon) {
            self.upstream = upstream
            self.client = client
            self.probe = probe
            self.isMQTT = isMQTT
            name = upstream.url.endpoint
            label = "upstream=\"\(ProxyMetrics.label(name))\""
            state = common.endpoint(name)
        }
    }

    let policy: ProxyPolicy
    let common: ProxyCommon
    /// By number; a route has the numbers of its own.
    let endpoints: [Endpoint]
    private let numbers: [(common: [Int], raw: [Int])]
    /// Beside the policy's routes.
    let routings: [ProxyRouting]
    /// How endpoints are dialled, and when their circuits open.
    let timeouts: ClientTimeouts
    let breakerSettings: CircuitBreaker.Settings
    /// TLS towards the issuers of keys, by provider.
    let issuers: [ClientSecurity?]
    /// Counts compilations: shards see that there is another.
    let generation: UInt64

    /// Loads certificates and authorities.
    init(_ policy: ProxyPolicy, common: ProxyCommon, shards: Int, generation: UInt64) throws(StartError) {
        self.policy = policy
        self.common = common
        self.generation = generation
        var endpoints: [Endpoint] = []
        var numbers: [(common: [Int], raw: [Int])] = []
        for (route, detail) in zip(policy.routes.routes, policy.details) {
            let security = try Self.security(detail.draft.tls, shards, route)
            func place(_ upstreams: [ProxyUpstream]) -> [Int] {
                upstreams.map { upstream in
                    endpoints.append(Endpoint(
                        upstream: upstream,
                        client: ClientEndpoint(
                            host: upstream.url.host, port: upstream.url.port, security: upstream.url.isSecure ? security : nil),
                        probe: UpstreamProber.Probe(detail.draft.health, tokenPath: detail.draft.healthTokenPath),
                        isMQTT: route.sessionProtocol == .mqtt, common: common))
                    return endpoints.count - 1
                }
            }
            let shared = place(route.upstreams)
            numbers.append((shared, route.rawUpstreams.isEmpty ? shared : place(route.rawUpstreams)))
        }
        self.endpoints = endpoints
        self.numbers = numbers
        routings = policy.routes.routes.indices.map { number in
            ProxyRouting(number, policy, Self.settings(policy.routes.routes[number], policy.details[number].draft, policy))
        }
        timeouts = Self.timeouts(policy)
        breakerSettings = CircuitBreaker.Settings(
            threshold: policy.draft.breaker.failures, openMilliseconds: Int64(policy.draft.breaker.openSeconds) * 1000)
        var issuers: [ClientSecurity?] = []
        for provider in policy.providers {
            var settings = ClientSecuritySettings()
            settings.authoritiesPath = provider.authoritiesPath.isEmpty ? nil : provider.authoritiesPath
            issuers.append(try Self.security(settings, 1, "jwt.providers `\(provider.provider.name)`"))
        }
        self.issuers = issuers
    }

    private static func security(_ draft: ProxyRouteTLSDraft, _ shards: Int, _ route: ProxyRoute) throws(StartError) -> ClientSecurity? {
        guard (route.upstreams + route.rawUpstreams).contains(where: \.url.isSecure) else { return nil }
        var settings = ClientSecuritySettings()
        settings.authoritiesPath = draft.authoritiesPath.isEmpty ? nil : draft.authoritiesPath
        settings.serverName = draft.serverName.isEmpty ? nil : draft.serverName
        settings.requires13 = draft.minimumVersion == "1.3"
        if !draft.certificatePath.isEmpty {
            settings.certificate = (try? SmallFile.read(draft.certificatePath, limit: 1 << 20)) ?? []
            settings.key = (try? SmallFile.read(draft.keyPath, limit: 1 << 20)) ?? []
        }
        return try security(settings, shards, "route `\(route.name)`")
    }

    private static func security(
        _ settings: ClientSecuritySettings, _ shards: Int, _ subject: String
    ) throws(StartError) -> ClientSecurity {
        do { return try ClientSecurity(settings, shards: shards) } catch {
            throw StartError(description: "\(subject): TLS cannot be used: \(error)")
        }
    }

    /// Endpoints of a route for what is spoken.
    func endpoints(_ route: Int, _ spoken: ProxyProtocol) -> [Int] { spoken == .raw ? numbers[route].raw : numbers[route].common }

    /// What the first data of an authenticated client decides.
    enum FirstData {
        /// Nothing: it goes on.
        case passes
        /// Where its session goes: no upstream can be dialled before.
        case chooses
        /// Whether the client may say it, or how the upstream hears it. The upstream may be dialled before.
        case isJudged
    }

    /// What has to be seen of a client on a route, before or behind its upstream's answer.
    func firstData(_ route: Int, _ spoken: ProxyProtocol) -> FirstData {
        switch spoken {
        case .raw: .passes
        case .auto: numbers[route].raw != numbers[route].common ? .chooses : judgesConnect(route) ? .isJudged : .passes
        case .mqtt: judgesConnect(route) || policy.sources(route, .mqtt).awaitsFirstMessage(.mqtt) ? .isJudged : .passes
        }
    }

    /// Whether no CONNECT may reach an upstream of the route unseen: whatever subprotocol its client chose, and be it in text.
    func judgesConnect(_ route: Int) -> Bool {
        let own = policy.routes.routes[route]
        guard own.sessionProtocol != .raw else { return false }
        // The CONNECT of an inspected session says whose rights they are.
        return own.inspects || own.identity.mqtt.isTouching
    }

    private static func settings(_ route: ProxyRoute, _ draft: ProxyRouteDraft, _ policy: ProxyPolicy) -> ProxySettings {
        let proxy = policy.draft
        func own(_ value: Int, _ general: Int) -> UInt64 { UInt64(max(0, value == ProxyAmount.unset ? general : value)) }
        var settings = ProxySettings()
        settings.deadPeerMilliseconds = own(draft.deadPeerSeconds, proxy.timeouts.deadPeerSeconds) * 1000
        settings.writeMilliseconds = own(draft.writeSeconds, proxy.timeouts.writeSeconds) * 1000
        settings.controlMilliseconds = UInt64(proxy.timeouts.controlSeconds) * 1000
        settings.idleMilliseconds = own(draft.appIdleMilliseconds, proxy.timeouts.appIdleMilliseconds)
        settings.forwardsPings = draft.ping == "forward"
        settings.replacesMasks = draft.mask == "fresh"
        settings.bufferBytes = proxy.limits.bufferBytes
        let largest = route.maximumMessageBytes ?? (route.inspects ? 1 << 20 : 0)
        settings.maximumMessageBytes = largest > 0 ? UInt64(largest) : .max
        settings.dialRetries = proxy.dial.attempts - 1
        settings.dialDelayMilliseconds = UInt64(proxy.dial.retryDelayMilliseconds)
        settings.dialMilliseconds = UInt64(proxy.dial.deadlineMilliseconds)
        settings.relaysStatus = draft.relaysStatus
        settings.firstDataMilliseconds = own(draft.firstMessageMilliseconds, proxy.timeouts.firstMessageMilliseconds)
        settings.maximumFirstBytes = policy.limits.firstMessageBytes
        settings.bytesPerSecond = own(draft.rate.bytesPerSecond, proxy.rate.bytesPerSecond)
        settings.closesAboveRate = (draft.rate.action.isEmpty ? proxy.rate.action : draft.rate.action) == "close"
        settings.closeCodes = policy.codes
        settings.drainCode = policy.drainCode
        return settings
    }

    private static func timeouts(_ policy: ProxyPolicy) -> ClientTimeouts {
        var timeouts = ClientTimeouts()
        timeouts.connectMilliseconds = UInt64(policy.draft.dial.connectMilliseconds)
        timeouts.tlsMilliseconds = UInt64(policy.draft.dial.tlsMilliseconds)
        timeouts.answerMilliseconds = UInt64(policy.draft.dial.handshakeMilliseconds)
        timeouts.totalMilliseconds = UInt64(policy.draft.dial.totalMilliseconds)
        return timeouts
    }
}
