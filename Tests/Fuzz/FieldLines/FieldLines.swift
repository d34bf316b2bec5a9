import Wire

/// Any names and values as lines of a head: sound lines are read as the fields they were made from, and no others; unsound ones fail the
/// head. Input: for each field the lengths of name and value, a byte each, then both.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzFieldLines(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var rest = UnsafeBufferPointer(start: start, count: count)[...]
    var fields: [(name: [UInt8], value: [UInt8])] = []
    while rest.count >= 2, fields.count < 16 {
        let lengths = (Int(rest.removeFirst() & 31), Int(rest.removeFirst()))
        let name = Array(rest.prefix(lengths.0))
        rest = rest.dropFirst(name.count)
        let value = Array(rest.prefix(lengths.1))
        rest = rest.dropFirst(value.count)
        fields.append((name, value))
    }
    var lines = FieldLines()
    for field in fields { lines.append(field.name.span, field.value.span) }
    precondition(lines.isSound == fields.allSatisfy { isSound($0.name, $0.value) })
    let area = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 1)
    defer { area.deallocate() }
    var writer = HeadWriter(area)
    writer.request(.get, target: "/".utf8.span)
    writer.field("Host", "a")
    writer.lines(lines)
    writer.endHead()
    precondition(writer.failed != lines.isSound)
    if lines.isSound { check(Array(area[..<writer.count]), fields) }
    return 0
}

private func isSound(_ name: [UInt8], _ value: [UInt8]) -> Bool {
    let isToken = !name.isEmpty && name.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte & 0xDF) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
    return isToken && value.allSatisfy { $0 == 9 || ($0 >= 0x20 && $0 != 0x7F) }
}

/// A head with these fields may be refused, but not be read as another, nor as two.
private func check(_ head: [UInt8], _ fields: [(name: [UInt8], value: [UInt8])]) {
    var parsed = RequestHead(limits: HTTPLimits(targetBytes: 200, headBytes: 8192, fieldCount: 64))
    let outcome = parsed.parse(head.span)
    guard case .complete(let headBytes) = outcome else { return precondition(outcome != .needMore) }
    precondition(headBytes == head.count)
    // Names with an underscore are left out by whoever reads them.
    let expected = fields.filter { !$0.name.contains(0x5F) }
    precondition(parsed.fieldCount == expected.count + 1)
    for (index, field) in expected.enumerated() {
        func isBlank(_ byte: UInt8) -> Bool { byte == 9 || byte == 0x20 }
        let value = field.value.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
        precondition(Array(head[parsed.name(index + 1)]) == field.name && Array(head[parsed.value(index + 1)]) == Array(value))
    }
}
