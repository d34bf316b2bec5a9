import Foundation
import Policy
import Testing

private func place(_ outcome: RelaySessions.Outcome) throws -> RelaySessions.Place {
    guard case .opened(let place) = outcome else { throw VectorError.missing("\(outcome)") }
    return place
}

private func isBusy(_ outcome: RelaySessions.Outcome) -> Bool { if case .busy = outcome { true } else { false } }
private func isFull(_ outcome: RelaySessions.Outcome) -> Bool { if case .full = outcome { true } else { false } }

@Suite struct RelaySessionsTests {
    @Test func oneSessionAHolder() throws {
        let sessions = RelaySessions()
        let first = try place(sessions.open(sessionID: "s", maximum: 0, nowMilliseconds: 0))
        #expect(isBusy(sessions.open(sessionID: "s", maximum: 0, nowMilliseconds: 0)))
        // Busy comes before full.
        #expect(isBusy(sessions.open(sessionID: "s", maximum: 1, nowMilliseconds: 0)))
        #expect(isFull(sessions.open(sessionID: "other", maximum: 1, nowMilliseconds: 0)))
        sessions.close(first)
        #expect(sessions.count(nowMilliseconds: 0) == 0)
        sessions.close(try place(sessions.open(sessionID: "s", maximum: 1, nowMilliseconds: 0)))
        // Only bytes are the same holder.
        _ = try place(sessions.open(sessionID: "\u{FC}", maximum: 0, nowMilliseconds: 0))
        _ = try place(sessions.open(sessionID: "u\u{308}", maximum: 0, nowMilliseconds: 0))
        #expect(sessions.count(nowMilliseconds: 0) == 2)
    }

    @Test func withoutTokens() throws {
        let sessions = RelaySessions()
        let places = try (0..<3).map { _ in try place(sessions.open(sessionID: nil, maximum: 3, nowMilliseconds: 0)) }
        #expect(isFull(sessions.open(sessionID: nil, maximum: 3, nowMilliseconds: 0)))
        #expect(Set(places.map(\.id)).count == 3)
        for place in places {
            #expect(place.id.utf8.count == 32 && place.id.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        }
    }

    @Test func reservationsEnd() throws {
        let sessions = RelaySessions()
        _ = try place(sessions.reserve(sessionID: "s", maximum: 1, lifetimeMilliseconds: 60_000, nowMilliseconds: 0))
        #expect(isBusy(sessions.open(sessionID: "s", maximum: 0, nowMilliseconds: 59_999)))
        #expect(isBusy(sessions.reserve(sessionID: "s", maximum: 0, lifetimeMilliseconds: 60_000, nowMilliseconds: 59_999)))
        #expect(isFull(sessions.open(sessionID: "t", maximum: 1, nowMilliseconds: 59_999)))
        let opened = try place(sessions.open(sessionID: "s", maximum: 1, nowMilliseconds: 60_000))
        sessions.close(opened)
        #expect(sessions.count(nowMilliseconds: 60_000) == 0)
        // As many as wanted, and all of them go.
        for number in 0..<RelaySessions.maximumReservations {
            let now = UInt64(100_000 + number / 10_000)
            _ = try place(sessions.reserve(sessionID: nil, maximum: 0, lifetimeMilliseconds: 10, nowMilliseconds: now))
        }
        #expect(isFull(sessions.reserve(sessionID: nil, maximum: 0, lifetimeMilliseconds: 10, nowMilliseconds: 100_009)))
        #expect(sessions.count(nowMilliseconds: 100_013) > 0)
        #expect(sessions.count(nowMilliseconds: 100_016) == 0)
    }

    /// A reload may shorten the time of a reservation: it does not wait for those that were made before.
    @Test func aShorterReservationEndsBeforeEarlierOnes() {
        let sessions = RelaySessions()
        for (holder, lifetime) in [("long", 60_000), ("longer", 70_000), ("short", 1000), ("medium", 2000)] as [(String, UInt64)] {
            _ = sessions.reserve(sessionID: holder, maximum: 0, lifetimeMilliseconds: lifetime, nowMilliseconds: 10)
        }
        let counts = [1009, 1010, 2010, 60_009, 60_010, 70_010].map { sessions.count(nowMilliseconds: $0) }
        #expect(counts == [4, 3, 2, 2, 1, 0])
        #expect(!isBusy(sessions.open(sessionID: "short", maximum: 0, nowMilliseconds: 70_011)))
    }

    /// The observed sequence of requests to a relay with tokens, and to one with room for one.
    @Test func observedSequences() throws {
        let sessions = RelaySessions()
        for entry in try Vectors.list("observed-udp-relay.json", "httpSidSequence", atLeast: 5) {
            guard let request = entry["request"] as? [String: Any], let bearer = request.string("bearer"),
                let status = (entry["response"] as? [String: Any])?.integer("status")
            else { throw VectorError.missing("request") }
            let holder = bearer.contains("S1") ? "S1" : "S2"
            let outcome = request.string("path") == "/session"
                ? sessions.reserve(sessionID: holder, maximum: 0, lifetimeMilliseconds: 60_000, nowMilliseconds: 1)
                : sessions.open(sessionID: holder, maximum: 0, nowMilliseconds: 1)
            #expect(isBusy(outcome) == (status == 409))
        }
        let small = RelaySessions()
        for entry in try Vectors.list("observed-udp-relay.json", "httpMaxSessionsSequence", atLeast: 4) {
            let outcome = small.reserve(sessionID: nil, maximum: 1, lifetimeMilliseconds: 60_000, nowMilliseconds: 1)
            #expect(isFull(outcome) == ((entry["response"] as? [String: Any])?.integer("status") == 503))
        }
    }

    /// A counter under a contended `Mutex` ends exact, and is reported all the same: its slow path is in a library without
    /// the sanitizer's marks.
    private static let lockIsInvisible = dlsym(nil, "__tsan_init") != nil

    /// Several threads at once never hold more than there are places, nor one holder twice.
    @Test(.disabled(if: lockIsInvisible, "the thread sanitizer does not see Swift's Mutex when threads wait for it"))
    func manyThreads() {
        let sessions = RelaySessions()
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            for number in 0..<5_000 {
                if case .opened(let place) = sessions.open(sessionID: "\(number % 3)", maximum: 2, nowMilliseconds: 0) {
                    precondition(sessions.count(nowMilliseconds: 0) <= 2)
                    sessions.close(place)
                }
            }
        }
        #expect(sessions.count(nowMilliseconds: 0) == 0)
    }
}
