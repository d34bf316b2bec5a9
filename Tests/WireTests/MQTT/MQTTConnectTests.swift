import Testing
import Wire

/// Malformed in one point each.
private let malformedConnects: [(String, [UInt8])] = {
    func shape(_ change: (inout ConnectShape) -> Void) -> [UInt8] {
        var shape = ConnectShape()
        change(&shape)
        return shape.bytes
    }
    func five(_ properties: [UInt8]) -> [UInt8] { shape { $0.level = 5; $0.properties = properties } }
    func will(_ list: [UInt8]) -> [UInt8] { shape { $0.level = 5; $0.will = ("t", [], 0, false, list) } }
    var list: [(String, [UInt8])] = []
    list.append(("reserved flag", shape { $0.flagsError = 1 }))
    list.append(("will QoS without will", shape { $0.flagsError = 0x08 }))
    list.append(("will retained without will", shape { $0.flagsError = 0x20 }))
    list.append(("will QoS 3", shape { $0.will = ("t", [], 3, false, []) }))
    list.append(("will announced and missing", shape { $0.flagsError = 0x04 }))
    list.append(("user name announced and missing", shape { $0.flagsError = 0x80 }))
    list.append(("password without user name", shape { $0.password = [1] }))
    list.append(("bytes left over", shape { $0.tail = [0] }))
    list.append(("client id with U+0000", shape { $0.clientID = "a\0b" }))
    list.append(("user name that is no text", shape { $0.username = [0xFF]; $0.password = [1] }))
    list.append(("surrogate in the user name", shape { $0.username = [0xED, 0xA0, 0x80] }))
    list.append(("another name", shape { $0.name = "MQTX" }))
    list.append(("shorter name", shape { $0.name = "MQT" }))
    list.append(("lower-case name", shape { $0.name = "mqtt" }))
    list.append(("five bytes of length", [0x10, 0x80, 0x80, 0x80, 0x80, 0x01]))
    list.append(("no body", [0x10, 0]))
    list.append(("unknown property", five([0x7F])))
    list.append(("property of PUBLISH", five([0x23, 0, 1])))
    list.append(("session expiry twice", five([0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1])))
    list.append(("receive maximum 0", five([0x21, 0, 0])))
    list.append(("packet size 0", five([0x27, 0, 0, 0, 0])))
    list.append(("request problem 2", five([0x17, 2])))
    list.append(("property cut", five([0x11, 0, 0])))
    list.append(("authentication data without method", five([0x16, 0, 0])))
    list.append(("user property cut", five([0x26, 0, 1, 65])))
    list.append(("property identifier in two bytes", five([0x91, 0, 0, 0, 0, 1])))
    list.append(("will property of CONNECT", will([0x11, 0, 0, 0, 1])))
    list.append(("payload format 2", will([1, 2])))
    list.append(("will topic with U+0000", shape { $0.will = ("a\0", [], 0, false, []) }))
    // Lengths that point beyond the packet.
    for place in [2, 3, 12, 13] {
        var bytes = ConnectShape().bytes
        bytes[place] = 0xFF
        list.append(("length at \(place)", bytes))
    }
    var properties = ConnectShape(level: 5).bytes
    properties[12] = 0x7F
    list.append(("properties beyond the packet", properties))
    return list
}()

@Suite("MQTT CONNECT")
struct MQTTConnectTests {
    @Test("every combination is read, with whatever follows it, and no byte earlier than whole")
    func shapes() throws {
        for shape in ConnectShape.all {
            let bytes = shape.bytes
            for count in 0..<bytes.count {
                guard case .needMore(let needed) = readConnect(Array(bytes[..<count])) else {
                    Issue.record("\(count) of \(bytes.count) bytes were enough")
                    continue
                }
                #expect(needed > count && needed <= bytes.count)
            }
            for tail in [[], Packet.publish("a", payload: [1])] {
                guard case .complete(let connect) = readConnect(bytes + tail) else {
                    Issue.record("refused: \(shape)")
                    continue
                }
                #expect(connect.packet == 0..<bytes.count && connect.version.rawValue == shape.level)
                #expect(connect.isCleanStart == shape.cleanStart && connect.keepAliveSeconds == 60)
                #expect(Array(bytes[connect.clientID]) == Array(shape.clientID.utf8))
                #expect(connect.username.map { Array(bytes[$0]) } == shape.username)
                #expect(connect.password.map { Array(bytes[$0]) } == shape.password)
                #expect((connect.will == nil) == (shape.will == nil))
                if let will = connect.will, let sent = shape.will {
                    #expect(Array(bytes[will.topic]) == Array(sent.topic.utf8) && Array(bytes[will.payload]) == sent.payload)
                    #expect(will.qos == sent.qos && will.isRetained == sent.retain && Array(bytes[will.properties]) == sent.properties)
                }
                #expect(Array(bytes[connect.properties]) == shape.properties)
                if shape.level == 5 {
                    #expect(connect.maximumPacketBytes == 65_536)
                    #expect(connect.authenticationMethod.map { Array(bytes[$0]) } == Array("JWT".utf8))
                }
            }
        }
    }

