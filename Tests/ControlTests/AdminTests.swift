import Testing

@testable import Control

@Suite struct AdminConfigurationTests {
    @Test func thereIsNoneUnlessAsked() {
        #expect(load().configuration?.admin == AdminSettings())
    }

    @Test func loopbackNeedsNoToken() {
        let configuration = load(file: "admin: { address: \"127.0.0.1:9901\" }").configuration
        #expect(configuration?.admin.address == ListenAddress(host: "127.0.0.1", port: 9901))
        #expect(configuration?.admin.token == nil)
        #expect(load(file: "admin: { address: \"[::1]:9901\" }").configuration != nil)
    }

    @Test(arguments: ["0.0.0.0:9901", "10.0.0.1:9901", "[::]:9901"])
    func otherAddressesNeedOne(_ address: String) {
        let faults = load(file: "admin:\n  address: \"\(address)\"").faults
        #expect(faults.count == 1)
        #expect(faults[0].hasPrefix("2:12: admin.address: \(address) can be reached from other machines"), "\(faults)")
        #expect(load(file: "admin: { address: \"\(address)\", token: 0123456789abcdef0 }").configuration != nil)
    }

    @Test(arguments: ["guessable", "__REPLACE_ME__", "with a blank in it", "ünicode-is-not-ascii"])
    func tokensThatAreRefused(_ token: String) {
        let outcome = load(environment: ["SLUICE_ADMIN_TOKEN": token, "SLUICE_ADMIN_ADDRESS": "127.0.0.1:9901"])
        #expect(outcome.configuration == nil)
        #expect(!outcome.faults.joined().contains(token), "the token is not repeated")
    }

    @Test func anAddressIsTakenOnce() {
        let faults = load(file: "admin: { address: \"127.0.0.1:8080\" }\nlisteners: [{ address: \"127.0.0.1:8080\" }]").faults
        #expect(faults.count == 1 && faults[0].contains("a listener has the address 127.0.0.1:8080 already"))
    }

    @Test func theTokenIsMasked() throws {
        let outcome = load(file: "admin: { address: \"127.0.0.1:9901\", token: a-very-secret-token }")
        guard case .loaded(let loaded) = outcome else { throw ConfigurationFaults(faults: []) }
        let document = ConfigurationDocument(loaded: loaded, listeners: [], generation: 1).text
        for text in [loaded.effectiveText, document, "\(loaded.configuration.admin)"] {
            #expect(!text.contains("a-very-secret-token") && text.contains("***"))
        }
    }

    @Test func whatMayBeSecretInAResolverIsMasked() throws {
        let outcome = load(environment: ["DNS_UPSTREAMS": "https://resolver.test/q?key=a-customers-key,192.0.2.1"])
        guard case .loaded(let loaded) = outcome else { throw ConfigurationFaults(faults: []) }
        for text in [loaded.effectiveText, ConfigurationDocument(loaded: loaded, listeners: [], generation: 1).text] {
            #expect(!text.contains("a-customers-key") && text.contains("https://resolver.test/q?***") && text.contains("192.0.2.1"))
        }
        #expect(loaded.effectiveText.contains("  # upstreams: ["), "what is not whole is not loaded again")
        for (variable, value) in [
            ("DNS_UPSTREAMS", "https://user:a-password@resolver.test/q"), ("DNS_UPSTREAMS", "https://resolver.test:0/q?key=a-password"),
            ("UDP_RELAY_BASE_URL", "wss://user:a-password@relay.test"), ("UDP_RELAY_BASE_URL", "wss://relay.test/?key=a-password"),
            ("PUBLIC_BASE_URL", "https://user:a-password@gateway.test"),
        ] {
            let faults = load(environment: [variable: value]).faults
            #expect(faults.count == 1 && faults[0].contains("Invalid \(variable)") && !faults[0].contains("a-password"), "\(faults)")
        }
    }

    @Test func aRevocationOutlivesAShorterLifetime() {
        let hub = AdminHub(metrics: MetricsRegistry())
        #expect(hub.longestLifetime(including: 60) == 60)
        #expect(hub.longestLifetime(including: 86_400) == 86_400)
        #expect(hub.longestLifetime(including: 90) == 86_400, "cookies with the longer one are about")
    }
}

@Suite struct ConnectionQueryTests {
    @Test func readsItsParameters() {
        let query = ConnectionQuery.parse([("sort", "age"), ("limit", "7"), ("offset", "9"), ("feature", "tcp"), ("session", "01234567")])
        #expect(query == .success(ConnectionQuery(order: .age, offset: 9, limit: 7, feature: "tcp", session: "01234567")))
        #expect(ConnectionQuery.parse([]) == .success(ConnectionQuery()))
    }

    @Test(arguments: [
        ("sort", "name"), ("limit", "0"), ("limit", "1001"), ("limit", "x"), ("limit", ""), ("offset", "-1"), ("offset", "100001"),
        ("x", "1"),
    ])
    func refusesOthers(_ name: String, _ value: String) {
        guard case .failure = ConnectionQuery.parse([(name, value)]) else { Issue.record("\(name)=\(value) is read"); return }
    }
}

@Suite struct JSONDocumentTests {
    @Test func writesEveryKind() {
        let document = JSONDocument.object([
            ("a\"b", "line\nend"), ("list", .array([1, .count(.max), .fraction(0.5), .fraction(.infinity), .null, true])),
            ("empty", .array([])), ("none", .object([])),
        ])
        let expected = """
            {
              "a\\"b": "line\\u000aend",
              "list": [
                1,
                18446744073709551615,
                0.5,
                null,
                null,
                true
              ],
              "empty": [],
              "none": {}
            }

            """
        #expect(document.text == expected)
    }
}
