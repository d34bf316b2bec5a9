import Synchronization

/// Connections counted per key (a session, a client address) over all shards.
///
/// Touched when a connection opens and closes, never per message. Striped, so that shards rarely meet; an entry exists
/// only while its count is above zero, so the table is bounded by the connections that are open.
public final class ConnectionQuota: Sendable {
    private static let stripes = 16
    private let tables: [Stripe]

    private final class Stripe: Sendable {
        let counts = Mutex<[String: Int]>([:])
    }

    /// An empty table.
    public init() { tables = (0..<Self.stripes).map { _ in Stripe() } }

    private func stripe(_ key: String) -> Stripe { tables[Int(truncatingIfNeeded: UInt(bitPattern: key.hashValue) % UInt(Self.stripes))] }

    /// Takes a place; false when `key` has `limit` already. A limit of 0 is none.
    public func acquire(_ key: String, limit: Int) -> Bool {
        stripe(key).counts.withLock { counts in
            let count = counts[key, default: 0]
            if limit > 0, count >= limit { return false }
            counts[key] = count + 1
            return true
        }
    }

    /// Gives a place back.
    public func release(_ key: String) {
        stripe(key).counts.withLock { counts in
            guard let count = counts[key] else { preconditionFailure("a place is given back once") }
            counts[key] = count > 1 ? count - 1 : nil
        }
    }

    /// Places taken by `key`.
    public func count(_ key: String) -> Int { stripe(key).counts.withLock { $0[key, default: 0] } }
}
