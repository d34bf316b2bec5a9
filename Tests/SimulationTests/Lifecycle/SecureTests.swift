import Engine
import Glibc
import Simulator
import Testing

/// TLS at its limits: what a peer may send beside data, and what happens without buffers.
@Suite struct SecureTests {
    private func bench(small: Int = 64, outgoing: Int = 1 << 20) throws -> Bench {
        try Bench(small: small, outgoing: outgoing, tls: try TLSServerContext([SecureContexts.pair], tickets: nil))
    }

    @Test func aFewKeyUpdatesAreAnswered() throws {
        let bench = try bench()
        let (socket, slot) = try bench.acceptSecure()
        bench.shard.resumeReceive(slot)
        let layer = try #require(socket.layer)
        for number in 1...40 as ClosedRange<UInt8> {
            #expect(layer.updateKeys(socket, bench.kernel))
            #expect(bench.write(socket, [number]) == 1)
            bench.turns(3)
            try bench.send(slot, [number])
            bench.turns(3)
            #expect(bench.read(socket) == [number])
        }
        #expect(bench.received == Array(1...40) && bench.count(.failed) == 0)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aFloodOfKeyUpdatesEndsTheStream() throws {
        let bench = try bench()
        let (socket, slot) = try bench.acceptSecure()
        bench.shard.resumeReceive(slot)
        let layer = try #require(socket.layer)
        for _ in 0..<20 where bench.count(.failed) == 0 {
            for _ in 0..<1000 { _ = layer.updateKeys(socket, bench.kernel) }
            bench.turns(3)
            _ = bench.read(socket)
        }
        #expect(bench.last(.failed)?.result == EPROTO)
        #expect(bench.shard.secureFailure(slot) == "too many messages beside data")
        bench.shard.close(slot)
        bench.finish()
    }

    /// Answers nobody takes hold few buffers, however slowly they are asked for.
    @Test func answersThatAreNotTakenDoNotPileUp() throws {
        let bench = try bench(small: 256, outgoing: 256)
        let (socket, slot) = try bench.acceptSecure()
        bench.shard.resumeReceive(slot)
        let layer = try #require(socket.layer)
        socket.readsNothing = true
        var most = 0
        for _ in 0..<400 where bench.count(.failed) == 0 {
            _ = layer.updateKeys(socket, bench.kernel)
            bench.turns(3)
            most = max(most, bench.shard.buffersHeld)
            bench.shard.setShardTimer(0, afterMilliseconds: EngineLimits.sessionMessageMilliseconds * 3)
            let due = bench.count(.shardTimer)
            bench.turn(until: { bench.count(.shardTimer) > due })
        }
        #expect(bench.last(.failed)?.result == EPROTO)
        #expect(most <= Int(EngineLimits.sessionAnswersMaximum) + 2)
        bench.shard.close(slot)
        bench.finish()
    }

    /// The other half goes on when this one has said close_notify: an answer behind it would break the stream.
    @Test func afterItsCloseAStreamStillReadsAndAnswersNothing() throws {
        let bench = try bench()
        let (socket, slot) = try bench.acceptSecure()
        bench.shard.resumeReceive(slot)
        bench.shard.finish(slot)
        bench.turns(5)
        #expect(bench.read(socket) == [] && bench.state(socket) == .end)
        let layer = try #require(socket.layer)
        for number in 1...3 as ClosedRange<UInt8> {
            #expect(layer.updateKeys(socket, bench.kernel))
            bench.turns(3)
            #expect(bench.write(socket, [number]) == 1)
            bench.turns(3)
        }
        bench.kernel.remoteFinish(socket)
        #expect(bench.turn(until: { bench.count(.ended) == 1 }))
        #expect(bench.received == [1, 2, 3] && bench.count(.failed) == 0)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aHandshakeNeverTakesBulkBuffers() throws {
        let bench = try bench()
        let socket = try #require(bench.kernel.connectClient(to: bench.listener, port: 2000, backlogMaximum: 8, peer: StillPeer()))
        // A ClientHello that goes on and on: one record after the other.
        let record: [UInt8] = [22, 3, 1, 0x40, 0] + [1, 1, 0xFF, 0xFF] + [UInt8](repeating: 3, count: 0x4000 - 4)
        _ = bench.write(socket, record + record + record)
        bench.turns(60)
        #expect(bench.shard.statistics.read(.buffersBulkOffered) == 0)
        #expect(bench.shard.statistics.read(.receives) > 4)
        bench.kernel.remoteClose(socket)
        bench.finish()
    }

