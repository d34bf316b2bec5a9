// One connection of the target and what each service does with its bytes.

import Glibc

/// Sends never wait and never raise SIGPIPE.
private let sendFlags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)

/// Memory shared by all connections of the process: one thread, so one of each is enough.
struct Scratch {
    static let inputBytes = 262_144
    /// A frame of input can grow by at most 8 header bytes per 2; a client frame always carries a mask,
    /// so output never exceeds input, and the margin covers the header of a frame split before its payload.
    static let outputBytes = inputBytes + 64
    let input = UnsafeMutablePointer<UInt8>.allocate(capacity: inputBytes)
    let output = UnsafeMutablePointer<UInt8>.allocate(capacity: outputBytes)
    /// What a source sends, over and over.
    let pattern: UnsafeMutablePointer<UInt8>
    let patternBytes: Int

    /// A pattern of whole messages, at least 256 KiB, framed for WebSocket when `framed`.
    init(messageBytes: Int, framed: Bool) {
        let header = UnsafeMutablePointer<UInt8>.allocate(capacity: 16)
        defer { header.deallocate() }
        let headerBytes = framed ? writeServerHeader(first: 0x82, payloadBytes: messageBytes, to: header) : 0
        let count = max(1, 262_144 / messageBytes)
        patternBytes = count * (headerBytes + messageBytes)
        pattern = .allocate(capacity: patternBytes)
        for message in 0..<count {
            let start = pattern + message * (headerBytes + messageBytes)
            start.update(from: header, count: headerBytes)
            for index in 0..<messageBytes { start[headerBytes + index] = UInt8(truncatingIfNeeded: index &* 7 &+ 3) }
        }
    }
}

/// A connection; lives in memory of its own so that epoll can carry its address.
struct Connection {
    var descriptor: Int32
    var service: Service
    var reader = FrameReader()
    /// Handshake bytes so far; nil once it is done, and always for raw services.
    var head: [UInt8]?
    /// A broker whose client has not said CONNECT, or is saying it.
    private var awaitsConnect: Bool
    /// CONNACK: accepted, no session present, in a frame of its own (MQTT 3.1.1 section 3.2).
    private static let welcome: [UInt8] = [0x82, 4, 0x20, 2, 0, 0]
    /// Output the socket did not take.
    var pending: [UInt8] = []
    var pendingOffset = 0
    /// Close as soon as `pending` is empty.
    var closing = false
    /// Position of a source in its pattern, and how much it may still send.
    var patternOffset = 0
    var allowance = Int.max
    var interest: Poller.Interest = []

    init(descriptor: Int32, service: Service) {
        self.descriptor = descriptor
        self.service = service
        head = service.isWebSocket ? [] : nil
        awaitsConnect = service.isBroker
    }

    /// A source that may send.
    var isSending: Bool { service.isSource && head == nil && !closing && allowance > 0 }

    /// Sends or keeps; false when the socket is broken.
    mutating func send(_ bytes: UnsafePointer<UInt8>, count: Int) -> Bool {
        var offset = 0
        if pending.isEmpty {
            let sent = Glibc.send(descriptor, bytes, count, sendFlags)
            if sent < 0 {
                guard errno == EAGAIN || errno == EINTR else { return false }
            } else {
                offset = sent
            }
        }
        if offset < count { pending.append(contentsOf: UnsafeBufferPointer(start: bytes + offset, count: count - offset)) }
        return true
    }

    /// Sends what was kept; false when the socket is broken.
    mutating func sendPending() -> Bool {
        let sent = pending.withUnsafeBytes { bytes in
            Glibc.send(
                descriptor, bytes.baseAddress! + pendingOffset, bytes.count - pendingOffset,
                sendFlags)
        }
        if sent < 0 { return errno == EAGAIN || errno == EINTR }
        pendingOffset += sent
        if pendingOffset == pending.count {
            pending.removeAll(keepingCapacity: true)
            pendingOffset = 0
        }
        return true
    }

    /// Sends the pattern until the socket is full; false when it is broken.
    mutating func sendPattern(_ scratch: Scratch) -> Bool {
        while isSending && pending.isEmpty {
            let count = min(scratch.patternBytes - patternOffset, allowance)
            let sent = Glibc.send(
                descriptor, scratch.pattern + patternOffset, count,
                sendFlags)
            if sent < 0 { return errno == EAGAIN || errno == EINTR }
            patternOffset += sent
            if patternOffset == scratch.patternBytes { patternOffset = 0 }
            if allowance != Int.max { allowance -= sent }
            if sent < count { break }
        }
        if allowance == 0 { shutdown(descriptor, Int32(SHUT_WR)) }
        return true
    }

