import Glibc

/// A client of `/udp`: sends frames of its guests, cut over WebSocket fragments and writes anywhere, and keeps what comes back. It
/// reads and writes with code of its own.
public final class RelayPeer: RemotePeer {
    /// What it plays after its upgrade.
    public enum Part: Equatable, Sendable {
        /// Sends its frames, waits a while, and closes.
        case orderly
        /// Sends its frames, then FIN without a word.
        case finish
        /// RST after so many frames.
        case reset(after: Int)
        /// Sends its frames, then something that ends the WebSocket with this code: 1002, 1003, 1008 (before `ready`) or 1009.
        case offend(code: Int)
        /// Sends its frames and never anything again, not even a Pong.
        case mute
        /// Sends its frames and reads nothing any more.
        case deaf
    }

    /// One datagram on its way to a remote, and what became of it.
    public struct Frame: Sendable {
        /// Guest port, remote port, whether it is written in version 2, and its payload.
        public let guest: UInt16
        public let remote: UInt16
        public let isVersion2: Bool
        public let payload: [UInt8]
        /// Whether it is a frame at all; else `payload` is the whole message.
        public let isWellFormed: Bool

        /// A frame, or a message that is none.
        public init(guest: UInt16, remote: UInt16, isVersion2: Bool, payload: [UInt8], isWellFormed: Bool = true) {
            self.guest = guest
            self.remote = remote
            self.isVersion2 = isVersion2
            self.payload = payload
            self.isWellFormed = isWellFormed
        }

        var message: [UInt8] {
            guard isWellFormed else { return payload }
            let address: [UInt8] = [127, 0, 0, 1]
            let port = [UInt8(remote >> 8), UInt8(remote & 255)]
            let from = [UInt8(guest >> 8), UInt8(guest & 255)]
            return (isVersion2 ? [0xA2, 2, 4, 0] : []) + from + address + port + payload
        }
    }

    /// One datagram that came.
    public struct Reply: Sendable {
        public let guest: UInt16
        public let remote: UInt16
        public let payload: [UInt8]
    }

    /// How it behaves.
    public struct Manners: Sendable {
        public var part = Part.orderly
        /// Sent as the first message, if any.
        public var authentication: String?
        /// Frames follow the request at once.
        public var isEager = false
        /// Frames of one write at most.
        public var batch = 8
        public var pings = 0
        public var fragments = 0
        public var writeMaximum = 65536
        public var readMaximum = 65536
        public var pauseNanoseconds = 100_000
        /// Between its last frame and its Close.
        public var waitNanoseconds = 300_000_000
        /// The default.
        public init() {}
    }

    public let manners: Manners
    /// What it sends, in order.
    public let frames: [Frame]
    /// Frames written into its output so far.
    public private(set) var sent = 0
    /// What came.
    public private(set) var replies: [Reply] = []
    /// Text messages that came.
    public private(set) var texts: [String] = []
    public private(set) var status: Int?
    public private(set) var closeCode: Int?
    public private(set) var closeReason = ""
    public private(set) var fault: String?
    public private(set) var sawEnd = false
    public private(set) var sawLoss = false
    public private(set) var pongsMissing = 0
    public private(set) var socket: SimulatedSocket?

