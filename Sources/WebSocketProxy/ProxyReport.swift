import HTTP
import Policy
import Wire

/// What the proxy tells of its sessions. Called on the shard's thread, never for a message.
public enum ProxyReport {
    /// Answered with a status instead of 101.
    case refused(ConnectionRecord, status: Int, reason: String)
    /// Answered with 101.
    case opened(ConnectionRecord)
    /// An end of a dial.
    case dialled(ConnectionRecord, ProxyDial)
    /// An MQTT client did something it may not: the first time for this topic in its session.
    case denied(ConnectionRecord, MQTTDenial)
    /// Over: nothing will be carried any more but what is queued.
    case ended(ConnectionRecord, ProxySummary)
}

/// One try to reach an endpoint: for circuit breakers and metrics.
public struct ProxyDial {
    /// `ProxyEndpoint.number`.
    public let endpoint: UInt32
    /// nil: it answered 101.
    public let failure: ClientFailure?
    public let milliseconds: UInt64
    /// Another try follows.
    public let retries: Bool
}

/// Which side a Close came from.
public enum ProxyOrigin: UInt8, Sendable {
    case client, upstream, proxy

    /// As in logs and metrics.
    public var label: StaticString {
        switch self {
        case .client: "client"
        case .upstream: "upstream"
        case .proxy: "proxy"
        }
    }
}

/// Why a session ended.
public enum ProxyCause: UInt8, Sendable, CaseIterable {
    case clientClosed, upstreamClosed, clientVanished, upstreamVanished, upstreamUnavailable
    case clientViolation, upstreamViolation, messageTooBig, unsupportedData
    case clientDead, upstreamDead, clientSlow, upstreamSlow, idle
    case expired, tooOld, revoked, closedByAdministrator, evicted, drained, rate, denied, firstDataLate, firstDataTooBig, refused, exhausted

    /// As in logs.
    public var label: StaticString {
        switch self {
        case .clientClosed: "client_close"
        case .upstreamClosed: "upstream_close"
        case .clientVanished: "client_vanished"
        case .upstreamVanished: "upstream_vanished"
        case .upstreamUnavailable: "upstream_unavailable"
        case .clientViolation: "client_protocol_error"
        case .upstreamViolation: "upstream_protocol_error"
        case .messageTooBig: "message_too_big"
        case .unsupportedData: "unsupported_data"
        case .clientDead: "client_dead"
        case .upstreamDead: "upstream_dead"
        case .clientSlow: "client_too_slow"
        case .upstreamSlow: "upstream_too_slow"
        case .idle: "idle"
        case .expired: "expired"
        case .tooOld: "max_session"
        case .revoked: "revoked"
        case .closedByAdministrator: "closed_by_admin"
        case .evicted: "evicted"
        case .drained: "drained"
        case .rate: "rate_limit"
        case .denied: "denied"
        case .firstDataLate: "first_data_late"
        case .firstDataTooBig: "first_data_too_big"
        case .refused: "refused"
        case .exhausted: "exhausted"
        }
    }
}

extension ProxyCause {
    /// What an MQTT 5 client is told by a packet.
    var disconnectReason: MQTTDisconnectReason? {
        switch self {
        case .clientViolation: .protocolError
        case .unsupportedData: ProxyEnd.textFrame.disconnectReason
        case .messageTooBig: ProxyEnd.messageTooBig.disconnectReason
        case .expired: ProxyEnd.tokenExpired.disconnectReason
        case .tooOld: ProxyEnd.sessionTimeout.disconnectReason
        case .revoked: ProxyEnd.tokenRevoked.disconnectReason
        case .closedByAdministrator: .administrativeAction
        case .drained: ProxyEnd.draining.disconnectReason
        case .rate: ProxyEnd.messageRate.disconnectReason
        case .evicted: ProxyEnd.sessionLimit.disconnectReason
        case .denied: ProxyEnd.forbidden.disconnectReason
        case .idle: ProxyEnd.idle.disconnectReason
        default: nil
        }
    }
}

/// What is told of a session at its end.
public struct ProxySummary {
    public let cause: ProxyCause
    public let identity: ProxyIdentity
    public let route: UInt16
    public let milliseconds: UInt64
    public let messagesUp: UInt64
    public let messagesDown: UInt64
    /// Payload.
    public let bytesUp: UInt64
    public let bytesDown: UInt64
    /// How long the upstream, and the client, did not take what was for it.
    public let stallUpMilliseconds: UInt64
    public let stallDownMilliseconds: UInt64
    public let closeFrom: ProxyOrigin
    /// 0: the connection was lost, or a Close without a code came.
    public let closeCode: UInt16
    public let reason: String
}
