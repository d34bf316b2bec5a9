import CSocket
import Glibc
import Ring
import Testing

@testable import Engine

/// Datagram sockets on this machine's own io_uring, over loopback.
@Suite(.serialized) struct DatagramTests {
    static let owner = Owner(1)
    static let families = [AF_INET, AF_INET6]

    private func openShard() throws -> Shard? {
        var lost: [String] = []
        let ring: Ring
        do { ring = try Ring(entries: 64, completions: 512, lost: &lost) } catch {
            print("skipped: \(error)")
            return nil
        }
        var sizes = ShardSizes()
        sizes.slots = 16
        sizes.smallBuffers = 256
        sizes.bulkBuffers = 4
        sizes.packetBuffers = 1024
        sizes.trainBuffers = 128
        return try Shard(index: 0, ring: ring, sizes: sizes)
    }

    static func loopback(_ family: Int32, port: UInt16 = 0) -> SocketAddress {
        family == AF_INET
            ? SocketAddress(ipv4: (127, 0, 0, 1), port: port)
            : SocketAddress(ipv6: [UInt8](repeating: 0, count: 15) + [1], port: port)
    }

    private func open(_ shard: Shard, _ family: Int32, reading: DatagramOptions.Reading = .adaptive, peer: SocketAddress? = nil,
                      context: UInt32 = 0) throws -> (slot: SlotIndex, address: SocketAddress) {
        var options = DatagramOptions()
        options.reading = reading
        options.receiveBufferBytes = 1 << 20
        var error: Int32 = 0
        let slot = shard.openDatagrams(
            at: Self.loopback(family), peer: peer, options: options, owner: Self.owner, context: context, error: &error)
        try #require(slot != .none && error == 0)
        shard.resumeReceive(slot)
        return (slot, shard.localAddress(slot))
    }

    /// Turns until the condition holds, at most five seconds.
    @discardableResult
    private func turn(_ shard: Shard, until condition: () -> Bool, _ handle: (Event) -> Void) -> Bool {
        var event = Event()
        let start = shard.now
        while !condition() {
            shard.turn()
            while shard.next(&event) { handle(event) }
            if shard.now > start + 5000 { return condition() }
        }
        return true
    }

    private func isDatagrams(_ event: Event) -> Bool {
        if event.kind == .datagrams { return true }
        Issue.record("event \(event.kind) with \(event.result)")
        return false
    }

    private func close(_ shard: Shard, _ slots: SlotIndex...) {
        for slot in slots { shard.close(slot) }
        turn(shard, until: { shard.slotsUsed == 0 }) { _ in }
        #expect(shard.slotsUsed == 0 && shard.buffersHeld == 0)
        shard.destroy()
    }

    /// A buffer with `count` bytes of a pattern that differs from one number to the next.
    private func fill(_ place: UnsafeMutableRawPointer, _ count: Int, number: Int) {
        let bytes = place.assumingMemoryBound(to: UInt8.self)
        for index in 0..<count { bytes[index] = UInt8(truncatingIfNeeded: number &* 7 &+ index) }
    }

    private func isFilled(_ place: UnsafeRawPointer, _ count: Int, number: Int) -> Bool {
        let bytes = place.assumingMemoryBound(to: UInt8.self)
        return (0..<count).allSatisfy { bytes[$0] == UInt8(truncatingIfNeeded: number &* 7 &+ $0) }
    }

    private func send(_ shard: Shard, _ slot: SlotIndex, to address: SocketAddress, _ text: String) throws {
        let buffer = try #require(shard.acquire())
        shard.bytes(buffer).copyMemory(from: Array(text.utf8), byteCount: text.utf8.count)
        shard.sendDatagram(slot, to: address, shard.bytes(buffer), count: text.utf8.count)
        shard.releaseAfterSends(buffer)
    }

    private func text(_ shard: Shard, _ event: Event) -> String {
        String(decoding: UnsafeRawBufferPointer(start: shard.bytes(event.buffer) + Int(event.start), count: event.count), as: UTF8.self)
    }

    /// Datagrams of different sizes leave as they are, each with its sender; an empty one is one.
    @Test(arguments: families)
    func everyDatagramArrivesWithItsSource(family: Int32) throws {
        guard let shard = try openShard() else { return }
        let (one, from) = try open(shard, family, context: 1)
        let (two, to) = try open(shard, family, context: 2)
        let texts = ["one", "two", "", "three", "four", "", "x"]
        for text in texts { try send(shard, one, to: to, text) }
        var received: [String] = []
        turn(shard, until: { received.count == texts.count }) { event in
            guard isDatagrams(event) else { return }
            #expect(event.context == 2 && event.slot == two && event.result == 0)
            let source = shard.datagramSource(event)
            #expect(source.port == from.port && source.bytes == from.bytes && source.family == family)
            received.append(text(shard, event))
            shard.release(event.buffer)
        }
        #expect(received == texts)
        close(shard, one, two)
    }

