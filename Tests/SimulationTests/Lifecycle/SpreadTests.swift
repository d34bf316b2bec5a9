import Engine
import Glibc
import Simulator
import Testing

/// Trains on their way to a stream.
@Suite struct SpreadTests {
    /// A header of so many bytes, each another, that ends with the datagram's length.
    private static func header(_ count: Int, _ payloadBytes: Int) -> [UInt8] {
        (1..<count).map { UInt8(0xA0 + $0) } + [UInt8(truncatingIfNeeded: payloadBytes)]
    }

    /// A train buffer with a pattern where a received train would lie, and the same with headers between.
    private func train(_ shard: Shard, count: Int, segment: Int, header: Int = 4) throws -> (buffer: BufferIndex, expected: [UInt8]) {
        let buffer = try #require(shard.acquire(.train))
        let bytes = Bench.pattern(count)
        memcpy(shard.bytes(buffer) + EngineLimits.datagramMetadataBytes, bytes, count)
        var expected: [UInt8] = []
        for start in stride(from: 0, to: max(count, 1), by: segment) {
            let part = bytes[start..<min(start + segment, count)]
            expected += Self.header(header, part.count) + part
        }
        return (buffer, expected)
    }

    private func spread(_ shard: Shard, _ slot: SlotIndex, _ buffer: BufferIndex, count: Int, segment: Int, header: Int = 4) -> Bool {
        let last = count - max(0, count - 1) / segment * segment
        return shard.sendSpread(
            slot, buffer, start: EngineLimits.datagramMetadataBytes, count: count, segmentBytes: segment, headerBytes: header,
            header: Self.header(header, segment), lastHeader: Self.header(header, last))
    }

    @Test(arguments: [(0, 1), (1, 1), (100, 100), (5000, 1200), (65_000, 1200), (6400, 50), (128, 1), (65_527, 512)])
    func everyDatagramGetsItsHeader(count: Int, segment: Int) throws {
        // Every way of copying a header, and both ends of it.
        for header in [4, 7, 8, 13, 15, 16, 28, 32] {
            let bench = try Bench()
            let (socket, slot) = try bench.accept()
            let (buffer, expected) = try train(bench.shard, count: count, segment: segment, header: header)
            #expect(spread(bench.shard, slot, buffer, count: count, segment: segment, header: header))
            bench.turns(5)
            #expect(bench.read(socket) == expected)
            bench.shard.close(slot)
            bench.finish()
        }
    }

    /// Trains among other output, through short writes and a full socket.
    @Test func trainsKeepTheirPlaceInTheQueue() throws {
        var faults = FaultPlan()
        faults.shortWrite = 600_000
        let bench = try Bench(outgoing: 3000, faults: faults)
        let (socket, slot) = try bench.accept()
        var expected: [UInt8] = []
        for (count, segment) in [(3000, 500), (10, 10), (64_000, 1000), (1, 1)] {
            let (buffer, bytes) = try train(bench.shard, count: count, segment: segment)
            #expect(spread(bench.shard, slot, buffer, count: count, segment: segment))
            try bench.send(slot, [1, 2, 3])
            #expect(bench.shard.append(slot, [4, 5] as [UInt8], 2))
            expected += bytes + [1, 2, 3, 4, 5]
        }
        var read: [UInt8] = []
        bench.turn(until: {
            read += bench.read(socket)
            return read.count >= expected.count
        })
        #expect(read == expected)
        bench.shard.close(slot)
        bench.finish()
    }

    /// The same through TLS, whose records begin in front of the headers.
    @Test func trainsAreEncryptedWhereTheyLie() throws {
        let bench = try Bench()
        bench.kernel.dialledLayer = { SecureLayer(server: SecureContexts.server) }
        var error: Int32 = 0
        let slot = bench.shard.connect(
            to: SocketAddress(ipv4: (127, 0, 0, 1), port: Bench.dialledPort), owner: Bench.owner, context: 78, error: &error,
            tls: try TLSClientContext(authoritiesPath: SecureContexts.authoritiesPath), serverName: SecureContexts.name)
        var read: [UInt8] = []
        func pump(_ count: Int) -> Bool {
            bench.turn(until: {
                if let socket = bench.targetPeer.socket { read += bench.read(socket) }
                return read.count >= count
            })
        }
        #expect(bench.turn(until: {
            _ = pump(0)
            return bench.count(.connected) == 1
        }))
        var expected: [UInt8] = []
        for (count, segment) in [(65_000, 1200), (6400, 50), (10, 10), (65_527, 512)] {
            let (buffer, bytes) = try train(bench.shard, count: count, segment: segment)
            #expect(spread(bench.shard, slot, buffer, count: count, segment: segment))
            try bench.send(slot, [1, 2, 3])
            expected += bytes + [1, 2, 3]
        }
        #expect(pump(expected.count) && read == expected)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func whatHasNoRoomForItsHeadersStaysTheCallers() throws {
        let bench = try Bench()
        let (_, slot) = try bench.accept()
        let (buffer, _) = try train(bench.shard, count: 2000, segment: 1)
        #expect(!spread(bench.shard, slot, buffer, count: 2000, segment: 1))
        bench.shard.release(buffer)
        bench.shard.close(slot)
        bench.finish()
    }

    /// Small datagrams are appended behind one that travels in its own packet buffer.
    @Test func messagesAreAppendedToAPacket() throws {
        let bench = try Bench()
        let (socket, slot) = try bench.accept()
        let buffer = try #require(bench.shard.acquire(.packet))
        let start = EngineLimits.datagramMetadataBytes
        memcpy(bench.shard.bytes(buffer) + start, Bench.pattern(100), 100)
        bench.shard.send(slot, buffer, start: start, count: 100)
        let place = try #require(bench.shard.reserveMessage(slot, 50))
        memcpy(place, Bench.pattern(50), 50)
        bench.shard.commitMessage(slot, 50)
        #expect(bench.shard.reserveMessage(slot, EngineLimits.packetBytes - 149) == nil)
        #expect(bench.shard.queuedBuffers(slot) == 1)
        bench.turns(5)
        #expect(bench.read(socket) == Bench.pattern(100) + Bench.pattern(50))
        bench.shard.close(slot)
        bench.finish()
    }
}
