import Foundation
import SharedState
import Testing

@testable import Control

/// A configuration of the JWT proxy that came out, with what was said.
private func proxy(
    file: String? = nil, _ environment: [String: String] = [:], set: [String] = []
) throws -> (settings: ProxyDraft, loaded: LoadedConfiguration) {
    switch load(file: file, environment: environment, set: set) {
    case .loaded(let loaded): return (loaded.configuration.proxy.settings, loaded)
    case .refused(let faults):
        Issue.record("\(faults)")
        throw ConfigurationFaults(faults: [])
    }
}

/// Variables with which go-ws-gateway-proxy starts, without a route file.
private let start = [
    "JWKS_URL": "https://id.test/certs", "UPSTREAM_WS_URL": "ws://broker.test:15675/ws", "JWT_EXPECTED_ISSUER": "https://id.test",
    "JWT_EXPECTED_AUDIENCE": "rabbitmq",
]

/// Every variable of section 22.1: default, valid, invalid.
@Suite struct ProxyVariableTests {
    @Test func defaultsAreThoseOfTheReference() throws {
        let (settings, loaded) = try proxy(["JWKS_URL": "https://id.test/certs", "UPSTREAM_WS_URL": "ws://b.test/ws"])
        #expect(settings.profile == "compat")
        #expect(settings.origins.isEmpty && settings.cookieName == "session")
        let provider = try #require(settings.providers.first)
        #expect(provider.keySetURL == "https://id.test/certs" && provider.refreshSeconds == 600 && provider.algorithms == ["RS256"])
        #expect(provider.allowsAnyIssuer && provider.allowsAnyAudience)
        #expect(settings.store.kind == "memory" && settings.store.prefix == "jwt_cached_token_")
        #expect(settings.timeouts.deadPeerSeconds == 60 && settings.timeouts.writeSeconds == 10 && settings.timeouts.controlSeconds == 1)
        #expect(settings.drain.timeoutSeconds == 30 && settings.drain.hardLimitSeconds == 5)
        #expect(settings.breaker == ProxyBreakerDraft(failures: 5, openSeconds: 60, probeIntervalSeconds: 30))
        #expect(settings.dial.attempts == 3 && settings.dial.retryDelayMilliseconds == 2000)
        #expect(settings.rate.messagesPerSecond == 10 && settings.rate.burst == 30 && settings.rate.action == "close")
        #expect(settings.closeCodes == "standard" && settings.publicMetrics == "true")
        #expect(loaded.warnings.contains { $0.contains("JWT_EXPECTED_ISSUER") })
        #expect(loaded.warnings.contains { $0.contains("JWT_EXPECTED_AUDIENCE") })
        #expect(loaded.warnings.contains { $0.contains("keep_credential_query") })
        let route = try #require(settings.routes.first)
        #expect(route.authentication.reject == "close" && route.mqtt.roles == "user_property" && route.mqtt.lenientPassword == "true")
    }

