import Policy

extension ConfigurationSchema {
    /// Section `jwt`, without its lists.
    static var jwt: [Key] { jwtService + jwtLimits + jwtTimes + jwtUpstreams + jwtStore + jwtDrain + jwtOperation }

    /// Lists of section `jwt`.
    static var jwtLists: [ConfigurationList<ConfigurationDraft>] {
        [
            ConfigurationList(
                "jwt.providers", of: proxyProvider, at: \.proxy.providers, make: { _ in ProxyProviderDraft() },
                "Issuers of tokens, with their keys and rules. A route names those it believes; without names, the first."),
            ConfigurationList(
                "jwt.routes", of: proxyRoute, at: \.proxy.routes, make: { _ in ProxyRouteDraft() }, check: proxyRouteProblem,
                "Where WebSockets go, by path; the first that matches takes the client."),
        ]
    }

    private static let milliseconds = ConfigurationType.duration(0...longestTimerMilliseconds, .milliseconds)
    static let noLimitOr = ConfigurationType.integer(0...largestCount)
    static let atLeastOne = ConfigurationType.integer(1...largestCount)

    private static var jwtService: [Key] {
        [
            .text(
                "jwt.profile", .choice(["auto", "compat", "native"]), at: \.proxy.profile,
                "Whose defaults are in force where nothing is written: those of go-ws-gateway-proxy (compat), or ours. auto: compat when "
                    + "JWKS_URL, UPSTREAM_WS_URL, RAW_WS_BACKEND_URL, ROUTE_FILE or --route-file is given and jwt.routes is not."
            ).otherwise("auto"),
            .text(
                "jwt.listen", .text, at: \.proxy.address, check: { $0.isEmpty ? nil : checkAddress($0) },
                "A listener of the proxy's own, for example :8080. Empty: it is served where listeners have the feature jwt."),
            .list(
                "jwt.trusted_proxies", of: "IP addresses or blocks such as 10.0.0.0/8", at: \.proxy.trustedProxies, check: checkProxyBlock,
                "Peers whose X-Forwarded-For is believed: the right-most address there that is not of these is the client's."),
            .list(
                "jwt.origins", of: "origins, *.suffix, scheme://*.suffix:*, null or *", "WS_ALLOWED_ORIGINS", at: \.proxy.origins,
                check: checkProxyOrigin,
                "Origins whose pages may connect. Empty: any; with a cookie, those of the host that was asked."),
            .flag(
                "jwt.allow_missing_origin", .zeroOrOne, at: \.proxy.allowsMissingOrigin,
                "Whether a client without Origin, which is no browser, may connect. With a cookie it may not."),
            .text(
                "jwt.cookie_name", .text, "JWT_COOKIE_NAME", at: \.proxy.cookieName, check: checkCookieName,
                "Cookie that may hold a token."),
            .text("jwt.realm", .text, at: \.proxy.realm, check: checkQuotable, "Named in WWW-Authenticate."),
            .text(
                "jwt.public_host", .text, "INGRESS_HOST", at: \.proxy.publicHost, check: checkPublicHost,
                "Host clients know the proxy by: X-Forwarded-Host when a client names none."),
            .text(
                "jwt.state_dir", .text, at: \.proxy.stateDirectory, check: checkAbsolutePath,
                "Directory where the last good key sets are kept, so that a restart while an issuer is down serves. Empty: nowhere."),
        ]
    }

