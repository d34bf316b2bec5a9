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
        // Guest ports that have sockets go on; one that had none gets one as soon as another is idle.
        bench.write(RelayBench.frame(3, 30_000, [33]) + RelayBench.frame(15, 30_000, [15]))
        bench.turns(5)
        #expect(bench.left.last?.payload == [33])
        bench.wait(milliseconds: 1000)
        bench.write(RelayBench.frame(15, 30_000, [15]))
        bench.turns(5)
        #expect(bench.left.last?.payload == [15])
        bench.wait(milliseconds: 61_000)
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
