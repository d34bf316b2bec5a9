import CRing
import Engine
import Glibc
import Policy
import Ring
import Simulator

/// One run of `/tcp-mux` over the simulated kernel: multiplexing clients, the targets of their streams, and the rules that
/// hold at the end.
struct MuxWorld {
    static let targetPort = 10000
    static let turnsMaximum = 600_000

    /// What a stream and its target play.
    enum Play {
        case clientEnds, targetEnds, echo, rough, refused
    }

    /// A stream's part: its client, its place there, what it plays, and its target.
    struct Part {
        let client: Int
        let stream: Int
        let play: Play
        let target: PatternPeer?
    }

    let kernel: SimulatedKernel
    let seed: UInt64
    let calm: Bool
    var parts: [Part] = []
    var clients: [MuxPeer] = []
    var sizes = ShardSizes()
    var tcp = GatewaySettings.TCPSettings()
    var mux = GatewaySettings.MuxSettings()
    var drainsAtTurn = Int.max

    init(seed: UInt64, trace: Trace) {
        self.seed = seed
        var random = SimulatedRandom(seed: seed)
        calm = random.chance(150_000)
        kernel = SimulatedKernel(seed: random.next(), faults: calm ? FaultPlan() : FaultPlan(&random), trace: trace)
        sizes.slots = 64
        sizes.smallBuffers = random.chance(600_000) ? 4000 : 70 + random.size(upTo: 600)
        sizes.bulkBuffers = 1 + random.size(upTo: 30)
        if random.chance(300_000) { sizes.slices = 1 + random.size(upTo: 20) }
        kernel.incomingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        kernel.outgoingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        tcp.allowPrivateAddresses = true
        mux.maxStreamBufferBytes = random.chance(150_000) ? random.size(upTo: 60_000) : 4 << 20
        if random.chance(50_000) { drainsAtTurn = random.size(upTo: 500) }
        let bytes = min(random.chance(100_000) ? 700_000 : 80_000, 200 * min(kernel.incomingBytes, kernel.outgoingBytes))
        for _ in 0..<1 + random.size(upTo: 2) { makeClient(bytes, &random) }
    }

    private mutating func makeClient(_ bytes: Int, _ random: inout SimulatedRandom) {
        var streams: [MuxPeer.Stream] = []
        for index in 0..<1 + random.size(upTo: 9) { streams.append(makeStream(index, bytes, &random)) }
        var manners = MuxPeer.Manners()
        manners.frameMaximum = 1 + max(random.size(upTo: 70_000), bytes / 200)
        manners.messageMaximum = 1 + max(random.size(upTo: 200_000), bytes / 200)
        manners.pings = random.chance(300_000) ? 100_000 : 0
        manners.fragments = random.chance(300_000) ? 300_000 : 0
        manners.writeMaximum = 1 + max(random.size(upTo: 200_000), bytes / 100)
        manners.readMaximum = 1 + max(random.size(upTo: 65535), bytes / 100)
        manners.pauseNanoseconds = random.size(upTo: 1_000_000)
        manners.stalls = random.chance(200_000) ? 50_000 : 0
        if !calm, random.chance(100_000) { manners.resetsAfter = random.size(upTo: bytes) }
        let request = """
            GET /tcp-mux HTTP/1.1\r
            Host: gateway.example\r
            Upgrade: websocket\r
            Connection: Upgrade\r
            Sec-WebSocket-Version: 13\r
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
            Sec-WebSocket-Protocol: aero-tcp-mux-v1\r
            \r

            """
        clients.append(MuxPeer(manners, request: request, streams: streams))
    }

    private mutating func makeStream(_ index: Int, _ bytes: Int, _ random: inout SimulatedRandom) -> MuxPeer.Stream {
        let plays: [Play] = calm ? [.clientEnds, .targetEnds, .echo]
            : [.clientEnds, .targetEnds, .echo, .clientEnds, .targetEnds, .echo, .rough, .refused]
        let play = plays[random.below(plays.count)]
        let number = parts.count
        let total = random.chance(400_000) ? random.size(upTo: bytes) : random.below(bytes + 1)
        var target = drawTarget(bytes, &random)
        var ending = MuxPeer.Stream.Ending.finish
        switch play {
        case .clientEnds: target.ending = .finishLast
        case .targetEnds: target.ending = .finish
        case .echo:
            target.echoes = true
            target.ending = .finishLast
        case .rough:
            if random.chance(500_000) { ending = .reset(after: random.size(upTo: bytes)) }
            target.ending = [.close, .finish, .reset(after: random.size(upTo: bytes)), .stay][random.below(4)]
            if ending == .finish, target.ending == .stay { target.ending = .close }
        case .refused: break
        }
        let up = BytePattern(stream: 2 * number)
        let down = play == .echo ? up : BytePattern(stream: 2 * number + 1)
        let peer = play == .refused ? nil : PatternPeer(target, sends: down, expects: up)
        parts.append(Part(client: clients.count, stream: index, play: play, target: peer))
        // Numbers are the client's choice.
        let identifier = random.chance(500_000) ? UInt32(index + 1) : UInt32(truncatingIfNeeded: random.next()) << 8 | UInt32(index + 1)
        return MuxPeer.Stream(
            identifier: identifier, port: Self.targetPort + number, total: total, ending: ending, sends: up, expects: down)
    }

    private func drawTarget(_ bytes: Int, _ random: inout SimulatedRandom) -> PatternPeer.Manners {
        var manners = PatternPeer.Manners()
        manners.total = random.chance(400_000) ? random.size(upTo: bytes) : random.below(bytes + 1)
        manners.writeMaximum = 1 + max(random.size(upTo: 200_000), bytes / 100)
        manners.readMaximum = 1 + max(random.size(upTo: 200_000), bytes / 100)
        manners.pauseNanoseconds = random.size(upTo: 1_000_000)
        manners.stalls = random.chance(200_000) ? 50_000 : 0
        return manners
    }

