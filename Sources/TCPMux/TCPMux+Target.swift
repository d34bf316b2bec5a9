import Engine
import Wire

/// The data path to the client, and both backpressures.
extension TCPMux {
    /// Bytes from a target: both headers go in front of them, and the message to the client.
    @inline(__always)
    func targetBytes(_ event: Event) {
        let stream = stream(event.context)
        let socket = socket(stream.pointee.socket)
        let shard = state.pointee.shard
        stream.pointee.lastActivity = shard.now
        socket.pointee.lastActivity = shard.now
        let counters = state.pointee.counters
        counters.add(.bytesToClient, UInt64(event.count))
        let client = socket.pointee.client
        let bytes = shard.bytes(event.buffer)
        let identifier = stream.pointee.identifier
        if event.count <= MuxLimits.dataBytesMaximum {
            counters.add(.framesToClient)
            let header = MuxFrame.messageHeaderBytes(forPayload: event.count)
            if event.count <= MuxLimits.copiedMessageBytesMaximum, let place = shard.reserveMessage(client, header &+ event.count) {
                MuxFrame.encodeMessage(.data, stream: identifier, payloadBytes: event.count, endingAt: place + header)
                ByteKernel.unmask(bytes, place + header, event.count, key: 0)
                shard.commitMessage(client, header &+ event.count)
                shard.release(event.buffer)
            } else {
                MuxFrame.encodeMessage(.data, stream: identifier, payloadBytes: event.count, endingAt: bytes)
                shard.send(client, event.buffer, start: -header, count: header &+ event.count)
            }
        } else {
            sendMessages(client, identifier, event.buffer, event.count)
        }
        if shard.queuedBytes(client) >= MuxLimits.unsentBytesMaximum || shard.isCongested(client) { clientCongested(stream.pointee.socket) }
    }

    /// Sends a large read as messages of equal size, half of the largest at least, so that every header has the same length.
    private func sendMessages(_ client: SlotIndex, _ identifier: UInt32, _ buffer: BufferIndex, _ count: Int) {
        let messages = (count &+ MuxLimits.dataBytesMaximum &- 1) / MuxLimits.dataBytesMaximum
        let messageBytes = (count &+ messages &- 1) / messages
        state.pointee.counters.add(.framesToClient, UInt64(messages))
        let header = MuxFrame.messageHeaderBytes(forPayload: messageBytes)
        state.pointee.shard.sendFramed(client, buffer, count: count, pieceBytes: messageBytes, headerBytes: header) { payloadBytes, end in
            MuxFrame.encodeMessage(.data, stream: identifier, payloadBytes: payloadBytes, endingAt: end)
        }
    }

    /// The client's queue is long: unless the kernel just was not offered it yet, no target is read until it drained.
    @inline(never)
    private func clientCongested(_ index: UInt32) {
        let socket = socket(index)
        let shard = state.pointee.shard
        let client = socket.pointee.client
        let isLong = shard.queuedBytes(client) >= MuxLimits.unsentBytesMaximum || shard.runsLow
        guard isLong || shard.isStalled(client) else { return }
        shard.notifyWhenDrained(client)
        if socket.pointee.backedUp { return }
        socket.pointee.backedUp = true
        state.pointee.counters.add(.targetsPaused)
        var index = socket.pointee.firstStream
        for _ in 0..<socket.pointee.streamCount {
            let stream = stream(index)
            index = stream.pointee.next
            if stream.pointee.phase == .open, !stream.pointee.paused, !stream.pointee.targetFinished { pause(stream, socket) }
        }
    }

    private func pause(_ stream: UnsafeMutablePointer<MuxStream>, _ socket: UnsafeMutablePointer<MuxSocket>) {
        stream.pointee.paused = true
        socket.pointee.pausedCount += 1
        state.pointee.shard.pauseReceive(stream.pointee.target)
    }

    /// Begins to read a target that is connected, now or when it is its turn.
    func beginReading(_ stream: UnsafeMutablePointer<MuxStream>) {
        let socket = socket(stream.pointee.socket)
        guard socket.pointee.backedUp else { return state.pointee.shard.resumeReceive(stream.pointee.target) }
        stream.pointee.paused = true
        socket.pointee.pausedCount += 1
    }

    func clientDrained(_ index: UInt32) {
        let socket = socket(index)
        guard socket.pointee.phase == .open else { return }
        if socket.pointee.repliesPending {
            socket.pointee.repliesPending = false
            socket.pointee.answerBytes = 0
            resumeClient(socket)
        }
        guard socket.pointee.backedUp else { return }
        socket.pointee.backedUp = false
        resumeStreams(index)
    }

