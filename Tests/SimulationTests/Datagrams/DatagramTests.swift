import Engine
import Glibc
import Simulator
import Testing

/// Datagram sockets under a repeater, over many seeds.
@Suite struct DatagramTests {
    /// Datagrams of one run; `SLUICE_DATAGRAMS` asks for more.
    static let total = getenv("SLUICE_DATAGRAMS").flatMap { Int(String(cString: $0)) } ?? 600

    @Test func repeatsEveryDatagramAndReturnsEverything() {
        var met: [Statistics.Counter: UInt64] = [:]
        var (sent, received) = (0, 0)
        let seeds = SeedRun(small: 300)
        seeds.each("datagrams", remembered: Seeds.datagrams) { seed, trace in
            let world = DatagramWorld(seed: seed, trace: trace, total: Self.total)
            let failures = world.run()
            met.merge(world.counted) { $0 + $1 }
            sent = max(sent, world.longestSent)
            received = max(received, world.longestReceived)
            return failures
        }
        print("Datagrams: \(met[.datagramsReceived, default: 0]) received, \(met[.datagramsSent, default: 0]) sent")
        guard seeds.count >= 300 else { return }
        // A simulation that never meets a hard state proves nothing about it.
        for counter in Self.hardStates { #expect(met[counter, default: 0] > 0, "\(counter) was never met") }
        #expect(sent >= 6 && received > 32, "long trains were met")
    }

    static let hardStates: [Statistics.Counter] = [
        .datagramsCut, .datagramsLostInKernel, .datagramReceiveErrors, .datagramReceivesStarved, .datagramCreditUsed,
        .datagramSocketsGrown, .datagramSendErrors, .datagramSendsDelayed, .datagramsDroppedFull, .segmentationRefused, .refusedNoSlot,
        .enterBusy,
    ]

    @Test func oneSeedIsOneRun() {
        let enters = (0..<2).map { _ in
            let world = DatagramWorld(seed: 77, trace: Trace(), total: Self.total)
            _ = world.run()
            return world.kernel.enters
        }
        #expect(enters[0] == enters[1] && enters[0] > 0)
    }
}
