import Engine
import Glibc
import Simulator

/// A feature in its smallest form: each accepted stream is tied to one that is dialled, and what comes in on either
/// goes out on the other. It uses the engine as a feature should, and checks that the engine keeps its promises.
struct Forwarder {
    /// One of the two streams of a pair.
    struct Side {
        var slot = SlotIndex.none
        var alive = false
        var connected = false
        var failed = false
        var ended = false
        var drainWanted = false
        var paused = false
        var held = false  // reading was stopped for a while by chance, not by congestion
        var receivedBytes = 0
        var pausedTurn = 0
        var pausedReads: Int?
    }

    /// Choices drawn from the seed.
    struct Habits {
        /// Read the client before the target is connected.
        var early = false
        /// Copy small payloads into buffers of one's own, with bytes in the headroom; in millionths.
        var copies = 0
        /// Stop reading for a while without need; in millionths of the reads.
        var holds = 0
        /// Close a pair without need; in millionths of the events.
        var cuts = 0
        /// The first end of either side ends the pair.
        var endsTogether = false
        /// How long a pair may be silent, in milliseconds.
        var idleMilliseconds: UInt64 = 120_000
        /// Dial with TLS.
        var tls: TLSClientContext?
    }

    static let owner = Owner(3)
    /// What a peer that does not read may cost: one bulk buffer, and before it what the kernel read at two looks.
    static let queuedBytesMaximum = 1 << 20
    let shard: Shard
    let habits: Habits
    var sides: [Side] = []
    /// Pairs, by the client's number, that were ended by the forwarder before their time; and those never dialled.
    var cut: Set<Int> = []
    /// Number of each pair's client.
    var clients: [Int] = []
    var idlePairs: Set<Int> = []
    var turn = 0
    var broken: [String] = []
    /// The engine's socket of a side, for what the kernel has delivered.
    var socketOf: (_ client: Int, _ isTarget: Bool) -> SimulatedSocket? = { _, _ in nil }

    init(shard: Shard, habits: Habits) {
        self.shard = shard
        self.habits = habits
    }

    var sidesAlive: Int { sides.reduce(0) { $0 + ($1.alive ? 1 : 0) } }

    mutating func handle(_ event: Event, _ random: inout SimulatedRandom) {
        if event.kind == .accepted { return accepted(event) }
        guard event.slot != .none else { return }
        let index = Int(event.context)
        guard event.owner == Self.owner, sides.indices.contains(index), sides[index].slot == event.slot else {
            return complain("event \(event.kind) names a stream that is not its owner's")
        }
        guard sides[index].alive else { return complain("event \(event.kind) after the stream was closed") }
        guard !sides[index].failed else { return complain("event \(event.kind) after the stream had failed") }
        switch event.kind {
        case .connected: connected(index)
        case .received: received(index, event, &random)
        case .ended: ended(index)
        case .failed: failed(index)
        case .drained: drained(index)
        case .timer: timer(index)
        default: complain("event \(event.kind) was not expected")
        }
        if random.chance(habits.cuts), sides[index].alive { cutPair(index, &random) }
    }

    private mutating func complain(_ text: String) { if broken.count < 8 { broken.append(text) } }

    private func other(_ index: Int) -> Int { index ^ 1 }

    // MARK: opening

    private mutating func accepted(_ event: Event) {
        let client = Int(shard.peerAddress(event.slot).port) - ForwarderWorld.clientPort
        let index = sides.count
        sides.append(Side(slot: event.slot, alive: true, connected: true))
        sides.append(Side())
        clients.append(client)
        shard.transfer(event.slot, to: Self.owner, context: UInt32(index))
        var error: Int32 = 0
        let address = SocketAddress(ipv4: (127, 0, 0, 1), port: UInt16(ForwarderWorld.targetPort + client))
        let target = dial(address, UInt32(index + 1), &error)
        guard target != .none else {
            cut.insert(client)
            if error == 0 { complain("a refused connect names no error") }
            return closeSide(index)
        }
        sides[index + 1] = Side(slot: target, alive: true)
        shard.setTimer(event.slot, afterMilliseconds: habits.idleMilliseconds)
        if habits.early { shard.resumeReceive(event.slot) }
    }

    private func dial(_ address: SocketAddress, _ context: UInt32, _ error: inout Int32) -> SlotIndex {
        guard let tls = habits.tls else { return shard.connect(to: address, owner: Self.owner, context: context, error: &error) }
        return shard.connect(
            to: address, owner: Self.owner, context: context, error: &error, tls: tls, serverName: SecureContexts.name)
    }

    private mutating func connected(_ index: Int) {
        if sides[index].connected { complain("a stream was connected twice") }
        sides[index].connected = true
        shard.resumeReceive(sides[index].slot)
        let source = other(index)
        if sides[source].alive, !sides[source].paused { shard.resumeReceive(sides[source].slot) }
    }

    // MARK: forwarding

