import Policy
import Testing
import Wire

private let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"

@Suite("Token sources")
struct TokenSourcesTests {
    private func find(
        _ sources: TokenSources, _ fields: [(String, String)] = [], query: String = "", offers: [String] = []
    ) throws -> TokenSources.Finding? {
        let fields = fields.map { (name: $0.0, value: $0.1) }
        return try sources.find(in: TokenRequest(fields: fields, query: query, offer: SubprotocolOffer(lines: offers)))
    }

    @Test("the first place of each order decides")
    func order() throws {
        let everywhere = [("authorization", "Bearer A"), ("cookie", "session=C")]
        let offers = ["bearer, \(jwt)"]
        let mqtt = TokenSources(defaultsFor: .mqtt)
        let raw = TokenSources(defaultsFor: .raw)
        #expect(try find(mqtt, everywhere, query: "token=Q", offers: offers)?.token == "A")
        #expect(try find(mqtt, [everywhere[1]], query: "token=Q", offers: offers)?.token == jwt)
        #expect(try find(mqtt, [everywhere[1]], query: "token=Q")?.token == "C")
        #expect(try find(raw, [everywhere[1]], query: "token=Q")?.token == "Q")
        #expect(try find(raw, [everywhere[1]])?.source == .cookie(name: "session"))
        #expect(try find(raw) == nil)
        #expect(raw.usesCookies)
        #expect(raw.queryNames == ["token"])
        #expect(mqtt.awaitsFirstMessage(.mqtt) && !raw.awaitsFirstMessage(.raw))
    }

    @Test("Authorization", arguments: [
        ("Bearer abc", "abc"), ("bearer abc", "abc"), ("BEARER   abc ", "abc"), ("bEaReR abc", "abc"), ("  Bearer abc\t", "abc"),
        ("Bearer\tabc", "abc"), ("Bearer \t \t abc", "abc"), ("Bearer\t abc", "abc"), ("Bearer a b", "a b"), ("Bearer  a \t b ", "a \t b"),
        // A scheme with nothing behind it is a credential that is empty, not none.
        ("Bearer", ""), ("Bearer ", ""), ("Bearer\t\t", ""), (" bearer  ", ""),
        ("Basic abc", nil), ("Bearerabc", nil), ("Bearer,abc", nil), ("Bearer=abc", nil), ("Bearer\u{B}abc", nil), ("xBearer abc", nil),
        ("Be", nil), ("B", nil), ("Beare", nil), ("Beare abc", nil), ("", nil), (" ", nil),
        // Letters of other alphabets are none of a scheme, and no blank of theirs ends one; around a token they are taken off.
        ("Béarer abc", nil), ("éBearer abc", nil), ("Bearer\u{301} abc", nil), ("Bearer\u{A0}abc", nil), ("Bearer\u{3000}abc", nil),
        ("Bearer é", "é"), ("Bearer abcé", "abcé"), ("Bearer éabc é", "éabc é"), ("Bearer \u{A0}abc\u{A0}", "abc"),
        ("\u{FEFF}Bearer abc\u{2003}", "abc"), ("Bearer \u{301}abc", "\u{301}abc"), ("Bear\u{FFFD}r abc", nil),
    ] as [(String, String?)])
    func authorization(value: String, token: String?) throws {
        // As bytes: texts that are canonically equivalent are no equal tokens.
        let found = try find(TokenSources(defaultsFor: .raw), [("authorization", value)])?.token
        #expect(found.map { Array($0.utf8) } == token.map { Array($0.utf8) })
    }

    @Test("a scheme of one's own, in any case", arguments: [
        ("Kk[t", "kK[T abc", "abc"), ("Kk[t", "kk{t abc", nil), ("Kk[t", "\u{212A}k[t abc", nil), ("Kk[t", "kk\u{212A}t abc", nil),
        ("jwt-2", "JWT-2 abc", "abc"), ("jwt-2", "JWT\r2 abc", nil), ("a", "A a", "a"), ("a", "a", ""), ("a", "aa", nil),
        ("averylongschemeindeed", "AVERYLONGSCHEME abc", nil), ("averylongschemeindeed", "averylongschemeindeed\tabc", "abc"),
    ] as [(String, String, String?)])
    func scheme(scheme: String, value: String, token: String?) throws {
        #expect(try find(TokenSources([.authorization(scheme: scheme)]), [("authorization", value)])?.token == token)
    }

