import Glibc
import Policy
import Ring
import Simulator
import Testing
import Wire

@testable import DNS
@testable import Engine
@testable import HTTP

/// A resolver that takes connections and says only what the test has it say.
private final class ResolverPeer: RemotePeer {
    private(set) var socket: SimulatedSocket?
    func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        return nil
    }
}

/// The service on one shard of a kernel without faults, with one DoH upstream that the test plays.
private final class ServiceBench {
    static let owner = Owner(7)
    let kernel = SimulatedKernel(seed: 11, faults: FaultPlan(), trace: Trace())
    let shard: Shard
    let limits = SharedLimits()
    let service: DNSService
    private(set) var peers: [ResolverPeer] = []
    private(set) var finished: [(ticket: UInt32, status: Int, body: [UInt8])] = []

    init(timeoutMilliseconds: Int = 2000, upstreams: Int = 1) throws {
        var sizes = ShardSizes()
        sizes.slots = 64
        sizes.smallBuffers = 256
        sizes.bulkBuffers = 4
        kernel.incomingBytes = 1 << 16
        kernel.outgoingBytes = 1 << 16
        shard = try Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 256), sizes: sizes)
        var settings = GatewaySettings().dns
        settings.upstreams = (0..<upstreams).map { .https(url: "http://10.0.0.\(9 + $0):8053/q") }
        settings.upstreamTimeoutMilliseconds = timeoutMilliseconds
        settings.queriesPerSecondPerAddress = 0
        service = DNSService(shard: shard, owner: Self.owner, tick: 2, shared: DNSShared(settings: settings, limits: limits))
        kernel.dial = { [unowned self] _ in
            let peer = ResolverPeer()
            peers.append(peer)
            return .accept(peer)
        }
    }

    func turn() {
        var event = Event()
        shard.turn()
        while shard.next(&event) {
            if event.owner == Self.owner { service.handle(event) }
            if event.kind == .shardTimer, event.detail == 2 { service.timePassed() }
        }
        while let (ticket, answer) = service.nextFinished() { finished.append((ticket, answer.status, Array(answer.body))) }
    }

    func turn(until condition: () -> Bool) -> Bool {
        for _ in 0..<20_000 where !condition() { turn() }
        return condition()
    }

    /// The name `nNUMBER.test` in wire form.
    func name(_ number: Int) -> [UInt8] { [UInt8("n\(number)".utf8.count)] + "n\(number)".utf8 + [4] + "test".utf8 + [0] }

    /// POSTs a query of type A.
    func ask(_ number: Int, session: String = "s") throws -> DNSOutcome {
        let query: [UInt8] = [UInt8(number >> 8 & 255), UInt8(number & 255), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + name(number) + [0, 1, 0, 1]
        let text = "POST /dns-query HTTP/1.1\r\nHost: h\r\nContent-Type: application/dns-message\r\nContent-Length: \(query.count)\r\n\r\n"
        let head = UnsafeMutablePointer<RequestHead>.allocate(capacity: 1)
        head.initialize(to: RequestHead(limits: HTTPLimits()))
        defer {
            head.deinitialize(count: 1)
            head.deallocate()
        }
        let bytes = Array(text.utf8) + query
        return bytes.withUnsafeBytes { raw in
            _ = head.pointee.parse(Span(_unsafeElements: raw.assumingMemoryBound(to: UInt8.self)))
            let view = RequestView(
                head: UnsafePointer(head), bytes: raw, body: UnsafeRawBufferPointer(rebasing: raw[text.utf8.count...]),
                peer: SocketAddress("192.0.2.1", port: 4000)!, listener: 0, isSecure: false)
            return service.answerQuery(view, from: DNSClient(address: IPAddress("192.0.2.1")!, sessionID: session, isDocument: false))
        }
    }

    /// The upstream's connection answers the question of this number.
    func answer(_ connection: Int, _ number: Int) {
        let message: [UInt8] = [0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0] + name(number) + [0, 1, 0, 1]
            + [0xC0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1]
        let text = "HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: \(message.count)\r\n\r\n"
        guard let socket = peers[connection].socket else { Issue.record("not connected"); return }
        let bytes = Array(text.utf8) + message
        #expect(bytes.withUnsafeBytes { self.kernel.remoteWrite(socket, $0.baseAddress!, $0.count) } == bytes.count)
    }

    func finish() {
        service.drain()
        #expect(turn(until: { self.service.exchangeCount == 0 }))
        for peer in peers { if let socket = peer.socket { kernel.remoteClose(socket) } }
        #expect(turn(until: { self.shard.slotsUsed == 0 && self.kernel.isSettled }))
        #expect(shard.buffersHeld == 0 && kernel.violations == [])
        #expect(limits.queries.count("s") == 0 && service.waiterCount == 0, "nothing is left of anybody's share")
        shard.destroy()
        kernel.tearDown()
    }
}

