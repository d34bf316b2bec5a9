// Spellings of IPv4 addresses beyond four plain decimal parts.
//
// Resolvers and browsers accept hexadecimal and octal parts and fewer than four parts (inet_aton). A filter that reads
// "0x7f.1" as a name while the resolver reads it as 127.0.0.1 is no filter, so every such spelling is recognised here.
// Two dialects exist: the WHATWG URL rule decides for origins, the more permissive rule below decides for targets.

enum LegacyIPv4 {
    /// One numeric part: 0x-hexadecimal, 0-octal or decimal. Nil when it is no number; values saturate above 32 bits.
    private static func number(_ part: Substring.UTF8View, decimalOnly: Bool) -> UInt64? {
        var digits = part[...]
        var radix: UInt64 = 10
        if !decimalOnly, digits.first == UInt8(ascii: "0"), digits.count >= 2 {
            let second = digits.dropFirst().first
            let isHexadecimal = second == UInt8(ascii: "x") || second == UInt8(ascii: "X")
            radix = isHexadecimal ? 16 : 8
            digits = digits.dropFirst(isHexadecimal ? 2 : 1)
            // "0x" alone counts as zero in the URL standard.
            if digits.isEmpty { return 0 }
        }
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard let digit = hexadecimalValue(byte), UInt64(digit) < radix else { return nil }
            value = min(value * radix + UInt64(digit), 1 << 40)
        }
        return value
    }

    /// Joins parts of which the last fills the bytes the others leave.
    private static func join(_ numbers: [UInt64]) -> UInt32? {
        guard let last = numbers.last, numbers.count <= 4 else { return nil }
        let leading = numbers.dropLast()
        guard leading.allSatisfy({ $0 <= 255 }), last < 1 << UInt64(8 * (5 - numbers.count)) else { return nil }
        var value = last
        for (index, number) in leading.enumerated() { value |= number << UInt64(24 - 8 * index) }
        return UInt32(value)
    }

    private static func read(_ parts: [Substring], decimalOnly: Bool) -> UInt32? {
        var numbers: [UInt64] = []
        for part in parts {
            guard let value = number(part.utf8, decimalOnly: decimalOnly) else { return nil }
            numbers.append(value)
        }
        return join(numbers)
    }

    /// Splits at every full stop, also at one that a neighbouring code point makes part of its own character.
    private static func labels(of text: String) -> [Substring] {
        text.unicodeScalars.split(separator: ".", omittingEmptySubsequences: false).map { Substring($0) }
    }

    /// The address a target host means, nil when it is not one. Parts may be hexadecimal, octal or decimal; four parts
    /// that cannot be read so are tried as plain decimal ("08.0.0.1" is 8.0.0.1); four decimal parts with one dot after
    /// them are decimal only ("010.0.0.1." is 10.0.0.1).
    static func target(_ text: String) -> IPAddress? {
        guard let first = text.utf8.first, first >= 0x30, first <= 0x39, text.utf8.count <= 256 else { return nil }
        var parts = labels(of: text)
        if parts.count == 5, parts.last == "" {
            parts.removeLast()
            return read(parts, decimalOnly: true).map(IPAddress.init(v4:))
        }
        guard parts.count <= 4 else { return nil }
        if let value = read(parts, decimalOnly: false) { return IPAddress(v4: value) }
        guard parts.count == 4 else { return nil }
        return read(parts, decimalOnly: true).map(IPAddress.init(v4:))
    }

    /// Outcome of the WHATWG host parser's IPv4 step.
    enum HostOutcome: Equatable {
        case notNumeric
        case address(UInt32)
        case failure
    }

    /// The IPv4 step of the WHATWG host parser: a host whose last label is numeric is an IPv4 address or invalid.
    static func webHost(_ host: String) -> HostOutcome {
        var parts = labels(of: host)
        if parts.count > 1, parts.last == "" { parts.removeLast() }
        guard let last = parts.last, !last.isEmpty else { return .notNumeric }
        let allDigits = last.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
        let hexadecimal = last.lowercased().hasPrefix("0x") && number(last.utf8, decimalOnly: false) != nil
        guard allDigits || hexadecimal else { return .notNumeric }
        guard parts.count <= 4, let value = read(parts, decimalOnly: false) else { return .failure }
        return .address(value)
    }
}

/// The value of one hexadecimal digit, nil for any other byte.
func hexadecimalValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}
