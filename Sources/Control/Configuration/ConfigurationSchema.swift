// Every key this version knows. Defaults are not repeated here: they are what an untouched `ConfigurationDraft` holds.

import Policy

/// The keys of the configuration file and of the environment.
struct ConfigurationSchema {
    typealias Key = ConfigurationKey<ConfigurationDraft>

    /// The file as a whole; its keys are in the order of the reference.
    let root: ConfigurationMapping<ConfigurationDraft>
    /// All keys that are not of a list's items.
    var keys: [Key] { root.keys }

    /// Sections of the complete product that this version does not have. They are refused: a section that is
    /// accepted and ignored would leave somebody unprotected.
    static let unavailableSections = ["l2", "edge", "protect", "tunnel"]
    /// Other names of sections.
    static let sectionAliases = ["jwt_proxy": "jwt"]

    // Upper bounds. The reference has none; these keep every product and sum of the arithmetic inside 64 bits.
    static let longestTimerMilliseconds = 24 * 86_400_000  // what the reference's timers hold too (2^31 ms)
    static let longestLifetimeSeconds = 100 * 365 * 86_400
    static let largestSizeBytes = 1 << 40
    static let largestCount = 1_000_000_000

    init() {
        root = ConfigurationMapping(
            noun: "a configuration",
            keys: Self.process + Self.admin + Self.http + Self.timeouts + Self.sessions + Self.tcp + Self.mux + Self.dns + Self.udp
                + Self.jwt + Self.demo + Self.resources + Self.redis + Self.environmentAddress + Self.relay + Self.advertised
                + Self.udpEnvironment + Self.jwtEnvironment,
            lists: [Self.listeners] + Self.jwtLists)
    }

    private static var process: [Key] {
        [
            .amount(
                "shards", .automaticOr(1...1024), at: \.shards,
                "Shards: threads with a ring of their own. auto is one per usable core."
            ).atStartOnly(),
            .flag(
                "take_over", .zeroOrOne, "SLUICE_TAKE_OVER", at: \.configuration.takesOver,
                "Listens on ports that another process of the same user serves, for a restart without a gap: start the new process, then "
                    + "end the old one with SIGTERM. Without it a port that is taken stops the start."),
            .text(
                "log.level", .choice(LogLevel.allCases.map(\.name)), "LOG_LEVEL", at: \.logLevel,
                "Records below this level are not written."),
            .text(
                "log.format", .choice(LogFormat.allCases.map(\.rawValue)), at: \.logFormat,
                "json: one object per line. text: for people."),
            .amount(
                "drain.grace", .duration(0...longestTimerMilliseconds, .milliseconds), "SHUTDOWN_GRACE_MS",
                at: \.configuration.drainGraceMilliseconds,
                "How long live work may finish after SIGTERM; then the process leaves with status 1."),
        ]
    }

    private static var admin: [Key] {
        [
            .text(
                "admin.address", .text, "SLUICE_ADMIN_ADDRESS", at: \.adminAddress, check: { $0.isEmpty ? nil : checkAddress($0) },
                "Where the admin interface listens, for example 127.0.0.1:9901; empty: nowhere. `sluice top` reads it."),
            .text(
                "admin.token", .secret, "SLUICE_ADMIN_TOKEN", at: \.adminToken, check: checkAdminToken,
                "What its clients have to show (Authorization: Bearer). Required unless the address is a loopback address."),
        ]
    }

    private static var http: [Key] {
        [
            .text(
                "gateway.public_base_url", .text, "PUBLIC_BASE_URL", at: \.publicBaseURL, check: { BaseURL.problem($0) },
                "The URL clients see, http or https. Its path prefixes every route; its origin is the default allowlist. "
                    + "Default: http://localhost:PORT."
            ),
            .list(
                "gateway.allowed_origins", of: "origins, null or *", "ALLOWED_ORIGINS", at: \.allowedOrigins, check: checkOrigin,
                "Origins that may call from a browser. Default: the origin of gateway.public_base_url."),
            .flag(
                "gateway.cross_origin_isolation", .oneIsOn, "CROSS_ORIGIN_ISOLATION",
                at: \.configuration.gateway.http.crossOriginIsolation,
                "Adds the COOP, COEP, CORP and Origin-Agent-Cluster headers."),
            .flag(
                "gateway.trust_proxy", .zeroOrOne, "TRUST_PROXY", at: \.configuration.gateway.http.trustProxy,
                "Believe X-Forwarded-For and X-Forwarded-Proto. Only behind a proxy that overwrites them."),
            .amount(
                "gateway.requests_per_minute", .integer(0...largestCount), "RATE_LIMIT_REQUESTS_PER_MINUTE",
                at: \.configuration.gateway.http.requestsPerMinute, "Requests of one client address a minute; 0 is unlimited."),
            .flag(
                "gateway.self_test_page", .oneIsOn, "AERO_GATEWAY_E2E", at: \.configuration.gateway.http.selfTestPage,
                "Serves the browser self-test page at /e2e."
            ).environmentOnly(),
        ]
    }

