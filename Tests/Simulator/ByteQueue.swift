import Glibc

/// A socket buffer: bytes in order in a ring of fixed length, which is allocated with the first byte.
struct ByteQueue {
    private(set) var count = 0
    let capacity: Int
    private var head = 0
    private var storage: UnsafeMutableRawPointer?

    init(capacity: Int) { self.capacity = capacity }

    var room: Int { capacity - count }

    /// Appends as much as there is room for; returns how much that was.
    mutating func write(_ source: UnsafeRawPointer, _ wanted: Int) -> Int {
        let count = min(wanted, room)
        guard count > 0 else { return 0 }
        let base: UnsafeMutableRawPointer
        if let storage { base = storage } else {
            base = .allocate(byteCount: capacity, alignment: 16)
            storage = base
        }
        let tail = (head + self.count) % capacity
        let first = min(count, capacity - tail)
        memcpy(base + tail, source, first)
        if first < count { memcpy(base, source + first, count - first) }
        self.count += count
        return count
    }

    /// Takes at most `wanted` bytes; returns how many.
    mutating func read(_ destination: UnsafeMutableRawPointer, _ wanted: Int) -> Int {
        let count = min(wanted, self.count)
        guard count > 0, let storage else { return 0 }
        let first = min(count, capacity - head)
        memcpy(destination, storage + head, first)
        if first < count { memcpy(destination + first, storage, count - first) }
        head = (head + count) % capacity
        self.count -= count
        return count
    }

    mutating func clear() {
        count = 0
        head = 0
    }

    mutating func free() {
        storage?.deallocate()
        storage = nil
        clear()
    }
}
