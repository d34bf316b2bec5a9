// Theory of operation
//
//      buffer 1                              buffer 2
//      ... payload | frame | ping | fra|     |me | payload ...
//      └──── pass ─────────┘             └─ held back, and written in front of buffer 2: pass begins there
//
// A masked frame of a client is a valid masked frame towards a server, so data frames leave as they came: only their headers are
// looked at. What belongs to this connection alone, the control frames, is lifted out. A header that is cut by the end of a buffer
// is held back until it is whole: nothing of a frame that will be refused has left, and the bytes that have left always end
// inside a payload or between two frames, where a frame of our own may stand.

/// What a sieve found, in the order of the stream: bytes that leave, and what stands behind them.
public struct SieveItem: Sendable, Equatable {
    /// What stands behind the bytes that leave.
    public enum Stop: Sendable, Equatable {
        /// The end of the buffer.
        case end
        /// The end of a data frame, when it was asked for.
        case boundary
        /// A control frame, or a piece of one; it does not leave.
        case control(ControlRun)
        /// The stream breaks the protocol: close with this code and read no further.
        case violation(CloseCode)
    }

    /// Offset of the first byte that leaves, in the buffer; negative when it begins with a header that was held back, of which at most
    /// `FrameReader.maximumHeaderBytes - 1` lie in front of the buffer's bytes.
    public var start: Int
    /// Offset behind the last byte that leaves; equal to `start` when none does.
    public var end: Int
    public var stop: Stop
}

/// One direction of a WebSocket whose data frames are passed on. Trivially copyable.
public struct FrameSieve: Sendable {
    /// What reads the headers.
    public private(set) var reader: FrameReader
    /// Data messages that have begun.
    public private(set) var messages: UInt64 = 0
    /// Payload bytes of data frames.
    public private(set) var payloadBytes: UInt64 = 0
    /// Frames get the mask `freshMask` instead of their own.
    private let replacesMasks: Bool
    /// The mask of the next frame that begins, with `replacesMasks`; in memory order. To be set anew for each: ask for boundaries.
    public var freshMask: UInt32 = 0
    /// XORed over the payload of the present frame, turned to its next byte.
    private var difference: UInt32 = 0

    /// A sieve at the start of a stream.
    public init(expectsMask: Bool, allowsCompressed: Bool = false, replacesMasks: Bool = false) {
        reader = FrameReader(expectsMask: expectsMask, allowsCompressed: allowsCompressed)
        self.replacesMasks = replacesMasks && expectsMask
    }

    /// Whether the bytes that have left end between two frames.
    @inline(__always)
    public var isAtBoundary: Bool { !reader.isInsideData }

    /// Whether the byte at `base + cursor`, the next to be read, belongs to the first frame of a data message, or may.
    public func beginsMessage(_ base: UnsafeRawPointer, _ cursor: Int) -> Bool {
        if reader.isInsideMessage || reader.isInsideControl { return false }
        let held = reader.heldBytes > 0
        let first = held ? UInt8(truncatingIfNeeded: reader.heldHeader.low) : unsafe base.load(fromByteOffset: cursor, as: UInt8.self)
        return first & Self.controlBit == 0
    }

    /// Of an opcode, in the first byte of a header (RFC 6455 section 5.2).
    private static let controlBit: UInt8 = 0x08

    /// Reads on at `base + cursor` and moves `cursor`, never beyond `end`. Call until it stops at the end or at a violation. Up to 13
    /// bytes in front of `base` must be writable when `cursor` is 0.
    public mutating func next(
        _ base: UnsafeMutableRawPointer, _ cursor: inout Int, _ end: Int, maximumMessageBytes: UInt64, stopsAtBoundaries: Bool
    ) -> SieveItem {
        var item = SieveItem(start: cursor, end: cursor, stop: .end)
        while true {
            let before = cursor
            let wasInside = reader.isInsideData
            let wasInsideMessage = reader.isInsideMessage
            let held = reader.heldBytes
            let header = reader.heldHeader
            let found = unsafe reader.next(base, &cursor, end, maximumMessageBytes: maximumMessageBytes)
            switch found {
            case .needMore:
                // A header may end with the buffer: it leaves, its payload comes later.
                guard !wasInside, reader.isInsideData else { return item }
                unsafe begin(&item, base, before &- held, held, header, isNew: !wasInsideMessage)
                if replacesMasks { unsafe replaceMask(base + cursor) }
                item.end = cursor
                return item
            case .data(let run):
                if !wasInside {
                    unsafe begin(&item, base, before &- held, held, header, isNew: !wasInsideMessage)
                    if replacesMasks { unsafe replaceMask(base + run.start) }
                }
                if replacesMasks {
                    unsafe ByteKernel.unmask(base + run.start, base + run.start, run.count, key: difference)
                    difference = ByteKernel.rotate(difference, by: run.count)
                }
                item.end = cursor
                payloadBytes &+= UInt64(truncatingIfNeeded: run.count)
                if stopsAtBoundaries, run.endsFrame {
                    item.stop = .boundary
                    return item
                }
            case .control(let run):
                item.stop = .control(run)
                return item
            case .violation(let code):
                item.stop = .violation(code)
                return item
            }
        }
    }

    /// Reads payloads instead of passing frames on: as `FrameReader.next`, and counted.
    public mutating func collect(
        _ base: UnsafeRawPointer, _ cursor: inout Int, _ end: Int, maximumMessageBytes: UInt64
    ) -> FrameItem {
        let wasInsideMessage = reader.isInsideMessage
        let item = unsafe reader.next(base, &cursor, end, maximumMessageBytes: maximumMessageBytes)
        if !wasInsideMessage, reader.isInsideMessage { messages &+= 1 }
        if case .data(let run) = item {
            payloadBytes &+= UInt64(truncatingIfNeeded: run.count)
            if !wasInsideMessage, run.endsMessage { messages &+= 1 }
        }
        return item
    }

    /// A data frame begins at `start`; what was held back of its header is put in front of the rest.
    @inline(__always)
    private mutating func begin(
        _ item: inout SieveItem, _ base: UnsafeMutableRawPointer, _ start: Int, _ held: Int,
        _ header: (low: UInt64, high: UInt64), isNew: Bool
    ) {
        if isNew { messages &+= 1 }
        if item.start == item.end { item.start = start }
        if held > 0 { unsafe Self.restore(base + start, held, header) }
    }

    @inline(never)
    private static func restore(_ place: UnsafeMutableRawPointer, _ count: Int, _ header: (low: UInt64, high: UInt64)) {
        for index in 0..<count {
            let word = index < 8 ? header.low &>> UInt64(index &* 8) : header.high &>> UInt64((index &- 8) &* 8)
            unsafe place.storeBytes(of: UInt8(truncatingIfNeeded: word), toByteOffset: index, as: UInt8.self)
        }
    }

    /// Writes the fresh mask over the one in front of a payload.
    private mutating func replaceMask(_ payload: UnsafeMutableRawPointer) {
        let former = unsafe (payload - 4).loadUnaligned(as: UInt32.self)
        unsafe (payload - 4).storeBytes(of: freshMask, as: UInt32.self)
        difference = former ^ freshMask
    }
}
