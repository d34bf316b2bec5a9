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
    ///   - header: writes the header of a datagram with so many payload bytes in front of the address it is given.
    /// - Returns: false, and the buffer is still the caller's, when there is no room for so many headers.
    @inline(__always)
    public func sendSpread(_ stream: SlotIndex, _ buffer: BufferIndex, start: Int, count: Int, segmentBytes: Int, headerBytes: Int,
                           header: (_ payloadBytes: Int, _ end: UnsafeMutableRawPointer) -> Void) -> Bool {
        let segments = count > segmentBytes ? (count &+ segmentBytes &- 1) / segmentBytes : 1
        let front = start &- segments &* headerBytes
        guard front >= -frontBytes(buffer) else { return false }
        let base = bytes(buffer)
        var source = base + start
        var place = base + (front &+ headerBytes)
        var left = count
        for _ in 0..<segments {
            let part = min(left, segmentBytes)
            if place != source { memmove(place, source, part) }
            header(part, place)
            source += part
            place += part &+ headerBytes
            left &-= part
        }
        send(stream, buffer, start: front, count: count &+ segments &* headerBytes)
        return true
    }
}
