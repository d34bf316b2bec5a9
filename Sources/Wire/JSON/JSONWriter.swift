/// Writing JSON strings.
extension ByteWriter {
    /// Appends `string` in quotes, escaped as `JSON.stringify` does it: `"`, `\` and control characters, the
    /// common ones in their short form; everything else as it is.
    @discardableResult
    public mutating func jsonString(_ string: String) -> Bool {
        byte(0x22)
        for unit in string.utf8 { jsonByte(unit) }
        return byte(0x22)
    }

    /// The same for UTF-8 bytes, which the caller has validated.
    @discardableResult
    public mutating func jsonString(_ utf8: Span<UInt8>) -> Bool {
        byte(0x22)
        for index in 0..<utf8.count { jsonByte(utf8[index]) }
        return byte(0x22)
    }

    private mutating func jsonByte(_ unit: UInt8) {
        switch unit {
        case 0x22: text("\\\"")
        case 0x5C: text("\\\\")
        case 0x08: text("\\b")
        case 0x09: text("\\t")
        case 0x0A: text("\\n")
        case 0x0C: text("\\f")
        case 0x0D: text("\\r")
        case 0..<0x20:
            text("\\u00")
            byte((unit >> 4) + 0x30)
            let low = unit & 0x0F
            byte(low < 10 ? low + 0x30 : low - 10 + 0x61)
        default: byte(unit)
        }
    }
}
