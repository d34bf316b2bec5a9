// The text messages of `/udp`, and the JSON bodies of the relay's errors. A session sees a handful of them, so they may allocate.

/// What a client's first message (or a later text message) says.
public enum RelayControlMessage: Sendable, Equatable {
    /// `{"type":"auth",…}` with a credential, as `token`, `apiKey`, or both alike.
    case credential(String)
    /// `auth` without a credential: both members absent, null or blank.
    case noCredential
    /// `auth` in which `token` or `apiKey` is no string.
    case wrongType
    /// `auth` in which the two differ.
    case unequal
    /// Not JSON, not an object, or another type.
    case notAuthentication

    /// Whether it is an `auth` message, whatever is in it: one that is not needed is ignored.
    public var isAuthentication: Bool { self != .notAuthentication }

    /// Reads a whole text message. Unknown members are ignored, member names are case-sensitive, the last of a repeated name counts,
    /// null is absent; anything behind the object makes it no JSON.
    public static func read(_ message: Span<UInt8>) -> RelayControlMessage {
        guard let value = JSONReader.read(message), value["type"]?.string == "auth" else { return .notAuthentication }
        var credentials: [String] = []
        for name in ["apiKey", "token"] {
            switch value[name] {
            case nil, .null?: continue
            case .string(let text)?: if !text.utf8.allSatisfy({ $0 == 0x20 || $0 &- 9 < 5 }) { credentials.append(text) }
            default: return .wrongType
            }
        }
        guard let first = credentials.first else { return .noCredential }
        // Bytes decide: strings that only look alike are different keys.
        return credentials.allSatisfy { $0.utf8.elementsEqual(first.utf8) } ? .credential(first) : .unequal
    }
}

/// Error codes of the relay, in bodies and messages.
public enum RelayErrorCode: Sendable, CaseIterable {
    case badMessage, unauthorized, forbidden, sessionAlreadyActive, tooManySessions, internalError, unexpectedMessage, rateLimited

    /// As it is written.
    public var text: StaticString {
        switch self {
        case .badMessage: "bad_message"
        case .unauthorized: "unauthorized"
        case .forbidden: "forbidden"
        case .sessionAlreadyActive: "session_already_active"
        case .tooManySessions: "too_many_sessions"
        case .internalError: "internal_error"
        case .unexpectedMessage: "unexpected_message"
        case .rateLimited: "rate_limited"
        }
    }

    /// The status of an HTTP answer with this code.
    public var status: Int {
        switch self {
        case .badMessage, .unexpectedMessage: 400
        case .unauthorized: 401
        case .forbidden: 403
        case .sessionAlreadyActive: 409
        case .rateLimited: 429
        case .internalError: 500
        case .tooManySessions: 503
        }
    }
}

/// How the relay ends a `/udp` WebSocket: an error message or none, then Close.
public enum RelayEnding: Sendable, CaseIterable {
    case authenticationTimeout, invalidCredentials, authenticationRequired, wrongType, unequalCredentials, missingCredentials
    case tooManySessions, sessionAlreadyActive, expectedBinary, internalError
    case messageTooBig, idle, pingFailed, sessionClosed, shutdown

    /// Code of the error message; nil when there is none.
    public var error: RelayErrorCode? {
        switch self {
        case .authenticationTimeout, .invalidCredentials, .authenticationRequired, .missingCredentials: .unauthorized
        case .wrongType, .unequalCredentials, .expectedBinary: .badMessage
        case .tooManySessions: .tooManySessions
        case .sessionAlreadyActive: .sessionAlreadyActive
        case .internalError: .internalError
        case .messageTooBig, .idle, .pingFailed, .sessionClosed, .shutdown: nil
        }
    }

    /// Code of the Close frame.
    public var closeCode: CloseCode {
        switch self {
        case .authenticationTimeout, .invalidCredentials, .authenticationRequired, .missingCredentials, .unequalCredentials, .sessionClosed:
            .policyViolation
        case .wrongType, .expectedBinary: .unsupportedData
        case .tooManySessions, .sessionAlreadyActive: .tryAgainLater
        case .internalError: .internalError
        case .messageTooBig: .messageTooBig
        case .idle: .normal
        case .pingFailed, .shutdown: .goingAway
        }
    }

    /// Reason of the Close frame, and text of the error message.
    public var reason: StaticString {
        switch self {
        case .authenticationTimeout: "authentication timeout"
        case .invalidCredentials: "invalid credentials"
        case .authenticationRequired: "authentication required"
        case .wrongType, .unequalCredentials: "invalid auth message"
        case .missingCredentials: "missing credentials"
        case .tooManySessions: "too many sessions"
        case .sessionAlreadyActive: "session already active"
        case .expectedBinary: "expected binary message"
        case .internalError: "internal error"
        case .messageTooBig: ""
        case .idle: "idle timeout"
        case .pingFailed: "ping failed"
        case .sessionClosed: "session closed"
        case .shutdown: "server shutting down"
        }
    }

    /// Whether it counts as `auth_failure`.
    public var isAuthenticationFailure: Bool {
        switch self {
        case .authenticationTimeout, .invalidCredentials, .authenticationRequired, .wrongType, .unequalCredentials, .missingCredentials:
            true
        default: false
        }
    }

    /// What a first message that is no usable credential leads to; nil for `.credential`.
    public init?(_ message: RelayControlMessage) {
        switch message {
        case .credential: return nil
        case .noCredential: self = .missingCredentials
        case .wrongType: self = .wrongType
        case .unequal: self = .unequalCredentials
        case .notAuthentication: self = .authenticationRequired
        }
    }
}

/// Writing what the relay says. Each text ends in a line feed.
extension ByteWriter {
    /// Room for any of these texts.
    public static var relayTextBytes: Int { 256 }

    /// `{"type":"ready","sessionId":"…"}`. The id is 32 hexadecimal digits.
    @discardableResult
    public mutating func relayReady(sessionID: String) -> Bool {
        text("{\"type\":\"ready\",\"sessionId\":")
        jsonString(sessionID)
        return text("}\n")
    }

    /// `{"type":"error","code":"…","message":"…"}`, on `/udp` before and after the upgrade. `message` needs no escapes.
    @discardableResult
    public mutating func relayError(_ code: RelayErrorCode, _ message: StaticString) -> Bool {
        text("{\"type\":\"error\",")
        return relayErrorMembers(code, message)
    }

    /// `{"code":"…","message":"…"}`, on every other endpoint. `message` needs no escapes.
    @discardableResult
    public mutating func relayErrorBody(_ code: RelayErrorCode, _ message: StaticString) -> Bool {
        byte(0x7B)
        return relayErrorMembers(code, message)
    }

    private mutating func relayErrorMembers(_ code: RelayErrorCode, _ message: StaticString) -> Bool {
        text("\"code\":\"")
        text(code.text)
        text("\",\"message\":\"")
        text(message)
        return text("\"}\n")
    }
}
