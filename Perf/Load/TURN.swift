// The little of TURN (RFC 8656) and STUN (RFC 8489) that a client without credentials needs: an allocation, one channel
// to one peer, and ChannelData. Set-up blocks; it happens before anything is measured.

import Glibc

/// Messages of a TURN client.
enum TURN {
    /// The first channel number there is (RFC 8656, section 12).
    static let channel: UInt16 = 0x4000
    static let headerBytes = 20
    static let magicCookie: UInt32 = 0x2112_A442
    /// How long a server may take to answer before a run is given up.
    private static let answerMilliseconds: Int32 = 3000

    enum Method: UInt16 {
        case allocate = 0x0003
        case refresh = 0x0004
        case channelBind = 0x0009
    }

    private enum Attribute {
        static let channelNumber: UInt16 = 0x000C
        static let errorCode: UInt16 = 0x0009
        static let lifetime: UInt16 = 0x000D
        static let xorPeerAddress: UInt16 = 0x0012
        static let requestedTransport: UInt16 = 0x0019
    }

    /// The header of ChannelData (RFC 8656, section 12.4).
    static func channelData(payloadBytes: Int) -> [UInt8] { bigEndian(channel) + bigEndian(UInt16(truncatingIfNeeded: payloadBytes)) }

    /// A request for a relayed UDP address.
    static func allocation(transaction: [UInt8]) -> [UInt8] {
        // 17 is UDP's protocol number; three bytes are reserved.
        request(.allocate, transaction, attribute(Attribute.requestedTransport, [17, 0, 0, 0]))
    }

    /// A request for a channel to a peer, which permits that peer as well.
    static func channelBind(to peer: DatagramAddress, transaction: [UInt8]) -> [UInt8] {
        let port = peer.port ^ UInt16(magicCookie >> 16)
        return request(
            .channelBind, transaction,
            attribute(Attribute.channelNumber, bigEndian(channel) + [0, 0])
                + attribute(Attribute.xorPeerAddress, [0, 1] + bigEndian(port) + bigEndian(peer.address ^ magicCookie)))
    }

    /// A request to end the allocation now: over UDP it would outlive the client, and its port could not be used again.
    static func release(transaction: [UInt8]) -> [UInt8] {
        request(.refresh, transaction, attribute(Attribute.lifetime, [0, 0, 0, 0]))
    }

    private static func request(_ method: Method, _ transaction: [UInt8], _ attributes: [UInt8]) -> [UInt8] {
        bigEndian(method.rawValue) + bigEndian(UInt16(attributes.count)) + bigEndian(magicCookie) + transaction + attributes
    }

    private static func attribute(_ type: UInt16, _ value: [UInt8]) -> [UInt8] {
        bigEndian(type) + bigEndian(UInt16(value.count)) + value + [UInt8](repeating: 0, count: (4 - value.count % 4) % 4)
    }

    /// What became of a request.
    enum Answer: Equatable {
        case success
        case refused(code: Int)
        /// More bytes have to come (over TCP), or these belong to something else.
        case incomplete
        case other
    }

    /// Judges an answer to a request of that method and transaction (RFC 8489, sections 5 and 14.8).
    static func answer(_ bytes: [UInt8], to method: Method, transaction: [UInt8]) -> Answer {
        guard bytes.count >= headerBytes else { return .incomplete }
        func number(_ start: Int) -> Int { Int(bytes[start]) << 8 | Int(bytes[start + 1]) }
        guard bytes[0] & 0xC0 == 0, Array(bytes[4..<8]) == bigEndian(magicCookie), Array(bytes[8..<20]) == transaction else {
            return .other
        }
        let end = headerBytes + number(2)
        guard bytes.count >= end else { return .incomplete }
        // Success sets 0x0100 in the method's type, an error 0x0110.
        if number(0) == Int(method.rawValue) | 0x0100 { return .success }
        guard number(0) == Int(method.rawValue) | 0x0110 else { return .other }
        var position = headerBytes
        while position + 4 <= end {
            let length = number(position + 2)
            if number(position) == Int(Attribute.errorCode), length >= 4, position + 8 <= end {
                return .refused(code: Int(bytes[position + 6]) * 100 + Int(bytes[position + 7]))
            }
            position += 4 + (length + 3) / 4 * 4
        }
        return .refused(code: 0)
    }

    /// Allocates and binds the channel over a connected socket; returns why not, or nil.
    static func open(_ descriptor: Int32, peer: DatagramAddress) -> String? {
        for method in [Method.allocate, .channelBind] {
            let transaction = (0..<12).map { _ in UInt8.random(in: 0...255) }
            let request = method == .allocate ? allocation(transaction: transaction) : channelBind(to: peer, transaction: transaction)
            guard send(descriptor, request, request.count, sendFlags) == request.count else { return "a TURN request did not leave" }
            var received: [UInt8] = []
            var answer = Answer.incomplete
            while answer == .incomplete {
                var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&waiting, 1, answerMilliseconds) == 1 else { return "no answer to TURN \(method)" }
                var chunk = [UInt8](repeating: 0, count: 2048)
                let count = recv(descriptor, &chunk, chunk.count, 0)
                guard count > 0 else { return "no answer to TURN \(method)" }
                received += chunk[..<count]
                answer = Self.answer(received, to: method, transaction: transaction)
            }
            if case .refused(let code) = answer { return "TURN \(method) was refused with \(code)" }
            if answer != .success { return "an answer to TURN \(method) that belongs to something else" }
        }
        return nil
    }
}
