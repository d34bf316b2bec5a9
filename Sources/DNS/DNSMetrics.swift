import Engine
import Policy
import Synchronization

/// What one shard's DNS counts; any thread may read. Label sets are closed: a counter is a place in a table.
public final class DNSMetrics: @unchecked Sendable {
    /// Where an answer came from; the name is the label.
    public enum Source: Int, CaseIterable, Sendable {
        case cache, upstream, policy, error
    }

    /// Counters without labels.
    public enum Counter: Int, CaseIterable, Sendable {
        /// Queries that joined one under way.
        case coalesced
        /// Datagrams that were no answer to the question asked.
        case foreignAnswers
        /// Answers asked for again over TCP.
        case truncatedRetries
        /// Queries refused because too many were under way.
        case overloaded
        /// Connections made to DoH upstreams.
        case connections
        /// Queries sent on a connection that had carried others.
        case connectionsReused
    }

    /// Upper bounds of the latency histogram in seconds.
    public static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5]

    private static let types = DNSLabel.types.count
    private static let codes = DNSLabel.codes.count
    private static let hits = types * codes * Source.allCases.count
    private static let misses = hits + types
    private static let plain = misses + types
    private static let all = plain + Counter.allCases.count
    // Per upstream: errors, attempts, nanoseconds, buckets.
    private static let upstreamWords = 3 + bounds.count

    private let words = CounterBlock(count: DNSMetrics.all)
    /// One block for each upstream; the shard's own copy, and the one others read.
    private var upstreams: [CounterBlock] = []
    private let published = Mutex<[CounterBlock]>([])

    init() {}

    /// Makes counters for upstreams up to a number.
    func know(upstreams count: Int) {
        while upstreams.count < count { upstreams.append(CounterBlock(count: Self.upstreamWords)) }
        published.withLock { $0 = upstreams }
    }

    private static func place(type: Int, code: Int, source: Source) -> Int { (source.rawValue * types + type) * codes + code }

    func answered(type: UInt16, code: UInt16, _ source: Source) {
        words.add(Self.place(type: DNSLabel.index(type: type), code: DNSLabel.index(code: code), source: source), 1)
    }

    func looked(type: UInt16, hit: Bool) { words.add((hit ? Self.hits : Self.misses) + DNSLabel.index(type: type), 1) }

    func add(_ counter: Counter) { words.add(Self.plain + counter.rawValue, 1) }

    func attempted(_ upstream: Int, nanoseconds: UInt64, failed: Bool) {
        let block = upstreams[upstream]
        if failed { block.add(0, 1) }
        block.add(1, 1)
        block.add(2, nanoseconds)
        let seconds = Double(nanoseconds) / 1e9
        if let bucket = Self.bounds.firstIndex(where: { seconds <= $0 }) { block.add(3 + bucket, 1) }
    }

    /// `dns_queries_total` of one combination of labels' indices.
    public func queries(type: Int, code: Int, source: Source) -> UInt64 { words.read(Self.place(type: type, code: code, source: source)) }
    /// `dns_cache_hits_total` of a type's index.
    public func hits(type: Int) -> UInt64 { words.read(Self.hits + type) }
    /// `dns_cache_misses_total` of a type's index.
    public func misses(type: Int) -> UInt64 { words.read(Self.misses + type) }
    /// A counter without labels.
    public func read(_ counter: Counter) -> UInt64 { words.read(Self.plain + counter.rawValue) }
    /// What was counted of one upstream.
    public struct UpstreamReading: Sendable {
        /// Failed attempts.
        public var errors: UInt64 = 0
        /// All attempts.
        public var attempts: UInt64 = 0
        /// Sum of their times.
        public var seconds = 0.0
        /// How many fell into each bucket, not cumulated.
        public var buckets = [UInt64](repeating: 0, count: DNSMetrics.bounds.count)
        /// Nothing counted.
        public init(errors: UInt64 = 0, attempts: UInt64 = 0, seconds: Double = 0,
                    buckets: [UInt64] = [UInt64](repeating: 0, count: DNSMetrics.bounds.count)) {
            self.errors = errors
            self.attempts = attempts
            self.seconds = seconds
            self.buckets = buckets
        }

        /// Adds what was counted elsewhere.
        public mutating func add(_ other: UpstreamReading) {
            errors += other.errors
            attempts += other.attempts
            seconds += other.seconds
            for index in buckets.indices { buckets[index] += other.buckets[index] }
        }
    }

    /// What was counted of each upstream, by number.
    public var upstreamReadings: [UpstreamReading] {
        published.withLock { $0 }.map { block in
            UpstreamReading(
                errors: block.read(0), attempts: block.read(1), seconds: Double(block.read(2)) / 1e9,
                buckets: Self.bounds.indices.map { block.read(3 + $0) })
        }
    }
}
