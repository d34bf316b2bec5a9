/// Writing frame headers (RFC 6455 section 5.2) right before a payload that is already in place.
///
///     | ......... headroom ......... | header | payload |
///                                    ^ result ^ end
public enum FrameHeader {
    /// Longest header a server writes: two bytes and eight of length.
    public static let maximumServerBytes = 10
    /// Longest header a client writes: as a server's, and four of mask.
    public static let maximumClientBytes = 14

    /// Bytes of a server's header for a payload.
    @inline(__always)
    public static func bytes(forPayload payloadBytes: Int) -> Int {
        payloadBytes < 126 ? 2 : payloadBytes < 65536 ? 4 : 10
    }

    /// Writes an unmasked header that ends at `end`, and returns its length: 2, 4 or 10. There must be
    /// `maximumServerBytes` of room before `end` (less when the payload is known to be small).
    @discardableResult
    public static func encode(
        _ opcode: Opcode, payloadBytes: Int, final: Bool = true,
        endingAt end: UnsafeMutableRawPointer
    ) -> Int {
        unsafe encode(opcode, payloadBytes, final, mask: 0, endingAt: end)
    }

    /// Writes a masked header that ends at `end`, and returns its length: 6, 8 or 14. `key` is in memory order, as
    /// `ByteKernel.unmask` takes it; the caller masks the payload.
    @discardableResult
    public static func encodeMasked(
        _ opcode: Opcode, payloadBytes: Int, key: UInt32, final: Bool = true,
        endingAt end: UnsafeMutableRawPointer
    ) -> Int {
        unsafe (end - 4).storeBytes(of: key, as: UInt32.self)
        return unsafe encode(opcode, payloadBytes, final, mask: 0x80, endingAt: end - 4) + 4
    }

    @inline(__always)
    private static func encode(
        _ opcode: Opcode, _ payloadBytes: Int, _ final: Bool, mask: UInt8,
        endingAt end: UnsafeMutableRawPointer
    ) -> Int {
        precondition(payloadBytes >= 0)
        let first = opcode.rawValue | (final ? 0x80 : 0)
        if payloadBytes < 126 {
            let second = UInt8(truncatingIfNeeded: payloadBytes) | mask
            unsafe (end - 2).storeBytes(of: UInt16(first) | UInt16(second) &<< 8, as: UInt16.self)
            return 2
        }
        if payloadBytes < 65536 {
            unsafe (end - 4).storeBytes(of: UInt16(first) | UInt16(126 | mask) &<< 8, as: UInt16.self)
            unsafe (end - 2).storeBytes(of: UInt16(truncatingIfNeeded: payloadBytes).byteSwapped, as: UInt16.self)
            return 4
        }
        unsafe (end - 10).storeBytes(of: UInt16(first) | UInt16(127 | mask) &<< 8, as: UInt16.self)
        unsafe (end - 8).storeBytes(of: UInt64(payloadBytes).byteSwapped, as: UInt64.self)
        return 10
    }
}
