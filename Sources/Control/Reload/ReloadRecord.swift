import Glibc
import Synchronization

/// How reloads went. Written by the control thread, read by scrapes and the admin interface.
final class ReloadRecord: Sendable {
    /// A reading.
    struct State: Sendable {
        var applied: UInt64 = 0
        var refused: UInt64 = 0
        var lastSucceeded = true
        /// Seconds since 1970 of the last that was put in force, or of the start.
        var lastSuccessSeconds: Double
        var lastDurationSeconds = 0.0
        /// Seconds since 1970 of the last that was refused.
        var lastFailureSeconds: Double?
        /// Its faults, one line each.
        var lastFaults: [String] = []
        /// Keys that differ from what the process started with and need a restart.
        var needingRestart: [String] = []
    }

    private let state = Mutex(State(lastSuccessSeconds: ReloadRecord.now))

    private static var now: Double { Double(Logger.nowMilliseconds()) / 1000 }

    /// The present state.
    var reading: State { state.withLock { $0 } }

    /// Adds an outcome.
    func record(_ outcome: ReloadOutcome, seconds: Double) {
        state.withLock { state in
            state.lastDurationSeconds = seconds
            switch outcome {
            case .applied(_, let needingRestart):
                state.applied += 1
                state.lastSucceeded = true
                state.lastSuccessSeconds = Self.now
                state.needingRestart = needingRestart
            case .refused(let faults):
                state.refused += 1
                state.lastSucceeded = false
                state.lastFailureSeconds = Self.now
                state.lastFaults = faults
            }
        }
    }
}

extension ReloadRecord.State {
    func write(to page: inout MetricsPage) {
        page.family("sluice_reloads_total", "counter", "Reloads of the configuration, by outcome")
        page.sample("sluice_reloads_total", "outcome=\"applied\"", applied)
        page.sample("sluice_reloads_total", "outcome=\"refused\"", refused)
        page.gauge("sluice_reload_last_succeeded", "Whether the last reload, or the start, was put in force", lastSucceeded ? 1 : 0)
        page.value("sluice_reload_last_success_timestamp_seconds", "gauge", "Last reload put in force, or the start, since 1970",
                   lastSuccessSeconds)
        page.value("sluice_reload_last_duration_seconds", "gauge", "Time the last reload took", lastDurationSeconds)
        page.gauge("sluice_restart_needed_keys", "Changed keys that only a restart puts in force", UInt64(needingRestart.count))
    }
}
