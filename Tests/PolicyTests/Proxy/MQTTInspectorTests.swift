import Testing
import Wire

@testable import Policy

@Suite("Inspected MQTT sessions")
struct MQTTInspectorTests {
    private static let versions = [MQTTVersion.v31, .v311, .v5]

    private func session(
        _ version: MQTTVersion, publish: [String] = ["up/#"], subscribe: [String] = ["down/#"], denial: TopicSettings.Denial = .drop,
        aliases: Int = 0, subscriptions: Int = 1000
    ) throws -> InspectedSession {
        let settings = try InspectedSession.rules(publish: publish, subscribe: subscribe, denial: denial)
        let session = InspectedSession(version, settings, subscriptions: subscriptions)
        session.broker(Built.connack(version, aliases: aliases))
        return session
    }

    @Test("a PUBLISH without right does not go on, and is answered as its QoS asks", arguments: versions, [UInt8(0), 1, 2])
    func publish(version: MQTTVersion, qos: UInt8) throws {
        let session = try session(version)
        let isVersion5 = version == .v5
        let connack = session.toClient
        let allowed = Built.publish("up/a", qos: qos, isVersion5: isVersion5)
        let refused = Built.publish("other", qos: qos, id: 300, isVersion5: isVersion5)
        session.client(allowed + refused + allowed + refused)
        session.takeAnswers()
        #expect(session.toBroker == allowed + allowed)
        let answer: [UInt8] = switch (qos, isVersion5) {
        case (0, _): []
        case (1, false): [0x40, 2, 1, 44]
        case (1, true): [0x40, 3, 1, 44, 0x87]
        case (_, false): [0x50, 2, 1, 44]
        case (_, true): [0x50, 3, 1, 44, 0x87]
        }
        #expect(session.toClient == connack + answer + answer)
        #expect(session.inspector.deniedPublishes == 2)
        #expect(session.inspector.denials == [MQTTDenial(action: .publish, topic: "other")], "told once")
    }

    @Test("PUBREL of a PUBLISH that was refused is answered here, and no other")
    func release() throws {
        // With its PUBREC a client of MQTT 5 knows; some send PUBREL all the same.
        let five = try session(.v5)
        five.client(Built.publish("no", qos: 2, id: 5, isVersion5: true) + Built.pubrel(5))
        five.takeAnswers()
        #expect(five.toBroker.isEmpty && five.toClient.suffix(10) == [0x50, 3, 0, 5, 0x87, 0x70, 3, 0, 5, 0x92])
        let session = try session(.v311)
        session.client(Built.publish("no", qos: 2, id: 5) + Built.pubrel(5) + Built.pubrel(5) + Built.pubrel(6))
        session.takeAnswers()
        #expect(session.toClient.suffix(8) == [0x50, 2, 0, 5, 0x70, 2, 0, 5])
        #expect(session.toBroker == Built.pubrel(5) + Built.pubrel(6))
        // The id is used again before its PUBREL, for something that goes on.
        session.client(Built.publish("no", qos: 2, id: 8) + Built.publish("up/x", qos: 2, id: 8) + Built.pubrel(8))
        #expect(session.toBroker.suffix(4) == Built.pubrel(8))
    }

    @Test("a SUBSCRIBE loses filters, and its SUBACK gets their codes", arguments: versions)
    func subscribe(version: MQTTVersion) throws {
        let isVersion5 = version == .v5
        let code: UInt8 = isVersion5 ? 0x87 : 0x80
        let session = try session(version, subscribe: ["down/#", "$SYS/broker/+"])
        let connack = session.toClient
        let asked = ["down/a", "#", "$share/g/down/+", "$SYS/#", "$share/g/x", "$SYS/broker/uptime", "down/#"]
        session.client(Built.subscribe(asked, isVersion5: isVersion5))
        #expect(session.toBroker == Built.subscribe(["down/a", "$share/g/down/+", "$SYS/broker/uptime", "down/#"], isVersion5: isVersion5))
        session.broker(Built.suback([1, 0, 0x80, 2], isVersion5: isVersion5))
        #expect(session.toClient == connack + Built.suback([1, code, 0, code, code, 0x80, 2], isVersion5: isVersion5))
        #expect(session.inspector.deniedSubscriptions == 3)
        #expect(session.inspector.denials.map(\.topic) == ["#", "$SYS/#", "$share/g/x"])
    }