    private static var timeouts: [Key] {
        [
            .amount(
                "http.head_timeout", .duration(1...longestTimerMilliseconds, .milliseconds), at: \.configuration.http.headMilliseconds,
                "Time for a request's head, from its first byte or from the connection; then 408."),
            .amount(
                "http.body_timeout", .duration(1...longestTimerMilliseconds, .milliseconds), at: \.configuration.http.bodyMilliseconds,
                "Time for a request's body, from the end of its head; then 408."),
            .amount(
                "http.idle_timeout", .duration(1...longestTimerMilliseconds, .milliseconds), at: \.configuration.http.idleMilliseconds,
                "Time between two requests of a connection; then it is closed."),
        ]
    }

    private static var sessions: [Key] {
        [
            .text(
                "sessions.secret", .secret, "AERO_GATEWAY_SESSION_SECRET", "SESSION_SECRET", at: \.sessionSecret,
                check: checkSecret,
                "Key of the session cookie. Empty: random at every start, so sessions do not outlive the process."),
            .amount(
                "sessions.lifetime", .duration(1...longestLifetimeSeconds, .seconds), "SESSION_TTL_SECONDS",
                at: \.configuration.gateway.session.lifetimeSeconds, "Lifetime of a session and Max-Age of its cookie."),
            .text(
                "sessions.cookie_same_site", .choice(SessionCookie.SameSite.allCases.map(\.rawValue)), "SESSION_COOKIE_SAMESITE",
                at: \.sameSite,
                "The SameSite attribute of the cookie."),
        ]
    }

    private static var tcp: [Key] {
        [
            .flag(
                "tcp.allow_private_ips", .zeroOrOne, "TCP_ALLOW_PRIVATE_IPS",
                at: \.configuration.gateway.tcp.allowPrivateAddresses,
                "Switches the address rules off: clients then reach loopback and private networks. For development."),
            .list(
                "tcp.allowed_hosts", of: "names, *.names or IP addresses", "TCP_ALLOWED_HOSTS", at: \.allowedHosts,
                check: checkHostPattern,
                "Targets that may be reached; empty allows all public ones."),
            .list(
                "tcp.blocked_hosts", of: "names, *.names or IP addresses", "TCP_BLOCKED_HOSTS", at: \.blockedHosts,
                check: checkHostPattern,
                "Targets that may not be reached; wins over tcp.allowed_hosts."),
            .flag(
                "tcp.require_dns_name", .oneIsOn, "TCP_REQUIRE_DNS_NAME", at: \.configuration.gateway.tcp.requireDNSName,
                "Refuses targets written as an IP address."),
            .list(
                "tcp.allowed_ports", of: "ports from 1 to 65535", "TCP_ALLOWED_PORTS", at: \.allowedPorts, check: checkPort,
                "Target ports that may be reached; empty allows all."),
            .list(
                "tcp.blocked_clients", of: "IP addresses", "TCP_BLOCKED_CLIENT_IPS", at: \.blockedClients, check: checkClient,
                "Client addresses whose upgrades are refused."),
            .amount(
                "tcp.max_connections", .integer(1...largestCount), "TCP_PROXY_MAX_CONNECTIONS",
                at: \.configuration.gateway.tcp.maxConnections,
                "TCP connections of one session."),
            .amount(
                "tcp.max_connections_per_ip", .integer(0...largestCount), "TCP_PROXY_MAX_CONNECTIONS_PER_IP",
                at: \.configuration.gateway.tcp.maxConnectionsPerAddress, "TCP connections of one client address; 0 is unlimited."
            ),
            .amount(
                "tcp.max_message", .size(1...largestSizeBytes), "TCP_PROXY_MAX_MESSAGE_BYTES",
                at: \.configuration.gateway.tcp.maxMessageBytes, "Largest WebSocket message; a larger one closes with 1009."),
            .amount(
                "tcp.max_buffer", .size(1...largestSizeBytes), "TCP_PROXY_MAX_TCP_BUFFER_BYTES",
                at: \.configuration.gateway.tcp.maxBufferBytes, "Bytes from one client waiting for a slow target."),
            .amount(
                "tcp.connect_timeout", .duration(1...longestTimerMilliseconds, .milliseconds), "TCP_PROXY_CONNECT_TIMEOUT_MS",
                at: \.configuration.gateway.tcp.connectTimeoutMilliseconds, "Time to resolve and reach a target."),
            .amount(
                "tcp.idle_timeout", .duration(1...longestTimerMilliseconds, .milliseconds), "TCP_PROXY_IDLE_TIMEOUT_MS",
                at: \.configuration.gateway.tcp.idleTimeoutMilliseconds, "A connection without traffic for this long is closed."),
        ]
    }

