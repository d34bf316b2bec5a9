import Testing
import Wire

@Suite("JSON pointers")
struct JSONPointerTests {
    /// The document of RFC 6901 section 5, and its answers.
    private static let document = JSONReader.read(
        Array(#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#.utf8).span)!

    @Test("the examples of RFC 6901", arguments: [
        ("/foo/0", JSONValue.string("bar")), ("/", .number(0)), ("/a~1b", .number(1)), ("/c%d", .number(2)), ("/e^f", .number(3)),
        ("/g|h", .number(4)), ("/i\\j", .number(5)), ("/k\"l", .number(6)), ("/ ", .number(7)), ("/m~0n", .number(8)),
        ("/foo", .array([.string("bar"), .string("baz")])),
    ])
    func examples(text: String, value: JSONValue) {
        let pointer = JSONPointer(text)
        #expect(pointer?.value(in: Self.document) == value)
        #expect(pointer?.description == text)
    }

    @Test("the empty pointer is the whole text")
    func whole() { #expect(JSONPointer("")?.value(in: Self.document) == Self.document) }

    @Test("nothing there", arguments: [
        "/bar", "/foo/2", "/foo/-", "/foo/00", "/foo/01", "/foo/+1", "/foo/1e0", "/foo/", "/foo/0/x", "//x", "/foo/9999999999",
    ])
    func nothing(text: String) {
        #expect(JSONPointer(text) != nil)
        #expect(JSONPointer(text)?.value(in: Self.document) == nil)
    }

    @Test("no pointers", arguments: [
        "foo", "#/foo", "/~", "/~2", "/a~", "/~~0", String(repeating: "/", count: 33), "/" + String(repeating: "x", count: 512),
    ])
    func malformed(text: String) { #expect(JSONPointer(text) == nil) }

    @Test("~01 is ~1, not a slash")
    func order() {
        let document = JSONValue.object([JSONMember(name: "~1", value: .boolean(true))])
        #expect(JSONPointer("/~01")?.value(in: document) == .boolean(true))
    }

    @Test("words of lists and of strings")
    func words() {
        #expect(JSONValue.string("read  write ").words == ["read", "write"])
        #expect(JSONValue.string("").words == [])
        #expect(JSONValue.array([.string("a b"), .number(1), .string("c")]).words == ["a b", "c"])
        #expect(JSONValue.object([]).words == [] && JSONValue.null.words == [])
    }

    @Test("scalars as text")
    func scalars() {
        #expect(JSONValue.string("x").scalarText == "x" && JSONValue.boolean(true).scalarText == "true")
        #expect(JSONValue.number(-17).scalarText == "-17")
        #expect(JSONValue.number(9_007_199_254_740_992).scalarText == "9007199254740992")
        #expect(JSONValue.number(1.5).scalarText == nil && JSONValue.number(.infinity).scalarText == nil)
        #expect(JSONValue.null.scalarText == nil && JSONValue.array([]).scalarText == nil)
    }
}
