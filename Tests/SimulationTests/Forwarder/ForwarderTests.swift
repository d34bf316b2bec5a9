import Simulator
import Testing

/// The engine under a forwarder, over many seeds.
@Suite struct ForwarderTests {
    @Test func forwardsEveryByteAndReturnsEverything() {
        SeedRun(small: 300).each("forwarder", remembered: Seeds.forwarder) { seed, trace in
            var world = ForwarderWorld(seed: seed, trace: trace)
            return world.run()
        }
    }

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
