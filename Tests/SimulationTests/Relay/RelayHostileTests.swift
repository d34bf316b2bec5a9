import Engine
import Glibc
import Policy
import Simulator
import Testing
import UDPRelay

/// Clients that mean harm, or end at a bad moment.
@Suite struct RelayHostileTests {
    /// Bytes of a received buffer are sent from where they lie: nobody may write there before they have left.
    @Test func datagramsOfASessionThatEndsWhileItWaitsLeaveAsTheyWere() throws {
        let bench = try RelayBench()
        _ = bench.hear()
        // More new guests than one turn opens sockets for: the rest of the buffer waits.
        bench.write((0..<60).flatMap { RelayBench.frame($0, 30_000, [UInt8](repeating: UInt8($0), count: 20)) })
        var event = Event()
        for _ in 0..<20 where bench.counters.read(.bindingsOpened) == 0 {
            bench.shard.turnSoon()
            bench.shard.turn()
            while bench.shard.next(&event) { bench.loop.dispatch(event) }
            if bench.counters.read(.bindingsOpened) == 0 { bench.loop.relay.endTurn() }
        }
        #expect((1...40).contains(bench.counters.read(.bindingsOpened)))
        bench.loop.relay.drain(graceMilliseconds: 1000)
        // Whoever takes a buffer next writes into it.
        let taken = (0..<8).compactMap { _ in bench.shard.acquire(.small) }
        for buffer in taken { memset(bench.shard.bytes(buffer), 0xEE, bench.shard.capacity(buffer)) }
        bench.loop.relay.endTurn()
        bench.turns(10)
        #expect(bench.left.count == Int(bench.counters.read(.bindingsOpened)))
        let expected = bench.left.indices.map { [UInt8](repeating: UInt8($0), count: 20) }
        #expect(bench.left.map(\.payload).elementsEqual(expected))
        for buffer in taken { bench.shard.release(buffer) }
        bench.finish()
    }

