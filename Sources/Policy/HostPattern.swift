// Patterns of TCP_ALLOWED_HOSTS and TCP_BLOCKED_HOSTS.
//
// `name` matches that name only; `*.name` matches names below it at any depth, not the name itself; an address in any
// spelling matches that address. A lone `*` is refused on purpose: an operator who writes it expects "everything",
// which is what an empty list already says.

/// One entry of a host allow or deny list.
public enum HostPattern: Hashable, Sendable {
    /// Exactly this name, in its ASCII lower-case form.
    case exact(String)
    /// Any name that ends in `.` followed by this name.
    case subdomains(of: String)
    /// Exactly this address, compared after `IPAddress.normalized`.
    case address(IPAddress)

    /// Longest accepted list text.
    public static let maximumListBytes = 65_536
    /// Most entries of a list.
    public static let maximumEntries = 1024

    /// Why an entry or a list is refused. `description` is one line fit for a configuration error.
    public enum ParseError: Error, Equatable, CustomStringConvertible {
        case listTooLong
        case tooManyEntries
        case misplacedWildcard(String)
        case malformed(String)

        /// One line for the operator.
        public var description: String {
            switch self {
            case .listTooLong: "host pattern list is longer than \(HostPattern.maximumListBytes) bytes"
            case .tooManyEntries: "host pattern list has more than \(HostPattern.maximumEntries) entries"
            case .misplacedWildcard(let entry):
                "'\(entry)': '*' may only stand as the first label, as in *.example.com; leave the list empty to allow every host"
            case .malformed(let entry): "'\(entry)' is neither a host name, nor *.name, nor an IP address"
            }
        }
    }

    /// Reads one entry; surrounding blanks are ignored.
    public init(parsing entry: String) throws(ParseError) {
        let text = entry.trimmingBlanks()
        let below = text.hasPrefix("*.")
        let name = below ? String(text.dropFirst(2)) : text
        guard !name.utf8.contains(UInt8(ascii: "*")) else { throw .misplacedWildcard(text) }
        switch TargetHost(classifying: name) {
        case .address(let address):
            guard !below else { throw .malformed(text) }
            self = .address(address.normalized)
        case .name(let ascii):
            self = below ? .subdomains(of: ascii) : .exact(ascii)
        case .malformed:
            throw .malformed(text)
        }
    }

    /// Reads a comma list; empty items are skipped.
    public static func list(parsing text: String) throws(ParseError) -> [HostPattern] {
        guard text.utf8.count <= maximumListBytes else { throw .listTooLong }
        var patterns: [HostPattern] = []
        for item in text.split(separator: ",") {
            guard !String(item).trimmingBlanks().isEmpty else { continue }
            guard patterns.count < maximumEntries else { throw .tooManyEntries }
            patterns.append(try HostPattern(parsing: String(item)))
        }
        return patterns
    }

    /// Whether a classified host matches. Addresses match address patterns only, names match name patterns only.
    public func matches(_ host: TargetHost) -> Bool {
        switch (self, host) {
        case (.exact(let name), .name(let candidate)):
            return name == candidate
        case (.subdomains(let parent), .name(let candidate)):
            // "a.parent" at least: both are ASCII, so bytes decide.
            let missing = candidate.utf8.count - parent.utf8.count
            return missing >= 2 && candidate.hasSuffix(parent)
                && candidate.utf8.dropFirst(missing - 1).first == UInt8(ascii: ".")
        case (.address(let address), .address(let candidate)):
            return address == candidate.normalized
        default:
            return false
        }
    }
}
