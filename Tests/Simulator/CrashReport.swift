import Glibc
import Synchronization

/// Names the seeds under way when a trap ends the process: a failed `precondition` of the engine raises a signal, and
/// the test runner would only say which signal.
public enum CrashReport {
    static let placesMaximum = 16

    private struct Place {
        var seed: UInt64 = 0
        var name: StaticString = ""
        var used = false
        var thread = pthread_self()
        var trace: Unmanaged<Trace>?
    }

    private nonisolated(unsafe) static let places: UnsafeMutablePointer<Place> = {
        let memory = UnsafeMutablePointer<Place>.allocate(capacity: placesMaximum)
        memory.initialize(repeating: Place(), count: placesMaximum)
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT] { signal(number) { CrashReport.report($0) } }
        return memory
    }()
    private static let lock = Mutex(())

    /// Runs `body` with its seed on record.
    public static func watch<Result>(_ name: StaticString, seed: UInt64, trace: Trace, _ body: () throws -> Result) rethrows -> Result {
        let place = lock.withLock { _ in
            let free = (0..<placesMaximum).first { !places[$0].used }
            if let free { places[free] = Place(seed: seed, name: name, used: true, trace: Unmanaged.passUnretained(trace)) }
            return free
        }
        defer { if let place { places[place] = Place() } }
        return try body()
    }

    private static func report(_ number: Int32) {
        // The process is lost already; formatting may allocate, which a handler must not do otherwise.
        signal(number, SIG_DFL)
        for place in 0..<placesMaximum where places[place].used && pthread_equal(places[place].thread, pthread_self()) != 0 {
            let lines = places[place].trace?.takeUnretainedValue().lines(80) ?? []
            let text = "\(places[place].name): crashed at seed \(places[place].seed)\n" + lines.joined(separator: "\n") + "\n"
            _ = text.withCString { write(2, $0, strlen($0)) }
        }
        raise(number)
    }
}
