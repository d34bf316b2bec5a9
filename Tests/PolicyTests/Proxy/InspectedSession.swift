import Wire

@testable import Policy

/// Packets built by hand, from the standards.
enum Built {
    static func length(_ value: Int) -> [UInt8] { value < 128 ? [UInt8(value)] : [UInt8(value % 128 + 128)] + length(value / 128) }
    static func short(_ value: Int) -> [UInt8] { [UInt8(value / 256), UInt8(value % 256)] }
    static func field(_ text: String) -> [UInt8] { short(text.utf8.count) + Array(text.utf8) }
    static func packet(_ first: UInt8, _ body: [UInt8]) -> [UInt8] { [first] + length(body.count) + body }

    /// `alias`: MQTT 5 with a topic alias; `isVersion5`: with empty properties.
    static func publish(
        _ topic: String, qos: UInt8 = 0, id: Int = 7, retain: Bool = false, alias: Int? = nil, isVersion5: Bool = false,
        payload: [UInt8] = [1, 2, 3]
    ) -> [UInt8] {
        var body = field(topic)
        if qos > 0 { body += short(id) }
        if let alias { body += [3, 0x23] + short(alias) } else if isVersion5 { body += [0] }
        return packet(0x30 | qos << 1 | (retain ? 1 : 0), body + payload)
    }

    static func subscribe(_ filters: [String], id: Int = 9, qos: UInt8 = 1, isVersion5: Bool = false) -> [UInt8] {
        packet(0x82, short(id) + (isVersion5 ? [0] : []) + filters.flatMap { field($0) + [qos] })
    }

    static func unsubscribe(_ filters: [String], id: Int = 9) -> [UInt8] { packet(0xA2, short(id) + filters.flatMap { field($0) }) }

    static func suback(_ codes: [UInt8], id: Int = 9, isVersion5: Bool = false) -> [UInt8] {
        packet(0x90, short(id) + (isVersion5 ? [0] : []) + codes)
    }

    static func connack(_ version: MQTTVersion, code: UInt8 = 0, aliases: Int = 0) -> [UInt8] {
        version == .v5 ? packet(0x20, [0, code] + (aliases > 0 ? [3, 0x22] + short(aliases) : [0])) : [0x20, 2, 0, code]
    }

    static func pubrel(_ id: Int) -> [UInt8] { [0x62, 2] + short(id) }
}

/// An inspected session as a forwarder treats it: pieces in memory with room in front, and what goes on put together.
final class InspectedSession {
    var inspector: MQTTInspector
    private(set) var toBroker: [UInt8] = []
    private(set) var toClient: [UInt8] = []
    /// What ended it.
    private(set) var fault: MQTTFault?
    private(set) var isDenied = false
    /// Bytes that could not stay in their piece.
    private(set) var inserts = 0
    private let room: Int

    init(_ version: MQTTVersion, _ settings: TopicSettings, room: Int = 114, subscriptions: Int = 1000, packetBytes: Int = 4096) {
        let rights = TopicRights(settings, TopicIdentity(claims: .null, username: "u", clientID: "c"))
        inspector = MQTTInspector(MQTTInspection(
            version: version, rights: rights, denial: settings.denial, maximumPacketBytes: packetBytes,
            maximumSubscriptions: subscriptions))
        self.room = room
    }

    deinit { inspector.release() }

    /// Rules without conditions.
    static func rules(publish: [String] = [], subscribe: [String] = [], denial: TopicSettings.Denial = .drop) throws -> TopicSettings {
        var settings = TopicSettings(modes: .rules, denial: denial)
        settings.rules = [
            TopicRule(publish: try publish.map { try TopicTemplate($0) }, subscribe: try subscribe.map { try TopicTemplate($0) }),
        ]
        return settings
    }

    func client(_ bytes: [UInt8], cut: Int = .max) { feed(bytes, cut, &toBroker) { $0.client($1, &$2, $3, &$4) } }

    func broker(_ bytes: [UInt8], cut: Int = .max) {
        feed(bytes, cut, &toClient) { $0.broker($1, &$2, $3, &$4, stopsAtBoundary: false) }
        takeAnswers()
    }

    /// What waits for the client goes between two packets.
    func takeAnswers() {
        guard inspector.hasAnswers, inspector.mayAnswer else { return }
        toClient += inspector.answers
        inspector.clearAnswers()
    }

    private func feed(
        _ bytes: [UInt8], _ cut: Int, _ output: inout [UInt8],
        _ walk: (inout MQTTInspector, UnsafeMutableRawPointer, inout Int, Int, inout MQTTRun) -> MQTTStop
    ) {
        var rest = bytes[...]
        while !rest.isEmpty, fault == nil, !isDenied {
            let piece = rest.prefix(cut)
            rest = rest.dropFirst(cut)
            var area = [UInt8](repeating: 0xEE, count: room) + piece
            area.withUnsafeMutableBytes { memory in
                let base = memory.baseAddress! + room
                var cursor = 0
                var run = MQTTRun(start: 0, floor: -room)
                walking: while true {
                    switch walk(&inspector, base, &cursor, piece.count, &run) {
                    case .end, .boundary: break walking
                    case .answers:
                        output += UnsafeRawBufferPointer(start: base + run.start, count: run.count)
                        output += inspector.answers
                        inspector.clearAnswers()
                        run = MQTTRun(start: cursor, floor: -room)
                    case .insert(let bytes):
                        precondition(run.count == 0)
                        inserts += 1
                        output += bytes
                    case .fault(let found):
                        fault = found
                        break walking
                    case .denied:
                        isDenied = true
                        break walking
                    }
                }
                output += UnsafeRawBufferPointer(start: base + run.start, count: run.count)
            }
        }
    }
}
