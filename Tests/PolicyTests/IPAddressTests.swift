import Policy
import Testing

@Suite struct IPAddressTests {
    @Test(arguments: [
        ("1.2.3.4", "1.2.3.4"), ("0.0.0.0", "0.0.0.0"), ("255.255.255.255", "255.255.255.255"),
        ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("0:0:0:0:0:ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("::ffff:c000:201", "::ffff:192.0.2.1"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ])
    func reads(_ text: String, _ expected: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == expected)
        #expect(IPAddress(expected) == address)
        #expect(IPAddress(bytes: address.bytes) == address)
    }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.4.", ".1.2.3.4", "1..2.3", "01.2.3.4", "1.2.3.256", "1.2.3.-4", " 1.2.3.4",
        "1.2.3.4 ",
        ":", ":::", "1:", ":1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8:", ":1:2:3:4:5:6:7:8", "1::2::3",
        "12345::", "g::",
        "::1.2.3", "::1.2.3.4.5", "::1.2.3.04", "1.2.3.4::", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
        "fe80::1%eth0",
        "[::1]", "::1/128", "\u{661}.2.3.4",
    ])
    func refuses(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func mappedAddressesAreTheirIPv4Address() throws {
        #expect(try #require(IPAddress("::ffff:10.1.2.3")).normalized == IPAddress("10.1.2.3"))
        #expect(try #require(IPAddress("::fffe:10.1.2.3")).normalized.family == .v6)
        #expect(IPAddress("::10.1.2.3") != IPAddress("10.1.2.3"))
    }

    @Test func prefixesCompareBits() throws {
        let prefix = try #require(IPAddress("172.16.0.0"))
        #expect(try #require(IPAddress("172.31.255.255")).isInside(prefix, length: 12))
        #expect(try !#require(IPAddress("172.32.0.0")).isInside(prefix, length: 12))
        #expect(try #require(IPAddress("1.1.1.1")).isInside(prefix, length: 0))
        let long = try #require(IPAddress("2001:db8::8000:0:0:0"))
        #expect(try #require(IPAddress("2001:db8::8000:0:0:1")).isInside(long, length: 127))
        #expect(try !#require(IPAddress("2001:db8::8000:0:0:1")).isInside(long, length: 128))
        #expect(try !#require(IPAddress("2001:db9::8000:0:0:0")).isInside(long, length: 66))
        #expect(try !#require(IPAddress("172.16.0.0")).isInside(long, length: 0))
    }

    @Test func bytesOfOtherLengthsAreNoAddress() {
        #expect(IPAddress(bytes: []) == nil)
        #expect(IPAddress(bytes: [1, 2, 3]) == nil)
        #expect(IPAddress(bytes: Array(repeating: 0, count: 15)) == nil)
    }
}
