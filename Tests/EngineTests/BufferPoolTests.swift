import CRing
import CSocket
import Ring
import Testing

@testable import Engine

/// A kernel that grants everything and does nothing.
private nonisolated(unsafe) let idleKernel: UnsafePointer<ring_kernel> = {
    let table = UnsafeMutablePointer<ring_kernel>.allocate(capacity: 1)
    table.initialize(to: ring_kernel())
    table.pointee.register_buffers = { _, _, _, _ in 0 }
    table.pointee.enter = { _, _, _, _ in 0 }
    table.pointee.now_nanoseconds = { _ in 0 }
    return UnsafePointer(table)
}()

/// One size class of a shard's pool.
@Suite struct BufferPoolTests {
    private func withPool(count: Int, reserve: Int, _ body: (inout BufferClassPool) -> Void) throws {
        let ring = Ring(entries: 8, completions: 16, simulated: idleKernel)
        defer { ring.destroy() }
        var pool = try BufferClassPool(bufferClass: .small, payloadBytes: 4096, count: count, entries: 64, reserve: reserve, ring: ring)
        defer { pool.unmap() }
        body(&pool)
    }

    @Test func buffersLieApartWithRoomAroundTheirPayload() throws {
        try withPool(count: 4, reserve: 0) { pool in
            let front = EngineLimits.headroomBytes + 64
            #expect(pool.stride >= front + 4096 + 32 && pool.stride % 64 == 0)
            #expect(pool.payload(0) == pool.base + front)
            #expect(pool.payload(1) - pool.payload(0) == pool.stride)
        }
    }

    @Test func theLastReturnedIsTheNextTaken() throws {
        try withPool(count: 8, reserve: 0) { pool in
            let taken = (0..<8).map { _ in pool.take(for: .owner) }
            #expect(Set(taken).count == 8 && pool.freeCount == 0)
            for number in taken { pool.put(number, from: .owner) }
            #expect(pool.take(for: .owner) == taken.last)
            #expect(pool.freeCount == 7)
        }
    }

    @Test func refillOffersUpToItsTargetAndKeepsTheReserve() throws {
        try withPool(count: 16, reserve: 6) { pool in
            pool.offeredTarget = 4
            pool.refill()
            #expect(pool.offered == 4 && pool.freeCount == 12)
            pool.refill()
            #expect(pool.offered == 4)
            pool.offeredTarget = 64
            pool.refill()
            #expect(pool.offered == 10 && pool.freeCount == 6)
            let kept = (0..<16).filter { pool.records[$0].holder == .pool }
            #expect(kept.count == 6)
            #expect(pool.ring.pointee.tail == 10)
        }
    }

    @Test func noMoreAreOfferedThanWereUsedAtATime() throws {
        try withPool(count: 64, reserve: 0) { pool in
            pool.offeredTarget = 32
            pool.refillAsUsed(least: 4)
            func fill(_ count: Int) {
                var number = 0
                for _ in 0..<count {
                    while pool.records[number].holder != .kernel { number += 1 }
                    pool.offered -= 1
                    pool.records[number].holder = .owner
                    pool.put(number, from: .owner)
                }
                pool.refillAsUsed(least: 4)
            }
            // Refills behind which nothing was used are no sign of anything.
            for _ in 0..<1000 { fill(0) }
            for _ in 1..<EngineLimits.refillsToLower { fill(9) }
            #expect(pool.offeredTarget == 32 && pool.offered == 32)
            fill(1)
            #expect(pool.offeredTarget == 9 && pool.offered == 31)
            for _ in 0..<30 { fill(1) }
            #expect(pool.offered == 9)
            for _ in 30..<EngineLimits.refillsToLower { fill(1) }
            #expect(pool.offeredTarget == 4)
            for _ in 0..<5 { fill(1) }
            #expect(pool.offered == 4)
        }
    }

    @Test func whatIsOfferedIsThePayload() throws {
        try withPool(count: 4, reserve: 0) { pool in
            pool.offeredTarget = 4
            pool.refill()
            let entries = UnsafeRawPointer(pool.ring)
            for index in 0..<4 {
                let number = Int(entries.load(fromByteOffset: index * 16 + 12, as: UInt16.self))
                #expect(entries.load(fromByteOffset: index * 16, as: UInt.self) == UInt(bitPattern: pool.payload(number)))
                #expect(entries.load(fromByteOffset: index * 16 + 8, as: UInt32.self) == 4096)
                #expect(pool.records[number].holder == .kernel)
            }
        }
    }

    @Test func aBufferNamesItsClass() {
        #expect(BufferIndex(5).bufferClass == .small && BufferIndex(5).number == 5)
        #expect(BufferIndex(1 << 16 | 7).bufferClass == .bulk && BufferIndex(1 << 16 | 7).number == 7)
    }

    @Test func whatNobodyUsedSinceTheLastLookGivesItsMemoryBack() throws {
        try withPool(count: 8, reserve: 0) { pool in
            #expect(pool.trim(maximum: 8) == 0, "nothing was touched")
            let taken = (0..<5).map { _ in pool.take(for: .owner) }
            for number in taken { pool.payload(number).storeBytes(of: 1, toByteOffset: 4000, as: UInt8.self) }
            for number in taken { pool.put(number, from: .owner) }
            #expect(pool.trim(maximum: 8) == 0, "they were in use since the last look")
            let again = pool.take(for: .owner)
            pool.put(again, from: .owner)
            #expect(pool.trim(maximum: 3) == 3 && pool.trim(maximum: 8) == 2, "a few at a time")
            #expect(pool.trim(maximum: 8) == 0 && pool.freeCount == 8)
            #expect(Set((0..<8).map { _ in pool.take(for: .owner) }).count == 8)
        }
    }

    @Test func givenBackMemoryReadsAsZerosAndItsNeighboursStay() throws {
        try withPool(count: 4, reserve: 0) { pool in
            let last = pool.stride - pool.front - 1
            for number in 0..<4 {
                for byte in [-pool.front, 0, last] { pool.payload(number).storeBytes(of: 7, toByteOffset: byte, as: UInt8.self) }
            }
            memory_release(pool.base + pool.stride, 2 * pool.stride)
            #expect(pool.payload(0).load(fromByteOffset: last, as: UInt8.self) == 7)
            #expect(pool.payload(3).load(fromByteOffset: -pool.front, as: UInt8.self) == 7)
            #expect(pool.payload(1).load(fromByteOffset: last, as: UInt8.self) == 0)
        }
    }
}
