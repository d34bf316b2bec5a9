import Wire

/// What the client side of HTTP is bound by, with reasons.
public enum ClientLimits {
    /// Exchanges of one shard that have not ended: handshakes of all sessions that are being set up, and some fetches.
    public static let exchanges = 16384
    /// Addresses of a name are asked for again after so long at the latest, and not before.
    public static let addressSecondsMaximum: UInt64 = 60
    public static let addressSecondsMinimum: UInt64 = 1
    /// Names whose addresses are kept. Names come from configuration only.
    public static let names = 1024
    /// After a look-up failed, how long others are answered with what was known before it is tried again.
    public static let lookupRetryMilliseconds: UInt64 = 1000
    /// Addresses of one name that are dialled, each a moment behind the one before: two of each family. Until one is connected they all
    /// have slots.
    public static let addressesTried = 4
    /// How long one is alone while others are left (RFC 8305 section 8: the connection attempt delay).
    public static let nextAddressMilliseconds: UInt64 = 250
    /// Between two looks whether TCP is there and TLS has begun, whose time is its own.
    public static let handshakeLookMilliseconds: UInt64 = 100
    /// Interim answers (1xx) before the real one; all of them count against the head's bound too.
    public static let interimAnswers = 4
    /// Bounds of an answer's head.
    public static let head = HTTPLimits(headBytes: 16384, fieldCount: 64)
    /// What a request's head may have beside target, fields and body.
    static let requestOverheadBytes = 512
    /// Masks drawn from the generator at once: a page.
    static let maskBlockWords = 1024
}

/// How long the steps of an exchange may take. Each address is given the first two anew; all end with the last.
public struct ClientTimeouts: Sendable, Equatable {
    /// Until the TCP connection is there.
    public var connectMilliseconds: UInt64 = 3000
    /// Until the TLS handshake is complete.
    public var tlsMilliseconds: UInt64 = 5000
    /// From the request to the end of the answer's head.
    public var answerMilliseconds: UInt64 = 5000
    /// All of it: name, connection, handshakes, answer and body.
    public var totalMilliseconds: UInt64 = 10_000

    /// The defaults.
    public init() {}
}
