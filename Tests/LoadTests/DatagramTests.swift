import Testing

@testable import sluice_load

/// What the load puts in front of datagrams, and the TURN it speaks.
@Suite struct DatagramTests {
    private let peer = DatagramAddress(address: 0xC000_0201, port: 53)
    private let transaction = Array(UInt8(1)...12)

    @Test func addressesAreNumeric() {
        #expect(DatagramAddress("192.0.2.1:53") == peer)
        for text in ["192.0.2.1", "192.0.2.1:0", "localhost:53", "192.0.2.1:65536", ":53"] {
            #expect(DatagramAddress(text) == nil, "\(text)")
        }
    }

    @Test func endpointsNameTheirTransport() throws {
        let turn = try #require(Endpoint("turn-udp://127.0.0.1:3478"))
        #expect(turn.isTURN && turn.isDatagram && !turn.isWebSocket && turn.port == 3478)
        let stream = try #require(Endpoint("turn-tcp://127.0.0.1:3478"))
        #expect(stream.isTURN && !stream.isDatagram)
        let secure = try #require(Endpoint("wss://127.0.0.1/a?b=c"))
        #expect(secure.isWebSocket && secure.isSecure && secure.port == 443 && secure.path == "/a?b=c")
        #expect(Endpoint("turn://127.0.0.1:1") == nil && Endpoint("127.0.0.1:1") == nil && Endpoint("ws:127.0.0.1") == nil)
    }

    @Test func aRelayFrameNamesGuestAndRemote() {
        // Guest port 10,000 to 192.0.2.1:53, as the specification writes its example.
        #expect(DatagramPrefix.relayFrame(to: peer) == [0x27, 0x10, 0xC0, 0, 2, 1, 0, 0x35])
    }

    @Test func everyMessageBeginsWithItsPrefix() {
        let prefix = DatagramPrefix.relayFrame(to: peer)
        let pattern = MessagePattern(payloadBytes: 3, depth: 2, isWebSocket: true, prefix: prefix)
        #expect(pattern.payloadBytes == 11 && pattern.frameBytes == 17)
        for message in 0..<2 {
            let frame = pattern.bytes + message * 17
            let content = (0..<11).map { frame[6 + $0] ^ frame[2 + $0 & 3] }
            #expect(frame[1] == 0x80 | 11 && Array(content[..<8]) == prefix)
            #expect(Array(content[8...]) == (8..<11).map { pattern.payload[$0] })
        }
    }

    @Test func anAllocationAsksForUDP() {
        #expect(
            TURN.allocation(transaction: transaction)
                == [0, 3, 0, 8, 0x21, 0x12, 0xA4, 0x42] + transaction + [0, 0x19, 0, 4, 17, 0, 0, 0])
    }

    @Test func aRefreshOfNoLifetimeEndsAnAllocation() {
        #expect(
            TURN.release(transaction: transaction)
                == [0, 4, 0, 8, 0x21, 0x12, 0xA4, 0x42] + transaction + [0, 0x0D, 0, 4, 0, 0, 0, 0])
    }

    @Test func aChannelHidesThePeerBehindTheCookie() {
        let request = TURN.channelBind(to: peer, transaction: transaction)
        #expect(Array(request[..<8]) == [0, 9, 0, 20, 0x21, 0x12, 0xA4, 0x42])
        #expect(Array(request[20..<28]) == [0, 0x0C, 0, 4, 0x40, 0, 0, 0])
        #expect(Array(request[28...]) == [0, 0x12, 0, 8, 0, 1, 0x21, 0x27, 0xE1, 0x12, 0xA6, 0x43])
        #expect(TURN.channelData(payloadBytes: 1200) == [0x40, 0, 4, 0xB0])
    }

    @Test func answersAreJudged() {
        func message(_ type: [UInt8], _ attributes: [UInt8] = [], _ transaction: [UInt8]? = nil) -> [UInt8] {
            type + [0, UInt8(attributes.count), 0x21, 0x12, 0xA4, 0x42] + (transaction ?? self.transaction) + attributes
        }
        func judged(_ bytes: [UInt8]) -> TURN.Answer { TURN.answer(bytes, to: .allocate, transaction: transaction) }
        let refusal = message([1, 0x13], [0x80, 0x22, 0, 1, 65, 0, 0, 0, 0, 9, 0, 4, 0, 0, 4, 1])
        #expect(judged(message([1, 3])) == .success)
        #expect(judged(refusal) == .refused(code: 401))
        for cut in 0..<refusal.count { #expect(judged(Array(refusal[..<cut])) == .incomplete) }
        #expect(judged(message([1, 9])) == .other, "an answer to another request")
        #expect(judged(message([1, 3], [], Array(repeating: 0, count: 12))) == .other, "another transaction")
        #expect(judged([0x40] + message([1, 3]).dropFirst()) == .other, "ChannelData")
        #expect(judged(message([1, 0x13])) == .refused(code: 0))
    }

    @Test func aBurstIsAskedForAgainWhenItArrivedOrFellSilent() {
        #expect(DatagramPrefix.burstRequest(count: 54, bytes: 1200) == [0, 54, 4, 0xB0])
        var bursts = Bursts(count: 10, clients: 2)
        bursts.ask(1, now: 1000)
        let first = [bursts.arrived(1, 9, now: 2000), bursts.arrived(1, 1, now: 3000)]
        #expect(first == [false, true])
        bursts.ask(1, now: 3000)
        let part = bursts.arrived(1, 4, now: 4000)
        let early = bursts.givesUp(1, now: 4000 + Bursts.silenceNanoseconds)
        let due = bursts.givesUp(1, now: 4001 + Bursts.silenceNanoseconds)
        #expect(!part && !early && due && bursts.lost == 6)
        let idle = bursts.givesUp(0, now: .max)
        #expect(!idle, "a client that has not asked")
        bursts.ask(1, now: 5000)
        let late = bursts.arrived(1, 2, now: 6000)
        #expect(!late && bursts.lost == 4, "late datagrams of the burst that was given up")
        let mixed = bursts.arrived(1, 13, now: 7000)
        #expect(!mixed && bursts.lost == 0)
        let last = bursts.arrived(1, 1, now: 8000)
        #expect(last)
    }

    @Test func optionsForDatagramsMustFitTogether() throws {
        let whole = ["ws://127.0.0.1:1/udp", "--udp", "127.0.0.1:9", "--size", "1200", "--burst", "54"]
        let options = try #require(Options.parse(whole))
        #expect(options.mode == .burst && options.burstDatagrams == 54 && options.remote?.port == 9)
        #expect(Options.parse(["turn-udp://127.0.0.1:1"]) == nil)
        #expect(Options.parse(["turn-tcp://127.0.0.1:1", "--udp", "127.0.0.1:9", "--size", "63"]) == nil)
        #expect(Options.parse(["ws://127.0.0.1:1", "--udp", "127.0.0.1:9", "--size", "1441"]) == nil)
        #expect(Options.parse(["ws://127.0.0.1:1", "--burst", "3"]) == nil)
    }
}
