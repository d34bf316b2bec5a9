import CRing

/// What a shard counts. One shard writes, any thread reads: each counter is a word read and written whole.
public struct Statistics {
    /// A counter's place.
    public enum Counter: Int, CaseIterable, Sendable {
        case turns, completions, submissions
        case accepted, acceptFailed, refusedNoSlot
        case connects, connectFailed
        case receives, receivedBytes, sends, sentBytes, sendsWaiting, vectoredSends, slices, slicesCopied
        case receiveStarved, receivePaused, grownToBulk, shrunkToSmall, buffersTrimmed
        case closes, completionOverflows, enterBusy
        case slotsUsed, buffersSmallUsed, buffersBulkUsed, buffersSmallPeak, buffersBulkPeak, buffersSmallOffered, buffersBulkOffered
        case lookups, lookupsFailed, lookupsRefused
        case inboxMessages, timersFired
        case tlsStreams, tlsHandshakes, tlsHandshakesFailed, tlsHandshakeTimeouts, tlsHandshakesDeferred
        case tlsVersion12, tlsVersion13, tlsResumed, tlsTruncated
    }

    let words: UnsafeMutablePointer<UInt64>

    /// Buckets of the histogram of completions per turn: bucket `n` counts the turns with 2ⁿ⁻¹ < completions ≤ 2ⁿ, bucket 0
    /// those with one at most, the last all above.
    public static let turnBuckets = 12

    init() {
        words = .allocate(capacity: Counter.allCases.count + Self.turnBuckets)
        words.initialize(repeating: 0, count: Counter.allCases.count + Self.turnBuckets)
    }

    /// Counts a turn by its completions.
    @inline(__always)
    func addTurn(completions: UInt64) {
        let bits = completions > 1 ? 64 &- (completions &- 1).leadingZeroBitCount : 0
        counter_add(words + (Counter.allCases.count &+ min(bits, Self.turnBuckets &- 1)), 1)
    }

    /// Turns in one bucket, not cumulated; from any thread.
    public func turns(inBucket bucket: Int) -> UInt64 {
        precondition(bucket >= 0 && bucket < Self.turnBuckets)
        return counter_read(words + (Counter.allCases.count + bucket))
    }

    @inline(__always)
    func add(_ counter: Counter, _ amount: UInt64 = 1) { counter_add(words + counter.rawValue, amount) }

    @inline(__always)
    func set(_ counter: Counter, _ value: UInt64) { counter_set(words + counter.rawValue, value) }

    /// The counter's value, from any thread.
    public func read(_ counter: Counter) -> UInt64 { counter_read(words + counter.rawValue) }
}

extension Statistics: @unchecked Sendable {}
