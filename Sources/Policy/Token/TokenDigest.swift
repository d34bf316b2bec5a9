import CCrypto
import Wire

/// A SHA-256 digest as four words: the name of a token, a key or a denial in tables. Strangers choose what is digested and cannot
/// choose the digest.
public struct TokenDigest: Sendable, Hashable {
    private let words: (UInt64, UInt64, UInt64, UInt64)

    /// The digest of some bytes.
    public init(of bytes: Span<UInt8>) {
        let start: UInt64 = 0
        var words = (start, start, start, start)
        let done = unsafe withUnsafeMutableBytes(of: &words) { output in
            unsafe bytes.withUnsafeBufferPointer { input in
                unsafe crypto_sha256(input.baseAddress, input.count, output.baseAddress?.assumingMemoryBound(to: UInt8.self))
            }
        }
        precondition(done == 1, "SHA-256 is not available")
        self.words = words
    }

    /// A digest that was made elsewhere, 32 bytes.
    init(_ digest: [UInt8]) {
        precondition(digest.count == Digest.macBytes)
        func word(_ index: Int) -> UInt64 {
            digest[index * 8..<index * 8 + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        words = (word(0), word(1), word(2), word(3))
    }

    public static func == (left: Self, right: Self) -> Bool { left.words == right.words }

    /// The digest's bits are as good as any hash of them; the table's own secret is mixed in by the hasher.
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}
