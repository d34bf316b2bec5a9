import Policy
import Testing
import Wire

private func servers(_ json: String, withREST: Bool = false) throws -> ICEServers {
    var input = ICEServers.Input()
    input.json = json
    return try ICEServers(input, withREST: withREST)
}

@Suite struct ICEServersTests {
    @Test(arguments: [
        ("", "{\"iceServers\":[]}\n"), ("[]", "{\"iceServers\":[]}\n"),
        ("[{\"urls\":\"stun:a\",\"x\":1}]", "{\"iceServers\":[{\"urls\":[\"stun:a\"],\"credentialType\":\"password\"}]}\n"),
        (
            " [{\"urls\":[\" stun:a \",\"\",\"turns:b\"],\"username\":\"u\\\"\",\"credential\":\"c\"}] ",
            "{\"iceServers\":[{\"urls\":[\"stun:a\",\"turns:b\"],\"username\":\"u\\\"\",\"credential\":\"c\","
                + "\"credentialType\":\"password\"}]}\n"
        ),
    ])
    func lists(_ json: String, _ expected: String) throws {
        #expect(try servers(json).json() == expected)
    }

    @Test(arguments: [
        ("{\"urls\":\"stun:a\"}", ICEServers.Fault.notAnArray), ("[1]", .notAnArray), ("[", .notAnArray), ("x", .notAnArray),
        ("[{}]", .noURL(0)), ("[{\"urls\":[\" \"]}]", .noURL(0)), ("[{\"urls\":\"stun:a\"},{\"urls\":\"TURN:a\"}]", .badURL(1)),
        ("[{\"urls\":\"http://a\"}]", .badURL(0)), ("[{\"urls\":\"stun:\"}]", .badURL(0)),
        ("[{\"urls\":[\"stun:a\",1]}]", .badMember(0, "urls")),
        ("[{\"urls\":1}]", .badMember(0, "urls")), ("[{\"urls\":\"stun:a\",\"credential\":5}]", .badMember(0, "credential")),
        ("[{\"urls\":\"turn:a\"}]", .missingCredential(0)), ("[{\"urls\":\"turn:a\",\"username\":\"u\"}]", .missingCredential(0)),
    ])
    func faults(_ json: String, _ fault: ICEServers.Fault) {
        #expect(throws: fault) { try servers(json) }
    }

    @Test func bounds() {
        let one = "{\"urls\":\"stun:a\"}"
        #expect(throws: ICEServers.Fault.tooMany) { try servers("[" + Array(repeating: one, count: 33).joined(separator: ",") + "]") }
        #expect(throws: Never.self) { try servers("[" + Array(repeating: one, count: 32).joined(separator: ",") + "]") }
    }

    @Test func convenienceVariables() throws {
        var input = ICEServers.Input()
        input.stunURLs = " stun:a , ,stuns:b"
        input.turnURLs = "turn:c"
        input.turnUsername = "u"
        #expect(throws: ICEServers.Fault.missingCredential(1)) { try ICEServers(input, withREST: true) }
        input.turnCredential = "c"
        #expect(
            try ICEServers(input, withREST: false).json()
                == "{\"iceServers\":[{\"urls\":[\"stun:a\",\"stuns:b\"],\"credentialType\":\"password\"},"
                + "{\"urls\":[\"turn:c\"],\"username\":\"u\",\"credential\":\"c\",\"credentialType\":\"password\"}]}\n")
        input.json = "[]"
        #expect(try ICEServers(input, withREST: false).json() == "{\"iceServers\":[]}\n")
    }

    @Test func madeCredentials() throws {
        var settings = TURNCredential.Settings(secret: Array("secret".utf8))
        let random = [UInt8](repeating: 0xAB, count: 16)
        let made = TURNCredential(settings, nowSeconds: 1_700_000_000, random: random)
        #expect(made.username == "1700003600:aero:" + String(repeating: "ab", count: 16))
        let list = try servers("[{\"urls\":[\"turn:a\"]},{\"urls\":\"stun:b\",\"username\":\"s\"}]", withREST: true)
        let value = JSONReader.read(Array(list.json(turn: made).utf8).span)
        guard case .array(let elements)? = value?["iceServers"] else { throw VectorError.missing("iceServers") }
        #expect(elements[0]["username"]?.string == made.username && elements[0]["credential"]?.string == made.credential)
        #expect(elements[1]["username"]?.string == "s" && elements[1]["credential"] == nil)
        #expect(TURNCredential(settings, nowSeconds: 0) != TURNCredential(settings, nowSeconds: 0))
        settings.lifetimeSeconds = Int64.max
        #expect(TURNCredential(settings, nowSeconds: 1, random: random).username.hasPrefix("9223372036854775807:"))
    }

    @Test func observedCredentials() throws {
        for entry in try Vectors.list("observed-udp-relay.json", "turnRest", atLeast: 3) {
            var settings = TURNCredential.Settings(secret: Array(try #require(entry.string("sharedSecret")).utf8))
            settings.lifetimeSeconds = try #require(entry.integer("ttlSeconds"))
            settings.prefix = try #require(entry.string("usernamePrefix"))
            let digits = Array(try #require(entry.string("random")).utf8)
            let random = stride(from: 0, to: 32, by: 2).map { UInt8(String(decoding: digits[$0...($0 + 1)], as: UTF8.self), radix: 16)! }
            let made = TURNCredential(settings, nowSeconds: try #require(entry.integer("nowUnix")), random: random)
            #expect(made.username == entry.string("username") && made.credential == entry.string("credential"))
        }
    }

    @Test func observedConfigurations() throws {
        var judged = 0
        for entry in try Vectors.list("observed-udp-relay.json", "configuration", "cases", atLeast: 80) {
            guard let variables = entry["env"] as? [String: String], let result = entry["effectiveDiff"] as? [String: Any],
                variables.keys.contains(where: { ["AERO_ICE_SERVERS_JSON", "AERO_STUN_URLS", "AERO_TURN_URLS"].contains($0) })
            else { continue }
            var input = ICEServers.Input()
            input.json = variables["AERO_ICE_SERVERS_JSON"] ?? ""
            input.stunURLs = variables["AERO_STUN_URLS"] ?? ""
            input.turnURLs = variables["AERO_TURN_URLS"] ?? ""
            input.turnUsername = variables["AERO_TURN_USERNAME"] ?? ""
            input.turnCredential = variables["AERO_TURN_CREDENTIAL"] ?? ""
            let list = try? ICEServers(input, withREST: variables["TURN_REST_SHARED_SECRET"] != nil)
            judged += 1
            #expect((list == nil) == (result.boolean("iceConfigError") ?? false), "\(variables)")
            guard let list, let expected = result["iceServers"] as? [[String: Any]] else { continue }
            guard case .array(let elements)? = JSONReader.read(Array(list.json().utf8).span)?["iceServers"] else {
                throw VectorError.missing("iceServers")
            }
            #expect(elements.count == expected.count)
            for (element, server) in zip(elements, expected) {
                #expect(element["urls"] == .array(server.strings("urls").map { .string($0) }))
                #expect(element["credentialType"]?.string == server.string("credentialType"))
            }
        }
        #expect(judged == 0 || judged >= 10)
    }
}
