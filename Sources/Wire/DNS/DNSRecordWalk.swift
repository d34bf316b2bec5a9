/// Where in an answer a record stands.
public enum DNSSection: UInt8, Sendable {
    case answer, authority, additional
}

/// A resource record (RFC 1035 section 4.1.3); offsets into its message.
public struct DNSRecord: Sendable, Equatable {
    /// The section it is in.
    public let section: DNSSection
    /// Offset of its name.
    public let name: Int
    /// Its type.
    public let type: UInt16
    /// Its class; the payload size for OPT.
    public let recordClass: UInt16
    /// Offset of its TTL.
    public let timeToLiveOffset: Int
    /// As sent, seconds; flags for OPT.
    public let timeToLive: UInt32
    /// Its data.
    public let data: Range<Int>

    /// Seconds it may be kept: a value with the top bit set is none (RFC 2181 section 8).
    public var lifetimeSeconds: UInt32 { timeToLive >> 31 == 0 ? timeToLive : 0 }
}

/// The records of a message behind its question, in order.
public struct DNSRecordWalk: Sendable {
    private var place: Int
    private var left: (UInt16, UInt16, UInt16)
    /// Whether something that should be a record was none.
    public private(set) var isMalformed = false
    /// Offset behind the last record handed out.
    public var end: Int { place }

    /// Begins behind the question, at `start`. The message has a whole header.
    public init(_ message: Span<UInt8>, from start: Int) {
        precondition(message.count >= DNSHeader.bytes)
        place = start
        left = (message.dnsNumber(at: 6), message.dnsNumber(at: 8), message.dnsNumber(at: 10))
    }

    /// The next record; nil at the end and at the first that is malformed.
    public mutating func next(_ message: Span<UInt8>) -> DNSRecord? {
        let section: DNSSection
        if left.0 > 0 {
            left.0 &-= 1
            section = .answer
        } else if left.1 > 0 {
            left.1 &-= 1
            section = .authority
        } else if left.2 > 0 {
            left.2 &-= 1
            section = .additional
        } else {
            return nil
        }
        guard let nameEnd = DNSName.end(message, place), message.count &- nameEnd >= 10 else { return fail() }
        let length = Int(message.dnsNumber(at: nameEnd &+ 8))
        let start = nameEnd &+ 10
        guard message.count &- start >= length else { return fail() }
        let record = DNSRecord(
            section: section, name: place, type: message.dnsNumber(at: nameEnd), recordClass: message.dnsNumber(at: nameEnd &+ 2),
            timeToLiveOffset: nameEnd &+ 4, timeToLive: message.dnsLongNumber(at: nameEnd &+ 4), data: start..<start &+ length)
        place = start &+ length
        return record
    }

    private mutating func fail() -> DNSRecord? {
        isMalformed = true
        left = (0, 0, 0)
        return nil
    }
}