    private var output: [UInt8]
    private var outputSent = 0
    private var authenticated = false
    private var closesAt: UInt64?
    private var closeQueued = false
    private var offended = false
    private var finished = false
    private var head: [UInt8] = []
    private var input: [UInt8] = []
    private let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: 65536)

    /// Builds a client that asks for this upgrade.
    public init(_ manners: Manners, request: String, frames: [Frame]) {
        self.manners = manners
        self.frames = frames
        output = Array(request.utf8)
    }

    deinit { scratch.deallocate() }

    /// Nothing is left for it to do.
    public var isDone: Bool { sawEnd || sawLoss }
    /// The server has said that it is ready.
    public var isReady: Bool { texts.first?.contains("\"ready\"") ?? false }

    /// One write and one read.
    public func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        if isDone { return nil }
        if case .reset(let after) = manners.part, sent >= min(after, frames.count), outputSent == output.count {
            sawLoss = true
            kernel.remoteReset(socket)
            return nil
        }
        produce(kernel)
        let wrote = write(socket, kernel)
        let read = manners.part == .deaf && sent == frames.count && isReady ? false : read(socket, kernel)
        if sawLoss { return nil }
        if outputSent == output.count, !finished, sawEnd || closeCode != nil || (manners.part == .finish && closesAt != nil) {
            finished = true
            kernel.remoteFinish(socket)
        }
        if wrote || read { return UInt64(kernel.random.size(upTo: manners.pauseNanoseconds)) }
        guard let closesAt, !closeQueued, closesAt > kernel.nanoseconds else { return nil }
        return closesAt - kernel.nanoseconds
    }

    // MARK: writing

    private func produce(_ kernel: SimulatedKernel) {
        guard outputSent == output.count, !closeQueued, !offended, manners.isEager || status == 101, closeCode == nil else { return }
        output.removeAll(keepingCapacity: true)
        outputSent = 0
        if !authenticated {
            authenticated = true
            if let text = manners.authentication { frame(0x81, Array(text.utf8), kernel) }
            if case .offend(1008) = manners.part {
                offended = true
                return frame(0x82, [1, 2, 3], kernel)
            }
        }
        // What needs no credential may follow at once; who sends one waits for nothing either.
        for _ in 0..<1 + kernel.random.below(manners.batch) where sent < frames.count && output.count < 65536 {
            if kernel.random.chance(manners.pings) {
                pongsMissing += 1
                frame(0x89, [7, 7], kernel)
            }
            data(frames[sent].message, kernel)
            sent += 1
        }
        if sent == frames.count { endOutput(kernel) }
    }

    private func endOutput(_ kernel: SimulatedKernel) {
        let closesAt = closesAt ?? kernel.nanoseconds + UInt64(manners.waitNanoseconds)
        self.closesAt = closesAt
        switch manners.part {
        case .orderly:
            guard kernel.nanoseconds >= closesAt, status == 101 else { return }
            closeQueued = true
            frame(0x88, [0x0F, 0xA0], kernel)
        case .offend(let code):
            offended = true
            switch code {
            case 1003: frame(0x81, Array("{\"type\":\"x\"}".utf8), kernel)
            case 1009: frame(0x82, [UInt8](repeating: 0, count: 1300), kernel)
            default: output += [0x83, 0x80, 1, 2, 3, 4]
            }
        case .finish, .reset, .mute, .deaf: break
        }
    }

    /// A message, perhaps in pieces with a Ping between them.
    private func data(_ message: [UInt8], _ kernel: SimulatedKernel) {
        var rest = message[...]
        var opcode: UInt8 = 2
        while kernel.random.chance(manners.fragments) {
            let piece = rest.prefix(kernel.random.below(rest.count + 1))
            frame(opcode, Array(piece), kernel)
            rest = rest.dropFirst(piece.count)
            opcode = 0
            if kernel.random.chance(manners.pings) {
                pongsMissing += 1
                frame(0x89, [7, 7], kernel)
            }
        }
        frame(opcode | 0x80, Array(rest), kernel)
    }

    private func frame(_ first: UInt8, _ payload: [UInt8], _ kernel: SimulatedKernel) {
        payload.withUnsafeBufferPointer { MaskedFrame.append(to: &output, first, $0, &kernel.random) }
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
        switch kernel.remoteRead(socket, scratch, min(65536, 1 + kernel.random.size(upTo: manners.readMaximum))) {
        case .bytes(let count):
            take(UnsafeBufferPointer(start: scratch, count: count))
            return true
        case .nothing: return false
        case .end:
            sawEnd = true
            if !finished { kernel.remoteFinish(socket) }
            finished = true
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
            status = Int(String(decoding: head, as: UTF8.self).dropFirst(9).prefix(3)) ?? 0
        }
        input.append(contentsOf: bytes[cursor...])
        while let (opcode, payload) = nextMessage() {
            if closeCode != nil { return complain("a frame after Close") }
            message(opcode, payload)
        }
    }

    /// The next whole frame of the server: never masked, never in pieces (RFC 6455 section 5.2).
    private func nextMessage() -> (opcode: UInt8, payload: [UInt8])? {
        guard input.count >= 2 else { return nil }
        if input[0] & 0x70 != 0 || input[0] & 0x80 == 0 || input[1] & 0x80 != 0 {
            complain("a frame that begins with \(input[0]), \(input[1])")
            input = []
            return nil
        }
        var length = Int(input[1])
        var at = 2
        if length == 126 {
            guard input.count >= 4 else { return nil }
            length = Int(input[2]) << 8 | Int(input[3])
            at = 4
            if length < 126 { complain("a length in more bytes than needed") }
        } else if length == 127 {
            complain("a message of more than 64 KiB")
        }
        guard input.count >= at + length else { return nil }
        defer { input.removeFirst(at + length) }
        return (input[0] & 0x0F, Array(input[at..<at + length]))
    }

    private func message(_ opcode: UInt8, _ payload: [UInt8]) {
        switch opcode {
        case 1: texts.append(String(decoding: payload, as: UTF8.self))
        case 2: reply(payload)
        case 8:
            closeCode = payload.count >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 0
            closeReason = String(decoding: payload.dropFirst(2), as: UTF8.self)
        case 9: break  // unanswered: what else it sends keeps it alive
        case 10: if payload == [7, 7], pongsMissing > 0 { pongsMissing -= 1 } else { complain("a pong without its ping") }
        default: complain("opcode \(opcode)")
        }
    }

    private func reply(_ message: [UInt8]) {
        if !isReady { complain("a datagram before ready") }
        let isVersion2 = message.starts(with: [0xA2, 2])
        let header = isVersion2 ? message.dropFirst(4) : message[...]
        guard header.count >= 8, !isVersion2 || message[2] == 4 && message[3] == 0 else {
            return complain("no frame: \(message.prefix(16))")
        }
        let at = header.startIndex
        if Array(header[at + 2..<at + 6]) != [127, 0, 0, 1] { complain("a reply from \(header[at + 2..<at + 6])") }
        replies.append(
            Reply(
                guest: UInt16(header[at]) << 8 | UInt16(header[at + 1]), remote: UInt16(header[at + 6]) << 8 | UInt16(header[at + 7]),
                payload: Array(header.dropFirst(8))))
    }

    private func complain(_ text: String) { if fault == nil { fault = text } }
}
