import Engine
import Foundation
import Glibc
import HTTP
import Policy
import Ring
import Simulator
import Testing
import UDPRelay

/// One `/udp` WebSocket whose client is moved by hand, on a kernel without faults.
final class RelayBench {
    /// A frame of the server.
    struct Heard: Equatable {
        let opcode: UInt8
        let payload: [UInt8]

        var text: String { String(decoding: payload, as: UTF8.self) }
        var closeCode: Int { payload.count >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 0 }
        var closeReason: String { String(decoding: payload.dropFirst(2), as: UTF8.self) }
    }

    let kernel = SimulatedKernel(seed: 1, faults: FaultPlan(), trace: Trace())
    let shard: Shard
    let loop: RelayLoop
    let shared: RelayShared
    private let listener: Int32
    private(set) var socket: SimulatedSocket
    /// What left: from, to, payload.
    private(set) var left: [(socket: SimulatedSocket, port: UInt16, payload: [UInt8])] = []
    private var input: [UInt8] = []
    private var head: [UInt8] = []
    private(set) var sawEnd = false
    /// Called behind every turn's events.
    var observe: () -> Void = {}

    init(_ settings: RelaySettings = RelaySettings(), access: RelayAccess = .open, authorization: String? = nil, outgoing: Int = 1 << 20,
         small: Int = 2000, packets: Int = 1000, trains: Int = 64, connections: Int = 16, sockets: Int = 4096) throws {
        kernel.incomingBytes = 4 << 20
        kernel.outgoingBytes = outgoing
        kernel.descriptorLimit = 8192
        var sizes = ShardSizes()
        sizes.slots = 4096
        sizes.smallBuffers = small
        sizes.bulkBuffers = 8
        sizes.packetBuffers = packets
        sizes.trainBuffers = trains
        shard = try Shard(index: 0, ring: kernel.openRing(entries: 512, completions: 4096), sizes: sizes)
        shared = RelayShared(settings: settings, access: access, destinations: RelayDestinations(RelayDestinationSettings(preset: "dev")!))
        loop = RelayLoop(shard: shard, shared: shared, connections: connections, sockets: sockets)
        listener = kernel.openListener()
        shard.listen(listener, owner: RelayLoop.httpOwner, tag: 9)
        socket = try #require(kernel.connectClient(to: listener, port: 2000, backlogMaximum: 4, peer: StillPeer()))
        kernel.datagramLeft = { [unowned self] in left.append(($0, $1, $2)) }
        write(Self.request(authorization))
        turns(10)
    }

    static func request(_ authorization: String?) -> [UInt8] {
        let field = authorization.map { "Authorization: \($0)\r\n" } ?? ""
        return Array(("GET /udp HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\(field)\r\n").utf8)
    }

    /// Lets another client in, as the first one's successor or beside it; what is heard is the new one's from now on.
    func reconnect(authorization: String? = nil) throws {
        socket = try #require(kernel.connectClient(to: listener, port: 2001, backlogMaximum: 4, peer: StillPeer()))
        (input, head, sawEnd) = ([], [], false)
        write(Self.request(authorization))
        turns(10)
    }

    var counters: RelayCounters { loop.relay.counters }

    /// Turns that do not wait: hardly any time passes.
    func turns(_ count: Int) {
        for _ in 0..<count {
            shard.turnSoon()
            turn()
        }
    }

    private func turn() {
        var event = Event()
        shard.turn()
        while shard.next(&event) { loop.dispatch(event) }
        loop.relay.endTurn()
        observe()
    }

    /// Turns until so much time has passed.
    func wait(milliseconds: UInt64) {
        let end = kernel.nanoseconds + milliseconds * 1_000_000
        while kernel.nanoseconds < end { turns(1) }
    }

    func write(_ bytes: [UInt8]) {
        #expect(bytes.withUnsafeBytes { kernel.remoteWrite(socket, $0.baseAddress!, $0.count) } == bytes.count)
    }

    /// One message; its mask is zero.
    static func message(_ opcode: UInt8, _ payload: [UInt8]) -> [UInt8] {
        let length: [UInt8] = payload.count < 126 ? [0x80 | UInt8(payload.count)]
            : [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        return [0x80 | opcode] + length + [0, 0, 0, 0] + payload
    }

    static func frame(_ guest: Int, _ remote: UInt16, _ payload: [UInt8]) -> [UInt8] {
        message(2, [UInt8(guest >> 8), UInt8(guest & 255), 127, 0, 0, 1, UInt8(remote >> 8), UInt8(remote & 255)] + payload)
    }

    /// Everything that came since it was last asked.
    func hear() -> [Heard] {
        var chunk = [UInt8](repeating: 0, count: 65536)
        reading: while true {
            switch kernel.remoteRead(socket, &chunk, chunk.count) {
            case .bytes(let count): input += chunk[..<count]
            case .end, .lost:
                sawEnd = true
                break reading
            case .nothing: break reading
            }
        }
        if head.isEmpty, let end = input.firstRange(of: Array("\r\n\r\n".utf8)) {
            head = Array(input[..<end.upperBound])
            input.removeFirst(end.upperBound)
        }
        var heard: [Heard] = []
        var at = 0
        while status.hasPrefix("HTTP/1.1 101 "), input.count - at >= 2 {
            var (length, start) = (Int(input[at + 1]), at + 2)
            if length == 126 {
                guard input.count - at >= 4 else { break }
                (length, start) = (Int(input[at + 2]) << 8 | Int(input[at + 3]), at + 4)
            }
            guard input.count >= start + length else { break }
            heard.append(Heard(opcode: input[at] & 15, payload: Array(input[start..<start + length])))
            at = start + length
        }
        input.removeFirst(at)
        return heard
    }

    /// What follows the head of an answer that is no WebSocket.
    var body: String { String(decoding: input, as: UTF8.self) }

    var status: String { String(decoding: head, as: UTF8.self) }
    /// What stands behind the head and is no message.
    var rest: String { String(decoding: input, as: UTF8.self) }

    /// Closes everything; what was not given back is a fault.
    func finish() {
        kernel.remoteReset(socket)
        shard.closeListeners()
        for _ in 0..<10_000 where shard.slotsUsed > 0 || !shard.listenersClosed { turn() }
        let isDone = shard.slotsUsed == 0 && shard.buffersHeld == 0 && kernel.openDescriptors == 0 && loop.isEmpty
        #expect(isDone && kernel.violations.isEmpty)
        if isDone {
            loop.destroy()
            shard.destroy()
        }
        kernel.tearDown()
    }
}
