import DNS
import Demo
import HTTP
import Policy
import SessionGateway
import TCPBridge
import TCPMux
import UDPRelay

/// One configuration, compiled: what all shards share.
///
/// Immutable. A reload makes another one and hands it to every shard; a connection keeps what it needs of the one it was
/// opened under, and the last that refers to a snapshot frees it.
final class ServerSnapshot: Sendable {
    /// Counts from 1; the configuration the process started with.
    let generation: UInt64
    let configuration: Configuration
    let gateway: GatewayShared
    let bridges: BridgeShared
    let muxes: MuxShared
    let dns: DNSShared
    let relay: RelayGatewayShared
    /// What the shards' JWT proxies share, and the one in force; nil: none is configured.
    let proxies: ProxyCommon
    let proxy: ProxyPlan?
    let shards: Int
    /// Counts of places, which outlive a configuration.
    let limits: SharedLimits
    let admin: AdminShared
    let listeners: [ListenerPlan]

    /// - Parameters:
    ///   - loaded: what was read.
    ///   - configuration: what of it is in force: with bound ports, and without what only a restart changes.
    ///   - former: the snapshot in force, from which limiters and quotas are carried over.
    init(_ loaded: LoadedConfiguration, configuration: Configuration, listeners: [ListenerPlan], hub: AdminHub,
         shards: Int, former: ServerSnapshot? = nil) throws(StartError) {
        self.shards = shards
        limits = former?.limits ?? SharedLimits()
        proxies = former?.proxies ?? ProxyCommon(limits: limits)
        proxy = try Self.proxy(configuration, proxies, shards: shards, former: former?.proxy)
        generation = (former?.generation ?? 0) + 1
        self.configuration = configuration
        self.listeners = listeners
        let metrics = hub.metrics
        admin = AdminShared(
            hub: hub, configuration: configuration, loaded: loaded, listeners: listeners, generation: generation, limits: limits)
        let version = configuration.gateway.version
        let document = JSONText.object([("version", version.version), ("gitSha", version.gitRevision), ("builtAt", version.builtAt)])
        let service = listeners.first { $0.kind == .demoService }?.address ?? configuration.demo.serviceAddress
        gateway = GatewayShared(
            settings: configuration.gateway, versionDocument: document,
            demoPage: configuration.demo.enabled ? Array(DemoPage.html.utf8) : [],
            demoConfiguration: DemoPage.configuration(host: service.host, port: service.port),
            metricsText: { metrics.text() }, clock: { MonotonicClock.seconds }, limiters: former?.gateway.limiters, limits: limits)
        dns = DNSShared(settings: configuration.gateway.dns, limits: limits, former: former?.dns)
        metrics.describe(dns: dns)
        bridges = BridgeShared(settings: configuration.gateway.tcp, limits: limits)
        relay = RelayGatewayShared(
            relay: RelayShared(
                settings: configuration.udp.settings, access: configuration.udp.access,
                destinations: RelayDestinations(configuration.udp.destinations), sessions: former?.relay.relay.sessions ?? RelaySessions()),
            origins: configuration.udp.origins, iceServers: configuration.udp.iceServers, turn: configuration.udp.turn,
            versionDocument: JSONText.object([("commit", version.gitRevision), ("buildTime", version.builtAt)]) + "\n",
            metricsText: { metrics.text() })
        muxes = MuxShared(tcp: configuration.gateway.tcp, mux: configuration.gateway.mux, limits: limits)
        metrics.describe(proxy: proxy)
    }

    private static func proxy(
        _ configuration: Configuration, _ common: ProxyCommon, shards: Int, former: ProxyPlan?
    ) throws(StartError) -> ProxyPlan? {
        guard let policy = configuration.proxy.policy else { return nil }
        let plan = try ProxyPlan(policy, common: common, shards: shards, generation: (former?.generation ?? 0) + 1)
        common.apply(policy.limits)
        common.keys.apply(plan, former: former)
        return plan
    }
}
