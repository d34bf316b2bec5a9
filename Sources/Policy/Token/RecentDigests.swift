/// Digests that are remembered for a fixed time, at most so many: since all live equally long, the oldest is the first to go.
struct RecentDigests<Value: Sendable>: Sendable {
    private let capacity: Int
    private let lifetimeMilliseconds: Int64
    private var values: [TokenDigest: Value] = [:]
    /// Digests in the order of their ends; a ring once it has `capacity` elements.
    private var ends: [(digest: TokenDigest, endMilliseconds: Int64)] = []
    private var oldest = 0
    private var count = 0

    /// An empty memory. It takes room as it fills.
    init(capacity: Int, lifetimeMilliseconds: Int64) {
        precondition(capacity > 0 && lifetimeMilliseconds > 0)
        self.capacity = capacity
        self.lifetimeMilliseconds = lifetimeMilliseconds
    }

    /// Digests held.
    var entries: Int { count }

    /// What is remembered about a digest. Time that runs backwards forgets nothing early.
    mutating func value(_ digest: TokenDigest, nowMilliseconds: Int64) -> Value? {
        while count > 0, ends[oldest].endMilliseconds <= nowMilliseconds { forgetOldest() }
        return values[digest]
    }

    /// Remembers a digest from now on, in the place of the oldest when there is no room. One that is known keeps its end.
    mutating func insert(_ digest: TokenDigest, _ value: Value, nowMilliseconds: Int64) {
        guard values.updateValue(value, forKey: digest) == nil else { return }
        if count == capacity { forgetOldest() }
        let place = (oldest + count) % capacity
        let end = (digest: digest, endMilliseconds: nowMilliseconds + lifetimeMilliseconds)
        if place < ends.count { ends[place] = end } else { ends.append(end) }
        count += 1
    }

    /// Forgets everything.
    mutating func removeAll() {
        values = [:]
        ends = []
        (oldest, count) = (0, 0)
    }

    private mutating func forgetOldest() {
        values[ends[oldest].digest] = nil
        oldest = (oldest + 1) % capacity
        count -= 1
    }
}
