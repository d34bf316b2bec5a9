// What an upstream learns about a client, built from verified claims alone.

import Wire

/// How a route passes identity on.
public struct UpstreamIdentity: Sendable, Equatable {
    /// Where the token goes.
    public enum Token: Sendable, Hashable {
        /// `Authorization: Bearer <token>`.
        case authorization
        /// A field of this name.
        case header(String)
        /// A query parameter of this name.
        case query(String)
        /// A cookie of this name.
        case cookie(String)
        case none
    }

    /// The Host field of the request to the upstream.
    public enum Host: Sendable, Hashable {
        case upstream, client
        case fixed(String)
    }

    /// Where the token goes; nil: to `Authorization` on raw sessions, nowhere on MQTT sessions.
    public var token: Token?
    /// Field for roles on raw sessions; nil: none.
    public var rolesHeader: String?
    /// Further fields, each with the claim it holds.
    public var claims: [Claim]
    /// Fields of the client that are passed on.
    public var passedFields: [String]
    /// The Host field.
    public var host: Host
    /// What becomes of a CONNECT.
    public var mqtt: MQTTIdentity

    /// A field and its claim.
    public struct Claim: Sendable, Hashable {
        /// Name of the field.
        public var header: String
        /// Where its value stands.
        public var pointer: JSONPointer

        /// A field and its claim.
        public init(header: String, pointer: JSONPointer) {
            self.header = header
            self.pointer = pointer
        }
    }

    /// The defaults of a profile.
    public init(profile: ProxyProfile) {
        token = nil
        rolesHeader = "X-User-Roles"
        claims = []
        passedFields = ["User-Agent"]
        host = .upstream
        mqtt = MQTTIdentity()
        if profile == .compat { mqtt.roles = .userProperty; mqtt.acceptsPasswordAlone = true }
    }

    /// Where the token goes in a session of this protocol.
    public func placement(_ sessionProtocol: ProxyProtocol) -> Token { token ?? (sessionProtocol == .mqtt ? .none : .authorization) }

    /// Longest value of one field.
    public static let maximumValueBytes = 8192

    /// Whether a field of the client is never passed on: it carries identity, or the handshake writes it itself.
    public func isReserved(_ name: String) -> Bool {
        let name = name.lowercased()
        if name.hasPrefix("x-auth-") || name.hasPrefix("sec-websocket-") { return true }
        if Self.alwaysReserved.contains(name) { return true }
        if case .header(let own)? = token, own.lowercased() == name { return true }
        return rolesHeader?.lowercased() == name || claims.contains { $0.header.lowercased() == name }
    }

    private static let alwaysReserved: Set<String> = [
        "x-user-roles", "authorization", "cookie", "host", "connection", "upgrade", "content-length", "transfer-encoding", "te",
        "trailer", "keep-alive", "proxy-connection", "proxy-authorization", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
        "forwarded", "x-request-id", "traceparent", "tracestate",
    ]

    /// The fields that carry identity on the request to the upstream, in the order in which they are sent. The query parameter
    /// of `token` is not among them: `query(token:)`. `roles` are those in the claims; what was left out of them is added to
    /// `droppedRoles` when they are told.
    public func fields(
        _ sessionProtocol: ProxyProtocol, token text: String, claims document: JSONValue, roles: RoleList, droppedRoles: inout Int
    ) -> [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = []
        switch placement(sessionProtocol) {
        case .authorization: fields.append(("Authorization", "Bearer \(text)"))
        case .header(let name): fields.append((name, text))
        case .cookie(let name): fields.append(("Cookie", "\(name)=\(text)"))
        case .query, .none: break
        }
        if let rolesHeader, sessionProtocol != .mqtt {
            droppedRoles += roles.dropped
            if !roles.text.isEmpty { fields.append((rolesHeader, roles.text)) }
        }
        for claim in claims {
            guard let value = claim.pointer.value(in: document).flatMap(Self.text), value.utf8.count <= Self.maximumValueBytes
            else { continue }
            fields.append((claim.header, value))
        }
        return fields
    }

    /// The pair to append to the upstream's query; nil when the token goes elsewhere. Tokens need no escapes.
    public func query(_ sessionProtocol: ProxyProtocol, token text: String) -> String? {
        if case .query(let name) = placement(sessionProtocol) { "\(name)=\(text)" } else { nil }
    }

    /// A claim as a field's value: scalars as they are, lists of strings joined by commas; nil for others.
    static func text(_ value: JSONValue) -> String? {
        if case .array = value { return value.words.map(encoded).joined(separator: ",") }
        return value.scalarText.map(encoded)
    }

    /// Visible ASCII as it is, except `%`; everything else, and `%`, as `%XX` for each byte, so that no two texts become one.
    public static func encoded(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "%") }) { return text }
        var bytes: [UInt8] = []
        let digits = Array("0123456789ABCDEF".utf8)
        for byte in text.utf8 {
            if byte > 0x20, byte < 0x7F, byte != UInt8(ascii: "%") {
                bytes.append(byte)
            } else {
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Roles as Keycloak writes them: of the realm, then of each client by name; each once.
public struct RoleList: Sendable, Equatable {
    /// Percent-encoded and joined by commas, at most 8 KiB; empty without roles.
    public let text: String
    /// Roles left out: with a comma or control character, or beyond the limit.
    public let dropped: Int

    /// Nobody's.
    public static let none = RoleList(.null)

    /// The roles in `realm_access.roles` and every `resource_access.<client>.roles`, strings only.
    public init(_ claims: JSONValue) {
        var lists = [claims["realm_access"]?["roles"]]
        if case .object(let clients)? = claims["resource_access"] {
            let sorted = clients.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
            lists += sorted.map { $0.value["roles"] }
        }
        var seen = Seen()
        var text = ""
        var dropped = 0
        for case .array(let elements)? in lists {
            for role in elements.compactMap(\.string) where !role.isEmpty && seen.insert(role) {
                let encoded = UpstreamIdentity.encoded(role)
                let fits = text.utf8.count + encoded.utf8.count + 1 <= UpstreamIdentity.maximumValueBytes
                guard fits, !role.unicodeScalars.contains(where: Self.isRefused) else { dropped += 1; continue }
                text += text.isEmpty ? encoded : "," + encoded
            }
        }
        self.text = text
        self.dropped = dropped
    }

    /// Roles that were met, told apart by their bytes; few of them are found faster without a table.
    private struct Seen {
        private static let few = 16
        private var names: [String] = []
        private var table: Set<[UInt8]> = []

        /// False when it was met before.
        mutating func insert(_ name: String) -> Bool {
            if names.contains(where: { $0.utf8.elementsEqual(name.utf8) }) { return false }
            if names.count < Self.few {
                names.append(name)
                return true
            }
            return table.insert(Array(name.utf8)).inserted
        }
    }

    private static func isRefused(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "," || scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
    }
}
