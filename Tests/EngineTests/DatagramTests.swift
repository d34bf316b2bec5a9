import CSocket
import Glibc
import Ring
import Testing

@testable import Engine

/// Connected datagram sockets on this machine's own io_uring, over loopback.
@Suite(.serialized) struct DatagramTests {
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
        return try Shard(index: 0, ring: ring, sizes: sizes)
    }

    /// A bound datagram socket of the test's own and its address.
    private func openPeer() -> (descriptor: Int32, address: SocketAddress) {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var address = SocketAddress(ipv4: (127, 0, 0, 1), port: 0)
        let addressBytes = address.byteCount
        let bound = withUnsafePointer(to: &address.storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, addressBytes) }
        }
        #expect(bound == 0)
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        address.port = UInt16(socket_local_port(descriptor))
        return (descriptor, address)
    }

    private func send(_ shard: Shard, _ slot: SlotIndex, _ text: String) throws {
        let buffer = try #require(shard.acquire())
        shard.bytes(buffer).copyMemory(from: Array(text.utf8), byteCount: text.utf8.count)
        shard.send(slot, buffer, start: 0, count: text.utf8.count)
    }

    private func close(_ shard: Shard, _ slot: SlotIndex) {
        shard.close(slot)
        var event = Event()
        let start = shard.now
        while shard.slotsUsed > 0, shard.now < start + 5000 {
            shard.turn()
            while shard.next(&event) {}
        }
        #expect(shard.slotsUsed == 0 && shard.buffersHeld == 0)
        shard.destroy()
    }

    /// Three buffers queued in one turn leave as three datagrams; answers arrive one by one, an empty one ends nothing.
    @Test func everyBufferIsADatagram() throws {
        guard let shard = try openShard() else { return }
        let peer = openPeer()
        defer { descriptor_close(peer.descriptor) }
        var error: Int32 = 0
        let slot = shard.connectDatagram(to: peer.address, owner: Owner(1), context: 7, error: &error)
        #expect(slot != .none && error == 0)
        shard.resumeReceive(slot)
        for text in ["one", "two", "three"] { try send(shard, slot, text) }
        var event = Event()
        for _ in 0..<8 {
            shard.turn(wait: false)
            while shard.next(&event) {}
        }
        var client = sockaddr_in()
        var clientBytes = socklen_t(MemoryLayout<sockaddr_in>.size)
        var space = [UInt8](repeating: 0, count: 100)
        for text in ["one", "two", "three"] {
            let count = withUnsafeMutablePointer(to: &client) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(peer.descriptor, &space, 100, 0, $0, &clientBytes) }
            }
            #expect(count == text.utf8.count && String(decoding: space.prefix(max(count, 0)), as: UTF8.self) == text)
        }
        for text in ["", "answer", "", "again"] {
            _ = withUnsafeMutablePointer(to: &client) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(peer.descriptor, Array(text.utf8), text.utf8.count, 0, $0, clientBytes)
                }
            }
        }
        var received: [String] = []
        let start = shard.now
        while received.count < 2, shard.now < start + 5000 {
            shard.turn()
            while shard.next(&event) {
                #expect(event.kind == .received && event.context == 7)
                let bytes = UnsafeRawBufferPointer(start: shard.bytes(event.buffer), count: event.count)
                received.append(String(decoding: bytes, as: UTF8.self))
                shard.release(event.buffer)
            }
        }
        #expect(received == ["answer", "again"])
        close(shard, slot)
    }

    @Test func nobodyThereIsAFailure() throws {
        guard let shard = try openShard() else { return }
        let peer = openPeer()
        descriptor_close(peer.descriptor)
        var (error, failure): (Int32, Int32) = (0, 0)
        let slot = shard.connectDatagram(to: peer.address, owner: Owner(1), context: 0, error: &error)
        shard.resumeReceive(slot)
        try send(shard, slot, "hello")
        var event = Event()
        let start = shard.now
        while failure == 0, shard.now < start + 5000 {
            shard.turn()
            while shard.next(&event) { if event.kind == .failed { failure = event.result } }
        }
        #expect(failure == ECONNREFUSED)
        close(shard, slot)
    }
}
