import Glibc

/// The time of day; tokens and log lines need it, timers do not.
public enum WallClock {
    /// Milliseconds since 1970.
    public static var nowMilliseconds: Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
    }
}
