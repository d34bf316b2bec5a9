import Glibc
import Policy

/// One end of a WebSocket in one of its moods, client or server: it sends planned frames, cut anywhere, with pings in between, and reads
/// what comes with a parser of its own that remembers every frame.
public final class FramePeer: RemotePeer {
    /// Which end it is.
    public enum Role: Equatable {
        /// It asks for the upgrade; its frames are masked.
        case client(request: String)
        /// It answers the upgrade with this status, and 0 never.
        case server(status: Int)
    }

    /// A data frame: FIN, RSV1 and opcode, and its payload's length.
    public struct Frame: Equatable {
        public var first: UInt8
        public var count: Int

        /// A frame.
        public init(first: UInt8, count: Int) {
            self.first = first
            self.count = count
        }
    }

    /// How an end begins.
    public enum Ending: Equatable {
        /// Close with this code and reason when it has sent all and read so many frames.
        case close(code: Int, reason: String, afterReading: Int)
        /// FIN without a word when it has sent all.
        case finish
        /// It waits for the other's Close and answers it with the same.
        case answer
        /// RST when it has sent all.
        case reset
        /// A frame that breaks the protocol when it has sent all.
        case violate
    }

    /// How it behaves.
    public struct Manners {
        public var frames: [Frame] = []
        /// How often a ping goes first, in millionths.
        public var pings = 0
        public var writeMaximum = 65536
        public var readMaximum = 65536
        public var pauseNanoseconds = 100_000
        /// How often an act is followed by a long pause, in millionths, and how long that is.
        public var stalls = 0
        public var stallNanoseconds = 50_000_000
        /// A client's frames follow the request at once.
        public var isEager = false
        public var ending = Ending.answer
        /// The default.
        public init() {}
    }

    public let role: Role
    public let manners: Manners
    let sends: BytePattern
    let expects: BytePattern
    /// Sent instead of a pattern; what comes then is kept instead of compared.
    let script: [UInt8]?
    /// Payload that came to an end with a script.
    public private(set) var recorded: [UInt8] = []
    /// Frames whose header was read, in order.
    public private(set) var received: [Frame] = []
    /// Payload bytes of data frames.
    public private(set) var receivedBytes = 0
    /// Data frames that were read to their end.
    public private(set) var framesRead = 0
    /// The head the other end sent.
    public private(set) var head: [UInt8] = []
    public private(set) var headIsComplete = false
    /// The status of the answer to a client's upgrade.
    public private(set) var status: Int?
    /// Of the other end's Close; 0 without a code.
    public private(set) var closeCode: Int?
    public private(set) var closeReason = ""
    /// What the other end did wrong.
    public private(set) var fault: String?
    public private(set) var sawEnd = false
    public private(set) var sawLoss = false
    public private(set) var socket: SimulatedSocket?
    public private(set) var framesSent = 0
    /// Pings without a pong; and whether the latest was answered.
    public private(set) var pings: [[UInt8]] = []
    /// Pings of the other end.
    public private(set) var pingsSeen = 0

