import Testing

@testable import Wire

/// What a sieve made of a stream: the bytes that leave, and the rest by name.
private struct Sieved: Equatable {
    var leaves: [UInt8] = []
    var controls: [[UInt8]] = []
    var violation: CloseCode?
    var messages: UInt64 = 0
    var payloadBytes: UInt64 = 0
    var boundaries: [Int] = []
}

/// Feeds a stream cut at the given places, each piece in an area of its own with room in front.
private func sieve(_ stream: [UInt8], cuts: [Int] = [], stops: Bool = false, compressed: Bool = false, mask: UInt32? = nil,
                   limit: UInt64 = 1 << 20) -> Sieved {
    var sieve = FrameSieve(expectsMask: true, allowsCompressed: compressed, replacesMasks: mask != nil)
    var result = Sieved()
    var control: [UInt8] = []
    var start = 0
    let room = FrameReader.maximumHeaderBytes - 1
    for end in cuts + [stream.count] {
        var area = [UInt8](repeating: 0xEE, count: room) + stream[start..<end] + [0]
        let count = end - start
        start = end
        var cursor = 0
        let isOver = area.withUnsafeMutableBytes { bytes in
            let base = bytes.baseAddress! + room
            while true {
                sieve.freshMask = mask ?? 0
                let item = sieve.next(base, &cursor, count, maximumMessageBytes: limit, stopsAtBoundaries: stops || mask != nil)
                result.leaves += UnsafeRawBufferPointer(start: base + item.start, count: item.end - item.start)
                switch item.stop {
                case .end:
                    #expect(cursor == count)
                    return false
                case .boundary:
                    #expect(sieve.isAtBoundary && item.end == cursor)
                    result.boundaries.append(result.leaves.count)
                case .control(let run):
                    for index in 0..<run.count {
                        let key = UInt8(truncatingIfNeeded: run.key >> UInt32(8 * (index & 3)))
                        control.append(base.load(fromByteOffset: run.start + index, as: UInt8.self) ^ key)
                    }
                    if run.endsFrame {
                        result.controls.append([run.opcode.rawValue] + control)
                        control = []
                    }
                case .violation(let code):
                    result.violation = code
                    return true
                }
            }
        }
        if isOver { break }
    }
    result.messages = sieve.messages
    result.payloadBytes = sieve.payloadBytes
    return result
}

/// Passing frames on.
@Suite struct FrameSieveTests {
    private static let pieces: [(bytes: [UInt8], leaves: Bool)] = [
        (frame(0x82, [1, 2, 3]), true), (frame(0x89, [9, 9]), false), (frame(0x01, Array(repeating: 7, count: 130)), true),
        (frame(0x8A, []), false), (frame(0x00, []), true), (frame(0x89, Array(repeating: 5, count: 125)), false),
        (frame(0x80, [4], mask: [200, 100, 50, 25]), true), (frame(0x82, Array(repeating: 6, count: 300), lengthForm: 64), true),
        (frame(0x88, [3, 232]), false),
    ]
    private static let stream = pieces.flatMap(\.bytes)
    private static let passed = pieces.filter(\.leaves).flatMap(\.bytes)

    @Test func dataLeavesAsItCameAndControlFramesDoNot() {
        let whole = sieve(Self.stream)
        #expect(whole.leaves == Self.passed)
        #expect(whole.controls.map(\.count) == [3, 1, 126, 3] && whole.controls[0] == [9, 9, 9])
        #expect(whole.messages == 3 && whole.payloadBytes == 3 + 130 + 1 + 300)
    }

    @Test func whereItIsCutDoesNotShow() {
        let whole = sieve(Self.stream)
        for first in 0...Self.stream.count {
            #expect(sieve(Self.stream, cuts: [first]) == whole, "cut at \(first)")
            for second in first...min(first + 15, Self.stream.count) {
                #expect(sieve(Self.stream, cuts: [first, second]) == whole, "cut at \(first) and \(second)")
            }
        }
        #expect(sieve(Self.stream, cuts: Array(0..<Self.stream.count)) == whole, "byte by byte")
    }

    @Test func boundariesAreTheEndsOfDataFrames() {
        var ends: [Int] = []
        var count = 0
        for piece in Self.pieces where piece.leaves {
            count += piece.bytes.count
            ends.append(count)
        }
        #expect(sieve(Self.stream, stops: true).boundaries == ends)
        #expect(sieve(Self.stream, cuts: Array(0..<Self.stream.count), stops: true).boundaries == ends)
    }

    @Test func nothingOfARefusedFrameLeaves() {
        let good = frame(0x82, [1, 2, 3])
        for bad in [frame(0x83, [1]), frame(0xC2, [1]), frame(0x82, [1], mask: nil), frame(0x00, [1]), frame(0x09, [1])] {
            for cut in good.count...good.count + 2 {
                let result = sieve(good + bad, cuts: [cut])
                #expect(result.leaves == good && result.violation == .protocolError)
            }
        }
        let large = sieve(good + frame(0x02, [1, 2]) + frame(0x80, [3, 4]), limit: 3)
        #expect(large.leaves == good + frame(0x02, [1, 2]) && large.violation == .messageTooBig)
    }

    @Test func compressedMessagesPassWhereAgreed() {
        let stream = frame(0x41, [1]) + frame(0x80, [2]) + frame(0xC2, [3])
        #expect(sieve(stream, compressed: true).leaves == stream)
        #expect(sieve(stream).violation == .protocolError)
        // RSV1 belongs to the first frame of a message, and to no control frame.
        #expect(sieve(frame(0x01, [1]) + frame(0xC0, [2]), compressed: true).violation == .protocolError)
        #expect(sieve(frame(0xC9, [1]), compressed: true).violation == .protocolError)
        #expect(sieve(frame(0xA1, [1]), compressed: true).violation == .protocolError)
    }

    @Test func aFreshMaskChangesTheMaskAndNothingElse() {
        let data = Self.pieces.filter(\.leaves).flatMap(\.bytes)
        let key: UInt32 = 0xA1B2_C3D4
        let whole = sieve(Self.stream, mask: key)
        #expect(whole.leaves != data && whole.leaves.count == data.count)
        #expect(readFrames(whole.leaves) == readFrames(data))
        for step in [1, 2, 3, 5, 13] {
            let cuts = Array(stride(from: 0, to: Self.stream.count, by: step))
            #expect(sieve(Self.stream, cuts: cuts, mask: key) == whole, "pieces of \(step)")
        }
    }
}
