import CRing
import Engine
import Glibc
import Policy
import Ring
import Simulator
import TCPBridge

/// One run of `/tcp` over the simulated kernel: WebSocket clients, their targets, and the rules that hold at the end.
struct BridgeWorld {
    static let targetPort = 10000
    static let turnsMaximum = 600_000

    /// What a pair of client and target plays.
    enum Play {
        case clientEnds, targetEnds, echo, rough, violation, refused
    }

    let seed: UInt64
    let kernel: SimulatedKernel
    var plays: [Play] = []
    var clients: [WebSocketPeer] = []
    var targets: [PatternPeer?] = []
    var sizes = ShardSizes()
    var settings = GatewaySettings.TCPSettings()
    let calm: Bool
    var drainsAtTurn = Int.max
    /// Another configuration comes into force every so many turns; what lives must not notice.
    var reloadsEveryTurns = Int.max

    init(seed: UInt64, trace: Trace) {
        self.seed = seed
        var random = SimulatedRandom(seed: seed)
        calm = random.chance(150_000)
        let faults = calm ? FaultPlan() : FaultPlan(&random)
        kernel = SimulatedKernel(seed: random.next(), faults: faults, trace: trace)
        sizes.slots = 32
        sizes.smallBuffers = random.chance(600_000) ? 800 : 2 + random.size(upTo: 300)
        sizes.bulkBuffers = 1 + random.size(upTo: 30)
        kernel.incomingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        kernel.outgoingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        settings.allowPrivateAddresses = true
        if random.chance(50_000) { settings.maxBufferBytes = 1 + random.size(upTo: 300_000) }
        if random.chance(50_000) { drainsAtTurn = random.size(upTo: 500) }
        makePairs(&random)
        if random.chance(300_000) { reloadsEveryTurns = 1 + random.size(upTo: 100) }
    }

    private mutating func makePairs(_ random: inout SimulatedRandom) {
        let most = random.chance(100_000) ? 1_500_000 : 150_000
        let bytes = min(most, 300 * min(kernel.incomingBytes, kernel.outgoingBytes))
        for number in 0..<1 + random.size(upTo: 5) {
            let plays: [Play] = calm ? [.clientEnds, .targetEnds, .echo]
                : [.clientEnds, .targetEnds, .echo, .clientEnds, .targetEnds, .echo, .rough, .violation, .refused]
            let play = plays[random.below(plays.count)]
            self.plays.append(play)
            makePair(number, play, bytes, &random)
        }
    }

    private mutating func makePair(_ number: Int, _ play: Play, _ bytes: Int, _ random: inout SimulatedRandom) {
        var client = drawClient(bytes, &random)
        var target = drawTarget(bytes, &random)
        switch play {
        case .clientEnds:
            client.ending = random.chance(500_000) ? .close : .finish
            target.ending = .finishLast
        case .targetEnds:
            client.ending = .answer
            target.readsBeforeEnd = client.total
        case .echo:
            client.ending = .closeAfterReading(client.total)
            target.echoes = true
            target.ending = .finishLast
        case .rough:
            client.ending = random.chance(500_000) ? .reset(after: random.size(upTo: bytes)) : .answer
            target.ending = [.close, .finish, .reset(after: random.size(upTo: bytes)), .stay][random.below(4)]
            if client.ending == .answer, target.ending == .stay { target.ending = .close }
        case .violation:
            client.ending = .violate(after: random.size(upTo: client.total), code: [1002, 1003, 1009][random.below(3)])
            target.ending = .finishLast
        case .refused: client.ending = .answer
        }
        let up = BytePattern(stream: 2 * number)
        let down = BytePattern(stream: 2 * number + 1)
        let request = """
            GET /tcp?port=\(Self.targetPort + number) HTTP/1.1\r
            Host: gateway.example\r
            Upgrade: websocket\r
            Connection: keep-alive, Upgrade\r
            Sec-WebSocket-Version: 13\r
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
            Cookie: sluice_session=abc.def\r
            \r

            """
        clients.append(WebSocketPeer(client, request: request, sends: up, expects: play == .echo ? up : down))
        targets.append(play == .refused ? nil : PatternPeer(target, sends: play == .echo ? up : down, expects: up))
    }

