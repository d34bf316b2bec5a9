import Engine
import Policy
import Wire

/// What is known of an upgraded connection from its beginning: for its log records and the admin interface.
///
/// Made when the upgrade is judged, kept until the connection is gone. Nothing in it is a secret: of the session there is
/// a digest.
public final class ConnectionRecord: Sendable {
    /// `X-Request-Id` of the upgrade, or one made here.
    public let requestID: String
    /// The trace the upgrade belongs to, or one of its own.
    public let traceID: String
    /// Path of the upgrade, without its query.
    public let path: String
    /// Peer of the socket.
    public let peer: String
    /// Effective address of the client; the peer's, unless a proxy is trusted.
    public let client: String
    /// `host:port` as the client named it; empty when a connection has many targets.
    public let target: String
    /// First eight digits of the SHA-256 of the session's id: enough to see what belongs together.
    public let session: String
    /// Of the monotonic clock.
    public let openedMilliseconds: Int64

    /// Keeps what log and admin interface tell.
    public init(requestID: String, traceID: String, path: String, peer: String = "", client: String, target: String, sessionID: String,
                openedMilliseconds: Int64 = MonotonicClock.milliseconds) {
        self.requestID = requestID
        self.traceID = traceID
        self.path = path
        self.peer = peer.isEmpty ? client : peer
        self.client = client
        self.target = target
        session = sessionID.isEmpty ? "" : String(Digest.hexadecimal(Digest.sha256(Array(sessionID.utf8))).prefix(8))
        self.openedMilliseconds = openedMilliseconds
    }
}

/// What a feature tells of a connection it took over.
public enum ConnectionReport {
    /// It was answered with an error.
    case refused(ConnectionRecord, status: Int, reason: String)
    /// It was answered with 101.
    case opened(ConnectionRecord)
    /// It is over: nothing of it will be forwarded any more but what is queued.
    case ended(ConnectionRecord, cause: StaticString, bytesFromClient: UInt64, bytesToClient: UInt64)
    /// A session of the UDP relay is ready on it.
    case sessionOpened(ConnectionRecord, sessionID: String)
    /// It is over, and with it that session.
    case sessionEnded(ConnectionRecord, sessionID: String, cause: StaticString, bytesFromClient: UInt64, bytesToClient: UInt64)
    /// A limit of the whole shard keeps the feature from serving more. Told once in a while, not each time.
    case exhausted(what: StaticString, limit: Int, key: StaticString)
}

/// One connection as it is now.
public struct LiveConnection: Sendable {
    /// Names it for as long as it lives: shard, slot and the slot's generation.
    public let identifier: ConnectionIdentifier
    /// Which feature has it: `tcp`, …
    public let feature: String
    /// `resolving`, `connecting`, `open`, `ending`.
    public let phase: String
    public let record: ConnectionRecord
    /// Peer of the socket.
    public let peer: SocketAddress
    /// Payload from and to the client.
    public let bytesFromClient: UInt64
    public let bytesToClient: UInt64
    /// Since the last byte from or to the target.
    public let quietMilliseconds: UInt64

    /// Describes a connection.
    public init(identifier: ConnectionIdentifier, feature: String, phase: String, record: ConnectionRecord, peer: SocketAddress,
                bytesFromClient: UInt64, bytesToClient: UInt64, quietMilliseconds: UInt64) {
        self.identifier = identifier
        self.feature = feature
        self.phase = phase
        self.record = record
        self.peer = peer
        self.bytesFromClient = bytesFromClient
        self.bytesToClient = bytesToClient
        self.quietMilliseconds = quietMilliseconds
    }
}

/// `shard-slot-generation`, in decimal.
public struct ConnectionIdentifier: Comparable, Sendable, CustomStringConvertible {
    public let shard: Int
    public let slot: UInt32
    public let generation: UInt16

    /// Names the client's stream of a connection.
    public init(_ slot: SlotIndex, on shard: Shard) {
        self.shard = shard.index
        self.slot = slot.raw
        generation = shard.generation(slot)
    }

    /// Reads what `description` wrote; nil when it is anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
            let shard = Int(parts[0]), let slot = UInt32(parts[1]), let generation = UInt16(parts[2])
        else { return nil }
        self.shard = shard
        self.slot = slot
        self.generation = generation
    }

    public var description: String { "\(shard)-\(slot)-\(generation)" }

    /// Any order that stays.
    public static func < (left: Self, right: Self) -> Bool {
        (left.shard, left.slot, left.generation) < (right.shard, right.slot, right.generation)
    }
}
