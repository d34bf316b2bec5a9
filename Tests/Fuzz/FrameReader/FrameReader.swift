import Wire

/// A WebSocket stream in pieces, unmasked by the kernel, against a decoder that looks at one byte at a time.
///
/// Input: one byte of flags, one byte of piece size, the limit of messages, the stream.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFrameReader(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 3 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let stream = Array(input.dropFirst(3))
    let expectsMask = input[0] & 1 == 0
    let limit = UInt64(input[2]) * (input[0] & 2 == 0 ? 1 : 300)
    let expected = reference(stream, expectsMask: expectsMask, limit: limit)
    precondition(read(stream, pieceBytes: max(1, stream.count), expectsMask, limit, apart: true) == expected)
    precondition(read(stream, pieceBytes: max(1, Int(input[1])), expectsMask, limit, apart: false) == expected)
    precondition(read(stream, pieceBytes: 1, expectsMask, limit, apart: false) == expected)
    return 0
}

private enum Event: Equatable {
    case data(UInt8, UInt8)
    case messageEnd(UInt8)
    case control(UInt8, UInt8)
    case controlEnd(UInt8)
    case violation(UInt16)
}

/// `apart`: runs are unmasked to the front of the buffer, closing up over the headers, as a forwarder does it.
private func read(_ stream: [UInt8], pieceBytes: Int, _ expectsMask: Bool, _ limit: UInt64, apart: Bool) -> [Event] {
    var reader = FrameReader(expectsMask: expectsMask)
    var events: [Event] = []
    var start = 0
    while start < stream.count {
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: min(pieceBytes, stream.count - start), alignment: 1)
        defer { piece.deallocate() }
        piece.copyBytes(from: stream[start..<start + piece.count])
        start += piece.count
        guard let base = piece.baseAddress else { preconditionFailure() }
        var cursor = 0
        var written = 0
        reading: while true {
            switch reader.next(UnsafeRawPointer(base), &cursor, piece.count, maximumMessageBytes: limit) {
            case .needMore:
                precondition(cursor == piece.count)
                break reading
            case .data(let run):
                precondition(run.start + run.count == cursor && cursor <= piece.count)
                let destination = apart ? written : run.start
                ByteKernel.unmask(base + run.start, base + destination, run.count, key: run.key)
                for index in 0..<run.count { events.append(.data(run.opcode.rawValue, piece[destination + index])) }
                written += run.count
                if run.endsMessage { events.append(.messageEnd(run.opcode.rawValue)) }
                precondition(run.endsFrame || !run.endsMessage)
            case .control(let run):
                precondition(run.start + run.count == cursor && cursor <= piece.count && run.payloadBytes <= 125)
                ByteKernel.unmask(base + run.start, base + run.start, run.count, key: run.key)
                for index in 0..<run.count { events.append(.control(run.opcode.rawValue, piece[run.start + index])) }
                if run.endsFrame {
                    precondition(Int(run.offset) + run.count == Int(run.payloadBytes))
                    events.append(.controlEnd(run.opcode.rawValue))
                }
            case .violation(let code):
                events.append(.violation(code.rawValue))
                return events
            }
        }
    }
    return events
}

/// RFC 6455 section 5.2 read aloud: no state but the position.
private func reference(_ stream: [UInt8], expectsMask: Bool, limit: UInt64) -> [Event] {
    var events: [Event] = []
    var at = 0
    var message: UInt8 = 0
    var total: UInt64 = 0
    while at < stream.count {
        let first = stream[at]
        let opcode = first & 15
        let final = first >= 128
        if first & 0x70 != 0 || ![0, 1, 2, 8, 9, 10].contains(opcode) { return events + [.violation(1002)] }
        if opcode >= 8 && !final { return events + [.violation(1002)] }
        if opcode == 0 && message == 0 { return events + [.violation(1002)] }
        if (opcode == 1 || opcode == 2) && message != 0 { return events + [.violation(1002)] }
        guard at + 1 < stream.count else { return events }
        let second = stream[at + 1]
        if (second >= 128) != expectsMask { return events + [.violation(1002)] }
        var length = UInt64(second & 127)
        if opcode >= 8 && length > 125 { return events + [.violation(1002)] }
        let lengthBytes = length == 126 ? 2 : length == 127 ? 8 : 0
        at += 2
        if lengthBytes > 0 {
            guard at + lengthBytes <= stream.count else { return events }
            length = stream[at..<at + lengthBytes].reduce(0) { $0 << 8 | UInt64($1) }
            at += lengthBytes
        }
        if length >= 1 << 53 { return events + [.violation(1002)] }
        if opcode < 8 {
            if opcode != 0 { total = 0 }
            if length > limit || total + length > limit { return events + [.violation(1009)] }
            total += length
            if opcode != 0 { message = opcode }
        }
        var mask: [UInt8] = [0, 0, 0, 0]
        if expectsMask {
            guard at + 4 <= stream.count else { return events }
            mask = Array(stream[at..<at + 4])
            at += 4
        }
        for index in 0..<Int(length) {
            guard at < stream.count else { return events }
            let byte = stream[at] ^ mask[index % 4]
            events.append(opcode >= 8 ? .control(opcode, byte) : .data(message, byte))
            at += 1
        }
        if opcode >= 8 {
            events.append(.controlEnd(opcode))
        } else if final {
            events.append(.messageEnd(message))
            message = 0
        }
    }
    return events
}