    @Test func everyVariableArrives() throws {
        var environment = start
        environment.merge([
            "WS_ALLOWED_ORIGINS": " https://a.test , *.b.test", "JWT_COOKIE_NAME": "sid", "JWKS_TTL_MINUTES": "1440",
            "JWT_EXPECTED_AUDIENCE": "a, b", "JWT_VALID_ALGORITHMS": "RS256, ES256", "JWT_CACHE_STORE": "redis",
            "JWT_CACHE_PREFIX": "p:", "REDIS_URL": "rediss://u:secret@r.test:7000/3", "POSTGRES_DSN": "host=pg password=hunter2",
            "WS_IDLE_TIMEOUT_SECONDS": "90", "WS_WRITE_TIMEOUT_SECONDS": "600", "WS_CONTROL_TIMEOUT_SECONDS": "60",
            "GRACEFUL_DRAIN_TIMEOUT_SECONDS": "0", "SHUTDOWN_HARD_LIMIT": "0", "CB_FAILURE_THRESHOLD": "1000",
            "CB_OPEN_TIMEOUT_SECONDS": "3600", "CB_HEALTHCHECK_INTERVAL_SECONDS": "0", "WS_DIAL_RETRY_MAX": "20",
            "WS_DIAL_RETRY_INTERVAL_SECONDS": "0", "RATE_LIMIT_PER_SECOND": "0", "RATE_LIMIT_BURST": "1000000",
            "RAW_WS_BACKEND_URL": "wss://raw.test", "INGRESS_HOST": "gw.example.com",
        ]) { $1 }
        let (settings, loaded) = try proxy(environment)
        #expect(settings.origins == ["https://a.test", "*.b.test"] && settings.cookieName == "sid")
        let provider = settings.providers[0]
        #expect(provider.refreshSeconds == 86_400 && provider.issuer == "https://id.test" && provider.audiences == ["a", "b"])
        #expect(provider.algorithms == ["RS256", "ES256"] && !provider.allowsAnyIssuer)
        #expect(settings.store.kind == "redis" && settings.store.prefix == "p:" && loaded.configuration.redis?.location.port == 7000)
        #expect(settings.timeouts.deadPeerSeconds == 90 && settings.timeouts.writeSeconds == 600 && settings.timeouts.controlSeconds == 60)
        #expect(settings.drain.timeoutSeconds == 0 && settings.drain.hardLimitSeconds == 0)
        #expect(settings.breaker == ProxyBreakerDraft(failures: 1000, openSeconds: 3600, probeIntervalSeconds: 0))
        #expect(settings.dial.attempts == 20 && settings.dial.retryDelayMilliseconds == 0)
        #expect(settings.rate.messagesPerSecond == 0 && settings.rate.burst == 1_000_000)
        #expect(settings.publicHost == "gw.example.com")
        #expect(settings.routes.last?.upstreams == [
            ProxyUpstreamDraft(url: "ws://broker.test:15675/ws", carries: "mqtt"),
            ProxyUpstreamDraft(url: "wss://raw.test", carries: "raw"),
        ])
        #expect(settings.routes.last?.prefix == "/ws" && settings.routes.last?.query == ["preserve"])
        for secret in ["hunter2", "secret@"] { #expect(!loaded.effectiveText.contains(secret)) }
    }

    @Test(arguments: [
        ("WS_ALLOWED_ORIGINS", "https://a.test/path", "not an origin"), ("WS_ALLOWED_ORIGINS", "*", "cookies come with every page"),
        ("JWT_COOKIE_NAME", "a b", "allowed: letters"), ("JWKS_URL", "/certs", "an absolute http or https URL"),
        ("JWKS_URL", "https://u:hunter2@id.test/", "an absolute http or https URL"),
        ("JWKS_TTL_MINUTES", "0", "from 1 to 1440"), ("JWKS_TTL_MINUTES", "1441", "from 1 to 1440"),
        ("JWKS_TTL_MINUTES", "ten", "from 1 to 1440"), ("JWT_VALID_ALGORITHMS", "none", "no algorithm"),
        ("JWT_VALID_ALGORITHMS", "rs256", "did you mean `RS256`"), ("JWT_VALID_ALGORITHMS", "HS256", "HS256, HS384 and HS512 belong"),
        ("JWT_CACHE_STORE", "etcd", "memory, redis or postgres"), ("JWT_CACHE_PREFIX", "a b", "1 to 64"),
        ("WS_IDLE_TIMEOUT_SECONDS", "4", "from 5 to 86400"),
        ("WS_IDLE_TIMEOUT_SECONDS", "60s", "from 5 to 86400"), ("WS_WRITE_TIMEOUT_SECONDS", "0", "from 1 to 600"),
        ("WS_WRITE_TIMEOUT_SECONDS", "601", "from 1 to 600"), ("WS_CONTROL_TIMEOUT_SECONDS", "61", "from 1 to 60"),
        ("GRACEFUL_DRAIN_TIMEOUT_SECONDS", "-1", "from 0 to 86400"), ("SHUTDOWN_HARD_LIMIT", "601", "from 0 to 600"),
        ("CB_FAILURE_THRESHOLD", "0", "from 1 to 1000"), ("CB_OPEN_TIMEOUT_SECONDS", "0", "from 1 to 3600"),
        ("CB_HEALTHCHECK_INTERVAL_SECONDS", "3601", "from 0 to 3600"), ("WS_DIAL_RETRY_MAX", "0", "from 1 to 20"),
        ("WS_DIAL_RETRY_INTERVAL_SECONDS", "61", "from 0 to 60"), ("RATE_LIMIT_PER_SECOND", "-1", "from 0 to 1000000"),
        ("RATE_LIMIT_BURST", "0", "from 1 to 1000000"), ("ROUTE_FILE", "/nonexistent/routes.yaml", "cannot read /nonexistent/routes.yaml"),
        ("UPSTREAM_WS_URL", "broker:15675", "an absolute ws or wss URL"), ("UPSTREAM_WS_URL", "ws://h#f", "an absolute ws or wss URL"),
        ("RAW_WS_BACKEND_URL", "ftp://h/", "an absolute ws or wss URL"), ("INGRESS_HOST", "a/b", "is no host"),
    ])
    func invalidValuesStopTheStart(_ name: String, _ value: String, _ words: String) {
        var environment = start
        environment[name] = value
        let faults = load(environment: environment).faults
        #expect(faults.contains { $0.contains("Invalid \(name)") || $0.contains("HS256") }, "\(faults)")
        #expect(faults.contains { $0.contains(words) } && !faults.contains { $0.contains("hunter2") }, "\(faults)")
    }

    @Test func emptyCountsAsUnsetAndFilesAreRead() throws {
        let url = TemporaryFile("https://id.test/certs\n", name: "jwks")
        var environment = start
        environment["JWKS_URL"] = ""
        environment["JWKS_URL_FILE"] = url.path
        environment["WS_IDLE_TIMEOUT_SECONDS"] = " "
        let (settings, loaded) = try proxy(environment)
        #expect(settings.providers[0].keySetURL == "https://id.test/certs" && settings.timeouts.deadPeerSeconds == 60)
        #expect(loaded.filesRead.contains(url.path))
        #expect(load(environment: ["UPSTREAM_WS_URL": "ws://b.test"]).faults.contains { $0.contains("JWKS_URL is required") })
    }

    @Test func unknownVariablesAreNamed() throws {
        var environment = start
        environment["WS_IDLE_TIMEOUT_SECOND"] = "5"
        environment["SHUTDOWN_HARD_LIMT"] = "5"
        environment["REDIS_URI"] = "redis://r"
        environment["POSTGRES_DNS"] = "host=pg"
        environment["POSTGRES_DB"] = "of-the-database"
        environment["INGRESS_HOSTNAME"] = "gw.test"
        environment["WS_GATEWAY_SERVICE_HOST"] = "10.0.0.1"
        environment["WS_GATEWAY_PORT_80_TCP"] = "tcp://10.0.0.1:80"
        environment["JWT_SECRET"] = "of-the-relay"
        environment["AUTH_MODE"] = "jwt"
        let warnings = try proxy(environment).loaded.warnings.filter { $0.contains("not known") }
        #expect(warnings == [
            ("INGRESS_HOSTNAME", "INGRESS_HOST"), ("POSTGRES_DNS", "POSTGRES_DSN"), ("REDIS_URI", "REDIS_URL"),
            ("SHUTDOWN_HARD_LIMT", "SHUTDOWN_HARD_LIMIT"), ("WS_IDLE_TIMEOUT_SECOND", "WS_IDLE_TIMEOUT_SECONDS"),
        ].map { "variable \($0) is not known and has no effect; did you mean \($1)?" })
    }

    @Test func storesThatAreNotThereBecomeMemory() throws {
        for kind in ["redis", "postgres"] {
            let (settings, loaded) = try proxy(start.merging(["JWT_CACHE_STORE": kind]) { $1 })
            #expect(settings.store.kind == "memory" && loaded.warnings.contains { $0.contains("JWT_CACHE_STORE is \(kind)") })
        }
    }

    @Test("an address that cannot be understood counts as none, is warned of, and is not repeated", arguments: [
        ("redis", "REDIS_URL", "http://u:hunter2@r"), ("", "REDIS_URL", "hunter2"), ("postgres", "POSTGRES_DSN", "hunter2"),
        ("postgres", "POSTGRES_DSN", "postgres://u:hunter2/x@h/db"), ("postgres", "POSTGRES_DSN", "host=h hunter2=x"),
    ])
    func storesThatCannotBeUnderstoodBecomeMemory(_ kind: String, _ name: String, _ value: String) throws {
        let (settings, loaded) = try proxy(start.merging(["JWT_CACHE_STORE": kind, name: value]) { $1 })
        #expect(settings.store.kind == "memory" && loaded.configuration.redis == nil)
        #expect(loaded.warnings.contains { $0.contains(name) } && !loaded.warnings.contains { $0.contains("hunter2") })
        #expect(!loaded.effectiveText.contains("hunter2"))
    }

    @Test("Postgres keeps revocations, whether Redis shares budgets or not")
    func postgres() throws {
        let places = ["postgres://u:hunter2@pg.test:5433/gw": "pg.test:5433/gw", "host=pg dbname=gw password=hunter2": "pg/gw"]
        for (source, place) in places {
            for redis in ["", "redis://r.test"] {
                let variables = ["JWT_CACHE_STORE": "postgres", "POSTGRES_DSN": source, "REDIS_URL": redis]
                let (settings, loaded) = try proxy(start.merging(variables) { $1 })
                #expect(settings.store.kind == "postgres" && (loaded.configuration.redis == nil) == redis.isEmpty)
                #expect(loaded.warnings.contains { $0.contains("shared through Postgres") } == redis.isEmpty)
                #expect(PostgresSettings(settings.store.postgresSource)?.description == place)
                #expect(!loaded.effectiveText.contains("hunter2") && !"\(loaded.warnings)".contains("hunter2"))
            }
        }
    }

    @Test("what that program shares through Redis it shares wherever it caches tokens")
    func storesWithRedis() throws {
        // Without a database the last is Redis, too.
        for kind in ["", "memory", "redis", "postgres"] {
            let (settings, loaded) = try proxy(start.merging(["JWT_CACHE_STORE": kind, "REDIS_URL": "redis://r.test"]) { $1 })
            #expect(settings.store.kind == "redis", "\(kind)")
            #expect(loaded.warnings.contains { $0.contains("postgres") && $0.contains("REDIS_URL") } == (kind == "postgres"))
            let plan = try #require(loaded.configuration.proxy.policy)
            #expect(plan.draft.store.kind == "redis" && loaded.configuration.redis?.location.host == "r.test")
        }
    }

    @Test func theProcessIsThatProxyOnly() throws {
        let (_, loaded) = try proxy(start.merging(["PORT": "9000"]) { $1 })
        let configuration = loaded.configuration
        #expect(configuration.proxy.isAlone && configuration.listeners.count == 1)
        #expect(configuration.listeners[0].features == [.jwt] && configuration.listeners[0].address.description == "0.0.0.0:9000")
        #expect(configuration.drainGraceMilliseconds == 35_000)
        // What is printed is in force when it is loaded: sessions have the same time to go.
        let again = load(file: loaded.effectiveText)
        #expect(again.configuration?.drainGraceMilliseconds == 35_000, "\(again.faults)")
        let beside = try proxy(start.merging(["SESSION_SECRET": "x"]) { $1 }).loaded.configuration
        #expect(!beside.proxy.isAlone && beside.listeners[0].features.isEmpty && beside.drainGraceMilliseconds == 10_000)
        let none = try #require(load(environment: ["WS_IDLE_TIMEOUT_SECONDS": "90", "REDIS_URL": "redis://r"]).configuration)
        #expect(!none.proxy.isConfigured && none.listeners[0].features.isEmpty)
    }
}

