import CRing
import Engine
import Glibc
import Ring
import Simulator

/// One run of the forwarder: a world drawn from a seed, its clients and targets, and the rules that hold at its end.
struct ForwarderWorld {
    static let clientPort = 2000
    static let targetPort = 10000
    static let turnsMaximum = 600_000

    let seed: UInt64
    let kernel: SimulatedKernel
    var clients: [PatternPeer] = []
    var targets: [PatternPeer?] = []
    var isRefused: [Bool] = []
    var habits = Forwarder.Habits()
    var sizes = ShardSizes()
    let calm: Bool
    let secure: Bool
    /// The shard's counters at the end of the run.
    var counted: [Statistics.Counter: UInt64] = [:]

    /// - Parameter secure: every connection speaks TLS.
    init(seed: UInt64, trace: Trace, secure: Bool = false) {
        self.seed = seed
        self.secure = secure
        var random = SimulatedRandom(seed: seed)
        calm = random.chance(150_000)
        let faults = calm ? FaultPlan() : FaultPlan(&random)
        kernel = SimulatedKernel(seed: random.next(), faults: faults, trace: trace)
        sizes.slots = 2 + random.size(upTo: 40)
        sizes.smallBuffers = 2 + random.size(upTo: 300)
        sizes.bulkBuffers = 1 + random.size(upTo: 8)
        kernel.incomingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        kernel.outgoingBytes = random.chance(300_000) ? 1 + random.size(upTo: 8192) : 4096 + random.below(700_000)
        if random.chance(150_000) { kernel.descriptorLimit = 2 + random.below(8) }
        habits.early = random.chance(500_000)
        habits.copies = random.chance(300_000) ? 500_000 : 0
        habits.holds = random.chance(200_000) ? 50_000 : 0
        habits.cuts = random.chance(200_000) ? random.size(upTo: 20_000) : 0
        habits.endsTogether = random.chance(100_000)
        if secure { makeSecure() }
        makePeers(&random)
    }

    private mutating func makeSecure() {
        habits.tls = try? TLSClientContext(authoritiesPath: SecureContexts.authoritiesPath)
        // A handshake holds a buffer of the peer's and needs one for its answer.
        sizes.smallBuffers += 14
        sizes.handshakeStepsPerTurn = 1 + kernel.random.below(4)
        // What waits for a handshake must leave buffers for the handshake itself.
        if sizes.smallBuffers < 256 { habits.early = false }
        kernel.incomingBytes += 512
        kernel.outgoingBytes += 512
        kernel.dialledLayer = { SecureLayer(server: SecureContexts.server) }
    }

    private mutating func makePeers(_ random: inout SimulatedRandom) {
        let count = 1 + random.size(upTo: 11)
        let most = random.chance(100_000) ? 1_500_000 : 150_000
        // Tiny buffers make every byte an event: keep the number of events alike.
        let bytes = min(most, 300 * min(kernel.incomingBytes, kernel.outgoingBytes))
        for number in 0..<count {
            let up = BytePattern(stream: 2 * number)
            let down = BytePattern(stream: 2 * number + 1)
            var clientManners = drawManners(&random, bytes)
            var targetManners = drawManners(&random, bytes)
            if clientManners.ending == .finishLast, targetManners.ending == .finishLast { targetManners.ending = .finish }
            if clientManners.ending == .stay, targetManners.ending == .stay { clientManners.ending = .finish }
            clients.append(PatternPeer(clientManners, sends: up, expects: down))
            let refused = !calm && random.chance(50_000)
            isRefused.append(refused)
            targets.append(refused ? nil : PatternPeer(targetManners, sends: down, expects: up))
        }
    }

    private func drawManners(_ random: inout SimulatedRandom, _ bytes: Int) -> PatternPeer.Manners {
        var manners = PatternPeer.Manners()
        manners.total = random.chance(400_000) ? random.size(upTo: bytes) : random.below(bytes + 1)
        manners.writeMaximum = 1 + max(random.size(upTo: 200_000), manners.total / 200)
        manners.readMaximum = 1 + max(random.size(upTo: 200_000), bytes / 200)
        manners.pauseNanoseconds = random.size(upTo: 1_000_000)
        manners.stalls = random.chance(200_000) ? 50_000 : 0
        if random.chance(200_000) { manners.ending = .finishLast }
        if calm { return manners }
        switch random.below(20) {
        case 0: manners.ending = .reset(after: random.size(upTo: bytes))
        case 1: manners.ending = .close
        case 2: manners.ending = .stay
        default: break
        }
        return manners
    }