    @Test("malformed", arguments: malformedConnects)
    func malformed(name: String, bytes: [UInt8]) { #expect(readConnect(bytes) == .refused(.malformed)) }

    @Test("a password alone is accepted on request, and always in MQTT 5")
    func passwordAlone() {
        for (name, level) in [("MQIsdp", UInt8(3)), ("MQTT", 4)] {
            let bytes = ConnectShape(name: name, level: level, password: [1, 2]).bytes
            #expect(readConnect(bytes) == .refused(.malformed))
            guard case .complete(let connect) = readConnect(bytes, lenient: true) else { Issue.record("refused"); continue }
            #expect(connect.password?.count == 2 && connect.username == nil)
        }
        guard case .complete = readConnect(ConnectShape(level: 5, password: [1, 2]).bytes) else { Issue.record("refused"); return }
    }

    @Test("levels that are not served", arguments: [
        ("MQTT", UInt8(3), false), ("MQTT", 0, false), ("MQTT", 6, true), ("MQTT", 0x84, true), ("MQIsdp", 4, false), ("MQIsdp", 5, false),
        ("MQIsdp", 0x83, false),
    ])
    func levels(name: String, level: UInt8, isVersion5: Bool) {
        var shape = ConnectShape(name: name)
        shape.level = level
        #expect(readConnect(shape.bytes) == .refused(.unsupportedLevel(answersAsVersion5: isVersion5)))
    }

    @Test("limits")
    func limits() {
        let bytes = ConnectShape(username: [65], password: [UInt8](repeating: 65, count: 5000)).bytes
        #expect(readConnect(bytes, maximumBytes: bytes.count - 1) == .refused(.tooLong))
        // Known from the first bytes on.
        #expect(readConnect(Array(bytes[..<3]), maximumBytes: bytes.count - 1) == .refused(.tooLong))
        guard case .complete = readConnect(bytes, maximumBytes: bytes.count) else { Issue.record("refused"); return }
        #expect(readConnect([0x30, 0]) == .refused(.notConnect))
        #expect(readConnect([0x11, 0]) == .refused(.notConnect))
    }

    @Test("a length in more bytes than needed is the same number")
    func longLength() {
        let bytes = ConnectShape().bytes
        let long = [bytes[0], bytes[1] | 0x80, 0x80, 0] + bytes[2...]
        guard case .complete(let connect) = readConnect(long) else { Issue.record("refused"); return }
        #expect(connect.packet == 0..<long.count)
    }
}

@Suite("MQTT CONNECT rewriting")
struct MQTTConnectRewriteTests {
    private func rewritten(_ shape: ConnectShape, _ rewrite: MQTTConnectRewrite) throws -> [UInt8] {
        let bytes = shape.bytes + [0xC0, 0]
        guard case .complete(let connect) = readConnect(bytes, lenient: true) else { throw MQTTConnectRewrite.Fault.noClientID }
        return try connect.rewritten(rewrite, from: bytes.span)
    }

    @Test("nothing changed is bit for bit what came, and so is a change to the same")
    func identity() throws {
        for shape in ConnectShape.all {
            #expect(try rewritten(shape, MQTTConnectRewrite()) == shape.bytes)
            let same = MQTTConnectRewrite(clientID: .replace(Array(shape.clientID.utf8)))
            #expect(try rewritten(shape, same) == shape.bytes)
        }
    }

