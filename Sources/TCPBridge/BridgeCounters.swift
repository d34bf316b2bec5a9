import Engine

/// What one shard's bridges count; any thread may read.
public struct BridgeCounters {
    /// A counter's place.
    public enum Counter: Int, CaseIterable, Sendable {
        case opened, active
        case bytesFromClient, bytesToClient, framesFromClient, framesToClient
        case blockedByHostPolicy, blockedByAddressPolicy
        case connectFailed, connectTimedOut, idleTimedOut, targetEnded, targetFailed, clientEnded, clientFailed
        case closedByClient, protocolErrors, textMessages, messagesTooBig, bufferOverflows
        case refused, tooManyConnections, lookupFailed, drained, revoked, clientPaused, targetPaused
        case closedByAdministrator

        /// What a connection's end is called by in metrics and log; nil for what is no cause of an end.
        public var cause: StaticString? {
            switch self {
            case .targetEnded: "target_ended"
            case .targetFailed: "target_failed"
            case .connectFailed: "connect_failed"
            case .connectTimedOut: "connect_timeout"
            case .idleTimedOut: "idle_timeout"
            case .closedByClient: "client_close"
            case .clientEnded: "client_ended"
            case .clientFailed: "client_failed"
            case .protocolErrors: "protocol_error"
            case .textMessages: "text_message"
            case .messagesTooBig: "message_too_big"
            case .bufferOverflows: "buffer_overflow"
            case .drained: "drained"
            case .revoked: "revoked"
            case .closedByAdministrator: "closed_by_admin"
            default: nil
            }
        }
    }

    private let words: CounterBlock

    init() { words = CounterBlock(count: Counter.allCases.count) }

    @inline(__always)
    func add(_ counter: Counter, _ amount: UInt64 = 1) { words.add(counter.rawValue, amount) }

    @inline(__always)
    func subtract(_ counter: Counter) { words.add(counter.rawValue, UInt64.max) }

    /// The counter's value, from any thread.
    public func read(_ counter: Counter) -> UInt64 { words.read(counter.rawValue) }
}

extension BridgeCounters: @unchecked Sendable {}
