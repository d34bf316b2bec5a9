// The byte pattern of the demonstration service: byte i is (31 i + 7) mod 256.

/// Deterministic bytes that a client can check at any offset without keeping a copy.
public enum DemoPattern {
    /// The pattern repeats after this many bytes: 31 is odd, hence coprime with 256.
    public static let period = 256

    /// The byte at an offset of the stream.
    public static func byte(at offset: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: offset &* 31 &+ 7)
    }

    /// Fills a buffer with the pattern.
    ///
    /// Only the first period is computed; the rest is copied from it in doubling steps, so that filling
    /// costs what `memcpy` costs and the service is not what the page ends up measuring.
    ///
    /// - Parameters:
    ///   - buffer: bytes to fill, all of them.
    ///   - offset: offset in the stream of the buffer's first byte.
    public static func fill(_ buffer: UnsafeMutableRawBufferPointer, from offset: Int) {
        guard let base = buffer.baseAddress else { return }
        let computed = min(buffer.count, period)
        for index in 0..<computed {
            base.storeBytes(of: byte(at: offset &+ index), toByteOffset: index, as: UInt8.self)
        }
        // What stands in front of `filled` is a whole number of periods until the last step.
        var filled = computed
        while filled < buffer.count {
            let step = min(filled, buffer.count - filled)
            (base + filled).copyMemory(from: base, byteCount: step)
            filled += step
        }
    }

    /// Finds the first byte that differs from the pattern.
    ///
    /// - Parameters:
    ///   - bytes: bytes received.
    ///   - offset: offset in the stream of the first of them.
    /// - Returns: offset in the stream of the first difference, or nil when all bytes match.
    public static func firstDifference(in bytes: UnsafeRawBufferPointer, from offset: Int) -> Int? {
        for index in bytes.indices where bytes[index] != byte(at: offset &+ index) { return offset + index }
        return nil
    }
}