    private static var jwtLimits: [Key] {
        [
            .amount("jwt.limits.sessions", atLeastOne, at: \.proxy.limits.sessions, "Sessions of the process; then 503."),
            .amount(
                "jwt.limits.connections_per_ip", noLimitOr, at: \.proxy.limits.connectionsPerAddress,
                "Connections of one client address (/64 of IPv6); 0 is unlimited."),
            .amount("jwt.limits.handshakes", atLeastOne, at: \.proxy.limits.handshakes, "Handshakes in progress; then 503."),
            .amount(
                "jwt.limits.handshakes_per_ip", atLeastOne, at: \.proxy.limits.handshakesPerAddress,
                "Handshakes in progress of one client address; then 429."),
            .amount(
                "jwt.limits.handshakes_per_second", noLimitOr, at: \.proxy.limits.handshakesPerSecond,
                "Handshakes of one client address a second; 0 is unlimited."),
            .amount("jwt.limits.handshake_burst", atLeastOne, at: \.proxy.limits.handshakeBurst, "How many of them may come at once."),
            .amount(
                "jwt.limits.failures_per_minute", noLimitOr, at: \.proxy.limits.failuresPerMinute,
                "Refused credentials of one client address a minute before it has to wait 1 s, then longer, 60 s at most; 0 is never."),
            .amount(
                "jwt.limits.sessions_per_subject", noLimitOr, at: \.proxy.limits.sessionsPerSubject,
                "Sessions of one subject of one issuer; 0 is unlimited."),
            .text(
                "jwt.limits.evict", .choice(["reject", "oldest"]), at: \.proxy.limits.evict,
                "Who gives way when a subject has too many: the new session, or the oldest."),
            .amount(
                "jwt.limits.sessions_per_ip", noLimitOr, at: \.proxy.limits.sessionsPerAddress,
                "Sessions of one client address; 0 is unlimited."),
            .amount(
                "jwt.limits.first_message", .size(128...1_048_576), at: \.proxy.limits.firstMessageBytes,
                "Largest MQTT CONNECT, or first message; a larger one closes with 1009."),
            .amount(
                "jwt.limits.packet", .size(128...268_435_455), at: \.proxy.limits.packetBytes,
                "Largest MQTT packet where packets are looked into."),
            .amount(
                "jwt.limits.subscriptions", atLeastOne, at: \.proxy.limits.subscriptions,
                "Subscriptions of one session where packets are looked into."),
            .amount("jwt.limits.token", .size(256...65_536), at: \.proxy.limits.tokenBytes, "Longest token."),
            .amount(
                "jwt.limits.verifications_per_second", .integer(1...1_000_000), at: \.proxy.limits.verificationsPerSecond,
                "Signatures one shard checks a second; handshakes beyond wait, and get 503 after a second."),
            .amount(
                "jwt.limits.buffer", .size(4096...16_777_216), at: \.proxy.limits.bufferBytes,
                "Bytes of one direction of a session that wait for a slow receiver before the sender is no longer read."),
            .amount(
                "jwt.rate.messages_per_second", .integer(0...1_000_000), "RATE_LIMIT_PER_SECOND", at: \.proxy.rate.messagesPerSecond,
                "Messages of one subject (or address) a second; 0 is unlimited."
            ).otherwise("0; 10 in the profile compat"),
            .amount(
                "jwt.rate.burst", .integer(1...1_000_000), "RATE_LIMIT_BURST", at: \.proxy.rate.burst, "How many may come at once."
            ).otherwise("30"),
            .amount(
                "jwt.rate.bytes_per_second", .size(0...largestSizeBytes), at: \.proxy.rate.bytesPerSecond,
                "Payload bytes of one session a second, from the client; what is more waits. 0 is unlimited."
            ).otherwise("0"),
            .text(
                "jwt.rate.action", .choice(["close", "throttle"]), at: \.proxy.rate.action, "What happens to who sends more messages."
            ).otherwise("throttle; close in the profile compat"),
            .text(
                "jwt.rate.scope", .choice(["subject", "session", "ip"]), at: \.proxy.rate.scope, "Who shares one budget."
            ).otherwise("subject"),
        ]
    }

    private static var jwtTimes: [Key] {
        [
            .amount(
                "jwt.timeouts.head", timer, at: \.proxy.timeouts.headMilliseconds,
                "Time for the head of a request on listeners that serve only the proxy; no longer than http.head_timeout."),
            .amount(
                "jwt.timeouts.first_message", timer, at: \.proxy.timeouts.firstMessageMilliseconds,
                "Time for a credential in the first message, from the answer 101."),
            .amount(
                "jwt.timeouts.dead_peer", .duration(5...86_400, .seconds), "WS_IDLE_TIMEOUT_SECONDS", at: \.proxy.timeouts.deadPeerSeconds,
                "A peer from which nothing comes for this long, not even a pong, is gone. A ping is sent at half of it."),
            .amount(
                "jwt.timeouts.write", .duration(1...600, .seconds), "WS_WRITE_TIMEOUT_SECONDS", at: \.proxy.timeouts.writeSeconds,
                "A receiver that takes nothing for this long ends the session."),
            .amount(
                "jwt.timeouts.control", .duration(1...60, .seconds), "WS_CONTROL_TIMEOUT_SECONDS", at: \.proxy.timeouts.controlSeconds,
                "Time to write a close frame."),
            .amount(
                "jwt.timeouts.app_idle", milliseconds, at: \.proxy.timeouts.appIdleMilliseconds,
                "A session without a message either way for this long ends; 0 is never."),
        ]
    }

