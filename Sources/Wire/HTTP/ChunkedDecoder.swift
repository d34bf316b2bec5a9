/// Outcome of decoding a piece of a chunked body.
public enum ChunkedOutcome: Sendable, Equatable {
    /// The whole piece is consumed; its first `data` bytes are now body bytes.
    case needMore(data: Int)
    /// The body is complete: the first `data` bytes of the piece are body bytes, `consumed` bytes belonged to the
    /// message, and what is behind them has not been touched.
    case complete(data: Int, consumed: Int)
    /// Refused; nothing of the piece may be used, and nothing behind it be interpreted.
    case violation(HTTPViolation)
}

/// Decodes the chunked transfer coding (RFC 9112 section 7.1) as a stream, in place: body bytes move to the front of
/// each piece, over the framing. Chunk sizes are 1 to 16 hexadecimal digits without blanks; extensions are dropped and
/// bounded; trailers are checked like fields and dropped.
public struct ChunkedDecoder: Sendable {
    private enum State: UInt8 {
        case sizeStart, size, extensions, sizeLineFeed, data, dataReturn, dataLineFeed
        case trailerStart, trailerName, trailerValue, trailerLineFeed, finalLineFeed, finished, failed
    }

    private let maximumBodyBytes: UInt64
    private let maximumExtensionBytes: Int
    private let maximumTrailerBytes: Int
    private var state = State.sizeStart
    private var violation = HTTPViolation.badRequest
    private var digits: UInt8 = 0
    private var chunkBytes: UInt64 = 0
    private var extensionBytes = 0
    private var trailerBytes = 0
    /// Body bytes announced by the chunks so far.
    public private(set) var bodyBytes: UInt64 = 0

    /// A decoder for one body. A chunk that takes the body beyond `maximumBodyBytes` is a violation (413) as soon as
    /// its size is known.
    public init(limits: HTTPLimits = HTTPLimits(), maximumBodyBytes: UInt64 = UInt64(Int64.max)) {
        self.maximumBodyBytes = min(maximumBodyBytes, UInt64(Int64.max))
        maximumExtensionBytes = limits.chunkExtensionBytes
        maximumTrailerBytes = limits.trailerBytes
    }

    /// Decodes the next piece in place.
    public mutating func decode(_ piece: UnsafeMutableRawBufferPointer) -> ChunkedOutcome {
        guard let base = piece.baseAddress else { return outcome(data: 0, consumed: 0) }
        var read = 0
        var written = 0
        let end = piece.count
        while read < end, state != .finished, state != .failed {
            if state == .data {
                let count = Int(truncatingIfNeeded: min(chunkBytes, UInt64(truncatingIfNeeded: end &- read)))
                if read != written { unsafe (base + written).copyMemory(from: base + read, byteCount: count) }
                read &+= count
                written &+= count
                chunkBytes &-= UInt64(truncatingIfNeeded: count)
                if chunkBytes == 0 { state = .dataReturn }
                continue
            }
            let byte = unsafe base.load(fromByteOffset: read, as: UInt8.self)
            read &+= 1
            if state.rawValue < State.trailerStart.rawValue { frame(byte) } else { trailer(byte) }
        }
        return outcome(data: written, consumed: read)
    }

    private func outcome(data: Int, consumed: Int) -> ChunkedOutcome {
        switch state {
        case .finished: .complete(data: data, consumed: consumed)
        case .failed: .violation(violation)
        default: .needMore(data: data)
        }
    }

    private mutating func fail(_ violation: HTTPViolation = .badRequest) {
        state = .failed
        self.violation = violation
    }

    private mutating func expect(_ byte: UInt8, _ expected: UInt8, then next: State) {
        if byte == expected { state = next } else { fail() }
    }

    /// A byte of a size line, or of the CRLF behind chunk data.
    private mutating func frame(_ byte: UInt8) {
        switch state {
        case .sizeStart, .size:
            if let value = Character7.hexValue(byte) {
                if digits == 16 { return fail() }
                digits &+= 1
                chunkBytes = chunkBytes &<< 4 | UInt64(value)
                state = .size
            } else if state == .size, byte == 0x3B {
                takeExtensionByte()
            } else if state == .size, byte == Character7.carriageReturn {
                state = .sizeLineFeed
            } else {
                fail()
            }
        case .extensions:
            if byte == Character7.carriageReturn {
                state = .sizeLineFeed
            } else if (byte < 0x20 && byte != Character7.tab) || byte == 0x7F {
                fail()
            } else {
                takeExtensionByte()
            }
        case .sizeLineFeed:
            guard byte == Character7.lineFeed else { return fail() }
            beginChunk()
        case .dataReturn: expect(byte, Character7.carriageReturn, then: .dataLineFeed)
        case .dataLineFeed: expect(byte, Character7.lineFeed, then: .sizeStart)
        default: fail()
        }
    }

    private mutating func takeExtensionByte() {
        state = .extensions
        extensionBytes &+= 1
        if extensionBytes > maximumExtensionBytes { fail() }
    }

    private mutating func beginChunk() {
        digits = 0
        if chunkBytes == 0 {
            state = .trailerStart
            return
        }
        // 16 digits reach beyond 2^63 - 1: no such body exists, so that is a lie and not a large body.
        guard chunkBytes <= UInt64(Int64.max) else { return fail() }
        guard chunkBytes <= maximumBodyBytes &- bodyBytes else { return fail(.contentTooLarge) }
        bodyBytes &+= chunkBytes
        state = .data
    }

    /// A byte of the trailer section or of the final CRLF.
    private mutating func trailer(_ byte: UInt8) {
        trailerBytes &+= 1
        if trailerBytes > maximumTrailerBytes &+ 2 { return fail(.headTooLarge) }
        switch state {
        case .trailerStart:
            if byte == Character7.carriageReturn {
                state = .finalLineFeed
            } else if Character7.isToken(byte) {
                state = .trailerName
            } else {
                fail()
            }
        case .trailerName:
            if byte == 0x3A {
                state = .trailerValue
            } else if !Character7.isToken(byte) {
                fail()
            }
        case .trailerValue:
            if byte == Character7.carriageReturn {
                state = .trailerLineFeed
            } else if (byte < 0x20 && byte != Character7.tab) || byte == 0x7F {
                fail()
            }
        case .trailerLineFeed: expect(byte, Character7.lineFeed, then: .trailerStart)
        case .finalLineFeed: expect(byte, Character7.lineFeed, then: .finished)
        default: fail()
        }
    }
}