    /// A client that takes nothing keeps some of the buffers its datagrams came in, and never so many that others get none.
    @Test(arguments: [true, false]) func aClientThatStopsReadingLeavesBuffersToOthers(joined: Bool) throws {
        let bench = try RelayBench(outgoing: 4096, packets: joined ? 600 : 40, trains: joined ? 24 : 200)
        let guests = joined ? 2 : 6
        bench.write((0..<guests).flatMap { RelayBench.frame($0, 30_000 + UInt16($0), [1]) })
        bench.turns(10)
        _ = bench.hear()
        if joined {
            for from in bench.left { bench.kernel.deliver((0..<20).map { _ in [9] }, from: from.port, to: from.socket) }
            bench.turns(10)
            _ = bench.hear()
        }
        let kind: Statistics.Counter = joined ? .buffersTrainUsed : .buffersPacketUsed
        var most: UInt64 = 0
        bench.observe = { most = max(most, bench.shard.statistics.read(kind)) }
        for _ in 0..<20 {
            // Each longer than the one before, so that none is joined to it.
            for from in bench.left {
                let payloads = (0..<(joined ? 20 : 6)).map { [UInt8](repeating: 9, count: 200 + $0) }
                bench.kernel.deliver(payloads, from: from.port, to: from.socket)
            }
            bench.turns(3)
        }
        if joined { #expect(bench.shard.statistics.read(.datagramSocketsGrown) == 2) }
        #expect(most <= (joined ? 13 : 21) && most > 3)
        bench.finish()
    }

    /// The socket goes on being read while its client takes nothing: what does not fit is dropped by the relay, which counts it, and
    /// not by the kernel.
    @Test(arguments: [1, 5, 20, 31, 60]) func aSocketIsReadThoughItsClientStopsReading(burst: Int) throws {
        var settings = RelaySettings()
        settings.sendQueueBytes = 65_536
        let bench = try RelayBench(settings, outgoing: 4096, trains: 256)
        bench.write(RelayBench.frame(7, 30_000, [1]))
        bench.turns(10)
        _ = bench.hear()
        let from = try #require(bench.left.first)
        // Many in one turn: from now on it reads trains.
        bench.kernel.deliver((0..<20).map { _ in [9] }, from: from.port, to: from.socket)
        bench.turns(10)
        _ = bench.hear()
        let before = bench.counters.read(.datagramsOut)
        var delivered = 0
        for _ in 0..<(300 / burst) {
            // Each longer than the one before, so that none is joined to it.
            bench.kernel.deliver((0..<burst).map { [UInt8](repeating: 9, count: 1000 + $0) }, from: from.port, to: from.socket)
            delivered += burst
            bench.turns(4)
        }
        #expect(bench.shard.statistics.read(.datagramSocketsGrown) == 1)
        let (passed, dropped) = (Int(bench.counters.read(.datagramsOut) - before), Int(bench.counters.read(.droppedBackpressure)))
        #expect(passed + dropped == delivered && passed > 50 && dropped > 100, "\(passed) queued, \(dropped) dropped of \(delivered)")
        bench.finish()
    }

    /// A message in pieces is put together in a buffer that receives need too: some are left for them.
    @Test func messagesInPiecesLeaveBuffersToReceives() throws {
        var settings = RelaySettings()
        settings.maximumPayloadBytes = 9000
        let bench = try RelayBench(settings, trains: 100)
        _ = bench.hear()
        let whole = RelayBench.frame(7, 30_000, [UInt8](repeating: 3, count: 5000))
        func sendInPieces() {
            bench.write(Array(whole.prefix(900)))
            bench.turns(10)
            bench.write(Array(whole.dropFirst(900)))
            bench.turns(10)
        }
        sendInPieces()
        #expect(bench.left.count == 1)
        var taken: [BufferIndex] = []
        while bench.shard.statistics.read(.buffersTrainUsed) <= 50, let buffer = bench.shard.acquire(.train) {
            taken.append(buffer)
            bench.turns(1)
        }
        sendInPieces()
        #expect(bench.left.count == 1 && bench.counters.read(.droppedBackpressure) == 1)
        for buffer in taken { bench.shard.release(buffer) }
        sendInPieces()
        #expect(bench.left.count == 2)
        bench.finish()
    }

    /// A flood of tiny frames is read in helpings, smaller ones if each frame costs a send of its own: what others sent is dealt with
    /// between them.
    @Test(arguments: [true, false]) func aFloodIsReadInHelpings(scattered: Bool) throws {
        let bench = try RelayBench()
        _ = bench.hear()
        let frames = 20_000
        var before: UInt64 = 0
        var most: UInt64 = 0
        bench.observe = {
            let now = bench.counters.read(.datagramsIn)
            most = max(most, now - before)
            before = now
        }
        // No train is searched for further back than among eight.
        bench.write((0..<frames).flatMap { number in
            RelayBench.frame(7, 30_000 + UInt16(scattered ? number % 20 : 0), [UInt8(number >> 8), UInt8(number & 255)])
        })
        bench.turns(600)
        #expect(bench.left.count == frames)
        #expect(bench.left.map { Int($0.payload[0]) << 8 | Int($0.payload[1]) } == Array(0..<frames))
        #expect(most > (scattered ? 256 : 1024))
        #expect(most <= (scattered ? 1024 : 4096))
        bench.finish()
    }

    /// A socket that cannot be read is counted, and the next frame of its guest has another.
    @Test func aSocketThatBreaksIsReplaced() throws {
        let bench = try RelayBench()
        bench.write(RelayBench.frame(7, 30_000, [1]))
        bench.turns(10)
        let first = try #require(bench.left.first)
        bench.kernel.raiseDatagramError(EBADF, on: first.socket)
        bench.turns(10)
        #expect(bench.counters.read(.socketsFailed) == 1 && bench.counters.read(.datagramSocketsActive) == 0)
        bench.write(RelayBench.frame(7, 30_000, [2]))
        bench.turns(10)
        #expect(bench.left.count == 2 && bench.left.last?.socket !== first.socket && bench.left.last?.payload == [2])
        #expect(bench.counters.read(.bindingsOpened) == 1 && bench.counters.read(.datagramSocketsActive) == 1)
        bench.finish()
    }

    /// More WebSockets than the table has places: the refusal is in JSON, as every refusal of an upgrade.
    @Test func aFullTableAnswersInJSON() throws {
        let bench = try RelayBench()
        for _ in 0..<15 { try bench.reconnect() }
        #expect(bench.loop.relay.count == 16)
        try bench.reconnect()
        _ = bench.hear()
        #expect(bench.loop.relay.count == 16 && bench.status.hasPrefix("HTTP/1.1 503 "))
        #expect(bench.status.contains("\r\nContent-Type: application/json\r\n"))
        #expect(bench.rest == "{\"type\":\"error\",\"code\":\"too_many_sessions\",\"message\":\"no room for another WebSocket\"}\n")
        bench.loop.relay.drain(graceMilliseconds: 100)
        bench.finish()
    }
}
