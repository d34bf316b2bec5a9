// From whom a binding takes datagrams.

import Wire

/// `UDP_INBOUND_FILTER_MODE`.
public enum RelayFilterMode: String, Sendable, CaseIterable {
    /// Only from an address and port the binding has sent to, of late.
    case addressAndPort = "address_and_port"
    /// From anyone.
    case any
}

/// The remotes a binding may hear from. Nothing in mode `any`; else 45 bytes a remote in memory that doubles as it fills, 46 kB at the
/// default cap. Constant time; no allocation but the doubling.
public struct RelayInboundFilter: ~Copyable {
    private let mode: RelayFilterMode
    private let idleMilliseconds: UInt64
    private var remotes: RecentTable<Void>

    /// An empty list of at most `maximumRemotes`, above 0, each forgotten when it has been idle for more than `idleMilliseconds`.
    public init(mode: RelayFilterMode, maximumRemotes: Int, idleMilliseconds: UInt64) {
        self.mode = mode
        self.idleMilliseconds = idleMilliseconds
        remotes = RecentTable(capacity: min(maximumRemotes, RelayLimits.maximumDestinations))
    }

    /// Remotes listed.
    public var count: Int { remotes.count }
    /// Bytes of memory besides the value itself.
    public var tableBytes: Int { remotes.bytes }

    /// Notes a frame on its way to a remote. Returns whether another remote had to go for it, which counts
    /// `udp_remote_allowlist_evictions_total`.
    public mutating func sent(to remote: Endpoint, nowMilliseconds: UInt64) -> Bool {
        guard mode == .addressAndPort else { return false }
        let key = RecentTable<Void>.Key(remote)
        let known = remotes.find(key)
        if known != RecentTable<Void>.none {
            remotes.use(known, nowMilliseconds: nowMilliseconds)
            return false
        }
        var evicts = false
        if remotes.count == remotes.capacity {
            sweep(nowMilliseconds: nowMilliseconds)
            if remotes.count == remotes.capacity {
                evicts = true
                remotes.remove(remotes.firstToGo(), keepsMemory: true)
            }
        }
        _ = remotes.insert(key, (), nowMilliseconds: nowMilliseconds)
        return evicts
    }

    /// Whether to forward a datagram from a remote. False counts `udp_remote_allowlist_overflow_drops_total` and nothing else.
    public mutating func admits(from remote: Endpoint, nowMilliseconds: UInt64) -> Bool {
        guard mode == .addressAndPort else { return true }
        let known = remotes.find(RecentTable<Void>.Key(remote))
        guard known != RecentTable<Void>.none else { return false }
        guard !isExpired(known, nowMilliseconds) else {
            remotes.remove(known)
            return false
        }
        remotes.use(known, nowMilliseconds: nowMilliseconds)
        return true
    }

    /// Forgets what is expired, and gives the memory back when nothing is left. For the timer of the bindings.
    public mutating func sweep(nowMilliseconds: UInt64) {
        while remotes.count > 0, isExpired(remotes.oldest, nowMilliseconds) { remotes.remove(remotes.oldest) }
    }

    private func isExpired(_ index: RecentTable<Void>.Index, _ nowMilliseconds: UInt64) -> Bool {
        let used = remotes.used(index)
        return nowMilliseconds > used && nowMilliseconds - used > idleMilliseconds
    }
}
