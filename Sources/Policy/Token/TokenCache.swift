// Theory of operation
//
// A shard remembers tokens it has verified, so that a reconnect costs a digest and not a signature check. Filled from nowhere else:
// who could write here could mint sessions. The name of an entry is the digest of the whole token, signature included; nothing read
// from an unverified token finds an entry.
//
//     places  digest ──► slot
//     slots   entries with a mark; the hand goes round, clears marks, and evicts the first entry without one
//
// An entry dies with its time, with its key, with a denial, and with the configuration (the owner empties the cache then).

/// Verified tokens of a shard, at most so many and so large.
struct TokenCache {
    private struct Entry {
        let digest: TokenDigest
        let token: VerifiedToken
        let endMilliseconds: Int64
        /// The generation of the key set that was last seen to hold the key.
        var generation: UInt64
        var wasUsed: Bool
    }

    private let maximumEntries: Int
    private let maximumBytes: Int
    private var places: [TokenDigest: Int] = [:]
    private var slots: [Entry?] = []
    private var free: [Int] = []
    private var hand = 0
    /// Memory of the remembered tokens, rounded up.
    private(set) var bytes = 0

    /// An empty cache.
    init(maximumEntries: Int, maximumBytes: Int) {
        precondition(maximumEntries > 0)
        self.maximumEntries = maximumEntries
        self.maximumBytes = maximumBytes
    }

    /// Tokens held.
    var count: Int { places.count }

    /// The token of a digest, while its time lasts and its key is in its provider's set.
    mutating func find(_ digest: TokenDigest, keySets: [KeySet], nowMilliseconds: Int64) -> VerifiedToken? {
        guard let place = places[digest], var entry = slots[place] else { return nil }
        let keys = keySets[entry.token.provider]
        guard nowMilliseconds < entry.endMilliseconds,
            entry.generation == keys.generation || keys.holds(entry.token.keyThumbprint)
        else {
            remove(place)
            return nil
        }
        entry.generation = keys.generation
        entry.wasUsed = true
        slots[place] = entry
        return entry.token
    }

    /// Remembers a token that was just verified.
    mutating func insert(_ digest: TokenDigest, _ token: VerifiedToken, generation: UInt64, endMilliseconds: Int64) {
        guard token.bytes <= maximumBytes, places[digest] == nil else { return }
        while places.count >= maximumEntries || bytes + token.bytes > maximumBytes { evict() }
        let entry = Entry(digest: digest, token: token, endMilliseconds: endMilliseconds, generation: generation, wasUsed: false)
        if let place = free.popLast() {
            slots[place] = entry
            places[digest] = place
        } else {
            places[digest] = slots.count
            slots.append(entry)
        }
        bytes += token.bytes
    }

    /// Forgets a token.
    mutating func remove(_ digest: TokenDigest) {
        if let place = places[digest] { remove(place) }
    }

    /// Forgets all tokens.
    mutating func removeAll() { self = TokenCache(maximumEntries: maximumEntries, maximumBytes: maximumBytes) }

    private mutating func remove(_ place: Int) {
        guard let entry = slots[place] else { return }
        places[entry.digest] = nil
        bytes -= entry.token.bytes
        slots[place] = nil
        free.append(place)
    }

    /// Evicts the next entry that was not used since the hand last passed. Only called while there are entries.
    private mutating func evict() {
        while true {
            hand = hand + 1 < slots.count ? hand + 1 : 0
            guard let entry = slots[hand] else { continue }
            if !entry.wasUsed { return remove(hand) }
            slots[hand]?.wasUsed = false
        }
    }
}
