import Policy

extension ConfigurationSchema {
    /// The keys of the UDP relay that a file may have.
    static var udp: [Key] { (udpService + udpAccess + udpEngine + udpLimits + udpPolicy + udpServers).map { $0.relayed() } }

    /// Its keys that only variables and flags set: those with another meaning in a file, and those of transports that are not there yet.
    static var udpEnvironment: [Key] { (udpOnlyVariables + udpWebRTC + udpBackend).map { $0.relayed().environmentOnly() } }

    static let timer = ConfigurationType.duration(1...longestTimerMilliseconds, .milliseconds)
    /// 0 and below switch the limit off.
    private static let limit = ConfigurationType.integer(-largestCount...largestCount)

    private static var udpService: [Key] {
        [
            .text(
                "udp.listen_address", .text, "AERO_WEBRTC_UDP_RELAY_LISTEN_ADDR", at: \.udp.address,
                check: { $0.isEmpty ? nil : checkAddress($0) },
                "A listener of the relay's own. Alone, without listeners or other features, it makes the process a UDP relay only; "
                    + "beside listeners it is one more. Empty: the relay is served where listeners have the feature udp."),
            .text(
                "udp.public_base_url", .text, "AERO_WEBRTC_UDP_RELAY_PUBLIC_BASE_URL", at: \.udp.publicBaseURL,
                "Where clients reach the relay; only logged, unless it has user, query or fragment."),
            .list(
                "udp.allowed_origins", of: "origins, null or *", "ALLOWED_ORIGINS", at: \.udp.origins, check: checkOrigin,
                "Origins that may use the relay from a browser. Empty: pages of the host that was asked."),
            .text(
                "udp.mode", .choice(["dev", "development", "prod", "production"]), "AERO_WEBRTC_UDP_RELAY_MODE", at: \.udp.mode,
                "Decides which warnings are given and, when the process is a UDP relay only, how it logs: "
                    + "text from debug, or json from info."),
            .amount(
                "udp.shutdown_timeout", timer, "AERO_WEBRTC_UDP_RELAY_SHUTDOWN_TIMEOUT", at: \.udp.shutdownMilliseconds,
                "What drain.grace is when the process is a UDP relay only."),
        ]
    }

    private static var udpAccess: [Key] {
        [
            .text(
                "udp.auth_mode", .text, "AUTH_MODE", at: \.udp.authentication,
                check: { oneOf($0, ["none", "api_key", "jwt"], or: "") },
                "How clients prove themselves. Default: api_key; beside the gateway, what UDP_RELAY_AUTH_MODE announces."),
            .text("udp.api_key", .secret, "API_KEY", at: \.udp.key, check: checkSecret, "The key of api_key."),
            .text("udp.jwt_secret", .secret, "JWT_SECRET", at: \.udp.secret, check: checkSecret,
                  "The key that tokens of jwt are signed with."),
            .amount(
                "udp.auth_timeout", timer, "SIGNALING_AUTH_TIMEOUT", at: \.udp.authenticationMilliseconds,
                "Time for the first message of a WebSocket that came without a credential."),
            .amount(
                "udp.max_signaling_message", .size(1...largestSizeBytes), "MAX_SIGNALING_MESSAGE_BYTES", at: \.udp.signalingMessageBytes,
                "Largest message before a client is authenticated."),
            .amount(
                "udp.idle_timeout", timer, "UDP_WS_IDLE_TIMEOUT", at: \.udp.idleMilliseconds,
                "A WebSocket of /udp from which nothing comes for this long, not even a Pong, is closed."),
            .amount(
                "udp.ping_interval", timer, "UDP_WS_PING_INTERVAL", at: \.udp.pingMilliseconds,
                "Time between two Pings; shorter than udp.idle_timeout."),
        ]
    }

