import CRedis

/// One reply of the server, as a value.
public indirect enum RedisReply: Equatable, Sendable {
    case status(String)
    /// The first word names the kind of error: `NOSCRIPT`, `NOAUTH`, `LOADING` …
    case error(String)
    case integer(Int64)
    case text(String)
    case absent
    case array([RedisReply])

    /// The number of an integer, or of a text that is one.
    public var number: Int64? {
        switch self {
        case .integer(let value): value
        case .text(let text): Int64(text)
        default: nil
        }
    }

    /// The elements of an array.
    public var elements: [RedisReply]? {
        if case .array(let elements) = self { return elements }
        return nil
    }

    init(_ reply: OpaquePointer) {
        func text() -> String {
            var count = 0
            guard let bytes = credis_reply_bytes(reply, &count) else { return "" }
            return String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
        }
        switch UInt32(credis_reply_kind(reply)) {
        case CREDIS_STRING.rawValue: self = .text(text())
        case CREDIS_STATUS.rawValue: self = .status(text())
        case CREDIS_ERROR.rawValue: self = .error(text())
        case CREDIS_INTEGER.rawValue: self = .integer(credis_reply_integer(reply))
        case CREDIS_ARRAY.rawValue:
            self = .array((0..<credis_reply_count(reply)).map { RedisReply(credis_reply_element(reply, $0)) })
        default: self = .absent
        }
    }
}

/// Received bytes into replies. The server decides how they are cut and how long they are; what is too long ends the connection.
public final class RedisReplyReader {
    /// Longest reply: a page of revoked sessions has 1,000 members of 64 characters with their scores.
    public static let replyBytesMaximum = 1 << 20
    /// Most elements of one reply, nested ones included: twice such a page.
    public static let elementsMaximum = 8192

    private let reader: OpaquePointer

    /// An empty reader.
    public init() {
        guard let opened = credis_reader_open(Self.replyBytesMaximum, Int32(Self.elementsMaximum)) else {
            fatalError("no memory for a reader of replies")
        }
        reader = opened
    }

    deinit { credis_reader_close(reader) }

    /// Adds received bytes; false when the stream is broken.
    public func feed(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress else { return true }
        return credis_reader_feed(reader, base, bytes.count) == 0
    }

    /// What the bytes so far hold.
    public enum Next: Equatable {
        case reply(RedisReply)
        case incomplete
        case broken
    }

    /// The next whole reply.
    public func next() -> Next {
        var reply: OpaquePointer?
        switch credis_reader_next(reader, &reply) {
        case 1:
            defer { credis_reply_free(reply) }
            return .reply(RedisReply(reply!))
        case 0: return .incomplete
        default: return .broken
        }
    }
}

/// A command as the bytes the server reads.
public enum RedisCommand {
    /// RESP of a command and its arguments.
    public static func bytes(_ arguments: [String]) -> [UInt8] {
        var text: UnsafeMutablePointer<CChar>?
        let owned = arguments.map { Array($0.utf8) }
        let joined = owned.flatMap { $0 }
        let lengths = owned.map(\.count)
        let count = joined.withUnsafeBytes { bytes -> Int64 in
            let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            var pointers: [UnsafePointer<CChar>?] = []
            var offset = 0
            for length in lengths {
                pointers.append(base.map { $0 + offset })
                offset += length
            }
            return credis_command(&text, Int32(arguments.count), &pointers, lengths)
        }
        guard count > 0, let text else { fatalError("no memory for a command") }
        defer { credis_command_free(text) }
        return Array(UnsafeRawBufferPointer(start: text, count: Int(count)))
    }
}
