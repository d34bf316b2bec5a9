import Engine
import Glibc
import Simulator
import Testing

/// No buffer, no slot, no descriptor: normal states, each with a way out.
@Suite struct ExhaustionTests {
    @Test func withoutBuffersAStreamWaitsAndGoesOn() throws {
        let bench = try Bench(small: 4)
        let (socket, slot) = try bench.accept()
        bench.keepsBuffers = true
        bench.shard.resumeReceive(slot)
        // Pieces that do not fill a buffer: the stream stays small.
        let bytes = Bench.pattern(4000)
        for piece in 0..<4 {
            _ = bench.write(socket, Array(bytes[piece * 1000..<(piece + 1) * 1000]))
            bench.turns(3)
        }
        // Half of four buffers is the reserve of the engine's own output.
        #expect(bench.received.count == 2000)
        #expect(bench.shard.statistics.read(.receiveStarved) >= 1)
        bench.keepsBuffers = false
        for event in bench.events where event.kind == .received { bench.shard.release(event.buffer) }
        #expect(bench.turn(until: { bench.received.count == bytes.count }))
        #expect(bench.received == bytes)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aStarvedStreamCanBeClosed() throws {
        let bench = try Bench(small: 4)
        let (first, one) = try bench.accept()
        let (second, two) = try bench.accept()
        bench.keepsBuffers = true
        for slot in [one, two] { bench.shard.resumeReceive(slot) }
        _ = bench.write(first, Bench.pattern(20_000))
        bench.turns(4)
        _ = bench.write(second, Bench.pattern(20_000))
        bench.turns(4)
        bench.shard.close(one)
        bench.shard.close(two)
        for event in bench.events where event.kind == .received { bench.shard.release(event.buffer) }
        #expect(bench.turn(until: { bench.shard.slotsUsed == 0 }))
        bench.finish()
    }

    @Test func theReserveIsForOutput() throws {
        let bench = try Bench(small: 8)
        bench.turn()
        var taken: [BufferIndex] = []
        while let buffer = bench.shard.acquire() { taken.append(buffer) }
        #expect(taken.count == 4 && bench.shard.buffersHeld == 4)
        taken.forEach(bench.shard.release)
        bench.finish()
    }

    @Test func aBusyReaderGrowsAndShrinksAgain() throws {
        let bench = try Bench()
        let (socket, slot) = try bench.accept()
        bench.shard.resumeReceive(slot)
        let bytes = Bench.pattern(300_000)
        _ = bench.write(socket, bytes)
        #expect(bench.turn(until: { bench.received.count == bytes.count }))
        #expect(bench.received == bytes)
        #expect(bench.shard.statistics.read(.grownToBulk) == 1)
        #expect(bench.events.contains { $0.kind == .received && $0.count > 4096 })
        for number in 1...UInt8(EngineLimits.smallReadsToShrink) {
            _ = bench.write(socket, [number])
            bench.turns(3)
        }
        #expect(bench.shard.statistics.read(.shrunkToSmall) == 1)
        _ = bench.write(socket, [99])
        bench.turns(3)
        #expect(bench.received.last == 99 && bench.last(.received)?.buffer.bufferClass == .small)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aFullStreamIsCongestedUntilItDrained() throws {
        let bench = try Bench(outgoing: 1000)
        let (socket, slot) = try bench.accept()
        let bytes = Bench.pattern(4096 * Int(EngineLimits.queuedBuffersHigh))
        try bench.send(slot, Array(bytes.dropLast(4096)))
        #expect(!bench.shard.isCongested(slot))
        try bench.send(slot, Array(bytes.suffix(4096)))
        #expect(bench.shard.isCongested(slot) && bench.shard.queuedBytes(slot) == bytes.count)
        bench.shard.notifyWhenDrained(slot)
        bench.turns(5)
        #expect(bench.count(.drained) == 0)
        var read: [UInt8] = []
        bench.turn(until: {
            read += bench.read(socket)
            return read.count == bytes.count
        })
        bench.turns(2)
        #expect(read == bytes)
        #expect(bench.count(.drained) == 1 && !bench.shard.isCongested(slot) && bench.shard.queuedBytes(slot) == 0)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func withoutSlotsAClientIsRefused() throws {
        let bench = try Bench(slots: 1)
        let (_, slot) = try bench.accept()
        let second = try #require(bench.kernel.connectClient(to: bench.listener, port: 2001, backlogMaximum: 8, peer: StillPeer()))
        #expect(bench.turn(until: { second.isReleased }))
        #expect(bench.shard.statistics.read(.refusedNoSlot) == 1 && bench.count(.accepted) == 1)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func withoutDescriptorsAClientWaits() throws {
        let bench = try Bench(descriptors: 2)
        let (_, slot) = try bench.accept()
        _ = try #require(bench.kernel.connectClient(to: bench.listener, port: 2001, backlogMaximum: 8, peer: StillPeer()))
        bench.turn(until: { bench.shard.statistics.read(.acceptFailed) > 0 })
        #expect(bench.count(.accepted) == 1)
        bench.shard.close(slot)
        #expect(bench.turn(until: { bench.count(.accepted) == 2 }))
        bench.shard.close(try #require(bench.last(.accepted)).slot)
        bench.finish()
    }

    @Test func anOverflowLosesNothing() throws {
        let bench = try Bench(slots: 300, small: 1200)
        var sockets: [SimulatedSocket] = []
        for _ in 0..<290 {
            sockets.append(try #require(bench.kernel.connectClient(to: bench.listener, port: 2000, backlogMaximum: 400, peer: StillPeer())))
        }
        #expect(bench.turn(until: { bench.count(.accepted) == 290 }))
        for event in bench.events where event.kind == .accepted { bench.shard.resumeReceive(event.slot) }
        bench.turns(8)
        bench.received = []
        for socket in sockets { _ = bench.write(socket, [1]) }
        #expect(bench.turn(until: { bench.received.count == 290 }))
        for event in bench.events where event.kind == .accepted { bench.shard.close(event.slot) }
        bench.finish()
    }
}
