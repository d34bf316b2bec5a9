import Policy
import Testing

@Suite struct HostPolicyTests {
    private func decide(allowed: String, blocked: String, requiresName: Bool, _ host: String) throws -> HostPolicy.Decision {
        let policy = HostPolicy(
            allowed: try HostPattern.list(parsing: allowed), blocked: try HostPattern.list(parsing: blocked),
            requiresName: requiresName)
        return policy.decide(TargetHost(classifying: host))
    }

    @Test(arguments: [
        ("Example.COM.", HostPattern.exact("example.com")), (" *.example.com ", .subdomains(of: "example.com")),
        ("*.m\u{FC}nchen.de", .subdomains(of: "xn--mnchen-3ya.de")), ("0x7f.1", .address(IPAddress(v4: 0x7F00_0001))),
        ("[::ffff:1.2.3.4]", .address(IPAddress(v4: 0x0102_0304))), ("::1", .address(IPAddress(v6High: 0, low: 1))),
    ])
    func patterns(_ text: String, _ expected: HostPattern) throws {
        #expect(try HostPattern(parsing: text) == expected)
    }

    @Test(arguments: [
        "*", "**", "*.*", "*.*.a", "a.*", "a.*.b", "*a.b", "a*", "*.", "*.1.2.3.4", "*.[::1]", "a b", "-a", "*.a_b", "fe80::1%1",
    ])
    func invalidPatterns(_ text: String) {
        #expect(throws: HostPattern.ParseError.self) { try HostPattern(parsing: text) }
    }

    @Test func lists() throws {
        #expect(try HostPattern.list(parsing: " , a.b ,, *.c.d ,") == [.exact("a.b"), .subdomains(of: "c.d")])
        #expect(try HostPattern.list(parsing: "").isEmpty)
        #expect(throws: HostPattern.ParseError.tooManyEntries) {
            try HostPattern.list(parsing: String(repeating: "a.b,", count: HostPattern.maximumEntries + 1))
        }
        #expect(
            try HostPattern.list(parsing: String(repeating: "a.b,", count: HostPattern.maximumEntries)).count
                == HostPattern.maximumEntries)
        #expect(throws: HostPattern.ParseError.listTooLong) {
            try HostPattern.list(parsing: String(repeating: ",", count: HostPattern.maximumListBytes + 1))
        }
    }

    @Test func matching() throws {
        let below = try HostPattern(parsing: "*.example.com")
        #expect(below.matches(.name("a.example.com")))
        #expect(below.matches(.name("a.b.example.com")))
        for other in ["example.com", "badexample.com", ".example.com", "a.example.com.evil", "example.co"] {
            #expect(!below.matches(.name(other)))
        }
        let address = try HostPattern(parsing: "10.0.0.1")
        #expect(address.matches(TargetHost(classifying: "::ffff:10.0.0.1")))
        #expect(!address.matches(.name("10.0.0.1")))
        #expect(!HostPattern.exact("10.0.0.1").matches(TargetHost(classifying: "10.0.0.1")))
    }

    @Test func denyWins() throws {
        #expect(try decide(allowed: "*.a.b", blocked: "x.a.b", requiresName: false, "x.a.b") == .blocked)
        #expect(try decide(allowed: "*.a.b", blocked: "x.a.b", requiresName: false, "y.a.b") == .allow)
        #expect(try decide(allowed: "10.0.0.1", blocked: "10.0.0.1", requiresName: true, "10.0.0.1") == .literalForbidden)
        #expect(try decide(allowed: "", blocked: "", requiresName: false, "a b") == .malformed)
    }

    @Test func publishedVectors() throws {
        let decisions: [String: HostPolicy.Decision] = [
            "allow": .allow, "blocked-by-host-policy": .blocked, "not-allowed-by-host-policy": .notAllowed,
            "ip-literal-disallowed": .literalForbidden, "invalid-hostname": .malformed,
        ]
        for entry in try Vectors.list("observed-gateway.json", "host_policy", atLeast: 13) {
            let decision = try decide(
                allowed: #require(entry.string("allowed")), blocked: #require(entry.string("blocked")),
                requiresName: #require(entry.boolean("requireDnsName") as Bool?), #require(entry.string("host")))
            #expect(decision == decisions[try #require(entry.string("specChoice") ?? entry.string("decision"))], "\(entry)")
        }
    }
}
