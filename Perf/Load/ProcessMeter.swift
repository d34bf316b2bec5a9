// What a server costs: its processor time and memory, read from /proc.

import Glibc

/// The whole text of a small file; empty when it cannot be read.
func readText(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 8192)
    while true {
        let count = fread(&chunk, 1, chunk.count, file)
        if count <= 0 { break }
        bytes.append(contentsOf: chunk[..<count])
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// Memory of a process, bytes.
struct Memory {
    /// Resident pages.
    var resident = 0
    /// Resident anonymous pages: what the process itself wrote.
    var anonymous = 0
}

/// A process and its descendants.
struct ProcessMeter {
    let process: Int32

    private func descendants() -> [Int32] {
        var found = [process]
        var next = 0
        while next < found.count {
            for thread in ProcessMeter.threads(of: found[next]) {
                found += readText("/proc/\(found[next])/task/\(thread)/children").split(separator: " ").compactMap { Int32($0) }
            }
            next += 1
        }
        return found
    }

    private static func threads(of process: Int32) -> [Int32] {
        guard let folder = opendir("/proc/\(process)/task") else { return [] }
        defer { closedir(folder) }
        var found: [Int32] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let number = Int32(name) { found.append(number) }
        }
        return found
    }

    /// Processor time so far, nanoseconds: the scheduler's own count of every living thread (/proc/PID/task/TID/schedstat)
    /// plus, from /proc/PID/stat, the children that have ended. A thread that has ended is counted by neither.
    func processorNanoseconds() -> UInt64 {
        var total: UInt64 = 0
        let tick = UInt64(1_000_000_000 / sysconf(Int32(_SC_CLK_TCK)))
        for member in descendants() {
            for thread in ProcessMeter.threads(of: member) {
                let fields = readText("/proc/\(member)/task/\(thread)/schedstat").split(separator: " ")
                total += fields.first.flatMap { UInt64($0) } ?? 0
            }
            let afterName = readText("/proc/\(member)/stat").split(separator: ")").last?.split(separator: " ") ?? []
            if afterName.count > 14 { total += ((UInt64(afterName[13]) ?? 0) + (UInt64(afterName[14]) ?? 0)) * tick }
        }
        return total
    }

    /// User and system time so far by /proc/PID/stat, in nanoseconds, at the resolution of a clock tick.
    func userAndSystemNanoseconds() -> (user: UInt64, system: UInt64) {
        let tick = UInt64(1_000_000_000 / sysconf(Int32(_SC_CLK_TCK)))
        var (user, system): (UInt64, UInt64) = (0, 0)
        for member in descendants() {
            let fields = readText("/proc/\(member)/stat").split(separator: ")").last?.split(separator: " ") ?? []
            guard fields.count > 14 else { continue }
            user += ((UInt64(fields[11]) ?? 0) + (UInt64(fields[13]) ?? 0)) * tick
            system += ((UInt64(fields[12]) ?? 0) + (UInt64(fields[14]) ?? 0)) * tick
        }
        return (user, system)
    }

    /// Memory of the process and its descendants, from /proc/PID/status.
    func memory() -> Memory {
        var memory = Memory()
        for member in descendants() {
            for line in readText("/proc/\(member)/status").split(separator: "\n") {
                let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
                guard words.count >= 2, let kibibytes = Int(words[1]) else { continue }
                if words[0] == "VmRSS:" { memory.resident += kibibytes * 1024 }
                if words[0] == "RssAnon:" { memory.anonymous += kibibytes * 1024 }
            }
        }
        return memory
    }
}

/// The monotonic clock, nanoseconds.
@inline(__always)
func nowNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}
