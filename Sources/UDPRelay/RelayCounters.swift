import Engine

/// What one shard's relay counts; any thread may read.
public struct RelayCounters: @unchecked Sendable {
    /// The events of the relay's specification (15.1 and 15.2), by exactly these names.
    public enum Event: Int, CaseIterable, Sendable {
        case authFailure, tooManySessions, rateLimited, quotaExceeded, tooManyDestinations, sessionHardClosed
        case sessionConnectTimeout, gatheringTimeout, allowlistEvictions, allowlistDrops, bucketEvictions
        case connections, datagramsIn, datagramsOut
        case dropped, droppedMalformed, droppedOversized, droppedDenied, droppedRateLimited, droppedQuota, droppedBackpressure

        /// The value of the label `event`.
        public var name: StaticString {
            switch self {
            case .authFailure: "auth_failure"
            case .tooManySessions: "too_many_sessions"
            case .rateLimited: "rate_limited"
            case .quotaExceeded: "quota_exceeded"
            case .tooManyDestinations: "too_many_destinations"
            case .sessionHardClosed: "session_hard_closed"
            case .sessionConnectTimeout: "webrtc_session_connect_timeout"
            case .gatheringTimeout: "ice_gathering_timeout"
            case .allowlistEvictions: "udp_remote_allowlist_evictions_total"
            case .allowlistDrops: "udp_remote_allowlist_overflow_drops_total"
            case .bucketEvictions: "udp_per_dest_bucket_evictions"
            case .connections: "udp_ws_connections"
            case .datagramsIn: "udp_ws_datagrams_in"
            case .datagramsOut: "udp_ws_datagrams_out"
            case .dropped: "udp_ws_dropped"
            case .droppedMalformed: "udp_ws_dropped_malformed"
            case .droppedOversized: "udp_ws_dropped_oversized"
            case .droppedDenied: "udp_ws_dropped_denied_by_policy"
            case .droppedRateLimited: "udp_ws_dropped_rate_limited"
            case .droppedQuota: "udp_ws_dropped_quota_exceeded"
            case .droppedBackpressure: "udp_ws_dropped_backpressure"
            }
        }
    }

    /// What the product counts besides. `active` ones are gauges.
    public enum Counter: Int, CaseIterable, Sendable {
        case socketsActive, sessionsActive, bindingsActive, datagramSocketsActive
        /// A binding is evicted at its session's bound and displaced at the shard's.
        case bindingsOpened, bindingsEvicted, bindingsDisplaced, bindingsIdle, socketsFailed
        /// Sockets not opened because the shard has as many as it may; WebSockets refused because it has as many as it may.
        case socketsRefused, webSocketsRefused
        case bytesFromClient, bytesToClient
        /// Frames to a client that were copied behind others because it is behind.
        case framesCopied
        case closedByClient, clientEnded, clientFailed, protocolErrors, messagesTooBig, outOfBuffers, drained, closedByAdministrator
        case authenticationFailed, sessionRefused, textMessages, idleTimedOut, pingFailed, hardClosed

        /// What a WebSocket's end is called by in metrics and log; nil for what is no cause of an end.
        public var cause: StaticString? {
            switch self {
            case .closedByClient: "client_close"
            case .clientEnded: "client_ended"
            case .clientFailed: "client_failed"
            case .protocolErrors: "protocol_error"
            case .messagesTooBig: "message_too_big"
            case .outOfBuffers: "out_of_buffers"
            case .drained: "drained"
            case .closedByAdministrator: "closed_by_administrator"
            case .authenticationFailed: "authentication_failed"
            case .sessionRefused: "session_refused"
            case .textMessages: "text_message"
            case .idleTimedOut: "idle"
            case .pingFailed: "ping_failed"
            case .hardClosed: "hard_closed"
            default: nil
            }
        }
    }

    private let words: CounterBlock
    private static let events = Event.allCases.count

    init() { words = CounterBlock(count: Self.events + Counter.allCases.count) }

    /// Counts an event that the HTTP layer saw (`auth_failure`, `too_many_sessions`). The shard's thread only.
    public func count(_ event: Event) { add(event) }

    @inline(__always)
    func add(_ event: Event, _ amount: UInt64 = 1) { words.add(event.rawValue, amount) }

    @inline(__always)
    func add(_ counter: Counter, _ amount: UInt64 = 1) { words.add(Self.events &+ counter.rawValue, amount) }

    @inline(__always)
    func subtract(_ counter: Counter, _ amount: UInt64 = 1) { words.add(Self.events &+ counter.rawValue, 0 &- amount) }

    /// The event's value, from any thread.
    public func read(_ event: Event) -> UInt64 { words.read(event.rawValue) }
    /// The counter's value, from any thread.
    public func read(_ counter: Counter) -> UInt64 { words.read(Self.events + counter.rawValue) }
}
