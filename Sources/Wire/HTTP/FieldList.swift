/// The comma-separated lists of RFC 9110 section 5.6.1: `#element`, empty elements allowed and skipped.
public struct FieldList: Sendable {
    private var next: Int
    private let end: Int

    /// A list that fills `range`.
    public init(_ range: Range<Int>) {
        next = range.lowerBound
        end = range.upperBound
    }

    /// The next non-empty element without surrounding blanks, or nil at the end. Quoted strings are not treated
    /// specially: the lists read here are lists of tokens.
    public mutating func element(_ bytes: Span<UInt8>) -> Range<Int>? {
        while next < end {
            let comma = ByteScan.first(0x2C, in: bytes, from: next, to: end)
            let element = bytes.trimmed(next..<comma)
            next = comma &+ 1
            if !element.isEmpty { return element }
        }
        return nil
    }

    /// Whether the list in `range` holds `token` (lower-case ASCII) in any case, as a whole element.
    public static func contains(_ token: StaticString, in bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        var list = FieldList(range)
        while let element = list.element(bytes) {
            if bytes.equalsIgnoringCase(token, in: element) { return true }
        }
        return false
    }
}
