import Engine
import Policy
import Wire

/// How reading a buffer ended the WebSocket.
enum RelayStop: Equatable {
    case none
    /// It has to be ended so.
    case end(RelayEnding)
    /// The client broke the WebSocket's rules: Close with this code.
    case violation(CloseCode)
    /// The client sent Close, which was echoed.
    case closedByClient
    /// It has been ended.
    case ended
}

/// The data path from the client: what runs for every received buffer.
extension UDPRelay {
    /// Reads messages in `[start, end)` of the buffer's payload; takes the buffer over.
    func clientBytes(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let session = session(index)
        if session.pointee.isParked { return park(index, buffer, start, end) }
        if session.pointee.turn != state.pointee.turn {
            session.pointee.turn = state.pointee.turn
            session.pointee.messagesLeft = RelayBounds.messagesPerTurn
        }
        if session.pointee.messagesLeft <= 0 { return parkRest(index, buffer, start, end) }
        let shard = state.pointee.shard
        let base = shard.bytes(buffer)
        state.pointee.hasReplied = false
        var cursor = start
        var stop = RelayStop.none
        reading: while true {
            switch session.pointee.reader.next(base, &cursor, end, maximumMessageBytes: session.pointee.maximumMessageBytes) {
            case .needMore: break reading
            case .data(let run):
                if run.endsFrame { session.pointee.lastFrame = shard.now }
                if run.opcode == .binary, session.pointee.phase == .ready {
                    if run.endsMessage, !session.pointee.isPartial {
                        ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
                        stop = forward(index, base + run.start, run.count)
                    } else {
                        stop = collect(index, base, run)
                    }
                } else {
                    stop = text(index, base, run)
                }
            case .control(let run):
                if run.endsFrame { session.pointee.lastFrame = shard.now }
                stop = control(index, base, run)
            case .violation(let code): stop = .violation(code)
            }
            if stop != .none { break reading }
            session.pointee.messagesLeft &-= 1
            if state.pointee.socketsUsedUp || session.pointee.messagesLeft <= 0 {
                state.pointee.socketsUsedUp = false
                if cursor < end {
                    if state.pointee.hasReplied { pauseForReplies(index) }
                    return parkRest(index, buffer, cursor, end)
                }
            }
        }
        shard.releaseAfterSends(buffer)
        if stop != .none { return finish(index, stop) }
        if state.pointee.hasReplied { pauseForReplies(index) }
    }

    /// Puts a message in pieces together; once whole, its payload is sent from there.
    private func collect(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ run: DataRun) -> RelayStop {
        let session = session(index)
        let shard = state.pointee.shard
        if !session.pointee.isPartial {
            session.pointee.isPartial = true
            session.pointee.partialBytes = 0
            // When buffers run low one must not be held by each client that stops within a message.
            let bufferClass = partialClass(session)
            if !shard.runsLow(bufferClass) { session.pointee.partial = shard.acquire(bufferClass) ?? .none }
        }
        let buffer = session.pointee.partial
        if buffer != .none, session.pointee.partialBytes &+ run.count <= shard.capacity(buffer) {
            ByteKernel.unmask(base + run.start, shard.bytes(buffer) + session.pointee.partialBytes, run.count, key: run.key)
        }
        session.pointee.partialBytes &+= run.count
        guard run.endsMessage else { return .none }
        session.pointee.isPartial = false
        session.pointee.partial = .none
        guard buffer != .none, session.pointee.partialBytes <= shard.capacity(buffer) else {
            // Longer than any datagram can be, though the limit would allow it; or there was no buffer for it.
            state.pointee.counters.add(.datagramsIn)
            drop(buffer != .none ? .droppedOversized : .droppedBackpressure)
            if buffer != .none { shard.release(buffer) }
            return .none
        }
        let stop = forward(index, shard.bytes(buffer), session.pointee.partialBytes)
        shard.releaseAfterSends(buffer)
        return stop
    }

    /// The smallest buffer that holds the longest message; a train's holds the longest datagram there is.
    @inline(__always)
    private func partialClass(_ session: UnsafeMutablePointer<RelaySession>) -> BufferClass {
        session.pointee.maximumMessageBytes <= UInt64(EngineLimits.smallBufferBytes) ? .small : .train
    }

    /// One message, unmasked. Its payload stays where it is until the turn's datagrams have left.
    @inline(__always)
    private func forward(_ index: UInt32, _ message: UnsafeMutableRawPointer, _ count: Int) -> RelayStop {
        let session = session(index)
        state.pointee.counters.add(.datagramsIn)
        let bytes = Span<UInt8>(_unsafeStart: UnsafePointer(message.assumingMemoryBound(to: UInt8.self)), count: count)
        let decoded = RelayFrame.decode(bytes, maximumPayloadBytes: session.pointee.maximumPayloadBytes)
        guard case .frame(let header) = decoded else {
            drop(decoded == .oversized ? .droppedOversized : .droppedMalformed)
            return .none
        }
        if header.version == .v2 { session.pointee.hasSeenV2 = true }
        guard session.pointee.rules.pointee.destinations.permits(header.remote) else {
            drop(.droppedDenied)
            return .none
        }
        let shard = state.pointee.shard
        let payloadBytes = count &- header.headerBytes
        let admission = session.pointee.limiter.admitToRemote(header.remote, payloadBytes: payloadBytes, nowMilliseconds: shard.now)
        if admission.evictedBucket { state.pointee.counters.add(.bucketEvictions) }
        if admission.outcome != .admitted { return refused(admission) }
        let number = boundSocket(index, header)
        if number == RelaySession.none { return .none }
        state.pointee.counters.add(.bytesFromClient, UInt64(truncatingIfNeeded: payloadBytes))
        let destination = SocketAddress(endpoint: header.remote)
        let trains = shard.trainsGathered
        // What a full socket drops the engine counts; errors are ignored.
        shard.sendDatagram(socket(number).pointee.slot, to: destination, message + header.headerBytes, count: payloadBytes)
        if shard.trainsGathered != trains { session.pointee.messagesLeft &-= RelayBounds.messagesPerTrain &- 1 }
        return .none
    }

    @inline(__always)
    func drop(_ reason: RelayCounters.Event, _ amount: UInt64 = 1) {
        state.pointee.counters.add(.dropped, amount)
        state.pointee.counters.add(reason, amount)
    }

    /// Counts a refusal of the limiter, in either direction.
    @inline(never)
    func refused(_ admission: RelayAdmission) -> RelayStop {
        switch admission.outcome {
        case .admitted, .closed: return .none
        case .rateLimited:
            state.pointee.counters.add(.rateLimited)
            drop(.droppedRateLimited)
        case .tooManyDestinations:
            state.pointee.counters.add(.quotaExceeded)
            state.pointee.counters.add(.tooManyDestinations)
            drop(.droppedQuota)
        }
        return admission.closesSession ? .end(.sessionClosed) : .none
    }
}
