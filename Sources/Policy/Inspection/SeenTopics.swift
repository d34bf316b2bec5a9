// Topics a client published to before, with what it may publish there.
//
// A device publishes to a handful of topics, again and again. What its rules say of one is found out once and kept with the text, so
// that the next message costs a comparison instead of a walk over all rules. A topic has one place; another of that place takes it.
//
//      place: | bytes 1 | rights 1 | text 62 |       64 bytes, 8 places

/// What is known of topics. Memory exists from the first topic on.
@safe struct SeenTopics {
    private var places: UnsafeMutableRawPointer?

    /// Places: more than most clients have topics, and half a kilobyte.
    private static let count = 8
    private static let placeBytes = 64
    /// Longest topic that is kept.
    static let maximumBytes = placeBytes - 2

    init() { unsafe places = nil }

    /// Gives back the memory.
    mutating func release() {
        if let places = unsafe places { unsafe places.deallocate() }
        unsafe places = nil
    }

    /// The rights for a topic that was seen; nil for another.
    @inline(__always)
    func rights(_ topic: UnsafeBufferPointer<UInt8>) -> TopicPublishRights? {
        guard let places = unsafe places, let text = topic.baseAddress, topic.count <= Self.maximumBytes else { return nil }
        let place = unsafe places + Self.place(text, topic.count)
        guard unsafe Int(place.load(as: UInt8.self)) == topic.count, topic.count > 0,
            unsafe Self.isEqual(UnsafeRawPointer(text), UnsafeRawPointer(place + 2), topic.count)
        else { return nil }
        return unsafe TopicPublishRights(bits: place.load(fromByteOffset: 1, as: UInt8.self))
    }

    /// Keeps what was found out of a topic.
    mutating func keep(_ topic: UnsafeBufferPointer<UInt8>, _ rights: TopicPublishRights) {
        guard let text = topic.baseAddress, topic.count > 0, topic.count <= Self.maximumBytes else { return }
        if unsafe places == nil { allocate() }
        let place = unsafe places.unsafelyUnwrapped + Self.place(text, topic.count)
        unsafe place.storeBytes(of: UInt8(topic.count), as: UInt8.self)
        unsafe place.storeBytes(of: rights.bits, toByteOffset: 1, as: UInt8.self)
        unsafe (place + 2).copyMemory(from: text, byteCount: topic.count)
    }

    /// Once for each session.
    @inline(never)
    private mutating func allocate() {
        let fresh = UnsafeMutableRawPointer.allocate(byteCount: Self.count * Self.placeBytes, alignment: 8)
        unsafe fresh.initializeMemory(as: UInt8.self, repeating: 0, count: Self.count * Self.placeBytes)
        unsafe places = unsafe fresh
    }

    /// Where a topic belongs: topics of one client differ in length and towards their ends.
    @inline(__always)
    private static func place(_ text: UnsafePointer<UInt8>, _ count: Int) -> Int {
        let last = unsafe Int(text[count &- 1]) &+ Int(text[count / 2]) &* 3 &+ Int(text[max(0, count &- 4)]) &* 5
        return ((count &+ last) & (Self.count - 1)) &* placeBytes
    }

    @inline(__always)
    private static func isEqual(_ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ count: Int) -> Bool {
        guard count >= 8 else {
            for index in 0..<count where unsafe left.load(fromByteOffset: index, as: UInt8.self)
                != right.load(fromByteOffset: index, as: UInt8.self) { return false }
            return true
        }
        var index = 0
        while index &+ 8 <= count {
            guard unsafe left.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                == right.loadUnaligned(fromByteOffset: index, as: UInt64.self) else { return false }
            index &+= 8
        }
        // The last eight bytes, some of them again.
        return unsafe left.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
            == right.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
    }
}
