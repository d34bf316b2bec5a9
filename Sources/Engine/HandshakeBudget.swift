/// How much of a turn TLS handshakes may take.
///
/// A step of a handshake costs as much as a hundred messages, and messages wait behind it. Steps made in a row cost less than steps with
/// the kernel's work in between, which takes their code and tables out of the cache: about 3 % of a handshake between two and eight in
/// a row.
/// So a turn gets the longer time only while hardly anything else came: when the turn before received less from open streams than from
/// those that shake hands.
struct HandshakeBudget {
    private(set) var steps = 0  // of this turn
    private let stepsMaximum: Int
    private var since: UInt64 = 0
    private var nanoseconds = EngineLimits.handshakeNanosecondsPerTurn
    private var receivesSeen: UInt64 = 0  // of all streams, before the turn that is over
    private var handshakeReceives: UInt64 = 0  // of the turn that is over

    init(stepsMaximum: Int) { self.stepsMaximum = stepsMaximum }

    /// A stream that shakes hands was received from.
    mutating func received() { handshakeReceives &+= 1 }

    /// A new turn, for those that wait too; `receives` counts those of all streams since the shard began.
    mutating func beginTurn(receives: UInt64) {
        let others = (receives &- receivesSeen) &- handshakeReceives
        nanoseconds = others < handshakeReceives ? EngineLimits.handshakeNanosecondsPerQuietTurn : EngineLimits.handshakeNanosecondsPerTurn
        receivesSeen = receives
        handshakeReceives = 0
        steps = 0
    }

    /// Whether there may be another step; the first always. The clock is asked for only as long as it matters.
    mutating func mayStep(_ clock: () -> UInt64) -> Bool {
        if steps > 0, steps >= stepsMaximum { return false }
        let now = clock()
        if steps == 0 { since = now }
        let isInTime = steps == 0 || now &- since < nanoseconds
        // The rest of those that wait need not look at the clock.
        steps = isInTime ? steps &+ 1 : max(steps, stepsMaximum)
        return isInTime
    }
}
