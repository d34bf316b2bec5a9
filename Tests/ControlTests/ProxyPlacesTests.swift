@testable import Control
import HTTP
import Policy
import Testing
import Wire

/// Room that clients of the JWT proxy take up.
@Suite struct ProxyPlacesTests {
    private let first = IPAddress(v4: 0x0A00_0001)
    private let second = IPAddress(v4: 0x0A00_0002)

    @Test func connectionsOfAnAddressAreCounted() {
        let places = ProxyPlaces()
        #expect(places.connect(first, limit: 2))
        #expect(places.connect(first, limit: 2))
        #expect(!places.connect(first, limit: 2))
        #expect(places.connect(second, limit: 2), "another address")
        places.disconnect(first)
        #expect(places.connect(first, limit: 2), "a place came back")
        for _ in 0..<5 { places.disconnect(first) }
        #expect(places.connect(first, limit: 1), "never below none: what was not counted is not missed")
    }

    @Test func handshakesAreBoundedByAddressAndAltogether() throws {
        let places = ProxyPlaces()
        var limits = ProxyLimits()
        limits.handshakes = 3
        limits.handshakesPerAddress = 2
        try places.beginHandshake(first, limits)
        try places.beginHandshake(first, limits)
        #expect(throws: ProxyPlaces.Full.handshakesOfAddress) { try places.beginHandshake(first, limits) }
        try places.beginHandshake(second, limits)
        #expect(throws: ProxyPlaces.Full.handshakes) { try places.beginHandshake(second, limits) }
        places.endHandshake(first)
        try places.beginHandshake(second, limits)
        #expect(throws: ProxyPlaces.Full.handshakes) { try places.beginHandshake(first, limits) }
    }

    @Test func theOldestOfASubjectGivesWay() {
        let places = ProxyPlaces()
        let alice = ProxyCommon.Subject(issuer: "i", subject: "alice")
        let bob = ProxyCommon.Subject(issuer: "i", subject: "bob")
        let numbers = (0..<3).map { places.enter(alice, shard: $0 % 2) }
        _ = places.enter(bob, shard: 0)
        #expect(places.evictOldest(alice) == 0)
        #expect(places.evictOldest(alice) == 1)
        #expect(places.takeEvicted(shard: 0) == [numbers[0]])
        #expect(places.takeEvicted(shard: 0) == [])
        #expect(places.takeEvicted(shard: 1) == [numbers[1]])
        places.leave(alice, number: numbers[2])
        places.leave(alice, number: numbers[0])
        #expect(places.evictOldest(alice) == nil, "none is left")
        #expect(places.evictOldest(bob) == 0)
    }

    @Test("every shard that tells has to have come round within two seconds")
    func beats() {
        let beats = ShardBeats()
        #expect(beats.areAlive(nowMilliseconds: 0), "nobody tells yet")
        beats.beat(0, nowMilliseconds: 1000)
        beats.beat(1, nowMilliseconds: 2000)
        #expect(beats.areAlive(nowMilliseconds: 2999) && !beats.areAlive(nowMilliseconds: 3000))
        beats.rest(0)
        #expect(beats.areAlive(nowMilliseconds: 3999), "a shard that has drained is not waited for")
    }

    @Test func probesAreReadFromRoutes() {
        #expect(UpstreamProber.Probe("tcp", tokenPath: "") == .tcp)
        #expect(UpstreamProber.Probe("http:/health", tokenPath: "") == .http(path: "/health"))
        #expect(UpstreamProber.Probe("ws", tokenPath: "/t") == .webSocket(tokenPath: "/t"))
        #expect(UpstreamProber.Probe("off", tokenPath: "") == nil)
    }
}
