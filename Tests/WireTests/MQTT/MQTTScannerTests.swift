import Testing
import Wire

/// A packet as a scanner reported it, put together again.
private struct Seen: Equatable {
    var type: MQTTType
    var bytes: [UInt8]
    var head: Int
    var topic: [UInt8]
    var id: UInt16
    var alias: UInt16
    var qos: UInt8
    var isWhole: Bool
}

private enum End: Equatable {
    case clean
    case inside
    case failed(MQTTFault)
}

/// Runs a scanner over pieces that end at `cuts` and reports packets and how it ended.
private func scan(
    _ stream: [UInt8], cuts: [Int], _ direction: MQTTDirection, _ version: MQTTVersion, maximum: Int = 262_144
) -> ([Seen], End) {
    var scanner = MQTTScanner(direction, version, maximumPacketBytes: maximum)
    defer { scanner.release() }
    var seen: [Seen] = []
    var start = 0
    for cut in cuts + [stream.count] where cut > start || stream.isEmpty {
        let piece = Array(stream[start..<cut])
        start = cut
        let fault: MQTTFault? = piece.withUnsafeBytes { raw in
            guard let base = raw.baseAddress else { return nil }
            var cursor = 0
            while true {
                switch scanner.next(base, &cursor, raw.count) {
                case .needMore:
                    precondition(cursor == raw.count)
                    return nil
                case .failed(let fault): return fault
                case .packet(let head):
                    let bytes = Array(head.bytes)
                    if let place = head.start { precondition(Array(piece[place..<place + head.count]) == bytes) }
                    precondition(head.type != .publish || direction == .fromServer || Array(head.topicBytes) == Array(bytes[head.topic]))
                    seen.append(Seen(
                        type: head.type, bytes: bytes, head: head.count, topic: Array(bytes[head.topic]), id: head.packetID,
                        alias: head.topicAlias, qos: head.qos, isWhole: head.isWholePacket))
                    precondition(head.packetBytes - head.count == scanner.bodyBytesMissing)
                case .body(let place, let count, let ends):
                    precondition(count > 0)
                    seen[seen.count - 1].bytes += piece[place..<place + count]
                    precondition(ends == (scanner.bodyBytesMissing == 0))
                }
            }
        }
        if let fault { return (seen, .failed(fault)) }
    }
    return (seen, scanner.isAtBoundary ? .clean : .inside)
}

@Suite("MQTT scanner")
struct MQTTScannerTests {
    static func clientStream(_ version: MQTTVersion) -> [[UInt8]] {
        let list: [UInt8]? = version == .v5 ? [] : nil
        let alias: [UInt8] = Packet.userProperty("a", "b") + [0x23, 0, 7, 1, 1]
        var packets = [
            Packet.publish("a", properties: list), Packet.publish("sensors/1/temperature", properties: list, payload: Array("21.5".utf8)),
            Packet.publish("ü", qos: 1, id: 0x1234, properties: list, payload: [UInt8](repeating: 0x30, count: 300)),
            Packet.publish("q", qos: 2, id: 5, retain: true, properties: list),
            [0xC0, 0], [0x40, 2, 0, 9], [0x50, 2, 0, 9], [0x62, 2, 0, 9], [0x70, 2, 0, 9],
            Packet.subscribe([("a/#", 0), ("b/+", 2)], properties: list), Packet.unsubscribe(["a/#"], properties: list),
        ]
        if version == .v5 {
            packets.append(Packet.publish("long/topic", properties: alias, payload: [1, 2, 3]))
            packets.append(Packet.publish("", qos: 1, id: 77, properties: [0x23, 0, 7], payload: [4]))
            packets.append([0x40, 4, 0, 9, 0x87, 0])
            packets.append([0xF0, 2, 0x19, 0])
            packets.append([0xE0, 1, 4])
        } else {
            packets.append([0xE0, 0])
        }
        return packets
    }

    @Test("packets cut anywhere are the same packets", arguments: MQTTVersion.allCases)
    func cuts(version: MQTTVersion) {
        let packets = Self.clientStream(version)
        let stream = packets.flatMap { $0 }
        let (whole, end) = scan(stream, cuts: [], .fromClient, version)
        #expect(end == .clean)
        #expect(whole.map(\.bytes) == packets)
        #expect(whole.map(\.type.rawValue) == packets.map { $0[0] >> 4 })
        for cut in 1..<stream.count {
            #expect(scan(stream, cuts: [cut], .fromClient, version) == (whole, .clean))
        }
        #expect(scan(stream, cuts: Array(1..<stream.count), .fromClient, version) == (whole, .clean))
        for size in 2..<9 {
            #expect(scan(stream, cuts: Array(stride(from: size, to: stream.count, by: size)), .fromClient, version) == (whole, .clean))
        }
    }

    @Test("what a head says")
    func heads() {
        let (seen, _) = scan(Self.clientStream(.v5).flatMap { $0 }, cuts: [], .fromClient, .v5)
        #expect(seen[1].topic == Array("sensors/1/temperature".utf8) && seen[1].head == 2 + 2 + 21 + 1 && !seen[1].isWhole)
        #expect(seen[2].id == 0x1234 && seen[2].qos == 1 && seen[3].qos == 2 && seen[3].isWhole)
        #expect(seen.filter { $0.type == .subscribe || $0.type == .unsubscribe }.allSatisfy { $0.isWhole })
        #expect(seen[5].id == 9 && seen[4].id == 0)
        #expect(seen[11].alias == 7 && seen[12].alias == 7 && seen[12].topic == [])
    }

