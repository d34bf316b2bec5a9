import Wire

/// Any bytes: the validator agrees with the standard library, in one piece, in two, and byte by byte.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzUTF8(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 1 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let bytes = Array(input.dropFirst())
    let cut = Int(input[0]) % (bytes.count + 1)
    let expected = String(validating: bytes, as: Unicode.UTF8.self) != nil
    var whole = UTF8Validator()
    let accepted = whole.validate(bytes.span)
    precondition((accepted && whole.isComplete) == expected)
    var pieces = UTF8Validator()
    let first = pieces.validate(bytes.span.extracting(0..<cut))
    let second = pieces.validate(bytes.span.extracting(cut..<bytes.count))
    precondition(second == accepted && (first || !second) && pieces.isComplete == whole.isComplete)
    var single = UTF8Validator()
    var alive = true
    for index in bytes.indices { alive = single.validate(bytes.span.extracting(index..<index + 1)) }
    precondition(bytes.isEmpty || alive == accepted)
    // Failing early means: a text that is not refused can still become valid.
    if accepted && !whole.isComplete {
        let tails: [[UInt8]] = [[0x80], [0x80, 0x80], [0x80, 0x80, 0x80], [0xA0, 0x80], [0x90, 0x80, 0x80]]
        precondition(tails.contains { String(validating: bytes + $0, as: Unicode.UTF8.self) != nil })
    }
    return 0
}
