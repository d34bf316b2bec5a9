import Engine
import Glibc
import Wire

/// The server side of HTTP/1.1 on a shard.
///
/// Theory of operation
///
/// ```
///  accepted ─► head ──────► body ─► ready ──respond──► head (keep-alive, pipelined input is parsed at once)
///               │ violation          │ │ └─stream────► streaming ─► head
///               ▼                    │ └──detach─────► a feature owns the stream (WebSocket)
///            refused, lingering ◄────┘ close
/// ```
/// - An answer may be postponed (`postpone`): the request's bytes are used up, what came behind it waits, and the answer
///   is given with `respond(to:)` if the connection is still there.
/// - The server knows no routes: `handle` turns an event into at most one `Action`, the loop above asks a feature for the
///   answer and gives it to `respond`, or takes the connection away with `detach`. After each answer `next` looks for
///   the next pipelined request.
/// - A request that arrives whole is parsed where it was received. Only one that comes in pieces is copied together, in
///   a block bounded per connection and per shard; between two events no connection holds a buffer of the pool.
/// - While a client does not take its answers, its further requests are neither read nor parsed.
/// - A client may close its side behind its last request: what it has asked for is answered.
/// - Nothing behind a refused request is interpreted.
public struct HTTPServer {
    /// What a connection needs from the layer above.
    public enum Action {
        case none
        /// A complete request: answer it with `respond`.
        case request(UInt32)
        /// A complete head that asks for an upgrade: `detach` or `respond`.
        case upgrade(UInt32)
        /// The request breaks the protocol, or a limit: answer with `respond` and `closes`.
        case violation(UInt32, HTTPViolation)
        /// The request did not arrive in time: answer 408 with `closes`.
        case late(UInt32)
        /// The shard holds too many unfinished requests: answer 503 with `closes`.
        case overloaded(UInt32)
    }

    let state: UnsafeMutablePointer<HTTPServerState>

    /// Builds a server whose streams carry `owner`.
    public init(shard: Shard, owner: Owner, limits: ServerLimits = ServerLimits(), headLimits: HTTPLimits = HTTPLimits()) {
        state = .allocate(capacity: 1)
        let table = UnsafeMutablePointer<Connection>.allocate(capacity: limits.connections)
        let head = UnsafeMutablePointer<RequestHead>.allocate(capacity: 1)
        head.initialize(to: RequestHead(limits: headLimits))
        state.initialize(
            to: HTTPServerState(shard: shard, owner: owner, limits: limits, head: head, headLimits: headLimits, table: table))
    }

