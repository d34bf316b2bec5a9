// Theory of operation
//
// A table with a bound, in the order of last use. The relay remembers things that strangers choose: guest ports, destinations. So
// each table has a capacity, drops what was used longest ago to make room, and takes memory as it fills: it starts with none, doubles
// up to its capacity, and gives everything back when it is empty again.
//
//     heads   [hash] ──► entry ──► entry          chains of entries with the same hash, by index
//     entries  slab of `capacity` at most; an entry keeps its index as long as it lives, its value stands beside it
//     newest ◄──► … ◄──► oldest                    the order of use, by index; free entries are chained too
//
// Keys are hashed with a secret of the table, since clients choose them. Looking up, using, inserting and removing take constant time,
// but for the doubling, which is a copy. None allocates when the table has its size, so neither does a datagram.

import Wire

/// A bounded map from endpoints to values, in the order of last use. `Value` is plain memory or owns its own.
@safe struct RecentTable<Value: ~Copyable>: ~Copyable {
    /// Place of an entry, valid until the entry is removed.
    typealias Index = UInt32
    /// No entry.
    static var none: Index { UInt32.max }

    struct Key: Equatable {
        var high: UInt64
        var low: UInt64
        var port: UInt16

        @inline(__always)
        init(_ endpoint: Endpoint) {
            (high, low) = endpoint.mapped
            port = endpoint.port
        }

        /// The key of a bare port.
        @inline(__always)
        init(port: UInt16) {
            (high, low) = (0, 0)
            self.port = port
        }
    }

    /// 40 bytes.
    private struct Entry {
        var high: UInt64
        var low: UInt64
        var usedMilliseconds: UInt64
        /// Next entry of the chain, or of the free list.
        var next: Index
        var newer: Index
        var older: Index
        var port: UInt16
        var isLive = true
    }

    /// Entries the first time anything is inserted.
    private static var initialEntries: Int { 4 }

    /// Most entries.
    let capacity: Int
    /// Entries held.
    private(set) var count = 0
    private var allocated = 0
    /// Entries below this were used at some time; the free ones among them are chained from `free`.
    private var touched = 0
    private var free = RecentTable.none
    private var newest = RecentTable.none
    private(set) var oldest = RecentTable.none
    private var entries: UnsafeMutablePointer<Entry>
    /// Initialised where an entry lives.
    private var values: UnsafeMutablePointer<Value>
    /// As many as entries, a power of two.
    private var heads: UnsafeMutablePointer<Index>
    private let secret: UInt64

    /// An empty table of at most `capacity` entries, above 0. It has no memory yet.
    init(capacity: Int) {
        precondition(capacity > 0 && capacity < Int(UInt32.max / 2))
        self.capacity = capacity
        unsafe entries = Self.nothing()
        unsafe values = Self.nothing()
        unsafe heads = Self.nothing()
        secret = UInt64.random(in: 0...UInt64.max)
    }

    /// An address for memory of no bytes.
    private static func nothing<Element: ~Copyable>() -> UnsafeMutablePointer<Element> {
        guard let address = unsafe UnsafeMutablePointer<Element>(bitPattern: MemoryLayout<Element>.alignment) else {
            preconditionFailure("no alignment is 0")
        }
        return unsafe address
    }

    deinit {
        var index = newest
        while index != Self.none {
            unsafe (values + Int(index)).deinitialize(count: 1)
            index = unsafe entries[Int(index)].older
        }
        guard allocated > 0 else { return }
        unsafe entries.deallocate()
        unsafe values.deallocate()
        unsafe heads.deallocate()
    }

    /// Bytes of an entry: 44 and the value, of which nothing takes 1.
    static var entryBytes: Int { MemoryLayout<Entry>.stride + MemoryLayout<Value>.stride + MemoryLayout<Index>.stride }
    /// Bytes of memory in use.
    var bytes: Int { allocated * Self.entryBytes }

    // MARK: Finding

    @inline(__always)
    private func bucket(_ high: UInt64, _ low: UInt64, _ port: UInt16) -> Int {
        // Two rounds of multiply and fold; each full product mixes all bits of both sides.
        let first = (high ^ secret).multipliedFullWidth(by: (low ^ 0x9E37_79B9_7F4A_7C15) | 1)
        let mixed = first.high ^ first.low ^ low &+ UInt64(port)
        let second = (mixed ^ secret).multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
        return Int(truncatingIfNeeded: (second.high ^ second.low) & UInt64(allocated &- 1))
    }

    /// The entry of a key, or `none`.
    func find(_ key: Key) -> Index {
        guard count > 0 else { return Self.none }
        var index = unsafe heads[bucket(key.high, key.low, key.port)]
        while index != Self.none {
            let entry = unsafe entries + Int(index)
            if unsafe entry.pointee.low == key.low && entry.pointee.high == key.high && entry.pointee.port == key.port { return index }
            index = unsafe entry.pointee.next
        }
        return index
    }

    /// The value of an entry. The pointer is good until something is inserted or removed.
    @inline(__always)
    func value(_ index: Index) -> UnsafeMutablePointer<Value> {
        precondition(Int(index) < touched)
        return unsafe values + Int(index)
    }

    /// Whether an entry lives at this place.
    func isLive(_ index: Index) -> Bool { unsafe Int(index) < touched && entries[Int(index)].isLive }

