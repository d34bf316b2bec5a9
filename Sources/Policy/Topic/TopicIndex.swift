// Theory of operation
//
//      rules      plant/+/temperature    plant/7/#    office/#
//
//      levels     root ─plant─► 1 ─+─► 2 ─temperature─► 3: first rule
//                     │           └─7─► 4, #: second rule
//                     └─office─► 5, #: third rule
//
// Filters that share levels share the way to them, so that asking for a topic costs a few steps for each of its levels, however many
// filters there are: a device that publishes to a thousand topics pays the same for each. Named levels are found in one table for all
// nodes, by their first eight bytes, their length and the node they hang on. A wildcard beside a named level is the only fork, and a
// node is visited once at most.
//
// What is found is the lowest number of an entry that fits, because the first that fits decides. Where all entries allow, any will do.
// The index is as large as its filters have levels; beyond its bounds there is none, and filters are compared one by one.

import Wire

/// Finds the first of many filters that a topic name matches. A view of memory of its own; never changed after it was made.
@safe struct TopicIndex {
    /// 8 bytes.
    private struct Node {
        /// The node behind `+`; 0: none, for the root is behind nothing.
        var any: UInt16 = 0
        /// The lowest entry that ends here, and with `#` here.
        var exact = TopicIndex.none
        var rest = TopicIndex.none
        var hasNamed = false
    }

    /// A named level. 16 bytes.
    private struct Edge {
        /// Its first eight bytes, the first lowest.
        var word: UInt64 = 0
        /// Where it stands in the text of all patterns.
        var start: UInt16 = 0
        var count: UInt16 = 0
        var parent: UInt16 = 0
        /// 0: the place is free.
        var node: UInt16 = 0
    }

    /// No entry.
    static let none = UInt16.max
    /// Most nodes: 20 rules have a hundred, which take 4 KiB, and so many take 80.
    static let maximumNodes = 2048
    /// Deepest filter; it bounds the forks that are open at a time.
    static let maximumDepth = 32

    private let nodes: UnsafeMutablePointer<Node>
    private let edges: UnsafeMutablePointer<Edge>
    private let edgeMask: Int
    private let text: UnsafePointer<UInt8>
    /// The lowest entry that fits every topic.
    private let everything: UInt16
    /// Whether the first entry that is found may be taken.
    private let anyWillDo: Bool

    /// An index of those of `entries[range]` that are about publishing, which live in `text`; nil when they cannot be indexed.
    init?(_ entries: [TopicEntry], _ range: Range<Int>, text: UnsafePointer<UInt8>) {
        let chosen = range.filter { entries[$0].actions.contains(.publish) }
        guard chosen.allSatisfy({ entries[$0].form != .routingKey }) else { return nil }
        var levels = 1
        for number in chosen {
            let depth = unsafe Self.levels(of: entries[number], text).count
            guard depth <= Self.maximumDepth else { return nil }
            levels += depth
        }
        // Places in the text are numbers of two bytes as well.
        guard levels <= Self.maximumNodes, chosen.allSatisfy({ entries[$0].start + entries[$0].count <= UInt16.max }) else { return nil }
        let places = 1 << (Int.bitWidth - (2 * levels - 1).leadingZeroBitCount)
        unsafe nodes = .allocate(capacity: levels)
        unsafe nodes.initialize(repeating: Node(), count: levels)
        unsafe edges = .allocate(capacity: places)
        unsafe edges.initialize(repeating: Edge(), count: places)
        edgeMask = places - 1
        unsafe self.text = unsafe text
        everything = chosen.first { entries[$0].form == .everything }.map { UInt16($0) } ?? Self.none
        anyWillDo = chosen.allSatisfy { entries[$0].allows }
        var used: UInt16 = 1
        for number in chosen where entries[number].form != .everything { insert(entries[number], UInt16(number), &used) }
    }

    func deallocate() {
        unsafe nodes.deallocate()
        unsafe edges.deallocate()
    }

    // MARK: Building

    /// Where the levels of an entry's pattern lie in the text.
    private static func levels(of entry: TopicEntry, _ text: UnsafePointer<UInt8>) -> [Range<Int>] {
        let end = Int(entry.start + entry.count)
        var levels: [Range<Int>] = []
        var start = Int(entry.start)
        for place in start...end where unsafe place == end || text[place] == UInt8(ascii: "/") {
            levels.append(start..<place)
            start = place + 1
        }
        return levels
    }

    private func insert(_ entry: TopicEntry, _ number: UInt16, _ used: inout UInt16) {
        var node = 0
        for level in unsafe Self.levels(of: entry, text) {
            let first = unsafe level.count == 1 && entry.form == .filter ? text[level.lowerBound] : 0
            if first == UInt8(ascii: "#") {
                unsafe nodes[node].rest = unsafe min(nodes[node].rest, number)
                return
            }
            var next = first == UInt8(ascii: "+") ? unsafe nodes[node].any : unsafe named(node, text + level.lowerBound, level.count)
            if next == 0 {
                next = used
                used += 1
                if first == UInt8(ascii: "+") { unsafe nodes[node].any = next } else { add(level, below: node, next) }
            }
            node = Int(next)
        }
        unsafe nodes[node].exact = unsafe min(nodes[node].exact, number)
    }

