import Testing

@testable import sluice_load

/// What the load sends to many streams, and how it reads answers.
@Suite struct MultiplexingTests {
    @Test func messagesGoToTheStreamsInTurn() {
        let pattern = MessagePattern(payloadBytes: 5, depth: 4, isWebSocket: true, streams: 3)
        // A message is a masked frame of six bytes of header, nine of the inner header, and the payload.
        #expect(pattern.frameBytes == 20 && pattern.byteCount == 6 * 20, "whole rounds over the streams")
        for message in 0..<6 {
            let frame = pattern.bytes + message * 20
            let content = (0..<14).map { frame[6 + $0] ^ frame[2 + $0 & 3] }
            #expect(frame[0] == 0x82 && frame[1] == 0x80 | 14)
            #expect(Array(content[..<9]) == [2, 0, 0, 0, UInt8(message % 3 + 1), 0, 0, 0, 5])
            #expect(Array(content[9...]) == (0..<5).map { pattern.payload[$0] })
        }
    }

    @Test func aHeaderMayComeInPieces() {
        let bytes: [UInt8] = [2, 0, 0, 1, 2, 0, 1, 0, 0]
        for cut in 0..<9 {
            var input = MultiplexedInput()
            let first = bytes.withUnsafeBufferPointer { input.takeHeader($0.baseAddress!, count: cut) }
            #expect(first.used == cut && !first.complete)
            let second = bytes.withUnsafeBufferPointer { input.takeHeader($0.baseAddress! + cut, count: 9 - cut) }
            #expect(second.used == 9 - cut && second.complete)
            #expect(input.type == 2 && input.stream == 258 && input.remainingBytes == 65536)
        }
    }

    @Test func anAnswersLengthsAreRead() throws {
        let head = "HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 12\r\nB: c\r\n\r\n"
        let answer = try #require(PlainAnswer(Array((head + "body").utf8)))
        #expect(answer.status == 200 && answer.headBytes == head.utf8.count && answer.bodyBytes == 12)
        #expect(PlainAnswer(Array(head.dropLast().utf8)) == nil)
    }

    @Test func bytesAreReadFromDigits() {
        #expect(Options.bytes(hexadecimal: "00fFa1") == [0, 255, 161])
        #expect(Options.bytes(hexadecimal: "0") == nil && Options.bytes(hexadecimal: "0g") == nil)
    }
}