    private func drawClient(_ bytes: Int, _ random: inout SimulatedRandom) -> WebSocketPeer.Manners {
        var manners = WebSocketPeer.Manners()
        manners.total = random.chance(400_000) ? random.size(upTo: bytes) : random.below(bytes + 1)
        manners.frameMaximum = 1 + max(random.size(upTo: 70_000), manners.total / 300)
        manners.fragments = random.chance(300_000) ? 400_000 : 0
        manners.pings = random.chance(300_000) ? 100_000 : 0
        manners.finishesEarly = random.chance(400_000)
        manners.isEager = random.chance(300_000)
        manners.writeMaximum = 1 + max(random.size(upTo: 200_000), manners.total / 200)
        manners.readMaximum = 1 + max(random.size(upTo: 65535), bytes / 200)
        manners.pauseNanoseconds = random.size(upTo: 1_000_000)
        manners.stalls = random.chance(200_000) ? 50_000 : 0
        return manners
    }

    private func drawTarget(_ bytes: Int, _ random: inout SimulatedRandom) -> PatternPeer.Manners {
        var manners = PatternPeer.Manners()
        manners.total = random.chance(400_000) ? random.size(upTo: bytes) : random.below(bytes + 1)
        manners.writeMaximum = 1 + max(random.size(upTo: 200_000), bytes / 200)
        manners.readMaximum = 1 + max(random.size(upTo: 200_000), bytes / 200)
        manners.pauseNanoseconds = random.size(upTo: 1_000_000)
        manners.stalls = random.chance(200_000) ? 50_000 : 0
        return manners
    }

    // MARK: the run

    /// Runs to the end; answers the broken rules.
    mutating func run() -> [String] {
        var random = SimulatedRandom(seed: seed ^ 0xB1)
        let entries = UInt32(1) << UInt32(random.within(2...9))
        let completions = UInt32(1) << UInt32(random.within(2...11))
        let ring = kernel.openRing(entries: entries, completions: completions)
        guard let shard = try? Shard(index: 0, ring: ring, sizes: sizes) else { return ["no shard"] }
        let loop = BridgeLoop(shard: shard, settings: settings, connections: 64)
        let listener = kernel.openListener()
        planPeers(listener, &random)
        shard.listen(listener, owner: BridgeLoop.httpOwner, tag: 9)
        var failures = turnUntilDone(shard, loop)
        kernel.runOut()
        failures += kernel.violations
        for number in clients.indices { failures += check(number) }
        if shard.slotsUsed != 0 { failures.append("\(shard.slotsUsed) slots are still in use") }
        if shard.buffersHeld != 0 { failures.append("\(shard.buffersHeld) buffers were not returned") }
        if kernel.openDescriptors != 0 { failures.append("\(kernel.openDescriptors) descriptors are open") }
        if kernel.requestsHeld != 0 { failures.append("\(kernel.requestsHeld) requests are under way") }
        if loop.bridge.rulesHeld != 1 { failures.append("\(loop.bridge.rulesHeld) sets of rules are left") }
        if !loop.isEmpty { failures.append("\(loop.bridge.count) bridges and \(loop.http.connectionCount) connections are left") }
        if failures.isEmpty {
            loop.destroy()
            shard.destroy()
        } else {
            failures.append("\(plays), \(sizes), cap \(settings.maxBufferBytes), ring \(entries)/\(completions), \(kernel.faults)")
        }
        kernel.tearDown()
        return failures
    }

