import Synchronization

/// What a place counts for.
public enum PlaceScope: UInt8, Sendable {
    case session, address
    /// The subject of tokens, with its issuer.
    case subject

    /// Whether it is what a connection asks for first; the place under its address follows.
    var isFirst: Bool { self != .address }
}

/// What the connections of one key share; a connection holds a reference, eight bytes.
public final class PlaceEntry: @unchecked Sendable {
    /// The session's id or the client's address.
    public let key: String
    /// What the key is.
    public let scope: PlaceScope
    /// The session was revoked: its connections are to be closed.
    let revoked = Atomic<Bool>(false)
    /// Connections that hold a place. Guarded by the keeper's lock for this key, like the lease.
    var used = 0
    var lease = Lease()
    /// Name in the shared store; only the thread that talks to it reads and writes this.
    var storedName = ""

    init(_ scope: PlaceScope, _ key: String) {
        self.scope = scope
        self.key = key
    }

    /// Whether the session was revoked. Any thread.
    public var isRevoked: Bool { revoked.load(ordering: .relaxed) }

    /// The part of an entry that is used when several instances share their counts.
    struct Lease {
        /// Places the store counts for this instance; opening below that needs no question.
        var places = 0
        /// The limit of whoever asked last.
        var limit = 0
        /// In the order they came.
        var waiting: [PlaceClaim] = []
        /// A question about this key is under way. There is never more than one.
        var isAsking = false
        /// In the list of entries to ask about, or in that of entries with spare places.
        var isListed = false
        var isSpareListed = false
        /// Spare places go back at the next occasion.
        var isRecalled = false
        /// The first question was refused; others were asked for their spare places, and the second is due then.
        var secondAskMilliseconds: UInt64?
        /// The store was full; nobody needs to ask again before.
        var fullUntilMilliseconds: UInt64 = 0
        var spareSinceMilliseconds: UInt64 = 0
        var askedMilliseconds: UInt64 = 0
    }
}
