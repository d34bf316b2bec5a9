import Engine
import Glibc
import Simulator
import Testing

@testable import HTTP

/// Names with several addresses.
@Suite struct ClientDialTests {
    private static var silent: Dial { .fail(ETIMEDOUT) }

    private static func request(connectMilliseconds: UInt64 = 900) -> ClientRequest {
        var request = ClientBench.request(host: "name.test")
        request.timeouts.connectMilliseconds = connectMilliseconds
        return request
    }

    /// Turns until one of the peers has a request and answers it there; which it was, and when it was connected.
    private static func answer(_ bench: ClientBench, _ peers: [ServingPeer]) throws -> (peer: Int, milliseconds: UInt64) {
        var asked: Int?
        bench.turn(until: {
            asked = peers.firstIndex { bench.heard($0).hasPrefix("GET /keys HTTP/1.1\r\n") }
            return asked != nil
        })
        let place = try #require(asked)
        let socket = try #require(peers[place].socket)
        let bytes = Array("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".utf8)
        _ = bytes.withUnsafeBytes { bench.kernel.remoteWrite(socket, $0.baseAddress!, bytes.count) }
        #expect(bench.answered()?.status == 200)
        return (place, (peers[place].nanoseconds - bench.startNanoseconds) / 1_000_000)
    }

    @Test("the next address is dialled at once when the one before is refused")
    func refused() throws {
        let bench = try ClientBench()
        let peer = ServingPeer()
        _ = bench.begin(Self.request(), dials: [.fail(ECONNREFUSED), .fail(ENETUNREACH), .acceptAfter(milliseconds: 1, peer)])
        let found = try Self.answer(bench, [peer])
        #expect(found.milliseconds < 50)
        bench.finish()
    }

    @Test("the next address is dialled a moment behind one that is silent")
    func silence() throws {
        let bench = try ClientBench()
        let peer = ServingPeer()
        _ = bench.begin(Self.request(), dials: [Self.silent, Self.silent, .acceptAfter(milliseconds: 1, peer)])
        bench.pass(milliseconds: 240)
        #expect(bench.dials.count == 2)
        bench.pass(milliseconds: 20)
        #expect(bench.dials.count == 1)
        let found = try Self.answer(bench, [peer])
        #expect((500...510).contains(found.milliseconds))
        bench.finish()
    }

    @Test("an address that is only slow goes on beside the next, and whoever is connected first has the request")
    func race() throws {
        for (first, second, winner) in [(300, 200, 0), (600, 100, 1), (400, 160, 0)] as [(UInt64, UInt64, Int)] {
            let bench = try ClientBench()
            let peers = [ServingPeer(), ServingPeer()]
            _ = bench.begin(Self.request(), dials: [
                .acceptAfter(milliseconds: first, peers[0]), .acceptAfter(milliseconds: second, peers[1]),
            ])
            let found = try Self.answer(bench, peers)
            #expect(found.peer == winner)
            #expect((0...20).contains(Int(found.milliseconds) - Int(min(first, 250 + second))))
            bench.pass(milliseconds: 1000)
            #expect(bench.heard(peers[1 - winner]).isEmpty)
            bench.finish()
        }
    }

    @Test("an address that fails late leaves the others alone")
    func lateFailure() throws {
        let bench = try ClientBench()
        let peer = ServingPeer()
        // The first runs out of time at 900 ms; the second is there at 1,050 ms.
        _ = bench.begin(Self.request(), dials: [Self.silent, .acceptAfter(milliseconds: 800, peer)])
        let found = try Self.answer(bench, [peer])
        #expect((1050...1080).contains(found.milliseconds))
        bench.finish()
    }

    @Test("each address has its time, and the last of them ends the exchange")
    func allSilent() throws {
        let bench = try ClientBench()
        _ = bench.begin(Self.request(), dials: [Self.silent, Self.silent, Self.silent, Self.silent, Self.silent])
        #expect(bench.failure() == .connectTimeout)
        #expect((1650...1700).contains(bench.results[0].milliseconds))
        // No more are tried than may be.
        #expect(bench.dials.count == 1)
        bench.finish()
    }