    // MARK: the run

    /// Runs to the end; answers the broken rules.
    mutating func run() -> [String] {
        var random = SimulatedRandom(seed: seed ^ 0xB2)
        let entries = UInt32(1) << UInt32(random.within(2...9))
        let completions = UInt32(1) << UInt32(random.within(2...11))
        let ring = kernel.openRing(entries: entries, completions: completions)
        guard let shard = try? Shard(index: 0, ring: ring, sizes: sizes) else { return ["no shard"] }
        let loop = MuxLoop(shard: shard, tcp: tcp, mux: mux, connections: 64)
        let listener = kernel.openListener()
        planPeers(listener, &random)
        shard.listen(listener, owner: MuxLoop.httpOwner, tag: 9)
        var failures = turnUntilDone(shard, loop)
        kernel.runOut()
        failures += kernel.violations
        for (number, client) in clients.enumerated() {
            if let fault = client.fault { failures.append("client \(number): the server sent \(fault)") }
        }
        for part in parts { failures += check(part) }
        if shard.slotsUsed != 0 { failures.append("\(shard.slotsUsed) slots are still in use") }
        if shard.buffersHeld != 0 { failures.append("\(shard.buffersHeld) buffers were not returned") }
        if kernel.openDescriptors != 0 { failures.append("\(kernel.openDescriptors) descriptors are open") }
        if kernel.requestsHeld != 0 { failures.append("\(kernel.requestsHeld) requests are under way") }
        if !loop.isEmpty { failures.append("\(loop.mux.count) WebSockets and \(loop.mux.streamCount) streams are left") }
        if failures.isEmpty {
            loop.destroy()
            shard.destroy()
        } else {
            failures.append("\(parts.map(\.play)), \(sizes), cap \(mux.maxStreamBufferBytes), ring \(entries)/\(completions)")
            failures.append("\(kernel.faults)")
        }
        kernel.tearDown()
        return failures
    }

    private func planPeers(_ listener: Int32, _ random: inout SimulatedRandom) {
        let kernel = kernel
        let parts = parts
        kernel.dial = { [unowned kernel] port in
            if let target = parts[Int(port) - Self.targetPort].target { return .accept(target) }
            return .fail(kernel.random.chance(300_000) ? ETIMEDOUT : ECONNREFUSED)
        }
        for (number, peer) in clients.enumerated() {
            kernel.plan(afterNanoseconds: UInt64(random.size(upTo: 20_000_000))) { [unowned kernel] in
                _ = kernel.connectClient(to: listener, port: UInt16(2000 + number), backlogMaximum: 64, peer: peer)
            }
        }
    }

    private func turnUntilDone(_ shard: Shard, _ loop: MuxLoop) -> [String] {
        var event = Event()
        var isClosing = false
        for turn in 0..<Self.turnsMaximum {
            shard.turn()
            while shard.next(&event) {
                kernel.trace.add(.event, at: kernel.nanoseconds, Int(event.kind.rawValue), Int(event.slot.raw), event.count)
                loop.dispatch(event)
            }
            loop.mux.endTurn()
            if turn == drainsAtTurn {
                shard.closeListeners()
                isClosing = true
                loop.http.drain()
                loop.mux.drain(graceMilliseconds: 5000)
            }
            if !isClosing, clients.allSatisfy({ $0.isDone || $0.socket?.isReleased == true }) {
                shard.closeListeners()
                isClosing = true
            }
            if isClosing, shard.slotsUsed == 0, shard.listenersClosed, kernel.isSettled { return [] }
        }
        let left = "\(loop.mux.count) WebSockets, \(loop.mux.streamCount) streams, \(shard.slotsUsed) slots"
        return ["no end after \(Self.turnsMaximum) turns: \(left)"]
    }

    // MARK: the rules

    private func check(_ part: Part) -> [String] {
        let client = clients[part.client]
        let stream = client.streams[part.stream]
        var failures: [String] = []
        func fail(_ text: String) { failures.append("stream \(part.stream) of client \(part.client), \(part.play): \(text)") }
        if let at = part.target?.mismatchOffset { fail("the target read a wrong byte at \(at)") }
        if let code = stream.errorCode, code != 2, code != 4, code != 5, !(code == 6 && mux.maxStreamBufferBytes < 1 << 20) {
            fail("ERROR \(code)")
        }
        let isClean = sizes.smallBuffers >= 4000 && !kernel.clockJumped && client.socket?.disturbed == false
            && part.target.map { $0.socket?.disturbed == false } ?? true && drainsAtTurn == .max && mux.maxStreamBufferBytes >= 1 << 20
            && client.manners.resetsAfter == nil
        guard isClean else { return failures }
        if client.closeCode != 1000 || !client.sawEnd { fail("the end was Close \(client.closeCode ?? 0)") }
        if client.pongsMissing > 0 { fail("\(client.pongsMissing) PINGs were not answered") }
        guard let target = part.target else {
            if stream.errorCode != 2 { fail("a refused connect was answered with \(stream.errorCode ?? 0)") }
            return failures
        }
        guard part.play != .rough else { return failures }
        if target.receivedBytes != stream.total || !target.sawEnd {
            fail("\(target.receivedBytes) of \(stream.total) bytes reached the target")
        }
        let expected = part.play == .echo ? stream.total : target.manners.total
        if stream.receivedBytes != expected || !stream.sawFinish { fail("\(stream.receivedBytes) of \(expected) bytes reached the client") }
        if let code = stream.errorCode { fail("ERROR \(code)") }
        return failures
    }
}
