import Testing
import Wire

/// What a reader said about a whole stream, runs joined and unmasked, so that cuts do not show.
enum FrameEvent: Equatable {
    case message(Opcode, [UInt8])
    case control(Opcode, [UInt8])
    case violation(CloseCode)
}

/// Feeds a stream cut at the given places and joins the runs.
func readFrames(_ stream: [UInt8], cuts: [Int] = [], expectsMask: Bool = true, limit: UInt64 = 1 << 20) -> [FrameEvent] {
    var reader = FrameReader(expectsMask: expectsMask)
    var events: [FrameEvent] = []
    var message: [UInt8] = []
    var control: [UInt8] = []
    var start = 0
    for end in cuts + [stream.count] {
        let piece = Array(stream[start..<end])
        start = end
        var cursor = 0
        reading: while true {
            var item = FrameItem.needMore
            // An array of no bytes may have no address: a reader is never called without a buffer.
            (piece + [0]).withUnsafeBytes {
                item = reader.next($0.baseAddress!, &cursor, piece.count, maximumMessageBytes: limit)
            }
            switch item {
            case .needMore:
                #expect(cursor == piece.count)
                break reading
            case .data(let run):
                message += unmasked(piece, run.start, run.count, run.key)
                if run.endsMessage {
                    events.append(.message(run.opcode, message))
                    message = []
                }
            case .control(let run):
                #expect(Int(run.offset) == control.count)
                control += unmasked(piece, run.start, run.count, run.key)
                if run.endsFrame {
                    #expect(control.count == Int(run.payloadBytes))
                    events.append(.control(run.opcode, control))
                    control = []
                }
            case .violation(let code):
                events.append(.violation(code))
                return events
            }
        }
    }
    return events
}

private func unmasked(_ bytes: [UInt8], _ start: Int, _ count: Int, _ key: UInt32) -> [UInt8] {
    (0..<count).map { bytes[start + $0] ^ UInt8(truncatingIfNeeded: key >> UInt32(8 * ($0 & 3))) }
}

/// A frame built byte by byte. `lengthForm`: 7, 16 or 64 bits, nil for the shortest.
func frame(_ first: UInt8, _ payload: [UInt8], mask: [UInt8]? = [1, 2, 3, 4], lengthForm: Int? = nil) -> [UInt8] {
    let form = lengthForm ?? (payload.count < 126 ? 7 : payload.count < 65536 ? 16 : 64)
    let flag: UInt8 = mask == nil ? 0 : 0x80
    var bytes = [first]
    switch form {
    case 7: bytes.append(UInt8(payload.count) | flag)
    case 16: bytes += [126 | flag, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
    default: bytes += [127 | flag] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
    }
    guard let mask else { return bytes + payload }
    return bytes + mask + payload.enumerated().map { $1 ^ mask[$0 & 3] }
}

/// A frame header that announces `length`, without its payload.
func header(_ first: UInt8, announcing length: UInt64, masked: Bool = true) -> [UInt8] {
    [first, 127 | (masked ? 0x80 : 0)] + (0..<8).map { UInt8(truncatingIfNeeded: length >> UInt64(56 - 8 * $0)) }
}

struct FrameStream: Sendable {
    let name: String
    let bytes: [UInt8]
    let events: [FrameEvent]
    init(_ name: String, _ bytes: [UInt8], _ events: [FrameEvent]) {
        self.name = name
        self.bytes = bytes
        self.events = events
    }
}

private func letters(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(0x61 + $0 % 26) } }

/// Limit of messages in the streams below.
private let limit: UInt64 = 70000

