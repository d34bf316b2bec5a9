import Wire

/// A chunked body, in one piece, in two and byte by byte.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzChunkedBody(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let bytes = Array(input.dropFirst(2))
    let cut = (Int(input[0]) << 8 | Int(input[1])) % (bytes.count + 1)
    let whole = decode(bytes, [])
    precondition(decode(bytes, [cut]) == whole)
    precondition(decode(bytes, Array(0..<bytes.count)) == whole)
    if let data = whole.data, whole.ended { precondition(data == reference(bytes, whole.consumed)) }
    return 0
}

private struct Result: Equatable {
    var data: [UInt8]? = []
    var consumed = 0
    var ended = false
    var status = 0
}

private func decode(_ bytes: [UInt8], _ cuts: [Int]) -> Result {
    var decoder = ChunkedDecoder(limits: HTTPLimits(chunkExtensionBytes: 16, trailerBytes: 40), maximumBodyBytes: 1000)
    var result = Result()
    var start = 0
    for end in cuts + [bytes.count] {
        var piece = Array(bytes[start..<end])
        start = end
        switch piece.withUnsafeMutableBytes({ decoder.decode($0) }) {
        case .needMore(let count):
            result.data?.append(contentsOf: piece[..<count])
            result.consumed += piece.count
        case .complete(let count, let consumed):
            result.data?.append(contentsOf: piece[..<count])
            result.consumed += consumed
            result.ended = true
            return result
        case .violation(let violation): return Result(data: nil, status: violation.status)
        }
    }
    return result
}

/// The body of a complete message, read the slow way.
private func reference(_ bytes: [UInt8], _ consumed: Int) -> [UInt8] {
    var rest = bytes[..<consumed]
    var data: [UInt8] = []
    while let lineEnd = rest.firstIndex(of: 13) {
        // By bytes: in a string a combining mark behind the semicolon would make another character of it.
        let digits = rest[..<lineEnd].prefix { $0 != 0x3B }
        guard let size = Int(String(decoding: digits, as: UTF8.self), radix: 16) else { preconditionFailure() }
        if size == 0 { break }
        rest = rest[(lineEnd + 2)...]
        data += rest.prefix(size)
        rest = rest.dropFirst(size + 2)
    }
    return data
}
