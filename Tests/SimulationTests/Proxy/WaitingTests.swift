import Engine
import Glibc
import HTTP
import Policy
import Ring
import Simulator
import Testing
import WebSocketProxy

/// Clients whose bytes wait: for an upstream that does not come, and for their budget.
@Suite struct WaitingTests {
    /// One client and its upstream on a kernel without faults.
    final class Stage {
        let kernel = SimulatedKernel(seed: 3, faults: FaultPlan(), trace: Trace())
        let shard: Shard
        let loop: ProxyLoop
        let client: FramePeer
        let upstream: FramePeer
        private let listener: Int32

        init(
            _ client: FramePeer.Manners, _ upstream: FramePeer.Manners = FramePeer.Manners(), status: Int = 101, isBlackhole: Bool = false,
            firstData: Bool = false, target: ProxyTarget = ProxyLoop.target(port: ProxyWorld.upstreamPort),
            settings: ProxySettings = ProxySettings()
        ) throws {
            shard = try Shard(index: 0, ring: kernel.openRing(entries: 64, completions: 256), sizes: Self.sizes)
            loop = ProxyLoop(shard: shard, connections: 8)
            self.client = FramePeer(
                .client(request: ProxyLoop.upgrade("/")), client, sends: BytePattern(stream: 1), expects: BytePattern(stream: 2))
            self.upstream = FramePeer(
                .server(status: status), upstream, sends: BytePattern(stream: 2), expects: BytePattern(stream: 1))
            listener = kernel.openListener()
            let peer = self.upstream
            kernel.dial = { _ in isBlackhole ? .fail(ETIMEDOUT) : .accept(peer) }
            loop.make = { _, request in
                request.settings = settings
                request.admission = firstData ? .firstData(subprotocol: nil) : .dial(target)
            }
            loop.proxy.onFirstData { _ in .admit(ProxyAdmit(target, identity: ProxyIdentity())) }
            shard.listen(listener, owner: ProxyLoop.httpOwner, tag: 9)
            _ = kernel.connectClient(to: listener, port: 2000, backlogMaximum: 8, peer: self.client)
        }

        private static var sizes: ShardSizes {
            var sizes = ShardSizes()
            sizes.slots = 16
            sizes.smallBuffers = 400
            sizes.bulkBuffers = 4
            return sizes
        }

        var milliseconds: Double { Double(kernel.nanoseconds) / 1_000_000 }

        /// Turns until the condition holds, for a minute of simulated time at most.
        @discardableResult
        func turn(until condition: () -> Bool) -> Bool {
            let end = milliseconds + 60_000
            var event = Event()
            while !condition() {
                guard milliseconds < end else { return false }
                shard.turn()
                while shard.next(&event) { loop.dispatch(event) }
            }
            return true
        }

        /// Lets the client send everything, and the kernel read it, before the shard looks.
        func letArrive() {
            turn { client.status == 101 }
            while !client.sentAll { kernel.runOut(eventsMaximum: 1) }
            kernel.runOut(eventsMaximum: 100)
        }

        /// Everything has come back.
        func finish() {
            shard.closeListeners()
            #expect(turn { loop.isEmpty && shard.slotsUsed == 0 && shard.listenersClosed && kernel.isSettled })
            #expect(shard.buffersHeld == 0 && kernel.openDescriptors == 0 && kernel.violations == [])
            loop.destroy()
            shard.destroy()
            kernel.tearDown()
        }
    }

    /// How a client leaves, and what it would have to wait for.
    @Test(arguments: [true, false], [(true, false), (false, false), (true, true), (false, true)])
    func aClientThatLeavesEndsItsDial(resets: Bool, upstream: (isBlackhole: Bool, firstData: Bool)) throws {
        var manners = FramePeer.Manners()
        if upstream.firstData { manners.frames = [FramePeer.Frame(first: 0x82, count: 100), FramePeer.Frame(first: 0x82, count: 3000)] }
        let stage = try Stage(manners, status: 0, isBlackhole: upstream.isBlackhole, firstData: upstream.firstData)
        #expect(stage.turn { stage.loop.proxy.counters.read(.dials) == 1 && (!upstream.firstData || stage.client.sentAll) })
        let soon = stage.milliseconds + 20
        stage.turn { stage.milliseconds >= soon }
        #expect(stage.loop.proxy.count == 1)
        let left = stage.milliseconds
        let socket = try #require(stage.client.socket)
        if resets { stage.kernel.remoteReset(socket) } else { stage.kernel.remoteFinish(socket) }
        #expect(stage.turn { stage.loop.isTold })
        #expect(stage.milliseconds - left < 50, "told after \(stage.milliseconds - left) ms")
        #expect(stage.loop.proxy.counters.read(.active) == 0)
        stage.finish()
        #expect(stage.loop.reports.count == 1 + (upstream.firstData ? 1 : 0))
    }