    /// When an entry was last used.
    @inline(__always)
    func used(_ index: Index) -> UInt64 {
        precondition(Int(index) < touched)
        return unsafe entries[Int(index)].usedMilliseconds
    }

    /// The port in an entry's key.
    func port(_ index: Index) -> UInt16 {
        precondition(Int(index) < touched)
        return unsafe entries[Int(index)].port
    }

    /// The entry to give up first: the one used longest ago and, of several used in the same millisecond, the one with the smallest
    /// address and then port. At most 32 of those are compared, so that a burst in one millisecond costs no more than that each.
    func firstToGo() -> Index {
        guard oldest != Self.none else { return oldest }
        var best = oldest
        var index = unsafe entries[Int(oldest)].newer
        let moment = used(oldest)
        var compared = 1
        while index != Self.none, compared < 32, used(index) == moment {
            if isSmaller(index, than: best) { best = index }
            index = unsafe entries[Int(index)].newer
            compared &+= 1
        }
        return best
    }

    private func isSmaller(_ left: Index, than right: Index) -> Bool {
        let left = unsafe entries + Int(left)
        let right = unsafe entries + Int(right)
        return unsafe (left.pointee.high, left.pointee.low, left.pointee.port) < (right.pointee.high, right.pointee.low, right.pointee.port)
    }

    // MARK: Changing

    /// Notes that an entry was used now. Time that runs back counts as standing still, so the order holds.
    @inline(__always)
    mutating func use(_ index: Index, nowMilliseconds: UInt64) {
        precondition(Int(index) < touched)
        unsafe entries[Int(index)].usedMilliseconds = max(nowMilliseconds, used(newest))
        guard index != newest else { return }
        unlink(index)
        linkNewest(index)
    }

    /// Adds an entry for a key that is not there, as the newest one. There must be room.
    mutating func insert(_ key: Key, _ value: consuming Value, nowMilliseconds: UInt64) -> Index {
        precondition(count < capacity, "make room first")
        if count == allocated { grow() }
        var index = free
        if index == Self.none {
            index = Index(touched)
            touched &+= 1
        } else {
            unsafe free = entries[Int(index)].next
        }
        let moment = newest == Self.none ? nowMilliseconds : max(nowMilliseconds, used(newest))
        let head = bucket(key.high, key.low, key.port)
        unsafe (values + Int(index)).initialize(to: value)
        unsafe (entries + Int(index)).initialize(
            to: Entry(
                high: key.high, low: key.low, usedMilliseconds: moment, next: heads[head], newer: Self.none, older: Self.none,
                port: key.port))
        unsafe heads[head] = index
        linkNewest(index)
        count &+= 1
        return index
    }

    /// Takes an entry out and returns its value. An empty table has no memory, unless it `keepsMemory` for what comes in its place.
    @discardableResult
    mutating func remove(_ index: Index, keepsMemory: Bool = false) -> Value {
        precondition(Int(index) < touched && count > 0)
        let entry = unsafe entries[Int(index)]
        let head = bucket(entry.high, entry.low, entry.port)
        if unsafe heads[head] == index {
            unsafe heads[head] = entry.next
        } else {
            var before = unsafe Int(heads[head])
            while unsafe entries[before].next != index { before = unsafe Int(entries[before].next) }
            unsafe entries[before].next = entry.next
        }
        unlink(index)
        unsafe entries[Int(index)].next = free
        unsafe entries[Int(index)].isLive = false
        free = index
        count &-= 1
        let value = unsafe (values + Int(index)).move()
        if count == 0, !keepsMemory { release() }
        return value
    }

    @inline(__always)
    private mutating func linkNewest(_ index: Index) {
        unsafe entries[Int(index)].newer = Self.none
        unsafe entries[Int(index)].older = newest
        if newest == Self.none { oldest = index } else { unsafe entries[Int(newest)].newer = index }
        newest = index
    }

    @inline(__always)
    private mutating func unlink(_ index: Index) {
        let newer = unsafe entries[Int(index)].newer
        let older = unsafe entries[Int(index)].older
        if newer == Self.none { newest = older } else { unsafe entries[Int(newer)].older = older }
        if older == Self.none { oldest = newer } else { unsafe entries[Int(older)].newer = newer }
    }

    // MARK: Memory

    private mutating func release() {
        unsafe entries.deallocate()
        unsafe values.deallocate()
        unsafe heads.deallocate()
        (allocated, touched, free) = (0, 0, Self.none)
    }

    /// Doubles the memory. Every entry is in use then, and keeps its index.
    private mutating func grow() {
        let size = max(Self.initialEntries, allocated * 2)
        let largerEntries = UnsafeMutablePointer<Entry>.allocate(capacity: size)
        let largerValues = UnsafeMutablePointer<Value>.allocate(capacity: size)
        unsafe largerEntries.moveInitialize(from: entries, count: count)
        unsafe largerValues.moveInitialize(from: values, count: count)
        if allocated > 0 {
            unsafe entries.deallocate()
            unsafe values.deallocate()
            unsafe heads.deallocate()
        }
        unsafe entries = largerEntries
        unsafe values = largerValues
        unsafe heads = UnsafeMutablePointer<Index>.allocate(capacity: size)
        unsafe heads.initialize(repeating: Self.none, count: size)
        allocated = size
        for index in 0..<count {
            let entry = unsafe entries[index]
            let head = bucket(entry.high, entry.low, entry.port)
            unsafe entries[index].next = heads[head]
            unsafe heads[head] = Index(index)
        }
    }
}
