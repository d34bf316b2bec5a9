import Policy
import Testing

@testable import Control

@Suite struct PrecedenceTests {
    @Test func laterLayersWin() {
        let file = "tcp: { max_connections: 30 }"
        let variable = ["TCP_PROXY_MAX_CONNECTIONS": "40"]
        func connections(_ outcome: Outcome) -> Int? { outcome.configuration?.gateway.tcp.maxConnections }
        #expect(connections(load()) == 64)
        #expect(connections(load(set: ["tcp.max_connections=20"])) == 20)
        #expect(connections(load(file: file, set: ["tcp.max_connections=20"])) == 30)
        #expect(connections(load(file: file, environment: variable, set: ["tcp.max_connections=20"])) == 40)
        #expect(connections(load(file: file, environment: ["TCP_PROXY_MAX_CONNECTIONS": ""])) == 30)
    }

    @Test func portHasFourSources() {
        let file = "listeners: [{ address: \"127.0.0.1:3000\" }]"
        func address(_ outcome: Outcome) -> String? { outcome.configuration?.listeners[0].address.description }
        #expect(address(load(port: 2000)) == "0.0.0.0:2000")
        #expect(address(load(file: file, port: 2000)) == "127.0.0.1:3000")
        #expect(address(load(file: file, environment: ["PORT": "4000"], port: 2000)) == "127.0.0.1:4000")
        #expect(address(load(file: file, environment: ["HOST": "::1"], port: 2000)) == "[::1]:3000")
        #expect(address(load(port: 0, demonstration: true)) == "127.0.0.1:0")
        #expect(address(load(environment: ["PORT": "5000"], port: 2000, demonstration: true)) == "127.0.0.1:5000")
    }

    @Test(arguments: [
        (
            "tcp.max_conections=1",
            "--set tcp.max_conections: tcp.max_conections: unknown key; did you mean `tcp.max_connections`?"
        ),
        ("tcp.max_connections=x", "--set tcp.max_connections: tcp.max_connections: `x` is not allowed"),
        (
            "tcp.max_connections.more=1",
            "--set tcp.max_connections.more: tcp.max_connections: a mapping where a single value belongs"
        ),
        ("tcp=1", "--set tcp: tcp: a single value where the keys of section `tcp` belong"),
        ("tcp.allowed_ports=[80", "--set tcp.allowed_ports: tcp.allowed_ports:"),
        ("l2.enabled=true", "--set l2.enabled: l2: section `l2` is not available in this version"),
    ]) func refusesAssignments(_ text: String, _ expected: String) {
        let faults = load(set: [text]).faults
        #expect(faults.count == 1 && faults[0].hasPrefix(expected), "\(faults)")
    }

    @Test func listsAndListenersCanBeAssigned() {
        let configuration = load(set: [
            "tcp.allowed_ports=[80, 443]", "listeners=[{address: \"127.0.0.1:1\"}, {address: \"127.0.0.1:2\"}]",
        ]).configuration
        #expect(configuration?.gateway.tcp.allowedPorts == [80, 443])
        #expect(configuration?.listeners.count == 2)
    }

    @Test func demonstrationReachesItsServiceOnly() throws {
        let configuration = try #require(load(demonstration: true).configuration)
        #expect(configuration.demo.enabled)
        #expect(configuration.listeners[0].address.description == "127.0.0.1:8080")
        #expect(configuration.gateway.tcp.allowPrivateAddresses)
        #expect(configuration.gateway.tcp.allowedHosts == [try HostPattern(parsing: "127.0.0.1")])
        #expect(configuration.gateway.tcp.allowedPorts == [configuration.demo.serviceAddress.port])
        #expect(configuration.gateway.origins.origins == ["http://localhost:8080", "http://127.0.0.1:8080"])
        let moved = try #require(load(set: ["demo.service_address=127.0.0.1:7777"], demonstration: true).configuration)
        #expect(moved.gateway.tcp.allowedPorts == [7777])
        #expect(moved.demonstrationBound(port: 5).gateway.tcp.allowedPorts == [5])
        #expect(moved.demonstrationBound(port: 5).demo.serviceAddress.port == 5)
    }