    /// Frees the server. Its connections must be gone.
    public func destroy() {
        state.pointee.table.deallocate()
        state.pointee.head.deinitialize(count: 1)
        state.pointee.head.deallocate()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Takes other times for what begins from now on; sizes stay as they were at the start.
    public func apply(headMilliseconds: UInt64, bodyMilliseconds: UInt64, idleMilliseconds: UInt64) {
        state.pointee.limits.headMilliseconds = headMilliseconds
        state.pointee.limits.bodyMilliseconds = bodyMilliseconds
        state.pointee.limits.idleMilliseconds = idleMilliseconds
    }

    /// Gives heads less time on some listeners, by tag; what is already on its way keeps its time.
    public func hurryHeads(ofListeners milliseconds: [UInt32: UInt64]) { state.pointee.headTimes = milliseconds }

    /// Sets what hears of every connection that leaves the server, ended or given away: its stream and its listener.
    public func onLeave(_ tell: @escaping (SlotIndex, UInt32) -> Void) { state.pointee.left = tell }

    /// Whether a connection in the HTTP phase came in on this listener.
    public func hasConnection(ofListener listener: UInt32) -> Bool {
        (0..<state.pointee.touched).contains { isConnection($0, ofListener: listener) }
    }

    /// Streams in the HTTP phase that came in on this listener.
    public func connections(ofListener listener: UInt32) -> [SlotIndex] {
        (0..<state.pointee.touched).filter { isConnection($0, ofListener: listener) }.map { state.pointee.table[$0].slot }
    }

    private func isConnection(_ index: Int, ofListener listener: UInt32) -> Bool {
        state.pointee.table[index].phase != .free && state.pointee.table[index].listener == listener
    }

    /// Connections in the HTTP phase.
    public var connectionCount: Int { state.pointee.used }

    /// Makes every following answer the last one of its connection. Idle connections end now; a head that is on its way has
    /// `ServerLimits.drainingHeadMilliseconds` left.
    public func drain() {
        state.pointee.draining = true
        let shard = state.pointee.shard
        for index in 0..<state.pointee.touched {
            let connection = state.pointee.table[index]
            guard connection.phase == .head, !connection.congested else { continue }
            if connection.input.count == 0 {
                end(UInt32(index), shard)
            } else {
                shard.setTimer(connection.slot, afterMilliseconds: headMilliseconds(connection.listener))
            }
        }
    }

    /// Time for a head.
    private func headMilliseconds(_ listener: UInt32) -> UInt64 {
        let limits = state.pointee.limits
        let usual = min(state.pointee.headTimes[listener] ?? .max, limits.headMilliseconds)
        return state.pointee.draining ? min(limits.drainingHeadMilliseconds, usual) : usual
    }

    /// Deals with an event of one of the server's streams.
    public func handle(_ event: Event) -> Action {
        let shard = state.pointee.shard
        switch event.kind {
        case .accepted: return open(event, shard)
        case .received: return received(event, shard)
        case .ended:
            let connection = state.pointee.table + Int(event.context)
            connection.pointee.ended = true
            // A client may close its side after its last request and still read: what waits is answered first.
            if !connection.pointee.isWaiting { end(event.context, shard) }
            return .none
        case .failed:
            abort(event.context, shard)
            return .none
        case .drained: return drained(event.context, shard)
        case .timer: return timePassed(event.context, shard)
        default: return .none
        }
    }

    private func open(_ event: Event, _ shard: Shard) -> Action {
        guard let index = allocate() else {
            shard.close(event.slot)
            return .none
        }
        let generation = state.pointee.table[Int(index)].generation
        state.pointee.table[Int(index)] = Connection(
            slot: event.slot, listener: event.detail, phase: .head, started: false, ended: false, congested: false,
            headBytes: 0, bodyLength: 0, bodyBytes: 0, bodyWire: 0,
            generation: generation, postponedTraits: [], input: Input(), cold: nil, nextFree: .max)
        shard.transfer(event.slot, to: state.pointee.owner, context: index)
        shard.setTimer(event.slot, afterMilliseconds: headMilliseconds(event.detail))
        shard.resumeReceive(event.slot)
        return .none
    }

    private func allocate() -> UInt32? {
        let index: UInt32
        if state.pointee.freeHead != .max {
            index = state.pointee.freeHead
            state.pointee.freeHead = state.pointee.table[Int(index)].nextFree
        } else {
            guard state.pointee.touched < state.pointee.limits.connections else { return nil }
            index = UInt32(state.pointee.touched)
            state.pointee.touched += 1
            state.pointee.table[Int(index)].generation = 0
        }
        state.pointee.used += 1
        return index
    }

    private func received(_ event: Event, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(event.context)
        let isFirst = connection.pointee.input.count == 0
        let endsLine = UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count).contains(10)
        let limit = state.pointee.limits.inputBytes
        guard let grown = connection.pointee.input.append(event.buffer, event.count, shard, limit: limit) else {
            guard connection.pointee.isWaiting else { return .violation(event.context, .contentTooLarge) }
            // It was told to wait, and what the kernel had in hand when it was does not come to this.
            abort(event.context, shard)
            return .none
        }
        state.pointee.inputBytes += grown
        if connection.pointee.isWaiting {
            // Requests behind a postponed one wait in the kernel; this was under way.
            if connection.pointee.phase == .postponed { shard.pauseReceive(event.slot) }
            return keep(event.context, shard)
        }
        if connection.pointee.phase == .body { return collectBody(event.context, shard) }
        if !connection.pointee.started { start(connection, shard) }
        // A head ends with a line: a piece without a line end is only looked at when a limit may be passed.
        let mayDecide = isFirst || endsLine || connection.pointee.input.count > state.pointee.headLimits.targetBytes
        return mayDecide ? parse(event.context, shard) : keep(event.context, shard)
    }

