// The vocabulary of MQTT 3.1, 3.1.1 and 5: versions, packet types, limits, and reading single fields.

/// A protocol level of MQTT; the raw value is the byte that CONNECT carries.
public enum MQTTVersion: UInt8, Sendable, Hashable, CaseIterable {
    /// MQTT 3.1, whose protocol name is `MQIsdp`.
    case v31 = 3
    /// MQTT 3.1.1.
    case v311 = 4
    /// MQTT 5.0.
    case v5 = 5
}

/// A packet type; the raw value is the high half of a packet's first byte.
public enum MQTTType: UInt8, Sendable, Hashable, CaseIterable {
    case connect = 1
    case connack = 2
    case publish = 3
    case puback = 4
    case pubrec = 5
    case pubrel = 6
    case pubcomp = 7
    case subscribe = 8
    case suback = 9
    case unsubscribe = 10
    case unsuback = 11
    case pingreq = 12
    case pingresp = 13
    case disconnect = 14
    case auth = 15

    /// The low half of the first byte where the standard fixes it (MQTT 5 section 2.1.3); a PUBLISH's means something.
    var fixedFlags: UInt8? {
        switch self {
        case .publish: nil
        case .pubrel, .subscribe, .unsubscribe: 2
        default: 0
        }
    }
}

/// Bounds of what is read and kept.
public enum MQTTLimits {
    /// Bytes of a fixed header at most: one of type and flags, four of length.
    public static let fixedHeaderBytes = 5
    /// Largest remaining length four bytes can say.
    public static let maximumRemainingBytes = 268_435_455
    /// Longest first message and so longest CONNECT; room for a token of 16 KiB, a will and properties.
    public static let defaultConnectBytes = 65_536
    /// Longest packet unless configured otherwise.
    public static let defaultPacketBytes = 262_144
    /// Most bytes in front of a PUBLISH's payload: topic and properties. Brokers stop at 4 KiB of topic or far earlier; the
    /// rest leaves room for user properties. A session may have to keep as many.
    public static let maximumPublishHeadBytes = 16_384
    /// Longest SUBSCRIBE, UNSUBSCRIBE, SUBACK or CONNACK, which are judged whole. A session may have to keep as many.
    public static let maximumCollectedBytes = 65_536
    /// Longest string or binary field: two bytes say its length.
    public static let maximumFieldBytes = 65_535
}

/// Reads the fields of a packet one after another, never beyond `end`.
struct MQTTFields {
    var index: Int
    let end: Int

    init(_ range: Range<Int>) {
        index = range.lowerBound
        end = range.upperBound
    }

    var isAtEnd: Bool { index == end }

    @inline(__always)
    mutating func byte(_ bytes: Span<UInt8>) -> UInt8? {
        guard index < end else { return nil }
        defer { index &+= 1 }
        return bytes[index]
    }

    @inline(__always)
    mutating func short(_ bytes: Span<UInt8>) -> UInt16? {
        guard end - index >= 2 else { return nil }
        defer { index &+= 2 }
        return UInt16(bytes[index]) << 8 | UInt16(bytes[index + 1])
    }

    mutating func long(_ bytes: Span<UInt8>) -> UInt32? {
        guard let high = short(bytes), let low = short(bytes) else { return nil }
        return UInt32(high) << 16 | UInt32(low)
    }

    /// A variable byte integer (MQTT 5 section 1.5.5). Longer spellings than needed say the same number to every reader, so
    /// they pass; a fifth byte does not.
    @inline(__always)
    mutating func length(_ bytes: Span<UInt8>) -> Int? {
        var value = 0
        var shift = 0
        while shift < 28 {
            guard let byte = byte(bytes) else { return nil }
            value |= Int(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        return nil
    }

    /// `count` bytes.
    @inline(__always)
    mutating func take(_ count: Int) -> Range<Int>? {
        guard count <= end - index else { return nil }
        defer { index &+= count }
        return index..<(index &+ count)
    }

    /// Binary data behind its two bytes of length.
    @inline(__always)
    mutating func binary(_ bytes: Span<UInt8>) -> Range<Int>? {
        guard let count = short(bytes) else { return nil }
        return take(Int(count))
    }

    /// A string behind its two bytes of length: UTF-8 without U+0000 (MQTT 5 section 1.5.4).
    mutating func text(_ bytes: Span<UInt8>) -> Range<Int>? {
        guard let range = binary(bytes), MQTTText.isValid(bytes.extracting(range)) else { return nil }
        return range
    }
}

/// Strings of MQTT.
public enum MQTTText {
    /// Whether bytes may stand in a string field: well-formed UTF-8 without U+0000.
    public static func isValid(_ bytes: Span<UInt8>) -> Bool {
        guard ByteScan.first(0, in: bytes, from: 0, to: bytes.count) == bytes.count else { return false }
        var utf8 = UTF8Validator()
        return utf8.validate(bytes) && utf8.isComplete
    }
}

extension ByteWriter {
    /// Appends sixteen bits, high byte first.
    @discardableResult
    mutating func mqttShort(_ value: Int) -> Bool {
        byte(UInt8(truncatingIfNeeded: value >> 8))
        return byte(UInt8(truncatingIfNeeded: value))
    }

    /// Appends a variable byte integer in its shortest spelling.
    @discardableResult
    mutating func mqttLength(_ value: Int) -> Bool {
        var rest = value
        while rest >= 0x80 {
            byte(UInt8(truncatingIfNeeded: rest & 0x7F | 0x80))
            rest >>= 7
        }
        return byte(UInt8(truncatingIfNeeded: rest))
    }

    /// Appends a field behind its two bytes of length.
    @discardableResult
    mutating func mqttField(_ field: Span<UInt8>) -> Bool {
        guard field.count <= MQTTLimits.maximumFieldBytes else {
            fail()
            return false
        }
        mqttShort(field.count)
        return bytes(field)
    }
}

enum MQTTSize {
    /// Bytes of a variable byte integer.
    static func length(_ value: Int) -> Int {
        switch value {
        case ..<0x80: 1
        case ..<0x4000: 2
        case ..<0x20_0000: 3
        default: 4
        }
    }
}
