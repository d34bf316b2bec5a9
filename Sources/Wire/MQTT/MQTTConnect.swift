// Theory of operation
//
//      10 | length | 00 04 MQTT | level | flags | keep-alive | properties (5) |
//      client id | will properties (5) | will topic | will payload | user name | password
//
// A CONNECT is read whole: the session collects the first bytes, frame by frame, until `read` has an answer. The result
// holds places in those bytes, not copies; whoever rewrites the packet copies everything between the places it changes.
// Whatever is wrong is found before anything is answered or forwarded, so a broker never sees a CONNECT that two readers could
// read differently.

/// A CONNECT packet of MQTT 3.1, 3.1.1 or 5. Ranges are places in the bytes it was read from.
public struct MQTTConnect: Sendable, Equatable {
    /// The protocol level.
    public var version: MQTTVersion
    /// The whole packet, from its first byte on; what a client pipelines follows behind.
    public var packet: Range<Int>
    /// Clean Session (3.x) or Clean Start (5).
    public var isCleanStart: Bool
    /// The keep-alive the client announced; 0 is off.
    public var keepAliveSeconds: UInt16
    /// The client id, possibly empty.
    public var clientID: Range<Int>
    /// MQTT 5: the properties without their length. Empty for 3.x.
    public var properties: Range<Int>
    /// The will message, if the client leaves one.
    public var will: MQTTWill?
    /// The user name, if one is sent; possibly empty.
    public var username: Range<Int>?
    /// The password, if one is sent; possibly empty.
    public var password: Range<Int>?
    /// MQTT 5: the method of an enhanced authentication.
    public var authenticationMethod: Range<Int>?
    /// MQTT 5: the largest packet the client takes, 0 when it names none.
    public var maximumPacketBytes: UInt32
    /// The flags byte as it was sent.
    public var flags: UInt8
    /// The place of the protocol name's length up to and including keep-alive: the variable header without properties.
    var variableHeader: Range<Int>
    /// MQTT 5: will properties with their length up to the end of the will payload; 3.x: topic and payload with their lengths.
    var willFields: Range<Int>

    /// What the bytes so far are.
    public enum Outcome: Sendable, Equatable {
        /// Not yet a whole CONNECT: at least this many bytes in all are needed.
        case needMore(Int)
        /// A CONNECT; bytes may follow it.
        case complete(MQTTConnect)
        /// Nothing to go on with.
        case refused(MQTTConnectFault)
    }

    /// Reads a CONNECT at the beginning of `bytes`. `maximumBytes` bounds the packet, `acceptsPasswordAlone` admits a password without
    /// user name in 3.x, where the standard forbids it (MQTT 3.1.1 section 3.1.2.9); MQTT 5 allows it anyway.
    public static func read(
        _ bytes: Span<UInt8>, maximumBytes: Int = MQTTLimits.defaultConnectBytes, acceptsPasswordAlone: Bool = false
    ) -> Outcome {
        guard bytes.count > 0 else { return .needMore(2) }
        guard bytes[0] == 0x10 else { return .refused(.notConnect) }
        var header = MQTTFields(1..<min(bytes.count, MQTTLimits.fixedHeaderBytes))
        guard let remaining = header.length(bytes) else {
            return bytes.count >= MQTTLimits.fixedHeaderBytes ? .refused(.malformed) : .needMore(bytes.count + 1)
        }
        let end = header.index + remaining
        guard end <= maximumBytes else { return .refused(.tooLong) }
        // Shorter than any CONNECT: waiting for the rest would only delay the answer.
        guard remaining >= 12 else { return .refused(.malformed) }
        guard end <= bytes.count else { return .needMore(end) }
        var reader = Reader(fields: MQTTFields(header.index..<end), end: end)
        return reader.read(bytes, acceptsPasswordAlone: acceptsPasswordAlone)
    }
}

/// The will of a CONNECT.
public struct MQTTWill: Sendable, Equatable {
    /// Where the broker is to publish it.
    public var topic: Range<Int>
    /// What it is to publish.
    public var payload: Range<Int>
    /// MQTT 5: the will's properties without their length. Empty for 3.x.
    public var properties: Range<Int>
    /// 0, 1 or 2.
    public var qos: UInt8
    /// Whether it is to be retained.
    public var isRetained: Bool
}

/// Why bytes are no acceptable CONNECT.
public enum MQTTConnectFault: Sendable, Equatable {
    /// The first byte is another one.
    case notConnect
    /// It breaks a rule of its version.
    case malformed
    /// A protocol level that is not served. `answersAsVersion5` says in which form to refuse it.
    case unsupportedLevel(answersAsVersion5: Bool)
    /// It is longer than the limit.
    case tooLong
}

/// The variable header and the payload of a CONNECT that is there as a whole.
private struct Reader {
    var fields: MQTTFields
    let end: Int

