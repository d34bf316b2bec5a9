import Testing
import Wire

@Suite("MQTT SUBSCRIBE and SUBACK")
struct MQTTSubscribeTests {
    private static func read(_ packet: [UInt8], _ version: MQTTVersion) -> MQTTFilterList? { MQTTFilterList(packet.span, version) }

    private func filters(_ list: MQTTFilterList, _ packet: [UInt8]) -> [(String, UInt8)] {
        var found: [(String, UInt8)] = []
        list.forEach(packet.span) { _, entry in found.append((String(decoding: packet[entry.filter], as: UTF8.self), entry.options)) }
        return found
    }

    @Test("filters are read and taken out", arguments: [MQTTVersion.v311, .v5])
    func takenOut(version: MQTTVersion) throws {
        let list: [UInt8]? = version == .v5 ? [0x0B, 9] + Packet.userProperty("x", "y") : nil
        let all: [(String, UInt8)] = (0..<40).map { ("filter/\($0)/#", UInt8($0 % 3)) }
        let packet = Packet.subscribe(all, id: 300, properties: list)
        let read = try #require(Self.read(packet, version))
        #expect(read.packetID == 300 && read.count == 40 && read.isSubscribe)
        #expect(filters(read, packet).elementsEqual(all, by: ==))
        for pattern in [1, 2, 3, 7] {
            let denied = (0..<40).map { UInt8($0 % pattern == 0 ? 0x87 : 0) }
            let kept = zip(all, denied).filter { $0.1 == 0 }.map(\.0)
            let wanted = kept.isEmpty ? nil : Packet.subscribe(kept, id: 300, properties: list)
            #expect(read.packet(without: denied, from: packet.span) == wanted)
        }
        #expect(read.packet(without: [UInt8](repeating: 0, count: 40), from: packet.span) == packet)
    }

    @Test("UNSUBSCRIBE")
    func unsubscribe() throws {
        let packet = Packet.unsubscribe(["a", "b/#"], id: 4)
        let read = try #require(Self.read(packet, .v311))
        #expect(!read.isSubscribe && filters(read, packet).map(\.0) == ["a", "b/#"])
    }

