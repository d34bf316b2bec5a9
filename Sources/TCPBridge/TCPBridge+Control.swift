import Engine
import Glibc
import Wire

/// How reading a buffer ended the connection.
enum Ending: Equatable {
    case none
    /// The client broke a rule, or sent text: Close with this code.
    case close(CloseCode)
    /// The client sent Close, which was echoed.
    case closedByClient
    /// The target is so far behind that the cap is exceeded: Close 1011.
    case overflow
}

/// Control frames.
extension TCPBridge {
    /// Takes a piece of a control frame and, when it is whole, reacts: Pong for Ping, Close for Close with the same payload.
    @inline(never)
    func control(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ run: ControlRun) -> Ending {
        let bridge = bridge(index)
        if run.endsFrame, run.offset == 0 {
            ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
            return react(index, run.opcode, UnsafeRawBufferPointer(start: base + run.start, count: run.count))
        }
        let payload = bridge.pointee.control ?? newPayload(bridge)
        let bytes = UnsafeMutableRawPointer(payload).advanced(by: MemoryLayout<ControlPayload>.offset(of: \.words)!)
        ByteKernel.unmask(base + run.start, bytes + Int(run.offset), run.count, key: run.key)
        payload.pointee.count = Int(run.offset) + run.count
        guard run.endsFrame else { return .none }
        defer { dropPayload(bridge) }
        return react(index, run.opcode, UnsafeRawBufferPointer(start: bytes, count: payload.pointee.count))
    }

    @inline(never)
    private func newPayload(_ bridge: UnsafeMutablePointer<Bridge>) -> UnsafeMutablePointer<ControlPayload> {
        let payload = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<ControlPayload>.size, alignment: 8)
            .initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<ControlPayload>.size)
        bridge.pointee.control = UnsafeMutableRawPointer(payload).bindMemory(to: ControlPayload.self, capacity: 1)
        return bridge.pointee.control!
    }

    func dropPayload(_ bridge: UnsafeMutablePointer<Bridge>) {
        bridge.pointee.control?.deallocate()
        bridge.pointee.control = nil
    }

    private func react(_ index: UInt32, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> Ending {
        switch opcode {
        case .ping: return appendReply(index, .pong, payload) ? .none : .close(.internalError)
        case .close: return appendReply(index, .close, payload) ? .closedByClient : .close(.internalError)
        default: return .none
        }
    }

    /// Adds a frame to the replies to the buffer being read. Replies share buffers, so that a flood of pings takes no
    /// more memory than the pings themselves.
    private func appendReply(_ index: UInt32, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> Bool {
        let shard = state.pointee.shard
        let needed = FrameHeader.bytes(forPayload: payload.count) + payload.count
        if state.pointee.reply != .none, state.pointee.replyCount + needed > shard.capacity(state.pointee.reply) { flushReply(index) }
        if state.pointee.reply == .none {
            guard let buffer = shard.acquire(.small) else { return false }
            state.pointee.reply = buffer
            state.pointee.replyCount = 0
        }
        let place = shard.bytes(state.pointee.reply) + state.pointee.replyCount
        let header = FrameHeader.bytes(forPayload: payload.count)
        if let source = payload.baseAddress { (place + header).copyMemory(from: source, byteCount: payload.count) }
        FrameHeader.encode(opcode, payloadBytes: payload.count, endingAt: place + header)
        state.pointee.replyCount += needed
        return true
    }

    /// Sends the replies collected while a buffer was read. A client that does not read them is not read either.
    @inline(never)
    func flushReply(_ index: UInt32) {
        let bridge = bridge(index)
        let shard = state.pointee.shard
        shard.send(bridge.pointee.client, state.pointee.reply, start: 0, count: state.pointee.replyCount)
        state.pointee.reply = .none
        guard shard.isCongested(bridge.pointee.client) else { return }
        bridge.pointee.repliesPending = true
        shard.pauseReceive(bridge.pointee.client)
        shard.notifyWhenDrained(bridge.pointee.client)
    }

    /// Queues a control frame to the client, from the reserve if need be. False when even that is used up.
    func sendControl(_ index: UInt32, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> Bool {
        let shard = state.pointee.shard
        guard let buffer = shard.acquire(.small) else { return false }
        let bytes = shard.bytes(buffer)
        if let source = payload.baseAddress { bytes.copyMemory(from: source, byteCount: payload.count) }
        let header = FrameHeader.encode(opcode, payloadBytes: payload.count, endingAt: bytes)
        shard.send(bridge(index).pointee.client, buffer, start: -header, count: header + payload.count)
        return true
    }

    /// Queues a Close frame with a code and no reason.
    func sendClose(_ index: UInt32, _ code: CloseCode) {
        withUnsafeBytes(of: code.rawValue.bigEndian) { _ = sendControl(index, .close, $0) }
    }
}