    /// Reads once and answers; false when the connection is over.
    mutating func receive(_ scratch: Scratch) -> Bool {
        // Discarding in the kernel spares the copy: the target must not be what is measured.
        let flags = service == .sink || service == .source ? Int32(MSG_TRUNC) : 0
        let count = recv(descriptor, scratch.input, Scratch.inputBytes, flags)
        if count < 0 { return errno == EAGAIN || errno == EINTR }
        if count == 0 { return false }
        if head != nil { return handshake(scratch, count: count) }
        switch service {
        case .sink, .source, .datagramEcho, .datagramSink, .datagramBurst: return true
        case .echo: return send(scratch.input, count: count)
        case .webSocketEcho, .webSocketSink, .webSocketSource, .webSocketBroker, .webSocketBrokerSink:
            return frames(scratch, start: 0, count: count)
        }
    }

    private mutating func handshake(_ scratch: Scratch, count: Int) -> Bool {
        guard var collected = head else { return false }
        let before = collected.count
        collected.append(contentsOf: UnsafeBufferPointer(start: scratch.input, count: count))
        guard collected.count <= 65536 else { return false }
        guard let end = endOfHead(collected) else {
            head = collected
            return true
        }
        let key = headerValue("sec-websocket-key", in: collected[..<end])
        guard let key, !key.isEmpty else { return false }
        let offer = headerValue("sec-websocket-protocol", in: collected[..<end]) ?? ""
        let answer = Array(
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + (service.isBroker && offer.contains("mqtt") ? "Sec-WebSocket-Protocol: mqtt\r\n" : "")
                + "Sec-WebSocket-Accept: \(acceptValue(key: key))\r\n\r\n").utf8)
        head = nil
        guard answer.withUnsafeBufferPointer({ send($0.baseAddress!, count: $0.count) }) else { return false }
        let start = end - before
        return start < count ? frames(scratch, start: start, count: count) : true
    }

    /// Walks over client frames; an echo turns each into a server frame of the same bytes.
    private mutating func frames(_ scratch: Scratch, start: Int, count: Int) -> Bool {
        var input = start
        var output = 0
        while input < count && !closing {
            if reader.remainingBytes == 0 {
                let (used, complete) = reader.takeHeader(scratch.input + input, count: count - input)
                input += used
                guard complete else { break }
                if answersFrame {
                    let first: UInt8 = reader.opcode == 9 ? 0x8A : reader.first
                    output += writeServerHeader(first: first, payloadBytes: reader.payloadBytes, to: scratch.output + output)
                }
            }
            let run = min(reader.remainingBytes, count - input)
            if awaitsConnect {
                // Its client waits for the answer: behind the message there is nothing.
                reader.skip(run)
                if reader.remainingBytes == 0 {
                    awaitsConnect = false
                    (scratch.output + output).update(from: Self.welcome, count: Self.welcome.count)
                    output += Self.welcome.count
                }
            } else if answersFrame {
                reader.unmask(from: scratch.input + input, to: scratch.output + output, count: run)
                output += run
            } else {
                reader.skip(run)
            }
            input += run
            if reader.remainingBytes == 0 && reader.opcode == 8 { closing = true }
        }
        if output > 0 && !send(scratch.output, count: output) { return false }
        return !(closing && pending.isEmpty)
    }

    /// An echo answers data; everything answers Ping and Close, except a source in the middle of a frame.
    private var answersFrame: Bool {
        if awaitsConnect { return false }
        return switch reader.opcode {
        case 8, 9: service != .webSocketSource
        case 10: false
        default: service == .webSocketEcho || service == .webSocketBroker
        }
    }
}

private func endOfHead(_ bytes: [UInt8]) -> Int? {
    bytes.withUnsafeBufferPointer { bytes in
        guard bytes.count >= 4 else { return nil }
        for index in 0...(bytes.count - 4) where bytes[index] == 13 && bytes[index + 3] == 10 {
            if bytes[index + 1] == 10 && bytes[index + 2] == 13 { return index + 4 }
        }
        return nil
    }
}

/// The value of a head's field, from its bytes: with strings the target would be busier with long heads than the server in front of it.
private func headerValue(_ name: StaticString, in head: ArraySlice<UInt8>) -> String? {
    head.withUnsafeBytes { bytes in
        guard var line = bytes.baseAddress else { return nil }
        let end = line + bytes.count
        let nameBytes = name.utf8CodeUnitCount
        while let next = memchr(line, 10, end - line) {
            let count = UnsafeRawPointer(next) - line
            if count > nameBytes, line.load(fromByteOffset: nameBytes, as: UInt8.self) == 58,
                strncasecmp(line, UnsafeRawPointer(name.utf8Start), nameBytes) == 0
            {
                let value = UnsafeRawBufferPointer(start: line + nameBytes + 1, count: count - nameBytes - 1)
                let kept = value.drop { $0 == 32 || $0 == 9 }
                return String(decoding: kept.last == 13 ? kept.dropLast() : kept, as: UTF8.self)
            }
            line += count + 1
        }
        return nil
    }
}