    @Test("the deadline of the whole ends all of them")
    func deadline() throws {
        let bench = try ClientBench()
        var request = Self.request(connectMilliseconds: 5000)
        request.timeouts.totalMilliseconds = 700
        _ = bench.begin(request, dials: [Self.silent, Self.silent, Self.silent])
        #expect(bench.failure() == .connectTimeout)
        #expect((700...720).contains(bench.results[0].milliseconds))
        bench.finish()
    }

    @Test("a cancelled exchange closes all that are under way")
    func cancelled() throws {
        let bench = try ClientBench()
        let ticket = bench.begin(Self.request(), dials: [Self.silent, Self.silent, Self.silent])
        bench.pass(milliseconds: 600)
        #expect(bench.dials.isEmpty && bench.shard.slotsUsed == 3)
        bench.client.cancel(ticket)
        bench.finish()
        #expect(bench.results.isEmpty)
    }
}

/// The same with TLS: an address counts when its handshake is over.
@Suite struct ClientSecureDialTests {
    private static func request() throws -> ClientRequest {
        var settings = ClientSecuritySettings()
        settings.authoritiesPath = SecureContexts.authoritiesPath
        settings.serverName = SecureContexts.name
        let security = try ClientSecurity(settings, shards: 1)
        var request = ClientRequest(ClientEndpoint(host: "name.test", port: 8080, security: security), target: "/keys")
        request.timeouts.connectMilliseconds = 900
        return request
    }

    /// The peer that has the request; nil when the exchange ended first.
    private static func asked(_ bench: ClientBench, _ peers: [ServingPeer]) -> Int? {
        var asked: Int?
        bench.turn(until: {
            asked = peers.firstIndex { $0.socket?.layer != nil && bench.heard($0).hasPrefix("GET /keys HTTP/1.1\r\n") }
            return asked != nil || !bench.results.isEmpty
        })
        return asked
    }

    /// A bench whose peers speak TLS, but for the one that is connected first.
    private static func benchWithoutFirst() throws -> ClientBench {
        let bench = try ClientBench()
        var count = 0
        bench.kernel.dialledLayer = {
            count += 1
            return count == 1 ? nil : SecureLayer(server: SecureContexts.server)
        }
        return bench
    }

    private static func speakPlainly(_ bench: ClientBench, _ peer: ServingPeer) throws {
        bench.turn(until: { peer.socket != nil })
        let socket = try #require(peer.socket)
        let bytes = Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)
        _ = bytes.withUnsafeBytes { bench.kernel.remoteWrite(socket, $0.baseAddress!, bytes.count) }
    }

    @Test("a slow address wins when the next is silent")
    func slow() throws {
        let bench = try ClientBench()
        let peer = ServingPeer()
        bench.kernel.dialledLayer = { SecureLayer(server: SecureContexts.server) }
        let ticket = bench.begin(try Self.request(), dials: [.acceptAfter(milliseconds: 400, peer), .fail(ETIMEDOUT)])
        #expect(Self.asked(bench, [peer]) == 0)
        bench.client.cancel(ticket)
        bench.finish()
    }

    /// The address that is connected first speaks no TLS: it comes before the one that does, or is dialled beside it.
    @Test("an address that speaks no TLS makes way for the others", arguments: [[1, 10], [400, 10]] as [[UInt64]])
    func broken(milliseconds: [UInt64]) throws {
        let bench = try Self.benchWithoutFirst()
        let peers = [ServingPeer(), ServingPeer()]
        let (plain, sound) = milliseconds[0] < 250 ? (0, 1) : (1, 0)
        let ticket = bench.begin(
            try Self.request(), dials: zip(milliseconds, peers).map { .acceptAfter(milliseconds: $0, $1) })
        try Self.speakPlainly(bench, peers[plain])
        #expect(Self.asked(bench, peers) == sound)
        bench.client.cancel(ticket)
        bench.finish()
    }

    @Test("what is wrong with TLS is told, although another address is not there either")
    func reason() throws {
        let bench = try Self.benchWithoutFirst()
        let peer = ServingPeer()
        _ = bench.begin(try Self.request(), dials: [.acceptAfter(milliseconds: 1, peer), .fail(ECONNREFUSED)])
        try Self.speakPlainly(bench, peer)
        let failure = bench.failure()
        #expect(failure?.label.description == "tls", "\(String(describing: failure))")
        bench.finish()
    }
}
