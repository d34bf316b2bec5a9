import Wire

/// A WebSocket stream in pieces through a sieve, against one that looks at the whole stream at once: what leaves is the data frames, byte
/// for byte, however it was cut; and what leaves is again a stream that the reader takes.
///
/// Input: one byte of flags, one byte of piece size, the limit of messages, the stream.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFrameSieve(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 3 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let stream = Array(input.dropFirst(3))
    let habits = Habits(
        expectsMask: input[0] & 1 == 0, allowsCompressed: input[0] & 4 != 0, replacesMasks: input[0] & 8 != 0,
        limit: UInt64(input[2]) * (input[0] & 2 == 0 ? 1 : 300))
    let whole = sift(stream, pieceBytes: max(1, stream.count), habits, stops: habits.replacesMasks)
    precondition(sift(stream, pieceBytes: max(1, Int(input[1])), habits, stops: true) == whole)
    precondition(sift(stream, pieceBytes: 1, habits, stops: habits.replacesMasks) == whole)
    if !habits.replacesMasks { precondition(whole.leaves == expected(stream, habits)) }
    return 0
}

private struct Habits {
    var expectsMask: Bool
    var allowsCompressed: Bool
    var replacesMasks: Bool
    var limit: UInt64
}

private struct Sifted: Equatable {
    var leaves: [UInt8] = []
    var controls: [UInt8] = []
    var violation: UInt16 = 0
    var messages: UInt64 = 0
    var payloadBytes: UInt64 = 0
}

private func sift(_ stream: [UInt8], pieceBytes: Int, _ habits: Habits, stops: Bool) -> Sifted {
    var sieve = FrameSieve(
        expectsMask: habits.expectsMask, allowsCompressed: habits.allowsCompressed, replacesMasks: habits.replacesMasks)
    var result = Sifted()
    let room = FrameReader.maximumHeaderBytes - 1
    var start = 0
    while start < stream.count, result.violation == 0 {
        let count = min(pieceBytes, stream.count - start)
        let area = UnsafeMutableRawBufferPointer.allocate(byteCount: room + count, alignment: 1)
        defer { area.deallocate() }
        let base = area.baseAddress! + room
        base.copyMemory(from: Array(stream[start..<start + count]), byteCount: count)
        start += count
        var cursor = 0
        var isAtEnd = false
        while !isAtEnd, result.violation == 0 {
            sieve.freshMask = 0xA1B2_C3D4
            let item = sieve.next(base, &cursor, count, maximumMessageBytes: habits.limit, stopsAtBoundaries: stops)
            precondition(item.start <= item.end && item.end <= cursor && item.start >= -room && cursor <= count)
            result.leaves += UnsafeRawBufferPointer(start: base + item.start, count: item.end - item.start)
            switch item.stop {
            case .end:
                precondition(cursor == count)
                isAtEnd = true
            case .boundary: precondition(sieve.isAtBoundary)
            case .control(let run):
                for index in 0..<run.count {
                    let key = UInt8(truncatingIfNeeded: run.key >> UInt32(8 * (index & 3)))
                    result.controls.append(base.load(fromByteOffset: run.start + index, as: UInt8.self) ^ key)
                }
                if run.endsFrame { result.controls.append(run.opcode.rawValue) }
            case .violation(let code): result.violation = code.rawValue
            }
        }
    }
    result.messages = sieve.messages
    result.payloadBytes = sieve.payloadBytes
    return result
}

/// The data frames of a stream as far as it is good, read by the reader alone: a header that is not whole does not leave.
private func expected(_ stream: [UInt8], _ habits: Habits) -> [UInt8] {
    var reader = FrameReader(expectsMask: habits.expectsMask, allowsCompressed: habits.allowsCompressed)
    var leaves: [UInt8] = []
    var kept: [UInt8] = []
    for byte in stream {
        let wasInside = reader.isInsideData
        var cursor = 0
        let item = [byte].withUnsafeBytes { reader.next($0.baseAddress!, &cursor, 1, maximumMessageBytes: habits.limit) }
        if wasInside {
            leaves.append(byte)
            continue
        }
        kept.append(byte)
        switch item {
        case .violation: return leaves
        case .control(let run): if run.endsFrame { kept = [] }
        case .data:
            leaves += kept
            kept = []
        case .needMore:
            if reader.isInsideData {
                leaves += kept
                kept = []
            }
        }
    }
    return leaves
}
