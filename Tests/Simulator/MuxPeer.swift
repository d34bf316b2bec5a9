import Glibc

/// A client of `/tcp-mux`: opens streams, sends their bytes in frames that are cut over messages anywhere, and reads what
/// comes back with a parser of its own.
public final class MuxPeer: RemotePeer {
    /// What one stream does, and what became of it.
    public struct Stream {
        /// How the client ends it.
        public enum Ending: Equatable {
            /// FIN after its last byte.
            case finish
            /// RST after so many bytes.
            case reset(after: Int)
        }

        /// Its number, and the port of its target.
        public let identifier: UInt32
        public let port: Int
        /// Bytes it sends, and how it ends.
        public let total: Int
        public let ending: Ending
        let sends: BytePattern
        let expects: BytePattern
        var opened = false
        var sentBytes = 0
        /// The client has said its last word on it.
        public internal(set) var ended = false
        /// DATA bytes that came.
        public internal(set) var receivedBytes = 0
        /// The server's FIN came.
        public internal(set) var sawFinish = false
        /// The code of the server's ERROR.
        public internal(set) var errorCode: Int?

        /// A stream to be opened.
        public init(identifier: UInt32, port: Int, total: Int, ending: Ending, sends: BytePattern, expects: BytePattern) {
            self.identifier = identifier
            self.port = port
            self.total = total
            self.ending = ending
            self.sends = sends
            self.expects = expects
        }

        var isOver: Bool { errorCode != nil || ended && (sawFinish || ending != .finish) }
    }

    /// How the client behaves as a whole.
    public struct Manners {
        /// Largest DATA frame, and largest message.
        public var frameMaximum = 16384
        public var messageMaximum = 65536
        /// How often a frame is preceded by a PING, and a message is cut into fragments, in millionths.
        public var pings = 0
        public var fragments = 0
        public var writeMaximum = 65536
        public var readMaximum = 65536
        public var pauseNanoseconds = 100_000
        public var stalls = 0
        public var stallNanoseconds = 50_000_000
        /// RST of the whole connection after so many DATA bytes.
        public var resetsAfter: Int?
        /// The default.
        public init() {}
    }

    /// How this one behaves.
    public let manners: Manners
    /// Its streams.
    public private(set) var streams: [Stream]
    /// The status of the answer to the upgrade, and the code of the server's Close.
    public private(set) var status: Int?
    public private(set) var closeCode: Int?
    /// What the server did wrong.
    public private(set) var fault: String?
    public private(set) var sawEnd = false
    public private(set) var sawLoss = false
    /// The connection, once the peer acted; `SimulatedKernel.tearDown` breaks the cycle.
    public private(set) var socket: SimulatedSocket?
    /// PINGs without a PONG so far.
    public private(set) var pongsMissing = 0

