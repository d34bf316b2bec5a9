import Engine
import HTTP
import Wire

/// Endings of streams: see "Target side" and "Server reactions" under "TCP multiplexing" in the specification.
extension TCPMux {
    /// The client will send no more on the stream. Bytes it sent before are delivered first, then the target sees FIN.
    func clientFinished(_ index: UInt32) {
        let stream = stream(index)
        if stream.pointee.clientFinished { return }
        stream.pointee.clientFinished = true
        if stream.pointee.target != .none { state.pointee.shard.finish(stream.pointee.target) }
        if stream.pointee.targetFinished { finished(index) }
    }

    /// The target will send no more; the client may.
    func targetEnded(_ index: UInt32) {
        let stream = stream(index)
        stream.pointee.targetFinished = true
        stream.pointee.lastActivity = state.pointee.shard.now
        unpause(stream)
        let socket = stream.pointee.socket
        let flags = MuxClose.finish
        guard withUnsafeBytes(of: flags, { reply(socket, .close, stream.pointee.identifier, $0) }) else {
            return finish(socket, .close(.internalError))
        }
        if stream.pointee.clientFinished { finished(index) }
    }

    /// Both directions are finished; what is queued is delivered.
    private func finished(_ index: UInt32) {
        state.pointee.counters.add(.streamsFinished)
        release(index, drainMilliseconds: MuxLimits.undeliveredMilliseconds, totalMilliseconds: MuxLimits.endMilliseconds)
    }

    /// The stream ends with an ERROR frame; nothing follows for it.
    func fail(_ index: UInt32, _ fault: MuxFault) {
        let socket = stream(index).pointee.socket
        let identifier = stream(index).pointee.identifier
        abort(index)
        if !reply(socket, identifier, fault) { finish(socket, .close(.internalError)) }
    }

    /// Destroys a stream: what is queued for its target is dropped.
    func abort(_ index: UInt32) {
        let stream = stream(index)
        unlink(index)
        if stream.pointee.target != .none { state.pointee.shard.close(stream.pointee.target) }
        freeStream(index)
    }

    /// Takes a stream out of the protocol and ends its target politely; its places are held until that is closed.
    private func release(_ index: UInt32, drainMilliseconds: UInt64, totalMilliseconds: UInt64) {
        let stream = stream(index)
        guard stream.pointee.target != .none else { return abort(index) }
        unlink(index)
        state.pointee.shard.linger(
            stream.pointee.target, drainMilliseconds: drainMilliseconds, totalMilliseconds: totalMilliseconds, reporting: true)
    }

    /// From now on the stream is not the WebSocket's: its number is free, no frame is sent for it.
    private func unlink(_ index: UInt32) {
        let stream = stream(index)
        precondition(stream.pointee.phase != .free && stream.pointee.phase != .ending)
        let socket = socket(stream.pointee.socket)
        unpause(stream)
        dropOpening(stream)
        state.pointee.index.remove(index, state.pointee.streams.entries)
        let next = stream.pointee.next
        self.stream(stream.pointee.previous).pointee.next = next
        self.stream(next).pointee.previous = stream.pointee.previous
        socket.pointee.streamCount -= 1
        let left = socket.pointee.streamCount > 0 ? next : MuxSocket.none
        if socket.pointee.firstStream == index { socket.pointee.firstStream = left }
        if socket.pointee.nextResumed == index { socket.pointee.nextResumed = left }
        if socket.pointee.current == index { socket.pointee.current = MuxSocket.none }
        if socket.pointee.found == index { socket.pointee.found = MuxSocket.none }
        stream.pointee.phase = .ending
        state.pointee.counters.subtract(.streamsActive)
        poolEased(stream.pointee.socket)
    }

    private func unpause(_ stream: UnsafeMutablePointer<MuxStream>) {
        guard stream.pointee.paused else { return }
        stream.pointee.paused = false
        socket(stream.pointee.socket).pointee.pausedCount -= 1
    }

    /// Gives the stream's place and quotas back.
    func freeStream(_ index: UInt32) {
        let stream = stream(index)
        precondition(stream.pointee.phase == .ending)
        if let place = stream.pointee.sessionPlace {
            let address = stream.pointee.addressPlace?.takeRetainedValue()
            state.pointee.shared.limits.places.release(Places(session: place.takeRetainedValue(), address: address))
        }
        stream.pointee.phase = .free
        stream.pointee.next = state.pointee.streams.put(index)
    }

    /// Forgets what only opening needed, bytes that came too early included.
    func dropOpening(_ stream: UnsafeMutablePointer<MuxStream>) {
        guard let opening = stream.pointee.opening else { return }
        stream.pointee.opening = nil
        let value = opening.takeRetainedValue()
        for early in value.early { state.pointee.shard.release(early.buffer) }
        if let claim = value.claim { state.pointee.shared.limits.places.cancel(claim) }
    }

