import Policy

/// Masks of frames that a shard makes itself: unpredictable (RFC 6455 section 5.3), drawn from the library's generator a page at a
/// time. A handle to memory of its own.
public struct MaskSource {
    private let state: UnsafeMutablePointer<State>

    private struct State {
        let words: UnsafeMutablePointer<UInt32>
        var next = ClientLimits.maskBlockWords
    }

    /// A source; nothing is drawn before the first mask.
    public init() {
        state = .allocate(capacity: 1)
        let words = UnsafeMutablePointer<UInt32>.allocate(capacity: ClientLimits.maskBlockWords)
        words.initialize(repeating: 0, count: ClientLimits.maskBlockWords)
        state.initialize(to: State(words: words))
    }

    /// A mask in memory order, as `FrameHeader.encodeMasked` takes it.
    @inline(__always)
    public func next() -> UInt32 {
        if state.pointee.next == ClientLimits.maskBlockWords { refill() }
        let mask = state.pointee.words[state.pointee.next]
        state.pointee.next &+= 1
        return mask
    }

    /// Two of them, for what needs more bits and is as hard to guess.
    public func nextWord() -> UInt64 { UInt64(next()) << 32 | UInt64(next()) }

    @inline(never)
    private func refill() {
        let words = UnsafeMutableBufferPointer(start: state.pointee.words, count: ClientLimits.maskBlockWords)
        Digest.randomize(UnsafeMutableRawBufferPointer(words))
        state.pointee.next = 0
    }

    /// Frees the memory.
    public func destroy() {
        state.pointee.words.deallocate()
        state.deallocate()
    }
}

/// A source as a generator: asking the system for each number costs a system call.
public struct DrawnNumbers: RandomNumberGenerator {
    private let source: MaskSource

    /// Draws from a source, which stays.
    public init(_ source: MaskSource) { self.source = source }

    public mutating func next() -> UInt64 { source.nextWord() }
}