/// `routes.yaml`.
@Suite struct RouteFileTests {
    /// The two entries that go-ws-gateway-proxy ships.
    private static let shipped = """
        - prefix: /mqtt
          upstream: ws://rabbitmq.messaging.svc.cluster.local:15675/ws
          copySubProtocol: false
          preserveQuery: true
        - prefix: /livekit
          upstream: wss://livekit.messaging.svc.cluster.local:7880/rtc
          copySubProtocol: true
          preserveQuery: yes
          comment: ignored
        """

    private func outcome(_ text: String, _ more: [String: String] = [:]) -> (Outcome, String) {
        let file = TemporaryFile(text, name: "routes.yaml")
        var environment = start
        environment["UPSTREAM_WS_URL"] = nil
        environment["ROUTE_FILE"] = file.path
        return (load(environment: environment.merging(more) { $1 }), file.path)
    }

    @Test func shippedFileStarts() throws {
        let (outcome, path) = outcome(Self.shipped)
        guard case .loaded(let loaded) = outcome else {
            Issue.record("\(outcome.faults)")
            return
        }
        let routes = loaded.configuration.proxy.settings.routes
        #expect(routes.map(\.prefix) == ["/mqtt", "/livekit"] && routes.allSatisfy { $0.match == "string" && $0.carries == "auto" })
        #expect(routes.map(\.subprotocolChoice) == ["gateway", "upstream"] && routes.allSatisfy { $0.query == ["preserve"] })
        #expect(routes[1].upstreams == [ProxyUpstreamDraft(url: "wss://livekit.messaging.svc.cluster.local:7880/rtc")])
        #expect(loaded.filesRead.contains(path))
        // What is printed loads to the same, without any variable.
        let again = load(file: loaded.effectiveText)
        #expect(again.configuration?.proxy.settings.routes == routes, "\(again.faults)")
        #expect(again.configuration?.proxy.settings.profile == "compat" && again.configuration?.proxy.isAlone == true)
        #expect(again.configuration?.proxy.settings.providers == loaded.configuration.proxy.settings.providers)
    }