    /// Runs to the end; answers the broken rules.
    mutating func run() -> [String] {
        var random = SimulatedRandom(seed: seed ^ 0xF0)
        let entries = UInt32(1) << UInt32(random.within(2...9))
        let completions = UInt32(1) << UInt32(random.within(2...11))
        let ring = kernel.openRing(entries: entries, completions: completions)
        guard let shard = try? Shard(index: 0, ring: ring, sizes: sizes) else { return ["no shard"] }
        let listener = kernel.openListener()
        planDials()
        planClients(listener, &random)
        let context = secure ? try? TLSServerContext([SecureContexts.pair], tickets: nil) : nil
        shard.listen(listener, owner: Forwarder.owner, tag: 9, tls: context)
        var forwarder = Forwarder(shard: shard, habits: habits)
        forwarder.checksPauses = kernel.faults.cancelRace == 0 && kernel.faults.partialSubmission == 0
        let (clients, targets) = (clients, targets)
        forwarder.socketOf = { client, isTarget in isTarget ? targets[client]?.socket : clients[client].socket }
        var failures = turnUntilDone(shard, &forwarder, &random)
        forwarder.socketOf = { _, _ in nil }
        kernel.runOut()
        failures += forwarder.broken + kernel.violations + checkBytes(forwarder)
        if shard.statistics.read(.tlsStreams) != 0 { failures.append("a TLS session was not returned") }
        if shard.slotsUsed != 0 { failures.append("\(shard.slotsUsed) slots are still in use") }
        if shard.buffersHeld != 0 { failures.append("\(shard.buffersHeld) buffers were not returned") }
        if kernel.openDescriptors != 0 { failures.append("\(kernel.openDescriptors) descriptors are open") }
        if kernel.requestsHeld != 0 { failures.append("\(kernel.requestsHeld) requests are under way") }
        for counter in Statistics.Counter.allCases { counted[counter] = shard.statistics.read(counter) }
        if failures.isEmpty {
            shard.destroy()
        } else {
            failures.append("\(sizes), \(habits), ring \(entries)/\(completions), \(kernel.faults)")
        }
        kernel.tearDown()
        return failures
    }

    private func planDials() {
        let targets = targets
        let kernel = kernel
        kernel.dial = { [unowned kernel] port in
            let number = Int(port) - Self.targetPort
            if let target = targets[number] { return .accept(target) }
            return .fail(kernel.random.chance(300_000) ? ETIMEDOUT : ECONNREFUSED)
        }
    }

    private func planClients(_ listener: Int32, _ random: inout SimulatedRandom) {
        let kernel = kernel
        let secure = secure
        for (number, peer) in clients.enumerated() {
            kernel.plan(afterNanoseconds: UInt64(random.size(upTo: 20_000_000))) { [unowned kernel] in
                let socket = kernel.connectClient(
                    to: listener, port: UInt16(Self.clientPort + number), backlogMaximum: 4096, peer: peer)
                if secure { socket?.layer = SecureLayer(client: SecureContexts.client) }
            }
        }
    }

    private func turnUntilDone(_ shard: Shard, _ forwarder: inout Forwarder, _ random: inout SimulatedRandom) -> [String] {
        var event = Event()
        var isClosing = false
        let closesAt = random.chance(100_000) ? random.size(upTo: 500) : Int.max
        for turn in 0..<Self.turnsMaximum {
            forwarder.turn = turn
            forwarder.checkPauses()
            shard.turn()
            while shard.next(&event) {
                kernel.trace.add(.event, at: kernel.nanoseconds, Int(event.kind.rawValue), Int(event.context), event.count)
                forwarder.handle(event, &random)
            }
            let isQuiet = forwarder.sidesAlive == 0 && (shard.now > 30_000 || clients.allSatisfy { $0.isDone })
            if !isClosing, turn >= closesAt || isQuiet {
                shard.closeListeners()
                isClosing = true
            }
            if isClosing, shard.slotsUsed == 0, shard.listenersClosed, kernel.isSettled { return [] }
        }
        return ["no end after \(Self.turnsMaximum) turns: \(forwarder.sidesAlive) streams alive, \(shard.slotsUsed) slots"]
    }

    private func checkBytes(_ forwarder: Forwarder) -> [String] {
        var failures: [String] = []
        for number in clients.indices {
            let client = clients[number]
            if let at = client.mismatchOffset { failures.append("client \(number) read a wrong byte at \(at)") }
            guard let target = targets[number] else { continue }
            if let at = target.mismatchOffset { failures.append("target \(number) read a wrong byte at \(at)") }
            let isMet = forwarder.clients.contains(number)
            let isClean = isMet && client.isPolite && target.isPolite && !forwarder.cut.contains(number) && !kernel.clockJumped
                && client.socket?.disturbed == false && target.socket?.disturbed == false
            if isClean {
                if target.receivedBytes != client.manners.total || !target.sawEnd {
                    failures.append("pair \(number): \(target.receivedBytes) of \(client.manners.total) bytes reached the target")
                }
                if client.receivedBytes != target.manners.total || !client.sawEnd {
                    failures.append("pair \(number): \(client.receivedBytes) of \(target.manners.total) bytes reached the client")
                }
            }
            // A pair of polite peers never falls silent.
            if forwarder.idlePairs.contains(number), client.isPolite, target.isPolite, !kernel.clockJumped {
                failures.append("pair \(number) fell silent")
            }
        }
        return failures
    }
}
