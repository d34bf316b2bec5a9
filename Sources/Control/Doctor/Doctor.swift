// What this machine allows, and what to do about what it does not.
//
// Theory of operation. Every examination asks the kernel itself (a ring is set up, an address is bound, a limit
// is read) rather than guessing from a version, and becomes one `Finding`. Nothing is changed and nothing stays
// open. FAIL means the gateway would not start or not serve with this configuration; WARN means it runs with less
// than it could.

import Glibc
import Ring

/// One line of the doctor's report.
public struct Finding: Sendable, Equatable {
    /// How bad it is.
    public enum Verdict: String, Sendable {
        case ok = "OK"
        case warn = "WARN"
        case fail = "FAIL"
    }

    /// How bad it is.
    public var verdict: Verdict
    /// What was examined.
    public var subject: String
    /// What was found.
    public var detail: String
    /// What to do; nil when nothing needs to be done.
    public var remedy: String?

    init(_ verdict: Verdict, _ subject: String, _ detail: String, remedy: String? = nil) {
        self.verdict = verdict
        self.subject = subject
        self.detail = detail
        self.remedy = remedy
    }

    /// `OK    subject: detail`, with the remedy behind it.
    public var line: String {
        let label = verdict.rawValue + String(repeating: " ", count: 6 - verdict.rawValue.utf8.count)
        return "\(label)\(subject): \(detail)" + (remedy.map { ". Remedy: \($0)" } ?? "")
    }
}

/// Examinations of kernel, container and user.
public enum Doctor {
    /// Everything, for this configuration.
    public static func examine(_ configuration: Configuration) -> [Finding] {
        let shards = shardCount(configuration.shards)
        return [kernel()] + ring() + [cores(shards)]
            + [descriptors(configuration.limits, shards: shards), lockedMemory(), backlog(configuration.limits)]
            + controlGroup(configuration.limits, shards: shards) + addresses(configuration)
    }

    /// Shards that `count` stands for on this machine.
    public static func shardCount(_ count: Configuration.ShardCount) -> Int {
        switch count {
        case .automatic: usableCores
        case .exactly(let number): number
        }
    }

