import Engine
import Wire

/// What one shard's proxy counts; any thread may read.
public struct ProxyCounters: @unchecked Sendable {
    /// Of the whole shard. `active` is a gauge.
    public enum Counter: Int, CaseIterable, Sendable {
        case opened, active, refused, dials, dialsFailed, dialsRetried, pingsSent, exhausted
    }

    /// Of each route.
    public enum RouteCounter: Int, CaseIterable, Sendable {
        case sessions, messagesUp, messagesDown, bytesUp, bytesDown, stallUpMilliseconds, stallDownMilliseconds, throttled
        case deniedPublishes, deniedSubscriptions, deniedWills
    }

    /// Routes with counters of their own; those behind them count as the last.
    public static let routes = 64

    private let words: CounterBlock
    // Constants, because counting them allocates.
    private static let counters = 8
    private static let routeCounters = 11
    /// MQTT packets by direction and type.
    private static let packetCounters = 32

    init() {
        precondition(Counter.allCases.count == Self.counters && RouteCounter.allCases.count == Self.routeCounters)
        words = CounterBlock(count: Self.counters + Self.routes * Self.routeCounters + Self.packetCounters)
    }

    @inline(__always)
    func add(_ counter: Counter, _ amount: UInt64 = 1) { words.add(counter.rawValue, amount) }

    @inline(__always)
    func subtract(_ counter: Counter) { words.add(counter.rawValue, UInt64.max) }

    @inline(__always)
    func add(_ counter: RouteCounter, _ route: UInt16, _ amount: UInt64) {
        words.add(Self.place(counter, route), amount)
    }

    @inline(__always)
    private static func place(_ counter: RouteCounter, _ route: UInt16) -> Int {
        counters &+ Int(route) &* routeCounters &+ counter.rawValue
    }

    @inline(__always)
    func addPackets(_ type: MQTTType, up: Bool, _ amount: UInt64) { words.add(Self.place(type, up), amount) }

    @inline(__always)
    private static func place(_ type: MQTTType, _ up: Bool) -> Int {
        counters &+ routes &* routeCounters &+ Int(type.rawValue) &+ (up ? 0 : 16)
    }

    /// Counts a client whose CONNECT was refused for its will. The owning thread only.
    public func addDeniedWill(route: UInt16) { add(.deniedWills, min(route, UInt16(Self.routes - 1)), 1) }

    /// Packets of inspected sessions, from any thread.
    public func readPackets(_ type: MQTTType, up: Bool) -> UInt64 { words.read(Self.place(type, up)) }
    /// The counter's value, from any thread.
    public func read(_ counter: Counter) -> UInt64 { words.read(counter.rawValue) }
    /// The route's value, from any thread. `sessions` is a gauge.
    public func read(_ counter: RouteCounter, route: UInt16) -> UInt64 { words.read(Self.place(counter, route)) }
}
