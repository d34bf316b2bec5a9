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
                    subject: subject, address: visitor.address, routing: visitor.routing, limits: limits,
                    scope: visitor.plan.scope(visitor.route), nowMilliseconds: clockMilliseconds)
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

    /// Every connection is counted, bound or not: a reload may bound it, or not any more, before it ends.
    private func counted(_ slot: SlotIndex) -> IPAddress { shard.peerAddress(slot).ipAddress.limitKey }

    /// Counts a connection that was accepted; false when its address has all it may have. A proxy in front stands for many clients.
    func mayConnect(_ slot: SlotIndex) -> Bool {
        let address = counted(slot)
        let limit = plan?.policy.limits.connectionsPerAddress ?? 0
        let isBound = limit > 0 && !(plan?.policy.trusted.contains { $0.contains(shard.peerAddress(slot).ipAddress.normalized) } ?? false)
        if common.places.connect(address, limit: isBound ? limit : .max) { return true }
        common.metrics.add(.limits, "limit=\"connections_per_ip\"")
        return false
    }

    /// A connection that is there already counts from now on.
    func connected(_ slot: SlotIndex) { _ = common.places.connect(counted(slot), limit: .max) }

    /// A connection has left the HTTP server and is no visitor's.
    func disconnected(_ slot: SlotIndex) { common.places.disconnect(counted(slot)) }

    /// The connection of a visitor, which has left the HTTP server without a word, is counted on.
    func keepConnection(_ visitor: ProxyVisitor, _ slot: SlotIndex) { visitor.connectionKey = counted(slot) }
}