    /// Cores this process may run on (its affinity mask; at least 1).
    static var usableCores: Int {
        // sched_getaffinity(2) is behind _GNU_SOURCE; the kernel tells the same as text: `Cpus_allowed: 3f`, a tab between.
        let mask = SystemFile.lines("/proc/self/status").first { $0.hasPrefix("Cpus_allowed:") }?.split(separator: "\t").last
        let count = (mask ?? "").reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
        return max(1, count > 0 ? count : sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }

    // MARK: Kernel

    /// The oldest kernel the gateway is tested on; Debian 12's.
    private static let testedKernel = (major: 6, minor: 1)

    static func kernel() -> Finding {
        let release = kernelRelease()
        let numbers = release.split(whereSeparator: { $0 == "." || $0 == "-" }).prefix(2).compactMap { Int($0) }
        guard numbers.count == 2 else { return Finding(.warn, "kernel", "release `\(release)` is not understood") }
        if (numbers[0], numbers[1]) < (testedKernel.major, testedKernel.minor) {
            return Finding(
                .warn, "kernel", "Linux \(release) is older than \(testedKernel.major).\(testedKernel.minor)",
                remedy: "use Linux \(testedKernel.major).\(testedKernel.minor) or later")
        }
        return Finding(.ok, "kernel", "Linux \(release)")
    }

    private static func kernelRelease() -> String {
        var name = utsname()
        guard uname(&name) == 0 else { return "unknown" }
        return withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    static func ring() -> [Finding] {
        do {
            let capabilities = try Capabilities.probe()
            return [Finding(.ok, "io_uring", "available" + seccompNote())] + capabilities.items.map(finding)
        } catch {
            return [Finding(.fail, "io_uring", "\(error)" + seccompNote())] + ringSettings()
        }
    }

    private static func finding(_ item: Capabilities.Item) -> Finding {
        if item.present { return Finding(.ok, item.name, "available") }
        return Finding(
            item.required ? .fail : .warn, item.name, "not available: \(item.consequence)",
            remedy: "use a newer kernel, or allow it in the sandbox")
    }

    /// The system settings that decide over io_uring, when it was refused.
    private static func ringSettings() -> [Finding] {
        guard let disabled = SystemFile.line("/proc/sys/kernel/io_uring_disabled"), disabled != "0" else { return [] }
        let group = SystemFile.line("/proc/sys/kernel/io_uring_group") ?? "-1"
        return [
            Finding(
                .fail, "kernel.io_uring_disabled", "\(disabled) (kernel.io_uring_group \(group))",
                remedy: disabled == "1"
                    ? "add this user to group \(group), or sysctl -w kernel.io_uring_disabled=0"
                    : "sysctl -w kernel.io_uring_disabled=0")
        ]
    }

    private static func seccompNote() -> String {
        let mode = SystemFile.lines("/proc/self/status").first { $0.hasPrefix("Seccomp:") }?.split(separator: "\t").last
        return mode == "2" ? " (a seccomp filter is active)" : ""
    }

    // MARK: Limits

    static func cores(_ shards: Int) -> Finding {
        let cores = usableCores
        if shards > cores {
            return Finding(
                .warn, "cores", "\(shards) shards share \(cores) cores", remedy: "set shards to auto or at most \(cores)")
        }
        return Finding(.ok, "cores", "\(shards) shards on \(cores) cores")
    }

    static func descriptors(_ limits: ResourceLimits, shards: Int, hard: UInt64 = DescriptorLimit.current.hard) -> Finding {
        let most = DescriptorLimit.needed(limits, shards: shards)
        let connections = hard > UInt64(DescriptorLimit.reserve) ? min(hard, most) - UInt64(DescriptorLimit.reserve) : 0
        let text = "\(DescriptorLimit.text(hard)) allowed: \(connections) connections, clients and targets together"
        if hard >= min(most, DescriptorLimit.sensible) { return Finding(.ok, "descriptors", text) }
        return Finding(
            .warn, "descriptors", text + "; further ones wait until one ends",
            remedy: "raise the hard limit: ulimit -Hn \(DescriptorLimit.sensible), LimitNOFILE=\(DescriptorLimit.sensible), "
                + "or --ulimit nofile=\(DescriptorLimit.sensible)")
    }

    static func lockedMemory() -> Finding {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(8), &limit) == 0 else {  // RLIMIT_MEMLOCK, hidden without _GNU_SOURCE
            return Finding(.warn, "locked memory", "the limit cannot be read")
        }
        // Since Linux 5.12 rings are charged to the memory cgroup; only registered buffers count against this limit.
        let text = limit.rlim_cur == rlim_t.max ? "unlimited" : "\(limit.rlim_cur >> 10) KiB"
        if limit.rlim_cur < 64 << 10 {
            return Finding(
                .warn, "locked memory", "\(text)",
                remedy: "raise it: ulimit -l 65536, LimitMEMLOCK=64M, or --ulimit memlock=67108864")
        }
        return Finding(.ok, "locked memory", text)
    }

    static func backlog(_ limits: ResourceLimits) -> Finding {
        guard let text = SystemFile.line("/proc/sys/net/core/somaxconn"), let allowed = Int(text) else {
            return Finding(.ok, "listen backlog", "\(limits.listenBacklog) asked for; the system's bound cannot be read")
        }
        if allowed < limits.listenBacklog {
            return Finding(
                .warn, "listen backlog", "net.core.somaxconn cuts \(limits.listenBacklog) to \(allowed)",
                remedy: "sysctl -w net.core.somaxconn=\(limits.listenBacklog)")
        }
        return Finding(.ok, "listen backlog", "\(limits.listenBacklog) of \(allowed) allowed")
    }

    // MARK: Addresses

    static func addresses(_ configuration: Configuration) -> [Finding] {
        var wanted = configuration.listeners.map { ("listener \($0.name)", $0.address) }
        if configuration.demo.enabled { wanted.append(("demonstration service", configuration.demo.serviceAddress)) }
        return wanted.map { finding($0.0, $0.1, BindProbe.error($0.1)) }
    }

    static func finding(_ name: String, _ address: ListenAddress, _ error: Int32) -> Finding {
        switch error {
        case 0: return Finding(.ok, name, "\(address) can be bound")
        case EACCES, EPERM:
            return Finding(
                .fail, name, "\(address): a port below net.ipv4.ip_unprivileged_port_start needs a privilege",
                remedy:
                    "use a higher port, give CAP_NET_BIND_SERVICE, or sysctl -w net.ipv4.ip_unprivileged_port_start=\(address.port)"
            )
        case EADDRINUSE:
            return Finding(
                .fail, name, "\(address) is taken by another process", remedy: "stop it (ss -ltnp shows it) or use another port")
        case EADDRNOTAVAIL:
            return Finding(
                .fail, name, "\(address) is no address of this machine", remedy: "use 0.0.0.0, or an address that `ip addr` shows"
            )
        default:
            return Finding(.fail, name, "\(address) cannot be bound: \(SmallFile.describe(error))", remedy: "use another address")
        }
    }
}
