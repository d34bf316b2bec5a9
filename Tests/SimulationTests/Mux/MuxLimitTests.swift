import Engine
import Glibc
import HTTP
import Policy
import Ring
import Simulator
import TCPMux
import Testing
import Wire

/// One multiplexed WebSocket whose client is moved by hand.
private final class MuxBench {
    let kernel = SimulatedKernel(seed: 1, faults: FaultPlan(), trace: Trace())
    let shard: Shard
    let loop: MuxLoop
    let socket: SimulatedSocket
    private let target = SilentPeer()
    private let listener: Int32
    /// Called behind every event.
    var observe: () -> Void = {}

    final class SilentPeer: RemotePeer {
        func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? { nil }
    }

    init(small: Int = 400, outgoing: Int = 65536, maxConnections: Int = 64) throws {
        kernel.incomingBytes = 1 << 20
        kernel.outgoingBytes = outgoing
        let peer = target
        kernel.dial = { _ in .accept(peer) }
        var sizes = ShardSizes()
        sizes.slots = 16
        sizes.smallBuffers = small
        sizes.bulkBuffers = 8
        shard = try Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 256), sizes: sizes)
        var tcp = GatewaySettings.TCPSettings()
        tcp.allowPrivateAddresses = true
        tcp.maxConnections = maxConnections
        loop = MuxLoop(shard: shard, tcp: tcp, mux: GatewaySettings.MuxSettings(), connections: 16)
        listener = kernel.openListener()
        shard.listen(listener, owner: MuxLoop.httpOwner, tag: 9)
        socket = try #require(kernel.connectClient(to: listener, port: 2000, backlogMaximum: 4, peer: SilentPeer()))
        write(Array(("GET /tcp-mux HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: aero-tcp-mux-v1\r\n\r\n").utf8))
        turns(10)
        #expect(loop.mux.count == 1)
    }

    func turns(_ count: Int) {
        var event = Event()
        for _ in 0..<count {
            shard.turn()
            while shard.next(&event) {
                loop.dispatch(event)
                observe()
            }
            loop.mux.endTurn()
        }
    }

    func write(_ bytes: [UInt8]) { #expect(bytes.withUnsafeBytes { kernel.remoteWrite(socket, $0.baseAddress!, $0.count) } == bytes.count) }

    /// One binary message; its mask is zero.
    static func message(_ payload: [UInt8]) -> [UInt8] {
        let length: [UInt8] = payload.count < 126 ? [0x80 | UInt8(payload.count)]
            : [0x80 | 127, 0, 0, 0, 0, UInt8(payload.count >> 24), UInt8(payload.count >> 16 & 0xFF), UInt8(payload.count >> 8 & 0xFF),
               UInt8(payload.count & 0xFF)]
        return [0x82] + length + [0, 0, 0, 0] + payload
    }

    static func frame(_ type: UInt8, _ stream: UInt8, _ payload: [UInt8] = []) -> [UInt8] {
        [type, 0, 0, 0, stream, 0, 0, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)] + payload
    }

    static func open(_ stream: UInt8, host: String = "127.0.0.1") -> [UInt8] { frame(1, stream, MuxOpen.encode(host: host, port: 80)!) }

    /// All buffers that are in the pool.
    func takeAll() -> [BufferIndex] {
        var taken: [BufferIndex] = []
        while let buffer = shard.acquire() { taken.append(buffer) }
        return taken
    }

    func finish() {
        observe = {}
        kernel.remoteReset(socket)
        shard.closeListeners()
        for _ in 0..<2000 where shard.slotsUsed > 0 || !shard.listenersClosed || !kernel.isSettled { turns(1) }
        #expect(shard.slotsUsed == 0 && shard.buffersHeld == 0 && loop.isEmpty && kernel.violations == [])
        loop.destroy()
        shard.destroy()
        kernel.tearDown()
    }
}

/// What one client of `/tcp-mux` may take from others, and what happens without buffers.
@Suite struct MuxLimitTests {
    /// A client that opens and resets at once would have any number of names looked up at a time.
    @Test func aLookupCountsUntilItEnds() throws {
        let bench = try MuxBench()
        // Look-ups of this domain fail without being sent (RFC 7686), but their answers come later.
        let pair = MuxBench.open(7, host: "name.onion") + MuxBench.frame(3, 7, [MuxClose.reset])
        bench.write(MuxBench.message(pair + pair + pair))
        var counts: [Int] = []
        bench.observe = { [loop = bench.loop] in
            if loop.mux.streamCount == 0 { counts.append(loop.sharedLimits.lookups.count("session")) }
        }
        bench.turns(10)
        #expect(counts.contains(3) && counts.last == 0)
        bench.finish()
    }

    @Test func anOpenInPiecesMayEndTheWebSocket() throws {
        let bench = try MuxBench(maxConnections: 1)
        bench.write(MuxBench.message(MuxBench.open(1)))
        bench.turns(10)
        #expect(bench.loop.mux.streamCount == 1)
        // The second is refused for want of a place, and there is no buffer to say so.
        var taken = bench.takeAll()
        let message = MuxBench.message(MuxBench.open(2))
        bench.write(Array(message[..<24]))
        bench.turns(5)
        taken += bench.takeAll()
        bench.write(Array(message[24...]))
        bench.turns(5)
        #expect(bench.loop.mux.counters.read(.outOfBuffers) == 1)
        taken.forEach(bench.shard.release)
        bench.finish()
    }

    /// Nine bytes that ask for forty, from a client that takes none of them.
    @Test func answersThatAreNotTakenLeaveBuffersToOthers() throws {
        let bench = try MuxBench(small: 560, outgoing: 512)
        let frames = (0..<1000).flatMap { _ in MuxBench.frame(0xFF, 1) }
        bench.write((0..<60).flatMap { _ in MuxBench.message(frames) })
        for _ in 0..<50 { bench.turns(2) }
        #expect(bench.loop.mux.counters.read(.outOfBuffers) == 1)
        let before = bench.shard.now
        for _ in 0..<500 where bench.shard.buffersHeld > 0 { bench.turns(1) }
        #expect(bench.shard.buffersHeld == 0 && bench.shard.now - before < 5000)
        bench.finish()
    }
}
