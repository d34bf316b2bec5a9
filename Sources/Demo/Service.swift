// The demonstration service: what the local HTTP service behind `sluice serve --demo` answers.
//
// Theory of operation
//
//   goal      a private TCP target that needs no network, whose every byte a client can check
//   limits    a download is at most 1 GiB; an upload is counted and discarded
//   inputs    method and target of a request head that Wire has already parsed
//   outputs   an `Answer`: what to send, never how. Writing is the caller's work
//   data      byte i of a download is (31 i + 7) mod 256. 31 is odd, so the pattern visits all 256 values
//             before it repeats: a lost, doubled or moved byte shows unless the shift is a multiple of 256,
//             and the length catches that
//
// Nothing here does I/O, allocates per request or reads a clock, so all of it is tested as plain functions.

/// The local service that the demonstration page reaches through `/tcp`.
public enum DemoService {
    /// Named limits of the demonstration service.
    public enum Limit {
        /// Largest body of `GET /bytes`, in bytes. 1 GiB is long enough to see a steady rate and ends by itself.
        public static let downloadBytes = 1 << 30
    }

    /// What a request is answered with. Every answer carries `Content-Length`, and keeps the connection
    /// alive unless the client asked otherwise.
    public enum Answer: Equatable, Sendable {
        /// 200 with `indexText`.
        case index
        /// 200 with `pingText`: the smallest useful round trip.
        case ping
        /// 200, `application/octet-stream`, this many bytes of the pattern.
        case download(byteCount: Int)
        /// Read the body, discard it, then 200 with its length in decimal and a line feed.
        case sink
        /// Read the body, a DNS message, and answer from `DemoZone` (RFC 8484 section 4.2).
        case lookUp
        /// A refusal: read and discard the body, then send the status with its text.
        case refuse(Refusal)
    }

    /// Requests the service does not answer with 200.
    public enum Refusal: Equatable, Sendable {
        case unknownPath
        case methodNotAllowed
        case missingByteCount
        case byteCountTooLarge
        case unreadableQuery

        /// HTTP status code (RFC 9110 section 15.5).
        public var status: Int {
            switch self {
            case .unknownPath: 404
            case .methodNotAllowed: 405
            case .missingByteCount, .byteCountTooLarge, .unreadableQuery: 400
            }
        }

        /// Reason phrase of the status line.
        public var reason: StaticString {
            switch self {
            case .unknownPath: "Not Found"
            case .methodNotAllowed: "Method Not Allowed"
            case .missingByteCount, .byteCountTooLarge, .unreadableQuery: "Bad Request"
            }
        }

        /// Body: one line that says what to do instead.
        public var text: StaticString {
            switch self {
            case .unknownPath: "Unknown path. Try /, /ping, /bytes?n=1048576, POST /sink or POST /dns-query.\n"
            case .methodNotAllowed: "Use GET for /, /ping and /bytes, and POST for /sink and /dns-query.\n"
            case .missingByteCount: "Give the number of bytes in decimal: /bytes?n=1048576\n"
            case .byteCountTooLarge: "At most 1073741824 bytes (1 GiB) at a time.\n"
            case .unreadableQuery: "The body is no DNS message with one question.\n"
            }
        }
    }

    /// Media type of every answer but downloads.
    public static let textType: StaticString = "text/plain; charset=utf-8"
    /// Media type of downloads.
    public static let downloadType: StaticString = "application/octet-stream"

    /// Media type of DNS messages.
    public static let messageType: StaticString = "application/dns-message"

    /// Body of `GET /`.
    public static let indexText: StaticString = """
        Hello from a private TCP service.
        You are reaching it through Sluice: browser -> WebSocket -> shard -> TCP -> here.

        GET  /ping        a round trip
        GET  /bytes?n=N   N bytes, byte i = (31 i + 7) mod 256, N at most 1 GiB
        POST /sink        counts what you send
        POST /dns-query   DNS over HTTPS for the zone sluice.example

        """

    /// Body of `GET /ping`.
    public static let pingText: StaticString = "pong\n"

    /// Routes one request.
    ///
    /// - Parameters:
    ///   - method: method of the request line, case-sensitive (RFC 9110 section 9.1).
    ///   - target: origin-form target of the request line, path and query (RFC 9112 section 3.2.1).
    /// - Returns: what to answer. HEAD is answered as GET; leaving out the body is the caller's work.
    public static func route(method: Span<UInt8>, target: Span<UInt8>) -> Answer {
        let queryStart = firstIndex(of: UInt8(ascii: "?"), in: target) ?? target.count
        let path = target.extracting(0..<queryStart)
        let reads = equals(method, "GET") || equals(method, "HEAD")
        if equals(path, "/sink") {
            return equals(method, "POST") ? .sink : .refuse(.methodNotAllowed)
        }
        if equals(path, "/dns-query") { return equals(method, "POST") ? .lookUp : .refuse(.methodNotAllowed) }
        if equals(path, "/") { return reads ? .index : .refuse(.methodNotAllowed) }
        if equals(path, "/ping") { return reads ? .ping : .refuse(.methodNotAllowed) }
        guard equals(path, "/bytes") else { return .refuse(.unknownPath) }
        guard reads else { return .refuse(.methodNotAllowed) }
        guard queryStart < target.count else { return .refuse(.missingByteCount) }
        return download(query: target.extracting(queryStart + 1..<target.count))
    }

    /// Reads `n` from the query of `/bytes`: the first parameter of that name, decimal digits only.
    private static func download(query: Span<UInt8>) -> Answer {
        var start = 0
        while start <= query.count {
            var end = start
            while end < query.count, query[end] != UInt8(ascii: "&") { end += 1 }
            if end - start >= 2, query[start] == UInt8(ascii: "n"), query[start + 1] == UInt8(ascii: "=") {
                return download(digits: query.extracting(start + 2..<end))
            }
            start = end + 1
        }
        return .refuse(.missingByteCount)
    }

    private static func download(digits: Span<UInt8>) -> Answer {
        guard digits.count > 0 else { return .refuse(.missingByteCount) }
        var byteCount = 0
        for index in digits.indices {
            let digit = digits[index] &- UInt8(ascii: "0")
            guard digit < 10 else { return .refuse(.missingByteCount) }
            // Saturates above the limit, so that a number of any length is judged without overflow.
            if byteCount <= Limit.downloadBytes { byteCount = byteCount * 10 + Int(digit) }
        }
        return byteCount <= Limit.downloadBytes ? .download(byteCount: byteCount) : .refuse(.byteCountTooLarge)
    }

    private static func firstIndex(of byte: UInt8, in bytes: Span<UInt8>) -> Int? {
        for index in bytes.indices where bytes[index] == byte { return index }
        return nil
    }

    private static func equals(_ bytes: Span<UInt8>, _ text: StaticString) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        for index in bytes.indices where bytes[index] != text.utf8Start[index] { return false }
        return true
    }
}
