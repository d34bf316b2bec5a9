// How sessions end, in the words of each profile.

import Wire

/// A close frame of ours: a code and a reason of at most 123 bytes.
public struct ProxyClose: Sendable, Hashable {
    /// The code.
    public var code: CloseCode
    /// The reason, possibly empty.
    public var reason: String

    /// Longest reason: a control frame has 125 bytes, the code takes two (RFC 6455 section 5.5).
    public static let maximumReasonBytes = 123

    /// A close frame; a longer reason is cut between characters.
    public init(_ code: CloseCode, _ reason: String = "") {
        self.code = code
        self.reason = reason
        while self.reason.utf8.count > Self.maximumReasonBytes { self.reason.removeLast() }
    }
}

/// Close codes of ours in the range for applications (RFC 6455 section 7.4.2), named after the HTTP status they stand for.
extension CloseCode {
    /// Not authenticated.
    static let unauthorised = CloseCode(rawValue: 4401)
    /// Authenticated, and not allowed.
    static let forbidden = CloseCode(rawValue: 4403)
    /// Too slow.
    static let timedOut = CloseCode(rawValue: 4408)
    /// Too much.
    static let tooMany = CloseCode(rawValue: 4429)
}

/// Which codes a listener uses.
public enum ProxyCloseCodes: String, Sendable, Hashable, CaseIterable {
    /// Codes and texts of go-ws-gateway-proxy, and standard ones where it had none.
    case compat
    /// Codes 44xx tell reasons apart.
    case extended
    /// As extended, with 1008 for every 44xx.
    case standard
}

/// Why the gateway ends a session.
public enum ProxyEnd: Sendable, Hashable {
    /// The first bytes are no CONNECT, or a malformed one.
    case badConnect
    /// No token was sent.
    case tokenMissing
    /// It does not have three parts.
    case tokenMalformed
    /// Its payload is not base64url.
    case tokenPayload
    /// Its payload is not JSON.
    case tokenClaims
    /// It was not verified; the verifier's reason code.
    case tokenRefused(reason: String)
    /// A rule about claims or topics.
    case forbidden
    case tokenExpired
    case tokenRevoked
    case noRoute
    case messageRate
    case sessionLimit
    /// No upstream could be reached.
    case upstreamUnavailable
    /// Circuit open, overload, keys not loaded.
    case tryAgainLater
    /// The upstream's connection ended without a close frame.
    case upstreamVanished
    case messageTooBig
    /// A frame or packet that breaks its protocol.
    case protocolError
    /// A text frame on an MQTT session.
    case textFrame
    case draining
    /// No first message in time.
    case connectTimeout
    /// The other side takes nothing.
    case peerTooSlow
    /// No data in either direction.
    case idle
    /// The connection is dead or the session too old.
    case sessionTimeout

    /// The close frame. `draining` is the configured code for a drain, 1001 or 1012.
    public func close(_ codes: ProxyCloseCodes, draining: CloseCode = .goingAway) -> ProxyClose {
        if let close = shared(codes, draining) { return close }
        guard codes != .compat else { return compat }
        var close = extended
        if codes == .standard, close.code.rawValue >= 4000 { close.code = .policyViolation }
        return close
    }

    /// Where all profiles say the same.
    private func shared(_ codes: ProxyCloseCodes, _ draining: CloseCode) -> ProxyClose? {
        switch self {
        case .badConnect: ProxyClose(.protocolError, "Bad CONNECT")
        case .upstreamUnavailable, .upstreamVanished: ProxyClose(.badGateway, "upstream unavailable")
        case .tryAgainLater: ProxyClose(.tryAgainLater, "try again later")
        case .messageTooBig: ProxyClose(.messageTooBig, "message too big")
        case .protocolError: ProxyClose(.protocolError, "protocol error")
        case .textFrame: ProxyClose(.unsupportedData, "binary frames only")
        case .draining: ProxyClose(codes == .compat ? .goingAway : draining, "going away")
        case .noRoute: ProxyClose(.unsupportedData, "unknown WS path")
        case .idle: ProxyClose(.goingAway, "idle")
        case .sessionTimeout: ProxyClose(.goingAway, "session timeout")
        default: nil
        }
    }

