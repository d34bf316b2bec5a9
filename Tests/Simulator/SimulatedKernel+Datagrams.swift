import CRing
import Glibc

/// The datagram half of a simulated socket.
///
/// ```
///             incoming ◄── deliver            (receive buffer: whole datagrams, perhaps joined to trains)
///  engine                             the network
///             used bytes ──► datagramLeft     (send buffer: full until the network took some)
/// ```
/// Addresses are loopback; a port says who it is.
struct SimulatedDatagrams {
    struct Arrival {
        let port: UInt16
        var payload: [UInt8]
        var segmentBytes: Int
        var segments = 1
    }

    let family: sa_family_t
    let port: UInt16
    let peerPort: UInt16  // 0: not connected
    var incoming: [Arrival] = []
    var incomingBytes = 0
    var isCoalescing = false
    var lost: UInt32 = 0
    var sendBytesUsed = 0
    var isDraining = false
}

extension SimulatedKernel {
    /// Bytes of segments of one train: as Linux, at most 64 of them.
    private static let segmentsMaximum = 64
    private static let messageFlagCut = UInt32(MSG_TRUNC)

    // MARK: calls

    func openDatagramSocket(_ wanted: ring_datagram_socket) -> Int32 {
        if random.chance(faults.socketFails) { return -EMFILE }
        let socket = makeSocket()
        let descriptor = allocateDescriptor(socket)
        guard descriptor >= 0 else { return descriptor }
        let asked = UInt16(bigEndian: wanted.local.sin6_port)
        socket.datagrams = SimulatedDatagrams(
            family: wanted.local.sin6_family, port: asked > 0 ? asked : UInt16(20_000 + socket.identifier),
            peerPort: UInt16(bigEndian: wanted.peer.sin6_port))
        datagramOpened(socket)
        return descriptor
    }

    func coalesceDatagrams(_ descriptor: Int32) -> Int32 {
        guard let socket = socket(descriptor), socket.datagrams != nil else { return -EBADF }
        if socket.requests.contains(where: { $0.operation == .receiveDatagrams }) {
            violation("descriptor \(descriptor) joins datagrams while a receive may hold less")
        }
        socket.datagrams!.isCoalescing = true
        return 0
    }

    func localAddress(_ descriptor: Int32, _ address: UnsafeMutablePointer<sockaddr_in6>) -> Int32 {
        guard let datagrams = socket(descriptor)?.datagrams else { return -EBADF }
        address.pointee = Self.address(datagrams.family, datagrams.port)
        return 0
    }

