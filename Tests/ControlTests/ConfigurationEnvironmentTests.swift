import Foundation
import HTTP
import Policy
import Testing
import Wire

@testable import Control

@Suite struct ConfigurationEnvironmentTests {
    @Test func everyVariableArrives() throws {
        let configuration = try #require(
            load(environment: [
                "HOST": "127.0.0.1", "PORT": "9000", "LOG_LEVEL": "silent", "PUBLIC_BASE_URL": "https://g.test/base/",
                "CROSS_ORIGIN_ISOLATION": "1",
                "TRUST_PROXY": "1", "SHUTDOWN_GRACE_MS": "0", "SESSION_SECRET": " s ", "SESSION_TTL_SECONDS": "60",
                "SESSION_COOKIE_SAMESITE": "None",
                "RATE_LIMIT_REQUESTS_PER_MINUTE": "5", "TCP_ALLOW_PRIVATE_IPS": "1", "TCP_ALLOWED_HOSTS": " a.test , ,*.b.test",
                "TCP_BLOCKED_HOSTS": "c.test",
                "TCP_REQUIRE_DNS_NAME": "1", "TCP_ALLOWED_PORTS": "80, 443", "TCP_BLOCKED_CLIENT_IPS": "192.0.2.7",
                "TCP_PROXY_MAX_CONNECTIONS": "1",
                "TCP_PROXY_MAX_CONNECTIONS_PER_IP": "2", "TCP_PROXY_MAX_MESSAGE_BYTES": "3",
                "TCP_PROXY_MAX_TCP_BUFFER_BYTES": "4",
                "TCP_PROXY_CONNECT_TIMEOUT_MS": "5", "TCP_PROXY_IDLE_TIMEOUT_MS": "6", "TCP_MUX_MAX_STREAMS": "7",
                "TCP_MUX_MAX_STREAM_BUFFER_BYTES": "0",
                "TCP_MUX_MAX_FRAME_PAYLOAD_BYTES": "9", "DNS_UPSTREAMS": "9.9.9.9", "DNS_UPSTREAM_TIMEOUT_MS": "10",
                "DNS_CACHE_MAX_ENTRIES": "0",
                "DNS_CACHE_MAX_TTL_SECONDS": "12", "DNS_CACHE_NEGATIVE_TTL_SECONDS": "13", "DNS_MAX_QUERY_BYTES": "14",
                "DNS_MAX_RESPONSE_BYTES": "15",
                "DNS_ALLOW_ANY": "1", "DNS_ALLOW_PRIVATE_PTR": "1", "DNS_QPS_PER_IP": "0.5", "DNS_BURST_PER_IP": "2.5",
                "UDP_RELAY_BASE_URL": "WSS://Relay.test:443/x/", "UDP_RELAY_AUTH_MODE": "jwt", "UDP_RELAY_JWT_SECRET": " k ",
                "UDP_RELAY_TOKEN_TTL_SECONDS": "16", "UDP_RELAY_AUDIENCE": "a", "UDP_RELAY_ISSUER": "i",
                "AERO_L2_MAX_FRAME_PAYLOAD": "0",
                "AERO_L2_MAX_FRAME_SIZE": "17", "AERO_L2_MAX_CONTROL_PAYLOAD": "18", "AERO_GATEWAY_VERSION": "1.2",
                "GIT_SHA": "abc",
                "BUILD_TIMESTAMP": "now", "AERO_GATEWAY_E2E": "1",
            ]).configuration)
        var expected = GatewaySettings()
        expected.http.bindHost = "127.0.0.1"
        expected.http.port = 9000
        expected.http.logLevel = .silent
        expected.http.publicBaseURL = "https://g.test/base"
        expected.http.basePath = "/base"
        expected.http.crossOriginIsolation = true
        expected.http.trustProxy = true
        expected.http.shutdownGraceMilliseconds = 0
        expected.http.requestsPerMinute = 5
        expected.http.selfTestPage = true
        expected.session.secret = Array("s".utf8)
        expected.session.lifetimeSeconds = 60
        expected.session.sameSite = .none
        expected.origins = OriginAllowlist(anyOrigin: false, origins: ["https://g.test"])
        expected.tcp.allowPrivateAddresses = true
        expected.tcp.allowedHosts = try HostPattern.list(parsing: "a.test,*.b.test")
        expected.tcp.blockedHosts = try HostPattern.list(parsing: "c.test")
        expected.tcp.requireDNSName = true
        expected.tcp.allowedPorts = [80, 443]
        expected.tcp.blockedClients = [try #require(IPAddress("192.0.2.7"))]
        expected.tcp.maxConnections = 1
        expected.tcp.maxConnectionsPerAddress = 2
        expected.tcp.maxMessageBytes = 3
        expected.tcp.maxBufferBytes = 4
        expected.tcp.connectTimeoutMilliseconds = 5
        expected.tcp.idleTimeoutMilliseconds = 6
        expected.mux.maxStreams = 7
        expected.mux.maxStreamBufferBytes = 0
        expected.mux.maxFramePayloadBytes = 9
        expected.dns.upstreams = [.datagram(host: "9.9.9.9", port: 53)]
        expected.dns.upstreamTimeoutMilliseconds = 10
        expected.dns.cacheMaxEntries = 0
        expected.dns.cacheMaxLifetimeSeconds = 12
        expected.dns.cacheNegativeLifetimeSeconds = 13
        expected.dns.maxQueryBytes = 14
        expected.dns.maxResponseBytes = 15
        expected.dns.allowAny = true
        expected.dns.allowPrivatePointer = true
        expected.dns.queriesPerSecondPerAddress = 0.5
        expected.dns.burstPerAddress = 2.5
        var relay = GatewaySettings.RelaySettings(baseURL: "wss://relay.test/x", authentication: .jwt(secret: Array("k".utf8)))
        relay.tokenLifetimeSeconds = 16
        relay.audience = "a"
        relay.issuer = "i"
        expected.relay = relay
        expected.l2.maxFramePayloadBytes = 17
        expected.l2.maxControlPayloadBytes = 18
        expected.version.version = "1.2"
        expected.version.gitRevision = "abc"
        expected.version.builtAt = "now"
        #expect(configuration.gateway == expected)
        #expect(configuration.listeners[0].address == ListenAddress(host: "127.0.0.1", port: 9000))
        #expect(configuration.log.level == .silent)
    }

