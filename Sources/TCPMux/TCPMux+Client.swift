import Engine
import Wire

/// How reading a buffer ended the WebSocket.
enum MuxEnding: Equatable {
    case none
    /// The client broke a rule, or sent text, or there are no buffers: Close with this code.
    case close(CloseCode)
    /// The client sent Close, which was echoed.
    case closedByClient
}

/// The data path from the client: what runs for every received buffer.
extension TCPMux {
    /// Reads frames in `[start, end)` of the buffer's payload; takes the buffer over.
    func clientBytes(_ index: UInt32, _ buffer: BufferIndex, _ start: Int, _ end: Int) {
        let socket = socket(index)
        let shard = state.pointee.shard
        let base = shard.bytes(buffer)
        socket.pointee.lastActivity = shard.now
        state.pointee.run = MuxBufferRun(buffer: buffer, base: base)
        state.pointee.hasReplied = false
        var cursor = start
        var ending = MuxEnding.none
        let maximumMessageBytes = socket.pointee.maximumMessageBytes
        reading: while true {
            switch socket.pointee.reader.next(base, &cursor, end, maximumMessageBytes: maximumMessageBytes) {
            case .needMore: break reading
            case .data(let run):
                if run.opcode == .binary {
                    ending = frames(index, base, run)
                } else if run.endsMessage {
                    ending = .close(.unsupportedData)
                }
            case .control(let run): ending = control(index, base, run)
            case .violation(let code): ending = .close(code)
            }
            if ending != .none { break reading }
        }
        if !sendRun(buffer) { ending = .close(.internalError) }
        if ending != .none { return finish(index, ending) }
        if state.pointee.hasReplied { pauseForReplies(index) }
        if shard.runsLow { pauseForPool(index) }
    }

    /// Reads the frames in a part of a message. Only headers are unmasked before it is known where bytes go.
    @inline(__always)
    private func frames(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ run: DataRun) -> MuxEnding {
        let socket = socket(index)
        let end = run.start &+ run.count
        var cursor = run.start
        while cursor < end {
            let key = ByteKernel.rotate(run.key, by: cursor &- run.start)
            var stop = end
            let missing = socket.pointee.frames.headerBytesMissing
            if missing > 0 {
                stop = min(end, cursor &+ missing)
                ByteKernel.unmask(base + cursor, base + cursor, stop &- cursor, key: key)
            }
            switch socket.pointee.frames.next(base, &cursor, stop, maximumPayloadBytes: socket.pointee.maximumFrameBytes) {
            case .needMore: return .none
            case .tooLong: return .close(.protocolError)
            case .header(let header):
                socket.pointee.header = header
                state.pointee.counters.add(.framesFromClient)
                if header.type == MuxType.data.rawValue {
                    guard beginData(index, header) else { return .close(.internalError) }
                } else {
                    let ending = begin(index, header)
                    if ending != .none { return ending }
                }
            case .payload(let part):
                if socket.pointee.header.type != MuxType.data.rawValue {
                    let ending = collect(index, base, part, key)
                    if ending != .none { return ending }
                } else if socket.pointee.current != MuxSocket.none {
                    guard deliver(socket.pointee.current, base, part, key) else { return .close(.internalError) }
                }
            }
        }
        return .none
    }

    /// A DATA frame begins: its stream is found, and whether it takes so much more is decided for the whole frame.
    @inline(__always)
    private func beginData(_ index: UInt32, _ header: MuxHeader) -> Bool {
        let socket = socket(index)
        let found = find(index, header.stream)
        socket.pointee.current = MuxSocket.none
        guard found != MuxSocket.none, !stream(found).pointee.clientFinished else {
            return found == MuxSocket.none ? reply(index, header.stream, .unknownStream)
                : reply(index, header.stream, .halfClosed)
        }
        let target = stream(found).pointee.target
        let shard = state.pointee.shard
        if target == .none || shard.queuedBytes(target) &+ Int(header.payloadBytes) &+ runBytes > socket.pointee.maximumStreamBytes {
            if overflows(index, found, Int(header.payloadBytes)) { return reply(index, header.stream, .overflow) }
        }
        socket.pointee.current = found
        return true
    }

    /// Bytes of the run that is not queued yet, whosever they are.
    @inline(__always)
    private var runBytes: Int { state.pointee.run.end &- state.pointee.run.start }

