// Where a client's credential is found, and what it is worth.
//
// The first place with something in it wins, and a wrong credential there is final. The order of the places depends on the mode, so
// that a client which sends its one credential under every name is understood in each.

import Wire

/// Who may use the relay (AUTH_MODE).
public enum RelayAccess: Sendable, Equatable {
    /// Everybody.
    case open
    /// Whoever knows the key; not empty.
    case apiKey([UInt8])
    /// Whoever has a token signed with the secret; not empty.
    case jwt(secret: [UInt8])

    /// What a credential is worth.
    public enum Verdict: Sendable, Equatable {
        /// Admitted. `sessionID` is the quota key of a JWT: one live relay session may hold it.
        case granted(sessionID: String?)
        /// `unauthorized`, whatever was wrong.
        case refused
        /// None was sent: wait for a first message where there is one, else refuse.
        case missing
    }

    /// Judges the credential of a request. `authorization` and `apiKeys` are all values of the header fields `Authorization` and
    /// `X-API-Key` in wire order, of which the first counts; `query` is the place of the request's query in `bytes`, without the `?`.
    public func judge(
        authorization: [String], apiKeys: [String], query bytes: Span<UInt8>, _ query: Range<Int>, nowSeconds: Int64
    ) -> Verdict {
        if self == .open { return .granted(sessionID: nil) }
        guard let credential = credential(authorization: authorization, apiKeys: apiKeys, query: bytes, query) else { return .missing }
        return judge(credential, nowSeconds: nowSeconds)
    }

    /// Judges a credential, for instance of a first message.
    public func judge(_ credential: String, nowSeconds: Int64) -> Verdict {
        switch self {
        case .open: .granted(sessionID: nil)
        case .apiKey(let key):
            // Digests are compared, so that not even the key's length shows in the time.
            Digest.constantTimeEqual(Digest.sha256(Array(credential.utf8)), Digest.sha256(key)) ? .granted(sessionID: nil) : .refused
        case .jwt(let secret):
            RelayToken.verify(credential, secret: secret, nowSeconds: nowSeconds).map { .granted(sessionID: $0.sessionID) } ?? .refused
        }
    }

    /// The first credential there is, nil without one.
    func credential(authorization: [String], apiKeys: [String], query bytes: Span<UInt8>, _ query: Range<Int>) -> String? {
        let scheme = authorization.first.flatMap(Self.credential(ofAuthorization:))
        let key = apiKeys.first.map { $0.trimmingBlanks() }.flatMap { $0.isEmpty ? nil : $0 }
        if case .jwt = self {
            return scheme ?? key ?? Self.value("token", bytes, query) ?? Self.value("apiKey", bytes, query)
        }
        return key ?? scheme ?? Self.value("apiKey", bytes, query) ?? Self.value("token", bytes, query)
    }

    private static func value(_ name: StaticString, _ bytes: Span<UInt8>, _ query: Range<Int>) -> String? {
        guard let value = FormQuery.string(name, in: bytes, query), !value.trimmingBlanks().isEmpty else { return nil }
        return value
    }

    /// What follows the scheme `Bearer` or `ApiKey`, in any case, and a space; nil for another scheme or for nothing.
    private static func credential(ofAuthorization value: String) -> String? {
        let trimmed = value.trimmingBlanks()
        guard let space = trimmed.utf8.firstIndex(of: 0x20) else { return nil }
        let scheme = trimmed[..<space].lowercased()
        guard scheme == "bearer" || scheme == "apikey" else { return nil }
        let credential = String(trimmed[space...]).trimmingBlanks()
        return credential.isEmpty ? nil : credential
    }
}
