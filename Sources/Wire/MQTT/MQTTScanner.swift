// Theory of operation
//
//      piece 1                         piece 2
//      | head | payload ........|..... payload | he|ad | payload ....
//        ^ verdict      ^ body      ^ body       ^ kept   ^ verdict
//
// The packets of one direction are one stream of bytes, whatever WebSocket messages carry them (MQTT 5 section 6). The scanner
// walks over pieces it does not own and stops once for each packet, at its head: as many bytes as a decision needs.
//
//      PUBLISH from a client            fixed header, topic, packet id, properties
//      SUBSCRIBE, UNSUBSCRIBE           the whole packet
//      SUBACK, CONNACK from a server    the whole packet
//      others                           fixed header, and the packet id of those that have one
//
// What follows a head is body: bytes that pass, or are dropped, as the head was judged, and that nobody looks at. A head
// that lies in one piece is judged in place. One that is cut is kept, up to `MQTTLimits.maximumPublishHeadBytes` or
// `maximumCollectedBytes`, in memory that exists only meanwhile; a small one stays for the next that is cut. A forwarder lets
// whole pieces go as they are while no verdict differs from "forward", and sends `head.bytes` in front of the rest when `head.start`
// is nil.
//
// State: what remains of the present packet, and the kept bytes. A value, to be kept in one place; `release()` when done.

/// Who sends the packets.
public enum MQTTDirection: Sendable, Hashable {
    case fromClient
    case fromServer
}

/// What is wrong with a stream of packets. Nothing behind it is looked at.
public enum MQTTFault: Sendable, Equatable {
    /// A length, a field, flags or a packet type that no rule explains.
    case malformed
    /// A packet this side may not send, or a second CONNECT.
    case unexpectedPacket
    /// A packet, or the part of it that must be judged, is longer than its limit.
    case tooLarge
    /// Topic alias 0, one the broker does not admit, or one that stands for nothing.
    case topicAlias

    /// How an MQTT 5 client is told (MQTT 5 table 3-10).
    public var disconnectReason: MQTTDisconnectReason {
        switch self {
        case .malformed: .malformedPacket
        case .unexpectedPacket: .protocolError
        case .tooLarge: .packetTooLarge
        case .topicAlias: .topicAliasInvalid
        }
    }
}

/// The head of a packet.
@safe public struct MQTTHead {
    private let base: UnsafeRawPointer
    /// Bytes of the head, the first `count` of the packet.
    public let count: Int
    /// Bytes of the whole packet.
    public let packetBytes: Int
    /// Where the head begins in the piece; nil when it was cut and lies in the scanner's memory.
    public let start: Int?
    /// The packet's type.
    public let type: MQTTType
    /// The low half of the first byte.
    public let flags: UInt8
    /// 0 when the packet has none.
    public fileprivate(set) var packetID: UInt16 = 0
    /// PUBLISH: alias of MQTT 5, 0 when there is none.
    public fileprivate(set) var topicAlias: UInt16 = 0
    /// PUBLISH from a client: where the topic lies in the head; empty when an alias stands for it.
    public fileprivate(set) var topic: Range<Int> = 0..<0

    fileprivate init(_ base: UnsafeRawPointer, _ first: UInt8, _ type: MQTTType, packetBytes: Int, count: Int, start: Int?) {
        unsafe self.base = unsafe base
        self.count = count
        self.packetBytes = packetBytes
        self.start = start
        self.type = type
        flags = first & 0x0F
    }

    /// PUBLISH: 0, 1 or 2.
    public var qos: UInt8 { flags >> 1 & 3 }
    /// PUBLISH: whether the broker is to keep it.
    public var isRetained: Bool { flags & 1 != 0 }
    /// Whether nothing of the packet follows the head.
    public var isWholePacket: Bool { count == packetBytes }

    /// The head. Valid until the scanner is asked again, and while the piece is.
    public var bytes: UnsafeBufferPointer<UInt8> {
        unsafe UnsafeBufferPointer(start: base.assumingMemoryBound(to: UInt8.self), count: count)
    }

    /// The topic of a PUBLISH from a client, as long as `bytes`.
    public var topicBytes: UnsafeBufferPointer<UInt8> {
        unsafe UnsafeBufferPointer(start: base.assumingMemoryBound(to: UInt8.self) + topic.lowerBound, count: topic.count)
    }
}

/// A PUBLISH that lies whole in a piece. Offsets are from its first byte.
public struct MQTTWholePublish {
    public let topic: Int
    public let topicBytes: Int
    public let packetBytes: Int
    public let flags: UInt8

