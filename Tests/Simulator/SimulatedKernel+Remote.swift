import Glibc

/// What a remote peer does with its end of a connection.
extension SimulatedKernel {
    /// Lets the peer act soon, because something changed on its connection.
    public func wakePeer(_ socket: SimulatedSocket) {
        guard socket.peer != nil, !socket.peerPlanned else { return }
        socket.peerPlanned = true
        heap.insert(at: nanoseconds + UInt64(random.size(upTo: 50_000)), .act(socket))
    }

    func actPeer(_ socket: SimulatedSocket) {
        socket.peerPlanned = false
        socket.layer?.pump(socket, self)
        guard let peer = socket.peer, let delay = peer.act(socket, self), !socket.peerPlanned else { return }
        socket.peerPlanned = true
        heap.insert(at: nanoseconds + max(delay, 1), .act(socket))
    }

    /// Writes as much as the engine's receive buffer has room for; -1 when the connection is lost.
    public func remoteWrite(_ socket: SimulatedSocket, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
        socket.layer?.write(socket, self, bytes, count) ?? rawWrite(socket, bytes, count)
    }

    func rawWrite(_ socket: SimulatedSocket, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
        if socket.broken || socket.released || socket.remoteFinished { return -1 }
        let written = socket.incoming.write(bytes, count)
        if written > 0 {
            trace.add(.write, at: nanoseconds, socket.identifier, written)
            planProgress(socket)
        }
        return written
    }

    /// What a remote read finds.
    public enum RemoteRead: Equatable {
        /// So many bytes.
        case bytes(Int)
        /// Nothing yet.
        case nothing
        /// The engine's FIN.
        case end
        /// A reset.
        case lost
    }

    /// Reads what the engine sent.
    public func remoteRead(_ socket: SimulatedSocket, _ into: UnsafeMutableRawPointer, _ capacity: Int) -> RemoteRead {
        socket.layer?.read(socket, self, into, capacity) ?? rawRead(socket, into, capacity)
    }

    func rawRead(_ socket: SimulatedSocket, _ into: UnsafeMutableRawPointer, _ capacity: Int) -> RemoteRead {
        let count = socket.outgoing.read(into, capacity)
        if count > 0 {
            trace.add(.read, at: nanoseconds, socket.identifier, count)
            planProgress(socket)
            return .bytes(count)
        }
        if socket.broken { return .lost }
        return socket.localFinished ? .end : .nothing
    }

    /// Sends FIN.
    public func remoteFinish(_ socket: SimulatedSocket) {
        if let layer = socket.layer { layer.finish(socket, self, closes: false) } else { rawFinish(socket) }
    }

    func rawFinish(_ socket: SimulatedSocket) {
        guard !socket.remoteFinished else { return }
        trace.add(.finish, at: nanoseconds, socket.identifier, 1)
        socket.remoteFinished = true
        planProgress(socket)
    }

    /// Sends RST. What the engine had not read may be lost, what the peer had not read is.
    public func remoteReset(_ socket: SimulatedSocket) {
        guard !socket.broken else { return }
        trace.add(.reset, at: nanoseconds, socket.identifier)
        socket.broken = true
        socket.error = ECONNRESET
        socket.remoteGone = true
        if random.chance(500_000) { socket.incoming.clear() }
        socket.outgoing.clear()
        planProgress(socket)
    }

    /// close(2) at the remote end: a FIN, or a reset when bytes of the engine's were not read.
    public func remoteClose(_ socket: SimulatedSocket) {
        if let layer = socket.layer { layer.finish(socket, self, closes: true) } else { rawClose(socket) }
    }

    func rawClose(_ socket: SimulatedSocket) {
        if socket.outgoing.count > 0 { return remoteReset(socket) }
        rawFinish(socket)
        socket.remoteGone = true
    }
}
