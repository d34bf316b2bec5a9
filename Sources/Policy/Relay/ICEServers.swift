// The list of STUN and TURN servers that clients are told (GET /webrtc/ice). The relay itself uses none of them.

import Wire

/// A validated list of ICE servers.
public struct ICEServers: Sendable, Equatable {
    /// One element of the list.
    struct Server: Sendable, Equatable {
        var urls: [String]
        var username = ""
        var credential = ""

        var hasTURN: Bool { urls.contains { ICEServers.isTURN($0) } }
    }

    /// The variables the list is made from, as they were given; blank means not given.
    public struct Input: Sendable, Equatable {
        /// `AERO_ICE_SERVERS_JSON`; when it is blank the four variables below count.
        public var json = ""
        /// `AERO_STUN_URLS`, a comma list.
        public var stunURLs = ""
        /// `AERO_TURN_URLS`, a comma list.
        public var turnURLs = ""
        /// `AERO_TURN_USERNAME`.
        public var turnUsername = ""
        /// `AERO_TURN_CREDENTIAL`.
        public var turnCredential = ""

        /// Nothing given.
        public init() {}
    }

    /// Why a list is invalid. It never holds a credential, so it may be logged and sent.
    public enum Fault: Error, Equatable, CustomStringConvertible {
        case notAnArray
        case tooMany
        case noURL(Int)
        case badURL(Int)
        case badMember(Int, String)
        case missingCredential(Int)

        /// One line for the operator.
        public var description: String {
            switch self {
            case .notAnArray: "ICE servers: the list must be a JSON array of objects"
            case .tooMany: "ICE servers: more than \(ICEServers.maximumServers) elements or \(ICEServers.maximumURLs) URLs in one"
            case .noURL(let index): "ICE servers: element \(index + 1) has no URL"
            case .badURL(let index): "ICE servers: element \(index + 1): a URL must begin with stun:, stuns:, turn: or turns:"
            case .badMember(let index, let name): "ICE servers: element \(index + 1): \(name) has the wrong type"
            case .missingCredential(let index):
                "ICE servers: element \(index + 1): a TURN server needs username and credential, or the TURN REST secret"
            }
        }
    }

    /// Most elements; browsers warn from five on.
    public static let maximumServers = 32
    /// Most URLs of an element.
    public static let maximumURLs = 32

    private(set) var servers: [Server] = []

    /// Reads and validates the list. `withREST`: TURN REST is on, so TURN servers may come without username and credential.
    public init(_ input: Input, withREST: Bool) throws(Fault) {
        let json = input.json.trimmingBlanks()
        if json.isEmpty {
            let stun = Self.list(input.stunURLs)
            let turn = Self.list(input.turnURLs)
            if !stun.isEmpty { servers.append(Server(urls: stun)) }
            if !turn.isEmpty { servers.append(Server(urls: turn, username: input.turnUsername, credential: input.turnCredential)) }
        } else {
            servers = try Self.read(json)
        }
        guard servers.count <= Self.maximumServers, servers.allSatisfy({ $0.urls.count <= Self.maximumURLs }) else { throw .tooMany }
        for (index, server) in servers.enumerated() {
            guard !server.urls.isEmpty else { throw .noURL(index) }
            guard server.urls.allSatisfy(Self.isKnown) else { throw .badURL(index) }
            guard server.hasTURN else { continue }
            let parts = [server.username, server.credential].filter { !$0.isEmpty }.count
            guard parts == 2 || (parts == 0 && withREST) else { throw .missingCredential(index) }
        }
    }

    private static func list(_ text: String) -> [String] {
        text.split(separator: ",").map { String($0).trimmingBlanks() }.filter { !$0.isEmpty }
    }

    private static func read(_ json: String) throws(Fault) -> [Server] {
        guard case .array(let elements)? = JSONReader.read(Array(json.utf8).span) else { throw .notAnArray }
        var servers: [Server] = []
        for (index, element) in elements.enumerated() {
            guard case .object = element else { throw .notAnArray }
            var server = Server(urls: [])
            switch element["urls"] {
            case .string(let url)?: server.urls = [url]
            case .array(let list)?:
                server.urls = list.compactMap(\.string)
                guard server.urls.count == list.count else { throw .badMember(index, "urls") }
            case nil, .null?: break
            default: throw .badMember(index, "urls")
            }
            server.urls = server.urls.map { $0.trimmingBlanks() }.filter { !$0.isEmpty }
            server.username = try text("username", of: element, index)
            server.credential = try text("credential", of: element, index)
            servers.append(server)
        }
        return servers
    }

    private static func text(_ name: String, of element: JSONValue, _ index: Int) throws(Fault) -> String {
        switch element[name] {
        case nil, .null?: return ""
        case .string(let text)?: return text
        default: throw .badMember(index, name)
        }
    }

    private static func isKnown(_ url: String) -> Bool {
        ["stun:", "stuns:", "turn:", "turns:"].contains { url.hasPrefix($0) && url.utf8.count > $0.utf8.count }
    }

    private static func isTURN(_ url: String) -> Bool {
        let scheme = url.prefix { $0 != ":" }.lowercased()
        return scheme == "turn" || scheme == "turns"
    }

    /// The body of the answer, ending in a line feed. `turn`: credentials made for this request, put wherever a TURN URL stands.
    public func json(turn: TURNCredential? = nil) -> String {
        let elements = servers.map { server in
            let made = server.hasTURN ? turn : nil
            let username = made?.username ?? server.username
            let credential = made?.credential ?? server.credential
            var text = "{\"urls\":[" + server.urls.map(TextEncoding.json).joined(separator: ",") + "]"
            if !username.isEmpty { text += ",\"username\":" + TextEncoding.json(username) }
            if !credential.isEmpty { text += ",\"credential\":" + TextEncoding.json(credential) }
            return text + ",\"credentialType\":\"password\"}"
        }
        return "{\"iceServers\":[" + elements.joined(separator: ",") + "]}\n"
    }
}

/// Time-limited credentials for TURN servers that share a secret with the relay (the TURN REST scheme).
public struct TURNCredential: Sendable, Equatable {
    /// `<expiry, seconds since 1970>:<prefix>:<32 hexadecimal digits>`.
    public let username: String
    /// Base64 of HMAC-SHA-1(secret, username).
    public let credential: String

    /// What makes credentials; exists only when `TURN_REST_SHARED_SECRET` is set.
    public struct Settings: Sendable, Equatable {
        /// `TURN_REST_SHARED_SECRET`.
        public var secret: [UInt8]
        /// `TURN_REST_TTL_SECONDS`, above 0.
        public var lifetimeSeconds: Int64 = 3600
        /// `TURN_REST_USERNAME_PREFIX`, not blank, without `:`.
        public var prefix = "aero"

        /// The default lifetime and prefix.
        public init(secret: [UInt8]) { self.secret = secret }
    }

    /// A credential that ends after the settings' lifetime. `random`: 16 bytes, new for each; tests give their own.
    public init(_ settings: Settings, nowSeconds: Int64, random: [UInt8] = Digest.random(16)) {
        let (expiry, overflowed) = nowSeconds.addingReportingOverflow(settings.lifetimeSeconds)
        username = "\(overflowed ? Int64.max : expiry):\(settings.prefix):\(Digest.hexadecimal(random))"
        credential = TextEncoding.base64(Digest.hmacSHA1(key: settings.secret, Array(username.utf8)))
    }
}
