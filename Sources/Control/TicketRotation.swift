import Engine
import HTTP

/// Replaces the keys of session tickets in time; the control thread's.
struct TicketRotation {
    let keys: TLSTicketKeys
    private var nextSeconds: Double

    /// Fresh keys, good from now on.
    init() throws(TLSError) {
        keys = try TLSTicketKeys()
        nextSeconds = MonotonicClock.seconds + Double(EngineLimits.ticketKeySeconds)
    }

    /// Rotates when it is time.
    mutating func look(nowSeconds: Double = MonotonicClock.seconds) {
        guard nowSeconds >= nextSeconds else { return }
        nextSeconds = nowSeconds + Double(EngineLimits.ticketKeySeconds)
        keys.rotate()
    }
}
