/// Payload of an OPEN frame.
///
/// ```
/// | host length 2 | host (UTF-8) | port 2 | metadata length 2 | metadata (UTF-8) |
/// ```
public struct MuxOpen: Sendable, Equatable {
    /// Longest host.
    public static let maximumHostBytes = 1024
    /// Longest metadata.
    public static let maximumMetadataBytes = 4096
    /// Longest payload: anything longer cannot be decoded.
    public static let maximumPayloadBytes = 6 + maximumHostBytes + maximumMetadataBytes

    /// Where the host stands in the payload.
    public var host: Range<Int>
    /// The port, 0 included: whoever dials judges it.
    public var port: UInt16
    /// Where the metadata stands. It is checked and has no other use.
    public var metadata: Range<Int>

    /// Reads a whole payload; nil when it cannot be decoded.
    public init?(_ payload: Span<UInt8>) {
        func number(at index: Int) -> Int { Int(payload[index]) << 8 | Int(payload[index + 1]) }
        guard payload.count >= 6, payload.count <= Self.maximumPayloadBytes else { return nil }
        let hostBytes = number(at: 0)
        guard hostBytes >= 1, hostBytes <= Self.maximumHostBytes, payload.count >= 6 + hostBytes else { return nil }
        host = 2..<2 + hostBytes
        port = UInt16(number(at: host.upperBound))
        let metadataBytes = number(at: host.upperBound + 2)
        metadata = host.upperBound + 4..<payload.count
        guard metadata.count == metadataBytes, metadataBytes <= Self.maximumMetadataBytes else { return nil }
        guard Self.isUTF8(payload.extracting(metadata)), Self.isUTF8(payload.extracting(host)) else { return nil }
        guard MuxText.firstBlank(payload, host) == nil else { return nil }
    }

    private static func isUTF8(_ text: Span<UInt8>) -> Bool {
        var validator = UTF8Validator()
        return validator.validate(text) && validator.isComplete
    }

    /// The bytes of a payload; nil when a part is longer than may be. For tests and clients.
    public static func encode(host: String, port: UInt16, metadata: String = "") -> [UInt8]? {
        guard host.utf8.count <= maximumHostBytes, metadata.utf8.count <= maximumMetadataBytes else { return nil }
        func number(_ value: Int) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 0xFF)] }
        return number(host.utf8.count) + Array(host.utf8) + number(Int(port)) + number(metadata.utf8.count) + Array(metadata.utf8)
    }
}

/// Control characters and white space in UTF-8 text, which neither a host nor one line of text may contain.
enum MuxText {
    /// First place in `range` of valid UTF-8 where a control or white-space character stands, and its bytes.
    static func firstBlank(_ text: Span<UInt8>, _ range: Range<Int>) -> Range<Int>? {
        var index = range.lowerBound
        while index < range.upperBound {
            let bytes = blankBytes(text, index, range.upperBound)
            if bytes > 0 { return index..<index + bytes }
            index += 1
        }
        return nil
    }

    /// Bytes of the control or white-space character that begins at `index`, or 0. White space as Unicode has it
    /// (the property White_Space), and the byte order mark, which is trimmed like it.
    static func blankBytes(_ text: Span<UInt8>, _ index: Int, _ end: Int) -> Int {
        let first = text[index]
        if first <= 0x20 || first == 0x7F { return 1 }
        guard first >= 0xC2, index + 1 < end else { return 0 }
        let second = text[index + 1]
        if first == 0xC2 { return second == 0x85 || second == 0xA0 ? 2 : 0 }
        guard index + 2 < end else { return 0 }
        let third = text[index + 2]
        switch (first, second) {
        case (0xE1, 0x9A): return third == 0x80 ? 3 : 0
        case (0xE2, 0x80): return (0x80...0x8A).contains(third) || third == 0xA8 || third == 0xA9 || third == 0xAF ? 3 : 0
        case (0xE2, 0x81): return third == 0x9F ? 3 : 0
        case (0xE3, 0x80): return third == 0x80 ? 3 : 0
        case (0xEF, 0xBB): return third == 0xBF ? 3 : 0
        default: return 0
        }
    }
}