    /// 0 or 1.
    @inline(__always)
    public var qos: UInt8 { flags >> 1 & 3 }
    /// Whether the broker is to keep it.
    @inline(__always)
    public var isRetained: Bool { flags & 1 != 0 }
}

/// What a scanner found next.
public enum MQTTItem {
    /// Everything up to `end` is consumed.
    case needMore
    /// A packet begins: judge it. The cursor stands behind its head.
    case packet(MQTTHead)
    /// More of the packet that was judged last: `count` bytes at `start`, at least one.
    case body(start: Int, count: Int, endsPacket: Bool)
    /// The stream is broken; later calls say the same.
    case failed(MQTTFault)
}

/// Walks over the packets of one direction, behind CONNECT.
@safe public struct MQTTScanner {
    private var kept: UnsafeMutableRawPointer?
    private var keptCount = 0
    private var keptCapacity = 0
    /// The kept head was handed out; its memory is for the next one.
    private var keptIsJudged = false
    private var remaining = 0
    private var fault: MQTTFault?
    private let version: MQTTVersion
    private let direction: MQTTDirection
    private let maximumPacketBytes: Int

    /// A scanner at the start of a stream. A longer packet than `maximumPacketBytes` is a fault.
    public init(_ direction: MQTTDirection, _ version: MQTTVersion, maximumPacketBytes: Int = MQTTLimits.defaultPacketBytes) {
        self.direction = direction
        self.version = version
        self.maximumPacketBytes = maximumPacketBytes
        unsafe kept = nil
    }

    /// Gives back what is kept. The scanner stands at the start of a stream again.
    public mutating func release() {
        freeKept()
        remaining = 0
        fault = nil
    }

    /// Bytes of the present packet's body that have not been handed out.
    @inline(__always)
    public var bodyBytesMissing: Int { remaining }

    /// Whether the stream stands between two packets: here a packet of our own may go in between.
    @inline(__always)
    public var isAtBoundary: Bool { remaining == 0 && (keptCount == 0 || keptIsJudged) && fault == nil }

    /// Bytes kept of a head that is cut.
    public var keptBytes: Int { keptIsJudged ? 0 : keptCount }

    /// A PUBLISH of a client that lies whole at `base + cursor`, and has a topic of its own and nothing rare: QoS 0 or 1, no property.
    /// Nil for anything else, which `next` looks at. Nothing is consumed: the caller may move its cursor over the packet.
    @inline(__always)
    public func wholePublish(_ base: UnsafeRawPointer, _ cursor: Int, _ end: Int) -> MQTTWholePublish? {
        // Flags, a length of one or two bytes, the topic's length.
        guard end &- cursor >= 6, remaining == 0, keptCount == 0, fault == nil, direction == .fromClient else { return nil }
        let place = unsafe (base + cursor).assumingMemoryBound(to: UInt8.self)
        let first = unsafe place[0]
        guard first & 0xF4 == 0x30 else { return nil }
        var header = 2
        var total = unsafe Int(place[1])
        if total >= 0x80 {
            let upper = unsafe Int(place[2])
            guard upper < 0x80 else { return nil }
            total = total & 0x7F | upper &<< 7
            header = 3
        }
        total &+= header
        let topicBytes = unsafe Int(place[header]) &<< 8 | Int(place[header &+ 1])
        let topic = header &+ 2
        var needed = topic &+ topicBytes
        let hasID = first & 2 != 0
        if hasID { needed &+= 2 }
        if version == .v5 { needed &+= 1 }
        guard needed <= total, total <= end &- cursor, total <= maximumPacketBytes, topicBytes > 0,
            needed <= MQTTLimits.maximumPublishHeadBytes
        else { return nil }
        if version == .v5, unsafe place[needed &- 1] != 0 { return nil }
        if hasID, unsafe place[topic &+ topicBytes] | place[topic &+ topicBytes &+ 1] == 0 { return nil }
        return MQTTWholePublish(topic: topic, topicBytes: topicBytes, packetBytes: total, flags: first & 0x0F)
    }

    /// Reads on at `base + cursor` and moves `cursor`, never beyond `end`.
    @inline(__always)
    public mutating func next(_ base: UnsafeRawPointer, _ cursor: inout Int, _ end: Int) -> MQTTItem {
        if let fault { return .failed(fault) }
        if keptIsJudged { forgetKept() }
        if cursor >= end { return .needMore }
        if remaining > 0 {
            let count = min(remaining, end &- cursor)
            let start = cursor
            cursor &+= count
            remaining &-= count
            return .body(start: start, count: count, endsPacket: remaining == 0)
        }
        guard keptCount == 0 else { return unsafe collect(base, &cursor, end) }
        switch unsafe inspect(base + cursor, end &- cursor, start: cursor) {
        case .head(let head):
            cursor &+= head.count
            remaining = head.packetBytes &- head.count
            return .packet(head)
        case .wants: return unsafe collect(base, &cursor, end)
        case .fault(let fault): return fail(fault)
        }
    }

