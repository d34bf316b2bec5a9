// Theory of operation
//
// What one relay session may send. A frame to a remote passes four tests in a fixed order, and each that passes keeps what it took:
//
//     frames a second ─► payload bytes a second ─► distinct destinations ─► frames a second to this destination ─► admitted
//
// Towards the client one bucket of bytes counts everything. A refusal is a violation; a row of them closes the session for good.
//
// Buckets count in thousandths: a rate of r gains r thousandths a millisecond, so integers hold every fill exactly. A bucket holds one
// second's worth and starts full.

import Wire

/// Limits of a session; 0 is off.
public struct RelayLimits: Sendable, Equatable {
    /// `MAX_UDP_PPS_PER_SESSION`: frames to remotes a second.
    public var framesPerSecond = 0
    /// `MAX_UDP_BPS_PER_SESSION`: payload bytes to remotes a second.
    public var bytesPerSecond = 0
    /// `MAX_UDP_PPS_PER_DEST`: frames a second to one destination.
    public var framesPerSecondPerDestination = 0
    /// `MAX_UNIQUE_DESTINATIONS_PER_SESSION`: distinct destinations a session may ever use.
    public var uniqueDestinations = 0
    /// `MAX_UDP_DEST_BUCKETS_PER_SESSION`: destinations whose rate is remembered; nil when not given.
    public var destinationBuckets: Int?
    /// `MAX_DC_BPS_PER_SESSION`: bytes to the client a second.
    public var bytesPerSecondToClient = 0
    /// `HARD_CLOSE_AFTER_VIOLATIONS`.
    public var hardCloseViolations = 0
    /// `VIOLATION_WINDOW_SECONDS`, in milliseconds.
    public var violationWindowMilliseconds: UInt64 = 10_000

    /// Destination buckets when nothing else says how many.
    public static let defaultDestinationBuckets = 1024
    /// Most destinations of either table, whatever is configured: 45 MB of the one, 60 MB of the other, more by half while one doubles.
    public static let maximumDestinations = 1_000_000
    /// Highest rate a bucket keeps exactly, whatever is configured.
    public static let maximumRate = 1_000_000_000_000

    /// Everything off.
    public init() {}
}

/// What became of a frame.
public struct RelayAdmission: Sendable, Equatable {
    /// The outcome.
    public enum Outcome: UInt8, Sendable {
        /// Send it.
        case admitted
        /// Drop it; counts `rate_limited`.
        case rateLimited
        /// Drop it; counts `quota_exceeded` and `too_many_destinations`.
        case tooManyDestinations
        /// Drop it: the session was closed before. Counts nothing.
        case closed
    }

    /// The outcome.
    public var outcome: Outcome
    /// Whether a destination's bucket was given up for it; counts `udp_per_dest_bucket_evictions`.
    public var evictedBucket = false
    /// Whether this refusal closes the session; counts `session_hard_closed`, once in a session.
    public var closesSession = false

    /// An outcome with what it brought about.
    @inline(__always)
    public init(outcome: Outcome, evictedBucket: Bool = false, closesSession: Bool = false) {
        self.outcome = outcome
        self.evictedBucket = evictedBucket
        self.closesSession = closesSession
    }
}

/// The limits of one session at work. With everything off it is 232 bytes and no more; a distinct destination costs 45 bytes, one with
/// a rate of its own 60, in memory that doubles as it fills. Constant time, and no allocation but that doubling.
public struct RelayLimiter: ~Copyable {
    private let limits: RelayLimits
    private var frames: Bucket
    private var bytes: Bucket
    private var toClient: Bucket
    private var destinations: RecentTable<Void>
    private var buckets: RecentTable<Bucket>
    private var violations = 0
    private var violationMilliseconds: UInt64 = 0
    /// Whether the session has been closed for its violations.
    public private(set) var isClosed = false

    // Not private: whoever destroys a limiter in another module refers to it.
    struct Bucket {
        var thousandths: Int
        var updatedMilliseconds: UInt64

        /// A full bucket.
        @inline(__always)
        init(rate: Int, nowMilliseconds: UInt64) {
            thousandths = rate &* 1000
            updatedMilliseconds = nowMilliseconds
        }

        /// Takes `amount` if there is as much. A clock that goes back adds nothing, and time counts from there.
        @inline(__always)
        mutating func take(_ amount: Int, rate: Int, nowMilliseconds: UInt64) -> Bool {
            if nowMilliseconds > updatedMilliseconds {
                // A second fills any bucket; more would only overflow.
                let elapsed = Int(min(nowMilliseconds &- updatedMilliseconds, 1000))
                thousandths = min(rate &* 1000, thousandths &+ elapsed &* rate)
            }
            updatedMilliseconds = nowMilliseconds
            guard amount <= rate, amount &* 1000 <= thousandths else { return false }
            thousandths &-= amount &* 1000
            return true
        }
    }

