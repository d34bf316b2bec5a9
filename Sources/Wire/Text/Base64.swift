/// Base64 and base64url (RFC 4648).
public enum Base64 {
    /// Characters of the padded encoding of `bytes` bytes.
    public static func encodedBytes(_ bytes: Int) -> Int { (bytes + 2) / 3 * 4 }
    /// Characters of the unpadded encoding of `bytes` bytes.
    public static func encodedURLBytes(_ bytes: Int) -> Int { (bytes * 4 + 2) / 3 }

    /// Standard alphabet, padded.
    @discardableResult
    public static func encode(_ bytes: Span<UInt8>, to writer: inout ByteWriter) -> Bool {
        encode(bytes, to: &writer, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", padded: true)
    }

    /// URL-safe alphabet, not padded.
    @discardableResult
    public static func encodeURL(_ bytes: Span<UInt8>, to writer: inout ByteWriter) -> Bool {
        encode(bytes, to: &writer, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", padded: false)
    }

    /// `alphabet` has 64 characters.
    private static func encode(_ bytes: Span<UInt8>, to writer: inout ByteWriter, _ alphabet: StaticString, padded: Bool) -> Bool {
        func character(_ group: UInt32, _ position: UInt32) -> UInt32 {
            unsafe UInt32(alphabet.utf8Start[Int(group >> (18 - 6 * position) & 63)])
        }
        var index = 0
        while bytes.count - index >= 3 {
            let group = UInt32(bytes[index]) << 16 | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2])
            writer.word(character(group, 0) | character(group, 1) << 8 | character(group, 2) << 16 | character(group, 3) << 24)
            index += 3
        }
        let rest = bytes.count - index
        if rest > 0 {
            let group = UInt32(bytes[index]) << 16 | (rest > 1 ? UInt32(bytes[index + 1]) << 8 : 0)
            for position in 0..<UInt32(rest + 1) { writer.byte(UInt8(character(group, position))) }
            if padded { for _ in rest..<3 { writer.byte(0x3D) } }
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
