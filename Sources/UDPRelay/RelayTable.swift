/// Places by index for a shard's sessions or sockets; memory is touched only where a place was ever used.
struct RelayTable<Entry: ~Copyable> {
    private let entries: UnsafeMutablePointer<Entry>
    /// Of a free place the next free one, of a taken place `taken`.
    private let links: UnsafeMutablePointer<UInt32>
    let capacity: Int
    private(set) var touched = 0
    private(set) var used = 0
    private var freeHead = RelaySession.none

    private static var taken: UInt32 { UInt32.max - 1 }

    init(capacity: Int) {
        precondition(capacity < Int(Self.taken))
        self.capacity = capacity
        entries = .allocate(capacity: capacity)
        links = .allocate(capacity: capacity)
    }

    /// Frees the memory. Every place must be free.
    func destroy() {
        precondition(used == 0)
        entries.deallocate()
        links.deallocate()
    }

    @inline(__always)
    subscript(_ index: UInt32) -> UnsafeMutablePointer<Entry> { entries + Int(index) }

    /// Whether there is an entry at a place below `touched`.
    func isTaken(_ index: UInt32) -> Bool { links[Int(index)] == Self.taken }

    /// A place, not initialised; nil when all are taken.
    mutating func take() -> UInt32? {
        let index: UInt32
        if freeHead != RelaySession.none {
            index = freeHead
            freeHead = links[Int(index)]
        } else {
            guard touched < capacity else { return nil }
            index = UInt32(touched)
            touched += 1
        }
        links[Int(index)] = Self.taken
        used += 1
        return index
    }

    /// Gives a place back, and what is in it.
    mutating func put(_ index: UInt32) {
        precondition(isTaken(index), "a place is given back once")
        (entries + Int(index)).deinitialize(count: 1)
        links[Int(index)] = freeHead
        freeHead = index
        used -= 1
    }
}
