import Policy
import Synchronization

/// A limiter whose buckets several instances may share. Each judges at once by its own buckets; what was taken is exchanged
/// a few times a second, and the others' part is then deducted here.
///
/// Bound. Between two exchanges an instance admits what its bucket holds. With `n` instances at most `n - 1` times what one
/// admits in that time, never more than its burst, is admitted above the limit; the store remembers it as debt, up to one
/// burst, and the buckets give nothing until it is paid.
public protocol LimitExchange: AnyObject, Sendable {
    /// Names its keys in the store.
    var name: String { get }
    /// Whether anything is to be exchanged.
    var hasActive: Bool { get }
    /// What was taken since the last exchange, at most `maximum` keys. `settle` or `abandon` follows before the next.
    func takeActive(maximum: Int) -> RateBatch
    /// Tokens all instances together have left of each key, in the order of the batch.
    func settle(_ tokens: [Double])
    /// The store did not answer: what was taken is not known elsewhere.
    func abandon()
}

/// What one limiter tells the others.
public struct RateBatch: Sendable {
    /// Tokens of a bucket.
    public let capacity: Double
    /// Tokens it gains in a second.
    public let perSecond: Double
    /// Digest of each key, and the tokens it took; none for a key that was only refused.
    public let items: [(digest: String, spent: Int)]
}

/// Token buckets by key, for the whole process and, when `limits` are shared, for all instances.
public final class RateLimiter<Key: Hashable & Sendable & CustomStringConvertible>: LimitExchange {
    private struct State {
        var table: BucketTable<Key>?
        var latestMilliseconds: Int64 = .min
        var underWay: [Key] = []
    }

    /// Names its keys in the store.
    public let name: String
    private let state: Mutex<State>
    private let limits: SharedLimits

    /// A limiter named `name` in the store, registered with `limits`. Without a table it is off and admits everything.
    public init(_ name: String, _ table: BucketTable<Key>?, limits: SharedLimits) {
        self.name = name
        self.limits = limits
        state = Mutex(State(table: table))
        limits.register(self)
    }

    /// Puts another rate in force: keys keep the tokens they have, or as many as their buckets now hold.
    public func apply(_ table: BucketTable<Key>?) {
        state.withLock { state in
            if let table, state.table?.change(capacity: table.capacity, perSecond: table.perSecond) == true { return }
            state.table = table
        }
    }

    /// Whether one more request of `key` is within the limit; if so it is counted. Time is that of any clock that does not go back.
    public func admit(_ key: Key, nowMilliseconds: Int64) -> Bool {
        let remembers = limits.sharesRates
        return state.withLock { state in
            state.latestMilliseconds = max(state.latestMilliseconds, nowMilliseconds)
            return state.table?.admit(key, nowMilliseconds: nowMilliseconds, remembers: remembers) ?? true
        }
    }

    /// Whether anything is to be exchanged.
    public var hasActive: Bool { state.withLock { $0.table?.hasActive ?? false } }

    /// What was taken since the last exchange.
    public func takeActive(maximum: Int) -> RateBatch {
        let (taken, capacity, perSecond) = state.withLock { state in
            let taken = state.table?.takeActive(maximum: maximum) ?? []
            state.underWay = taken.map(\.key)
            return (taken, state.table?.capacity ?? 1, state.table?.perSecond ?? 1)
        }
        return RateBatch(
            capacity: capacity, perSecond: perSecond, items: taken.map { (digest: Digest.hexSHA256("\($0.key)"), spent: $0.spent) })
    }

    /// Tokens all instances together have left of each key.
    public func settle(_ tokens: [Double]) {
        state.withLock { state in
            for (key, left) in zip(state.underWay, tokens) {
                state.table?.settle(key, tokens: left, nowMilliseconds: state.latestMilliseconds)
            }
            state.underWay = []
        }
    }

    /// The store did not answer.
    public func abandon() { state.withLock { $0.underWay = [] } }
}
