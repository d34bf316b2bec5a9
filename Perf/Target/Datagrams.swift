// Services over UDP: echo, a sink that knows how many datagrams reached it, and bursts on request.

import Glibc

/// Socket options of <linux/udp.h>, which Swift's Glibc module does not carry.
private let udpSegment: Int32 = 103
private let udpCoalesce: Int32 = 104

/// One socket and what it does with its datagrams.
struct DatagramSocket {
    /// Datagrams may queue up while the load has the core; one lost here would be charged to the server.
    private static let queueBytes: Int32 = 64 << 20
    /// Receives before the other sockets get their turn.
    private static let receivesPerTurn = 256
    /// One send carries at most as many datagrams as UDP_MAX_SEGMENTS of the oldest kernels, and a datagram's bytes.
    private static let trainDatagrams = 64
    private static let trainBytes = 65507
    /// SO_RCVBUFFORCE and SO_SNDBUFFORCE of <asm-generic/socket.h>.
    private static let receiveBufferForced: Int32 = 33
    private static let sendBufferForced: Int32 = 32

    let descriptor: Int32
    let service: Service
    let port: UInt16
    private var received = 0
    private var segmentBytes = 0

    /// Opens a socket on 127.0.0.1; nil with errno set when the port cannot be had.
    init?(_ service: Service, port: UInt16) {
        self.service = service
        descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard bound else { return nil }
        self.port = UInt16(bigEndian: address.sin_port)
        var bytes = Self.queueBytes
        // Without the privilege the usual limit applies, and what does not fit is counted as dropped.
        if setsockopt(descriptor, SOL_SOCKET, Self.receiveBufferForced, &bytes, 4) != 0 {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, 4)
        }
        if setsockopt(descriptor, SOL_SOCKET, Self.sendBufferForced, &bytes, 4) != 0 {
            setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, 4)
        }
        var one: Int32 = 1
        // A train that arrives whole costs the sender no segmentation, as a network card would spare it.
        if service == .datagramSink { setsockopt(descriptor, Int32(IPPROTO_UDP), udpCoalesce, &one, 4) }
    }

    /// Datagrams that reached the socket: read, or dropped because its queue was full.
    var arrived: Int { received + dropped() }

    /// The kernel's count of drops at this socket: the last column of its line in /proc/net/udp.
    private func dropped() -> Int {
        guard let file = fopen("/proc/net/udp", "r") else { return 0 }
        defer { fclose(file) }
        let digits = String(port, radix: 16, uppercase: true)
        let local = "0100007F:" + String(repeating: "0", count: 4 - digits.count) + digits
        let line = UnsafeMutablePointer<CChar>.allocate(capacity: 512)
        defer { line.deallocate() }
        while fgets(line, 512, file) != nil {
            let columns = String(cString: line).split(whereSeparator: \.isWhitespace)
            if columns.count > 12, columns[1] == local { return Int(columns[columns.count - 1]) ?? 0 }
        }
        return 0
    }

    /// Serves what has arrived.
    mutating func serve(_ scratch: Scratch) {
        for _ in 0..<Self.receivesPerTurn {
            guard service == .datagramSink ? count() : answer(scratch) else { return }
        }
    }

    /// Counts the datagrams of one receive; false when none was left. Their bytes stay in the kernel.
    private mutating func count() -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { control in
            var message = msghdr()
            message.msg_control = control.baseAddress
            message.msg_controllen = control.count
            let bytes = recvmsg(descriptor, &message, Int32(MSG_TRUNC))
            guard bytes >= 0 else { return false }
            // struct cmsghdr: length in 8 bytes, level and type in 4 each, then the size of one datagram.
            var size = bytes
            if message.msg_controllen >= 20, control.load(fromByteOffset: 8, as: Int32.self) == Int32(IPPROTO_UDP),
                control.load(fromByteOffset: 12, as: Int32.self) == udpCoalesce {
                size = Int(control.load(fromByteOffset: 16, as: Int32.self))
            }
            received += size > 0 ? (bytes + size - 1) / size : 1
            return true
        }
    }

    /// Answers one datagram; false when none was left.
    private mutating func answer(_ scratch: Scratch) -> Bool {
        var peer = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeMutablePointer(to: &peer) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                let bytes = recvfrom(descriptor, scratch.input, Scratch.inputBytes, 0, peer, &length)
                guard bytes >= 0 else { return false }
                if service == .datagramEcho {
                    sendto(descriptor, scratch.input, bytes, 0, peer, length)
                } else if bytes >= 4 {
                    let count = Int(scratch.input[0]) << 8 | Int(scratch.input[1])
                    burst(count, of: Int(scratch.input[2]) << 8 | Int(scratch.input[3]), scratch, peer, length)
                }
                return true
            }
        }
    }

    private mutating func burst(_ count: Int, of bytes: Int, _ scratch: Scratch, _ peer: UnsafePointer<sockaddr>, _ length: socklen_t) {
        guard bytes > 0, bytes <= Self.trainBytes else { return }
        if segmentBytes != bytes {
            var size = Int32(bytes)
            setsockopt(descriptor, Int32(IPPROTO_UDP), udpSegment, &size, 4)
            segmentBytes = bytes
        }
        var left = count
        while left > 0 {
            let train = min(left, Self.trainDatagrams, Self.trainBytes / bytes)
            sendto(descriptor, scratch.pattern, train * bytes, 0, peer, length)
            left -= train
        }
    }
}
