import Glibc
import Simulator
import Testing

/// Which seeds a run takes: `SLUICE_SEEDS` of them from `SLUICE_FIRST_SEED` on.
struct SeedRun {
    let first: UInt64
    let count: Int

    /// - Parameter small: how many when the environment says nothing.
    init(small: Int) {
        first = Self.number("SLUICE_FIRST_SEED").map { UInt64($0) } ?? 1
        count = Self.number("SLUICE_SEEDS") ?? small
    }

    private static func number(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }

    /// Runs the remembered seeds, then the range; stops at the third seed that fails.
    func each(_ name: StaticString, remembered: [UInt64], _ body: (UInt64, Trace) -> [String]) {
        let trace = Trace()
        var failed = 0
        for seed in remembered + (0..<UInt64(count)).map({ first + $0 }) {
            trace.clear()
            let failures = CrashReport.watch(name, seed: seed, trace: trace) { body(seed, trace) }
            guard !failures.isEmpty else { continue }
            let tail = trace.lines(getenv("SLUICE_TRACE") != nil ? Trace.entriesKept : 24)
            Issue.record("\(name), seed \(seed): \(failures.joined(separator: "; "))\n\(tail.joined(separator: "\n"))")
            failed += 1
            if failed == 3 { return }
        }
    }
}
