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

    static let gauges: Set<RelayCounters.Counter> = [.socketsActive, .sessionsActive, .bindingsActive, .datagramSocketsActive]
    static let rare: Set<RelayCounters.Counter> = [.closedByAdministrator, .outOfBuffers, .webSocketsRefused]
}
