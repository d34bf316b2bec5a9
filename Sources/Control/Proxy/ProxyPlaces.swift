import HTTP
import Policy
import Synchronization

/// Who takes up room before there is a session, and who makes room for others: for all shards together. Asked when a connection or a
/// handshake begins or ends.
final class ProxyPlaces: Sendable {
    /// Why a handshake may not begin.
    enum Full: Error { case handshakes, handshakesOfAddress }

    /// A session that may have to make room.
    private struct Member {
        let number: UInt64
        let shard: Int
    }

    private struct Tables {
        var connections: [IPAddress: Int] = [:]
        var handshakes = 0
        var handshakesOf: [IPAddress: Int] = [:]
        /// Oldest first.
        var members: [ProxyCommon.Subject: [Member]] = [:]
        var lastNumber: UInt64 = 0
        /// Sessions to be ended, by shard.
        var evicted: [Int: [UInt64]] = [:]
    }

    private let tables = Mutex(Tables())

    // MARK: Connections

    /// Counts a connection of an address; false when it has all it may have.
    func connect(_ address: IPAddress, limit: Int) -> Bool {
        tables.withLock { tables in
            let count = tables.connections[address] ?? 0
            guard count < limit else { return false }
            tables.connections[address] = count + 1
            return true
        }
    }

    /// A counted connection of an address has ended.
    func disconnect(_ address: IPAddress) {
        tables.withLock { Self.subtract(&$0.connections, address) }
    }

    private static func subtract(_ table: inout [IPAddress: Int], _ address: IPAddress) {
        guard let count = table[address] else { return }
        table[address] = count > 1 ? count - 1 : nil
    }

    // MARK: Handshakes

    /// A handshake begins. It ends when its session has an upstream, or is over.
    func beginHandshake(_ address: IPAddress, _ limits: ProxyLimits) throws(Full) {
        let full: Full? = tables.withLock { tables in
            guard tables.handshakes < limits.handshakes else { return .handshakes }
            let own = tables.handshakesOf[address] ?? 0
            guard own < limits.handshakesPerAddress else { return .handshakesOfAddress }
            tables.handshakes += 1
            tables.handshakesOf[address] = own + 1
            return nil
        }
        if let full { throw full }
    }

    /// A handshake has ended, either way.
    func endHandshake(_ address: IPAddress) {
        tables.withLock { tables in
            tables.handshakes -= 1
            Self.subtract(&tables.handshakesOf, address)
        }
    }

    // MARK: Sessions that make room

    /// Counts a session among those of its subject that may have to go; its number.
    func enter(_ subject: ProxyCommon.Subject, shard: Int) -> UInt64 {
        tables.withLock { tables in
            tables.lastNumber += 1
            tables.members[subject, default: []].append(Member(number: tables.lastNumber, shard: shard))
            return tables.lastNumber
        }
    }

    /// A session has ended by itself.
    func leave(_ subject: ProxyCommon.Subject, number: UInt64) {
        tables.withLock { tables in
            tables.members[subject]?.removeAll { $0.number == number }
            if tables.members[subject]?.isEmpty == true { tables.members[subject] = nil }
        }
    }

    /// Chooses the oldest session of a subject to end; its shard, nil when there is none that is not ending already.
    func evictOldest(_ subject: ProxyCommon.Subject) -> Int? {
        tables.withLock { tables in
            guard var members = tables.members[subject], !members.isEmpty else { return nil }
            let oldest = members.removeFirst()
            tables.members[subject] = members.isEmpty ? nil : members
            tables.evicted[oldest.shard, default: []].append(oldest.number)
            return oldest.shard
        }
    }

    /// Takes the sessions that a shard has to end.
    func takeEvicted(shard: Int) -> [UInt64] {
        tables.withLock { $0.evicted.removeValue(forKey: shard) ?? [] }
    }
}