    /// The variables of the reference.
    private static let variables = """
        AERO_GATEWAY_BUILD_TIMESTAMP AERO_GATEWAY_E2E AERO_GATEWAY_GIT_SHA AERO_GATEWAY_SESSION_SECRET
        AERO_GATEWAY_VERSION AERO_L2_MAX_CONTROL_PAYLOAD AERO_L2_MAX_FRAME_PAYLOAD AERO_L2_MAX_FRAME_SIZE
        ALLOWED_ORIGINS BUILD_TIMESTAMP CROSS_ORIGIN_ISOLATION DNS_ALLOW_ANY DNS_ALLOW_PRIVATE_PTR DNS_BURST_PER_IP
        DNS_CACHE_MAX_ENTRIES DNS_CACHE_MAX_TTL_SECONDS DNS_CACHE_NEGATIVE_TTL_SECONDS DNS_MAX_QUERY_BYTES
        DNS_MAX_RESPONSE_BYTES DNS_QPS_PER_IP DNS_UPSTREAMS DNS_UPSTREAM_TIMEOUT_MS GIT_SHA HOST LOG_LEVEL PORT
        PUBLIC_BASE_URL RATE_LIMIT_REQUESTS_PER_MINUTE REDIS_URL SESSION_COOKIE_SAMESITE SESSION_SECRET SESSION_TTL_SECONDS
        SHUTDOWN_GRACE_MS SLUICE_ADMIN_ADDRESS SLUICE_ADMIN_TOKEN SLUICE_TAKE_OVER TCP_ALLOWED_HOSTS TCP_ALLOWED_PORTS TCP_ALLOW_PRIVATE_IPS
        TCP_BLOCKED_CLIENT_IPS
        TCP_BLOCKED_HOSTS TCP_MUX_MAX_FRAME_PAYLOAD_BYTES TCP_MUX_MAX_STREAMS TCP_MUX_MAX_STREAM_BUFFER_BYTES
        TCP_PROXY_CONNECT_TIMEOUT_MS TCP_PROXY_IDLE_TIMEOUT_MS TCP_PROXY_MAX_CONNECTIONS
        TCP_PROXY_MAX_CONNECTIONS_PER_IP TCP_PROXY_MAX_MESSAGE_BYTES TCP_PROXY_MAX_TCP_BUFFER_BYTES
        TCP_REQUIRE_DNS_NAME TLS_CERT_PATH TLS_ENABLED TLS_KEY_PATH TRUST_PROXY UDP_RELAY_API_KEY UDP_RELAY_AUDIENCE
        UDP_RELAY_AUTH_MODE UDP_RELAY_BASE_URL UDP_RELAY_ISSUER UDP_RELAY_JWT_SECRET UDP_RELAY_TOKEN_TTL_SECONDS
        """

