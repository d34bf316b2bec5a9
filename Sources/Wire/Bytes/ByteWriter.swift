/// Appends bytes to a buffer of fixed size. The first write that does not fit makes the writer *failed*: that write
/// and all later ones do nothing and return false, so a caller may check once at the end.
@safe public struct ByteWriter {
    private let base: UnsafeMutableRawPointer
    /// Size of the buffer in bytes.
    public let capacity: Int
    /// Bytes written so far.
    public private(set) var count = 0
    /// Whether something did not fit, or was refused.
    public private(set) var failed = false

    /// Writes into `buffer`, which must outlive the writer and have a size above zero.
    public init(_ buffer: UnsafeMutableRawBufferPointer) {
        guard let address = buffer.baseAddress else { preconditionFailure("a writer needs a buffer") }
        unsafe base = unsafe address
        capacity = buffer.count
    }

    /// Marks the output as unusable.
    public mutating func fail() { failed = true }

    /// Makes room for `bytes` more and returns where they go, or nil.
    @inline(__always)
    private mutating func reserve(_ bytes: Int) -> UnsafeMutableRawPointer? {
        guard !failed, bytes <= capacity &- count else {
            failed = true
            return nil
        }
        let place = unsafe base + count
        count &+= bytes
        return unsafe place
    }

    /// Appends one byte.
    @discardableResult
    public mutating func byte(_ byte: UInt8) -> Bool {
        guard let place = unsafe reserve(1) else { return false }
        unsafe place.storeBytes(of: byte, as: UInt8.self)
        return true
    }

    /// Appends four bytes, the lowest first.
    @discardableResult
    mutating func word(_ word: UInt32) -> Bool {
        guard let place = unsafe reserve(4) else { return false }
        unsafe place.storeBytes(of: word.littleEndian, as: UInt32.self)
        return true
    }

    /// Appends literal text.
    @discardableResult
    public mutating func text(_ text: StaticString) -> Bool {
        guard let place = unsafe reserve(text.utf8CodeUnitCount) else { return false }
        unsafe place.copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
        return true
    }

    /// Appends bytes.
    @discardableResult
    public mutating func bytes(_ bytes: Span<UInt8>) -> Bool {
        guard let place = unsafe reserve(bytes.count) else { return false }
        unsafe bytes.withUnsafeBytes { source in
            if let address = source.baseAddress { unsafe place.copyMemory(from: address, byteCount: source.count) }
        }
        return true
    }

    /// Appends the UTF-8 form of a string (cold paths: a string may have to be copied to be contiguous).
    @discardableResult
    public mutating func string(_ string: String) -> Bool {
        var string = string
        return string.withUTF8 { utf8 in
            guard let place = unsafe reserve(utf8.count) else { return false }
            if let address = utf8.baseAddress { unsafe place.copyMemory(from: address, byteCount: utf8.count) }
            return true
        }
    }

    /// Appends a number in decimal.
    @discardableResult
    public mutating func decimal(_ number: UInt64) -> Bool {
        var digits = 1
        var rest = number / 10
        while rest > 0 {
            digits &+= 1
            rest /= 10
        }
        guard let place = unsafe reserve(digits) else { return false }
        rest = number
        var index = digits &- 1
        while index >= 0 {
            unsafe place.storeBytes(of: UInt8(truncatingIfNeeded: rest % 10) &+ 0x30, toByteOffset: index, as: UInt8.self)
            rest /= 10
            index &-= 1
        }
        return true
    }
}
