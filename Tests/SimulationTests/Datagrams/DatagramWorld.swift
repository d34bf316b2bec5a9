import CRing
import Engine
import Glibc
import Ring
import Simulator

/// What a datagram of the simulation says about itself: who sent it, its number, a stamp of the engine's side, then a pattern.
///
/// ```
/// │ remote 2 │ number 4 │ stamp 4 │ pattern … │        (empty ones say nothing)
/// ```
enum StampedDatagram {
    static let headerBytes = 10

    static func make(remote: Int, number: Int, count: Int) -> [UInt8] {
        guard count > 0 else { return [] }
        precondition(count >= headerBytes)
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { raw in
            raw.storeBytes(of: UInt16(remote), as: UInt16.self)
            raw.storeBytes(of: UInt32(number), toByteOffset: 2, as: UInt32.self)
            let pattern = BytePattern(stream: remote).bytes(at: number &* 31)
            memcpy(raw.baseAddress! + headerBytes, pattern, count - headerBytes)
        }
        return bytes
    }

    /// Whether the bytes are what their own header says.
    static func isWhole(_ bytes: UnsafeRawPointer, _ count: Int) -> Bool {
        if count == 0 { return true }
        guard count >= headerBytes else { return false }
        let pattern = BytePattern(stream: remote(bytes)).bytes(at: number(bytes) &* 31)
        return memcmp(bytes + headerBytes, pattern, count - headerBytes) == 0
    }

    static func remote(_ bytes: UnsafeRawPointer) -> Int { Int(bytes.loadUnaligned(as: UInt16.self)) }
    static func number(_ bytes: UnsafeRawPointer) -> Int { Int(bytes.loadUnaligned(fromByteOffset: 2, as: UInt32.self)) }
    static func stamp(_ bytes: UnsafeRawPointer) -> UInt32 { bytes.loadUnaligned(fromByteOffset: 6, as: UInt32.self) }
}

/// A remote host: sends bursts to one socket.
struct DatagramRemote {
    let port: UInt16
    let socket: Int  // of the repeater
    let total: Int
    let burstMaximum: Int
    let countMaximum: Int
    var sent = 0
    var taken = 0
}

/// One run of the repeater: a world drawn from a seed, its remotes, and the rules that hold at its end.
final class DatagramWorld {
    static let remotePort = 30_000

    let seed: UInt64
    let turnsMaximum: Int
    let kernel: SimulatedKernel
    var remotes: [DatagramRemote] = []
    var habits = Repeater.Habits()
    var sizes = ShardSizes()
    var sockets: [SimulatedSocket] = []  // in the order in which the engine opened them
    var left = 0
    var lastStamp: [UInt64: UInt32] = [:]
    var stamps: Set<UInt32> = []
    var overtakings = 0
    var broken: [String] = []
    var counted: [Statistics.Counter: UInt64] = [:]
    var longestSent = 0
    var longestReceived = 0

    init(seed: UInt64, trace: Trace, total: Int) {
        self.seed = seed
        turnsMaximum = 400_000 + 4 * total
        var random = SimulatedRandom(seed: seed)
        let calm = random.chance(150_000)
        var faults = calm ? FaultPlan() : FaultPlan(&random)
        if !calm { faults.drawDatagrams(&random) }
        faults.connectionBreaks = 0
        kernel = SimulatedKernel(seed: random.next(), faults: faults, trace: trace)
        sizes.slots = 2 + random.size(upTo: 30)
        sizes.smallBuffers = 4
        sizes.bulkBuffers = 1
        sizes.packetBuffers = 2 + random.size(upTo: 600)
        sizes.trainBuffers = 2 + random.size(upTo: 70)
        kernel.incomingBytes = 2000 + random.size(upTo: 700_000)
        kernel.outgoingBytes = random.chance(500_000) ? 1 << 20 : 1 + random.size(upTo: 300_000)
        if random.chance(100_000) { kernel.descriptorLimit = 1 + random.below(8) }
        habits.draw(&random)
        let count = 1 + random.size(upTo: 12)
        let socketCount = 1 + random.size(upTo: 8)
        habits.sockets = socketCount
        for number in 0..<count {
            let share = 1 + total / count
            let large = random.chance(100_000) ? 65_000 : random.chance(300_000) ? 5000 : 1300
            remotes.append(
                DatagramRemote(
                    port: UInt16(Self.remotePort + number), socket: random.below(socketCount), total: share,
                    burstMaximum: 1 + random.size(upTo: 200), countMaximum: StampedDatagram.headerBytes + random.size(upTo: large)))
        }
    }

    /// Runs to the end; answers the broken rules.
    func run() -> [String] {
        var random = SimulatedRandom(seed: seed ^ 0xDA)
        let entries = UInt32(1) << UInt32(random.within(2...9))
        let completions = UInt32(1) << UInt32(random.within(2...11))
        let ring = kernel.openRing(entries: entries, completions: completions)
        guard let shard = try? Shard(index: 0, ring: ring, sizes: sizes) else { return ["no shard"] }
        kernel.datagramOpened = { [unowned self] in sockets.append($0) }
        kernel.datagramLeft = { [unowned self] in sees($0, $1, $2) }
        let repeater = Repeater(shard: shard, habits: habits)
        repeater.open(&random)
        for number in remotes.indices { planBurst(number, repeater, 1 + random.size(upTo: 2_000_000)) }
        var failures = turnUntilDone(shard, repeater, &random)
        for counter in Statistics.Counter.allCases { counted[counter] = shard.statistics.read(counter) }
        failures += repeater.broken + broken + kernel.violations + checkCounts(repeater)
        longestReceived = repeater.longestTrain
        longestSent = (0..<Statistics.trainBuckets).last { shard.statistics.trains(.sent, inBucket: $0) > 0 } ?? 0
        if shard.slotsUsed != 0 { failures.append("\(shard.slotsUsed) slots are still in use") }
        if shard.buffersHeld != 0 { failures.append("\(shard.buffersHeld) buffers were not returned") }
        if kernel.openDescriptors != 0 { failures.append("\(kernel.openDescriptors) descriptors are open") }
        if kernel.requestsHeld != 0 { failures.append("\(kernel.requestsHeld) requests are under way") }
        if failures.isEmpty {
            shard.destroy()
        } else {
            failures.append("\(sizes), \(habits), ring \(entries)/\(completions), \(kernel.faults)")
        }
        kernel.tearDown()
        return failures
    }