    private func add(_ level: Range<Int>, below node: Int, _ next: UInt16) {
        let word = unsafe Self.word(text + level.lowerBound, level.count)
        var place = Self.hash(node, word, level.count) & edgeMask
        while unsafe edges[place].node != 0 { place = (place + 1) & edgeMask }
        unsafe edges[place] = Edge(
            word: word, start: UInt16(level.lowerBound), count: UInt16(level.count), parent: UInt16(node), node: next)
        unsafe nodes[node].hasNamed = true
    }

    // MARK: Asking

    /// The lowest entry that fits a topic name; `none` when none does.
    @inline(__always)
    func first(_ topic: Span<UInt8>) -> UInt16 {
        unsafe topic.withUnsafeBufferPointer { unsafe find($0.baseAddress.unsafelyUnwrapped, $0.count, 0, 0, everything) }
    }

    /// Goes on below `start`, whose levels end in front of `offset`; `offset` is beyond `count` when the name has no more.
    private func find(_ name: UnsafePointer<UInt8>, _ count: Int, _ start: Int, _ begin: Int, _ known: UInt16) -> UInt16 {
        var (best, node, offset) = (known, start, begin)
        while true {
            let place = unsafe nodes + node
            // No wildcard in front stands for a name that begins with `$`.
            let isReserved = unsafe node == 0 && name[0] == UInt8(ascii: "$")
            if !isReserved { best = unsafe min(best, place.pointee.rest) }
            if offset > count { return unsafe min(best, place.pointee.exact) }
            if best != Self.none, anyWillDo { return best }
            let end = unsafe Self.levelEnd(name, offset, count)
            let below = unsafe place.pointee.hasNamed ? Int(named(node, name + offset, end &- offset)) : 0
            let any = isReserved ? 0 : unsafe Int(place.pointee.any)
            offset = end &+ 1
            if below == 0, any == 0 { return best }
            if below != 0, any != 0 { best = unsafe find(name, count, any, offset, best) }
            node = below != 0 ? below : any
        }
    }

    /// The node behind a level with this name; 0 when there is none.
    @inline(__always)
    private func named(_ node: Int, _ level: UnsafePointer<UInt8>, _ count: Int) -> UInt16 {
        let word = unsafe Self.word(level, count)
        var place = Self.hash(node, word, count) & edgeMask
        while true {
            let edge = unsafe edges + place
            if unsafe edge.pointee.node == 0 { return 0 }
            if unsafe edge.pointee.word == word && Int(edge.pointee.count) == count && Int(edge.pointee.parent) == node {
                if unsafe count <= 8 || Self.areEqual(level + 8, text + (Int(edge.pointee.start) &+ 8), count &- 8) {
                    return unsafe edge.pointee.node
                }
            }
            place = (place &+ 1) & edgeMask
        }
    }

    @inline(__always)
    private static func hash(_ node: Int, _ word: UInt64, _ count: Int) -> Int {
        // Odd numbers without a pattern; the product's upper bits depend on all of the factors'.
        let mixed = (word ^ UInt64(truncatingIfNeeded: node &* 256 &+ count) &* 0x9E37_79B9_7F4A_7C15) &* 0xD6E8_FEB8_6659_FD93
        return Int(truncatingIfNeeded: mixed &>> 40)
    }

    /// The first eight bytes of a level, as many as there are.
    @inline(__always)
    private static func word(_ level: UnsafePointer<UInt8>, _ count: Int) -> UInt64 {
        let raw = unsafe UnsafeRawPointer(level)
        if count >= 8 { return unsafe UInt64(littleEndian: raw.loadUnaligned(as: UInt64.self)) }
        if count >= 4 {
            let low = unsafe UInt64(UInt32(littleEndian: raw.loadUnaligned(as: UInt32.self)))
            let high = unsafe UInt64(UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)))
            return low | high &<< UInt64(8 &* (count &- 4))
        }
        if count == 0 { return 0 }
        // One to three bytes: the first, the middle and the last, some of them the same.
        return unsafe UInt64(level[0]) | UInt64(level[count / 2]) &<< UInt64(8 &* (count / 2))
            | UInt64(level[count &- 1]) &<< UInt64(8 &* (count &- 1))
    }

    /// Where the level that begins at `offset` ends: at a slash or at `count`.
    @inline(__always)
    private static func levelEnd(_ name: UnsafePointer<UInt8>, _ offset: Int, _ count: Int) -> Int {
        var place = offset
        while place &+ 8 <= count {
            let found = unsafe slashes(UnsafeRawPointer(name + place).loadUnaligned(as: UInt64.self).littleEndian)
            if found != 0 { return place &+ found.trailingZeroBitCount / 8 }
            place &+= 8
        }
        while unsafe place < count && name[place] != UInt8(ascii: "/") { place &+= 1 }
        return place
    }

    /// The high bit of the first byte that is a slash, and perhaps of bytes behind it; 0 without one.
    @inline(__always)
    private static func slashes(_ word: UInt64) -> UInt64 {
        let odd = word ^ 0x2F2F_2F2F_2F2F_2F2F
        return (odd &- 0x0101_0101_0101_0101) & ~odd & 0x8080_8080_8080_8080
    }

    @inline(__always)
    private static func areEqual(_ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        for index in 0..<count where unsafe left[index] != right[index] { return false }
        return true
    }
}
