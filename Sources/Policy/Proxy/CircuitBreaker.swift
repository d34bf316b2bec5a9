/// Whether an endpoint is tried. Time is milliseconds of any clock that does not go back.
///
/// ```
///             threshold failures in a row             time is up, one probe
///   closed ─────────────────────────────► open ─────────────────────────────► half-open
///     ▲ ▲                                   ▲                                    │ │
///     │ └────────────── success ────────────│────────────────────────────────────┘ │
///     └ success resets the count            └──────────────── failure ─────────────┘
/// ```
/// Failures are those of connecting, TLS and the handshake, and answers 5xx; what a client did wrong, and 4xx, is none.
/// Only the probe's outcome counts in half-open: sessions that were let through before the circuit opened say nothing new.
public struct CircuitBreaker: Sendable, Equatable {
    /// As metrics show it.
    public enum State: UInt8, Sendable, Hashable {
        case closed = 0
        case halfOpen = 1
        case open = 2
    }

    /// How an attempt was let through; its outcome is reported with it.
    public enum Pass: Sendable, Hashable {
        case regular
        /// The one attempt that decides. `number` tells it from earlier ones.
        case probe(number: UInt32)
    }

    /// Whether an attempt may be made.
    public enum Admission: Sendable, Hashable {
        case admitted(Pass)
        /// Not before that much time has passed, or while a probe is under way (0).
        case refused(retryAfterMilliseconds: Int64)
    }

    /// When circuits open, and for how long.
    public struct Settings: Sendable, Hashable {
        /// Failures in a row.
        public var threshold: Int
        /// Time until a probe.
        public var openMilliseconds: Int64

        /// Defaults: 5 failures, 60 seconds.
        public init(threshold: Int = 5, openMilliseconds: Int64 = 60_000) {
            self.threshold = threshold
            self.openMilliseconds = openMilliseconds
        }
    }

    /// A probe without outcome after this time is given up for lost. Dialling takes 10 seconds at most.
    public static let probeMilliseconds: Int64 = 30_000

    private var failures = 0
    private var openedMilliseconds: Int64?
    private var probe: UInt32 = 0
    private var probeStartedMilliseconds: Int64?

    /// A closed circuit.
    public init() {}

    /// What the circuit is.
    public var state: State { openedMilliseconds == nil ? .closed : probeStartedMilliseconds == nil ? .open : .halfOpen }

    /// Whether a session would be let through, without letting it.
    public func wouldAdmit(_ settings: Settings, nowMilliseconds now: Int64) -> Bool {
        var copy = self
        if case .admitted = copy.admit(settings, nowMilliseconds: now) { return true }
        return false
    }

    /// Asks to try the endpoint, for a session or a health probe alike.
    public mutating func admit(_ settings: Settings, nowMilliseconds now: Int64) -> Admission {
        guard let opened = openedMilliseconds else { return .admitted(.regular) }
        let left = opened + settings.openMilliseconds - now
        guard left <= 0 else { return .refused(retryAfterMilliseconds: left) }
        if let started = probeStartedMilliseconds, now - started < Self.probeMilliseconds { return .refused(retryAfterMilliseconds: 0) }
        probe &+= 1
        probeStartedMilliseconds = now
        return .admitted(.probe(number: probe))
    }

    /// The attempt succeeded. True when that closed the circuit.
    public mutating func succeeded(_ pass: Pass) -> Bool {
        switch pass {
        case .regular:
            if openedMilliseconds == nil { failures = 0 }
            return false
        case .probe(let number):
            guard openedMilliseconds != nil, probeStartedMilliseconds != nil, number == probe else { return false }
            failures = 0
            openedMilliseconds = nil
            probeStartedMilliseconds = nil
            return true
        }
    }

    /// The attempt failed. True when that opened the circuit.
    public mutating func failed(_ pass: Pass, _ settings: Settings, nowMilliseconds now: Int64) -> Bool {
        switch pass {
        case .regular:
            guard openedMilliseconds == nil else { return false }
            failures += 1
            guard failures >= settings.threshold else { return false }
        case .probe(let number):
            guard openedMilliseconds != nil, probeStartedMilliseconds != nil, number == probe else { return false }
        }
        openedMilliseconds = now
        probeStartedMilliseconds = nil
        return true
    }

    /// The attempt came to nothing through no fault of the endpoint: the client went away, or asked for something that is refused.
    public mutating func abandoned(_ pass: Pass) {
        if case .probe(let number) = pass, number == probe { probeStartedMilliseconds = nil }
    }
}
