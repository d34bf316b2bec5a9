import Testing
import Wire

private func decodeURL(_ text: [UInt8]) -> [UInt8]? { Base64.decodeURL(text.span) }
private func string(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

@Suite struct Base64Tests {
    /// RFC 4648 section 10.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ])
    func standard(_ text: String, _ encoded: String) {
        let bytes = Array(text.utf8)
        #expect(string(written { Base64.encode(bytes.span, to: &$0) }) == encoded)
        #expect(Base64.encodedBytes(bytes.count) == encoded.utf8.count)
        let unpadded = Array(encoded.utf8.filter { $0 != 0x3D })
        #expect(written { Base64.encodeURL(bytes.span, to: &$0) } == unpadded)
        #expect(Base64.encodedURLBytes(bytes.count) == unpadded.count)
        #expect(decodeURL(unpadded) == bytes)
    }

    @Test func bothAlphabets() {
        let bytes: [UInt8] = [0xFB, 0xFF, 0xBF]
        #expect(string(written { Base64.encode(bytes.span, to: &$0) }) == "+/+/")
        #expect(string(written { Base64.encodeURL(bytes.span, to: &$0) }) == "-_-_")
    }

    @Test(arguments: [
        "A", "AAAAA", "AB", "AAB", "Zg==", "Zg=", "+/+/", "AA A", " AAA", "AAA\n", "AA\0A", "\u{FC}A", "Zh", "Zm9", "Zm9=",
        "====", "AA.A",
    ])
    func notCanonical(_ text: String) { #expect(decodeURL(Array(text.utf8)) == nil) }

    /// Of all texts of up to three characters exactly those decode that an encoder produces.
    @Test func exactlyTheCanonicalTexts() {
        var canonical: Set<[UInt8]> = []
        for first in UInt8.min...UInt8.max {
            canonical.insert(written { Base64.encodeURL([first].span, to: &$0) } ?? [])
            for second in UInt8.min...UInt8.max {
                canonical.insert(written { Base64.encodeURL([first, second].span, to: &$0) } ?? [])
            }
        }
        let characters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=".utf8)
        for first in characters {
            for second in characters {
                #expect((decodeURL([first, second]) != nil) == canonical.contains([first, second]))
                for third in characters
                where (decodeURL([first, second, third]) != nil) != canonical.contains([first, second, third]) {
                    Issue.record("\([first, second, third])")
                }
            }
        }
    }

    @Test func roundTrip() {
        var generator = Generator(seed: 1)
        for count in 0...200 {
            let bytes = generator.bytes(count)
            let text = written { Base64.encodeURL(bytes.span, to: &$0) } ?? []
            #expect(decodeURL(text) == bytes)
        }
    }
}

@Suite struct PercentAndQueryTests {
    private func form(_ text: String) -> String { FormQuery.string(Array(text.utf8).span, 0..<text.utf8.count) }
    private func strict(_ text: String) -> String? {
        string(PercentCoding.decodeStrictly(Array(text.utf8).span, 0..<text.utf8.count))
    }

    @Test(arguments: [
        ("", ""), ("a", "a"), ("a+b", "a b"), ("%61", "a"), ("%2B", "+"), ("%zz", "%zz"), ("%", "%"), ("%6", "%6"),
        ("%%61", "%a"),
        ("%C3%BC", "ü"), ("%c3%bc", "ü"), ("%FF", "\u{FFFD}"), ("ü", "ü"), ("%00", "\0"), ("%6%31", "%61"), ("a%2", "a%2"),
    ])
    func forms(_ text: String, _ expected: String) { #expect(form(text) == expected) }

    @Test(
        arguments: [
            ("", ""), ("a+b", "a+b"), ("%61%2B", "a+"), ("%", nil), ("%6", nil), ("%zz", nil), ("a%", nil), ("%C3%BC", "ü"),
            ("%C3", nil), ("%FF", nil),
            ("%ED%A0%80", nil), ("%00", "\0"), ("ü", "ü"),
        ] as [(String, String?)])
    func strictly(_ text: String, _ expected: String?) { #expect(strict(text) == expected) }

    private func pairs(_ text: String) -> [[String]] {
        let bytes = Array(text.utf8)
        var query = FormQuery(0..<bytes.count)
        var result: [[String]] = []
        while let pair = query.pair(bytes.span) {
            result.append([FormQuery.string(bytes.span, pair.name), FormQuery.string(bytes.span, pair.value)])
        }
        return result
    }

    @Test(
        arguments: [
            ("", []), ("a=b", [["a", "b"]]), ("a", [["a", ""]]), ("a=", [["a", ""]]), ("=b", [["", "b"]]), ("=", [["", ""]]),
            ("&", []), ("&&a=b&&", [["a", "b"]]),
            ("a=b=c", [["a", "b=c"]]), ("a=1&a=2", [["a", "1"], ["a", "2"]]), ("a%3Db=c", [["a=b", "c"]]),
            ("a%26b=c", [["a&b", "c"]]), ("+=+", [[" ", " "]]),
            ("a;b=c", [["a;b", "c"]]),
        ] as [(String, [[String]])])
    func iteration(_ text: String, _ expected: [[String]]) { #expect(pairs(text) == expected) }

    @Test(
        arguments: [
            ("host=a&host=b", "a"), ("h%6Fst=a&host=b", "a"), ("%68%6F%73%74=a", "a"), ("hos=a", nil), ("hosts=a", nil),
            ("Host=a", nil), ("x=1&host", ""), ("ho+st=a", nil),
            ("host%00=a", nil),
        ] as [(String, String?)])
    func firstWins(_ text: String, _ expected: String?) {
        let bytes = Array(text.utf8)
        let first = FormQuery.string("host", in: bytes.span, 0..<bytes.count)
        #expect(first == expected)
    }
}

@Suite struct FieldListTests {
    @Test(arguments: [
        ("websocket", true), ("WebSocket", true), ("a, websocket", true), ("a,\twebsocket ,b", true), (",,websocket", true),
        ("websocket2", false), ("web socket", false),
        ("", false), (",", false), ("xwebsocket", false), ("websocket/13", false),
    ])
    func contains(_ text: String, _ expected: Bool) {
        let bytes = Array(text.utf8)
        let contains = FieldList.contains("websocket", in: bytes.span, 0..<bytes.count)
        #expect(contains == expected)
    }
}
