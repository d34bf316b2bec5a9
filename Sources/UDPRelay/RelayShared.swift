import HTTP
import Policy

/// What the relays of all shards share: one configuration, and the sessions of the process, which outlive it.
public final class RelayShared: Sendable {
    /// Sizes, times and limits.
    public let settings: RelaySettings
    /// Who may use the relay; also judges the credentials of first messages.
    public let access: RelayAccess
    /// Where datagrams may go.
    public let destinations: RelayDestinations
    /// The sessions of the process; a reload hands them on. Asked with `open` and `reserve`, which keep to one clock.
    public let sessions: RelaySessions

    /// Shared state for one configuration.
    public init(settings: RelaySettings, access: RelayAccess, destinations: RelayDestinations, sessions: RelaySessions = RelaySessions()) {
        self.settings = settings
        self.access = access
        self.destinations = destinations
        self.sessions = sessions
    }

    /// Takes a place for a session; `sessionID` is the token's `sid`, nil without one.
    public func open(sessionID: String?) -> RelaySessions.Outcome {
        sessions.open(sessionID: sessionID, maximum: settings.maximumSessions, nowMilliseconds: Self.nowMilliseconds)
    }

    /// Takes a place for `POST /session`, which gives itself back.
    public func reserve(sessionID: String?) -> RelaySessions.Outcome {
        sessions.reserve(
            sessionID: sessionID, maximum: settings.maximumSessions, lifetimeMilliseconds: settings.reservationMilliseconds,
            nowMilliseconds: Self.nowMilliseconds)
    }

    /// Sessions and reservations alive in the process.
    public var sessionCount: Int { sessions.count(nowMilliseconds: Self.nowMilliseconds) }

    private static var nowMilliseconds: UInt64 { UInt64(MonotonicClock.milliseconds) }
}