    private func planPeers(_ listener: Int32, _ random: inout SimulatedRandom) {
        let kernel = kernel
        let targets = targets
        kernel.dial = { [unowned kernel] port in
            if let target = targets[Int(port) - Self.targetPort] { return .accept(target) }
            return .fail(kernel.random.chance(300_000) ? ETIMEDOUT : ECONNREFUSED)
        }
        for (number, peer) in clients.enumerated() {
            kernel.plan(afterNanoseconds: UInt64(random.size(upTo: 20_000_000))) { [unowned kernel] in
                _ = kernel.connectClient(to: listener, port: UInt16(2000 + number), backlogMaximum: 64, peer: peer)
            }
        }
    }

    /// New limits for whoever comes; every third configuration is the first again.
    private func reload(_ loop: BridgeLoop, _ number: Int) {
        var changed = settings
        changed.maxMessageBytes += number % 3
        loop.bridge.apply(BridgeShared(settings: changed, limits: loop.limits))
    }

    private func turnUntilDone(_ shard: Shard, _ loop: BridgeLoop) -> [String] {
        var event = Event()
        var isClosing = false
        for turn in 0..<Self.turnsMaximum {
            shard.turn()
            if turn % reloadsEveryTurns == reloadsEveryTurns - 1 { reload(loop, turn / reloadsEveryTurns) }
            while shard.next(&event) {
                kernel.trace.add(.event, at: kernel.nanoseconds, Int(event.kind.rawValue), Int(event.slot.raw), event.count)
                loop.dispatch(event)
            }
            if turn == drainsAtTurn {
                shard.closeListeners()
                isClosing = true
                loop.http.drain()
                loop.bridge.drain(graceMilliseconds: 5000)
            }
            if !isClosing, clients.allSatisfy({ $0.isDone || $0.socket?.isReleased == true }) {
                shard.closeListeners()
                isClosing = true
            }
            if isClosing, shard.slotsUsed == 0, shard.listenersClosed, kernel.isSettled { return [] }
        }
        return ["no end after \(Self.turnsMaximum) turns: \(loop.bridge.count) bridges, \(shard.slotsUsed) slots"]
    }

    // MARK: the rules

    private func check(_ number: Int) -> [String] {
        let client = clients[number]
        var failures: [String] = []
        func fail(_ text: String) { failures.append("pair \(number): \(text)") }
        if let fault = client.fault { fail("the server sent \(fault)") }
        guard let target = targets[number] else {
            if let code = client.closeCode, code != 1011, code != 1001 { fail("Close \(code) after a refused connect") }
            return failures
        }
        if let at = target.mismatchOffset { fail("the target read a wrong byte at \(at)") }
        let isClean = sizes.smallBuffers >= 600 && !kernel.clockJumped && client.socket?.disturbed == false
            && target.socket?.disturbed == false && drainsAtTurn == .max && settings.maxBufferBytes > 1 << 20
        guard isClean else { return failures }
        if client.status != 101, plays[number] != .rough { fail("the upgrade was answered with \(client.status ?? 0)") }
        let isUpWhole = target.receivedBytes == client.manners.total
        let isDownWhole = client.receivedBytes == (plays[number] == .echo ? client.manners.total : target.manners.total)
        switch plays[number] {
        case .clientEnds:
            if !isUpWhole || !target.sawEnd { fail("\(target.receivedBytes) of \(client.manners.total) bytes reached the target") }
            if client.manners.ending == .close, client.closeCode != 1000 { fail("Close was answered with \(client.closeCode ?? 0)") }
        case .targetEnds, .echo:
            if !isUpWhole { fail("\(target.receivedBytes) of \(client.manners.total) bytes reached the target") }
            if !isDownWhole { fail("\(client.receivedBytes) bytes reached the client") }
            if client.closeCode != 1000 || !client.sawEnd { fail("the end was Close \(client.closeCode ?? 0)") }
            if client.pongsMissing > 0 { fail("\(client.pongsMissing) pings were not answered") }
        case .violation:
            if case .violate(_, let code) = client.manners.ending, client.closeCode != code {
                fail("Close \(client.closeCode ?? 0) instead of \(code)")
            }
        case .rough, .refused: break
        }
        return failures
    }
}
