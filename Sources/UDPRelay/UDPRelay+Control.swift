import Engine
import Wire

/// Control frames, and what the relay says beside datagrams.
extension UDPRelay {
    /// Takes a piece of a control frame and, when it is whole, reacts: Pong for Ping, Close for Close with the same code.
    @inline(never)
    func control(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ run: ControlRun) -> RelayStop {
        let session = session(index)
        if run.endsFrame, run.offset == 0 {
            ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
            return react(index, run.opcode, UnsafeRawBufferPointer(start: base + run.start, count: run.count))
        }
        let control = session.pointee.control ?? UnsafeMutableRawPointer.allocate(byteCount: RelayBounds.controlBytes, alignment: 8)
        session.pointee.control = control
        ByteKernel.unmask(base + run.start, control + Int(run.offset), run.count, key: run.key)
        guard run.endsFrame else { return .none }
        return react(index, run.opcode, UnsafeRawBufferPointer(start: control, count: Int(run.payloadBytes)))
    }

    private func react(_ index: UInt32, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> RelayStop {
        switch opcode {
        case .ping:
            state.pointee.hasReplied = true
            return sendControl(index, .pong, payload) ? .none : .end(.internalError)
        case .close:
            if let code = CloseCode.violation(inPayload: Span(_unsafeElements: payload.assumingMemoryBound(to: UInt8.self))) {
                return .violation(code)
            }
            // Whoever hears the answer may come back at once.
            givePlaceBack(index)
            _ = sendControl(index, .close, UnsafeRawBufferPointer(rebasing: payload.prefix(2)))
            return .closedByClient
        default: return .none
        }
    }

    /// Queues a control frame, from the reserve if need be. False when even that is used up.
    func sendControl(_ index: UInt32, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> Bool {
        send(index, opcode) { writer in
            writer.bytes(Span(_unsafeElements: payload.assumingMemoryBound(to: UInt8.self)))
        }
    }

    /// Queues a Close frame.
    func sendClose(_ index: UInt32, _ code: CloseCode, _ reason: StaticString) {
        _ = send(index, .close) { writer in
            writer.byte(UInt8(truncatingIfNeeded: code.rawValue >> 8))
            writer.byte(UInt8(truncatingIfNeeded: code.rawValue))
            return writer.text(reason)
        }
    }

    /// Queues a text message; false without buffers.
    func sendText(_ index: UInt32, _ write: (inout ByteWriter) -> Bool) -> Bool { send(index, .text, write) }

    private func send(_ index: UInt32, _ opcode: Opcode, _ write: (inout ByteWriter) -> Bool) -> Bool {
        let shard = state.pointee.shard
        let client = session(index).pointee.client
        let room = FrameHeader.maximumServerBytes + ByteWriter.relayTextBytes
        return withUnsafeTemporaryAllocation(byteCount: room, alignment: 1) { frame in
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: frame.dropFirst(FrameHeader.maximumServerBytes)))
            let fits = write(&writer)
            precondition(fits, "texts of the relay are short")
            let payload = frame.baseAddress! + FrameHeader.maximumServerBytes
            let header = FrameHeader.encode(opcode, payloadBytes: writer.count, endingAt: payload)
            return shard.append(client, payload - header, header + writer.count)
        }
    }

    /// A client that does not take the answers to its own frames is not read either: answers must not pile up.
    @inline(never)
    func pauseForReplies(_ index: UInt32) {
        let session = session(index)
        let shard = state.pointee.shard
        guard shard.isCongested(session.pointee.client), !session.pointee.repliesPending else { return }
        session.pointee.repliesPending = true
        shard.pauseReceive(session.pointee.client)
        shard.notifyWhenDrained(session.pointee.client)
    }

    func clientDrained(_ index: UInt32) {
        session(index).pointee.repliesPending = false
        resumeClient(session(index))
    }

    func resumeClient(_ session: UnsafeMutablePointer<RelaySession>) {
        if session.pointee.repliesPending || session.pointee.isParked { return }
        state.pointee.shard.resumeReceive(session.pointee.client)
    }
}
