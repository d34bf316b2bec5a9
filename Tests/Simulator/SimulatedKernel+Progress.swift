import CRing
import Glibc

/// What requests do when their socket is ready.
extension SimulatedKernel {
    /// Reads a multishot request makes at one look (MULTISHOT_MAX_RETRY of io_uring/net.c).
    static let readsPerLook = 32

    func planProgress(_ socket: SimulatedSocket) {
        guard !socket.progressPlanned else { return }
        socket.progressPlanned = true
        let late = random.chance(faults.lateReadiness)
        heap.insert(at: nanoseconds + UInt64(random.size(upTo: late ? 500_000 : 2_000)), .progress(socket))
    }

    func progress(_ socket: SimulatedSocket) {
        if socket.connected, !socket.broken, random.chance(faults.connectionBreaks) { breakConnection(socket) }
        for request in socket.requests where !request.finished {
            switch request.operation {
            case .accept: acceptWaiting(request, socket)
            case .receive: receiveReady(request, socket)
            case .send: sendReady(request, socket)
            case .receiveDatagrams: datagramsReady(request, socket)
            case .sendDatagrams: sendDatagramsReady(request, socket)
            case .connect, .poll: break
            }
        }
    }

    private func acceptWaiting(_ request: SimulatedRequest, _ socket: SimulatedSocket) {
        while !socket.backlog.isEmpty {
            if random.chance(faults.acceptFails) {
                if random.chance(500_000) { return finish(request, -EMFILE) }
                let gone = socket.backlog.removeFirst()
                gone.broken = true
                gone.disturbed = true
                gone.released = true
                wakePeer(gone)
                return finish(request, -ECONNABORTED)
            }
            let descriptor = allocateDescriptor(socket.backlog[0])
            guard descriptor >= 0 else { return finish(request, descriptor) }
            let accepted = socket.backlog.removeFirst()
            trace.add(.accept, at: nanoseconds, Int(descriptor), accepted.identifier)
            guard request.multishot, hasCompletionRoom, !random.chance(faults.multishotEnds) else {
                return finish(request, descriptor)
            }
            complete(request, descriptor, UInt32(IORING_CQE_F_MORE))
        }
    }

    private func receiveReady(_ request: SimulatedRequest, _ socket: SimulatedSocket) {
        for _ in 0..<Self.readsPerLook {
            guard socket.incoming.count > 0 else { return receiveEnd(request, socket) }
            if random.chance(faults.noBuffer) { return finish(request, -ENOBUFS) }
            guard let buffer = groups[request.group].take() else { return finish(request, -ENOBUFS) }
            var limit = buffer.count
            if random.chance(faults.shortRead) { limit = min(limit, 1 + random.size(upTo: limit)) }
            let count = socket.incoming.read(buffer.address, limit)
            socket.readsDelivered += 1
            wakePeer(socket)
            let flags = UInt32(IORING_CQE_F_BUFFER) | UInt32(buffer.identifier) << UInt32(IORING_CQE_BUFFER_SHIFT)
            guard request.multishot, hasCompletionRoom, !random.chance(faults.multishotEnds) else {
                return finish(request, Int32(count), flags)
            }
            complete(request, Int32(count), flags | UInt32(IORING_CQE_F_MORE))
        }
        planProgress(socket)
    }

    private func receiveEnd(_ request: SimulatedRequest, _ socket: SimulatedSocket) {
        guard socket.error != 0 || socket.remoteFinished || socket.broken else { return }
        let error = socket.error
        socket.error = 0
        var flags: UInt32 = 0
        if random.chance(faults.bufferWithEnd), let buffer = groups[request.group].take() {
            flags = UInt32(IORING_CQE_F_BUFFER) | UInt32(buffer.identifier) << UInt32(IORING_CQE_BUFFER_SHIFT)
        }
        finish(request, -error, flags)
    }

    private func sendReady(_ request: SimulatedRequest, _ socket: SimulatedSocket) {
        if let error = takeSendError(socket) { return finish(request, request.done > 0 ? Int32(request.done) : -error) }
        var limit = Int.max
        if random.chance(faults.shortWrite) { limit = 1 + random.size(upTo: 70_000) }
        _ = copyOut(request, socket, limit)
        let endsShort = request.done > 0 && (!request.waitsForAll || random.chance(faults.waitEndsShort))
        if request.parts.isEmpty || endsShort {
            return finish(request, Int32(request.done))
        }
        if socket.outgoing.room > 0 { planProgress(socket) }
    }

    /// The errno a send finds, or nil when it may go on.
    func takeSendError(_ socket: SimulatedSocket) -> Int32? {
        if socket.error != 0 {
            defer { socket.error = 0 }
            return socket.error
        }
        if socket.broken || socket.localFinished { return EPIPE }
        return socket.connected ? nil : ENOTCONN
    }

    /// Moves bytes of the request into the socket; returns how many.
    func copyOut(_ request: SimulatedRequest, _ socket: SimulatedSocket, _ limit: Int) -> Int {
        var copied = 0
        while let part = request.parts.first, copied < limit {
            let count = socket.outgoing.write(part.address, min(part.count, limit - copied))
            if count == 0 { break }
            copied += count
            if count == part.count {
                request.parts.removeFirst()
            } else {
                request.parts[0] = (part.address + count, part.count - count)
            }
        }
        request.done += copied
        if socket.remoteGone, copied > 0 {
            // Nobody is there: the bytes are lost and a reset comes back.
            socket.outgoing.clear()
            if !socket.broken { fail(socket, ECONNRESET) }
        } else {
            wakePeer(socket)
        }
        return copied
    }

    private func breakConnection(_ socket: SimulatedSocket) {
        socket.disturbed = true
        trace.add(.breaks, at: nanoseconds, socket.identifier)
        if random.chance(500_000) { socket.incoming.clear() }
        socket.outgoing.clear()
        fail(socket, random.chance(500_000) ? ECONNRESET : ETIMEDOUT)
        wakePeer(socket)
    }

    private func fail(_ socket: SimulatedSocket, _ error: Int32) {
        socket.broken = true
        socket.error = error
        planProgress(socket)
    }
}
