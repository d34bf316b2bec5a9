import Engine
import Synchronization

/// How many connections one session and one client address may have. 0 is no limit.
public struct PlaceLimits: Sendable, Equatable {
    /// Of one session.
    public var session: Int
    /// Of one client address.
    public var address: Int

    /// Both limits.
    public init(session: Int, address: Int) {
        self.session = session
        self.address = address
    }
}

/// Places a connection holds until `PlaceKeeper.release`.
public struct Places: Sendable {
    /// Under the session, or the subject.
    public let session: PlaceEntry
    /// Under the client address, when that is limited.
    public let address: PlaceEntry?

    /// Collects what a connection keeps apart.
    public init(session: PlaceEntry, address: PlaceEntry?) {
        self.session = session
        self.address = address
    }
}

/// Who waits for a decision: the shard to wake and what tells its stream.
public struct PlaceWaiter: Sendable {
    /// Number of the shard.
    public let shard: Int
    /// Owner of the stream.
    public let owner: Owner
    /// The owner's index of the stream.
    public let context: UInt32
    /// Tells streams of one index apart (a stream number of a multiplexed WebSocket).
    public let detail: UInt32

    /// Collects the parts.
    public init(shard: Int, owner: Owner, context: UInt32, detail: UInt32 = 0) {
        self.shard = shard
        self.owner = owner
        self.context = context
        self.detail = detail
    }
}

/// A connection that waits until the store shared by all instances has granted or refused its places.
///
/// Decided on the thread that talks to the store, read on the shard that asked. The waiter compares references: a claim
/// that is not the one it waits for belongs to a connection that is gone.
public final class PlaceClaim: Sendable {
    /// Who waits.
    public let waiter: PlaceWaiter
    let address: String?
    let limits: PlaceLimits
    let state = Mutex(State())

    struct State {
        enum Phase { case waiting, decided, over }
        var phase = Phase.waiting
        var session: PlaceEntry?
        var address: PlaceEntry?
        var isGranted = false
    }

    init(_ waiter: PlaceWaiter, address: String?, limits: PlaceLimits) {
        self.waiter = waiter
        self.address = address
        self.limits = limits
    }

    /// What was decided, once: granted with the places, or refused. Nil when the claim was given up or is undecided.
    public func take() -> Admission? {
        state.withLock { state in
            guard state.phase == .decided else { return nil }
            state.phase = .over
            guard state.isGranted, let session = state.session else { return .refused }
            return .granted(Places(session: session, address: state.address))
        }
    }
}

/// Outcome of asking for places.
public enum Admission: Sendable {
    /// The connection holds these until it releases them.
    case granted(Places)
    /// A limit is reached.
    case refused
    /// The decision comes later, through `PlaceKeeper.takeDecided` of the waiter's shard.
    case pending(PlaceClaim)
}