    /// Equal datagrams of one turn, with other bytes between them, leave as one train and arrive as one.
    @Test(arguments: families)
    func equalDatagramsTravelAsATrain(family: Int32) throws {
        guard let shard = try openShard() else { return }
        let (one, _) = try open(shard, family)
        let (two, to) = try open(shard, family, reading: .trains)
        let (count, size, gap) = (40, 1200, 12)
        let buffer = try #require(shard.acquire(.bulk))
        for number in 0..<count {
            let place = shard.bytes(buffer) + number * (size + gap)
            fill(place, number == count - 1 ? 700 : size, number: number)
            shard.sendDatagram(one, to: to, place, count: number == count - 1 ? 700 : size)
        }
        shard.releaseAfterSends(buffer)
        var (arrived, events) = (0, 0)
        turn(shard, until: { arrived == count }) { event in
            guard isDatagrams(event) else { return }
            events += 1
            var at = 0
            while at < event.count {
                let length = min(Int(event.detail), event.count - at)
                #expect(length == (arrived == count - 1 ? 700 : size))
                #expect(isFilled(shard.bytes(event.buffer) + Int(event.start) + at, length, number: arrived))
                at += length
                arrived += 1
            }
            shard.release(event.buffer)
        }
        #expect(arrived == count && events == 1)
        #expect(shard.statistics.trains(.sent, inBucket: 6) == 1 && shard.statistics.trains(.received, inBucket: 6) == 1)
        #expect(shard.statistics.read(.datagramsSent) == UInt64(count) && shard.statistics.read(.segmentationRefused) == 0)
        close(shard, one, two)
    }

    /// A socket that begins with packets reads trains after a burst, and loses nothing on the way.
    @Test func aBurstMakesASocketReadTrains() throws {
        guard let shard = try openShard() else { return }
        let (one, _) = try open(shard, AF_INET)
        let (two, to) = try open(shard, AF_INET)
        let size = 500
        let buffer = try #require(shard.acquire())
        fill(shard.bytes(buffer), size, number: 0)
        var (sent, arrived, joined) = (0, 0, 0)
        for _ in 0..<50 { shard.sendDatagram(one, to: to, shard.bytes(buffer), count: size) }
        sent = 50
        turn(shard, until: { arrived == 2000 }) { event in
            guard isDatagrams(event) else { return }
            #expect(event.result == 0 && event.count % size == 0)
            joined = max(joined, event.count / size)
            arrived += event.count / size
            shard.release(event.buffer)
            guard arrived == sent else { return }
            for _ in 0..<50 where sent < 2000 {
                shard.sendDatagram(one, to: to, shard.bytes(buffer), count: size)
                sent += 1
            }
        }
        #expect(arrived == 2000 && joined == 50)
        #expect(shard.statistics.read(.datagramSocketsGrown) == 1 && shard.statistics.read(.datagramsCut) == 0)
        shard.releaseAfterSends(buffer)
        close(shard, one, two)
    }

