import Engine
import Wire

/// What one shard's multiplexed WebSockets count; any thread may read.
public struct MuxCounters {
    /// A counter's place.
    public enum Counter: Int, CaseIterable, Sendable {
        case socketsOpened, socketsActive, streamsOpened, streamsActive
        case bytesFromClient, bytesToClient, framesFromClient, framesToClient
        case blockedByHostPolicy, blockedByAddressPolicy
        case errorPolicyDenied, errorDialFailed, errorProtocol, errorUnknownStream, errorStreamLimit, errorOverflow
        case streamsFinished, streamsReset, connectFailed, connectTimedOut, idleTimedOut, targetFailed, lookupFailed, socketGone
        case closedByClient, clientEnded, clientFailed, protocolErrors, textMessages, messagesTooBig, outOfBuffers, drained
        case idleSockets, closedByAdministrator, revoked
        case targetsPaused, clientPaused, poolPaused, runsCopied

        /// What a WebSocket's end is called by in metrics and log; nil for what is no cause of an end.
        public var cause: StaticString? {
            switch self {
            case .closedByClient: "client_close"
            case .clientEnded: "client_ended"
            case .clientFailed: "client_failed"
            case .protocolErrors: "protocol_error"
            case .textMessages: "text_message"
            case .messagesTooBig: "message_too_big"
            case .outOfBuffers: "out_of_buffers"
            case .drained: "drained"
            case .idleSockets: "idle"
            case .closedByAdministrator: "closed_by_administrator"
            case .revoked: "revoked"
            default: nil
            }
        }
    }

    private let words: CounterBlock

    init() { words = CounterBlock(count: Counter.allCases.count) }

    @inline(__always)
    func add(_ counter: Counter, _ amount: UInt64 = 1) { words.add(counter.rawValue, amount) }

    func subtract(_ counter: Counter) { words.add(counter.rawValue, UInt64.max) }

    /// The counter's value, from any thread.
    public func read(_ counter: Counter) -> UInt64 { words.read(counter.rawValue) }

    func count(_ code: MuxErrorCode) {
        switch code {
        case .policyDenied: add(.errorPolicyDenied)
        case .dialFailed: add(.errorDialFailed)
        case .protocolError: add(.errorProtocol)
        case .unknownStream: add(.errorUnknownStream)
        case .streamLimit: add(.errorStreamLimit)
        case .bufferOverflow: add(.errorOverflow)
        }
    }
}

extension MuxCounters: @unchecked Sendable {}
