// Which queries of DNS over HTTPS are refused, and the closed sets of labels they are counted under.

import Wire

/// The rules for queries.
public struct DNSPolicy: Sendable, Equatable {
    private let allowsAny: Bool
    private let allowsPrivatePointer: Bool

    /// Rules from the settings.
    public init(_ settings: GatewaySettings.DNSSettings) {
        allowsAny = settings.allowAny
        allowsPrivatePointer = settings.allowPrivatePointer
    }

    /// Whether a query is refused. `name` is in canonical wire form.
    public func refuses(type: UInt16, name: Span<UInt8>) -> Bool {
        if type == DNSType.any { return !allowsAny }
        guard type == DNSType.ptr, !allowsPrivatePointer else { return false }
        var dotted: [UInt8] = []
        var place = 0
        while place < name.count, name[place] > 0 {
            let end = place + 1 + Int(name[place])
            guard end <= name.count else { return false }
            if place > 0 { dotted.append(UInt8(ascii: ".")) }
            for index in place + 1..<end { dotted.append(name[index]) }
            place = end
        }
        return Self.isPrivateReverse(dotted.span)
    }

    /// Whether a dotted name is the reverse name of a private address: exactly four decimal labels under `in-addr.arpa`
    /// or 32 nibbles under `ip6.arpa`, empty labels not counted. What cannot be read is not private.
    public static func isPrivateReverse(_ name: Span<UInt8>) -> Bool {
        let text = String(decoding: (0..<name.count).map { name[$0] }, as: UTF8.self).lowercased()
        if let labels = labels(text, under: ".in-addr.arpa") { return isPrivateV4(labels) }
        if let labels = labels(text, under: ".ip6.arpa") { return isPrivateV6(labels) }
        return false
    }

    private static func labels(_ text: String, under suffix: String) -> [Substring]? {
        guard text.hasSuffix(suffix) else { return nil }
        return text.dropLast(suffix.count).split(separator: ".")
    }

    private static func isPrivateV4(_ labels: [Substring]) -> Bool {
        guard labels.count == 4 else { return false }
        var value: UInt32 = 0
        for label in labels.reversed() {
            guard label.utf8.allSatisfy({ $0 &- 0x30 < 10 }), let part = UInt32(label), part <= 255 else { return false }
            value = value << 8 | part
        }
        let address = IPAddress(v4: value)
        return privateV4.contains { address.isInside(IPAddress(v4: $0.0), length: $0.1) }
    }

    private static let privateV4: [(UInt32, Int)] = [
        (0x0000_0000, 8), (0x0A00_0000, 8), (0x7F00_0000, 8), (0xA9FE_0000, 16), (0xAC10_0000, 12), (0xC0A8_0000, 16),
        (0x6440_0000, 10),
    ]

    private static func isPrivateV6(_ labels: [Substring]) -> Bool {
        guard labels.count == 32 else { return false }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for (index, label) in labels.reversed().enumerated() {
            guard label.utf8.count == 1, let nibble = UInt64(label, radix: 16) else { return false }
            if index < 16 { high = high << 4 | nibble } else { low = low << 4 | nibble }
        }
        let address = IPAddress(v6High: high, low: low)
        return (high == 0 && low <= 1) || address.isInside(IPAddress(v6High: 0xFC00 << 48, low: 0), length: 7)
            || address.isInside(IPAddress(v6High: 0xFE80 << 48, low: 0), length: 10)
    }
}

/// The closed sets of the DNS metrics' labels. A label's index is its place in a table of counters.
public enum DNSLabel {
    /// Values of `qtype`: the names clients of the reference know, the numbers of types that browsers ask for, the rest.
    public static let types = [
        "A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "ANY", "33", "35", "43", "48", "64", "65", "257", "OTHER",
    ]
    private static let typeNumbers: [UInt16] = [1, 2, 5, 6, 12, 15, 16, 28, 255, 33, 35, 43, 48, 64, 65, 257]

    /// Index of a type's label.
    public static func index(type: UInt16) -> Int {
        switch type {
        case DNSType.a: 0
        case DNSType.aaaa: 7
        default: typeNumbers.firstIndex(of: type) ?? types.count - 1
        }
    }

    /// Values of `rcode`: four names, the other numbers of four bits.
    public static let codes = ["NOERROR", "1", "SERVFAIL", "NXDOMAIN", "4", "REFUSED"] + (6..<16).map(String.init)

    /// Index of a code's label.
    public static func index(code: UInt16) -> Int { Int(code & DNSHeader.codeMask) }
}

extension BucketTable where Key == IPAddress {
    /// The limiter of DNS queries, by client address. Nil when it is off.
    public static func queries(_ settings: GatewaySettings.DNSSettings) -> BucketTable? {
        BucketTable(capacity: settings.burstPerAddress, perSecond: settings.queriesPerSecondPerAddress)
    }
}
