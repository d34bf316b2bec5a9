import HTTP
import Policy
import WebSocketProxy

/// Tokens that are taken back while sessions live.
extension ShardProxy {
    /// Denies tokens from now on and ends their sessions; how many.
    func revoke(_ revocation: Revocation) -> Int {
        guard let plan else { return 0 }
        _ = gate?.denyList.insert(revocation, nowSeconds: Double(WallClock.nowMilliseconds) / 1000)
        let close = plan.policy.close(.tokenRevoked)
        return sessions.close(.revoked, close) { revocation.denies($0) }
    }

    /// Ends sessions whose token one of these keys signed; how many.
    func close(signedBy keys: [TokenDigest]) -> Int {
        guard let plan, !keys.isEmpty else { return 0 }
        let identities = visitors.values.filter { visitor in visitor.token.map { keys.contains($0.keyThumbprint) } ?? false }
            .map { Self.identity($0.token) }
        let close = plan.policy.close(.tokenRevoked)
        return sessions.close(.revoked, close) { identities.contains($0) }
    }
}

extension Revocation {
    /// Whether a session's token is denied.
    func denies(_ identity: ProxyIdentity) -> Bool {
        if let issuer, !issuer.utf8.elementsEqual(identity.issuer.utf8) { return false }
        func same(_ left: String, _ right: String) -> Bool { !left.isEmpty && left.utf8.elementsEqual(right.utf8) }
        switch target {
        case .token(let subject, let tokenID): return same(identity.tokenID, tokenID) && same(identity.subject, subject)
        case .tokenID(let tokenID): return same(identity.tokenID, tokenID)
        case .subject(let subject, let before): return same(identity.subject, subject) && Double(identity.issuedAt) <= before
        case .session(let session): return same(identity.sessionID, session)
        }
    }
}
