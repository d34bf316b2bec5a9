// Log records on their way from a shard to the control thread.
//
// Theory of operation. One shard writes, the control thread reads; nothing else touches a ring. It holds whole lines,
// back to back, in a fixed memory. `written` and `read` count bytes since the start and never wrap in practice (64 bits);
// their difference is what is in the ring, and their remainder is the place in memory:
//
//        0                 read % capacity        written % capacity            capacity
//        │                       │▒▒▒▒▒▒▒▒ lines ▒▒▒▒▒▒▒▒│                        │
//
// The producer publishes a line by one release store of `written`, after copying all of it: the consumer never sees
// half a line. A line that does not fit is dropped and counted: a shard never waits for a slow terminal or pipe.

import Synchronization

/// A fixed byte ring of complete lines with one producer and one consumer.
public final class LogRing: @unchecked Sendable {
    // Unchecked: `memory` is only written between `written` and `read + capacity` by the producer, and only read
    // between `read` and `written` by the consumer; the atomics order these accesses.
    private let memory: UnsafeMutableRawPointer
    /// Bytes of the ring; a power of two.
    public let capacityBytes: Int
    private let written = Atomic<Int>(0)
    private let read = Atomic<Int>(0)
    private let droppedRecords = Atomic<Int>(0)

    /// A ring of at least `capacityBytes`, rounded up to a power of two (and at least 4 KiB).
    public init(capacityBytes: Int) {
        precondition(capacityBytes <= 1 << 30, "a log ring holds at most 1 GiB")
        var capacity = 4096
        while capacity < capacityBytes { capacity <<= 1 }
        self.capacityBytes = capacity
        memory = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 64)
    }

    deinit { memory.deallocate() }

    /// Records dropped since the start because the ring was full. Any thread.
    public var dropped: Int { droppedRecords.load(ordering: .relaxed) }

    /// Appends one complete line, or drops it. Producer only.
    /// - Returns: whether the line was taken.
    @discardableResult
    public func append(_ line: UnsafeRawBufferPointer) -> Bool {
        guard let source = line.baseAddress else { return true }
        let position = written.load(ordering: .relaxed)
        let free = capacityBytes - (position - read.load(ordering: .acquiring))
        guard line.count <= free else {
            droppedRecords.add(1, ordering: .relaxed)
            return false
        }
        let offset = position & (capacityBytes - 1)
        let first = min(line.count, capacityBytes - offset)
        (memory + offset).copyMemory(from: source, byteCount: first)
        if first < line.count { memory.copyMemory(from: source + first, byteCount: line.count - first) }
        written.store(position + line.count, ordering: .releasing)
        return true
    }

    /// Hands everything that was published, in at most two pieces, to `body` and frees what it took. Consumer only.
    /// - Parameter body: takes bytes, returns how many it consumed; fewer than offered ends the drain.
    /// - Returns: bytes consumed.
    @discardableResult
    public func drain(_ body: (UnsafeRawBufferPointer) -> Int) -> Int {
        let end = written.load(ordering: .acquiring)
        let start = read.load(ordering: .relaxed)
        var position = start
        while position < end {
            let offset = position & (capacityBytes - 1)
            let count = min(end - position, capacityBytes - offset)
            let taken = body(UnsafeRawBufferPointer(start: memory + offset, count: count))
            precondition(taken >= 0 && taken <= count, "more consumed than offered")
            position += taken
            read.store(position, ordering: .releasing)
            if taken < count { break }
        }
        return position - start
    }

    /// Bytes waiting. Exact for the consumer, a snapshot for anyone else.
    public var pendingBytes: Int {
        written.load(ordering: .acquiring) - read.load(ordering: .acquiring)
    }
}
