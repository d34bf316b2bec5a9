// Theory of operation
//
//      settings of the route ─┐
//      claims of the token ───┼── at CONNECT ──►  entries | entries | entries      one list for each source
//      user name, client id ──┘                   text of all patterns, end to end
//
// What a client may do with topics is decided by its token, so it is compiled once, into at most 256 entries in one piece of
// memory. The first entry of a source that fits decides; if none does, the answer is no. Filters are found through an index when
// something is published, everything else is walked over. Nothing is allocated or counted: sessions hold the table, a few words that
// point into the memory, beside the object that owns it.
//
// An entry that allows must contain all that is asked for. One that denies must only have something in common with it: a
// subscription to `#` is refused by a denial of `secret/#` in front.

import Wire

/// An answer about a topic or filter.
public enum TopicVerdict: Sendable, Hashable {
    case allowed
    case denied
    /// It is no topic name, or no filter: an error of the protocol.
    case malformed
}

/// Which messages may be published to a topic: one bit for each QoS, retained or not.
public struct TopicPublishRights: Sendable, Hashable {
    let bits: UInt8

    static let none = TopicPublishRights(bits: 0)
    static let all = TopicPublishRights(bits: 0x3F)

    init(bits: UInt8) { self.bits = bits }

    private static func bit(_ qos: UInt8, _ isRetained: Bool) -> UInt8 { (1 << (qos & 3)) << (isRetained ? 3 : 0) }

    mutating func insert(qos: UInt8, isRetained: Bool) { self = TopicPublishRights(bits: bits | Self.bit(qos, isRetained)) }

    /// Whether this message is among them; `qos` is 0, 1 or 2.
    @inline(__always)
    public func contains(qos: UInt8, isRetained: Bool) -> Bool { bits & Self.bit(qos, isRetained) != 0 }
}

/// One compiled entry. 32 bytes.
struct TopicEntry {
    enum Form: UInt8 {
        /// A filter of MQTT.
        case filter
        /// A text that is compared as it stands.
        case literal
        /// A routing key with `WildcardPattern.anyRun` for wildcards.
        case routingKey
        /// Everything: the place of a denial that cannot be evaluated.
        case everything
    }

    struct Actions: OptionSet {
        let rawValue: UInt8
        static let publish = Actions(rawValue: 1)
        static let subscribe = Actions(rawValue: 2)
        static let both: Actions = [.publish, .subscribe]
    }

    var form: Form
    var actions: Actions
    var allows: Bool
    /// Bit n: QoS n.
    var qosMask: UInt8 = 7
    /// Bit 0: messages that are not retained; bit 1: those that are. Of no meaning for subscriptions.
    var retainMask: UInt8 = 3
    var start: UInt32 = 0
    var count: UInt32 = 0
    /// What every topic that fits begins with, at most eight bytes, and the bits of it that count: most entries fit nothing that
    /// comes, and are passed over by one comparison.
    var prefix: UInt64 = 0
    var prefixMask: UInt64 = 0

    /// Fills in what topics must begin with.
    mutating func setPrefix(_ pattern: Span<UInt8>) {
        var bytes = 0
        while bytes < min(pattern.count, 8), isFixed(pattern[bytes]) {
            prefix |= UInt64(pattern[bytes]) << UInt64(8 * bytes)
            prefixMask |= 0xFF << UInt64(8 * bytes)
            bytes += 1
        }
        // `a/#` fits `a`, too.
        if form == .filter, bytes > 0, bytes < pattern.count, pattern[bytes] == UInt8(ascii: "#") {
            prefix &= ~(0xFF << UInt64(8 * (bytes - 1)))
            prefixMask &= ~(0xFF << UInt64(8 * (bytes - 1)))
        }
    }

    /// Whether a byte of the pattern stands for itself in a topic.
    private func isFixed(_ byte: UInt8) -> Bool {
        switch form {
        case .everything: false
        case .literal: true
        case .filter: byte != UInt8(ascii: "+") && byte != UInt8(ascii: "#")
        case .routingKey: byte != WildcardPattern.anyRun && byte != UInt8(ascii: ".")
        }
    }
}

/// The rights of one session. It owns the memory that `table` points into.
public final class TopicRights: Sendable {
    /// Most entries of all sources together.
    public static let maximumEntries = 256
    /// Most bytes of patterns of all entries together.
    public static let maximumPatternBytes = 65_536

    /// What decisions are asked of. Valid as long as this object.
    public let table: TopicTable
    /// Entries of the token that were left out: malformed, with values that may not be put in, or too many.
    public let ignoredEntries: Int

    /// Compiles the rights of a client.
    public init(_ settings: TopicSettings, _ identity: TopicIdentity) {
        var compiler = TopicCompiler(settings, identity)
        var ends: [Int] = []
        for mode in [TopicSettings.Modes.scopes, .acl, .rules] {
            if settings.modes.contains(mode) { compiler.compile(mode) }
            ends.append(compiler.entries.count)
        }
        table = TopicTable(settings, compiler.entries, compiler.text, ends)
        ignoredEntries = compiler.ignored
    }