    private func planBurst(_ number: Int, _ repeater: Repeater, _ delay: Int) {
        kernel.plan(afterNanoseconds: UInt64(delay)) { [unowned self, unowned repeater] in burst(number, repeater) }
    }

    /// Sends a burst, of one size mostly, and plans the next.
    private func burst(_ number: Int, _ repeater: Repeater) {
        let remote = remotes[number]
        guard let place = repeater.sockets[remote.socket].kernelIndex, !sockets[place].isReleased else {
            remotes[number].sent = remote.total
            return
        }
        let count = min(remote.total - remote.sent, 1 + kernel.random.below(remote.burstMaximum))
        let whole = kernel.random.within(StampedDatagram.headerBytes...remote.countMaximum)
        var payloads: [[UInt8]] = []
        for index in 0..<count {
            var bytes = whole
            if kernel.random.chance(30_000) { bytes = kernel.random.within(StampedDatagram.headerBytes...remote.countMaximum) }
            if kernel.random.chance(5_000) { bytes = 0 }
            payloads.append(StampedDatagram.make(remote: number, number: remote.sent + index, count: bytes))
        }
        remotes[number].sent += count
        remotes[number].taken += kernel.deliver(payloads, from: remote.port, to: sockets[place])
        if kernel.random.chance(kernel.faults.datagramError) { kernel.raiseDatagramError(ECONNREFUSED, on: sockets[place]) }
        if remotes[number].sent < remote.total { planBurst(number, repeater, 1 + kernel.random.size(upTo: 1_000_000)) }
    }

    /// A datagram has left the engine.
    private func sees(_ socket: SimulatedSocket, _ port: UInt16, _ payload: [UInt8]) {
        left += 1
        payload.withUnsafeBytes { raw in
            guard let base = raw.baseAddress, raw.count > 0 else { return }
            guard StampedDatagram.isWhole(base, raw.count) else { return complain("a datagram left that is not what it says") }
            let key = UInt64(socket.identifier) << 16 | UInt64(port)
            let stamp = StampedDatagram.stamp(base)
            if !stamps.insert(stamp).inserted { complain("a datagram left twice") }
            if stamp <= lastStamp[key, default: 0] { overtakings += 1 }
            lastStamp[key] = stamp
        }
    }

    private func complain(_ text: String) { if broken.count < 8 { broken.append(text) } }

    private func turnUntilDone(_ shard: Shard, _ repeater: Repeater, _ random: inout SimulatedRandom) -> [String] {
        var event = Event()
        var quiet = 0
        for turn in 0..<turnsMaximum {
            repeater.turn = turn
            repeater.act(&random)
            shard.turn()
            while shard.next(&event) {
                kernel.trace.add(.event, at: kernel.nanoseconds, Int(event.kind.rawValue), Int(event.context), event.count)
                repeater.handle(event, &random)
            }
            let isIdle = remotes.allSatisfy { $0.sent == $0.total } && repeater.isIdle
                && !sockets.contains { !$0.isReleased && $0.hasDatagrams }
            quiet = isIdle ? quiet + 1 : 0
            // What waits for room in a socket leaves within a few turns of nothing else to do.
            if quiet > 200 { repeater.closeAll() }
            if repeater.isClosed, shard.slotsUsed == 0, kernel.isSettled { return [] }
        }
        return ["no end after \(turnsMaximum) turns: \(shard.slotsUsed) slots"]
    }

    /// On a connected socket a send may meet the error of an earlier one, and is tried again.
    private func errorsOfPeers(_ repeater: Repeater) -> UInt64 {
        repeater.sockets.contains { $0.isConnected } && kernel.faults.datagramError > 0 ? 1 : 0
    }

    private func checkCounts(_ repeater: Repeater) -> [String] {
        var failures: [String] = []
        let sent = Int(counted[.datagramsSent, default: 0])
        let notSent = Int(counted[.datagramSendErrors, default: 0] + counted[.datagramsDroppedFull, default: 0])
        if kernel.faults.datagramLost == 0, left != sent { failures.append("\(left) datagrams left, \(sent) were counted") }
        // Only what the kernel refused at first may be overtaken.
        let refused = counted[.datagramSendsDelayed, default: 0] + counted[.segmentationRefused, default: 0] + errorsOfPeers(repeater)
        if refused == 0, overtakings > 0 { failures.append("datagrams to one destination changed places") }
        if repeater.closedEarly { return failures }
        if sent + notSent != repeater.handed { failures.append("\(repeater.handed) handed over, \(sent) sent, \(notSent) not") }
        let taken = remotes.reduce(0) { $0 + $1.taken }
        if repeater.seen != taken { failures.append("\(taken) datagrams arrived, \(repeater.seen) were seen") }
        let lost = sockets.reduce(0) { $0 + $1.datagramsLost }
        if Int(counted[.datagramsLostInKernel, default: 0]) != lost { failures.append("\(lost) lost in the kernel, counted otherwise") }
        return failures
    }
}
