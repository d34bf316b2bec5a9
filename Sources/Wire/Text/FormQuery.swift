/// The pairs of a query in `application/x-www-form-urlencoded` (WHATWG URL section 5.1), in wire order.
public struct FormQuery: Sendable {
    /// One pair, still encoded.
    public struct Pair: Sendable, Equatable {
        /// What stands before the first `=`.
        public var name: Range<Int>
        /// Empty when the pair has no `=`.
        public var value: Range<Int>
    }

    private var next: Int
    private let end: Int

    /// The pairs of the query in `range`, which does not include the `?`.
    public init(_ range: Range<Int>) {
        next = range.lowerBound
        end = range.upperBound
    }

    /// The next pair, or nil at the end. Empty sequences between `&` are skipped.
    public mutating func pair(_ bytes: Span<UInt8>) -> Pair? {
        while next < end {
            let start = next
            let stop = ByteScan.first(0x26, in: bytes, from: start, to: end)
            next = stop + 1
            if start == stop { continue }
            let equals = ByteScan.first(0x3D, in: bytes, from: start, to: stop)
            return Pair(name: start..<equals, value: (equals < stop ? equals + 1 : stop)..<stop)
        }
        return nil
    }

    /// The encoded value of the first pair whose decoded name is `name` (ASCII).
    public static func first(_ name: StaticString, in bytes: Span<UInt8>, _ range: Range<Int>) -> Range<Int>? {
        var query = FormQuery(range)
        while let pair = query.pair(bytes) {
            if decodes(bytes, pair.name, to: name) { return pair.value }
        }
        return nil
    }

    /// The decoded value of the first pair named `name`; sequences that are not UTF-8 become U+FFFD. For cold paths.
    public static func string(_ name: StaticString, in bytes: Span<UInt8>, _ range: Range<Int>) -> String? {
        guard let value = first(name, in: bytes, range) else { return nil }
        return string(bytes, value)
    }

    /// The decoded form of `bytes[range]`; sequences that are not UTF-8 become U+FFFD. For cold paths.
    public static func string(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String {
        let decoded = [UInt8](capacity: range.count) { writer in PercentCoding.decodeForm(bytes, range, to: &writer) }
        return String(decoding: decoded ?? [], as: UTF8.self)
    }

    /// Whether `bytes[range]`, decoded, is `text`. Decoded in place, byte for byte: an escaped name is still the name.
    private static func decodes(_ bytes: Span<UInt8>, _ range: Range<Int>, to text: StaticString) -> Bool {
        if bytes.equals(text, in: range) { return true }
        // Each decoded byte takes one or three encoded ones.
        guard range.count > text.utf8CodeUnitCount, range.count <= 3 * text.utf8CodeUnitCount else { return false }
        let decoded = [UInt8](capacity: range.count) { writer in PercentCoding.decodeForm(bytes, range, to: &writer) }
        guard let decoded else { return false }
        return decoded.span.equals(text, in: 0..<decoded.count)
    }
}
