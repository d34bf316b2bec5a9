import Synchronization

/// What the proxies of all shards share: the sessions of the process and their bound. It outlives a configuration, because sessions
/// do; the bound may change.
public final class ProxyShared: Sendable {
    private let sessions = Atomic<Int>(0)
    private let bound: Atomic<Int>

    /// No sessions yet.
    public init(maximumSessions: Int = 200_000) { bound = Atomic(maximumSessions) }

    /// Sessions of the process, those being set up included.
    public var sessionCount: Int { sessions.load(ordering: .relaxed) }

    /// Most sessions of the process; those above stay.
    public var maximumSessions: Int {
        get { bound.load(ordering: .relaxed) }
        set { bound.store(newValue, ordering: .relaxed) }
    }

    /// Takes a place; false when there is none.
    func acquire() -> Bool {
        guard sessions.add(1, ordering: .relaxed).newValue > maximumSessions else { return true }
        sessions.subtract(1, ordering: .relaxed)
        return false
    }

    func release() { sessions.subtract(1, ordering: .relaxed) }
}
