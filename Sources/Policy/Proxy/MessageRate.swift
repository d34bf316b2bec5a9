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

    /// Judges a message of a key whose time is `theoretical` (0: it never sent anything). `parts`: into how many the budget is divided;
    /// one of them is judged here.
    @inline(__always)
    public func judge(_ theoretical: UInt64, parts: UInt64 = 1, nowNanoseconds now: UInt64) -> Verdict {
        let base = max(theoretical, now)
        let ahead = base &- now
        guard ahead <= tolerance else { return .refused(waitNanoseconds: ahead &- tolerance) }
        return .admitted(theoreticalNanoseconds: base &+ interval &* parts)
    }

    /// Messages that a key with this time could send at once.
    public func available(_ theoretical: UInt64, nowNanoseconds now: UInt64) -> Int {
        let ahead = max(theoretical, now) - now
        return ahead > tolerance ? 0 : Int((tolerance - ahead) / interval) + 1
    }
}

/// Which keys have been used since somebody looked: a bit for each, so that looking costs the same however many there are, and using
/// a key costs nothing but for the first time.
@safe public final class RateActivity: @unchecked Sendable {
    /// Keys that have a bit: 32 KiB of them. A process has about as many sessions at most.
    public static let places = 262_144
    private static let words = places / 64

    private let words: UnsafeMutablePointer<Atomic<UInt64>>

    /// No key was used.
    public init() {
        unsafe words = .allocate(capacity: Self.words)
        for index in 0..<Self.words { unsafe (words + index).initialize(to: Atomic(0)) }
    }

    deinit {
        unsafe words.deinitialize(count: Self.words)
        unsafe words.deallocate()
    }

    /// A key was used.
    func mark(_ place: Int) {
        precondition(place >= 0 && place < Self.places)
        unsafe words[place >> 6].bitwiseOr(1 << UInt64(place & 63), ordering: .releasing)
    }

    /// Places of keys that were used since the last call, at most `maximum` and those of one word; the others are told next time.
    public func take(maximum: Int) -> [Int] {
        var places: [Int] = []
        for index in 0..<Self.words {
            if unsafe words[index].load(ordering: .relaxed) == 0 { continue }
            if places.count >= maximum { break }
            var bits = unsafe words[index].exchange(0, ordering: .acquiring)
            while bits != 0 {
                places.append(index << 6 | bits.trailingZeroBitCount)
                bits &= bits &- 1
            }
        }
        return places
    }
}

/// The state of one key, shared by its sessions on all shards. Every message is one compare-and-exchange.
public final class MessageRateCell: Sendable {
    private let theoretical = Atomic<UInt64>(0)
    /// Messages admitted since the last exchange with other instances.
    private let spent = Atomic<Int>(0)
    /// Into how many parts the budget is divided: instances that cannot tell each other what they admit have one each.
    private let parts = Atomic<UInt64>(1)
    private let activity: RateActivity?
    /// Bit in `activity`.
    public let place: Int

    /// A key that never sent anything. With `activity`, its use is told there.
    public init(activity: RateActivity? = nil, place: Int = 0) {
        self.activity = activity
        self.place = place
    }

    /// Whether a message is admitted; otherwise how long it has to wait. Zero: admitted.
    @inline(__always)
    public func take(_ rate: MessageRate, nowNanoseconds now: UInt64) -> UInt64 {
        var current = theoretical.load(ordering: .relaxed)
        let parts = parts.load(ordering: .relaxed)
        while true {
            switch rate.judge(current, parts: parts, nowNanoseconds: now) {
            case .refused(let wait): return wait
            case .admitted(let next):
                let (exchanged, original) = theoretical.weakCompareExchange(expected: current, desired: next, ordering: .relaxed)
                if exchanged {
                    if spent.add(1, ordering: .acquiringAndReleasing).oldValue == 0 { tell() }
                    return 0
                }
                current = original
            }
        }
    }

    /// Out of line: once between two exchanges.
    @inline(never)
    @usableFromInline func tell() { activity?.mark(place) }

    /// Divides the budget.
    public func divide(into parts: Int) { self.parts.store(UInt64(max(1, parts)), ordering: .relaxed) }

    /// Takes the count of messages admitted since the last call.
    public func takeSpent() -> Int { spent.exchange(0, ordering: .acquiringAndReleasing) }

    /// Whether the key may send a whole burst: forgetting it would give it nothing.
    public func isFull(nowNanoseconds now: UInt64) -> Bool { theoretical.load(ordering: .relaxed) <= now }

    /// Puts what all instances together have left of the key in place of what this one believed: `messages`, in parts of one, may be
    /// sent at once, less what was admitted meanwhile. Below zero the key waits.
    public func settle(_ rate: MessageRate, messages: Double, nowNanoseconds now: UInt64) {
        let left = min(messages, Double(rate.burst)) - Double(spent.load(ordering: .relaxed))
        let used = max(0, min(Double(rate.burst) - left, Self.usedMaximum))
        theoretical.store(now &+ UInt64(Double(rate.interval) * used), ordering: .relaxed)
    }

    /// More messages than any key can owe: twice the largest burst and a second's of the largest rate.
    private static let usedMaximum = Double(4 * MessageRate.maximum)
}
