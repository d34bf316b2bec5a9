extension Span<UInt8> {
    /// Whether `self[range]` is exactly `text` (ASCII).
    @inline(__always)
    public func equals(_ text: StaticString, in range: Range<Int>) -> Bool {
        guard range.count == text.utf8CodeUnitCount, range.lowerBound >= 0, range.upperBound <= count else { return false }
        let literal = unsafe text.utf8Start
        for offset in 0..<range.count {
            if unsafe self[range.lowerBound &+ offset] != literal[offset] { return false }
        }
        return true
    }

    /// Whether `self[range]` is `text` (lower-case ASCII) in any case.
    @inline(__always)
    public func equalsIgnoringCase(_ text: StaticString, in range: Range<Int>) -> Bool {
        guard range.count == text.utf8CodeUnitCount, range.lowerBound >= 0, range.upperBound <= count else { return false }
        let literal = unsafe text.utf8Start
        for offset in 0..<range.count {
            if unsafe Character7.lowercase(self[range.lowerBound &+ offset]) != literal[offset] { return false }
        }
        return true
    }

    /// Whether two ranges of this span hold the same text in any case.
    func equalsIgnoringCase(_ first: Range<Int>, _ second: Range<Int>) -> Bool {
        equalsIgnoringCase(extracting(first), in: second)
    }

    /// Whether `self[range]` and `text` are the same in any case (of ASCII).
    public func equalsIgnoringCase(_ text: Span<UInt8>, in range: Range<Int>) -> Bool {
        guard range.count == text.count, range.lowerBound >= 0, range.upperBound <= count else { return false }
        for offset in 0..<text.count {
            if Character7.lowercase(self[range.lowerBound &+ offset]) != Character7.lowercase(text[offset]) { return false }
        }
        return true
    }

    /// `range` without leading and trailing spaces and tabs (OWS of RFC 9110 section 5.6.3).
    @inline(__always)
    public func trimmed(_ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, self[start] == 0x20 || self[start] == 0x09 { start &+= 1 }
        while end > start, self[end &- 1] == 0x20 || self[end &- 1] == 0x09 { end &-= 1 }
        return start..<end
    }
}
