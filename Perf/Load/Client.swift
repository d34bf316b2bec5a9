// One connection of the load.

/// Lives in preallocated memory, its lanes and the times of messages in flight beside it.
struct Client {
    enum Phase: UInt8 {
        case unused, connecting, securing, upgrading, joining, open, closed
    }

    var channel = Channel()
    var phase = Phase.unused
    var isWriteWatched = false
    /// Position in the message pattern, and bytes of released messages that have not left yet.
    var patternOffset = 0
    var pendingBytes = 0
    var frames = ServerFrames()
    /// Messages released so far, and messages that are due but found the connection full (open loop).
    var released = 0
    var owed = 0
    /// The part of the upgrade answer that has arrived.
    var head: [UInt8] = []
}

/// One sequence of messages: a connection, or one stream of a connection that has many.
struct Lane {
    /// Bytes received of the message that is arriving, behind those that take turns with it.
    var position = 0
    var inFlight = 0
    /// Position of the oldest stamp in the lane's ring.
    var stampHead = 0
}

/// What a run counts. Differences of two copies give a window.
struct Tally {
    var messages = 0
    /// Payload received and sent.
    var bytesIn = 0
    var bytesOut = 0
}