    private var output: [UInt8]
    private var outputSent = 0
    private var sentBytes = 0
    private var payloadMade = 0  // of frame `framesSent`
    private var key: [UInt8] = [0, 0, 0, 0]
    private var closeQueued = false
    private var lastWordSaid = false
    private var finished = false
    private var header: [UInt8] = []
    private var payloadLeft = 0
    private var payloadRead = 0
    private var readKey: [UInt8] = []
    private var opcode: UInt8 = 0
    private var control: [UInt8] = []
    private let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: 65536)

    /// Builds one end.
    public init(_ role: Role, _ manners: Manners, sends: BytePattern, expects: BytePattern, script: [UInt8]? = nil) {
        self.script = script
        self.role = role
        self.manners = manners
        self.sends = sends
        self.expects = expects
        if case .client(let request) = role { output = Array(request.utf8) } else { output = [] }
    }

    deinit { scratch.deallocate() }

    /// Nothing is left for it to do.
    public var isDone: Bool { sawEnd || sawLoss }
    /// All its data frames are written.
    public var sentAll: Bool { framesSent == manners.frames.count && outputSent == output.count }

    private var isClient: Bool { if case .client = role { true } else { false } }

    private var isOpen: Bool { isClient ? status == 101 : headIsComplete && role == .server(status: 101) }

    /// One write and one read.
    public func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        if sawLoss || sawEnd { return nil }
        if manners.ending == .reset, sentAll, isOpen {
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

    private var mayFinish: Bool {
        guard outputSent == output.count else { return false }
        if sawEnd || closeQueued && closeCode != nil { return true }
        if isClient, let status, status != 101 { return true }
        if !isClient, headIsComplete, !isOpen { return role != .server(status: 0) }
        return manners.ending == .finish && isOpen && sentAll
    }

    // MARK: writing

    private func produce(_ random: inout SimulatedRandom) {
        guard outputSent == output.count, !closeQueued, !lastWordSaid, isOpen || isClient && manners.isEager else { return }
        output.removeAll(keepingCapacity: true)
        outputSent = 0
        while framesSent < manners.frames.count, output.count < 65536 {
            if payloadMade == 0, random.chance(manners.pings) { ping(&random) }
            makePiece(&random)
        }
        if framesSent == manners.frames.count { end(&random) }
    }

    /// The header of the next frame, or the next piece of its payload.
    private func makePiece(_ random: inout SimulatedRandom) {
        let frame = manners.frames[framesSent]
        if payloadMade == 0 { begin(frame.first, frame.count, &random) }
        let count = min(frame.count - payloadMade, BytePattern.longestRun)
        if let script {
            script[sentBytes..<sentBytes + count].withUnsafeBufferPointer { append($0, from: payloadMade) }
        } else {
            append(UnsafeBufferPointer(start: sends.bytes(at: sentBytes), count: count), from: payloadMade)
        }
        sentBytes += count
        payloadMade += count
        if payloadMade == frame.count {
            framesSent += 1
            payloadMade = 0
        }
    }

    private func begin(_ first: UInt8, _ count: Int, _ random: inout SimulatedRandom) {
        let mask: UInt8 = isClient ? 0x80 : 0
        output.append(first)
        if count < 126 {
            output.append(mask | UInt8(count))
        } else if count < 65536 {
            output += [mask | 126, UInt8(count >> 8), UInt8(count & 0xFF)]
        } else {
            output.append(mask | 127)
            for shift in stride(from: 56, through: 0, by: -8) { output.append(UInt8(truncatingIfNeeded: count >> shift)) }
        }
        guard isClient else { return }
        key = (0..<4).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        output += key
    }

    private func append(_ bytes: UnsafeBufferPointer<UInt8>, from offset: Int) {
        let start = output.count
        output.append(contentsOf: bytes)
        guard isClient else { return }
        output.withUnsafeMutableBufferPointer { all in
            for index in 0..<bytes.count { all[start + index] ^= key[(offset + index) & 3] }
        }
    }

    private func send(_ first: UInt8, _ payload: [UInt8], _ random: inout SimulatedRandom) {
        begin(first, payload.count, &random)
        payload.withUnsafeBufferPointer { append($0, from: 0) }
    }

    private func ping(_ random: inout SimulatedRandom) {
        let payload = (0..<random.size(upTo: 125)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        pings.append(payload)
        send(0x89, payload, &random)
    }

    private func end(_ random: inout SimulatedRandom) {
        switch manners.ending {
        case .close(let code, let reason, let frames):
            guard framesRead >= frames || closeCode != nil else { return }
            close(code, reason, &random)
        case .answer: if let closeCode { close(closeCode, closeReason, &random) }
        case .violate:
            lastWordSaid = true
            send(0x83, [], &random)  // a reserved opcode
        case .finish, .reset: if let closeCode { close(closeCode, closeReason, &random) }
        }
    }

    private func close(_ code: Int, _ reason: String, _ random: inout SimulatedRandom) {
        closeQueued = true
        send(0x88, code == 0 ? [] : [UInt8(code >> 8), UInt8(code & 0xFF)] + Array(reason.utf8), &random)
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
            take(UnsafeBufferPointer(start: scratch, count: count), &kernel.random)
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

    private func take(_ bytes: UnsafeBufferPointer<UInt8>, _ random: inout SimulatedRandom) {
        var cursor = 0
        while !headIsComplete, cursor < bytes.count {
            head.append(bytes[cursor])
            cursor += 1
            if head.suffix(4) == [13, 10, 13, 10] { completeHead() }
        }
        guard isOpen else { return }
        while cursor < bytes.count {
            if payloadLeft == 0 {
                header.append(bytes[cursor])
                cursor += 1
                takeHeader(&random)
            } else {
                takePayload(bytes, &cursor, &random)
            }
        }
    }

    private func completeHead() {
        headIsComplete = true
        let text = String(decoding: head, as: UTF8.self)
        guard case .server(let answer) = role else {
            status = text.hasPrefix("HTTP/1.1 ") ? Int(text.dropFirst(9).prefix(3)) ?? 0 : 0
            return
        }
        let key = text.split(separator: "\r\n").first { $0.hasPrefix("Sec-WebSocket-Key: ") }.map { String($0.dropFirst(19)) } ?? ""
        guard answer != 0 else { return }
        output += Array(
            (answer == 101
                ? "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                    + "\(Digest.webSocketAccept(key: key))\r\n\r\n"
                : "HTTP/1.1 \(answer) No\r\nContent-Length: 0\r\n\r\n").utf8)
    }

    private func takeHeader(_ random: inout SimulatedRandom) {
        guard header.count >= 2 else { return }
        let extra = header[1] & 0x7F == 126 ? 2 : header[1] & 0x7F == 127 ? 8 : 0
        let isMasked = header[1] & 0x80 != 0
        guard header.count == 2 + extra + (isMasked ? 4 : 0) else { return }
        if isMasked == isClient { complain(isClient ? "a masked frame" : "a frame without mask") }
        let length = extra == 0 ? Int(header[1] & 0x7F) : header[2..<2 + extra].reduce(0) { $0 << 8 | Int($1) }
        if closeCode != nil { complain("a frame after Close") }
        opcode = header[0] & 0x0F
        readKey = isMasked ? Array(header.suffix(4)) : [0, 0, 0, 0]
        payloadLeft = length
        payloadRead = 0
        control = []
        if opcode < 8 { received.append(Frame(first: header[0], count: length)) }
        header = []
        if length == 0 { frameRead(&random) }
    }

    private func takePayload(_ bytes: UnsafeBufferPointer<UInt8>, _ cursor: inout Int, _ random: inout SimulatedRandom) {
        let count = min(payloadLeft, bytes.count - cursor)
        let base = UnsafeMutablePointer(mutating: bytes.baseAddress!) + cursor
        for index in 0..<count { base[index] ^= readKey[(payloadRead + index) & 3] }
        if opcode >= 8 {
            control += UnsafeBufferPointer(start: base, count: count)
        } else {
            if script != nil {
                recorded += UnsafeBufferPointer(start: base, count: count)
            } else if let at = expects.mismatch(at: receivedBytes, base, count) { complain("a wrong byte at \(receivedBytes + at)") }
            receivedBytes += count
        }
        cursor += count
        payloadLeft -= count
        payloadRead += count
        if payloadLeft == 0 { frameRead(&random) }
    }

    private func frameRead(_ random: inout SimulatedRandom) {
        switch opcode {
        case 8:
            closeCode = control.count >= 2 ? Int(control[0]) << 8 | Int(control[1]) : 0
            closeReason = String(decoding: control.dropFirst(2), as: UTF8.self)
        case 9:
            pingsSeen += 1
            // A frame of its own between two others: what was made so far ends between frames, or the pong is left out.
            if payloadMade == 0, !closeQueued, !lastWordSaid { send(0x8A, control, &random) }
        case 10:
            // Only the latest need be answered.
            if let at = pings.firstIndex(of: control) { pings.removeFirst(at + 1) } else { complain("a pong without its ping") }
        default: framesRead += 1
        }
    }

    private func complain(_ text: String) { if fault == nil { fault = text } }
}
