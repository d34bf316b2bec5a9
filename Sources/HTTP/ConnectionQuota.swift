import Synchronization

/// Connections counted per key (a session, a client address) over all shards.
///
/// Touched when a connection opens and closes, never per message. Striped, so that shards rarely meet. A connection holds
/// its key's entry, eight bytes; the entry exists as long as its count is above zero, so the table is bounded by the
/// connections that are open.
public final class ConnectionQuota: Sendable {
    /// What the connections of one key share.
    public final class Entry: @unchecked Sendable {
        let key: String
        var count = 0  // guarded by the stripe's lock

        init(key: String) { self.key = key }
    }

    private static let stripes = 16
    private let tables: [Stripe]

    private final class Stripe: Sendable {
        let entries = Mutex<[String: Entry]>([:])
    }

    /// An empty table.
    public init() { tables = (0..<Self.stripes).map { _ in Stripe() } }

    private func stripe(_ key: String) -> Stripe { tables[Int(truncatingIfNeeded: UInt(bitPattern: key.hashValue) % UInt(Self.stripes))] }

    /// Takes a place; nil when `key` has `limit` already. A limit of 0 is none.
    public func acquire(_ key: String, limit: Int) -> Entry? {
        stripe(key).entries.withLock { entries in
            let entry = entries[key] ?? Entry(key: key)
            if limit > 0, entry.count >= limit { return nil }
            entry.count += 1
            entries[key] = entry
            return entry
        }
    }

    /// Gives a place back.
    public func release(_ entry: Entry) {
        stripe(entry.key).entries.withLock { entries in
            precondition(entry.count > 0, "a place is given back once")
            entry.count -= 1
            if entry.count == 0 { entries[entry.key] = nil }
        }
    }

    /// Places taken by `key`.
    public func count(_ key: String) -> Int { stripe(key).entries.withLock { $0[key]?.count ?? 0 } }
}
