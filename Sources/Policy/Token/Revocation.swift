// What an operator revokes, in the form of the admin call, which is also the form other instances get.

import Wire

/// A denial: of one token, of a subject's tokens up to a moment, or of a session's.
public struct Revocation: Sendable, Hashable {
    /// Which tokens are denied.
    public enum Target: Sendable, Hashable {
        /// The token with this `jti` of this `sub`.
        case token(subject: String, tokenID: String)
        /// Tokens with this `jti`, of any subject.
        case tokenID(String)
        /// Tokens of this `sub` whose `iat` is not after this, in seconds since 1970, and those without `iat`.
        case subject(String, beforeSeconds: Double)
        /// Tokens with this `sid`.
        case session(String)
    }

    /// Which tokens are denied.
    public let target: Target
    /// Only those of this issuer; nil means any.
    public let issuer: String?
    /// Until when the denial must be kept, seconds since 1970.
    public let expirySeconds: Double

    /// How long a denial is kept when no `exp` is given: longer than access tokens live.
    public static let defaultLifetimeSeconds = 86_400
    /// How long a denial is kept at least: until every shard and instance has ended the sessions it names, which may outlive their token.
    public static let shortestLifetimeSeconds = 60

    /// Why a request is refused. The texts are the answer's body with status 400.
    public enum Failure: Error, Sendable, Hashable {
        /// Not a JSON object, or a member of the wrong type or length.
        case invalidPayload
        /// `sub` is missing or empty, and nothing else says what is meant.
        case missingSubject
        /// `jti` is empty.
        case missingTokenID

        /// The body of the answer.
        public var text: String {
            switch self {
            case .invalidPayload: "invalid payload"
            case .missingSubject: "missing required field: sub"
            case .missingTokenID: "missing required field: jti"
            }
        }
    }

    /// A denial.
    public init(target: Target, issuer: String? = nil, expirySeconds: Double) {
        self.target = target
        self.issuer = issuer
        self.expirySeconds = expirySeconds
    }

    /// Reads `{sub, jti}`, `{jti}`, `{sub, before?}` or `{sid}`, each with `iss?` and `exp?`; other members are not looked at.
    ///
    /// - Parameter leewaySeconds: of an operator's call, how long tokens are accepted behind their `exp`: no denial may end earlier. nil
    ///   for what `json` wrote, whose `exp` is the denial's end.
    public init(
        json: Span<UInt8>, nowSeconds: Double, lifetimeSeconds: Int = Self.defaultLifetimeSeconds, leewaySeconds: Int? = nil
    ) throws(Failure) {
        guard json.count <= TokenLimits.revocationBytes, let body = JSONReader.read(json, depth: 4, uniqueNames: true),
            case .object = body
        else { throw .invalidPayload }
        let subject = try Self.text(body, "sub")
        let tokenID = try Self.text(body, "jti")
        let session = try Self.text(body, "sid")
        issuer = try Self.text(body, "iss")
        guard issuer?.isEmpty != true else { throw .invalidPayload }
        let before = try Self.time(body, "before")
        let expiry = try Self.time(body, "exp")
        if let expiry, let leewaySeconds {
            expirySeconds = max(expiry + Double(leewaySeconds), nowSeconds + Double(Self.shortestLifetimeSeconds))
        } else {
            expirySeconds = expiry ?? nowSeconds + Double(lifetimeSeconds)
        }
        if subject?.isEmpty == true { throw .missingSubject }
        if tokenID?.isEmpty == true { throw .missingTokenID }
        switch (subject, tokenID, session) {
        case (let subject?, let tokenID?, nil): target = .token(subject: subject, tokenID: tokenID)
        case (nil, let tokenID?, nil): target = .tokenID(tokenID)
        case (let subject?, nil, nil): target = .subject(subject, beforeSeconds: before ?? nowSeconds)
        case (nil, nil, let session?) where !session.isEmpty: target = .session(session)
        case (nil, nil, nil): throw .missingSubject
        default: throw .invalidPayload
        }
    }