    @Test("a SUBSCRIBE of which nothing is left is answered here", arguments: versions)
    func subscribeRefused(version: MQTTVersion) throws {
        let isVersion5 = version == .v5
        let session = try session(version)
        let connack = session.toClient
        session.client(Built.subscribe(["a", "b"], isVersion5: isVersion5))
        session.takeAnswers()
        let code: UInt8 = isVersion5 ? 0x87 : 0x80
        #expect(session.toBroker.isEmpty && session.toClient == connack + Built.suback([code, code], isVersion5: isVersion5))
    }

    @Test("answers wait for CONNACK and for the end of a packet of the broker")
    func order() throws {
        let session = InspectedSession(.v311, try InspectedSession.rules())
        session.client(Built.publish("no", qos: 1))
        session.takeAnswers()
        #expect(session.toClient.isEmpty)
        let answer: [UInt8] = [0x40, 2, 0, 7]
        session.broker(Built.connack(.v311))
        #expect(session.toClient == Built.connack(.v311) + answer)
        let long = Built.publish("x", payload: [UInt8](repeating: 9, count: 300))
        session.broker(Array(long.prefix(100)))
        session.client(Built.publish("no", qos: 1))
        session.takeAnswers()
        #expect(session.toClient == Built.connack(.v311) + answer + long.prefix(100))
        let next = Built.publish("y")
        session.broker(long.dropFirst(100) + next)
        #expect(session.toClient == Built.connack(.v311) + answer + long + answer + next)
    }

    @Test("a head that is cut was not sent: answers may go in front of it")
    func answerBeforeCutHead() throws {
        let session = try session(.v311)
        let next = Built.publish("down/x", payload: [UInt8](repeating: 1, count: 200))
        session.broker(Array(next.prefix(1)))
        session.client(Built.publish("no", qos: 1))
        session.takeAnswers()
        session.broker(Array(next.dropFirst()))
        #expect(session.toClient == Built.connack(.v311) + [0x40, 2, 0, 7] + next)
    }

    @Test("more answers than there is room for go between two packets of a broker that never pauses")
    func manyAnswers() throws {
        let session = try session(.v311)
        let packet = Built.publish("down/x", payload: [UInt8](repeating: 1, count: 90))
        session.broker(Array(packet.prefix(50)))
        session.client((1...100).flatMap { Built.publish("no", qos: 1, id: $0) })
        session.broker(packet.dropFirst(50) + packet + packet.prefix(50))
        let answers: [UInt8] = (1...100).flatMap { [0x40, 2, 0, UInt8($0)] }
        #expect(session.toClient == Built.connack(.v311) + packet + answers + packet + packet.prefix(50))
    }

    @Test("without a CONNACK that accepts nothing is answered")
    func refusedConnect() throws {
        let session = InspectedSession(.v311, try InspectedSession.rules())
        session.client(Built.publish("no", qos: 1))
        session.broker(Built.connack(.v311, code: 5))
        session.client(Built.publish("no", qos: 1))
        session.takeAnswers()
        #expect(session.toClient == Built.connack(.v311, code: 5) && !session.inspector.saysDisconnect)
    }

    @Test("topic aliases")
    func aliases() throws {
        let session = try session(.v5, aliases: 3)
        let good = Built.publish("up/a", alias: 1) + Built.publish("", alias: 1)
        session.client(good)
        #expect(session.toBroker == good)
        // An alias whose topic was refused stands for nothing the client may use, whatever the broker knows it as.
        session.client(Built.publish("no", alias: 1) + Built.publish("", qos: 1, alias: 1))
        #expect(session.toBroker == good && session.inspector.deniedPublishes == 2)
        session.client(Built.publish("up/b", alias: 1) + Built.publish("", alias: 1))
        #expect(session.toBroker.count == good.count * 2)
        for wrong in [Built.publish("", alias: 2), Built.publish("up/a", alias: 4), Built.publish("up/a", alias: 0)] {
            let session = try self.session(.v5, aliases: 3)
            session.client(wrong)
            #expect(session.fault == .topicAlias && session.toBroker.isEmpty)
        }
        let early = InspectedSession(.v5, try InspectedSession.rules(publish: ["#"]))
        early.client(Built.publish("a", alias: 1))
        #expect(early.fault == .topicAlias, "before CONNACK no alias is admitted")
    }

