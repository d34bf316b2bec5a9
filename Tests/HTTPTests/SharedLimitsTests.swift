import Policy
import Testing

@testable import HTTP

/// Limiters that are shared, and revoked sessions.
@Suite("Shared limits")
struct SharedLimitsTests {
    private func limiter(_ limits: SharedLimits, capacity: Double = 10, perSecond: Double = 1) -> RateLimiter<String> {
        RateLimiter("test", BucketTable(capacity: capacity, perSecond: perSecond), limits: limits)
    }

    @Test("what is taken while nothing is shared is not remembered")
    func notShared() {
        let limits = SharedLimits()
        let limiter = limiter(limits)
        #expect(limiter.admit("k", nowMilliseconds: 0))
        #expect(!limiter.hasActive)
        limits.shareRates(true)
        #expect(limiter.admit("k", nowMilliseconds: 0))
        #expect(limiter.takeActive(maximum: 9).items.map(\.spent) == [1])
        #expect(limits.exchanges.map(\.name) == ["test"])
    }

    @Test("others' use is deducted, own use since the question too, and debt must be paid first")
    func settle() {
        let limits = SharedLimits()
        limits.shareRates(true)
        let limiter = limiter(limits)
        for _ in 0..<4 { #expect(limiter.admit("k", nowMilliseconds: 0)) }
        let batch = limiter.takeActive(maximum: 9)
        #expect(batch.items.count == 1 && batch.items[0].spent == 4 && batch.items[0].digest == Digest.hexSHA256("k"))
        #expect(batch.capacity == 10 && batch.perSecond == 1)
        #expect(limiter.admit("k", nowMilliseconds: 0))
        limiter.settle([3])
        #expect(limiter.admit("k", nowMilliseconds: 0) && limiter.admit("k", nowMilliseconds: 0))
        #expect(!limiter.admit("k", nowMilliseconds: 0))
        // Refusals are told too: the key wants to know when others stop.
        #expect(limiter.takeActive(maximum: 9).items.map(\.spent) == [3])
        limiter.settle([-2])
        #expect(!limiter.admit("k", nowMilliseconds: 2000) && limiter.admit("k", nowMilliseconds: 3000))
    }

    @Test("an answer that never comes leaves the buckets as they are")
    func abandoned() {
        let limits = SharedLimits()
        limits.shareRates(true)
        let limiter = limiter(limits, capacity: 2)
        #expect(limiter.admit("k", nowMilliseconds: 0))
        _ = limiter.takeActive(maximum: 9)
        limiter.abandon()
        limiter.settle([0])
        #expect(limiter.admit("k", nowMilliseconds: 0) && !limiter.admit("k", nowMilliseconds: 0))
    }

    @Test("only so many keys are exchanged at a time, the others later")
    func bounded() {
        let limits = SharedLimits()
        limits.shareRates(true)
        let limiter = limiter(limits)
        for number in 0..<5000 { _ = limiter.admit("\(number)", nowMilliseconds: 0) }
        var taken = 0
        while limiter.hasActive {
            let batch = limiter.takeActive(maximum: 256)
            #expect(batch.items.count <= 256)
            taken += batch.items.count
            limiter.settle(batch.items.map { _ in 9 })
        }
        #expect(taken == BucketTable<String>.maximumActiveKeys)
    }

    @Test("a reload changes rates, switches off and on")
    func reload() {
        let limiter = limiter(SharedLimits(), capacity: 1, perSecond: 0.001)
        #expect(limiter.admit("k", nowMilliseconds: 0) && !limiter.admit("k", nowMilliseconds: 0))
        limiter.apply(nil)
        #expect(limiter.admit("k", nowMilliseconds: 0))
        limiter.apply(BucketTable(capacity: 1, perSecond: 0.001))
        #expect(limiter.admit("k", nowMilliseconds: 0) && !limiter.admit("k", nowMilliseconds: 0))
    }

    private let now = Double(WallClock.nowMilliseconds) / 1000

    @Test("a session is revoked until it would have ended")
    func revocation() {
        let limits = SharedLimits()
        #expect(!limits.revocations.contains(sessionID: "s"))
        #expect(limits.revoke(sessionID: "s", expirySeconds: now + 60))
        #expect(limits.revocations.contains(sessionID: "s") && !limits.revocations.contains(sessionID: "t"))
        #expect(limits.revocationEpoch == 1)
        #expect(limits.revoke(sessionID: "s", expirySeconds: now + 30) && limits.revocationEpoch == 1)
        #expect(limits.revoke(sessionID: "old", expirySeconds: now - 1) && limits.revocations.count == 1)
        limits.revocations.removeExpired(nowSeconds: now + 61)
        #expect(!limits.revocations.contains(sessionID: "s") && limits.revocations.count == 0)
    }

    @Test("connections of a revoked session are marked, others not")
    func marks() throws {
        let limits = SharedLimits()
        func open(_ session: String) throws -> Places {
            let admission = limits.places.admitAlone(session: session, address: "", limits: PlaceLimits(session: 9, address: 0))
            guard case .granted(let places) = admission else { throw PlaceKeeperRefusal() }
            return places
        }
        let (first, second) = (try open("a"), try open("b"))
        _ = limits.revoke(sessionID: "a", expirySeconds: now + 60)
        #expect(first.session.isRevoked && !second.session.isRevoked)
    }
    struct PlaceKeeperRefusal: Error {}

    @Test("the table is bounded, and says when it is full")
    func full() {
        let limits = SharedLimits()
        let entries = (0..<RevocationTable.entriesMaximum).map { (digest: "\($0)", expirySeconds: now + 60) }
        limits.merge(entries, isShared: true)
        #expect(limits.revocations.count == RevocationTable.entriesMaximum)
        #expect(limits.revocations.takeUnsent(maximum: 9).isEmpty, "what came from the store is not sent back")
        #expect(!limits.revoke(sessionID: "one more", expirySeconds: now + 60))
        #expect(limits.revocations.droppedCount == 1)
        limits.revocations.sendAll()
        #expect(limits.revocations.takeUnsent(maximum: 9).count == 9)
    }
}
