import Wire

/// A stream of multiplexing frames in pieces, against a decoder that has it whole.
///
/// Input: one byte of piece size, one byte of limit, the stream.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMuxFrame(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 3 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let stream = Array(input.dropFirst(2))
    let limit = UInt32(input[1]) * 8
    let expected = reference(stream, limit: limit)
    precondition(read(stream, pieceBytes: stream.count, limit) == expected)
    precondition(read(stream, pieceBytes: max(1, Int(input[0])), limit) == expected)
    precondition(read(stream, pieceBytes: 1, limit) == expected)
    return 0
}

private enum Event: Equatable {
    case header(UInt8, UInt32, UInt32)
    case byte(UInt8)
    case frameEnd
    case tooLong
}

private func read(_ stream: [UInt8], pieceBytes: Int, _ limit: UInt32) -> [Event] {
    var reader = MuxReader()
    var events: [Event] = []
    var start = 0
    while start < stream.count {
        // A block of its own, so that a read beyond its end is seen.
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: min(pieceBytes, stream.count - start), alignment: 1)
        defer { piece.deallocate() }
        piece.copyBytes(from: stream[start..<start + piece.count])
        start += piece.count
        guard let base = piece.baseAddress else { preconditionFailure() }
        var cursor = 0
        reading: while true {
            let missing = reader.headerBytesMissing
            precondition((missing > 0) != (reader.payloadBytesMissing > 0))
            switch reader.next(UnsafeRawPointer(base), &cursor, piece.count, maximumPayloadBytes: limit) {
            case .needMore:
                precondition(cursor == piece.count)
                break reading
            case .tooLong: return events + [.tooLong]
            case .header(let header):
                precondition(missing > 0 && cursor <= piece.count)
                events.append(.header(header.type, header.stream, header.payloadBytes))
                if header.payloadBytes == 0 { events.append(.frameEnd) }
            case .payload(let run):
                precondition(run.count > 0 && run.start + run.count == cursor && cursor <= piece.count)
                for index in 0..<run.count { events.append(.byte(piece[run.start + index])) }
                if run.endsFrame { events.append(.frameEnd) }
            }
        }
    }
    return events
}

private func reference(_ stream: [UInt8], limit: UInt32) -> [Event] {
    var events: [Event] = []
    var at = 0
    while at + 9 <= stream.count {
        func number(_ offset: Int) -> UInt32 { stream[at + offset..<at + offset + 4].reduce(0) { $0 << 8 | UInt32($1) } }
        let (type, identifier, length) = (stream[at], number(1), number(5))
        if length > limit { return events + [.tooLong] }
        events.append(.header(type, identifier, length))
        at += 9
        for _ in 0..<length {
            guard at < stream.count else { return events }
            events.append(.byte(stream[at]))
            at += 1
        }
        events.append(.frameEnd)
    }
    return events
}
