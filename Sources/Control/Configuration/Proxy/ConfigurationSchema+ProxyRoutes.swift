extension ConfigurationSchema {
    private typealias RouteKey = ConfigurationKey<ProxyRouteDraft>

    /// One item of `jwt.routes`.
    static var proxyRoute: ConfigurationMapping<ProxyRouteDraft> {
        ConfigurationMapping(
            noun: "a route",
            keys: routeMatching + routeForwarding + routeAuthentication + routeIdentity + routeMQTT + routeAuthorization + routeBounds,
            lists: [
                ConfigurationList(
                    "upstreams", of: upstream, at: \.upstreams, make: { _ in ProxyUpstreamDraft() },
                    check: { $0.url.isEmpty ? "`url` is missing" : nil }, "Endpoints that serve the route; at least one."),
                proxyClaimRules("auth.rules", at: \.authentication.rules),
                ConfigurationList(
                    "authz.rules", of: topicRule, at: \.authorization.rules, make: { _ in ProxyTopicRuleDraft() },
                    check: topicRuleProblem, "Topics of who fits `when`; without `when`, of everybody."),
            ])
    }

    /// What is wrong with a route as a whole.
    static func proxyRouteProblem(_ route: ProxyRouteDraft) -> String? {
        if route.upstreams.isEmpty { return "`upstreams` is missing; write upstreams: [{ url: \"ws://HOST:PORT/PATH\" }]" }
        if !route.prefix.isEmpty, !route.path.isEmpty { return "`prefix` and `path` are both set; a route has one of them" }
        if !route.path.isEmpty, route.match == "segment" || route.match == "string" { return "`path` is matched exactly; use `prefix`" }
        if route.tls.certificatePath.isEmpty != route.tls.keyPath.isEmpty { return "`tls.cert_file` and `tls.key_file` belong together" }
        if !route.rewritePrefix.isEmpty, !route.appendsPath { return "`rewrite_prefix` needs append_path: true" }
        return nil
    }

    private static func topicRuleProblem(_ rule: ProxyTopicRuleDraft) -> String? {
        let given = [rule.equals, rule.contains].count { !$0.isEmpty }
        if rule.claim.isEmpty != (given == 0) || given > 1 {
            return "`when` has a claim and one of `equals` and `contains`"
        }
        return rule.publish.isEmpty && rule.subscribe.isEmpty ? "`publish` or `subscribe` is missing" : nil
    }

    private static var upstream: ConfigurationMapping<ProxyUpstreamDraft> {
        ConfigurationMapping(
            noun: "an upstream",
            keys: [
                .text("url", at: \.url, check: checkProxyUpstream, "ws:// or wss://, dialled as it is."),
                .amount("weight", .integer(1...1000), at: \.weight, "Its share of the sessions."),
                .text("protocol", .choice(["auto", "mqtt", "raw"]), at: \.carries, "Which sessions it takes; auto is all."),
            ])
    }

    private static var topicRule: ConfigurationMapping<ProxyTopicRuleDraft> {
        ConfigurationMapping(
            noun: "a rule",
            keys: [
                .text("when.claim", at: \.claim, check: checkPointer, "JSON pointer to a claim."),
                .text("when.equals", at: \.equals, "What it is."),
                .text("when.contains", at: \.contains, "A member of it."),
                .list("publish", of: "topic filters", at: \.publish, check: checkTopicFilter, "Topics that may be published to."),
                .list("subscribe", of: "topic filters", at: \.subscribe, check: checkTopicFilter, "Filters that may be subscribed to."),
            ])
    }

    private static var routeMatching: [RouteKey] {
        [
            .text("name", at: \.name, check: checkName, "Name in logs and metrics; unique.").otherwise("the prefix"),
            .list("hosts", of: "host names or *.suffix", at: \.hosts, check: checkHostPattern, "Hosts it serves; empty means all."),
            .text("prefix", at: \.prefix, check: checkRoutePath, "Beginning of the paths it serves."),
            .text("path", at: \.path, check: checkRoutePath, "The one path it serves."),
            .text(
                "match", .choice(["segment", "string", "exact"]), at: \.match,
                "How: /mqtt and /mqtt/…, everything that begins so, or that path alone."
            ).otherwise("segment; string in the profile compat"),
            .text(
                "protocol", .choice(["auto", "mqtt", "raw"]), at: \.carries,
                "What sessions speak. auto: found out from the subprotocol, else from the first message."),
        ]
    }

    private static var routeForwarding: [RouteKey] {
        [
            .text(
                "balance", .choice(["least_sessions", "round_robin", "hash:subject"]), at: \.balance,
                "How sessions are shared among upstreams."),
            .flag("append_path", .zeroOrOne, at: \.appendsPath, "Appends what follows the prefix to the upstream's path."),
            .text("rewrite_prefix", at: \.rewritePrefix, check: checkRoutePath, "What stands for the prefix then."),
            .list("subprotocols", of: "subprotocols", at: \.subprotocols, check: checkSubprotocol, "What the gateway may choose.")
                .otherwise("mqtt and mqttv3.1 where MQTT is spoken"),
            .text(
                "subprotocol_choice", .choice(["gateway", "upstream"]), at: \.subprotocolChoice,
                "Who chooses of a client's subprotocols."
            ).otherwise("gateway when the route speaks MQTT or has subprotocols, else upstream"),
            .text("subprotocol_mismatch", .choice(["ignore", "reject"]), at: \.subprotocolMismatch, "When none fits.")
                .otherwise("reject for MQTT, else ignore"),
            .oneOrList(
                "query", of: "drop, preserve, or a list of names to keep", at: \.query, check: checkQueryName,
                "What of the client's query the upstream gets."),
            .text(
                "dial", .choice(["auto", "before_accept", "after_accept"]), at: \.dial,
                "When the upstream is dialled; auto: before the answer when the client is authenticated by then."),
            .text(
                "compression", .choice(["off", "passthrough"]), at: \.compression,
                "Whether client and upstream may agree on permessage-deflate; not where packets are looked into."),
            .text(
                "inspect", .choice(["auto", "on", "off"]), at: \.inspect,
                "Whether MQTT packets are looked into and counted; auto: when authz needs it."),
            .text("mask", .choice(["preserve", "fresh"]), at: \.mask, "Keys of frames to the upstream: the client's, or new ones."),
            .text("ping", .choice(["hop", "forward"]), at: \.ping, "Whether pings are answered here, or passed."),
            .text("health", at: \.health, check: checkHealth, "How endpoints are probed: tcp, http:/PATH, ws or off."),
            .text("health_token_file", at: \.healthTokenPath, check: checkAbsoluteOrRelativePath, "Credential of probes by ws."),
            .flag("relay_status", .zeroOrOne, at: \.relaysStatus, "Answers an upstream's 401, 403 or 404 instead of 502."),
        ]
    }

    private static var routeAuthentication: [RouteKey] {
        [
            .list("auth.providers", of: "names of providers", at: \.authentication.providers, check: { _ in nil }, "Issuers it believes.")
                .otherwise("the first provider"),
            .list(
                "auth.sources", of: "authorization, header:NAME, header:NAME:PREFIX, cookie, cookie:NAME, query, query:NAME, subprotocol, "
                    + "mqtt_password and mqtt_username", at: \.authentication.sources, check: checkTokenSource,
                "Where a token may be, the first that is there counts."
            ).otherwise("mqtt_password, authorization, subprotocol, cookie, query; without MQTT authorization, subprotocol, query, cookie"),
            .flag("auth.required", .zeroOrOne, at: \.authentication.isRequired, "Refuses who has no token."),
            .text("auth.reject", .choice(["http", "close"]), at: \.authentication.reject,
                "With a status, or upgraded and with a close code.")
                .otherwise("http; close in the profile compat"),
            .list("auth.scopes", of: "scopes", at: \.authentication.scopes, check: { _ in nil },
                "Scopes a token has to have, all of them."),
            .text(
                "auth.keep_credential_query", .choice(["true", "false"]), at: \.authentication.keepsCredentialQuery,
                "Whether a token in the query goes on to the upstream."
            ).otherwise("false; true in the profile compat"),
            .text(
                "expiry", .choice(["close", "grace", "ignore"]), at: \.expiry,
                "When a token ends during a session: the session does too, or after `grace`, or goes on."),
            .amount("grace", .duration(0...longestLifetimeSeconds, .seconds), at: \.graceSeconds, "How much longer, with expiry: grace."),
            .amount(
                "max_session", .duration(0...longestLifetimeSeconds, .seconds), at: \.maximumSessionSeconds,
                "Longest session; 0 is unlimited."),
        ]
    }

    private static var routeIdentity: [RouteKey] {
        [
            .text(
                "upstream.token", at: \.identity.token, check: checkTokenTarget,
                "Where the upstream gets the token: authorization, header:NAME, query:NAME, cookie:NAME or none."
            ).otherwise("none for MQTT, else authorization"),
            .text("upstream.roles_header", at: \.identity.rolesHeader, check: { $0 == "off" ? nil : checkHeaderName($0) },
                "Field with the roles of the token, or off.").otherwise("off for MQTT, else X-User-Roles"),
            .pairs(
                "upstream.claims", of: "names of header fields to JSON pointers", at: \.identity.claims, check: checkClaimPair,
                "Claims the upstream is told."),
            .list("upstream.headers", of: "names of header fields", at: \.identity.headers, check: checkHeaderItem,
                "Fields of the client that go on."),
            .text("upstream.host", at: \.identity.host, check: checkUpstreamHost, "Host it is asked for: upstream, client, or a name."),
        ]
    }

    private static var routeMQTT: [RouteKey] {
        [
            .text("mqtt.password", at: \.mqtt.password, check: { checkCredential($0, ["keep", "token", "remove"]) },
                "Password in CONNECT: keep, token, remove or file:PATH."),
            .text("mqtt.username", at: \.mqtt.username, check: checkUserName, "User name: keep, claim:POINTER or file:PATH."),
            .text("mqtt.client_id", at: \.mqtt.clientIdentifier, check: checkClientIdentifier,
                "Client identifier: any, prefix_claim:POINTER, equals_claim:POINTER or rewrite_prefix:POINTER."),
            .text("mqtt.roles", .choice(["off", "user_property", "username_suffix"]), at: \.mqtt.roles, "How the broker is told of roles.")
                .otherwise("off; user_property in the profile compat"),
            .text("mqtt.lenient_password", .choice(["true", "false"]), at: \.mqtt.lenientPassword,
                "Accepts a password without a user name.")
                .otherwise("false; true in the profile compat"),
            .flag("mqtt.connack_on_reject", .zeroOrOne, at: \.mqtt.answersRefusal, "Sends a CONNACK before the close frame of a refusal."),
        ]
    }

    private static var routeAuthorization: [RouteKey] {
        [
            .oneOrList("authz.mode", of: "off, or of scopes, acl and rules", at: \.authorization.modes, check: checkAuthorizationMode,
                "What says which topics a client may use: scopes as RabbitMQ reads them, a claim acl as EMQX does, authz.rules."),
            .text("authz.combine", .choice(["all", "any"]), at: \.authorization.combine, "Whether all of several have to allow, or any."),
            .text("authz.claim", at: \.authorization.claim, check: checkPointer, "Claim with the scopes.").otherwise("scope, then scp"),
            .text("authz.resource_server_id", at: \.authorization.resourceServer, "Begins scopes, with a point behind it."),
            .text("authz.scope_prefix", at: \.authorization.scopePrefix, "Begins scopes instead."),
            .text("authz.vhost", at: \.authorization.vhost, "Virtual host that scopes name."),
            .text("authz.exchange", at: \.authorization.exchange, "Exchange that scopes name."),
            .pairs("authz.scope_aliases", of: "names of roles to lists of scopes", at: \.authorization.aliases, check: { _ in nil },
                "Scopes a role stands for."),
            .text("authz.deny", .choice(["drop", "disconnect"]), at: \.authorization.deny,
                "What a refusal does: the packet is dropped and answered, or the session ends."),
            .flag("authz.allow_slash", .zeroOrOne, at: \.authorization.allowsSlash, "Lets claims with / stand in filters."),
        ]
    }

    private static var routeBounds: [RouteKey] {
        let inherited = "as in section jwt"
        return [
            .amount("rate.messages_per_second", .integer(0...1_000_000), at: \.rate.messagesPerSecond, "As jwt.rate.messages_per_second.")
                .otherwise(inherited),
            .amount("rate.burst", .integer(1...1_000_000), at: \.rate.burst, "As jwt.rate.burst.").otherwise(inherited),
            .amount("rate.bytes_per_second", .size(0...largestSizeBytes), at: \.rate.bytesPerSecond, "As jwt.rate.bytes_per_second.")
                .otherwise(inherited),
            .text("rate.action", .choice(["close", "throttle"]), at: \.rate.action, "As jwt.rate.action.").otherwise(inherited),
            .text("rate.scope", .choice(["subject", "session", "ip"]), at: \.rate.scope, "As jwt.rate.scope.").otherwise(inherited),
            .amount("limits.sessions", noLimitOr, at: \.sessions, "Sessions of the route; 0 is unlimited."),
            .amount("limits.sessions_per_ip", noLimitOr, at: \.sessionsPerAddress, "As jwt.limits.sessions_per_ip.").otherwise(inherited),
            .amount("limits.max_message", .size(0...largestSizeBytes), at: \.maximumMessageBytes,
                "Largest message; a larger one closes with 1009. 0 is unlimited."
            ).otherwise("1MiB where packets are looked into, else 0"),
            .amount("limits.packet", .size(128...268_435_455), at: \.packetBytes, "As jwt.limits.packet.").otherwise(inherited),
            .amount("limits.subscriptions", atLeastOne, at: \.subscriptions, "As jwt.limits.subscriptions.").otherwise(inherited),
            .amount("timeouts.first_message", .duration(1...longestTimerMilliseconds, .milliseconds), at: \.firstMessageMilliseconds,
                "As jwt.timeouts.first_message.").otherwise(inherited),
            .amount("timeouts.dead_peer", .duration(5...86_400, .seconds), at: \.deadPeerSeconds, "As jwt.timeouts.dead_peer.")
                .otherwise(inherited),
            .amount("timeouts.write", .duration(1...600, .seconds), at: \.writeSeconds, "As jwt.timeouts.write.").otherwise(inherited),
            .amount("timeouts.app_idle", .duration(0...longestTimerMilliseconds, .milliseconds), at: \.appIdleMilliseconds,
                "As jwt.timeouts.app_idle.").otherwise(inherited),
            .text("tls.ca_file", at: \.tls.authoritiesPath, check: checkAbsoluteOrRelativePath,
                "PEM file of the authorities certificates of upstreams may come from. Empty: the system's."),
            .text("tls.cert_file", at: \.tls.certificatePath, check: checkAbsoluteOrRelativePath,
                "PEM chain shown to upstreams, leaf first."),
            .text("tls.key_file", at: \.tls.keyPath, check: checkAbsoluteOrRelativePath, "PEM key of the leaf."),
            .text("tls.server_name", at: \.tls.serverName, check: checkPublicHost, "Name asked for and checked.")
                .otherwise("the upstream's host"),
            .text("tls.min_version", .choice(["1.2", "1.3"]), at: \.tls.minimumVersion, "Oldest version of TLS."),
        ]
    }
}
