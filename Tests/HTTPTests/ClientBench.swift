import Engine
import Glibc
import Ring
import Simulator
import Testing
import Wire

@testable import HTTP

/// The server's end of a client's connection: the test moves its hands.
final class ServingPeer: RemotePeer {
    private(set) var socket: SimulatedSocket?
    /// When it was connected.
    private(set) var nanoseconds: UInt64 = 0
    func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        if self.socket == nil { nanoseconds = kernel.nanoseconds }
        self.socket = socket
        return nil
    }
}

/// An `HTTPClient` on a shard of a kernel without faults, and a server that the test plays.
final class ClientBench {
    static let owner = Owner(6)
    static let port: UInt16 = 8080
    let kernel = SimulatedKernel(seed: 5, faults: FaultPlan(), trace: Trace())
    let shard: Shard
    let client: HTTPClient
    let startNanoseconds: UInt64
    /// Connections the server accepted, in order, and how dialling goes until then.
    private(set) var peers: [ServingPeer] = []
    var dials: [Dial] = []
    var results: [HTTPClient.Finished] = []
    private var received: [UInt8] = []
    private var expected = 0

    init() throws {
        var sizes = ShardSizes()
        sizes.slots = 8
        sizes.smallBuffers = 64
        sizes.bulkBuffers = 4
        kernel.incomingBytes = 1 << 20
        kernel.outgoingBytes = 1 << 20
        shard = try Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 256), sizes: sizes)
        client = HTTPClient(shard: shard, owner: Self.owner)
        startNanoseconds = kernel.nanoseconds
        kernel.dial = { [unowned self] _ in
            if !dials.isEmpty { return dials.removeFirst() }
            let peer = ServingPeer()
            peers.append(peer)
            return .accept(peer)
        }
    }

    static func request(_ target: String = "/keys", host: String = "10.0.0.7") -> ClientRequest {
        ClientRequest(ClientEndpoint(host: host, port: port), target: target)
    }

    static func upgrade(_ subprotocols: [String] = [], extensions: String? = nil) -> ClientRequest {
        var request = request("/ws?a=b")
        request.upgrade = ClientRequest.Upgrade(subprotocols: subprotocols, extensions: extensions)
        return request
    }

    func turn() {
        var event = Event()
        shard.turn()
        while shard.next(&event) {
            if event.owner == Self.owner { client.handle(event) }
            take()
        }
    }

    func begin(_ request: ClientRequest, context: UInt32 = 1) -> HTTPClient.Ticket {
        received = []
        expected = peers.count + 1
        let ticket = client.begin(request, context: context)
        take()
        return ticket
    }

    /// The same for a name whose addresses are known: as many as there are `dials`.
    func begin(_ request: ClientRequest, dials: [Dial]) -> HTTPClient.Ticket {
        self.dials = dials
        let addresses = dials.indices.compactMap { SocketAddress("10.0.1.\($0)", port: 0) }
        let ticket = client.begin(request, context: 1, addresses: addresses)
        take()
        return ticket
    }

    /// What the server's end of a connection has got since.
    func heard(_ peer: ServingPeer) -> String {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        guard let socket = peer.socket else { return "" }
        while case .bytes(let count) = part.withUnsafeMutableBytes({ kernel.remoteRead(socket, $0.baseAddress!, 4096) }) {
            bytes += part[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func take() { while let result = client.takeFinished() { results.append(result) } }

    @discardableResult
    func turn(until condition: () -> Bool) -> Bool {
        for _ in 0..<3000 {
            if condition() { return true }
            turn()
        }
        return condition()
    }

    func pass(milliseconds: UInt64) {
        let end = shard.now + milliseconds
        kernel.plan(afterNanoseconds: milliseconds * 1_000_000) {}
        turn(until: { shard.now >= end })
    }

    /// The head the latest connection sent, once it is whole, without its empty line; and what came behind it.
    func asked() -> (lines: [String], body: [UInt8]) {
        turn(until: { readAll(); return received.count > 0 && String(decoding: received, as: UTF8.self).contains("\r\n\r\n") })
        turn()
        readAll()
        let text = String(decoding: received, as: UTF8.self)
        let end = text.utf8.firstRange(of: "\r\n\r\n".utf8)
        let head = text.utf8.distance(from: text.startIndex, to: end?.lowerBound ?? text.startIndex)
        return (String(decoding: received[..<head], as: UTF8.self).components("\r\n"), Array(received[(head + 4)...]))
    }

    private func readAll() {
        guard peers.count == expected, let socket = peers.last?.socket else { return }
        var part = [UInt8](repeating: 0, count: 65536)
        while case .bytes(let count) = part.withUnsafeMutableBytes({ kernel.remoteRead(socket, $0.baseAddress!, 65536) }) {
            received += part[..<count]
        }
    }

    /// Answers on the latest connection, in pieces of so many bytes.
    func answer(_ text: String, pieceBytes: Int = 65536, ends: Bool = false) throws {
        let socket = try #require(peers.last?.socket)
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            let part = Array(bytes[start..<min(start + pieceBytes, bytes.count)])
            _ = part.withUnsafeBytes { kernel.remoteWrite(socket, $0.baseAddress!, part.count) }
            if pieceBytes < bytes.count { turn() }
        }
        if ends { kernel.remoteFinish(socket) }
    }

    /// Turns until an exchange ended.
    func ended(_ count: Int = 1) -> ClientResult? {
        turn(until: { results.count >= count })
        return results.count >= count ? results[count - 1].result : nil
    }

    func failure(_ count: Int = 1) -> ClientFailure? {
        if case .failed(let failure)? = ended(count) { return failure }
        return nil
    }

    func answered(_ count: Int = 1) -> ClientAnswer? {
        if case .answered(let answer)? = ended(count) { return answer }
        return nil
    }

    func upgraded(_ count: Int = 1) -> ClientUpgraded? {
        if case .upgraded(let stream)? = ended(count) { return stream }
        return nil
    }

    /// Nothing is left: no exchange, no slot, no buffer.
    func finish(sourceLocation: SourceLocation = #_sourceLocation) {
        turn(until: { shard.slotsUsed == 0 })
        #expect(client.count == 0, sourceLocation: sourceLocation)
        #expect(shard.slotsUsed == 0, sourceLocation: sourceLocation)
        #expect(shard.buffersHeld == 0, sourceLocation: sourceLocation)
        #expect(kernel.violations == [], sourceLocation: sourceLocation)
        shard.destroy()
        kernel.tearDown()
    }
}

extension String {
    /// The parts between two separators.
    func components(_ separator: String) -> [String] {
        var rest = self[...]
        var parts: [String] = []
        while let range = rest.utf8.firstRange(of: separator.utf8) {
            parts.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return parts + [String(rest)]
    }
}
