import Engine
import Glibc
import Simulator
import Testing

/// Dialling, and what happens meanwhile.
@Suite struct ConnectTests {
    @Test func whatIsQueuedBeforeTheConnectGoesOutAfterIt() throws {
        let bench = try Bench()
        let slot = bench.connect()
        try bench.send(slot, [1, 2, 3])
        bench.shard.resumeReceive(slot)
        #expect(bench.turn(until: { bench.count(.connected) == 1 }))
        bench.turns(3)
        let socket = try #require(bench.targetPeer.socket)
        #expect(bench.read(socket) == [1, 2, 3])
        _ = bench.write(socket, [4, 5])
        #expect(bench.turn(until: { bench.received == [4, 5] }))
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aRefusalIsOneFailure() throws {
        let bench = try Bench()
        let slot = bench.connect(port: 1)
        #expect(bench.turn(until: { bench.count(.failed) == 1 }))
        #expect(bench.last(.failed)?.result == ECONNREFUSED && bench.last(.failed)?.context == 78)
        #expect(bench.shard.statistics.read(.connectFailed) == 1)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func closeEndsAConnectUnderWay() throws {
        let bench = try Bench()
        bench.kernel.dial = { _ in .fail(ETIMEDOUT) }
        let slot = bench.connect()
        bench.turn()
        let before = bench.shard.now
        bench.shard.close(slot)
        #expect(bench.turn(until: { bench.shard.slotsUsed == 0 }))
        #expect(bench.shard.now - before < 500 && bench.count(.failed) == 0)
        bench.finish()
    }

    @Test func theQueueMovesToTheNextAddress() throws {
        let bench = try Bench()
        let first = bench.connect(port: 1)
        try bench.send(first, [7, 7, 7])
        bench.turn(until: { bench.count(.failed) == 1 })
        let second = bench.connect()
        bench.shard.moveQueue(from: first, to: second)
        bench.shard.close(first)
        #expect(bench.turn(until: { bench.count(.connected) == 1 }))
        bench.turns(3)
        #expect(bench.read(try #require(bench.targetPeer.socket)) == [7, 7, 7])
        bench.shard.close(second)
        bench.finish()
    }

    @Test func withoutSlotOrDescriptorTheCallerLearnsWhy() throws {
        let bench = try Bench(slots: 1, descriptors: 3)
        let address = SocketAddress(ipv4: (127, 0, 0, 1), port: Bench.dialledPort)
        let first = bench.connect()
        var error: Int32 = 0
        #expect(bench.shard.connect(to: address, owner: Bench.owner, context: 0, error: &error) == .none)
        #expect(error == ENOBUFS && bench.kernel.openDescriptors == 2)
        bench.kernel.descriptorLimit = 2
        #expect(bench.shard.connect(to: address, owner: Bench.owner, context: 0, error: &error) == .none)
        #expect(error == EMFILE)
        bench.shard.close(first)
        bench.finish()
    }
}
