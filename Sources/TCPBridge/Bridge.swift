import Engine
import HTTP
import Wire

/// One `/tcp` WebSocket and its target: what both directions need, in two cache lines.
struct Bridge {
    enum Phase: UInt8 {
        case free
        case resolving  // the target's name is being looked up; the client has no answer yet
        case connecting  // 101 is sent, the target is being dialled; client bytes queue
        case open
        case ending  // both streams end politely; the quotas are held until the client's is closed
    }

    var reader: FrameReader  // 40 bytes
    var client: SlotIndex  // 44
    var target: SlotIndex  // 48
    var lastActivity: UInt64  // 56: shard milliseconds of the last byte to or from the target
    var control: UnsafeMutablePointer<ControlPayload>?  // 64: only while a control frame is incomplete
    var opening: Unmanaged<BridgeOpening>?  // 72: until the target is connected
    var sessionPlace: Unmanaged<PlaceEntry>?  // 80
    var addressPlace: Unmanaged<PlaceEntry>?  // 88
    var nextFree: UInt32  // 92
    var rules: UInt32  // 96: the rules it was opened under, a place in the shard's table of them
    var record: Unmanaged<ConnectionRecord>?  // 104
    var phase: Phase
    var clientPaused: Bool  // the target is congested
    var targetPaused: Bool  // the client is congested
    var repliesPending: Bool  // the client is not read until it has taken its Pongs
}

/// Payload of a control frame that came in pieces: 125 bytes at most (RFC 6455 section 5.5).
struct ControlPayload {
    static let maximumBytes = 125
    var count: Int
    // 128 bytes, as sixteen words, so that the structure needs no allocation of its own
    var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64,
                UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
}

/// What is needed until the target is connected.
final class BridgeOpening {
    let sessionKey: String
    let addressKey: String
    let webSocketKey: String
    let port: UInt16
    var lookup: UInt32 = 0
    var lookupPlace: ConnectionQuota.Entry?
    var claim: PlaceClaim?  // while the store shared with other instances is asked
    var candidates: [SocketAddress] = []
    var early: [(buffer: BufferIndex, start: Int, count: Int)] = []  // came before there was a target

    /// Buffers a client may send before it has its answer. It is not read meanwhile; this is what was under way.
    static let earlyBuffersMaximum = 40

    init(sessionKey: String, addressKey: String, webSocketKey: String, port: UInt16) {
        self.sessionKey = sessionKey
        self.addressKey = addressKey
        self.webSocketKey = webSocketKey
        self.port = port
    }
}