    private static var mux: [Key] {
        [
            .amount(
                "tcp.mux_max_streams", .integer(1...largestCount), "TCP_MUX_MAX_STREAMS",
                at: \.configuration.gateway.mux.maxStreams, "Streams of one multiplexed WebSocket."),
            .amount(
                "tcp.mux_max_stream_buffer", .size(0...largestSizeBytes), "TCP_MUX_MAX_STREAM_BUFFER_BYTES",
                at: \.configuration.gateway.mux.maxStreamBufferBytes, "Bytes of one multiplexed stream waiting for its target."),
            .amount(
                "tcp.mux_max_frame_payload", .size(0...largestSizeBytes), "TCP_MUX_MAX_FRAME_PAYLOAD_BYTES",
                at: \.configuration.gateway.mux.maxFramePayloadBytes, "Largest payload of one multiplexing frame."),
        ]
    }

    private static var demo: [Key] {
        [
            .flag(
                "demo.enabled", .zeroOrOne, at: \.configuration.demo.enabled,
                "Serves the demonstration page at /demo and starts its small service."),
            .text("demo.service_address", at: \.demoAddress, check: checkAddress, "Where the demonstration service listens."),
        ]
    }

    private static var resources: [Key] {
        [
            .amount(
                "limits.connections_per_shard", .integer(64...4_194_304), at: \.configuration.limits.maximumConnectionsPerShard,
                "Connections of one shard, clients and targets together; a WebSocket with its target takes two, "
                    + "and while a name with several addresses is dialled up to three more."
            ).atStartOnly(),
            .amount(
                "limits.udp_sockets_per_shard", .integer(0...4_194_304), at: \.configuration.limits.maximumDatagramSocketsPerShard,
                "Sockets of /udp on one shard; one more takes the place of one of the session that has most. "
                    + "0: half of its connections and descriptors."
            ).atStartOnly(),
            .amount(
                "limits.small_buffers_per_shard", .integer(256...65_536), at: \.configuration.limits.smallBuffersPerShard,
                "Buffers of 4 KiB of one shard; memory is used only where they were."
            ).atStartOnly(),
            .amount(
                "limits.bulk_buffers_per_shard", .integer(2...32_768), at: \.configuration.limits.bulkBuffersPerShard,
                "Buffers of 512 KiB of one shard, for streams in bulk; memory is used only where they were."
            ).atStartOnly(),
            .amount(
                "limits.listen_backlog", .integer(1...65_535), at: \.configuration.limits.listenBacklog,
                "Connections the kernel keeps waiting on a listener."),
            .amount(
                "limits.log_buffer_per_shard", .size(4096...67_108_864), at: \.configuration.limits.logBufferBytesPerShard,
                "Log bytes of one shard waiting to be written; what does not fit is dropped and counted."
            ).atStartOnly(),
        ]
    }

