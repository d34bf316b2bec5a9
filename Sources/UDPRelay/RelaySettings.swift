import Policy

/// Everything of a configuration that relay sessions are bound by. Names of the environment's variables in parentheses.
public struct RelaySettings: Sendable, Equatable {
    /// How long a client may take for its first message (`SIGNALING_AUTH_TIMEOUT`).
    public var authenticationMilliseconds: UInt64 = 2000
    /// How long a client may send nothing, not even a Pong (`UDP_WS_IDLE_TIMEOUT`).
    public var idleMilliseconds: UInt64 = 60_000
    /// Between two Pings; shorter than the idle time (`UDP_WS_PING_INTERVAL`).
    public var pingMilliseconds: UInt64 = 20_000
    /// Longest message before a client is authenticated (`MAX_SIGNALING_MESSAGE_BYTES`).
    public var maximumControlMessageBytes = 65_536
    /// Longest payload of a datagram, either way (`MAX_DATAGRAM_PAYLOAD_BYTES`). Messages of `/udp` may have 24 bytes more.
    public var maximumPayloadBytes = 1200
    /// Whether IPv4 is told in version 2 to clients that have used version 2 (`PREFER_V2`).
    public var prefersV2 = false
    /// Most bytes of frames that wait for a client (`DATACHANNEL_SEND_QUEUE_BYTES`).
    public var sendQueueBytes = 1_048_576
    /// Most sessions of all kinds in the process; 0 is no limit (`MAX_SESSIONS`).
    public var maximumSessions = 0
    /// How long `POST /session` keeps a place (`SESSION_PREALLOC_TTL`).
    public var reservationMilliseconds: UInt64 = 60_000
    /// Rules of bindings and their inbound filters.
    public var bindings = RelayBindingSettings()
    /// Limits of one session.
    public var limits = RelayLimits()

    /// The defaults.
    public init() {}
}
