import Glibc

/// What streams carry in a simulation: an endless sequence a stream, each byte known from its offset, so that a lost, a
/// repeated or a swapped byte shows where it happens and nothing has to be remembered.
public struct BytePattern: Sendable {
    // A prime length: no buffer size of the engine divides it, so a shift by whole buffers is seen.
    static let periodBytes = 65521

    private nonisolated(unsafe) static let table: UnsafePointer<UInt8> = {
        // Two periods: any run of up to one period lies in one piece.
        let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: 2 * periodBytes)
        var random = SimulatedRandom(seed: 0x5EED)
        for index in 0..<periodBytes { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
        memcpy(bytes + periodBytes, bytes, periodBytes)
        return UnsafePointer(bytes)
    }()

    private let phase: Int

    /// The sequence of one direction of one connection.
    public init(stream: Int) { phase = (stream &* 7919) % Self.periodBytes }

    /// The most that one look at the table can give.
    public static var longestRun: Int { periodBytes }

    /// The bytes from `offset` on, at most `longestRun` of them.
    public func bytes(at offset: Int) -> UnsafePointer<UInt8> { Self.table + (phase + offset) % Self.periodBytes }

    /// Offset within `bytes` of the first byte that does not belong there, or nil.
    public func mismatch(at offset: Int, _ bytes: UnsafeRawPointer, _ count: Int) -> Int? {
        var done = 0
        while done < count {
            let run = min(count - done, Self.periodBytes)
            let expected = self.bytes(at: offset + done)
            if memcmp(expected, bytes + done, run) != 0 {
                let found = (bytes + done).assumingMemoryBound(to: UInt8.self)
                return done + (0..<run).first { found[$0] != expected[$0] }!
            }
            done += run
        }
        return nil
    }
}
