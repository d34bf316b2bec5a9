/// What the scripts answer, taken from replies that any server might send: shape and range are checked before anything is believed.
public enum StoreAnswer {
    /// A count no instance can have; more is a broken answer.
    static let countMaximum: Int64 = 1 << 31

    /// The places script: what is counted for this instance and for the others.
    public static func places(_ reply: RedisReply, held: Int) -> (places: Int, others: Int)? {
        guard let elements = reply.elements, elements.count == 2, let places = elements[0].number, let others = elements[1].number,
            places >= held, places <= countMaximum, others >= 0, others <= countMaximum
        else { return nil }
        return (Int(places), Int(others))
    }

    /// What the pulse script tells.
    public struct Pulse: Equatable {
        /// Names of keys under which other instances are short.
        public var recalled: Set<String>
        /// Number of revoked sessions, and the count of changes: when either differs, the set is read again.
        public var revokedCount: Int64
        public var revokedVersion: Int64
    }

    /// The pulse script.
    public static func pulse(_ reply: RedisReply) -> Pulse? {
        guard let elements = reply.elements, elements.count == 3, let names = elements[0].elements,
            let count = elements[1].number, count >= 0, let version = elements[2].number
        else { return nil }
        let recalled = names.compactMap { name -> String? in
            if case .text(let text) = name { return text }
            return nil
        }
        guard recalled.count == names.count else { return nil }
        return Pulse(recalled: Set(recalled), revokedCount: count, revokedVersion: version)
    }

    /// The rates script: thousandths of tokens left of each key, in order.
    public static func rates(_ reply: RedisReply, count: Int) -> [Double]? {
        guard let elements = reply.elements, elements.count == count else { return nil }
        let tokens = elements.compactMap { $0.number.map { Double($0) / 1000 } }
        return tokens.count == count ? tokens : nil
    }

    /// A page of the revoked sessions: member, score, member, score …; what is no digest is left out.
    public static func revocations(_ reply: RedisReply) -> (members: Int, revoked: [String: Double])? {
        guard let elements = reply.elements, elements.count.isMultiple(of: 2) else { return nil }
        var revoked: [String: Double] = [:]
        for index in stride(from: 0, to: elements.count, by: 2) {
            guard case .text(let name) = elements[index], case .text(let score) = elements[index + 1] else { return nil }
            guard isDigest(name), let expiry = Double(score), !expiry.isNaN else { continue }
            revoked[name] = expiry
        }
        return (elements.count / 2, revoked)
    }

    /// 64 lower-case hexadecimal digits.
    static func isDigest(_ text: String) -> Bool {
        text.utf8.count == 64 && text.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x61 && $0 <= 0x66) }
    }
}

/// What the JWT proxies of several instances ask and hear.
extension StoreAnswer {
    /// The deny script: how many found no room.
    public static func denied(_ reply: RedisReply) -> Int64? {
        guard let full = reply.number, full >= 0, full <= countMaximum else { return nil }
        return full
    }

    /// The watch script: instances that live, this one included, and the number of the last change.
    public static func watch(_ reply: RedisReply) -> (instances: Int, version: Int64)? {
        guard let elements = reply.elements, elements.count == 2, let instances = elements[0].number, instances >= 1,
            instances <= countMaximum, let version = elements[1].number, version >= 0,
            version <= Int64(numberMaximum)
        else { return nil }
        return (Int(instances), version)
    }

    /// A page of what is denied: documents, which are not looked into here, and the number of the last of them.
    public static func denials(_ reply: RedisReply) -> (documents: [String], last: Int64)? {
        guard let elements = reply.elements, elements.count.isMultiple(of: 2) else { return nil }
        var documents: [String] = []
        var last: Int64 = 0
        for index in stride(from: 0, to: elements.count, by: 2) {
            guard case .text(let document) = elements[index], case .text(let score) = elements[index + 1], let number = Double(score),
                number >= 0, number <= numberMaximum
            else { return nil }
            documents.append(document)
            last = max(last, Int64(number))
        }
        return (documents, last)
    }

    /// Numbers of changes are integers that a double holds.
    private static let numberMaximum = 9_007_199_254_740_992.0

    /// What was published on a channel of the subscription; nil when the reply is something else.
    public static func message(_ reply: RedisReply) -> (channel: String, payload: String)? {
        guard let elements = reply.elements, elements.count == 4, elements[0] == .text("pmessage"),
            case .text(let channel) = elements[2], case .text(let payload) = elements[3]
        else { return nil }
        return (channel, payload)
    }
}
