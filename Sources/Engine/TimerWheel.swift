import CSocket

/// Hierarchical timer wheel in user space: four levels of 64 buckets, one tick a millisecond, so 64⁴ ms (4.6 hours) ahead.
///
/// Theory of operation
/// - A timer is a number (a slot's index, or one of the shard's own beyond them), so setting one allocates nothing: nodes
///   lie in an array and are linked by index.
/// - A timer goes into the lowest level whose span covers its distance. When time reaches a bucket of a higher level its
///   timers move down.
/// - One 64-bit word a level says which buckets are occupied, so the next deadline is found by counting zeros.
/// - Owners re-arm lazily: on activity they store the time; when the timer fires too early they set it again.
struct TimerWheel {
    struct Node {
        var next: UInt32
        var previous: UInt32
        var expiry: UInt64  // milliseconds since the shard's start; 0: not set
    }

    static let none = UInt32.max
    static let levels = 4
    static let bucketsPerLevel = 64
    static let spanMilliseconds: UInt64 = 1 << 24

    private let nodes: UnsafeMutablePointer<Node>
    private let heads: UnsafeMutablePointer<UInt32>  // levels × 64
    private let occupied: UnsafeMutablePointer<UInt64>  // one word a level
    let capacity: Int
    private(set) var current: UInt64 = 0  // the last tick handled
    private(set) var count = 0
    private var due: UInt32 = TimerWheel.none  // list of timers that fired and were not taken yet

    init?(capacity: Int) {
        self.capacity = capacity
        guard let memory = memory_map(capacity * MemoryLayout<Node>.stride) else { return nil }
        nodes = memory.bindMemory(to: Node.self, capacity: capacity)
        heads = .allocate(capacity: Self.levels * Self.bucketsPerLevel)
        heads.initialize(repeating: Self.none, count: Self.levels * Self.bucketsPerLevel)
        occupied = .allocate(capacity: Self.levels)
        occupied.initialize(repeating: 0, count: Self.levels)
    }

    func unmap() {
        memory_unmap(nodes, capacity * MemoryLayout<Node>.stride)
        heads.deallocate()
        occupied.deallocate()
    }

    /// Whether the timer is set.
    @inline(__always)
    func isSet(_ timer: UInt32) -> Bool { nodes[Int(timer)].expiry != 0 }

    /// Sets or moves a timer. Times past are due at the next tick; times beyond the span fire at its end.
    mutating func set(_ timer: UInt32, atMilliseconds wanted: UInt64) {
        clear(timer)
        let expiry = min(max(wanted, current &+ 1), current &+ Self.spanMilliseconds &- 1)
        nodes[Int(timer)].expiry = expiry
        link(timer, expiry)
        count &+= 1
    }

    /// Clears a timer; nothing happens when it is not set.
    mutating func clear(_ timer: UInt32) {
        let node = nodes[Int(timer)]
        guard node.expiry != 0 else { return }
        nodes[Int(timer)].expiry = 0
        count &-= 1
        if node.next != Self.none { nodes[Int(node.next)].previous = node.previous }
        if node.previous & Self.headMark == 0 {
            nodes[Int(node.previous)].next = node.next
        } else if node.previous == Self.dueMark {
            due = node.next
        } else {
            let bucket = Int(node.previous & ~Self.headMark)
            heads[bucket] = node.next
            if node.next == Self.none { occupied[bucket >> 6] &= ~(1 << UInt64(bucket & 63)) }
        }
    }

    /// A `previous` with this bit names a bucket, not a node: the list's head points here.
    private static let headMark: UInt32 = 1 << 31
    private static let dueMark: UInt32 = .max

    private mutating func link(_ timer: UInt32, _ expiry: UInt64) {
        let distance = expiry &- current
        let level = distance < 64 ? 0 : distance < 4096 ? 1 : distance < 262_144 ? 2 : 3
        let position = Int((expiry >> UInt64(6 * level)) & 63)
        let bucket = level * 64 + position
        let first = heads[bucket]
        nodes[Int(timer)].next = first
        nodes[Int(timer)].previous = Self.headMark | UInt32(bucket)
        if first != Self.none { nodes[Int(first)].previous = timer }
        heads[bucket] = timer
        occupied[level] |= 1 << UInt64(position)
    }

    /// The next time something has to be done, or nil when no timer is set.
    func nextDeadline() -> UInt64? { due != Self.none ? current : nextOccupied() }

    private func nextOccupied() -> UInt64? {
        var best: UInt64?
        for level in 0..<Self.levels where occupied[level] != 0 {
            let shift = UInt64(6 * level)
            let position = (current >> shift) & 63
            let word = occupied[level]
            // Rotate so that the bucket after the present one is bit 0.
            let start = (position + 1) & 63
            let rotated = start == 0 ? word : (word >> start) | (word << (64 - start))
            let ahead = UInt64(rotated.trailingZeroBitCount) + 1
            let time = ((current >> shift) + ahead) << shift
            best = min(best ?? .max, time)
        }
        return best
    }

    /// Moves time on; timers that are due are then handed out by `takeDue`.
    mutating func advance(toMilliseconds now: UInt64) {
        while current < now {
            guard let deadline = nextOccupied(), deadline <= now else {
                current = now
                return
            }
            current = deadline
            for level in stride(from: Self.levels - 1, through: 0, by: -1) {
                let shift = UInt64(6 * level)
                // A level's bucket is entered when all lower digits are zero.
                if current & ((1 << shift) &- 1) == 0 { cascade(level, Int((current >> shift) & 63)) }
            }
        }
    }

    private mutating func cascade(_ level: Int, _ position: Int) {
        let bucket = level * 64 + position
        var timer = heads[bucket]
        heads[bucket] = Self.none
        occupied[level] &= ~(1 << UInt64(position))
        while timer != Self.none {
            let next = nodes[Int(timer)].next
            let expiry = nodes[Int(timer)].expiry
            if expiry <= current {
                nodes[Int(timer)].next = due
                nodes[Int(timer)].previous = Self.dueMark
                if due != Self.none { nodes[Int(due)].previous = timer }
                due = timer
            } else {
                link(timer, expiry)
            }
            timer = next
        }
    }

    /// The next timer that fired, or nil. It is no longer set.
    mutating func takeDue() -> UInt32? {
        let timer = due
        guard timer != Self.none else { return nil }
        clear(timer)
        return timer
    }
}
