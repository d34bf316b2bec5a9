import Engine
import Glibc
import Policy
import Ring
import Simulator
import UDPRelay

/// One run of `/udp` over the simulated kernel: clients of all manners, remotes that answer, flood and send too much, strangers, and
/// the rules that hold at the end.
final class RelayWorld {
    /// Turns of a run that is not endless.
    let turnsMaximum: Int
    static let remotePort: UInt16 = 30_000
    /// A port the policy denies, and one from which strangers send.
    static let deniedPort: UInt16 = 49_000
    static let strangerPort: UInt16 = 50_000
    static let key = "secret"

    /// How a client says who it is.
    enum Credential: CaseIterable {
        case field, message, wrongField, wrongMessage, none
    }

    let seed: UInt64
    let kernel: SimulatedKernel
    /// Nothing goes wrong and nothing is limited: every datagram arrives.
    let calm: Bool
    var settings = RelaySettings()
    var sizes = ShardSizes()
    var clients: [RelayPeer] = []
    var credentials: [Credential] = []
    var floods = 0
    var drainsAtTurn = Int.max
    var counters: RelayCounters?
    /// Clients of which every datagram was accounted for.
    var exactClients = 0

    /// Datagrams that have left.
    private(set) var leftCount: UInt64 = 0
    /// By client and number: whether the datagram has left.
    private var hasLeft: [[Bool]] = []
    /// Datagrams a client must get: those that found room at its sockets and are neither strangers' nor too long.
    private var owed: [Int] = []
    private var emptyLeft: [Int] = []
    /// Whose a socket is, found out from what leaves it.
    private var owners: [UInt64: (client: Int, guest: UInt16)] = [:]
    private var broken: [String] = []

    /// A world drawn from a seed. With a `total`, it is one in which clients stay and send so many datagrams together: connections do not
    /// break, time does not jump, nobody is ended for a limit; every other fault and shortage is there.
    init(seed: UInt64, trace: Trace, total: Int? = nil) {
        self.seed = seed
        turnsMaximum = 4_000_000 + 20 * (total ?? 0)
        var random = SimulatedRandom(seed: seed)
        calm = random.chance(300_000) && total == nil
        var faults = calm ? FaultPlan() : FaultPlan(&random)
        if !calm { faults.drawDatagrams(&random) }
        if total != nil { (faults.connectionBreaks, faults.clockJump, faults.acceptFails) = (0, 0, 0) }
        kernel = SimulatedKernel(seed: random.next(), faults: faults, trace: trace)
        drawSizes(&random)
        settings.authenticationMilliseconds = 500
        settings.idleMilliseconds = 3000
        settings.pingMilliseconds = 1000
        settings.prefersV2 = random.chance(500_000)
        if !calm { drawLimits(&random) }
        if let total {
            stay(&random)
            let count = random.within(2...8)
            for number in 0..<count { makeEnduringClient(number, total / count, &random) }
        } else {
            for number in 0..<1 + random.size(upTo: 6) { makeClient(number, &random) }
        }
        hasLeft = clients.map { [Bool](repeating: false, count: $0.frames.count) }
        owed = clients.map { _ in 0 }
        emptyLeft = owed
    }

    private func drawSizes(_ random: inout SimulatedRandom) {
        sizes.slots = calm ? 2048 : 8 + random.size(upTo: 300)
        sizes.smallBuffers = calm ? 4000 : 70 + random.size(upTo: 600)
        sizes.bulkBuffers = 1 + random.size(upTo: 30)
        sizes.packetBuffers = calm ? 2000 : 2 + random.size(upTo: 600)
        sizes.trainBuffers = calm ? 100 : 2 + random.size(upTo: 70)
        kernel.incomingBytes = calm ? 4 << 20 : 4096 + random.size(upTo: 700_000)
        kernel.outgoingBytes = calm ? 4 << 20 : 1 + random.size(upTo: 300_000)
        if calm { kernel.descriptorLimit = 4096 } else if random.chance(100_000) { kernel.descriptorLimit = 4 + random.below(30) }
        floods = random.chance(300_000) ? random.size(upTo: 100_000) : 0
        if !calm, random.chance(100_000) { drainsAtTurn = random.size(upTo: 500) }
    }

