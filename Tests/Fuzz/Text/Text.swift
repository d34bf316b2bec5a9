import Wire

/// Base64, percent-encoding, queries, lists and host names. The first byte chooses.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzText(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 1 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: start + 1, count: count - 1))
    switch start[0] & 3 {
    case 0: checkBase64(bytes)
    case 1: checkPercent(bytes)
    case 2: checkQuery(bytes)
    default: checkList(bytes)
    }
    return 0
}

private func written(_ capacity: Int, _ fill: (inout ByteWriter) -> Bool) -> [UInt8]? {
    withUnsafeTemporaryAllocation(byteCount: max(1, capacity), alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        return fill(&writer) ? Array(buffer[..<writer.count]) : nil
    }
}

/// Every text that decodes is the one text that its value encodes to.
private func checkBase64(_ bytes: [UInt8]) {
    if let value = Base64.decodeURL(bytes.span) {
        precondition(written(Base64.encodedURLBytes(value.count)) { Base64.encodeURL(value.span, to: &$0) } == bytes)
    }
    let text = written(Base64.encodedURLBytes(bytes.count)) { Base64.encodeURL(bytes.span, to: &$0) }
    precondition(text.map { Base64.decodeURL($0.span) } == .some(bytes))
    precondition(
        written(Base64.encodedBytes(bytes.count)) { Base64.encode(bytes.span, to: &$0) }?.count
            == Base64.encodedBytes(bytes.count))
}

private func checkPercent(_ bytes: [UInt8]) {
    if let decoded = PercentCoding.decodeStrictly(bytes.span, 0..<bytes.count) {
        precondition(String(validating: decoded, as: Unicode.UTF8.self) != nil && decoded.count <= bytes.count)
        // Without a plus sign both readings agree on what is well formed.
        if !bytes.contains(0x2B) {
            precondition(written(bytes.count) { PercentCoding.decodeForm(bytes.span, 0..<bytes.count, to: &$0) } == decoded)
        }
    }
    let escaped = bytes.flatMap { byte -> [UInt8] in
        let digits = Array("0123456789aBcDeF".utf8)
        return [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
    }
    precondition(written(escaped.count) { PercentCoding.decodeForm(escaped.span, 0..<escaped.count, to: &$0) } == bytes)
}

/// The pairs, joined again, are the query without its empty pieces.
private func checkQuery(_ bytes: [UInt8]) {
    var query = FormQuery(0..<bytes.count)
    var joined: [[UInt8]] = []
    var first: String?
    while let pair = query.pair(bytes.span) {
        let separator: [UInt8] = pair.name.upperBound < pair.value.lowerBound ? [0x3D] : []
        joined.append(Array(bytes[pair.name]) + separator + Array(bytes[pair.value]))
        if first == nil, FormQuery.string(bytes.span, pair.name) == "host" { first = FormQuery.string(bytes.span, pair.value) }
    }
    precondition(joined == bytes.split(separator: 0x26).map { Array($0) })
    precondition(FormQuery.string("host", in: bytes.span, 0..<bytes.count) == first)
}

private func checkList(_ bytes: [UInt8]) {
    var list = FieldList(0..<bytes.count)
    var elements: [[UInt8]] = []
    while let element = list.element(bytes.span) { elements.append(Array(bytes[element])) }
    func trimmed(_ piece: ArraySlice<UInt8>) -> [UInt8] {
        var piece = piece
        while let first = piece.first, first == 32 || first == 9 { piece.removeFirst() }
        while let last = piece.last, last == 32 || last == 9 { piece.removeLast() }
        return Array(piece)
    }
    precondition(elements == bytes.split(separator: 0x2C).map(trimmed).filter { !$0.isEmpty })
    let isMember = elements.contains { String(decoding: $0, as: Unicode.UTF8.self).lowercased() == "upgrade" }
    // Unicode has letters that fold into ASCII; a header does not.
    if bytes.allSatisfy({ $0 < 0x80 }) {
        precondition(FieldList.contains("upgrade", in: bytes.span, 0..<bytes.count) == isMember)
    }
    if HostField.isValid(bytes.span, 0..<bytes.count) {
        precondition(!bytes.contains { $0 <= 32 || $0 >= 127 || "@,/?#\\%".utf8.contains($0) })
    }
}
