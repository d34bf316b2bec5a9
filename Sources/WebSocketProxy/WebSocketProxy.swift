import Engine
import HTTP
import Policy
import Wire

/// A WebSocket in front of a WebSocket: clients that the layer above has authenticated, and their upstreams.
///
/// Theory of operation
///
/// ```
///  authenticated:      dial ─► 101 of the upstream ─► 101 to the client ─► open
///  not yet:            101 to the client ─► first data ─► verdict ─► dial ─► open
///
///  client ═ masked frames ═══ the same buffer ══► upstream     a client's frame is a valid frame towards a server: only headers
///  client ◄══ the same buffer ═══ frames ════════ upstream     are looked at, and not a byte of a payload
///            └ control frames are lifted out and answered here
/// ```
/// - A session is two streams; both carry the session's index as context, and the owner tells which of the two an event is about.
/// - `FrameSieve` says which bytes of a received buffer leave. Mostly that is the buffer, which is sent as it is; when a control frame
///   was cut out, the shorter side closes up, or a bulk buffer leaves in parts (`Departure`).
/// - Frames of our own (Ping, Pong, Close) stand between two frames only. Towards a side that is in the middle of a frame they wait
///   (`WaitingControls`), and the next end of a frame is looked for.
/// - Backpressure: when one side's output is congested the other is not read until it drained. A side that takes nothing for the write
///   timeout ends the session.
/// - The ends are tied: a Close from one side goes to the other with its code and reason, the answer comes back the same way, then both
///   streams end. A side that vanishes closes the other.
/// - Liveness, expiry, drain and every other deadline use the client stream's one timer.
/// - The layer above is asked and told by closures, never for a message. They are set once, before the first session, and may call
///   back into the proxy for other sessions.
public struct WebSocketProxy {
    let state: UnsafeMutablePointer<ProxyState>

    /// Who owns the streams of one shard's sessions.
    public struct Owners {
        public var client: Owner
        public var upstream: Owner
        /// Upstreams that are being dialled.
        public var dial: Owner

        /// Three numbers of the loop's own.
        public init(client: Owner, upstream: Owner, dial: Owner) {
            self.client = client
            self.upstream = upstream
            self.dial = dial
        }
    }

    /// The sessions of one shard.
    public init(shard: Shard, owners: Owners, capacity: Int, shared: ProxyShared) {
        let scratch = UnsafeMutableRawPointer.allocate(byteCount: ProxyBounds.controlFrameBytes, alignment: 8)
        var nonce: UInt64 = 0
        withUnsafeMutableBytes(of: &nonce) { Digest.randomize($0) }
        state = .allocate(capacity: 1)
        state.initialize(
            to: ProxyState(
                shard: shard, owners: owners, table: .allocate(capacity: capacity), capacity: capacity, shared: shared,
                counters: ProxyCounters(), dialler: HTTPClient(shard: shard, owner: owners.dial), masks: MaskSource(), scratch: scratch,
                nonce: nonce))
    }

    /// Frees the tables. Every session must have ended.
    public func destroy() {
        state.pointee.table.deallocate()
        state.pointee.scratch.deallocate()
        state.pointee.masks.destroy()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Counters, readable from any thread.
    public var counters: ProxyCounters { state.pointee.counters }
    /// Sessions that have not ended.
    public var count: Int { state.pointee.used }

    /// Sets what hears of every refusal, dial, beginning and end.
    public func onReport(_ report: @escaping (ProxyReport) -> Void) { state.pointee.report = report }

    /// Sets what judges the first data of clients that are not authenticated yet. Called whenever more has come.
    public func onFirstData(_ judge: @escaping (ProxyFirstData) -> ProxyVerdict) { state.pointee.judge = judge }

    /// Deals with an event of one of the three owners.
    @inline(__always)
    public func handle(_ event: Event) {
        if event.kind == .received, event.owner != state.pointee.owners.dial {
            return read(event.context, event.owner == state.pointee.owners.client ? .client : .upstream, event.buffer, 0, event.count)
        }
        handleRare(event)
    }

    @inline(never)
    private func handleRare(_ event: Event) {
        if event.owner == state.pointee.owners.dial {
            state.pointee.dialler.handle(event)
            return takeDials()
        }
        let party: ProxyParty = event.owner == state.pointee.owners.client ? .client : .upstream
        switch event.kind {
        case .ended: sideEnded(event.context, party)
        case .failed: sideFailed(event.context, party)
        case .drained: sideDrained(event.context, party)
        case .timer: timePassed(event.context)
        case .closed: free(event.context)
        default: break
        }
    }

    @inline(__always)
    func session(_ index: UInt32) -> UnsafeMutablePointer<ProxySession> { state.pointee.table + Int(index) }

    @inline(__always)
    func side(_ session: UnsafeMutablePointer<ProxySession>, _ party: ProxyParty) -> UnsafeMutablePointer<ProxySide> {
        let offset = party == .client ? MemoryLayout<ProxySession>.offset(of: \.client) : MemoryLayout<ProxySession>.offset(of: \.upstream)
        return (UnsafeMutableRawPointer(session) + offset.unsafelyUnwrapped).assumingMemoryBound(to: ProxySide.self)
    }

    func details(_ index: UInt32) -> ProxyDetails { session(index).pointee.details.takeUnretainedValue() }
}

struct ProxyState {
    let shard: Shard
    let owners: WebSocketProxy.Owners
    let table: UnsafeMutablePointer<ProxySession>
    let capacity: Int
    let shared: ProxyShared
    let counters: ProxyCounters
    let dialler: HTTPClient
    let masks: MaskSource
    /// Where a control frame is written before it is queued.
    let scratch: UnsafeMutableRawPointer
    /// Payload of our Pings: what comes back with it was ours.
    let nonce: UInt64
    var report: ((ProxyReport) -> Void)?
    var judge: ((ProxyFirstData) -> ProxyVerdict)?
    var touched = 0
    var used = 0
    var freeHead = UInt32.max
    /// When the last sessions are told to go, while draining.
    var drainEnds = ProxySession.never
    /// Sessions that expired in a second of the shard's clock.
    var expiries = (second: UInt64(0), count: 0)
}