    private mutating func received(_ index: Int, _ event: Event, _ random: inout SimulatedRandom) {
        if sides[index].ended { complain("bytes came after the end") }
        if event.count <= 0 || event.count > shard.capacity(event.buffer) { complain("a read of \(event.count) bytes") }
        sides[index].receivedBytes += event.count
        let sink = other(index)
        guard sides[sink].alive else { return shard.release(event.buffer) }
        forward(event, sides[sink].slot, &random)
        if shard.queuedBytes(sides[sink].slot) > Self.queuedBytesMaximum { complain("a stream holds more than its bound") }
        if shard.isCongested(sides[sink].slot) {
            pause(index)
            sides[sink].drainWanted = true
            shard.notifyWhenDrained(sides[sink].slot)
        } else if !sides[index].paused, random.chance(habits.holds) {
            pause(index)
            sides[index].held = true
            shard.setTimer(sides[index].slot, afterMilliseconds: UInt64(random.below(20)))
        }
    }

    private func forward(_ event: Event, _ slot: SlotIndex, _ random: inout SimulatedRandom) {
        guard event.count <= 4096, random.chance(habits.copies) else {
            return shard.send(slot, event.buffer, start: 0, count: event.count)
        }
        guard let own = shard.acquire() else { return shard.send(slot, event.buffer, start: 0, count: event.count) }
        // The first part goes out from the headroom of a buffer of ours, the rest from where it is.
        let part = min(event.count, 1 + random.below(64))
        let start = -random.within(part...64)
        memcpy(shard.bytes(own) + start, shard.bytes(event.buffer), part)
        shard.send(slot, own, start: start, count: part)
        shard.send(slot, event.buffer, start: part, count: event.count - part)
    }

    private mutating func pause(_ index: Int) {
        if sides[index].paused { return }
        sides[index].paused = true
        sides[index].pausedTurn = turn
        sides[index].pausedReads = nil
        shard.pauseReceive(sides[index].slot)
        if shard.isReceiving(sides[index].slot) { complain("a paused stream says that it receives") }
    }

    private mutating func resume(_ index: Int) {
        sides[index].paused = false
        sides[index].held = false
        sides[index].pausedReads = nil
        shard.resumeReceive(sides[index].slot)
    }

    private mutating func drained(_ index: Int) {
        if !sides[index].drainWanted { complain("drained, and nobody had asked") }
        sides[index].drainWanted = false
        let source = other(index)
        if sides[source].alive, sides[source].paused, !sides[source].held { resume(source) }
    }

    /// Two turns after a pause the kernel reads no more for the stream than by the one bulk receive that was under way.
    mutating func checkPauses() {
        guard checksPauses else { return }
        for index in sides.indices where sides[index].alive && sides[index].paused && turn >= sides[index].pausedTurn + 2 {
            guard let socket = socketOf(clients[index / 2], index % 2 == 1) else { continue }
            if let reads = sides[index].pausedReads {
                if socket.readsDelivered > reads + 1 { complain("a paused stream goes on reading") }
            } else {
                sides[index].pausedReads = socket.readsDelivered
            }
        }
    }

    /// Only without faults that delay a cancel can the bound of `checkPauses` be exact.
    var checksPauses = false

    // MARK: ending

    private mutating func ended(_ index: Int) {
        if sides[index].ended { complain("two ends of one stream") }
        sides[index].ended = true
        let sink = other(index)
        if habits.endsTogether {
            cut.insert(clients[index / 2])
            return endPair(index)
        }
        guard sides[sink].alive else { return endPair(index) }
        shard.finish(sides[sink].slot)
        if sides[sink].ended { endPair(index) }
    }

    private mutating func endPair(_ index: Int) {
        for side in [index, other(index)] where sides[side].alive {
            sides[side].alive = false
            shard.linger(sides[side].slot, drainMilliseconds: 60_000)
        }
    }

    private mutating func failed(_ index: Int) {
        sides[index].failed = true
        cut.insert(clients[index / 2])
        closeSide(index)
        if sides[other(index)].alive { closeSide(other(index)) }
    }

    private mutating func closeSide(_ index: Int) {
        sides[index].alive = false
        shard.close(sides[index].slot)
    }

    private mutating func cutPair(_ index: Int, _ random: inout SimulatedRandom) {
        cut.insert(clients[index / 2])
        for side in [index, other(index)] where sides[side].alive {
            if random.chance(500_000) {
                closeSide(side)
            } else {
                sides[side].alive = false
                shard.linger(sides[side].slot, drainMilliseconds: UInt64(random.below(5000)))
            }
        }
    }

    private mutating func timer(_ index: Int) {
        if sides[index].held {
            resume(index)
            // A held stream may meet a congested sink.
            let sink = other(index)
            if sides[sink].alive, shard.isCongested(sides[sink].slot) {
                pause(index)
                sides[sink].drainWanted = true
                shard.notifyWhenDrained(sides[sink].slot)
            }
            if index % 2 == 0 { shard.setTimer(sides[index].slot, afterMilliseconds: habits.idleMilliseconds) }
            return
        }
        if index % 2 == 1 { return }
        idlePairs.insert(clients[index / 2])
        cut.insert(clients[index / 2])
        for side in [index, other(index)] where sides[side].alive { closeSide(side) }
    }
}
