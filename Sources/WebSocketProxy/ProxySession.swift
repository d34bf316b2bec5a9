import Engine
import HTTP
import Policy
import Wire

/// The two ends of a session.
enum ProxyParty: UInt8 {
    case client, upstream

    @inline(__always)
    var other: ProxyParty { self == .client ? .upstream : .client }

    var origin: ProxyOrigin { self == .client ? .client : .upstream }
}

/// One end of a session: its stream, and what comes from it.
struct ProxySide {
    struct Flags: OptionSet {
        let rawValue: UInt32
        /// Not read: what comes from it has nowhere to go, or its Pongs wait, or it sends too often.
        static let pausedBehind = Flags(rawValue: 1 << 0)
        static let pausedReplies = Flags(rawValue: 1 << 1)
        static let pausedRate = Flags(rawValue: 1 << 2)
        static let pausedBytes = Flags(rawValue: 1 << 11)
        /// What it sent first is judged elsewhere.
        static let pausedJudged = Flags(rawValue: 1 << 12)
        static let pausedAny: Flags = [.pausedBehind, .pausedReplies, .pausedRate, .pausedBytes, .pausedJudged]
        /// What it sends is dropped: it has sent Close, or is to be closed.
        static let deaf = Flags(rawValue: 1 << 3)
        static let closeReceived = Flags(rawValue: 1 << 4)
        static let closeSent = Flags(rawValue: 1 << 5)
        /// Control frames for it wait for the end of a frame.
        static let waiting = Flags(rawValue: 1 << 6)
        /// Every frame's end is looked at: for a mask or a rate.
        static let boundaries = Flags(rawValue: 1 << 7)
        /// Its stream has ended, failed, or is closed.
        static let gone = Flags(rawValue: 1 << 8)
        /// The frame that comes from it was refused with its header: nothing of it has left.
        static let held = Flags(rawValue: 1 << 9)
        /// It was told to take something or fail.
        static let pressed = Flags(rawValue: 1 << 10)
        /// What it sends first is shown before it leaves.
        static let shown = Flags(rawValue: 1 << 13)
        /// Messages above its rate wait instead of ending the session. And: what waited is being passed on.
        static let throttled = Flags(rawValue: 1 << 14)
        static let replayed = Flags(rawValue: 1 << 15)
        /// Its stream ended behind bytes that wait.
        static let endsLater = Flags(rawValue: 1 << 16)
    }

    var sieve: FrameSieve
    var slot: SlotIndex
    var flags: Flags
    /// Shard milliseconds of the last byte from it.
    var heardAt: UInt64
    /// `heardAt` when it was last asked whether it is there: unless that has changed it has not answered.
    var askedAt = ProxySession.never
    /// Since when it does not take what waits for it; 0: it does. And how long before.
    var stalledAt: UInt64 = 0
    var stalledMilliseconds: UInt64 = 0
    /// What it had taken when that was last looked at, and when to look again.
    var taken: UInt64 = 0
    var pressAt: UInt64 = 0
    /// Looks in a row that found nothing taken.
    var idleLooks: UInt8 = 0
    /// A control frame from it that is not complete.
    var partial: UnsafeMutablePointer<ControlPayload>?
    /// Control frames for it that wait.
    var queue: UnsafeMutablePointer<WaitingControls>?

    init(expectsMask: Bool, slot: SlotIndex, now: UInt64) {
        sieve = FrameSieve(expectsMask: expectsMask)
        self.slot = slot
        flags = []
        heardAt = now
    }
}

/// Payload of one control frame: 125 bytes at most (RFC 6455 section 5.5).
struct ControlPayload {
    static let maximumBytes = 125
    var count = 0
    // 128 bytes, as sixteen words, so that the structure needs no allocation of its own.
    var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64,
                UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

    /// The bytes so far.
    mutating func withBytes<Result>(_ body: (UnsafeMutableRawBufferPointer) -> Result) -> Result {
        let count = count
        return withUnsafeMutableBytes(of: &words) { body(UnsafeMutableRawBufferPointer(rebasing: $0[..<count])) }
    }

    /// A copy of bytes; what is beyond 125 is cut.
    init(_ bytes: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)) {
        count = min(bytes.count, Self.maximumBytes)
        let copied = UnsafeRawBufferPointer(rebasing: bytes.prefix(count))
        withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: copied) }
    }

    /// A Close payload.
    init(_ close: ProxyClose) {
        self.init()
        var code = close.code.rawValue.bigEndian
        withUnsafeBytes(of: &code) { source in withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: source) } }
        count = 2
        for byte in close.reason.utf8.prefix(ProxyClose.maximumReasonBytes) {
            withUnsafeMutableBytes(of: &words) { $0[count] = byte }
            count += 1
        }
    }
}