    deinit { table.deallocate() }
}

/// Compiled rights, as sessions hold them: a view of memory that `TopicRights` owns. Never changed after it was made. 56 bytes.
@safe public struct TopicTable: @unchecked Sendable {
    private let entries: UnsafeMutablePointer<TopicEntry>
    private let text: UnsafeMutablePointer<UInt8>
    private let textCount: UInt32
    /// Where the entries of scopes, of the list and of the rules end.
    private let scopesEnd: UInt32
    private let aclEnd: UInt32
    private let rulesEnd: UInt32
    private let modes: TopicSettings.Modes
    private let needsAll: Bool
    /// Whether some entry asks for QoS or retention.
    private let hasConditions: Bool
    /// Where no entry does: what the list and the rules say of publishing.
    private let aclIndex: UnsafePointer<TopicIndex>?
    private let rulesIndex: UnsafePointer<TopicIndex>?
    /// Whether asking for a topic costs a few steps, however many entries there are.
    let isIndexed: Bool

    init(_ settings: TopicSettings, _ entries: [TopicEntry], _ text: [UInt8], _ ends: [Int]) {
        unsafe self.entries = .allocate(capacity: max(entries.count, 1))
        unsafe self.text = .allocate(capacity: max(text.count, 1))
        for (index, entry) in entries.enumerated() {
            var entry = entry
            entry.setPrefix(text.span.extracting(Int(entry.start)..<Int(entry.start + entry.count)))
            unsafe (self.entries + index).initialize(to: entry)
        }
        for (index, byte) in text.enumerated() { unsafe (self.text + index).initialize(to: byte) }
        textCount = UInt32(text.count)
        scopesEnd = UInt32(ends[0])
        aclEnd = UInt32(ends[1])
        rulesEnd = UInt32(ends[2])
        modes = settings.modes
        needsAll = settings.combination == .all
        hasConditions = entries.contains { $0.qosMask != 7 || $0.retainMask != 3 }
        let acl = unsafe hasConditions ? nil : TopicIndex(entries, ends[0]..<ends[1], text: self.text)
        let rules = unsafe hasConditions ? nil : TopicIndex(entries, ends[1]..<ends[2], text: self.text)
        isIndexed = ends[0] == 0 && acl != nil && rules != nil
        unsafe aclIndex = unsafe Self.kept(acl)
        unsafe rulesIndex = unsafe Self.kept(rules)
    }

    private static func kept(_ index: TopicIndex?) -> UnsafePointer<TopicIndex>? {
        guard let index else { return nil }
        let place = UnsafeMutablePointer<TopicIndex>.allocate(capacity: 1)
        unsafe place.initialize(to: index)
        return unsafe UnsafePointer(place)
    }

    func deallocate() {
        unsafe aclIndex?.pointee.deallocate()
        unsafe aclIndex?.deallocate()
        unsafe rulesIndex?.pointee.deallocate()
        unsafe rulesIndex?.deallocate()
        unsafe entries.deallocate()
        unsafe text.deallocate()
    }

    /// Number of entries.
    public var count: Int { Int(rulesEnd) }

    /// Whether a message may be published: a PUBLISH with its own topic, or a will.
    public func publish(_ topic: Span<UInt8>, qos: UInt8, isRetained: Bool) -> TopicVerdict {
        guard TopicFilter.isName(topic) else { return .malformed }
        if modes.isEmpty { return .allowed }
        return decide(topic, .publish, qosBit: 1 << qos, retainBit: isRetained ? 2 : 1) ? .allowed : .denied
    }

    /// The same for every QoS, retained or not: what a topic alias stands for. Malformed: nil.
    @inline(__always)
    public func publishRights(_ topic: Span<UInt8>) -> TopicPublishRights? {
        guard TopicFilter.isName(topic) else { return nil }
        if modes.isEmpty { return .all }
        // Nearly always QoS means nothing, and one answer stands for all.
        if hasConditions { return conditionalRights(topic) }
        return decide(topic, .publish, qosBit: 1, retainBit: 1) ? .all : TopicPublishRights.none
    }

    @inline(never)
    private func conditionalRights(_ topic: Span<UInt8>) -> TopicPublishRights {
        var rights = TopicPublishRights.none
        for qos: UInt8 in 0...2 {
            if decide(topic, .publish, qosBit: 1 << qos, retainBit: 1) { rights.insert(qos: qos, isRetained: false) }
            if decide(topic, .publish, qosBit: 1 << qos, retainBit: 2) { rights.insert(qos: qos, isRetained: true) }
        }
        return rights
    }