    /// Moves what there is of a head into memory of its own, until it is whole.
    private mutating func collect(_ base: UnsafeRawPointer, _ cursor: inout Int, _ end: Int) -> MQTTItem {
        while true {
            let wanted: Int
            if keptCount == 0 {
                wanted = 2
            } else {
                switch unsafe inspect(UnsafeRawPointer(kept.unsafelyUnwrapped), keptCount, start: nil) {
                case .head(let head):
                    keptIsJudged = true
                    remaining = head.packetBytes &- head.count
                    return .packet(head)
                case .fault(let fault): return fail(fault)
                case .wants(let count): wanted = count
                }
            }
            guard cursor < end else { return .needMore }
            let count = min(wanted &- keptCount, end &- cursor)
            unsafe reserve(wanted).copyMemory(from: base + cursor, byteCount: count)
            keptCount &+= count
            cursor &+= count
        }
    }

    /// Room for `total` bytes; where the next one goes.
    private mutating func reserve(_ total: Int) -> UnsafeMutableRawPointer {
        if total > keptCapacity {
            // Doubling, so that a head that comes in small pieces is not moved for each of its fields.
            let capacity = max(total, 2 &* keptCapacity, 64)
            let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 1)
            if let old = unsafe kept {
                unsafe larger.copyMemory(from: old, byteCount: keptCount)
                unsafe old.deallocate()
            }
            unsafe kept = unsafe larger
            keptCapacity = capacity
        }
        return unsafe kept.unsafelyUnwrapped + keptCount
    }

    /// The head was judged. Streams that are cut once are cut again: a small piece of memory serves them all.
    private mutating func forgetKept() {
        if keptCapacity > Self.capacityKept { return freeKept() }
        keptCount = 0
        keptIsJudged = false
    }

    /// Memory for a head of a hundred bytes of topic, and twice that.
    private static let capacityKept = 256

    private mutating func freeKept() {
        if let kept = unsafe kept { unsafe kept.deallocate() }
        unsafe kept = nil
        keptCount = 0
        keptCapacity = 0
        keptIsJudged = false
    }

    private mutating func fail(_ fault: MQTTFault) -> MQTTItem {
        freeKept()
        self.fault = fault
        return .failed(fault)
    }

    private enum Inspection {
        case head(MQTTHead)
        /// This many bytes of the packet, more than there are, are needed to go on.
        case wants(Int)
        case fault(MQTTFault)
    }

    /// What the first `count` bytes of a packet say.
    @inline(__always)
    private func inspect(_ base: UnsafeRawPointer, _ count: Int, start: Int?) -> Inspection {
        let bytes = unsafe UnsafeBufferPointer(start: base.assumingMemoryBound(to: UInt8.self), count: count)
        return unsafe inspect(bytes.span, base, start)
    }

    @inline(__always)
    private func inspect(_ bytes: Span<UInt8>, _ base: UnsafeRawPointer, _ start: Int?) -> Inspection {
        guard bytes.count >= 2 else { return .wants(2) }
        var fields = MQTTFields(1..<min(bytes.count, MQTTLimits.fixedHeaderBytes))
        guard let length = fields.length(bytes) else {
            return bytes.count >= MQTTLimits.fixedHeaderBytes ? .fault(.malformed) : .wants(bytes.count &+ 1)
        }
        let header = fields.index
        let total = header &+ length
        guard let type = MQTTType(rawValue: bytes[0] >> 4) else { return .fault(.malformed) }
        guard mayCome(type) else { return .fault(.unexpectedPacket) }
        if let flags = type.fixedFlags, bytes[0] & 0x0F != flags { return .fault(.malformed) }
        guard total <= maximumPacketBytes else { return .fault(.tooLarge) }
        let needed: Int
        switch type {
        case .publish where direction == .fromClient: return unsafe publish(bytes, base, start, header, total)
        case .subscribe, .unsubscribe, .connack, .suback:
            guard total <= MQTTLimits.maximumCollectedBytes else { return .fault(.tooLarge) }
            guard length >= 2 else { return .fault(.malformed) }
            needed = total
        case .puback, .pubrec, .pubrel, .pubcomp, .unsuback:
            guard length >= 2 else { return .fault(.malformed) }
            needed = header &+ 2
        case .pingreq, .pingresp:
            guard length == 0 else { return .fault(.malformed) }
            needed = header
        default: needed = header
        }
        guard bytes.count >= needed else { return .wants(needed) }
        var head = unsafe MQTTHead(base, bytes[0], type, packetBytes: total, count: needed, start: start)
        if needed > header, type != .connack {
            head.packetID = UInt16(bytes[header]) << 8 | UInt16(bytes[header &+ 1])
            guard head.packetID != 0 else { return .fault(.malformed) }
        }
        return .head(head)
    }

    @inline(__always)
    private func mayCome(_ type: MQTTType) -> Bool {
        switch type {
        case .publish, .puback, .pubrec, .pubrel, .pubcomp: true
        case .subscribe, .unsubscribe, .pingreq: direction == .fromClient
        case .connack, .suback, .unsuback, .pingresp: direction == .fromServer
        case .disconnect: direction == .fromClient || version == .v5
        case .auth: version == .v5
        case .connect: false
        }
    }

    /// A PUBLISH from a client: topic, packet id, properties (MQTT 5 section 3.3).
    @inline(__always)
    private func publish(_ bytes: Span<UInt8>, _ base: UnsafeRawPointer, _ start: Int?, _ header: Int, _ total: Int) -> Inspection {
        let qos = bytes[0] >> 1 & 3
        guard qos != 3, total &- header >= 2 else { return .fault(.malformed) }
        guard bytes.count >= header &+ 2 else { return .wants(header &+ 2) }
        let topicBytes = Int(bytes[header]) << 8 | Int(bytes[header &+ 1])
        let topic = (header &+ 2)..<(header &+ 2 &+ topicBytes)
        var needed = topic.upperBound &+ (qos > 0 ? 2 : 0)
        guard needed <= total else { return .fault(.malformed) }
        guard needed <= MQTTLimits.maximumPublishHeadBytes else { return .fault(.tooLarge) }
        guard bytes.count >= needed else { return .wants(needed) }
        var packetID: UInt16 = 0
        if qos > 0 {
            packetID = UInt16(bytes[needed &- 2]) << 8 | UInt16(bytes[needed &- 1])
            guard packetID != 0 else { return .fault(.malformed) }
        }
        var alias: UInt16 = 0
        if version == .v5 {
            switch properties(bytes, needed, total) {
            case .found(let value, let end):
                alias = value
                needed = end
            case .wants(let count): return .wants(count)
            case .fault(let fault): return .fault(fault)
            }
        }
        guard topicBytes > 0 || alias != 0 else { return .fault(.malformed) }
        var head = unsafe MQTTHead(base, bytes[0], .publish, packetBytes: total, count: needed, start: start)
        head.packetID = packetID
        head.topicAlias = alias
        head.topic = topic
        return .head(head)
    }

    private enum Properties {
        /// The alias, 0 for none, and where the properties end.
        case found(UInt16, end: Int)
        case wants(Int)
        case fault(MQTTFault)
    }

    /// The properties whose length stands at `start`.
    @inline(__always)
    private func properties(_ bytes: Span<UInt8>, _ start: Int, _ total: Int) -> Properties {
        // Nearly always there are none.
        if start < bytes.count, start < total, bytes[start] == 0 { return .found(0, end: start &+ 1) }
        return someProperties(bytes, start, total)
    }

    private func someProperties(_ bytes: Span<UInt8>, _ start: Int, _ total: Int) -> Properties {
        let most = min(start &+ 4, total)
        var fields = MQTTFields(start..<min(bytes.count, most))
        guard let length = fields.length(bytes) else { return bytes.count >= most ? .fault(.malformed) : .wants(bytes.count &+ 1) }
        let end = fields.index &+ length
        guard end <= total else { return .fault(.malformed) }
        guard end <= MQTTLimits.maximumPublishHeadBytes else { return .fault(.tooLarge) }
        guard bytes.count >= end else { return .wants(end) }
        var alias: UInt16 = 0
        var properties = MQTTPropertyReader(fields.index..<end, allowed: .publish)
        while true {
            switch properties.next(bytes) {
            case .end: return .found(alias, end: end)
            case .malformed: return .fault(.malformed)
            case .property(.topicAlias, let value, _):
                alias = UInt16(bytes[value.lowerBound]) << 8 | UInt16(bytes[value.lowerBound &+ 1])
                guard alias != 0 else { return .fault(.topicAlias) }
            case .property: break
            }
        }
    }
}
