// Topic aliases of MQTT 5 (section 3.3.2.3.4): a number that stands for a topic sent earlier on the same connection.
//
// The text behind an alias is not kept, only what may be published to it: one byte for each alias the broker admits. A
// PUBLISH that is refused still sets its alias here, to no rights at all, because the broker never sees it: what the client means by
// the alias from then on is refused at any QoS, and what the broker means by it is not used before both agree again.

/// What the aliases of a session stand for. Memory exists from the first alias on.
@safe public struct TopicAliases {
    private var rights: UnsafeMutablePointer<UInt8>?
    /// Highest alias the broker takes; 0 until its CONNACK says more.
    private var maximum: UInt16 = 0

    /// In each byte that was ever set, beside the six bits of the rights.
    private static let isSet: UInt8 = 0x80

    /// No aliases.
    public init() { unsafe rights = nil }

    /// The broker's Topic Alias Maximum, from its CONNACK.
    public mutating func admit(upTo maximum: UInt16) {
        release()
        self.maximum = maximum
    }

    /// Gives back the memory.
    public mutating func release() {
        if let rights = unsafe rights { unsafe rights.deallocate() }
        unsafe rights = nil
    }

    /// Remembers what may be published to the topic that came with an alias. False when the broker admits no such alias: a
    /// protocol error.
    public mutating func set(_ alias: UInt16, _ topic: TopicPublishRights) -> Bool {
        guard alias != 0, alias <= maximum else { return false }
        if unsafe rights == nil { allocate() }
        unsafe rights.unsafelyUnwrapped[Int(alias)] = topic.bits | Self.isSet
        return true
    }

    /// Once for each session that uses aliases.
    @inline(never)
    private mutating func allocate() {
        let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(maximum) + 1)
        unsafe fresh.initialize(repeating: 0, count: Int(maximum) + 1)
        unsafe rights = unsafe fresh
    }

    /// Remembers that the broker did not see what an alias stands for. False as with `set`.
    public mutating func refuse(_ alias: UInt16) -> Bool { set(alias, .none) }

    /// The verdict on a PUBLISH that names an alias and no topic; malformed when the alias stands for none: a protocol error.
    public func verdict(_ alias: UInt16, qos: UInt8, isRetained: Bool) -> TopicVerdict {
        guard alias != 0, alias <= maximum, let rights = unsafe rights else { return .malformed }
        let byte = unsafe rights[Int(alias)]
        guard byte & Self.isSet != 0 else { return .malformed }
        return TopicPublishRights(bits: byte & 0x3F).contains(qos: qos, isRetained: isRetained) ? .allowed : .denied
    }
}
