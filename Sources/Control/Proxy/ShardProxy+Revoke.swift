import HTTP
import Policy
import SharedState
import WebSocketProxy

/// Tokens that are taken back while sessions live.
extension ShardProxy {
    /// Denials that are looked for in every session; more of them are looked up for each.
    private static let fewDenials = 8
    /// Denials whose closed sessions are remembered for those who ask how many there were.
    private static let closingsMaximum = 64

    /// Takes denials that this shard has not seen, made here or on another instance: tokens are refused from now on, their sessions end.
    func takeDenials() {
        let table = common.limits.denials
        guard table.latestNumber != deniedNumber, gate != nil, let plan else { return }
        let (denials, number) = table.take(since: deniedNumber)
        let first = number - UInt64(denials.count) + 1
        let now = Double(WallClock.nowMilliseconds) / 1000
        for denial in denials { _ = gate?.denyList.insert(denial, nowSeconds: now) }
        let isExact = number - deniedNumber == UInt64(denials.count) && denials.count <= Self.fewDenials
        deniedNumber = number
        let close = plan.policy.close(.tokenRevoked)
        guard isExact else {
            _ = sessions.close(.revoked, close) { identity in gate?.denyList.denies(identity.names, nowSeconds: now) ?? false }
            return
        }
        for (offset, denial) in denials.enumerated() {
            prolong(denial, nowSeconds: now)
            let closed = sessions.close(.revoked, close) { denial.denies($0) }
            if closed > 0 { closings.append((first + UInt64(offset), closed)) }
        }
        if closings.count > Self.closingsMaximum { closings.removeFirst(closings.count - Self.closingsMaximum) }
    }

    /// A denial of tokens that are known to live longer holds until they end. What is told here is news to all, once.
    private func prolong(_ denial: Revocation, nowSeconds: Double) {
        let ends = visitors.values.compactMap { visitor -> Double? in
            guard let token = visitor.token, denial.denies(token), let expiry = token.expirySeconds else { return nil }
            return expiry + Double(visitor.policy.providers[token.provider].provider.leewaySeconds)
        }
        guard let last = ends.max(), last > denial.expirySeconds else { return }
        let longer = Revocation(target: denial.target, issuer: denial.issuer, expirySeconds: last)
        _ = common.limits.denials.deny(longer, nowSeconds: nowSeconds) { _ in }
    }

    /// How many sessions of this shard a denial ended.
    func closed(by number: UInt64) -> Int {
        takeDenials()
        return closings.first { $0.number == number }?.closed ?? 0
    }

    /// How a client is told that the store cannot be asked, where that matters.
    func storeRefusal() -> ProxyRefused? {
        guard let plan, plan.refusesWithoutStore, common.limits.denials.sharing != .current else { return nil }
        return ProxyRefused(status: 503, reason: "store_unavailable", end: .tryAgainLater, retrySeconds: 1)
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

extension ProxyIdentity {
    /// What the session's token can be denied by.
    var names: DenyList.Names {
        DenyList.Names(
            issuer: issuer, subject: subject, tokenID: tokenID.isEmpty ? nil : tokenID, sessionID: sessionID.isEmpty ? nil : sessionID,
            issuedSeconds: Double(issuedAt))
    }
}

extension ProxyPlan {
    /// Where denials are shared: `memory`, which is nowhere, `redis` or `postgres`.
    var storeKind: String { policy.draft.store.kind }

    /// Begins the keys of denials in Redis; nil when nothing is shared there.
    var denialPrefix: String? { storeKind == "memory" ? nil : policy.draft.store.prefix }

    /// The database that keeps denials.
    var postgres: PostgresSettings? { storeKind == "postgres" ? PostgresSettings(policy.draft.store.postgresSource) : nil }

    /// Whether nobody is let in while it cannot be known what other instances deny.
    var refusesWithoutStore: Bool { storeKind != "memory" && policy.draft.store.failure == "closed" }
}
