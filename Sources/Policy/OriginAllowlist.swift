// Which origins may call the gateway (ALLOWED_ORIGINS), and what a request's Origin lines amount to.

/// The list of admitted origins.
public struct OriginAllowlist: Sendable, Equatable {
    /// Whether `*` is listed: every origin that normalises is admitted.
    public let admitsAnyOrigin: Bool
    /// Normal forms, `null` included.
    public let origins: Set<String>

    /// Longest accepted list text.
    public static let maximumListBytes = 65_536
    /// Most entries of a list.
    public static let maximumEntries = 1024

    /// Why a list is refused.
    public enum ParseError: Error, Equatable, CustomStringConvertible {
        case listTooLong
        case tooManyEntries
        case invalidOrigin(String)

        /// One line for the operator.
        public var description: String {
            switch self {
            case .listTooLong: "origin list is longer than \(OriginAllowlist.maximumListBytes) bytes"
            case .tooManyEntries: "origin list has more than \(OriginAllowlist.maximumEntries) entries"
            case .invalidOrigin(let entry):
                "'\(entry)' is not an origin; write '*', 'null' or scheme://host[:port] with http or https"
            }
        }
    }

    /// A list of origins already in normal form.
    public init(anyOrigin: Bool, origins: Set<String>) {
        admitsAnyOrigin = anyOrigin
        self.origins = origins
    }

    /// Normalises the entries `*`, `null` and origins.
    public init(entries: [String]) throws(ParseError) {
        guard entries.count <= Self.maximumEntries else { throw .tooManyEntries }
        var anyOrigin = false
        var origins: Set<String> = []
        for entry in entries {
            if entry == "*" {
                anyOrigin = true
            } else if let origin = Origin(entry) {
                origins.insert(origin.text)
            } else {
                throw .invalidOrigin(entry)
            }
        }
        self.init(anyOrigin: anyOrigin, origins: origins)
    }

    /// Reads a comma list; items are trimmed and empty ones skipped.
    public init(parsing text: String) throws(ParseError) {
        guard text.utf8.count <= Self.maximumListBytes else { throw .listTooLong }
        try self.init(entries: text.split(separator: ",").map { String($0).trimmingBlanks() }.filter { !$0.isEmpty })
    }

    /// Whether an origin is admitted. `hosts` are the request's Host lines, looked at only when the list is empty: then
    /// the origin must be the host the client asked for, named exactly once.
    public func admits(_ origin: Origin, hosts: [String] = []) -> Bool {
        if admitsAnyOrigin || origins.contains(origin.text) { return true }
        guard origins.isEmpty, hosts.count == 1 else { return false }
        return origin.isSameHost(as: hosts[0])
    }

    /// What the Origin lines of one request mean.
    public enum Decision: Hashable, Sendable {
        /// No Origin was sent: not a browser, no CORS headers.
        case absent
        /// Admitted: attach CORS headers for this origin.
        case allowed(Origin)
        /// Repeated, invalid or not listed: answer 403 `Origin not allowed`.
        case refused
    }

    /// Judges all Origin lines of a request in wire order. One line that is there but blank is invalid, unless `blankIsAbsent`, which is
    /// the UDP relay's rule.
    public func judge(originLines: [String], hosts: [String] = [], blankIsAbsent: Bool = false) -> Decision {
        guard let first = originLines.first else { return .absent }
        if blankIsAbsent, originLines.count == 1, first.trimmingBlanks().isEmpty { return .absent }
        guard originLines.count == 1, let origin = Origin(first), admits(origin, hosts: hosts) else { return .refused }
        return .allowed(origin)
    }
}