    private enum Flag {
        static let reserved: UInt8 = 0x01
        static let cleanStart: UInt8 = 0x02
        static let will: UInt8 = 0x04
        static let willQoS: UInt8 = 0x18
        static let willRetain: UInt8 = 0x20
        static let password: UInt8 = 0x40
        static let username: UInt8 = 0x80
    }

    mutating func read(_ bytes: Span<UInt8>, acceptsPasswordAlone: Bool) -> MQTTConnect.Outcome {
        let start = fields.index
        guard let name = fields.binary(bytes), let level = fields.byte(bytes) else { return .refused(.malformed) }
        let isCurrentName = bytes.equals("MQTT", in: name)
        guard isCurrentName || bytes.equals("MQIsdp", in: name) else { return .refused(.malformed) }
        guard let version = MQTTVersion(rawValue: level), (version == .v31) != isCurrentName else {
            return .refused(.unsupportedLevel(answersAsVersion5: isCurrentName && level > 4))
        }
        guard let flags = fields.byte(bytes), let keepAlive = fields.short(bytes) else { return .refused(.malformed) }
        guard Self.areValid(flags), version == .v5 || acceptsPasswordAlone || flags & 0xC0 != Flag.password else {
            return .refused(.malformed)
        }
        var connect = MQTTConnect(
            version: version, packet: 0..<end, isCleanStart: flags & Flag.cleanStart != 0, keepAliveSeconds: keepAlive, clientID: 0..<0,
            properties: 0..<0, will: nil, username: nil, password: nil, authenticationMethod: nil, maximumPacketBytes: 0, flags: flags,
            variableHeader: start..<fields.index, willFields: 0..<0)
        guard readProperties(bytes, &connect), let clientID = fields.text(bytes) else { return .refused(.malformed) }
        connect.clientID = clientID
        if flags & Flag.will != 0 {
            guard readWill(bytes, &connect) else { return .refused(.malformed) }
        }
        if flags & Flag.username != 0 {
            guard let username = fields.text(bytes) else { return .refused(.malformed) }
            connect.username = username
        }
        if flags & Flag.password != 0 {
            guard let password = fields.binary(bytes) else { return .refused(.malformed) }
            connect.password = password
        }
        return fields.isAtEnd ? .complete(connect) : .refused(.malformed)
    }

    /// MQTT 3.1.1 sections 3.1.2.3 to 3.1.2.9.
    private static func areValid(_ flags: UInt8) -> Bool {
        guard flags & Flag.reserved == 0, flags & Flag.willQoS != Flag.willQoS else { return false }
        return flags & Flag.will != 0 || flags & (Flag.willQoS | Flag.willRetain) == 0
    }

    private mutating func readProperties(_ bytes: Span<UInt8>, _ connect: inout MQTTConnect) -> Bool {
        guard connect.version == .v5 else { return true }
        guard let count = fields.length(bytes), let range = fields.take(count) else { return false }
        connect.properties = range
        var hasData = false
        var properties = MQTTPropertyReader(range, allowed: .connect)
        while true {
            switch properties.next(bytes) {
            case .end: return !hasData || connect.authenticationMethod != nil
            case .malformed: return false
            case .property(let property, let value, _):
                var fields = MQTTFields(value)
                switch property {
                case .authenticationMethod: connect.authenticationMethod = value
                case .authenticationData: hasData = true
                case .receiveMaximum: if fields.short(bytes) == 0 { return false }
                case .maximumPacketSize:
                    guard let size = fields.long(bytes), size > 0 else { return false }
                    connect.maximumPacketBytes = size
                case .requestProblem, .requestResponse: if bytes[value.lowerBound] > 1 { return false }
                default: break
                }
            }
        }
    }

    private mutating func readWill(_ bytes: Span<UInt8>, _ connect: inout MQTTConnect) -> Bool {
        let start = fields.index
        var list = 0..<0
        if connect.version == .v5 {
            guard let count = fields.length(bytes), let range = fields.take(count), Self.areWillProperties(bytes, range)
            else { return false }
            list = range
        }
        guard let topic = fields.text(bytes), let payload = fields.binary(bytes) else { return false }
        connect.will = MQTTWill(
            topic: topic, payload: payload, properties: list, qos: connect.flags >> 3 & 3,
            isRetained: connect.flags & Flag.willRetain != 0)
        connect.willFields = start..<fields.index
        return true
    }

    private static func areWillProperties(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        var properties = MQTTPropertyReader(range, allowed: .will)
        while true {
            switch properties.next(bytes) {
            case .end: return true
            case .malformed: return false
            case .property(let property, let value, _):
                if property == .payloadFormat, bytes[value.lowerBound] > 1 { return false }
            }
        }
    }
}