    private func drawLimits(_ random: inout SimulatedRandom) {
        if random.chance(300_000) { settings.bindings.maximumBindings = 1 + random.size(upTo: 20) }
        if random.chance(300_000) { settings.bindings.idleMilliseconds = UInt64(1 + random.size(upTo: 500)) }
        if random.chance(300_000) { settings.bindings.maximumRemotes = 1 + random.size(upTo: 4) }
        if random.chance(200_000) { settings.bindings.remoteIdleMilliseconds = UInt64(1 + random.size(upTo: 100)) }
        if random.chance(200_000) { settings.bindings.filterMode = .any }
        if random.chance(200_000) { settings.sendQueueBytes = 1 + random.size(upTo: 100_000) }
        if random.chance(100_000) { settings.maximumSessions = 1 + random.below(3) }
        if random.chance(150_000) { settings.limits.framesPerSecond = 1 + random.size(upTo: 2000) }
        if random.chance(150_000) { settings.limits.bytesPerSecond = 1 + random.size(upTo: 200_000) }
        if random.chance(150_000) { settings.limits.uniqueDestinations = 1 + random.size(upTo: 5) }
        if random.chance(150_000) {
            settings.limits.framesPerSecondPerDestination = 1 + random.size(upTo: 500)
            settings.limits.destinationBuckets = 1 + random.size(upTo: 4)
        }
        if random.chance(150_000) { settings.limits.bytesPerSecondToClient = 1 + random.size(upTo: 200_000) }
        if random.chance(150_000) { settings.limits.hardCloseViolations = 1 + random.size(upTo: 50) }
    }

    /// What would end a client that does nothing wrong.
    private func stay(_ random: inout SimulatedRandom) {
        // Room for the sockets of all guest ports, or their datagrams would only be dropped.
        sizes.slots = 2000
        sizes.smallBuffers = max(sizes.smallBuffers, 200)
        kernel.outgoingBytes = max(kernel.outgoingBytes, 4096)
        kernel.descriptorLimit = 4096
        drainsAtTurn = Int.max
        settings.idleMilliseconds = 3_600_000
        settings.maximumSessions = 0
        settings.limits = RelayLimits()
        guard random.chance(500_000) else { return }
        // Rates that nobody reaches: every datagram is judged, none refused for them.
        (settings.limits.framesPerSecond, settings.limits.bytesPerSecond) = (1_000_000_000, 1_000_000_000)
        (settings.limits.framesPerSecondPerDestination, settings.limits.bytesPerSecondToClient) = (1_000_000_000, 1_000_000_000)
        settings.limits.destinationBuckets = 1 + random.size(upTo: 4)
    }

    // MARK: - Clients

    private func makeEnduringClient(_ number: Int, _ count: Int, _ random: inout SimulatedRandom) {
        var manners = RelayPeer.Manners()
        manners.batch = 1 + random.size(upTo: 200)
        manners.pings = random.chance(300_000) ? 10_000 : 0
        manners.fragments = random.chance(300_000) ? 200_000 : 0
        manners.writeMaximum = 4096 + random.size(upTo: 200_000)
        manners.readMaximum = 4096 + random.size(upTo: 61_000)
        manners.pauseNanoseconds = random.size(upTo: 100_000)
        credentials.append(.field)
        clients.append(RelayPeer(manners, request: Self.request(.field), frames: makeFrames(number, count, &random)))
    }

    private func makeClient(_ number: Int, _ random: inout SimulatedRandom) {
        let parts: [RelayPeer.Part] = [
            .orderly, .orderly, .orderly, .orderly, .finish, .reset(after: random.size(upTo: 200)), .mute, .deaf,
            .offend(code: 1002), .offend(code: 1003), .offend(code: 1008), .offend(code: 1009),
        ]
        var manners = RelayPeer.Manners()
        manners.part = parts[random.below(parts.count)]
        var credential = random.chance(800_000) ? [Credential.field, .message][random.below(2)] : Credential.allCases[random.below(5)]
        if manners.part == .offend(code: 1008) { credential = .none }
        credentials.append(credential)
        switch credential {
        case .message: manners.authentication = "{\"type\":\"auth\",\"token\":\"\(Self.key)\",\"apiKey\":\"\(Self.key)\",\"x\":[1]}"
        case .wrongMessage: manners.authentication = "{\"type\":\"auth\",\"token\":\"wrong\"}"
        case .field, .wrongField, .none: break
        }
        manners.isEager = random.chance(300_000)
        manners.batch = 1 + random.size(upTo: 200)
        manners.pings = random.chance(300_000) ? 100_000 : 0
        manners.fragments = random.chance(300_000) ? 200_000 : 0
        manners.writeMaximum = 1 + (calm ? 20_000 : 100) + random.size(upTo: 200_000)
        manners.readMaximum = calm ? 65536 : 1 + 100 + random.size(upTo: 65536)
        manners.pauseNanoseconds = random.size(upTo: calm ? 100_000 : 1_000_000)
        let frames = manners.part == .offend(code: 1008) || credential == .none && random.chance(500_000)
            ? [] : makeFrames(number, nil, &random)
        clients.append(RelayPeer(manners, request: Self.request(credential), frames: frames))
    }