    @Test("an alias whose PUBLISH was refused for its QoS alone is refused at every QoS")
    func aliasOfConditionalRight() throws {
        var settings = TopicSettings(modes: .acl)
        settings.aclClaim = TopicSettings.defaultACLClaim
        let entry = JSONValue.object([
            .init(name: "permission", value: .string("allow")), .init(name: "action", value: .string("publish")),
            .init(name: "topic", value: .string("a")), .init(name: "qos", value: .number(0)),
        ])
        let rights = TopicRights(settings, TopicIdentity(
            claims: .object([.init(name: "acl", value: .array([entry]))]), username: "", clientID: ""))
        let session = InspectedSession(.v5, settings)
        session.inspector = MQTTInspector(MQTTInspection(version: .v5, rights: rights))
        session.broker(Built.connack(.v5, aliases: 5))
        session.client(Built.publish("a", qos: 1, alias: 1) + Built.publish("", alias: 1))
        #expect(session.toBroker.isEmpty && session.inspector.deniedPublishes == 2)
        session.client(Built.publish("a", alias: 1) + Built.publish("", alias: 1) + Built.publish("", qos: 1, alias: 1))
        #expect(session.toBroker == Built.publish("a", alias: 1) + Built.publish("", alias: 1))
    }

    @Test("deny: disconnect ends the session", arguments: versions)
    func disconnect(version: MQTTVersion) throws {
        for packet in [Built.publish("no", isVersion5: version == .v5), Built.subscribe(["down/a", "no"], isVersion5: version == .v5)] {
            let session = try session(version, denial: .disconnect)
            session.client(Built.publish("up/a", isVersion5: version == .v5) + packet)
            #expect(session.isDenied && session.inspector.hasDenials)
            #expect(session.toBroker == Built.publish("up/a", isVersion5: version == .v5), "what came before went on")
            #expect(session.inspector.saysDisconnect == (version == .v5))
        }
        #expect(MQTTInspector.disconnect(.notAuthorised) == [0xE0, 1, 0x87])
    }

