import Glibc
import Synchronization
import Wire

/// Answers kept for all shards of a process.
///
/// Theory of operation
/// - A key is a canonical name, type, class and the query's traits, as bytes. An entry is one block: key, then message.
/// - The table is cut into stripes by hash, each under a lock that is held for one look-up and one copy of a message. A
///   second connection may be served by another shard, and must find what the first one's answer left.
/// - Each stripe drops its least recently used entry when it holds too many entries or bytes.
/// - Time is nanoseconds of the monotonic clock. An entry serves until its lifetime is over, its TTLs lowered by the whole
///   seconds it has been here.
public final class DNSCache: Sendable {
    /// What a hit is.
    struct Hit {
        /// Bytes of the message, copied to the caller's buffer.
        let count: Int
        /// Offset behind the question.
        let questionEnd: Int
        /// Whole seconds since it was stored.
        let ageSeconds: UInt32
    }

    private final class Stripe: Sendable {
        let table: Mutex<DNSCacheTable>
        init(_ table: consuming DNSCacheTable) { self.table = Mutex(table) }
    }

    private let stripes: [Stripe]

    /// A cache of `entries` answers; 0 keeps nothing.
    public init(entries: Int, bytes: Int) {
        guard entries > 0 else {
            stripes = []
            return
        }
        let count = entries < DNSLimits.cacheEntriesToStripe ? 1 : DNSLimits.cacheStripes
        stripes = (0..<count).map { _ in Stripe(DNSCacheTable(entries: (entries + count - 1) / count, bytes: bytes / count)) }
    }

    private func stripe(_ hash: UInt64) -> Stripe { stripes[Int(truncatingIfNeeded: hash >> 48) % stripes.count] }

    static func hash(_ key: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(bytes: key)
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }

    /// Copies the answer to `key` to `destination`; nil when there is none, or it does not fit.
    func find(_ key: UnsafeRawBufferPointer, nowNanoseconds: UInt64, to destination: UnsafeMutableRawBufferPointer) -> Hit? {
        guard !stripes.isEmpty else { return nil }
        let hash = Self.hash(key)
        return stripe(hash).table.withLock { $0.find(key, hash, nowNanoseconds, destination) }
    }

    /// Keeps an answer for `lifetimeSeconds`.
    func store(_ key: UnsafeRawBufferPointer, _ message: UnsafeRawBufferPointer, questionEnd: Int, lifetimeSeconds: Int,
               nowNanoseconds: UInt64) {
        guard !stripes.isEmpty, lifetimeSeconds > 0 else { return }
        let hash = Self.hash(key)
        let expiry = nowNanoseconds &+ UInt64(lifetimeSeconds) &* 1_000_000_000
        stripe(hash).table.withLock { $0.store(key, hash, message, questionEnd, nowNanoseconds, expiry) }
    }

    /// What is held now, and how many entries were dropped for want of room.
    public var usage: (entries: Int, bytes: Int, evicted: UInt64) {
        stripes.reduce((entries: 0, bytes: 0, evicted: 0)) { sum, stripe in
            stripe.table.withLock { (sum.entries + $0.count, sum.bytes + $0.bytes, sum.evicted + $0.evicted) }
        }
    }
}

/// One stripe: chains by hash, a list by age of use, and a free list, all by index.
struct DNSCacheTable: ~Copyable, @unchecked Sendable {
    private struct Entry {
        var hash: UInt64
        var stored: UInt64
        var expiry: UInt64
        var block: UnsafeMutableRawPointer  // key, then message
        var messageBytes: UInt32
        var keyBytes: UInt16
        var questionEnd: UInt16
        var chain: UInt32
        var newer: UInt32
        var older: UInt32
    }

    private static let none = UInt32.max
    private static let firstEntries = 64

    private let entriesMaximum: Int
    private let bytesMaximum: Int
    private var entries: UnsafeMutablePointer<Entry>
    private var heads: UnsafeMutablePointer<UInt32>
    private var capacity: Int  // a power of two: as many chains as places
    private var touched = 0
    private var free = DNSCacheTable.none
    private var newest = DNSCacheTable.none
    private var oldest = DNSCacheTable.none
    private(set) var count = 0
    private(set) var bytes = 0
    private(set) var evicted: UInt64 = 0

    init(entries maximum: Int, bytes: Int) {
        entriesMaximum = maximum
        bytesMaximum = bytes
        capacity = Self.firstEntries
        entries = .allocate(capacity: capacity)
        heads = .allocate(capacity: capacity)
        heads.initialize(repeating: Self.none, count: capacity)
    }

    deinit {
        var index = newest
        while index != Self.none {
            entries[Int(index)].block.deallocate()
            index = entries[Int(index)].older
        }
        entries.deallocate()
        heads.deallocate()
    }

