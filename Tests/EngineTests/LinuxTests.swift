import CRing
import CSocket
import Glibc
import Ring
import Testing

@testable import Engine

/// The engine on this machine's own io_uring, over loopback.
@Suite(.serialized) struct LinuxTests {
    static let owner = Owner(2)

    /// A shard with a listener, or nil with the reason printed when io_uring is refused here.
    private func openShard() throws -> (shard: Shard, port: UInt16)? {
        var lost: [String] = []
        let ring: Ring
        do { ring = try Ring(entries: 64, completions: 512, lost: &lost) } catch {
            print("skipped: \(error)")
            return nil
        }
        var sizes = ShardSizes()
        sizes.slots = 64
        sizes.smallBuffers = 512
        sizes.bulkBuffers = 16
        let shard = try Shard(index: 0, ring: ring, sizes: sizes)
        var address = SocketAddress(ipv4: (127, 0, 0, 1), port: 0)
        let descriptor = socket_listen(&address.storage, address.byteCount, 64, false)
        #expect(descriptor >= 0)
        let port = UInt16(socket_local_port(descriptor))
        shard.listen(descriptor, owner: Self.owner, tag: 1)
        return (shard, port)
    }

    /// Turns until the condition holds, at most five seconds; without `wait` also while nothing happens.
    private func turn(
        _ shard: Shard, wait: Bool = true, until condition: () -> Bool, _ handle: (Event) throws -> Void
    ) rethrows -> Bool {
        var event = Event()
        let start = shard.now
        while !condition() {
            shard.turn(wait: wait)
            while shard.next(&event) { try handle(event) }
            if shard.now > start + 5000 { return condition() }
        }
        return true
    }

    private func close(_ shard: Shard) throws {
        shard.closeListeners()
        #expect(turn(shard, until: { shard.slotsUsed == 0 && shard.listenersClosed }) { _ in })
        #expect(shard.buffersHeld == 0)
        shard.destroy()
    }

    /// Both ends in one shard: a client dials the shard's own listener, which echoes; every byte comes back.
    @Test(arguments: [1, 4096, 100_000, 5_000_000])
    func bytesComeBack(total: Int) throws {
        guard let (shard, port) = try openShard() else { return }
        var error: Int32 = 0
        let client = shard.connect(
            to: SocketAddress(ipv4: (127, 0, 0, 1), port: port), owner: Self.owner, context: 1, error: &error)
        #expect(client != .none)
        shard.resumeReceive(client)
        var (sent, received, wrong, ended, server) = (0, 0, 0, false, SlotIndex.none)
        func produce() {
            while sent < total, !shard.isCongested(client), let buffer = shard.acquire(total > 4096 ? .bulk : .small) {
                let count = min(shard.capacity(buffer), total - sent)
                let bytes = shard.bytes(buffer).assumingMemoryBound(to: UInt8.self)
                for index in 0..<count { bytes[index] = UInt8(truncatingIfNeeded: (sent + index) % 251) }
                shard.send(client, buffer, start: 0, count: count)
                sent += count
            }
            if sent < total { shard.notifyWhenDrained(client) } else { shard.finish(client) }
        }
        let whole = turn(shard, until: { ended }) { event in
            switch event.kind {
            case .accepted:
                server = event.slot
                shard.transfer(server, to: Self.owner, context: 0)
                shard.resumeReceive(server)
            case .connected: produce()
            case .drained where event.slot == client: produce()
            case .drained: shard.resumeReceive(server)
            case .received where event.slot == client:
                let bytes = shard.bytes(event.buffer).assumingMemoryBound(to: UInt8.self)
                for index in 0..<event.count where bytes[index] != UInt8(truncatingIfNeeded: (received + index) % 251) { wrong += 1 }
                received += event.count
                shard.release(event.buffer)
            case .received:
                shard.send(server, event.buffer, start: 0, count: event.count)
                if shard.isCongested(server) {
                    shard.pauseReceive(server)
                    shard.notifyWhenDrained(server)
                }
            case .ended where event.slot == server: shard.finish(server)
            case .ended: ended = true
            default: Issue.record("event \(event.kind) with \(event.result)")
            }
        }
        #expect(whole && received == total && wrong == 0)
        shard.linger(server, drainMilliseconds: 1000)
        shard.linger(client, drainMilliseconds: 1000)
        try close(shard)
    }

