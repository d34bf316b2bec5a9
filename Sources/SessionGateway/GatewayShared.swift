import HTTP
import Policy

/// What a listener serves.
public struct FeatureSet: OptionSet, Sendable {
    /// Bits.
    public let rawValue: UInt16
    /// Wraps bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    /// Sessions and their tokens.
    public static let sessions = FeatureSet(rawValue: 1)
    /// TCP over WebSocket.
    public static let tcp = FeatureSet(rawValue: 2)
    /// The demonstration page.
    public static let demo = FeatureSet(rawValue: 4)
    /// DNS over HTTPS.
    public static let dns = FeatureSet(rawValue: 8)
    /// The admin interface.
    public static let admin = FeatureSet(rawValue: 16)
    /// The UDP relay.
    public static let udp = FeatureSet(rawValue: 32)
    /// The JWT proxy.
    public static let jwt = FeatureSet(rawValue: 64)
}

/// Outcome of the common checks of an upgrade.
public enum UpgradeVerdict {
    /// `/tcp`: go on with the target.
    case tcp(UpgradeAdmission, TCPQuery)
    /// `/tcp-mux`: the client says later where it wants to go.
    case mux(UpgradeAdmission)
    /// Refuse with a status and one line.
    case refused(Int, String)
}

/// An upgrade that passed the common checks.
public struct UpgradeAdmission {
    /// The session the connection counts for.
    public let sessionID: String
    /// Effective client address as text.
    public let clientAddress: String
    /// Trimmed `Sec-WebSocket-Key`.
    public let webSocketKey: String
}

/// What the gateways of all shards share: one configuration's settings and the limiters, which are per process.
public final class GatewayShared: Sendable {
    /// The snapshot's settings.
    public let settings: GatewaySettings
    /// Body of `/version`.
    public let versionDocument: String
    /// Body of `/demo`.
    public let demoPage: [UInt8]
    /// Body of `/demo/config.json`.
    public let demoConfiguration: String
    /// Text of `/metrics`, collected over all shards.
    public let metricsText: @Sendable () -> String
    /// Seconds of a monotonic clock.
    public let clock: @Sendable () -> Double

    /// Counts and revocations, which outlive a configuration.
    public let limits: SharedLimits
    /// Limiters, which outlive a configuration.
    public let limiters: GatewayLimiters

    /// Shared state for one configuration. `limiters` are those of the configuration before, if there was one.
    public init(settings: GatewaySettings, versionDocument: String, demoPage: [UInt8], demoConfiguration: String,
                metricsText: @escaping @Sendable () -> String, clock: @escaping @Sendable () -> Double,
                limiters: GatewayLimiters? = nil, limits: SharedLimits = SharedLimits()) {
        self.settings = settings
        self.versionDocument = versionDocument
        self.demoPage = demoPage
        self.demoConfiguration = demoConfiguration
        self.metricsText = metricsText
        self.clock = clock
        self.limits = limits
        self.limiters = limiters ?? GatewayLimiters(settings, limits: limits)
    }

    func admitRequest(from address: IPAddress) -> Bool {
        limiters.admitRequest(from: address, nowMilliseconds: Int64(clock() * 1000))
    }

    func admitRelayToken(_ session: String, nowMilliseconds: Int64) -> Bool {
        limiters.admitRelayToken(session, nowMilliseconds: nowMilliseconds)
    }
}
