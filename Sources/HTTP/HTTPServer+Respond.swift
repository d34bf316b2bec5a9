import Engine
import Glibc
import Wire

/// Answering.
///
/// A response with bytes as body is copied into pool buffers and queued whole; a streamed body is filled buffer by buffer
/// as the client takes it. Whether the connection goes on to its next request or ends politely is decided when the last
/// of it is queued.
extension HTTPServer {
    /// Answers the present request of a connection, then goes on with `next`.
    public func respond(_ index: UInt32, _ response: Response) {
        let connection = state.pointee.table + Int(index)
        answer(index, response, takeRequest(connection))
    }

    /// Puts the answer to the present request off: its bytes are used up, and `respond(to:)` answers it later. The requests
    /// behind it wait; without an answer within `ServerLimits.answerMilliseconds` the connection is closed.
    public func postpone(_ index: UInt32) -> PostponedRequest {
        let connection = state.pointee.table + Int(index)
        precondition(connection.pointee.phase == .ready)
        connection.pointee.postponedTraits = takeRequest(connection)
        connection.pointee.phase = .postponed
        let shard = state.pointee.shard
        let postponed = PostponedRequest(index: index, generation: connection.pointee.generation)
        shard.setTimer(connection.pointee.slot, afterMilliseconds: state.pointee.limits.answerMilliseconds)
        // What came behind the request leaves the pool while it waits.
        if connection.pointee.input.count > 0 { _ = keep(index, shard) }
        return postponed
    }

    /// Answers a postponed request. False when its connection is gone; else `next` goes on with the connection.
    public func respond(to postponed: PostponedRequest, _ response: Response) -> Bool {
        guard isAwaited(postponed) else { return false }
        answer(postponed.index, response, state.pointee.table[Int(postponed.index)].postponedTraits)
        return true
    }

    /// Whether the connection of a postponed request is still there.
    public func isAwaited(_ postponed: PostponedRequest) -> Bool {
        let connection = state.pointee.table + Int(postponed.index)
        return connection.pointee.phase == .postponed && connection.pointee.generation == postponed.generation
    }

    /// Uses the present request's bytes up, with what decoded its body, and keeps what its answer depends on.
    func takeRequest(_ connection: UnsafeMutablePointer<Connection>) -> PostponedTraits {
        releaseCold(connection)
        guard connection.pointee.phase == .ready else { return .closes }
        var traits: PostponedTraits = []
        let head = state.pointee.head
        if head.pointee.method == .head { traits.insert(.bodyless) }
        if !head.pointee.keepAlive { traits.insert(.closes) }
        if head.pointee.minorVersion == 0 { traits.insert(.oldClient) }
        let used = Int(connection.pointee.headBytes + connection.pointee.bodyWire)
        state.pointee.inputBytes -= connection.pointee.input.consume(used, state.pointee.shard)
        connection.pointee.clearRequest()
        return traits
    }

    private func answer(_ index: UInt32, _ response: Response, _ traits: PostponedTraits) {
        let connection = state.pointee.table + Int(index)
        let shard = state.pointee.shard
        let closes = response.closes || traits.contains(.closes) || state.pointee.draining
        let bodyless = traits.contains(.bodyless)
        var bytes = encodeHead(response, closes: closes, oldClient: traits.contains(.oldClient))
        if case .bytes(let body) = response.body, !bodyless { bytes += body }
        guard send(bytes, connection.pointee.slot, shard) else { return abort(index, shard) }
        if case .stream(let count, let fill) = response.body, !bodyless, count > 0 {
            return startStream(index, count, fill, closes, shard)
        }
        finishAnswer(index, closes, shard)
    }

