// Every setting of the session gateway as one plain immutable value.
//
// The configuration loader fills it from the environment and the configuration file, checks the bounds named in each
// comment, and publishes it inside a snapshot; features only read it. A default here is the default of the product:
// the loader starts from `GatewaySettings()` and changes what the operator named. The name in capitals is the
// environment variable. Nothing here is checked again later, so a value outside its bounds must never be stored.

/// The session gateway's settings, grouped by the part of the gateway that reads them.
public struct GatewaySettings: Sendable, Equatable {
    /// Listening, TLS, proxy trust, request limits.
    public var http = HTTPSettings()
    /// Session cookie and token.
    public var session = SessionSettings()
    /// Which origins may call. `ALLOWED_ORIGINS`; the default is the origin of `http.publicBaseURL`.
    public var origins = OriginAllowlist(anyOrigin: false, origins: ["http://localhost:8080"])
    /// Egress rules and limits of `/tcp`.
    public var tcp = TCPSettings()
    /// Limits of `/tcp-mux`.
    public var mux = MuxSettings()
    /// DNS over HTTPS.
    public var dns = DNSSettings()
    /// Credentials handed out for the UDP relay; nil when no relay is configured (`UDP_RELAY_BASE_URL` empty).
    public var relay: RelaySettings?
    /// Limits advertised for the L2 tunnel.
    public var l2 = L2Settings()
    /// What `/version` answers.
    public var version = VersionSettings()

    /// All defaults.
    public init() {}
}

extension GatewaySettings {
    /// Log threshold, `LOG_LEVEL`. The raw value is the configuration spelling.
    public enum LogLevel: String, Sendable, CaseIterable {
        case trace, debug, info, warn, error, fatal, silent

        /// The number written in log records: 10 for trace up to 60 for fatal; `silent` lies above all of them.
        public var severity: Int {
            switch self {
            case .trace: 10
            case .debug: 20
            case .info: 30
            case .warn: 40
            case .error: 50
            case .fatal: 60
            case .silent: 1000
            }
        }
    }

    /// A PEM pair on disk, present when `TLS_ENABLED=1`.
    public struct TLSFiles: Sendable, Equatable {
        /// `TLS_CERT_PATH`: PEM certificate chain, leaf first.
        public var certificatePath: String
        /// `TLS_KEY_PATH`: PEM private key of the leaf.
        public var keyPath: String

        /// The pair of files.
        public init(certificatePath: String, keyPath: String) {
            self.certificatePath = certificatePath
            self.keyPath = keyPath
        }
    }

    /// Listening, TLS, proxy trust and the limits that hold for every request.
    public struct HTTPSettings: Sendable, Equatable {
        /// `HOST`: address to bind, non-empty.
        public var bindHost = "0.0.0.0"
        /// `PORT`: 0...65535; 0 asks the kernel for a free port, which is printed when listening.
        public var port: UInt16 = 8080
        /// `LOG_LEVEL`.
        public var logLevel = LogLevel.info
        /// `PUBLIC_BASE_URL`: http or https, without a trailing slash. Its path is `basePath`.
        public var publicBaseURL = "http://localhost:8080"
        /// The path of `PUBLIC_BASE_URL` without trailing slashes: empty, or begins with `/`. Every route is served at
        /// its plain path and at `basePath` + path.
        public var basePath = ""
        /// `CROSS_ORIGIN_ISOLATION`: adds COOP, COEP, CORP and Origin-Agent-Cluster to every plain response.
        public var crossOriginIsolation = false
        /// `TRUST_PROXY`: believe `X-Forwarded-For` and `X-Forwarded-Proto`.
        public var trustProxy = false
        /// `SHUTDOWN_GRACE_MS`: ≥ 0; after this long a drain ends by force.
        public var shutdownGraceMilliseconds = 10_000
        /// `RATE_LIMIT_REQUESTS_PER_MINUTE` per client address: ≥ 0, 0 switches the limiter off.
        public var requestsPerMinute = 0
        /// `TLS_ENABLED`, `TLS_CERT_PATH`, `TLS_KEY_PATH`: nil means plain HTTP.
        public var tls: TLSFiles?
        /// `AERO_GATEWAY_E2E`: serves the browser self-test page at `/e2e`.
        public var selfTestPage = false