    private static func request(_ credential: Credential) -> String {
        let field: String
        switch credential {
        case .field: field = "Authorization: Bearer \(key)\r\n"
        case .wrongField: field = "Authorization: ApiKey wrong\r\n"
        case .message, .wrongMessage, .none: field = ""
        }
        return "GET /udp HTTP/1.1\r\nHost: relay.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\(field)\r\n"
    }

    /// `count`: how many, nil for a few.
    private func makeFrames(_ client: Int, _ count: Int?, _ random: inout SimulatedRandom) -> [RelayPeer.Frame] {
        let guests = 1 + random.size(upTo: calm ? 100 : 200)
        let remotes = 1 + random.size(upTo: 6)
        let longest = StampedDatagram.headerBytes + random.size(upTo: 1200 - StampedDatagram.headerBytes)
        let mistakes = random.chance(400_000) ? 50_000 : 0
        let steady = random.chance(500_000)
        var guest = random.below(guests)
        var remote = random.below(remotes)
        return (0..<(count ?? random.size(upTo: 600))).map { number in
            if !steady || random.chance(100_000) { (guest, remote) = (random.below(guests), random.below(remotes)) }
            let isVersion2 = random.chance(300_000)
            if random.chance(mistakes) { return mistake(client, number, &random) }
            let count = random.chance(20_000) ? 0 : steady && !random.chance(50_000) ? longest
                : random.within(StampedDatagram.headerBytes...longest)
            let port = random.chance(mistakes / 4) ? Self.deniedPort : Self.remotePort + UInt16(remote)
            return RelayPeer.Frame(
                guest: UInt16(guest), remote: port, isVersion2: isVersion2,
                payload: StampedDatagram.make(remote: client, number: number, count: count))
        }
    }

    private func mistake(_ client: Int, _ number: Int, _ random: inout SimulatedRandom) -> RelayPeer.Frame {
        let wrong: [[UInt8]] = [
            [], [1], [0, 1, 127, 0, 0, 1, 0], [0xA2, 2, 4, 0, 0, 1, 127, 0, 0, 1, 0], [0xA2, 2, 4, 1, 0, 1, 127, 0, 0, 1, 117, 48],
            [0xA2, 2, 5, 0, 0, 1, 127, 0, 0, 1, 117, 48], [0xA2, 2, 6, 0, 0, 1, 127, 0, 0, 1, 117, 48],
        ]
        if random.chance(300_000) {
            let long = StampedDatagram.make(remote: client, number: number, count: 1205)
            return RelayPeer.Frame(guest: 1, remote: Self.remotePort, isVersion2: false, payload: long)
        }
        return RelayPeer.Frame(guest: 0, remote: 0, isVersion2: false, payload: wrong[random.below(wrong.count)], isWellFormed: false)
    }

    // MARK: - The run

    /// Runs to the end; answers the broken rules.
    func run() -> [String] {
        var random = SimulatedRandom(seed: seed ^ 0xD6)
        let entries = UInt32(1) << UInt32(calm ? 9 : random.within(2...9))
        let completions = UInt32(1) << UInt32(calm ? 12 : random.within(2...11))
        let ring = kernel.openRing(entries: entries, completions: completions)
        guard let shard = try? Shard(index: 0, ring: ring, sizes: sizes) else { return ["no shard"] }
        var destinations = RelayDestinationSettings(preset: "dev")!
        destinations.deniedPorts = [Self.deniedPort...Self.deniedPort]
        let shared = RelayShared(
            settings: settings, access: .apiKey(Array(Self.key.utf8)), destinations: RelayDestinations(destinations))
        let sockets = calm || seed % 3 != 0 ? sizes.slots : 4
        let loop = RelayLoop(shard: shard, shared: shared, connections: 64, sockets: sockets)
        counters = loop.relay.counters
        kernel.datagramLeft = { [unowned self] in left($0, $1, $2) }
        let listener = kernel.openListener()
        for (number, peer) in clients.enumerated() {
            kernel.plan(afterNanoseconds: UInt64(random.size(upTo: 20_000_000))) { [unowned kernel] in
                _ = kernel.connectClient(to: listener, port: UInt16(2000 + number), backlogMaximum: 64, peer: peer)
            }
        }
        shard.listen(listener, owner: RelayLoop.httpOwner, tag: 9)
        var failures = turnUntilDone(shard, loop)
        kernel.runOut()
        failures += kernel.violations + broken + checkCounters()
        for number in clients.indices { failures += check(number) }
        if shard.slotsUsed != 0 { failures.append("\(shard.slotsUsed) slots are still in use") }
        if shard.buffersHeld != 0 { failures.append("\(shard.buffersHeld) buffers were not returned") }
        if kernel.openDescriptors != 0 { failures.append("\(kernel.openDescriptors) descriptors are open") }
        if kernel.requestsHeld != 0 { failures.append("\(kernel.requestsHeld) requests are under way") }
        if !loop.isEmpty {
            failures.append("\(loop.relay.count) WebSockets, \(loop.relay.socketCount) sockets, \(shared.sessionCount) sessions are left")
        }
        if failures.isEmpty {
            loop.destroy()
            shard.destroy()
        } else {
            failures.append("\(clients.map(\.manners)), \(credentials), \(sizes), \(settings), ring \(entries)/\(completions)")
            failures.append("\(kernel.faults)")
        }
        kernel.tearDown()
        return failures
    }