    /// The variables of the UDP relay.
    private static let relayVariables = """
        AERO_ICE_SERVERS_JSON AERO_STUN_URLS AERO_TURN_CREDENTIAL AERO_TURN_URLS AERO_TURN_USERNAME
        AERO_WEBRTC_UDP_RELAY_ICE_GATHERING_TIMEOUT AERO_WEBRTC_UDP_RELAY_LISTEN_ADDR AERO_WEBRTC_UDP_RELAY_LOG_FORMAT
        AERO_WEBRTC_UDP_RELAY_LOG_LEVEL AERO_WEBRTC_UDP_RELAY_MODE AERO_WEBRTC_UDP_RELAY_PUBLIC_BASE_URL
        AERO_WEBRTC_UDP_RELAY_SHUTDOWN_TIMEOUT ALLOWED_ORIGINS ALLOW_PRIVATE_NETWORKS ALLOW_UDP_CIDRS ALLOW_UDP_PORTS
        API_KEY AUTH_MODE DATACHANNEL_SEND_QUEUE_BYTES DENY_UDP_CIDRS DENY_UDP_PORTS DESTINATION_POLICY_PRESET
        HARD_CLOSE_AFTER_VIOLATIONS JWT_SECRET L2_BACKEND_AUTH_FORWARD_MODE L2_BACKEND_FORWARD_AERO_SESSION
        L2_BACKEND_FORWARD_ORIGIN L2_BACKEND_ORIGIN L2_BACKEND_ORIGIN_OVERRIDE L2_BACKEND_TOKEN L2_BACKEND_WS_ORIGIN
        L2_BACKEND_WS_TOKEN L2_BACKEND_WS_URL L2_MAX_MESSAGE_BYTES MAX_ALLOWED_REMOTES_PER_BINDING
        MAX_DATAGRAM_PAYLOAD_BYTES MAX_DC_BPS_PER_SESSION MAX_SESSIONS MAX_SIGNALING_MESSAGES_PER_SECOND
        MAX_SIGNALING_MESSAGE_BYTES MAX_UDP_BINDINGS_PER_SESSION MAX_UDP_BPS_PER_SESSION
        MAX_UDP_DEST_BUCKETS_PER_SESSION MAX_UDP_PPS_PER_DEST MAX_UDP_PPS_PER_SESSION
        MAX_UNIQUE_DESTINATIONS_PER_SESSION POLICY_PRESET PREFER_V2 SESSION_PREALLOC_TTL SIGNALING_AUTH_TIMEOUT
        SIGNALING_WS_IDLE_TIMEOUT SIGNALING_WS_PING_INTERVAL TURN_REST_REALM TURN_REST_SHARED_SECRET
        TURN_REST_TTL_SECONDS TURN_REST_USERNAME_PREFIX UDP_BINDING_IDLE_TIMEOUT UDP_DESTINATION_POLICY_PRESET
        UDP_INBOUND_FILTER_MODE UDP_READ_BUFFER_BYTES UDP_REMOTE_ALLOWLIST_IDLE_TIMEOUT UDP_WS_IDLE_TIMEOUT
        UDP_WS_PING_INTERVAL VIOLATION_WINDOW_SECONDS WEBRTC_DATACHANNEL_MAX_MESSAGE_BYTES WEBRTC_NAT_1TO1_IPS
        WEBRTC_NAT_1TO1_IP_CANDIDATE_TYPE WEBRTC_SCTP_MAX_RECEIVE_BUFFER_BYTES WEBRTC_SESSION_CONNECT_TIMEOUT
        WEBRTC_UDP_LISTEN_IP WEBRTC_UDP_PORT_MAX WEBRTC_UDP_PORT_MIN
        """

