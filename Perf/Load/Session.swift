// Sessions of the gateway: POST /session, and the cookie it sets.

import Glibc

/// Why a run could not take place.
struct LoadError: Error {
    var text: String
    init(_ text: String) { self.text = text }
}

extension Endpoint {
    /// A blocking or non-blocking socket on its way to the endpoint; negative with errno set when it could not start.
    func startConnecting(blocking: Bool) -> Int32 {
        let kind = Int32((isDatagram ? SOCK_DGRAM : SOCK_STREAM).rawValue) | (blocking ? 0 : Int32(SOCK_NONBLOCK.rawValue))
        let descriptor = socket(AF_INET, kind, 0)
        guard descriptor >= 0 else { return -1 }
        var one: Int32 = 1
        if !isDatagram { setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4) }
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = port.bigEndian
        target.sin_addr.s_addr = address
        let result = withUnsafePointer(to: &target) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 || errno == EINPROGRESS else {
            let reason = errno
            close(descriptor)
            errno = reason
            return -1
        }
        return descriptor
    }

    /// Opens a session and returns its cookie as `name=value`.
    func openSession() throws -> String {
        let descriptor = startConnecting(blocking: true)
        guard descriptor >= 0 else { throw LoadError("cannot connect to \(host):\(port): \(String(cString: strerror(errno)))") }
        var channel = Channel(descriptor)
        defer { channel.end() }
        if isSecure, !channel.secure() || channel.handshake() != 1 { throw LoadError("the TLS handshake failed") }
        let request = "POST /session HTTP/1.1\r\nHost: \(host):\(port)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        _ = request.withCString { channel.transmit($0, strlen($0)) }
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while answer.count < 65536 {
            let count = channel.receive(&chunk, chunk.count)
            if count <= 0 { break }
            answer.append(contentsOf: chunk[..<count])
        }
        let lines = String(decoding: answer, as: UTF8.self).split(whereSeparator: \.isNewline)
        guard let status = lines.first, status.contains(" 201") else {
            throw LoadError("POST /session answered \(lines.first ?? "nothing")")
        }
        for line in lines where line.lowercased().hasPrefix("set-cookie:") {
            let value = line.dropFirst("set-cookie:".count).drop { $0 == " " }
            return String(value.prefix { $0 != ";" })
        }
        throw LoadError("POST /session set no cookie")
    }

    /// The cookies of as many sessions as the connections need; empty without `--session`.
    func openSessions(_ options: Options) throws -> [String] {
        guard options.usesSession else { return [] }
        let count = (options.connections + options.connectionsPerSession - 1) / options.connectionsPerSession
        return try (0..<count).map { _ in try openSession() }
    }

    /// The key of the handshake in RFC 6455, section 1.3. The key need not be secret, only echoed correctly.
    static let key = "dGhlIHNhbXBsZSBub25jZQ=="
    /// And the accept value that section derives from it.
    static let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    /// The bytes of the upgrade request.
    func upgradeRequest(cookie: String?, subprotocol: String? = nil, fields: [String] = []) -> [UInt8] {
        var text = "GET \(path) HTTP/1.1\r\nHost: \(host):\(port)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        text += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(Endpoint.key)\r\n"
        if let cookie { text += "Cookie: \(cookie)\r\n" }
        if let subprotocol { text += "Sec-WebSocket-Protocol: \(subprotocol)\r\n" }
        for field in fields { text += field + "\r\n" }
        return Array((text + "\r\n").utf8)
    }

    /// The upgrades that connections send, in turn: one of each session, or one with each of the fields that take turns.
    func upgradeRequests(_ options: Options, cookies: [String], subprotocol: String? = nil) -> [[UInt8]] {
        let own = cookies.isEmpty ? [nil] : cookies.map { Optional($0) }
        let turns = options.turnFields.isEmpty ? [[]] : options.turnFields.map { [$0] }
        return turns.flatMap { turn in
            own.map { upgradeRequest(cookie: $0, subprotocol: subprotocol, fields: options.fields + turn) }
        }
    }
}

/// What became of an upgrade request.
enum UpgradeAnswer {
    case incomplete
    /// 101 with the right accept value; `headBytes` includes the empty line.
    case accepted(headBytes: Int)
    /// Anything else: its first line.
    case refused(String)

    /// Judges the answer received so far.
    init(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let end = UpgradeAnswer.endOfHead(bytes) else {
            self = bytes.count > 16384 ? .refused("an endless head") : .incomplete
            return
        }
        // From the bytes: strings would make long heads cost the load more than the server that writes them.
        let head = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<end])
        guard head.starts(with: Self.switching) else {
            self = .refused(String(decoding: head.prefix { $0 != 13 && $0 != 10 }, as: UTF8.self))
            return
        }
        self = Self.accepts(head) ? .accepted(headBytes: end) : .refused("101 with a wrong accept value")
    }

    private static let switching = Array("HTTP/1.1 101".utf8)
    private static let acceptName = Array("sec-websocket-accept:".utf8)
    private static let acceptEnd = Array("\(Endpoint.accept)\r".utf8)

    private static func accepts(_ head: UnsafeRawBufferPointer) -> Bool {
        guard var line = head.baseAddress else { return false }
        let end = line + head.count
        while let next = memchr(line, 10, end - line) {
            let count = UnsafeRawPointer(next) - line
            if count >= acceptName.count + acceptEnd.count, strncasecmp(line, acceptName, acceptName.count) == 0,
                memcmp(line + count - acceptEnd.count, acceptEnd, acceptEnd.count) == 0
            {
                return true
            }
            line += count + 1
        }
        return false
    }

    private static func endOfHead(_ bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in 0...(bytes.count - 4) where bytes[index] == 13 && bytes[index + 3] == 10 {
            if bytes[index + 1] == 10 && bytes[index + 2] == 13 { return index + 4 }
        }
        return nil
    }
}
