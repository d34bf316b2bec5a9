import Synchronization

/// How many lines the log gets about clients that are refused: so many a second for each reason, whatever the number of shards, so that
/// a flood of bad tokens does not become a flood of lines. Reasons come from a closed set.
final class FailureLines: Sendable {
    /// Lines of one reason in one second.
    static let linesPerSecond = 10

    private struct Reason {
        var second: Int64 = -1
        var lines = 0
        var suppressed = 0
    }

    private let reasons = Mutex<[String: Reason]>([:])

    /// Asks for a line. nil: it is not written; else how many of this reason were not since the last.
    func admit(_ reason: String, nowMilliseconds: Int64) -> Int? {
        reasons.withLock { reasons in
            var state = reasons[reason] ?? Reason()
            defer { reasons[reason] = state }
            let second = nowMilliseconds / 1000
            if second != state.second {
                state.second = second
                state.lines = 0
            }
            guard state.lines < Self.linesPerSecond else {
                state.suppressed += 1
                return nil
            }
            state.lines += 1
            defer { state.suppressed = 0 }
            return state.suppressed
        }
    }
}