    private func index(_ key: UnsafeRawBufferPointer, _ hash: UInt64) -> UInt32 {
        var index = heads[Int(truncatingIfNeeded: hash) & (capacity - 1)]
        while index != Self.none {
            let entry = entries + Int(index)
            if entry.pointee.hash == hash, Int(entry.pointee.keyBytes) == key.count,
                memcmp(entry.pointee.block, key.baseAddress!, key.count) == 0
            {
                return index
            }
            index = entry.pointee.chain
        }
        return Self.none
    }

    mutating func find(_ key: UnsafeRawBufferPointer, _ hash: UInt64, _ now: UInt64, _ destination: UnsafeMutableRawBufferPointer)
        -> DNSCache.Hit?
    {
        let index = index(key, hash)
        guard index != Self.none else { return nil }
        let entry = entries[Int(index)]
        guard now < entry.expiry else {
            remove(index)
            return nil
        }
        let count = Int(entry.messageBytes)
        guard count <= destination.count else { return nil }
        destination.baseAddress!.copyMemory(from: entry.block + Int(entry.keyBytes), byteCount: count)
        if newest != index {
            unlink(index)
            linkNewest(index)
        }
        // Another shard's turn may have begun a little earlier than the one that stored.
        let age = now > entry.stored ? (now - entry.stored) / 1_000_000_000 : 0
        return DNSCache.Hit(count: count, questionEnd: Int(entry.questionEnd), ageSeconds: UInt32(truncatingIfNeeded: age))
    }

    mutating func store(_ key: UnsafeRawBufferPointer, _ hash: UInt64, _ message: UnsafeRawBufferPointer, _ questionEnd: Int,
                        _ now: UInt64, _ expiry: UInt64) {
        let size = key.count + message.count
        guard size <= bytesMaximum else { return }
        let present = index(key, hash)
        if present != Self.none { remove(present) }
        while count >= entriesMaximum || bytes + size > bytesMaximum {
            remove(oldest)
            evicted += 1
        }
        let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 1)
        block.copyMemory(from: key.baseAddress!, byteCount: key.count)
        (block + key.count).copyMemory(from: message.baseAddress!, byteCount: message.count)
        let index = take()
        let chain = Int(truncatingIfNeeded: hash) & (capacity - 1)
        (entries + Int(index)).initialize(
            to: Entry(hash: hash, stored: now, expiry: expiry, block: block, messageBytes: UInt32(message.count),
                      keyBytes: UInt16(key.count), questionEnd: UInt16(questionEnd), chain: heads[chain], newer: Self.none,
                      older: Self.none))
        heads[chain] = index
        linkNewest(index)
        count += 1
        bytes += size
    }

    private mutating func take() -> UInt32 {
        if free != Self.none {
            let index = free
            free = entries[Int(index)].chain
            return index
        }
        if touched == capacity { grow() }
        touched += 1
        return UInt32(touched - 1)
    }

    /// Twice the places and chains. Rare, and never beyond twice the entries allowed.
    private mutating func grow() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: 2 * capacity)
        larger.update(from: entries, count: touched)
        entries.deallocate()
        heads.deallocate()
        entries = larger
        capacity *= 2
        heads = .allocate(capacity: capacity)
        heads.initialize(repeating: Self.none, count: capacity)
        for index in 0..<touched {
            let chain = Int(truncatingIfNeeded: entries[index].hash) & (capacity - 1)
            entries[index].chain = heads[chain]
            heads[chain] = UInt32(index)
        }
    }

    private mutating func remove(_ index: UInt32) {
        let entry = entries[Int(index)]
        let chain = Int(truncatingIfNeeded: entry.hash) & (capacity - 1)
        if heads[chain] == index {
            heads[chain] = entry.chain
        } else {
            var previous = heads[chain]
            while entries[Int(previous)].chain != index { previous = entries[Int(previous)].chain }
            entries[Int(previous)].chain = entry.chain
        }
        unlink(index)
        count -= 1
        bytes -= Int(entry.keyBytes) + Int(entry.messageBytes)
        entry.block.deallocate()
        entries[Int(index)].chain = free
        free = index
    }

    private mutating func unlink(_ index: UInt32) {
        let entry = entries[Int(index)]
        if entry.newer == Self.none { newest = entry.older } else { entries[Int(entry.newer)].older = entry.older }
        if entry.older == Self.none { oldest = entry.newer } else { entries[Int(entry.older)].newer = entry.newer }
    }

    private mutating func linkNewest(_ index: UInt32) {
        entries[Int(index)].newer = Self.none
        entries[Int(index)].older = newest
        if newest == Self.none { oldest = index } else { entries[Int(newest)].newer = index }
        newest = index
    }
}
