import Policy
import WebSocketProxy

/// The samples that one shard's sessions add to under one configuration.
///
/// What a session counts has labels from closed sets, made of few small numbers: the texts are put together when such numbers are met
/// first, and found by them from then on. Ten samples of every session would otherwise cost as much as judging its token.
final class ShardSamples {
    /// Numbers that labels are made of: a route or endpoint, and two of closed sets.
    struct Place {
        var subject = 0
        var first = 0
        var second = 0
    }

    private let metrics: ProxyMetrics
    private var samples: [UInt64: ProxyMetrics.Sample] = [:]
    private var timings: [UInt64: ProxyMetrics.Series] = [:]

    init(_ metrics: ProxyMetrics) { self.metrics = metrics }

    private static func key(_ family: UInt8, _ place: Place) -> UInt64 {
        UInt64(family) << 56 | UInt64(UInt32(place.subject)) << 24 | UInt64(UInt16(place.first)) << 8 | UInt64(UInt8(place.second))
    }

    /// Adds to a sample; `labels` are those of its place.
    func add(_ family: ProxyMetrics.Family, _ place: Place = Place(), _ labels: @autoclosure () -> String = "") {
        let key = Self.key(family.rawValue, place)
        if let sample = samples[key] { return sample.add() }
        let sample = metrics.sample(family, labels())
        samples[key] = sample
        sample.add()
    }

    /// Adds an observation.
    func observe(
        _ timing: ProxyMetrics.Timing, _ place: Place = Place(), _ labels: @autoclosure () -> String = "", seconds: Double
    ) {
        let key = Self.key(timing.rawValue, place)
        if let series = timings[key] { return series.observe(seconds: seconds) }
        let series = metrics.series(timing, labels())
        timings[key] = series
        series.observe(seconds: seconds)
    }
}
