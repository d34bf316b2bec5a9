import Simulator
import Testing

/// The WebSocket proxy from the HTTP request to the last byte, over many seeds.
@Suite struct ProxyTests {
    @Test func carriesEveryFrameAndReturnsEverything() {
        SeedRun(small: 300).each("proxy", remembered: Seeds.proxy) { seed, trace in
            var world = ProxyWorld(seed: seed, trace: trace)
            return world.run()
        }
    }
}