    private static var jwtUpstreams: [Key] {
        [
            .amount("jwt.dial.connect", timer, at: \.proxy.dial.connectMilliseconds, "Time for the TCP connection to an upstream."),
            .amount("jwt.dial.tls", timer, at: \.proxy.dial.tlsMilliseconds, "Time for its TLS handshake."),
            .amount("jwt.dial.handshake", timer, at: \.proxy.dial.handshakeMilliseconds, "Time for its answer to the upgrade."),
            .amount("jwt.dial.attempt", timer, at: \.proxy.dial.totalMilliseconds, "Time for one attempt as a whole."),
            .amount(
                "jwt.dial.attempts", .integer(1...20), "WS_DIAL_RETRY_MAX", at: \.proxy.dial.attempts,
                "Attempts before a session is refused."),
            .amount(
                "jwt.dial.retry_delay", .duration(0...60_000, .milliseconds), at: \.proxy.dial.retryDelayMilliseconds,
                "Pause after the first attempt; it doubles."
            ).otherwise("100ms; 2s in the profile compat"),
            .amount("jwt.dial.deadline", timer, at: \.proxy.dial.deadlineMilliseconds, "Time for all attempts."),
            .amount(
                "jwt.breaker.failures", .integer(1...1000), "CB_FAILURE_THRESHOLD", at: \.proxy.breaker.failures,
                "Failures in a row after which an endpoint is left alone."),
            .amount(
                "jwt.breaker.open", .duration(1...3600, .seconds), "CB_OPEN_TIMEOUT_SECONDS", at: \.proxy.breaker.openSeconds,
                "How long, before one session tries it."),
            .amount(
                "jwt.breaker.probe_interval", .duration(0...3600, .seconds), "CB_HEALTHCHECK_INTERVAL_SECONDS",
                at: \.proxy.breaker.probeIntervalSeconds, "Between two probes of an endpoint; 0 is none."),
        ]
    }

    private static var jwtStore: [Key] {
        [
            .text(
                "jwt.store.kind", .choice(["memory", "redis", "postgres"]), "JWT_CACHE_STORE", at: \.proxy.store.kind,
                "Where revocations and budgets are shared; verified tokens are remembered in memory whatever it says. Unset it is redis "
                    + "when a Redis URL is set, and in the profile compat memory is, too. Postgres shares revocations only; budgets are "
                    + "shared through redis.url."),
            .text(
                "jwt.store.url", .secret, at: \.proxy.store.url,
                "Of kind redis, what redis.url is when that is not set; of kind postgres, the database: postgres://user:password@host/name "
                    + "or host=… dbname=… user=… password=… as libpq takes them."),
            .text(
                "jwt.store.postgres_url", .secret, "POSTGRES_DSN", at: \.proxy.store.postgresURL,
                "The database of kind postgres, when jwt.store.url is not set. Revocations are in its table jwt_revocations."),
            .text(
                "jwt.store.prefix", .text, "JWT_CACHE_PREFIX", at: \.proxy.store.prefix, check: checkStorePrefix,
                "Begins the keys of revocations in the store."),
            .text(
                "jwt.store.failure", .choice(["open", "closed"]), at: \.proxy.store.failure,
                "While the store cannot be asked: go on with what this instance knows, or refuse new sessions."),
            .amount(
                "jwt.store.revocation_ttl", .duration(1...longestLifetimeSeconds, .seconds), at: \.proxy.store.revocationSeconds,
                "How long a revocation holds when the token's end is not known."),
        ]
    }

    private static var jwtDrain: [Key] {
        [
            .amount(
                "jwt.drain.delay", milliseconds, at: \.proxy.drain.delayMilliseconds,
                "After SIGTERM, time in which new clients are still accepted, for load balancers to notice."),
            .amount(
                "jwt.drain.timeout", .duration(0...86_400, .seconds), "GRACEFUL_DRAIN_TIMEOUT_SECONDS", at: \.proxy.drain.timeoutSeconds,
                "Time in which sessions are told to go."),
            .amount(
                "jwt.drain.hard_limit", .duration(0...600, .seconds), "SHUTDOWN_HARD_LIMIT", at: \.proxy.drain.hardLimitSeconds,
                "Time for handshakes in progress."),
            .amount(
                "jwt.drain.spread", .integer(0...100), at: \.proxy.drain.spreadPercent,
                "Part of jwt.drain.timeout, in percent, over which sessions are told."),
            .amount(
                "jwt.drain.code", .integer(1001...1012), at: \.proxy.drain.code,
                check: { $0 == 1001 || $0 == 1012 ? nil : "allowed: 1001 or 1012" }, "Close code they are told."),
            .flag(
                "jwt.drain.strict_exit", .zeroOrOne, at: \.proxy.drain.isStrict,
                "Exit status 3 instead of 0 when sessions had to be cut."),
        ]
    }

