import Engine
import Policy
import Wire

/// What the server says in ERROR frames: code and text are part of the protocol.
enum MuxFault: Equatable {
    case reservedIdentifier, identifierExists, streamsExceeded, invalidOpen, invalidPort, placesExceeded
    case refused(Refusal)
    case unknownStream, halfClosed, overflow, invalidClose, unknownType(UInt8)
    case dialFailed, connectTimeout, idleTimeout

    var code: MuxErrorCode {
        switch self {
        case .reservedIdentifier, .identifierExists, .invalidOpen, .invalidPort, .halfClosed, .invalidClose, .unknownType: .protocolError
        case .streamsExceeded, .placesExceeded: .streamLimit
        case .unknownStream: .unknownStream
        case .overflow: .bufferOverflow
        case .dialFailed, .connectTimeout, .idleTimeout: .dialFailed
        case .refused(let refusal):
            switch refusal {
            case .hostMalformed, .hostMalformedUnderAllowlist: .protocolError
            case .lookupFailed: .dialFailed
            case .tooManyConnections: .streamLimit
            default: .policyDenied
            }
        }
    }

    var message: String {
        switch self {
        case .reservedIdentifier: "stream_id=0 is reserved"
        case .identifierExists: "stream_id already exists"
        case .streamsExceeded: "max streams exceeded"
        case .invalidOpen: "Invalid OPEN payload"
        case .invalidPort: "Invalid target port"
        case .placesExceeded, .refused(.tooManyConnections): "session max connections exceeded"
        case .unknownStream: "unknown stream"
        case .halfClosed: "stream is half-closed (client FIN)"
        case .overflow: "stream buffered too much data"
        case .invalidClose: "Invalid CLOSE payload"
        case .unknownType(let type): "Unknown msg_type \(type)"
        case .dialFailed, .refused(.lookupFailed): "dial failed"
        case .connectTimeout: "TCP connect timeout"
        case .idleTimeout: "TCP idle timeout"
        case .refused(let refusal): refusal.message
        }
    }
}

/// Frames that are not DATA, and the control frames of the WebSocket.
extension TCPMux {
    /// A frame begins that is not DATA. Without payload it ends here.
    @inline(never)
    func begin(_ index: UInt32, _ header: MuxHeader) -> MuxEnding {
        if header.type == MuxType.ping.rawValue, header.payloadBytes > MuxLimits.pingBytesMaximum { return .close(.messageTooBig) }
        return header.payloadBytes == 0 ? react(index, UnsafeRawBufferPointer(start: nil, count: 0)) : .none
    }

    /// Payload of a frame that is not DATA: whole, it is used where it lies; in pieces, it is put together.
    @inline(never)
    func collect(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ part: MuxRun, _ key: UInt32) -> MuxEnding {
        let socket = socket(index)
        let total = Int(socket.pointee.header.payloadBytes)
        guard isKept(socket.pointee.header) else {
            // Its length says all: an OPEN or CLOSE that cannot be valid, or a frame that is ignored.
            return part.endsFrame ? react(index, UnsafeRawBufferPointer(start: nil, count: 0)) : .none
        }
        if part.count == total {
            ByteKernel.unmask(base + part.start, base + part.start, part.count, key: key)
            return react(index, UnsafeRawBufferPointer(start: base + part.start, count: total))
        }
        let pieces = socket.pointee.pieces ?? UnsafeMutableRawPointer.allocate(byteCount: total, alignment: 8)
        socket.pointee.pieces = pieces
        let offset = total - socket.pointee.frames.payloadBytesMissing - part.count
        ByteKernel.unmask(base + part.start, pieces + offset, part.count, key: key)
        guard part.endsFrame else { return .none }
        // The WebSocket may end inside.
        socket.pointee.pieces = nil
        defer { pieces.deallocate() }
        return react(index, UnsafeRawBufferPointer(start: pieces, count: total))
    }

    private func isKept(_ header: MuxHeader) -> Bool {
        switch MuxType(rawValue: header.type) {
        case .open: header.payloadBytes <= MuxOpen.maximumPayloadBytes
        case .close: header.payloadBytes == MuxClose.payloadBytes
        case .ping: true
        default: false
        }
    }

    /// A frame is whole. Without its payload it was not worth keeping.
    private func react(_ index: UInt32, _ payload: UnsafeRawBufferPointer) -> MuxEnding {
        let header = socket(index).pointee.header
        // What the buffer holds of a stream comes before what its next frames say.
        guard leaveRun() else { return .close(.internalError) }
        let isAnswered: Bool
        switch MuxType(rawValue: header.type) {
        case .open: isAnswered = open(index, header.stream, payload)
        case .close: isAnswered = closed(index, header, payload)
        case .ping: isAnswered = reply(index, .pong, header.stream, payload)
        case .error, .pong, .data: isAnswered = true
        case nil: isAnswered = reply(index, header.stream, .unknownType(header.type))
        }
        // Without buffers for an answer the WebSocket may have ended inside.
        return isAnswered && socket(index).pointee.phase == .open ? .none : .close(.internalError)
    }