        /// All defaults.
        public init() {}
    }

    /// Session cookie and token.
    public struct SessionSettings: Sendable, Equatable {
        /// `AERO_GATEWAY_SESSION_SECRET`, else `SESSION_SECRET`: UTF-8 bytes of the trimmed text. Empty means "make 32
        /// random bytes at start", which the loader does, so that a running gateway never sees an empty secret.
        public var secret: [UInt8] = []
        /// `SESSION_TTL_SECONDS`: ≥ 1; lifetime of a session and Max-Age of its cookie.
        public var lifetimeSeconds = 86_400
        /// `SESSION_COOKIE_SAMESITE`.
        public var sameSite = SessionCookie.SameSite.lax

        /// All defaults.
        public init() {}
    }

    /// Egress rules and limits of TCP over WebSocket.
    public struct TCPSettings: Sendable, Equatable {
        /// `TCP_ALLOW_PRIVATE_IPS`: switches the address rules off. For development.
        public var allowPrivateAddresses = false
        /// `TCP_ALLOWED_HOSTS`: empty allows every host.
        public var allowedHosts: [HostPattern] = []
        /// `TCP_BLOCKED_HOSTS`: wins over `allowedHosts`.
        public var blockedHosts: [HostPattern] = []
        /// `TCP_REQUIRE_DNS_NAME`: refuses targets written as an address, in any spelling.
        public var requireDNSName = false
        /// `TCP_ALLOWED_PORTS`: 1...65535 each; empty allows every port.
        public var allowedPorts: [UInt16] = []
        /// `TCP_BLOCKED_CLIENT_IPS`: clients whose upgrades are refused. Compared after `IPAddress.normalized`.
        public var blockedClients: [IPAddress] = []
        /// `TCP_PROXY_MAX_CONNECTIONS` of one session: ≥ 1.
        public var maxConnections = 64
        /// `TCP_PROXY_MAX_CONNECTIONS_PER_IP`: ≥ 0, 0 is off.
        public var maxConnectionsPerAddress = 0
        /// `TCP_PROXY_MAX_MESSAGE_BYTES`: ≥ 1; largest WebSocket message.
        public var maxMessageBytes = 1_048_576
        /// `TCP_PROXY_MAX_TCP_BUFFER_BYTES`: ≥ 1; bytes of a client waiting for a slow target.
        public var maxBufferBytes = 10_485_760
        /// `TCP_PROXY_CONNECT_TIMEOUT_MS`: ≥ 1.
        public var connectTimeoutMilliseconds = 10_000
        /// `TCP_PROXY_IDLE_TIMEOUT_MS`: ≥ 1.
        public var idleTimeoutMilliseconds = 300_000

        /// All defaults.
        public init() {}
    }

    /// Limits of TCP multiplexing.
    public struct MuxSettings: Sendable, Equatable {
        /// `TCP_MUX_MAX_STREAMS` of one WebSocket: ≥ 1.
        public var maxStreams = 1024
        /// `TCP_MUX_MAX_STREAM_BUFFER_BYTES`: ≥ 0; client to target, per stream.
        public var maxStreamBufferBytes = 1_048_576
        /// `TCP_MUX_MAX_FRAME_PAYLOAD_BYTES`: ≥ 0.
        public var maxFramePayloadBytes = 16_777_216

        /// All defaults.
        public init() {}
    }

