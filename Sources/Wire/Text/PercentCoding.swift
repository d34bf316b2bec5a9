/// Percent-encoding (RFC 3986 section 2.1), decoded in the two ways the web does it.
public enum PercentCoding {
    /// As `application/x-www-form-urlencoded` (WHATWG URL): `+` is a space, a `%` without two hexadecimal digits
    /// stands for itself. The result is never longer than `bytes[range]`.
    @discardableResult
    public static func decodeForm(_ bytes: Span<UInt8>, _ range: Range<Int>, to writer: inout ByteWriter) -> Bool {
        var index = range.lowerBound
        while index < range.upperBound {
            let byte = bytes[index]
            if byte == 0x25, let decoded = escaped(bytes, index, range.upperBound) {
                writer.byte(decoded)
                index += 3
                continue
            }
            writer.byte(byte == 0x2B ? Character7.space : byte)
            index += 1
        }
        return !writer.failed
    }

    /// As a URI component: `+` stands for itself, a malformed escape or a result that is not UTF-8 is an error.
    public static func decodeStrictly(_ bytes: Span<UInt8>, _ range: Range<Int>, to writer: inout ByteWriter) -> Bool {
        var text = UTF8Validator()
        var index = range.lowerBound
        while index < range.upperBound {
            var byte = bytes[index]
            index += 1
            if byte == 0x25 {
                guard let decoded = escaped(bytes, index - 1, range.upperBound) else { return false }
                byte = decoded
                index += 2
            }
            guard text.validate(byte), writer.byte(byte) else { return false }
        }
        return text.isComplete
    }

    /// The byte that the escape at `index` stands for, nil unless two hexadecimal digits follow before `end`.
    @inline(__always)
    private static func escaped(_ bytes: Span<UInt8>, _ index: Int, _ end: Int) -> UInt8? {
        guard index + 2 < end, let high = Character7.hexValue(bytes[index + 1]),
            let low = Character7.hexValue(bytes[index + 2])
        else { return nil }
        return high << 4 | low
    }

    /// As `decodeStrictly(_:_:to:)`, into a new array; nil when malformed. For cold paths.
    public static func decodeStrictly(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8]? {
        [UInt8](capacity: range.count) { writer in decodeStrictly(bytes, range, to: &writer) }
    }
}
