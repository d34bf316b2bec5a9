import HTTP
import Policy

/// What the relay's HTTP endpoints of all shards share: one configuration.
public final class RelayGatewayShared: Sendable {
    /// Sessions, their settings, and who may have one.
    public let relay: RelayShared
    let origins: OriginAllowlist
    let iceServers: Result<ICEServers, ICEServers.Fault>
    let turn: TURNCredential.Settings?
    let versionDocument: String
    let metricsText: @Sendable () -> String

    /// Shared state for one configuration.
    ///
    /// - Parameters:
    ///   - versionDocument: body of `/version`.
    ///   - metricsText: text of `/metrics`, collected over all shards.
    public init(relay: RelayShared, origins: OriginAllowlist, iceServers: Result<ICEServers, ICEServers.Fault>,
                turn: TURNCredential.Settings?, versionDocument: String,
                metricsText: @escaping @Sendable () -> String) {
        self.relay = relay
        self.origins = origins
        self.iceServers = iceServers
        self.turn = turn
        self.versionDocument = versionDocument
        self.metricsText = metricsText
    }
}
