import Engine
import HTTP
import Policy
import Wire

/// `/udp`: datagrams over one WebSocket.
///
/// Theory of operation
///
/// ```
///   upgrade ─► 101 ─► credential ─► place ─► ready ─► frames both ways ─► Close
///                 └► first message ┘  └► error, Close
///
///   client ═ frames ═► unmask, decode in place ─► destination ─► limits ─► binding ─► filter ═ from that buffer ═► remote
///   client ◄═ headers in front of the datagram, same buffer ═ queue ◄─ limit ◄─ filter ◄─ size ◄══════════════════ remote
/// ```
/// - A session is a client's stream and, for each guest port it uses, a binding with a socket for each family. Client events carry
///   the index of the session, socket events that of the socket. What is decided is `RelayBindings`' and `RelayLimiter`'s.
/// - A message that lies whole in a received buffer is unmasked there and its payload sent from there; the buffer goes back once
///   the turn's datagrams have left. Only a message in pieces is put together in a buffer of its own.
/// - A datagram leaves for the client in the buffer it came in, headers in front. A client that is behind gets copies behind one
///   another instead, so that its queue holds bytes and not buffers; what exceeds its bound is dropped, the newest. Sockets are read
///   in any case.
/// - A socket whose binding is gone is closed behind the next turn's submission: datagrams that were gathered just before leave.
/// - At the shard's bound of sockets a guest port takes its socket from the session that has most (`UDPRelay+Share.swift`).
///   Sockets opened in a turn are bounded; a client that needs more waits, with its bytes, for the next turn.
/// - A datagram costs no allocation and counts no reference; a guest port or destination that is new may.
public struct UDPRelay {
    let state: UnsafeMutablePointer<UDPRelayState>

    /// The relay of one shard. `clientOwner` and `socketOwner` are the owners its streams and sockets carry; `capacity` bounds the
    /// WebSockets, `socketCapacity` their sockets.
    public init(shard: Shard, clientOwner: Owner, socketOwner: Owner, capacity: Int, socketCapacity: Int, shared: RelayShared) {
        state = .allocate(capacity: 1)
        state.initialize(
            to: UDPRelayState(
                shard: shard, clientOwner: clientOwner, socketOwner: socketOwner, sessions: RelayTable(capacity: capacity),
                sockets: RelayTable(capacity: socketCapacity), rules: RelayRules.make(shared),
                scratch: .allocate(byteCount: RelayBounds.scratchBytes, alignment: 8)))
    }

    /// Takes a new configuration for WebSockets that open from now on; those that live keep theirs.
    public func apply(_ shared: RelayShared) {
        RelayRules.release(state.pointee.rules)
        state.pointee.rules = RelayRules.make(shared)
    }

    /// Frees the tables. Every WebSocket must have ended, and `endTurn` been called twice since.
    public func destroy() {
        state.pointee.sessions.destroy()
        state.pointee.sockets.destroy()
        RelayRules.release(state.pointee.rules)
        state.pointee.scratch.deallocate()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Counters, readable from any thread.
    public var counters: RelayCounters { state.pointee.counters }
    /// WebSockets that have not ended.
    public var count: Int { state.pointee.sessions.used }
    /// Sockets that are not closed.
    public var socketCount: Int { state.pointee.sockets.used }

    /// Deals with an event of a client's stream or of a socket.
    @inline(__always)
    public func handle(_ event: Event) {
        if event.kind == .datagrams { return datagrams(event) }
        if event.kind == .received { return clientBytes(event.context, event.buffer, 0, event.count) }
        handleRare(event)
    }

    /// To be called when the events of a turn are dealt with.
    @inline(__always)
    public func endTurn() {
        if state.pointee.hasWork { finishTurn() }
        state.pointee.turn &+= 1
    }

    @inline(never)
    private func handleRare(_ event: Event) {
        let index = event.context
        if event.owner == state.pointee.socketOwner {
            if event.kind == .failed { socketFailed(index) }
            return
        }
        switch event.kind {
        case .ended: shut(index, .clientEnded)
        case .failed: shut(index, .clientFailed)
        case .drained: clientDrained(index)
        case .timer: timePassed(index)
        case .closed: free(index)
        default: break
        }
    }

    /// Closes every WebSocket with 1001, and gives what is queued for it at most the given time.
    public func drain(graceMilliseconds: UInt64) {
        for index in 0..<UInt32(state.pointee.sessions.touched) where isLive(index) {
            end(index, .shutdown, graceMilliseconds: graceMilliseconds)
        }
    }

    @inline(__always)
    func session(_ index: UInt32) -> UnsafeMutablePointer<RelaySession> { state.pointee.sessions[index] }

    @inline(__always)
    func socket(_ index: UInt32) -> UnsafeMutablePointer<RelaySocket> { state.pointee.sockets[index] }

    /// Whether there is a WebSocket at a place, and its end has not begun.
    func isLive(_ index: UInt32) -> Bool {
        state.pointee.sessions.isTaken(index) && session(index).pointee.phase != .ending
    }
}

struct UDPRelayState {
    let shard: Shard
    let clientOwner: Owner
    let socketOwner: Owner
    var sessions: RelayTable<RelaySession>
    var sockets: RelayTable<RelaySocket>
    var rules: UnsafeMutablePointer<RelayRules>
    /// Headers that are not written in front of their payload.
    let scratch: UnsafeMutableRawPointer
    let counters = RelayCounters()
    var report: ((ConnectionReport) -> Void)?
    /// Number of this turn, from 1; 0 is that of sessions that were never read.
    var turn: UInt32 = 1
    /// Something is left for the end of the turn.
    var hasWork = false
    /// The client whose buffer is read was answered.
    var hasReplied = false
    var socketsThisTurn = 0
    /// Where the next look for whoever has most sockets begins.
    var hand: UInt32 = 0
    /// Of the shard's clock: not before is it told again that sockets are used up.
    var nextSocketReport: UInt64 = 0
    /// Whoever opened the last one waits for the next turn.
    var socketsUsedUp = false
    /// Sockets to close at the end of this turn, and of the next.
    var closing = RelaySession.none
    var closingNext = RelaySession.none
    /// Sessions whose bytes wait, the first and the last.
    var parkedHead = RelaySession.none
    var parkedTail = RelaySession.none
}