    @Test("cookies", arguments: [
        (["session=abc"], "abc"), (["a=1; session=abc; b=2"], "abc"), (["a=1", "session=\"abc\""], "abc"),
        (["session=abc", "session=abc"], "abc"),
        (["session.0=a; session.1=b; session.2=c"], "abc"), (["session.1=b; session.0=a; session.3=d"], "ab"), (["session.1=b"], nil),
        (["session.00=a"], nil), (["Session=abc"], nil), (["xsession=abc"], nil), (["session"], nil),
        (["session.0=x; session=abc"], "abc"), (["session="], ""),
    ] as [([String], String?)])
    func cookies(lines: [String], token: String?) throws {
        #expect(try find(TokenSources(defaultsFor: .raw), lines.map { ("cookie", $0) })?.token == token)
    }

    @Test("another header, another parameter")
    func others() throws {
        let sources = TokenSources([.header(name: "X-Token", prefix: "v1 "), .query(name: "access_token")])
        #expect(try find(sources, [("x-token", "v1 abc")])?.token == "abc")
        #expect(try find(sources, [("x-token", "abc")]) == nil)
        #expect(try find(sources, query: "x=1&access%5Ftoken=a.b%2Ec")?.token == "a.b.c")
        #expect(try find(sources, query: "token=a") == nil)
    }

    @Test("400, even when another place comes first")
    func refused() {
        let raw = TokenSources(defaultsFor: .raw)
        let bearer = ("authorization", "Bearer a")
        #expect(throws: TokenSources.Fault.repeatedAuthorization) { try find(raw, [bearer, bearer]) }
        #expect(throws: TokenSources.Fault.conflictingCookies) { try find(raw, [bearer, ("cookie", "session=a; session=b")]) }
        #expect(throws: TokenSources.Fault.conflictingCookies) { try find(raw, [("cookie", "session.0=a"), ("cookie", "session.0=b")]) }
        #expect(throws: TokenSources.Fault.repeatedQuery) { try find(raw, [bearer], query: "token=a&token=a") }
        #expect(throws: TokenSources.Fault.repeatedQuery) { try find(raw, query: "token=a&tok%65n=b") }
        let header = TokenSources([.header(name: "X-T", prefix: "")])
        #expect(throws: TokenSources.Fault.repeatedHeader) { try find(header, [("x-t", "a"), ("x-t", "a")]) }
        let long = (0..<8).map { "session.\($0)=" + String(repeating: "x", count: 4000) }.joined(separator: ";")
        #expect(throws: TokenSources.Fault.tooLong) { try find(raw, [("cookie", long)]) }
    }

    @Test("queries without credentials, and masked")
    func queries() {
        #expect(QueryText.removing(["token"], from: "a=1&token=x&b&%74oken=y") == "a=1&b")
        #expect(QueryText.removing(["token"], from: "a=1&&b") == "a=1&&b" && QueryText.removing(["token"], from: "token=x") == "")
        #expect(QueryText.masking(["token"], in: "a=1&token=x&tok%65n=y") == "a=1&token=***&token=***")
    }

    @Test("CONNECT beside the handshake")
    func connect() {
        let sources = TokenSources(defaultsFor: .mqtt)
        let handshake = TokenSources.Finding(token: "H", source: .cookie(name: "session"))
        func password(_ text: String) -> TokenSources.Finding { TokenSources.Finding(token: text, source: .mqttPassword) }
        func find(_ text: String?, _ finding: TokenSources.Finding?) -> TokenSources.ConnectFinding {
            sources.find(username: Array(jwt.utf8), password: text.map { Array($0.utf8) }, handshake: finding)
        }
        #expect(find(nil, nil) == .none && find("", nil) == .none && find(nil, handshake) == .identity(handshake))
        #expect(find("anything", nil) == .identity(password("anything")) && find("secret", handshake) == .identity(handshake))
        #expect(find(jwt, handshake) == .both(identity: handshake, mustAgree: password(jwt)))
        let names = TokenSources([.mqttUsername])
        #expect(names.find(username: Array("u".utf8), password: nil, handshake: nil) == .identity(.init(token: "u", source: .mqttUsername)))
    }
}