    /// The variables of the JWT proxy, but `REDIS_URL`, which is the gateway's too.
    private static let proxyVariables = """
        CB_FAILURE_THRESHOLD CB_HEALTHCHECK_INTERVAL_SECONDS CB_OPEN_TIMEOUT_SECONDS GRACEFUL_DRAIN_TIMEOUT_SECONDS INGRESS_HOST
        JWKS_TTL_MINUTES JWKS_URL JWT_CACHE_PREFIX JWT_CACHE_STORE JWT_COOKIE_NAME JWT_EXPECTED_AUDIENCE JWT_EXPECTED_ISSUER
        JWT_VALID_ALGORITHMS POSTGRES_DSN RATE_LIMIT_BURST RATE_LIMIT_PER_SECOND RAW_WS_BACKEND_URL ROUTE_FILE SHUTDOWN_HARD_LIMIT
        UPSTREAM_WS_URL WS_ALLOWED_ORIGINS WS_CONTROL_TIMEOUT_SECONDS WS_DIAL_RETRY_INTERVAL_SECONDS WS_DIAL_RETRY_MAX
        WS_IDLE_TIMEOUT_SECONDS WS_WRITE_TIMEOUT_SECONDS
        """

    private static func words(_ text: String) -> Set<String> { Set(text.split(whereSeparator: \.isWhitespace).map(String.init)) }

    /// Every variable is declared, so that none is ignored without a word.
    @Test func blankMeansUnset() throws {
        let keys = ConfigurationSchema().keys
        let names = keys.filter { !$0.isRelayed }.flatMap(\.variables)
        #expect(Set(names) == Self.words(Self.variables).union(Self.words(Self.proxyVariables)))
        #expect(Set(names).count == names.count)
        let relayed = keys.filter(\.isRelayed).flatMap(\.variables)
        #expect(Set(relayed) == Self.words(Self.relayVariables))
        #expect(Set(relayed).count == relayed.count)
        var blank = Dictionary((names + relayed).map { ($0, "  ") }) { first, _ in first }
        blank["DNS_UPSTREAMS"] = nil
        blank["ALLOW_PRIVATE_NETWORKS"] = nil  // blank is a fault there
        let configuration = try #require(load(environment: blank).configuration)
        var expected = GatewaySettings()
        expected.session.secret = configuration.gateway.session.secret
        #expect(configuration.gateway == expected)
    }