    @Test func implicitRouteComesLast() throws {
        let routes = try #require(outcome(Self.shipped, ["UPSTREAM_WS_URL": "ws://b.test"]).0.configuration).proxy.settings.routes
        #expect(routes.map(\.prefix) == ["/mqtt", "/livekit", "/ws"])
        #expect(outcome("", ["UPSTREAM_WS_URL": "ws://b.test"]).0.configuration?.proxy.settings.routes.count == 1)
    }

    @Test(arguments: [
        ("", "no route: add one"), ("prefix: /a", "1:1: a mapping where a list of routes belongs"),
        ("- prefix: /a", "1:3: [0]: `upstream` is missing"), ("- 5", "1:3: [0]: a single value where the keys of a route belong"),
        ("- { prefix: /a, upstream: \"ws:///x\" }", "1:27: [0].upstream: `ws:///x` is not allowed"),
        ("- { prefix: /a, upstream: \"ws://u:p@h/\" }", "[0].upstream: `…@h/` is not allowed"),
        ("- { upstream: \"ws://h\" }\n- { prefix: [a], upstream: \"ws://h\" }", "2:13: [1].prefix: a list where a text belongs"),
        ("- { prefix: /a, upstream: \"ws://h\", preserveQuery: 2 }", "[0].preserveQuery: allowed: true or false"),
        ("- { prefix: a, upstream: \"ws://h\" }", "[0].prefix: `a` is no path"), ("- [", ": did not find"),
    ])
    func errorsNameFileEntryAndKey(_ text: String, _ words: String) {
        let (outcome, path) = outcome(text)
        #expect(outcome.faults.contains { $0.contains(words) }, "\(outcome.faults)")
        if !text.isEmpty { #expect(outcome.faults.contains { $0.hasPrefix(path + ":") }, "\(outcome.faults)") }
    }

    @Test func flagYieldsToTheVariable() throws {
        let first = TemporaryFile("- { upstream: \"ws://flag\" }", name: "flag.yaml")
        let second = TemporaryFile("- { upstream: \"ws://variable\" }", name: "variable.yaml")
        guard case .serve(let options) = try Invocation.parse(["serve", "--route-file=\(first.path)"]) else {
            Issue.record("not understood")
            return
        }
        var loader = ConfigurationLoader()
        loader.assignments = options.assignments
        loader.environment = start
        loader.environment["UPSTREAM_WS_URL"] = nil
        #expect(try loader.load().configuration.proxy.settings.routes.map { $0.upstreams[0].url } == ["ws://flag"])
        loader.environment["ROUTE_FILE"] = second.path
        #expect(try loader.load().configuration.proxy.settings.routes.map { $0.upstreams[0].url } == ["ws://variable"])
    }
}

/// Section `jwt` of the file.
@Suite struct ProxyFileTests {
    /// The excerpt of the specification.
    static let native = """
        jwt:
          listen: "127.0.0.1:9080"
          trusted_proxies: [10.0.0.0/8]
          origins: ["https://app.example.com", "*.example.com"]
          providers:
            - name: keycloak
              issuer: https://id.example.com/realms/main
              jwks_url: https://id.example.com/realms/main/protocol/openid-connect/certs
              audiences: [rabbitmq]
              algorithms: [RS256, ES256]
              leeway: 30s
              refresh: 10m
              key_grace: 1h
              rules: [{ claim: /scope, contains: mqtt }]
          routes:
            - name: mqtt
              prefix: /mqtt
              protocol: mqtt
              upstreams: [{ url: "wss://rabbit-0.messaging:15676/ws" }, { url: "wss://rabbit-1.messaging:15676/ws", weight: 2 }]
              auth: { providers: [keycloak], sources: [mqtt_password, cookie], reject: http }
              mqtt: { password: token, username: "claim:/preferred_username", client_id: "prefix_claim:/sub" }
              authz: { mode: scopes, vhost: "/", exchange: amq.topic }
              expiry: close
              rate: { messages_per_second: 100, burst: 300, action: throttle }
            - prefix: /raw
              upstreams: [{ url: "ws://raw.test" }]
              query: [room, lang]
              upstream: { claims: { X-Auth-Subject: /sub } }
              authz: { mode: off }
          limits: { sessions_per_subject: 32, sessions: 200000 }
          store: { kind: memory, failure: open }
          admin: { listen: "127.0.0.1:9090" }
          drain: { delay: 5s, timeout: 30s, code: 1001 }
        """