@Suite("Identity for upstreams")
struct UpstreamIdentityTests {
    private static func claims(_ text: String) -> JSONValue {
        guard let claims = JSONReader.read(Array(text.utf8).span) else { fatalError("claims of the test are JSON") }
        return claims
    }

    private static let keycloak = claims(
        #"""
        {"sub":"s 1","n":7,"realm_access":{"roles":["z","a","z",7]},
        "resource_access":{"web":{"roles":["w","a"]},"api":{"roles":["p","é","x,y","c\n"]}}}
        """#)

    @Test("roles: realm, then clients by name, each once; what would break the list is dropped and counted")
    func roles() {
        let roles = RoleList(Self.keycloak)
        #expect(roles.text == "z,a,p,%C3%A9,w" && roles.dropped == 2)
        let many = (0..<3000).map { "\"role-\($0)\"" }.joined(separator: ",")
        let long = RoleList(Self.claims("{\"realm_access\":{\"roles\":[\(many)]}}"))
        #expect(long.text.utf8.count <= 8192 && long.text.utf8.count > 8180 && long.dropped > 0 && RoleList(.null).text == "")
    }

    @Test("fields")
    func fields() throws {
        var identity = UpstreamIdentity(profile: .native)
        identity.claims = [
            .init(header: "X-Auth-Subject", pointer: try #require(JSONPointer("/sub"))),
            .init(header: "X-N", pointer: try #require(JSONPointer("/n"))),
            .init(header: "X-None", pointer: try #require(JSONPointer("/none"))),
        ]
        func lines(_ sessionProtocol: ProxyProtocol) -> [String] {
            var dropped = 0
            let fields = identity.fields(
                sessionProtocol, token: "T", claims: Self.keycloak, roles: RoleList(Self.keycloak), droppedRoles: &dropped)
            #expect(dropped == (sessionProtocol == .raw ? 2 : 0), "roles that were left out are counted")
            return fields.map { "\($0.name): \($0.value)" }
        }
        #expect(lines(.raw) == ["Authorization: Bearer T", "X-User-Roles: z,a,p,%C3%A9,w", "X-Auth-Subject: s%201", "X-N: 7"])
        #expect(lines(.mqtt) == ["X-Auth-Subject: s%201", "X-N: 7"])
        identity.token = .cookie("tok")
        #expect(lines(.mqtt)[0] == "Cookie: tok=T")
        identity.token = .query("t")
        #expect(identity.query(.raw, token: "T") == "t=T" && lines(.raw)[0].hasPrefix("X-User-Roles"))
        identity.token = .header("X-Jwt")
        for name in ["x-user-roles", "X-Auth-Anything", "x-jwt", "X-N", "Cookie", "Authorization", "Host", "Sec-WebSocket-Key"] {
            #expect(identity.isReserved(name), "\(name)")
        }
        #expect(!identity.isReserved("User-Agent"))
        #expect(UpstreamIdentity.encoded("a%b\u{7F}é~") == "a%25b%7F%C3%A9~")
    }

    private func rewritten(
        _ identity: MQTTIdentity, _ shape: [UInt8], claims: String? = #"{"sub":"bob","realm_access":{"roles":["r"]}}"#
    ) throws -> [String?] {
        guard case .complete(let connect) = MQTTConnect.read(shape.span, acceptsPasswordAlone: true) else { return [] }
        var dropped = 0
        let rewrite = try identity.rewrite(
            connect, from: shape.span, token: claims == nil ? nil : "TOKEN", claims: claims.map(Self.claims),
            roleList: claims.map { RoleList(Self.claims($0)) } ?? .none, droppedRoles: &dropped)
        let bytes = try connect.rewritten(rewrite, from: shape.span)
        guard case .complete(let again) = MQTTConnect.read(bytes.span, acceptsPasswordAlone: true) else { return [] }
        func text(_ range: Range<Int>?) -> String? { range.map { String(decoding: bytes[$0], as: UTF8.self) } }
        return [text(again.clientID), text(again.username), text(again.password), again.version == .v5 ? text(again.properties) : nil]
    }

    /// CONNECT with client id `bob-1`, user name `u`, password `p`.
    private func connect(_ level: UInt8, id: String = "bob-1", user: String = "u") -> [UInt8] {
        var body: [UInt8] = [0, 4, 0x4D, 0x51, 0x54, 0x54, level, 0xC2, 0, 60] + (level == 5 ? [0] : [])
        for field in [id, user, "p"] { body += [0, UInt8(field.utf8.count)] + Array(field.utf8) }
        return [0x10, UInt8(body.count)] + body
    }

    @Test("CONNECT: password, user name, client id, roles")
    func mqtt() throws {
        let sub = try #require(JSONPointer("/sub"))
        #expect(try rewritten(MQTTIdentity(), connect(4)) == ["bob-1", "u", "p", nil])
        #expect(try rewritten(MQTTIdentity(password: .token, username: .claim(sub)), connect(4)) == ["bob-1", "bob", "TOKEN", nil])
        #expect(try rewritten(MQTTIdentity(password: .remove), connect(4)) == ["bob-1", "u", nil, nil])
        #expect(try rewritten(MQTTIdentity(password: .fixed([0x78])), connect(5)) == ["bob-1", "u", "x", ""])
        #expect(try rewritten(MQTTIdentity(roles: .userProperty), connect(5)) == ["bob-1", "u", "p", "&\0\u{5}roles\0\u{1}r"])
        #expect(try rewritten(MQTTIdentity(roles: .userProperty), connect(4)) == ["bob-1", "u", "p", nil])
        #expect(try rewritten(MQTTIdentity(roles: .usernameSuffix), connect(4)) == ["bob-1", "u|r", "p", nil])
        #expect(try rewritten(MQTTIdentity(clientID: .prefixClaim(sub)), connect(4)) == ["bob-1", "u", "p", nil])
        #expect(try rewritten(MQTTIdentity(clientID: .rewritePrefix(sub)), connect(4, id: "x")) == ["bob-x", "u", "p", nil])
        #expect(try rewritten(MQTTIdentity(clientID: .equalsClaim(sub)), connect(4, id: "bob")) == ["bob", "u", "p", nil])
    }

    @Test("a client without a token can neither take roles nor the client id of a claim")
    func anonymous() throws {
        let sub = try #require(JSONPointer("/sub"))
        var forged = connect(5)
        // The user property `roles` of value `a`, behind the keep-alive time.
        forged.replaceSubrange(12...12, with: [11, 0x26, 0, 5] + Array("roles".utf8) + [0, 1, 0x61])
        forged[1] += 11
        #expect(try rewritten(MQTTIdentity(), forged, claims: nil)[3] == "&\0\u{5}roles\0\u{1}a")
        #expect(try rewritten(MQTTIdentity(roles: .userProperty), forged, claims: nil) == ["bob-1", "u", "p", ""])
        let touching = MQTTIdentity(password: .token, username: .claim(sub))
        #expect(try rewritten(touching, connect(4), claims: nil) == ["bob-1", "u", "p", nil], "its own name and password")
        #expect(throws: MQTTIdentity.Fault.username) {
            try rewritten(MQTTIdentity(roles: .usernameSuffix), connect(4, user: "u|admin"), claims: nil)
        }
        for binding in [MQTTIdentity.ClientID.prefixClaim(sub), .equalsClaim(sub), .rewritePrefix(sub)] {
            #expect(throws: MQTTIdentity.Fault.claim) { try rewritten(MQTTIdentity(clientID: binding), connect(4), claims: nil) }
        }
    }

    @Test("CONNECTs that are refused")
    func refused() throws {
        let sub = try #require(JSONPointer("/sub"))
        #expect(throws: MQTTIdentity.Fault.clientID) { try rewritten(MQTTIdentity(clientID: .prefixClaim(sub)), connect(4, id: "eve")) }
        #expect(throws: MQTTIdentity.Fault.clientID) { try rewritten(MQTTIdentity(clientID: .equalsClaim(sub)), connect(4)) }
        #expect(throws: MQTTIdentity.Fault.claim) { try rewritten(MQTTIdentity(username: .claim(sub)), connect(4), claims: "{}") }
        #expect(throws: MQTTIdentity.Fault.username) {
            try rewritten(MQTTIdentity(roles: .usernameSuffix), connect(4, user: "u|admin"), claims: "{}")
        }
    }
}
