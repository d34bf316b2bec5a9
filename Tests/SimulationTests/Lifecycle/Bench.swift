import Engine
import Glibc
import Ring
import Simulator
import Testing

/// A peer that does nothing of its own: the test moves its hands.
final class StillPeer: RemotePeer {
    private(set) var socket: SimulatedSocket?
    func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        return nil
    }
}

/// One shard on a kernel without faults, and everything it said.
final class Bench {
    static let owner = Owner(5)
    static let dialledPort: UInt16 = 7000
    let kernel: SimulatedKernel
    let shard: Shard
    let listener: Int32
    let targetPeer = StillPeer()
    var events: [Event] = []
    /// Received buffers are given back at once unless a test wants to keep them.
    var keepsBuffers = false
    var received: [UInt8] = []

    init(slots: Int = 8, small: Int = 64, bulk: Int = 4, slices: Int = 16, incoming: Int = 1 << 20, outgoing: Int = 1 << 20,
         descriptors: Int = 1024, faults: FaultPlan = FaultPlan(), tls: TLSServerContext? = nil) throws {
        kernel = SimulatedKernel(seed: 1, faults: faults, trace: Trace())
        kernel.incomingBytes = incoming
        kernel.outgoingBytes = outgoing
        kernel.descriptorLimit = descriptors
        var sizes = ShardSizes()
        sizes.slots = slots
        sizes.smallBuffers = small
        sizes.bulkBuffers = bulk
        sizes.slices = slices
        shard = try Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 256), sizes: sizes)
        listener = kernel.openListener()
        let peer = targetPeer
        kernel.dial = { $0 == Bench.dialledPort ? .accept(peer) : .fail(ECONNREFUSED) }
        shard.listen(listener, owner: Bench.owner, tag: 42, tls: tls)
    }

    /// Turns until the condition holds; false after 2,000 turns.
    @discardableResult
    func turn(until condition: () -> Bool) -> Bool {
        for _ in 0..<2000 {
            if condition() { return true }
            turn()
        }
        return condition()
    }

    func turn() {
        var event = Event()
        shard.turn()
        while shard.next(&event) {
            events.append(event)
            guard event.kind == .received else { continue }
            received += UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count)
            if !keepsBuffers { shard.release(event.buffer) }
        }
    }

    func turns(_ count: Int) { for _ in 0..<count { turn() } }

    func count(_ kind: Event.Kind) -> Int { events.filter { $0.kind == kind }.count }
    func last(_ kind: Event.Kind) -> Event? { events.last { $0.kind == kind } }

    /// A client that is accepted: its socket and the slot.
    func accept() throws -> (SimulatedSocket, SlotIndex) {
        let before = count(.accepted)
        let socket = try #require(kernel.connectClient(to: listener, port: 2000, backlogMaximum: 8, peer: StillPeer()))
        turn(until: { count(.accepted) > before })
        let slot = try #require(last(.accepted)).slot
        shard.transfer(slot, to: Bench.owner, context: 77)
        return (socket, slot)
    }

    /// A client whose TLS handshake is complete.
    func acceptSecure() throws -> (SimulatedSocket, SlotIndex) {
        let before = count(.accepted)
        let socket = try #require(kernel.connectClient(to: listener, port: 2000, backlogMaximum: 8, peer: StillPeer()))
        socket.layer = SecureLayer(client: SecureContexts.client)
        turn(until: { count(.accepted) > before })
        let slot = try #require(last(.accepted)).slot
        shard.transfer(slot, to: Bench.owner, context: 77)
        return (socket, slot)
    }

    func connect(port: UInt16 = Bench.dialledPort) -> SlotIndex {
        var error: Int32 = 0
        return shard.connect(
            to: SocketAddress(ipv4: (127, 0, 0, 1), port: port), owner: Bench.owner, context: 78, error: &error)
    }

    /// Queues bytes in as many small buffers as they need.
    func send(_ slot: SlotIndex, _ bytes: [UInt8]) throws {
        for start in stride(from: 0, to: bytes.count, by: 4096) {
            let part = bytes[start..<min(start + 4096, bytes.count)]
            let buffer = try #require(shard.acquire())
            part.withUnsafeBytes { shard.bytes(buffer).copyMemory(from: $0.baseAddress!, byteCount: part.count) }
            shard.send(slot, buffer, start: 0, count: part.count)
        }
    }

    func write(_ socket: SimulatedSocket, _ bytes: [UInt8]) -> Int {
        bytes.withUnsafeBytes { kernel.remoteWrite(socket, $0.baseAddress!, bytes.count) }
    }

    /// All that the remote end can read now.
    func read(_ socket: SimulatedSocket) -> [UInt8] {
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65536)
        while case .bytes(let count) = part.withUnsafeMutableBytes({ kernel.remoteRead(socket, $0.baseAddress!, 65536) }) {
            all += part[..<count]
        }
        return all
    }

    func state(_ socket: SimulatedSocket) -> SimulatedKernel.RemoteRead {
        var byte: UInt8 = 0
        return kernel.remoteRead(socket, &byte, 1)
    }

    /// Closes everything and checks that nothing is left.
    func finish(sourceLocation: SourceLocation = #_sourceLocation) {
        shard.closeListeners()
        turn(until: { shard.slotsUsed == 0 && shard.listenersClosed && kernel.isSettled })
        #expect(shard.slotsUsed == 0, sourceLocation: sourceLocation)
        #expect(shard.buffersHeld == 0, sourceLocation: sourceLocation)
        #expect(kernel.openDescriptors == 0, sourceLocation: sourceLocation)
        #expect(kernel.violations == [], sourceLocation: sourceLocation)
        shard.destroy()
        kernel.tearDown()
    }

    static func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }
}
