import Testing

@testable import Control

@Suite struct QuantityTests {
    @Test(
        arguments: [
            ("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("12h", 43_200_000), ("7d", 604_800_000), ("0", 0), ("0s", 0),
            ("007s", 7000),
            ("30", nil), ("s", nil), ("-1s", nil), ("1.5s", nil), ("1 s", nil), ("1sec", nil), ("", nil),
            ("9223372036854775807d", nil),
            ("99999999999999999999s", nil), ("5M", nil),
        ] as [(String, Int?)]) func durations(_ text: String, _ expected: Int?)
    { #expect(Quantity.milliseconds(text) == expected) }

    @Test(
        arguments: [
            ("512B", 512), ("64KiB", 65_536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("1TiB", 1 << 40), ("0", 0),
            ("64", nil), ("64KB", nil), ("64k", nil), ("KiB", nil), ("-1B", nil), ("9007199254740993TiB", nil),
        ] as [(String, Int?)]) func sizes(_ text: String, _ expected: Int?)
    { #expect(Quantity.bytes(text) == expected) }

    @Test(
        arguments: [
            ("0", 0), ("42", 42), (" 42 ", 42), ("-3", -3), ("08080", 8080), ("9223372036854775807", Int.max),
            ("", nil), ("-", nil), ("+5", nil), ("1e3", nil), ("0x10", nil), ("1_000", nil), ("9223372036854775808", nil),
            ("٣", nil),
        ] as [(String, Int?)]) func integers(_ text: String, _ expected: Int?)
    { #expect(Quantity.integer(text) == expected) }

    @Test(
        arguments: [
            ("10", 10), ("0.5", 0.5), ("2.25", 2.25), (".5", nil), ("5.", nil), ("1e3", nil), ("inf", nil), ("nan", nil),
            ("-1", nil), ("1.2.3", nil),
        ] as [(String, Double?)]) func numbers(_ text: String, _ expected: Double?)
    { #expect(Quantity.number(text) == expected) }

    @Test func amountsAreWrittenAsTheyAreRead() {
        for milliseconds in [0, 1, 250, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000] {
            #expect(Quantity.milliseconds(Quantity.duration(milliseconds, .milliseconds)) == milliseconds)
        }
        for bytes in [0, 1, 1000, 1024, 1536, 1 << 20, 3 << 30, 1 << 40] {
            #expect(Quantity.bytes(Quantity.size(bytes)) == bytes)
        }
    }

    @Test(arguments: [
        "plain", "", "null", "~", "a: b", "#x", "- x", "quote\"back\\slash", "line\nend", "\u{1}", "ü",
        "\u{9B}", "\u{2028}", "\u{FEFF}a", "\u{FFFE}", "*.example.com",
        "[::1]:80",
    ])
    func quotedTextSurvivesYAML(_ text: String) throws {
        let root = try #require(try YAMLDocument.parse("k: \(Quantity.quoted(text))\n"))
        guard case .mapping(let entries) = root.content, case .scalar(let back, _) = entries[0].value.content else { return }
        #expect(back == text)
        #expect(!entries[0].value.isNull)
    }

    @Test(
        arguments: [
            ("0.0.0.0:8080", "0.0.0.0:8080"), (":80", "0.0.0.0:80"), ("localhost:0", "127.0.0.1:0"), ("[::]:443", "[::]:443"),
            ("[0:0:0:0:0:0:0:1]:1", "[::1]:1"), ("127.0.0.1:65535", "127.0.0.1:65535"),
            ("127.0.0.1", nil), ("127.0.0.1:", nil), ("127.0.0.1:65536", nil), ("example.com:80", nil), ("::1:80", nil),
            ("[127.0.0.1]:80", nil),
            ("127.0.0.1:+80", nil), ("1.2.3:80", nil), ("", nil),
        ] as [(String, String?)]) func listenAddresses(_ text: String, _ expected: String?)
    {
        #expect(ListenAddress(text)?.description == expected)
    }

    @Test(
        arguments: [
            ("max_conections", "max_connections"), ("levle", "level"), ("LEVEL", nil), ("adress", "address"), ("xyz", nil),
            ("x", nil),
            ("max_connections_per_i", "max_connections_per_ip"),
        ] as [(String, String?)]) func nearestNames(_ name: String, _ expected: String?)
    {
        #expect(
            NearestName.find(name, among: ["max_connections", "max_connections_per_ip", "level", "address", "tls"]) == expected)
    }

    @Test func editDistances() {
        func distance(_ left: String, _ right: String) -> Int { NearestName.distance(Array(left.utf8), Array(right.utf8)) }
        #expect(distance("", "abc") == 3)
        #expect(distance("abc", "abc") == 0)
        #expect(distance("abc", "acb") == 1)
        #expect(distance("kitten", "sitting") == 3)
    }
}
