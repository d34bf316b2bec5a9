import Engine
import HTTP
import Policy

/// Tokens that an operator denies: in the table of the process, in the store, and on every shard.
extension ShardLoop {
    /// Denies tokens and ends their sessions. The request is answered when all shards have, and the store, if there is one, has it.
    func deny(_ denial: Revocation, _ index: UInt32, _ access: RequestAccess?) {
        let shards = admin.hub.shards
        let exchange = AdminExchange(
            .deny(denial), postponed: http.postpone(index), access: access, asker: shard.inbox, answers: shards.count + 1)
        let now = Double(WallClock.nowMilliseconds) / 1000
        let number = limits.denials.deny(denial, nowSeconds: now) { exchange.add(reach: $0) }
        logDenial(denial, access, isKept: number != nil)
        guard let number else {
            for _ in 0...shards.count { exchange.add(AdminProxy.isFull) }
            return
        }
        for inbox in shards
        where !inbox.post(Inbox.Message(kind: ShardMessage.question.rawValue, first: number, object: exchange)) {
            exchange.add(Self.isBusy)
        }
        limits.directory.wake(0)
    }

    /// Who denied what kind of token: no claim of a token that a log must not tell.
    private func logDenial(_ denial: Revocation, _ access: RequestAccess?, isKept: Bool) {
        guard log.begin(.info, isKept ? "tokens revoked" : "tokens not revoked: no more can be denied",
                        timeMilliseconds: WallClock.nowMilliseconds)
        else { return }
        if let access {
            log.field("reqId", access.requestID)
            log.field("peer", access.peer)
            log.field("client", access.client)
        }
        log.field("form", denial.form)
        if let issuer = denial.issuer { log.field("iss", Quantity.excerpt(issuer, characters: 256)) }
        log.field("until", Int(denial.expirySeconds))
        log.commit()
    }
}

extension Revocation {
    /// What names the tokens: the members of the call.
    var form: String {
        switch target {
        case .token: "sub+jti"
        case .tokenID: "jti"
        case .subject: "sub"
        case .session: "sid"
        }
    }
}
