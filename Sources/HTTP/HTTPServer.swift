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
/// - The server knows no routes: `handle` turns an event into at most one `Action`, the loop above asks a feature for the
///   answer and gives it to `respond`, or takes the connection away with `detach`. After each answer `next` looks for
///   the next pipelined request.
/// - A request that arrives whole is parsed where it was received. Only one that comes in pieces is copied together, in
///   a block bounded per connection and per shard.
/// - While a client does not take its answers, its further requests are not parsed.
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

    /// Connections in the HTTP phase.
    public var connectionCount: Int { state.pointee.used }

    /// Makes every following answer the last one of its connection.
    public func drain() {
        state.pointee.draining = true
        let shard = state.pointee.shard
        for index in 0..<state.pointee.touched {
            let connection = state.pointee.table[index]
            if connection.phase == .head, !connection.started { end(UInt32(index), shard) }
        }
    }

    /// Deals with an event of one of the server's streams.
    public func handle(_ event: Event) -> Action {
        let shard = state.pointee.shard
        switch event.kind {
        case .accepted: return open(event, shard)
        case .received: return received(event, shard)
        case .ended:
            state.pointee.table[Int(event.context)].ended = true
            // A client may close its side after its last request and still read: what is queued is delivered.
            if state.pointee.table[Int(event.context)].phase != .streaming { end(event.context, shard) }
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
        state.pointee.table[Int(index)] = Connection(
            slot: event.slot, listener: event.detail, phase: .head, started: false, ended: false, congested: false,
            headBytes: 0, bodyBytes: 0, bodyWire: 0, input: Input(), cold: nil, nextFree: .max)
        shard.transfer(event.slot, to: state.pointee.owner, context: index)
        shard.setTimer(event.slot, afterMilliseconds: state.pointee.limits.headMilliseconds)
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
        }
        state.pointee.used += 1
        return index
    }

    private func received(_ event: Event, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(event.context)
        let fresh = UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count)
        let mayComplete = connection.pointee.input.count == 0 || fresh.contains(10)
            || connection.pointee.input.count > state.pointee.headLimits.targetBytes
        guard let grown = connection.pointee.input.append(event.buffer, event.count, shard, limit: state.pointee.limits.inputBytes)
        else { return .violation(event.context, .contentTooLarge) }
        state.pointee.inputBytes += grown
        if connection.pointee.phase == .head, !connection.pointee.started {
            connection.pointee.started = true
            shard.setTimer(event.slot, afterMilliseconds: state.pointee.limits.headMilliseconds)
        }
        if state.pointee.inputBytes > state.pointee.limits.shardInputBytes { return .overloaded(event.context) }
        switch connection.pointee.phase {
        case .head: return mayComplete ? parse(event.context, shard) : .none
        case .body: return collectBody(event.context, shard)
        default: return .none  // waits in the input until the present answer is done
        }
    }

    /// Looks for the next request in what already came. Call after `respond`, until it answers `.none`.
    public func next(_ index: UInt32) -> Action {
        let connection = state.pointee.table + Int(index)
        guard connection.pointee.phase == .head, connection.pointee.input.count > 0 else { return .none }
        let shard = state.pointee.shard
        if shard.isCongested(connection.pointee.slot) {
            connection.pointee.congested = true
            shard.pauseReceive(connection.pointee.slot)
            shard.notifyWhenDrained(connection.pointee.slot)
            return .none
        }
        connection.pointee.started = true
        return parse(index, shard)
    }

    private func parse(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        let bytes = UnsafeRawBufferPointer(connection.pointee.input.bytes(shard))
        state.pointee.head.pointee.reset()
        let span = Span(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self))
        switch state.pointee.head.pointee.parse(span) {
        case .needMore: return .none
        case .violation(let violation): return .violation(index, violation)
        case .complete(let headBytes):
            connection.pointee.headBytes = Int32(headBytes)
            connection.pointee.bodyBytes = 0
            connection.pointee.bodyWire = 0
            return headComplete(index, shard)
        }
    }

    private func headComplete(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        switch state.pointee.head.pointee.body {
        case .none, .length(0), .untilClose:
            return ready(index, shard)
        case .length(let count):
            guard count <= UInt64(state.pointee.limits.bodyBytes) else { return .violation(index, .contentTooLarge) }
        case .chunked:
            let cold = ConnectionCold()
            cold.chunked = ChunkedDecoder(limits: state.pointee.headLimits, maximumBodyBytes: UInt64(state.pointee.limits.bodyBytes))
            connection.pointee.cold = Unmanaged.passRetained(cold)
        }
        connection.pointee.phase = .body
        shard.setTimer(connection.pointee.slot, afterMilliseconds: state.pointee.limits.bodyMilliseconds)
        if state.pointee.head.pointee.expectsContinue { send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), connection.pointee.slot, shard) }
        return collectBody(index, shard)
    }

    private func collectBody(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        let headBytes = Int(connection.pointee.headBytes)
        let input = connection.pointee.input.bytes(shard)
        if let cold = connection.pointee.cold?.takeUnretainedValue(), var decoder = cold.chunked {
            let decoded = headBytes + Int(connection.pointee.bodyBytes)
            let wire = headBytes + Int(connection.pointee.bodyWire)
            let piece = UnsafeMutableRawBufferPointer(rebasing: input[wire...])
            let outcome = decoder.decode(piece)
            cold.chunked = decoder
            switch outcome {
            case .violation(let violation): return .violation(index, violation)
            case .needMore(let data):
                (input.baseAddress! + decoded).copyMemory(from: input.baseAddress! + wire, byteCount: data)
                connection.pointee.bodyBytes += Int32(data)
                connection.pointee.bodyWire += Int32(piece.count)
                return .none
            case .complete(let data, let consumed):
                (input.baseAddress! + decoded).copyMemory(from: input.baseAddress! + wire, byteCount: data)
                connection.pointee.bodyBytes += Int32(data)
                connection.pointee.bodyWire += Int32(consumed)
            }
        } else {
            // The head is parsed again rather than kept: bodies are rare, and the head is the shard's only one.
            guard case .length(let count) = headAgain(input, headBytes) else { return .violation(index, .badRequest) }
            guard input.count - headBytes >= Int(count) else { return .none }
            connection.pointee.bodyBytes = Int32(count)
            connection.pointee.bodyWire = Int32(count)
        }
        _ = headAgain(input, headBytes)
        return ready(index, shard)
    }

    private func headAgain(_ input: UnsafeMutableRawBufferPointer, _ headBytes: Int) -> BodyFraming {
        state.pointee.head.pointee.reset()
        let bytes = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(input)[0..<headBytes])
        _ = state.pointee.head.pointee.parse(Span(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self)))
        return state.pointee.head.pointee.body
    }

    private func ready(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        connection.pointee.phase = .ready
        shard.clearTimer(connection.pointee.slot)
        return state.pointee.head.pointee.wantsUpgrade ? .upgrade(index) : .request(index)
    }

    /// The request of a connection in a `request`, `upgrade` or `violation` action.
    public func request(_ index: UInt32) -> RequestView {
        let connection = state.pointee.table[Int(index)]
        let shard = state.pointee.shard
        let input = UnsafeRawBufferPointer(connection.input.bytes(shard))
        let bodyStart = min(Int(connection.headBytes), input.count)
        let bodyEnd = min(bodyStart + Int(connection.bodyBytes), input.count)
        return RequestView(
            head: UnsafePointer(state.pointee.head),
            bytes: input, body: UnsafeRawBufferPointer(rebasing: input[bodyStart..<bodyEnd]),
            peer: shard.peerAddress(connection.slot), listener: connection.listener)
    }

    /// The stream of a connection.
    public func slot(_ index: UInt32) -> SlotIndex { state.pointee.table[Int(index)].slot }
}

struct HTTPServerState {
    let shard: Shard
    let owner: Owner
    let limits: ServerLimits
    let head: UnsafeMutablePointer<RequestHead>  // one for all connections: parsed again where a body needs it
    let headLimits: HTTPLimits
    let table: UnsafeMutablePointer<Connection>
    var touched = 0
    var used = 0
    var freeHead = UInt32.max
    var inputBytes = 0
    var draining = false
}
