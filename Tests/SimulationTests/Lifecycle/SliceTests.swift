import Engine
import Glibc
import Simulator
import Testing

/// One bulk buffer whose bytes go to several streams.
@Suite struct SliceTests {
    /// A bulk buffer with a pattern of `count` bytes.
    private func fill(_ bench: Bench, _ count: Int) throws -> (buffer: BufferIndex, bytes: [UInt8]) {
        let buffer = try #require(bench.shard.acquire(.bulk))
        let bytes = Bench.pattern(count)
        bytes.withUnsafeBytes { bench.shard.bytes(buffer).copyMemory(from: $0.baseAddress!, byteCount: count) }
        return (buffer, bytes)
    }

    @Test func partsReachTheirStreamsAndTheBufferReturnsWithTheLast() throws {
        let bench = try Bench(bulk: 1)
        let (first, one) = try bench.accept()
        let (second, two) = try bench.accept()
        let (buffer, bytes) = try fill(bench, 30_000)
        #expect(bench.shard.share(one, buffer, start: 0, count: 10_000))
        #expect(bench.shard.share(two, buffer, start: 10_000, count: 5_000))
        #expect(bench.shard.share(one, buffer, start: 15_000, count: 15_000))
        bench.shard.release(buffer)
        #expect(bench.shard.acquire(.bulk) == nil && bench.shard.buffersHeld == 4)
        #expect(bench.turn(until: { bench.shard.buffersHeld == 0 }))
        #expect(bench.read(first) == Array(bytes[..<10_000] + bytes[15_000...]))
        #expect(bench.read(second) == Array(bytes[10_000..<15_000]))
        #expect(bench.shard.statistics.read(.slices) == 3 && bench.shard.statistics.read(.slicesCopied) == 0)
        bench.shard.close(one)
        bench.shard.close(two)
        bench.finish()
    }

    @Test func aBufferStaysWithItsOwnerWhenItsPartsAreSent() throws {
        let bench = try Bench(bulk: 1)
        let (_, slot) = try bench.accept()
        let (buffer, _) = try fill(bench, 1000)
        #expect(bench.shard.share(slot, buffer, start: 0, count: 1000))
        bench.turns(3)
        #expect(bench.shard.buffersHeld == 1 && bench.shard.acquire(.bulk) == nil)
        bench.shard.release(buffer)
        #expect(bench.shard.buffersHeld == 0)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aSlowPeerGetsCopiesAndHoldsNoBulkBuffer() throws {
        let bench = try Bench(small: 1024, bulk: 1, outgoing: 6000)
        let (socket, slot) = try bench.accept()
        let (buffer, bytes) = try fill(bench, 40_000)
        for start in stride(from: 0, to: 40_000, by: 20_000) {
            #expect(bench.shard.share(slot, buffer, start: start, count: 20_000))
        }
        bench.shard.release(buffer)
        bench.turns(3)
        let free = try #require(bench.shard.acquire(.bulk), "the bulk buffer is free although most bytes are not sent")
        bench.shard.release(free)
        #expect(bench.shard.statistics.read(.slicesCopied) == 2 && bench.shard.queuedBytes(slot) == 34_000)
        // Behind a peer that is behind, bytes are copied at once.
        let (other, _) = try fill(bench, 1000)
        #expect(!bench.shard.share(slot, other, start: 0, count: 1000))
        #expect(bench.shard.share(slot, other, start: 0, count: 1000, evenIfBehind: true))
        bench.shard.release(other)
        var read: [UInt8] = []
        #expect(bench.turn(until: {
            read += bench.read(socket)
            return read.count >= bytes.count + 1000
        }))
        #expect(read == bytes + Bench.pattern(1000))
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func withoutSmallBuffersTheRestStaysWhereItIs() throws {
        let bench = try Bench(small: 8, bulk: 1, outgoing: 6000)
        let (socket, slot) = try bench.accept()
        let (buffer, bytes) = try fill(bench, 60_000)
        #expect(bench.shard.share(slot, buffer, start: 0, count: 60_000))
        bench.shard.release(buffer)
        bench.turns(3)
        #expect(bench.shard.acquire(.bulk) == nil && bench.shard.statistics.read(.slicesCopied) == 0)
        var read: [UInt8] = []
        #expect(bench.turn(until: {
            read += bench.read(socket)
            return read.count >= bytes.count
        }))
        #expect(read == bytes)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func withoutSlicesNothingIsShared() throws {
        let bench = try Bench(slices: 1)
        let (_, slot) = try bench.accept()
        let (buffer, _) = try fill(bench, 2000)
        #expect(bench.shard.share(slot, buffer, start: 0, count: 1000))
        #expect(!bench.shard.share(slot, buffer, start: 1000, count: 1000))
        bench.shard.release(buffer)
        bench.shard.close(slot)
        bench.finish()
    }

    @Test func aClosedStreamReturnsItsParts() throws {
        let bench = try Bench(bulk: 1, outgoing: 100)
        let (_, slot) = try bench.accept()
        let (buffer, _) = try fill(bench, 5000)
        #expect(bench.shard.share(slot, buffer, start: 0, count: 5000))
        bench.shard.close(slot)
        #expect(bench.shard.share(slot, buffer, start: 0, count: 5000), "a closing stream takes and drops")
        bench.shard.release(buffer)
        bench.finish()
    }
}
