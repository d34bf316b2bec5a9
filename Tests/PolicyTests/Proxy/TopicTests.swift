import Testing
import Wire

@testable import Policy

private func matches(_ filter: String, _ topic: String) -> Bool { TopicFilter.matches(Array(filter.utf8).span, Array(topic.utf8).span) }
private func includes(_ allowed: String, _ asked: String) -> Bool { TopicFilter.includes(Array(allowed.utf8).span, Array(asked.utf8).span) }
private func overlap(_ left: String, _ right: String) -> Bool { TopicFilter.overlap(Array(left.utf8).span, Array(right.utf8).span) }
private func isFilter(_ text: String) -> Bool { TopicFilter.isFilter(Array(text.utf8).span) }
private func isName(_ text: String) -> Bool { TopicFilter.isName(Array(text.utf8).span) }

@Suite("Topic filters")
struct TopicFilterTests {
    @Test("filters and the topics they match", arguments: [
        ("a/b", ["a/b"], ["a", "a/b/c", "a/", "A/b"]),
        ("a/+", ["a/b", "a/"], ["a", "a/b/c", "b/b"]),
        ("+", ["a"], ["a/b", "/a", "$SYS"]),
        ("+/+", ["a/b", "/a", "a/"], ["a", "$SYS/a"]),
        ("a/#", ["a", "a/b", "a/b/c", "a/"], ["ab", "b"]),
        ("#", ["a", "a/b", "/"], ["$SYS", "$SYS/x"]),
        ("+/#", ["a", "a/b", "/"], ["$SYS/x"]),
        ("$SYS/#", ["$SYS", "$SYS/x"], ["SYS/x", "$SYSX/x", "a"]),
        ("$SYS/+", ["$SYS/x"], ["$SYS", "$SYS/x/y"]),
        ("a/+/c/#", ["a/b/c", "a//c/d"], ["a/c", "a/b/d"]),
    ])
    func matching(filter: String, matched: [String], others: [String]) {
        for topic in matched { #expect(matches(filter, topic), "\(topic)") }
        for topic in others { #expect(!matches(filter, topic), "\(topic)") }
    }

    @Test("inclusion", arguments: [
        ("a/#", ["a", "a/b", "a/+", "a/#", "a/b/#", "a/+/#"], ["#", "+", "+/b", "ab"]),
        ("a/+", ["a/b", "a/+", "a/"], ["a", "a/#", "a/b/c", "a/+/c"]),
        ("+/b", ["a/b", "+/b"], ["a/+", "#", "+/+", "$SYS/b"]),
        ("#", ["#", "+", "a", "+/#", "a/#"], ["$SYS/#", "$x"]),
        ("+/#", ["#", "+", "a/b/#"], ["$SYS/#"]),
        ("a/+/#", ["a/b", "a/b/c", "a/+", "a/+/#"], ["a/#", "a", "+/b"]),
        ("$SYS/#", ["$SYS", "$SYS/+", "$SYS/a/#"], ["#", "+/a", "SYS"]),
        ("a/b", ["a/b"], ["a/+", "a/#", "a"]),
    ])
    func inclusion(allowed: String, inside: [String], outside: [String]) {
        for asked in inside { #expect(includes(allowed, asked), "\(asked)") }
        for asked in outside { #expect(!includes(allowed, asked), "\(asked)") }
    }

    @Test("overlap", arguments: [
        ("a/#", ["#", "+/b", "a", "a/b/c", "+"], ["b/#", "$SYS/#"]), ("a/+", ["a/b", "+/b", "#"], ["a", "a/b/c", "b/+"]),
        ("$SYS/#", ["$SYS/x", "$SYS"], ["#", "+/x"]), ("+/c", ["a/+", "a/#"], ["a/b", "c"]), ("/#", ["/a", "/", "#"], ["+", "a"]),
    ])
    func overlaps(filter: String, meeting: [String], apart: [String]) {
        for other in meeting { #expect(overlap(filter, other) && overlap(other, filter), "\(other)") }
        for other in apart { #expect(!overlap(filter, other) && !overlap(other, filter), "\(other)") }
    }

    @Test("a rule says what its filter says, however long the part is that they share")
    func prefixes() throws {
        let words = ["a", "a/b", "abcdef", "abcdefg", "abcdefgh", "abcdefghi", "abcd/fgh", "abcdefg/", "/", "$SYS", "ü", "abcdefü"]
        let topics = words + words.flatMap { head in words.map { head + "/" + $0 } }
        let filters = topics + topics.flatMap { [$0 + "/#", $0 + "/+", "+/" + $0] } + ["#", "+", "+/#", "/#", "/+"]
        for filter in filters where isFilter(filter) {
            var settings = TopicSettings(modes: .rules)
            settings.rules = [TopicRule(publish: [try TopicTemplate(filter)])]
            let rights = TopicRights(settings, TopicIdentity(claims: .null, username: "", clientID: ""))
            for topic in topics {
                let says = rights.table.publish(Array(topic.utf8).span, qos: 0, isRetained: false)
                if (says == .allowed) != matches(filter, topic) { Issue.record("\(filter) and \(topic): \(says)") }
            }
        }
    }

    @Test("many filters at once say what each says, the first of them first", arguments: 0..<60)
    func index(seed: Int) throws {
        var state = UInt64(seed &+ 1) &* 0x9E37_79B9_7F4A_7C15
        func pick(_ texts: [String]) -> String {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return texts[Int(state >> 33) % texts.count]
        }
        // Levels that agree in their first eight bytes, in their length, or in nothing; and empty ones.
        let names = ["", "a", "b", "ab", "abc", "device", "device-1", "device-2", "device-001", "device-002", "device-0010", "$a", "ü"]
        func path(_ levels: [String]) -> String { (0...(Int(state >> 40) % 4)).map { _ in pick(levels) }.joined(separator: "/") }
        var filters: [String] = []
        while filters.count < 1 + seed % 20 {
            let filter = pick([path(names + ["+", "+"]), path(names + ["+"]) + "/#", "#", "+/+"])
            if isFilter(filter), filter.count < 200 { filters.append(filter) }
        }
        let denies = filters.map { _ in seed % 3 > 0 && pick(["deny", "allow", "allow"]) == "deny" }
        let list = zip(filters, denies).map { filter, denies in
            "{\"permission\":\"\(denies ? "deny" : "allow")\",\"action\":\"publish\",\"topic\":\"\(filter)\"}"
        }
        let text = Array("{\"acl\":[\(list.joined(separator: ","))]}".utf8)
        let parsed = JSONReader.read(text.span, depth: 8)
        let claims = try #require(parsed)
        let rights = TopicRights(TopicSettings(modes: .acl), TopicIdentity(claims: claims, username: "", clientID: ""))
        #expect(rights.ignoredEntries == 0)
        for _ in 0..<2000 {
            let topic = path(names)
            guard isName(topic) else { continue }
            let first = zip(filters, denies).first { matches($0.0, topic) }
            let verdict = rights.table.publish(Array(topic.utf8).span, qos: 0, isRetained: false)
            #expect((verdict == .allowed) == (first.map { !$0.1 } ?? false), "\(topic) by \(filters)")
        }
    }

    @Test("filters deeper or longer than an index takes are compared one by one")
    func beyondTheIndex() throws {
        let deep = Array(repeating: "a", count: 40).joined(separator: "/")
        let long = (0..<250).map { "l\($0)/" + Array(repeating: "+", count: 20).joined(separator: "/") }
        for filters in [[deep, "x/#"], long + ["x/#"]] {
            let templates = try filters.map { try TopicTemplate($0) }
            let rights = TopicRights(
                TopicSettings(modes: .rules, rules: [TopicRule(publish: templates)]),
                TopicIdentity(claims: .null, username: "", clientID: ""))
            for (topic, verdict) in [("x/1", TopicVerdict.allowed), (deep, filters[0] == deep ? .allowed : .denied), ("y", .denied)] {
                #expect(rights.table.publish(Array(topic.utf8).span, qos: 0, isRetained: false) == verdict, "\(topic)")
            }
        }
    }

    @Test("every byte at every place of a name")
    func names() {
        for count in 1...17 {
            for place in 0..<count {
                for byte in UInt8.min...UInt8.max {
                    var name = [UInt8](repeating: UInt8(ascii: "x"), count: count)
                    name[place] = byte
                    let isOne = byte != 0 && byte < 0x80 && byte != UInt8(ascii: "+") && byte != UInt8(ascii: "#")
                    if TopicFilter.isName(name.span) != isOne { Issue.record("\(name)") }
                }
            }
        }
        #expect(isName("äöü/äöü/äöü") && !isName("äöü/+/äöü"))
    }

    @Test("form")
    func form() {
        for text in ["a", "/", "a/+/b", "#", "a/#", "+/+/#", "$SYS/#", "ü/+"] { #expect(isFilter(text), "\(text)") }
        for text in ["", "a#", "a/#/b", "#/a", "a+", "a/b+/c", "+a", "a\0b", "##"] { #expect(!isFilter(text), "\(text)") }
        for text in ["a", "/", "$SYS/x", "a b"] { #expect(isName(text)) }
        for text in ["", "a/+", "#", "a\0"] { #expect(!isName(text)) }
        let broken: [UInt8] = [0x61, 0xFF]
        let isBrokenName = TopicFilter.isName(broken.span)
        #expect(!isBrokenName)
    }

    @Test("shared subscriptions", arguments: [
        ("$share/g/a/#", "a/#"), ("$share/g//a", "/a"), ("a/b", "a/b"), ("$shared/g/a", "$shared/g/a"), ("$share/g", nil),
        ("$share//a", nil), ("$share/g/", nil), ("$share/+/a", nil), ("$share", nil), ("$share/", nil),
    ] as [(String, String?)])
    func shared(text: String, filter: String?) {
        let bytes = Array(text.utf8)
        let range = TopicFilter.unshared(bytes.span)
        #expect(range.map { String(decoding: bytes[$0], as: UTF8.self) } == filter)
    }
}

/// What rights say, for tables.
private struct Asked {
    let rights: TopicRights

    init(_ settings: TopicSettings, _ claims: String, username: String = "user", clientID: String = "device-7") {
        guard let document = JSONReader.read(Array(claims.utf8).span) else { fatalError("claims of the test are JSON") }
        rights = TopicRights(settings, TopicIdentity(claims: document, username: username, clientID: clientID))
    }

    func publish(_ topic: String, qos: UInt8 = 0, isRetained: Bool = false) -> TopicVerdict {
        let topic = Array(topic.utf8)
        return rights.table.publish(topic.span, qos: qos, isRetained: isRetained)
    }

    func subscribe(_ filter: String, qos: UInt8 = 0) -> TopicVerdict {
        let filter = Array(filter.utf8)
        return rights.table.subscribe(filter.span, qos: qos)
    }

    func publishRights(_ topic: String) -> TopicPublishRights? {
        let topic = Array(topic.utf8)
        return rights.table.publishRights(topic.span)
    }
}

private func rule(_ publish: [String], _ subscribe: [String], when conditions: [ClaimCondition] = []) -> TopicRule {
    do {
        return TopicRule(
            when: conditions, publish: try publish.map { try TopicTemplate($0) }, subscribe: try subscribe.map { try TopicTemplate($0) })
    } catch { fatalError("\(error)") }
}

@Suite("Topic rights")
struct TopicRightsTests {
    @Test("without modes everything well formed is allowed")
    func off() {
        let asked = Asked(TopicSettings(), "{}")
        #expect(asked.publish("a") == .allowed && asked.subscribe("#") == .allowed && asked.publish("$SYS/a") == .allowed)
        #expect(asked.publish("a/#") == .malformed && asked.subscribe("a#") == .malformed && asked.subscribe("$share/g") == .malformed)
    }

    private static let scopes = TopicSettings(modes: .scopes, scopes: TopicScopeSettings(prefix: "rabbitmq."))

    @Test("scopes: what is published", arguments: [
        ("rabbitmq.write:%2F/amq.topic/sensors.*", ["sensors/1", "sensors/1/t", "sensors/"], ["sensors", "other", "$SYS/x"]),
        ("rabbitmq.write:*/*/*", ["a", "a/b"], ["$SYS/x"]),
        ("rabbitmq.write:%2f/amq.topic", ["a", "a/b"], ["$SYS/x"]),
        ("rabbitmq.write:%2F/amq.*/a.*.c", ["a/b/c", "a/b/x/c"], ["a/b"]),
        ("rabbitmq.write:%2F/amq.topic/a%2Ab", ["a*b"], ["axb"]),
        ("rabbitmq.write:other/amq.topic/*", [], ["a"]),
        ("rabbitmq.write:%2F/other/*", [], ["a"]),
        ("rabbitmq.read:%2F/amq.topic/*", [], ["a"]),
        ("rabbitmq.configure:%2F/amq.topic/*", [], ["a"]),
        ("write:%2F/amq.topic/*", [], ["a"]),
        ("rabbitmq.tag:administrator", [], ["a"]),
        ("rabbitmq.write:%2F", [], ["a"]),
        ("rabbitmq.write:%2/amq.topic/*", [], ["a"]),
        ("rabbitmq.write:%2F/amq.topic/$SYS.*", ["$SYS/x"], ["a"]),
    ])
    func scopePublish(scope: String, allowed: [String], denied: [String]) {
        for claims in ["{\"scope\":\"openid \(scope)\"}", "{\"scope\":[\"\(scope)\"]}", "{\"scp\":[\"\(scope)\"]}"] {
            let asked = Asked(Self.scopes, claims)
            for topic in allowed { #expect(asked.publish(topic) == .allowed, "\(topic)") }
            for topic in denied { #expect(asked.publish(topic) == .denied, "\(topic)") }
        }
    }

    @Test("scopes: what is subscribed to is compared as a text")
    func scopeSubscribe() {
        let asked = Asked(Self.scopes, #"{"scope":"rabbitmq.read:%2F/amq.topic/a.* rabbitmq.read:%2F/amq.topic/b.%2A.c"}"#)
        for filter in ["a/b", "a/+", "a/#", "a/b/#", "$share/g/a/+", "b/+/c"] { #expect(asked.subscribe(filter) == .allowed, "\(filter)") }
        for filter in ["#", "a", "+/b", "b/#", "b/x/c", "$SYS/#", "$share/g/#"] { #expect(asked.subscribe(filter) == .denied, "\(filter)") }
        #expect(asked.publish("a/b") == .denied)
    }

    @Test("scopes: aliases, another claim, another virtual host")
    func scopeSettings() throws {
        var settings = Self.scopes
        settings.scopes.claim = JSONPointer("/roles")
        settings.scopes.vhost = "plant"
        settings.scopes.aliases = ["operator": ["rabbitmq.write:plant/amq.topic/op.*", "rabbitmq.read:plant/amq.topic/*"]]
        let asked = Asked(settings, #"{"scope":"rabbitmq.write:plant/amq.topic/*","roles":["operator"]}"#)
        #expect(asked.publish("op/x") == .allowed && asked.publish("x") == .denied && asked.subscribe("x/#") == .allowed)
    }

    private static let acl = TopicSettings(modes: .acl)

    @Test("acl: lists of what is allowed, with placeholders")
    func aclObject() {
        let claims = #"{"sub":"s1","acl":{"pub":["up/${clientid}/#","u/%u"],"sub":["down/%c/+","c/${claim:/sub}"],"all":["eq lit/#","x"]}}"#
        let asked = Asked(Self.acl, claims)
        for topic in ["up/device-7", "up/device-7/a", "u/user", "x"] { #expect(asked.publish(topic) == .allowed, "\(topic)") }
        for topic in ["up/other/a", "down/device-7/a", "lit/a"] { #expect(asked.publish(topic) == .denied, "\(topic)") }
        for filter in ["down/device-7/+", "down/device-7/a", "c/s1", "lit/#", "x"] {
            #expect(asked.subscribe(filter) == .allowed, "\(filter)")
        }
        for filter in ["down/+/a", "down/device-7/#", "lit/a", "#"] { #expect(asked.subscribe(filter) == .denied, "\(filter)") }
    }

    @Test("acl: the first that matches decides, and a denial needs only to touch what is asked for")
    func aclList() {
        let claims = """
            {"acl":[{"permission":"deny","action":"all","topic":"secret/#"},
            {"permission":"allow","action":"publish","topic":"q/#","qos":[0,1]},
            {"permission":"allow","action":"publish","topic":"r/#","retain":false},{"permission":"allow","action":"subscribe","topic":"#"},
            {"permission":"allow","action":"publish","topic":"secret/x"}]}
            """
        let asked = Asked(Self.acl, claims)
        #expect(asked.publish("secret/x") == .denied && asked.publish("q/1") == .allowed && asked.publish("q/1", qos: 2) == .denied)
        #expect(asked.publish("r/1") == .allowed && asked.publish("r/1", isRetained: true) == .denied)
        #expect(asked.subscribe("a/#") == .allowed && asked.subscribe("#") == .denied && asked.subscribe("secret/+") == .denied)
        #expect(asked.subscribe("+/x") == .denied && asked.subscribe("$share/g/secret/#") == .denied)
    }

    @Test("acl: what cannot be read denies, if it may have meant to", arguments: [
        #"{"permission":"deny","action":"all","topic":"a/${claim:/none}/#"}"#, #"{"permission":"forbid","action":"all","topic":"z"}"#,
        #"{"permission":"deny","action":"all","topic":"a#"}"#, #"{"permission":"deny","action":"all","topic":7}"#,
        #"{"permission":"deny","action":"all","topic":"z","qos":3}"#, #"{"action":"all","topic":"z"}"#, "17",
    ])
    func aclUnreadable(entry: String) {
        let asked = Asked(Self.acl, "{\"acl\":[\(entry),{\"permission\":\"allow\",\"action\":\"all\",\"topic\":\"#\"}]}")
        #expect(asked.publish("q") == .denied && asked.subscribe("q") == .denied && asked.rights.ignoredEntries == 1)
    }

    @Test("rules: conditions and claims")
    func rules() throws {
        let claim = try #require(JSONPointer("/realm_access/roles"))
        let device = rule(
            ["devices/${claim:/sub}/up/#"], ["devices/${claim:/sub}/down/#", "broadcast/+"],
            when: [ClaimCondition(claim: claim, .contains("device"))])
        let settings = TopicSettings(modes: .rules, rules: [device])
        let asked = Asked(settings, #"{"sub":"d1","realm_access":{"roles":["x","device"]}}"#)
        #expect(asked.publish("devices/d1/up/t") == .allowed && asked.publish("devices/d2/up/t") == .denied)
        #expect(asked.subscribe("broadcast/+") == .allowed && asked.subscribe("broadcast/#") == .denied)
        #expect(asked.subscribe("devices/d1/down/#") == .allowed && asked.subscribe("devices/+/down/#") == .denied)
        let other = Asked(settings, #"{"sub":"d1","realm_access":{"roles":["devices"]}}"#)
        #expect(other.publish("devices/d1/up/t") == .denied && other.rights.table.count == 0)
    }

    @Test("claim values that would change a filter are refused", arguments: ["+", "#", "a/b", "a+", "", "a\\u0000", "a\\n", "\\ud800"])
    func harmful(value: String) {
        let settings = TopicSettings(modes: .rules, rules: [rule(["d/${claim:/sub}/#"], ["d/${claim:/sub}/#"])])
        let asked = Asked(settings, "{\"sub\":\"\(value)\"}")
        #expect(asked.rights.table.count == 0 && asked.rights.ignoredEntries == 2)
        #expect(asked.publish("d/x/y") == .denied && asked.subscribe("d/+/#") == .denied)
    }

    @Test("a slash only on request, a dollar sign never in front")
    func slash() {
        var settings = TopicSettings(modes: .rules, rules: [rule(["${claim:/sub}/#"], [])])
        #expect(Asked(settings, #"{"sub":"a/b"}"#).publish("a/b/c") == .denied)
        settings.allowsSlash = true
        #expect(Asked(settings, #"{"sub":"a/b"}"#).publish("a/b/c") == .allowed)
        #expect(Asked(settings, #"{"sub":"$SYS"}"#).publish("$SYS/x") == .denied)
    }

    @Test("combined: all or any")
    func combined() {
        let claims = #"{"acl":{"all":["a/#"]}}"#
        var settings = TopicSettings(modes: [.acl, .rules], rules: [rule(["+/x"], ["+/x"])])
        let all = Asked(settings, claims)
        #expect(all.publish("a/x") == .allowed && all.publish("a/y") == .denied && all.publish("b/x") == .denied)
        settings.combination = .any
        let any = Asked(settings, claims)
        #expect(any.publish("a/y") == .allowed && any.publish("b/x") == .allowed && any.publish("b/y") == .denied)
    }

    @Test("no more than 256 entries, and nothing behind them")
    func bounded() {
        let topics = (0..<400).map { "\"t/\($0)\"" }.joined(separator: ",")
        let asked = Asked(Self.acl, "{\"acl\":{\"pub\":[\(topics)]}}")
        #expect(asked.rights.table.count == 256 && asked.rights.ignoredEntries == 144)
        #expect(asked.publish("t/255") == .allowed && asked.publish("t/256") == .denied)
    }

    @Test("an alias stands for the rights of its topic, at each QoS")
    func aliases() throws {
        let asked = Asked(Self.acl, #"{"acl":[{"permission":"allow","action":"publish","topic":"q","qos":0}]}"#)
        var aliases = TopicAliases()
        defer { aliases.release() }
        let rights = try #require(asked.publishRights("q"))
        let none = try #require(asked.publishRights("z"))
        func set(_ alias: UInt16, _ rights: TopicPublishRights) -> Bool { aliases.set(alias, rights) }
        func verdict(_ alias: UInt16, _ qos: UInt8 = 0) -> TopicVerdict { aliases.verdict(alias, qos: qos, isRetained: false) }
        #expect(!set(1, rights), "none before CONNACK")
        aliases.admit(upTo: 10)
        #expect(verdict(1) == .malformed)
        #expect(set(1, rights))
        #expect(set(10, none))
        #expect(!set(11, rights))
        #expect(!set(0, rights))
        #expect(verdict(1) == .allowed && verdict(1, 1) == .denied && verdict(10) == .denied)
        #expect(verdict(2) == .malformed && verdict(0) == .malformed && verdict(11) == .malformed)
        #expect(set(1, none))
        #expect(verdict(1) == .denied && asked.publishRights("a/+") == nil)
    }

    @Test("templates that are refused", arguments: ["", "a/${x}", "a/${claim:sub}", "a/${claim:/sub", "a#", "a/#/b", "x${claim:/sub}+"])
    func templates(text: String) { #expect(throws: TopicTemplate.Fault.self) { try TopicTemplate(text) } }

    @Test("conditions on claims")
    func conditions() throws {
        let text = Array(#"{"s":"a b","l":["a b","c"],"n":7,"t":true,"u":"x.y.z"}"#.utf8)
        let read = JSONReader.read(text.span)
        let claims = try #require(read)
        func holds(_ pointer: String, _ test: ClaimCondition.Test) -> Bool {
            ClaimCondition(claim: JSONPointer(pointer) ?? TopicSettings.defaultACLClaim, test).holds(in: claims)
        }
        #expect(holds("/s", .contains("a")) && !holds("/s", .contains("a b")))
        #expect(holds("/l", .contains("a b")) && !holds("/l", .contains("a")))
        #expect(holds("/s", .equals("a b")) && holds("/n", .equals("7")) && holds("/t", .equals("true")) && !holds("/l", .equals("c")))
        #expect(holds("/u", .matches("x.*")) && holds("/u", .matches("*z")))
        #expect(holds("/u", .matches("*.y.*")) && !holds("/u", .matches("x.*.y")))
        #expect(holds("/l", .exists) && !holds("/none", .exists) && !holds("/none", .equals("")))
    }
}
