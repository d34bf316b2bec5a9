import Wire

/// The roles in a token, in the form of Keycloak: `realm_access.roles`, then `resource_access.<client>.roles` by the clients' names.
public struct TokenRoles: Sendable, Equatable {
    /// Each once, in that order; fit for a list with commas, but not for a header field yet.
    public let names: [String]
    /// Roles left out: not a text, empty, with a comma or a control character, or beyond `TokenLimits.roleBytes` with their commas.
    public let droppedCount: Int

    /// Reads the roles of a token's claims.
    public init(claims: JSONValue) {
        var lists: [JSONValue] = []
        if let realm = claims["realm_access"]?["roles"] { lists.append(realm) }
        if case .object(let clients)? = claims["resource_access"] {
            let sorted = clients.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
            lists += sorted.compactMap { $0.value["roles"] }
        }
        var (names, seen, dropped, bytes) = ([String](), Set<[UInt8]>(), 0, 0)
        for case .array(let elements) in lists {
            for element in elements {
                guard let name = element.string, Self.isFit(name) else {
                    dropped += 1
                    continue
                }
                guard seen.insert(Array(name.utf8)).inserted else { continue }
                guard bytes + name.utf8.count + 1 <= TokenLimits.roleBytes else {
                    dropped += 1
                    continue
                }
                bytes += name.utf8.count + 1
                names.append(name)
            }
        }
        self.names = names
        droppedCount = dropped
    }

    private static func isFit(_ name: String) -> Bool {
        !name.isEmpty && name.unicodeScalars.allSatisfy { $0 != "," && !TextRule.isControl($0) }
    }
}

/// Characters that no identity may hold.
enum TextRule {
    /// C0, DEL and C1.
    static func isControl(_ scalar: Unicode.Scalar) -> Bool { scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) }
}