    /// DNS over HTTPS.
    public struct DNSSettings: Sendable, Equatable {
        /// `DNS_UPSTREAMS`: tried in order; empty makes every query fail with SERVFAIL.
        public var upstreams: [DNSUpstream] = [
            .datagram(host: "1.1.1.1", port: 53), .datagram(host: "8.8.8.8", port: 53),
        ]
        /// PEM file with the authorities that vouch for `https` upstreams; empty is the system's.
        public var upstreamAuthoritiesPath = ""
        /// Digest of what that file said when it was read: another one is another set of authorities.
        public var upstreamAuthoritiesDigest = ""
        /// `DNS_UPSTREAM_TIMEOUT_MS`: ≥ 1, per attempt.
        public var upstreamTimeoutMilliseconds = 2000
        /// `DNS_CACHE_MAX_ENTRIES`: ≥ 0, 0 switches the cache off.
        public var cacheMaxEntries = 10_000
        /// `DNS_CACHE_MAX_TTL_SECONDS`: ≥ 0.
        public var cacheMaxLifetimeSeconds = 300
        /// `DNS_CACHE_NEGATIVE_TTL_SECONDS`: ≥ 0; used when a negative answer carries no SOA.
        public var cacheNegativeLifetimeSeconds = 60
        /// `DNS_MAX_QUERY_BYTES`: ≥ 0.
        public var maxQueryBytes = 4096
        /// `DNS_MAX_RESPONSE_BYTES`: ≥ 0.
        public var maxResponseBytes = 4096
        /// `DNS_ALLOW_ANY`: answer queries of type ANY.
        public var allowAny = false
        /// `DNS_ALLOW_PRIVATE_PTR`: answer reverse queries for private addresses.
        public var allowPrivatePointer = false
        /// `DNS_QPS_PER_IP`: ≥ 0, fractions allowed; 0 switches the limiter off.
        public var queriesPerSecondPerAddress = 10.0
        /// `DNS_BURST_PER_IP`: ≥ 0; 0 switches the limiter off.
        public var burstPerAddress = 20.0

        /// All defaults.
        public init() {}
    }

    /// How a client proves itself to the UDP relay, `UDP_RELAY_AUTH_MODE` with what the mode needs.
    public enum RelayAuthentication: Sendable, Equatable {
        /// No credential.
        case none
        /// `UDP_RELAY_API_KEY`, handed out verbatim; non-empty.
        case apiKey(String)
        /// `UDP_RELAY_JWT_SECRET`: UTF-8 bytes, non-empty; signs HS256 tokens.
        case jwt(secret: [UInt8])
    }

    /// What the gateway knows about the UDP relay.
    public struct RelaySettings: Sendable, Equatable {
        /// `UDP_RELAY_BASE_URL`: normalised, http, https, ws or wss, no trailing slash.
        public var baseURL: String
        /// `UDP_RELAY_AUTH_MODE`.
        public var authentication: RelayAuthentication
        /// `UDP_RELAY_TOKEN_TTL_SECONDS`: ≥ 1.
        public var tokenLifetimeSeconds = 300
        /// `UDP_RELAY_AUDIENCE`: the `aud` claim; empty leaves it out.
        public var audience = ""
        /// `UDP_RELAY_ISSUER`: the `iss` claim; empty leaves it out.
        public var issuer = ""

        /// A relay at `baseURL` with the default lifetime and no audience or issuer.
        public init(baseURL: String, authentication: RelayAuthentication = .none) {
            self.baseURL = baseURL
            self.authentication = authentication
        }
    }

    /// Limits of the L2 tunnel service, advertised to clients.
    public struct L2Settings: Sendable, Equatable {
        /// `AERO_L2_MAX_FRAME_PAYLOAD`, else `AERO_L2_MAX_FRAME_SIZE`: ≥ 1 (0 and blank mean the default).
        public var maxFramePayloadBytes = 2048
        /// `AERO_L2_MAX_CONTROL_PAYLOAD`: ≥ 1 (0 and blank mean the default).
        public var maxControlPayloadBytes = 256

        /// All defaults.
        public init() {}
    }

    /// What `/version` answers.
    public struct VersionSettings: Sendable, Equatable {
        /// `AERO_GATEWAY_VERSION`.
        public var version = "dev"
        /// `AERO_GATEWAY_GIT_SHA`, else `GIT_SHA`, else the version.
        public var gitRevision = "dev"
        /// `AERO_GATEWAY_BUILD_TIMESTAMP`, else `BUILD_TIMESTAMP`.
        public var builtAt = ""

        /// All defaults.
        public init() {}
    }
}
