import Glibc
import Simulator
import Testing
import UDPRelay

/// `/udp` from the HTTP request to the last datagram, over many seeds.
@Suite struct RelayTests {
    @Test func carriesDatagramsAndReturnsEverything() {
        var met: [RelayCounters.Event: UInt64] = [:]
        var others: [RelayCounters.Counter: UInt64] = [:]
        var exact = 0
        let seeds = SeedRun(small: 300)
        seeds.each("relay", remembered: Seeds.relay) { seed, trace in
            let world = RelayWorld(seed: seed, trace: trace)
            let failures = world.run()
            for event in RelayCounters.Event.allCases { met[event, default: 0] += world.counters?.read(event) ?? 0 }
            for counter in RelayCounters.Counter.allCases { others[counter, default: 0] &+= world.counters?.read(counter) ?? 0 }
            exact += world.exactClients
            return failures
        }
        print("Relay: \(met[.datagramsIn, default: 0]) in, \(met[.datagramsOut, default: 0]) out, \(exact) clients counted exactly")
        guard seeds.count >= 300 else { return }
        // A simulation that never meets a hard state proves nothing about it.
        let elsewhere: Set<RelayCounters.Event> = [.sessionConnectTimeout, .gatheringTimeout]
        for event in RelayCounters.Event.allCases where !elsewhere.contains(event) {
            #expect(met[event, default: 0] > 0, "\(event) was never met")
        }
        for counter in RelayCounters.Counter.allCases where !Self.gauges.contains(counter) && !Self.rare.contains(counter) {
            #expect(others[counter, default: 0] > 0, "\(counter) was never met")
        }
        for gauge in Self.gauges { #expect(others[gauge] == 0, "\(gauge) is not back at zero") }
        #expect(exact > 40)
    }

    /// Datagrams of one long run; `SLUICE_DATAGRAMS` asks for more.
    static let total = getenv("SLUICE_DATAGRAMS").flatMap { Int(String(cString: $0)) } ?? 20_000

    /// A few clients that stay, in a kernel with faults and shards with too little of everything.
    @Test func carriesManyDatagramsAndReturnsEverything() {
        var (came, left, returned) = (UInt64(0), UInt64(0), UInt64(0))
        let trace = Trace()
        let first = SeedRun(small: 0).first
        for seed in first..<first + Self.enduringRuns {
            trace.clear()
            let world = RelayWorld(seed: seed, trace: trace, total: Self.total)
            let failures = CrashReport.watch("relay, enduring", seed: seed, trace: trace) { world.run() }
            if !failures.isEmpty {
                let tail = trace.lines(24).joined(separator: "\n")
                Issue.record("relay, enduring, seed \(seed): \(failures.joined(separator: "; "))\n\(tail)")
            }
            came += world.counters?.read(.datagramsIn) ?? 0
            left += world.leftCount
            returned += world.counters?.read(.datagramsOut) ?? 0
        }
        print("Relay, enduring: \(came) came, \(left) left, \(returned) came back")
        let sent = UInt64(Self.total) * Self.enduringRuns
        #expect(came > sent * 9 / 10 && left > sent / 2 && returned > sent / 4)
    }

    static let enduringRuns: UInt64 = 4

    static let gauges: Set<RelayCounters.Counter> = [.socketsActive, .sessionsActive, .bindingsActive, .datagramSocketsActive]
    static let rare: Set<RelayCounters.Counter> = [.closedByAdministrator, .outOfBuffers, .webSocketsRefused]
}
