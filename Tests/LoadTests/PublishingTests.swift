import Testing

@testable import sluice_load

/// What the load publishes.
@Suite struct PublishingTests {
    @Test func packetsGoToTheTopicsInTurn() {
        let heads = (0..<3).map { Publishing.head(topic: $0, bytes: 100) }
        let pattern = MessagePattern(payloadBytes: 100, depth: 4, isWebSocket: true, heads: heads)
        #expect(pattern.frameBytes == 106 && pattern.byteCount == 6 * 106 && pattern.periodBytes == 300, "whole rounds over the topics")
        for message in 0..<6 {
            let frame = pattern.bytes + message * 106
            let packet = (0..<100).map { frame[6 + $0] ^ frame[2 + $0 & 3] }
            #expect(Array(packet[..<4]) == [0x30, 98, 0, 20])
            #expect(String(decoding: packet[4..<24], as: UTF8.self) == "bench/device-000\(message % 3)/up")
            packet.withUnsafeBufferPointer {
                #expect(pattern.matches($0.baseAddress!, count: 100, position: message % 3 * 100))
                #expect(!pattern.matches($0.baseAddress!, count: 100, position: (message + 1) % 3 * 100), "another topic's")
            }
        }
    }

    @Test func optionsForPacketsFitTogether() {
        let url = "ws://127.0.0.1:1/"
        #expect(Options.parse([url, "--mqtt", "1000", "--size", "100"])?.topics == 1000)
        for wrong in [["--mqtt", "0"], ["--mqtt", "1", "--size", "130"], ["--mqtt", "1", "--mux", "2", "--size", "100"]] {
            #expect(Options.parse([url] + wrong) == nil)
        }
        #expect(Options.parse(["tcp://127.0.0.1:1", "--mqtt", "1", "--size", "100"]) == nil)
    }

    @Test func connectIsWhole() {
        #expect(Publishing.opening[1] == 0x80 | 14 && Publishing.opening.count == 20 && Publishing.opening[7] == 12)
    }
}