    private static func text(_ body: JSONValue, _ name: String) throws(Failure) -> String? {
        guard let value = body[name] else { return nil }
        guard let text = value.string, text.utf8.count <= TokenLimits.claimTextBytes else { throw .invalidPayload }
        return text
    }

    private static func time(_ body: JSONValue, _ name: String) throws(Failure) -> Double? {
        guard let value = body[name] else { return nil }
        guard let time = value.number, time.isFinite, time >= 0, time <= TokenLimits.timeMaximum else { throw .invalidPayload }
        return time
    }

    /// The denial as the JSON that `init(json:nowSeconds:)` reads, with `exp` and `before` always there: what the shared store keeps and
    /// what is published to other instances.
    public var json: String {
        var members: [String] = []
        func add(_ name: String, _ text: String) { members.append("\"\(name)\":\(TextEncoding.json(text))") }
        switch target {
        case .token(let subject, let tokenID):
            add("sub", subject)
            add("jti", tokenID)
        case .tokenID(let tokenID): add("jti", tokenID)
        case .subject(let subject, let before):
            add("sub", subject)
            members.append("\"before\":\(before)")
        case .session(let session): add("sid", session)
        }
        if let issuer { add("iss", issuer) }
        members.append("\"exp\":\(expirySeconds)")
        return "{" + members.joined(separator: ",") + "}"
    }

    /// Whether a token is denied, compared text by text: for going through live sessions when a denial arrives.
    public func denies(_ token: VerifiedToken) -> Bool {
        if let issuer, !issuer.utf8.elementsEqual(token.issuer.utf8) { return false }
        func same(_ left: String?, _ right: String) -> Bool { left.map { $0.utf8.elementsEqual(right.utf8) } ?? false }
        switch target {
        case .token(let subject, let tokenID): return same(token.tokenID, tokenID) && same(token.subject, subject)
        case .tokenID(let tokenID): return same(token.tokenID, tokenID)
        case .subject(let subject, let before): return same(token.subject, subject) && (token.issuedSeconds ?? 0) <= before
        case .session(let session): return same(token.sessionID, session)
        }
    }

    // MARK: Channels

    /// Beginning of the channels on which instances tell each other.
    public static let channelPrefix = "ws:revocations:"
    /// Colons in a channel's rest that are tried as the one between `sub` and `jti`.
    private static let maximumColons = 16

    /// The channel of the denial: `ws:revocations:<sub>:<jti>`, with nothing in the place of what is not given.
    public var channel: String {
        switch target {
        case .token(let subject, let tokenID): Self.channelPrefix + subject + ":" + tokenID
        case .tokenID(let tokenID): Self.channelPrefix + ":" + tokenID
        case .subject(let subject, _): Self.channelPrefix + subject + ":"
        case .session: Self.channelPrefix + ":"
        }
    }

    /// The denials that a message means. The payload is a denial's JSON, or `1` from an instance of the program this one replaces; then the
    /// channel names `sub` and `jti`, and since both may hold colons, each way to part them is one denial. Empty when it is neither.
    public static func denials(channel: String, payload: Span<UInt8>, nowSeconds: Double) -> [Revocation] {
        if payload.count != 1 {
            return (try? Revocation(json: payload, nowSeconds: nowSeconds)).map { [$0] } ?? []
        }
        guard payload[0] == UInt8(ascii: "1"), channel.hasPrefix(channelPrefix) else { return [] }
        let rest = Array(channel.utf8.dropFirst(channelPrefix.utf8.count))
        guard rest.count <= 2 * TokenLimits.claimTextBytes else { return [] }
        let colons = rest.indices.filter { rest[$0] == UInt8(ascii: ":") }.prefix(maximumColons)
        return colons.filter { $0 > 0 && $0 + 1 < rest.count }.map { colon in
            Revocation(
                target: .token(
                    subject: String(decoding: rest[..<colon], as: UTF8.self),
                    tokenID: String(decoding: rest[(colon + 1)...], as: UTF8.self)),
                expirySeconds: nowSeconds + Double(defaultLifetimeSeconds))
        }
    }
}
