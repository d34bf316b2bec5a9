import Policy
import Testing
import Wire

private func endpoint(_ number: Int) -> Endpoint {
    Endpoint(IPAddress(v4: 0x0100_0000 + UInt32(number >> 16)), port: UInt16(truncatingIfNeeded: number))
}

/// A limiter that expectations, which copy their operands, may ask.
private final class Limiter {
    private var limiter: RelayLimiter
    init(_ limits: RelayLimits, nowMilliseconds: UInt64) { limiter = RelayLimiter(limits, nowMilliseconds: nowMilliseconds) }
    var isClosed: Bool { limiter.isClosed }
    var tableBytes: Int { limiter.tableBytes }
    func admitToRemote(_ remote: Endpoint, payloadBytes: Int, nowMilliseconds: UInt64) -> RelayAdmission {
        limiter.admitToRemote(remote, payloadBytes: payloadBytes, nowMilliseconds: nowMilliseconds)
    }
    func admitToClient(bytes: Int, nowMilliseconds: UInt64) -> RelayAdmission {
        limiter.admitToClient(bytes: bytes, nowMilliseconds: nowMilliseconds)
    }
}

@Suite struct RelayLimiterTests {
    /// The observed sequences: each frame's outcome, and the counters at the end.
    @Test func observedSequences() throws {
        for entry in try Vectors.list("observed-udp-relay.json", "limiter", atLeast: 9) {
            let variables = try #require(entry["config"] as? [String: Any])
            func value(_ name: String) -> Int { Int(variables.integer(name) ?? 0) }
            var limits = RelayLimits()
            limits.framesPerSecond = value("MAX_UDP_PPS_PER_SESSION")
            limits.bytesPerSecond = value("MAX_UDP_BPS_PER_SESSION")
            limits.framesPerSecondPerDestination = value("MAX_UDP_PPS_PER_DEST")
            limits.uniqueDestinations = value("MAX_UNIQUE_DESTINATIONS_PER_SESSION")
            limits.destinationBuckets = variables.integer("MAX_UDP_DEST_BUCKETS_PER_SESSION").map(Int.init)
            limits.bytesPerSecondToClient = value("MAX_DC_BPS_PER_SESSION")
            limits.hardCloseViolations = value("HARD_CLOSE_AFTER_VIOLATIONS")
            if let window = variables.integer("violationWindowMs") { limits.violationWindowMilliseconds = UInt64(window) }
            let steps = try #require(entry["steps"] as? [[String: Any]])
            let limiter = Limiter(limits, nowMilliseconds: UInt64(steps[0].integer("atMs") ?? 0))
            var counted: [String: Int64] = [:]
            for step in steps {
                let now = UInt64(try #require(step.integer("atMs")))
                let bytes = Int(try #require(step.integer("bytes")))
                let admission: RelayAdmission
                if step.string("dir") == "out" {
                    let name = try #require(step.string("dest")?.utf8.first)
                    admission = limiter.admitToRemote(endpoint(Int(name)), payloadBytes: bytes, nowMilliseconds: now)
                } else {
                    admission = limiter.admitToClient(bytes: bytes, nowMilliseconds: now)
                }
                #expect((admission.outcome == .admitted) == step.boolean("allowed"), "\(entry.string("name") ?? "") \(step)")
                #expect(limiter.isClosed == step.boolean("sessionClosed"), "\(step)")
                switch admission.outcome {
                case .rateLimited: counted["rate_limited", default: 0] += 1
                case .tooManyDestinations:
                    counted["quota_exceeded", default: 0] += 1
                    counted["too_many_destinations", default: 0] += 1
                    #expect(step.boolean("quotaExceeded") == true)
                case .admitted, .closed: break
                }
                if admission.evictedBucket { counted["udp_per_dest_bucket_evictions", default: 0] += 1 }
                if admission.closesSession { counted["session_hard_closed", default: 0] += 1 }
            }
            let expected = try #require(entry["counters"] as? [String: Any])
            #expect(counted == expected.mapValues { ($0 as? Int).map(Int64.init) ?? -1 }, "\(entry.string("name") ?? "")")
        }
    }

    @Test func everythingOff() {
        let limiter = Limiter(RelayLimits(), nowMilliseconds: 0)
        var refused = 0
        for number in 0..<10_000 {
            if limiter.admitToRemote(endpoint(number), payloadBytes: 65_507, nowMilliseconds: 0).outcome != .admitted { refused += 1 }
            if limiter.admitToClient(bytes: 65_507, nowMilliseconds: 0).outcome != .admitted { refused += 1 }
        }
        let bytes = limiter.tableBytes
        #expect(refused == 0 && bytes == 0)
        #expect(MemoryLayout<RelayLimiter>.size <= 400)
    }

    /// A rate is kept exactly over a long time, however odd the steps.
    @Test func noDrift() {
        var limits = RelayLimits()
        limits.framesPerSecond = 7
        let limiter = Limiter(limits, nowMilliseconds: 0)
        var admitted = 0
        var now: UInt64 = 0
        var generator = SystemRandomNumberGenerator()
        while now < 1_000_000 {
            if limiter.admitToRemote(endpoint(1), payloadBytes: 1, nowMilliseconds: now).outcome == .admitted { admitted += 1 }
            now += UInt64.random(in: 0...40, using: &generator)
        }
        // Seven at the start, and seven a second of a demand that is always greater; the last fraction may be unspent.
        #expect((7_005...7_007).contains(admitted), "\(admitted)")
    }

    @Test func hugeRates() {
        var limits = RelayLimits()
        (limits.framesPerSecond, limits.bytesPerSecond) = (Int.max, Int.max)
        (limits.bytesPerSecondToClient, limits.framesPerSecondPerDestination) = (Int.max, Int.max)
        let limiter = Limiter(limits, nowMilliseconds: 0)
        for now: UInt64 in [0, 1, UInt64.max / 2, UInt64.max] {
            #expect(limiter.admitToRemote(endpoint(1), payloadBytes: 65_507, nowMilliseconds: now).outcome == .admitted)
            #expect(limiter.admitToClient(bytes: 65_507, nowMilliseconds: now).outcome == .admitted)
        }
    }

    /// A guest that sends to 100,000 destinations gets as much memory as its limits say, and the known ones still pass.
    @Test func manyDestinations() {
        var limits = RelayLimits()
        limits.uniqueDestinations = 1000
        limits.framesPerSecondPerDestination = 2
        let limiter = Limiter(limits, nowMilliseconds: 0)
        var refused = 0
        for number in 0..<100_000 {
            let admission = limiter.admitToRemote(endpoint(number), payloadBytes: 1, nowMilliseconds: 0)
            if admission.outcome == .tooManyDestinations { refused += 1 }
        }
        let again = limiter.admitToRemote(endpoint(999), payloadBytes: 1, nowMilliseconds: 0)
        let bytes = limiter.tableBytes
        #expect(refused == 99_000 && again == RelayAdmission(outcome: .admitted))
        #expect(bytes > 0 && bytes <= 1024 * (45 + 61))
        limits.uniqueDestinations = 0
        let other = Limiter(limits, nowMilliseconds: 0)
        var evicted = 0
        for number in 0..<100_000 where other.admitToRemote(endpoint(number), payloadBytes: 1, nowMilliseconds: 0).evictedBucket {
            evicted += 1
        }
        let otherBytes = other.tableBytes
        #expect(evicted == 100_000 - RelayLimits.defaultDestinationBuckets && otherBytes <= 1024 * 61)
    }

    @Test func hardCloseIsFinal() {
        var limits = RelayLimits()
        (limits.uniqueDestinations, limits.hardCloseViolations) = (1, 1)
        let limiter = Limiter(limits, nowMilliseconds: 0)
        #expect(limiter.admitToRemote(endpoint(1), payloadBytes: 0, nowMilliseconds: 0).outcome == .admitted)
        let last = limiter.admitToRemote(endpoint(2), payloadBytes: 0, nowMilliseconds: 0)
        #expect(last == RelayAdmission(outcome: .tooManyDestinations, closesSession: true))
        #expect(limiter.admitToRemote(endpoint(1), payloadBytes: 0, nowMilliseconds: 1_000_000) == RelayAdmission(outcome: .closed))
        #expect(limiter.admitToClient(bytes: 1, nowMilliseconds: 0) == RelayAdmission(outcome: .closed))
    }
}