    @Test func excerptLoads() throws {
        let (settings, loaded) = try proxy(file: Self.native)
        #expect(settings.profile == "native" && settings.providers[0].keyGraceSeconds == 3600)
        #expect(settings.providers[0].rules == [ProxyClaimRuleDraft(claim: "/scope", contains: "mqtt")])
        let route = settings.routes[0]
        #expect(route.upstreams.map(\.weight) == [1, 2] && route.mqtt.password == "token" && route.authorization.modes == ["scopes"])
        #expect(route.authentication.sources == ["mqtt_password", "cookie"] && route.authentication.reject == "http")
        #expect(route.rate.messagesPerSecond == 100 && route.match == "segment" && route.inspects)
        #expect(settings.routes[1].query == ["room", "lang"])
        #expect(settings.routes[1].identity.claims == [ConfigurationPair(name: "X-Auth-Subject", value: "/sub")])
        #expect(settings.rate.messagesPerSecond == 0 && settings.closeCodes == "extended")
        #expect(loaded.configuration.proxy.isAlone && loaded.configuration.listeners.map(\.address.description) == ["127.0.0.1:9080"])
        #expect(loaded.configuration.admin.address?.port == 9090)
        let again = try proxy(file: loaded.effectiveText)
        #expect(again.settings == settings)
        // The other name of the section.
        #expect(try proxy(file: Self.native.replacingOccurrences(of: "jwt:", with: "jwt_proxy:")).settings == settings)
    }

