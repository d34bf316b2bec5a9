// An IPv4 or IPv6 address as a value, apart from any socket structure.
//
// Both families are held as a number, most significant byte first, so that "is this inside that prefix" is one shift
// and one comparison. Text is read strictly: four decimal parts without leading zeros for IPv4, RFC 4291 section 2.2
// for IPv6, no zone. The looser spellings that people use to slip past filters are the policy's concern.

/// An IP address without a port or a zone.
public struct IPAddress: Hashable, Sendable {
    /// The address family.
    public enum Family: UInt8, Sendable {
        case v4 = 4
        case v6 = 6
    }

    /// The address family.
    public let family: Family
    /// The first eight bytes of an IPv6 address as a big-endian number; 0 for IPv4.
    public let high: UInt64
    /// The last eight bytes of an IPv6 address as a big-endian number; an IPv4 address sits in the low 32 bits.
    public let low: UInt64

    /// An IPv4 address from its number: `0x7F000001` is 127.0.0.1.
    public init(v4 value: UInt32) {
        family = .v4
        high = 0
        low = UInt64(value)
    }

    /// An IPv6 address from its two big-endian halves.
    public init(v6High high: UInt64, low: UInt64) {
        family = .v6
        self.high = high
        self.low = low
    }

    /// An address from its 4 or 16 bytes in network order; nil for any other length.
    public init?(bytes: [UInt8]) {
        switch bytes.count {
        case 4:
            self.init(v4: bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            let high = bytes[..<8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let low = bytes[8...].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            self.init(v6High: high, low: low)
        default:
            return nil
        }
    }

    /// The address in network order: 4 bytes for IPv4, 16 for IPv6.
    public var bytes: [UInt8] {
        switch family {
        case .v4:
            return (0..<4).map { UInt8(truncatingIfNeeded: low >> (24 - 8 * UInt64($0))) }
        case .v6:
            return (0..<16).map { index in
                UInt8(truncatingIfNeeded: (index < 8 ? high : low) >> (56 - 8 * UInt64(index % 8)))
            }
        }
    }

    /// The number of an IPv4 address, nil for IPv6.
    public var v4Value: UInt32? {
        family == .v4 ? UInt32(truncatingIfNeeded: low) : nil
    }

    /// The same address with an IPv4-mapped IPv6 address (`::ffff:0:0/96`, RFC 4291 section 2.5.5.2) turned into the
    /// IPv4 address it means. Keys of limiters and block lists compare this form.
    public var normalized: IPAddress {
        guard family == .v6, high == 0, low >> 32 == 0xFFFF else { return self }
        return IPAddress(v4: UInt32(truncatingIfNeeded: low))
    }

    /// Whether the first `length` bits equal those of `prefix`. False across families.
    public func isInside(_ prefix: IPAddress, length: Int) -> Bool {
        guard family == prefix.family else { return false }
        switch family {
        case .v4:
            return length == 0 || (low ^ prefix.low) >> UInt64(32 - length) == 0
        case .v6:
            if length <= 64 { return length == 0 || (high ^ prefix.high) >> UInt64(64 - length) == 0 }
            return high == prefix.high && (low ^ prefix.low) >> UInt64(128 - length) == 0
        }
    }
}

// MARK: - Reading text

extension IPAddress {
    /// Reads canonical IPv4 or RFC 4291 IPv6 text. No brackets, no zone, no surrounding space.
    public init?(_ text: String) {
        self.init(utf8: text.utf8.span)
    }

    /// Reads canonical IPv4 or RFC 4291 IPv6 text from bytes.
    public init?(utf8 text: Span<UInt8>) {
        // The longest spelling is "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".
        guard text.count > 0, text.count <= 45 else { return nil }
        for index in text.indices where text[index] == UInt8(ascii: ":") {
            guard let halves = Self.parseV6(text) else { return nil }
            self.init(v6High: halves.high, low: halves.low)
            return
        }
        guard let value = Self.parseV4(text) else { return nil }
        self.init(v4: value)
    }

    /// Four decimal parts, each 0...255 without leading zeros.
    private static func parseV4(_ text: Span<UInt8>) -> UInt32? {
        var value: UInt32 = 0
        var part: UInt32 = 0
        var digits = 0
        var dots = 0
        for index in text.indices {
            let byte = text[index]
            if byte == UInt8(ascii: ".") {
                guard digits > 0, dots < 3 else { return nil }
                value = value << 8 | part
                (part, digits, dots) = (0, 0, dots + 1)
            } else {
                guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9"), digits == 0 || part != 0 else { return nil }
                part = part * 10 + UInt32(byte - UInt8(ascii: "0"))
                digits += 1
                guard part <= 255 else { return nil }
            }
        }
        guard dots == 3, digits > 0 else { return nil }
        return value << 8 | part
    }

    /// Up to eight groups of one to four hexadecimal digits, at most one `::`, optionally ending in dotted IPv4.
    private static func parseV6(_ text: Span<UInt8>) -> (high: UInt64, low: UInt64)? {
        let colon = UInt8(ascii: ":")
        var groups: [UInt16] = []
        var gap: Int?
        var index = 0
        if text.count >= 2, text[0] == colon, text[1] == colon {
            gap = 0
            index = 2
        }
        while index < text.count {
            guard groups.count < 8 else { return nil }
            let start = index
            var group: UInt32 = 0
            while index < text.count, let digit = Character7.hexValue(text[index]) {
                group = group << 4 | UInt32(digit)
                index += 1
                guard index - start <= 4 else { return nil }
            }
            if index < text.count, text[index] == UInt8(ascii: ".") {
                guard groups.count <= 6, let tail = parseV4(text.extracting(start..<text.count)) else { return nil }
                groups.append(UInt16(tail >> 16))
                groups.append(UInt16(truncatingIfNeeded: tail))
                break
            }
            guard index > start else { return nil }
            groups.append(UInt16(group))
            guard index < text.count else { break }
            guard text[index] == colon, index + 1 < text.count else { return nil }
            index += 1
            if text[index] == colon {
                guard gap == nil else { return nil }
                gap = groups.count
                index += 1
            }
        }
        return join(groups, gap: gap)
    }

    /// Widens the groups around the `::` and packs them into two halves.
    private static func join(_ groups: [UInt16], gap: Int?) -> (high: UInt64, low: UInt64)? {
        var all = groups
        if let gap {
            // "::" stands for at least one group.
            guard groups.count < 8 else { return nil }
            all.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: gap)
        }
        guard all.count == 8 else { return nil }
        let high = all[..<4].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        let low = all[4...].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        return (high, low)
    }
}

// MARK: - Writing text

extension IPAddress: CustomStringConvertible {
    /// Dotted decimal, or RFC 5952 text with mapped addresses written `::ffff:192.0.2.1` (its section 5).
    public var description: String {
        if let value = v4Value { return Self.dotted(value) }
        if high == 0, low >> 32 == 0xFFFF { return "::ffff:" + Self.dotted(UInt32(truncatingIfNeeded: low)) }
        return compressedHexadecimal
    }

    /// IPv6 as groups of lower-case hexadecimal with the longest run of at least two zero groups compressed, the first
    /// on a tie, and never with a dotted tail. This is how a URL writes a host (WHATWG URL, IPv6 serializer). An IPv4
    /// address is written dotted.
    public var compressedHexadecimal: String {
        if let value = v4Value { return Self.dotted(value) }
        let groups = (0..<8).map { index in
            UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> (48 - 16 * UInt64(index % 4)))
        }
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start >= 2, end - start > best.count { best = start..<end }
            start = max(end, start + 1)
        }
        func text(_ part: ArraySlice<UInt16>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        if best.isEmpty { return text(groups[...]) }
        return text(groups[..<best.lowerBound]) + "::" + text(groups[best.upperBound...])
    }

    private static func dotted(_ value: UInt32) -> String {
        "\(value >> 24).\(value >> 16 & 255).\(value >> 8 & 255).\(value & 255)"
    }
}