    @Test("user name, password and client id, alone and together, for every shape")
    func fields() throws {
        let token = [UInt8](repeating: 0x61, count: 20_000)
        for shape in ConnectShape.all {
            var wanted = shape
            wanted.username = Array("alice".utf8)
            wanted.password = token
            wanted.clientID = "alice-" + shape.clientID
            let rewrite = MQTTConnectRewrite(
                clientID: .prepend(Array("alice-".utf8)), username: .replace(Array("alice".utf8)), password: .replace(token))
            #expect(try rewritten(shape, rewrite) == wanted.bytes)

            wanted = shape
            wanted.username = (shape.username ?? []) + Array("|a,b".utf8)
            #expect(try rewritten(shape, MQTTConnectRewrite(username: .append(Array("|a,b".utf8)))) == wanted.bytes)

            wanted = shape
            (wanted.username, wanted.password) = (nil, nil)
            #expect(try rewritten(shape, MQTTConnectRewrite(username: .remove, password: .remove)) == wanted.bytes)
        }
    }

    @Test("roles as a user property: the client's own are taken out, the rest keeps its order")
    func userProperty() throws {
        var shape = ConnectShape(level: 5)
        shape.properties = Packet.userProperty("a", "1") + Packet.userProperty("roles", "admin") + [0x11, 0, 0, 0, 5]
            + Packet.userProperty("ROLES", "root") + Packet.userProperty("rolesx", "2")
        var wanted = shape
        wanted.properties = Packet.userProperty("a", "1") + [0x11, 0, 0, 0, 5] + Packet.userProperty("rolesx", "2")
        #expect(try rewritten(shape, MQTTConnectRewrite(userPropertyName: "roles")) == wanted.bytes)
        wanted.properties += Packet.userProperty("roles", "dev,ops")
        #expect(try rewritten(shape, MQTTConnectRewrite(userPropertyName: "roles", userPropertyValue: "dev,ops")) == wanted.bytes)
        // The length of the properties grows beyond one byte.
        let long = String(repeating: "r", count: 8000)
        wanted.properties = Packet.userProperty("a", "1") + [0x11, 0, 0, 0, 5] + Packet.userProperty("rolesx", "2")
            + Packet.userProperty("roles", long)
        #expect(try rewritten(shape, MQTTConnectRewrite(userPropertyName: "roles", userPropertyValue: long)) == wanted.bytes)
        // 3.1.1 has no place for it.
        let rewrite = MQTTConnectRewrite(userPropertyName: "roles", userPropertyValue: "x")
        #expect(try rewritten(ConnectShape(), rewrite) == ConnectShape().bytes)
    }

    @Test("what cannot be written")
    func faults() {
        let password = MQTTConnectRewrite(password: .replace([1]))
        #expect(throws: MQTTConnectRewrite.Fault.passwordWithoutUsername) { try rewritten(ConnectShape(), password) }
        #expect(throws: MQTTConnectRewrite.Fault.passwordWithoutUsername) {
            try rewritten(ConnectShape(username: [65], password: [1]), MQTTConnectRewrite(username: .remove))
        }
        #expect(throws: Never.self) { try rewritten(ConnectShape(level: 5), password) }
        // The client broke the rule itself and was let through.
        #expect(throws: Never.self) { try rewritten(ConnectShape(password: [9]), password) }
        #expect(throws: MQTTConnectRewrite.Fault.tooLong) {
            try rewritten(ConnectShape(username: [65]), MQTTConnectRewrite(password: .replace([UInt8](repeating: 0, count: 65_536))))
        }
        #expect(throws: MQTTConnectRewrite.Fault.noClientID) { try rewritten(ConnectShape(), MQTTConnectRewrite(clientID: .remove)) }
    }
}

@Suite("MQTT detection")
struct MQTTDetectionTests {
    private func judge(_ bytes: [UInt8]) -> MQTTDetection { MQTTDetection.judge(bytes.span) }

    @Test("what begins with CONNECT is MQTT as soon as the name is there, and undecided before")
    func connect() {
        for shape in ConnectShape.all {
            let bytes = shape.bytes
            let decided = 1 + Packet.length(bytes.count).count + 2 + shape.name.utf8.count
            for count in 0...bytes.count {
                #expect(judge(Array(bytes[..<count])) == (count < decided ? .needMore : .mqtt))
            }
        }
    }

    @Test("raw", arguments: [
        [0x30], [0x11, 0x10], [0x10, 0x0C, 0, 4, 0x4D, 0x51, 0x54, 0x58], [0x10, 0x0C, 1], [0x10, 0x0C, 0, 5],
        [0x10, 0x80, 0x80, 0x80, 0x80, 1],
        [0x10, 0x0E, 0, 6, 0x4D, 0x51, 0x54], [0x10, 0x0E, 0, 4, 0x4D, 0x51, 0x49], Array("GET / HTTP".utf8), [0],
    ])
    func raw(bytes: [UInt8]) { #expect(judge(bytes) == .raw) }
}