    @Test func standsBesideOtherFeatures() throws {
        let configuration = try proxy(file: Self.native + "\nsessions: { lifetime: 1h }").loaded.configuration
        #expect(!configuration.proxy.isAlone && configuration.listeners.map(\.name) == ["public", "jwt-proxy"])
        #expect(configuration.listeners[1].features == [.jwt])
    }

    @Test func nothingIsPrintedOfWhatIsNotThere() throws {
        guard case .loaded(let loaded) = load() else { return }
        #expect(!loaded.effectiveText.contains("\njwt:"))
        #expect(!loaded.configuration.proxy.isConfigured)
    }

    @Test func secretsAreNotPrinted() throws {
        let secret = TemporaryFile("0123456789abcdef0123456789abcdef\n", name: "hmac")
        let text = """
            jwt:
              providers: [{ name: local, secret_file: \(secret.path), allow_any_issuer: true, allow_any_audience: true }]
              routes: [{ prefix: /a, upstreams: [{ url: "ws://h" }] }]
            """
        let (settings, loaded) = try proxy(file: text)
        #expect(settings.providers[0].algorithms == ["HS256"] && loaded.filesRead.contains(secret.path))
        #expect(!loaded.effectiveText.contains("0123456789abcdef"))
    }

    private static let provider = "{ name: p, issuer: i, audiences: [a], jwks_url: \"https://h/\" }"

