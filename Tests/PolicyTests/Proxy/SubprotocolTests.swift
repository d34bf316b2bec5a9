import Policy
import Testing

private let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"

private func offer(_ lines: String...) -> SubprotocolOffer {
    do { return try SubprotocolOffer(lines: lines) } catch { fatalError("\(error)") }
}

@Suite("Subprotocols")
struct SubprotocolTests {
    @Test("lists are read")
    func lists() {
        #expect(offer("mqtt, v2,,x", "y").names == ["mqtt", "v2", "x", "y"])
        #expect(offer().names == [] && offer("").names == [])
    }

    @Test("refused", arguments: [
        (["a,a"], .repeated), (["a", "b", "a"], .repeated), (["a b"], .notAToken), (["a;b"], .notAToken), (["ü"], .notAToken),
        ([(0..<33).map { "p\($0)" }.joined(separator: ",")], .tooManyEntries), ([String(repeating: "x", count: 4097)], .tooLong),
        (["base64url.bearer.authorization.k8s.io.YWJj"], .tokenAlone), (["base64url.bearer.authorization.k8s.io.YWJ, v1"], .tokenEncoding),
        (["base64url.bearer.authorization.k8s.io.YWJj=, v1"], .notAToken),
        (["base64url.bearer.authorization.k8s.io.YWJj, bearer, \(token)"], .twoTokens),
    ] as [([String], SubprotocolOffer.Fault)])
    func refused(lines: [String], fault: SubprotocolOffer.Fault) {
        #expect(throws: fault) { try SubprotocolOffer(lines: lines) }
    }

    @Test("tokens are taken out")
    func tokens() {
        let encoded = offer("base64url.bearer.authorization.k8s.io.YWJjLmRlZi5naGk, mqtt")
        #expect(encoded.token == "abc.def.ghi" && encoded.names == ["mqtt"] && encoded.keyword == nil)
        for word in ["bearer", "access_token", "authorization"] {
            let pair = offer("\(word), \(token)", "mqtt")
            #expect(pair.token == token && pair.names == ["mqtt"] && pair.keyword == word)
            #expect(offer("\(word), mqtt").names == [word, "mqtt"], "no token behind the word")
        }
        let alone = offer("bearer, \(token)")
        #expect(alone.names == [] && alone.keyword == "bearer")
        #expect(offer("mqtt, \(token)").names == ["mqtt"] && offer("mqtt, \(token)").token == nil)
    }

    @Test("what carries a token does not count among the entries, and an encrypted token is one")
    func longTokens() {
        let long = "eyJhbGciOiJSUzI1NiJ9." + String(repeating: "x", count: 6000) + ".c2ln"
        let names = (0..<32).map { "p\($0)" }
        #expect(offer("bearer, \(long)", names.joined(separator: ",")).token == long)
        #expect(offer("bearer, \(long)", names.joined(separator: ",")).names == names)
        let encrypted = "eyJhbGciOiJkaXIifQ..bm9uY2U.Y2lwaGVy.dGFn"
        #expect(offer("bearer, \(encrypted), v1").names == ["v1"] && offer("bearer, \(encrypted), v1").token == encrypted)
        #expect(offer("v1, \(encrypted)").names == ["v1"])
        #expect(offer("v1.a.b.c.d").names == ["v1.a.b.c.d"], "a name with four points")
        let other = String(repeating: "y", count: 4097)
        #expect(throws: SubprotocolOffer.Fault.tooLong) { try SubprotocolOffer(lines: ["bearer, \(long)", other]) }
    }

    typealias Choice = SubprotocolRule.Choice

