import CRing
import Engine
import Glibc
import Policy
import Ring
import Simulator
import WebSocketProxy

/// One run of the WebSocket proxy over the simulated kernel: clients, their upstreams, and the rules that hold at the end.
struct ProxyWorld {
    static let upstreamPort = 10000
    static let turnsMaximum = 600_000

    /// What a pair of client and upstream plays.
    enum Play {
        case clientCloses, upstreamCloses, bothClose, clientFinishes, upstreamFinishes, rough
        case clientViolates, upstreamViolates, refused, unreachable
        /// Its client leaves at some time, probably while the upstream is dialled.
        case leaves
        /// Admitted by its first data.
        case late
        /// Admitted by its first data, then inspected.
        case inspected
        /// Admitted by its CONNECT, then judged packet by packet.
        case mqtt
    }

    let seed: UInt64
    let kernel: SimulatedKernel
    var plays: [Play] = []
    var clients: [FramePeer] = []
    var upstreams: [FramePeer?] = []
    /// Of those that speak MQTT.
    var scripts: [Int: PacketScript] = [:]
    var sizes = ShardSizes()
    var settings = ProxySettings()
    let calm: Bool
    var drainsAtTurn = Int.max
    /// What handshakes have left when the proxy drains.
    var handshakeMilliseconds: UInt64 = 0
    /// Bytes of first data after which clients are admitted.
    var admitsAfter = 1
    /// What each session may send a second, and at once; what is more waits.
    var rate: MessageRate?

    init(seed: UInt64, trace: Trace) {
        self.seed = seed
        var random = SimulatedRandom(seed: seed)
        calm = random.chance(200_000)
        kernel = SimulatedKernel(seed: random.next(), faults: calm ? FaultPlan() : FaultPlan(&random), trace: trace)
        sizes.slots = 64
        sizes.smallBuffers = random.chance(700_000) ? 900 : 4 + random.size(upTo: 300)
        sizes.bulkBuffers = 1 + random.size(upTo: 30)
        kernel.incomingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        kernel.outgoingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        if random.chance(300_000) { settings.bufferBytes = 1 + random.size(upTo: 500_000) }
        if random.chance(200_000) { settings.replacesMasks = true }
        if random.chance(50_000) { drainsAtTurn = random.size(upTo: 500) }
        admitsAfter = 1 + random.size(upTo: 3000)
        var later = SimulatedRandom(seed: seed ^ 0xB7)
        if later.chance(150_000) { settings.bytesPerSecond = UInt64(400_000 + later.below(4_000_000)) }
        handshakeMilliseconds = UInt64(later.below(2) * later.below(4000))
        if later.chance(200_000) {
            settings.closesAboveRate = false
            rate = MessageRate(perSecond: 1000 + later.size(upTo: 100_000), burst: 1 + later.size(upTo: 500))
        }
        for number in 0..<1 + random.size(upTo: 5) { makePair(number, &random, &later) }
        // A broker is to say all it has before it answers its client's Close, however slow it is.
        if plays.contains(.mqtt) { settings.closeMilliseconds = 60_000 }
    }

    private mutating func makePair(_ number: Int, _ random: inout SimulatedRandom, _ later: inout SimulatedRandom) {
        let calmPlays: [Play] = [.clientCloses, .upstreamCloses, .bothClose, .late, .inspected, .mqtt]
        let plays = calm ? calmPlays : calmPlays + calmPlays + [
            .clientFinishes, .upstreamFinishes, .rough, .rough, .clientViolates, .upstreamViolates, .refused, .unreachable,
        ]
        var play = plays[random.below(plays.count)]
        if play == .unreachable, later.chance(600_000) { play = .leaves }
        let most = min(random.chance(100_000) ? 1_500_000 : 150_000, 300 * min(kernel.incomingBytes, kernel.outgoingBytes))
        var client = drawManners(most, &random)
        var upstream = drawManners(most, &random)
        if play == .late || play == .inspected {
            // Something to be admitted by.
            client.frames.insert(FramePeer.Frame(first: 0x82, count: admitsAfter), at: 0)
            client.frames.indices.forEach { client.frames[$0].first = 0x82 }
            if play == .inspected { upstream.frames.indices.forEach { upstream.frames[$0].first = 0x82 } }
        }
        if play == .mqtt {
            let script = PacketScript(number: number, most: min(most, 100_000), &random)
            scripts[number] = script
            client.frames = PacketScript.frames(script.up.count, &random)
            upstream.frames = PacketScript.frames(script.down.count, &random)
        }
        setEndings(play, &client, &upstream, &random)
        let up = BytePattern(stream: 2 * number)
        let down = BytePattern(stream: 2 * number + 1)
        self.plays.append(play)
        let request = ProxyLoop.upgrade("/\(number)")
        clients.append(FramePeer(.client(request: request), client, sends: up, expects: down, script: scripts[number]?.up))
        let isThere = play != .unreachable && (play != .leaves || later.chance(500_000))
        let status = play == .leaves ? 0 : play == .refused ? [403, 500, 0][random.below(3)] : 101
        upstreams.append(isThere ? FramePeer(
            .server(status: status), upstream, sends: down, expects: up, script: scripts[number]?.down) : nil)
    }

