import CSocket
import Foundation

/// The usual process families, read from proc(5).
struct ProcessMetrics {
    var userSeconds = 0.0
    var systemSeconds = 0.0
    var virtualBytes: UInt64 = 0
    var residentBytes: UInt64 = 0
    var heapBytes: UInt64 = 0
    var openDescriptors: UInt64 = 0
    var maximumDescriptors: UInt64 = 0

    static func read() -> ProcessMetrics {
        var metrics = ProcessMetrics()
        var usage = rusage()
        // 0 is RUSAGE_SELF, which the importer gives a type of its own.
        if getrusage(0, &usage) == 0 {
            metrics.userSeconds = Double(usage.ru_utime.tv_sec) + Double(usage.ru_utime.tv_usec) / 1e6
            metrics.systemSeconds = Double(usage.ru_stime.tv_sec) + Double(usage.ru_stime.tv_usec) / 1e6
        }
        let pages = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?.split(separator: " ").map { UInt64($0) ?? 0 } ?? []
        let pageBytes = UInt64(sysconf(Int32(_SC_PAGESIZE)))
        if pages.count > 5 {
            metrics.virtualBytes = pages[0] * pageBytes
            metrics.residentBytes = pages[1] * pageBytes
        }
        metrics.heapBytes = UInt64(memory_heap_bytes())
        metrics.openDescriptors = openDescriptors()
        metrics.maximumDescriptors = UInt64(max(0, descriptors_limit(false)))
        return metrics
    }

    /// Since Linux 6.2 the directory's size is the number of its entries. Before, they are counted: some microseconds each, during
    /// which the shard that is scraped does nothing else.
    private static func openDescriptors() -> UInt64 {
        var status = stat()
        if stat("/proc/self/fd", &status) == 0, status.st_size > 0 { return UInt64(status.st_size) }
        return UInt64((try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0)
    }

    func write(to page: inout MetricsPage, startSeconds: Double) {
        page.value("process_cpu_user_seconds_total", "counter", "User CPU time", userSeconds)
        page.value("process_cpu_system_seconds_total", "counter", "System CPU time", systemSeconds)
        page.value("process_cpu_seconds_total", "counter", "User and system CPU time", userSeconds + systemSeconds)
        page.value("process_start_time_seconds", "gauge", "Start of the process since 1970", startSeconds)
        page.gauge("process_resident_memory_bytes", "Resident memory", residentBytes)
        page.gauge("process_virtual_memory_bytes", "Address space", virtualBytes)
        page.gauge("process_heap_bytes", "Memory handed out by malloc", heapBytes)
        page.gauge("process_open_fds", "Open descriptors", openDescriptors)
        page.gauge("process_max_fds", "Descriptors the process may open", maximumDescriptors)
    }
}

/// JSON of a few strings.
enum JSONText {
    static func object(_ members: [(String, String)]) -> String {
        "{" + members.map { "\(quoted($0.0)):\(quoted($0.1))" }.joined(separator: ",") + "}"
    }

    /// A JSON string.
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
