import Synchronization
import Wire

/// `http_requests_total` and `http_request_duration_seconds` of one shard. Written once per plain request, read by scrapes.
public final class RequestMetrics: Sendable {
    /// Upper bounds of the duration histogram in seconds.
    public static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    /// The labels of one series. Every member is from a closed set, so the number of series is bounded.
    public struct Key: Hashable, Sendable {
        /// As sent, of the methods the parser knows.
        public let method: String
        /// The route's pattern, with the base path when called through it.
        public let route: String
        /// Status code of the answer.
        public let status: Int
    }

    /// One series.
    public struct Series: Sendable {
        /// Requests.
        public var count: UInt64 = 0
        /// Their durations' sum in seconds.
        public var seconds = 0.0
        /// Requests per bucket, not cumulated.
        public var buckets = [UInt64](repeating: 0, count: RequestMetrics.bounds.count)
        /// An empty series.
        public init() {}
    }

    private let series = Mutex<[Key: Series]>([:])

    /// No series.
    public init() {}

    /// Counts one answered request.
    public func record(method: String, route: String, status: Int, seconds: Double) {
        series.withLock { table in
            var entry = table[Key(method: method, route: route, status: status)] ?? Series()
            entry.count += 1
            entry.seconds += seconds
            if let bucket = Self.bounds.firstIndex(where: { seconds <= $0 }) { entry.buckets[bucket] += 1 }
            table[Key(method: method, route: route, status: status)] = entry
        }
    }

    /// All series.
    public func snapshot() -> [Key: Series] { series.withLock { $0 } }
}
