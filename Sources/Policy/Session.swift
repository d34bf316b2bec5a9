// Opening and refreshing sessions: what POST /session, GET /session and every authenticated endpoint do with the
// cookie, apart from HTTP.

/// A session issued to a client, with everything the answer needs.
public struct IssuedSession: Sendable, Equatable {
    /// The session id: that of the presented session when it was valid, a fresh one otherwise.
    public let sessionID: String
    /// The value of `Set-Cookie`.
    public let setCookie: String
    /// `session.expiresAt` of the document: issue time plus lifetime, milliseconds since 1970.
    public let expiryMilliseconds: Int64
}

/// The rules that turn cookies into sessions.
public struct SessionAuthority: Sendable, Equatable {
    private let secret: [UInt8]
    private let lifetimeSeconds: Int
    private let sameSite: SessionCookie.SameSite

    /// Rules from the settings. The secret must not be empty, or anyone could sign.
    public init(_ settings: GatewaySettings.SessionSettings) {
        precondition(!settings.secret.isEmpty, "the loader makes a random secret when none is configured")
        secret = settings.secret
        lifetimeSeconds = settings.lifetimeSeconds
        sameSite = settings.sameSite
    }

    /// The session of a cookie value, nil for none, an invalid or an expired one.
    public func session(cookie: String?, nowMilliseconds: Int64) -> SessionToken? {
        guard let cookie, !cookie.isEmpty else { return nil }
        return SessionToken.verify(cookie, secret: secret, nowMilliseconds: nowMilliseconds)
    }

    /// Issues a session: `presented` keeps its id and gets a fresh expiry, nil gets a new random id. Nil when a token
    /// for that id would be too long, which only a token signed by someone else with the same secret can cause.
    public func issue(refreshing presented: SessionToken?, secure: Bool, nowMilliseconds: Int64) -> IssuedSession? {
        let id = presented?.sessionID ?? Digest.uuid()
        let expirySeconds = SessionToken.expirySeconds(nowMilliseconds: nowMilliseconds, lifetimeSeconds: lifetimeSeconds)
        guard let token = SessionToken.mint(sessionID: id, expirySeconds: expirySeconds, secret: secret) else { return nil }
        return IssuedSession(
            sessionID: id,
            setCookie: SessionCookie.setCookie(
                token: token, maxAgeSeconds: lifetimeSeconds, sameSite: sameSite, secure: secure),
            expiryMilliseconds: nowMilliseconds + Int64(lifetimeSeconds) * 1000)
    }
}
