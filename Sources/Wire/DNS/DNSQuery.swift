/// The question of a query (RFC 1035 section 4.1.2) and what else of the query decides about sharing its answer.
public struct DNSQuery: Sendable, Equatable {
    /// As sent.
    public let identifier: UInt16
    /// As sent.
    public let flags: UInt16
    /// The record type asked for.
    public let type: UInt16
    /// The class asked for.
    public let recordClass: UInt16
    /// Offset behind the question.
    public let end: Int

    /// A question from its parts.
    public init(identifier: UInt16, flags: UInt16, type: UInt16, recordClass: UInt16, end: Int) {
        self.identifier = identifier
        self.flags = flags
        self.type = type
        self.recordClass = recordClass
        self.end = end
    }

    /// Reads the header and the one question of a message and writes its canonical name. Nil when there are fewer than 12
    /// bytes, not exactly one question, or a question that cannot be read. QR and opcode are not looked at.
    public static func parse(_ message: Span<UInt8>, canonicalName writer: inout ByteWriter) -> DNSQuery? {
        guard message.count >= DNSHeader.bytes, message.dnsNumber(at: 4) == 1,
            let nameEnd = DNSName.canonical(message, DNSHeader.bytes, to: &writer), nameEnd &+ 4 <= message.count
        else { return nil }
        return DNSQuery(
            identifier: message.dnsNumber(at: 0), flags: message.dnsNumber(at: 2), type: message.dnsNumber(at: nameEnd),
            recordClass: message.dnsNumber(at: nameEnd &+ 2), end: nameEnd &+ 4)
    }

    /// What a query asks for besides its question; answers to different traits are not interchangeable.
    public struct Traits: OptionSet, Hashable, Sendable {
        /// Bits.
        public let rawValue: UInt8
        /// Wraps bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// EDNS: only such a client may be sent an OPT record (RFC 6891 section 6.1.1).
        public static let extended = Traits(rawValue: 1)
        /// DO: signatures are wanted (RFC 3225).
        public static let wantsSignatures = Traits(rawValue: 2)
        /// CD: the answer may be one that does not validate.
        public static let unchecked = Traits(rawValue: 4)
        /// RD is off: the answer may be no more than a referral.
        public static let unrecursed = Traits(rawValue: 8)
    }

    /// The traits of the whole query; nil for one whose answer may not be shared with anyone: not an ordinary query, with
    /// records besides one OPT, or of another version of EDNS than 0, which servers refuse whatever is asked.
    public func traits(_ message: Span<UInt8>) -> Traits? {
        guard flags & (DNSHeader.response | DNSHeader.opcodeMask | DNSHeader.truncated) == 0,
            message.dnsLongNumber(at: 6) == 0, message.dnsNumber(at: 10) <= 1
        else { return nil }
        var traits: Traits = []
        if flags & DNSHeader.checkingDisabled != 0 { traits.insert(.unchecked) }
        if flags & DNSHeader.recursionDesired == 0 { traits.insert(.unrecursed) }
        if message.dnsNumber(at: 10) == 0 { return end == message.count ? traits : nil }
        var walk = DNSRecordWalk(message, from: end)
        guard let record = walk.next(message), record.type == DNSType.opt, record.data.upperBound == message.count,
            record.timeToLive >> 16 == 0
        else { return nil }
        traits.insert(.extended)
        if record.timeToLive & 0x8000 != 0 { traits.insert(.wantsSignatures) }
        return traits
    }

    /// A query of our own: id 0, RD, class IN, no EDNS. `name` is in wire form. False when it does not fit.
    public static func write(name: Span<UInt8>, type: UInt16, to writer: inout ByteWriter) -> Bool {
        writer.dnsNumber(0)
        writer.dnsNumber(DNSHeader.recursionDesired)
        writer.dnsNumber(1)
        for _ in 0..<3 { writer.dnsNumber(0) }
        writer.bytes(name)
        writer.dnsNumber(type)
        return writer.dnsNumber(DNSType.internet)
    }
}

/// Answers of our own: a header and perhaps the question.
public enum DNSErrorAnswer {
    /// Longest: header, name, type and class.
    public static let maximumBytes = DNSHeader.bytes + DNSName.maximumBytes + 4

    private static func header(_ identifier: UInt16, _ flags: UInt16, _ code: UInt16, questions: UInt16, to writer: inout ByteWriter) {
        let kept = flags & (DNSHeader.opcodeMask | DNSHeader.recursionDesired | DNSHeader.checkingDisabled)
        writer.dnsNumber(identifier)
        writer.dnsNumber(DNSHeader.response | DNSHeader.recursionAvailable | kept | code & DNSHeader.codeMask)
        writer.dnsNumber(questions)
        for _ in 0..<3 { writer.dnsNumber(0) }
    }

    /// An answer without a question: id and flags as far as the query had them.
    @discardableResult
    public static func write(identifier: UInt16, queryFlags: UInt16, code: UInt16, to writer: inout ByteWriter) -> Bool {
        header(identifier, queryFlags, code, questions: 0, to: &writer)
        return !writer.failed
    }

    /// An answer to a query, with its question; `name` is its canonical name.
    @discardableResult
    public static func write(_ query: DNSQuery, name: Span<UInt8>, code: UInt16, to writer: inout ByteWriter) -> Bool {
        header(query.identifier, query.flags, code, questions: 1, to: &writer)
        writer.bytes(name)
        writer.dnsNumber(query.type)
        return writer.dnsNumber(query.recordClass)
    }
}
