import Engine
import HTTP
import Policy
import WebSocketProxy
import Wire

/// Room that clients take up: connections and handshakes of an address, sessions of a subject.
extension ShardProxy {
    /// Counts a handshake; how the client is refused when there are too many.
    func beginHandshake(_ visitor: ProxyVisitor) -> ProxyRefused? {
        do throws(ProxyPlaces.Full) {
            try common.places.beginHandshake(visitor.address.limitKey, visitor.policy.limits)
            visitor.isHandshaking = true
            return nil
        } catch {
            let isOfAddress = error == .handshakesOfAddress
            common.metrics.add(.limits, "limit=\"\(isOfAddress ? "handshakes_per_ip" : "handshakes")\"")
            return ProxyRefused(
                status: isOfAddress ? 429 : 503, reason: isOfAddress ? "rate_limited" : "overloaded", retrySeconds: 1)
        }
    }

    /// A handshake has come to a session, or to nothing.
    func endHandshake(_ visitor: ProxyVisitor) {
        guard visitor.isHandshaking else { return }
        visitor.isHandshaking = false
        common.places.endHandshake(visitor.address.limitKey)
    }

    /// Takes the places a session needs on this instance. Where the oldest gives way, one more is let in and the oldest is told to go.
    func lease(_ visitor: ProxyVisitor, _ subject: ProxyCommon.Subject?) throws(ProxyCommon.Full) {
        var limits = visitor.policy.limits
        while true {
            do throws(ProxyCommon.Full) {
                visitor.lease = try common.lease(
                    subject: subject, address: visitor.address, route: visitor.detail, limits: limits,
                    scope: visitor.plan.scope(visitor.route))
                if let subject, limits.evictsOldest { visitor.placeNumber = common.places.enter(subject, shard: shard.index) }
                return
            } catch {
                guard error == .subject, limits.evictsOldest, let subject, let place = common.places.evictOldest(subject)
                else { throw error }
                wakeShard(place)
                limits.sessionsPerSubject = 0
            }
        }
    }

    /// Ends sessions that have to make room.
    func takeEvicted() {
        let numbers = common.places.takeEvicted(shard: shard.index)
        guard !numbers.isEmpty, let plan else { return }
        let gone = Set(numbers)
        let close = plan.policy.close(.sessionLimit)
        for visitor in visitors.values.filter({ $0.placeNumber.map { gone.contains($0) } ?? false }) {
            guard let ticket = visitor.ticket else { continue }
            _ = sessions.close(ticket, .evicted, close)
        }
    }

    // MARK: Connections

    /// What a connection is counted as; nil where it is not: a proxy in front stands for many clients.
    private func counted(_ slot: SlotIndex) -> IPAddress? {
        guard let plan, plan.policy.limits.connectionsPerAddress > 0 else { return nil }
        let peer = shard.peerAddress(slot).ipAddress.normalized
        return plan.policy.trusted.contains { $0.contains(peer) } ? nil : peer.limitKey
    }

    /// Counts a connection that was accepted; false when its address has all it may have.
    func mayConnect(_ slot: SlotIndex) -> Bool {
        guard let plan, let address = counted(slot) else { return true }
        if common.places.connect(address, limit: plan.policy.limits.connectionsPerAddress) { return true }
        common.metrics.add(.limits, "limit=\"connections_per_ip\"")
        return false
    }

    /// A connection has left the HTTP server.
    func disconnected(_ slot: SlotIndex) {
        if let address = counted(slot) { common.places.disconnect(address) }
    }

    /// The connection of a visitor is counted on, now that the HTTP server does not know it any more.
    func keepConnection(_ visitor: ProxyVisitor, _ slot: SlotIndex) {
        guard let address = counted(slot) else { return }
        // It was let in already: the place it had is its own.
        _ = common.places.connect(address, limit: .max)
        visitor.connectionKey = address
    }
}
