// How many descriptors the process may open, and how many its configuration can come to need.

import Glibc

/// The descriptor limit of the process.
public enum DescriptorLimit {
    /// Rings, listeners, timers, standard streams, files being read: a generous allowance beside the connections.
    static let reserve = 64
    /// Below this a gateway runs out in ordinary use: 2,000 WebSockets with their targets. Running out is survived: clients wait
    /// in the listener's queue.
    static let sensible: UInt64 = 4096

    /// Descriptors that a full house needs.
    static func needed(_ limits: ResourceLimits, shards: Int) -> UInt64 {
        UInt64(shards) * UInt64(limits.maximumConnectionsPerShard) + UInt64(reserve)
    }

    /// The limits in force.
    static var current: (soft: UInt64, hard: UInt64) {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return (0, 0) }
        return (UInt64(limit.rlim_cur), UInt64(limit.rlim_max))
    }

    /// Raises the soft limit as far as needed and allowed. Soft limits of 1024 exist for programs that use select(2).
    /// - Returns: the descriptors the process may now open, and those it would need.
    @discardableResult
    public static func raise(for limits: ResourceLimits, shards: Int) -> (allowed: UInt64, needed: UInt64) {
        let needed = needed(limits, shards: shards)
        let (soft, hard) = current
        guard soft < needed, soft < hard else { return (soft, needed) }
        var limit = rlimit(rlim_cur: rlim_t(min(needed, hard)), rlim_max: rlim_t(hard))
        guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return (soft, needed) }
        return (min(needed, hard), needed)
    }

    /// Sockets of `/udp` one shard may have: what was configured, or half of its share of slots and descriptors, so that as many are
    /// left for connections.
    ///
    /// - Parameter allowed: descriptors the process may open.
    static func datagramSockets(_ limits: ResourceLimits, shards: Int, allowed: UInt64 = current.soft) -> Int {
        let usable = allowed > UInt64(reserve) ? allowed - UInt64(reserve) : 0
        let share = Int(clamping: min(usable / UInt64(max(shards, 1)), UInt64(limits.maximumConnectionsPerShard)))
        let wanted = limits.maximumDatagramSocketsPerShard
        return max(1, wanted == 0 ? share / 2 : min(wanted, limits.maximumConnectionsPerShard))
    }

    static func text(_ limit: UInt64) -> String { limit == .max ? "any number" : "\(limit)" }
}
