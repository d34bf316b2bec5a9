import Testing
import Wire

private func head(_ capacity: Int = 1024, _ body: (inout HeadWriter) -> Void) -> String? {
    withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 1) { buffer in
        var writer = HeadWriter(buffer)
        body(&writer)
        return writer.failed ? nil : String(decoding: buffer[..<writer.count], as: UTF8.self)
    }
}

/// Writes one field whose name and value come from outside.
private func field(_ name: [UInt8], _ value: [UInt8]) -> String? { head { _ = $0.field(name.span, value.span) } }
/// Writes a request line.
private func request(_ target: [UInt8]) -> String? { head { _ = $0.request(.get, target: target.span) } }

@Suite struct HeadWriterTests {
    @Test func responseHead() {
        let text = head { writer in
            writer.status(200)
            writer.field("Content-Type", "text/plain")
            writer.field("Content-Length", UInt64.max)
            let tabbed: [UInt8] = [0x61, 0x09, 0x62]
            writer.field("X", tabbed.span)
            writer.field("Y", string: "ü")
            writer.endHead()
            writer.body("hello")
        }
        #expect(
            text
                == "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 18446744073709551615\r\nX: a\tb\r\nY: ü\r\n\r\nhello"
        )
    }

    @Test func requestHead() {
        let text = head { writer in
            let (target, name, value) = (Array("/a?b".utf8), Array("Host".utf8), Array("a".utf8))
            writer.request(.get, target: target.span)
            writer.field(name.span, value.span)
            writer.endHead()
        }
        #expect(text == "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n")
    }

    @Test(arguments: Array(UInt8(0)..<0x20) + [0x7F])
    func controlsCannotSplitAHead(_ byte: UInt8) {
        let isTab = byte == 0x09
        let value = [0x61, byte]
        let literal = head { _ = $0.field("X", value.span) }
        #expect((literal != nil) == isTab && (field([0x58], value) != nil) == isTab)
        #expect((head { _ = $0.field("X", string: "a\(Unicode.Scalar(byte))") } != nil) == isTab)
        #expect(field([0x61, byte], []) == nil)
        #expect(request([0x2F, byte]) == nil)
    }

    @Test func namesAndTargetsAreChecked() {
        #expect(field([], [0x61]) == nil)
        #expect(field(Array("a:b".utf8), [0x61]) == nil)
        #expect(request([]) == nil)
        #expect(request([0x2F, 0x20]) == nil)
    }

    @Test func overflowIsSticky() {
        let whole = "HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"
        for capacity in 1...whole.utf8.count {
            let text = head(capacity) { writer in
                writer.status(404)
                writer.field("A", "b")
                writer.endHead()
            }
            #expect(text == (capacity == whole.utf8.count ? whole : nil))
        }
    }

    @Test(arguments: [0, 1, 9, 10, 99, 100, 12345, UInt64(Int64.max), .max] as [UInt64])
    func decimals(_ number: UInt64) {
        #expect(written { $0.decimal(number) }.map { String(decoding: $0, as: UTF8.self) } == "\(number)")
    }
}
