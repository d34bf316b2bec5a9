import Glibc

/// The time of day; tokens and log lines need it. It may jump: durations are measured with `MonotonicClock`.
public enum WallClock {
    /// Milliseconds since 1970.
    public static var nowMilliseconds: Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
    }

    /// Microseconds since 1970.
    public static var nowMicroseconds: Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1000
    }
}

/// The time since some moment in the past; it never jumps.
public enum MonotonicClock {
    /// In seconds.
    public static var seconds: Double {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }

    /// In whole milliseconds.
    public static var milliseconds: Int64 { Int64(seconds * 1000) }
}