    /// The first byte of a request is there.
    private func start(_ connection: UnsafeMutablePointer<Connection>, _ shard: Shard) {
        connection.pointee.started = true
        shard.setTimer(connection.pointee.slot, afterMilliseconds: headMilliseconds(connection.pointee.listener))
    }

    /// What came has to wait for more, or for the client: it leaves the pool.
    func keep(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        if connection.pointee.ended, !connection.pointee.isWaiting {
            // Nothing more will come.
            end(index, shard)
            return .none
        }
        state.pointee.inputBytes += connection.pointee.input.settle(shard)
        if state.pointee.inputBytes <= state.pointee.limits.shardInputBytes { return .none }
        if !connection.pointee.isWaiting { return .overloaded(index) }
        abort(index, shard)
        return .none
    }

    /// Looks for the next request in what already came. Call after `respond`, until it answers `.none`.
    public func next(_ index: UInt32) -> Action {
        let connection = state.pointee.table + Int(index)
        guard connection.pointee.phase == .head, !connection.pointee.congested, connection.pointee.input.count > 0 else { return .none }
        let shard = state.pointee.shard
        let slot = connection.pointee.slot
        if shard.isCongested(slot) {
            connection.pointee.congested = true
            shard.pauseReceive(slot)
            shard.notifyWhenDrained(slot)
            shard.setTimer(slot, afterMilliseconds: state.pointee.limits.drainMilliseconds)
            return keep(index, shard)
        }
        start(connection, shard)
        return parse(index, shard)
    }

    private func parse(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        connection.pointee.clearRequest()
        switch parseHead(UnsafeRawBufferPointer(connection.pointee.input.bytes(shard))) {
        case .needMore: return keep(index, shard)
        case .violation(let violation): return .violation(index, violation)
        case .complete(let headBytes):
            connection.pointee.headBytes = Int32(headBytes)
            return headComplete(index, shard)
        }
    }

