import Policy
import Testing

@Suite struct TargetHostTests {
    @Test(arguments: [
        ("127.1", "127.0.0.1"), ("2130706433", "127.0.0.1"), ("0x7f000001", "127.0.0.1"), ("017700000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"), ("0177.0.0.01", "127.0.0.1"), ("09.1.1.1", "9.1.1.1"), ("010.0.0.1.", "10.0.0.1"),
        ("0x7f.1.", "127.0.0.1"),
        ("1.2.3.4..", "1.2.3.4"), (" 10.0.0.1 ", "10.0.0.1"), ("[10.0.0.1]", "10.0.0.1"), ("[::1]", "::1"), ("0", "0.0.0.0"),
        ("0x", "0.0.0.0"),
        ("\u{FF11}\u{FF10}.0.0.1", "10.0.0.1"), ("127\u{3002}0\u{FF0E}0\u{FF61}1", "127.0.0.1"),
        ("\u{2460}\u{2461}\u{2462}", "0.0.0.123"),
        ("\u{1D7CF}\u{1D7CE}.1", "10.0.0.1"), ("127.0.0.\u{B9}", "127.0.0.1"), ("1\u{AD}27.0.0.1", "127.0.0.1"),
        ("0\u{FF58}7f.1", "127.0.0.1"),
    ])
    func addressSpellings(_ text: String, _ expected: String) throws {
        #expect(TargetHost(classifying: text) == .address(try #require(IPAddress(expected))))
    }

    @Test(arguments: [
        ("example.com", "example.com"), ("EXAMPLE.COM.", "example.com"), ("a", "a"), ("x1.2y", "x1.2y"), ("1a.b", "1a.b"),
        ("a--b.c", "a--b.c"),
        ("m\u{FC}nchen.de", "xn--mnchen-3ya.de"), ("mu\u{308}nchen.de", "xn--mnchen-3ya.de"),
        ("M\u{DC}NCHEN.DE", "xn--mnchen-3ya.de"),
        ("fa\u{DF}.de", "xn--fa-hia.de"), ("\u{4F8B}\u{3048}.\u{30C6}\u{30B9}\u{30C8}", "xn--r8jz45g.xn--zckzah"),
        ("\u{FF45}xample\u{3002}com", "example.com"), ("ex\u{200B}ample.com", "example.com"),
        ("\u{645}\u{62B}\u{627}\u{644}.\u{625}\u{62E}\u{62A}\u{628}\u{627}\u{631}", "xn--mgbh0fb.xn--kgbechtv"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"), ("XN--MNCHEN-3YA.DE", "xn--mnchen-3ya.de"), ("\u{1F4A9}.la", "xn--ls8h.la"),
        ("\u{3B2}\u{3CC}\u{3BB}\u{3BF}\u{3C2}.com", "xn--nxasmm1c.com"),
    ])
    func names(_ text: String, _ expected: String) {
        #expect(TargetHost(classifying: text) == .name(expected))
    }

    @Test(arguments: [
        "", " ", ".", "..", ".a", "a..b", "-a", "a-", "a.-b", "a_b", "a b", "a/b", "a:b", "a@b", "a*b", "*", "[]", "[a", "a]",
        "[[::1]]", "%31", "a%2e", "fe80::1%eth0",
        "[fe80::1%1]", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "1.16777216", "1.2.65536", "4294967296", "0x100000000",
        "0x08.0008.0.1", "a.1", "a.0x1", "1.2.3.4x.5", "::ffff:010.0.0.1",
        "::1::", "xn--", "xn--a", "xn--a-.b", "xn--mnchen-3ya\u{FC}.de", "xn--\u{FC}", "a\u{200D}b", "\u{301}a.b", "a\u{0}b",
        "a.\u{301}b", "\u{E000}.b", "\u{2488}", "\u{FFFD}", "\u{2FF0}\u{4E00}",
        "\u{5D0}a\u{5D0}.com", "1\u{5D0}.com", "\u{202E}a.b", "a\u{2044}b.c",
    ])
    func malformed(_ text: String) {
        #expect(TargetHost(classifying: text) == .malformed)
    }

    @Test func lengths() {
        let label = String(repeating: "a", count: 63)
        #expect(TargetHost(classifying: label + ".b") == .name(label + ".b"))
        #expect(TargetHost(classifying: label + "a.b") == .malformed)
        let longest = [label, label, label, String(repeating: "a", count: 61)].joined(separator: ".")
        #expect(longest.utf8.count == 253)
        #expect(TargetHost(classifying: longest) == .name(longest))
        #expect(TargetHost(classifying: longest + ".") == .name(longest))
        #expect(TargetHost(classifying: "a" + longest) == .malformed)
        #expect(TargetHost(classifying: String(repeating: "\u{FC}", count: 60) + ".de") == .malformed)
        #expect(TargetHost(classifying: String(repeating: "a", count: 100_000)) == .malformed)
    }

    @Test func publishedVectors() throws {
        for entry in try Vectors.list("observed-gateway.json", "classify_host", atLeast: 32) {
            let host = try #require(entry.string("host"))
            let expected: TargetHost
            switch try #require(entry.string("specChoice") ?? entry.string("kind")) {
            case "ip": expected = .address(try #require(entry.string("ip").flatMap { IPAddress($0) }))
            case "hostname": expected = .name(try #require(entry.string("hostname")))
            default: expected = .malformed
            }
            #expect(TargetHost(classifying: host) == expected, "\(host)")
        }
    }
}
