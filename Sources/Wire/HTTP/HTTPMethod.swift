/// The request methods that are served (RFC 9110 section 9, RFC 5789). Names are case-sensitive.
public enum HTTPMethod: UInt8, Sendable {
    case get, head, post, put, delete, patch, options

    /// The name as it stands in a request line.
    public var name: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .patch: "PATCH"
        case .options: "OPTIONS"
        }
    }

    /// What a method token means to us.
    enum Recognition: Equatable {
        case served(HTTPMethod)
        /// Known and never served: TRACE and TRACK echo secrets, CONNECT opens tunnels, DEBUG belongs to nobody here.
        case forbidden
        case unknown
    }

    /// Recognises the token `bytes[range]`.
    static func recognise(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Recognition {
        func matches(_ name: StaticString) -> Bool { bytes.equals(name, in: range) }
        switch range.count {
        case 3:
            if matches("GET") { return .served(.get) }
            if matches("PUT") { return .served(.put) }
        case 4:
            if matches("POST") { return .served(.post) }
            if matches("HEAD") { return .served(.head) }
        case 5:
            if matches("PATCH") { return .served(.patch) }
            if matches("TRACE") || matches("TRACK") || matches("DEBUG") { return .forbidden }
        case 6:
            if matches("DELETE") { return .served(.delete) }
        case 7:
            if matches("OPTIONS") { return .served(.options) }
            if matches("CONNECT") { return .forbidden }
        default: break
        }
        return .unknown
    }
}