    private static var udpEngine: [Key] {
        [
            .amount(
                "udp.max_bindings", atLeastOne, "MAX_UDP_BINDINGS_PER_SESSION", at: \.udp.bindings,
                "Guest ports of one session that have sockets; one more takes the place of the one used longest ago."),
            .amount(
                "udp.binding_idle_timeout", timer, "UDP_BINDING_IDLE_TIMEOUT", at: \.udp.bindingIdleMilliseconds,
                "A guest port unused for this long gives its sockets back."),
            .text(
                "udp.inbound_filter", .choice(RelayFilterMode.allCases.map(\.rawValue)), "UDP_INBOUND_FILTER_MODE", at: \.udp.filter,
                "Who may answer a guest port: those it has sent to, or any."),
            .amount(
                "udp.remote_idle_timeout", timer, "UDP_REMOTE_ALLOWLIST_IDLE_TIMEOUT", at: \.udp.remoteIdleMilliseconds,
                "How long an address that was sent to may answer. Default: udp.binding_idle_timeout."),
            .amount(
                "udp.max_remotes", atLeastOne, "MAX_ALLOWED_REMOTES_PER_BINDING", at: \.udp.remotes,
                "Addresses one guest port may hear from; one more takes the place of the one heard longest ago."),
            .amount(
                "udp.read_buffer", .size(1...largestSizeBytes), "UDP_READ_BUFFER_BYTES", at: \.udp.readBufferBytes,
                "At least one byte above udp.max_payload. Checked and not needed: datagrams that do not fit are known as such."),
            .amount(
                "udp.send_queue", .size(1...largestSizeBytes), "DATACHANNEL_SEND_QUEUE_BYTES", at: \.udp.sendQueueBytes,
                "Frames that wait for one client; what does not fit is dropped, the newest first, and counted."),
            .amount(
                "udp.max_payload", .size(1...65_507), "MAX_DATAGRAM_PAYLOAD_BYTES", at: \.udp.payloadBytes,
                "Largest payload of a datagram, either way."),
            .flag(
                "udp.prefer_v2", .zeroOrOne, "PREFER_V2", at: \.udp.prefersV2,
                "Answers from IPv4 in frames of version 2, to clients that have sent one."),
            .amount(
                "udp.max_sessions", limit, "MAX_SESSIONS", at: \.udp.sessions, "Sessions and reservations of the process; 0 is unlimited."),
            .amount(
                "udp.reservation_ttl", timer, "SESSION_PREALLOC_TTL", at: \.udp.reservationMilliseconds,
                "How long POST /session keeps a place."),
        ]
    }

    private static var udpLimits: [Key] {
        [
            .amount(
                "udp.packets_per_second", limit, "MAX_UDP_PPS_PER_SESSION", at: \.udp.framesPerSecond,
                "Datagrams of one session to remotes a second; 0 is unlimited."),
            .amount(
                "udp.bytes_per_second", limit, "MAX_UDP_BPS_PER_SESSION", at: \.udp.bytesPerSecond,
                "Payload bytes of one session to remotes a second; 0 is unlimited."),
            .amount(
                "udp.packets_per_second_per_destination", limit, "MAX_UDP_PPS_PER_DEST", at: \.udp.framesPerSecondPerDestination,
                "Datagrams of one session to one remote a second; 0 is unlimited."),
            .amount(
                "udp.max_destinations", limit, "MAX_UNIQUE_DESTINATIONS_PER_SESSION", at: \.udp.destinations,
                "Remotes one session may ever send to; 0 is unlimited."),
            .amount(
                "udp.max_destination_buckets", atLeastOne, "MAX_UDP_DEST_BUCKETS_PER_SESSION", at: \.udp.destinationBuckets,
                "Remotes whose rate is remembered for one session. Default: udp.max_destinations, or 1024."),
            .amount(
                "udp.client_bytes_per_second", limit, "MAX_DC_BPS_PER_SESSION", at: \.udp.bytesPerSecondToClient,
                "Bytes of frames to one client a second; 0 is unlimited."),
            .amount(
                "udp.max_violations", limit, "HARD_CLOSE_AFTER_VIOLATIONS", at: \.udp.violations,
                "Refusals by these limits in a row that close a session; 0 is never."),
            .amount(
                "udp.violation_window", timer, at: \.udp.violationWindowMilliseconds,
                "Refusals further apart than this are not in a row."
            ).flagged("violation-window"),
        ]
    }

