import Glibc

/// A WebSocket client in one of its moods: it asks for the upgrade, sends masked frames of any size, cut anywhere, with
/// pings in between, and reads what comes back with a parser of its own.
public final class WebSocketPeer: RemotePeer {
    /// How a client ends.
    public enum Ending: Equatable {
        /// A Close frame after its last payload byte.
        case close
        /// A Close frame when it has read so many payload bytes.
        case closeAfterReading(Int)
        /// FIN after its last payload byte, without a word.
        case finish
        /// It waits for the server's Close and answers it.
        case answer
        /// RST after so many payload bytes.
        case reset(after: Int)
        /// Frames that break the protocol after so many payload bytes; the server must close with this code.
        case violate(after: Int, code: Int)
    }

    /// How it behaves.
    public struct Manners {
        /// Payload bytes it sends.
        public var total = 0
        /// Largest frame.
        public var frameMaximum = 65536
        /// How often a frame is not the last of its message, in millionths.
        public var fragments = 0
        /// How often a ping goes first, in millionths.
        public var pings = 0
        /// Whether frames follow the request at once, before its answer.
        public var isEager = false
        /// Most bytes of one write.
        public var writeMaximum = 65536
        /// Most bytes of one read.
        public var readMaximum = 65536
        /// Longest pause between two acts.
        public var pauseNanoseconds = 100_000
        /// How often an act is followed by a long pause, in millionths, and how long that is.
        public var stalls = 0
        /// See `stalls`.
        public var stallNanoseconds = 50_000_000
        /// Whether FIN follows its Close at once, before the server's.
        public var finishesEarly = false
        /// How it ends.
        public var ending = Ending.answer
        /// The default.
        public init() {}
    }

    /// How this one behaves.
    public let manners: Manners
    let sends: BytePattern
    let expects: BytePattern
    /// Payload bytes put into frames so far.
    public private(set) var sentBytes = 0
    /// Payload bytes read so far.
    public private(set) var receivedBytes = 0
    /// The status of the answer to the upgrade, once it came.
    public private(set) var status: Int?
    /// The code of the server's Close, 0 when it carried none.
    public private(set) var closeCode: Int?
    /// What the server did wrong.
    public private(set) var fault: String?
    /// The engine's FIN came.
    public private(set) var sawEnd = false
    /// The connection was lost.
    public private(set) var sawLoss = false
    /// The connection, once the peer acted; `SimulatedKernel.tearDown` breaks the cycle.
    public private(set) var socket: SimulatedSocket?
    /// Pings without a pong so far.
    public var pongsMissing: Int { pings.count }