    @Test(arguments: [
        ("jwt: { orgins: [] }", "1:8: jwt.orgins: unknown key; did you mean `jwt.origins`?"),
        ("jwt: { routes: {} }", "1:16: jwt.routes: a mapping where a list belongs; each item is a route"),
        ("jwt: { routes: [x] }", "1:17: jwt.routes[0]: a single value where the keys of a route belong"),
        ("jwt: { routes: [{ prefix: /a }] }", "1:17: jwt.routes[0]: `upstreams` is missing"),
        ("jwt: { routes: [{ prefx: /a }] }", "1:19: jwt.routes[0].prefx: unknown key; did you mean `prefix`?"),
        (
            "jwt: { routes: [{ upstreams: [{ uri: x }] }] }",
            "1:33: jwt.routes[0].upstreams[0].uri: unknown key; did you mean `url`?"
        ),
        ("jwt: { routes: [{ auth: { source: [cookie] } }] }", "jwt.routes[0].auth.source: unknown key; did you mean `auth.sources`?"),
        ("jwt: { routes: [{ auth: { sources: [coookie] } }] }", "1:37: jwt.routes[0].auth.sources: entry `coookie`: no source of tokens"),
        ("jwt: { routes: [{ auth: [] }] }", "jwt.routes[0].auth: a list where the keys of section `jwt.routes[0].auth` belong"),
        (
            "jwt: { routes: [{ rate: { burst: 0 } }] }",
            "jwt.routes[0].rate.burst: `0` is not allowed; allowed: an integer from 1 to 1000000"
        ),
        ("jwt: { timeouts: { dead_peer: 60 } }", "1:31: jwt.timeouts.dead_peer: `60` is not allowed; allowed: a duration with unit"),
        ("jwt: { providers: [\(provider)] }", "jwt.routes: no route: add one"),
        ("jwt: { routes: [{ upstreams: [{ url: \"ws://h\" }] }] }", "jwt.providers: no provider"),
        (
            "jwt: { providers: [{ name: p, issuer: i, audiences: [a] }], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.providers[0]: no keys"
        ),
        (
            "jwt: { providers: [\(provider)], routes: [{ auth: { providers: [q] }, upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.routes[0].auth.providers: no provider is named `q`"
        ),
        (
            "jwt: { providers: [\(provider)], routes: [{ authz: { mode: rules }, upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.routes[0].authz.rules: `rules` belong to authz.mode: rules"
        ),
        (
            "jwt: { providers: [\(provider)], routes: [{ compression: passthrough, inspect: on, upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.routes[0].compression: compressed packets cannot be looked into"
        ),
        (
            "jwt: { providers: [{ name: p, jwks_url: \"http://h/\", audiences: [a] }], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.providers[0].jwks_url: fetched without TLS"
        ),
        (
            "jwt: { origins: [\"*\"], providers: [\(provider)], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.origins: * admits every page"
        ),
        (
            "jwt: { store: { kind: redis }, providers: [\(provider)], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.store.kind: redis needs"
        ),
        (
            "jwt: { store: { kind: postgres }, providers: [\(provider)], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.store.kind: postgres needs jwt.store.url_file or POSTGRES_DSN"
        ),
        (
            "jwt: { store: { kind: redis, url: \"http://h\" }, providers: [\(provider)], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.store.url: not a Redis URL"
        ),
        (
            "jwt: { state_dir: /nonexistent/keys, providers: [\(provider)], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.state_dir: /nonexistent/keys: No such file or directory; create it"
        ),
        ("jwt: {}\njwt_proxy: {}", "2:1: jwt_proxy: another name of section `jwt`"),
        (
            "jwt: { providers: [\(provider)], routes: [{ tls: { cert_file: /nonexistent/c }, upstreams: [{ url: \"ws://h\" }] }] }",
            "jwt.routes[0]: `tls.cert_file` and `tls.key_file` belong together"
        ),
    ])
    func faultsNamePlaceAndKey(_ text: String, _ words: String) {
        let faults = load(file: text).faults
        #expect(faults.contains { $0.contains(words) }, "\(faults)")
    }

    @Test("a file that says memory shares nothing, one that says nothing shares through redis.url")
    func storesOfFiles() throws {
        let rest = "providers: [\(Self.provider)], routes: [{ upstreams: [{ url: \"ws://h\" }] }] }"
        func kind(_ text: String) throws -> String { try proxy(file: text).settings.store.kind }
        #expect(try kind("redis: { url: \"redis://r\" }\njwt: { \(rest)") == "redis")
        #expect(try kind("redis: { url: \"redis://r\" }\njwt: { store: { kind: memory }, \(rest)") == "memory")
        #expect(try kind("jwt: { \(rest)") == "memory")
        let file = try proxy(file: "jwt: { store: { kind: postgres, url: \"postgres://h/name\" }, \(rest)")
        #expect(file.settings.store.kind == "postgres" && file.settings.store.postgresSource == "postgres://h/name")
        let faults = load(file: "jwt: { store: { kind: postgres, url: \"postgres://u:hunter2/x@h\" }, \(rest)").faults
        #expect(faults.contains { $0.contains("jwt.store.url: not a PostgreSQL URL") } && !faults.contains { $0.contains("hunter2") })
    }
}
