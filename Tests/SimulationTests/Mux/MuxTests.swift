import Simulator
import Testing

/// `/tcp-mux` from the HTTP request to the last byte of every stream, over many seeds.
@Suite struct MuxTests {
    @Test func carriesEveryStreamAndReturnsEverything() {
        SeedRun(small: 300).each("mux", remembered: Seeds.mux) { seed, trace in
            var world = MuxWorld(seed: seed, trace: trace)
            return world.run()
        }
    }
}
