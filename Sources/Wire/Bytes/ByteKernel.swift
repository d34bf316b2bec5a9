/// Loops over many bytes, by vectors and words.
public enum ByteKernel {
    /// XORs `count` bytes from `source` with the repeated four bytes of `key` and stores them at `destination`. The two
    /// may overlap when `destination <= source`: the copy runs forward and reads each piece before anything later
    /// than it is written. Any alignment, any count. Masking and unmasking are the same (RFC 6455 section 5.3).
    ///
    /// `key` is in memory order: as loaded from the frame, byte 0 in the lowest eight bits.
    public static func unmask(
        _ source: UnsafeRawPointer, _ destination: UnsafeMutableRawPointer, _ count: Int,
        key: UInt32
    ) {
        let wide = UInt64(key) &* 0x1_0000_0001
        guard count >= 8 else { return unsafe unmaskFew(source, destination, count, wide) }
        // The last word overlaps what the loops do, so it is read before they may write over it, and stored last.
        let tail = unsafe source.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        let vector = SIMD4<UInt64>(repeating: wide)
        var index = 0
        while count &- index >= 128 {
            let first = unsafe source.loadUnaligned(fromByteOffset: index, as: SIMD4<UInt64>.self)
            let second = unsafe source.loadUnaligned(fromByteOffset: index &+ 32, as: SIMD4<UInt64>.self)
            let third = unsafe source.loadUnaligned(fromByteOffset: index &+ 64, as: SIMD4<UInt64>.self)
            let fourth = unsafe source.loadUnaligned(fromByteOffset: index &+ 96, as: SIMD4<UInt64>.self)
            unsafe destination.storeBytes(of: first ^ vector, toByteOffset: index, as: SIMD4<UInt64>.self)
            unsafe destination.storeBytes(of: second ^ vector, toByteOffset: index &+ 32, as: SIMD4<UInt64>.self)
            unsafe destination.storeBytes(of: third ^ vector, toByteOffset: index &+ 64, as: SIMD4<UInt64>.self)
            unsafe destination.storeBytes(of: fourth ^ vector, toByteOffset: index &+ 96, as: SIMD4<UInt64>.self)
            index &+= 128
        }
        while count &- index >= 8 {
            let word = unsafe source.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            unsafe destination.storeBytes(of: word ^ wide, toByteOffset: index, as: UInt64.self)
            index &+= 8
        }
        // Rotating an eight-byte word by whole bytes turns its two equal halves alike.
        let turned = wide &>> UInt64((count & 3) &* 8) | wide &<< UInt64((64 &- (count & 3) &* 8) & 63)
        unsafe destination.storeBytes(of: tail ^ turned, toByteOffset: count &- 8, as: UInt64.self)
    }

    /// Zero to seven bytes.
    @inline(__always)
    private static func unmaskFew(
        _ source: UnsafeRawPointer, _ destination: UnsafeMutableRawPointer, _ count: Int,
        _ wide: UInt64
    ) {
        var index = 0
        if count & 4 != 0 {
            let word = unsafe source.loadUnaligned(as: UInt32.self)
            unsafe destination.storeBytes(of: word ^ UInt32(truncatingIfNeeded: wide), as: UInt32.self)
            index = 4
        }
        while index < count {
            let byte = unsafe source.load(fromByteOffset: index, as: UInt8.self)
            let mask = UInt8(truncatingIfNeeded: wide &>> UInt64(index &* 8))
            unsafe destination.storeBytes(of: byte ^ mask, toByteOffset: index, as: UInt8.self)
            index &+= 1
        }
    }

    /// The key for the bytes that follow `count` bytes masked with `key`.
    @inline(__always)
    public static func rotate(_ key: UInt32, by count: Int) -> UInt32 {
        let bits = UInt32(truncatingIfNeeded: count & 3) &* 8
        return key &>> bits | key &<< ((32 &- bits) & 31)
    }
}
