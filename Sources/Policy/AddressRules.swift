// Which destination addresses are public.
//
// The lists follow the IANA special-purpose registries (RFC 6890 and its updates). Ranges that carry an IPv4 address
// inside an IPv6 address are judged by what they carry, because a translator on the path would deliver there.

/// The rule that keeps targets out of networks that are not the public internet.
public enum AddressRules {
    private struct Range {
        let prefix: IPAddress
        let length: Int
    }

    private static func v4(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ length: Int) -> Range {
        Range(prefix: IPAddress(v4: a << 24 | b << 16 | c << 8), length: length)
    }

    private static func v6(_ first: UInt64, _ second: UInt64, _ third: UInt64, _ length: Int) -> Range {
        Range(prefix: IPAddress(v6High: first << 48 | second << 32 | third << 16, low: 0), length: length)
    }

    private static let reservedV4: [Range] = [
        v4(0, 0, 0, 8),  // this network
        v4(10, 0, 0, 8),  // private use
        v4(100, 64, 0, 10),  // carrier-grade translation
        v4(127, 0, 0, 8),  // loopback
        v4(169, 254, 0, 16),  // link local, metadata services
        v4(172, 16, 0, 12),  // private use
        v4(192, 0, 0, 24),  // protocol assignments
        v4(192, 0, 2, 24),  // documentation
        v4(192, 88, 99, 24),  // former 6to4 relays
        v4(192, 168, 0, 16),  // private use
        v4(198, 18, 0, 15),  // benchmarking
        v4(198, 51, 100, 24),  // documentation
        v4(203, 0, 113, 24),  // documentation
        v4(224, 0, 0, 4),  // multicast
        v4(240, 0, 0, 4),  // reserved and broadcast
    ]

    private static let reservedV6: [Range] = [
        v6(0x64, 0xFF9B, 1, 48),  // 64:ff9b:1::/48, local translation
        v6(0x100, 0, 0, 64),  // discard only
        v6(0x2001, 0, 0, 23),  // protocol assignments, Teredo
        v6(0x2001, 0xDB8, 0, 32),  // documentation
        v6(0x3FFF, 0, 0, 20),  // documentation
        v6(0x5F00, 0, 0, 16),  // segment routing
        v6(0xFC00, 0, 0, 7),  // unique local
        v6(0xFE80, 0, 0, 10),  // link local
        v6(0xFEC0, 0, 0, 10),  // former site local
        v6(0xFF00, 0, 0, 8),  // multicast
    ]

    /// Whether a destination is on the public internet.
    public static func isPublic(_ address: IPAddress) -> Bool {
        if let value = address.v4Value { return isPublicV4(IPAddress(v4: value)) }
        if address.high == 0, address.low <= 1 { return false }
        if let inner = embedded(in: address) { return isPublicV4(inner) }
        for range in reservedV6 where address.isInside(range.prefix, length: range.length) { return false }
        return true
    }

    private static func isPublicV4(_ address: IPAddress) -> Bool {
        for range in reservedV4 where address.isInside(range.prefix, length: range.length) { return false }
        return true
    }

    /// The IPv4 address inside `::/96`, `::ffff:0:0/96`, `::ffff:0:0:0/96`, `64:ff9b::/96` and `2002::/16`.
    private static func embedded(in address: IPAddress) -> IPAddress? {
        let low32 = IPAddress(v4: UInt32(truncatingIfNeeded: address.low))
        switch (address.high, address.low >> 32) {
        case (0, 0), (0, 0xFFFF), (0, 0xFFFF_0000), (0x0064_FF9B_0000_0000, 0):
            return low32
        default:
            guard address.high >> 48 == 0x2002 else { return nil }
            return IPAddress(v4: UInt32(truncatingIfNeeded: address.high >> 16))
        }
    }
}
