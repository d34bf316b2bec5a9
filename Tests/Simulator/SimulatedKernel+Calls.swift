import CRing
import Glibc

/// A provided-buffer ring as the engine registered it: plain memory whose tail the engine writes and whose head is the
/// kernel's own business.
struct BufferGroup {
    let ring: UnsafeMutableRawPointer
    let mask: Int
    var head: UInt16 = 0

    // struct io_uring_buf: address 8, length 4, identifier 2; the ring's tail lies in the first entry's last two bytes.
    private var tail: UInt16 { ring.load(fromByteOffset: 14, as: UInt16.self) }

    var available: Int { Int(tail &- head) }

    mutating func take() -> (address: UnsafeMutableRawPointer, count: Int, identifier: UInt16)? {
        guard available > 0 else { return nil }
        let entry = ring + (Int(head) & mask) * 16
        head &+= 1
        let address = UnsafeMutableRawPointer(bitPattern: UInt(entry.load(as: UInt64.self)))!
        return (address, Int(entry.load(fromByteOffset: 8, as: UInt32.self)), entry.load(fromByteOffset: 12, as: UInt16.self))
    }
}

/// The system calls beside the ring, and the descriptor table.
extension SimulatedKernel {
    func registerBuffers(_ group: Int, _ memory: UnsafeMutablePointer<io_uring_buf_ring>, _ entries: Int) -> Int32 {
        guard group == groups.count, entries & (entries - 1) == 0 else { return -EINVAL }
        groups.append(BufferGroup(ring: UnsafeMutableRawPointer(memory), mask: entries - 1))
        return 0
    }

    func openStreamSocket() -> Int32 {
        if random.chance(faults.socketFails) { return -EMFILE }
        return allocateDescriptor(makeSocket())
    }

    func peerAddress(_ descriptor: Int32, _ address: UnsafeMutablePointer<sockaddr_in6>) -> Int32 {
        guard let socket = socket(descriptor) else { return -EBADF }
        guard socket.connected else { return -ENOTCONN }
        UnsafeMutableRawPointer(address).withMemoryRebound(to: sockaddr_in.self, capacity: 1) { four in
            four.pointee.sin_family = sa_family_t(AF_INET)
            four.pointee.sin_port = socket.peerPort.bigEndian
            four.pointee.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        }
        return 0
    }

    func makeSocket(isListener: Bool = false) -> SimulatedSocket {
        let socket = SimulatedSocket(
            identifier: sockets.count, isListener: isListener, incomingBytes: incomingBytes, outgoingBytes: outgoingBytes)
        sockets.append(socket)
        return socket
    }

    func socket(_ descriptor: Int32) -> SimulatedSocket? {
        let index = Int(descriptor - Self.firstDescriptor)
        return descriptors.indices.contains(index) ? descriptors[index] : nil
    }

    /// The lowest free number, as Linux gives: a number that was just closed comes back at once.
    func allocateDescriptor(_ socket: SimulatedSocket) -> Int32 {
        guard openDescriptors < descriptorLimit else { return -EMFILE }
        let index = descriptors.firstIndex { $0 == nil } ?? descriptors.count
        if index == descriptors.count { descriptors.append(nil) }
        descriptors[index] = socket
        socket.descriptor = Self.firstDescriptor + Int32(index)
        return socket.descriptor
    }

    func closeDescriptor(_ descriptor: Int32) -> Int32 {
        guard let closed = socket(descriptor) else {
            violation("close of descriptor \(descriptor), which is not open")
            return -EBADF
        }
        trace.add(.close, at: nanoseconds, Int(descriptor), closed.identifier)
        descriptors[Int(descriptor - Self.firstDescriptor)] = nil
        closed.descriptor = -1
        // Requests keep their file (io_uring_cancelation(7)): the connection would live on unseen.
        if !closed.requests.isEmpty { violation("descriptor \(descriptor) was closed with \(closed.requests.count) requests under way") }
        release(closed)
        return 0
    }

    func finishSending(_ descriptor: Int32) {
        guard let socket = socket(descriptor) else { return violation("shutdown of descriptor \(descriptor), which is not open") }
        guard socket.connected, !socket.broken else { return }
        if socket.requests.contains(where: { $0.operation == .send }) { violation("a shutdown overtook a send under way") }
        trace.add(.finish, at: nanoseconds, socket.identifier)
        socket.localFinished = true
        wakePeer(socket)
    }

    private func release(_ socket: SimulatedSocket) {
        socket.released = true
        for waiting in socket.backlog {
            waiting.broken = true
            waiting.released = true
            wakePeer(waiting)
        }
        socket.backlog = []
        // Unread bytes turn the FIN into a reset (RFC 9293 section 3.6.1), which overtakes what was sent before.
        if socket.incoming.count > 0, !socket.broken {
            socket.broken = true
            if random.chance(500_000) { socket.outgoing.clear() }
        }
        socket.localFinished = true
        wakePeer(socket)
    }

    // MARK: harness

    /// A listening descriptor for `Shard.listen`.
    public func openListener() -> Int32 { allocateDescriptor(makeSocket(isListener: true)) }

    /// A client connects to a listener. Nil: refused, because the listener is closed or its backlog full.
    public func connectClient(to listener: Int32, port: UInt16, backlogMaximum: Int, peer: any RemotePeer) -> SimulatedSocket? {
        guard let listening = socket(listener), listening.isListener, listening.backlog.count < backlogMaximum else { return nil }
        let socket = makeSocket()
        socket.connected = true
        socket.peerPort = port
        socket.peer = peer
        listening.backlog.append(socket)
        wakePeer(socket)
        planProgress(listening)
        return socket
    }

    /// Completes every poll under way, as if its descriptor had become readable.
    public func firePolls() {
        for request in requests.values where request.operation == .poll {
            complete(request, Int32(POLLIN), request.multishot ? UInt32(IORING_CQE_F_MORE) : 0)
            if !request.multishot { forget(request) }
        }
    }
}