    @Test func aRefusedConnectFails() throws {
        guard let (shard, port) = try openShard() else { return }
        shard.closeListeners()
        #expect(turn(shard, until: { shard.listenersClosed }) { _ in })
        var (error, failure): (Int32, Int32) = (0, 0)
        let slot = shard.connect(
            to: SocketAddress(ipv4: (127, 0, 0, 1), port: port), owner: Self.owner, context: 0, error: &error)
        #expect(turn(shard, until: { failure != 0 }) { if $0.kind == .failed { failure = $0.result } })
        #expect(failure == ECONNREFUSED)
        shard.close(slot)
        try close(shard)
    }

    @Test func closeEndsAReceiveAndASendThatWait() throws {
        guard let (shard, port) = try openShard() else { return }
        var address = SocketAddress(ipv4: (127, 0, 0, 1), port: port)
        let peer = socket_connect(&address.storage, address.byteCount)
        #expect(peer >= 0)
        var slot = SlotIndex.none
        #expect(turn(shard, until: { slot != .none }) { if $0.kind == .accepted { slot = $0.slot } })
        shard.transfer(slot, to: Self.owner, context: 0)
        shard.resumeReceive(slot)
        // More than the two socket buffers hold: the peer reads nothing.
        for _ in 0..<400 where !shard.isStalled(slot) {
            while !shard.isCongested(slot), let buffer = shard.acquire(.bulk) {
                shard.send(slot, buffer, start: 0, count: shard.capacity(buffer))
            }
            shard.turn(wait: false)
            var event = Event()
            while shard.next(&event) {}
        }
        #expect(shard.isStalled(slot))
        shard.close(slot)
        #expect(turn(shard, until: { shard.slotsUsed == 0 }) { Issue.record("event \($0.kind) after close") })
        descriptor_close(peer)
        try close(shard)
    }

    @Test func aMessageFromAnotherThreadEndsTheWait() throws {
        guard let (shard, _) = try openShard() else { return }
        let inbox = shard.inbox
        var taken: [UInt64] = []
        for number in 1...3 as ClosedRange<UInt64> {
            var thread: UInt64 = 0
            let message = Unmanaged.passRetained(Post(inbox: inbox, number: number)).toOpaque()
            #expect(thread_start({ Unmanaged<Post>.fromOpaque($0!).takeRetainedValue().run() }, message, &thread) == 0)
            #expect(turn(shard, until: { taken.count == number }) { if $0.kind == .inbox { taken += inbox.takeAll().map(\.first) } })
            #expect(thread_join(thread) == 0)
        }
        #expect(taken == [1, 2, 3])
        try close(shard)
    }

    private final class Post: Sendable {
        let inbox: Inbox
        let number: UInt64
        init(inbox: Inbox, number: UInt64) {
            self.inbox = inbox
            self.number = number
        }
        func run() {
            usleep(20_000)
            _ = inbox.post(Inbox.Message(kind: 1, first: number))
        }
    }

    @Test func aTimerFiresOnARealClock() throws {
        guard let (shard, _) = try openShard() else { return }
        shard.setShardTimer(1, afterMilliseconds: 60)
        let start = shard.now
        var fired = 0
        #expect(turn(shard, until: { fired > 0 }) { if $0.kind == .shardTimer, $0.detail == 1 { fired += 1 } })
        #expect(shard.now >= start + 60 && shard.now < start + 1000)
        try close(shard)
    }

