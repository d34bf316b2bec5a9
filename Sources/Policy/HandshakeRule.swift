// What the gateway demands of the headers of a WebSocket upgrade (RFC 6455 section 4.2.1, with the gateway's bounds).
//
// Each rule works on the value of one header; that the header occurs exactly once is part of `check`, which takes how
// often it was seen. The key is not required to be 16 bytes of base64: the published behaviour accepts any text.

import Wire

/// The handshake rules common to `/tcp` and `/tcp-mux`.
public enum HandshakeRule {
    /// Longest value of `Upgrade`, `Connection` and `Sec-WebSocket-Key`.
    public static let maximumFieldBytes = 256
    /// Longest value of `Sec-WebSocket-Version`.
    public static let maximumVersionBytes = 32
    /// Longest `Sec-WebSocket-Protocol`, all lines together.
    public static let maximumProtocolBytes = 4096
    /// Most tokens in it.
    public static let maximumProtocolTokens = 32
    /// The subprotocol of `/tcp-mux`.
    public static let muxSubprotocol = "aero-tcp-mux-v1"

    /// Texts of the 400 answers.
    public enum Fault: String, Error, Sendable, CaseIterable {
        case invalidUpgrade = "Invalid WebSocket upgrade"
        case keyMissing = "Missing required header: Sec-WebSocket-Key"
        case protocolInvalid = "Invalid Sec-WebSocket-Protocol header"
        case subprotocolMissing = "Missing required subprotocol: aero-tcp-mux-v1"

        /// The text sent as the body of the 400.
        public var message: String { rawValue }
    }

    /// A header of the handshake: how many lines carried it, and the value of the first.
    public struct Field: Sendable, Equatable {
        /// Lines with this name.
        public var count: Int
        /// Value of the first of them.
        public var value: String

        /// A header seen `count` times.
        public init(count: Int, value: String) {
            self.count = count
            self.value = value
        }

        /// A header that was not sent.
        public static let absent = Field(count: 0, value: "")
    }

    /// Checks the four headers and returns the key without surrounding blanks, ready for hashing.
    public static func check(
        upgrade: Field, connection: Field, version: Field, key: Field
    ) throws(Fault) -> String {
        guard upgrade.count == 1, isUpgrade(upgrade.value.utf8.span),
            connection.count == 1, isConnectionUpgrade(connection.value.utf8.span),
            version.count == 1, isVersion(version.value.utf8.span)
        else { throw .invalidUpgrade }
        guard key.count <= 1, key.value.utf8.count <= maximumFieldBytes else { throw .invalidUpgrade }
        let trimmed = key.value.trimmingBlanks()
        guard key.count == 1, !trimmed.isEmpty else { throw .keyMissing }
        return trimmed
    }

    /// Whether an `Upgrade` value names `websocket` as a whole token in any case.
    public static func isUpgrade(_ value: Span<UInt8>) -> Bool {
        value.count <= maximumFieldBytes && FieldList.contains("websocket", in: value, 0..<value.count)
    }

    /// Whether a `Connection` value names `upgrade` as a whole token in any case.
    public static func isConnectionUpgrade(_ value: Span<UInt8>) -> Bool {
        value.count <= maximumFieldBytes && FieldList.contains("upgrade", in: value, 0..<value.count)
    }

    /// Whether a `Sec-WebSocket-Version` value is 13.
    public static func isVersion(_ value: Span<UInt8>) -> Bool {
        value.count <= maximumVersionBytes && value.equals("13", in: value.trimmed(0..<value.count))
    }

    /// Checks the `Sec-WebSocket-Protocol` lines of a `/tcp-mux` upgrade, which count as one list: valid tokens only,
    /// `aero-tcp-mux-v1` among them in exactly that case.
    public static func checkMuxSubprotocol(lines: [String]) throws(Fault) {
        let joined = lines.joined(separator: ",")
        guard joined.utf8.count <= maximumProtocolBytes else { throw .protocolInvalid }
        let value = joined.utf8.span
        var list = FieldList(0..<value.count)
        var tokens = 0
        var found = false
        while let token = list.element(value) {
            tokens += 1
            guard tokens <= maximumProtocolTokens else { throw .protocolInvalid }
            for index in token where !isTokenByte(value[index]) { throw .protocolInvalid }
            if value.equals("aero-tcp-mux-v1", in: token) { found = true }
        }
        guard found else { throw .subprotocolMissing }
    }
}
