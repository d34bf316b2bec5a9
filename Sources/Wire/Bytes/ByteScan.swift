// Searching eight bytes at a time.
//
// The two tests below are the classic "which byte of this word is below n" and "which byte is zero" tests. Each can
// report a byte wrongly only above (at a higher address than) a byte it reports rightly, because a borrow only travels
// upwards; so the lowest reported byte is always right, and only that one is used.

#if _endian(big)
    #error("the byte kernels are written for little-endian machines")
#endif

/// Searches over spans by 64-bit words.
enum ByteScan {
    /// A byte value repeated in every lane of a word.
    @inline(__always)
    static func lanes(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

    /// The high bit of the lowest lane that holds a control character (0x00 to 0x1F, 0x7F); 0 when there is none.
    @inline(__always)
    static func controls(_ word: UInt64) -> UInt64 {
        let below = (word &- lanes(0x20)) & ~word
        let delete = word ^ lanes(0x7F)
        let isDelete = (delete &- lanes(0x01)) & ~delete
        return (below | isDelete) & lanes(0x80)
    }

    /// The high bit of the lowest lane that holds `byte`; 0 when there is none.
    @inline(__always)
    static func matches(_ word: UInt64, _ byte: UInt8) -> UInt64 {
        let difference = word ^ lanes(byte)
        return (difference &- lanes(0x01)) & ~difference & lanes(0x80)
    }

    /// Index of the first control character (tab included) in `bytes[start..<end]`, or `end`.
    static func firstControl(_ bytes: Span<UInt8>, from start: Int, to end: Int) -> Int {
        precondition(0 <= start && start <= end && end <= bytes.count)
        let raw = unsafe bytes.bytes
        var index = start
        while end &- index >= 8 {
            let hits = controls(unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self))
            if hits != 0 { return index &+ hits.trailingZeroBitCount / 8 }
            index &+= 8
        }
        while index < end {
            let byte = bytes[index]
            if byte < 0x20 || byte == 0x7F { return index }
            index &+= 1
        }
        return end
    }

    /// Index of the first `byte` in `bytes[start..<end]`, or `end`.
    static func first(_ byte: UInt8, in bytes: Span<UInt8>, from start: Int, to end: Int) -> Int {
        precondition(0 <= start && start <= end && end <= bytes.count)
        let raw = unsafe bytes.bytes
        var index = start
        while end &- index >= 8 {
            let hits = matches(unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self), byte)
            if hits != 0 { return index &+ hits.trailingZeroBitCount / 8 }
            index &+= 8
        }
        while index < end {
            if bytes[index] == byte { return index }
            index &+= 1
        }
        return end
    }
}