    /// Has the paused targets read again, one a turn: whoever is read first may take all buffers that are offered.
    private func resumeStreams(_ index: UInt32) {
        let socket = socket(index)
        guard socket.pointee.pausedCount > 0 else { return }
        state.pointee.shard.turnSoon()
        guard !socket.pointee.isListed else { return }
        socket.pointee.isListed = true
        socket.pointee.nextInList = state.pointee.resuming
        state.pointee.resuming = index
    }

    /// One more target of each WebSocket whose client has caught up, beginning behind the one that was resumed last.
    @inline(never)
    func resumeListed() {
        var index = state.pointee.resuming
        state.pointee.resuming = MuxSocket.none
        while index != MuxSocket.none {
            let socket = socket(index)
            let next = socket.pointee.nextInList
            socket.pointee.isListed = false
            if socket.pointee.phase == .open, !socket.pointee.backedUp, socket.pointee.pausedCount > 0 {
                resumeNext(socket)
                resumeStreams(index)
            }
            index = next
        }
    }

    private func resumeNext(_ socket: UnsafeMutablePointer<MuxSocket>) {
        for _ in 0..<socket.pointee.streamCount {
            let stream = stream(socket.pointee.nextResumed)
            socket.pointee.nextResumed = stream.pointee.next
            guard stream.pointee.paused else { continue }
            stream.pointee.paused = false
            socket.pointee.pausedCount -= 1
            return state.pointee.shard.resumeReceive(stream.pointee.target)
        }
    }

    // MARK: - The client is not read

    /// A client that does not take the answers to its own frames is not read either: answers must not pile up.
    @inline(never)
    func pauseForReplies(_ index: UInt32) {
        let socket = socket(index)
        let shard = state.pointee.shard
        let client = socket.pointee.client
        guard shard.isCongested(client) else { return socket.pointee.answerBytes = 0 }
        if socket.pointee.repliesPending { return }
        socket.pointee.repliesPending = true
        state.pointee.counters.add(.clientPaused)
        shard.pauseReceive(client)
        shard.notifyWhenDrained(client)
    }

    /// The shard's buffers run low: a WebSocket whose streams hold many is not read until they hold fewer.
    @inline(never)
    func pauseForPool(_ index: UInt32) {
        let socket = socket(index)
        guard !socket.pointee.poolPaused, buffersHeld(index) > MuxLimits.queuedBuffersLow else { return }
        socket.pointee.poolPaused = true
        state.pointee.counters.add(.poolPaused)
        state.pointee.shard.pauseReceive(socket.pointee.client)
        var index = socket.pointee.firstStream
        for _ in 0..<socket.pointee.streamCount {
            let target = stream(index).pointee.target
            index = stream(index).pointee.next
            if target != .none, state.pointee.shard.queuedBuffers(target) > 0 { state.pointee.shard.notifyWhenDrained(target) }
        }
    }

    private func buffersHeld(_ index: UInt32) -> Int {
        let socket = socket(index)
        var held = 0
        var index = socket.pointee.firstStream
        for _ in 0..<socket.pointee.streamCount {
            let stream = stream(index)
            index = stream.pointee.next
            if stream.pointee.target != .none {
                held += state.pointee.shard.queuedBuffers(stream.pointee.target)
            } else {
                held += stream.pointee.opening?.takeUnretainedValue().early.count ?? 0
            }
        }
        return held
    }

    func targetDrained(_ index: UInt32) {
        let shard = state.pointee.shard
        let socket = socket(stream(index).pointee.socket)
        guard socket.pointee.poolPaused else { return }
        // Its rest counts until it is gone.
        if shard.queuedBuffers(stream(index).pointee.target) > 0 { shard.notifyWhenDrained(stream(index).pointee.target) }
        poolEased(stream(index).pointee.socket)
    }

    /// A stream of the WebSocket holds fewer buffers, or is gone.
    func poolEased(_ index: UInt32) {
        let socket = socket(index)
        guard socket.pointee.poolPaused, socket.pointee.phase == .open else { return }
        guard !state.pointee.shard.runsLow || buffersHeld(index) <= MuxLimits.queuedBuffersLow / 2 else { return }
        socket.pointee.poolPaused = false
        resumeClient(socket)
    }

    private func resumeClient(_ socket: UnsafeMutablePointer<MuxSocket>) {
        if socket.pointee.repliesPending || socket.pointee.poolPaused { return }
        state.pointee.shard.resumeReceive(socket.pointee.client)
    }
}