    @Test("the gateway chooses", arguments: [
        ([], ProxyProtocol.mqtt, Choice.chosen(answer: nil, upstream: "mqtt")),
        (["mqtt"], .mqtt, .chosen(answer: "mqtt", upstream: "mqtt")),
        (["x", "mqttv3.1", "mqtt"], .mqtt, .chosen(answer: "mqttv3.1", upstream: "mqttv3.1")),
        (["x"], .mqtt, .mismatch),
        (["bearer", token], .mqtt, .chosen(answer: "bearer", upstream: "mqtt")),
        (["bearer", token, "mqtt"], .mqtt, .chosen(answer: "mqtt", upstream: "mqtt")),
    ] as [([String], ProxyProtocol, Choice)])
    func native(offers: [String], sessionProtocol: ProxyProtocol, choice: Choice) {
        let rule = SubprotocolRule(defaultsFor: sessionProtocol, profile: .native)
        for dialsFirst in [false, true] {
            #expect(rule.choose(offer(offers.joined(separator: ",")), sessionProtocol, dialsFirst: dialsFirst) == choice)
        }
    }

    @Test("the compat profile chooses among MQTT names and refuses nobody")
    func compat() {
        let rule = SubprotocolRule(defaultsFor: .auto, profile: .compat)
        #expect(rule.choose(offer("x"), .auto, dialsFirst: true) == .chosen(answer: nil, upstream: nil))
        #expect(rule.choose(offer("x, mqtt"), .auto, dialsFirst: true) == .chosen(answer: "mqtt", upstream: "mqtt"))
        #expect(rule.choose(offer(), .auto, dialsFirst: true) == .chosen(answer: nil, upstream: nil))
    }

    @Test("a list of the route, raw: ignored or refused")
    func rawList() {
        var rule = SubprotocolRule(copies: false, list: ["v1", "v2"], rejectsMismatch: false)
        #expect(rule.choose(offer("v3, v2, v1"), .raw, dialsFirst: true) == .chosen(answer: "v2", upstream: "v2"))
        #expect(rule.choose(offer("v3"), .raw, dialsFirst: true) == .chosen(answer: nil, upstream: nil))
        rule.rejectsMismatch = true
        #expect(rule.choose(offer("v3"), .raw, dialsFirst: true) == .mismatch)
        #expect(rule.choose(offer(), .raw, dialsFirst: true) == .chosen(answer: nil, upstream: nil))
    }

    @Test("offers are passed on, and the upstream's choice comes back if it was offered")
    func copies() {
        let rule = SubprotocolRule(copies: true, list: nil, rejectsMismatch: false)
        let two = offer("a, b, bearer, \(token)")
        let choice = rule.choose(two, .raw, dialsFirst: true)
        #expect(choice == .relay(["a", "b"]))
        #expect(rule.answer(upstream: "b", to: two, choice) == .subprotocol("b"))
        #expect(rule.answer(upstream: nil, to: two, choice) == .subprotocol(nil))
        for other in ["c", "a, b", "bearer", ""] { #expect(rule.answer(upstream: other, to: two, choice) == .badGateway) }
        #expect(rule.choose(two, .raw, dialsFirst: false) == .chosen(answer: "a", upstream: "a"))
        let mqtt = rule.choose(offer(), .mqtt, dialsFirst: true)
        #expect(mqtt == .relay(["mqtt"]) && rule.answer(upstream: "mqtt", to: offer(), mqtt) == .subprotocol(nil))
        #expect(rule.choose(offer("x"), .mqtt, dialsFirst: true) == .relay(["x", "mqtt"]))
    }

    @Test("a chosen one must be taken")
    func answer() {
        let rule = SubprotocolRule(defaultsFor: .mqtt, profile: .native)
        let choice = rule.choose(offer("mqtt"), .mqtt, dialsFirst: true)
        #expect(rule.answer(upstream: "mqtt", to: offer("mqtt"), choice) == .subprotocol("mqtt"))
        #expect(rule.answer(upstream: "mqttv3.1", to: offer("mqtt"), choice) == .badGateway)
        #expect(ProxyProtocol.auto.decided(bySubprotocol: "mqtt") == .mqtt && ProxyProtocol.auto.decided(bySubprotocol: "x") == .raw)
        #expect(ProxyProtocol.auto.decided(bySubprotocol: nil) == .auto && ProxyProtocol.raw.decided(bySubprotocol: "mqtt") == .raw)
    }
}
