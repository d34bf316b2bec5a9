import Engine
import Simulator
import Testing

/// Timers as a feature sees them.
@Suite struct TimeTests {
    @Test func aTimerFiresOnceAndNotEarly() throws {
        let bench = try Bench()
        let (_, slot) = try bench.accept()
        let start = bench.shard.now
        bench.shard.setTimer(slot, afterMilliseconds: 2500)
        #expect(bench.turn(until: { bench.count(.timer) == 1 }))
        #expect(bench.shard.now >= start + 2500 && bench.shard.now <= start + 2510)
        bench.turns(5)
        #expect(bench.count(.timer) == 1 && bench.last(.timer)?.slot == slot)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aTimerThatIsClearedOrClosedNeverFires() throws {
        let bench = try Bench()
        let (_, one) = try bench.accept()
        let (_, two) = try bench.accept()
        bench.shard.setTimer(one, afterMilliseconds: 50)
        bench.shard.setTimer(two, afterMilliseconds: 50)
        bench.shard.clearTimer(one)
        bench.shard.close(two)
        bench.turns(10)
        #expect(bench.count(.timer) == 0)
        bench.shard.close(one)
        bench.finish()
    }

    @Test func afterHoursWithoutTimersTheNextIsNotEarly() throws {
        let bench = try Bench()
        let (_, slot) = try bench.accept()
        // Longer than the wheel's span of 4.6 hours.
        bench.kernel.plan(afterNanoseconds: 6 * 3600 * 1_000_000_000) {}
        bench.turn(until: { false })
        bench.kernel.faults.clockJump = 1_000_000
        bench.turn()
        bench.kernel.faults.clockJump = 0
        bench.turn()
        let start = bench.shard.now
        bench.shard.setTimer(slot, afterMilliseconds: 3000)
        bench.turn(until: { bench.count(.timer) == 1 })
        #expect(bench.shard.now >= start + 3000)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func shardTimersCarryTheirNumber() throws {
        let bench = try Bench()
        bench.shard.setShardTimer(2, afterMilliseconds: 30)
        bench.shard.setShardTimer(0, afterMilliseconds: 10)
        bench.turn(until: { bench.count(.shardTimer) == 2 })
        #expect(bench.events.filter { $0.kind == .shardTimer }.map(\.detail) == [0, 2])
        bench.finish()
    }
}
