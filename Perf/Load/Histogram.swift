// Latency in a fixed number of counters: log-linear, as HdrHistogram does it.

/// Counts durations in nanoseconds. Values below 256 are exact; above, each power of two is divided into 128
/// equal parts, so that a reported value is at most 0.8 % above the recorded one.
struct Histogram {
    private static let partBits = 7
    private static let parts = 1 << partBits
    private var counters = [UInt64](repeating: 0, count: (65 - partBits) * parts)
    /// Recorded values.
    private(set) var count: UInt64 = 0
    /// The largest recorded value, nanoseconds.
    private(set) var maximum: UInt64 = 0
    private(set) var minimum = UInt64.max
    private var sum: UInt64 = 0

    /// Position of the counter for a value.
    static func index(of value: UInt64) -> Int {
        let width = 64 - value.leadingZeroBitCount
        guard width > partBits + 1 else { return Int(value) }
        let shift = width - partBits - 1
        return (shift << partBits) + Int(value >> UInt64(shift))
    }

    /// The largest value that shares a counter.
    static func upperBound(of index: Int) -> UInt64 {
        guard index >= 2 * parts else { return UInt64(index) }
        let shift = UInt64(index >> partBits) - 1
        let mantissa = UInt64(index & (parts - 1)) + UInt64(parts)
        return (mantissa + 1) << shift - 1
    }

    /// Counts one value.
    mutating func record(_ nanoseconds: UInt64) {
        counters[Histogram.index(of: nanoseconds)] &+= 1
        count &+= 1
        sum &+= nanoseconds
        if nanoseconds > maximum { maximum = nanoseconds }
        if nanoseconds < minimum { minimum = nanoseconds }
    }

    /// The value that a share of all values does not exceed; `share` is from 0 to 1. 0 when nothing was recorded.
    func value(atShare share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let wanted = max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, number) in counters.enumerated() where number > 0 {
            seen += number
            if seen >= wanted { return min(Histogram.upperBound(of: index), maximum) }
        }
        return maximum
    }

    /// Arithmetic mean, nanoseconds.
    var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }
}