    private static var udpPolicy: [Key] {
        [
            .text(
                "udp.policy_preset", .text, "DESTINATION_POLICY_PRESET", "UDP_DESTINATION_POLICY_PRESET", "POLICY_PRESET",
                at: \.udp.preset, check: { oneOf($0, ["prod", "production", "dev", "development"], or: "") },
                "prod: nothing is reached but udp.allowed_cidrs, and no private network. dev: everything is."
            ).acceptingBlank().flagged(),
            .text(
                "udp.allow_private_networks", .text, "ALLOW_PRIVATE_NETWORKS", at: \.udp.privateNetworks, check: checkPrivateNetworks,
                "true or false: whether private networks may be reached at all. Default: as the preset has it."
            ).acceptingBlank().flagged(),
            .list(
                "udp.allowed_cidrs", of: "blocks such as 192.0.2.0/24", "ALLOW_UDP_CIDRS", at: \.udp.allowedBlocks, check: checkBlock,
                "Where datagrams may go. Set, everything else is refused."
            ).flagged(),
            .list(
                "udp.denied_cidrs", of: "blocks such as 192.0.2.0/24", "DENY_UDP_CIDRS", at: \.udp.deniedBlocks, check: checkBlock,
                "Where datagrams may not go."
            ).flagged(),
            .list(
                "udp.allowed_ports", of: "ports or ranges such as 5000-6000", "ALLOW_UDP_PORTS", at: \.udp.allowedPorts,
                check: checkPortRange, "Remote ports that may be sent to; set, no other."
            ).flagged(),
            .list(
                "udp.denied_ports", of: "ports or ranges such as 5000-6000", "DENY_UDP_PORTS", at: \.udp.deniedPorts,
                check: checkPortRange, "Remote ports that may not be sent to."
            ).flagged(),
        ]
    }

    private static var udpServers: [Key] {
        [
            .text(
                "udp.ice_servers", .secret, "AERO_ICE_SERVERS_JSON", at: \.udp.iceServers,
                "JSON array of STUN and TURN servers that clients are told of, passwords included. Empty: made from the next four."),
            .text("udp.stun_urls", .text, "AERO_STUN_URLS", at: \.udp.stunURLs, "Comma list of STUN URLs."),
            .text("udp.turn_urls", .text, "AERO_TURN_URLS", at: \.udp.turnURLs, "Comma list of TURN URLs."),
            .text("udp.turn_username", .text, "AERO_TURN_USERNAME", at: \.udp.turnUsername, "User of the TURN servers."),
            .text("udp.turn_credential", .secret, "AERO_TURN_CREDENTIAL", at: \.udp.turnCredential, "Password of the TURN servers."),
            .text(
                "udp.turn_rest_secret", .secret, "TURN_REST_SHARED_SECRET", at: \.udp.turnSecret, check: checkSecret,
                "Secret shared with the TURN servers: every client gets a user and password of its own, which end."),
            .amount(
                "udp.turn_rest_ttl", .duration(-largestCount...longestLifetimeSeconds, .seconds), at: \.udp.turnLifetimeSeconds,
                "How long they are good."),
            .text("udp.turn_rest_prefix", .text, "TURN_REST_USERNAME_PREFIX", at: \.udp.turnPrefix, "What names their users; no colon."),
            .text("udp.turn_rest_realm", .text, "TURN_REST_REALM", at: \.udp.turnRealm, "Not used by the relay."),
        ]
    }

    private static var udpOnlyVariables: [Key] {
        [
            .text(
                "udp.log_format", .choice(["text", "json"]), "AERO_WEBRTC_UDP_RELAY_LOG_FORMAT", at: \.udp.logFormat,
                "As log.format, which wins when it is set."),
            .text(
                "udp.log_level", .choice(["debug", "info", "warn", "warning", "error"]), "AERO_WEBRTC_UDP_RELAY_LOG_LEVEL",
                at: \.udp.logLevel, "As log.level, which wins when it is set."),
            .amount(
                "udp.violation_window_seconds", limit, "VIOLATION_WINDOW_SECONDS", at: \.udp.violationWindowSeconds,
                "udp.violation_window in seconds; 0 and below are ignored."
            ).flagged(),
            .amount(
                "udp.turn_rest_ttl_seconds", .integer(-largestCount...longestLifetimeSeconds), "TURN_REST_TTL_SECONDS",
                at: \.udp.turnLifetimeSeconds, "udp.turn_rest_ttl in seconds."),
        ]
    }

