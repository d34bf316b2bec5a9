import Engine
import HTTP
import Policy
import Wire

/// One `/udp` WebSocket.
struct RelaySession: ~Copyable {
    enum Phase: UInt8 {
        case authenticating  // 101 is sent, the first message is awaited
        case ready
        case ending  // the client's stream ends politely; place and sockets are given back
    }

    var reader: FrameReader
    let client: SlotIndex
    var phase = Phase.authenticating
    /// A well-formed frame of version 2 has come; never cleared.
    var hasSeenV2 = false
    /// A binary message has begun whose end was not there yet.
    var isPartial = false
    /// The client is not read until it has taken the answers to its own frames.
    var repliesPending = false
    /// Bytes of the client wait for the next turn.
    var isParked = false
    /// No socket of IPv6 can be had.
    var lacksIPv6 = false
    /// Sockets its bindings have.
    var socketCount = 0
    let prefersV2: Bool
    /// Bytes of the partial message so far, in `partial`; what did not fit there is not kept.
    var partial = BufferIndex.none
    var partialBytes = 0
    /// Longest message now.
    var maximumMessageBytes: UInt64
    let maximumPayloadBytes: Int
    let sendQueueBytes: Int
    let rules: UnsafeMutablePointer<RelayRules>
    var limiter: RelayLimiter
    var bindings: RelayBindings
    /// Of the shard's clock: the last frame of the client, whatever it was.
    var lastFrame: UInt64
    /// End of the time for authentication, later the next Ping, look at bindings and look after a Ping; `never` for none.
    var authenticationEnds: UInt64
    var nextPing = RelaySession.never
    var nextSweep = RelaySession.never
    var pingJudged = RelaySession.never
    /// Bytes the client's socket had taken when the last Ping was queued.
    var takenAtPing: UInt64 = 0
    /// Pieces of a control frame.
    var control: UnsafeMutableRawPointer?
    let detail: Unmanaged<RelayDetail>
    /// The relay's turn in which the client was last read, and messages it may still have read in that turn.
    var turn: UInt32 = 0
    var messagesLeft = 0
    /// In the list of the parked.
    var next = RelaySession.none

    static let none = UInt32.max
    static let never = UInt64.max
}

/// What of a session is not needed for a datagram.
final class RelayDetail {
    let record: ConnectionRecord
    /// The place among all sessions, while it is held.
    var place: RelaySessions.Place?
    /// Public id of the session once it is ready.
    var sessionID = ""
    /// A text message that is not whole yet.
    var text: [UInt8] = []
    /// Bytes that wait for the next turn.
    var parked: [(buffer: BufferIndex, start: Int, end: Int)] = []

    init(record: ConnectionRecord) { self.record = record }
}

/// A socket of a binding.
struct RelaySocket {
    /// Whose it is; `none` once its binding is closed and only its last datagrams have to leave.
    var session: UInt32
    let binding: RelayBinding
    let family: IPAddress.Family
    let slot: SlotIndex
    let guestPort: UInt16
    /// In the list of those that are to be closed.
    var next = RelaySession.none
}

/// What a session was opened under; a reload does not change it. Plain memory with a count of its users, so that a datagram
/// counts no reference.
struct RelayRules {
    let shared: RelayShared
    let destinations: RelayDestinations.Rules
    let limitsToClient: Bool
    var users = 1

    static func make(_ shared: RelayShared) -> UnsafeMutablePointer<RelayRules> {
        let rules = UnsafeMutablePointer<RelayRules>.allocate(capacity: 1)
        rules.initialize(
            to: RelayRules(
                shared: shared, destinations: shared.destinations.rules,
                limitsToClient: shared.settings.limits.bytesPerSecondToClient > 0))
        return rules
    }

    static func take(_ rules: UnsafeMutablePointer<RelayRules>) -> UnsafeMutablePointer<RelayRules> {
        rules.pointee.users += 1
        return rules
    }

    static func release(_ rules: UnsafeMutablePointer<RelayRules>) {
        rules.pointee.users -= 1
        guard rules.pointee.users == 0 else { return }
        rules.deinitialize(count: 1)
        rules.deallocate()
    }
}
