// Token buckets: one, and a bounded table of them keyed by who is being limited.

/// A bucket of tokens that fills at a steady rate. Sixteen bytes; the rate and the capacity belong to its table, since
/// they are the same for every key. Time is milliseconds of any clock that does not go back.
public struct TokenBucket: Sendable, Equatable {
    private var tokens: Double
    private(set) var updatedMilliseconds: Int64

    /// A full bucket.
    public init(capacity: Double, nowMilliseconds: Int64) {
        tokens = capacity
        updatedMilliseconds = nowMilliseconds
    }

    /// Takes `count` tokens, one unless said otherwise, if they are there. Time that runs backwards adds nothing.
    public mutating func take(_ count: Double = 1, capacity: Double, perSecond: Double, nowMilliseconds: Int64) -> Bool {
        if nowMilliseconds > updatedMilliseconds {
            let elapsedSeconds = Double(nowMilliseconds - updatedMilliseconds) / 1000
            tokens = min(capacity, tokens + elapsedSeconds * perSecond)
            updatedMilliseconds = nowMilliseconds
        }
        guard tokens >= count else { return false }
        tokens -= count
        return true
    }

    /// A bucket in a known state; below zero it owes what was taken elsewhere.
    init(tokens: Double, nowMilliseconds: Int64) {
        self.tokens = tokens
        updatedMilliseconds = nowMilliseconds
    }
}

/// Token buckets by key. Keys idle for ten minutes are dropped once there are more than 10,000, and the table never
/// holds more than `maximumKeys`: strangers choose the keys, so the memory they can claim is bounded.
public struct BucketTable<Key: Hashable & Sendable>: Sendable {
    /// From this many keys on, idle ones are dropped.
    public static var sweepAboveKeys: Int { 10_000 }
    /// How long a key must have been idle to be dropped.
    public static var idleMilliseconds: Int64 { 600_000 }
    /// Hard bound, about 8 MB. A stranger's new key is refused above it, which limits a flood of addresses and leaves
    /// those already known alone.
    public static var maximumKeys: Int { 100_000 }
    /// A sweep looks at every key, so it runs at most this often.
    private static var sweepIntervalMilliseconds: Int64 { 1000 }

    /// Keys whose use is remembered between two exchanges with other instances; further ones are judged here alone meanwhile.
    public static var maximumActiveKeys: Int { 4096 }

    /// Tokens a bucket holds.
    public private(set) var capacity: Double
    /// Tokens it gains in a second.
    public private(set) var perSecond: Double
    private var buckets: [Key: TokenBucket] = [:]
    /// Keys asked about since the last exchange, with the tokens they took.
    private var active: [Key: Int] = [:]
    private var sweptMilliseconds: Int64?

    /// A table whose buckets hold `capacity` tokens and gain `perSecond`. Nil when either is not above zero, which is
    /// how a limiter is switched off. A capacity below 1 never admits anything.
    public init?(capacity: Double, perSecond: Double) {
        guard capacity > 0, perSecond > 0, capacity.isFinite, perSecond.isFinite else { return nil }
        self.capacity = capacity
        self.perSecond = perSecond
    }

    /// Puts another rate in force for all keys, which keep the tokens they have, or as many as their buckets now hold.
    /// False, and nothing changes, when either is not above zero.
    public mutating func change(capacity: Double, perSecond: Double) -> Bool {
        guard capacity > 0, perSecond > 0, capacity.isFinite, perSecond.isFinite else { return false }
        self.capacity = capacity
        self.perSecond = perSecond
        return true
    }

    /// Number of keys held.
    public var count: Int { buckets.count }

    /// Whether one more request of `key` is within the limit; if so it is counted. `remembers`: for the next exchange with
    /// other instances, refusals included, since a key that is refused must learn when others stop using it.
    public mutating func admit(_ key: Key, nowMilliseconds: Int64, remembers: Bool = false) -> Bool {
        let admitted = take(key, nowMilliseconds)
        if remembers, active[key] != nil || active.count < Self.maximumActiveKeys { active[key, default: 0] += admitted ? 1 : 0 }
        return admitted
    }

    private mutating func take(_ key: Key, _ nowMilliseconds: Int64) -> Bool {
        if let index = buckets.index(forKey: key) {
            return buckets.values[index].take(capacity: capacity, perSecond: perSecond, nowMilliseconds: nowMilliseconds)
        }
        if buckets.count >= Self.sweepAboveKeys { sweep(nowMilliseconds) }
        guard buckets.count < Self.maximumKeys else { return false }
        var bucket = TokenBucket(capacity: capacity, nowMilliseconds: nowMilliseconds)
        let admitted = bucket.take(capacity: capacity, perSecond: perSecond, nowMilliseconds: nowMilliseconds)
        buckets[key] = bucket
        return admitted
    }

    /// Whether a key was asked about since the last exchange.
    public var hasActive: Bool { !active.isEmpty }

    /// Takes what was used since the last exchange, at most `maximum` keys.
    public mutating func takeActive(maximum: Int) -> [(key: Key, spent: Int)] {
        let taken = active.prefix(maximum).map { (key: $0.key, spent: $0.value) }
        for item in taken { active[item.key] = nil }
        return taken
    }

    /// Sets what all instances together have left of a key, less what was taken here since that was asked.
    public mutating func settle(_ key: Key, tokens: Double, nowMilliseconds: Int64) {
        guard buckets[key] != nil else { return }
        let left = min(capacity, tokens) - Double(active[key] ?? 0)
        buckets[key] = TokenBucket(tokens: left, nowMilliseconds: nowMilliseconds)
    }

    private mutating func sweep(_ nowMilliseconds: Int64) {
        if let sweptMilliseconds, nowMilliseconds - sweptMilliseconds < Self.sweepIntervalMilliseconds { return }
        sweptMilliseconds = nowMilliseconds
        buckets = buckets.filter { nowMilliseconds - $0.value.updatedMilliseconds < Self.idleMilliseconds }
    }
}

extension BucketTable where Key == IPAddress {
    /// The limiter of all requests, by client address: `perMinute` a minute with bursts of as many. Nil when it is off.
    public static func requests(perMinute: Int) -> BucketTable? {
        BucketTable(capacity: Double(perMinute), perSecond: Double(perMinute) / 60)
    }
}

extension BucketTable where Key == String {
    /// How many relay tokens a session may ask for in the long run.
    public static var relayTokensPerSecond: Double { 1 }
    /// How many it may ask for at once.
    public static var relayTokenBurst: Double { 5 }

    /// The limiter of relay tokens, by session id.
    public static func relayTokens() -> BucketTable? {
        BucketTable(capacity: relayTokenBurst, perSecond: relayTokensPerSecond)
    }
}
