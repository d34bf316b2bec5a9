import Engine
import HTTP
import Wire

/// A question that is with the upstreams, and who waits for its answer.
///
/// ```
/// waiting for a name ─► datagram ─► TCP (the answer was cut) ─► answered
///                    └► queued for a connection ─► DoH ───────► answered
///        any of them ─► the next upstream ─► … ─► failed when there is none
/// ```
struct Exchange {
    enum Phase: UInt8 {
        case free
        case naming  // its upstream's name is being looked up
        case datagram
        case stream
        case queued  // all connections of its upstream are busy
        case https
        case finished  // its waiters are being answered
    }

    var phase = Phase.free
    /// The order in which upstreams are asked (`DNSService.plans`), the place in it, and the number of the one there.
    var plan = 0
    var step = 0
    var upstream = 0
    /// Which of the present upstream's addresses is asked, and how many were before in the present attempt.
    var place = 0
    var trials = 0
    var slot = SlotIndex.none
    /// Identifier of the present attempt.
    var identifier: UInt16 = 0
    /// The traits of the query; nil: its answer is not kept.
    var traits: DNSQuery.Traits?
    var question = DNSQuery.none
    /// Query, canonical name, `traceparent`, `tracestate`: one block, or nil.
    var block: UnsafeMutableRawPointer?
    var queryBytes = 0
    var nameBytes = 0
    var traceParentBytes = 0
    var traceStateBytes = 0
    /// The bytes of a stream, length in front; later the answer.
    var input: UnsafeMutableRawPointer?
    var inputBytes = 0
    var inputCapacity = 0
    /// Where in `input` the answer stands; none when all upstreams failed.
    var answer = 0..<0
    var attemptNanoseconds: UInt64 = 0
    var deadlineMilliseconds: UInt64 = 0
    /// When even the last upstream is given up.
    var endMilliseconds: UInt64 = 0
    var hash: UInt64 = 0
    var chain = UInt32.max
    /// The next in the list this exchange is in: free, queued or finished.
    var next = UInt32.max
    var firstWaiter = UInt32.max
    var lastWaiter = UInt32.max
    var waiterCount = 0

    var query: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: block, count: queryBytes) }
    var name: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: block.map { $0 + queryBytes }, count: nameBytes) }
    var traceParent: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: block.map { $0 + queryBytes + nameBytes }, count: traceParentBytes)
    }
    var traceState: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: block.map { $0 + queryBytes + nameBytes + traceParentBytes }, count: traceStateBytes)
    }

    /// Appends received bytes; false when they exceed `limit`.
    mutating func append(_ bytes: UnsafeRawBufferPointer, limit: Int) -> Bool {
        guard bytes.count <= limit - inputBytes else { return false }
        if inputBytes + bytes.count > inputCapacity {
            inputCapacity = min(limit, max(2 * inputCapacity, inputBytes + bytes.count))
            let larger = UnsafeMutableRawPointer.allocate(byteCount: inputCapacity, alignment: 1)
            if let input {
                larger.copyMemory(from: input, byteCount: inputBytes)
                input.deallocate()
            }
            input = larger
        }
        if let address = bytes.baseAddress, let input { (input + inputBytes).copyMemory(from: address, byteCount: bytes.count) }
        inputBytes += bytes.count
        return true
    }

    mutating func dropInput() {
        input?.deallocate()
        input = nil
        inputBytes = 0
        inputCapacity = 0
    }
}

extension DNSQuery {
    /// Nothing asked yet.
    static let none = DNSQuery(identifier: 0, flags: 0, type: 0, recordClass: 0, end: 0)
}

/// A client that waits for an exchange.
struct Waiter {
    var exchange = UInt32.max
    var next = UInt32.max
    var identifier: UInt16 = 0
    var isDocument = false  // /dns-json
    /// One of the session's, until it is answered.
    var place: Unmanaged<ConnectionQuota.Entry>?
}

/// A list of indices, first in, first out, linked through the elements' own `next`.
struct IndexQueue {
    var head = UInt32.max
    var tail = UInt32.max
    var isEmpty: Bool { head == .max }

    mutating func append(_ index: UInt32, _ table: UnsafeMutablePointer<Exchange>) {
        table[Int(index)].next = .max
        if tail == .max { head = index } else { table[Int(tail)].next = index }
        tail = index
    }

    mutating func removeFirst(_ table: UnsafeMutablePointer<Exchange>) -> UInt32? {
        guard head != .max else { return nil }
        let index = head
        head = table[Int(index)].next
        if head == .max { tail = .max }
        return index
    }

    mutating func remove(_ index: UInt32, _ table: UnsafeMutablePointer<Exchange>) {
        var previous = UInt32.max
        var current = head
        while current != .max, current != index {
            previous = current
            current = table[Int(current)].next
        }
        guard current == index else { return }
        let next = table[Int(index)].next
        if previous == .max { head = next } else { table[Int(previous)].next = next }
        if tail == index { tail = previous }
    }
}