    private func setEndings(_ play: Play, _ client: inout FramePeer.Manners, _ upstream: inout FramePeer.Manners,
                            _ random: inout SimulatedRandom) {
        let codes = [1000, 1001, 3000, 4999, 0]
        let code = codes[random.below(codes.count)]
        let reason = code == 0 ? "" : String(repeating: "é", count: random.size(upTo: 61))
        let read = random.chance(700_000)
        let clientCloses = FramePeer.Ending.close(code: code, reason: reason, afterReading: read ? upstream.frames.count : 0)
        let upstreamCloses = FramePeer.Ending.close(code: code, reason: reason, afterReading: read ? client.frames.count : 0)
        switch play {
        case .clientCloses: client.ending = clientCloses
        case .upstreamCloses: upstream.ending = upstreamCloses
        case .late where random.chance(500_000): upstream.ending = .close(code: code, reason: reason, afterReading: 1)
        case .late: client.ending = clientCloses
        case .inspected, .mqtt: client.ending = .close(code: code, reason: reason, afterReading: 0)
        case .bothClose: (client.ending, upstream.ending) = (clientCloses, upstreamCloses)
        case .clientFinishes: client.ending = .finish
        case .upstreamFinishes: upstream.ending = .finish
        case .rough:
            let endings: [FramePeer.Ending] = [.reset, .finish, .violate, clientCloses]
            client.ending = endings[random.below(4)]
            upstream.ending = endings[random.below(4)]
        case .clientViolates: client.ending = .violate
        case .upstreamViolates: upstream.ending = .violate
        case .refused, .unreachable, .leaves: break
        }
    }

    private func drawManners(_ bytes: Int, _ random: inout SimulatedRandom) -> FramePeer.Manners {
        var manners = FramePeer.Manners()
        var left = random.chance(400_000) ? random.size(upTo: bytes) : random.below(bytes + 1)
        let frameMaximum = 1 + max(random.size(upTo: 200_000), left / 300)
        let fragments = random.chance(300_000) ? 400_000 : 0
        var inside = false
        while left > 0, manners.frames.count < 2000 {
            let count = random.chance(30_000) ? 0 : min(left, 1 + random.size(upTo: frameMaximum))
            let goesOn = random.chance(fragments) && left > count
            let opcode: UInt8 = inside ? 0 : random.chance(500_000) ? 1 : 2
            manners.frames.append(FramePeer.Frame(first: opcode | (goesOn ? 0 : 0x80), count: count))
            inside = goesOn
            left -= count
        }
        if inside { manners.frames.append(FramePeer.Frame(first: 0x80, count: 0)) }
        manners.pings = random.chance(400_000) ? 150_000 : 0
        manners.writeMaximum = 1 + max(random.size(upTo: 200_000), bytes / 200)
        manners.readMaximum = 1 + max(random.size(upTo: 65535), bytes / 200)
        manners.pauseNanoseconds = random.size(upTo: 1_000_000)
        manners.stalls = random.chance(200_000) ? 50_000 : 0
        manners.isEager = random.chance(300_000)
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
        let loop = ProxyLoop(shard: shard, connections: 64)
        let listener = kernel.openListener()
        setUp(loop)
        planPeers(listener, &random)
        shard.listen(listener, owner: ProxyLoop.httpOwner, tag: 9)
        var failures = turnUntilDone(shard, loop)
        kernel.runOut()
        failures += kernel.violations
        for number in clients.indices { failures += check(number) }
        if shard.slotsUsed != 0 { failures.append("\(shard.slotsUsed) slots are still in use") }
        if shard.buffersHeld != 0 { failures.append("\(shard.buffersHeld) buffers were not returned") }
        if kernel.openDescriptors != 0 { failures.append("\(kernel.openDescriptors) descriptors are open") }
        if kernel.requestsHeld != 0 { failures.append("\(kernel.requestsHeld) requests are under way") }
        if !loop.isEmpty { failures.append("\(loop.proxy.count) sessions and \(loop.http.connectionCount) connections are left") }
        failures += checkReports(loop)
        if failures.isEmpty {
            loop.destroy()
            shard.destroy()
        } else {
            failures.append("\(plays), \(sizes), \(settings.bufferBytes), ring \(entries)/\(completions), \(kernel.faults)")
        }
        kernel.tearDown()
        return failures
    }