    // MARK: Packets

    /// Connections until one has to show that its packets leave together: a machine that does not get round to it within the kernel's
    /// patience (40 to 200 ms) may part them.
    private static let tries = 20

    /// Segments that came in on a socket (`tcpi_segs_in`, linux/tcp.h).
    private func segments(_ descriptor: Int32) -> UInt32 {
        var info = [UInt8](repeating: 0, count: 160)
        var count = socklen_t(info.count)
        #expect(getsockopt(descriptor, Int32(IPPROTO_TCP), TCP_INFO, &info, &count) == 0 && count >= 144)
        return info.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 140, as: UInt32.self) }
    }

    /// An owner that speaks first has its first bytes take the last ACK of the handshake with them; for another it leaves by itself.
    @Test func theLastACKLeavesWithTheFirstBytes() throws {
        guard let (shard, _) = try openShard() else { return }
        var address = SocketAddress(ipv4: (127, 0, 0, 1), port: 0)
        let listener = socket_listen(&address.storage, address.byteCount, 64, false)
        let target = SocketAddress(ipv4: (127, 0, 0, 1), port: UInt16(socket_local_port(listener)))
        /// Segments that a peer has when it has its first byte.
        func dial(speaksFirst: Bool) -> UInt32 {
            var error: Int32 = 0
            let slot = shard.connect(to: target, owner: Self.owner, context: 0, error: &error, speaksFirst: speaksFirst)
            #expect(turn(shard, wait: false, until: { shard.byteCounts(slot).sent == 1 }) { event in
                if event.kind == .connected, let buffer = shard.acquire() { shard.send(slot, buffer, start: 0, count: 1) }
            })
            let peer = accept(listener, nil, nil)
            var byte: UInt8 = 0
            #expect(recv(peer, &byte, 1, 0) == 1)
            defer {
                shard.close(slot)
                descriptor_close(peer)
            }
            return segments(peer)
        }
        let alone = dial(speaksFirst: false)
        let together = (0..<Self.tries).lazy.map { _ in dial(speaksFirst: true) }.first { $0 < alone }
        #expect(together == alone - 1)
        descriptor_close(listener)
        try close(shard)
    }

    /// The last bytes before the end take FIN with them, in however many buffers they are, and whether the stream lingers or not.
    @Test(arguments: [1, 3], [false, true])
    func finLeavesWithTheLastBytes(buffers: Int, lingers: Bool) throws {
        guard let (shard, port) = try openShard() else { return }
        var address = SocketAddress(ipv4: (127, 0, 0, 1), port: port)
        /// Segments that a peer gets between what it has at first and the end.
        func end() -> UInt32 {
            let peer = socket_connect(&address.storage, address.byteCount)
            defer { descriptor_close(peer) }
            var slot = SlotIndex.none
            #expect(turn(shard, until: { slot != .none }) { if $0.kind == .accepted { slot = $0.slot } })
            shard.transfer(slot, to: Self.owner, context: 0)
            let before = segments(peer)
            for _ in 0..<buffers {
                guard let buffer = shard.acquire() else { return 0 }
                shard.send(slot, buffer, start: 0, count: 100)
            }
            if lingers { shard.linger(slot, drainMilliseconds: 1000) } else { shard.finish(slot) }
            // What is there already, until nothing follows.
            var (bytes, count, ended) = ([UInt8](repeating: 0, count: 1000), 0, false)
            #expect(turn(shard, wait: false, until: {
                while !ended, case let got = recv(peer, &bytes, bytes.count, Int32(MSG_DONTWAIT)), got >= 0 {
                    ended = got == 0
                    count += got
                }
                return ended
            }) { _ in })
            #expect(count == 100 * buffers)
            let after = segments(peer)
            if !lingers { shard.close(slot) }
            return after - before
        }
        #expect((0..<Self.tries).contains { _ in end() == 1 })
        try close(shard)
    }
}