    func streamTimePassed(_ index: UInt32) {
        let stream = stream(index)
        let shard = state.pointee.shard
        if stream.pointee.phase == .connecting {
            state.pointee.counters.add(.connectTimedOut)
            return fail(index, .connectTimeout)
        }
        let quiet = shard.now &- stream.pointee.lastActivity
        let idle = idleMilliseconds(stream)
        if quiet >= idle {
            state.pointee.counters.add(.idleTimedOut)
            return fail(index, .idleTimeout)
        }
        shard.setTimer(stream.pointee.target, afterMilliseconds: idle - quiet)
    }

    // MARK: - The WebSocket

    func finish(_ index: UInt32, _ ending: MuxEnding) {
        guard socket(index).pointee.phase == .open else { return }
        switch ending {
        case .none: return
        case .closedByClient: end(index, .closedByClient, nil)
        case .close(let code):
            switch code {
            case .unsupportedData: end(index, .textMessages, code)
            case .messageTooBig: end(index, .messagesTooBig, code)
            // Whoever holds many buffers now must not hold them for long.
            case .internalError: end(index, .outOfBuffers, code, graceMilliseconds: MuxLimits.acceptedBytesMilliseconds)
            default: end(index, .protocolErrors, code)
            }
        }
    }

    /// Ends the WebSocket politely, and all its streams: bytes accepted from the client are delivered to the targets. `code`
    /// nil: the Close frame is queued already, or the client gone.
    ///
    /// - Parameter graceMilliseconds: when draining or out of buffers, what all sides have instead of the ordinary times.
    func end(_ index: UInt32, _ cause: MuxCounters.Counter, _ code: CloseCode?, graceMilliseconds: UInt64? = nil) {
        let socket = socket(index)
        let shard = state.pointee.shard
        state.pointee.counters.add(cause)
        reportEnd(index, cause)
        if let code { sendClose(index, code) }
        let accepted = graceMilliseconds ?? MuxLimits.acceptedBytesMilliseconds
        while socket.pointee.firstStream != MuxSocket.none {
            state.pointee.counters.add(.socketGone)
            release(socket.pointee.firstStream, drainMilliseconds: accepted, totalMilliseconds: graceMilliseconds ?? 2 * accepted)
        }
        socket.pointee.pieces?.deallocate()
        socket.pointee.control?.deallocate()
        socket.pointee.pieces = nil
        socket.pointee.control = nil
        state.pointee.counters.subtract(.socketsActive)
        socket.pointee.phase = .ending
        shard.linger(socket.pointee.client, drainMilliseconds: graceMilliseconds ?? MuxLimits.undeliveredMilliseconds,
                     totalMilliseconds: graceMilliseconds ?? MuxLimits.endMilliseconds, reporting: true)
    }

    func freeSocket(_ index: UInt32) {
        let socket = socket(index)
        precondition(socket.pointee.phase == .ending && socket.pointee.streamCount == 0)
        if socket.pointee.isListed { resumeListed() }
        socket.pointee.rules.release()
        socket.pointee.identity.release()
        socket.pointee.record.release()
        socket.pointee.phase = .free
        socket.pointee.nextInList = state.pointee.sockets.put(index)
    }

    /// Streams that wait for their places too long are decided here; a WebSocket nobody uses is closed.
    func socketTimePassed(_ index: UInt32) {
        let socket = socket(index)
        let shard = state.pointee.shard
        var waiting = false
        var late: [UInt32] = []
        var next = socket.pointee.firstStream
        for _ in 0..<socket.pointee.streamCount {
            if let opening = stream(next).pointee.opening?.takeUnretainedValue(), opening.claim != nil {
                if opening.claimDeadline <= shard.now { late.append(next) } else { waiting = true }
            }
            next = stream(next).pointee.next
        }
        for stream in late {
            guard socket.pointee.phase == .open, let opening = self.stream(stream).pointee.opening?.takeUnretainedValue(),
                let claim = opening.claim
            else { continue }
            placesLate(stream, opening, claim)
        }
        guard socket.pointee.phase == .open else { return }
        if waiting { return shard.setTimer(socket.pointee.client, afterMilliseconds: PlaceKeeper.decisionMilliseconds) }
        let quiet = shard.now &- socket.pointee.lastActivity
        if socket.pointee.streamCount == 0, quiet >= MuxLimits.idleSocketMilliseconds {
            return end(index, .idleSockets, .goingAway)
        }
        let left = quiet < MuxLimits.idleSocketMilliseconds ? MuxLimits.idleSocketMilliseconds - quiet : MuxLimits.idleSocketMilliseconds
        shard.setTimer(socket.pointee.client, afterMilliseconds: left)
    }
}
