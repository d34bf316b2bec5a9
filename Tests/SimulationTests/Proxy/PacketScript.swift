import Engine
import Policy
import Simulator
import WebSocketProxy
import Wire

/// What an MQTT 3.1.1 client and its broker say to one another, and what of it should arrive: the client may publish to `up/#` and
/// subscribe to `down/#`.
struct PacketScript {
    private(set) var up: [UInt8]
    private(set) var down: [UInt8] = [0x20, 2, 0, 0]
    /// What the broker should get.
    private(set) var arrives: [UInt8]
    /// Packets the client should get from the gateway itself.
    private(set) var answers = 0

    private static let rights: TopicRights = {
        var settings = TopicSettings(modes: .rules)
        guard let up = try? TopicTemplate("up/#"), let down = try? TopicTemplate("down/#") else { preconditionFailure("filters of ours") }
        settings.rules = [TopicRule(publish: [up], subscribe: [down])]
        return TopicRights(settings, TopicIdentity(claims: .null, username: "", clientID: ""))
    }()

    init(number: Int, most: Int, _ random: inout SimulatedRandom) {
        up = Self.packet(0x10, Self.field("MQTT") + [4, 2, 0, 60] + Self.field("\(number)"))
        arrives = up
        for id in 1...1 + random.size(upTo: 300) where up.count < most { say(id, &random) }
        for _ in 0..<random.size(upTo: 300) where down.count < most {
            down += Self.packet(0x30, Self.field("down/x") + Self.payload(&random))
        }
    }

    private mutating func say(_ id: Int, _ random: inout SimulatedRandom) {
        let isAllowed = random.chance(600_000)
        let number = [UInt8(id / 256), UInt8(id % 256)]
        if random.chance(150_000) {
            let filters = (0..<1 + random.size(upTo: 5)).map { _ in random.chance(500_000) ? "down/\(id)" : "#" }
            func packet(_ filters: [String]) -> [UInt8] { Self.packet(0x82, number + filters.flatMap { Self.field($0) + [1] }) }
            let rest = filters.filter { $0 != "#" }
            up += packet(filters)
            if rest.isEmpty { answers += 1 } else { arrives += packet(rest) }
            return
        }
        let qos = UInt8(random.below(3))
        let packet = Self.packet(
            0x30 | qos << 1, Self.field(isAllowed ? "up/\(id)" : "no/\(id)") + (qos > 0 ? number : []) + Self.payload(&random))
        up += packet
        if isAllowed { arrives += packet } else if qos > 0 { answers += 1 }
    }

    private static func payload(_ random: inout SimulatedRandom) -> [UInt8] {
        [UInt8](repeating: UInt8(random.below(256)), count: random.size(upTo: random.chance(50_000) ? 20_000 : 300))
    }

    private static func field(_ text: String) -> [UInt8] { [UInt8(text.utf8.count / 256), UInt8(text.utf8.count % 256)] + Array(text.utf8) }

    private static func packet(_ first: UInt8, _ body: [UInt8]) -> [UInt8] {
        var length: [UInt8] = []
        var rest = body.count
        repeat {
            length.append(UInt8(rest % 128) | (rest >= 128 ? 0x80 : 0))
            rest /= 128
        } while rest > 0
        return [first] + length + body
    }

    /// The stream in binary messages that do not fit its packets.
    static func frames(_ bytes: Int, _ random: inout SimulatedRandom) -> [FramePeer.Frame] {
        var frames: [FramePeer.Frame] = []
        var left = bytes
        let most = max(bytes / 300, random.size(upTo: 20_000)) + 1
        while left > 0 {
            let count = min(left, 1 + random.size(upTo: most))
            frames.append(FramePeer.Frame(first: 0x82, count: count))
            left -= count
        }
        return frames
    }

    /// The verdict on first data that is a CONNECT; nil when it is something else.
    static func judge(_ data: ProxyFirstData, _ plays: [ProxyWorld.Play], _ make: (Int) -> ProxyTarget) -> ProxyVerdict? {
        let bytes = Array(data.bytes)
        guard data.record.path.hasPrefix("/"), let number = Int(data.record.path.dropFirst()), plays[number] == .mqtt else { return nil }
        switch MQTTConnect.read(bytes.span) {
        case .needMore: return .more
        case .refused: return .refuse(ProxyRefusal(ProxyClose(.protocolError)))
        case .complete(let connect):
            var target = make(number)
            target.mode = .inspected
            target.inspection = (MQTTInspection(version: connect.version, rights: rights), connect.packet.count)
            return .admit(ProxyAdmit(target, identity: ProxyIdentity()))
        }
    }

    /// Whether the broker got no byte that it should not.
    func begins(_ recorded: [UInt8]) -> Bool { arrives.starts(with: recorded) }

    /// What arrived, when nothing was in the way.
    func check(_ client: FramePeer, _ upstream: FramePeer, _ fail: (String) -> Void) {
        if upstream.recorded != arrives { fail("\(upstream.recorded.count) of \(arrives.count) bytes came to the broker") }
        var told: [UInt8] = []
        var own = 0
        var rest = client.recorded[...]
        while let first = rest.first {
            guard let (header, count) = Self.size(rest), rest.count >= header + count else {
                return fail("half a packet came to the client")
            }
            if first >> 4 == 2 || first >> 4 == 3 { told += rest.prefix(header + count) } else { own += 1 }
            rest = rest.dropFirst(header + count)
        }
        if told != down { fail("\(told.count) of \(down.count) bytes came from the broker") }
        if own != answers { fail("\(own) of \(answers) answers came") }
    }

    private static func size(_ bytes: ArraySlice<UInt8>) -> (header: Int, count: Int)? {
        var count = 0
        for (place, byte) in bytes.dropFirst().prefix(4).enumerated() {
            count |= Int(byte & 0x7F) << (7 * place)
            if byte < 0x80 { return (place + 2, count) }
        }
        return nil
    }
}