    @Test(
        arguments: [
            (["PORT": "65536"], "Invalid PORT"), (["PORT": "x"], "Invalid PORT"), (["PORT": "1e3"], "Invalid PORT"),
            (["PORT": "-1"], "Invalid PORT"),
            (["HOST": "gateway.example.com"], "Invalid HOST"), (["LOG_LEVEL": "verbose"], "Invalid LOG_LEVEL"),
            (["PUBLIC_BASE_URL": "ftp://x"], "Invalid PUBLIC_BASE_URL"),
            (["PUBLIC_BASE_URL": "gateway"], "Invalid PUBLIC_BASE_URL"),
            (["ALLOWED_ORIGINS": "https://a.test/path"], "Invalid ALLOWED_ORIGINS entry `https://a.test/path`"),
            (
                ["ALLOWED_ORIGINS": Array(repeating: "*", count: 1025).joined(separator: ",")],
                "Invalid ALLOWED_ORIGINS: more than 1024 items"
            ),
            (
                ["ALLOWED_ORIGINS": String(repeating: "*,", count: 32_769)],
                "Invalid ALLOWED_ORIGINS: longer than 65536 characters"
            ),
            (
                ["DNS_UPSTREAMS": Array(repeating: "1.1.1.1", count: 1025).joined(separator: ",")],
                "Invalid DNS_UPSTREAMS: more than 1024 items"
            ),
            (["DNS_UPSTREAMS": "1::2:53"], "Invalid DNS_UPSTREAMS entry"),
            (["DNS_UPSTREAMS": "1.1.1.1:0x35"], "Invalid DNS_UPSTREAMS entry"),
            (["TRUST_PROXY": "true"], "Invalid TRUST_PROXY"), (["TRUST_PROXY": "2"], "Invalid TRUST_PROXY"),
            (["TLS_ENABLED": "yes"], "Invalid TLS_ENABLED"), (["TCP_ALLOW_PRIVATE_IPS": "on"], "Invalid TCP_ALLOW_PRIVATE_IPS"),
            (["SHUTDOWN_GRACE_MS": "-1"], "Invalid SHUTDOWN_GRACE_MS"),
            (["SHUTDOWN_GRACE_MS": "10s"], "Invalid SHUTDOWN_GRACE_MS"),
            (["SESSION_TTL_SECONDS": "0"], "Invalid SESSION_TTL_SECONDS"),
            (["SESSION_COOKIE_SAMESITE": "lax"], "Invalid SESSION_COOKIE_SAMESITE"),
            (["SESSION_SECRET": "__REPLACE_ME__"], "Invalid SESSION_SECRET: this is the placeholder"),
            (
                ["AERO_GATEWAY_SESSION_SECRET": " __REPLACE_ME__\n"],
                "Invalid AERO_GATEWAY_SESSION_SECRET: this is the placeholder"
            ),
            (["RATE_LIMIT_REQUESTS_PER_MINUTE": "1.5"], "Invalid RATE_LIMIT_REQUESTS_PER_MINUTE"),
            (["TCP_ALLOWED_PORTS": "80,70000"], "Invalid TCP_ALLOWED_PORTS entry `70000`"),
            (["TCP_ALLOWED_PORTS": "0"], "Invalid TCP_ALLOWED_PORTS entry"),
            (["TCP_ALLOWED_PORTS": "http"], "Invalid TCP_ALLOWED_PORTS number `http`"),
            (["TCP_ALLOWED_PORTS": "80.5"], "Invalid TCP_ALLOWED_PORTS number"),
            (["TCP_ALLOWED_HOSTS": "*"], "Invalid TCP_ALLOWED_HOSTS entry"),
            (["TCP_BLOCKED_HOSTS": "a_b"], "Invalid TCP_BLOCKED_HOSTS entry"),
            (["TCP_BLOCKED_CLIENT_IPS": "1.2.3"], "Invalid TCP_BLOCKED_CLIENT_IPS entry"),
            (["TCP_PROXY_MAX_CONNECTIONS": "0"], "Invalid TCP_PROXY_MAX_CONNECTIONS"),
            (["TCP_PROXY_MAX_MESSAGE_BYTES": "0x10"], "Invalid TCP_PROXY_MAX_MESSAGE_BYTES"),
            (["TCP_PROXY_IDLE_TIMEOUT_MS": "99999999999999999999"], "Invalid TCP_PROXY_IDLE_TIMEOUT_MS"),
            (["DNS_QPS_PER_IP": "-0.5"], "Invalid DNS_QPS_PER_IP"), (["DNS_BURST_PER_IP": "inf"], "Invalid DNS_BURST_PER_IP"),
            (["UDP_RELAY_BASE_URL": "ftp://r"], "Invalid UDP_RELAY_BASE_URL"),
            (["UDP_RELAY_BASE_URL": "relay"], "Invalid UDP_RELAY_BASE_URL"),
            (["UDP_RELAY_AUTH_MODE": "token"], "Invalid UDP_RELAY_AUTH_MODE"),
            (["UDP_RELAY_BASE_URL": "ws://r", "UDP_RELAY_AUTH_MODE": "api_key"], "UDP_RELAY_API_KEY is required"),
            (
                ["UDP_RELAY_BASE_URL": "ws://r", "UDP_RELAY_AUTH_MODE": "jwt", "UDP_RELAY_JWT_SECRET": "  "],
                "UDP_RELAY_JWT_SECRET is required"
            ),
            (["AERO_L2_MAX_FRAME_PAYLOAD": "-1"], "Invalid AERO_L2_MAX_FRAME_PAYLOAD"),
            (["TLS_ENABLED": "1"], "TLS_CERT_PATH is required"), (["TLS_ENABLED": "1"], "TLS_KEY_PATH is required"),
            (["TLS_ENABLED": "1", "TLS_CERT_PATH": "/nonexistent/c", "TLS_KEY_PATH": "/tmp"], "cannot read /nonexistent/c"),
            (["TLS_ENABLED": "1", "TLS_CERT_PATH": "/nonexistent/c", "TLS_KEY_PATH": "/tmp"], "/tmp is not a regular file"),
            (["PORT_FILE": "/nonexistent/port"], "Invalid PORT: cannot read /nonexistent/port"),
            (
                ["SESSION_SECRET_FILE": "/nonexistent/s", "SESSION_SECRET": "x"],
                "SESSION_SECRET and SESSION_SECRET_FILE are both set"
            ),
        ] as [([String: String], String)]) func refuses(_ environment: [String: String], _ words: String)
    {
        let faults = load(environment: environment).faults
        #expect(faults.contains { $0.contains(words) }, "\(faults)")
        #expect(faults.allSatisfy { $0.hasPrefix("environment: ") && !$0.contains("\n") }, "\(faults)")
    }