    /// A session that begins now, with full buckets.
    public init(_ limits: RelayLimits, nowMilliseconds: UInt64) {
        var limits = limits
        limits.framesPerSecond = Self.rate(limits.framesPerSecond)
        limits.bytesPerSecond = Self.rate(limits.bytesPerSecond)
        limits.framesPerSecondPerDestination = Self.rate(limits.framesPerSecondPerDestination)
        limits.bytesPerSecondToClient = Self.rate(limits.bytesPerSecondToClient)
        limits.uniqueDestinations = min(max(limits.uniqueDestinations, 0), RelayLimits.maximumDestinations)
        self.limits = limits
        frames = Bucket(rate: limits.framesPerSecond, nowMilliseconds: nowMilliseconds)
        bytes = Bucket(rate: limits.bytesPerSecond, nowMilliseconds: nowMilliseconds)
        toClient = Bucket(rate: limits.bytesPerSecondToClient, nowMilliseconds: nowMilliseconds)
        destinations = RecentTable(capacity: max(limits.uniqueDestinations, 1))
        let unique = limits.uniqueDestinations > 0 ? limits.uniqueDestinations : RelayLimits.defaultDestinationBuckets
        buckets = RecentTable(capacity: min(max(limits.destinationBuckets ?? unique, 1), RelayLimits.maximumDestinations))
    }

    private static func rate(_ configured: Int) -> Int { min(max(configured, 0), RelayLimits.maximumRate) }

    /// Bytes of memory besides the value itself.
    public var tableBytes: Int { destinations.bytes + buckets.bytes }

    /// Judges a frame to a remote.
    public mutating func admitToRemote(_ remote: Endpoint, payloadBytes: Int, nowMilliseconds: UInt64) -> RelayAdmission {
        if isClosed { return RelayAdmission(outcome: .closed) }
        if limits.framesPerSecond > 0, !frames.take(1, rate: limits.framesPerSecond, nowMilliseconds: nowMilliseconds) {
            return refuse(.rateLimited, nowMilliseconds)
        }
        if limits.bytesPerSecond > 0, payloadBytes > 0,
            !bytes.take(payloadBytes, rate: limits.bytesPerSecond, nowMilliseconds: nowMilliseconds)
        {
            return refuse(.rateLimited, nowMilliseconds)
        }
        guard limits.uniqueDestinations > 0 || limits.framesPerSecondPerDestination > 0 else { return RelayAdmission(outcome: .admitted) }
        let key = RecentTable<Void>.Key(remote)
        if limits.uniqueDestinations > 0, destinations.find(key) == RecentTable<Void>.none {
            guard destinations.count < destinations.capacity else { return refuse(.tooManyDestinations, nowMilliseconds) }
            _ = destinations.insert(key, (), nowMilliseconds: nowMilliseconds)
        }
        return limits.framesPerSecondPerDestination > 0 ? admitToDestination(remote, nowMilliseconds) : RelayAdmission(outcome: .admitted)
    }

    private mutating func admitToDestination(_ remote: Endpoint, _ nowMilliseconds: UInt64) -> RelayAdmission {
        let key = RecentTable<Bucket>.Key(remote)
        let rate = limits.framesPerSecondPerDestination
        let known = buckets.find(key)
        if known != RecentTable<Bucket>.none {
            buckets.use(known, nowMilliseconds: nowMilliseconds)
            let admitted = unsafe buckets.value(known).pointee.take(1, rate: rate, nowMilliseconds: nowMilliseconds)
            return admitted ? RelayAdmission(outcome: .admitted) : refuse(.rateLimited, nowMilliseconds)
        }
        let evicts = buckets.count == buckets.capacity
        if evicts { buckets.remove(buckets.oldest, keepsMemory: true) }
        var bucket = Bucket(rate: rate, nowMilliseconds: nowMilliseconds)
        _ = bucket.take(1, rate: rate, nowMilliseconds: nowMilliseconds)
        _ = buckets.insert(key, bucket, nowMilliseconds: nowMilliseconds)
        return RelayAdmission(outcome: .admitted, evictedBucket: evicts)
    }

    /// Judges `count` bytes to the client: a whole frame, or a message of the L2 channel.
    public mutating func admitToClient(bytes count: Int, nowMilliseconds: UInt64) -> RelayAdmission {
        if isClosed { return RelayAdmission(outcome: .closed) }
        guard limits.bytesPerSecondToClient > 0, count > 0 else { return RelayAdmission(outcome: .admitted) }
        let admitted = toClient.take(count, rate: limits.bytesPerSecondToClient, nowMilliseconds: nowMilliseconds)
        return admitted ? RelayAdmission(outcome: .admitted) : refuse(.rateLimited, nowMilliseconds)
    }

    /// Counts a violation. One more than the window after the last begins a new row.
    private mutating func refuse(_ outcome: RelayAdmission.Outcome, _ nowMilliseconds: UInt64) -> RelayAdmission {
        guard limits.hardCloseViolations > 0 else { return RelayAdmission(outcome: outcome) }
        let gap = nowMilliseconds > violationMilliseconds ? nowMilliseconds - violationMilliseconds : 0
        violations = violations > 0 && gap <= limits.violationWindowMilliseconds ? violations + 1 : 1
        violationMilliseconds = nowMilliseconds
        isClosed = violations >= limits.hardCloseViolations
        return RelayAdmission(outcome: outcome, closesSession: isClosed)
    }
}