    /// The longest datagram passes a socket that reads trains; a packet's buffer cuts it and says so.
    @Test(arguments: families)
    func theLongestDatagramPassesOrIsCut(family: Int32) throws {
        guard let shard = try openShard() else { return }
        let (one, _) = try open(shard, family)
        let (two, large) = try open(shard, family, reading: .trains, context: 2)
        let (three, packets) = try open(shard, family, reading: .packets, context: 3)
        let size = EngineLimits.datagramBytesMaximum
        let buffer = try #require(shard.acquire(.bulk))
        fill(shard.bytes(buffer), size, number: 5)
        for address in [large, packets] { #expect(shard.sendDatagram(one, to: address, shard.bytes(buffer), count: size)) }
        #expect(!shard.sendDatagram(one, to: large, shard.bytes(buffer), count: size + 1))
        shard.releaseAfterSends(buffer)
        var seen = 0
        turn(shard, until: { seen == 2 }) { event in
            guard isDatagrams(event) else { return }
            #expect(event.count == (event.context == 2 ? size : EngineLimits.packetBytes))
            #expect(event.result == (event.context == 2 ? 0 : EMSGSIZE))
            #expect(isFilled(shard.bytes(event.buffer) + Int(event.start), event.count, number: 5))
            seen += 1
            shard.release(event.buffer)
        }
        #expect(seen == 2 && shard.statistics.read(.datagramsCut) == 1 && shard.statistics.read(.datagramSendErrors) == 1)
        close(shard, one, two, three)
    }

    /// ICMP tells a connected socket; it goes on, and reaches its peer once somebody listens there.
    @Test func anUnreachablePeerEndsNothing() throws {
        guard let shard = try openShard() else { return }
        let (gone, address) = try open(shard, AF_INET)
        shard.close(gone)
        turn(shard, until: { shard.slotsUsed == 0 }) { _ in }
        let (slot, from) = try open(shard, AF_INET, peer: address, context: 7)
        var failures: [Int32] = []
        for _ in 0..<3 {
            let before = failures.count
            try send(shard, slot, to: address, "hello")
            turn(shard, until: { failures.count > before }) { event in
                #expect(event.kind == .unreachable && event.context == 7)
                failures.append(event.result)
            }
        }
        #expect(failures == [ECONNREFUSED, ECONNREFUSED, ECONNREFUSED])
        var options = DatagramOptions()
        options.reading = .packets
        var error: Int32 = 0
        let peer = shard.openDatagrams(at: address, options: options, owner: Self.owner, context: 8, error: &error)
        try #require(peer != .none)
        shard.resumeReceive(peer)
        try send(shard, slot, to: address, "again")
        try send(shard, peer, to: from, "answer")
        var texts: [String] = []
        turn(shard, until: { texts.count == 2 }) { event in
            guard event.kind == .datagrams else { return }
            texts.append(text(shard, event))
            shard.release(event.buffer)
        }
        #expect(texts.sorted() == ["again", "answer"])
        close(shard, slot, peer)
    }

    /// Nobody tells an unconnected socket, and it goes on too.
    @Test func anUnconnectedSocketHearsNoErrors() throws {
        guard let shard = try openShard() else { return }
        let (gone, nobody) = try open(shard, AF_INET)
        shard.close(gone)
        turn(shard, until: { shard.slotsUsed == 0 }) { _ in }
        let (one, _) = try open(shard, AF_INET)
        let (two, to) = try open(shard, AF_INET)
        for address in [nobody, to, nobody, to] { try send(shard, one, to: address, "x") }
        var seen = 0
        turn(shard, until: { seen == 2 }) { event in
            #expect(event.kind == .datagrams && event.slot == two)
            seen += 1
            shard.release(event.buffer)
        }
        #expect(shard.statistics.read(.datagramReceiveErrors) == 0 && shard.statistics.read(.datagramsSent) == 4)
        close(shard, one, two)
    }

    /// An owner that keeps what it gets stops being given more; the rest waits in the kernel, and beyond its buffer is lost and counted.
    @Test func aFloodIsHeldByTheCredit() throws {
        guard let shard = try openShard() else { return }
        let (one, _) = try open(shard, AF_INET)
        let (two, to) = try open(shard, AF_INET, reading: .packets, context: 2)
        let buffer = try #require(shard.acquire())
        fill(shard.bytes(buffer), 1000, number: 1)
        var kept: [BufferIndex] = []
        var event = Event()
        let total = 6000
        for _ in 0..<total / 20 {
            for _ in 0..<20 { shard.sendDatagram(one, to: to, shard.bytes(buffer), count: 1000) }
            shard.turn(wait: false)
            while shard.next(&event) { if event.kind == .datagrams { kept.append(event.buffer) } }
        }
        // A look of the kernel brings 32 beyond the bound.
        #expect(kept.count >= Int(EngineLimits.packetCredit) && kept.count <= Int(EngineLimits.packetCredit) + 64)
        #expect(shard.statistics.read(.datagramCreditUsed) == 1)
        var arrived = kept.count
        kept.forEach { shard.release($0) }
        var quiet = 0
        while quiet < 50 {
            shard.turn(wait: false)
            quiet += 1
            while shard.next(&event) {
                guard event.kind == .datagrams else { continue }
                arrived += 1
                quiet = 0
                shard.release(event.buffer)
            }
        }
        shard.releaseAfterSends(buffer)
        let statistics = shard.statistics
        close(shard, one, two)
        #expect(statistics.read(.datagramsSent) == UInt64(total))
        #expect(arrived > kept.count && UInt64(arrived) + statistics.read(.datagramsLostInKernel) == UInt64(total))
    }
}