    /// Texts that clients of the reference know.
    private var compat: ProxyClose {
        switch self {
        case .tokenMissing, .tokenMalformed: ProxyClose(.policyViolation, "Malformed JWT")
        case .tokenPayload: ProxyClose(.policyViolation, "Malformed JWT payload")
        case .tokenClaims: ProxyClose(.policyViolation, "Invalid JWT claims")
        case .tokenRefused: ProxyClose(.policyViolation, "JWT invalid or expired")
        case .forbidden: ProxyClose(.policyViolation, "Forbidden")
        case .tokenExpired: ProxyClose(.policyViolation, "Token expired")
        case .tokenRevoked: ProxyClose(.policyViolation, "Token revoked")
        case .messageRate: ProxyClose(.policyViolation, "Rate limit exceeded")
        case .sessionLimit: ProxyClose(.tryAgainLater, "session limit")
        case .connectTimeout: ProxyClose(.policyViolation, "connect timeout")
        default: ProxyClose(.policyViolation, "peer too slow")
        }
    }

    private var extended: ProxyClose {
        switch self {
        case .tokenMissing: ProxyClose(.unauthorised, "token missing")
        case .tokenMalformed, .tokenPayload, .tokenClaims: ProxyClose(.unauthorised, "token malformed")
        case .tokenRefused(let reason): ProxyClose(.unauthorised, "token \(reason)")
        case .forbidden: ProxyClose(.forbidden, "forbidden")
        case .tokenExpired: ProxyClose(.unauthorised, "token expired")
        case .tokenRevoked: ProxyClose(.unauthorised, "token revoked")
        case .messageRate: ProxyClose(.tooMany, "rate limit exceeded")
        case .sessionLimit: ProxyClose(.tooMany, "session limit")
        case .connectTimeout: ProxyClose(.timedOut, "connect timeout")
        default: ProxyClose(.tryAgainLater, "peer too slow")
        }
    }

    /// How an MQTT 5 client is told in front of the close frame, at a packet boundary behind CONNACK; nil: not at all.
    public var disconnectReason: MQTTDisconnectReason? {
        switch self {
        case .tokenMissing, .tokenMalformed, .tokenPayload, .tokenClaims, .tokenRefused, .forbidden: .notAuthorised
        case .tokenExpired, .sessionTimeout: .maximumConnectTime
        case .tokenRevoked, .idle: .administrativeAction
        case .messageRate: .messageRateTooHigh
        case .sessionLimit: .quotaExceeded
        case .messageTooBig: .packetTooLarge
        case .draining: .serverShuttingDown
        case .protocolError, .textFrame: .protocolError
        default: nil
        }
    }

    /// How an MQTT client is told in front of the close frame when its CONNECT is not accepted; nil: not at all.
    public var connectRefusal: MQTTConnectRefusal? {
        switch self {
        case .tokenMalformed, .tokenPayload, .tokenClaims, .tokenRefused, .tokenExpired, .tokenRevoked: .badCredentials
        case .tokenMissing, .forbidden: .notAuthorised
        case .upstreamUnavailable, .upstreamVanished, .tryAgainLater, .draining: .unavailable
        case .messageRate: .rateExceeded
        case .sessionLimit: .quotaExceeded
        default: nil
        }
    }
}

/// A close frame that one side sent, as the other side gets it.
public enum ForwardedClose: Sendable, Hashable {
    /// Without code, as it came.
    case empty
    /// With code and reason.
    case close(ProxyClose)

    /// Reads the unmasked payload of a close frame. A code that may not stand on the wire, and a payload too short for one, become 1002
    /// without reason; a reason that is no text is left out.
    public init(payload: Span<UInt8>) {
        guard !payload.isEmpty else { self = .empty; return }
        guard payload.count >= 2 else { self = .close(ProxyClose(.protocolError)); return }
        let code = CloseCode(rawValue: UInt16(payload[0]) << 8 | UInt16(payload[1]))
        guard code.isValidOnWire else { self = .close(ProxyClose(.protocolError)); return }
        var bytes: [UInt8] = []
        for index in 2..<payload.count { bytes.append(payload[index]) }
        guard bytes.count <= ProxyClose.maximumReasonBytes, let reason = String(validating: bytes, as: UTF8.self) else {
            self = .close(ProxyClose(code))
            return
        }
        self = .close(ProxyClose(code, reason))
    }

    /// The payload of the frame to send.
    public var payload: [UInt8] {
        switch self {
        case .empty: []
        case .close(let close): [UInt8(close.code.rawValue >> 8), UInt8(close.code.rawValue & 0xFF)] + Array(close.reason.utf8)
        }
    }
}
