import Wire

/// A request head: the answer must not depend on the cut, and an accepted head must be what a slow reading of it says.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRequestHead(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let input = Array(UnsafeBufferPointer(start: start, count: count))
    let bytes = Array(input.dropFirst(2))
    let cut = (Int(input[0]) << 8 | Int(input[1])) % (bytes.count + 1)
    var whole = RequestHead(limits: HTTPLimits(targetBytes: 200, headBytes: 1000, fieldCount: 8))
    let outcome = whole.parse(bytes.span)
    var pieces = RequestHead(limits: HTTPLimits(targetBytes: 200, headBytes: 1000, fieldCount: 8))
    let early = pieces.parse(bytes.span.extracting(0..<cut))
    let late = pieces.parse(bytes.span)
    precondition(early == .needMore || early == late)
    precondition(late == outcome && pieces.body == whole.body && pieces.keepAlive == whole.keepAlive)
    precondition(pieces.fieldCount == whole.fieldCount && pieces.target == whole.target && pieces.path == whole.path)
    if case .complete(let headBytes) = outcome { check(whole, Array(bytes[..<headBytes])) }
    return 0
}

/// What an accepted head must look like, line by line.
private func check(_ head: borrowing RequestHead, _ bytes: [UInt8]) {
    var lines: [[UInt8]] = [[]]
    var index = bytes.starts(with: [13, 10]) ? 2 : 0
    while index < bytes.count {
        if bytes[index] == 13 {
            precondition(bytes[index + 1] == 10)
            lines.append([])
            index += 2
        } else {
            precondition(bytes[index] == 9 || bytes[index] >= 32 && bytes[index] != 127)
            lines[lines.count - 1].append(bytes[index])
            index += 1
        }
    }
    precondition(lines.suffix(2) == [[], []])
    let words = lines[0].split(separator: 32, omittingEmptySubsequences: false)
    precondition(words.count == 3 && Array(words[1]) == Array(bytes[head.target]))
    precondition(String(decoding: words[0], as: UTF8.self) == "\(head.method.name)")
    precondition(String(decoding: words[2], as: UTF8.self) == "HTTP/1.\(head.minorVersion)")
    precondition(!head.path.isEmpty && head.query.upperBound == head.target.upperBound)
    var field = 0
    var lengths: [String] = []
    var codings: [String] = []
    for line in lines[1..<(lines.count - 2)] {
        guard let colon = line.firstIndex(of: 58) else { preconditionFailure() }
        let name = String(decoding: line[..<colon], as: UTF8.self)
        precondition(!name.isEmpty && !name.contains(" ") && !name.contains("\t"))
        if name.contains("_") { continue }
        var value = line[(colon + 1)...]
        while let first = value.first, first == 32 || first == 9 { value.removeFirst() }
        while let last = value.last, last == 32 || last == 9 { value.removeLast() }
        precondition(Array(bytes[head.name(field)]) == Array(line[..<colon]) && Array(bytes[head.value(field)]) == Array(value))
        let known = KnownField.allCases.first { $0 != .other && "\($0.name)" == name.lowercased() }
        precondition((known ?? .other) == head.field(field))
        if name.lowercased() == "content-length" { lengths.append(String(decoding: value, as: UTF8.self)) }
        if name.lowercased() == "transfer-encoding" { codings.append(String(decoding: value, as: UTF8.self).lowercased()) }
        field += 1
    }
    precondition(field == head.fieldCount)
    switch head.body {
    case .none: precondition(lengths.isEmpty && codings.isEmpty)
    case .length(let length): precondition(lengths == ["\(length)"] && codings.isEmpty)
    case .chunked: precondition(lengths.isEmpty && codings == ["chunked"] && head.minorVersion == 1)
    case .untilClose: preconditionFailure()
    }
}
