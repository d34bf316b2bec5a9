import Glibc

/// What tells one version of a file from another, without reading it. A symbolic link is followed, so that the exchange of
/// the `..data` link of a mounted ConfigMap shows as another file.
struct FileIdentity: Equatable {
    var device: UInt64
    var inode: UInt64
    var modifiedNanoseconds: Int64
    var bytes: Int64

    /// The file's present identity; nil when there is none that can be looked at.
    static func of(_ path: String) -> FileIdentity? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return FileIdentity(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
            modifiedNanoseconds: Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec), bytes: Int64(status.st_size))
    }
}

/// Notices that files have changed, and have stopped changing.
///
/// Theory of operation. Files are looked at every `intervalMilliseconds`: a handful of stat(2) cost nothing, and see what a
/// notification would not (a link exchanged several directories above, a network file system). A change is reported once
/// the files have been the same for two looks: an editor that truncates and writes, or a ConfigMap whose files come one by
/// one, causes one reload, of the whole.
struct FileWatch {
    /// Between two looks.
    static let intervalMilliseconds: Int64 = 250

    /// Files that are looked at.
    private(set) var paths: [String]
    private var reported: [FileIdentity?]
    private var seen: [FileIdentity?]
    private var lookedMilliseconds = Int64.min / 2
    private let identity: (String) -> FileIdentity?

    /// Watches from now on.
    init(_ paths: [String], identity: @escaping (String) -> FileIdentity? = FileIdentity.of) {
        self.paths = paths
        self.identity = identity
        reported = paths.map(identity)
        seen = reported
    }

    /// The files are about to be read: what they are now needs no report.
    mutating func mark() {
        reported = paths.map(identity)
        seen = reported
    }

    /// Watches other files; those watched already keep what was seen of them.
    mutating func watch(_ paths: [String]) {
        let former = Dictionary(zip(self.paths, reported), uniquingKeysWith: { first, _ in first })
        reported = paths.map { former[$0] ?? identity($0) }
        seen = reported
        self.paths = paths
    }

    /// Whether a file has changed since this was last answered with true, and no longer does.
    mutating func look(nowMilliseconds: Int64 = Int64(MonotonicClock.seconds * 1000)) -> Bool {
        guard !paths.isEmpty, nowMilliseconds - lookedMilliseconds >= Self.intervalMilliseconds else { return false }
        lookedMilliseconds = nowMilliseconds
        let now = paths.map(identity)
        defer { seen = now }
        guard now == seen, now != reported else { return false }
        reported = now
        return true
    }
}