    private var output: [UInt8]
    private var outputSent = 0
    private var pings: [[UInt8]] = []
    private var insideMessage = false
    private var messageBytes = 0
    private var closeQueued = false
    private var violated = false
    private var head: [UInt8] = []
    private var reader = ServerFrameReader()
    private var finished = false
    private let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: 65536)

    /// Builds a client that asks for this upgrade.
    public init(_ manners: Manners, request: String, sends: BytePattern, expects: BytePattern) {
        self.manners = manners
        self.sends = sends
        self.expects = expects
        output = Array(request.utf8)
    }

    deinit { scratch.deallocate() }

    /// Nothing is left for it to do.
    public var isDone: Bool { sawEnd || sawLoss || finished && violated }

    /// One write and one read.
    public func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        if sawLoss || sawEnd { return nil }
        if case .reset(let after) = manners.ending, sentBytes >= min(after, manners.total), outputSent == output.count {
            sawLoss = true
            kernel.remoteReset(socket)
            return nil
        }
        produce(&kernel.random)
        let wrote = write(socket, kernel)
        let read = read(socket, kernel)
        if sawLoss { return nil }
        if mayFinish, !finished {
            finished = true
            kernel.remoteFinish(socket)
        }
        guard wrote || read else { return nil }
        if kernel.random.chance(manners.stalls) { return UInt64(kernel.random.below(manners.stallNanoseconds)) }
        return UInt64(kernel.random.size(upTo: manners.pauseNanoseconds))
    }

    /// FIN: when the end has come and everything is written.
    private var mayFinish: Bool {
        guard outputSent == output.count else { return false }
        if sawEnd || closeQueued && (closeCode != nil || manners.finishesEarly) { return true }
        if status.map({ $0 != 101 }) ?? false { return true }
        return manners.ending == .finish && sentBytes >= manners.total
    }

    // MARK: writing

    /// Makes the next frames when all made before are written.
    private func produce(_ random: inout SimulatedRandom) {
        guard outputSent == output.count, !closeQueued, !violated, manners.isEager || status == 101 else { return }
        output.removeAll(keepingCapacity: true)
        outputSent = 0
        var limit = manners.total
        if case .violate(let after, _) = manners.ending { limit = min(limit, after) }
        if case .reset(let after) = manners.ending { limit = min(limit, after) }
        let frames = 1 + random.below(8)
        for _ in 0..<frames where output.count < 65536 && sentBytes < limit {
            if random.chance(manners.pings) { ping(&random) }
            data(min(limit - sentBytes, 1 + random.size(upTo: manners.frameMaximum)), &random)
        }
        if sentBytes >= limit { endOutput(limit, &random) }
    }

    private func data(_ count: Int, _ random: inout SimulatedRandom) {
        let goesOn = random.chance(manners.fragments) && messageBytes + count < 200_000
        let opcode: UInt8 = insideMessage ? 0 : 2
        let count = min(count, BytePattern.longestRun)
        frame(opcode | (goesOn ? 0 : 0x80), UnsafeBufferPointer(start: sends.bytes(at: sentBytes), count: count), &random)
        sentBytes += count
        messageBytes = goesOn ? messageBytes + count : 0
        insideMessage = goesOn
    }

    private func ping(_ random: inout SimulatedRandom) {
        let payload = (0..<random.size(upTo: 125)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        pings.append(payload)
        payload.withUnsafeBufferPointer { frame(0x89, $0, &random) }
    }

    private func endOutput(_ limit: Int, _ random: inout SimulatedRandom) {
        switch manners.ending {
        case .close: close(&random)
        case .closeAfterReading(let count): if receivedBytes >= count { close(&random) }
        case .answer: if closeCode != nil { close(&random) }
        case .violate(_, let code):
            violated = true
            violate(code, &random)
        case .finish, .reset: break
        }
    }

    private func close(_ random: inout SimulatedRandom) {
        closeQueued = true
        [UInt8](arrayLiteral: 0x03, 0xE8).withUnsafeBufferPointer { frame(0x88, $0, &random) }
    }

    private func violate(_ code: Int, _ random: inout SimulatedRandom) {
        if insideMessage { frame(0x80, UnsafeBufferPointer(start: nil, count: 0), &random) }
        switch code {
        case 1003: Array("text".utf8).withUnsafeBufferPointer { frame(0x81, $0, &random) }
        case 1009: output += [0x82, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]  // four gibibytes are announced
        default: output += [0x83, 0x80, 1, 2, 3, 4]  // a reserved opcode
        }
    }

    private func frame(_ first: UInt8, _ payload: UnsafeBufferPointer<UInt8>, _ random: inout SimulatedRandom) {
        MaskedFrame.append(to: &output, first, payload, &random)
    }

    private func write(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> Bool {
        guard outputSent < output.count else { return false }
        let wanted = min(output.count - outputSent, 1 + kernel.random.size(upTo: manners.writeMaximum))
        let written = output.withUnsafeBytes { kernel.remoteWrite(socket, $0.baseAddress! + outputSent, wanted) }
        if written > 0 { outputSent += written }
        return written > 0
    }

    // MARK: reading

    private func read(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> Bool {
        let wanted = min(65536, 1 + kernel.random.size(upTo: manners.readMaximum))
        switch kernel.remoteRead(socket, scratch, wanted) {
        case .bytes(let count):
            take(UnsafeBufferPointer(start: scratch, count: count))
            return true
        case .nothing: return false
        case .end:
            sawEnd = true
            if !finished { kernel.remoteFinish(socket) }
            return true
        case .lost:
            sawLoss = true
            return true
        }
    }

    private func take(_ bytes: UnsafeBufferPointer<UInt8>) {
        var cursor = 0
        while status == nil, cursor < bytes.count {
            head.append(bytes[cursor])
            cursor += 1
            guard head.suffix(4) == [13, 10, 13, 10] else { continue }
            let line = String(decoding: head, as: UTF8.self)
            status = line.hasPrefix("HTTP/1.1 ") ? Int(line.dropFirst(9).prefix(3)) ?? 0 : 0
        }
        guard status == 101 else { return }
        while let item = reader.next(bytes, &cursor) {
            if closeCode != nil { return complain("a frame after Close") }
            switch item {
            case .binary(let range):
                if let at = expects.mismatch(at: receivedBytes, bytes.baseAddress! + range.lowerBound, range.count) {
                    complain("a wrong byte at \(receivedBytes + at)")
                }
                receivedBytes += range.count
            case .control(let opcode, let payload): control(opcode, payload)
            case .fault(let text): return complain(text)
            }
        }
    }

    private func control(_ opcode: UInt8, _ payload: [UInt8]) {
        switch opcode {
        case 8: closeCode = payload.count >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 0
        case 10:
            if pings.first == payload { pings.removeFirst() } else { complain("a pong without its ping") }
        default: complain("control frame \(opcode)")
        }
    }

    private func complain(_ text: String) { if fault == nil { fault = text } }
}
