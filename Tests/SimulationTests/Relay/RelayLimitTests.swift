import Engine
import Policy
import Simulator
import Testing
import UDPRelay

/// What one client of `/udp` may take, and what is promised at its end.
@Suite struct RelayLimitTests {
    @Test func aClientThatStopsReadingHoldsItsBudgetAndNoMore() throws {
        let bench = try RelayBench(outgoing: 4096)
        bench.write(RelayBench.frame(7, 30_000, [1, 2, 3]))
        bench.turns(10)
        let from = try #require(bench.left.first)
        #expect(from.payload == [1, 2, 3])
        _ = bench.hear()
        // Three megabytes for a client that takes none of them.
        let flood = 3000
        var number = 0
        for _ in 0..<flood / 20 {
            let burst = (0..<20).map { _ -> [UInt8] in
                number += 1
                return [UInt8(number >> 8), UInt8(number & 255)] + [UInt8](repeating: 9, count: 998)
            }
            #expect(bench.kernel.deliver(burst, from: 30_000, to: from.socket) == 20, "the socket is read whatever the client does")
            bench.turns(2)
        }
        bench.turns(20)
        #expect(!from.socket.hasDatagrams)
        let out = bench.counters.read(.datagramsOut)
        let dropped = bench.counters.read(.droppedBackpressure)
        #expect(out + dropped == UInt64(flood))
        // A megabyte of frames of 1,008 bytes, and what the kernel had taken.
        #expect((1020...1060).contains(out))
        #expect(bench.shard.buffersHeld <= 300, "a queue of bytes, not of buffers")
        // It reads again: the oldest came through, in order, each whole.
        var heard: [RelayBench.Heard] = []
        for _ in 0..<2000 where heard.count < Int(out) {
            heard += bench.hear()
            bench.turns(1)
        }
        #expect(heard.count == Int(out))
        for (index, message) in heard.enumerated() {
            #expect(message.opcode == 2 && message.payload.count == 1008)
            if message.payload.count == 1008 { #expect(Int(message.payload[8]) << 8 | Int(message.payload[9]) == index + 1) }
        }
        bench.finish()
    }

    @Test func guestsWithoutEndOpenFewSocketsATurnAndLoseNothing() throws {
        let bench = try RelayBench()
        _ = bench.hear()
        let guests = 3000
        var most = 0
        var before = bench.counters.read(.bindingsOpened)
        bench.observe = {
            let now = bench.counters.read(.bindingsOpened)
            most = max(most, Int(now - before))
            before = now
            #expect(bench.loop.relay.socketCount <= 128 + 3 * 64)
        }
        let bytes = (0..<guests).flatMap { RelayBench.frame($0 * 21 % 65536, 30_000, [UInt8($0 >> 8), UInt8($0 & 255)]) }
        bench.write(bytes)
        bench.turns(400)
        #expect((2...64).contains(most))
        #expect(bench.left.count == guests)
        #expect(bench.left.map { Int($0.payload[0]) << 8 | Int($0.payload[1]) } == Array(0..<guests))
        #expect(bench.counters.read(.bindingsEvicted) == UInt64(guests - 128))
        #expect(bench.loop.relay.socketCount == 128)
        bench.finish()
    }

    @Test func whatWasSentBeforeCloseLeavesAndThePlaceIsFreeBeforeTheAnswer() throws {
        var settings = RelaySettings()
        settings.maximumSessions = 1
        let bench = try RelayBench(settings)
        #expect(bench.hear().first?.text.contains("ready") == true)
        bench.write(RelayBench.frame(1, 30_000, [5]) + RelayBench.frame(2, 30_001, [6]) + RelayBench.message(8, [0x0F, 0xA0, 0x61]))
        var wasFree = false
        bench.observe = {
            if bench.hear().contains(where: { $0.opcode == 8 }) { #expect(wasFree) }
            wasFree = bench.shared.sessionCount == 0
        }
        bench.turns(20)
        bench.observe = {}
        #expect(bench.left.map(\.payload) == [[5], [6]])
        #expect(bench.loop.relay.socketCount == 0)
        try bench.reconnect()
        #expect(bench.hear().first?.text.contains("ready") == true)
        bench.finish()
    }

    @Test func bindingsThatAreNotUsedAreClosed() throws {
        var settings = RelaySettings()
        settings.bindings.idleMilliseconds = 400
        let bench = try RelayBench(settings)
        bench.write(RelayBench.frame(1, 30_000, [5]) + RelayBench.frame(2, 30_001, [6]))
        bench.turns(10)
        #expect(bench.loop.relay.socketCount == 2)
        let heard = try #require(bench.left.last)
        for _ in 0..<6 {
            bench.wait(milliseconds: 150)
            bench.kernel.deliver([[1]], from: 30_001, to: heard.socket)
            // A stranger keeps nothing alive.
            bench.kernel.deliver([[1]], from: 40_000, to: bench.left[0].socket)
            bench.turns(5)
        }
        #expect(bench.loop.relay.socketCount == 1 && bench.counters.read(.bindingsIdle) == 1)
        bench.wait(milliseconds: 1000)
        #expect(bench.loop.relay.socketCount == 0 && bench.counters.read(.bindingsActive) == 0)
        bench.finish()
    }

    @Test func aTrainLosesOnlyWhatIsTooLongOrTooMuch() throws {
        var settings = RelaySettings()
        settings.limits.bytesPerSecondToClient = 1000
        settings.limits.hardCloseViolations = 4
        let bench = try RelayBench(settings)
        bench.write(RelayBench.frame(1, 30_000, [5]))
        bench.turns(10)
        _ = bench.hear()
        let socket = bench.left[0].socket
        // 8 header bytes each: 308, 308, 308 pass, 308 does not, and 48 does.
        bench.kernel.deliver(
            (0..<4).map { [UInt8](repeating: $0, count: 300) } + [[UInt8](repeating: 4, count: 40)] + [[UInt8](repeating: 5, count: 1300)],
            from: 30_000, to: socket)
        bench.turns(10)
        #expect(bench.hear().map(\.payload.last) == [0, 1, 2, 4])
        #expect(bench.counters.read(.rateLimited) == 1 && bench.counters.read(.droppedRateLimited) == 1)
        #expect(bench.counters.read(.droppedOversized) == 1 && bench.counters.read(.dropped) == 2)
        bench.kernel.deliver((0..<3).map { _ in [UInt8](repeating: 6, count: 300) }, from: 30_000, to: socket)
        bench.turns(10)
        let end = bench.hear()
        #expect(end.map(\.closeCode) == [1008] && end.first?.closeReason == "session closed")
        #expect(bench.counters.read(.sessionHardClosed) == 1)
        bench.finish()
    }

    @Test func version2AndEveryHeaderLengthBothWays() throws {
        var settings = RelaySettings()
        settings.prefersV2 = true
        let bench = try RelayBench(settings)
        _ = bench.hear()
        bench.write(RelayBench.frame(1, 30_000, [1]))
        bench.turns(10)
        let socket = bench.left[0].socket
        func answers(_ payloads: [[UInt8]]) -> [[UInt8]] {
            bench.kernel.deliver(payloads, from: 30_000, to: socket)
            bench.turns(10)
            return bench.hear().map(\.payload)
        }
        let first: [UInt8] = [0, 1, 127, 0, 0, 1, 0x75, 0x30]
        // Around 126 bytes the WebSocket's header grows.
        let sizes = [0, 1, 116, 117, 118, 119, 1200]
        #expect(answers(sizes.map { [UInt8](repeating: 3, count: $0) }) == sizes.map { first + [UInt8](repeating: 3, count: $0) })
        bench.write(RelayBench.message(2, [0xA2, 2, 4, 0] + first + [9]))
        bench.turns(10)
        #expect(bench.left.last?.payload == [9])
        #expect(answers([[8, 8]]) == [[0xA2, 2, 4, 0] + first + [8, 8]])
        // IPv6 has version 2 in any case, and a socket of its own.
        bench.write(RelayBench.message(2, [0xA2, 2, 6, 0, 0, 1] + [UInt8](repeating: 0, count: 15) + [1, 0x75, 0x31, 7]))
        bench.turns(10)
        let other = try #require(bench.left.last)
        #expect(other.payload == [7] && other.port == 30_001 && other.socket !== socket)
        bench.kernel.deliver([[6]], from: 30_001, to: other.socket)
        bench.turns(10)
        #expect(bench.hear().map(\.payload) == [[0xA2, 2, 6, 0, 0, 1] + [UInt8](repeating: 0, count: 15) + [1, 0x75, 0x31, 6]])
        bench.finish()
    }

    /// A train whose last datagram has a shorter header than the others.
    @Test func aTrainWithAShortTailArrivesWhole() throws {
        let bench = try RelayBench()
        bench.write(RelayBench.frame(1, 30_000, [1]))
        bench.turns(10)
        _ = bench.hear()
        let socket = bench.left[0].socket
        var expected: [[UInt8]] = []
        for round in 0..<30 {
            let train = (0..<20).map { [UInt8](repeating: UInt8(round * 8 + $0 % 8), count: 900) }
                + [[UInt8](repeating: UInt8(round), count: round * 7)]
            expected += train
            bench.kernel.deliver(train, from: 30_000, to: socket)
            bench.turns(3)
        }
        bench.turns(20)
        #expect(bench.hear().map { Array($0.payload.dropFirst(8)) } == expected)
        #expect(bench.shard.statistics.read(.datagramSocketsGrown) == 1, "trains were met")
        bench.finish()
    }
}