    /// Settings of WebRTC, which this version does not serve: they are checked, so that what is written now is right then.
    private static var udpWebRTC: [Key] {
        [
            .amount(
                "udp.ice_gathering_timeout", timer, "AERO_WEBRTC_UDP_RELAY_ICE_GATHERING_TIMEOUT", at: \.udp.gatheringMilliseconds, unused
            ).flagged("ice-gather-timeout"),
            .amount("udp.signaling_idle_timeout", timer, "SIGNALING_WS_IDLE_TIMEOUT", at: \.udp.signalingIdleMilliseconds, unused),
            .amount("udp.signaling_ping_interval", timer, "SIGNALING_WS_PING_INTERVAL", at: \.udp.signalingPingMilliseconds, unused),
            .amount(
                "udp.max_signaling_messages_per_second", atLeastOne, "MAX_SIGNALING_MESSAGES_PER_SECOND",
                at: \.udp.signalingMessagesPerSecond, unused),
            .amount("udp.webrtc_port_min", .integer(1...65_535), "WEBRTC_UDP_PORT_MIN", at: \.udp.portMinimum, unused),
            .amount("udp.webrtc_port_max", .integer(1...65_535), "WEBRTC_UDP_PORT_MAX", at: \.udp.portMaximum, unused),
            .text(
                "udp.webrtc_listen_ip", .text, "WEBRTC_UDP_LISTEN_IP", at: \.udp.listenAddress,
                check: { IPAddress($0) == nil ? "`\(Quantity.excerpt($0))` is not an IP address" : nil }, unused),
            .list(
                "udp.webrtc_nat_1to1_ips", of: "IP addresses", "WEBRTC_NAT_1TO1_IPS", at: \.udp.outerAddresses, check: checkClient, unused),
            .text(
                "udp.webrtc_nat_1to1_ip_candidate_type", .choice(["host", "srflx"]), "WEBRTC_NAT_1TO1_IP_CANDIDATE_TYPE",
                at: \.udp.candidateType, unused),
            .amount("udp.webrtc_connect_timeout", timer, "WEBRTC_SESSION_CONNECT_TIMEOUT", at: \.udp.connectMilliseconds, unused),
            .amount(
                "udp.webrtc_max_message", .size(0...largestSizeBytes), "WEBRTC_DATACHANNEL_MAX_MESSAGE_BYTES",
                at: \.udp.channelMessageBytes, unused),
            .amount(
                "udp.webrtc_receive_buffer", .size(0...largestSizeBytes), "WEBRTC_SCTP_MAX_RECEIVE_BUFFER_BYTES",
                at: \.udp.receiveBufferBytes, unused),
        ]
    }

    /// Settings of the bridge to an L2 backend, which comes with WebRTC.
    private static var udpBackend: [Key] {
        [
            .text("udp.l2_backend_url", .secret, "L2_BACKEND_WS_URL", at: \.udp.backendURL, check: checkBackendURL, unused),
            .flag("udp.l2_backend_forward_origin", .zeroOrOne, "L2_BACKEND_FORWARD_ORIGIN", at: \.udp.backendForwardsOrigin, unused),
            .text(
                "udp.l2_backend_origin", .text, "L2_BACKEND_ORIGIN", "L2_BACKEND_ORIGIN_OVERRIDE", at: \.udp.backendOrigin,
                check: checkBackendOrigin, unused),
            .text("udp.l2_backend_ws_origin", .text, "L2_BACKEND_WS_ORIGIN", at: \.udp.backendSocketOrigin, unused),
            .text(
                "udp.l2_backend_token", .secret, "L2_BACKEND_TOKEN", "L2_BACKEND_WS_TOKEN", at: \.udp.backendToken,
                check: checkHTTPToken, unused),
            .text(
                "udp.l2_backend_auth_forward_mode", .choice(["none", "query", "subprotocol"]), "L2_BACKEND_AUTH_FORWARD_MODE",
                at: \.udp.backendAuthentication, unused),
            .flag(
                "udp.l2_backend_forward_session", .zeroOrOne, "L2_BACKEND_FORWARD_AERO_SESSION", at: \.udp.backendForwardsSession, unused),
            .amount("udp.l2_max_message", .size(1...largestSizeBytes), "L2_MAX_MESSAGE_BYTES", at: \.udp.backendMessageBytes, unused),
        ]
    }

