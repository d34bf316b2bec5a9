#if canImport(Glibc)
    import Glibc
#endif

/// The file behind a descriptor that records are written to.
enum LogFile {
    /// Its path; nil when it is no regular file, or has no name any more.
    static func path(of descriptor: Int32) -> String? {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = bytes.withUnsafeMutableBytes {
            readlink("/proc/self/fd/\(descriptor)", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        guard count > 0, count < bytes.count else { return nil }
        let path = String(decoding: bytes[..<count], as: UTF8.self)
        var named = stat()
        guard stat(path, &named) == 0, named.st_dev == status.st_dev, named.st_ino == status.st_ino else { return nil }
        return path
    }

    /// Opens a path for appending and puts it in the place of a descriptor; why that was not possible, or nil. Who may read the new
    /// file is as with the former one.
    static func reopen(_ path: String, as descriptor: Int32) -> String? {
        var status = stat()
        let mode = fstat(descriptor, &status) == 0 ? status.st_mode & 0o777 : 0o600
        let opened = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode)
        guard opened >= 0 else { return String(cString: strerror(errno)) }
        defer { close(opened) }
        return dup2(opened, descriptor) < 0 ? String(cString: strerror(errno)) : nil
    }
}
