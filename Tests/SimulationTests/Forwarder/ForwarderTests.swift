import Engine
import Simulator
import Testing

/// The engine under a forwarder, over many seeds.
@Suite struct ForwarderTests {
    @Test func forwardsEveryByteAndReturnsEverything() {
        var met: [Statistics.Counter: UInt64] = [:]
        let seeds = SeedRun(small: 300)
        seeds.each("forwarder", remembered: Seeds.forwarder) { seed, trace in
            var world = ForwarderWorld(seed: seed, trace: trace)
            let failures = world.run()
            met.merge(world.counted) { $0 + $1 }
            return failures
        }
        guard seeds.count >= 300 else { return }
        // A simulation that never meets a hard state proves nothing about it.
        for counter in Self.hardStates { #expect(met[counter, default: 0] > 0, "\(counter) was never met") }
    }

    @Test func forwardsEveryByteOverTLS() {
        var met: [Statistics.Counter: UInt64] = [:]
        let seeds = SeedRun(small: 150)
        seeds.each("forwarder over TLS", remembered: Seeds.secureForwarder) { seed, trace in
            var world = ForwarderWorld(seed: seed, trace: trace, secure: true)
            let failures = world.run()
            met.merge(world.counted) { $0 + $1 }
            return failures
        }
        guard seeds.count >= 150 else { return }
        for counter in Self.secureStates { #expect(met[counter, default: 0] > 0, "\(counter) was never met") }
    }

    static let secureStates: [Statistics.Counter] = [
        .tlsHandshakes, .tlsHandshakesFailed, .tlsHandshakesDeferred, .tlsTruncated, .tlsVersion13, .receiveStarved, .receivePaused,
        .grownToBulk, .sendsWaiting, .vectoredSends,
    ]

    static let hardStates: [Statistics.Counter] = [
        .receiveStarved, .receivePaused, .grownToBulk, .shrunkToSmall, .sendsWaiting, .vectoredSends, .connectFailed,
        .acceptFailed, .refusedNoSlot, .enterBusy, .timersFired,
    ]

    @Test func oneSeedIsOneRun() {
        var enters: [Int] = []
        for _ in 0..<2 {
            var world = ForwarderWorld(seed: 77, trace: Trace())
            _ = world.run()
            enters.append(world.kernel.enters)
        }
        #expect(enters[0] == enters[1] && enters[0] > 0)
    }
}