    private static func address(_ family: sa_family_t, _ port: UInt16) -> sockaddr_in6 {
        var address = sockaddr_in6()
        address.sin6_family = family
        address.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &address) { raw in
            if Int32(family) == AF_INET {
                raw.storeBytes(of: UInt32(0x7F00_0001).bigEndian, toByteOffset: 4, as: UInt32.self)
            } else {
                raw[23] = 1
            }
        }
        return address
    }

    // MARK: receiving

    func receiveDatagrams(_ sqe: io_uring_sqe, _ socket: SimulatedSocket) {
        let header = UnsafePointer<msghdr>(bitPattern: UInt(sqe.addr))!.pointee
        guard socket.datagrams != nil, UInt32(sqe.flags) & Self.bufferSelect != 0, Int(sqe.buf_group) < groups.count,
            header.msg_namelen == RING_DATAGRAM_NAME_BYTES.rawValue, header.msg_controllen == Int(RING_DATAGRAM_CONTROL_BYTES.rawValue)
        else { return violation("a receive of datagrams that Linux would refuse") }
        if socket.requests.contains(where: { $0.operation == .receiveDatagrams }) {
            violation("two receives of datagrams on descriptor \(sqe.fd)")
        }
        let request = SimulatedRequest(
            .receiveDatagrams, token: sqe.user_data, socket: socket, multishot: UInt32(sqe.ioprio) & IORING_RECV_MULTISHOT != 0,
            group: Int(sqe.buf_group))
        hold(request)
        // It looks first whether the socket is readable (IORING_RECVSEND_POLL_FIRST), which completes nothing inline.
        planProgress(socket)
    }

    func datagramsReady(_ request: SimulatedRequest, _ socket: SimulatedSocket) {
        for _ in 0..<Self.readsPerLook {
            if socket.error != 0 {
                let error = socket.error
                socket.error = 0
                return finish(request, -error)
            }
            guard let arrival = socket.datagrams!.incoming.first else { return }
            if random.chance(faults.noBuffer) { return finish(request, -ENOBUFS) }
            guard let buffer = groups[request.group].take() else { return finish(request, -ENOBUFS) }
            socket.datagrams!.incoming.removeFirst()
            socket.datagrams!.incomingBytes -= arrival.payload.count
            let count = write(arrival, socket.datagrams!, buffer.address, buffer.count)
            socket.readsDelivered += 1
            let flags = UInt32(IORING_CQE_F_BUFFER) | UInt32(buffer.identifier) << UInt32(IORING_CQE_BUFFER_SHIFT)
            guard request.multishot, hasCompletionRoom, !random.chance(faults.multishotEnds) else {
                return finish(request, Int32(count), flags)
            }
            complete(request, Int32(count), flags | UInt32(IORING_CQE_F_MORE))
        }
        planProgress(socket)
    }

    /// Fills a buffer as io_recvmsg_multishot does; answers how much of it is used.
    private func write(_ arrival: SimulatedDatagrams.Arrival, _ datagrams: SimulatedDatagrams, _ place: UnsafeMutableRawPointer,
                       _ capacity: Int) -> Int {
        let room = capacity - Int(RING_DATAGRAM_PAYLOAD.rawValue)
        let count = min(room, arrival.payload.count)
        let isTrain = arrival.segments > 1
        let family = Int32(datagrams.family)
        place.storeBytes(of: family == AF_INET ? 16 : 28, toByteOffset: 0, as: UInt32.self)
        place.storeBytes(of: isTrain ? 20 : 0, toByteOffset: 4, as: UInt32.self)
        place.storeBytes(of: UInt32(arrival.payload.count), toByteOffset: 8, as: UInt32.self)
        place.storeBytes(of: count < arrival.payload.count ? Self.messageFlagCut : 0, toByteOffset: 12, as: UInt32.self)
        var address = Self.address(datagrams.family, arrival.port)
        memcpy(place + Int(RING_DATAGRAM_NAME.rawValue), &address, family == AF_INET ? 16 : 28)
        if isTrain {
            let control = place + Int(RING_DATAGRAM_CONTROL.rawValue)
            control.storeBytes(of: 20, as: UInt64.self)
            control.storeBytes(of: 17, toByteOffset: 8, as: Int32.self)
            control.storeBytes(of: 104, toByteOffset: 12, as: Int32.self)
            control.storeBytes(of: Int32(arrival.segmentBytes), toByteOffset: 16, as: Int32.self)
        }
        memcpy(place + Int(RING_DATAGRAM_PAYLOAD.rawValue), arrival.payload, count)
        return Int(RING_DATAGRAM_PAYLOAD.rawValue) + count
    }

    // MARK: sending

    func sendDatagrams(_ sqe: io_uring_sqe, _ socket: SimulatedSocket) {
        let request = SimulatedRequest(.sendDatagrams, token: sqe.user_data, socket: socket)
        let header = UnsafePointer<msghdr>(bitPattern: UInt(sqe.addr))!
        request.message = header
        // The vector is copied when the entry is taken, what it points at when it is executed.
        request.parts = UnsafeBufferPointer(start: header.pointee.msg_iov, count: Int(header.pointee.msg_iovlen)).map {
            (UnsafeRawPointer($0.iov_base), $0.iov_len)
        }
        if Int32(sqe.msg_flags) & Int32(MSG_DONTWAIT) == 0 {
            hold(request)
            return planProgress(socket)
        }
        let result = isFull(socket) ? -EAGAIN : leave(request, socket)
        if result < 0 || UInt32(sqe.flags) & Self.skipSuccess == 0 { post(request.token, result, 0) }
    }

    func sendDatagramsReady(_ request: SimulatedRequest, _ socket: SimulatedSocket) {
        if socket.datagrams!.sendBytesUsed >= outgoingBytes { return }
        finish(request, leave(request, socket))
    }

    private func isFull(_ socket: SimulatedSocket) -> Bool {
        socket.datagrams!.sendBytesUsed >= outgoingBytes || random.chance(faults.datagramRefused)
    }

    /// Cuts what a request holds into datagrams and lets them go; answers the request's result.
    private func leave(_ request: SimulatedRequest, _ socket: SimulatedSocket) -> Int32 {
        if socket.error != 0 {
            defer { socket.error = 0 }
            return -socket.error
        }
        let header = request.message!.pointee
        var port = socket.datagrams!.peerPort
        if let name = header.msg_name {
            if port != 0 { violation("a connected socket is told where to send") }
            port = UInt16(bigEndian: name.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
        }
        var bytes: [UInt8] = []
        for part in request.parts { bytes += UnsafeRawBufferPointer(start: part.address, count: part.count) }
        var segment = max(bytes.count, 1)
        if let control = header.msg_control {
            segment = Int(control.loadUnaligned(fromByteOffset: 16, as: UInt16.self))
            if faults.segmentMaximum == 0 { return -EIO }
            if segment > faults.segmentMaximum { return random.chance(500_000) ? -EMSGSIZE : -EINVAL }
            if segment == 0 || (bytes.count + segment - 1) / segment > Self.segmentsMaximum { violation("a train of too many segments") }
        }
        if bytes.count > 65507 { violation("a datagram of \(bytes.count) bytes") }
        if random.chance(faults.datagramError) { return random.chance(500_000) ? -ENETUNREACH : -ENOBUFS }
        useSendBuffer(socket, bytes.count)
        var start = 0
        repeat {
            let end = min(start + segment, bytes.count)
            if !random.chance(faults.datagramLost) { datagramLeft(socket, port, Array(bytes[start..<end])) }
            start = end
        } while start < bytes.count
        return Int32(bytes.count)
    }

    private func useSendBuffer(_ socket: SimulatedSocket, _ count: Int) {
        // Loopback takes everything at once; a device needs time.
        guard outgoingBytes < 65536 * 8 else { return }
        socket.datagrams!.sendBytesUsed += count + 256
        guard !socket.datagrams!.isDraining else { return }
        socket.datagrams!.isDraining = true
        plan(afterNanoseconds: UInt64(1 + random.size(upTo: 200_000))) { [unowned self, unowned socket] in
            socket.datagrams!.isDraining = false
            socket.datagrams!.sendBytesUsed = 0
            self.planProgress(socket)
        }
    }

    // MARK: harness

    /// Datagrams arrive at a socket from a port, in order; equal ones may be joined. Answers how many found room.
    @discardableResult
    public func deliver(_ payloads: [[UInt8]], from port: UInt16, to socket: SimulatedSocket) -> Int {
        guard socket.datagrams != nil, !socket.released else { return 0 }
        var taken = 0
        for payload in payloads {
            if socket.datagrams!.peerPort != 0, socket.datagrams!.peerPort != port { continue }
            // As Linux counts: every datagram costs memory, however small.
            if socket.datagrams!.incomingBytes + payload.count + 256 * socket.datagrams!.incoming.count > incomingBytes {
                socket.datagrams!.lost += 1
                continue
            }
            taken += 1
            arrive(payload, port, socket)
        }
        planProgress(socket)
        return taken
    }

    private func arrive(_ payload: [UInt8], _ port: UInt16, _ socket: SimulatedSocket) {
        socket.datagrams!.incomingBytes += payload.count
        let count = socket.datagrams!.incoming.count
        if count > 0, socket.datagrams!.isCoalescing, !random.chance(faults.datagramUnjoined) {
            let last = socket.datagrams!.incoming[count - 1]
            let isOpen = last.payload.count == last.segments * last.segmentBytes && last.segments < Self.segmentsMaximum
            let fits = payload.count <= last.segmentBytes && last.payload.count + payload.count <= 65507
            if last.port == port, isOpen, fits, !payload.isEmpty {
                socket.datagrams!.incoming[count - 1].payload += payload
                socket.datagrams!.incoming[count - 1].segments += 1
                return
            }
        }
        let arrival = SimulatedDatagrams.Arrival(port: port, payload: payload, segmentBytes: payload.count)
        let overtakes = count > 0 && random.chance(faults.datagramOvertakes)
        socket.datagrams!.incoming.insert(arrival, at: overtakes ? count - 1 : count)
    }

    /// An ICMP error comes in on a socket; what the engine does next on it meets the error.
    public func raiseDatagramError(_ error: Int32, on socket: SimulatedSocket) {
        guard socket.datagrams != nil, !socket.released else { return }
        socket.error = error
        planProgress(socket)
    }
}

extension SimulatedSocket {
    /// Port a datagram socket is bound to.
    public var datagramPort: UInt16 { datagrams?.port ?? 0 }
    /// Datagrams that found the socket full.
    public var datagramsLost: Int { Int(datagrams?.lost ?? 0) }
    /// Whether datagrams wait to be read.
    public var hasDatagrams: Bool { !(datagrams?.incoming.isEmpty ?? true) }
}
