/// W3C Trace Context, level 1: the `traceparent` field.
///
/// ```
/// 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
/// version │ trace id (32 digits)      │ parent id (16)  │ flags
/// ```
/// Digits are lower-case; ids of zeros and version `ff` are not valid. A field of a later version may go on behind the
/// flags with `-`; one of version 00 may not.
public struct TraceContext: Equatable, Sendable {
    /// The trace id's first eight bytes.
    public let traceHigh: UInt64
    /// Its last eight.
    public let traceLow: UInt64
    /// Id of the caller's span.
    public let parent: UInt64
    /// Bit 0: the caller records this trace.
    public let flags: UInt8

    /// Bytes of a field of version 00.
    public static let fieldBytes = 55
    /// Longest `tracestate` that everybody has to pass on (section 3.3.1.5).
    public static let stateBytes = 512

    /// Reads a field's value; nil when it breaks a rule, which means that there is no context (section 3.2.2.3).
    public init?(_ field: Span<UInt8>) {
        guard field.count >= Self.fieldBytes, let version = Self.hexadecimal(field, 0, 2), version != 0xFF,
            field.count == Self.fieldBytes || (version > 0 && field[Self.fieldBytes] == UInt8(ascii: "-")),
            field[2] == UInt8(ascii: "-"), field[35] == UInt8(ascii: "-"), field[52] == UInt8(ascii: "-"),
            let high = Self.hexadecimal(field, 3, 16), let low = Self.hexadecimal(field, 19, 16),
            let parent = Self.hexadecimal(field, 36, 16), let flags = Self.hexadecimal(field, 53, 2),
            high | low != 0, parent != 0
        else { return nil }
        traceHigh = high
        traceLow = low
        self.parent = parent
        self.flags = UInt8(truncatingIfNeeded: flags)
    }

    /// A trace of its own, for a request that names none.
    public init(startedBy generator: inout some RandomNumberGenerator) {
        traceHigh = generator.next()
        traceLow = max(1, generator.next())
        parent = max(1, generator.next())
        flags = 0
    }

    /// The trace id as it is written: 32 lower-case digits.
    public var traceID: String {
        unsafe String(unsafeUninitializedCapacity: 32) { text in
            unsafe Self.write(traceHigh, 16, to: text, 0)
            unsafe Self.write(traceLow, 16, to: text, 16)
            return 32
        }
    }

    /// The context as a field's value, of version 00.
    public var field: String {
        unsafe String(unsafeUninitializedCapacity: Self.fieldBytes) { text in
            unsafe Self.write(0, 2, to: text, 0)
            unsafe Self.write(traceHigh, 16, to: text, 3)
            unsafe Self.write(traceLow, 16, to: text, 19)
            unsafe Self.write(parent, 16, to: text, 36)
            unsafe Self.write(UInt64(flags), 2, to: text, 53)
            unsafe text[2] = UInt8(ascii: "-")
            unsafe text[35] = UInt8(ascii: "-")
            unsafe text[52] = UInt8(ascii: "-")
            return Self.fieldBytes
        }
    }

    /// The last lower-case digits of a number.
    private static func write(_ word: UInt64, _ digits: Int, to text: UnsafeMutableBufferPointer<UInt8>, _ start: Int) {
        for digit in 0..<digits {
            let value = UInt8(truncatingIfNeeded: word >> UInt64(4 * (digits - 1 - digit))) & 15
            unsafe text[start + digit] = value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
        }
    }

    /// `count` lower-case hexadecimal digits, 16 at most, as a number.
    private static func hexadecimal(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> UInt64? {
        var value: UInt64 = 0
        for index in start..<start + count {
            let digit: UInt8
            switch bytes[index] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = bytes[index] - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = bytes[index] - UInt8(ascii: "a") + 10
            default: return nil
            }
            value = value << 4 | UInt64(digit)
        }
        return value
    }
}
