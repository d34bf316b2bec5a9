import Testing

@testable import DNS

/// Answers kept: lifetimes, the least recently used first, bytes.
@Suite struct CacheTests {
    private let second: UInt64 = 1_000_000_000

    private func store(_ cache: DNSCache, _ key: String, _ message: String, seconds: Int = 10, at now: UInt64 = 0) {
        Array(key.utf8).withUnsafeBytes { key in
            Array(message.utf8).withUnsafeBytes { message in
                cache.store(key, message, questionEnd: 3, lifetimeSeconds: seconds, nowNanoseconds: now)
            }
        }
    }

    private func find(_ cache: DNSCache, _ key: String, at now: UInt64 = 0, room: Int = 100) -> (text: String, age: UInt32)? {
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 1)
        defer { space.deallocate() }
        guard let hit = Array(key.utf8).withUnsafeBytes({ cache.find($0, nowNanoseconds: now, to: space) }) else { return nil }
        #expect(hit.questionEnd == 3)
        return (String(decoding: space[..<hit.count], as: UTF8.self), hit.ageSeconds)
    }

    @Test func anAnswerServesForItsLifetimeAndTellsItsAge() {
        let cache = DNSCache(entries: 10, bytes: 1000)
        store(cache, "a", "answer", seconds: 2, at: 5 * second)
        #expect(find(cache, "a", at: 5 * second).map { $0.text } == "answer")
        #expect(find(cache, "a", at: 6 * second - 1)?.age == 0)
        #expect(find(cache, "a", at: 6 * second)?.age == 1)
        #expect(find(cache, "a", at: 4 * second)?.age == 0, "a shard whose turn began earlier")
        #expect(find(cache, "a", at: 7 * second - 1)?.age == 1)
        #expect(find(cache, "a", at: 7 * second) == nil)
        #expect(cache.usage == (entries: 0, bytes: 0, evicted: 0))
        store(cache, "b", "answer", seconds: 0)
        #expect(find(cache, "b") == nil, "a lifetime of nothing is not kept")
    }

    @Test func aLaterAnswerReplacesTheEarlier() {
        let cache = DNSCache(entries: 10, bytes: 1000)
        store(cache, "a", "one")
        store(cache, "a", "another")
        #expect(find(cache, "a")?.text == "another")
        #expect(cache.usage == (entries: 1, bytes: 8, evicted: 0))
        #expect(find(cache, "a", room: 6) == nil, "no room for it")
    }

    @Test func theLeastRecentlyUsedGoesFirst() {
        let cache = DNSCache(entries: 3, bytes: 1000)
        for key in ["a", "b", "c"] { store(cache, key, key) }
        #expect(find(cache, "a") != nil)
        store(cache, "d", "d")
        #expect(find(cache, "b") == nil)
        #expect(["a", "c", "d"].allSatisfy { find(cache, $0)?.text == $0 })
        #expect(cache.usage == (entries: 3, bytes: 6, evicted: 1))
    }

    @Test func bytesAreBoundedToo() {
        let cache = DNSCache(entries: 100, bytes: 30)
        for key in ["a", "b", "c"] { store(cache, key, "123456789") }
        #expect(cache.usage == (entries: 3, bytes: 30, evicted: 0))
        store(cache, "d", "1234567890")
        #expect(cache.usage == (entries: 2, bytes: 21, evicted: 2) && find(cache, "d") != nil && find(cache, "c") != nil)
        store(cache, "e", String(repeating: "x", count: 30))
        #expect(find(cache, "e") == nil && cache.usage.entries == 2, "larger than everything: nothing is dropped for it")
    }

    @Test func manyEntriesOfManyStripesAreFound() {
        let cache = DNSCache(entries: 5000, bytes: 1 << 20)
        for number in 0..<20_000 { store(cache, "key \(number)", "answer \(number)") }
        let usage = cache.usage
        #expect(usage.entries <= 5008 && usage.entries > 4000 && usage.evicted == UInt64(20_000 - usage.entries))
        var found = 0
        for number in 0..<20_000 {
            guard let hit = find(cache, "key \(number)") else { continue }
            found += 1
            #expect(hit.text == "answer \(number)")
        }
        #expect(found == usage.entries)
    }

    @Test func noEntriesKeepNothing() {
        let cache = DNSCache(entries: 0, bytes: 1000)
        store(cache, "a", "answer")
        #expect(find(cache, "a") == nil && cache.usage == (entries: 0, bytes: 0, evicted: 0))
    }
}
