// The demonstration zone: names the page can look up with no network.
//
// Theory of operation
//
//   goal      an upstream for the gateway's DNS over HTTPS that answers truthfully, if only for one small zone
//   inputs    a DNS message, the body of `POST /dns-query` (RFC 8484)
//   outputs   the answer: authoritative for `sluice.example`, REFUSED for everything else
//   limits    one question, class IN; the largest answer has eight addresses and fits in any UDP message
//
// The addresses are those set aside for documentation (RFC 5737, RFC 3849): nothing can be reached under them.

import Wire

/// The zone of the demonstration, and answers from it.
public enum DemoZone {
    /// Apex of the zone.
    public static let apex = "sluice.example"
    /// Lifetime of its records: short, so that the page can show it fall and start again.
    static let lifetimeSeconds: UInt32 = 30
    /// SOA MINIMUM: lifetime of the knowledge that a name does not exist.
    static let negativeLifetimeSeconds: UInt32 = 10

    /// Addresses and aliases of one name.
    struct Entry {
        var addresses: [[UInt8]] = []
        var longAddresses: [[UInt8]] = []
        /// Another name of the zone.
        var alias: String?
    }

    /// The record of a name in lower case without trailing dot; nil when it does not exist.
    static func entry(_ name: String) -> Entry? {
        switch name {
        case apex: Entry(addresses: [[192, 0, 2, 10]], longAddresses: [address(tail: 0x10)])
        case "www." + apex: Entry(alias: apex)
        case "many." + apex:
            Entry(addresses: (1...8).map { [198, 51, 100, $0] }, longAddresses: (1...4).map { address(tail: $0) })
        case "four." + apex: Entry(addresses: [[203, 0, 113, 4]])
        case "six." + apex: Entry(longAddresses: [address(tail: 6)])
        default: nil
        }
    }

    /// 2001:db8::`tail`.
    private static func address(tail: UInt8) -> [UInt8] { [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [tail] }

    /// The answer to a query; nil when it is no query with one readable question.
    public static func answer(_ query: Span<UInt8>) -> [UInt8]? {
        var room = InlineArray<256, UInt8>(repeating: 0)
        let parsed: DNSQuery? = withUnsafeMutableBytes(of: &room) { bytes in
            var writer = ByteWriter(bytes)
            return DNSQuery.parse(query, canonicalName: &writer)
        }
        guard let parsed, let name = DNSName.text(query, DNSHeader.bytes) else { return nil }
        var answer = Answer(parsed, query)
        let isOurs = name == apex || name.hasSuffix("." + apex)
        guard isOurs, parsed.recordClass == DNSType.internet else {
            answer.code = DNSCode.refused
            return answer.bytes
        }
        guard var entry = entry(name) else {
            answer.code = DNSCode.nameError
            answer.addAuthority()
            return answer.bytes
        }
        var owner = Answer.questionName
        if let alias = entry.alias {
            answer.add(owner, DNSType.cname, Answer.encoded(alias))
            owner = Answer.encoded(alias)
            if parsed.type != DNSType.cname, let target = self.entry(alias) { entry = target }
        }
        if parsed.type == DNSType.a { for data in entry.addresses { answer.add(owner, DNSType.a, data) } }
        if parsed.type == DNSType.aaaa { for data in entry.longAddresses { answer.add(owner, DNSType.aaaa, data) } }
        if answer.count == 0 { answer.addAuthority() }
        return answer.bytes
    }

    /// A message under construction (RFC 1035 section 4.1).
    private struct Answer {
        /// A pointer to the name in the question.
        static let questionName: [UInt8] = [0xC0, UInt8(DNSHeader.bytes)]
        /// AA: the zone is ours.
        private static let authoritative: UInt16 = 0x0400

        var code = DNSCode.noError
        private(set) var count: UInt16 = 0
        private var authorities: UInt16 = 0
        private let query: DNSQuery
        private var question: [UInt8] = []
        private var records: [UInt8] = []

        init(_ query: DNSQuery, _ message: Span<UInt8>) {
            self.query = query
            for index in DNSHeader.bytes..<query.end { question.append(message[index]) }
        }

        var bytes: [UInt8] {
            let kept = query.flags & (DNSHeader.opcodeMask | DNSHeader.recursionDesired)
            let flags = DNSHeader.response | kept | code | (code == DNSCode.refused ? 0 : Self.authoritative)
            var bytes: [UInt8] = []
            for number in [query.identifier, flags, 1, count, authorities, 0] { bytes += Self.pair(number) }
            return bytes + question + records
        }

        mutating func add(_ owner: [UInt8], _ type: UInt16, _ data: [UInt8]) {
            count += 1
            append(owner, type, lifetimeSeconds, data)
        }

        /// The SOA record, which says how long "there is none" holds (RFC 2308 section 3).
        mutating func addAuthority() {
            authorities = 1
            var data = Self.encoded("ns." + apex) + Self.encoded("admin." + apex)
            for number in [1, 3600, 600, 86_400, negativeLifetimeSeconds] as [UInt32] { data += Self.quad(number) }
            append(Self.encoded(apex), DNSType.soa, negativeLifetimeSeconds, data)
        }

        private mutating func append(_ owner: [UInt8], _ type: UInt16, _ seconds: UInt32, _ data: [UInt8]) {
            records += owner + Self.pair(type) + Self.pair(DNSType.internet) + Self.quad(seconds) + Self.pair(UInt16(data.count)) + data
        }

        static func encoded(_ name: String) -> [UInt8] {
            name.split(separator: ".").reduce(into: []) { $0 += [UInt8($1.utf8.count)] + Array($1.utf8) } + [0]
        }

        private static func pair(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(truncatingIfNeeded: number)] }
        private static func quad(_ number: UInt32) -> [UInt8] { pair(UInt16(number >> 16)) + pair(UInt16(truncatingIfNeeded: number)) }
    }
}