    @Test("malformed", arguments: [
        (Packet.subscribe([]), MQTTVersion.v311), (Packet.subscribe([("a", 3)]), .v311), (Packet.subscribe([("a", 4)]), .v311),
        (Packet.subscribe([("a", 0x40)], properties: []), .v5), (Packet.subscribe([("a", 0x30)], properties: []), .v5),
        (Packet.subscribe([("a", 0)], id: 0), .v311), (Packet.subscribe([("", 0)]), .v311), (Packet.subscribe([("a\0", 0)]), .v311),
        (Packet.subscribe([("a", 0)], properties: [0x0B, 0]), .v5), (Packet.subscribe([("a", 0)], properties: [0x0B, 1, 0x0B, 1]), .v5),
        (Packet.subscribe([("a", 0)], properties: [0x23, 0, 1]), .v5), (Packet.packet(0x82, [0, 1, 0, 2, 65, 0]), .v311),
        (Packet.packet(0x82, [0, 1, 0, 1, 65]), .v311), (Packet.packet(0x82, [0]), .v311),
        (Packet.packet(0x82, [0, 1, 0, 1, 0xFF, 0]), .v311),
        (Packet.subscribe([("a", 0)]) + [0], .v311), (Packet.publish("a"), .v311),
    ])
    func malformed(packet: [UInt8], version: MQTTVersion) { #expect(Self.read(packet, version) == nil) }

    @Test("SUBACK gets the missing codes back at their places")
    func repair() {
        var repairs = MQTTSubscribeRepairs()
        func outcome(_ packet: [UInt8], _ version: MQTTVersion = .v311) -> MQTTSubscribeRepairs.Outcome {
            repairs.repair(packet.span, version)
        }
        func note(_ id: UInt16, _ refusals: [UInt8]) -> Bool { repairs.note(id, refusals: refusals) }
        #expect(repairs.isEmpty && outcome([0x90, 3, 0, 1, 0]) == .unchanged)
        #expect(note(1, [0x80, 0, 0x80, 0, 0x80]))
        #expect(!note(1, [0x80]), "the id is in use")
        #expect(note(2, [0, 0x80]))
        #expect(outcome([0x90, 3, 0, 9, 0]) == .unchanged)
        #expect(outcome([0x90, 4, 0, 1, 1, 2]) == .repaired([0x90, 7, 0, 1, 0x80, 1, 0x80, 2, 0x80]))
        #expect(outcome([0x90, 4, 0, 2, 1, 2]) == .malformed)
        #expect(repairs.isEmpty)
        #expect(note(3, [0x97, 0]))
        let properties = Packet.properties([0x1F] + Packet.field("ok"))
        let wanted = Packet.packet(0x90, [0, 3] + properties + [0x97, 2])
        #expect(outcome(Packet.packet(0x90, [0, 3] + properties + [2]), .v5) == .repaired(wanted))
        for id in 1...MQTTSubscribeRepairs.maximumPending { #expect(note(UInt16(id), [0x87, 0])) }
        #expect(!note(1000, [0x87, 0]))
    }

    @Test("a SUBACK that grows beyond 127 bytes has a longer length")
    func longRepair() {
        var repairs = MQTTSubscribeRepairs()
        let denied = (0..<200).map { UInt8($0 % 2 == 0 ? 0x80 : 0) }
        let noted = repairs.note(7, refusals: denied)
        let suback = Packet.packet(0x90, [0, 7] + [UInt8](repeating: 1, count: 100))
        let outcome = repairs.repair(suback.span, .v311)
        #expect(noted && outcome == .repaired(Packet.packet(0x90, [0, 7] + denied.map { $0 == 0 ? 1 : $0 })))
    }
}

@Suite("MQTT replies")
struct MQTTReplyTests {
    @Test("CONNACK of every refusal", arguments: [
        (MQTTConnectRefusal.unsupportedVersion, UInt8(1), UInt8(0x84)), (.clientIDNotValid, 2, 0x85), (.unavailable, 3, 0x88),
        (.badCredentials, 4, 0x86), (.notAuthorised, 5, 0x87), (.rateExceeded, 3, 0x9F), (.quotaExceeded, 3, 0x97),
    ])
    func connack(refusal: MQTTConnectRefusal, three: UInt8, five: UInt8) {
        for version in [MQTTVersion.v31, .v311] {
            #expect(mqttWritten { MQTTReply.connack(refusal, version, to: &$0) } == [0x20, 2, 0, three])
        }
        let packet = mqttWritten { MQTTReply.connack(refusal, .v5, to: &$0) }
        #expect(packet == [0x20, 3, 0, five, 0] && packet.count <= MQTTReply.maximumBytes)
        #expect(Self.connack(packet, .v5)?.code == five)
    }

    @Test("acknowledgements, DISCONNECT and SUBACK")
    func others() {
        #expect(mqttWritten { MQTTReply.acknowledge(.puback, packetID: 0x102, reason: 0x87, .v5, to: &$0) } == [0x40, 3, 1, 2, 0x87])
        #expect(mqttWritten { MQTTReply.acknowledge(.pubrec, packetID: 3, reason: 0x87, .v311, to: &$0) } == [0x50, 2, 0, 3])
        #expect(mqttWritten { MQTTReply.acknowledge(.pubcomp, packetID: 3, .v5, to: &$0) } == [0x70, 2, 0, 3])
        #expect(mqttWritten { MQTTReply.disconnect(.serverShuttingDown, to: &$0) } == [0xE0, 1, 0x8B])
        #expect(mqttWritten { MQTTReply.suback(packetID: 9, codes: [0x80, 0x80], .v311, to: &$0) } == [0x90, 4, 0, 9, 0x80, 0x80])
        #expect(mqttWritten { MQTTReply.suback(packetID: 9, codes: [0x87, 0x97], .v5, to: &$0) } == [0x90, 5, 0, 9, 0, 0x87, 0x97])
        for filters in [1, 125, 126, 1000] {
            let packet = mqttWritten { MQTTReply.suback(packetID: 9, codes: [UInt8](repeating: 0x87, count: filters), .v5, to: &$0) }
            #expect(packet.count == MQTTReply.subackBytes(filters: filters, .v5))
        }
    }

    private static func connack(_ packet: [UInt8], _ version: MQTTVersion) -> MQTTConnack? { MQTTConnack(packet.span, version) }

    @Test("CONNACK of a broker")
    func broker() throws {
        let properties: [UInt8] = [0x22, 0, 10, 0x13, 0, 30, 0x27, 0, 0, 4, 0]
        let accepted = try #require(Self.connack(Packet.packet(0x20, [1, 0] + Packet.properties(properties)), .v5))
        #expect(accepted.isSessionPresent && accepted.code == 0 && accepted.topicAliasMaximum == 10)
        #expect(accepted.serverKeepAliveSeconds == 30 && accepted.maximumPacketBytes == 1024)
        #expect(Self.connack([0x20, 2, 0, 5], .v311)?.code == 5)
        #expect(Self.connack([0x20, 2, 0, 1], .v5)?.code == 1, "a broker that knows 3.1.1 only")
        for packet: [UInt8] in [[0x20, 2, 0, 0], [0x20, 2, 2, 0], [0x20, 3, 0, 0, 1], [0x20, 6, 0, 0, 3, 0x22, 0, 1, 0]] {
            #expect(Self.connack(packet, .v5) == nil)
        }
    }
}
