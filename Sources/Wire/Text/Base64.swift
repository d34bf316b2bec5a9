/// Base64 and base64url (RFC 4648).
public enum Base64 {
    /// Characters of the padded encoding of `bytes` bytes.
    public static func encodedBytes(_ bytes: Int) -> Int { (bytes + 2) / 3 * 4 }
    /// Characters of the unpadded encoding of `bytes` bytes.
    public static func encodedURLBytes(_ bytes: Int) -> Int { (bytes * 4 + 2) / 3 }

    /// Standard alphabet, padded.
    @discardableResult
    public static func encode(_ bytes: Span<UInt8>, to writer: inout ByteWriter) -> Bool {
        encode(bytes, to: &writer, plus: 0x2B, slash: 0x2F, padded: true)
    }

    /// URL-safe alphabet, not padded.
    @discardableResult
    public static func encodeURL(_ bytes: Span<UInt8>, to writer: inout ByteWriter) -> Bool {
        encode(bytes, to: &writer, plus: 0x2D, slash: 0x5F, padded: false)
    }

    private static func encode(
        _ bytes: Span<UInt8>, to writer: inout ByteWriter, plus: UInt8, slash: UInt8,
        padded: Bool
    ) -> Bool {
        func character(_ value: UInt32) -> UInt8 {
            let value = UInt8(truncatingIfNeeded: value & 63)
            switch value {
            case 0..<26: return value + 0x41
            case 26..<52: return value - 26 + 0x61
            case 52..<62: return value - 52 + 0x30
            case 62: return plus
            default: return slash
            }
        }
        var index = 0
        while index < bytes.count {
            let present = min(3, bytes.count - index)
            var group: UInt32 = 0
            for offset in 0..<3 { group = group << 8 | (offset < present ? UInt32(bytes[index + offset]) : 0) }
            for position in 0...3 {
                if position <= present {
                    writer.byte(character(group >> UInt32(18 - position * 6)))
                } else if padded {
                    writer.byte(0x3D)
                }
            }
            index += 3
        }
        return !writer.failed
    }

    /// Decodes canonical base64url: the URL alphabet only, no padding, no blanks, no length of 1 modulo 4, unused
    /// bits zero, so that every value has exactly one text. Writes nothing useful and returns false otherwise, or
    /// when the output does not fit.
    public static func decodeURL(_ text: Span<UInt8>, to writer: inout ByteWriter) -> Bool {
        guard let unused = decodeURLTolerantly(text, to: &writer) else { return false }
        return unused == 0
    }

    /// The same with any value in the unused bits of the last character, which it returns; nil when it is not base64url.
    public static func decodeURLTolerantly(_ text: Span<UInt8>, to writer: inout ByteWriter) -> UInt32? {
        guard text.count % 4 != 1 else { return nil }
        var bits: UInt32 = 0
        var pending: UInt32 = 0
        for index in 0..<text.count {
            guard let value = value(text[index]) else { return nil }
            bits = bits << 6 | UInt32(value)
            pending += 6
            if pending >= 8 {
                pending -= 8
                guard writer.byte(UInt8(truncatingIfNeeded: bits >> pending)) else { return nil }
            }
        }
        return bits & ((1 << pending) - 1)
    }

    @inline(__always)
    private static func value(_ character: UInt8) -> UInt8? {
        switch character {
        case 0x41...0x5A: character - 0x41
        case 0x61...0x7A: character - 0x61 + 26
        case 0x30...0x39: character - 0x30 + 52
        case 0x2D: 62
        case 0x5F: 63
        default: nil
        }
    }

    /// As `decodeURL(_:to:)`, into a new array; nil when the text is not canonical. For cold paths.
    public static func decodeURL(_ text: Span<UInt8>) -> [UInt8]? {
        [UInt8](capacity: text.count * 3 / 4) { writer in decodeURL(text, to: &writer) }
    }
}

extension Array<UInt8> {
    /// An array filled by a writer of the given capacity; nil when `fill` returns false.
    init?(capacity: Int, _ fill: (inout ByteWriter) -> Bool) {
        var succeeded = false
        // A writer needs an address even when nothing will be written.
        let array = unsafe [UInt8](unsafeUninitializedCapacity: Swift.max(capacity, 1)) { buffer, count in
            var writer = unsafe ByteWriter(UnsafeMutableRawBufferPointer(buffer))
            succeeded = fill(&writer)
            count = writer.count
        }
        guard succeeded else { return nil }
        self = array
    }
}
