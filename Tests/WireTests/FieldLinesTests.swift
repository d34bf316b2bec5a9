import Testing

@testable import Wire

@Suite("Lines of fields")
struct FieldLinesTests {
    @Test("fields stand as a head has them, in the order in which they came")
    func lines() {
        var lines = FieldLines(capacity: 4)
        lines.append("X-One", "a b")
        lines.append("x-two", "")
        var others = FieldLines()
        others.append("Three", "tab\tin it, and ü")
        lines.append(others)
        #expect(String(decoding: lines.bytes, as: UTF8.self) == "X-One: a b\r\nx-two: \r\nThree: tab\tin it, and ü\r\n")
        #expect(lines.isSound)
    }

    @Test(
        "a name that is no token and a value with a control character are not appended, and fail the head that has the lines",
        arguments: [
            ("", "v"), ("X One", "v"), ("X:", "v"), ("Xü", "v"), ("X", "a\r\nEvil: b"), ("X", "a\nb"), ("X", "\u{0}"), ("X", "\u{7F}"),
        ])
    func unsound(name: String, value: String) {
        var lines = FieldLines()
        lines.append("Good", "1")
        lines.append(name, value)
        lines.append("Late", "2")
        #expect(!lines.isSound)
        #expect(lines.bytes == Array("Good: 1\r\n".utf8))
        var outer = FieldLines()
        outer.append(lines)
        #expect(!outer.isSound)
        let area = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 1)
        defer { area.deallocate() }
        var writer = HeadWriter(area)
        writer.lines(outer)
        #expect(writer.failed)
    }

    @Test("bytes beyond ASCII go on as they came, whether they are text or not")
    func opaqueBytes() {
        let name: [UInt8] = Array("User-Agent".utf8)
        let value: [UInt8] = [0x61, 0x85, 0xFF, 0xC3, 0x20, 0x80]
        var lines = FieldLines()
        lines.append(name.span, value.span)
        #expect(lines.isSound && lines.bytes == name + [0x3A, 0x20] + value + [0x0D, 0x0A])
    }

    @Test("a head takes sound lines as they are")
    func written() {
        var lines = FieldLines()
        lines.append("A", "b")
        let area = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 1)
        defer { area.deallocate() }
        var writer = HeadWriter(area)
        writer.lines(lines)
        writer.endHead()
        #expect(!writer.failed && Array(area[..<writer.count]) == Array("A: b\r\n\r\n".utf8))
    }
}
