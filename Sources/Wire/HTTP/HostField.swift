/// The value of `Host` (RFC 9110 section 7.2): `uri-host [ ":" port ]`, without user information.
///
/// Stricter than the grammar where the grammar leaves room for two readings: names consist of letters, digits and
/// `-._~` (underscores occur in names of container networks), no percent-encoding and no sub-delimiters; a port has one
/// to five digits and at most 65535; an IP literal is an IPv6 address in brackets.
public enum HostField {
    /// Whether `bytes[range]` is acceptable as a host.
    public static func isValid(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        var index = range.lowerBound
        let end = range.upperBound
        guard index < end else { return false }
        if bytes[index] == 0x5B {
            index &+= 1
            let start = index
            while index < end, bytes[index] != 0x5D {
                let byte = bytes[index]
                guard Character7.hexValue(byte) != nil || byte == 0x3A || byte == 0x2E else { return false }
                index &+= 1
            }
            guard index < end, index &- start >= 2 else { return false }
            index &+= 1
        } else {
            let start = index
            while index < end, bytes[index] != 0x3A {
                let byte = bytes[index]
                guard
                    Character7.isLetter(byte) || Character7.isDigit(byte) || byte == 0x2D || byte == 0x2E
                        || byte == 0x5F || byte == 0x7E
                else { return false }
                index &+= 1
            }
            guard index > start else { return false }
        }
        if index == end { return true }
        return bytes[index] == 0x3A && isPort(bytes, (index &+ 1)..<end)
    }

    /// Whether `bytes[range]` is `host ":" port`, the authority form of a request target (RFC 9112 section 3.2.3).
    static func isAuthorityForm(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard isValid(bytes, range) else { return false }
        // A valid host ends in a port exactly when its last non-digit is a colon.
        var index = range.upperBound
        while index > range.lowerBound, Character7.isDigit(bytes[index &- 1]) { index &-= 1 }
        return index < range.upperBound && index > range.lowerBound && bytes[index &- 1] == 0x3A
    }

    private static func isPort(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard range.count >= 1, range.count <= 5 else { return false }
        var port = 0
        for index in range {
            guard Character7.isDigit(bytes[index]) else { return false }
            port = port &* 10 &+ Int(bytes[index] &- 0x30)
        }
        return port <= 65535
    }
}