private let frameStreams: [FrameStream] =
    [
        FrameStream(
            "RFC 6455 5.7 masked Hello", [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58],
            [.message(.text, Array("Hello".utf8))]),
        FrameStream("empty binary", frame(0x82, []), [.message(.binary, [])]),
        FrameStream("two empty", frame(0x82, []) + frame(0x81, []), [.message(.binary, []), .message(.text, [])]),
        FrameStream("one byte", frame(0x82, [9]), [.message(.binary, [9])]),
        FrameStream("125", frame(0x82, letters(125)), [.message(.binary, letters(125))]),
        FrameStream("126", frame(0x82, letters(126)), [.message(.binary, letters(126))]),
        FrameStream("127", frame(0x82, letters(127)), [.message(.binary, letters(127))]),
        FrameStream("300", frame(0x82, letters(300)), [.message(.binary, letters(300))]),
        FrameStream("65535", frame(0x82, letters(65535)), [.message(.binary, letters(65535))]),
        FrameStream("65536", frame(0x82, letters(65536)), [.message(.binary, letters(65536))]),
        FrameStream(
            "longer length forms", frame(0x82, [1], lengthForm: 16) + frame(0x82, [2], lengthForm: 64),
            [.message(.binary, [1]), .message(.binary, [2])]),
        FrameStream("empty in the longest form", frame(0x82, [], lengthForm: 64), [.message(.binary, [])]),
        FrameStream(
            "other keys", frame(0x82, letters(9), mask: [255, 0, 128, 7]) + frame(0x82, letters(5), mask: [0, 0, 0, 0]),
            [.message(.binary, letters(9)), .message(.binary, letters(5))]),
        FrameStream("ping", frame(0x89, letters(3)), [.control(.ping, letters(3))]),
        FrameStream("empty ping and pong", frame(0x89, []) + frame(0x8A, []), [.control(.ping, []), .control(.pong, [])]),
        FrameStream("ping of 125", frame(0x89, letters(125)), [.control(.ping, letters(125))]),
        FrameStream("close", frame(0x88, [3, 232]), [.control(.close, [3, 232])]),
        FrameStream(
            "three fragments", frame(0x02, [1]) + frame(0x00, [2, 3]) + frame(0x80, [4]), [.message(.binary, [1, 2, 3, 4])]),
        FrameStream("empty fragments", frame(0x01, []) + frame(0x00, []) + frame(0x80, []), [.message(.text, [])]),
        FrameStream(
            "ping between fragments", frame(0x01, [1]) + frame(0x89, [7]) + frame(0x80, [2]),
            [.control(.ping, [7]), .message(.text, [1, 2])]),
        FrameStream(
            "message after message", frame(0x01, [1]) + frame(0x80, [2]) + frame(0x82, [3]),
            [.message(.text, [1, 2]), .message(.binary, [3])]),
        FrameStream(
            "largest message in fragments", frame(0x02, letters(69999)) + frame(0x80, [1]),
            [.message(.binary, letters(69999) + [1])]),
        FrameStream(
            "two fragmented messages at the limit, which each counts for itself",
            frame(0x02, letters(40000)) + frame(0x80, letters(30000)) + frame(0x02, letters(40000)) + frame(0x80, letters(30000)),
            [.message(.binary, letters(40000) + letters(30000)), .message(.binary, letters(40000) + letters(30000))]),
        FrameStream("unmasked", frame(0x82, [1], mask: nil), [.violation(.protocolError)]),
        FrameStream("unmasked ping", frame(0x89, [], mask: nil), [.violation(.protocolError)]),
        FrameStream("RSV1", frame(0xC2, [1]), [.violation(.protocolError)]),
        FrameStream("RSV2", frame(0xA2, [1]), [.violation(.protocolError)]),
        FrameStream("RSV3", frame(0x92, [1]), [.violation(.protocolError)]),
        FrameStream("RSV1 on a ping", frame(0xC9, [1]), [.violation(.protocolError)]),
        FrameStream(
            "RSV bit after a good message", frame(0x82, [1]) + frame(0xF2, [1]),
            [.message(.binary, [1]), .violation(.protocolError)]),
        FrameStream("continuation without start", frame(0x80, [1]), [.violation(.protocolError)]),
        FrameStream("open continuation without start", frame(0x00, [1]), [.violation(.protocolError)]),
        FrameStream(
            "continuation after an end", frame(0x01, [1]) + frame(0x80, [2]) + frame(0x80, [3]),
            [.message(.text, [1, 2]), .violation(.protocolError)]),
        FrameStream("text inside a message", frame(0x01, [1]) + frame(0x81, [2]), [.violation(.protocolError)]),
        FrameStream("binary inside a message", frame(0x01, [1]) + frame(0x02, [2]), [.violation(.protocolError)]),
        FrameStream("fragmented ping", frame(0x09, [1]), [.violation(.protocolError)]),
        FrameStream("fragmented close", frame(0x08, []), [.violation(.protocolError)]),
        FrameStream("ping of 126", frame(0x89, letters(126)), [.violation(.protocolError)]),
        FrameStream("close with 64-bit length", frame(0x88, [], lengthForm: 64), [.violation(.protocolError)]),
        FrameStream("length 2^53 - 1", header(0x82, announcing: (1 << 53) - 1), [.violation(.messageTooBig)]),
        FrameStream("length 2^53", header(0x82, announcing: 1 << 53), [.violation(.protocolError)]),
        FrameStream("length 2^63", header(0x82, announcing: 1 << 63), [.violation(.protocolError)]),
        FrameStream("length 2^64 - 1", header(0x82, announcing: .max), [.violation(.protocolError)]),
        FrameStream("one above the limit, nothing behind", header(0x82, announcing: limit + 1), [.violation(.messageTooBig)]),
        FrameStream(
            "fragments above the limit", frame(0x02, letters(40000)) + header(0x80, announcing: 30001),
            [.violation(.messageTooBig)]),
        FrameStream(
            "fragment sum that would wrap", frame(0x02, [1]) + header(0x80, announcing: (1 << 53) - 1),
            [.violation(.messageTooBig)]),
    ]
    + [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map {
        FrameStream("opcode \($0)", frame(0x80 | $0, []), [.violation(.protocolError)])
    }

@Suite struct FrameReaderTests {
    @Test func isSmall() {
        #expect(MemoryLayout<FrameReader>.size <= 40)
        #expect(_isPOD(FrameReader.self))
    }

    @Test(arguments: frameStreams.indices)
    func stream(_ index: Int) {
        let stream = frameStreams[index]
        #expect(readFrames(stream.bytes, limit: limit) == stream.events, "\(stream.name)")
    }

    @Test(arguments: frameStreams.indices)
    func everyCut(_ index: Int) {
        let stream = frameStreams[index]
        let step = stream.bytes.count > 1000 ? 4099 : 1
        let places = Array(stride(from: 0, to: stream.bytes.count, by: step)) + Array(0..<min(20, stream.bytes.count))
        for cut in places where readFrames(stream.bytes, cuts: [cut], limit: limit) != stream.events {
            Issue.record("\(stream.name) cut at \(cut)")
        }
    }

    @Test(arguments: frameStreams.indices)
    func byteByByte(_ index: Int) {
        let stream = frameStreams[index]
        guard stream.bytes.count < 1000 else { return }
        #expect(readFrames(stream.bytes, cuts: Array(1..<stream.bytes.count), limit: limit) == stream.events, "\(stream.name)")
    }

    @Test func violationIsFinal() {
        var reader = FrameReader(expectsMask: true)
        let bytes = frame(0x82, [1], mask: nil) + frame(0x82, [1])
        var cursor = 0
        bytes.withUnsafeBytes { buffer in
            for _ in 0..<3 {
                #expect(
                    reader.next(buffer.baseAddress!, &cursor, buffer.count, maximumMessageBytes: 10) == .violation(.protocolError)
                )
            }
        }
    }

    /// The limit is announced, not awaited: the length alone refuses, before mask or payload.
    @Test func tooBigIsKnownFromTheLength() {
        #expect(readFrames([0x82, 0xFE, 0x01, 0x00], limit: 255) == [.violation(.messageTooBig)])
        #expect(readFrames([0x82, 0xFE, 0x01, 0x00], limit: 256) == [])
        #expect(readFrames([0x82, 0x82], limit: 1) == [.violation(.messageTooBig)])
    }

    @Test func theFirstByteAloneRefuses() {
        #expect(readFrames([0xC2]) == [.violation(.protocolError)])
        #expect(readFrames([0x82, 0x01]) == [.violation(.protocolError)])
    }

    @Test func serverFramesAreNotMasked() {
        #expect(readFrames(frame(0x82, [1, 2], mask: nil), expectsMask: false) == [.message(.binary, [1, 2])])
        #expect(readFrames(frame(0x82, [1, 2]), expectsMask: false) == [.violation(.protocolError)])
    }

    @Test func boundary() {
        let bytes = frame(0x01, [1, 2]) + frame(0x80, [3])
        var reader = FrameReader(expectsMask: true)
        #expect(reader.isAtBoundary)
        for (index, _) in bytes.enumerated() {
            var cursor = index
            bytes.withUnsafeBytes { buffer in
                while reader.next(buffer.baseAddress!, &cursor, index + 1, maximumMessageBytes: 10) != .needMore {}
            }
            #expect(reader.isAtBoundary == (index == bytes.count - 1))
        }
    }

    /// Random streams in random pieces say the same as in one piece.
    @Test func randomStreams() {
        var generator = Generator(seed: 11)
        for _ in 0..<3000 {
            var stream: [UInt8] = []
            var events: [FrameEvent] = []
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let payload = generator.bytes(Int.random(in: 0...300, using: &generator))
                let mask = generator.bytes(4)
                if Bool.random(using: &generator) {
                    stream += frame(0x82, payload, mask: mask)
                } else {
                    let cut = Int.random(in: 0...payload.count, using: &generator)
                    stream +=
                        frame(0x02, Array(payload[..<cut]), mask: mask) + frame(0x89, mask) + frame(0x80, Array(payload[cut...]))
                    events.append(.control(.ping, mask))
                }
                events.append(.message(.binary, payload))
            }
            let cuts = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
                Int.random(in: 0...stream.count, using: &generator)
            }
            #expect(readFrames(stream, cuts: cuts.sorted()) == events)
        }
    }
}