    @Test("an end inside a packet is no boundary")
    func boundary() {
        let stream = Packet.publish("a/b", payload: [1, 2, 3])
        for count in 1..<stream.count {
            #expect(scan(Array(stream[..<count]), cuts: [], .fromClient, .v311).1 == .inside)
        }
    }

    static let faults: [(String, [UInt8], MQTTVersion, MQTTFault)] = [
        ("type 0", [0, 0], .v311, .malformed),
        ("second CONNECT", ConnectShape().bytes, .v311, .unexpectedPacket),
        ("CONNACK from a client", [0x20, 2, 0, 0], .v311, .unexpectedPacket),
        ("SUBACK from a client", [0x90, 3, 0, 1, 0], .v311, .unexpectedPacket),
        ("PINGRESP from a client", [0xD0, 0], .v311, .unexpectedPacket),
        ("AUTH before MQTT 5", [0xF0, 0], .v311, .unexpectedPacket),
        ("flags of PINGREQ", [0xC1, 0], .v311, .malformed),
        ("flags of SUBSCRIBE", [0x80, 6, 0, 1, 0, 1, 65, 0], .v311, .malformed),
        ("flags of PUBREL", [0x60, 2, 0, 1], .v311, .malformed),
        ("PINGREQ with a body", [0xC0, 1, 0], .v311, .malformed),
        ("PUBACK without id", [0x40, 0], .v311, .malformed),
        ("PUBACK id 0", [0x40, 2, 0, 0], .v311, .malformed),
        ("QoS 3", [0x36, 5, 0, 1, 65, 0, 1], .v311, .malformed),
        ("PUBLISH without topic", [0x30, 1, 0], .v311, .malformed),
        ("empty topic", [0x30, 2, 0, 0], .v311, .malformed),
        ("empty topic without alias", [0x30, 3, 0, 0, 0], .v5, .malformed),
        ("topic beyond the packet", [0x30, 3, 0, 2, 65], .v311, .malformed),
        ("no room for the id", [0x32, 4, 0, 1, 65, 0], .v311, .malformed),
        ("id 0", [0x32, 5, 0, 1, 65, 0, 0], .v311, .malformed),
        ("no properties", [0x30, 3, 0, 1, 65], .v5, .malformed),
        ("properties beyond the packet", [0x30, 5, 0, 1, 65, 3, 1], .v5, .malformed),
        ("alias 0", Packet.publish("a", properties: [0x23, 0, 0]), .v5, .topicAlias),
        ("alias twice", Packet.publish("a", properties: [0x23, 0, 1, 0x23, 0, 1]), .v5, .malformed),
        ("subscription id from a client", Packet.publish("a", properties: [0x0B, 1]), .v5, .malformed),
        ("five bytes of length", [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1], .v311, .malformed),
        ("too large", [0x30, 0xFF, 0xFF, 0xFF, 0x7F], .v311, .tooLarge),
        ("topic longer than is kept", [0x30, 0xFF, 0xFF, 4, 0xFF, 0xFF], .v311, .tooLarge),
        ("properties longer than are kept", [0x30, 0x86, 0x80, 2, 0, 1, 65, 0x80, 0x80, 2], .v5, .tooLarge),
        ("SUBSCRIBE longer than is kept", [0x82, 0x80, 0x80, 4], .v311, .tooLarge),
    ]

    @Test("faults, in one piece and byte by byte", arguments: faults)
    func fault(name: String, bytes: [UInt8], version: MQTTVersion, fault: MQTTFault) {
        let before: [UInt8] = [0xC0, 0]
        let stream = before + bytes + [0xC0, 0]
        for cuts in [[], Array(1..<stream.count)] {
            let (seen, end) = scan(stream, cuts: cuts, .fromClient, version)
            #expect(end == .failed(fault))
            #expect(seen.map(\.bytes) == [before])
        }
    }

    @Test("a packet may be as long as the limit, not longer")
    func limit() {
        let packet = Packet.publish("a", payload: [UInt8](repeating: 7, count: 1000))
        #expect(scan(packet, cuts: [3], .fromClient, .v311, maximum: packet.count).1 == .clean)
        #expect(scan(packet, cuts: [3], .fromClient, .v311, maximum: packet.count - 1).1 == .failed(.tooLarge))
    }

    @Test("a server's packets: SUBACK and CONNACK whole, PUBLISH by its fixed header alone")
    func server() {
        let packets: [[UInt8]] = [
            [0x20, 3, 0, 0, 0], Packet.publish("t", qos: 1, id: 3, properties: [0x0B, 5], payload: [1]), [0x90, 5, 0, 10, 0, 0, 0x87],
            [0xB0, 4, 0, 11, 0, 0], [0xD0, 0], [0x40, 2, 0, 4], [0xE0, 1, 0x8B],
        ]
        let stream = packets.flatMap { $0 }
        let (whole, end) = scan(stream, cuts: [], .fromServer, .v5)
        #expect(end == .clean && whole.map(\.bytes) == packets)
        #expect(whole.map(\.head) == [5, 2, 7, 4, 2, 4, 2])
        #expect(scan(stream, cuts: Array(1..<stream.count), .fromServer, .v5) == (whole, .clean))
        #expect(scan([0x82, 6, 0, 1, 0, 1, 65, 0], cuts: [], .fromServer, .v5).1 == .failed(.unexpectedPacket))
        #expect(scan([0xE0, 0], cuts: [], .fromServer, .v311).1 == .failed(.unexpectedPacket))
    }
}