    /// Two demonstrations on one machine: the service takes any port, and until it has one no target is permitted.
    @Test func demonstrationTakesAnyPortAndPrintsWhatLoadsToItself() throws {
        guard case .loaded(let first) = load(demonstration: true) else {
            Issue.record("refused")
            return
        }
        #expect(first.configuration.demo.serviceAddress.port == 0 && first.configuration.gateway.tcp.allowedPorts == [0])
        #expect(first.configuration.demonstrationBound(port: 4711).gateway.tcp.allowedPorts == [4711])
        let again = try #require(load(file: first.effectiveText).configuration)
        #expect(again.gateway.tcp == first.configuration.gateway.tcp && again.demo == first.configuration.demo)
        #expect(again.demonstrationBound(port: 4711).gateway.tcp.allowedPorts == [4711])
    }

    @Test func everyKeyHasAnEffect() throws {
        let environment = ["DNS_CACHE_MAX_ENTRIES": "5", "TCP_MUX_MAX_STREAMS": "3", "AERO_GATEWAY_E2E": "1", "DNS_MAX_QUERY_BYTES": "9"]
        guard case .loaded(let loaded) = load(environment: environment) else {
            Issue.record("refused")
            return
        }
        #expect(!loaded.warnings.contains { $0.contains("without effect") })
    }

    @Test func demonstrationAnswersLookUpsUnlessSomebodyNamedResolvers() throws {
        let configuration = try #require(load(demonstration: true).configuration).demonstrationBound(port: 4711)
        #expect(configuration.gateway.dns.upstreams.map(\.label) == ["http://127.0.0.1:4711/dns-query"])
        for upstreams in ["192.0.2.1", ""] {
            let own = try #require(load(environment: ["DNS_UPSTREAMS": upstreams], demonstration: true).configuration)
            #expect(own.demonstrationBound(port: 4711).gateway.dns.upstreams.map(\.label) == (upstreams.isEmpty ? [] : ["192.0.2.1:53"]))
        }
        let plain = try #require(load().configuration)
        #expect(plain.demonstrationBound(port: 4711).gateway.dns.upstreams == plain.gateway.dns.upstreams)
    }

    @Test func demonstrationDoesNotWidenRulesSomebodyWrote() throws {
        let configuration = try #require(load(environment: ["TCP_ALLOWED_PORTS": "443"], demonstration: true).configuration)
        #expect(!configuration.gateway.tcp.allowPrivateAddresses)
        #expect(configuration.gateway.tcp.allowedPorts == [443])
        #expect(configuration.demonstrationBound(port: 5).gateway.tcp.allowedPorts == [443])
    }

    @Test func derivedValuesFollowTheBoundPort() throws {
        let configuration = try #require(load(environment: ["PORT": "0"]).configuration).bound(port: 41_234)
        #expect(configuration.gateway.http.port == 41_234)
        #expect(configuration.gateway.http.publicBaseURL == "http://localhost:41234")
        #expect(configuration.gateway.origins.origins == ["http://localhost:41234"])
        let configured = try #require(
            load(environment: ["PORT": "0", "PUBLIC_BASE_URL": "https://g.test/p", "ALLOWED_ORIGINS": "null"]).configuration
        )
        .bound(port: 41_234)
        #expect(configured.gateway.http.publicBaseURL == "https://g.test/p")
        #expect(configured.gateway.http.basePath == "/p")
        #expect(configured.gateway.origins.origins == ["null"])
        #expect(load(environment: ["PORT": "80"]).configuration?.gateway.http.publicBaseURL == "http://localhost")
    }

    @Test func generatedSecretSurvivesAReload() throws {
        var loader = ConfigurationLoader()
        let first = try loader.load().configuration
        #expect(try loader.load().configuration.gateway.session.secret != first.gateway.session.secret)
        loader.fallbackSecret = first.gateway.session.secret
        #expect(try loader.load().configuration.gateway.session.secret == first.gateway.session.secret)
    }

    @Test func warnings() {
        func warnings(_ environment: [String: String]) -> [String] {
            guard case .loaded(let loaded) = load(environment: environment) else { return ["refused"] }
            return loaded.warnings
        }
        #expect(warnings(["SESSION_SECRET": "x"]).isEmpty)
        #expect(warnings([:]).count == 1)
        #expect(warnings(["SESSION_SECRET": "x", "REDIS_URL": "redis://user:pw@r"]).isEmpty)
        #expect(warnings(["SESSION_SECRET": "x", "TCP_ALLOW_PRIVATE_IPS": "1"]).count == 1)
    }
}
