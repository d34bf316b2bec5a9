/// The broker's answer to a CONNECT, as far as a session in between needs it.
public struct MQTTConnack: Sendable, Equatable {
    /// Whether the broker still knows the session.
    public let isSessionPresent: Bool
    /// 0: accepted.
    public let code: UInt8
    /// MQTT 5: the highest topic alias a client may use; 0 without aliases, and in 3.x.
    public private(set) var topicAliasMaximum: UInt16 = 0
    /// MQTT 5: the keep-alive the broker puts in place of the client's.
    public private(set) var serverKeepAliveSeconds: UInt16?
    /// MQTT 5: the largest packet the broker takes, 0 when it names none.
    public private(set) var maximumPacketBytes: UInt32 = 0

    /// Reads a packet that a scanner handed out whole; nil when it is malformed.
    public init?(_ packet: Span<UInt8>, _ version: MQTTVersion) {
        guard packet.count >= 4, packet[0] == MQTTType.connack.rawValue << 4 else { return nil }
        var fields = MQTTFields(1..<packet.count)
        guard let length = fields.length(packet), fields.index + length == packet.count,
            let flags = fields.byte(packet), flags <= 1, let code = fields.byte(packet)
        else { return nil }
        isSessionPresent = flags == 1
        self.code = code
        guard version == .v5 else {
            guard fields.isAtEnd else { return nil }
            return
        }
        // A broker that does not serve MQTT 5 answers in the form of 3.1.1, and refuses.
        if fields.isAtEnd, code != 0 { return }
        guard let count = fields.length(packet), let range = fields.take(count), fields.isAtEnd else { return nil }
        var properties = MQTTPropertyReader(range, allowed: .connack)
        while true {
            switch properties.next(packet) {
            case .end: return
            case .malformed: return nil
            case .property(let property, let value, _):
                var fields = MQTTFields(value)
                switch property {
                case .topicAliasMaximum: topicAliasMaximum = fields.short(packet) ?? 0
                case .serverKeepAlive: serverKeepAliveSeconds = fields.short(packet)
                case .maximumPacketSize: maximumPacketBytes = fields.long(packet) ?? 0
                default: break
                }
            }
        }
    }
}
