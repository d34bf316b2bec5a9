import Testing

@testable import SharedState

/// Replies of the server as values.
@Suite("Replies of the store")
struct ReplyTests {
    private func read(_ text: String) -> RedisReplyReader.Next {
        let reader = RedisReplyReader()
        let bytes = Array(text.utf8)
        guard bytes.withUnsafeBytes({ reader.feed($0) }) else { return .broken }
        return reader.next()
    }

    @Test("every kind", arguments: [
        ("+OK\r\n", RedisReply.status("OK")), ("-ERR no\r\n", .error("ERR no")), (":-7\r\n", .integer(-7)), ("$2\r\nab\r\n", .text("ab")),
        ("$0\r\n\r\n", .text("")), ("$-1\r\n", .absent), ("*0\r\n", .array([])), ("*-1\r\n", .absent),
        ("*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", .array([.integer(1), .array([.text("x")])])),
    ])
    func kinds(text: String, reply: RedisReply) { #expect(read(text) == .reply(reply)) }

    @Test("what is announced too large is refused before it is there", arguments: [
        "*8193\r\n", "*2147483647\r\n", "*2\r\n*8000\r\n" + String(repeating: ":1\r\n", count: 8000) + "*8000\r\n",
    ])
    func tooLarge(text: String) { #expect(read(text) == .broken) }

    @Test("a reply longer than the limit is refused")
    func tooLong() {
        let reader = RedisReplyReader()
        let part = [UInt8](repeating: 0x78, count: 1 << 16)
        #expect(Array("$9000000\r\n".utf8).withUnsafeBytes { reader.feed($0) })
        var fed = 0
        while part.withUnsafeBytes({ reader.feed($0) }) {
            fed += part.count
            #expect(reader.next() == .incomplete)
            if fed > 2 * RedisReplyReader.replyBytesMaximum { return #expect(Bool(false), "no end") }
        }
        #expect(fed <= RedisReplyReader.replyBytesMaximum)
    }

    @Test("commands are written as the protocol has them")
    func commands() {
        #expect(RedisCommand.bytes(["SET", "", "ä\r\n"]) == Array("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\nä\r\n\r\n".utf8))
    }

    @Test("answers of the wrong shape are none")
    func shapes() {
        #expect(StoreAnswer.places(.array([.integer(5), .integer(2)]), held: 5)?.others == 2)
        #expect(StoreAnswer.places(.array([.integer(4), .integer(2)]), held: 5) == nil)
        #expect(StoreAnswer.pulse(.array([.array([.text("s:1")]), .integer(2), .text("3")]))
            == StoreAnswer.Pulse(recalled: ["s:1"], revokedCount: 2, revokedVersion: 3))
        #expect(StoreAnswer.pulse(.array([.array([.integer(1)]), .integer(2), .integer(3)])) == nil)
        #expect(StoreAnswer.rates(.array([.integer(1500), .text("-250")]), count: 2) == [1.5, -0.25])
        #expect(StoreAnswer.rates(.array([.integer(1500)]), count: 2) == nil)
        let digest = String(repeating: "0f", count: 32)
        let page = StoreAnswer.revocations(.array([
            .text(digest), .text("12.5"), .text("admin"), .text("9"), .text(digest.uppercased()), .text("1")]))
        #expect(page?.members == 3 && page?.revoked == [digest: 12.5])
        #expect(StoreAnswer.revocations(.array([.text(digest)])) == nil)
    }
}