    @Test("a session has so many subscriptions and no more")
    func quota() throws {
        let session = try session(.v5, subscriptions: 3)
        session.client(Built.subscribe(["down/1", "down/2"], id: 1, isVersion5: true))
        session.client(Built.subscribe(["down/2", "down/3", "down/4"], id: 2, isVersion5: true))
        #expect(session.toBroker.suffix(Built.subscribe(["down/2", "down/3"], isVersion5: true).count)
            == Built.subscribe(["down/2", "down/3"], id: 2, isVersion5: true))
        session.broker(Built.suback([1, 1], id: 2, isVersion5: true))
        #expect(session.toClient.suffix(8) == Built.suback([1, 1, 0x97], id: 2, isVersion5: true))
        let plain = try self.session(.v311, subscriptions: 1)
        let goesOn = Built.subscribe(["down/1"]) + Built.unsubscribe(["down/1"]) + Built.subscribe(["down/2"])
        plain.client(goesOn + Built.subscribe(["down/3"]))
        plain.takeAnswers()
        #expect(plain.toBroker == goesOn)
        #expect(plain.toClient.suffix(5) == Built.suback([0x80]))
    }

    @Test("what is refused does not count, here or by the broker, and a filter counts once")
    func quotaOfRefused() throws {
        let session = try session(.v5, subscriptions: 3)
        func subscribe(_ filters: [String], _ id: Int) { session.client(Built.subscribe(filters, id: id, isVersion5: true)) }
        subscribe((0..<50).map { "no/\($0)" } + ["down/1", "down/1", "down/2"], 1)
        #expect(session.toBroker == Built.subscribe(["down/1", "down/1", "down/2"], id: 1, isVersion5: true))
        // The broker takes one of them.
        session.broker(Built.suback([1, 1, 0x87], id: 1, isVersion5: true))
        #expect(session.inspector.subscriptions.count == 1)
        subscribe(["down/1", "down/3", "$share/g/down/1"], 2)
        session.broker(Built.suback([1, 1, 0x97], id: 2, isVersion5: true))
        #expect(session.inspector.subscriptions.count == 2)
        session.broker(Built.suback([0x87, 0x87, 0x87], id: 2, isVersion5: true))
        #expect(session.inspector.subscriptions.count == 2, "an answer nobody waits for")
        subscribe(["down/4"], 3)
        let sent = session.toBroker.count
        subscribe(["down/5"], 4)
        #expect(session.toBroker.count == sent && session.inspector.subscriptions.count == 3, "one too many")
        session.client(Built.packet(0xA2, Built.short(5) + [0] + Built.field("down/4") + Built.field("down/9")))
        subscribe(["down/5"], 6)
        #expect(session.inspector.subscriptions.count == 3)
        // A list of refusals longer than a session may have is judged, too.
        let long = (0..<1500).map { "no/\($0)" } + ["down/1"]
        let many = InspectedSession(.v311, try InspectedSession.rules(subscribe: ["down/#"]), packetBytes: 1 << 16)
        many.broker(Built.connack(.v311))
        many.client(Built.subscribe(long))
        #expect(many.toBroker == Built.subscribe(["down/1"]))
        #expect(many.inspector.subscriptions.count == 1 && many.inspector.deniedSubscriptions == 1500)
    }

    @Test("more SUBSCRIBEs without an answer than are remembered")
    func unanswered() throws {
        let session = try session(.v311, subscriptions: 100)
        for id in 1...40 { session.client(Built.subscribe(["down/\(id)"], id: id)) }
        for id in 1...40 { session.broker(Built.suback([0x80], id: id)) }
        #expect(session.inspector.subscriptions.count == 40 - SubscriptionCount.maximumUnanswered)
    }

    @Test("topics that are known and topics that take their places are judged alike")
    func seenTopics() throws {
        let session = try session(.v311, publish: ["up/+", "x/#"])
        var expected: [UInt8] = []
        for round in 0..<3 {
            for number in 0..<40 {
                let long = "x/" + String(repeating: "y", count: number * 3)
                for name in ["up/\(number)", "no/\(number)", long, "up/\(number)/z", "x\(number)"] {
                    let packet = Built.publish(name, payload: [UInt8(round)])
                    if name == long || name == "up/\(number)" { expected += packet }
                    session.client(packet)
                }
            }
        }
        #expect(session.toBroker == expected && session.fault == nil)
        session.client(Built.publish("up/1") + Built.publish("up/#"))
        #expect(session.fault == .malformed)
    }

    @Test("what breaks the protocol", arguments: [
        (Built.publish("a/+"), MQTTFault.malformed), (Built.publish("a/#"), .malformed), (Built.publish("a\0"), .malformed),
        (Built.publish(""), .malformed), (Built.subscribe(["a/#/b"]), .malformed), (Built.subscribe(["$share//a"]), .malformed),
        (Built.subscribe([]), .malformed), (Built.packet(0x10, []), .unexpectedPacket), (Built.packet(0x20, [0, 0]), .unexpectedPacket),
        (Built.publish("a", payload: [UInt8](repeating: 0, count: 5000)), .tooLarge), ([0xF0, 0], .unexpectedPacket),
    ])
    func faults(packet: [UInt8], fault: MQTTFault) throws {
        let session = try session(.v311, publish: ["#"], subscribe: ["#"])
        session.client(Built.publish("ok") + packet + Built.publish("late"))
        #expect(session.fault == fault && session.toBroker == Built.publish("ok"))
    }

    @Test("a broker that does not begin with CONNACK, or sends a second one")
    func brokerFaults() throws {
        for packets in [Built.publish("a"), Built.connack(.v311) + Built.connack(.v311), Built.packet(0x82, [0, 1, 0, 1, 97, 0])] {
            let session = InspectedSession(.v311, try InspectedSession.rules())
            session.broker(packets)
            #expect(session.fault != nil)
        }
    }

    @Test("however the streams are cut, the same goes on", arguments: [MQTTVersion.v311, .v5], [0, 20, 114])
    func cuts(version: MQTTVersion, room: Int) throws {
        let isVersion5 = version == .v5
        var up: [UInt8] = []
        for index in 0..<12 {
            up += Built.publish("up/\(index)", qos: UInt8(index % 3), id: index + 1, isVersion5: isVersion5,
                                payload: [UInt8](repeating: 1, count: index * 17))
            up += Built.publish("no/\(index)", qos: UInt8(index % 3), id: index + 100, isVersion5: isVersion5,
                                payload: [UInt8](repeating: 2, count: index * 13))
            up += Built.subscribe(["down/\(index)", "no/\(index)", "down/#"], id: index + 200, isVersion5: isVersion5)
        }
        var down = Built.connack(version)
        for index in 0..<12 {
            down += Built.publish("down/\(index)", isVersion5: isVersion5, payload: [UInt8](repeating: 3, count: index * 19))
            down += Built.suback([1, 2], id: index + 200, isVersion5: isVersion5)
        }
        let settings = try InspectedSession.rules(publish: ["up/#"], subscribe: ["down/#"])
        let whole = InspectedSession(version, settings)
        whole.client(up)
        whole.broker(down)
        #expect(whole.fault == nil && whole.inspector.deniedPublishes == 12 && whole.inserts == 0)
        for cut in [1, 2, 3, 5, 7, 11, 64, 200] {
            let session = InspectedSession(version, settings, room: room)
            session.client(up, cut: cut)
            session.broker(down, cut: cut)
            #expect(session.toBroker == whole.toBroker, "cut \(cut)")
            #expect(session.toClient.count == whole.toClient.count, "cut \(cut)")
            #expect(session.inserts == 0 || room < 114)
        }
    }
}
