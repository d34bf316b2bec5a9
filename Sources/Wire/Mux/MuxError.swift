/// Payload of an ERROR frame.
///
/// ```
/// | code 2 | message length 2 | message (UTF-8, one line) |
/// ```
public struct MuxError: Sendable, Equatable {
    /// Longest message.
    public static let maximumMessageBytes = 1024
    /// Bytes in front of the message.
    public static let headBytes = 4

    /// The code; `MuxErrorCode` names those the server sends.
    public var code: UInt16
    /// Where the message stands in the payload.
    public var message: Range<Int>

    /// Reads a whole payload; nil when its lengths disagree, or the message is too long or not UTF-8.
    public init?(_ payload: Span<UInt8>) {
        guard payload.count >= Self.headBytes else { return nil }
        code = UInt16(payload[0]) << 8 | UInt16(payload[1])
        message = Self.headBytes..<payload.count
        guard Int(payload[2]) << 8 | Int(payload[3]) == message.count, message.count <= Self.maximumMessageBytes else { return nil }
        var validator = UTF8Validator()
        guard validator.validate(payload.extracting(message)), validator.isComplete else { return nil }
    }

    /// The bytes of a payload. The message becomes one line: runs of control characters and white space become one blank, those
    /// at the ends vanish, and it is cut between two characters to what may be sent.
    public static func encode(code: UInt16, message: String) -> [UInt8] {
        var line: [UInt8] = []
        let text = message.utf8.span
        var index = 0
        var blankPending = false
        while index < text.count {
            let blank = MuxText.blankBytes(text, index, text.count)
            if blank > 0 {
                blankPending = !line.isEmpty
                index += blank
                continue
            }
            var end = index + 1
            while end < text.count, text[end] & 0xC0 == 0x80 { end += 1 }
            guard line.count + (blankPending ? 1 : 0) + end - index <= maximumMessageBytes else { break }
            if blankPending { line.append(0x20) }
            blankPending = false
            for position in index..<end { line.append(text[position]) }
            index = end
        }
        return [UInt8(code >> 8), UInt8(code & 0xFF), UInt8(line.count >> 8), UInt8(line.count & 0xFF)] + line
    }
}
