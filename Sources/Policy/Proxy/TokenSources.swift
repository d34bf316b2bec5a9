// Where a client may put its token, in the order in which places are tried.
//
// The first place that holds something decides: what is there is verified, and a refusal is final. Falling through to the
// next place after a bad token would let whoever can plant a second credential choose the identity.

import Wire

/// One place for a token.
public enum TokenSource: Sendable, Hashable {
    /// `Authorization: <scheme> <token>`; the scheme is compared in any case.
    case authorization(scheme: String)
    /// Another field; `prefix` (exact) is taken off.
    case header(name: String, prefix: String)
    /// A cookie, whole or in chunks `name.0`, `name.1` …
    case cookie(name: String)
    /// A query parameter.
    case query(name: String)
    /// The list of subprotocols.
    case subprotocol
    /// The password of CONNECT.
    case mqttPassword
    /// The user name of CONNECT.
    case mqttUsername
    /// A place in the first text message of a raw session. `forwards`: the upstream gets the message, too.
    case firstMessage(JSONPointer, forwards: Bool)

    /// Name in metrics and logs: a closed set.
    public var label: String {
        switch self {
        case .authorization: "authorization"
        case .header: "header"
        case .cookie: "cookie"
        case .query: "query"
        case .subprotocol: "subprotocol"
        case .mqttPassword: "mqtt_password"
        case .mqttUsername: "mqtt_username"
        case .firstMessage: "first_message"
        }
    }

    /// Tells places apart where a label stands for each.
    public var number: Int {
        switch self {
        case .authorization: 0
        case .header: 1
        case .cookie: 2
        case .query: 3
        case .subprotocol: 4
        case .mqttPassword: 5
        case .mqttUsername: 6
        case .firstMessage: 7
        }
    }

    /// Whether the handshake can hold it.
    public var isInHandshake: Bool {
        switch self {
        case .mqttPassword, .mqttUsername, .firstMessage: false
        default: true
        }
    }
}

/// What of a handshake request can hold a token. Values are taken as they came, without surrounding blanks.
public struct TokenRequest: Sendable, Equatable {
    /// All fields that may matter, in wire order, names in lower case: `authorization`, `cookie`, and those that sources name.
    public var fields: [(name: String, value: String)]
    /// The query without `?`.
    public var query: String
    /// The subprotocols offered.
    public var offer: SubprotocolOffer

    /// A request.
    public init(fields: [(name: String, value: String)] = [], query: String = "", offer: SubprotocolOffer = SubprotocolOffer()) {
        self.fields = fields
        self.query = query
        self.offer = offer
    }

    public static func == (left: TokenRequest, right: TokenRequest) -> Bool {
        left.query == right.query && left.offer == right.offer && left.fields.elementsEqual(right.fields, by: ==)
    }

    func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }

    /// The value of a field that may stand once; nil without it.
    func value(_ name: String, ifRepeated fault: TokenSources.Fault) throws(TokenSources.Fault) -> String? {
        var found: String?
        for field in fields where field.name == name {
            guard found == nil else { throw fault }
            found = field.value
        }
        return found
    }
}

/// The places of a route.
public struct TokenSources: Sendable, Equatable {
    /// In the order in which they are tried.
    public let order: [TokenSource]

    /// Most places of a route.
    public static let maximumSources = 16
    /// Most chunks of a cookie.
    public static let maximumCookieChunks = 16
    /// Longest token that is put together here; the verifier's own limit is no larger by default.
    public static let maximumTokenBytes = 16_384

    /// These places in this order.
    public init(_ order: [TokenSource]) { self.order = order }

    /// The defaults. Before the protocol is known, those of both: places of the handshake in the order for MQTT, which tells
    /// apart only what a client sends twice.
    public init(defaultsFor sessionProtocol: ProxyProtocol, cookieName: String = "session") {
        let authorization = TokenSource.authorization(scheme: "Bearer")
        let cookie = TokenSource.cookie(name: cookieName)
        let query = TokenSource.query(name: "token")
        switch sessionProtocol {
        case .mqtt: order = [.mqttPassword, authorization, .subprotocol, cookie, query]
        case .raw: order = [authorization, .subprotocol, query, cookie]
        case .auto: order = [.mqttPassword, authorization, .subprotocol, query, cookie]
        }
    }

    /// Why a request is refused with 400 whatever its tokens are.
    public enum Fault: Error, Sendable, Hashable, CaseIterable {
        case repeatedAuthorization
        case repeatedHeader
        case conflictingCookies
        case repeatedQuery
        case tooLong
    }

    /// A token that was found.
    public struct Finding: Sendable, Equatable {
        /// As it was sent; possibly empty or no token at all, which its verification will say.
        public var token: String
        /// Where.
        public var source: TokenSource

        /// A token and its place.
        public init(token: String, source: TokenSource) {
            self.token = token
            self.source = source
        }
    }

    /// Whether a cookie is among the places.
    public var usesCookies: Bool {
        order.contains { source in
            if case .cookie = source { true } else { false }
        }
    }

    /// Names of query parameters that hold tokens.
    public var queryNames: [String] {
        order.compactMap { source in
            if case .query(let name) = source { name } else { nil }
        }
    }

    /// Whether a token may still come after the handshake.
    public func awaitsFirstMessage(_ sessionProtocol: ProxyProtocol) -> Bool {
        order.contains { source in
            switch source {
            case .mqttPassword, .mqttUsername: sessionProtocol != .raw
            case .firstMessage: sessionProtocol != .mqtt
            default: false
            }
        }
    }