    @Test func relayNeedsNoKeyWithoutAddress() {
        #expect(load(environment: ["UDP_RELAY_AUTH_MODE": "jwt"]).configuration?.gateway.relay == nil)
        #expect(load(environment: ["UDP_RELAY_AUTH_MODE": "jwt"]).faults.isEmpty)
    }

    @Test(arguments: [
        ("https://Relay.test:443/", "https://relay.test"), ("ws://r:80", "ws://r"), ("wss://r:80/a", "wss://r:80/a"),
        ("http://r/a//", "http://r/a/"),
    ])
    func relayAddressIsNormalised(_ text: String, _ expected: String) {
        #expect(load(environment: ["UDP_RELAY_BASE_URL": text]).configuration?.gateway.relay?.baseURL == expected)
    }

    @Test func noResolversIsAValue() {
        #expect(load(environment: ["DNS_UPSTREAMS": ""]).configuration?.gateway.dns.upstreams == [])
    }

    @Test func laxSwitchesAreOffUnlessOne() {
        for text in ["0", "true", "yes", "2"] {
            #expect(load(environment: ["CROSS_ORIGIN_ISOLATION": text]).configuration?.gateway.http.crossOriginIsolation == false)
        }
    }

    @Test func valuesComeFromMountedFiles() throws {
        let secret = TemporaryFile("s3cret\n", name: "secret")
        let port = TemporaryFile("9123\r\n", name: "port")
        let configuration = try #require(
            load(environment: ["SESSION_SECRET_FILE": secret.path, "PORT_FILE": port.path]).configuration)
        #expect(configuration.gateway.session.secret == Array("s3cret".utf8))
        #expect(configuration.gateway.http.port == 9123)
    }

    @Test func ownSecretVariableWins() {
        func secret(_ environment: [String: String]) -> [UInt8]? {
            load(environment: environment).configuration?.gateway.session.secret
        }
        #expect(secret(["AERO_GATEWAY_SESSION_SECRET": "a", "SESSION_SECRET": "b"]) == Array("a".utf8))
        #expect(secret(["AERO_GATEWAY_SESSION_SECRET": " ", "SESSION_SECRET": "b"]) == Array("b".utf8))
    }

    @Test func placeholderIsRefusedEvenFromAFile() {
        let secret = TemporaryFile("__REPLACE_ME__\n", name: "secret")
        #expect(load(environment: ["SESSION_SECRET_FILE": secret.path]).faults.count == 1)
        #expect(load(file: "sessions: { secret_file: \(secret.path) }").faults.count == 1)
    }
}

/// What of HTTP is bound without anybody configuring it.
@Suite struct HTTPDefaultTests {
    @Test func timesAndSizesAreThoseOfTheTable() throws {
        let http = try #require(load().configuration?.http)
        #expect(http.idleMilliseconds == 72_000 && http.headMilliseconds == 60_000)
        let limits = ServerLimits()
        #expect(limits.idleMilliseconds == 72_000 && limits.headMilliseconds == 60_000 && limits.bodyBytes == 1_048_576)
        #expect(HTTPLimits().targetBytes == 8192 && HTTPLimits().headBytes == 16_384)
    }
}
