import Engine
import Glibc
import Simulator
import Testing

/// What waits at a socket without room.
@Suite struct DatagramQueueTests {
    static let owner = Owner(6)

    /// A burst once made the kernel be offered half of all packet buffers. Those are free all the same: output that waits may have
    /// some of the others.
    @Test func outputWaitsHoweverManyBuffersAreOffered() throws {
        let kernel = SimulatedKernel(seed: 3, faults: FaultPlan(), trace: Trace())
        kernel.incomingBytes = 4 << 20
        kernel.outgoingBytes = 1000
        kernel.descriptorLimit = 64
        var sizes = ShardSizes()
        sizes.slots = 8
        sizes.smallBuffers = 64
        sizes.bulkBuffers = 1
        let shard = try Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 4096), sizes: sizes)
        var sockets: [SimulatedSocket] = []
        var left: [[UInt8]] = []
        kernel.datagramOpened = { sockets.append($0) }
        kernel.datagramLeft = { left.append($2) }
        var options = DatagramOptions()
        options.reading = .packets
        var error: Int32 = 0
        let slot = shard.openDatagrams(at: SocketAddress(anyOf: AF_INET), options: options, owner: Self.owner, context: 0, error: &error)
        try #require(slot != .none)
        shard.resumeReceive(slot)
        func turns(_ count: Int) {
            var event = Event()
            for _ in 0..<count {
                shard.turnSoon()
                shard.turn()
                while shard.next(&event) { if event.kind == .datagrams { shard.release(event.buffer) } }
            }
        }
        // Each time the kernel finds no buffer, twice as many are offered.
        kernel.faults.noBuffer = 1_000_000
        for _ in 0..<8 {
            kernel.deliver([[1]], from: 9000, to: sockets[0])
            turns(4)
        }
        kernel.faults.noBuffer = 0
        turns(20)
        #expect(shard.statistics.read(.datagramReceivesStarved) >= 3)
        #expect(Int(shard.statistics.read(.buffersPacketOffered)) == EngineLimits.packetsOfferedMaximum)
        let payload = try #require(shard.acquire())
        for number in 0..<4 {
            // Each longer than the one before, so that each leaves alone; the first fills the socket.
            let place = shard.bytes(payload) + number * 1000
            memset(place, Int32(number), 1000)
            shard.sendDatagram(slot, to: SocketAddress(ipv4: (127, 0, 0, 1), port: 9000), place, count: 900 + number)
        }
        shard.releaseAfterSends(payload)
        turns(50)
        #expect(shard.statistics.read(.datagramSendsDelayed) > 0 && shard.statistics.read(.datagramsDroppedFull) == 0)
        #expect(left == (0..<4).map { [UInt8](repeating: UInt8($0), count: 900 + $0) })
        shard.close(slot)
        turns(20)
        #expect(shard.slotsUsed == 0 && shard.buffersHeld == 0 && kernel.violations.isEmpty)
        shard.destroy()
        kernel.tearDown()
    }
}