    private func setUp(_ loop: ProxyLoop) {
        let plays = plays
        let settings = settings
        let admitsAfter = admitsAfter
        // Half of the runs show first data of clients that have their upstream.
        let isShown = seed & 1 == 1
        let rate = rate
        func target(_ number: Int) -> ProxyTarget {
            var target = ProxyLoop.target(port: Self.upstreamPort + number)
            target.rate = rate.map { ($0, MessageRateCell()) }
            return target
        }
        loop.make = { path, request in
            let number = Int(path.dropFirst()) ?? 0
            request.settings = settings
            request.route = UInt16(number)
            guard [.late, .inspected, .mqtt].contains(plays[number]), plays[number] != .late || !isShown else {
                var target = target(number)
                if plays[number] == .late { target.first = .shown }
                request.admission = .dial(target)
                return
            }
            request.admission = .firstData(subprotocol: nil)
            // Its number is what the verdict needs, and the record tells it.
            request.identity.subject = "\(number)"
        }
        let isInspected = plays.map { $0 == .inspected }
        loop.proxy.onFirstData { data in
            if let verdict = PacketScript.judge(data, plays, target) { return verdict }
            guard data.bytes.count >= admitsAfter else { return .more }
            // Who it is shows in the bytes: they are the pattern of one stream.
            let number = plays.indices.first { number in
                BytePattern(stream: 2 * number).mismatch(at: 0, data.bytes.baseAddress!, data.bytes.count) == nil
            }
            guard let number else { return .refuse(ProxyRefusal(ProxyClose(.policyViolation))) }
            var target = target(number)
            if isInspected[number] { target.mode = .inspected }
            return .admit(ProxyAdmit(isShown && plays[number] == .late ? nil : target, identity: ProxyIdentity()))
        }
    }

    private func planPeers(_ listener: Int32, _ random: inout SimulatedRandom) {
        let kernel = kernel
        let upstreams = upstreams
        var taken = Set<Int>()
        kernel.dial = { [unowned kernel] port in
            let number = Int(port) - Self.upstreamPort
            // A second try finds nobody: the peer is one connection's.
            if let upstream = upstreams[number], taken.insert(number).inserted { return .accept(upstream) }
            return .fail(kernel.random.chance(300_000) ? ETIMEDOUT : ECONNREFUSED)
        }
        for (number, peer) in clients.enumerated() {
            kernel.plan(afterNanoseconds: UInt64(random.size(upTo: 20_000_000))) { [unowned kernel] in
                _ = kernel.connectClient(to: listener, port: UInt16(2000 + number), backlogMaximum: 64, peer: peer)
            }
            guard plays[number] == .leaves else { continue }
            let resets = random.chance(500_000)
            kernel.plan(afterNanoseconds: 20_000_000 + UInt64(random.size(upTo: 20_000_000))) { [unowned kernel] in
                guard let socket = peer.socket else { return }
                if resets { kernel.remoteReset(socket) } else { kernel.remoteFinish(socket) }
                kernel.wakePeer(socket)
            }
        }
    }

    private func turnUntilDone(_ shard: Shard, _ loop: ProxyLoop) -> [String] {
        var event = Event()
        var isClosing = false
        for turn in 0..<Self.turnsMaximum {
            shard.turn()
            while shard.next(&event) {
                kernel.trace.add(.event, at: kernel.nanoseconds, Int(event.kind.rawValue), Int(event.slot.raw), event.count)
                loop.dispatch(event)
            }
            if turn == drainsAtTurn {
                shard.closeListeners()
                isClosing = true
                loop.http.drain()
                loop.proxy.drain(spreadMilliseconds: 5000, handshakeMilliseconds: handshakeMilliseconds)
            }
            if !isClosing, clients.allSatisfy({ $0.isDone || $0.socket?.isReleased == true }) {
                shard.closeListeners()
                isClosing = true
            }
            if isClosing, shard.slotsUsed == 0, shard.listenersClosed, kernel.isSettled { return [] }
        }
        return ["no end after \(Self.turnsMaximum) turns: \(loop.proxy.count) sessions, \(shard.slotsUsed) slots"]
    }

    // MARK: the rules

    /// What one end read is what the other sent, frame by frame, as far as it came.
    private func compare(_ reader: FramePeer, _ writer: FramePeer, _ play: Play, _ name: String) -> [String] {
        if let fault = reader.fault { return ["\(name) got \(fault)"] }
        guard ![.late, .inspected, .mqtt].contains(play) || (play == .late && name == "the client") else { return [] }
        let sent = writer.manners.frames
        for (index, frame) in reader.received.enumerated() where index >= sent.count || frame != sent[index] {
            return ["\(name) got frame \(index) as \(frame)"]
        }
        return []
    }