    @Test func aHandshakeWaitsForBuffersAsleep() throws {
        let bench = try bench()
        bench.turn()
        var taken: [BufferIndex] = []
        while let buffer = bench.shard.acquire() { taken.append(buffer) }
        let socket = try #require(bench.kernel.connectClient(to: bench.listener, port: 2000, backlogMaximum: 8, peer: StillPeer()))
        socket.layer = SecureLayer(client: SecureContexts.client)
        bench.turns(20)
        let before = bench.shard.now
        bench.turns(200)
        #expect(bench.shard.now >= before + 150 && bench.count(.accepted) == 0)
        taken.forEach(bench.shard.release)
        #expect(bench.turn(until: { bench.count(.accepted) == 1 }))
        bench.shard.close(try #require(bench.last(.accepted)).slot)
        bench.finish()
    }

    /// The first flight is longer than the one buffer there is: it leaves piece by piece.
    @Test func aFlightThatFoundTooFewBuffersIsNotLost() throws {
        let pair = SecureContexts.pair
        let long = TLSServerContext.Pair(chain: pair.chain + (0..<12).flatMap { _ in pair.chain }, key: pair.key)
        let bench = try Bench(small: 64, tls: try TLSServerContext([long], tickets: nil))
        bench.turn()
        var taken: [BufferIndex] = []
        while let buffer = bench.shard.acquire() { taken.append(buffer) }
        bench.shard.release(taken.removeLast())
        let socket = try #require(bench.kernel.connectClient(to: bench.listener, port: 2000, backlogMaximum: 8, peer: StillPeer()))
        socket.layer = SecureLayer(client: SecureContexts.client)
        #expect(bench.turn(until: { bench.count(.accepted) == 1 }))
        bench.turns(30)
        #expect(bench.count(.failed) == 0 && bench.shard.statistics.read(.tlsHandshakesFailed) == 0)
        taken.forEach(bench.shard.release)
        bench.shard.close(try #require(bench.last(.accepted)).slot)
        bench.finish()
    }
}

/// Whom a dialled stream believes.
@Suite struct SecureConnectTests {
    private func outcome(_ name: String, authorities: String?) throws -> (connected: Bool, error: Int32?, reason: String?, read: [UInt8]) {
        let bench = try Bench()
        bench.kernel.dialledLayer = { SecureLayer(server: SecureContexts.server) }
        let context = try TLSClientContext(authoritiesPath: authorities)
        var error: Int32 = 0
        let slot = bench.shard.connect(
            to: SocketAddress(ipv4: (127, 0, 0, 1), port: Bench.dialledPort), owner: Bench.owner, context: 78, error: &error, tls: context,
            serverName: name)
        try bench.send(slot, Array("for the right server only".utf8))
        bench.turn(until: { bench.count(.connected) + bench.count(.failed) == 1 })
        bench.turns(5)
        let result = (
            bench.count(.connected) == 1, bench.last(.failed)?.result, bench.shard.secureFailure(slot),
            bench.read(try #require(bench.targetPeer.socket)))
        bench.shard.close(slot)
        bench.finish()
        return result
    }

    @Test func theRightServerIsConnected() throws {
        let found = try outcome(SecureContexts.name, authorities: SecureContexts.authoritiesPath)
        #expect(found.connected && found.error == nil && String(decoding: found.read, as: UTF8.self) == "for the right server only")
    }

    @Test(arguments: ["other.test", "test", "sub.simulation.test", "simulation.test.example", "127.0.0.1", "::1"])
    func aCertificateForAnotherNameIsRejected(name: String) throws {
        let found = try outcome(name, authorities: SecureContexts.authoritiesPath)
        #expect(!found.connected && found.error == EKEYREJECTED && found.read == [])
        #expect(found.reason?.contains("mismatch") == true, "\(found.reason ?? "no reason")")
    }

    @Test func aChainNobodyVouchesForIsRejected() throws {
        let found = try outcome(SecureContexts.name, authorities: nil)
        #expect(!found.connected && found.error == EKEYREJECTED && found.read == [])
        #expect(found.reason?.contains("self-signed") == true || found.reason?.contains("unable to get") == true, "\(found.reason ?? "")")
    }
}
