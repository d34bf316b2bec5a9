import Testing
import Wire

private func isValid(_ text: String) -> Bool { JSONReader.isValid(Array(text.utf8).span) }
private func read(_ text: String) -> JSONValue? { JSONReader.read(Array(text.utf8).span) }

@Suite struct JSONTests {
    @Test(
        arguments: [
            ("null", .null), ("true", .boolean(true)), ("false", .boolean(false)), ("0", .number(0)), ("-0", .number(-0.0)),
            ("1.5", .number(1.5)),
            ("-12e2", .number(-1200)), ("1E+2", .number(100)), ("1e-2", .number(0.01)), ("1e999", .number(.infinity)),
            ("\"\"", .string("")),
            ("\"a\\n\\t\\\"\\\\\\/\\b\\f\\r\"", .string("a\n\t\"\\/\u{8}\u{C}\r")), ("\"\\u00fc\"", .string("ü")),
            ("\"\\uD83D\\uDE00\"", .string("\u{1F600}")),
            ("\"\\uD83D\"", .string("\u{FFFD}")), ("\"\\uDE00x\"", .string("\u{FFFD}x")),
            ("\"\\uD83D\\u0061\"", .string("\u{FFFD}a")), ("\"\u{7F}\"", .string("\u{7F}")),
            ("[]", .array([])), ("[1,[2]]", .array([.number(1), .array([.number(2)])])), ("{}", .object([])),
            (" \t\r\n{ \"a\" : 1 } ", .object([JSONMember(name: "a", value: .number(1))])),
            ("\"\\u0000\"", .string("\0")), ("9007199254740993", .number(9007199254740992)),
        ] as [(String, JSONValue)])
    func valid(_ text: String, _ value: JSONValue) {
        #expect(read(text) == value)
        #expect(isValid(text))
    }

    @Test(arguments: [
        "", " ", "nul", "nullx", "True", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "NaN", "Infinity", "\"", "\"a", "\"\\",
        "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"",
        "\"\n\"", "\"\t\"", "'a'", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
        "{\"a\":1,}", "{a:1}", "{1:1}", "{\"a\" 1}",
        "{}{}", "1 1", "null,", "\u{FEFF}{}", "/**/1", "1//", "[1]]", "\u{A0}1", "\u{0B}1", "1_0", "\"\\U0041\"", "-a", "--1",
        "1.e1", "[0 ,]",
    ])
    func invalid(_ text: String) {
        #expect(read(text) == nil)
        #expect(!isValid(text))
    }

    @Test(arguments: [
        ("0", 0), ("-0", 0), ("1700000060", 1_700_000_060), ("-1", -1), ("9223372036854775807", Int64.max),
        ("-9223372036854775808", Int64.min), ("9223372036854775808", nil), ("-9223372036854775809", nil), ("1.0", nil), ("1e0", nil),
        ("1E2", nil), ("-0.0", nil), ("99999999999999999999", nil), ("\"1\"", nil), ("null", nil), ("true", nil), ("[1]", nil),
    ] as [(String, Int64?)])
    func integers(_ text: String, _ expected: Int64?) throws {
        let json = Array(" {\"a\" : \(text) ,\"b\":[]}".utf8)
        let read = JSONReader.fields(json.span)
        let fields = try #require(read)
        #expect(fields.map(\.name) == ["a", "b"] && String(decoding: json[fields[0].text], as: UTF8.self) == text)
        let integer = fields[0].integer(in: json.span)
        #expect(integer == expected)
    }

    @Test(arguments: ["", "[]", "1", "null", "{} {}", "{", "{}x", "\u{FEFF}{}", "[{}]"])
    func fieldsOfWhatIsNoObject(_ text: String) {
        let fields = JSONReader.fields(Array(text.utf8).span)
        #expect(fields == nil)
    }

    @Test func bytesThatAreNotUTF8() {
        for bytes: [UInt8] in [
            [0x22, 0xFF, 0x22], [0x22, 0xC3, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0xEF, 0xBB, 0xBF, 0x31],
        ] {
            let value = JSONReader.read(bytes.span)
            #expect(value == nil)
        }
    }

    @Test func repeatedNames() {
        let value = read("{\"a\":1,\"b\":2,\"a\":3,\"\\u0061\":4}")
        #expect(value?["a"]?.number == 4 && value?["b"]?.number == 2 && value?["c"] == nil)
    }

    @Test func depth() {
        let nested = String(repeating: "[", count: 32) + String(repeating: "]", count: 32)
        #expect(read(nested) != nil && read("[" + nested + "]") == nil)
        #expect(read(String(repeating: "[", count: 100_000)) == nil)
        let flat = JSONReader.read(Array("[]".utf8).span, depth: 0)
        #expect(flat == nil)
        // Siblings are not depth.
        #expect(read("[" + Array(repeating: "[]", count: 100).joined(separator: ",") + "]") != nil)
    }

    @Test(arguments: [
        ("", "\"\""), ("a", "\"a\""), ("\"\\/", "\"\\\"\\\\/\""),
        ("\u{0}\u{1F}\n\r\t\u{8}\u{C}", "\"\\u0000\\u001f\\n\\r\\t\\b\\f\""), ("ü\u{1F600}\u{7F}", "\"ü\u{1F600}\u{7F}\""),
    ])
    func writing(_ text: String, _ expected: String) {
        #expect(written { $0.jsonString(text) } == Array(expected.utf8))
        #expect(written { $0.jsonString(Array(text.utf8).span) } == Array(expected.utf8))
        #expect(read(expected) == .string(text))
    }
}
