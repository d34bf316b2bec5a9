import Engine
import Wire

/// The data path: what runs for every received buffer.
extension TCPBridge {
    /// Bytes from the client: frames are unmasked towards the front of their buffer and leave as one send.
    @inline(__always)
    func clientBytes(_ event: Event) {
        clientBytes(event.context, event.buffer, 0, event.count)
    }

    /// Reads frames in `[start, end)` of the buffer's payload; takes the buffer over.
    func clientBytes(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let bridge = bridge(index)
        if bridge.pointee.target == .none { return keepEarly(index, buffer, start, end &- start) }
        let shard = state.pointee.shard
        let base = shard.bytes(buffer)
        var cursor = start
        var runStart = 0
        var runEnd = 0
        var frames: UInt64 = 0
        var ending = Ending.none
        let maximumMessageBytes = rules(bridge).pointee.maximumMessageBytes
        reading: while true {
            switch bridge.pointee.reader.next(base, &cursor, end, maximumMessageBytes: maximumMessageBytes) {
            case .needMore: break reading
            case .data(let run):
                if run.opcode == .binary {
                    // Headers only shrink away, so the writing end never passes the reading one.
                    if runEnd == 0 {
                        runStart = run.start
                        runEnd = run.start
                    }
                    ByteKernel.unmask(base + run.start, base + runEnd, run.count, key: run.key)
                    runEnd &+= run.count
                } else if run.endsMessage {
                    ending = .close(.unsupportedData)
                    break reading
                }
                if run.endsFrame { frames &+= 1 }
            case .control(let run):
                ending = control(index, base, run)
                if ending != .none { break reading }
            case .violation(let code):
                ending = .close(code)
                break reading
            }
        }
        state.pointee.counters.add(.framesFromClient, frames)
        if state.pointee.reply != .none { flushReply(index) }
        forward(index, buffer, runStart, runEnd &- runStart, ending)
        if ending != .none { finish(index, ending) }
    }

    @inline(__always)
    private func forward(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ count: Int, _ ending: Ending) {
        let bridge = bridge(index)
        let shard = state.pointee.shard
        guard count > 0 else {
            shard.release(buffer)
            return
        }
        state.pointee.counters.add(.bytesFromClient, UInt64(count))
        bridge.pointee.lastActivity = shard.now
        let target = bridge.pointee.target
        shard.send(target, buffer, start: start, count: count)
        // A bridge that ends is not judged again: its one Close frame may be queued already.
        if ending != .none { return }
        if shard.isCongested(target) || shard.queuedBytes(target) >= rules(bridge).pointee.maximumBufferBytes / 2 { targetCongested(index) }
    }

    /// Bytes from the target: the frame header goes into the headroom, the buffer to the client.
    @inline(__always)
    func targetBytes(_ event: Event) {
        let bridge = bridge(event.context)
        let shard = state.pointee.shard
        bridge.pointee.lastActivity = shard.now
        state.pointee.counters.add(.bytesToClient, UInt64(event.count))
        let client = bridge.pointee.client
        if event.count <= Self.messageBytesMaximum {
            let header = FrameHeader.encode(.binary, payloadBytes: event.count, endingAt: shard.bytes(event.buffer))
            state.pointee.counters.add(.framesToClient)
            shard.send(client, event.buffer, start: -header, count: header &+ event.count)
        } else {
            sendMessages(client, event.buffer, event.count)
        }
        if shard.isCongested(client) { clientCongested(event.context) }
    }

    /// Largest message to a client: 64 KiB less one, so that its header has four bytes.
    static let messageBytesMaximum = EngineLimits.pieceBytesMaximum

    /// Sends a large read as messages of equal size: half of the largest at least, so that every header has four bytes.
    private func sendMessages(_ client: SlotIndex, _ buffer: BufferIndex, _ count: Int) {
        let messages = (count &+ Self.messageBytesMaximum &- 1) / Self.messageBytesMaximum
        let messageBytes = (count &+ messages &- 1) / messages
        state.pointee.counters.add(.framesToClient, UInt64(messages))
        state.pointee.shard.sendFramed(client, buffer, count: count, pieceBytes: messageBytes, headerBytes: 4) { payloadBytes, end in
            FrameHeader.encode(.binary, payloadBytes: payloadBytes, endingAt: end)
        }
    }

    @inline(never)
    private func clientCongested(_ index: UInt32) {
        let bridge = bridge(index)
        state.pointee.shard.notifyWhenDrained(bridge.pointee.client)
        if bridge.pointee.targetPaused { return }
        bridge.pointee.targetPaused = true
        state.pointee.counters.add(.targetPaused)
        state.pointee.shard.pauseReceive(bridge.pointee.target)
    }

    @inline(never)
    private func targetCongested(_ index: UInt32) {
        let bridge = bridge(index)
        let shard = state.pointee.shard
        // What the kernel would take now does not count: only a target that is behind can overflow.
        if shard.isStalled(bridge.pointee.target), shard.queuedBytes(bridge.pointee.target) > rules(bridge).pointee.maximumBufferBytes {
            return finish(index, .overflow)
        }
        shard.notifyWhenDrained(bridge.pointee.target)
        if bridge.pointee.clientPaused { return }
        bridge.pointee.clientPaused = true
        state.pointee.counters.add(.clientPaused)
        shard.pauseReceive(bridge.pointee.client)
    }

    func clientDrained(_ index: UInt32) {
        let bridge = bridge(index)
        if bridge.pointee.repliesPending {
            bridge.pointee.repliesPending = false
            if !bridge.pointee.clientPaused { state.pointee.shard.resumeReceive(bridge.pointee.client) }
        }
        guard bridge.pointee.targetPaused else { return }
        bridge.pointee.targetPaused = false
        state.pointee.shard.resumeReceive(bridge.pointee.target)
    }

    func targetDrained(_ index: UInt32) {
        let bridge = bridge(index)
        guard bridge.pointee.clientPaused else { return }
        if state.pointee.shard.queuedBytes(bridge.pointee.target) >= max(1, rules(bridge).pointee.maximumBufferBytes / 4) {
            state.pointee.shard.notifyWhenDrained(bridge.pointee.target)
            return
        }
        bridge.pointee.clientPaused = false
        if !bridge.pointee.repliesPending { state.pointee.shard.resumeReceive(bridge.pointee.client) }
    }
}
