import Testing
import Wire

@Suite struct FrameHeaderTests {
    private static let sizes = [0, 1, 125, 126, 127, 65535, 65536, 100_000]

    private func encoded(_ encode: (UnsafeMutableRawPointer) -> Int) -> [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 16) { buffer in
            buffer.initializeMemory(as: UInt8.self, repeating: 0xEE)
            let length = encode(buffer.baseAddress! + 25)
            for index in 0..<(25 - length) { #expect(buffer[index] == 0xEE) }
            for index in 25..<32 { #expect(buffer[index] == 0xEE) }
            return Array(buffer[(25 - length)..<25])
        }
    }

    @Test(arguments: sizes)
    func server(_ size: Int) {
        for (opcode, first) in [(Opcode.binary, UInt8(0x82)), (.text, 0x81), (.close, 0x88), (.ping, 0x89), (.pong, 0x8A)] {
            let header = encoded { FrameHeader.encode(opcode, payloadBytes: size, endingAt: $0) }
            #expect(header == frame(first, Array(repeating: 0, count: size), mask: nil).dropLast(size))
            #expect(header.count == FrameHeader.bytes(forPayload: size))
        }
    }

    @Test(arguments: sizes)
    func client(_ size: Int) {
        let header = encoded { FrameHeader.encodeMasked(.binary, payloadBytes: size, key: 0x0403_0201, endingAt: $0) }
        #expect(header == frame(0x82, Array(repeating: 0, count: size)).dropLast(size))
        #expect(header.count <= FrameHeader.maximumClientBytes)
    }

    @Test func fragments() {
        #expect(encoded { FrameHeader.encode(.text, payloadBytes: 1, final: false, endingAt: $0) } == [0x01, 0x01])
        #expect(encoded { FrameHeader.encode(.continuation, payloadBytes: 2, endingAt: $0) } == [0x80, 0x02])
    }

    @Test(arguments: [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
    func validCode(_ code: Int) { #expect(CloseCode(rawValue: UInt16(code)).isValidOnWire) }

    @Test(arguments: [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
    func invalidCode(_ code: Int) { #expect(!CloseCode(rawValue: UInt16(code)).isValidOnWire) }

    @Test func closePayloads() {
        func violation(_ bytes: [UInt8]) -> CloseCode? { CloseCode.violation(inPayload: bytes.span) }
        #expect(violation([]) == nil)
        #expect(violation([3]) == .protocolError)
        #expect(violation([3, 232]) == nil)
        #expect(violation([3, 237]) == .protocolError)
        #expect(violation([3, 232] + Array("bye \u{1F44B}".utf8)) == nil)
        #expect(violation([3, 232, 0xCE, 0xBA, 0xE1, 0xBD]) == .invalidPayload)
        #expect(violation([3, 232, 0xFF]) == .invalidPayload)
    }
}
