/// Numbers of DNS messages (RFC 1035 section 4.1, RFC 6891).
///
/// ```
///  0      2       4         6         8         10        12
/// ┌──────┬───────┬─────────┬─────────┬─────────┬─────────┬──────────────
/// │ id   │ flags │ QDCOUNT │ ANCOUNT │ NSCOUNT │ ARCOUNT │ question, answer, authority, additional
/// └──────┴───────┴─────────┴─────────┴─────────┴─────────┴──────────────
/// ```
public enum DNSHeader {
    /// Bytes of the header.
    public static let bytes = 12
    /// Largest message: the length over TCP has 16 bits.
    public static let maximumMessageBytes = 65_535

    /// QR: the message is an answer.
    public static let response: UInt16 = 0x8000
    /// The four bits of the opcode; 0 is a query.
    public static let opcodeMask: UInt16 = 0x7800
    /// TC: the answer was cut to fit a datagram.
    public static let truncated: UInt16 = 0x0200
    /// RD: the client wants recursion.
    public static let recursionDesired: UInt16 = 0x0100
    /// RA: the server offers recursion.
    public static let recursionAvailable: UInt16 = 0x0080
    /// AD: the server says the data is authentic (RFC 4035 section 3.2.3).
    public static let authenticData: UInt16 = 0x0020
    /// CD: the client wants data that was not validated (RFC 4035 section 3.2.2).
    public static let checkingDisabled: UInt16 = 0x0010
    /// The four bits of the answer's code.
    public static let codeMask: UInt16 = 0x000F

    /// The identifier at the front of what may be a message; 0 when it is too short.
    public static func identifier(_ message: Span<UInt8>) -> UInt16 { message.count >= 2 ? message.dnsNumber(at: 0) : 0 }

    /// The flags of what may be a message; 0 when it is too short.
    public static func flags(_ message: Span<UInt8>) -> UInt16 { message.count >= 4 ? message.dnsNumber(at: 2) : 0 }
}

/// Answer codes (RFC 1035 section 4.1.1).
public enum DNSCode {
    /// NOERROR.
    public static let noError: UInt16 = 0
    /// FORMERR.
    public static let formatError: UInt16 = 1
    /// SERVFAIL.
    public static let serverFailure: UInt16 = 2
    /// NXDOMAIN.
    public static let nameError: UInt16 = 3
    /// REFUSED.
    public static let refused: UInt16 = 5
}

/// Record types that somebody above asks for.
public enum DNSType {
    /// IPv4 address.
    public static let a: UInt16 = 1
    /// Alias.
    public static let cname: UInt16 = 5
    /// Start of a zone of authority.
    public static let soa: UInt16 = 6
    /// Pointer, for reverse names.
    public static let ptr: UInt16 = 12
    /// IPv6 address.
    public static let aaaa: UInt16 = 28
    /// Options of EDNS (RFC 6891): no record, its TTL field holds flags.
    public static let opt: UInt16 = 41
    /// Every type (RFC 8482).
    public static let any: UInt16 = 255
    /// Class IN.
    public static let internet: UInt16 = 1
}

extension Span<UInt8> {
    /// The 16-bit number at an offset that the caller has checked.
    @inline(__always)
    func dnsNumber(at offset: Int) -> UInt16 { UInt16(self[offset]) &<< 8 | UInt16(self[offset &+ 1]) }

    /// The 32-bit number at an offset that the caller has checked.
    @inline(__always)
    func dnsLongNumber(at offset: Int) -> UInt32 {
        UInt32(dnsNumber(at: offset)) &<< 16 | UInt32(dnsNumber(at: offset &+ 2))
    }
}

extension ByteWriter {
    /// Appends a 16-bit number.
    @discardableResult
    mutating func dnsNumber(_ number: UInt16) -> Bool {
        byte(UInt8(truncatingIfNeeded: number >> 8))
        return byte(UInt8(truncatingIfNeeded: number))
    }
}
