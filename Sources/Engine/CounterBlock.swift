import CRing

/// Counters in plain memory: one thread writes, any thread reads. Features build theirs on it.
public struct CounterBlock: @unchecked Sendable {
    private let words: UnsafeMutablePointer<UInt64>

    /// `count` counters at zero; they live as long as the process.
    public init(count: Int) {
        words = .allocate(capacity: count)
        words.initialize(repeating: 0, count: count)
    }

    /// Adds to a counter; adding `UInt64.max` subtracts one. The owning thread only.
    @inline(__always)
    public func add(_ index: Int, _ amount: UInt64) {
        counter_set(words + index, counter_read(words + index) &+ amount)
    }

    /// A counter's value.
    @inline(__always)
    public func read(_ index: Int) -> UInt64 { counter_read(words + index) }
}
