// Properties of MQTT 5 packets (section 2.2.2): an identifier, then a value whose form the identifier decides. There is no
// length in front of a value, so an unknown identifier makes all that follows unreadable.

/// Property identifiers of MQTT 5.
public enum MQTTProperty: UInt8, Sendable, CaseIterable {
    case payloadFormat = 0x01
    case messageExpiry = 0x02
    case contentType = 0x03
    case responseTopic = 0x08
    case correlationData = 0x09
    case subscriptionIdentifier = 0x0B
    case sessionExpiry = 0x11
    case assignedClientID = 0x12
    case serverKeepAlive = 0x13
    case authenticationMethod = 0x15
    case authenticationData = 0x16
    case requestProblem = 0x17
    case willDelay = 0x18
    case requestResponse = 0x19
    case responseInformation = 0x1A
    case serverReference = 0x1C
    case reasonString = 0x1F
    case receiveMaximum = 0x21
    case topicAliasMaximum = 0x22
    case topicAlias = 0x23
    case maximumQoS = 0x24
    case retainAvailable = 0x25
    case userProperty = 0x26
    case maximumPacketSize = 0x27
    case wildcardAvailable = 0x28
    case subscriptionIdentifierAvailable = 0x29
    case sharedAvailable = 0x2A

    enum Form {
        case byte, short, long, length, binary, text, pair
    }

    var form: Form {
        switch self {
        case .payloadFormat, .requestProblem, .requestResponse, .maximumQoS, .retainAvailable, .wildcardAvailable,
            .subscriptionIdentifierAvailable, .sharedAvailable:
            .byte
        case .serverKeepAlive, .receiveMaximum, .topicAliasMaximum, .topicAlias: .short
        case .messageExpiry, .sessionExpiry, .willDelay, .maximumPacketSize: .long
        case .subscriptionIdentifier: .length
        case .correlationData, .authenticationData: .binary
        case .contentType, .responseTopic, .assignedClientID, .authenticationMethod, .responseInformation, .serverReference,
            .reasonString:
            .text
        case .userProperty: .pair
        }
    }
}

/// A set of properties; identifiers are below 64.
struct MQTTPropertySet: OptionSet {
    let rawValue: UInt64

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(_ properties: MQTTProperty...) {
        rawValue = properties.reduce(0) { $0 | 1 << UInt64($1.rawValue) }
    }

    @inline(__always)
    func contains(_ property: MQTTProperty) -> Bool { rawValue >> UInt64(property.rawValue) & 1 != 0 }

    static let connect = MQTTPropertySet(
        .sessionExpiry, .authenticationMethod, .authenticationData, .requestProblem, .requestResponse, .receiveMaximum,
        .topicAliasMaximum, .userProperty, .maximumPacketSize)
    static let will = MQTTPropertySet(
        .payloadFormat, .messageExpiry, .contentType, .responseTopic, .correlationData, .willDelay, .userProperty)
    /// Of a PUBLISH from a client, which may not name subscriptions.
    static let publish = MQTTPropertySet(
        .payloadFormat, .messageExpiry, .contentType, .responseTopic, .correlationData, .topicAlias, .userProperty)
    static let connack = MQTTPropertySet(
        .sessionExpiry, .assignedClientID, .serverKeepAlive, .authenticationMethod, .authenticationData, .responseInformation,
        .serverReference, .reasonString, .receiveMaximum, .topicAliasMaximum, .maximumQoS, .retainAvailable, .userProperty,
        .maximumPacketSize, .wildcardAvailable, .subscriptionIdentifierAvailable, .sharedAvailable)
    static let subscribe = MQTTPropertySet(.subscriptionIdentifier, .userProperty)
    static let unsubscribe = MQTTPropertySet(.userProperty)
    static let suback = MQTTPropertySet(.reasonString, .userProperty)
}

/// Reads one list of properties.
struct MQTTPropertyReader {
    enum Step {
        /// A property, the place of its value, and the place of both together.
        case property(MQTTProperty, value: Range<Int>, whole: Range<Int>)
        case end
        /// Unknown, not allowed here, repeated though single, or its value does not fit.
        case malformed
    }

    private var fields: MQTTFields
    private let allowed: MQTTPropertySet
    private var seen: UInt64 = 0

    /// The properties in `range`, which does not include their length.
    init(_ range: Range<Int>, allowed: MQTTPropertySet) {
        fields = MQTTFields(range)
        self.allowed = allowed
    }

    mutating func next(_ bytes: Span<UInt8>) -> Step {
        let start = fields.index
        guard let identifier = fields.byte(bytes) else { return .end }
        guard let property = MQTTProperty(rawValue: identifier), allowed.contains(property) else { return .malformed }
        let bit: UInt64 = 1 << UInt64(identifier)
        guard seen & bit == 0 || property == .userProperty else { return .malformed }
        seen |= bit
        guard let value = value(property, bytes) else { return .malformed }
        return .property(property, value: value, whole: start..<fields.index)
    }

    private mutating func value(_ property: MQTTProperty, _ bytes: Span<UInt8>) -> Range<Int>? {
        switch property.form {
        case .byte: return fields.take(1)
        case .short: return fields.take(2)
        case .long: return fields.take(4)
        case .length:
            let start = fields.index
            guard let value = fields.length(bytes), value > 0 else { return nil }
            return start..<fields.index
        case .binary: return fields.binary(bytes)
        case .text: return fields.text(bytes)
        case .pair:
            let start = fields.index
            guard fields.text(bytes) != nil, fields.text(bytes) != nil else { return nil }
            return start..<fields.index
        }
    }
}
