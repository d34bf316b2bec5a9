import Policy
import Testing
import Wire

private func accepted(_ verdict: TokenGate.Verdict) -> VerifiedToken? {
    if case .accepted(let token, _) = verdict { return token }
    return nil
}

private func isCached(_ verdict: TokenGate.Verdict) -> Bool? {
    if case .accepted(_, let fromCache) = verdict { return fromCache }
    return nil
}

private func refusal(_ verdict: TokenGate.Verdict) -> TokenRefusal? {
    if case .refused(let refusal, _) = verdict { return refusal }
    return nil
}

/// What a shard remembers, and when it forgets.
@Suite struct TokenGateTests {
    private func token(_ changes: [String: String?] = [:]) -> String { Issuer.token(claims: Issuer.claims(changes)) }

    @Test("without keys there is an answer of its own")
    func noKeys() {
        var gate = TokenGate(providers: [Issuer.provider()], shards: 1, monotonicMilliseconds: 0)
        guard case .keysUnavailable(provider: 0) = Issuer.judge(&gate, token()) else {
            Issue.record("a gate without keys")
            return
        }
        // What is wrong without keys is refused without them.
        #expect(refusal(Issuer.judge(&gate, token(["exp": "1"]))) == .expired && refusal(Issuer.judge(&gate, "x")) == .malformed)
    }

    @Test("an unknown key is the owner's to fetch")
    func unknownKey() {
        var gate = Issuer.gate()
        guard case .unknownKey(provider: 0, keyID: "new") = Issuer.judge(&gate, Issuer.token(.rs256, .rsa, keyID: "new")) else {
            Issue.record("an unknown key")
            return
        }
    }

    @Test("remembered until it expires, for five minutes at most")
    func lifetime() {
        var gate = Issuer.gate()
        let short = token(["exp": "\(Issuer.now + 60)"]), long = token(["exp": "\(Issuer.now + 3600)"])
        #expect(isCached(Issuer.judge(&gate, short)) == false && isCached(Issuer.judge(&gate, long)) == false)
        #expect(isCached(Issuer.judge(&gate, short, after: 89_999)) == true)
        #expect(refusal(Issuer.judge(&gate, short, after: 90_000)) == .expired && gate.cachedCount == 1)
        #expect(isCached(Issuer.judge(&gate, long, after: 299_999)) == true)
        #expect(isCached(Issuer.judge(&gate, long, after: 300_000)) == false)
        #expect(isCached(Issuer.judge(&gate, long, after: 300_001)) == true)
        // The clock is asked for remembered tokens too: it may have been set.
        let text = Array(long.utf8)
        let verdict = gate.judge(text.span, nowMilliseconds: (Issuer.now + 3630) * 1000, monotonicMilliseconds: 300_002)
        #expect(refusal(verdict) == .expired)
    }

    @Test("a token without end is remembered, and checked again after five minutes")
    func endless() {
        var provider = Issuer.provider()
        provider.requiresExpiry = false
        var gate = Issuer.gate(provider)
        let endless = token(["exp": Issuer.absent]), distant = token(["exp": "9007199254740991"])
        for each in [endless, distant] {
            #expect(isCached(Issuer.judge(&gate, each)) == false && isCached(Issuer.judge(&gate, each, after: 299_999)) == true)
            #expect(isCached(Issuer.judge(&gate, each, after: 300_000)) == false)
        }
    }