    /// Pings that are passed on and come before there is anybody to pass them to.
    @Test func pingsWaitForTheUpstream() throws {
        var manners = FramePeer.Manners()
        manners.frames = [FramePeer.Frame(first: 0x82, count: 100)]
        manners.pings = 1_000_000
        manners.writeMaximum = 16
        manners.ending = .close(code: 1000, reason: "", afterReading: 0)
        var settings = ProxySettings()
        settings.forwardsPings = true
        let stage = try Stage(manners, firstData: true, settings: settings)
        #expect(stage.turn { stage.client.isDone && stage.upstream.isDone })
        #expect(stage.upstream.pingsSeen > 0, "\(stage.upstream.received)")
        #expect(stage.upstream.receivedBytes == 100 && stage.client.closeCode == 1000 && stage.client.pings == [])
        #expect(stage.upstream.fault == nil && stage.client.fault == nil)
        stage.finish()
    }

    /// A token that ends while its session waits for the end of a frame that does not come: the control time is all there is.
    @Test func anEndInTheMiddleOfAFrameIsNotWaitedForLong() throws {
        var upstream = FramePeer.Manners()
        upstream.frames = [FramePeer.Frame(first: 0x82, count: 1_000_000)]
        upstream.writeMaximum = 2000
        upstream.pauseNanoseconds = 4_000_000_000
        var target = ProxyLoop.target(port: ProxyWorld.upstreamPort)
        target.endsInMilliseconds = 10_000
        let stage = try Stage(FramePeer.Manners(), upstream, target: target)
        let began = stage.milliseconds
        #expect(stage.turn { stage.client.isDone })
        let took = stage.milliseconds - began
        #expect((10_000...12_000).contains(took), "ended after \(took) ms")
        #expect(stage.client.receivedBytes > 0 && stage.client.closeCode == nil)
        stage.finish()
    }

    /// A token that ends while its upstream is dialled.
    @Test(arguments: [true, false]) func aTokenEndsWithItsDial(firstData: Bool) throws {
        var manners = FramePeer.Manners()
        if firstData { manners.frames = [FramePeer.Frame(first: 0x82, count: 100)] }
        var target = ProxyLoop.target(port: ProxyWorld.upstreamPort)
        target.endsInMilliseconds = 500
        let stage = try Stage(manners, status: 0, firstData: firstData, target: target)
        let began = stage.milliseconds
        #expect(stage.turn { stage.loop.isTold })
        let took = stage.milliseconds - began
        #expect((500...700).contains(took), "told after \(took) ms")
        #expect(stage.turn { stage.client.isDone })
        #expect(firstData ? stage.client.closeCode != nil : stage.client.status == 401)
        stage.finish()
    }

    /// Messages in one read, and how they are sent.
    struct Flood: CustomTestStringConvertible {
        var bytes = 20
        var count = messages
        var fragments = 1
        var pings = 0
        var mode = ProxyMode.opaque
        var replacesMasks = false
        var testDescription: String {
            "\(bytes) bytes, \(fragments) fragments, \(mode)\(pings > 0 ? ", Pings" : "")\(replacesMasks ? ", masks" : "")"
        }
    }

    static let floods = [
        Flood(), Flood(bytes: 0), Flood(bytes: 3000), Flood(bytes: 40_000), Flood(fragments: 3), Flood(pings: 500_000),
        Flood(fragments: 2, pings: 500_000, replacesMasks: true), Flood(bytes: 5, mode: .inspected), Flood(bytes: 9000, mode: .inspected),
    ]

    private static func stage(
        _ flood: Flood, ending: FramePeer.Ending = .close(code: 1000, reason: "", afterReading: 0),
        upstream: FramePeer.Manners = FramePeer.Manners(), budget: MessageRateCell = MessageRateCell()
    ) throws -> Stage {
        var manners = FramePeer.Manners()
        for _ in 0..<flood.count {
            for part in 0..<flood.fragments {
                let opcode: UInt8 = part == 0 ? 2 : 0
                manners.frames.append(FramePeer.Frame(first: opcode | (part == flood.fragments - 1 ? 0x80 : 0), count: flood.bytes))
            }
        }
        manners.pings = flood.pings
        manners.ending = ending
        var settings = ProxySettings()
        settings.closesAboveRate = false
        settings.replacesMasks = flood.replacesMasks
        var target = ProxyLoop.target(port: ProxyWorld.upstreamPort)
        target.rate = (rate, budget)
        target.mode = flood.mode
        return try Stage(manners, upstream, target: target, settings: settings)
    }