/// Control frames for one side that wait for the end of a frame: the latest of each kind (RFC 6455 section 5.5.3).
struct WaitingControls {
    var pong: ControlPayload?
    var ping: ControlPayload?
    var close: ControlPayload?
}

/// One client WebSocket and its upstream WebSocket.
struct ProxySession {
    enum Phase: UInt8 {
        case free
        case dialling  // the client has no answer yet
        case first  // 101 is sent, the client's first data is awaited
        case judged  // it is judged elsewhere
        case admitted  // 101 is sent, the upstream is being dialled
        case open
        case closing  // one side has sent Close, and the other has not answered yet
        case finishing  // our own Close waits for the end of a frame towards the client
        case ending  // both streams end politely; the place is held until the client's is closed
    }

    static let never = UInt64.max

    var client: ProxySide
    var upstream: ProxySide
    var maximumMessageBytes: UInt64
    var bufferBytes: Int
    /// Messages from the client that were charged; when they wait for their budget, one more may be paid for than has begun.
    var charged: UInt64 = 0
    var rate: MessageRate?
    var rateCell: Unmanaged<MessageRateCell>?
    var closesAboveRate = true
    /// Payload bytes a second from the client; 0: no limit. When those that have come would be paid for at that rate, in nanoseconds,
    /// and how many were charged.
    var bytesPerSecond: UInt64 = 0
    var bytesPaidAt: UInt64 = 0
    var bytesCharged: UInt64 = 0
    /// Payload bytes and messages that the counters have: up and down.
    var countedUp: (bytes: UInt64, messages: UInt64) = (0, 0)
    var countedDown: (bytes: UInt64, messages: UInt64) = (0, 0)
    /// Deadlines in shard milliseconds; `never` without.
    var endsAt = never
    var phaseEnds = never
    var drainAt = never
    /// When the kernel is told to look after both connections.
    var keepAliveAt = never
    /// When the client's next slot comes, or when the last one came.
    var rateOpens = never
    var bytesOpen = never
    var throttledAt: UInt64 = 0
    var dataAt: UInt64
    var details: Unmanaged<ProxyDetails>
    /// Judges the packets of an inspected session.
    var inspector: UnsafeMutablePointer<MQTTInspector>?
    var nextFree: UInt32
    /// Sessions this place has had: with the place it names one for ever.
    var life: UInt32
    var route: UInt16
    var phase: Phase
    var mode: ProxyMode
}

/// What of a session no message touches.
final class ProxyDetails {
    let record: ConnectionRecord
    let settings: ProxySettings
    let webSocketKey: String
    let began: UInt64
    var identity: ProxyIdentity
    /// Bytes of the client that were read and cannot be passed on yet, in order: there is no upstream, or no budget.
    var early: [(buffer: BufferIndex, start: Int, count: Int)] = []
    var earlyBytes = 0
    var target: ProxyTarget?
    var ticket = HTTPClient.noTicket
    var tries = 0
    /// Counts through the endpoints; the one on trial that failed now, which is none of them any more.
    var turn = 0
    var onTrial: UInt32?
    /// When the try under way began, when all of them end, and when the next one begins.
    var dialBegan: UInt64 = 0
    var dialEnds: UInt64 = 0
    var redialAt = ProxySession.never
    /// First data, unmasked.
    var first: [UInt8] = []
    var firstIsText = false
    /// Told in front of Close to a client that was admitted and finds no upstream.
    var unavailable: [UInt8] = []
    /// Who closed first, with what.
    var closeFrom = ProxyOrigin.proxy
    var closePayload: ControlPayload?
    var cause = ProxyCause.clientVanished
    /// Tells an MQTT 5 client in front of its Close why its session ends.
    var disconnectReason: MQTTDisconnectReason?
    var wasPutOff = false
    /// How long a frame on its way to the upstream may put off being told to go.
    var drainPutOffEnds: UInt64 = 0

    init(_ request: ProxyRequest, now: UInt64) {
        record = request.record
        settings = request.settings
        webSocketKey = request.webSocketKey
        identity = request.identity
        began = now
    }
}
