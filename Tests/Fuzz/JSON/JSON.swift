import Wire

/// Any text: reading and validating agree, and what was read is read again after writing.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzJSON(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let value = JSONReader.read(bytes.span)
    precondition(JSONReader.isValid(bytes.span) == (value != nil))
    let fields = JSONReader.fields(bytes.span)
    if case .object(let members)? = value {
        precondition(fields?.map { JSONMember(name: $0.name, value: $0.value) } == members)
        for field in fields ?? [] {
            precondition(JSONReader.read(Array(bytes[field.text]).span) == field.value)
            if let integer = field.integer(in: bytes.span) { precondition(field.value == .number(Double(integer))) }
        }
    } else {
        precondition(fields == nil)
    }
    if let value {
        precondition(String(validating: bytes, as: Unicode.UTF8.self) != nil)
        let text = write(value)
        precondition(JSONReader.read(text.span) == value)
    }
    return 0
}

private func write(_ value: JSONValue) -> [UInt8] {
    switch value {
    case .null: return Array("null".utf8)
    case .boolean(let boolean): return Array("\(boolean)".utf8)
    // An infinite number came from one too large to hold.
    case .number(let number): return Array((number.isInfinite ? (number < 0 ? "-1e999" : "1e999") : "\(number)").utf8)
    case .string(let string): return quoted(string)
    case .array(let elements): return [0x5B] + elements.map(write).joined(separator: [0x2C]) + [0x5D]
    case .object(let members):
        return [0x7B] + members.map { quoted($0.name) + [0x3A] + write($0.value) }.joined(separator: [0x2C]) + [0x7D]
    }
}

private func quoted(_ string: String) -> [UInt8] {
    withUnsafeTemporaryAllocation(byteCount: string.utf8.count * 6 + 2, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        writer.jsonString(string)
        precondition(!writer.failed)
        return Array(buffer[..<writer.count])
    }
}
