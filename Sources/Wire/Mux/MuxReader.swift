// Theory of operation
//
//      piece 1                      piece 2
//      | header | payload ......|...... payload | hea|der | payload
//                 ^ run           ^ run           ^ kept inside the reader until it is whole
//
// The frames of one direction are one stream of bytes, whatever WebSocket messages carry them. The reader walks over
// pieces it does not own. It looks at header bytes only, so a caller may leave payload masked and unmask it on the way to
// where it goes: `headerBytesMissing` says how much of what comes next has to be plain.

/// The header of a frame.
public struct MuxHeader: Sendable, Equatable {
    /// The type as it came; `MuxType(rawValue:)` is nil for one nobody knows.
    public var type: UInt8
    /// The stream the frame is about.
    public var stream: UInt32
    /// Bytes of payload announced.
    public var payloadBytes: UInt32

    /// Collects the parts.
    public init(type: UInt8, stream: UInt32, payloadBytes: UInt32) {
        self.type = type
        self.stream = stream
        self.payloadBytes = payloadBytes
    }
}

/// The part of a frame's payload that lies in the piece.
public struct MuxRun: Sendable, Equatable {
    /// Offset of the first byte.
    public var start: Int
    /// Bytes, at least 1.
    public var count: Int
    /// Whether the frame ends with this run.
    public var endsFrame: Bool
}

/// What a reader found next.
public enum MuxItem: Sendable, Equatable {
    /// Everything up to `end` is consumed.
    case needMore
    /// A frame begins. One without payload ends here, too.
    case header(MuxHeader)
    /// Payload of the frame that began last.
    case payload(MuxRun)
    /// The frame announces more than the limit; nothing behind it is looked at. Later calls give the same answer.
    case tooLong
}

/// Reads the frames of one direction. Trivially copyable, 24 bytes.
public struct MuxReader: Sendable {
    /// Header bytes that came so far, first byte lowest, the ninth apart.
    private var kept: UInt64 = 0
    private var remaining: UInt32 = 0
    private var keptCount: UInt8 = 0
    private var failed = false

    /// A reader at the start of a stream.
    public init() {}

    /// Bytes of the present frame's payload that have not been handed out.
    @inline(__always)
    public var payloadBytesMissing: Int { Int(remaining) }

    /// Header bytes the reader will look at before anything else; 0 inside a payload.
    @inline(__always)
    public var headerBytesMissing: Int { remaining > 0 ? 0 : MuxFrame.headerBytes &- Int(keptCount) }

    /// Whether the stream stands between two frames: a clean place to end.
    public var isAtBoundary: Bool { remaining == 0 && keptCount == 0 && !failed }

    /// Reads on at `base + cursor` and moves `cursor`, never beyond `end`.
    @inline(__always)
    public mutating func next(
        _ base: UnsafeRawPointer, _ cursor: inout Int, _ end: Int, maximumPayloadBytes: UInt32
    ) -> MuxItem {
        if failed { return .tooLong }
        if cursor >= end { return .needMore }
        if remaining > 0 {
            let count = min(Int(remaining), end &- cursor)
            let start = cursor
            cursor &+= count
            remaining &-= UInt32(truncatingIfNeeded: count)
            return .payload(MuxRun(start: start, count: count, endsFrame: remaining == 0))
        }
        if keptCount == 0, end &- cursor >= MuxFrame.headerBytes {
            let first = unsafe base.loadUnaligned(fromByteOffset: cursor, as: UInt64.self)
            let last = unsafe base.load(fromByteOffset: cursor &+ 8, as: UInt8.self)
            cursor &+= MuxFrame.headerBytes
            return begin(first, last, maximumPayloadBytes)
        }
        return unsafe collect(base, &cursor, end, maximumPayloadBytes)
    }

    /// Takes header bytes one by one until nine are there.
    private mutating func collect(
        _ base: UnsafeRawPointer, _ cursor: inout Int, _ end: Int, _ maximumPayloadBytes: UInt32
    ) -> MuxItem {
        while cursor < end {
            let byte = unsafe base.load(fromByteOffset: cursor, as: UInt8.self)
            cursor &+= 1
            if keptCount == 8 {
                let first = kept
                kept = 0
                keptCount = 0
                return begin(first, byte, maximumPayloadBytes)
            }
            kept |= UInt64(byte) &<< UInt64(keptCount &* 8)
            keptCount &+= 1
        }
        return .needMore
    }

    @inline(__always)
    private mutating func begin(_ first: UInt64, _ last: UInt8, _ maximumPayloadBytes: UInt32) -> MuxItem {
        let stream = UInt32(truncatingIfNeeded: first &>> 8).byteSwapped
        let length = UInt32(truncatingIfNeeded: first &>> 40).byteSwapped | UInt32(last)
        if length > maximumPayloadBytes {
            failed = true
            return .tooLong
        }
        remaining = length
        return .header(MuxHeader(type: UInt8(truncatingIfNeeded: first), stream: stream, payloadBytes: length))
    }
}
