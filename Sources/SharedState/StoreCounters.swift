import Engine

/// What the conversation with the store counts; any thread may read.
public struct StoreCounters: @unchecked Sendable {
    /// A counter's place.
    public enum Counter: Int, CaseIterable, Sendable {
        case connected, configured, requests, errors, timeouts, connections, latencyMicroseconds, keysExchanged
    }

    /// Upper bounds of the latency histogram, in microseconds.
    public static let bounds: [UInt64] = [100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000]

    private let words: CounterBlock

    /// All at zero.
    public init() { words = CounterBlock(count: Counter.allCases.count + Self.bounds.count + 1) }

    func add(_ counter: Counter, _ amount: UInt64 = 1) { words.add(counter.rawValue, amount) }

    func set(_ counter: Counter, _ value: UInt64) { words.add(counter.rawValue, value &- words.read(counter.rawValue)) }

    func latency(microseconds: UInt64) {
        add(.latencyMicroseconds, microseconds)
        let bucket = Self.bounds.firstIndex { microseconds <= $0 } ?? Self.bounds.count
        words.add(Counter.allCases.count + bucket, 1)
    }

    /// The counter's value, from any thread.
    public func read(_ counter: Counter) -> UInt64 { words.read(counter.rawValue) }

    /// Answers in a bucket of the histogram, not cumulated; the last is above every bound.
    public func latencyBucket(_ index: Int) -> UInt64 { words.read(Counter.allCases.count + index) }
}