    private func check(_ number: Int) -> [String] {
        let client = clients[number]
        let play = plays[number]
        guard let upstream = upstreams[number] else {
            if let status = client.status, ![502, 503, 504].contains(status) { return ["pair \(number): \(status) without upstream"] }
            return []
        }
        var failures = compare(client, upstream, play, "the client") + compare(upstream, client, play, "the upstream")
        func fail(_ text: String) { failures.append(text) }
        if let script = scripts[number], !script.begins(upstream.recorded) { fail("the broker got what it should not") }
        let isClean = sizes.smallBuffers >= 600 && !kernel.clockJumped && client.socket?.disturbed == false
            && upstream.socket?.disturbed == false && drainsAtTurn == .max
        if isClean {
            if play == .refused {
                if let status = client.status, ![502, 504].contains(status) { fail("a refused dial was answered with \(status)") }
            } else {
                if client.status != 101, play != .rough, play != .leaves { fail("the upgrade was answered with \(client.status ?? 0)") }
                checkEnd(client, upstream, play, fail)
                if let script = scripts[number] { script.check(client, upstream, fail) }
            }
        }
        return failures.map { "pair \(number), \(play): \($0)" }
    }

    private func checkEnd(_ client: FramePeer, _ upstream: FramePeer, _ play: Play, _ fail: (String) -> Void) {
        let up = client.manners.frames.reduce(0) { $0 + $1.count }
        let down = upstream.manners.frames.reduce(0) { $0 + $1.count }
        func closing(_ peer: FramePeer) -> (code: Int, reason: String, reads: Bool)? {
            if case .close(let code, let reason, let frames) = peer.manners.ending { return (code, reason, frames > 0) }
            return nil
        }
        switch play {
        case .mqtt: break
        case .clientCloses, .late, .inspected, .upstreamCloses:
            let (closer, other) = closing(client) != nil ? (client, upstream) : (upstream, client)
            guard let ending = closing(closer) else { return }
            if other.closeCode != ending.code || other.closeReason != ending.reason {
                fail("Close \(ending.code) came as \(other.closeCode ?? -1) \(other.closeReason)")
            }
            if closer.closeCode != ending.code { fail("Close \(ending.code) was answered with \(closer.closeCode ?? -1)") }
            if other.receivedBytes != (closer === client ? up : down) { fail("\(other.receivedBytes) bytes came before the Close") }
            if ending.reads, play != .late, play != .inspected, closer.receivedBytes != (closer === client ? down : up) {
                fail("\(closer.receivedBytes) bytes came to the side that closed")
            }
        case .bothClose: if client.closeCode == nil || upstream.closeCode == nil { fail("no Close") }
        case .clientFinishes:
            if upstream.receivedBytes != up { fail("\(upstream.receivedBytes) of \(up) bytes before the client's end") }
            if upstream.closeCode != 1001 { fail("the client's end became \(upstream.closeCode ?? -1)") }
        case .upstreamFinishes:
            if client.receivedBytes != down { fail("\(client.receivedBytes) of \(down) bytes before the upstream's end") }
            if client.closeCode != 1014 { fail("the upstream's end became \(client.closeCode ?? -1)") }
        case .clientViolates:
            if client.closeCode != 1002, client.sentAll, client.framesRead == client.received.count {
                fail("a violation got Close \(client.closeCode ?? -1)")
            }
        case .upstreamViolates:
            // In the middle of a frame towards a side no Close can stand.
            if upstream.closeCode != 1002, upstream.sentAll, upstream.framesRead == upstream.received.count {
                fail("a violation got Close \(upstream.closeCode ?? -1)")
            }
            if client.closeCode != 1014, upstream.sentAll, client.framesRead == client.received.count {
                fail("the violation of the upstream became \(client.closeCode ?? -1)")
            }
        case .rough, .refused, .unreachable, .leaves: break
        }
    }

    /// Each upgrade became a session or was refused, and each session ended, once.
    private func checkReports(_ loop: ProxyLoop) -> [String] {
        var opened = 0
        var ended = 0
        var refused = 0
        for report in loop.reports {
            if case .opened = report { opened += 1 }
            if case .ended = report { ended += 1 }
            if case .refused = report { refused += 1 }
        }
        if opened != ended { return ["\(opened) sessions opened, \(ended) ended"] }
        return opened + refused == loop.made ? [] : ["\(loop.made) upgrades, \(opened) sessions, \(refused) refused"]
    }
}
