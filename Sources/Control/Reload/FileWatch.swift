import Glibc
import HTTP

/// What tells one version of a file from another, without reading it. A symbolic link is followed, so that the exchange of
/// the `..data` link of a mounted ConfigMap shows as another file.
struct FileIdentity: Equatable, Sendable {
    var device: UInt64
    var inode: UInt64
    var modifiedNanoseconds: Int64
    /// Changes also when the modification time is set back, as by a copy that keeps times.
    var changedNanoseconds: Int64 = 0
    var bytes: Int64

    /// The file's present identity; nil when there is none that can be looked at.
    static func of(_ path: String) -> FileIdentity? {
        var status = stat()
        // A string passed as it is would be copied into an array.
        guard path.withCString({ stat($0, &status) }) == 0 else { return nil }
        return FileIdentity(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino), modifiedNanoseconds: nanoseconds(status.st_mtim),
            changedNanoseconds: nanoseconds(status.st_ctim), bytes: Int64(status.st_size))
    }

    private static func nanoseconds(_ time: timespec) -> Int64 { Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec) }
}

/// A file and what it was just before it was read; nil when there was none.
struct SeenFile: Sendable {
    let path: String
    let identity: FileIdentity?
}

/// Notices that files have changed, and have stopped changing.
///
/// Theory of operation. Files are looked at every `intervalMilliseconds`: a handful of stat(2) cost nothing, and see what a
/// notification would not (a link exchanged several directories above, a network file system). A change is reported once
/// the files have been the same for two looks: an editor that truncates and writes, or a ConfigMap whose files come one by
/// one, causes one reload, of the whole. What a file was is noted before it is read: a change that comes while it is, or
/// before the watch knows of it, differs from that and is seen.
struct FileWatch {
    /// Between two looks.
    static let intervalMilliseconds: Int64 = 250

    /// Files that are looked at.
    private(set) var paths: [String]
    private var reported: [FileIdentity?]
    private var seen: [FileIdentity?]
    private var lookedMilliseconds = Int64.min / 2
    private let identity: (String) -> FileIdentity?

    /// Watches for what differs from what was read.
    init(_ files: [SeenFile], identity: @escaping (String) -> FileIdentity? = FileIdentity.of) {
        paths = files.map(\.path)
        self.identity = identity
        reported = files.map(\.identity)
        seen = reported
    }

    /// The files are about to be read: what they are now needs no report.
    mutating func mark() {
        reported = paths.map(identity)
        seen = reported
    }

    /// Watches other files, as they were before they were read. Those watched already keep what was seen of them by `mark`.
    mutating func watch(_ files: [SeenFile]) {
        let former = Dictionary(zip(paths, reported), uniquingKeysWith: { first, _ in first })
        reported = files.map { former[$0.path] ?? $0.identity }
        seen = reported
        paths = files.map(\.path)
    }

    /// Whether a file has changed since this was last answered with true, and no longer does.
    mutating func look(nowMilliseconds: Int64 = Int64(MonotonicClock.seconds * 1000)) -> Bool {
        guard !paths.isEmpty, nowMilliseconds - lookedMilliseconds >= Self.intervalMilliseconds else { return false }
        lookedMilliseconds = nowMilliseconds
        // In place: a gateway that only carries messages allocates nothing, and is held to it.
        var isSettled = true
        for index in paths.indices {
            let now = identity(paths[index])
            guard now != seen[index] else { continue }
            isSettled = false
            seen[index] = now
        }
        guard isSettled, seen != reported else { return false }
        reported = seen
        return true
    }
}
