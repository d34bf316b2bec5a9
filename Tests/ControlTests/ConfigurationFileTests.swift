import Policy
import Testing

@testable import Control

@Suite struct ConfigurationFileTests {
    @Test(arguments: ["", "# nothing\n", "tcp:\n", "tcp: ~\nlog: {}\n", "tcp: { max_connections: ~ }", "listeners: ~"])
    func emptySectionsMeanDefaults(_ text: String) throws {
        let configuration = try #require(load(file: text).configuration)
        #expect(configuration.gateway.tcp == GatewaySettings.TCPSettings())
        #expect(configuration.listeners == [Listener()])
        #expect(configuration.limits == ResourceLimits())
        #expect(configuration.gateway.origins == GatewaySettings().origins)
        #expect(configuration.gateway.dns == GatewaySettings.DNSSettings())
        #expect(configuration.gateway.session.secret.count == 32)
        #expect(configuration.generatesSessionSecret)
    }

    @Test func everyKindOfValueArrives() throws {
        let configuration = try #require(
            load(
                file: """
                    shards: 3
                    listeners:
                      - { name: a, address: "127.0.0.1:1000", features: [sessions, tcp] }
                      - { address: "[::1]:0" }
                    log: { level: debug, format: text }
                    drain: { grace: 2m }
                    gateway:
                      public_base_url: https://Example.com/p/
                      allowed_origins: ["https://a.test:443", null, "*"]
                      cross_origin_isolation: true
                      trust_proxy: true
                      requests_per_minute: 600
                    sessions: { secret: "  geheim  ", lifetime: 12h, cookie_same_site: Strict }
                    tcp:
                      allowed_hosts: ["*.example.com", 10.0.0.1]
                      blocked_hosts: [bad.example.com]
                      allowed_ports: [80, 443]
                      blocked_clients: ["::ffff:192.0.2.1"]
                      require_dns_name: true
                      max_message: 64KiB
                      idle_timeout: 1500ms
                    limits: { connections_per_shard: 4096, small_buffers_per_shard: 256, bulk_buffers_per_shard: 3 }
                    http: { head_timeout: 5s, body_timeout: 1500ms, idle_timeout: 2m }
                    """
            ).configuration)
        #expect(configuration.shards == .exactly(3))
        #expect(configuration.listeners.map(\.name) == ["a", "listener-2"])
        #expect(configuration.listeners[0].serves(.tcp) && !configuration.listeners[0].serves(.demo))
        #expect(configuration.listeners[1].address == ListenAddress(host: "::1", port: 0))
        #expect(configuration.listeners[1].serves(.demo))
        #expect(configuration.log == Log(level: .debug, format: .text))
        #expect(configuration.drainGraceMilliseconds == 120_000)
        let gateway = configuration.gateway
        #expect(gateway.http.shutdownGraceMilliseconds == 120_000)
        #expect(gateway.http.publicBaseURL == "https://example.com/p")
        #expect(gateway.http.basePath == "/p")
        #expect(gateway.origins == OriginAllowlist(anyOrigin: true, origins: ["https://a.test", "null"]))
        #expect(gateway.http.crossOriginIsolation && gateway.http.trustProxy)
        #expect(gateway.http.requestsPerMinute == 600)
        #expect(gateway.session.secret == Array("geheim".utf8))
        #expect(!configuration.generatesSessionSecret)
        #expect(gateway.session.lifetimeSeconds == 43_200)
        #expect(gateway.session.sameSite == .strict)
        #expect(gateway.tcp.allowedHosts.count == 2 && gateway.tcp.blockedHosts.count == 1)
        #expect(gateway.tcp.allowedPorts == [80, 443])
        #expect(gateway.tcp.blockedClients == [IPAddress("192.0.2.1")].compactMap { $0 })
        #expect(gateway.tcp.requireDNSName)
        #expect(gateway.tcp.maxMessageBytes == 65_536)
        #expect(gateway.tcp.idleTimeoutMilliseconds == 1500)
        #expect(configuration.limits.maximumConnectionsPerShard == 4096)
        #expect(configuration.limits.smallBuffersPerShard == 256 && configuration.limits.bulkBuffersPerShard == 3)
        #expect(configuration.http.headMilliseconds == 5000 && configuration.http.bodyMilliseconds == 1500)
        #expect(configuration.http.idleMilliseconds == 120_000)
    }

    @Test(arguments: [
        ("tcp:\n  max_conections: 5", "2:3: tcp.max_conections: unknown key; did you mean `tcp.max_connections`?"),
        ("tpc: {}", "1:1: tpc: unknown key; did you mean `tcp`?"),
        ("max_message: 1MiB", "1:1: max_message: unknown key; did you mean `tcp.max_message`?"),
        ("tcp:\n  max_connections: 0", "2:20: tcp.max_connections: `0` is not allowed; allowed: an integer from 1 to 1000000000"),
        ("tcp: { max_connections: many }", "1:25: tcp.max_connections: `many` is not allowed"),
        ("tcp: { max_connections: [1] }", "1:25: tcp.max_connections: a list where a single value belongs"),
        ("tcp: { max_connections: {} }", "1:25: tcp.max_connections: a mapping where a single value belongs"),
        ("tcp: 5", "1:6: tcp: a single value where the keys of section `tcp` belong"),
        ("tcp: { idle_timeout: 30 }", "1:22: tcp.idle_timeout: `30` is not allowed; allowed: a duration with unit"),
        ("tcp: { idle_timeout: 0s }", "1:22: tcp.idle_timeout: `0s` is not allowed"),
        ("sessions: { lifetime: 1500ms }", "1:23: sessions.lifetime: `1500ms` is not allowed"),
        ("tcp: { max_message: 64KB }", "1:21: tcp.max_message: `64KB` is not allowed; allowed: a size with unit"),
        ("tcp: { require_dns_name: yes }", "1:26: tcp.require_dns_name: `yes` is not allowed; allowed: true or false"),
        ("tcp: { allowed_ports: 80 }", "1:23: tcp.allowed_ports: a single value where a list belongs"),
        ("tcp: { allowed_ports: [80, 70000] }", "1:28: tcp.allowed_ports: entry `70000`: ports are from 1 to 65535"),
        ("tcp: { allowed_ports: [http] }", "1:24: tcp.allowed_ports: number `http`: not an integer"),
        ("tcp: { allowed_ports: [[80]] }", "1:23: tcp.allowed_ports: a list where an item belongs"),
        ("tcp: { allowed_hosts: [\"*\"] }", "1:24: tcp.allowed_hosts: entry"),
        ("tcp: { blocked_hosts: [\"a.*.b\"] }", "1:24: tcp.blocked_hosts: entry"),
        ("tcp: { blocked_clients: [example.com] }", "1:26: tcp.blocked_clients: entry `example.com`: not an IP address"),
        ("gateway: { allowed_origins: [\"ftp://x\"] }", "1:30: gateway.allowed_origins: entry `ftp://x`: not an origin"),
        ("gateway: { public_base_url: /p }", "1:29: gateway.public_base_url: `/p` is not allowed"),
        ("gateway: { public_base_url: \"https://u@h/\" }", "1:29: gateway.public_base_url:"),
        ("gateway: { public_base_url: \"https://h/?q\" }", "1:29: gateway.public_base_url:"),
        ("gateway: { public_base_url: \"https://h/a/../b\" }", "1:29: gateway.public_base_url:"),
        ("log: { level: inof }", "1:15: log.level: `inof` is not allowed; did you mean `info`?"),
        ("log: { level: Info }", "1:15: log.level: `Info` is not allowed; did you mean `info`?"),
        ("sessions: { cookie_same_site: lax }", "1:31: sessions.cookie_same_site: `lax` is not allowed; did you mean `Lax`?"),
        ("sessions: { secret: __REPLACE_ME__ }", "1:21: sessions.secret: this is the placeholder"),
        (
            "sessions: { secret_file: /nonexistent/secret }",
            "1:26: sessions.secret_file: cannot read /nonexistent/secret: No such file"
        ),
        ("sessions: { secret_flie: x }", "1:13: sessions.secret_flie: unknown key; did you mean `sessions.secret_file`?"),
        ("shards: many", "1:9: shards: `many` is not allowed; allowed: auto, or an integer from 1 to 1024"),
        ("shards: 0", "1:9: shards: `0` is not allowed"),
        ("listeners: []", "1:12: listeners: a list of at least one listener belongs here"),
        ("listeners: { address: x }", "1:12: listeners: a list of at least one listener belongs here"),
        ("listeners: [\"0.0.0.0:80\"]", "1:13: listeners[0]: a single value where the keys of a listener belong"),
        ("listeners: [{ adress: x }]", "1:15: listeners[0].adress: unknown key; did you mean `address`?"),
        ("listeners: [{ address: \"x:80\" }]", "1:24: listeners[0].address: `x:80` is no address"),
        ("listeners: [{ name: \"A B\" }]", "1:21: listeners[0].name: `A B` is no name"),
        ("listeners: [{ features: [tpc] }]", "1:26: listeners[0].features: entry `tpc`: no such feature; did you mean `tcp`?"),
        (
            "listeners: [{ features: [l2] }]",
            "1:26: listeners[0].features: entry `l2`: this feature is not available in this version"
        ),
        (
            "listeners: [{ address: \"127.0.0.1:1\" }, { address: \"127.0.0.1:1\" }]",
            "1:12: listeners: two listeners have the address 127.0.0.1:1"
        ),
        (
            "listeners: [{ name: a, address: \"127.0.0.1:1\" }, { name: a, address: \"127.0.0.1:2\" }]",
            "1:12: listeners: two listeners are named `a`"
        ),
        ("edge: { routes: [] }", "1:1: edge: section `edge` is not available in this version"),
        ("listeners: [{ tls: {} }]", "1:20: listeners[0].tls: certificates are missing"),
        ("listeners: [{ tls: ~ }]", "1:20: listeners[0].tls: certificates are missing"),
        (
            "listeners: [{ tls: { certificates: [{ cert: /nonexistent/c }] } }]",
            "1:37: listeners[0].tls.certificates[0]: `key` is missing"
        ),
        (
            "listeners: [{ tls: { certificates: [{ cert: /nonexistent/c, key: /nonexistent/k }] } }]",
            "1:12: listeners[0].tls: cannot read /nonexistent/c: No such file or directory"
        ),
        ("limits: { high_watermark: 512KiB }", "1:11: limits.high_watermark: unknown key"),
        ("limits: { receive_buffer: 16KiB }", "1:11: limits.receive_buffer: unknown key"),
        ("limits: { small_buffers_per_shard: 100 }", "1:36: limits.small_buffers_per_shard: `100` is not allowed"),
        ("http: { head_timeout: 0s }", "1:23: http.head_timeout: `0s` is not allowed"),
        ("- a", "1:1: a list where the sections of a configuration belong"),
        ("just text", "1:1: a single value where the sections of a configuration belong"),
        ("tcp: {}\ntcp: {}", "2:1: `tcp` appears twice"),
        ("port: 80", "1:1: port: unknown key"),
    ]) func refuses(_ text: String, _ expected: String) {
        let faults = load(file: text).faults
        #expect(faults.contains { $0.hasPrefix(expected) }, "\(faults)")
        #expect(faults.allSatisfy { !$0.contains("\n") })
    }

    @Test(arguments: ConfigurationSchema.unavailableSections) func refusesSectionsOfLaterVersions(_ section: String) {
        #expect(load(file: "\(section): {}").faults == ["1:1: \(section): section `\(section)` is not available in this version"])
    }

    @Test func reportsEverythingAtOnce() {
        let faults = load(
            file: "tcp: { max_connections: 0, allowed_ports: [0, x] }\nlgo: {}\n", environment: ["PORT": "x", "TRUST_PROXY": "2"]
        ).faults
        #expect(faults.count == 6, "\(faults)")
    }

    @Test func missingFileIsOneLine() {
        var loader = ConfigurationLoader()
        loader.filePath = "/nonexistent/sluice.yaml"
        let error = #expect(throws: ConfigurationFaults.self) { _ = try loader.load() }
        #expect(error?.description == "cannot read /nonexistent/sluice.yaml: No such file or directory")
        loader.filePath = "/tmp"
        #expect(#expect(throws: ConfigurationFaults.self) { _ = try loader.load() }?.description == "/tmp is not a regular file")
    }

    @Test func secretFileIsTrimmed() throws {
        let secret = TemporaryFile("aus der Datei\n", name: "secret")
        let configuration = try #require(load(file: "sessions: { secret_file: \(secret.path) }").configuration)
        #expect(configuration.gateway.session.secret == Array("aus der Datei".utf8))
    }

    @Test func effectiveConfigurationLoadsToItself() throws {
        let text = """
            tcp: { max_message: 2MiB, allowed_hosts: ["*.example.com"] }
            gateway: { public_base_url: "http://h/p" }
            listeners: [{ address: "[::1]:0" }]
            """
        guard case .loaded(let first) = load(file: text, environment: ["LOG_LEVEL": "warn"]) else {
            Issue.record("refused")
            return
        }
        guard case .loaded(let second) = load(file: first.effectiveText) else {
            Issue.record("the effective text is refused: \(load(file: first.effectiveText).faults)")
            return
        }
        #expect(second.configuration.gateway.tcp == first.configuration.gateway.tcp)
        #expect(second.configuration.gateway.http == first.configuration.gateway.http)
        #expect(second.configuration.listeners == first.configuration.listeners)
        #expect(second.configuration.limits == first.configuration.limits)
        #expect(second.configuration.log == first.configuration.log)
    }

    @Test func aKeyOfControlCharactersForgesNoLine() {
        let outcome = load(file: "\"log\\nsluice: all is well\\e[2J\\x9b\": 1\n")
        #expect(outcome.faults.count == 1)
        #expect(outcome.faults.allSatisfy { $0.unicodeScalars.allSatisfy { $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) } })
        #expect(outcome.faults.first?.contains("log\\u{a}sluice: all is well\\u{1b}[2J\\u{9b}") == true)
    }
}
