import Testing

@testable import Control

@Suite struct YAMLDocumentTests {
    @Test func keepsOrderAndPositions() throws {
        let root = try #require(try YAMLDocument.parse("b: 1\na:\n  - x\n  - {k: \"v\"}\n"))
        guard case .mapping(let entries) = root.content else {
            Issue.record("not a mapping")
            return
        }
        #expect(entries.map(\.key) == ["b", "a"])
        #expect(entries[0].value == YAMLNode(content: .scalar("1", quoted: false), position: TextPosition(line: 1, column: 4)))
        guard case .sequence(let items) = entries[1].value.content, case .mapping(let inner) = items[1].content else {
            Issue.record("not a list of x and a mapping")
            return
        }
        #expect(items[0].position == TextPosition(line: 3, column: 5))
        #expect(inner[0].value.content == .scalar("v", quoted: true))
        #expect(inner[0].value.position == TextPosition(line: 4, column: 9))
    }

    @Test(arguments: ["", "\n\n", "# only a comment\n"]) func emptyTextHasNoDocument(_ text: String) throws {
        #expect(try YAMLDocument.parse(text) == nil)
    }

    @Test func blockScalarsAndUnicode() throws {
        let root = try #require(try YAMLDocument.parse("k: |\n  zwei\n  Zeilen é\n"))
        guard case .mapping(let entries) = root.content else { return }
        #expect(entries[0].value.content == .scalar("zwei\nZeilen é\n", quoted: true))
    }

    @Test(arguments: [
        ("a: 1\na: 2\n", 2, 1, "`a` appears twice; first in line 1"),
        ("a: &x 1\n", 1, 4, "anchors"),
        ("a: *x\n", 1, 4, "aliases"),
        ("a: !!int 1\n", 1, 4, "tags"),
        ("a: !ruby/object {}\n", 1, 4, "tags"),
        ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ("[a]: 1\n", 1, 1, "a key must be a single value"),
        ("? {a: b}\n: 1\n", 1, 3, "a key must be a single value"),
        ("a: [1, 2\n", 2, 1, ""),
        ("a: \"unclosed\n", 2, 1, ""),
        ("a: 1\n  b: 2\n", 2, 4, "mapping values are not allowed"),
        ("\ta: 1\n", 1, 1, "cannot start any token"),
    ]) func refuses(_ text: String, _ line: Int, _ column: Int, _ words: String) {
        let error = #expect(throws: YAMLError.self) { try YAMLDocument.parse(text) }
        #expect(error?.position == TextPosition(line: line, column: column))
        #expect(error?.message.contains(words) == true || words.isEmpty, "\(error?.message ?? "")")
        #expect(error?.message.isEmpty == false)
    }

    @Test func refusesInvalidUTF8() {
        #expect(throws: YAMLError.self) { try YAMLDocument.parse([0x61, 0x3A, 0x20, 0xFF, 0xFE, 0x0A]) }
    }

    @Test func depthIsLimited() throws {
        var limits = YAMLLimits()
        limits.depth = 8
        #expect(
            try YAMLDocument.parse(String(repeating: "[", count: 8) + String(repeating: "]", count: 8), limits: limits) != nil)
        let error = #expect(throws: YAMLError.self) {
            try YAMLDocument.parse(String(repeating: "[", count: 9) + String(repeating: "]", count: 9), limits: limits)
        }
        #expect(error?.message == "nested deeper than 8 levels")
    }

    @Test func nestingDeeperThanTheStackIsRefused() {
        let bytes = [UInt8](repeating: UInt8(ascii: "["), count: 500_000)
        #expect(throws: YAMLError.self) { try YAMLDocument.parse(bytes) }
    }

    @Test func sizeAndNodesAreLimited() throws {
        var limits = YAMLLimits()
        limits.bytes = 10
        #expect(try YAMLDocument.parse("a: 1234567", limits: limits) != nil)
        #expect(throws: YAMLError.self) { try YAMLDocument.parse("a: 12345678", limits: limits) }
        limits = YAMLLimits()
        limits.nodes = 4  // the list and three items
        #expect(try YAMLDocument.parse("[1, 2, 3]", limits: limits) != nil)
        #expect(throws: YAMLError.self) { try YAMLDocument.parse("[1, 2, 3, 4]", limits: limits) }
    }

    @Test(arguments: [("~", true), ("null", true), ("", true), ("\"null\"", false), ("0", false), ("''", false)])
    func nullIsUnquoted(_ text: String, _ expected: Bool) throws {
        let root = try #require(try YAMLDocument.parse("a: \(text)\n"))
        guard case .mapping(let entries) = root.content else { return }
        #expect(entries[0].value.isNull == expected)
    }
}
