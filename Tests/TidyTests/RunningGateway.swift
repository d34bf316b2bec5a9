import Foundation
import Glibc

/// A TCP connection to this machine that waits, with a time limit for each read.
final class Connection {
    let descriptor: Int32

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Tool.Failure(description: "socket: \(String(cString: strerror(errno)))") }
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = Self.loopback(port: port)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else { throw Tool.Failure(description: "connect to \(port): \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    static func loopback(port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            guard count > 0 else { throw Tool.Failure(description: "send: \(String(cString: strerror(errno)))") }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    func write(_ text: String) throws { try Array(text.utf8).withUnsafeBytes { try write($0) } }

    /// Reads what is there, at least one byte; 0 at the end of the stream.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
        guard count >= 0 else { throw Tool.Failure(description: "nothing came for ten seconds: \(String(cString: strerror(errno)))") }
        return count
    }

    /// The head of a response, to its empty line, byte by byte so that nothing behind it is taken.
    func readHead() throws -> String {
        var head: [UInt8] = []
        var byte: UInt8 = 0
        while !head.suffix(4).elementsEqual([13, 10, 13, 10]) {
            guard try withUnsafeMutableBytes(of: &byte, { try read(into: $0) }) == 1, head.count < 65536 else {
                throw Tool.Failure(description: "no response: \(String(decoding: head, as: UTF8.self))")
            }
            head.append(byte)
        }
        return String(decoding: head, as: UTF8.self)
    }
}

/// `sluice serve` of the release build on a free port of the loopback interface.
final class RunningGateway {
    let port: UInt16
    private let child: Process

    init(environment additions: [String: String], arguments: [String] = []) throws {
        port = try Self.freePort()
        child = Process()
        child.executableURL = ReleaseBuild.executable("sluice")
        child.arguments = ["serve"] + arguments
        var environment = ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"]
        environment["HOST"] = "127.0.0.1"
        environment["PORT"] = "\(port)"
        environment["TCP_ALLOW_PRIVATE_IPS"] = "1"
        environment["TCP_PROXY_MAX_CONNECTIONS"] = "1000"
        environment["LOG_LEVEL"] = "error"
        environment.merge(additions) { $1 }
        child.environment = environment
        child.standardInput = FileHandle.nullDevice
        try child.run()
        for _ in 0..<200 {
            if (try? Connection(port: port)) != nil { return }
            guard child.isRunning else { throw Tool.Failure(description: "sluice serve ended with status \(child.terminationStatus)") }
            usleep(50_000)
        }
        stop()
        throw Tool.Failure(description: "sluice serve did not listen within ten seconds")
    }

    func stop() {
        guard child.isRunning else { return }
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
    }

    /// Opens a session and returns its cookie as `name=value`.
    func openSession() throws -> String {
        let connection = try Connection(port: port)
        try connection.write("POST /session HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        let head = try connection.readHead()
        for line in head.split(whereSeparator: \.isNewline) where line.lowercased().hasPrefix("set-cookie:") {
            return String(line.dropFirst("set-cookie:".count).drop { $0 == " " }.prefix { $0 != ";" })
        }
        throw Tool.Failure(description: "POST /session: \(head)")
    }

    private static func freePort() throws -> UInt16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = Connection.loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                bind(descriptor, raw, length) == 0 ? getsockname(descriptor, raw, &length) : -1
            }
        }
        guard result == 0 else { throw Tool.Failure(description: "no free port: \(String(cString: strerror(errno)))") }
        return UInt16(bigEndian: address.sin_port)
    }
}

/// A datagram socket whose peer echoes.
final class DatagramClient {
    private let descriptor: Int32

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = Connection.loopback(port: port)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else { throw Tool.Failure(description: "no socket to port \(port)") }
    }

    deinit { close(descriptor) }

    /// Sends rounds of so many datagrams and waits for all of a round to come back.
    func echo(datagrams: Int, payloadBytes: Int, inFlight: Int) throws {
        var payload = (0..<payloadBytes).map { UInt8(truncatingIfNeeded: $0) }
        var answer = [UInt8](repeating: 0, count: payloadBytes + 1)
        for round in 0..<datagrams / inFlight {
            payload[0] = UInt8(truncatingIfNeeded: round)
            for _ in 0..<inFlight {
                guard send(descriptor, payload, payloadBytes, 0) == payloadBytes else {
                    throw Tool.Failure(description: "a datagram is not sent")
                }
            }
            for _ in 0..<inFlight {
                guard recv(descriptor, &answer, answer.count, 0) == payloadBytes, answer.prefix(payloadBytes).elementsEqual(payload) else {
                    throw Tool.Failure(description: "round \(round): a datagram did not come back as it was")
                }
            }
        }
    }
}

