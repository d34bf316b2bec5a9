// Messages of MQTT 3.1.1: as much of it as it takes to publish at QoS 0, and to know the packets again when a broker sends them back.

import Glibc

/// The packets of a client that publishes to a number of topics in turn.
enum Publishing {
    /// Topics are told apart by four digits.
    static let maximumTopics = 4096
    /// The shortest packet: fixed header, topic and one byte.
    static let minimumBytes = 32
    /// The longest whose remaining length is one byte (MQTT 3.1.1 section 2.2.3).
    static let maximumBytes = 129
    static let subprotocol = "mqtt"
    /// CONNACK: accepted, no session present, in a frame of its own (section 3.2).
    static let welcome: [UInt8] = [0x82, 4, 0x20, 2, 0, 0]

    /// CONNECT in a masked frame: clean session, a minute of keep-alive, no name of its own (section 3.1).
    static let opening: [UInt8] = {
        let packet = [0x10, 12] + field("MQTT") + [4, 2, 0, 60] + field("")
        // A mask of zeros leaves the bytes as they are.
        return [0x82, 0x80 | UInt8(packet.count), 0, 0, 0, 0] + packet
    }()

    /// Where message `number` of `topics` goes.
    static func topic(_ number: Int) -> String {
        let digits = String(number)
        return "bench/device-" + String(repeating: "0", count: 4 - digits.count) + digits + "/up"
    }

    /// A PUBLISH of `bytes` in all (section 3.3): fixed header and topic; the payload follows.
    static func head(topic: Int, bytes: Int) -> [UInt8] { [0x30, UInt8(bytes - 2)] + field(self.topic(topic)) }

    private static func field(_ text: String) -> [UInt8] { bigEndian(UInt16(text.utf8.count)) + Array(text.utf8) }
}

extension LoadLoop {
    /// What messages begin with, when they are packets: one of these, in turn.
    static func heads(_ options: Options) -> [[UInt8]] {
        (0..<options.topics).map { Publishing.head(topic: $0, bytes: options.messageBytes) }
    }

    /// Sends CONNECT; its answer opens the connection. False when it did not leave.
    func join(_ index: Int) -> Bool {
        clients[index].phase = .joining
        clients[index].head = []
        let sent = Publishing.opening.withUnsafeBytes { clients[index].channel.transmit($0.baseAddress!, $0.count) }
        return sent == Publishing.opening.count
    }

    /// Takes what came of the answer; nil when it is another than the one that is hoped for, else whether it is whole.
    func welcomed(_ index: Int, _ bytes: UnsafeBufferPointer<UInt8>) -> Bool? {
        clients[index].head += bytes
        guard Publishing.welcome.starts(with: clients[index].head) else { return nil }
        return clients[index].head.count == Publishing.welcome.count
    }
}
