// Datagrams on request: each client asks a burst service for a number of them, and asks again when they arrived, or when
// nothing has arrived for a while, for datagrams may be lost.

/// The bursts of all clients of a run.
struct Bursts {
    /// Silence after which the rest of a burst counts as lost.
    static let silenceNanoseconds: UInt64 = 50_000_000

    private struct State {
        var remaining = 0
        var lastArrival: UInt64 = 0
        /// Late datagrams of a burst that was given up are not charged to the next one.
        var givenUp = 0
    }

    let count: Int
    private var states: [State]
    private(set) var lost = 0

    init(count: Int, clients: Int) {
        self.count = count
        states = Array(repeating: State(), count: clients)
    }

    /// Notes that a client asks now.
    mutating func ask(_ client: Int, now: UInt64) {
        states[client].remaining = count
        states[client].lastArrival = now
    }

    /// Notes datagrams that arrived; true when the burst is complete.
    mutating func arrived(_ client: Int, _ datagrams: Int, now: UInt64) -> Bool {
        let late = min(datagrams, states[client].givenUp)
        states[client].givenUp -= late
        lost -= late
        states[client].remaining -= datagrams - late
        states[client].lastArrival = now
        return states[client].remaining <= 0
    }

    /// Whether a client has waited long enough; what is missing then counts as lost.
    mutating func givesUp(_ client: Int, now: UInt64) -> Bool {
        let (remaining, last) = (states[client].remaining, states[client].lastArrival)
        guard remaining > 0, now > last, now - last > Self.silenceNanoseconds else { return false }
        lost += states[client].remaining
        states[client].givenUp = states[client].remaining
        return true
    }
}
