import Engine
import Wire

/// Addresses of the names a shard dials.
///
/// Theory of operation
/// - A name is looked up when it is first wanted and again when its addresses are older than they are good for, between
///   `ClientLimits.addressSecondsMinimum` and `addressSecondsMaximum`. Those who want it meanwhile wait for the same look-up.
/// - When a look-up fails, what was known before is used on, and asked again a second later; until an answer comes nobody waits for one.
/// - Numeric addresses need none of it, and do not come here.
struct NameCache {
    struct Entry {
        let name: String
        var addresses: [SocketAddress] = []
        var goodUntil: UInt64 = 0
        var lookup: UInt32?  // under way
        var hasFailed = false  // the last look-up
        var waiters: [UInt32] = []  // exchanges
    }

    /// What is known at once.
    enum Answer {
        case addresses([SocketAddress])
        /// The exchange is told when the look-up ends.
        case waiting
        case failed
    }

    private var entries: [Entry] = []

    /// Addresses of a host, with port 0, or a place in the queue for them.
    mutating func find(_ host: String, for exchange: UInt32, shard: Shard, owner: Owner) -> Answer {
        let index: Int
        if let known = entries.firstIndex(where: { $0.name == host }) {
            index = known
        } else {
            guard let place = place(for: host) else { return .failed }
            index = place
        }
        if shard.now < entries[index].goodUntil { return .addresses(entries[index].addresses) }
        // Nobody waits for a resolver that did not answer the last time.
        let isStale = entries[index].hasFailed && !entries[index].addresses.isEmpty
        if entries[index].lookup == nil {
            entries[index].lookup = shard.lookUp(host, owner: owner, context: UInt32(index))
            guard entries[index].lookup != nil else {
                return entries[index].addresses.isEmpty ? .failed : .addresses(entries[index].addresses)
            }
        }
        if isStale { return .addresses(entries[index].addresses) }
        entries[index].waiters.append(exchange)
        return .waiting
    }

    /// A look-up ended: who waited, and what they get; empty when it failed and nothing was known before.
    mutating func resolved(_ event: Event, shard: Shard) -> (waiters: [UInt32], addresses: [SocketAddress]) {
        let lifetime = UInt64(shard.addressLifetime(event.detail))
        let addresses = shard.takeAddresses(event.detail)
        let index = Int(event.context)
        guard entries[index].lookup == event.detail else { return ([], []) }
        entries[index].lookup = nil
        entries[index].hasFailed = event.result != 0 || addresses.isEmpty
        if event.result == 0, !addresses.isEmpty {
            let seconds = min(max(lifetime, ClientLimits.addressSecondsMinimum), ClientLimits.addressSecondsMaximum)
            entries[index].addresses = Self.interleave(addresses)
            entries[index].goodUntil = shard.now + 1000 * seconds
        } else if !entries[index].addresses.isEmpty {
            entries[index].goodUntil = shard.now + ClientLimits.lookupRetryMilliseconds
        }
        let waiters = entries[index].waiters
        entries[index].waiters = []
        return (waiters, entries[index].addresses)
    }

    /// An exchange does not wait any more.
    mutating func forget(_ exchange: UInt32) {
        for index in entries.indices { entries[index].waiters.removeAll { $0 == exchange } }
    }

    /// A place for a name: a new one, or that of a name nobody waits for.
    private mutating func place(for host: String) -> Int? {
        guard entries.count >= ClientLimits.names else {
            entries.append(Entry(name: host))
            return entries.count - 1
        }
        guard let old = entries.indices.filter({ entries[$0].lookup == nil }).min(by: { entries[$0].goodUntil < entries[$1].goodUntil })
        else { return nil }
        entries[old] = Entry(name: host)
        return old
    }

    /// The families take turns, the system's first choice first: one that leads nowhere does not use up all tries.
    static func interleave(_ addresses: [SocketAddress]) -> [SocketAddress] {
        guard let first = addresses.first else { return [] }
        var preferred = addresses.filter { $0.family == first.family }[...]
        var others = addresses.filter { $0.family != first.family }[...]
        var result: [SocketAddress] = []
        while !preferred.isEmpty || !others.isEmpty {
            if let address = preferred.popFirst() { result.append(address) }
            if let address = others.popFirst() { result.append(address) }
        }
        return result
    }
}
