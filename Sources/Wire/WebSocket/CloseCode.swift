/// Status codes of Close frames (RFC 6455 section 7.4 and the IANA registry).
public struct CloseCode: RawRepresentable, Sendable, Equatable, Hashable {
    /// The code as it stands in the first two payload bytes.
    public let rawValue: UInt16

    /// Any code, valid on the wire or not.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The purpose of the connection is fulfilled.
    public static let normal = CloseCode(rawValue: 1000)
    /// The endpoint goes down or leaves.
    public static let goingAway = CloseCode(rawValue: 1001)
    /// The peer broke the protocol.
    public static let protocolError = CloseCode(rawValue: 1002)
    /// A type of message that is not accepted here.
    public static let unsupportedData = CloseCode(rawValue: 1003)
    /// Text that is not UTF-8.
    public static let invalidPayload = CloseCode(rawValue: 1007)
    /// A message against policy.
    public static let policyViolation = CloseCode(rawValue: 1008)
    /// A message beyond the limit.
    public static let messageTooBig = CloseCode(rawValue: 1009)
    /// The client misses an extension.
    public static let mandatoryExtension = CloseCode(rawValue: 1010)
    /// The server could not go on.
    public static let internalError = CloseCode(rawValue: 1011)
    /// The server restarts.
    public static let serviceRestart = CloseCode(rawValue: 1012)
    /// The server is overloaded.
    public static let tryAgainLater = CloseCode(rawValue: 1013)
    /// A server behind this one failed.
    public static let badGateway = CloseCode(rawValue: 1014)

    /// Whether the code may stand in a frame. 1004 is reserved, 1005, 1006 and 1015 are only ever told by a local
    /// implementation, 1016 to 2999 are unassigned.
    public var isValidOnWire: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }

    /// Judges the whole, unmasked payload of a Close frame: nil when it is well formed, else the code to fail with.
    /// A payload is empty, or a valid code followed by UTF-8 text.
    public static func violation(inPayload payload: Span<UInt8>) -> CloseCode? {
        if payload.isEmpty { return nil }
        guard payload.count >= 2 else { return .protocolError }
        guard CloseCode(rawValue: UInt16(payload[0]) << 8 | UInt16(payload[1])).isValidOnWire else { return .protocolError }
        var reason = UTF8Validator()
        guard reason.validate(payload.extracting(2..<payload.count)), reason.isComplete else { return .invalidPayload }
        return nil
    }
}