    private func turnUntilDone(_ shard: Shard, _ loop: RelayLoop) -> [String] {
        var event = Event()
        var isClosing = false
        for turn in 0..<turnsMaximum {
            shard.turn()
            while shard.next(&event) {
                kernel.trace.add(.event, at: kernel.nanoseconds, Int(event.kind.rawValue), Int(event.slot.raw), event.count)
                loop.dispatch(event)
            }
            loop.relay.endTurn()
            if turn == drainsAtTurn {
                shard.closeListeners()
                isClosing = true
                loop.http.drain()
                loop.relay.drain(graceMilliseconds: 5000)
            }
            if !isClosing, clients.allSatisfy({ $0.isDone || $0.socket?.isReleased == true }) {
                shard.closeListeners()
                isClosing = true
            }
            if isClosing, shard.slotsUsed == 0, shard.listenersClosed, kernel.isSettled { return [] }
        }
        return ["no end after \(turnsMaximum) turns: \(loop.relay.count) WebSockets, \(shard.slotsUsed) slots"]
    }

    // MARK: - Remotes

    /// A datagram has left: it must be one that a client sent, once; its remote answers.
    private func left(_ socket: SimulatedSocket, _ port: UInt16, _ payload: [UInt8]) {
        let key = UInt64(socket.identifier)
        leftCount += 1
        guard !payload.isEmpty else {
            if let owner = owners[key] {
                emptyLeft[owner.client] += 1
                answer(socket, port, payload, owner.client)
            }
            return
        }
        payload.withUnsafeBytes { raw in
            let base = raw.baseAddress!
            let (client, number) = (StampedDatagram.remote(base), StampedDatagram.number(base))
            guard StampedDatagram.isWhole(base, raw.count), clients.indices.contains(client), hasLeft[client].indices.contains(number),
                clients[client].frames[number].payload == payload
            else { return complain("a datagram left that no client sent") }
            let frame = clients[client].frames[number]
            if port != frame.remote || port == Self.deniedPort || payload.count > 1200 { complain("a datagram to \(port) left") }
            if hasLeft[client][number] { complain("a datagram left twice") }
            hasLeft[client][number] = true
            if let owner = owners[key], owner != (client, frame.guest) { complain("a socket served two guests") }
            owners[key] = (client, frame.guest)
            answer(socket, port, payload, client)
        }
    }

    private func answer(_ socket: SimulatedSocket, _ port: UInt16, _ payload: [UInt8], _ client: Int) {
        var copies = [0, 1, 1, 1, 1, 2, 3][kernel.random.below(7)]
        if kernel.random.chance(floods) { copies = 20 + kernel.random.below(100) }
        let delay = UInt64(1 + kernel.random.size(upTo: 3_000_000))
        kernel.plan(afterNanoseconds: delay) { [unowned self] in
            guard !socket.isReleased else { return }
            owed[client] += kernel.deliver([[UInt8]](repeating: payload, count: copies), from: port, to: socket)
            if kernel.random.chance(20_000) { kernel.deliver([payload, payload], from: Self.strangerPort, to: socket) }
            if kernel.random.chance(20_000), payload.count >= StampedDatagram.headerBytes {
                let number = payload.withUnsafeBytes { StampedDatagram.number($0.baseAddress!) }
                let long = StampedDatagram.make(remote: client, number: number, count: 1201 + kernel.random.size(upTo: 5000))
                kernel.deliver([[UInt8]](repeating: long, count: 1 + kernel.random.below(20)), from: port, to: socket)
            }
            if kernel.random.chance(kernel.faults.datagramError) { kernel.raiseDatagramError(ECONNREFUSED, on: socket) }
        }
    }

