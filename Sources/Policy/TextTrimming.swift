// The three notions of "blank" that the gateway's rules use, on strings and on ranges of bytes.

extension String {
    /// Without leading and trailing white space (Unicode property White_Space, and the byte order mark, which the
    /// published rules count as white space).
    public func trimmingBlanks() -> String {
        func isBlank(_ scalar: Unicode.Scalar) -> Bool {
            scalar.properties.isWhitespace || scalar == "\u{FEFF}"
        }
        // Nearly always there is nothing to trim.
        if let first = utf8.first, let last = utf8.last, 0x21..<0x7F ~= first, 0x21..<0x7F ~= last { return self }
        var scalars = unicodeScalars[...]
        while let first = scalars.first, isBlank(first) { scalars.removeFirst() }
        while let last = scalars.last, isBlank(last) { scalars.removeLast() }
        return String(scalars)
    }
}

extension Span where Element == UInt8 {
    /// The part of `range` left when bytes ≤ 0x20 are taken off both ends.
    func trimmedOfControls(_ range: Range<Int>) -> Range<Int> {
        var lower = range.lowerBound
        var upper = range.upperBound
        while lower < upper, self[lower] <= 0x20 { lower += 1 }
        while upper > lower, self[upper - 1] <= 0x20 { upper -= 1 }
        return lower..<upper
    }
}
