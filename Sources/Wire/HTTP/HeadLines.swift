/// Cuts a head into lines, remembering between calls how far it has looked, so that a peer which sends one byte at a
/// time costs each byte once. The outcome depends only on the byte stream, never on how it was split.
struct HeadLines {
    enum Line: Equatable {
        case needMore
        /// A complete line `start..<end`, its CRLF not included.
        case line(start: Int, end: Int)
        /// The line did not end within its limit.
        case overflow
        /// A control character inside the line: NUL, bare CR, bare LF and the like (RFC 9112 section 2.2).
        case malformed
    }

    /// First byte of the line being collected.
    private(set) var lineStart = 0
    /// No line end begins before this byte.
    private var scanned = 0

    /// The next line. `lineBytes` bounds this line with its CRLF, `headBytes` the offset of its end.
    mutating func next(_ bytes: Span<UInt8>, lineBytes: Int, headBytes: Int, tabAllowed: Bool) -> Line {
        let cap = min(headBytes, lineStart &+ lineBytes)
        let end = min(bytes.count, cap)
        precondition(scanned <= end, "a head must be parsed from its first byte, and must not shrink")
        var index = scanned
        while true {
            index = ByteScan.firstControl(bytes, from: index, to: end)
            if index == end { break }
            let byte = bytes[index]
            if byte == Character7.tab && tabAllowed {
                index &+= 1
                continue
            }
            if byte != Character7.carriageReturn { return .malformed }
            if index &+ 1 == end { break }
            if bytes[index &+ 1] != Character7.lineFeed { return .malformed }
            let start = lineStart
            lineStart = index &+ 2
            scanned = lineStart
            return .line(start: start, end: index)
        }
        scanned = index
        return end == cap ? .overflow : .needMore
    }
}
