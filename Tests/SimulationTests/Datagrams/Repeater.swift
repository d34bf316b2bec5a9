import Engine
import Glibc
import Simulator

/// A feature in its smallest form, for datagrams: it sends back what comes, from where it lies, and checks that the engine keeps
/// its promises.
final class Repeater {
    struct Habits {
        var sockets = 1
        /// Keep buffers for some turns, in millionths of the events.
        var keeps = 0
        var keepsTurns = 1
        /// Send only some of the segments: payloads of one train with gaps between them; in millionths of the segments.
        var skips = 0
        /// Close a socket early, in millionths of the events.
        var cuts = 0
        /// Stop reading for a while, in millionths of the events.
        var pauses = 0
        /// Sockets that are connected to their one remote.
        var connected = 0
        var sendsTrains = true
        var reading = 0

        mutating func draw(_ random: inout SimulatedRandom) {
            keeps = random.chance(300_000) ? random.size(upTo: 900_000) : 0
            keepsTurns = 1 + random.size(upTo: 60)
            if random.chance(100_000) { (keeps, keepsTurns) = (1_000_000, 300) }
            skips = random.chance(400_000) ? random.size(upTo: 600_000) : 0
            cuts = random.chance(150_000) ? random.size(upTo: 5_000) : 0
            pauses = random.chance(200_000) ? random.size(upTo: 50_000) : 0
            connected = random.chance(300_000) ? 500_000 : 0
            sendsTrains = !random.chance(100_000)
            reading = random.below(4)
        }
    }

    struct Socket {
        var slot = SlotIndex.none
        var alive = false
        var resumesAt: Int?
        /// Its place among those the kernel opened, or nil when it was refused.
        var kernelIndex: Int?
        var isConnected = false
    }

    static let owner = Owner(4)
    let shard: Shard
    let habits: Habits
    var sockets: [Socket] = []
    var kept: [(until: Int, buffer: BufferIndex)] = []
    var turn = 0
    var seen = 0
    var handed = 0
    var stamp: UInt32 = 0
    var longestTrain = 0
    var closedEarly = false
    var isClosed = false
    var broken: [String] = []
    var isIdle: Bool { kept.isEmpty && !sockets.contains { $0.resumesAt != nil } }

    init(shard: Shard, habits: Habits) {
        self.shard = shard
        self.habits = habits
    }

    func open(_ random: inout SimulatedRandom) {
        var opened = 0
        for number in 0..<habits.sockets {
            var options = DatagramOptions()
            options.sendsTrains = habits.sendsTrains
            options.reading = [.packets, .adaptive, .trains, .adaptive][habits.reading]
            let family = random.chance(500_000) ? AF_INET : AF_INET6
            var error: Int32 = 0
            let isConnected = random.chance(habits.connected)
            let peer: SocketAddress? = isConnected ? address(family, UInt16(DatagramWorld.remotePort)) : nil
            let slot = shard.openDatagrams(
                at: SocketAddress(anyOf: family), peer: peer, options: options, owner: Self.owner, context: UInt32(number), error: &error)
            if slot == .none {
                if error == 0 { complain("a refused socket names no error") }
                // A slot that is not to be had is found out after the kernel has opened the socket.
                if error == ENOBUFS { opened += 1 }
                sockets.append(Socket())
                continue
            }
            if shard.localAddress(slot).port == 0 { complain("a socket has no port") }
            sockets.append(Socket(slot: slot, alive: true, kernelIndex: opened, isConnected: isConnected))
            opened += 1
            shard.resumeReceive(slot)
        }
    }

    private func address(_ family: Int32, _ port: UInt16) -> SocketAddress {
        family == AF_INET
            ? SocketAddress(ipv4: (127, 0, 0, 1), port: port)
            : SocketAddress(ipv6: [UInt8](repeating: 0, count: 15) + [1], port: port)
    }

    func complain(_ text: String) { if broken.count < 8 { broken.append(text) } }

    func handle(_ event: Event, _ random: inout SimulatedRandom) {
        guard event.owner == Self.owner else { return }
        let index = Int(event.context)
        guard sockets[index].alive, sockets[index].slot == event.slot else {
            return complain("event \(event.kind) of a socket that is closed")
        }
        switch event.kind {
        case .datagrams: received(index, event, &random)
        case .unreachable: if !sockets[index].isConnected { complain("an unconnected socket hears of an error") }
        default: complain("event \(event.kind) was not expected")
        }
        if random.chance(habits.cuts), sockets[index].alive {
            closedEarly = true
            close(index)
        } else if random.chance(habits.pauses), sockets[index].resumesAt == nil {
            shard.pauseReceive(event.slot)
            sockets[index].resumesAt = turn + random.below(20)
        }
    }

    private func received(_ index: Int, _ event: Event, _ random: inout SimulatedRandom) {
        let base = shard.bytes(event.buffer) + Int(event.start)
        let source = shard.datagramSource(event)
        let segment = Int(event.detail)
        if Int(event.start) + event.count > shard.capacity(event.buffer) { complain("a datagram leaves its buffer") }
        if event.result != 0 {
            // Cut: nothing to say about its end.
            seen += 1
            if event.buffer.bufferClass != .packet || event.count != EngineLimits.packetBytes { complain("a train was cut") }
            return shard.release(event.buffer)
        }
        var at = 0
        var segments = 0
        repeat {
            let count = min(segment, event.count - at)
            let place = base + at
            segments += 1
            at += max(count, 1)
            guard StampedDatagram.isWhole(place, count) else {
                complain("a datagram of \(count) bytes in a train of \(event.count)/\(segment) is not what it says")
                continue
            }
            if count > 0, StampedDatagram.remote(place) != Int(source.port) - DatagramWorld.remotePort {
                complain("a source is not the sender")
            }
            if random.chance(habits.skips) { continue }
            stamp += 1
            if count > 0 { place.storeBytes(of: stamp, toByteOffset: 6, as: UInt32.self) }
            handed += 1
            shard.sendDatagram(event.slot, to: source, place, count: count)
        } while at < event.count
        seen += segments
        longestTrain = max(longestTrain, segments)
        if random.chance(habits.keeps) {
            kept.append((turn + random.below(habits.keepsTurns), event.buffer))
        } else {
            shard.releaseAfterSends(event.buffer)
        }
    }

    /// What it does between turns.
    func act(_ random: inout SimulatedRandom) {
        for index in sockets.indices where sockets[index].alive {
            guard let resumesAt = sockets[index].resumesAt, resumesAt <= turn else { continue }
            sockets[index].resumesAt = nil
            shard.resumeReceive(sockets[index].slot)
        }
        while let first = kept.firstIndex(where: { $0.until <= turn }) { shard.releaseAfterSends(kept.remove(at: first).buffer) }
    }

    private func close(_ index: Int) {
        sockets[index].alive = false
        sockets[index].resumesAt = nil
        shard.close(sockets[index].slot)
    }

    func closeAll() {
        for index in sockets.indices where sockets[index].alive { close(index) }
        isClosed = true
    }
}
