// Which services the target offers, from the command line.

import Glibc

/// What a port does with its connections.
enum Service: String {
    /// Raw TCP: every byte comes back.
    case echo
    /// Raw TCP: every byte is discarded.
    case sink
    /// Raw TCP: bytes as fast as they are taken.
    case source
    /// WebSocket: every message comes back.
    case webSocketEcho = "wsecho"
    /// WebSocket: every message is discarded.
    case webSocketSink = "wssink"
    /// WebSocket: messages as fast as they are taken.
    case webSocketSource = "wssource"
    /// WebSocket: a broker of MQTT 3.1.1 that accepts everybody and sends every packet back to its sender.
    case webSocketBroker = "wsmqtt"
    /// WebSocket: one that discards every packet.
    case webSocketBrokerSink = "wsmqttsink"
    /// UDP: every datagram comes back.
    case datagramEcho = "udp-echo"
    /// UDP: every datagram is counted; a TCP connection to the same port is told the count.
    case datagramSink = "udp-sink"
    /// UDP: a datagram that begins with u16 count, u16 bytes is answered with so many datagrams of that size.
    case datagramBurst = "udp-burst"

    var isWebSocket: Bool {
        switch self {
        case .webSocketEcho, .webSocketSink, .webSocketSource, .webSocketBroker, .webSocketBrokerSink: true
        default: false
        }
    }

    /// The first message of a connection is its CONNECT.
    var isBroker: Bool { self == .webSocketBroker || self == .webSocketBrokerSink }

    var isDatagram: Bool { self == .datagramEcho || self == .datagramSink || self == .datagramBurst }

    var isSource: Bool { self == .source || self == .webSocketSource }
}

/// One listening port.
struct Listening {
    var service: Service
    /// 0 lets the kernel choose.
    var port: UInt16
}

struct Options {
    var listening: [Listening] = []
    /// Payload of one message of a source.
    var messageBytes = 65536
    /// Bytes a source sends before it ends the stream; 0 is without end.
    var totalBytes = 0

    static let usage = """
        usage: sluice-target SERVICE:PORT ... [--size BYTES] [--total BYTES]
          services   echo, sink, source (raw TCP); wsecho, wssink, wssource (WebSocket); wsmqtt, wsmqttsink
                     (brokers that send every packet back, or discard it); udp-echo;
                     udp-sink, which tells a TCP connection to its port how many datagrams have arrived;
                     udp-burst, which answers u16 count, u16 bytes with so many datagrams of that size
          --size     payload of one message of a source (65536)
          --total    bytes a source sends before it ends the stream (0: without end)
        Listens on 127.0.0.1; port 0 lets the kernel choose. Prints one line "SERVICE PORT" for each, then "ready".
        """

    /// Reads the arguments; nil when they make no sense.
    static func parse(_ arguments: [String]) -> Options? {
        var options = Options()
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if argument.hasPrefix("--") {
                guard let text = rest.popFirst(), let value = Int(text), value >= 0 else { return nil }
                switch argument {
                case "--size": options.messageBytes = max(1, min(value, 1 << 20))
                case "--total": options.totalBytes = value
                default: return nil
                }
                continue
            }
            let parts = argument.split(separator: ":")
            guard parts.count == 2, let service = Service(rawValue: String(parts[0])), let port = UInt16(parts[1]) else {
                return nil
            }
            options.listening.append(Listening(service: service, port: port))
        }
        return options.listening.isEmpty ? nil : options
    }
}
