/// A request for keys: what `KeySetLife` wants read now.
public struct KeyFetch: Sendable, Equatable {
    /// What is to be read.
    public enum Target: Sendable, Hashable {
        /// A GET request, no redirects followed.
        case url(KeyLocation)
        /// A file.
        case file(path: String)
    }

    /// Why.
    public enum Trigger: String, Sendable, Hashable, CaseIterable {
        case start
        case schedule
        case retry
        case unknownKeyID = "unknown_kid"
        case purge
    }

    /// Which of the provider's sources wants it, and which of its fetches it is: the answer goes back with both.
    public let source: Int
    public let serial: UInt64
    /// What is to be read.
    public let target: Target
    /// Why.
    public let trigger: Trigger
    /// Header fields to send beside `Accept: application/json`.
    public let fields: [Field]
    /// Limits of the exchange.
    public let connectMilliseconds: Int
    public let totalMilliseconds: Int
    /// A longer body is `KeyFetchFailure.tooLarge`.
    public var bodyBytesMaximum: Int { TokenLimits.fetchBodyBytes }

    /// A header field.
    public struct Field: Sendable, Hashable {
        public let name: String
        public let value: String

        /// A field of a request or an answer.
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }
}

/// An answer. A file that was read counts as status 200.
public struct KeyResponse: Sendable {
    public let status: Int
    public let fields: [KeyFetch.Field]
    public let body: [UInt8]

    /// An answer with its header fields, in any case and order.
    public init(status: Int, fields: [KeyFetch.Field] = [], body: [UInt8]) {
        self.status = status
        self.fields = fields
        self.body = body
    }

    /// The values of a field, in order.
    func values(_ name: String) -> [String] { fields.filter { $0.name.lowercased() == name }.map(\.value) }

    /// A value to send back as a validator; nil when there is none, more than one, or one that is not fit for a request.
    func validator(_ name: String) -> String? {
        let values = values(name)
        guard values.count == 1, values[0].utf8.count <= 256, values[0].utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else { return nil }
        return values[0]
    }

    /// The smallest `max-age` of `Cache-Control` (RFC 9111 section 5.2.2.1), seconds; nil when there is none.
    var maximumAgeSeconds: Int? {
        let directives = values("cache-control").flatMap { $0.split(separator: ",") }
        return directives.compactMap { directive -> Int? in
            let parts = directive.split(separator: "=", maxSplits: 1).map { $0.filter { $0 != " " && $0 != "\"" } }
            guard parts.count == 2, parts[0].lowercased() == "max-age", !parts[1].isEmpty,
                parts[1].utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
            else { return nil }
            return Int(parts[1].prefix(9))
        }.min()
    }
}

/// Why there is no answer.
public enum KeyFetchFailure: String, Error, Sendable, Hashable, CaseIterable {
    /// Name, connection, TLS, or a broken answer; a file that cannot be read.
    case connection
    /// It took too long.
    case timeout
    /// The body is larger than allowed.
    case tooLarge = "too_large"
}

/// What a fetch came to. The raw values are labels of metrics.
public enum KeyFetchResult: String, Sendable, Hashable, CaseIterable {
    /// A set with usable keys.
    case loaded = "ok"
    /// The set is as it was.
    case notModified = "not_modified"
    /// A discovery document; the set is fetched next.
    case discovered
    /// A redirect, which is not followed.
    case redirect
    /// Another status.
    case status
    case connection
    case timeout
    case tooLarge = "too_large"
    /// Not a key set or discovery document.
    case malformed
    /// The discovery document is another issuer's.
    case issuerMismatch = "issuer_mismatch"
    /// A key set without a usable key: it never replaces one that has some.
    case noUsableKey = "no_usable_key"
    /// The answer to a fetch that was given up.
    case late

    /// Whether the source is known to be as fresh as it gets.
    public var isSuccess: Bool { self == .loaded || self == .notModified }
}