@Suite struct ServiceTests {
    private func isWaiting(_ outcome: DNSOutcome) -> Bool {
        if case .waiting = outcome { return true }
        return false
    }

    @Test func oneSessionTakesNoMoreThanItsShare() throws {
        let bench = try ServiceBench(timeoutMilliseconds: 500)
        for number in 0..<DNSLimits.waitersPerSession { #expect(isWaiting(try bench.ask(number))) }
        for number in [0, 9999] {
            guard case .answer(let answer) = try bench.ask(number) else { Issue.record("it waits"); return }
            #expect(answer.status == 200 && answer.body[3] & 15 == 2, "SERVFAIL, also to who would only join a question under way")
        }
        #expect(bench.service.metrics.read(.overloaded) == 2)
        #expect(isWaiting(try bench.ask(1, session: "another")), "others are served")
        #expect(bench.turn(until: { bench.finished.count == DNSLimits.waitersPerSession + 1 }), "a mute upstream costs its time")
        #expect(isWaiting(try bench.ask(3)), "what was answered makes room")
        bench.finish()
    }

    /// A client whose answer comes later than the server keeps its connection would get none.
    @Test func manySlowUpstreamsDoNotOutlastTheConnection() throws {
        let bench = try ServiceBench(timeoutMilliseconds: 40_000, upstreams: 3)
        #expect(isWaiting(try bench.ask(1)))
        let began = bench.shard.now
        #expect(bench.turn(until: { bench.finished.count == 1 }))
        #expect(bench.finished.first?.status == 200 && (bench.finished.first?.body[3] ?? 0) & 15 == 2, "SERVFAIL")
        let took = bench.shard.now - began
        #expect(took > 40_000 && took < ServerLimits().answerMilliseconds, "it took \(took) ms")
        bench.finish()
    }

    @Test func anAnswerReachesWhoAsked() throws {
        let bench = try ServiceBench()
        guard case .waiting(let ticket) = try bench.ask(0x1234) else { Issue.record("no wait"); return }
        #expect(isWaiting(try bench.ask(0x1234, session: "another")), "joins")
        #expect(bench.turn(until: { bench.peers.first?.socket != nil }))
        bench.answer(0, 0x1234)
        #expect(bench.turn(until: { bench.finished.count == 2 }))
        let first = bench.finished[0]
        #expect(first.ticket == ticket && first.body[..<2] == [0x12, 0x34] && first.body.suffix(4) == [192, 0, 2, 1])
        #expect(bench.service.metrics.read(.coalesced) == 1 && bench.peers.count == 1)
        if case .waiting = try bench.ask(0x1234) { Issue.record("it is in the cache") }
        bench.finish()
    }

    /// A completion of a stream that was given up names a place that serves another attempt by now.
    @Test(arguments: [Event.Kind.failed, .timer, .ended, .received]) func whatComesLateIsIgnored(_ kind: Event.Kind) throws {
        let bench = try ServiceBench()
        #expect(isWaiting(try bench.ask(7)))
        #expect(bench.turn(until: { bench.peers.first?.socket != nil }))
        let connection = bench.service.connections[0]
        var stale = Event()
        stale.kind = kind
        stale.owner = ServiceBench.owner
        stale.slot = SlotIndex(connection.slot.raw + 1)
        for context in [DNSContext(.connection, 0), DNSContext(.exchange, 0)] {
            stale.context = context.raw
            if kind == .received {
                stale.buffer = try #require(bench.shard.acquire(.small))
                stale.count = 12
            }
            bench.service.handle(stale)
            #expect(bench.service.connections[0].slot == connection.slot && bench.service.exchanges[0].phase == .https)
        }
        #expect(bench.service.metrics.upstreamReadings[0].errors == 0 && bench.shard.buffersHeld == 0)
        bench.answer(0, 7)
        #expect(bench.turn(until: { bench.finished.count == 1 }))
        #expect(bench.finished[0].status == 200 && bench.finished[0].body[3] & 15 == 0)
        bench.finish()
    }
}
