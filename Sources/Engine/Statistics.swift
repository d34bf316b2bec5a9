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
        case datagramsReceived, datagramBytesReceived, datagramsSent, datagramBytesSent
        case datagramsCut, datagramsLostInKernel, datagramReceiveErrors, datagramReceivesStarved, datagramCreditUsed, datagramSocketsGrown
        case datagramSendErrors, datagramSendsDelayed, datagramsDroppedFull, segmentationRefused
        case buffersPacketUsed, buffersTrainUsed, buffersPacketPeak, buffersTrainPeak, buffersPacketOffered, buffersTrainOffered
        case tlsStreams, tlsHandshakes, tlsHandshakesFailed, tlsHandshakeTimeouts, tlsHandshakesDeferred
        case tlsVersion12, tlsVersion13, tlsResumed, tlsTruncated
    }

    let words: UnsafeMutablePointer<UInt64>

    /// Buckets of the histogram of completions per turn: bucket `n` counts the turns with 2ⁿ⁻¹ < completions ≤ 2ⁿ, bucket 0
    /// those with one at most, the last all above.
    public static let turnBuckets = 12

    /// Buckets of the histograms of datagrams per receive and per send, like those of turns: 1, 2, 4 … 64, above.
    public static let trainBuckets = 8

    /// Which way a train went.
    public enum Direction: Int, CaseIterable, Sendable {
        case received, sent
    }

    private static let wordCount = Counter.allCases.count + turnBuckets + Direction.allCases.count * trainBuckets

    init() {
        words = .allocate(capacity: Self.wordCount)
        words.initialize(repeating: 0, count: Self.wordCount)
    }

    /// Counts a receive or send of so many datagrams.
    @inline(__always)
    func addTrain(_ direction: Direction, segments: Int) {
        let bits = segments > 1 ? Int.bitWidth &- (segments &- 1).leadingZeroBitCount : 0
        counter_add(train(direction, min(bits, Self.trainBuckets &- 1)), 1)
    }

    /// Receives or sends in one bucket, not cumulated; from any thread.
    public func trains(_ direction: Direction, inBucket bucket: Int) -> UInt64 {
        precondition(bucket >= 0 && bucket < Self.trainBuckets)
        return counter_read(train(direction, bucket))
    }

    @inline(__always)
    private func train(_ direction: Direction, _ bucket: Int) -> UnsafeMutablePointer<UInt64> {
        words + (Counter.allCases.count &+ Self.turnBuckets &+ direction.rawValue &* Self.trainBuckets &+ bucket)
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
