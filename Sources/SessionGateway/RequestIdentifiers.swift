/// Makes request ids: version 4 UUIDs for logs, which need to be different but not secret, so a generator of the shard's own
/// does (xoroshiro128+, seeded by the system): asking the cryptographic one cost a twelfth of a cached answer.
struct RequestIdentifiers {
    private var first: UInt64
    private var second: UInt64

    init() {
        var seed = SystemRandomNumberGenerator()
        first = seed.next() | 1
        second = seed.next()
    }

    private mutating func word() -> UInt64 {
        let result = first &+ second
        let mixed = second ^ first
        first = (first << 24 | first >> 40) ^ mixed ^ (mixed << 16)
        second = mixed << 37 | mixed >> 27
        return result
    }

    /// The next id, 36 characters.
    mutating func next() -> String {
        // Version and variant have their places (RFC 9562 section 5.4).
        let high = word() & ~0xF000 | 0x4000
        let low = word() & ~(3 << 62) | 2 << 62
        return String(unsafeUninitializedCapacity: 36) { text in
            var place = 0
            for digit in 0..<32 {
                if digit == 8 || digit == 12 || digit == 16 || digit == 20 {
                    text[place] = 0x2D
                    place += 1
                }
                let value = UInt8(truncatingIfNeeded: (digit < 16 ? high : low) >> UInt64(60 - 4 * (digit & 15))) & 15
                text[place] = value < 10 ? 0x30 + value : 0x57 + value
                place += 1
            }
            return place
        }
    }
}