    /// The stream with this number, or none.
    @inline(__always)
    func find(_ index: UInt32, _ identifier: UInt32) -> UInt32 {
        let socket = socket(index)
        let last = socket.pointee.found
        if last != MuxSocket.none, stream(last).pointee.identifier == identifier { return last }
        let found = state.pointee.index.find(index, identifier, state.pointee.streams.entries)
        if found != MuxSocket.none { socket.pointee.found = found }
        return found
    }

    /// Moves payload on its way: closed up in the buffer while that holds bytes of one stream, else to the stream's queue.
    @inline(__always)
    private func deliver(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ part: MuxRun, _ key: UInt32) -> Bool {
        state.pointee.counters.add(.bytesFromClient, UInt64(part.count))
        stream(index).pointee.lastActivity = state.pointee.shard.now
        if state.pointee.run.stream == index {
            // Headers only shrink away, so the writing end never passes the reading one.
            ByteKernel.unmask(base + part.start, base + state.pointee.run.end, part.count, key: key)
            state.pointee.run.end &+= part.count
            return true
        }
        guard leaveRun() else { return false }
        if !state.pointee.run.isMixed || part.count >= MuxLimits.sharedRunBytesMinimum {
            ByteKernel.unmask(base + part.start, base + part.start, part.count, key: key)
            state.pointee.run.stream = index
            state.pointee.run.start = part.start
            state.pointee.run.end = part.start &+ part.count
            return true
        }
        return queue(index, base + part.start, part.count, key)
    }

    /// Copies bytes of the buffer to the end of a stream's queue. With no more small buffers than the reserve, which is for
    /// answers, they stay where they are, as a slice. False when that is impossible too.
    @inline(__always)
    private func queue(_ index: UInt32, _ source: UnsafeMutableRawPointer, _ count: Int, _ key: UInt32) -> Bool {
        let target = stream(index).pointee.target
        if target == .none { return keepEarly(index, source, count, key) }
        let shard = state.pointee.shard
        if !shard.canAppend(target, count, fromReserve: false), keepInPlace(target, source, count, key) { return true }
        return shard.append(target, source, count, key: key)
    }

    @inline(never)
    private func keepInPlace(_ target: SlotIndex, _ source: UnsafeMutableRawPointer, _ count: Int, _ key: UInt32) -> Bool {
        let run = state.pointee.run
        guard let base = run.base, run.buffer.bufferClass == .bulk else { return false }
        ByteKernel.unmask(source, source, count, key: key)
        state.pointee.run.isMixed = true
        if state.pointee.shard.share(target, run.buffer, start: source - base, count: count, evenIfBehind: true) { return true }
        ByteKernel.unmask(source, source, count, key: key)
        return false
    }

    /// Queues the run, because something else of the buffer has to come behind it: a large one as a slice, else a copy.
    @inline(__always)
    func leaveRun() -> Bool {
        let run = state.pointee.run
        guard run.stream != MuxSocket.none, let base = run.base else { return true }
        state.pointee.run.drop()
        let target = stream(run.stream).pointee.target
        let count = run.end &- run.start
        if count >= MuxLimits.sharedRunBytesMinimum, target != .none,
            state.pointee.shard.share(target, run.buffer, start: run.start, count: count)
        {
            return true
        }
        state.pointee.counters.add(.runsCopied)
        return queue(run.stream, base + run.start, count, 0)
    }

    /// The buffer is read: it leaves with its run, or goes back to the pool.
    @inline(__always)
    private func sendRun(_ buffer: BufferIndex) -> Bool {
        let shard = state.pointee.shard
        let run = state.pointee.run
        if run.stream != MuxSocket.none, !run.isMixed, stream(run.stream).pointee.target != .none {
            let target = stream(run.stream).pointee.target
            // A queue of buffers that are hardly filled would hold many times its bytes.
            let isFull = 2 &* (run.end &- run.start) >= shard.capacity(buffer)
            if isFull || (buffer.bufferClass == .small && shard.queuedBuffers(target) == 0) {
                state.pointee.run.stream = MuxSocket.none
                shard.send(target, buffer, start: run.start, count: run.end &- run.start)
                return true
            }
        }
        let isLeft = leaveRun()
        shard.release(buffer)
        return isLeft
    }
}
