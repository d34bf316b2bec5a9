/// When a refused reload is tried again.
///
/// Theory of operation. Not everything a configuration needs is among the files that are watched: a port that somebody else has, a
/// certificate whose file a new configuration names and that is mounted a moment later, a shard that is late. So a refused reload is
/// tried again after a second, and after twice as long each time it is refused again, a minute at most, until one is put in force. What
/// is refused for the same reasons again is neither logged nor counted again.
struct ReloadRetry {
    /// Before the first attempt.
    static let firstMilliseconds: Int64 = 1000
    /// Between two attempts at most: a load reads a few files.
    static let longestMilliseconds: Int64 = 60_000

    private var dueMilliseconds: Int64?
    private var waitMilliseconds = Self.firstMilliseconds
    private var faults: [String] = []

    /// A reload was put in force: there is nothing to try again.
    mutating func succeeded() { self = ReloadRetry() }

    /// A reload was refused. Returns whether its faults are others than those of the refusal before.
    mutating func refused(_ faults: [String], isRetry: Bool, nowMilliseconds: Int64) -> Bool {
        // Somebody asked, or changed a file: more of that is likely.
        if !isRetry { waitMilliseconds = Self.firstMilliseconds }
        dueMilliseconds = nowMilliseconds + waitMilliseconds
        waitMilliseconds = min(waitMilliseconds * 2, Self.longestMilliseconds)
        defer { self.faults = faults }
        return faults != self.faults
    }

    /// Whether to try again now.
    func isDue(nowMilliseconds: Int64) -> Bool { dueMilliseconds.map { nowMilliseconds >= $0 } ?? false }
}
