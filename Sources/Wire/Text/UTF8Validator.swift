/// Checks a stream of bytes for well-formed UTF-8 (RFC 3629), failing at the first byte that no valid text can
/// contain at its place. Four bytes of state; runs of ASCII are skipped by words.
public struct UTF8Validator: Sendable {
    /// Continuation bytes still to come.
    private var pending: UInt8 = 0
    /// What the next continuation byte may be. Narrower than 0x80...0xBF after E0, ED, F0 and F4, which excludes overlong
    /// forms, surrogates and code points above U+10FFFF.
    private var lowest: UInt8 = 0x80
    private var highest: UInt8 = 0xBF
    private var failed = false

    /// A validator at the start of a text.
    public init() {}

    /// Whether the text may end here: no character is cut.
    public var isComplete: Bool { pending == 0 && !failed }

    /// Takes the next bytes. False when the text is malformed; it stays malformed.
    public mutating func validate(_ bytes: Span<UInt8>) -> Bool {
        unsafe bytes.withUnsafeBytes { buffer in
            guard let base = buffer.baseAddress else { return !failed }
            return unsafe validate(base, count: buffer.count)
        }
    }

    /// The same for raw memory.
    public mutating func validate(_ base: UnsafeRawPointer, count: Int) -> Bool {
        if failed { return false }
        var index = 0
        while index < count {
            if pending == 0 {
                index = unsafe Self.skipASCII(base, index, count)
                if index == count { break }
                guard begin(unsafe base.load(fromByteOffset: index, as: UInt8.self)) else { return fail() }
            } else {
                let byte = unsafe base.load(fromByteOffset: index, as: UInt8.self)
                guard byte >= lowest, byte <= highest else { return fail() }
                pending &-= 1
                lowest = 0x80
                highest = 0xBF
            }
            index &+= 1
        }
        return true
    }

    /// Takes one byte.
    mutating func validate(_ byte: UInt8) -> Bool {
        unsafe withUnsafeBytes(of: byte) { one in
            guard let base = one.baseAddress else { return false }
            return unsafe validate(base, count: 1)
        }
    }

    private mutating func fail() -> Bool {
        failed = true
        return false
    }

    /// First index from `start` on that holds no ASCII byte, or `count`.
    @inline(__always)
    private static func skipASCII(_ base: UnsafeRawPointer, _ start: Int, _ count: Int) -> Int {
        let highBits: UInt64 = 0x8080_8080_8080_8080
        var index = start
        while count &- index >= 32 {
            let first = unsafe base.loadUnaligned(fromByteOffset: index, as: SIMD4<UInt64>.self)
            if (first.x | first.y | first.z | first.w) & highBits != 0 { break }
            index &+= 32
        }
        while count &- index >= 8 {
            let high = unsafe base.loadUnaligned(fromByteOffset: index, as: UInt64.self) & highBits
            if high != 0 { return index &+ high.trailingZeroBitCount / 8 }
            index &+= 8
        }
        while index < count, unsafe base.load(fromByteOffset: index, as: UInt8.self) < 0x80 { index &+= 1 }
        return index
    }

    /// The first byte of a character that is not ASCII.
    @inline(__always)
    private mutating func begin(_ byte: UInt8) -> Bool {
        switch byte {
        case 0xC2...0xDF: pending = 1
        case 0xE0: (pending, lowest) = (2, 0xA0)
        case 0xED: (pending, highest) = (2, 0x9F)
        case 0xE1...0xEF: pending = 2
        case 0xF0: (pending, lowest) = (3, 0x90)
        case 0xF1...0xF3: pending = 3
        case 0xF4: (pending, highest) = (3, 0x8F)
        default: return false
        }
        return true
    }
}