    @discardableResult
    private func parseHead(_ bytes: UnsafeRawBufferPointer) -> HeadOutcome {
        state.pointee.head.pointee.reset()
        return state.pointee.head.pointee.parse(Span(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self)))
    }

    private func headComplete(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        switch state.pointee.head.pointee.body {
        case .none, .length(0), .untilClose:
            return ready(index, shard)
        case .length(let count):
            guard count <= UInt64(state.pointee.limits.bodyBytes) else { return .violation(index, .contentTooLarge) }
            connection.pointee.bodyLength = Int32(count)
        case .chunked:
            let cold = ConnectionCold()
            cold.chunked = ChunkedDecoder(limits: state.pointee.headLimits, maximumBodyBytes: UInt64(state.pointee.limits.bodyBytes))
            connection.pointee.cold = Unmanaged.passRetained(cold)
            connection.pointee.bodyLength = Connection.chunkedBody
        }
        connection.pointee.phase = .body
        shard.setTimer(connection.pointee.slot, afterMilliseconds: state.pointee.limits.bodyMilliseconds)
        if state.pointee.head.pointee.expectsContinue {
            // A client that gets no interim answer sends its body after a while (RFC 9110 section 10.1.1).
            send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), connection.pointee.slot, shard)
        }
        return collectBody(index, shard)
    }

    private func collectBody(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        let headBytes = Int(connection.pointee.headBytes)
        if connection.pointee.bodyLength == Connection.chunkedBody {
            switch decodeChunks(connection, shard) {
            case .violation(let violation): return .violation(index, violation)
            case .needMore: return keep(index, shard)
            case .complete: break
            }
        } else {
            let count = connection.pointee.bodyLength
            guard connection.pointee.input.count - headBytes >= Int(count) else { return keep(index, shard) }
            connection.pointee.bodyBytes = count
            connection.pointee.bodyWire = count
        }
        // The head is parsed again rather than kept: bodies are rare, and the head is the shard's only one.
        parseHead(UnsafeRawBufferPointer(rebasing: connection.pointee.input.bytes(shard)[..<headBytes]))
        return ready(index, shard)
    }

    /// Decodes what came of a chunked body, and closes the gap its framing leaves: a body in tiny chunks costs no more
    /// memory than another.
    private func decodeChunks(_ connection: UnsafeMutablePointer<Connection>, _ shard: Shard) -> ChunkedOutcome {
        guard let cold = connection.pointee.cold?.takeUnretainedValue(), var decoder = cold.chunked else { return .violation(.badRequest) }
        // Everything decoded so far stands between here and the head.
        let offset = Int(connection.pointee.headBytes + connection.pointee.bodyBytes)
        let piece = UnsafeMutableRawBufferPointer(rebasing: connection.pointee.input.bytes(shard)[offset...])
        let outcome = decoder.decode(piece)
        cold.chunked = decoder
        let (data, consumed) = switch outcome {
        case .violation: (0, 0)
        case .needMore(let data): (data, piece.count)
        case .complete(let data, let consumed): (data, consumed)
        }
        connection.pointee.input.cut(offset + data, consumed - data, shard)
        connection.pointee.bodyBytes += Int32(data)
        connection.pointee.bodyWire = connection.pointee.bodyBytes
        return outcome
    }

    private func ready(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        connection.pointee.phase = .ready
        shard.clearTimer(connection.pointee.slot)
        return state.pointee.head.pointee.wantsUpgrade ? .upgrade(index) : .request(index)
    }

    /// The request of a connection in a `request` or `upgrade` action.
    public func request(_ index: UInt32) -> RequestView { view(index) }

    /// What could be read of a request that is refused: in a `violation`, `late` or `overloaded` action. Fields that came
    /// before the fault can be asked for; method and path only count when the head is complete.
    public func refused(_ index: UInt32) -> (request: RequestView, headIsComplete: Bool) {
        let connection = state.pointee.table[Int(index)]
        let bytes = UnsafeRawBufferPointer(connection.input.bytes(state.pointee.shard))
        // The shard's one head may have served another connection meanwhile.
        guard case .complete = parseHead(bytes) else { return (view(index), false) }
        return (view(index), true)
    }

    private func view(_ index: UInt32) -> RequestView {
        let connection = state.pointee.table[Int(index)]
        let shard = state.pointee.shard
        let input = UnsafeRawBufferPointer(connection.input.bytes(shard))
        let bodyStart = min(Int(connection.headBytes), input.count)
        let bodyEnd = min(bodyStart + Int(connection.bodyBytes), input.count)
        return RequestView(
            head: UnsafePointer(state.pointee.head),
            bytes: input, body: UnsafeRawBufferPointer(rebasing: input[bodyStart..<bodyEnd]),
            peer: shard.peerAddress(connection.slot), listener: connection.listener,
            isSecure: shard.isSecure(connection.slot))
    }

    /// The stream of a connection.
    public func slot(_ index: UInt32) -> SlotIndex { state.pointee.table[Int(index)].slot }
}

struct HTTPServerState {
    let shard: Shard
    let owner: Owner
    var limits: ServerLimits
    let head: UnsafeMutablePointer<RequestHead>  // one for all connections: parsed again where a body needs it
    let headLimits: HTTPLimits
    let table: UnsafeMutablePointer<Connection>
    var touched = 0
    var used = 0
    var freeHead = UInt32.max
    var inputBytes = 0
    var draining = false
    var left: ((SlotIndex, UInt32) -> Void)?
    /// Times of heads on listeners that give less than the others.
    var headTimes: [UInt32: UInt64] = [:]
}
