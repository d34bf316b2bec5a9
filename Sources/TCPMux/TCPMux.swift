import Engine
import HTTP
import Policy
import Wire

/// `/tcp-mux`: many TCP connections per WebSocket.
///
/// Theory of operation
///
/// ```
///   client ═ frames ═► unmask ─┬─ a buffer that holds bytes of one stream only ══ that buffer ══► target
///                              ├─ of several: where they lie, as slices of that buffer ═════════► targets
///                              └─ small pieces: unmasked into the end of each stream's queue ═══► targets
///   client ◄═ both headers into the headroom, same buffer; small ones copied behind one another ═ targets
///
///   OPEN ─► judge ─► resolve ─► place ─► dial ─► open ─► FIN from both, RST, or ERROR ─► place given back
/// ```
/// - A WebSocket is a client's stream of the engine and a ring of `MuxStream`s, each with a target. Client events carry the
///   index of the WebSocket, target events that of the stream.
/// - The frames of all messages are one stream of bytes. `MuxReader` looks at headers only; payload is unmasked on the way to
///   where it goes, so that sharing a buffer costs no further pass over the bytes.
/// - The protocol has no window: a client cannot be told that one target is slow. Bytes of a slow target queue up to the
///   configured cap, then the stream, and only it, ends with ERROR 6. The client as a whole is not read while it does not take
///   answers to its own frames, or while the shard's buffers run low and its streams hold more than their share.
/// - While the client is behind, no target is read. When it caught up, they are read again one a turn, beginning behind
///   the one that was resumed last, so that each has its share whatever the others send.
/// - A message costs no allocation and counts no reference; opening and ending a stream may.
public struct TCPMux {
    let state: UnsafeMutablePointer<TCPMuxState>

    /// The WebSockets of one shard. `clientOwner` and `targetOwner` are the owners its streams carry; `capacity` bounds the
    /// WebSockets and, apart, their streams.
    public init(shard: Shard, clientOwner: Owner, targetOwner: Owner, capacity: Int, shared: MuxShared) {
        state = .allocate(capacity: 1)
        state.initialize(
            to: TCPMuxState(
                shard: shard, clientOwner: clientOwner, targetOwner: targetOwner, sockets: MuxTable(capacity: capacity),
                streams: MuxTable(capacity: capacity), index: MuxIndex(capacity: capacity), shared: shared,
                rules: MuxRules(shared.tcp, shared.mux), counters: MuxCounters()))
    }

    /// Takes the settings of a new configuration for WebSockets that open from now on; those that live keep theirs.
    public func apply(_ shared: MuxShared) {
        state.pointee.shared = shared
        guard state.pointee.rules.settings != shared.tcp || state.pointee.rules.mux != shared.mux else { return }
        state.pointee.rules = MuxRules(shared.tcp, shared.mux)
    }

    /// Frees the tables. Every WebSocket must have ended.
    public func destroy() {
        state.pointee.sockets.entries.deallocate()
        state.pointee.streams.entries.deallocate()
        state.pointee.index.destroy()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Counters, readable from any thread.
    public var counters: MuxCounters { state.pointee.counters }
    /// WebSockets that have not ended.
    public var count: Int { state.pointee.sockets.used }
    /// Streams whose places are not given back.
    public var streamCount: Int { state.pointee.streams.used }

    /// Deals with an event of a client's or target's stream.
    @inline(__always)
    public func handle(_ event: Event) {
        if event.kind == .received {
            if event.owner == state.pointee.clientOwner {
                clientBytes(event.context, event.buffer, 0, event.count)
            } else {
                targetBytes(event)
            }
            return
        }
        handleRare(event)
    }

    /// To be called when the events of a turn are dealt with.
    @inline(__always)
    public func endTurn() {
        if state.pointee.resuming != MuxSocket.none { resumeListed() }
    }

    @inline(never)
    private func handleRare(_ event: Event) {
        let index = event.context
        if event.owner == state.pointee.clientOwner {
            switch event.kind {
            case .ended: end(index, .clientEnded, nil)
            case .failed: end(index, .clientFailed, nil)
            case .drained: clientDrained(index)
            case .timer: socketTimePassed(index)
            case .closed: freeSocket(index)
            default: break
            }
            return
        }
        switch event.kind {
        case .connected: targetConnected(index)
        case .ended: targetEnded(index)
        case .failed: targetFailed(index)
        case .drained: targetDrained(index)
        case .timer: streamTimePassed(index)
        case .resolved: resolved(index, event)
        case .closed: freeStream(index)
        default: break
        }
    }

    /// Closes every WebSocket with 1001 and delivers what was accepted, at most for the given time.
    public func drain(graceMilliseconds: UInt64) {
        for index in 0..<state.pointee.sockets.touched where socket(UInt32(index)).pointee.phase == .open {
            end(UInt32(index), .drained, .goingAway, graceMilliseconds: graceMilliseconds)
        }
    }

    @inline(__always)
    func socket(_ index: UInt32) -> UnsafeMutablePointer<MuxSocket> { state.pointee.sockets.entries + Int(index) }

    @inline(__always)
    func stream(_ index: UInt32) -> UnsafeMutablePointer<MuxStream> { state.pointee.streams.entries + Int(index) }
}

/// What the multiplexed WebSockets of all shards share.
public final class MuxShared: Sendable {
    /// Egress rules, quotas and times, as for `/tcp`.
    public let tcp: GatewaySettings.TCPSettings
    /// Limits of multiplexing.
    public let mux: GatewaySettings.MuxSettings
    /// Counts that outlive a configuration and are shared with `/tcp`.
    public let limits: SharedLimits

    /// Shared state for one configuration.
    public init(tcp: GatewaySettings.TCPSettings, mux: GatewaySettings.MuxSettings, limits: SharedLimits = SharedLimits()) {
        self.tcp = tcp
        self.mux = mux
        self.limits = limits
    }
}

struct TCPMuxState {
    let shard: Shard
    let clientOwner: Owner
    let targetOwner: Owner
    var sockets: MuxTable<MuxSocket>
    var streams: MuxTable<MuxStream>
    let index: MuxIndex
    var shared: MuxShared
    var rules: MuxRules
    let counters: MuxCounters
    var resuming = MuxSocket.none  // WebSockets with streams to read again
    // While a client's buffer is read: bytes of one stream, unmasked and closed up inside that buffer.
    var run = MuxBufferRun()
    var hasReplied = false
    /// Look-ups under way count for their sessions until they end, also when their streams are gone: nothing can stop them.
    var lookupPlaces: [UInt32: ConnectionQuota.Entry] = [:]
    var report: ((ConnectionReport) -> Void)?
}

/// Bytes of one stream inside the buffer that is being read.
struct MuxBufferRun {
    var stream = MuxSocket.none
    var start = 0
    var end = 0
    /// The buffer holds bytes of several streams: from now on small pieces are copied out at once.
    var isMixed = false
    var buffer = BufferIndex.none
    var base: UnsafeMutableRawPointer?

    /// Forgets the bytes; what follows has something in front of it.
    @inline(__always)
    mutating func drop() {
        stream = MuxSocket.none
        start = 0
        end = 0
        isMixed = true
    }
}
