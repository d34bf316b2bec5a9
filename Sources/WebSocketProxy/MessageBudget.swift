import Synchronization

/// The message rate of one key, shared by its sessions on all shards: GCRA (ITU-T I.371 section 8.2) in one atomic word.
///
/// The word is the *theoretical arrival time*: when the next message would come if all came at the rate. A message conforms
/// while that is not further ahead than the burst allows.
public final class MessageBudget: Sendable {
    private let arrival = Atomic<UInt64>(0)
    /// Nanoseconds between two messages at the rate.
    private let interval: UInt64
    /// Nanoseconds that messages may come early.
    private let tolerance: UInt64

    /// - Parameters:
    ///   - messagesPerSecond: 1 to 1,000,000.
    ///   - burst: messages at once after a pause, 1 at least.
    public init(messagesPerSecond: Int, burst: Int) {
        precondition(messagesPerSecond > 0 && messagesPerSecond <= 1_000_000 && burst > 0)
        interval = 1_000_000_000 / UInt64(messagesPerSecond)
        tolerance = interval * UInt64(burst - 1)
    }

    /// Takes one message, or none when it does not conform.
    @inline(__always)
    func takeOne(nowNanoseconds: UInt64) -> Bool {
        var former = arrival.load(ordering: .relaxed)
        while true {
            let base = max(former, nowNanoseconds)
            if base &- nowNanoseconds > tolerance { return false }
            let (exchanged, original) = arrival.weakCompareExchange(expected: former, desired: base &+ interval, ordering: .relaxed)
            if exchanged { return true }
            former = original
        }
    }

    /// Takes messages whether they conform or not, as they have come already; how long nothing more may come, in nanoseconds.
    @inline(__always)
    func charge(_ messages: UInt64, nowNanoseconds: UInt64) -> UInt64 {
        var former = arrival.load(ordering: .relaxed)
        while true {
            let next = max(former, nowNanoseconds) &+ messages &* interval
            let (exchanged, original) = arrival.weakCompareExchange(expected: former, desired: next, ordering: .relaxed)
            if exchanged {
                let ahead = next &- nowNanoseconds
                return ahead > tolerance &+ interval ? ahead &- tolerance &- interval : 0
            }
            former = original
        }
    }
}
