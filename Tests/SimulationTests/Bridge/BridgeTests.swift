import Simulator
import Testing

/// `/tcp` from the HTTP request to the last byte, over many seeds.
@Suite struct BridgeTests {
    @Test func carriesEveryByteAndReturnsEverything() {
        SeedRun(small: 300).each("bridge", remembered: Seeds.bridge) { seed, trace in
            var world = BridgeWorld(seed: seed, trace: trace)
            return world.run()
        }
    }
}