    private var output: [UInt8]
    private var outputSent = 0
    private var frames: [UInt8] = []
    private var insideMessage = false
    private var closeQueued = false
    private var finished = false
    private var head: [UInt8] = []
    private var reader = ServerFrameReader()
    private var header: [UInt8] = []
    private var payload: [UInt8] = []
    private var payloadLeft = 0
    private let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: 65536)

    /// Builds a client that asks for this upgrade.
    public init(_ manners: Manners, request: String, streams: [Stream]) {
        self.manners = manners
        self.streams = streams
        output = Array(request.utf8)
    }

    deinit { scratch.deallocate() }

    /// Nothing is left for it to do.
    public var isDone: Bool { sawEnd || sawLoss }

    /// One write and one read.
    public func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        if isDone { return nil }
        if let after = manners.resetsAfter, outputSent == output.count, streams.reduce(0, { $0 + $1.sentBytes }) >= after {
            sawLoss = true
            kernel.remoteReset(socket)
            return nil
        }
        produce(&kernel.random)
        let wrote = write(socket, kernel)
        let read = read(socket, kernel)
        if sawLoss { return nil }
        if !finished, outputSent == output.count, sawEnd || closeQueued && closeCode != nil || (status.map { $0 != 101 } ?? false) {
            finished = true
            kernel.remoteFinish(socket)
        }
        guard wrote || read else { return nil }
        if kernel.random.chance(manners.stalls) { return UInt64(kernel.random.below(manners.stallNanoseconds)) }
        return UInt64(kernel.random.size(upTo: manners.pauseNanoseconds))
    }

    // MARK: writing

    private func produce(_ random: inout SimulatedRandom) {
        guard outputSent == output.count, !closeQueued, status == 101 else { return }
        output.removeAll(keepingCapacity: true)
        outputSent = 0
        if closeCode != nil || streams.allSatisfy({ $0.isOver }) {
            if insideMessage { message(0, final: true, &random) }
            closeQueued = true
            [UInt8](arrayLiteral: 0x03, 0xE8).withUnsafeBufferPointer { MaskedFrame.append(to: &output, 0x88, $0, &random) }
            return
        }
        for _ in 0..<1 + random.below(8) {
            let open = streams.indices.filter { !streams[$0].ended && streams[$0].errorCode == nil }
            guard !open.isEmpty else { break }
            if random.chance(manners.pings) { ping(&random) }
            step(open[random.below(open.count)], &random)
        }
        while !frames.isEmpty, output.count < 200_000 {
            message(min(frames.count, 1 + random.size(upTo: manners.messageMaximum)), final: !random.chance(manners.fragments), &random)
        }
    }

    /// The next frame of a stream: OPEN, DATA, or its end.
    private func step(_ index: Int, _ random: inout SimulatedRandom) {
        guard streams[index].opened else {
            streams[index].opened = true
            let host = Array("127.0.0.1".utf8)
            let port = streams[index].port
            frame(1, streams[index].identifier, [0, UInt8(host.count)] + host + [UInt8(port >> 8), UInt8(port & 0xFF), 0, 0])
            return
        }
        var limit = streams[index].total
        if case .reset(let after) = streams[index].ending { limit = min(limit, after) }
        guard streams[index].sentBytes < limit else {
            streams[index].ended = true
            return frame(3, streams[index].identifier, [streams[index].ending == .finish ? 1 : 2])
        }
        let count = min(limit - streams[index].sentBytes, 1 + random.size(upTo: manners.frameMaximum), BytePattern.longestRun)
        let bytes = streams[index].sends.bytes(at: streams[index].sentBytes)
        frame(2, streams[index].identifier, Array(UnsafeBufferPointer(start: bytes, count: count)))
        streams[index].sentBytes += count
    }

    private func ping(_ random: inout SimulatedRandom) {
        pongsMissing += 1
        frame(5, 0xABCD, (0..<random.size(upTo: 3000)).map { UInt8(truncatingIfNeeded: $0) })
    }

    private func frame(_ type: UInt8, _ stream: UInt32, _ payload: [UInt8]) {
        frames.append(type)
        for value in [stream, UInt32(payload.count)] {
            for shift in stride(from: 24, through: 0, by: -8) { frames.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
        }
        frames += payload
    }

    private func message(_ count: Int, final: Bool, _ random: inout SimulatedRandom) {
        frames.withUnsafeBufferPointer { all in
            let part = UnsafeBufferPointer(rebasing: all[..<count])
            MaskedFrame.append(to: &output, (insideMessage ? 0 : 2) | (final ? 0x80 : 0), part, &random)
        }
        frames.removeFirst(count)
        insideMessage = !final
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
            case .binary(let range): for index in range { byte(bytes[index]) }
            case .control(8, let payload): closeCode = payload.count >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 0
            case .control(let opcode, _): complain("control frame \(opcode)")
            case .fault(let text): complain(text)
            }
        }
    }

    private func byte(_ value: UInt8) {
        if payloadLeft == 0 {
            header.append(value)
            guard header.count == 9 else { return }
            payloadLeft = header[5...].reduce(0) { $0 << 8 | Int($1) }
            payload.removeAll(keepingCapacity: true)
        } else {
            payload.append(value)
            payloadLeft -= 1
        }
        guard payloadLeft == 0 else { return }
        let identifier = header[1...4].reduce(0) { $0 << 8 | UInt32($1) }
        let type = header[0]
        header.removeAll(keepingCapacity: true)
        whole(type, identifier)
    }

    private func whole(_ type: UInt8, _ identifier: UInt32) {
        if type == 6 {
            pongsMissing -= 1
            return identifier == 0xABCD && pongsMissing >= 0 ? () : complain("a PONG without its PING")
        }
        guard let index = streams.firstIndex(where: { $0.identifier == identifier && $0.opened }) else {
            return complain("a frame of type \(type) for stream \(identifier)")
        }
        switch type {
        case 2: data(index)
        case 3:
            if payload != [1] || streams[index].sawFinish { complain("CLOSE \(payload) for stream \(identifier)") }
            streams[index].sawFinish = true
        case 4:
            let code = payload.count >= 4 ? Int(payload[0]) << 8 | Int(payload[1]) : 0
            // Frames that were under way when the stream broke find nobody.
            if streams[index].errorCode != nil, code != 4 { complain("ERROR \(code) after an ERROR") }
            if streams[index].errorCode == nil { streams[index].errorCode = code }
        default: complain("a frame of type \(type)")
        }
    }

    private func data(_ index: Int) {
        let stream = streams[index]
        if payload.count > 65536 { complain("a DATA frame of \(payload.count) bytes") }
        if stream.sawFinish || stream.errorCode != nil { complain("DATA after the end of stream \(stream.identifier)") }
        let mismatch = payload.withUnsafeBytes { bytes in
            bytes.isEmpty ? nil : stream.expects.mismatch(at: stream.receivedBytes, bytes.baseAddress!, bytes.count)
        }
        if let mismatch { complain("a wrong byte at \(stream.receivedBytes + mismatch) of stream \(stream.identifier)") }
        streams[index].receivedBytes += payload.count
    }

    private func complain(_ text: String) { if fault == nil { fault = text } }
}
