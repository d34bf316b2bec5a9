// Theory of operation
//
//      buffer 1                     buffer 2
//      ... | header | payload ......|...... payload | head|er | payload
//                     ^ run           ^ run               ^ kept inside the reader until it is whole
//
// The reader walks over receive buffers it does not own and hands out *runs*: the parts of payloads that lie in the
// buffer, with the mask key turned to the run's first byte. It keeps 40 bytes of state and copies nothing but headers
// that are split over two buffers. Each rule is checked at the first byte that can break it, so the outcome does
// not depend on how the stream was cut.

/// Reads one direction of a WebSocket connection (RFC 6455 section 5.2). Trivially copyable, at most 40 bytes.
///
/// Lengths in a longer form than needed are accepted: section 5.2 obliges the sender to use the shortest form but gives
/// the receiver nothing to do about it, and no two readers can disagree about where such a frame ends.
public struct FrameReader: Sendable {
    /// Longest header a frame can have: two bytes, eight of length, four of mask.
    public static let maximumHeaderBytes = 14
    /// Largest frame length that is taken seriously; clients in browsers cannot count further.
    public static let maximumFrameBytes: UInt64 = (1 << 53) - 1

    private enum State: UInt8 { case header, data, control, failed }
    private enum Flag {
        static let expectsMask: UInt8 = 1
        static let final: UInt8 = 2
        static let failedTooBig: UInt8 = 4
        static let compressed: UInt8 = 8
    }

    /// Header bytes that came so far, first byte lowest.
    private var keptLow: UInt64 = 0
    private var keptHigh: UInt64 = 0
    /// Payload bytes of the current frame still to come.
    private var remaining: UInt64 = 0
    /// Payload bytes announced by the frames of the current message so far.
    private var messageBytes: UInt64 = 0
    /// Mask for the next payload byte on.
    private var key: UInt32 = 0
    private var state = State.header
    private var flags: UInt8
    /// In state `header` the number of kept bytes; in state `control` the payload length.
    private var small: UInt8 = 0
    /// Low half: opcode of the unfinished message, 0 when none. High half: opcode of the current control frame.
    private var opcodes: UInt8 = 0

    /// A reader at the start of a stream. Clients mask, servers do not; frames with the wrong habit are refused.
    ///
    /// - Parameter allowsCompressed: RSV1 may be set on the first frame of a message, because the two ends have agreed on
    ///   permessage-deflate (RFC 7692 section 6).
    public init(expectsMask: Bool, allowsCompressed: Bool = false) {
        flags = (expectsMask ? Flag.expectsMask : 0) | (allowsCompressed ? Flag.compressed : 0)
    }

    /// Payload bytes of the current frame that have not been handed out yet.
    @inline(__always)
    public var remainingFrameBytes: UInt64 { state == .data || state == .control ? remaining : 0 }

    /// Header bytes of a frame whose header is not complete: they were consumed, and are nowhere but here.
    @inline(__always)
    var heldBytes: Int { state == .header ? Int(small) : 0 }

    /// Those bytes, the first lowest.
    @inline(__always)
    var heldHeader: (low: UInt64, high: UInt64) { (keptLow, keptHigh) }

    /// Whether the stream stands inside the payload of a data frame.
    @inline(__always)
    public var isInsideData: Bool { state == .data }

    /// Whether the stream stands inside the payload of a control frame.
    @inline(__always)
    public var isInsideControl: Bool { state == .control }

    /// Whether a message has begun that has not ended.
    @inline(__always)
    public var isInsideMessage: Bool { opcodes & 0x0F != 0 }

    /// Inside the payload of a data frame: the mask for its next byte, and whether it is the last of its message.
    public var unfinishedFrame: (key: UInt32, isFinal: Bool) { (key, flags & Flag.final != 0) }

    /// Whether the stream stands between two messages and between two frames: a clean place to end.
    public var isAtBoundary: Bool { state == .header && small == 0 && opcodes & 0x0F == 0 }

    /// Reads on at `base + cursor` and moves `cursor`, never beyond `end`. Call until it returns `needMore`, which means
    /// `cursor == end`. `maximumMessageBytes` bounds frames and whole messages (violation 1009).
    public mutating func next(
        _ base: UnsafeRawPointer, _ cursor: inout Int, _ end: Int,
        maximumMessageBytes: UInt64
    ) -> FrameItem {
        switch state {
        case .header:
            let length: Int
            if small == 0, end &- cursor >= Self.maximumHeaderBytes {
                let low = unsafe base.loadUnaligned(fromByteOffset: cursor, as: UInt64.self)
                // Bytes 6 to 13, so that both loads stay inside the fourteen.
                let late = unsafe base.loadUnaligned(fromByteOffset: cursor &+ 6, as: UInt64.self)
                length = accept(low, late &>> 16, available: Self.maximumHeaderBytes, maximumMessageBytes)
                guard length >= 0 else { return failure }
                cursor &+= length
            } else {
                length = unsafe collect(base, &cursor, end, maximumMessageBytes)
                guard length >= 0 else { return failure }
                if length == 0 { return .needMore }
            }
            if remaining == 0 { return state == .control ? controlRun(cursor, 0) : dataRun(cursor, 0) }
            if cursor == end { return .needMore }
        case .failed: return failure
        case .data, .control:
            if cursor == end { return .needMore }
        }
        let count = Int(truncatingIfNeeded: min(remaining, UInt64(truncatingIfNeeded: end &- cursor)))
        let start = cursor
        cursor &+= count
        return state == .control ? controlRun(start, count) : dataRun(start, count)
    }

    private var failure: FrameItem {
        .violation(flags & Flag.failedTooBig != 0 ? .messageTooBig : .protocolError)
    }

