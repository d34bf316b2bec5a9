import Engine
import Glibc
import Simulator
import Testing

/// The life of a stream, step by step, on a kernel without chance.
@Suite struct StreamTests {
    @Test func acceptNamesListenerAndPeer() throws {
        let bench = try Bench()
        let (_, slot) = try bench.accept()
        #expect(bench.last(.accepted)?.detail == 42)
        #expect(bench.shard.peerAddress(slot).port == 2000)
        #expect(bench.shard.peerAddress(slot).host == "127.0.0.1")
        #expect(bench.shard.slotsUsed == 1)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func bytesGoBothWaysAndCount() throws {
        let bench = try Bench()
        let (socket, slot) = try bench.accept()
        bench.shard.resumeReceive(slot)
        let up = Bench.pattern(3000)
        let down = Bench.pattern(20_000)
        #expect(bench.write(socket, up) == 3000)
        #expect(bench.turn(until: { bench.received.count == 3000 }))
        #expect(bench.received == up)
        #expect(bench.last(.received)?.context == 77)
        try bench.send(slot, down)
        bench.turns(2)
        #expect(bench.read(socket) == down)
        #expect(bench.shard.byteCounts(slot) == (3000, 20_000))
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aStreamThatDoesNotReceiveGetsNothing() throws {
        let bench = try Bench()
        let (socket, slot) = try bench.accept()
        _ = bench.write(socket, [1, 2, 3])
        bench.turns(5)
        #expect(bench.count(.received) == 0)
        bench.shard.resumeReceive(slot)
        #expect(bench.turn(until: { bench.received == [1, 2, 3] }))
        bench.shard.pauseReceive(slot)
        bench.turns(3)
        _ = bench.write(socket, [4])
        bench.turns(5)
        #expect(bench.received == [1, 2, 3] && !bench.shard.isReceiving(slot))
        bench.shard.resumeReceive(slot)
        #expect(bench.turn(until: { bench.received == [1, 2, 3, 4] }))
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func halfCloseLetsTheOtherWayGoOn() throws {
        let bench = try Bench()
        let (socket, slot) = try bench.accept()
        bench.shard.resumeReceive(slot)
        bench.kernel.remoteFinish(socket)
        #expect(bench.turn(until: { bench.count(.ended) == 1 }))
        try bench.send(slot, [9, 8, 7])
        bench.shard.finish(slot)
        bench.turns(4)
        #expect(bench.read(socket) == [9, 8, 7])
        #expect(bench.state(socket) == .end)
        #expect(bench.count(.ended) == 1 && bench.count(.failed) == 0)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func finishComesBehindWhatIsQueued() throws {
        let bench = try Bench(outgoing: 1000)
        let (socket, slot) = try bench.accept()
        let bytes = Bench.pattern(10_000)
        try bench.send(slot, bytes)
        bench.shard.finish(slot)
        var read: [UInt8] = []
        #expect(bench.turn(until: {
            read += bench.read(socket)
            return bench.state(socket) == .end
        }))
        #expect(read == bytes)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func lingerDeliversThenWaitsForThePeersEnd() throws {
        let bench = try Bench(outgoing: 1000)
        let (socket, slot) = try bench.accept()
        let bytes = Bench.pattern(5000)
        try bench.send(slot, bytes)
        bench.shard.linger(slot, drainMilliseconds: 5000)
        var read: [UInt8] = []
        bench.turn(until: {
            read += bench.read(socket)
            return read.count == 5000
        })
        #expect(read == bytes)
        bench.turns(2)
        #expect(bench.state(socket) == .end && bench.shard.slotsUsed == 1)
        // Unread bytes of the peer's must not turn the end into a reset.
        _ = bench.write(socket, [1, 2, 3])
        bench.turns(2)
        bench.kernel.remoteFinish(socket)
        #expect(bench.turn(until: { bench.shard.slotsUsed == 0 }))
        #expect(bench.state(socket) == .end)
        #expect(bench.received.isEmpty)
        bench.finish()
    }

    @Test func lingerDeliversToAPeerThatHasFinished() throws {
        let bench = try Bench(outgoing: 1000)
        let (socket, slot) = try bench.accept()
        let bytes = Bench.pattern(5000)
        try bench.send(slot, bytes)
        bench.shard.linger(slot, drainMilliseconds: 5000)
        bench.kernel.remoteFinish(socket)
        bench.turns(3)
        var read: [UInt8] = []
        bench.turn(until: {
            read += bench.read(socket)
            return bench.shard.slotsUsed == 0
        })
        #expect(read + bench.read(socket) == bytes)
        bench.finish()
    }

    @Test func lingerEndsWhenThePeerDoesNot() throws {
        let bench = try Bench()
        let (_, slot) = try bench.accept()
        let now = bench.shard.now
        bench.shard.linger(slot, drainMilliseconds: 5000)
        #expect(bench.turn(until: { bench.shard.slotsUsed == 0 }))
        #expect(bench.shard.now >= now + UInt64(EngineLimits.lingerMilliseconds))
        bench.finish()
    }

    @Test func lingerEndsWhenNothingIsTaken() throws {
        let bench = try Bench(outgoing: 100)
        let (_, slot) = try bench.accept()
        try bench.send(slot, Bench.pattern(5000))
        bench.shard.linger(slot, drainMilliseconds: 700)
        #expect(bench.turn(until: { bench.shard.slotsUsed == 0 }))
        #expect(bench.shard.now >= 700 && bench.shard.now < 3000)
        bench.finish()
    }

    @Test func lingerWaitsForASlowPeerThatTakesSomething() throws {
        let bench = try Bench(outgoing: 100)
        let (socket, slot) = try bench.accept()
        let bytes = Bench.pattern(4000)
        try bench.send(slot, bytes)
        bench.shard.linger(slot, drainMilliseconds: 100)
        // 100 bytes in every 60 ms: one send takes 2.4 s, and moves all the time.
        var read: [UInt8] = []
        for number in 1...60 {
            bench.kernel.plan(afterNanoseconds: UInt64(number) * 60_000_000) { read += bench.read(socket) }
        }
        bench.turn(until: { read.count == 4000 || bench.shard.slotsUsed == 0 })
        #expect(read == bytes)
        bench.finish()
    }

    @Test func closeJoinsEverythingUnderWay() throws {
        let bench = try Bench(outgoing: 100)
        let (socket, slot) = try bench.accept()
        bench.shard.resumeReceive(slot)
        try bench.send(slot, Bench.pattern(9000))
        bench.turns(3)
        #expect(bench.kernel.requestsHeld == 3, "the accept, a receive and a send that waits")
        let generation = bench.shard.generation(slot)
        let before = bench.events.count
        bench.shard.close(slot)
        bench.turn(until: { bench.shard.slotsUsed == 0 })
        #expect(bench.events.count == before, "no event follows a close")
        #expect(bench.shard.generation(slot) == generation &+ 1)
        #expect(bench.kernel.openDescriptors == 1)
        _ = socket
        bench.finish()
    }

    @Test func aSlotIsUsedAgainWithANewGeneration() throws {
        let bench = try Bench(slots: 1)
        var generations: Set<UInt16> = []
        for _ in 0..<5 {
            let (_, slot) = try bench.accept()
            #expect(slot.raw == 0)
            generations.insert(bench.shard.generation(slot))
            bench.shard.close(slot)
            bench.turn(until: { bench.shard.slotsUsed == 0 })
        }
        #expect(generations.count == 5)
        bench.finish()
    }

    @Test func aResetFailsOnceAndNothingFollows() throws {
        let bench = try Bench(outgoing: 100)
        let (socket, slot) = try bench.accept()
        bench.shard.resumeReceive(slot)
        try bench.send(slot, Bench.pattern(9000))
        bench.shard.notifyWhenDrained(slot)
        bench.turns(3)
        bench.kernel.remoteReset(socket)
        bench.turn(until: { bench.count(.failed) == 1 })
        let before = bench.events.count
        bench.turns(10)
        #expect(bench.last(.failed)?.result == ECONNRESET || bench.last(.failed)?.result == EPIPE)
        #expect(bench.events.count == before, "nothing follows a failure")
        bench.shard.close(slot)
        bench.finish()
    }
}
