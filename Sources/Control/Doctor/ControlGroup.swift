// The limits a container puts on the process: cgroup version 2, and version 1 where that is what there is.

import Engine
import Glibc

/// Files under /proc and /sys as lines.
enum SystemFile {
    static func lines(_ path: String) -> [Substring] {
        guard let bytes = try? SmallFile.read(path, limit: 1 << 20) else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    }

    static func line(_ path: String) -> String? { lines(path).first.map(String.init) }
}

/// Limits of the process's control group; nil means unlimited or unknown.
struct ControlGroup {
    /// Cores' worth of CPU time.
    var cores: Double?
    var memoryBytes: Int?

    /// The tightest limits on the way from the process's own group to the root of what is visible.
    static func current(root: String = "/sys/fs/cgroup", membership: [Substring] = SystemFile.lines("/proc/self/cgroup"))
        -> ControlGroup
    {
        var group = ControlGroup()
        var path = membership.first { $0.hasPrefix("0::") }.map { String($0.dropFirst(3)) } ?? "/"
        while true {
            let directory = root + (path == "/" ? "" : path)
            if let line = SystemFile.line(directory + "/cpu.max"), let cores = cores(line) {
                group.cores = min(group.cores ?? cores, cores)
            }
            if let line = SystemFile.line(directory + "/memory.max"), let bytes = Int(line) {
                group.memoryBytes = min(group.memoryBytes ?? bytes, bytes)
            }
            guard path != "/", !path.isEmpty, let slash = path.lastIndex(of: "/") else { break }
            path = slash == path.startIndex ? "/" : String(path[..<slash])
        }
        if group.cores == nil, let quota = SystemFile.line(root + "/cpu/cpu.cfs_quota_us").flatMap({ Double($0) }), quota > 0,
            let period = SystemFile.line(root + "/cpu/cpu.cfs_period_us").flatMap({ Double($0) }), period > 0
        {
            group.cores = quota / period
        }
        // Version 1 says "unlimited" by a number near the largest.
        if group.memoryBytes == nil, let bytes = SystemFile.line(root + "/memory/memory.limit_in_bytes").flatMap({ Int($0) }),
            bytes < 1 << 60
        {
            group.memoryBytes = bytes
        }
        return group
    }

    /// `150000 100000` is 1.5; `max 100000` is nil.
    static func cores(_ line: String) -> Double? {
        let numbers = line.split(separator: " ").map { Double($0) }
        guard numbers.count == 2, let quota = numbers[0], let period = numbers[1], period > 0 else { return nil }
        return quota / period
    }
}

extension Doctor {
    /// Memory the shards use when every buffer is used at once.
    static func poolBytes(_ limits: ResourceLimits, shards: Int) -> Int {
        shards
            * (EngineLimits.smallBufferBytes * limits.smallBuffersPerShard + EngineLimits.bulkBufferBytes * limits.bulkBuffersPerShard
                + EngineLimits.datagramBufferBytes + limits.logBufferBytesPerShard)
    }

    static func controlGroup(_ limits: ResourceLimits, shards: Int, _ group: ControlGroup = .current()) -> [Finding] {
        var findings: [Finding] = []
        if let cores = group.cores {
            let text = "the container may use \(Quantity.number((cores * 100).rounded() / 100)) cores"
            if Double(shards) > cores.rounded(.up) {
                findings.append(
                    Finding(
                        .warn, "cpu limit", "\(text), but there are \(shards) shards: they will be throttled together",
                        remedy: "set shards to \(max(1, Int(cores.rounded(.up)))) or raise the limit"))
            } else {
                findings.append(Finding(.ok, "cpu limit", text))
            }
        } else {
            findings.append(Finding(.ok, "cpu limit", "none"))
        }
        let pool = poolBytes(limits, shards: shards)
        let poolText = "at most \(pool >> 20) MiB of buffers when all are used at once"
        if let memory = group.memoryBytes {
            if pool > memory / 4 * 3 {
                findings.append(
                    Finding(
                        .warn, "memory limit", "\(memory >> 20) MiB, and \(poolText)",
                        remedy: "raise the limit, or lower limits.small_buffers_per_shard, limits.bulk_buffers_per_shard or shards"))
            } else {
                findings.append(Finding(.ok, "memory limit", "\(memory >> 20) MiB, \(poolText)"))
            }
        } else {
            findings.append(Finding(.ok, "memory limit", "none, \(poolText)"))
        }
        return findings
    }
}