    /// Takes bytes one by one until the header is whole. Returns its length, 0 when more is needed, -1 on violation.
    private mutating func collect(
        _ base: UnsafeRawPointer, _ cursor: inout Int, _ end: Int,
        _ maximumMessageBytes: UInt64
    ) -> Int {
        while cursor < end {
            let byte = UInt64(unsafe base.load(fromByteOffset: cursor, as: UInt8.self))
            cursor &+= 1
            if small < 8 { keptLow |= byte &<< UInt64(small &* 8) } else { keptHigh |= byte &<< UInt64((small &- 8) &* 8) }
            small &+= 1
            let length = accept(keptLow, keptHigh, available: Int(small), maximumMessageBytes)
            if length != 0 {
                if state != .control { small = 0 }
                keptLow = 0
                keptHigh = 0
                return length
            }
        }
        return 0
    }

    /// Judges the first `available` bytes of a header, given as two little-endian words. Returns the header's length
    /// and enters the payload state, or 0 when bytes are missing, or -1 and enters `failed`.
    @inline(__always)
    private mutating func accept(_ low: UInt64, _ high: UInt64, available: Int, _ maximumMessageBytes: UInt64) -> Int {
        let first = UInt8(truncatingIfNeeded: low)
        let opcode = first & 0x0F
        let isControl = opcode & 0x08 != 0
        let reserved: UInt8 = flags & Flag.compressed != 0 && (opcode == 1 || opcode == 2) ? 0x30 : 0x70
        guard first & reserved == 0, isPermitted(opcode, final: first & 0x80 != 0) else { return fail(tooBig: false) }
        if available < 2 { return 0 }

        let second = UInt8(truncatingIfNeeded: low &>> 8)
        let masked = second & 0x80 != 0
        guard masked == (flags & Flag.expectsMask != 0) else { return fail(tooBig: false) }
        var length = UInt64(second & 0x7F)
        if isControl && length > 125 { return fail(tooBig: false) }
        var headerBytes = 2
        if length == 126 {
            if available < 4 { return 0 }
            length = UInt64(UInt16(truncatingIfNeeded: low &>> 16).byteSwapped)
            headerBytes = 4
        } else if length == 127 {
            if available < 10 { return 0 }
            length = ((low &>> 16) | (high &<< 48)).byteSwapped
            headerBytes = 10
            if length > Self.maximumFrameBytes { return fail(tooBig: false) }
        }
        if !isControl {
            let before = opcode == Opcode.continuation.rawValue ? messageBytes : 0
            if length > maximumMessageBytes || before > maximumMessageBytes &- length { return fail(tooBig: true) }
        }
        if masked {
            let whole = headerBytes &+ 4
            if available < whole { return 0 }
            // The mask starts at byte 2, 4 or 10; the first two lie in the low word.
            let bits = UInt64(truncatingIfNeeded: headerBytes &* 8)
            key = UInt32(truncatingIfNeeded: headerBytes == 10 ? high &>> 16 : low &>> bits)
            headerBytes = whole
        } else {
            key = 0
        }
        enter(opcode, length, final: first & 0x80 != 0)
        return headerBytes
    }

    /// Whether a frame with this opcode may stand here (RFC 6455 sections 5.4 and 5.5).
    @inline(__always)
    private func isPermitted(_ opcode: UInt8, final: Bool) -> Bool {
        switch opcode {
        case 0: opcodes & 0x0F != 0
        case 1, 2: opcodes & 0x0F == 0
        case 8, 9, 10: final
        default: false
        }
    }

    @inline(__always)
    private mutating func enter(_ opcode: UInt8, _ length: UInt64, final: Bool) {
        remaining = length
        if opcode & 0x08 != 0 {
            opcodes = opcodes & 0x0F | opcode &<< 4
            small = UInt8(truncatingIfNeeded: length)
            state = .control
            return
        }
        if opcode != 0 {
            opcodes = opcode
            messageBytes = 0
        }
        messageBytes &+= length
        flags = flags & ~Flag.final | (final ? Flag.final : 0)
        small = 0
        state = .data
    }

    private mutating func fail(tooBig: Bool) -> Int {
        state = .failed
        if tooBig { flags |= Flag.failedTooBig }
        return -1
    }

    @inline(__always)
    private mutating func dataRun(_ start: Int, _ count: Int) -> FrameItem {
        let runKey = key
        remaining &-= UInt64(truncatingIfNeeded: count)
        let endsFrame = remaining == 0
        let endsMessage = endsFrame && flags & Flag.final != 0
        let opcode: Opcode = opcodes & 0x0F == Opcode.text.rawValue ? .text : .binary
        if endsFrame { state = .header } else { key = ByteKernel.rotate(key, by: count) }
        if endsMessage { opcodes = 0 }
        return .data(
            DataRun(
                start: start, count: count, key: runKey, opcode: opcode,
                endsFrame: endsFrame, endsMessage: endsMessage))
    }

    @inline(__always)
    private mutating func controlRun(_ start: Int, _ count: Int) -> FrameItem {
        let runKey = key
        let payloadBytes = small
        let offset = payloadBytes &- UInt8(truncatingIfNeeded: remaining)
        remaining &-= UInt64(truncatingIfNeeded: count)
        let endsFrame = remaining == 0
        let opcode: Opcode =
            switch opcodes &>> 4 {
            case Opcode.close.rawValue: .close
            case Opcode.ping.rawValue: .ping
            default: .pong
            }
        if endsFrame {
            state = .header
            small = 0
        } else {
            key = ByteKernel.rotate(key, by: count)
        }
        return .control(
            ControlRun(
                start: start, count: count, key: runKey, opcode: opcode, payloadBytes: payloadBytes,
                offset: offset, endsFrame: endsFrame))
    }
}
