/// What an upstream answered, as far as it decides what becomes of it.
public struct DNSResponse: Sendable, Equatable {
    /// What some bytes from an upstream are.
    public enum Judgement: Sendable, Equatable {
        /// The answer to the question.
        case answer(DNSResponse)
        /// Not an answer to this question: another id, another question, or a query.
        case foreign
        /// An answer to the question that cannot be read.
        case malformed
    }

    /// As sent.
    public let flags: UInt16
    /// Offset behind the question.
    public let questionEnd: Int
    /// Records of the answer section.
    public let answers: UInt16
    /// Seconds the records allow, before any bound of ours; nil when this code is not kept, or no record says how long.
    public let recordLifetimeSeconds: UInt32?
    /// Whether it says that there is no such name or no such record.
    public let isNegative: Bool
    /// Whether it carries options meant for the one client that asked (RFC 7873, RFC 7871).
    public let isPersonal: Bool

    /// TC.
    public var isTruncated: Bool { flags & DNSHeader.truncated != 0 }
    /// The four bits of the header; the extension in an OPT record is not counted in.
    public var code: UInt16 { flags & DNSHeader.codeMask }

    /// Judges `message` as the answer to the question (`name` canonical, type, class) asked under `identifier`.
    public static func judge(_ message: Span<UInt8>, identifier: UInt16, name: Span<UInt8>, type: UInt16, recordClass: UInt16)
        -> Judgement
    {
        guard message.count >= DNSHeader.bytes, message.dnsNumber(at: 0) == identifier else { return .foreign }
        let flags = message.dnsNumber(at: 2)
        guard flags & DNSHeader.response != 0, message.dnsNumber(at: 4) == 1, DNSName.equals(message, DNSHeader.bytes, name),
            let nameEnd = DNSName.end(message, DNSHeader.bytes), nameEnd &+ 4 <= message.count,
            message.dnsNumber(at: nameEnd) == type, message.dnsNumber(at: nameEnd &+ 2) == recordClass
        else { return .foreign }
        var summary = Summary()
        var walk = DNSRecordWalk(message, from: nameEnd &+ 4)
        while let record = walk.next(message) { summary.add(record, message) }
        // A truncated answer may end anywhere (RFC 2181 section 9).
        if walk.isMalformed, flags & DNSHeader.truncated == 0 { return .malformed }
        let answers = message.dnsNumber(at: 6)
        let code = flags & DNSHeader.codeMask
        // The upper bits of the code stand in OPT: with them, 0 is BADVERS and says nothing about the name (RFC 6891 section 6.1.3).
        let isOrdinary = !summary.hasExtendedCode
        let isNegative = isOrdinary && (code == DNSCode.nameError || (code == DNSCode.noError && answers == 0))
        return .answer(
            DNSResponse(
                flags: flags, questionEnd: nameEnd &+ 4, answers: answers,
                recordLifetimeSeconds: isNegative ? summary.negative : isOrdinary && code == DNSCode.noError ? summary.positive : nil,
                isNegative: isNegative, isPersonal: summary.isPersonal))
    }

    private struct Summary {
        var positive: UInt32?
        var negative: UInt32?
        var isPersonal = false
        var hasExtendedCode = false

        mutating func add(_ record: DNSRecord, _ message: Span<UInt8>) {
            if record.section == .answer { positive = min(positive ?? .max, record.lifetimeSeconds) }
            if record.section == .authority, record.type == DNSType.soa, let minimum = soaMinimum(record, message) {
                negative = min(negative ?? .max, min(minimum, record.lifetimeSeconds))
            }
            if record.type == DNSType.opt {
                isPersonal = isPersonal || hasPersonalOption(record, message)
                hasExtendedCode = hasExtendedCode || record.timeToLive >> 24 != 0
            }
        }

        /// The last of the five numbers behind two names (RFC 1035 section 3.3.13, RFC 2308 section 4).
        private func soaMinimum(_ record: DNSRecord, _ message: Span<UInt8>) -> UInt32? {
            guard let server = DNSName.end(message, record.data.lowerBound), let mailbox = DNSName.end(message, server),
                mailbox &+ 20 == record.data.upperBound
            else { return nil }
            return message.dnsLongNumber(at: mailbox &+ 16)
        }

        private func hasPersonalOption(_ record: DNSRecord, _ message: Span<UInt8>) -> Bool {
            var place = record.data.lowerBound
            while place < record.data.upperBound {
                guard record.data.upperBound &- place >= 4 else { return true }
                // Padding (RFC 7830) and the explanation of an error (RFC 8914) concern everybody.
                let option = message.dnsNumber(at: place)
                if option != 12, option != 15 { return true }
                place &+= 4 &+ Int(message.dnsNumber(at: place &+ 2))
            }
            return false
        }
    }

    /// Seconds this answer may be kept, 0 for not at all (truncated ones are the caller's to refuse).
    public func lifetimeSeconds(maximum: Int, negativeDefault: Int) -> Int {
        if let seconds = recordLifetimeSeconds { return min(maximum, Int(seconds)) }
        return isNegative ? min(maximum, negativeDefault) : 0
    }

    /// Lowers the TTL of every record but OPT, not below 0. The message was judged before.
    public static func age(_ message: inout MutableSpan<UInt8>, questionEnd: Int, seconds: UInt32) {
        var walk = DNSRecordWalk(message.span, from: questionEnd)
        while let record = walk.next(message.span) {
            guard record.type != DNSType.opt else { continue }
            let left = record.lifetimeSeconds > seconds ? record.lifetimeSeconds &- seconds : 0
            for byte in 0..<4 {
                message[record.timeToLiveOffset &+ byte] = UInt8(truncatingIfNeeded: left >> UInt32(24 &- 8 &* byte))
            }
        }
    }
}
