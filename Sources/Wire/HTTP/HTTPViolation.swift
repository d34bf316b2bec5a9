/// Why a message was refused. Whatever the reason, the bytes that follow are never interpreted: the connection is
/// answered with `status` and closed.
public enum HTTPViolation: UInt8, Sendable, Equatable {
    /// Malformed or ambiguous.
    case badRequest
    /// A target that is no URL: neither a path nor `http://` with a host and port that can be.
    case targetMalformed
    /// TRACE, TRACK, CONNECT, DEBUG, or a target in authority form.
    case methodNotAllowed
    /// The body is longer than its limit.
    case contentTooLarge
    /// The request target, or the line that holds it, is longer than its limit.
    case targetTooLong
    /// An expectation other than `100-continue`.
    case expectationFailed
    /// The head, or its number of fields, is beyond its limit.
    case headTooLarge
    /// A transfer coding other than `chunked`.
    case notImplemented
    /// A response from behind us that breaks the rules.
    case badGateway
    /// A version other than 1.0 and 1.1.
    case versionNotSupported

    /// Status code of the answer.
    public var status: Int {
        switch self {
        case .badRequest, .targetMalformed: 400
        case .methodNotAllowed: 405
        case .contentTooLarge: 413
        case .targetTooLong: 414
        case .expectationFailed: 417
        case .headTooLarge: 431
        case .notImplemented: 501
        case .badGateway: 502
        case .versionNotSupported: 505
        }
    }

    /// Reason phrase of the answer.
    public var reason: StaticString { HTTPStatus.reason(status) }
}

/// Outcome of reading a message head.
public enum HeadOutcome: Sendable, Equatable {
    /// The head is not complete: call again with the same bytes and more behind them.
    case needMore
    /// The head is the first `headBytes` bytes; what follows is body or the next message.
    case complete(headBytes: Int)
    /// Refused. Later calls give the same answer until `reset`.
    case violation(HTTPViolation)
}

/// How the body of a message is delimited (RFC 9112 section 6).
public enum BodyFraming: Sendable, Equatable {
    case none
    case length(UInt64)
    case chunked
    /// Responses only: the body ends with the connection.
    case untilClose
}