    private static let unused = "Checked, and not used by this version, which serves no WebRTC."
}

extension ConfigurationSchema {
    /// A choice in any case, or not made.
    static func oneOf(_ text: String, _ names: [String], or none: String) -> String? {
        let lower = text.lowercased()
        if lower == none || names.contains(lower) { return nil }
        let hint = NearestName.find(lower, among: names).map { "; did you mean `\($0)`?" } ?? ""
        return "`\(Quantity.excerpt(text))` is not allowed\(hint); allowed: \(names.joined(separator: ", "))"
    }

    static func checkPrivateNetworks(_ text: String) -> String? {
        (try? ConfigurationType.flag(.zeroOrOne).value(ofRelayText: text)) == nil
            ? "allowed: true or false; leave it out for the preset's" : nil
    }

    static func checkBlock(_ text: String) -> String? {
        AddressBlock(text) == nil
            ? " entry `\(Quantity.excerpt(text))`: not a block; allowed: an IP address, a slash and the prefix length" : nil
    }

    static func checkPortRange(_ text: String) -> String? {
        RelayDestinationSettings.ports(text)?.count == 1
            ? nil : " entry `\(Quantity.excerpt(text))`: allowed: a port or two with `-` between, from 1 to 65535"
    }

    /// Says nothing of the URL itself, whose query may hold a token.
    static func checkBackendURL(_ text: String) -> String? {
        let allowed = "allowed: ws:// or wss:// and a host, without user and password"
        if text.isEmpty { return nil }
        guard let scheme = ["ws://", "wss://"].first(where: { text.lowercased().hasPrefix($0) }) else { return allowed }
        let authority = text.dropFirst(scheme.count).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        return authority.isEmpty || authority.hasPrefix(":") || authority.contains("@") ? allowed : nil
    }

    static func checkBackendOrigin(_ text: String) -> String? {
        text.isEmpty || PolicyText.normalizedOrigin(text) != nil
            ? nil : "`\(Quantity.excerpt(text))` is no origin; allowed: null or scheme://host[:port] with http or https"
    }

    static func checkHTTPToken(_ text: String) -> String? {
        let isToken = text.utf8.allSatisfy { byte in
            (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5A) || (byte >= 0x61 && byte <= 0x7A)
                || "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
        return isToken ? nil : "allowed: letters, digits and !#$%&'*+-.^_`|~"
    }
}

extension ConfigurationKey {
    /// Its variables are written as the relay's are, and there is a flag for each, unless `flagged` said otherwise.
    func relayed() -> Self {
        var key = self
        key.isRelayed = true
        if !key.hasOwnFlags {
            // What admits clients is not for a command line, which others can read.
            key.flags = key.variables.filter { $0 != "API_KEY" && $0 != "JWT_SECRET" }.map { variable in
                var name = Substring(variable)
                for prefix in ["AERO_WEBRTC_UDP_RELAY_", "AERO_"] where name.hasPrefix(prefix) { name = name.dropFirst(prefix.count) }
                return name.lowercased().split(separator: "_").joined(separator: "-")
            }
        }
        return key
    }

    /// Set by these flags and no others.
    func flagged(_ names: String...) -> Self {
        var key = self
        key.flags = names
        key.hasOwnFlags = true
        return key
    }
}