    private func complain(_ text: String) { if broken.count < 8 { broken.append(text) } }

    // MARK: - The rules

    private func checkCounters() -> [String] {
        guard let counters else { return ["no counters"] }
        let parts: [RelayCounters.Event] = [
            .droppedMalformed, .droppedOversized, .droppedDenied, .droppedRateLimited, .droppedQuota, .droppedBackpressure,
        ]
        let sum = parts.reduce(0) { $0 + counters.read($1) }
        return counters.read(.dropped) == sum ? [] : ["\(counters.read(.dropped)) dropped, \(sum) for a reason"]
    }

    private func check(_ number: Int) -> [String] {
        let client = clients[number]
        var failures: [String] = []
        func fail(_ text: String) { failures.append("client \(number), \(client.manners.part), \(credentials[number]): \(text)") }
        if let fault = client.fault { fail("the server sent \(fault)") }
        for reply in client.replies {
            if reply.payload.count > 1200 { fail("a reply of \(reply.payload.count) bytes") }
            if reply.remote == Self.strangerPort, settings.bindings.filterMode == .addressAndPort { fail("it heard a stranger") }
            guard !reply.payload.isEmpty else { continue }
            let isRight = reply.payload.withUnsafeBytes { raw -> Bool in
                guard raw.count >= StampedDatagram.headerBytes, StampedDatagram.isWhole(raw.baseAddress!, raw.count),
                    StampedDatagram.remote(raw.baseAddress!) == number
                else { return false }
                let frame = client.frames[StampedDatagram.number(raw.baseAddress!)]
                return frame.guest == reply.guest && (frame.remote == reply.remote || reply.remote == Self.strangerPort)
            }
            if !isRight { fail("a reply that answers nothing") }
            if failures.count > 4 { return failures }
        }
        if calm, let expected = expectedClose(number) {
            if (client.closeCode, client.closeReason) != expected { fail("Close \(client.closeCode ?? 0) \(client.closeReason)") }
        }
        if calm, client.isReady { failures += exact(number) }
        return failures
    }

    /// How the server closes when nothing goes wrong.
    private func expectedClose(_ number: Int) -> (Int?, String)? {
        let client = clients[number]
        if case .reset = client.manners.part { return nil }
        if client.manners.part == .deaf, client.isReady { return nil }
        switch credentials[number] {
        case .wrongField, .wrongMessage: return (1008, "invalid credentials")
        case .none where client.manners.part == .offend(code: 1008) || client.frames.first != nil: return (1008, "authentication required")
        case .none:
            switch client.manners.part {
            case .orderly, .mute, .deaf: return client.manners.part == .orderly ? (4000, "") : (1008, "authentication timeout")
            case .finish: return nil
            case .offend(1002): return (1002, "")
            case .offend: return (1008, "authentication required")
            case .reset: return nil
            }
        case .field, .message: break
        }
        switch client.manners.part {
        case .orderly: return (4000, "")
        case .mute: return (1000, "idle timeout")
        case .offend(1003): return (1003, "expected binary message")
        case .offend(let code): return (code, "")
        case .finish, .reset, .deaf: return nil
        }
    }

    /// Of a client that waits for its answers: nothing is lost when nothing goes wrong.
    private func exact(_ number: Int) -> [String] {
        let client = clients[number]
        guard client.manners.part == .orderly || client.manners.part == .mute else { return [] }
        var failures: [String] = []
        func fail(_ text: String) { failures.append("client \(number): \(text)") }
        for (index, frame) in client.frames.enumerated() where frame.isWellFormed && !frame.payload.isEmpty {
            let isDue = frame.payload.count <= 1200 && frame.remote != Self.deniedPort
            if isDue != hasLeft[number][index] { fail("datagram \(index) has \(isDue ? "not " : "")left") }
            if failures.count > 4 { break }
        }
        if client.replies.count != owed[number] { fail("\(client.replies.count) of \(owed[number]) replies came") }
        if client.pongsMissing > 0 { fail("\(client.pongsMissing) pings were not answered") }
        exactClients += 1
        return failures
    }
}