    private static var redis: [Key] {
        [
            .text(
                "redis.url", .secret, "REDIS_URL", at: \.redisURL,
                "Redis server through which several instances share connection counts, rate limits and revoked sessions: "
                    + "redis:// or, with TLS, rediss:// and [[user]:password@]host[:port][/database]. "
                    + "Empty: every instance limits for itself."),
            .text(
                "redis.prefix", at: \.redisPrefix, check: checkRedisPrefix,
                "Begins every key in Redis; instances with the same prefix share their limits."),
            .text(
                "redis.authorities", at: \.redisAuthorities,
                "PEM file of the authorities the certificate of a rediss:// server may come from. Empty: the system's."),
        ]
    }

    private static var environmentAddress: [Key] {
        [
            .text("host", .text, "HOST", at: \.host, check: checkHost, "Address of the first listener.").environmentOnly(),
            .amount("port", .integer(0...65_535), "PORT", at: \.port, "Port of the first listener; 0 picks a free one.")
                .environmentOnly(),
            .flag("tls_enabled", .zeroOrOne, "TLS_ENABLED", at: \.tlsEnabled,
                "TLS on the first listener: https and wss only.").environmentOnly(),
            .text("tls_cert_path", .text, "TLS_CERT_PATH", at: \.tlsCertificatePath,
                "PEM certificate chain, leaf first; exchanged files are taken without a restart.").environmentOnly(),
            .text("tls_key_path", .text, "TLS_KEY_PATH", at: \.tlsKeyPath,
                "PEM private key of the leaf, without a pass phrase.").environmentOnly(),
        ]
    }

    private static var relay: [Key] {
        [
            .text(
                "udp_relay_base_url", .text, "UDP_RELAY_BASE_URL", at: \.relayBaseURL, check: { RelayURL.problem($0) },
                "Where clients find the UDP relay; empty: none is announced."
            ).environmentOnly(),
            .text(
                "udp_relay_auth_mode", .choice(["none", "api_key", "jwt"]), "UDP_RELAY_AUTH_MODE", at: \.relayAuthentication,
                "How clients prove themselves to the relay."
            ).environmentOnly(),
            .text(
                "udp_relay_api_key", .secret, "UDP_RELAY_API_KEY", at: \.relayKey, check: checkSecret,
                "The key handed out for api_key."
            ).environmentOnly(),
            .text(
                "udp_relay_jwt_secret", .secret, "UDP_RELAY_JWT_SECRET", at: \.relaySecret, check: checkSecret,
                "The key that signs tokens for jwt."
            ).environmentOnly(),
            .amount(
                "udp_relay_token_ttl", .duration(1...longestLifetimeSeconds, .seconds), "UDP_RELAY_TOKEN_TTL_SECONDS",
                at: \.relayLifetimeSeconds, "Lifetime of a token."
            ).environmentOnly(),
            .text("udp_relay_audience", .text, "UDP_RELAY_AUDIENCE", at: \.relayAudience, "The aud claim.").environmentOnly(),
            .text("udp_relay_issuer", .text, "UDP_RELAY_ISSUER", at: \.relayIssuer, "The iss claim.").environmentOnly(),
        ]
    }

    private static var advertised: [Key] {
        [
            .amount(
                "l2_max_frame_payload", .integer(0...largestCount), "AERO_L2_MAX_FRAME_PAYLOAD", at: \.l2FramePayloadBytes,
                "Announced frame limit of the L2 tunnel; 0 is 2048."
            ).environmentOnly(),
            .amount(
                "l2_max_frame_size", .integer(0...largestCount), "AERO_L2_MAX_FRAME_SIZE", at: \.l2LegacyFramePayloadBytes,
                "Older name of AERO_L2_MAX_FRAME_PAYLOAD."
            ).environmentOnly(),
            .amount(
                "l2_max_control_payload", .integer(0...largestCount), "AERO_L2_MAX_CONTROL_PAYLOAD", at: \.l2ControlPayloadBytes,
                "Announced control limit of the L2 tunnel; 0 is 256."
            ).environmentOnly(),
            .text("version", .text, "AERO_GATEWAY_VERSION", at: \.configuration.gateway.version.version, "What /version answers.")
                .environmentOnly(),
            .text("git_revision", .text, "AERO_GATEWAY_GIT_SHA", "GIT_SHA", at: \.gitRevision, "What /version answers.")
                .environmentOnly(),
            .text(
                "built_at", .text, "AERO_GATEWAY_BUILD_TIMESTAMP", "BUILD_TIMESTAMP", at: \.configuration.gateway.version.builtAt,
                "What /version answers."
            ).environmentOnly(),
        ]
    }
}