    /// The first token of a handshake, nil when none of its places holds one. All places are looked at, since a repeated
    /// credential is an error wherever it stands.
    public func find(in request: TokenRequest) throws(Fault) -> Finding? {
        var found: Finding?
        for source in order {
            guard let token = try token(source, request) else { continue }
            if found == nil { found = Finding(token: token, source: source) }
        }
        return found
    }

    private func token(_ source: TokenSource, _ request: TokenRequest) throws(Fault) -> String? {
        switch source {
        case .authorization(let scheme):
            let value = try request.value("authorization", ifRepeated: .repeatedAuthorization)
            return value.flatMap { Self.credentials($0, scheme: scheme) }
        case .header(let name, let prefix):
            guard let value = try request.value(name.lowercased(), ifRepeated: .repeatedHeader), value.utf8.starts(with: prefix.utf8)
            else { return nil }
            return String(decoding: value.utf8.dropFirst(prefix.utf8.count), as: UTF8.self).trimmingBlanks()
        case .cookie(let name):
            return try Self.cookie(name, request.values("cookie"))
        case .query(let name):
            if request.query.isEmpty { return nil }
            let values = QueryText.pairs(request.query).filter { $0.name == name }.map(\.value)
            guard values.count <= 1 else { throw .repeatedQuery }
            return values.first
        case .subprotocol:
            return request.offer.token
        case .mqttPassword, .mqttUsername, .firstMessage:
            return nil
        }
    }

    /// What stands behind a scheme (RFC 9110 section 11.4); nil when the field has another.
    private static func credentials(_ value: String, scheme: String) -> String? {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        let value = value.trimmingBlanks()
        let schemeBytes = scheme.utf8.count
        guard value.utf8.span.equalsIgnoringCase(scheme.utf8.span, in: 0..<schemeBytes) else { return nil }
        let rest = value.utf8.dropFirst(schemeBytes)
        guard rest.first.map(isBlank) ?? true else { return nil }
        // One blank is usual: the token is then copied once.
        return String(decoding: rest.drop(while: isBlank), as: UTF8.self).trimmingBlanks()
    }

    /// A cookie's value from all Cookie fields; one that was cut into chunks is put together up to the first gap.
    private static func cookie(_ name: String, _ lines: [String]) throws(Fault) -> String? {
        var whole: String?
        var chunks: [Int: String] = [:]
        for line in lines {
            for pair in line.utf8.split(separator: UInt8(ascii: ";")) {
                guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { continue }
                let key = String(decoding: pair[..<equals], as: UTF8.self).trimmingBlanks()
                guard key.utf8.starts(with: name.utf8) else { continue }
                let value = unquoted(String(decoding: pair[pair.index(after: equals)...], as: UTF8.self).trimmingBlanks())
                if key == name {
                    guard whole == nil || whole == value else { throw .conflictingCookies }
                    whole = value
                } else if let number = chunkNumber(key, name) {
                    guard chunks[number] == nil || chunks[number] == value else { throw .conflictingCookies }
                    chunks[number] = value
                }
            }
        }
        if let whole { return whole }
        var joined: String?
        for number in 0..<maximumCookieChunks {
            guard let chunk = chunks[number] else { break }
            joined = (joined ?? "") + chunk
            guard joined.map({ $0.utf8.count <= maximumTokenBytes }) ?? true else { throw .tooLong }
        }
        return joined
    }

    private static func unquoted(_ value: String) -> String {
        guard value.utf8.count >= 2, value.hasPrefix("\""), value.hasSuffix("\"") else { return value }
        return String(value.dropFirst().dropLast())
    }

    /// The number behind `name.`, written without leading zeros.
    private static func chunkNumber(_ key: String, _ name: String) -> Int? {
        let rest = key.utf8.dropFirst(name.utf8.count)
        guard rest.first == UInt8(ascii: ".") else { return nil }
        let digits = String(decoding: rest.dropFirst(), as: UTF8.self)
        guard let number = Int(digits), number >= 0, number < maximumCookieChunks, String(number) == digits else { return nil }
        return number
    }

    /// What a CONNECT and a token of the handshake mean together.
    public enum ConnectFinding: Sendable, Equatable {
        /// This token is the identity; nothing else is to be verified.
        case identity(Finding)
        /// The handshake's token is the identity; this one must be valid too, and have the same issuer and subject.
        case both(identity: Finding, mustAgree: Finding)
        /// No token anywhere.
        case none
    }

    /// Looks at a CONNECT's user name and password (nil: not sent). `handshake` is what the request held. The order among the
    /// places decides which of two is the identity; a password beside a token of the handshake counts only if it looks like
    /// a token: otherwise it is the broker's.
    public func find(username: [UInt8]?, password: [UInt8]?, handshake: Finding?) -> ConnectFinding {
        var found: Finding?
        for source in order where found == nil {
            let field: [UInt8]? =
                switch source {
                case .mqttPassword: password
                case .mqttUsername: username
                default: nil
                }
            guard let field, handshake == nil ? !field.isEmpty : TokenForm.hasForm(field.span) else { continue }
            // Bytes that are no text cannot be a token; what they become is refused as malformed.
            found = Finding(token: String(decoding: field, as: UTF8.self), source: source)
        }
        switch (handshake, found) {
        case (nil, nil): return .none
        case (let handshake?, nil): return .identity(handshake)
        case (nil, let found?): return .identity(found)
        case (let handshake?, let found?): return .both(identity: handshake, mustAgree: found)
        }
    }
}
