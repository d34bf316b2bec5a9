/// The last things a run did, for the report of a failure: fixed memory, a few stores an entry.
public final class Trace {
    /// What an entry is about.
    public enum Kind: UInt8 {
        case enter, entered, submit, complete, overflow, write, read, finish, reset, accept, connect, close, jump, breaks, event, note
    }

    struct Entry {
        var nanoseconds: UInt64 = 0
        var first: Int64 = 0
        var second: Int64 = 0
        var third: Int64 = 0
        var kind = Kind.note
    }

    /// Entries kept.
    public static let entriesKept = 4096
    private let entries: UnsafeMutablePointer<Entry>
    private var written = 0

    /// An empty trace.
    public init() {
        entries = .allocate(capacity: Self.entriesKept)
        entries.initialize(repeating: Entry(), count: Self.entriesKept)
    }

    deinit { entries.deallocate() }

    /// Forgets everything.
    public func clear() { written = 0 }

    /// Adds an entry; the numbers mean what `Kind` and the place of the call say.
    public func add(_ kind: Kind, at nanoseconds: UInt64, _ first: Int = 0, _ second: Int = 0, _ third: Int = 0) {
        entries[written % Self.entriesKept] = Entry(
            nanoseconds: nanoseconds, first: Int64(first), second: Int64(second), third: Int64(third), kind: kind)
        written += 1
    }

    /// The kept entries, oldest first.
    public func lines(_ limit: Int = Trace.entriesKept) -> [String] {
        let count = min(written, limit, Self.entriesKept)
        return (written - count..<written).map { index in
            let entry = entries[index % Self.entriesKept]
            return "\(entry.nanoseconds / 1000) us  \(entry.kind) \(entry.first) \(entry.second) \(entry.third)"
        }
    }
}
