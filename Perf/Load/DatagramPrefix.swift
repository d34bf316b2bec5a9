// What stands in front of a datagram's payload on the way to a relay.
//
// The relays measured here give an echo back with the very header it came with: `/udp` names guest port and remote
// either way, TURN's ChannelData names channel and length. So a message is header and payload, and comes back byte for byte.

import Glibc

/// An IPv4 address and a port, both in host order.
struct DatagramAddress: Equatable {
    var address: UInt32
    var port: UInt16

    init(address: UInt32, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// Reads IP:PORT.
    init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        var parsed = in_addr()
        guard parts.count == 2, inet_pton(AF_INET, String(parts[0]), &parsed) == 1, let port = UInt16(parts[1]), port > 0 else {
            return nil
        }
        self.init(address: UInt32(bigEndian: parsed.s_addr), port: port)
    }
}

/// How datagrams are written towards an endpoint.
enum DatagramPrefix {
    /// The port of the guest that the frames name; any but 0xA202, which would be read as the second version.
    static let guestPort: UInt16 = 10_000

    /// The frame header of `/udp`, first version: guest port, remote address, remote port.
    static func relayFrame(to remote: DatagramAddress) -> [UInt8] {
        bigEndian(guestPort) + bigEndian(remote.address) + bigEndian(remote.port)
    }

    /// What a message of `payloadBytes` begins with at this endpoint; a raw TCP endpoint takes payloads of an agreed size.
    static func bytes(for endpoint: Endpoint, to remote: DatagramAddress, payloadBytes: Int) -> [UInt8] {
        if endpoint.isTURN { return TURN.channelData(payloadBytes: payloadBytes) }
        return endpoint.isWebSocket ? relayFrame(to: remote) : []
    }

    /// The payload that asks a burst service for `count` datagrams of `bytes`.
    static func burstRequest(count: Int, bytes: Int) -> [UInt8] {
        bigEndian(UInt16(truncatingIfNeeded: count)) + bigEndian(UInt16(truncatingIfNeeded: bytes))
    }
}

/// An integer as it travels.
func bigEndian<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

extension Endpoint {
    /// Asks a sink, over TCP on the port of its datagrams, how many have reached it.
    static func datagramsArrived(at remote: DatagramAddress) throws -> Int {
        let address = (0..<4).map { String(remote.address >> (8 * (3 - UInt32($0))) & 0xFF) }.joined(separator: ".")
        guard let sink = Endpoint("tcp://\(address):\(remote.port)") else { throw LoadError("no sink at \(address)") }
        let descriptor = sink.startConnecting(blocking: true)
        guard descriptor >= 0 else { throw LoadError("the sink at \(address):\(remote.port) does not tell its count") }
        defer { close(descriptor) }
        var text = [UInt8](repeating: 0, count: 32)
        let count = recv(descriptor, &text, text.count, Int32(MSG_WAITALL))
        guard count > 1, let number = Int(String(decoding: text[..<(count - 1)], as: UTF8.self)) else {
            throw LoadError("the sink at \(address):\(remote.port) does not tell its count")
        }
        return number
    }
}
