import Policy
import Testing

/// A table that expectations, which take their operands as constants, may ask.
private final class Limiter<Key: Hashable & Sendable> {
    private var table: BucketTable<Key>
    init(_ table: BucketTable<Key>) { self.table = table }
    var count: Int { table.count }
    func admit(_ key: Key, nowMilliseconds: Int64) -> Bool { table.admit(key, nowMilliseconds: nowMilliseconds) }
}

@Suite struct TokenBucketTests {
    @Test func burstThenRate() throws {
        let table = Limiter(try #require(BucketTable<String>.relayTokens()))
        for _ in 0..<5 { #expect(table.admit("s", nowMilliseconds: 1000)) }
        #expect(!table.admit("s", nowMilliseconds: 1000))
        #expect(table.admit("other", nowMilliseconds: 1000))
        #expect(!table.admit("s", nowMilliseconds: 1999))
        #expect(table.admit("s", nowMilliseconds: 2000))
        #expect(!table.admit("s", nowMilliseconds: 2000))
        // Long idleness fills the bucket to its capacity and no further.
        for _ in 0..<5 { #expect(table.admit("s", nowMilliseconds: 1_000_000)) }
        #expect(!table.admit("s", nowMilliseconds: 1_000_000))
    }

    @Test func refusedRequestsCostNothing() throws {
        let table = Limiter(try #require(BucketTable<String>(capacity: 1, perSecond: 1)))
        #expect(table.admit("s", nowMilliseconds: 0))
        for moment in stride(from: Int64(0), to: 1000, by: 100) { #expect(!table.admit("s", nowMilliseconds: moment)) }
        #expect(table.admit("s", nowMilliseconds: 1001))
    }

    @Test func timeThatRunsBackAddsNothing() throws {
        let table = Limiter(try #require(BucketTable<String>(capacity: 1, perSecond: 1000)))
        #expect(table.admit("s", nowMilliseconds: 1_000_000))
        #expect(!table.admit("s", nowMilliseconds: 0))
        #expect(!table.admit("s", nowMilliseconds: 1_000_000))
        #expect(table.admit("s", nowMilliseconds: 1_000_001))
    }

    @Test func switchedOff() {
        #expect(BucketTable<IPAddress>.requests(perMinute: 0) == nil)
        #expect(BucketTable<IPAddress>(capacity: 20, perSecond: 0) == nil)
        #expect(BucketTable<IPAddress>(capacity: 0, perSecond: 10) == nil)
        #expect(BucketTable<IPAddress>(capacity: -1, perSecond: 10) == nil)
        #expect(BucketTable<IPAddress>(capacity: .nan, perSecond: 10) == nil)
    }

    @Test func oneRequestAMinute() throws {
        let table = Limiter(try #require(BucketTable<IPAddress>.requests(perMinute: 1)))
        let client = IPAddress(v4: 1)
        #expect(table.admit(client, nowMilliseconds: 0))
        #expect(!table.admit(client, nowMilliseconds: 59_000))
        #expect(table.admit(client, nowMilliseconds: 60_001))
    }

    @Test func idleKeysAreDroppedOnlyWhenThereAreMany() throws {
        let table = Limiter(try #require(BucketTable<IPAddress>(capacity: 1, perSecond: 0.0001)))
        for index in 0..<9_999 { _ = table.admit(IPAddress(v4: UInt32(index)), nowMilliseconds: 0) }
        #expect(table.admit(IPAddress(v4: 1 << 20), nowMilliseconds: 600_000))
        #expect(table.count == 10_000)
        #expect(!table.admit(IPAddress(v4: 5), nowMilliseconds: 600_000))
        // The next new key finds 10,000 and drops the idle ones; the two used just now stay.
        #expect(table.admit(IPAddress(v4: 1 << 21), nowMilliseconds: 600_001))
        #expect(table.count == 3)
        #expect(!table.admit(IPAddress(v4: 5), nowMilliseconds: 600_001))
    }

    @Test func theTableIsBounded() throws {
        let table = Limiter(try #require(BucketTable<IPAddress>(capacity: 2, perSecond: 1)))
        let bound = BucketTable<IPAddress>.maximumKeys
        for index in 0..<bound { #expect(table.admit(IPAddress(v4: UInt32(index)), nowMilliseconds: Int64(index / 100))) }
        #expect(!table.admit(IPAddress(v4: 1 << 30), nowMilliseconds: 1000))
        #expect(table.count == bound)
        #expect(table.admit(IPAddress(v4: 7), nowMilliseconds: 1000))
        #expect(table.admit(IPAddress(v4: 1 << 30), nowMilliseconds: 700_000))
        #expect(table.count <= bound)
    }
}