    @Test("dies with its key, not with the set")
    func keys() throws {
        var gate = Issuer.gate()
        let good = token()
        _ = Issuer.judge(&gate, good)
        gate.replace(keySet: Issuer.keySet(generation: 2), provider: 0)
        #expect(isCached(Issuer.judge(&gate, good)) == true)
        // Another key under the same name.
        let other = try KeySetDocument(json: Issuer.keySetJSON([IssuerKey.otherRSA.jwk(#""kid":"rsa""#)]))
        gate.replace(keySet: KeySet(generation: 3, entries: other.entries), provider: 0)
        #expect(refusal(Issuer.judge(&gate, good)) == .signature && gate.cachedCount == 0)
        // The failure belongs to those keys.
        gate.replace(keySet: Issuer.keySet(generation: 4), provider: 0)
        #expect(isCached(Issuer.judge(&gate, good)) == false)
        gate.replace(keySet: .empty, provider: 0)
        guard case .keysUnavailable = Issuer.judge(&gate, good) else {
            Issue.record("keys are gone")
            return
        }
        gate.replace(keySet: Issuer.keySet(generation: 5), provider: 0)
        gate.replace(providers: [Issuer.provider()])
        #expect(gate.cachedCount == 0)
    }

    @Test("the provider of a remembered token must be one of the route's")
    func among() {
        var gate = Issuer.gate()
        let text = Array(token().utf8)
        _ = Issuer.judge(&gate, token())
        let verdict = gate.judge(text.span, among: [], nowMilliseconds: Issuer.nowMilliseconds, monotonicMilliseconds: 0)
        #expect(refusal(verdict) == .issuer)
    }

    @Test("rules of the route hold for remembered tokens")
    func rules() throws {
        var gate = Issuer.gate()
        let good = token(["scope": "\"mqtt read\"", "azp": "\"web\""])
        var rules = ClaimRules()
        rules.requiredScopes = ["mqtt"]
        rules.authorizedParties = ["web", "app"]
        #expect(isCached(Issuer.judge(&gate, good, rules: rules)) == false && isCached(Issuer.judge(&gate, good, rules: rules)) == true)
        rules.requiredScopes = ["mqtt", "write"]
        #expect(refusal(Issuer.judge(&gate, good, rules: rules)) == .scope)
        rules.requiredScopes = []
        rules.authorizedParties = ["app"]
        #expect(refusal(Issuer.judge(&gate, good, rules: rules)) == .rule && TokenRefusal.rule.code == "claims")
        #expect(TokenRefusal.rule.isForbidden)
        #expect(isCached(Issuer.judge(&gate, good)) == true, "another route may still take it")
    }

    @Test("a failed signature is remembered for half a minute")
    func failures() {
        var gate = Issuer.gate(perSecond: 10)
        let forged = Issuer.token(.rs256, .otherRSA, keyID: "rsa")
        // One check a second fits into the budget of ten; the rest of this costs none.
        for _ in 0..<1000 { #expect(refusal(Issuer.judge(&gate, forged)) == .signature) }
        #expect(refusal(Issuer.judge(&gate, forged, after: 29_999)) == .signature)
        #expect(isCached(Issuer.judge(&gate, token(), after: 29_999)) == false)
        guard case .busy = Issuer.judge(&gate, forged, after: 30_000) else {
            Issue.record("after half a minute the signature is checked again")
            return
        }
    }

    @Test("signature checks are budgeted, remembered tokens are not")
    func budget() {
        var gate = Issuer.gate(perSecond: 100)
        let first = token()
        #expect(accepted(Issuer.judge(&gate, first)) != nil)
        var checked = 1
        var wait: Int64 = 0
        for index in 0..<50 {
            switch Issuer.judge(&gate, token(["jti": "\"b-\(index)\""])) {
            case .accepted: checked += 1
            case .busy(let milliseconds): wait = milliseconds
            default: Issue.record("neither accepted nor busy")
            }
        }
        #expect(checked == 10 && wait == 10)
        #expect(isCached(Issuer.judge(&gate, first)) == true)
        #expect(isCached(Issuer.judge(&gate, token(["jti": "\"later\""]), after: wait)) == false)
    }

    @Test("another budget holds from the next check on")
    func budgetsChange() {
        var gate = Issuer.gate(perSecond: 10)
        #expect(accepted(Issuer.judge(&gate, token(["jti": "\"c-0\""]))) != nil)
        guard case .busy = Issuer.judge(&gate, token(["jti": "\"c-1\""])) else {
            Issue.record("one check is all there is")
            return
        }
        gate.replace(verificationsPerSecond: 1000)
        let checked = (2..<60).filter { accepted(Issuer.judge(&gate, token(["jti": "\"c-\($0)\""]), after: 50)) != nil }.count
        #expect(checked == 50)
    }

    @Test("a signature counts as what it costs")
    func costs() {
        func checked(_ algorithm: TokenAlgorithm, _ key: IssuerKey, _ keyID: String) -> Int {
            var gate = Issuer.gate(perSecond: 240)
            return (0..<50).filter { index in
                let claims = Issuer.claims(["jti": "\"c-\(index)\""])
                return accepted(Issuer.judge(&gate, Issuer.token(algorithm, key, keyID: keyID, claims: claims))) != nil
            }.count
        }
        #expect(checked(.rs256, .rsa, "rsa") == 24 && checked(.es256, .p256, "p256") == 24)
        #expect(checked(.es384, .p384, "p384") == 2 && checked(.es512, .p521, "p521") == 2)
        // A budget smaller than one check still lets one through at a time.
        var small = Issuer.gate(perSecond: 10)
        #expect(accepted(Issuer.judge(&small, Issuer.token(.es384, .p384, keyID: "p384"))) != nil)
    }

    @Test("bounded: the least used go")
    func eviction() {
        var gate = Issuer.gate(entries: 8)
        let kept = token(["jti": "\"kept\""])
        _ = Issuer.judge(&gate, kept)
        for index in 0..<40 {
            #expect(isCached(Issuer.judge(&gate, token(["jti": "\"e-\(index)\""]))) == false)
            #expect(isCached(Issuer.judge(&gate, kept)) == true, "what is used stays")
            #expect(gate.cachedCount <= 8)
        }
        // Bytes are bounded as well: each of a thousand shards may keep 32 KiB.
        var small = TokenGate(providers: [Issuer.provider()], shards: 1000, monotonicMilliseconds: 0)
        small.replace(keySet: Issuer.keySet(), provider: 0)
        let filling = "\"\(String(repeating: "f", count: 9000))\""
        for index in 0..<10 {
            _ = Issuer.judge(&small, token(["jti": "\"l-\(index)\"", "filling": filling]))
            #expect(small.cachedCount <= 3)
        }
        #expect(small.cachedCount == 3)
    }

    @Test("conditions on claims")
    func conditions() throws {
        let json = #"{"a":{"b":["x","y",3]},"scope":"read mqtt","n":5,"t":true,"name":"dev-17@example.com","empty":[],"u":"é"}"#
        let claims = Issuer.json(json)
        func meets(_ pointer: String, _ condition: ClaimRule.Condition) throws -> Bool {
            ClaimRule(pointer: try #require(JSONPointer(pointer)), condition: condition).isMet(by: claims)
        }
        #expect(try meets("/a/b", .contains(.text("y"))) && meets("/a/b", .contains(.number(3))) && !meets("/a/b", .contains(.text("z"))))
        #expect(try meets("/scope", .contains(.text("mqtt"))) && !meets("/scope", .contains(.text("mqt"))))
        #expect(try !meets("/n", .contains(.number(5))))
        #expect(try meets("/n", .isOne(of: [.number(5)])) && !meets("/n", .isOne(of: [.text("5")])))
        #expect(try meets("/t", .isOne(of: [.boolean(true)])))
        #expect(try meets("/n", .isOne(of: [.text("5"), .number(5)])) && !meets("/n", .isOne(of: [.text("5"), .boolean(true)])))
        #expect(try meets("/a/b/0", .isOne(of: [.text("x")])) && !meets("/missing", .isOne(of: [.text("")])))
        #expect(try !meets("/empty", .contains(.text(""))))
        // Composed and decomposed letters are different bytes.
        #expect(try meets("/u", .isOne(of: [.text("\u{e9}")])) && !meets("/u", .isOne(of: [.text("e\u{301}")])))
        for (pattern, isMatch) in [
            ("dev-*@example.com", true), ("*", true), ("dev-17@example.com", true), ("*@example.org", false), ("dev", false), ("*17*",
                true),
            ("dev-*-*@example.com", false), ("*example.com*", true), ("d*v*7*m", true), ("dev-17@example.com?", false),
        ] {
            #expect(try meets("/name", .matches(try #require(TextPattern(pattern)))) == isMatch, "\(pattern)")
        }
        #expect(try meets("/a/b", .matches(try #require(TextPattern("y*")))) && !meets("/n", .matches(try #require(TextPattern("*")))))
        #expect(TextPattern("") == nil && TextPattern(String(repeating: "a", count: 513)) == nil)
        // The worst pattern against the worst text.
        let worst = try #require(TextPattern(String(repeating: "*a", count: 255) + "b"))
        #expect(!worst.matches(String(repeating: "a", count: 16_000)))
    }

    @Test("roles of realm and clients")
    func roles() {
        let long = String(repeating: "r", count: 8190)
        let json = """
            {"realm_access":{"roles":["user","admin","a,b","",7,"user","x\\u0001"]},
             "resource_access":{"zeta":{"roles":["z"]},"alpha":{"roles":["user","é"]},"mid":{"roles":"no"},"none":{}}}
            """
        let roles = TokenRoles(claims: Issuer.json(json))
        #expect(roles.names == ["user", "admin", "é", "z"] && roles.droppedCount == 4)
        let bigJSON = "{\"realm_access\":{\"roles\":[\"\(long)\",\"x\",\"\"]}}"
        let big = TokenRoles(claims: Issuer.json(bigJSON))
        #expect(big.names == [long] && big.droppedCount == 2)
        #expect(TokenRoles(claims: .null).names.isEmpty && TokenRoles(claims: .object([])).droppedCount == 0)
    }
}