    /// Whether a filter may be subscribed to. A shared subscription counts as its filter.
    public func subscribe(_ filter: Span<UInt8>, qos: UInt8) -> TopicVerdict {
        guard let range = TopicFilter.unshared(filter) else { return .malformed }
        let filter = filter.extracting(range)
        guard TopicFilter.isFilter(filter) else { return .malformed }
        if modes.isEmpty { return .allowed }
        return decide(filter, .subscribe, qosBit: 1 << qos, retainBit: 3) ? .allowed : .denied
    }

    @inline(__always)
    private func decide(_ subject: Span<UInt8>, _ action: TopicEntry.Actions, qosBit: UInt8, retainBit: UInt8) -> Bool {
        var allowed = needsAll
        if modes.contains(.scopes) {
            let says = unsafe firstFit(0, scopesEnd, subject, action, qosBit, retainBit, nil)
            allowed = needsAll ? allowed && says : allowed || says
        }
        if modes.contains(.acl) {
            let says = unsafe firstFit(scopesEnd, aclEnd, subject, action, qosBit, retainBit, aclIndex)
            allowed = needsAll ? allowed && says : allowed || says
        }
        if modes.contains(.rules) {
            let says = unsafe firstFit(aclEnd, rulesEnd, subject, action, qosBit, retainBit, rulesIndex)
            allowed = needsAll ? allowed && says : allowed || says
        }
        return allowed
    }

    /// What the first entry in `start..<end` that fits says; no without one.
    @inline(__always)
    private func firstFit(
        _ start: UInt32, _ end: UInt32, _ subject: Span<UInt8>, _ action: TopicEntry.Actions, _ qosBit: UInt8, _ retainBit: UInt8,
        _ index: UnsafePointer<TopicIndex>?
    ) -> Bool {
        guard let index = unsafe index, action == .publish else {
            return firstFit(Int(start), Int(end), subject, action, qosBit, retainBit)
        }
        let number = unsafe index.pointee.first(subject)
        return unsafe number != TopicIndex.none && entries[Int(number)].allows
    }

    /// The same, entry by entry.
    @inline(never)
    private func firstFit(
        _ start: Int, _ end: Int, _ subject: Span<UInt8>, _ action: TopicEntry.Actions, _ qosBit: UInt8, _ retainBit: UInt8
    ) -> Bool {
        let patterns = unsafe UnsafeBufferPointer(start: text, count: Int(textCount))
        let texts = unsafe patterns.span
        let head = Self.head(subject)
        // What is subscribed to is a filter, whose first bytes may be wildcards.
        let counts: UInt64 = action == .publish ? .max : 0
        var index = start
        while index < end {
            let place = unsafe entries + index
            index &+= 1
            if unsafe (head ^ place.pointee.prefix) & place.pointee.prefixMask & counts != 0 { continue }
            let entry = unsafe place.pointee
            guard entry.actions.contains(action), entry.qosMask & qosBit != 0, entry.retainMask & retainBit != 0 else { continue }
            let pattern = texts.extracting(Int(entry.start)..<Int(entry.start &+ entry.count))
            if Self.fits(entry, pattern, subject, action) { return entry.allows }
        }
        return false
    }

    /// The first eight bytes of a text, as many as there are.
    @inline(__always)
    private static func head(_ text: Span<UInt8>) -> UInt64 {
        if text.count >= 8 { return unsafe text.withUnsafeBytes { unsafe UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) } }
        var head: UInt64 = 0
        for index in 0..<text.count { head |= UInt64(text[index]) &<< UInt64(8 &* index) }
        return head
    }

    @inline(__always)
    private static func fits(_ entry: TopicEntry, _ pattern: Span<UInt8>, _ subject: Span<UInt8>, _ action: TopicEntry.Actions) -> Bool {
        switch entry.form {
        case .everything: return true
        case .filter:
            if action == .publish { return TopicFilter.matches(pattern, subject) }
            return entry.allows ? TopicFilter.includes(pattern, subject) : TopicFilter.overlap(pattern, subject)
        case .literal: return isEqual(pattern, subject)
        case .routingKey:
            guard subject.count <= maximumRoutingKeyBytes else { return false }
            guard subject[0] != UInt8(ascii: "$") || namesFirstLevel(pattern, subject) else { return false }
            return WildcardPattern.matches(pattern, subject, translates: action == .publish ? .topic : .filter)
        }
    }

    /// Longest routing key (AMQP 0-9-1 section 4.2.5.3): a longer topic is none, and is not compared at a cost beyond all reason.
    private static let maximumRoutingKeyBytes = 255

    @inline(__always)
    private static func isEqual(_ left: Span<UInt8>, _ right: Span<UInt8>) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<left.count where left[index] != right[index] { return false }
        return true
    }

    /// Whether a pattern spells out the first level of a topic that begins with `$`.
    private static func namesFirstLevel(_ pattern: Span<UInt8>, _ subject: Span<UInt8>) -> Bool {
        for index in 0..<subject.count {
            if subject[index] == UInt8(ascii: "/") { return true }
            guard index < pattern.count, pattern[index] == subject[index] else { return false }
        }
        return true
    }
}