    func finishAnswer(_ index: UInt32, _ closes: Bool, _ shard: Shard) {
        let connection = state.pointee.table + Int(index)
        // What a client asked for before it closed its side, or before the drain began, is answered.
        let isLast = connection.pointee.ended || state.pointee.draining
        if closes || (isLast && connection.pointee.input.count == 0) { return end(index, shard) }
        // Whoever had to wait was perhaps not read meanwhile.
        if connection.pointee.phase == .streaming || connection.pointee.phase == .postponed { shard.resumeReceive(connection.pointee.slot) }
        connection.pointee.phase = .head
        connection.pointee.started = false
        connection.pointee.clearRequest()
        shard.setTimer(connection.pointee.slot, afterMilliseconds: state.pointee.limits.idleMilliseconds)
    }

    private func encodeHead(_ response: Response, closes: Bool, oldClient: Bool) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(1024)
        bytes += "HTTP/1.1 \(response.status) ".utf8
        HTTPStatus.reason(response.status).withUTF8Buffer { bytes += $0 }
        bytes += "\r\n".utf8
        for field in response.fields {
            bytes += field.name.utf8
            bytes += ": ".utf8
            bytes += field.value.utf8
            bytes += "\r\n".utf8
        }
        if response.status != 204, response.status != 304 { bytes += "Content-Length: \(response.bodyCount)\r\n".utf8 }
        if closes { bytes += "Connection: close\r\n".utf8 } else if oldClient { bytes += "Connection: keep-alive\r\n".utf8 }
        bytes += "\r\n".utf8
        return bytes
    }

    /// Queues bytes in as many buffers as they need. False when the pool has none left.
    @discardableResult
    func send(_ bytes: [UInt8], _ slot: SlotIndex, _ shard: Shard) -> Bool {
        var offset = 0
        while offset < bytes.count {
            let large = bytes.count - offset > 4 * EngineLimits.smallBufferBytes
            guard let buffer = (large ? shard.acquire(.bulk) : nil) ?? shard.acquire(.small) else { return false }
            let count = min(shard.capacity(buffer), bytes.count - offset)
            bytes.withUnsafeBytes { source in
                shard.bytes(buffer).copyMemory(from: source.baseAddress! + offset, byteCount: count)
            }
            shard.send(slot, buffer, start: 0, count: count)
            offset += count
        }
        return true
    }

    private func startStream(_ index: UInt32, _ count: UInt64, _ fill: @escaping (UInt64, UnsafeMutableRawBufferPointer) -> Void,
                             _ closes: Bool, _ shard: Shard) {
        let cold = ConnectionCold()
        cold.fill = fill
        cold.count = count
        cold.closes = closes
        state.pointee.table[Int(index)].cold = Unmanaged.passRetained(cold)
        state.pointee.table[Int(index)].phase = .streaming
        pumpStream(index, shard)
    }

    /// Produces the answer until the client has enough to take.
    private func pumpStream(_ index: UInt32, _ shard: Shard) {
        let connection = state.pointee.table + Int(index)
        guard let cold = connection.pointee.cold?.takeUnretainedValue(), let fill = cold.fill else { return }
        let slot = connection.pointee.slot
        while cold.offset < cold.count {
            if shard.isCongested(slot) {
                shard.setTimer(slot, afterMilliseconds: state.pointee.limits.drainMilliseconds)
                shard.notifyWhenDrained(slot)
                shard.pauseReceive(slot)
                _ = keep(index, shard)
                return
            }
            guard let buffer = shard.acquire(.bulk) ?? shard.acquire(.small) else { return abort(index, shard) }
            let count = Int(min(UInt64(shard.capacity(buffer)), cold.count - cold.offset))
            fill(cold.offset, UnsafeMutableRawBufferPointer(start: shard.bytes(buffer), count: count))
            shard.send(slot, buffer, start: 0, count: count)
            cold.offset += UInt64(count)
        }
        let closes = cold.closes
        releaseCold(connection)
        finishAnswer(index, closes, shard)
    }

    func drained(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        if connection.pointee.phase == .streaming {
            pumpStream(index, shard)
            return next(index)
        }
        guard connection.pointee.congested else { return .none }
        connection.pointee.congested = false
        shard.resumeReceive(connection.pointee.slot)
        shard.setTimer(connection.pointee.slot, afterMilliseconds: state.pointee.limits.idleMilliseconds)
        return next(index)
    }

    func timePassed(_ index: UInt32, _ shard: Shard) -> Action {
        let connection = state.pointee.table + Int(index)
        switch connection.pointee.phase {
        case .head where connection.pointee.congested:
            abort(index, shard)
            return .none
        case .head where !connection.pointee.started:
            end(index, shard)
            return .none
        case .head, .body: return .late(index)
        default:
            abort(index, shard)
            return .none
        }
    }

    /// Gives a connection away: the stream and the bytes behind the request. The caller owns the stream from now on.
    ///
    /// Receiving is not stopped. `leftover` is a buffer of the pool with the bytes at `start`, or none when there are none;
    /// a `count` of -1 says that there are some and no buffer could take them.
    /// `silently`: whoever hears of connections that leave (`onLeave`) does not hear of this one.
    public func detach(_ index: UInt32, silently: Bool = false) -> (slot: SlotIndex, leftover: BufferIndex, start: Int, count: Int) {
        let connection = state.pointee.table + Int(index)
        let shard = state.pointee.shard
        shard.clearTimer(connection.pointee.slot)
        let slot = connection.pointee.slot
        state.pointee.inputBytes -= connection.pointee.input.consume(
            Int(connection.pointee.headBytes + connection.pointee.bodyWire), shard)
        var result = (slot: slot, leftover: BufferIndex.none, start: 0, count: 0)
        if connection.pointee.input.count > 0 { result = takeLeftover(connection, slot, shard) }
        release(index, silently: silently)
        return result
    }

    private func takeLeftover(_ connection: UnsafeMutablePointer<Connection>, _ slot: SlotIndex, _ shard: Shard)
        -> (slot: SlotIndex, leftover: BufferIndex, start: Int, count: Int)
    {
        let input = connection.pointee.input
        if input.block == nil {
            connection.pointee.input = Input()
            return (slot, input.buffer, Int(input.start), input.count)
        }
        // Behind a head that came in pieces: one receive's worth at most, which a bulk buffer holds.
        defer { state.pointee.inputBytes -= connection.pointee.input.discard(shard) }
        guard let buffer = shard.acquire(input.count > EngineLimits.smallBufferBytes ? .bulk : .small) else {
            return (slot, .none, 0, -1)
        }
        guard input.count <= shard.capacity(buffer) else {
            shard.release(buffer)
            return (slot, .none, 0, -1)
        }
        shard.bytes(buffer).copyMemory(from: input.bytes(shard).baseAddress!, byteCount: input.count)
        return (slot, buffer, 0, input.count)
    }

    /// Ends a connection politely: what is queued is delivered.
    func end(_ index: UInt32, _ shard: Shard) {
        let slot = state.pointee.table[Int(index)].slot
        release(index)
        shard.linger(slot, drainMilliseconds: state.pointee.limits.drainMilliseconds,
                     totalMilliseconds: 2 * state.pointee.limits.drainMilliseconds)
    }

    /// Ends a connection at once.
    func abort(_ index: UInt32, _ shard: Shard) {
        let slot = state.pointee.table[Int(index)].slot
        release(index)
        shard.close(slot)
    }

    private func releaseCold(_ connection: UnsafeMutablePointer<Connection>) {
        connection.pointee.cold?.release()
        connection.pointee.cold = nil
    }

    private func release(_ index: UInt32, silently: Bool = false) {
        let connection = state.pointee.table + Int(index)
        precondition(connection.pointee.phase != .free)
        if !silently { state.pointee.left?(connection.pointee.slot, connection.pointee.listener) }
        state.pointee.inputBytes -= connection.pointee.input.discard(state.pointee.shard)
        releaseCold(connection)
        connection.pointee.phase = .free
        connection.pointee.generation &+= 1
        connection.pointee.nextFree = state.pointee.freeHead
        state.pointee.freeHead = index
        state.pointee.used -= 1
    }
}
