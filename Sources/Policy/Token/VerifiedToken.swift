import Wire

/// What a verified token says. Made by `TokenVerifier` only.
public struct VerifiedToken: Sendable {
    /// The provider's place in the list of the configuration.
    public let provider: Int
    /// `iss`; empty when the token has none and the provider accepts any.
    public let issuer: String
    /// `sub`; empty when there is none and the provider accepts that.
    public let subject: String
    /// `jti`.
    public let tokenID: String?
    /// `sid`.
    public let sessionID: String?
    /// `kid` of the header.
    public let keyID: String?
    /// Which algorithm verified it.
    public let algorithm: TokenAlgorithm
    /// Which key did. A purge of that key ends the token.
    public let keyThumbprint: TokenDigest
    /// `exp`, `nbf`, `iat`: seconds since 1970, with a fraction if the issuer sends one.
    public let expirySeconds: Double?
    public let notBeforeSeconds: Double?
    public let issuedSeconds: Double?
    /// The claims parsed, for rules, pointers, topic rights and what upstreams are told. Parsed once, when the token was verified.
    public let document: JSONValue
    /// The roles in them as upstreams are told.
    public let roleList: RoleList

    /// The roles in the claims.
    public var roles: TokenRoles { TokenRoles(claims: document) }

    /// Memory a remembered token takes, bytes, rounded up.
    var bytes: Int {
        let texts = issuer.utf8.count + subject.utf8.count + (tokenID?.utf8.count ?? 0) + (sessionID?.utf8.count ?? 0)
        return 512 + document.memoryBytes + roleList.text.utf8.count + texts + (keyID?.utf8.count ?? 0)
    }
}

extension JSONValue {
    /// Memory it takes, bytes, rounded up: each value stands in a box, arrays grow by doubling, texts above 15 bytes are elsewhere.
    fileprivate var memoryBytes: Int {
        switch self {
        case .null: 0
        case .boolean, .number: Self.boxBytes
        case .string(let text): Self.boxBytes + Self.bytes(text)
        case .array(let elements): elements.reduce(2 * Self.boxBytes) { $0 + 2 * MemoryLayout<JSONValue>.stride + $1.memoryBytes }
        case .object(let members):
            members.reduce(2 * Self.boxBytes) { $0 + 2 * MemoryLayout<JSONMember>.stride + Self.bytes($1.name) + $1.value.memoryBytes }
        }
    }

    private static let boxBytes = 48

    private static func bytes(_ text: String) -> Int { text.utf8.count > 15 ? boxBytes + text.utf8.count : 0 }
}
