// Packets the gateway answers with itself, in place of the broker.

/// Why a CONNECT is refused.
public enum MQTTConnectRefusal: Sendable, Hashable, CaseIterable {
    case unsupportedVersion
    case clientIDNotValid
    case badCredentials
    case notAuthorised
    case unavailable
    case rateExceeded
    case quotaExceeded

    /// The code of a CONNACK (MQTT 3.1.1 table 3.1, MQTT 5 table 3-1).
    public func code(_ version: MQTTVersion) -> UInt8 {
        let isVersion5 = version == .v5
        return switch self {
        case .unsupportedVersion: isVersion5 ? 0x84 : 0x01
        case .clientIDNotValid: isVersion5 ? 0x85 : 0x02
        case .badCredentials: isVersion5 ? 0x86 : 0x04
        case .notAuthorised: isVersion5 ? 0x87 : 0x05
        case .unavailable: isVersion5 ? 0x88 : 0x03
        case .rateExceeded: isVersion5 ? 0x9F : 0x03
        case .quotaExceeded: isVersion5 ? 0x97 : 0x03
        }
    }
}

/// Why the gateway ends an MQTT 5 session; the raw value is the reason code of DISCONNECT (MQTT 5 table 3-10).
public enum MQTTDisconnectReason: UInt8, Sendable, Hashable, CaseIterable {
    case malformedPacket = 0x81
    case protocolError = 0x82
    case notAuthorised = 0x87
    case serverShuttingDown = 0x8B
    case receiveMaximumExceeded = 0x93
    case topicAliasInvalid = 0x94
    case packetTooLarge = 0x95
    case messageRateTooHigh = 0x96
    case quotaExceeded = 0x97
    case administrativeAction = 0x98
    case maximumConnectTime = 0xA0
}

/// Writes packets to a client. Every function appends one whole packet, or makes the writer fail.
public enum MQTTReply {
    /// Longest packet written here, SUBACK apart.
    public static let maximumBytes = 6
    /// Reason of an acknowledgement for what was refused (MQTT 5 tables 3-4 and 3-5).
    public static let notAuthorised: UInt8 = 0x87
    /// Reason of a code in a SUBACK for what goes beyond a limit (MQTT 5 table 3-8).
    public static let quotaExceeded: UInt8 = 0x97
    /// Reason of a PUBCOMP for an id that means nothing (MQTT 5 table 3-7).
    public static let packetIDNotFound: UInt8 = 0x92
    /// Any failure in a SUBACK of MQTT 3.x.
    public static let subscribeFailure: UInt8 = 0x80

    /// CONNACK without session and without properties.
    public static func connack(_ refusal: MQTTConnectRefusal, _ version: MQTTVersion, to writer: inout ByteWriter) {
        writer.byte(MQTTType.connack.rawValue << 4)
        writer.byte(version == .v5 ? 3 : 2)
        writer.byte(0)
        writer.byte(refusal.code(version))
        if version == .v5 { writer.byte(0) }
    }

    /// DISCONNECT of MQTT 5. In 3.x a server has none, and the function is not to be called.
    public static func disconnect(_ reason: MQTTDisconnectReason, to writer: inout ByteWriter) {
        writer.byte(MQTTType.disconnect.rawValue << 4)
        writer.byte(1)
        writer.byte(reason.rawValue)
    }

    /// PUBACK, PUBREC or PUBCOMP. `reason` is written for MQTT 5 only, and there only when it is not 0: 3.x tells a client
    /// nothing, so a message it published without right looks delivered.
    public static func acknowledge(
        _ type: MQTTType, packetID: UInt16, reason: UInt8 = 0, _ version: MQTTVersion, to writer: inout ByteWriter
    ) {
        precondition(type == .puback || type == .pubrec || type == .pubcomp)
        let hasReason = version == .v5 && reason != 0
        writer.byte(type.rawValue << 4)
        writer.byte(hasReason ? 3 : 2)
        writer.mqttShort(Int(packetID))
        if hasReason { writer.byte(reason) }
    }

    /// Bytes of a SUBACK for so many filters.
    public static func subackBytes(filters: Int, _ version: MQTTVersion) -> Int {
        let remaining = 2 + (version == .v5 ? 1 : 0) + filters
        return 1 + MQTTSize.length(remaining) + remaining
    }

    /// SUBACK with one code for each filter, without properties.
    public static func suback(packetID: UInt16, codes: [UInt8], _ version: MQTTVersion, to writer: inout ByteWriter) {
        writer.byte(MQTTType.suback.rawValue << 4)
        writer.mqttLength(2 + (version == .v5 ? 1 : 0) + codes.count)
        writer.mqttShort(Int(packetID))
        if version == .v5 { writer.byte(0) }
        writer.bytes(codes.span)
    }
}
