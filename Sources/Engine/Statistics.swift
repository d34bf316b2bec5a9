import CRing

/// What a shard counts. One shard writes, any thread reads: each counter is a word read and written whole.
public struct Statistics {
    /// A counter's place.
    public enum Counter: Int, CaseIterable, Sendable {
        case turns, completions, submissions
        case accepted, acceptFailed, refusedNoSlot
        case connects, connectFailed
        case receives, receivedBytes, sends, sentBytes, sendsWaiting, vectoredSends
        case receiveStarved, receivePaused, grownToBulk, shrunkToSmall
        case closes, completionOverflows, enterBusy
        case slotsUsed, buffersSmallUsed, buffersBulkUsed, buffersSmallPeak, buffersBulkPeak
        case lookups, lookupsFailed, lookupsRefused
        case inboxMessages, timersFired
    }

    let words: UnsafeMutablePointer<UInt64>

    init() {
        words = .allocate(capacity: Counter.allCases.count)
        words.initialize(repeating: 0, count: Counter.allCases.count)
    }

    @inline(__always)
    func add(_ counter: Counter, _ amount: UInt64 = 1) { counter_add(words + counter.rawValue, amount) }

    @inline(__always)
    func set(_ counter: Counter, _ value: UInt64) { counter_set(words + counter.rawValue, value) }

    /// The counter's value, from any thread.
    public func read(_ counter: Counter) -> UInt64 { counter_read(words + counter.rawValue) }
}

extension Statistics: @unchecked Sendable {}
