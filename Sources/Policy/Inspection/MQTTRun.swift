// The bytes of one piece that go on, always in one piece themselves.
//
//      │ room │ gone on │ refused │ goes on │ ... │
//      floor  start   end         └─ moves down to `end`

/// The part of a piece of memory that goes on. Offsets are from the base of the piece.
@safe public struct MQTTRun {
    /// First byte that goes on.
    public private(set) var start: Int
    /// Behind the last; equal to `start` when nothing does.
    public private(set) var end: Int
    /// The lowest offset that may be written: the memory in front of the piece is free.
    private let floor: Int

    /// Nothing goes on yet; the piece's first byte is at `start`, and it is writable from `floor` on.
    public init(start: Int, floor: Int) {
        self.start = start
        end = start
        self.floor = floor
    }

    /// Bytes that go on.
    @inline(__always)
    public var count: Int { end &- start }

    /// Bytes of the piece, behind all that went on so far, go on as well.
    @inline(__always)
    mutating func pass(_ base: UnsafeMutableRawPointer, _ from: Int, _ count: Int) {
        if start == end {
            start = from
            end = from &+ count
        } else if end == from {
            end = from &+ count
        } else {
            unsafe close(base, from, count)
        }
    }

    /// Something was taken out in front of them: they close up.
    @inline(never)
    private mutating func close(_ base: UnsafeMutableRawPointer, _ from: Int, _ count: Int) {
        unsafe (base + end).copyMemory(from: base + from, byteCount: count)
        end &+= count
    }

    /// Foreign bytes go on behind what does, and in front of the byte at `cursor`. False when there is no room for them.
    mutating func insert(_ base: UnsafeMutableRawPointer, _ bytes: UnsafeRawBufferPointer, before cursor: Int) -> Bool {
        guard let source = bytes.baseAddress else { return true }
        if start == end {
            // Directly in front of what follows, which so need not move.
            guard cursor &- bytes.count >= floor else { return false }
            start = cursor &- bytes.count
            end = cursor
        } else {
            // Into what was taken out, and for the rest what goes on moves towards the floor.
            let missing = max(0, bytes.count &- (cursor &- end))
            guard start &- missing >= floor else { return false }
            if missing > 0 {
                unsafe (base + (start &- missing)).copyMemory(from: base + start, byteCount: count)
                start &-= missing
                end &-= missing
            }
            end &+= bytes.count
        }
        unsafe (base + (end &- bytes.count)).copyMemory(from: source, byteCount: bytes.count)
        return true
    }
}
