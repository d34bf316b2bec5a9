import Wire

extension HTTPViolation {
    /// What a client whose request was refused by the parser is told.
    public var problem: Problem {
        switch self {
        case .badRequest, .targetMalformed, .badGateway: Problem(400, "bad_request", "Malformed request")
        case .methodNotAllowed: Problem(405, "method_not_allowed", "Method not allowed")
        case .contentTooLarge: Problem(413, "payload_too_large", "Request body too large")
        case .targetTooLong: Problem(414, "url_too_long", "Request URL too long")
        case .expectationFailed: Problem(417, "expectation_failed", "Unsupported expectation")
        case .headTooLarge: Problem(431, "headers_too_large", "Request header fields too large")
        case .notImplemented: Problem(501, "not_implemented", "Transfer coding not supported")
        case .versionNotSupported: Problem(505, "version_not_supported", "HTTP version not supported")
        }
    }
}
