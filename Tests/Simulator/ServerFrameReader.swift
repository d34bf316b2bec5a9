/// A second opinion on what a WebSocket server sends: byte by byte from RFC 6455 section 5.2, sharing nothing with the
/// product's codec.
struct ServerFrameReader {
    /// What a client sees.
    enum Item: Equatable {
        /// Payload bytes of a binary message, at this range of the piece that was fed.
        case binary(Range<Int>)
        /// A whole control frame.
        case control(opcode: UInt8, payload: [UInt8])
        /// The server broke a rule.
        case fault(String)
    }

    private var header: [UInt8] = []
    private var payloadLeft = 0
    private var opcode: UInt8 = 0
    private var control: [UInt8] = []
    private var insideMessage = false

    /// Reads the next thing from `bytes[cursor...]`; nil when all is read.
    mutating func next(_ bytes: UnsafeBufferPointer<UInt8>, _ cursor: inout Int) -> Item? {
        while payloadLeft == 0 {
            guard cursor < bytes.count else { return nil }
            header.append(bytes[cursor])
            cursor += 1
            guard let length = completeHeader() else { continue }
            if let fault = check(length) { return .fault(fault) }
            opcode = header[0] & 0x0F
            payloadLeft = length
            let isFinal = header[0] & 0x80 != 0
            header = []
            if opcode >= 8 {
                control = []
                if length == 0 { return .control(opcode: opcode, payload: []) }
            } else {
                insideMessage = !isFinal
            }
        }
        guard cursor < bytes.count else { return nil }
        if opcode >= 8 {
            while payloadLeft > 0, cursor < bytes.count {
                control.append(bytes[cursor])
                cursor += 1
                payloadLeft -= 1
            }
            return payloadLeft == 0 ? .control(opcode: opcode, payload: control) : nil
        }
        let count = min(payloadLeft, bytes.count - cursor)
        defer {
            cursor += count
            payloadLeft -= count
        }
        return .binary(cursor..<cursor + count)
    }

    /// The payload's length, once the header is whole.
    private func completeHeader() -> Int? {
        guard header.count >= 2 else { return nil }
        let extra = header[1] & 0x7F == 126 ? 2 : header[1] & 0x7F == 127 ? 8 : 0
        guard header.count == 2 + extra else { return nil }
        if extra == 0 { return Int(header[1] & 0x7F) }
        return header[2...].reduce(0) { $0 << 8 | Int($1) }
    }

    private func check(_ length: Int) -> String? {
        let code = header[0] & 0x0F
        if header[0] & 0x70 != 0 { return "reserved bits are set" }
        if header[1] & 0x80 != 0 { return "a server's frame is masked" }
        if header[1] & 0x7F == 126, length < 126 { return "a length in more bytes than needed" }
        if header[1] & 0x7F == 127, length < 65536 { return "a length in more bytes than needed" }
        switch code {
        case 0: return insideMessage ? nil : "a continuation of nothing"
        case 2: return insideMessage ? "a message inside a message" : nil
        case 8, 9, 10: return length <= 125 && header[0] & 0x80 != 0 ? nil : "a control frame is too long or in pieces"
        default: return "opcode \(code)"
        }
    }
}
