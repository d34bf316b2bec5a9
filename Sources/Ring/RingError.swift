import CRing
import Glibc

/// Why no ring could be opened, in words a user can act on.
public struct RingError: Error, CustomStringConvertible {
    /// The errno of io_uring_setup(2).
    public let code: Int32

    /// Wraps an errno.
    public init(code: Int32) { self.code = code }

    /// Cause and remedy on one line.
    public var description: String {
        "io_uring is refused (\(String(cString: strerror(code)))): \(cause)"
    }

    private var cause: String {
        switch code {
        case ENOSYS:
            return "this kernel has no io_uring, or a container's seccomp profile hides it. "
                + "Use Linux 6.1 or later; in a container allow io_uring_setup, io_uring_enter and io_uring_register (deploy/seccomp.json)"
        case EPERM, EACCES:
            if let disabled = Self.readSysctl("/proc/sys/kernel/io_uring_disabled"), disabled != "0" {
                return "sysctl kernel.io_uring_disabled is \(disabled). "
                    + "Set it to 0, or to 1 and put this user's group into kernel.io_uring_group"
            }
            return "a seccomp profile or security module forbids it. "
                + "Allow io_uring_setup, io_uring_enter and io_uring_register (deploy/seccomp.json)"
        case ENOMEM:
            return "the locked-memory limit is too small. Raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK=) or lower `shards`"
        case EMFILE, ENFILE:
            return "no descriptor is left. Raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=)"
        case EINVAL:
            return "this kernel's io_uring is too old. Use Linux 6.1 or later"
        default:
            return "run `sluice doctor` for details"
        }
    }

    private static func readSysctl(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        guard let line = readLineOf(file) else { return nil }
        return line
    }

    private static func readLineOf(_ file: UnsafeMutablePointer<FILE>) -> String? {
        var bytes = [CChar](repeating: 0, count: 64)
        guard fgets(&bytes, Int32(bytes.count), file) != nil else { return nil }
        return String(decoding: bytes.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
