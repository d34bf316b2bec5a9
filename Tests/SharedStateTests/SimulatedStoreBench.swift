import Engine
import Glibc
import HTTP
import Policy
import Ring
import Simulator
import Testing

@testable import SharedState

/// The store's end of a connection: the test moves its hands.
final class StorePeer: RemotePeer {
    private(set) var socket: SimulatedSocket?
    func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        return nil
    }
}

/// A `SharedStore` on a shard of a kernel without faults, and a store that the test plays.
final class SimulatedStoreBench {
    static let owner = Owner(8)
    static let port: UInt16 = 6379
    let kernel = SimulatedKernel(seed: 3, faults: FaultPlan(), trace: Trace())
    let shard: Shard
    let limits = SharedLimits()
    let counters = StoreCounters()
    private(set) var store: SharedStore!
    /// Connections the store accepted, in order.
    private(set) var peers: [StorePeer] = []
    /// What the operator was told.
    private(set) var notices: [String] = []
    var isListening = true
    private var received: [UInt8] = []

    init(_ url: String? = "redis://10.0.0.9") throws {
        var sizes = ShardSizes()
        sizes.slots = 8
        sizes.smallBuffers = 256
        sizes.bulkBuffers = 4
        kernel.incomingBytes = 1 << 20
        kernel.outgoingBytes = 1 << 20
        shard = try Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 256), sizes: sizes)
        kernel.dial = { [unowned self] port in
            guard port == Self.port, isListening else { return .fail(ECONNREFUSED) }
            let peer = StorePeer()
            peers.append(peer)
            return .accept(peer)
        }
        store = SharedStore(shard: shard, owner: Self.owner, timer: 3, limits: limits, counters: counters) { [unowned self] notice in
            switch notice {
            case .connected(let location): notices.append("connected \(location)")
            case .lost(let location, let reason): notices.append("lost \(location): \(reason)")
            case .left(let location): notices.append("left \(location)")
            }
        }
        if let url { store.apply(RedisSettings(location: try #require(RedisLocation(url)))) }
    }

    func turn() {
        var event = Event()
        shard.turn()
        while shard.next(&event) {
            if event.owner == Self.owner { store.handle(event) }
            if event.kind == .shardTimer, event.detail == 3 { store.timePassed() }
        }
        store.pump()
    }

    @discardableResult
    func turn(until condition: () -> Bool) -> Bool {
        for _ in 0..<3000 {
            if condition() { return true }
            turn()
        }
        return condition()
    }

    /// Turns for so much simulated time.
    func pass(milliseconds: UInt64) {
        let end = shard.now + milliseconds
        turn(until: { shard.now >= end })
    }

    private var socket: SimulatedSocket? { peers.last?.socket }

    /// The next command the latest connection sent, nil when none came within the time.
    func command(within milliseconds: UInt64 = 150) -> [String]? {
        let end = shard.now + milliseconds
        while true {
            if let command = takeCommand() { return command }
            if shard.now >= end { return nil }
            turn()
        }
    }

    /// The next command that is not a pulse; pulses are answered with nothing new.
    func request() throws -> [String] {
        while let command = command(within: 1000) {
            guard command.count > 1, command[1] == RedisScript.pulse.digest else { return command }
            write("*3\r\n*0\r\n:0\r\n:0\r\n")
        }
        throw Silence()
    }
    struct Silence: Error {}

    private func takeCommand() -> [String]? {
        if let socket {
            var part = [UInt8](repeating: 0, count: 65536)
            while case .bytes(let count) = part.withUnsafeMutableBytes({ kernel.remoteRead(socket, $0.baseAddress!, 65536) }) {
                received += part[..<count]
            }
        }
        var index = 0
        func number(_ mark: UInt8) -> Int? {
            guard index < received.count, received[index] == mark, let end = received[index...].firstIndex(of: 10) else { return nil }
            defer { index = end + 1 }
            return Int(String(decoding: received[(index + 1)..<(end - 1)], as: UTF8.self))
        }
        guard let count = number(UInt8(ascii: "*")) else { return nil }
        var words: [String] = []
        for _ in 0..<count {
            guard let length = number(UInt8(ascii: "$")), index + length + 2 <= received.count else { return nil }
            words.append(String(decoding: received[index..<(index + length)], as: UTF8.self))
            index += length + 2
        }
        received.removeFirst(index)
        return words
    }

    /// The store says something; `bytewise`: in as many segments as bytes.
    func write(_ text: String, bytewise: Bool = false) {
        guard let socket else { return }
        let bytes = Array(text.utf8)
        for part in bytewise ? bytes.map({ [$0] }) : [bytes] {
            _ = part.withUnsafeBytes { kernel.remoteWrite(socket, $0.baseAddress!, $0.count) }
            if bytewise { turn() }
        }
    }

    func closeConnection() { if let socket { kernel.remoteFinish(socket) } }

    /// Plays the greeting up to the pulse that follows it.
    func greet(bytewise: Bool = false) throws {
        received = []
        #expect(turn(until: { self.peers.last?.socket != nil }))
        #expect(try #require(command())[0] == "SELECT")
        write("+OK\r\n", bytewise: bytewise)
        let introduction = try #require(command())
        #expect(introduction[0] == "SET" && introduction[3...] == ["PX", "10000"])
        write("+OK\r\n", bytewise: bytewise)
        #expect(turn(until: { self.counters.read(.connected) == 1 }))
    }

    func forgetReceived() { received = [] }

    /// Asks for a place; the claim.
    func claim(_ session: String = "s", limit: Int = 2) throws -> PlaceClaim {
        let admission = limits.places.admit(
            session: session, address: "", limits: PlaceLimits(session: session.isEmpty ? 0 : limit, address: 0),
            for: PlaceWaiter(shard: 0, owner: Owner(2), context: 0))
        guard case .pending(let claim) = admission else { throw Silence() }
        return claim
    }

    /// Ends the conversation and checks that nothing is left.
    func finish(sourceLocation: SourceLocation = #_sourceLocation) {
        store.apply(nil)
        for peer in peers { if let socket = peer.socket { kernel.remoteClose(socket) } }
        turn(until: { shard.slotsUsed == 0 && kernel.isSettled })
        #expect(shard.slotsUsed == 0, sourceLocation: sourceLocation)
        #expect(shard.buffersHeld == 0, sourceLocation: sourceLocation)
        #expect(kernel.violations == [], sourceLocation: sourceLocation)
        shard.destroy()
        kernel.tearDown()
    }
}
