import Engine
import Glibc
import HTTP
import Policy
import Wire

/// `/tcp`: one TCP connection per WebSocket.
///
/// Theory of operation
///
/// ```
///  upgrade ─► judge ─► resolve ─► quota ─► 101 ─► dial ─────► open ◄────────────┐
///               └──────────┴─────────┴─► refusal              │                 │
///   client ═ frames ═► unmask, close up ═ one send ═► target  │ both directions │ no byte is copied
///   client ◄═ header into headroom, same buffer ═════ target  │                 │
///                                                             ▼
///                            Close to the client, queued bytes to both, then FIN
/// ```
/// - A WebSocket is two streams: the client's and the target's. Both carry the bridge's index as context; the owner
///   tells which of the two an event is about.
/// - Client to target: the frames of a received buffer are unmasked towards its front, so that their payloads lie
///   behind one another, and leave as one send of that same buffer.
/// - Target to client: the frame header is written into the buffer's headroom.
/// - Backpressure: when one stream's output is congested, the other is not read until it drained.
/// - Every end is polite: bytes accepted from either side are delivered, the client gets a Close frame, then FIN.
public struct TCPBridge {
    let state: UnsafeMutablePointer<TCPBridgeState>

    /// The bridges of one shard. `clientOwner` and `targetOwner` are the owners its streams carry.
    public init(shard: Shard, clientOwner: Owner, targetOwner: Owner, capacity: Int, shared: BridgeShared) {
        let table = UnsafeMutablePointer<Bridge>.allocate(capacity: capacity)
        state = .allocate(capacity: 1)
        state.initialize(
            to: TCPBridgeState(
                shard: shard, clientOwner: clientOwner, targetOwner: targetOwner, table: table, capacity: capacity,
                shared: shared, rules: BridgeRulesTable(shared.settings), counters: BridgeCounters()))
    }

    /// Takes the settings of a new configuration for bridges that open from now on; those that live keep theirs.
    public func apply(_ shared: BridgeShared) {
        state.pointee.shared = shared
        state.pointee.rules.adopt(shared.settings)
    }

    /// Frees the table. Every bridge must have ended.
    public func destroy() {
        state.pointee.table.deallocate()
        state.pointee.rules.destroy()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Counters, readable from any thread.
    public var counters: BridgeCounters { state.pointee.counters }
    /// Configurations whose rules are kept: the one in force, and those of bridges that live.
    public var rulesHeld: Int { state.pointee.rules.count }
    /// Bridges that have not ended.
    public var count: Int { state.pointee.used }

    /// Deals with an event of a client's or target's stream.
    @inline(__always)
    public func handle(_ event: Event) {
        if event.kind == .received {
            if event.owner == state.pointee.clientOwner { clientBytes(event) } else { targetBytes(event) }
            return
        }
        handleRare(event)
    }

    @inline(never)
    private func handleRare(_ event: Event) {
        let index = event.context
        let fromClient = event.owner == state.pointee.clientOwner
        switch event.kind {
        case .connected: targetConnected(index)
        case .ended: fromClient ? clientEnded(index) : targetEnded(index)
        case .failed: fromClient ? clientFailed(index) : targetFailed(index)
        case .drained: fromClient ? clientDrained(index) : targetDrained(index)
        case .timer: timePassed(index)
        case .resolved: resolved(index, event)
        case .closed: free(index)
        default: break
        }
    }

    /// Closes every WebSocket with 1001 and delivers what was accepted, at most for the given time.
    public func drain(graceMilliseconds: UInt64) {
        for index in 0..<state.pointee.touched {
            let phase = state.pointee.table[index].phase
            if phase == .free || phase == .ending { continue }
            if state.pointee.table[index].phase == .resolving {
                state.pointee.counters.add(.drained)
                refuse(UInt32(index), status: 503, message: "Shutting down")
            } else {
                end(UInt32(index), .drained, .goingAway, drainMilliseconds: graceMilliseconds, graceMilliseconds: graceMilliseconds)
            }
        }
    }

    @inline(__always)
    func bridge(_ index: UInt32) -> UnsafeMutablePointer<Bridge> { state.pointee.table + Int(index) }

    /// What a bridge was opened under.
    @inline(__always)
    func rules(_ bridge: UnsafeMutablePointer<Bridge>) -> UnsafeMutablePointer<BridgeRules> {
        state.pointee.rules.entries + Int(bridge.pointee.rules)
    }
}

/// What the bridges of all shards share.
public final class BridgeShared: Sendable {
    /// Limits and rules; the snapshot the process runs with.
    public let settings: GatewaySettings.TCPSettings
    /// Counts that outlive a configuration.
    public let limits: SharedLimits

    /// Shared state for one configuration.
    public init(settings: GatewaySettings.TCPSettings, limits: SharedLimits = SharedLimits()) {
        self.settings = settings
        self.limits = limits
    }
}

struct TCPBridgeState {
    let shard: Shard
    let clientOwner: Owner
    let targetOwner: Owner
    let table: UnsafeMutablePointer<Bridge>
    let capacity: Int
    var shared: BridgeShared
    var rules: BridgeRulesTable
    var report: ((ConnectionReport) -> Void)?
    let counters: BridgeCounters
    var touched = 0
    var used = 0
    var freeHead = UInt32.max
    var reply = BufferIndex.none  // Pongs and Close collected while a buffer is read
    var replyCount = 0
}
