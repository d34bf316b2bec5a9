import Engine
import Synchronization
import Wire

/// `http_requests_total` and `http_request_duration_seconds` of one shard. Written once per plain request, read by scrapes.
///
/// A series is a block of counters, found by method, route and status as numbers; it is made when it is first needed, under
/// the lock that scrapes take. Counting takes no lock.
public final class RequestMetrics: @unchecked Sendable {
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

    // Words of a block: requests, nanoseconds, buckets.
    private static let words = 2 + bounds.count
    private static let nanosecondBounds = bounds.map { UInt64($0 * 1e9) }
    private static let statuses = 100...599
    private static let methods = 7

    /// The shard's own: the block of a series by its number.
    private var blocks: [Int: CounterBlock] = [:]
    private var lastNumber = -1
    private var lastBlock: CounterBlock?
    private let published = Mutex<[(key: Key, block: CounterBlock)]>([])

    /// No series.
    public init() {}

    /// Counts one answered request.
    public func record(method: HTTPMethod, route: Route, viaBase: Bool, basePath: String, status: Int, nanoseconds: UInt64) {
        let place = (route.number * 2 + (viaBase ? 1 : 0)) * Self.methods + Int(method.rawValue)
        let number = place * Self.statuses.count + min(max(status, 100), 599) - 100
        // Requests of a kind come in a row.
        let block = number == lastNumber ? lastBlock! : self.block(number, method, route, viaBase, basePath, status)
        block.add(0, 1)
        block.add(1, nanoseconds)
        for (index, bound) in Self.nanosecondBounds.enumerated() where nanoseconds <= bound {
            block.add(2 + index, 1)
            break
        }
    }

    private func block(_ number: Int, _ method: HTTPMethod, _ route: Route, _ viaBase: Bool, _ basePath: String, _ status: Int)
        -> CounterBlock
    {
        let block = blocks[number] ?? make(number, method, route, viaBase, basePath, status)
        lastNumber = number
        lastBlock = block
        return block
    }

    private func make(_ number: Int, _ method: HTTPMethod, _ route: Route, _ viaBase: Bool, _ basePath: String, _ status: Int)
        -> CounterBlock
    {
        let block = CounterBlock(count: Self.words)
        blocks[number] = block
        let key = Key(method: "\(method.name)", route: route.label(viaBase: viaBase, basePath: basePath), status: status)
        published.withLock { $0.append((key, block)) }
        return block
    }

    /// All series.
    public func snapshot() -> [Key: Series] {
        var all: [Key: Series] = [:]
        for (key, block) in published.withLock({ $0 }) {
            var series = all[key] ?? Series()
            series.count += block.read(0)
            series.seconds += Double(block.read(1)) / 1e9
            for index in Self.bounds.indices { series.buckets[index] += block.read(2 + index) }
            all[key] = series
        }
        return all
    }
}

extension Route {
    /// Place in the table of counters.
    var number: Int { Self.numbers[self] ?? 0 }
    private static let numbers = Dictionary(uniqueKeysWithValues: allCases.enumerated().map { ($1, $0) })

    /// The route's pattern, with the base path when called through it.
    func label(viaBase: Bool, basePath: String) -> String {
        switch self {
        case .unknown: "unknown"
        case .options: rawValue
        default: viaBase ? basePath + rawValue : rawValue
        }
    }
}