/// A WebSocket whose peer echoes: sends masked binary frames, a number of them in flight.
final class WebSocketClient {
    private let connection: Connection
    private let key: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]

    init(port: UInt16, path: String, cookie: String? = nil, subprotocol: String? = nil) throws {
        connection = try Connection(port: port)
        let offer = subprotocol.map { "Sec-WebSocket-Protocol: \($0)\r\n" } ?? ""
        let cookieField = cookie.map { "Cookie: \($0)\r\n" } ?? ""
        try connection.write("""
            GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\(offer)\(cookieField)\r\n
            """)
        let head = try connection.readHead()
        guard head.hasPrefix("HTTP/1.1 101 ") else { throw Tool.Failure(description: "upgrade: \(head)") }
    }

    private func frame(_ payload: [UInt8]) -> [UInt8] {
        precondition(payload.count < 126)
        return [0x82, 0x80 | UInt8(payload.count)] + key + payload.indices.map { payload[$0] ^ key[$0 % 4] }
    }

    /// The server's next message, a short text.
    func readText() throws -> String {
        var bytes: [UInt8] = []
        while bytes.count < 2 || bytes.count < 2 + Int(bytes[1]) {
            var byte: UInt8 = 0
            guard try withUnsafeMutableBytes(of: &byte, { try connection.read(into: $0) }) == 1 else { break }
            bytes.append(byte)
            guard bytes[0] == 0x81, bytes.count < 2 || bytes[1] < 126 else { throw Tool.Failure(description: "frame \(bytes)") }
        }
        return String(decoding: bytes.dropFirst(2), as: UTF8.self)
    }

    /// The next bytes from the server.
    func readBytes(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            var byte: UInt8 = 0
            guard try withUnsafeMutableBytes(of: &byte, { try connection.read(into: $0) }) == 1 else { break }
            bytes.append(byte)
        }
        return bytes
    }

    /// Sends messages that are not answered.
    func send(_ payloads: [[UInt8]]) throws {
        try payloads.flatMap(frame).withUnsafeBytes { try connection.write($0) }
    }

    /// Sends so many messages of the same bytes and counts what comes back, which may be framed otherwise.
    func echo(messages: Int, payloadBytes: Int, inFlight: Int) throws {
        let payload = (0..<payloadBytes).map { UInt8($0) }
        try echo(payloads: [[UInt8]](repeating: payload, count: inFlight), messages: messages)
    }

    /// Sends these messages, which are of one length, again and again, all of them in flight; counts what comes back.
    /// `inRounds`: a round begins when the one before is back, so that no stream has two messages under way, which could
    /// come back as one.
    func echo(payloads: [[UInt8]], messages: Int, inRounds: Bool = false) throws {
        let payloadBytes = payloads[0].count
        let frames = payloads.flatMap(frame)
        let frameBytes = frames.count / payloads.count
        var counter = PayloadCounter()
        var sent = 0
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65536, alignment: 8)
        defer { buffer.deallocate() }
        while counter.payloadBytes < messages * payloadBytes {
            let arrived = counter.payloadBytes / payloadBytes
            let burst = inRounds && arrived < sent ? 0 : min(payloads.count - (sent - arrived), messages - sent)
            if burst > 0 {
                // The next ones in turn, to the end of the list at most.
                let first = sent % payloads.count
                let count = min(burst, payloads.count - first)
                try frames.withUnsafeBytes {
                    try connection.write(UnsafeRawBufferPointer(rebasing: $0[first * frameBytes..<(first + count) * frameBytes]))
                }
                sent += count
                if count < burst { continue }
            }
            let count = try connection.read(into: buffer)
            guard count > 0 else { throw Tool.Failure(description: "the gateway closed after \(arrived) messages") }
            try counter.take(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
        guard counter.payloadBytes == messages * payloadBytes, counter.isBetweenFrames else {
            throw Tool.Failure(description: "\(counter.payloadBytes) bytes came back for \(messages) messages")
        }
    }
}

/// Multiplexing frames of some streams: one OPEN and one DATA for each, in messages of their own.
struct MuxFrames {
    let data: [[UInt8]]
    private let streams: Int

    init(streams: Int, payloadBytes: Int) {
        self.streams = streams
        let payload = (0..<payloadBytes).map { UInt8($0) }
        data = (1...streams).map { [2, 0, 0, 0, UInt8($0), 0, 0, 0, UInt8(payloadBytes)] + payload }
    }

    func opens(port: UInt16) -> [[UInt8]] {
        let host = Array("127.0.0.1".utf8)
        let payload = [0, UInt8(host.count)] + host + [UInt8(port >> 8), UInt8(port & 0xFF), 0, 0]
        return (1...streams).map { [1, 0, 0, 0, UInt8($0), 0, 0, 0, UInt8(payload.count)] + payload }
    }
}

/// Counts payload bytes of unmasked binary frames (RFC 6455 section 5.2) that come in any pieces.
private struct PayloadCounter {
    private(set) var payloadBytes = 0
    private var header: [UInt8] = []
    private var remaining = 0
    var isBetweenFrames: Bool { header.isEmpty && remaining == 0 }

    mutating func take(_ bytes: UnsafeRawBufferPointer) throws {
        var index = 0
        while index < bytes.count {
            if remaining > 0 {
                let count = min(remaining, bytes.count - index)
                remaining -= count
                payloadBytes += count
                index += count
                continue
            }
            header.append(bytes[index])
            index += 1
            guard header.count >= 2 else { continue }
            guard header[0] == 0x82, header[1] < 127 else { throw Tool.Failure(description: "frame \(header)") }
            if header[1] < 126 {
                remaining = Int(header[1])
            } else if header.count == 4 {
                remaining = Int(header[2]) << 8 | Int(header[3])
            } else {
                continue
            }
            header.removeAll(keepingCapacity: true)
        }
    }
}
