// Limits of the JWT proxy, and the table that slows down guessing.

import Wire

/// Limits for all sessions of a process. 0 switches one off where the documentation of the member says so.
public struct ProxyLimits: Sendable, Hashable {
    /// Sessions of the process; beyond: 503.
    public var sessions = 200_000
    /// TCP connections of one address (`IPAddress.limitKey`); beyond: closed at accept.
    public var connectionsPerAddress = 256
    /// Handshakes in progress; beyond: 503.
    public var handshakes = 10_000
    /// Handshakes in progress of one address; beyond: 429.
    public var handshakesPerAddress = 64
    /// Handshakes a second of one address; beyond: 429.
    public var handshakesPerSecond = 20
    /// Handshakes of one address at once.
    public var handshakeBurst = 50
    /// Failed authentications of one address in a minute, then it is blocked.
    public var failuresPerMinute = 10
    /// Sessions of one subject; beyond: 429, or the oldest goes.
    public var sessionsPerSubject = 32
    /// Whether a new session of a subject that has all it may have ends its oldest.
    public var evictsOldest = false
    /// Sessions of one address; 0: no limit.
    public var sessionsPerAddress = 0
    /// Sessions of one route; 0: no limit.
    public var sessionsPerRoute = 0
    /// Longest first message.
    public var firstMessageBytes = MQTTLimits.defaultConnectBytes
    /// Longest MQTT packet.
    public var packetBytes = MQTTLimits.defaultPacketBytes
    /// Subscriptions of one MQTT-aware session.
    public var subscriptions = 1000
    /// From 101 to the first message, where one is needed.
    public var connectMilliseconds = 10_000

    /// The defaults.
    public init() {}

    /// The limiter of handshakes.
    public var handshakeBuckets: BucketTable<IPAddress>? {
        BucketTable(capacity: Double(handshakeBurst), perSecond: Double(handshakesPerSecond))
    }
}

extension IPAddress {
    /// What limits per address count under: the address, or the /64 of an IPv6 address, which is one subscriber's.
    public var limitKey: IPAddress {
        let address = normalized
        return address.family == .v4 ? address : IPAddress(v6High: address.high, low: 0)
    }
}

/// Addresses whose authentications fail, and how long they are kept out: beyond the admitted number in a minute one
/// second, then twice as long each time, up to a minute. Time is milliseconds of any clock that does not go back.
public struct FailureTable<Key: Hashable & Sendable>: Sendable {
    private struct Entry {
        var windowStart: Int64
        var failures = 0
        var blockedUntil: Int64 = 0
        var blockMilliseconds: Int64 = 0
    }

    /// Hard bound, about 6 MB: strangers choose the keys. Beyond it a new key is not counted; handshakes have limits of their own.
    public static var maximumKeys: Int { 65_536 }
    /// The window failures are counted in, and how long a key stays known after its last block.
    public static var windowMilliseconds: Int64 { 60_000 }
    /// First block.
    public static var shortestBlockMilliseconds: Int64 { 1000 }
    /// Longest block.
    public static var longestBlockMilliseconds: Int64 { 60_000 }

    private var entries: [Key: Entry] = [:]
    private var sweptMilliseconds: Int64 = .min
    private let admitted: Int

    /// A table that admits this many failures a minute; nil when it is 0, which switches it off.
    public init?(failuresPerMinute: Int) {
        guard failuresPerMinute > 0 else { return nil }
        admitted = failuresPerMinute
    }

    /// Number of keys held.
    public var count: Int { entries.count }

    /// How long a key still has to stay away; 0 when it may try.
    public func blockedMilliseconds(_ key: Key, nowMilliseconds now: Int64) -> Int64 {
        entries[key].map { max(0, $0.blockedUntil - now) } ?? 0
    }

    /// Counts a failure. The time the key is kept out from now on; 0: it is not.
    public mutating func failed(_ key: Key, nowMilliseconds now: Int64) -> Int64 {
        if entries[key] == nil, entries.count >= Self.maximumKeys {
            sweep(now)
            guard entries.count < Self.maximumKeys else { return 0 }
        }
        var entry = entries[key] ?? Entry(windowStart: now)
        if now - entry.windowStart >= Self.windowMilliseconds, now - entry.blockedUntil >= Self.windowMilliseconds {
            entry = Entry(windowStart: now)
        }
        entry.failures += 1
        if entry.failures > admitted {
            let block = min(max(entry.blockMilliseconds * 2, Self.shortestBlockMilliseconds), Self.longestBlockMilliseconds)
            entry.blockMilliseconds = block
            entry.blockedUntil = now + block
        }
        entries[key] = entry
        return max(0, entry.blockedUntil - now)
    }

    /// Drops keys that have been quiet for a window. At most once a second, since it looks at every key.
    private mutating func sweep(_ now: Int64) {
        guard sweptMilliseconds == .min || now - sweptMilliseconds >= 1000 else { return }
        sweptMilliseconds = now
        entries = entries.filter { entry in
            now - entry.value.windowStart < Self.windowMilliseconds || now - entry.value.blockedUntil < Self.windowMilliseconds
        }
    }
}
