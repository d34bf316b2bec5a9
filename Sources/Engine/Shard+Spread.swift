import Glibc

/// A received train on its way to a stream.
extension Shard {
    /// Queues a train's datagrams on a stream, each behind a header of its own, all in the buffer they came in.
    ///
    /// ```
    /// before:                              │ datagram 0 │ datagram 1 │ datagram 2 │
    /// after:   │ header 0 │ datagram 0 │ header 1 │ datagram 1 │ header 2 │ datagram 2 │
    /// ```
    /// The last datagram stays where it is, those before it move to the front: one pass over bytes that are still in the cache, and
    /// one part to send or to encrypt. (A vector of 2 × 54 parts instead cost the same or more; see `Decisions.md`.)
    ///
    /// - Parameters:
    ///   - start, count: where the train lies in the buffer, from the first payload byte.
    ///   - segmentBytes: of every datagram but the last.
    ///   - headerBytes: of every header.
    ///   - header: of every datagram but the last, whose own is `lastHeader`; both are copied.
    /// - Returns: false, and the buffer is still the caller's, when there is no room for so many headers.
    @inline(__always)
    public func sendSpread(_ stream: SlotIndex, _ buffer: BufferIndex, start: Int, count: Int, segmentBytes: Int, headerBytes: Int,
                           header: UnsafeRawPointer, lastHeader: UnsafeRawPointer) -> Bool {
        let segments = count > segmentBytes ? (count &+ segmentBytes &- 1) / segmentBytes : 1
        let front = start &- segments &* headerBytes
        guard front >= -frontBytes(buffer) else { return false }
        let base = bytes(buffer)
        var source = base + start
        var place = base + front
        for _ in 1..<segments {
            copyHeader(header, place, headerBytes)
            memmove(place + headerBytes, source, segmentBytes)
            source += segmentBytes
            place += segmentBytes &+ headerBytes
        }
        copyHeader(lastHeader, place, headerBytes)
        send(stream, buffer, start: front, count: count &+ segments &* headerBytes)
        return true
    }

    /// Two moves of a fixed width, which overlap, for the lengths that a relay's headers have.
    @inline(__always)
    private func copyHeader(_ source: UnsafeRawPointer, _ place: UnsafeMutableRawPointer, _ count: Int) {
        if count >= 16, count <= 32 {
            let last = count &- 16
            let (low, high) = (source.loadUnaligned(as: SIMD16<UInt8>.self), (source + last).loadUnaligned(as: SIMD16<UInt8>.self))
            place.storeBytes(of: low, as: SIMD16<UInt8>.self)
            (place + last).storeBytes(of: high, as: SIMD16<UInt8>.self)
        } else if count >= 8, count < 16 {
            let last = count &- 8
            let (low, high) = (source.loadUnaligned(as: UInt64.self), (source + last).loadUnaligned(as: UInt64.self))
            place.storeBytes(of: low, as: UInt64.self)
            (place + last).storeBytes(of: high, as: UInt64.self)
        } else {
            place.copyMemory(from: source, byteCount: count)
        }
    }
}
