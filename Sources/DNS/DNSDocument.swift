import Policy
import Wire

/// The JSON form of a question and its answer, `/dns-json`.
enum DNSDocument {
    /// A question in the query of a request.
    struct Question: Equatable {
        /// Wire form, lower case.
        let name: [UInt8]
        let type: UInt16
    }

    /// What is wrong with a question.
    enum Fault: Error, Equatable {
        case missingName, missingType, type, name, repeated

        var message: String {
            switch self {
            case .missingName: "Missing 'name' query parameter"
            case .missingType: "Missing 'type' query parameter"
            case .type: "Invalid DNS record type"
            case .name: "Invalid DNS name"
            case .repeated: "Repeated query parameter"
            }
        }
    }

    /// Reads `name` and `type`.
    static func parse(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(Fault) -> Question {
        var (names, types) = ([String](), [String]())
        var query = FormQuery(range)
        while let pair = query.pair(bytes) {
            switch FormQuery.string(bytes, pair.name) {
            case "name": names.append(FormQuery.string(bytes, pair.value))
            case "type": types.append(FormQuery.string(bytes, pair.value))
            default: break
            }
        }
        guard names.count <= 1, types.count <= 1 else { throw .repeated }
        let name = normalized(names.first ?? "")
        guard !name.isEmpty else { throw .missingName }
        guard let text = types.first, !text.isEmpty else { throw .missingType }
        guard let type = type(text) else { throw .type }
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: DNSName.maximumBytes, alignment: 1)
        defer { space.deallocate() }
        var writer = ByteWriter(space)
        guard DNSName.encode(name.span, to: &writer) else { throw .name }
        return Question(name: Array(space[..<writer.count]), type: type)
    }

    /// Trimmed, without trailing dots, ASCII in lower case.
    private static func normalized(_ name: String) -> [UInt8] {
        var bytes = ArraySlice(Array(name.utf8))
        while let first = bytes.first, first <= 0x20 { bytes.removeFirst() }
        while let last = bytes.last, last <= 0x20 { bytes.removeLast() }
        while bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        return bytes.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }
    }

    private static func type(_ text: String) -> UInt16? {
        switch text.uppercased() {
        case "A", "1": DNSType.a
        case "AAAA", "28": DNSType.aaaa
        case "CNAME", "5": DNSType.cname
        default: nil
        }
    }

    /// Writes the document of an answer that was judged; `name` is the canonical name asked for, as text.
    static func write(_ message: Span<UInt8>, name: String, type: UInt16, to out: inout [UInt8]) {
        let flags = DNSHeader.flags(message)
        out += "{\"Status\":\(flags & DNSHeader.codeMask)".utf8
        let bits: [(String, UInt16)] = [
            ("TC", DNSHeader.truncated), ("RD", DNSHeader.recursionDesired), ("RA", DNSHeader.recursionAvailable),
            ("AD", DNSHeader.authenticData), ("CD", DNSHeader.checkingDisabled),
        ]
        for (label, bit) in bits { out += ",\"\(label)\":\(flags & bit != 0)".utf8 }
        out += ",\"Question\":[{\"name\":".utf8
        append(name, &out)
        out += ",\"type\":\(type)}]".utf8
        guard let questionEnd = DNSName.end(message, DNSHeader.bytes) else { return out.append(UInt8(ascii: "}")) }
        var walk = DNSRecordWalk(message, from: questionEnd + 4)
        var isFirst = true
        while let record = walk.next(message), record.section == .answer {
            guard let data = data(record, message), let owner = DNSName.text(message, record.name) else { continue }
            out += (isFirst ? ",\"Answer\":[{\"name\":" : ",{\"name\":").utf8
            isFirst = false
            append(owner, &out)
            out += ",\"type\":\(record.type),\"TTL\":\(record.timeToLive),\"data\":".utf8
            append(data, &out)
            out.append(UInt8(ascii: "}"))
        }
        out += (isFirst ? "}" : "]}").utf8
    }

    /// The data of an address or an alias as text; nil for any other record.
    private static func data(_ record: DNSRecord, _ message: Span<UInt8>) -> String? {
        switch record.type {
        case DNSType.a where record.data.count == 4, DNSType.aaaa where record.data.count == 16:
            IPAddress(bytes: record.data.map { message[$0] })?.compressedHexadecimal
        case DNSType.cname: DNSName.text(message, record.data.lowerBound)
        default: nil
        }
    }

    /// A JSON string of printable ASCII, or of what a client sent as UTF-8.
    private static func append(_ text: String, _ out: inout [UInt8]) {
        out.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { out.append(UInt8(ascii: "\\")) }
            out.append(byte)
        }
        out.append(UInt8(ascii: "\""))
    }
}
