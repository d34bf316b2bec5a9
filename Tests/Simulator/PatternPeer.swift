import Glibc

/// A remote peer that sends so many bytes of one pattern and checks what it reads against another.
public final class PatternPeer: RemotePeer {
    /// How a peer ends its side.
    public enum Ending: Equatable {
        /// FIN after its last byte.
        case finish
        /// FIN after the other side's.
        case finishLast
        /// RST after so many bytes.
        case reset(after: Int)
        /// close(2) after its last byte, whatever is unread.
        case close
        /// Never: it stays until the engine ends it.
        case stay
    }

    /// How a peer behaves.
    public struct Manners {
        /// Bytes it sends.
        public var total = 0
        /// Most bytes of one write.
        public var writeMaximum = 65536
        /// Most bytes of one read.
        public var readMaximum = 65536
        /// Longest pause between two acts.
        public var pauseNanoseconds = 100_000
        /// How often an act is followed by a long pause, in millionths.
        public var stalls = 0
        /// The long pause.
        public var stallNanoseconds = 50_000_000
        /// It sends back what it reads, and `total` does not count.
        public var echoes = false
        /// It ends no sooner than it has read so many bytes.
        public var readsBeforeEnd = 0
        /// How it ends.
        public var ending = Ending.finish
        /// The default.
        public init() {}
    }

    /// How this one behaves.
    public let manners: Manners
    let sends: BytePattern
    let expects: BytePattern
    /// Bytes written so far.
    public private(set) var sentBytes = 0
    /// Bytes read so far.
    public private(set) var receivedBytes = 0
    /// Where the bytes read first differed from what the other side sent.
    public private(set) var mismatchOffset: Int?
    /// The engine's FIN came.
    public private(set) var sawEnd = false
    /// The connection was lost.
    public private(set) var sawLoss = false
    /// The connection, once the peer acted; `SimulatedKernel.tearDown` breaks the cycle.
    public private(set) var socket: SimulatedSocket?
    /// The peer will do no more.
    public private(set) var isDone = false

    private let scratch = UnsafeMutableRawPointer.allocate(byteCount: 65536, alignment: 16)

    /// Builds a peer.
    public init(_ manners: Manners, sends: BytePattern, expects: BytePattern) {
        self.manners = manners
        self.sends = sends
        self.expects = expects
    }

    deinit { scratch.deallocate() }

    /// Whether nothing this peer does cuts the connection short.
    public var isPolite: Bool { manners.ending == .finish || manners.ending == .finishLast }

    /// One write and one read, then the end if it is time.
    public func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64? {
        self.socket = socket
        if isDone { return nil }
        let wrote = write(socket, kernel)
        let read = read(socket, kernel)
        if sawLoss {
            isDone = true
            return nil
        }
        end(socket, kernel)
        if isDone { return nil }
        // Whoever could do nothing waits for the engine.
        guard wrote || read else { return nil }
        if kernel.random.chance(manners.stalls) { return UInt64(kernel.random.below(manners.stallNanoseconds)) }
        return UInt64(kernel.random.size(upTo: manners.pauseNanoseconds))
    }

    private func write(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> Bool {
        var left = (manners.echoes ? receivedBytes : manners.total) - sentBytes
        if case .reset(let after) = manners.ending { left = min(left, after - sentBytes) }
        guard left > 0 else { return false }
        let wanted = min(left, 1 + kernel.random.size(upTo: manners.writeMaximum), BytePattern.longestRun)
        let written = kernel.remoteWrite(socket, sends.bytes(at: sentBytes), wanted)
        if written > 0 { sentBytes += written }
        return written > 0
    }

    private func read(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> Bool {
        guard !sawEnd else { return false }
        let wanted = min(65536, 1 + kernel.random.size(upTo: manners.readMaximum))
        switch kernel.remoteRead(socket, scratch, wanted) {
        case .bytes(let count):
            if mismatchOffset == nil, let at = expects.mismatch(at: receivedBytes, scratch, count) {
                mismatchOffset = receivedBytes + at
            }
            receivedBytes += count
            return true
        case .nothing: return false
        case .end:
            sawEnd = true
            return true
        case .lost:
            sawLoss = true
            return true
        }
    }

    private func end(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) {
        let sentAll = sentBytes >= (manners.echoes ? receivedBytes : manners.total) && receivedBytes >= manners.readsBeforeEnd
        switch manners.ending {
        case .finish:
            if sentAll { kernel.remoteFinish(socket) }
            isDone = sentAll && sawEnd
        case .finishLast:
            if sentAll, sawEnd { kernel.remoteFinish(socket) }
            isDone = sentAll && sawEnd
        case .reset(let after):
            guard sentBytes >= min(after, manners.total) else { return }
            kernel.remoteReset(socket)
            isDone = true
        case .close:
            guard sentAll else { return }
            kernel.remoteClose(socket)
            isDone = true
        case .stay:
            // It notices that the engine has gone.
            if sawEnd, socket.isReleased { isDone = true }
        }
    }
}
