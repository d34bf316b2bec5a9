// Identity inside a CONNECT: what the broker sees as user name, password, client id and roles.

import Wire

/// How a route rewrites CONNECT (`mqtt`).
public struct MQTTIdentity: Sendable, Equatable {
    /// The password the broker gets.
    public enum Password: Sendable, Equatable {
        /// The client's.
        case keep
        /// The token, wherever it came from.
        case token
        /// None.
        case remove
        /// Content of a file.
        case fixed([UInt8])
    }

    /// The user name the broker gets.
    public enum Username: Sendable, Equatable {
        /// The client's.
        case keep
        /// A claim.
        case claim(JSONPointer)
        /// Content of a file.
        case fixed([UInt8])
    }

    /// What binds a client id to a claim.
    public enum ClientID: Sendable, Equatable {
        case any
        /// It must begin with the claim.
        case prefixClaim(JSONPointer)
        /// It must be the claim.
        case equalsClaim(JSONPointer)
        /// The claim and `-` are put in front of it; an empty one, for which the broker makes up its own, stays empty.
        case rewritePrefix(JSONPointer)
    }

    /// Where roles go.
    public enum Roles: String, Sendable, Hashable, CaseIterable {
        case off
        /// MQTT 5: a user property `roles`.
        case userProperty = "user_property"
        /// Behind the user name and a `|`.
        case usernameSuffix = "username_suffix"
    }

    /// Default: keep.
    public var password: Password
    /// Default: keep.
    public var username: Username
    /// Default: any.
    public var clientID: ClientID
    /// Default: off.
    public var roles: Roles
    /// Whether a 3.x client may send a password and no user name (`lenient_password`).
    public var acceptsPasswordAlone: Bool

    /// Settings; without arguments a CONNECT passes unchanged.
    public init(
        password: Password = .keep, username: Username = .keep, clientID: ClientID = .any, roles: Roles = .off,
        acceptsPasswordAlone: Bool = false
    ) {
        self.password = password
        self.username = username
        self.clientID = clientID
        self.roles = roles
        self.acceptsPasswordAlone = acceptsPasswordAlone
    }

    /// Whether a CONNECT may have to be refused or rewritten.
    public var isTouching: Bool { password != .keep || username != .keep || clientID != .any || roles != .off }

    /// Name of the user property with roles.
    public static let rolesProperty = "roles"
    /// Between user name and roles.
    public static let rolesSeparator = UInt8(ascii: "|")

    /// Why a client's CONNECT is refused.
    public enum Fault: Error, Sendable, Hashable, CaseIterable {
        /// The client id is not the one its claim allows.
        case clientID
        /// A claim that is to be put in is missing, empty, or no text.
        case claim
        /// The user name holds the character that separates roles from it.
        case username

        /// How the client is told.
        public var refusal: MQTTConnectRefusal {
            switch self {
            case .clientID: .clientIDNotValid
            case .claim: .notAuthorised
            case .username: .badCredentials
            }
        }
    }

    /// The changes to one client's CONNECT. `bytes` are those it was read from. `token` and `claims` are nil for a client without a
    /// token, where a route admits such: it keeps its own name and password, and can neither hold the client id of a claim nor roles.
    /// `roleList` are the roles in the claims; what was left out of them is added to `droppedRoles` when they are told.
    public func rewrite(
        _ connect: MQTTConnect, from bytes: Span<UInt8>, token: String?, claims: JSONValue?, roleList: RoleList, droppedRoles: inout Int
    ) throws(Fault) -> MQTTConnectRewrite {
        var rewrite = MQTTConnectRewrite()
        switch password {
        case .keep: break
        case .token: if let token { rewrite.password = .replace(Array(token.utf8)) }
        case .remove: rewrite.password = connect.password == nil ? .keep : .remove
        case .fixed(let content): rewrite.password = .replace(content)
        }
        switch username {
        case .keep: break
        case .claim(let pointer): if let claims { rewrite.username = .replace(try Self.claim(pointer, claims)) }
        case .fixed(let content): rewrite.username = .replace(content)
        }
        let claims = claims ?? .null
        rewrite.clientID = try clientID(connect, bytes, claims)
        switch roles {
        case .off: break
        case .userProperty:
            // 3.x has no properties, so no client can forge them there, and none are told.
            guard connect.version == .v5 else { break }
            rewrite.userPropertyName = Self.rolesProperty
            droppedRoles += roleList.dropped
            rewrite.userPropertyValue = roleList.text.isEmpty ? nil : roleList.text
        case .usernameSuffix: try appendRoles(connect, bytes, roleList, &rewrite, &droppedRoles)
        }
        return rewrite
    }

    private func clientID(_ connect: MQTTConnect, _ bytes: Span<UInt8>, _ claims: JSONValue) throws(Fault) -> MQTTFieldChange {
        var sent: [UInt8] = []
        for index in connect.clientID { sent.append(bytes[index]) }
        switch clientID {
        case .any: return .keep
        case .prefixClaim(let pointer):
            guard sent.starts(with: try Self.claim(pointer, claims)) else { throw .clientID }
            return .keep
        case .equalsClaim(let pointer):
            guard sent == (try Self.claim(pointer, claims)) else { throw .clientID }
            return .keep
        case .rewritePrefix(let pointer):
            let prefix = try Self.claim(pointer, claims)
            return sent.isEmpty ? .keep : .prepend(prefix + [UInt8(ascii: "-")])
        }
    }

    /// What stands behind the separator is ours: a user name that holds one already could claim roles.
    private func appendRoles(
        _ connect: MQTTConnect, _ bytes: Span<UInt8>, _ roles: RoleList, _ rewrite: inout MQTTConnectRewrite, _ droppedRoles: inout Int
    ) throws(Fault) {
        var name: [UInt8] = []
        if case .replace(let own) = rewrite.username {
            name = own
        } else if let range = connect.username {
            for index in range { name.append(bytes[index]) }
        }
        guard !name.contains(Self.rolesSeparator) else { throw .username }
        droppedRoles += roles.dropped
        guard !roles.text.isEmpty else { return }
        rewrite.username = .replace(name + [Self.rolesSeparator] + Array(roles.text.utf8))
    }

    private static func claim(_ pointer: JSONPointer, _ claims: JSONValue) throws(Fault) -> [UInt8] {
        guard let text = pointer.value(in: claims)?.scalarText, !text.isEmpty, !text.utf8.contains(0) else { throw .claim }
        return Array(text.utf8)
    }
}