    private static var jwtOperation: [Key] {
        [
            .text(
                "jwt.close_codes", .choice(["standard", "extended"]), at: \.proxy.closeCodes,
                "Codes of refusals: 1008 for all, or 4401, 4403, 4408 and 4429."
            ).otherwise("extended; standard in the profile compat"),
            .flag(
                "jwt.ready_requires_upstream", .zeroOrOne, at: \.proxy.readyRequiresUpstream,
                "Whether /readyz is 503 while the circuits of all endpoints are open."),
            .text(
                "jwt.metrics.public", .choice(["true", "false"]), at: \.proxy.publicMetrics,
                "Whether the proxy's own listener serves /metrics."
            ).otherwise("false; true in the profile compat"),
            .flag(
                "jwt.metrics.subject_labels", .zeroOrOne, at: \.proxy.subjectLabels,
                "Labels with subjects on ws_auth_success_total, as the reference has them: one series for each."),
            .flag(
                "jwt.log.hash_subject", .zeroOrOne, at: \.proxy.hashesSubject,
                "Logs a keyed hash of the subject, which differs from start to start."),
            .text(
                "jwt.routes_on_remove", .choice(["keep", "close"]), at: \.proxy.onRouteRemoved,
                "What becomes of the sessions of a route that a reload takes away."),
            .text(
                "jwt.on_key_purge", .choice(["close", "keep"]), at: \.proxy.onKeyPurge,
                "What becomes of the sessions whose token a purged key signed."),
            .text(
                "jwt.admin.listen", .text, at: \.proxy.adminAddress, check: { $0.isEmpty ? nil : checkAddress($0) },
                "What admin.address is when that is not set."),
            .text(
                "jwt.admin.token", .secret, at: \.proxy.adminToken, check: checkAdminToken, "What admin.token is when that is not set."),
        ]
    }

    /// What only variables and flags set: they say something of a provider or a route that a file says there.
    static var jwtEnvironment: [Key] {
        let keys: [Key] = [
            .text(
                "jwt.route_file", .text, "ROUTE_FILE", at: \.proxy.routeFile, check: checkAbsoluteOrRelativePath,
                "Routes in the form of go-ws-gateway-proxy, behind those of jwt.routes. When that program's variables start the proxy: "
                    + "/etc/ws-gw/routes.yaml."
            ).flagged("route-file"),
            .text(
                "jwt.jwks_url", .text, "JWKS_URL", at: \.proxy.keySetURL, check: checkKeySetURL, "Key set of the first provider."),
            .amount(
                "jwt.jwks_ttl", .duration(1...1440, .minutes), "JWKS_TTL_MINUTES", at: \.proxy.keySetMinutes,
                "How long its keys are fresh."),
            .text("jwt.issuer", .text, "JWT_EXPECTED_ISSUER", at: \.proxy.expectedIssuer, "Issuer of the first provider."),
            .list(
                "jwt.audiences", of: "audiences", "JWT_EXPECTED_AUDIENCE", at: \.proxy.expectedAudiences, check: { _ in nil },
                "Its audiences; a token has any of them."),
            .list(
                "jwt.algorithms", of: "signature algorithms", "JWT_VALID_ALGORITHMS", at: \.proxy.algorithms, check: checkAlgorithm,
                "Its algorithms."),
            .text(
                "jwt.upstream_url", .text, "UPSTREAM_WS_URL", at: \.proxy.upstreamURL, check: checkProxyUpstream,
                "Upstream of /ws behind all other routes."),
            .text(
                "jwt.raw_upstream_url", .text, "RAW_WS_BACKEND_URL", at: \.proxy.rawUpstreamURL, check: checkProxyUpstream,
                "Upstream of /ws for sessions that are not MQTT."),
            .amount(
                "jwt.dial_retry_seconds", .duration(0...60, .seconds), "WS_DIAL_RETRY_INTERVAL_SECONDS", at: \.proxy.dial.retryDelaySeconds,
                "jwt.dial.retry_delay in seconds."),
        ]
        return keys.map { $0.environmentOnly() }
    }
}
