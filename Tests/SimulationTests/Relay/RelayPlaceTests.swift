import HTTP
import Policy
import Simulator
import Testing
import UDPRelay

/// What a shard's places and sockets are bound by, and what is told of sessions.
@Suite struct RelayPlaceTests {
    @Test func socketsOfAShardAreBoundedAndTheFirstRefusalIsTold() throws {
        var settings = RelaySettings()
        settings.bindings.idleMilliseconds = 400
        let bench = try RelayBench(settings, sockets: 8)
        var told: [String] = []
        bench.loop.relay.onReport { if case .exhausted(_, let limit, let key) = $0 { told.append("\(key) \(limit)") } }
        _ = bench.hear()
        bench.write((0..<20).flatMap { RelayBench.frame($0, 30_000, [UInt8($0)]) })
        bench.turns(20)
        #expect(bench.left.map(\.payload) == (0..<8).map { [$0] }, "those that were there first")
        #expect(bench.loop.relay.socketCount == 8)
        #expect(bench.counters.read(.socketsRefused) == 12 && bench.counters.read(.socketsFailed) == 0)
        #expect(told == ["limits.udp_sockets_per_shard 8"], "once, not twelve times")
        // Once time has passed, one more takes the place of the one used longest ago; the others go on where they were.
        bench.wait(milliseconds: 5)
        bench.write((1..<8).flatMap { RelayBench.frame($0, 30_000, [100 + UInt8($0)]) })
        bench.wait(milliseconds: 5)
        bench.write(RelayBench.frame(15, 30_000, [15]))
        bench.turns(20)
        #expect(bench.left.suffix(8).map(\.payload) == (1..<8).map { [100 + $0] } + [[15]])
        let first = bench.left[0].socket, last = bench.left.last?.socket
        #expect(zip(bench.left[8..<15], bench.left[1..<8]).allSatisfy { $0.socket === $1.socket } && last !== first)
        #expect(bench.loop.relay.socketCount == 8 && bench.counters.read(.bindingsDisplaced) == 1)
        #expect(bench.counters.read(.socketsRefused) == 12, "nothing more was refused")
        bench.wait(milliseconds: 61_000)
        bench.finish()
    }

    /// One session has all sockets of the shard: others get theirs from it, down to an equal share, and it does not get them back.
    @Test func whoHasMostSocketsGivesThemToOthers() throws {
        let bench = try RelayBench(sockets: 32)
        let greedy = bench.socket
        bench.write((0..<32).flatMap { RelayBench.frame($0, 30_000, [0]) })
        bench.turns(10)
        #expect(bench.counters.read(.datagramSocketsActive) == 32)
        bench.wait(milliseconds: 5)
        try bench.reconnect()
        _ = bench.hear()
        for guest in 0..<24 {
            bench.write(RelayBench.frame(1000 + guest, 30_001, [1, UInt8(guest)]))
            bench.wait(milliseconds: 5)
        }
        #expect(bench.left.suffix(24).map(\.payload) == (0..<24).map { [1, $0] }, "every frame of the neighbour leaves")
        #expect(bench.counters.read(.socketsRefused) == 0 && bench.counters.read(.bindingsDisplaced) == 24)
        // The neighbour keeps its latest ones while the greedy one cycles through others: it takes from itself.
        let kept = bench.left.suffix(12).map(\.socket)
        for guest in 100..<200 {
            let bytes = RelayBench.frame(guest, 30_000, [0])
            #expect(bytes.withUnsafeBytes { bench.kernel.remoteWrite(greedy, $0.baseAddress!, $0.count) } == bytes.count)
            bench.wait(milliseconds: 5)
        }
        for guest in 12..<24 { bench.write(RelayBench.frame(1000 + guest, 30_001, [2, UInt8(guest)])) }
        bench.turns(10)
        #expect(zip(bench.left.suffix(12), kept).allSatisfy { $0.socket === $1 }, "sockets of the neighbour are still its own")
        #expect(bench.loop.relay.socketCount == 32)
        bench.kernel.remoteReset(greedy)
        bench.finish()
    }

    @Test func aFullTableOfWebSocketsIsToldInTheRelaysForm() throws {
        let bench = try RelayBench(connections: 2)
        let first = bench.socket
        try bench.reconnect()
        let second = bench.socket
        #expect(bench.hear().first?.text.contains("ready") == true)
        try bench.reconnect()
        _ = bench.hear()
        #expect(bench.status.hasPrefix("HTTP/1.1 503 ") && bench.status.contains("\r\nContent-Type: application/json\r\n"))
        #expect(bench.status.contains("\r\nX-Request-ID: given\r\n") && bench.status.contains("\r\nConnection: close\r\n"))
        #expect(bench.body == "{\"type\":\"error\",\"code\":\"too_many_sessions\",\"message\":\"no room for another WebSocket\"}\n")
        #expect(bench.counters.read(.webSocketsRefused) == 1 && bench.counters.read(.tooManySessions) == 0)
        bench.kernel.remoteReset(first)
        bench.turns(10)
        try bench.reconnect()
        #expect(bench.hear().first?.text.contains("ready") == true)
        #expect(bench.status.hasPrefix("HTTP/1.1 101 ") && bench.status.contains("\r\nX-Request-ID: given\r\n"))
        bench.kernel.remoteReset(second)
        bench.finish()
    }

    @Test func aSessionIsToldOfByItsPublicIdentifier() throws {
        let bench = try RelayBench(access: .apiKey(Array("key".utf8)))
        var told: [String] = []
        bench.loop.relay.onReport { report in
            switch report {
            case .opened: told.append("opened")
            case .ended(_, let cause, _, _): told.append("ended \(cause)")
            case .sessionOpened(_, let sessionID): told.append("connected \(sessionID)")
            case .sessionEnded(_, let sessionID, let cause, _, _): told.append("disconnected \(sessionID) \(cause)")
            default: told.append("\(report)")
            }
        }
        bench.write(RelayBench.message(1, Array("{\"type\":\"auth\",\"apiKey\":\"key\"}".utf8)))
        bench.turns(5)
        let text = try #require(bench.hear().first?.text)
        let sessionID = String(text.split(separator: "\"")[7])
        #expect(sessionID.utf8.count == 32 && told == ["connected \(sessionID)"])
        bench.write(RelayBench.message(8, [3, 232]))
        bench.turns(5)
        #expect(told.last == "disconnected \(sessionID) client_close")
        // Whoever never had a session is told of as a WebSocket.
        try bench.reconnect(authorization: "Bearer wrong")
        #expect(told.suffix(2) == ["opened", "ended authentication_failed"])
        bench.finish()
    }
}
