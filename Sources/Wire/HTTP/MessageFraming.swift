/// Reading the fields that delimit a body. Requests and responses share it, so that both are equally strict.
enum MessageFraming {
    /// `Content-Length`: 1 to 19 digits, no leading zero except "0" itself, at most 2^63 - 1.
    static func contentLength(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt64? {
        guard range.count >= 1, range.count <= 19 else { return nil }
        if bytes[range.lowerBound] == 0x30 && range.count > 1 { return nil }
        var length: UInt64 = 0
        for index in range {
            let byte = bytes[index]
            guard Character7.isDigit(byte) else { return nil }
            length = length &* 10 &+ UInt64(byte &- 0x30)
        }
        return length <= UInt64(Int64.max) ? length : nil
    }

    enum Outcome {
        /// Neither field is present.
        case absent
        case framed(BodyFraming)
        case violation(HTTPViolation)
    }

    /// The framing that the fields say, refusing everything that two readers could understand differently.
    static func read(_ fields: borrowing FieldBlock, _ bytes: Span<UInt8>, minorVersion: Int) -> Outcome {
        let lengths = fields.count(of: .contentLength)
        let codings = fields.count(of: .transferEncoding)
        if lengths == 0 && codings == 0 { return .absent }
        if lengths > 1 || (lengths > 0 && codings > 0) { return .violation(.badRequest) }
        if let index = fields.first(.contentLength) {
            guard let length = contentLength(bytes, fields.value(index)) else { return .violation(.badRequest) }
            return .framed(.length(length))
        }
        if minorVersion == 0 { return .violation(.badRequest) }
        guard codings == 1, let index = fields.first(.transferEncoding),
            bytes.equalsIgnoringCase("chunked", in: fields.value(index))
        else { return .violation(.notImplemented) }
        return .framed(.chunked)
    }

    /// The options of all `Connection` fields (RFC 9110 section 7.6.1).
    struct Connection {
        var close = false
        var keepAlive = false
        var upgrade = false
    }

    static func connection(_ fields: borrowing FieldBlock, _ bytes: Span<UInt8>) -> Connection {
        var result = Connection()
        var next = fields.first(.connection)
        while let index = next {
            var list = FieldList(fields.value(index))
            while let option = list.element(bytes) {
                switch option.count {
                case 5: if bytes.equalsIgnoringCase("close", in: option) { result.close = true }
                case 7: if bytes.equalsIgnoringCase("upgrade", in: option) { result.upgrade = true }
                case 10: if bytes.equalsIgnoringCase("keep-alive", in: option) { result.keepAlive = true }
                default: break
                }
            }
            next = fields.next(.connection, after: index)
        }
        return result
    }
}