    private static let messages = 200
    private static let perSecond = 50
    private static let burst = 10
    private static var rate: MessageRate { MessageRate(perSecond: perSecond, burst: burst).unsafelyUnwrapped }

    @Test(arguments: floods)
    func messagesAboveTheRateWaitForTheirSlots(flood: Flood) throws {
        let stage = try Self.stage(flood)
        #expect(stage.turn { stage.client.status == 101 })
        let began = stage.milliseconds
        var came: [Double] = []
        let isDone = stage.turn {
            // What was inspected need not keep its messages; its bytes are as many.
            let isCounted = flood.mode == .inspected
            let count = isCounted ? stage.upstream.receivedBytes / flood.bytes : stage.upstream.received.count / flood.fragments
            while came.count < count { came.append(stage.milliseconds - began) }
            return stage.client.isDone
        }
        #expect(isDone && stage.upstream.closeCode == 1000 && stage.client.closeCode == 1000)
        #expect(came.count == Self.messages && stage.upstream.fault == nil && stage.client.fault == nil && stage.client.pings == [])
        if flood.mode == .opaque { #expect(stage.upstream.received == stage.client.manners.frames) }
        // In no second more than the budget, a tenth for the clock's steps; and none of it is given away.
        for (index, time) in came.enumerated() {
            let within = came[index...].prefix { $0 < time + 1000 }.count
            #expect(within <= Self.burst + Self.perSecond + Self.perSecond / 10, "\(within) messages in the second from \(time) ms")
        }
        let owed = Double(Self.messages - Self.burst) * 1000 / Double(Self.perSecond)
        #expect((owed * 0.9...owed * 1.1).contains(came.last ?? 0), "\(came.last ?? 0) ms for what should take \(owed)")
        stage.finish()
    }

    /// Its upstream closes while it waits: what it had sent still goes there, then its answer.
    @Test func whatWaitsGoesToAnUpstreamThatCloses() throws {
        var upstream = FramePeer.Manners()
        upstream.ending = .close(code: 1001, reason: "bye", afterReading: 3)
        let stage = try Self.stage(Flood(), ending: .answer, upstream: upstream)
        #expect(stage.turn { stage.upstream.closeCode != nil } && stage.milliseconds < 2000)
        #expect(stage.turn { stage.client.isDone && stage.upstream.isDone })
        #expect(stage.client.closeCode == 1001 && stage.upstream.closeCode == 1001)
        #expect(stage.upstream.received.count == Self.messages)
        stage.finish()
    }

    /// A client ends its stream behind what waits: that still has its slots, then the upstream is told.
    @Test func whatWaitsOutlivesItsClientsEnd() throws {
        let stage = try Self.stage(Flood(), ending: .finish)
        #expect(stage.turn { stage.client.isDone && stage.upstream.isDone })
        #expect(stage.turn { stage.upstream.closeCode != nil })
        #expect(stage.upstream.closeCode == 1001 && stage.upstream.received.count == Self.messages && stage.milliseconds > 3500)
        stage.finish()
    }

    /// Told to go: what was read is delivered before the Close.
    @Test func aDrainDeliversWhatWaits() throws {
        let stage = try Self.stage(Flood(), ending: .answer)
        stage.letArrive()
        #expect(stage.turn { stage.upstream.received.count >= Self.burst + 2 })
        stage.loop.proxy.drain(spreadMilliseconds: 0)
        #expect(stage.turn { stage.client.isDone && stage.upstream.isDone })
        #expect(stage.client.closeCode == 1001 && stage.upstream.closeCode == 1001)
        #expect(stage.upstream.received.count == Self.messages && stage.milliseconds < 3000)
        stage.finish()
    }

    /// Ten seconds above its rate end a session.
    @Test func aClientThatGoesOnIsClosed() throws {
        let budget = MessageRateCell()
        let stage = try Self.stage(Flood(bytes: 3000, count: 2000), ending: .answer, budget: budget)
        let rate = Self.rate
        while !stage.client.isDone, stage.milliseconds < 60_000 {
            let until = stage.milliseconds + 15
            stage.turn { stage.milliseconds >= until || stage.client.isDone }
            // Others use the same budget.
            _ = budget.take(rate, nowNanoseconds: stage.kernel.nanoseconds)
        }
        #expect(stage.client.closeCode == 1008 && (10_000...12_500).contains(stage.milliseconds))
        stage.finish()
    }
}

extension ProxyLoop {
    /// Every session that was made is over.
    fileprivate var isTold: Bool {
        reports.contains { report in
            switch report {
            case .refused, .ended: true
            default: false
            }
        }
    }
}
