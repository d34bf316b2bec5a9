import Engine

/// Places for a shard's WebSockets or streams, by index; memory is touched only where a place was ever used.
struct MuxTable<Entry> {
    let entries: UnsafeMutablePointer<Entry>
    let capacity: Int
    private(set) var touched = 0
    private(set) var used = 0
    private var freeHead = MuxSocket.none

    init(capacity: Int) {
        self.capacity = capacity
        entries = .allocate(capacity: capacity)
    }

    /// A place, not initialised; nil when all are taken. `next` tells the free list's link in a freed entry.
    mutating func take(next: (UnsafeMutablePointer<Entry>) -> UInt32) -> UInt32? {
        let index: UInt32
        if freeHead != MuxSocket.none {
            index = freeHead
            freeHead = next(entries + Int(index))
        } else {
            guard touched < capacity else { return nil }
            index = UInt32(touched)
            touched += 1
        }
        used += 1
        return index
    }

    /// Gives a place back; returns the link to store in it.
    mutating func put(_ index: UInt32) -> UInt32 {
        let link = freeHead
        freeHead = index
        used -= 1
        return link
    }
}

/// Finds the stream of a WebSocket by the number the client gave it: one table a shard, chained through the streams.
struct MuxIndex {
    private let heads: UnsafeMutablePointer<UInt32>
    private let count: Int
    private let shift: UInt64
    /// Odd and random, so that nobody can choose numbers that share a chain.
    private let factor = UInt64.random(in: 0...UInt64.max) | 1

    init(capacity: Int) {
        var bits: UInt64 = 4
        while 1 << bits < capacity { bits += 1 }
        shift = 64 - bits
        count = 1 << bits
        heads = .allocate(capacity: count)
        heads.initialize(repeating: MuxSocket.none, count: count)
    }

    func destroy() { heads.deallocate() }

    @inline(__always)
    private func place(_ socket: UInt32, _ identifier: UInt32) -> Int {
        Int(truncatingIfNeeded: ((UInt64(socket) &<< 32 | UInt64(identifier)) &* factor) &>> shift)
    }

    @inline(__always)
    func find(_ socket: UInt32, _ identifier: UInt32, _ streams: UnsafeMutablePointer<MuxStream>) -> UInt32 {
        var index = heads[place(socket, identifier)]
        while index != MuxSocket.none {
            let stream = streams + Int(index)
            if stream.pointee.identifier == identifier, stream.pointee.socket == socket { return index }
            index = stream.pointee.hashNext
        }
        return index
    }

    func insert(_ index: UInt32, _ streams: UnsafeMutablePointer<MuxStream>) {
        let stream = streams + Int(index)
        let head = heads + place(stream.pointee.socket, stream.pointee.identifier)
        stream.pointee.hashNext = head.pointee
        head.pointee = index
    }

    func remove(_ index: UInt32, _ streams: UnsafeMutablePointer<MuxStream>) {
        let stream = streams + Int(index)
        let head = heads + place(stream.pointee.socket, stream.pointee.identifier)
        if head.pointee == index {
            head.pointee = stream.pointee.hashNext
            return
        }
        var previous = head.pointee
        while streams[Int(previous)].hashNext != index { previous = streams[Int(previous)].hashNext }
        streams[Int(previous)].hashNext = stream.pointee.hashNext
    }
}
