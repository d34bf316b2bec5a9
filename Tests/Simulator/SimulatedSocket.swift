import Glibc

/// The other end of a simulated connection: a script that writes, reads, stalls and closes.
public protocol RemotePeer: AnyObject {
    /// Does something on the connection. Answers after how many nanoseconds it wants to act again; nil waits until
    /// something changes on the connection.
    func act(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> UInt64?
}

/// What happens to a connect.
public enum Dial {
    /// The connection stands; the peer is its other end.
    case accept(any RemotePeer)
    /// The same, after this time.
    case acceptAfter(milliseconds: UInt64, any RemotePeer)
    /// The connect fails with this errno.
    case fail(Int32)
}

/// A request the kernel holds.
final class SimulatedRequest {
    enum Operation { case accept, connect, receive, send, poll, receiveDatagrams, sendDatagrams }

    let token: UInt64
    let operation: Operation
    let socket: SimulatedSocket?
    let multishot: Bool
    let group: Int
    /// MSG_WAITALL: a send that waits ends only when all is taken.
    var waitsForAll = true
    /// What a send still has to take, in order.
    var parts: [(address: UnsafeRawPointer, count: Int)] = []
    /// Of a send of datagrams: what is read when it is executed.
    var message: UnsafePointer<msghdr>?
    var done = 0
    var finished = false
    var cancelPlanned = false
    /// Completions decided and not yet visible; later ones of the same request must stay behind them.
    var planned = 0
    var lastPostNanoseconds: UInt64 = 0

    init(_ operation: Operation, token: UInt64, socket: SimulatedSocket?, multishot: Bool = false, group: Int = 0) {
        self.operation = operation
        self.token = token
        self.socket = socket
        self.multishot = multishot
        self.group = group
    }
}

/// A socket of the simulated kernel: the engine's end of a connection, or a listener.
///
/// ```
///            incoming ◄── remoteWrite          (receive buffer of the engine's end)
///  engine                             remote peer
///            outgoing ──► remoteRead           (send buffer, wire and the peer's receive buffer in one)
/// ```
public final class SimulatedSocket {
    /// Number of the socket in its run.
    public let identifier: Int
    /// The engine's descriptor, or -1.
    public internal(set) var descriptor: Int32 = -1
    /// Whether a fault of the kernel touched this connection: what it carried may be cut short.
    public internal(set) var disturbed = false
    /// Reads by which the kernel has filled buffers of the engine.
    public internal(set) var readsDelivered = 0
    /// Port the remote peer is seen with.
    public internal(set) var peerPort: UInt16 = 0

    let isListener: Bool
    var backlog: [SimulatedSocket] = []
    var incoming: ByteQueue
    var outgoing: ByteQueue
    var connected = false
    var remoteFinished = false  // FIN behind `incoming`
    var localFinished = false  // FIN behind `outgoing`
    var remoteGone = false  // nobody reads `outgoing`
    var released = false  // the engine's end is closed
    var error: Int32 = 0  // the next call takes it
    var broken = false  // reset or given up
    var peer: (any RemotePeer)?
    /// TLS of the remote peer, set before it acts.
    public var layer: SecureLayer?
    /// The layer leaves what the engine sent where it is.
    public var readsNothing = false
    var peerPlanned = false
    var progressPlanned = false
    var requests: [SimulatedRequest] = []
    var datagrams: SimulatedDatagrams?

    init(identifier: Int, isListener: Bool, incomingBytes: Int, outgoingBytes: Int) {
        self.identifier = identifier
        self.isListener = isListener
        incoming = ByteQueue(capacity: incomingBytes)
        outgoing = ByteQueue(capacity: outgoingBytes)
    }

    deinit {
        incoming.free()
        outgoing.free()
    }

    /// Whether the engine has dropped its end.
    public var isReleased: Bool { released }
}
