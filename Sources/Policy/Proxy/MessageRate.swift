// Theory of operation
//
// GCRA, the generic cell rate algorithm: of each key only the time is kept at which it would have used up nothing, had it
// sent at exactly its rate. A message is admitted when that time is at most `burst - 1` intervals ahead of now, and moves it
// one interval on. So a key that was silent may send `burst` messages at once, then one each interval; and one number, changed
// by compare-and-exchange, is the whole state, which sessions on several shards share without a lock.
//
//      time ──────────┬───────────────► theoretical time
//                    now   ≤ tolerance: admitted     > tolerance: wait for the difference

import Synchronization

/// A rate of messages. Time is nanoseconds of any clock that does not go back.
public struct MessageRate: Sendable, Hashable {
    /// Messages a second in the long run.
    public let perSecond: Int
    /// Messages at once after silence.
    public let burst: Int
    /// Nanoseconds a message costs.
    @usableFromInline let interval: UInt64
    /// How far ahead of now the theoretical time may be.
    @usableFromInline let tolerance: UInt64

    /// Largest rate and largest burst.
    public static let maximum = 1_000_000
    /// The rate of the compat profile.
    public static let compat = MessageRate(perSecond: 10, burst: 30)

    /// A rate; nil when it is 0, which is how it is switched off, or out of range.
    public init?(perSecond: Int, burst: Int) {
        guard (1...Self.maximum).contains(perSecond), (1...Self.maximum).contains(burst) else { return nil }
        self.perSecond = perSecond
        self.burst = burst
        interval = 1_000_000_000 / UInt64(perSecond)
        tolerance = interval * UInt64(burst - 1)
    }

    /// The verdict on one message.
    public enum Verdict: Sendable, Hashable {
        /// Admitted; this is the key's time now.
        case admitted(theoreticalNanoseconds: UInt64)
        /// Not before that much time has passed.
        case refused(waitNanoseconds: UInt64)
    }

    /// Judges a message of a key whose time is `theoretical` (0: it never sent anything).
    @inline(__always)
    public func judge(_ theoretical: UInt64, nowNanoseconds now: UInt64) -> Verdict {
        let base = max(theoretical, now)
        let ahead = base &- now
        guard ahead <= tolerance else { return .refused(waitNanoseconds: ahead &- tolerance) }
        return .admitted(theoreticalNanoseconds: base &+ interval)
    }

    /// Messages that a key with this time could send at once.
    public func available(_ theoretical: UInt64, nowNanoseconds now: UInt64) -> Int {
        let ahead = max(theoretical, now) - now
        return ahead > tolerance ? 0 : Int((tolerance - ahead) / interval) + 1
    }
}

/// The state of one key, shared by its sessions on all shards. Every message is one compare-and-exchange.
public final class MessageRateCell: Sendable {
    private let theoretical = Atomic<UInt64>(0)
    /// Messages admitted since the last exchange with other instances.
    private let spent = Atomic<Int>(0)

    /// A key that never sent anything.
    public init() {}

    /// Whether a message is admitted; otherwise how long it has to wait. Zero: admitted.
    @inline(__always)
    public func take(_ rate: MessageRate, nowNanoseconds now: UInt64) -> UInt64 {
        var current = theoretical.load(ordering: .relaxed)
        while true {
            switch rate.judge(current, nowNanoseconds: now) {
            case .refused(let wait): return wait
            case .admitted(let next):
                let (exchanged, original) = theoretical.weakCompareExchange(expected: current, desired: next, ordering: .relaxed)
                if exchanged {
                    spent.wrappingAdd(1, ordering: .relaxed)
                    return 0
                }
                current = original
            }
        }
    }

    /// Takes the count of messages admitted since the last call.
    public func takeSpent() -> Int { spent.exchange(0, ordering: .relaxed) }

    /// Puts what all instances together have left of the key in place of what this one believed: `messages` may be sent at once, less
    /// what was admitted meanwhile. Below zero the key waits.
    public func settle(_ rate: MessageRate, messages: Int, nowNanoseconds now: UInt64) {
        let left = min(messages, rate.burst) - spent.load(ordering: .relaxed)
        let used = UInt64(clamping: rate.burst - left)
        theoretical.store(now &+ rate.interval &* used, ordering: .relaxed)
    }
}
