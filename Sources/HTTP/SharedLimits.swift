import Policy
import Synchronization

/// What limits a process as a whole, whatever configuration it runs with: counts that a reload must not lose, and that
/// several instances may share.
public final class SharedLimits: Sendable {
    /// How to wake the shards.
    public let directory: ShardDirectory
    /// Connections of sessions and of client addresses.
    public let places: PlaceKeeper
    /// Sessions that were revoked.
    public let revocations = RevocationTable()
    /// Tokens of the JWT proxy that are denied.
    public let denials = DenialTable()
    /// Budgets of messages that its sessions share.
    public let budgets = MessageBudgets()
    /// Look-ups of each session under way over all shards: one session must not take the resolver from the others.
    public let lookups = ConnectionQuota()
    /// Queries of DNS over HTTPS that each session waits for, over all shards.
    public let queries = ConnectionQuota()

    private let limiters = Mutex<[String: any LimitExchange]>([:])
    private let exchangesRates = Atomic<Bool>(false)
    private let epoch = Atomic<UInt64>(0)

    /// Nothing is held.
    public init() {
        directory = ShardDirectory()
        places = PlaceKeeper(directory: directory)
    }

    // MARK: - Rates

    /// Whether what limiters grant is exchanged with other instances.
    public var sharesRates: Bool { exchangesRates.load(ordering: .relaxed) }

    /// Said by whoever talks to the store.
    public func shareRates(_ shares: Bool) { exchangesRates.store(shares, ordering: .relaxed) }

    /// Limiters by name; the latest of a name replaces the former, as after a reload.
    public var exchanges: [any LimitExchange] { limiters.withLock { Array($0.values) } }

    func register(_ limiter: any LimitExchange) { limiters.withLock { $0[limiter.name] = limiter } }

    // MARK: - Revocations

    /// Grows with every revocation; a shard that finds it changed closes the connections of revoked sessions.
    public var revocationEpoch: UInt64 { epoch.load(ordering: .acquiring) }

    /// Ends a session: its cookie is no longer accepted and its WebSockets are closed, here at once and on other instances
    /// within about a second. False when the table is full. Any thread.
    ///
    /// - Parameter expirySeconds: since 1970, when the last cookie of the session ends; later is safe.
    public func revoke(sessionID: String, expirySeconds: Double) -> Bool {
        let before = revocations.droppedCount
        merge([(digest: Digest.hexSHA256(sessionID), expirySeconds: expirySeconds)], isShared: false)
        return revocations.droppedCount == before
    }

    /// Takes revocations over. `isShared`: they came from the store.
    public func merge(_ entries: [RevocationTable.Entry], isShared: Bool) {
        let now = Double(WallClock.nowMilliseconds) / 1000
        guard revocations.insert(entries, isShared: isShared, nowSeconds: now) > 0 else { return }
        _ = places.markRevoked { revocations.contains(sessionID: $0) }
        epoch.add(1, ordering: .releasing)
        directory.wakeAll()
    }
}
