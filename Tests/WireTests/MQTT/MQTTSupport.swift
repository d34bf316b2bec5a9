import Wire

/// Packets built by hand, from the standards, without the code under test.
enum Packet {
    static func length(_ value: Int) -> [UInt8] {
        var rest = value
        var bytes: [UInt8] = []
        repeat {
            let digit = UInt8(rest % 128)
            rest /= 128
            bytes.append(rest > 0 ? digit + 128 : digit)
        } while rest > 0
        return bytes
    }

    static func short(_ value: Int) -> [UInt8] { [UInt8(value / 256), UInt8(value % 256)] }
    static func field(_ bytes: [UInt8]) -> [UInt8] { short(bytes.count) + bytes }
    static func field(_ text: String) -> [UInt8] { field(Array(text.utf8)) }
    static func packet(_ first: UInt8, _ body: [UInt8]) -> [UInt8] { [first] + length(body.count) + body }
    static func properties(_ list: [UInt8]) -> [UInt8] { length(list.count) + list }
    static func userProperty(_ name: String, _ value: String) -> [UInt8] { [0x26] + field(name) + field(value) }

    static func publish(
        _ topic: String, qos: UInt8 = 0, id: Int = 1, retain: Bool = false, properties list: [UInt8]? = nil, payload: [UInt8] = []
    ) -> [UInt8] {
        var body = field(topic)
        if qos > 0 { body += short(id) }
        if let list { body += properties(list) }
        return packet(0x30 | qos << 1 | (retain ? 1 : 0), body + payload)
    }

    static func subscribe(_ filters: [(String, UInt8)], id: Int = 10, properties list: [UInt8]? = nil) -> [UInt8] {
        packet(0x82, short(id) + (list.map(properties) ?? []) + filters.flatMap { field($0.0) + [$0.1] })
    }

    static func unsubscribe(_ filters: [String], id: Int = 11, properties list: [UInt8]? = nil) -> [UInt8] {
        packet(0xA2, short(id) + (list.map(properties) ?? []) + filters.flatMap { field($0) })
    }
}

/// A CONNECT as a client builds it.
struct ConnectShape {
    var name = "MQTT"
    var level: UInt8 = 4
    var cleanStart = true
    var keepAlive = 60
    var properties: [UInt8] = []
    var clientID = "client-1"
    var will: (topic: String, payload: [UInt8], qos: UInt8, retain: Bool, properties: [UInt8])?
    var username: [UInt8]?
    var password: [UInt8]?
    /// XORed into the flags.
    var flagsError: UInt8 = 0
    var tail: [UInt8] = []

    var bytes: [UInt8] {
        var flags: UInt8 = cleanStart ? 2 : 0
        if let will { flags |= 4 | will.qos << 3 | (will.retain ? 0x20 : 0) }
        if username != nil { flags |= 0x80 }
        if password != nil { flags |= 0x40 }
        var body = Packet.field(name) + [level, flags ^ flagsError] + Packet.short(keepAlive)
        if level == 5 { body += Packet.properties(properties) }
        body += Packet.field(clientID)
        if let will {
            if level == 5 { body += Packet.properties(will.properties) }
            body += Packet.field(will.topic) + Packet.field(will.payload)
        }
        if let username { body += Packet.field(username) }
        if let password { body += Packet.field(password) }
        return Packet.packet(0x10, body + tail)
    }

    /// One of each combination that matters.
    static var all: [ConnectShape] {
        var shapes: [ConnectShape] = []
        for (name, level) in [("MQIsdp", UInt8(3)), ("MQTT", 4), ("MQTT", 5)] {
            for clean in [false, true] {
                for hasWill in [false, true] {
                    for credentials in 0..<3 {
                        var shape = ConnectShape(name: name, level: level, cleanStart: clean)
                        if hasWill {
                            let list: [UInt8] = level == 5 ? [0x18, 0, 0, 0, 9] + Packet.userProperty("a", "b") : []
                            shape.will = ("state/client-1", [0, 255, 1], UInt8(credentials), clean, list)
                        }
                        if credentials > 0 { shape.username = Array("üser".utf8) }
                        if credentials > 1 { shape.password = [0, 1, 0xFF, 0xFE] }
                        if level == 5 {
                            shape.properties = [0x11, 0, 0, 1, 0, 0x21, 0, 20, 0x27, 0, 1, 0, 0, 0x19, 1]
                                + Packet.userProperty("roles", "x") + [0x15] + Packet.field("JWT") + [0x16] + Packet.field([1, 2, 3])
                                + Packet.userProperty("k", "v")
                        }
                        shapes.append(shape)
                    }
                }
            }
        }
        return shapes
    }
}

func readConnect(_ bytes: [UInt8], maximumBytes: Int = 65_536, lenient: Bool = false) -> MQTTConnect.Outcome {
    MQTTConnect.read(bytes.span, maximumBytes: maximumBytes, acceptsPasswordAlone: lenient)
}

func mqttWritten(_ body: (inout ByteWriter) -> Void) -> [UInt8] {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
        var writer = ByteWriter(buffer)
        body(&writer)
        precondition(!writer.failed)
        return Array(buffer[..<writer.count])
    }
}
