import Engine
import HTTP
import Policy
import Wire

/// One `/tcp-mux` WebSocket: what reading its bytes needs comes first.
struct MuxSocket {
    enum Phase: UInt8 {
        case free
        case open
        case ending  // the client's stream ends politely; its streams are on their own
    }

    var reader: FrameReader
    var frames: MuxReader
    /// The frame that is being read.
    var header: MuxHeader
    var client: SlotIndex
    /// Stream of the DATA frame that is being read; `none`: its payload is dropped.
    var current: UInt32
    /// Stream that was found last.
    var found: UInt32
    let maximumFrameBytes: UInt32
    let maximumMessageBytes: UInt64
    let maximumStreamBytes: Int
    var lastActivity: UInt64
    /// Payload of a frame that came in pieces, and of a WebSocket control frame.
    var pieces: UnsafeMutableRawPointer?
    var control: UnsafeMutableRawPointer?
    var rules: Unmanaged<MuxRules>
    var identity: Unmanaged<MuxIdentity>
    var record: Unmanaged<ConnectionRecord>
    /// Any of the WebSocket's streams, which form a ring.
    var firstStream: UInt32
    /// The stream that is read again next.
    var nextResumed: UInt32
    var streamCount: Int
    /// Bytes of answers queued since the client's queue was last short.
    var answerBytes: Int
    /// Streams that are not read because the client is behind.
    var pausedCount: Int
    var nextInList: UInt32  // free list, or list of those with streams to read again
    var phase: Phase
    var backedUp: Bool  // the client is behind: no target is read
    var repliesPending: Bool  // the client is not read until it has taken answers to its frames
    var poolPaused: Bool  // the client is not read until its streams hold fewer buffers
    var isListed: Bool

    static let none = UInt32.max
}

/// One stream of a WebSocket and its target.
struct MuxStream {
    enum Phase: UInt8 {
        case free
        case resolving  // the name is being looked up, or a place is being decided; there is no target yet
        case connecting  // the client's bytes queue
        case open
        case ending  // out of the protocol: what was accepted is delivered, the places are held until then
    }

    var socket: UInt32
    var identifier: UInt32
    var target: SlotIndex
    var next: UInt32  // in the WebSocket's ring; also the free list
    var previous: UInt32
    var hashNext: UInt32
    var lastActivity: UInt64
    var opening: Unmanaged<MuxOpening>?
    var sessionPlace: Unmanaged<PlaceEntry>?
    var addressPlace: Unmanaged<PlaceEntry>?
    var phase: Phase
    var clientFinished: Bool
    var targetFinished: Bool
    var paused: Bool  // not read because the client is behind
}

/// What a WebSocket was opened under; a reload does not change it.
final class MuxRules {
    let policy: EgressPolicy
    let places: PlaceLimits
    let maximumStreams: Int
    let idleMilliseconds: UInt64
    let connectMilliseconds: UInt64
    let settings: GatewaySettings.TCPSettings
    let mux: GatewaySettings.MuxSettings

    init(_ settings: GatewaySettings.TCPSettings, _ mux: GatewaySettings.MuxSettings) {
        self.settings = settings
        self.mux = mux
        policy = EgressPolicy(settings)
        places = PlaceLimits(session: settings.maxConnections, address: settings.maxConnectionsPerAddress)
        maximumStreams = mux.maxStreams
        idleMilliseconds = UInt64(settings.idleTimeoutMilliseconds)
        connectMilliseconds = UInt64(settings.connectTimeoutMilliseconds)
    }
}

/// Who opened a WebSocket.
final class MuxIdentity {
    let session: String
    let address: String

    init(session: String, address: String) {
        self.session = session
        self.address = address
    }
}

/// What a stream needs until its target is connected.
final class MuxOpening {
    let port: UInt16
    var lookup: UInt32?
    var claim: PlaceClaim?  // while the store shared with other instances is asked
    var claimDeadline: UInt64 = 0
    var candidates: [SocketAddress] = []
    /// The connect timeout's end, for all addresses together.
    var deadline: UInt64 = 0
    /// Bytes that came before there was a target.
    var early: [(buffer: BufferIndex, count: Int)] = []
    var earlyBytes = 0

    init(port: UInt16) { self.port = port }
}
