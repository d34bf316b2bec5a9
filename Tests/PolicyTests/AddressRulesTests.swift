import Policy
import Testing

@Suite struct AddressRulesTests {
    /// First and last address of every range that is not public, and the neighbours outside it.
    @Test(
        arguments: [
            ("0.0.0.0", "0.255.255.255", nil, "1.0.0.0"), ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
            ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
            ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
            ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
            ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
            ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
            ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
            ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
            ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
            ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
            ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
            ("224.0.0.0", "255.255.255.255", "223.255.255.255", nil),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", nil, "64:ff9b:2::"),
            ("100::", "100::ffff:ffff:ffff:ffff", nil, "100:0:0:1::"),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff::", "2001:200::"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff::", "2001:db9::"),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe::", "3fff:1000::"),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5eff::", "5f01::"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff::1", "fe00::"),
            ("fe80::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe7f::1", nil),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nil, nil),
            // Those that carry an IPv4 address are judged by it.
            ("::", "::1", nil, "::8.8.8.8"), ("::10.0.0.1", "::127.0.0.1", nil, "::1.1.1.1"),
            ("::ffff:10.0.0.1", "::ffff:192.168.1.1", nil, "::ffff:8.8.8.8"),
            ("::ffff:0:10.0.0.1", "::ffff:0:127.0.0.1", nil, "::ffff:0:8.8.8.8"),
            ("64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", nil, "64:ff9b::8.8.8.8"),
            ("2002:a00:1::", "2002:7f00:1::1", nil, "2002:808:808::"),
        ] as [(String, String, String?, String?)])
    func ranges(_ first: String, _ last: String, _ before: String?, _ after: String?) throws {
        #expect(try !AddressRules.isPublic(#require(IPAddress(first))), "\(first)")
        #expect(try !AddressRules.isPublic(#require(IPAddress(last))), "\(last)")
        for neighbour in [before, after].compactMap({ $0 }) {
            #expect(try AddressRules.isPublic(#require(IPAddress(neighbour))), "\(neighbour)")
        }
    }

    @Test func publishedVectors() throws {
        for entry in try Vectors.list("observed-gateway.json", "ip_public", atLeast: 54) {
            let text = try #require(entry.string("address"))
            let expected = try #require((entry.boolean("specChoice") ?? entry.boolean("public")) as Bool?)
            #expect((IPAddress(text).map(AddressRules.isPublic) ?? false) == expected, "\(text)")
        }
    }
}