    private func closed(_ index: UInt32, _ header: MuxHeader, _ payload: UnsafeRawBufferPointer) -> Bool {
        let found = find(index, header.stream)
        if found == MuxSocket.none { return true }
        guard payload.count == MuxClose.payloadBytes else { return reply(index, header.stream, .invalidClose) }
        if payload[0] & MuxClose.reset != 0 {
            state.pointee.counters.add(.streamsReset)
            abort(found)
        } else if payload[0] & MuxClose.finish != 0 {
            clientFinished(found)
        }
        return true
    }

    // MARK: - Answers

    /// Queues an ERROR frame; false without buffers.
    @inline(never)
    func reply(_ index: UInt32, _ identifier: UInt32, _ fault: MuxFault) -> Bool {
        state.pointee.counters.count(fault.code)
        return MuxError.encode(code: fault.code.rawValue, message: fault.message).withUnsafeBytes {
            reply(index, .error, identifier, $0)
        }
    }

    /// Queues a frame in a message of its own; false without buffers, and when they run low while many answers wait.
    func reply(_ index: UInt32, _ type: MuxType, _ identifier: UInt32, _ payload: UnsafeRawBufferPointer) -> Bool {
        let shard = state.pointee.shard
        let client = socket(index).pointee.client
        if shard.runsLow, socket(index).pointee.answerBytes > MuxLimits.answerBytesLow { return false }
        socket(index).pointee.answerBytes += MuxFrame.headerBytes + payload.count
        state.pointee.hasReplied = true
        state.pointee.counters.add(.framesToClient)
        return withUnsafeTemporaryAllocation(byteCount: MuxFrame.maximumMessageHeaderBytes, alignment: 1) { header in
            let end = header.baseAddress! + header.count
            let count = MuxFrame.encodeMessage(type, stream: identifier, payloadBytes: payload.count, endingAt: end)
            guard shard.canAppend(client, count + payload.count), shard.append(client, end - count, count) else { return false }
            return payload.isEmpty || shard.append(client, payload.baseAddress!, payload.count)
        }
    }

    // MARK: - The WebSocket's own control frames

    /// Longest payload of a control frame (RFC 6455 section 5.5), rounded up.
    private static let controlBytes = 128

    /// Takes a piece of a control frame and, when it is whole, reacts: Pong for Ping, Close for Close with the same payload.
    @inline(never)
    func control(_ index: UInt32, _ base: UnsafeMutableRawPointer, _ run: ControlRun) -> MuxEnding {
        let socket = socket(index)
        if run.endsFrame, run.offset == 0 {
            ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
            return react(index, run.opcode, UnsafeRawBufferPointer(start: base + run.start, count: run.count))
        }
        let control = socket.pointee.control ?? UnsafeMutableRawPointer.allocate(byteCount: Self.controlBytes, alignment: 8)
        socket.pointee.control = control
        ByteKernel.unmask(base + run.start, control + Int(run.offset), run.count, key: run.key)
        guard run.endsFrame else { return .none }
        return react(index, run.opcode, UnsafeRawBufferPointer(start: control, count: Int(run.payloadBytes)))
    }

    private func react(_ index: UInt32, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> MuxEnding {
        switch opcode {
        case .ping: sendControl(index, .pong, payload) ? .none : .close(.internalError)
        case .close: sendControl(index, .close, payload) ? .closedByClient : .close(.internalError)
        default: .none
        }
    }

    /// Queues a control frame, from the reserve if need be. False when even that is used up.
    func sendControl(_ index: UInt32, _ opcode: Opcode, _ payload: UnsafeRawBufferPointer) -> Bool {
        state.pointee.hasReplied = true
        let shard = state.pointee.shard
        let client = socket(index).pointee.client
        return withUnsafeTemporaryAllocation(byteCount: Self.controlBytes + FrameHeader.maximumServerBytes, alignment: 1) { frame in
            let start = frame.baseAddress! + FrameHeader.maximumServerBytes
            if let source = payload.baseAddress { start.copyMemory(from: source, byteCount: payload.count) }
            let header = FrameHeader.encode(opcode, payloadBytes: payload.count, endingAt: start)
            return shard.append(client, start - header, header + payload.count)
        }
    }

    /// Queues a Close frame with a code and no reason.
    func sendClose(_ index: UInt32, _ code: CloseCode) {
        withUnsafeBytes(of: code.rawValue.bigEndian) { _ = sendControl(index, .close, $0) }
    }
}
