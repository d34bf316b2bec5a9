// The UDP relay's part of a configuration as a whole: what follows from other values, what goes together, what deserves a warning.

import Policy
import UDPRelay

extension ConfigurationFolding {
    // MARK: Flags

    /// Applies a flag of the relay, whose value is written as its variable's.
    mutating func apply(relayFlag assignment: ConfigurationLoader.Assignment, _ source: ConfigurationSource) {
        guard let key = schema.keys.first(where: { $0.flags.contains(assignment.key) }) else { return }
        let text = Quantity.trimmed(assignment.value)
        if text.isEmpty { return }
        do throws(ValueRefusal) {
            let value = try key.type.value(ofRelayText: text)
            let refused = key.refusedItems(value)
            for item in refused { refuse(source, key.path, Self.words(ValueRefusal(item.message))) }
            guard refused.isEmpty else { return }
            try key.store(&draft, value)
            draft.sources[key.path] = source
        } catch {
            refuse(source, key.path, Self.words(error))
        }
    }

    // MARK: Listener

    /// Adds the relay's own listener, or makes it the only one. Before listeners are checked.
    mutating func placeRelayListener(_ configuration: inout Configuration) {
        // An address that was refused was still given: whoever gave it expects a relay's exit status.
        guard !draft.udp.address.isEmpty || faults.contains(where: { $0.key == "udp.listen_address" }) else { return }
        let others = draft.sources.keys.filter { key in
            Self.gatewaySections.contains { key == $0 || key.hasPrefix($0 + ".") } && key != "gateway.allowed_origins"
        }
        configuration.udp.isAlone = others.isEmpty
        guard !draft.udp.address.isEmpty else { return }
        var listener = ListenerDraft()
        listener.name = "udp-relay"
        listener.address = draft.udp.address
        listener.features = [Feature.udp.rawValue]
        // A configuration that was printed names the listener too.
        if draft.listeners.contains(where: { $0.address == listener.address && $0.features == listener.features }) { return }
        if others.isEmpty {
            draft.listeners = [listener]
            draft.sources["listeners"] = draft.sources["udp.listen_address"]
        } else {
            draft.listeners.append(listener)
        }
    }

    /// Whoever sets something of these wants more than a relay.
    private static let gatewaySections = [
        "listeners", "host", "port", "tls_enabled", "gateway", "sessions", "tcp", "dns", "demo", "jwt", "udp_relay_base_url",
    ]

    // MARK: The whole

    mutating func finishUDP(_ configuration: inout Configuration) -> [RelayWarning] {
        let ownKeys = draft.sources.keys.filter {
            // Both may be somebody else's: one is the gateway's too, the other is blank where harnesses blank everything.
            $0.hasPrefix("udp.") && $0 != "udp.allowed_origins" && !($0 == "udp.policy_preset" && draft.udp.preset.isEmpty)
        }
        let isNamed = draft.listeners.contains { $0.features.contains(Feature.udp.rawValue) }
        configuration.udp.isConfigured = !ownKeys.isEmpty || isNamed || isFromFile("udp.allowed_origins")
        finishRelayService(&configuration)
        finishRelayAccess(&configuration)
        configuration.udp.settings = relaySettings()
        finishRelayPolicy(&configuration)
        finishRelayServers(&configuration)
        checkUnusedRelaySettings()
        return configuration.udp.isConfigured ? relayWarnings(configuration) : []
    }

    private func isFromFile(_ key: String) -> Bool {
        if case .file? = draft.sources[key] { return true }
        return false
    }

    private var isProduction: Bool { draft.udp.mode.hasPrefix("prod") }

    private func finishRelayService(_ configuration: inout Configuration) {
        let origins = draft.udp.origins.compactMap { $0 == "null" ? $0 : PolicyText.normalizedOrigin($0) }
        configuration.udp.origins = OriginAllowlist(anyOrigin: draft.udp.origins.contains("*"), origins: Set(origins))
        configuration.udp.publicBaseURL = RelayURL(Quantity.trimmed(draft.udp.publicBaseURL))?.text ?? ""
        if configuration.udp.isAlone {
            configuration.drainGraceMilliseconds = draft.sources["drain.grace"] == nil
                ? draft.udp.shutdownMilliseconds : configuration.drainGraceMilliseconds
            if draft.sources["log.format"] == nil { configuration.log.format = isProduction ? .json : .text }
            if draft.sources["log.level"] == nil { configuration.log.level = isProduction ? .info : .debug }
        }
        if isInForce("udp.log_format", over: "log.format"), let format = LogFormat(rawValue: draft.udp.logFormat) {
            configuration.log.format = format
        }
        let name = draft.udp.logLevel == "warning" ? "warn" : draft.udp.logLevel
        if isInForce("udp.log_level", over: "log.level"), let level = LogLevel(name: name) { configuration.log.level = level }
    }

    /// Whether the relay's own name of a setting counts: the setting itself is not given by a layer that wins.
    private func isInForce(_ key: String, over other: String) -> Bool {
        guard let source = draft.sources[key] else { return false }
        guard let winner = draft.sources[other] else { return true }
        if case .flag = source { return false }
        switch winner {
        case .environment, .environmentFile: return false
        default: return true
        }
    }

    // MARK: Access

    private mutating func finishRelayAccess(_ configuration: inout Configuration) {
        let key = Array(Quantity.trimmed(draft.udp.key).utf8)
        let secret = Array(Quantity.trimmed(draft.udp.secret).utf8)
        switch draft.udp.authentication.lowercased() {
        case "none": configuration.udp.access = .open
        case "jwt":
            if secret.isEmpty { fault("udp.auth_mode", "JWT_SECRET (or udp.jwt_secret_file) is required when the mode is jwt") }
            configuration.udp.access = .jwt(secret: secret)
        case "api_key":
            if key.isEmpty { fault("udp.auth_mode", "API_KEY (or udp.api_key_file) is required when the mode is api_key") }
            configuration.udp.access = .apiKey(key)
        default:
            if let access = Self.announcedAccess(configuration, key: key) {
                configuration.udp.access = access
            } else if configuration.udp.isConfigured {
                refuse(nil, "udp.auth_mode", "nobody could use the UDP relay: set API_KEY (or udp.api_key_file), or AUTH_MODE=jwt with "
                    + "JWT_SECRET, or AUTH_MODE=none")
            } else {
                configuration.udp.access = configuration.demo.enabled ? .open : .jwt(secret: Self.randomSecret())
            }
        }
    }

    /// What is in force when no mode is given: a key, or what the gateway tells its clients of the relay.
    private static func announcedAccess(_ configuration: Configuration, key: [UInt8]) -> RelayAccess? {
        if !key.isEmpty { return .apiKey(key) }
        switch configuration.gateway.relay?.authentication {
        case .jwt(let secret)?: return .jwt(secret: secret)
        case .apiKey(let key)?: return .apiKey(Array(key.utf8))
        default: return nil
        }
    }

    // MARK: Engine

    private mutating func relaySettings() -> RelaySettings {
        let draft = self.draft.udp
        if draft.pingMilliseconds >= draft.idleMilliseconds {
            fault("udp.ping_interval", "UDP_WS_PING_INTERVAL must be shorter than UDP_WS_IDLE_TIMEOUT (udp.idle_timeout)")
        }
        if self.draft.sources["udp.read_buffer"] != nil, draft.readBufferBytes <= draft.payloadBytes {
            fault("udp.read_buffer",
                  "UDP_READ_BUFFER_BYTES must be above MAX_DATAGRAM_PAYLOAD_BYTES (udp.max_payload), which is \(draft.payloadBytes)")
        }
        var settings = RelaySettings()
        settings.authenticationMilliseconds = UInt64(draft.authenticationMilliseconds)
        settings.idleMilliseconds = UInt64(draft.idleMilliseconds)
        settings.pingMilliseconds = UInt64(draft.pingMilliseconds)
        settings.maximumControlMessageBytes = draft.signalingMessageBytes
        settings.maximumPayloadBytes = draft.payloadBytes
        settings.prefersV2 = draft.prefersV2
        settings.sendQueueBytes = draft.sendQueueBytes
        settings.maximumSessions = max(0, draft.sessions)
        settings.reservationMilliseconds = UInt64(draft.reservationMilliseconds)
        settings.bindings.maximumBindings = draft.bindings
        settings.bindings.idleMilliseconds = UInt64(draft.bindingIdleMilliseconds)
        settings.bindings.filterMode = RelayFilterMode(rawValue: draft.filter) ?? .addressAndPort
        settings.bindings.maximumRemotes = draft.remotes
        settings.bindings.remoteIdleMilliseconds = UInt64(
            draft.remoteIdleMilliseconds > 0 ? draft.remoteIdleMilliseconds : draft.bindingIdleMilliseconds)
        settings.limits = relayLimits()
        return settings
    }

    private func relayLimits() -> RelayLimits {
        let draft = self.draft.udp
        var limits = RelayLimits()
        limits.framesPerSecond = max(0, draft.framesPerSecond)
        limits.bytesPerSecond = max(0, draft.bytesPerSecond)
        limits.framesPerSecondPerDestination = max(0, draft.framesPerSecondPerDestination)
        limits.uniqueDestinations = max(0, draft.destinations)
        limits.destinationBuckets = draft.destinationBuckets > 0 ? draft.destinationBuckets : nil
        limits.bytesPerSecondToClient = max(0, draft.bytesPerSecondToClient)
        limits.hardCloseViolations = max(0, draft.violations)
        // The relay's flag names the duration, its variable the seconds: the flag wins as everywhere.
        var isByFlag = false
        if case .flag(let name)? = self.draft.sources["udp.violation_window"] { isByFlag = !name.hasPrefix("--set") }
        limits.violationWindowMilliseconds = UInt64(
            draft.violationWindowSeconds > 0 && !isByFlag ? draft.violationWindowSeconds * 1000 : draft.violationWindowMilliseconds)
        return limits
    }

    // MARK: Policy and servers

    private static let policyKeys = [
        "udp.policy_preset", "udp.allow_private_networks", "udp.allowed_cidrs", "udp.denied_cidrs", "udp.allowed_ports", "udp.denied_ports",
    ]

    private func finishRelayPolicy(_ configuration: inout Configuration) {
        let udp = draft.udp
        var settings = RelayDestinationSettings(preset: udp.preset) ?? RelayDestinationSettings()
        if case .flag(let allowed)? = try? ConfigurationType.flag(.zeroOrOne).value(ofRelayText: Quantity.trimmed(udp.privateNetworks)) {
            settings.allowsPrivate = allowed
        }
        if draft.sources["udp.allowed_cidrs"] != nil { settings.allowedBlocks = udp.allowedBlocks.compactMap { AddressBlock($0) } }
        settings.deniedBlocks = udp.deniedBlocks.compactMap { AddressBlock($0) }
        func ranges(_ items: [String]) -> [ClosedRange<UInt16>] { items.flatMap { RelayDestinationSettings.ports($0) ?? [] } }
        if draft.sources["udp.allowed_ports"] != nil { settings.allowedPorts = ranges(udp.allowedPorts) }
        settings.deniedPorts = ranges(udp.deniedPorts)
        configuration.udp.destinations = settings
        confineRelayDemonstration(&configuration)
    }

    /// The demonstration's datagrams go to its own service, unless somebody wrote rules.
    private func confineRelayDemonstration(_ configuration: inout Configuration) {
        guard configuration.demo.enabled, Self.policyKeys.allSatisfy({ draft.sources[$0] == nil }),
            let host = IPAddress(configuration.demo.serviceAddress.host),
            let block = AddressBlock(host, length: host.family == .v4 ? 32 : 128)
        else { return }
        configuration.udp.confinesDemonstration = true
        configuration.udp.destinations.allowsPrivate = true
        configuration.udp.destinations.allowedBlocks = [block]
        configuration.udp.destinations.allowedPorts = [configuration.demo.serviceAddress.port...configuration.demo.serviceAddress.port]
    }

    private mutating func finishRelayServers(_ configuration: inout Configuration) {
        let udp = draft.udp
        let secret = Quantity.trimmed(udp.turnSecret)
        if !secret.isEmpty {
            var turn = TURNCredential.Settings(secret: Array(secret.utf8))
            let prefix = Quantity.trimmed(udp.turnPrefix)
            if udp.turnLifetimeSeconds <= 0 {
                fault("udp.turn_rest_ttl_seconds", "TURN_REST_TTL_SECONDS must be above 0 when TURN REST is on")
            }
            if prefix.isEmpty || prefix.contains(":") {
                fault("udp.turn_rest_prefix", "TURN_REST_USERNAME_PREFIX must not be blank and have no colon when TURN REST is on")
            }
            turn.lifetimeSeconds = Int64(udp.turnLifetimeSeconds)
            turn.prefix = prefix
            configuration.udp.turn = turn
        }
        var input = ICEServers.Input()
        input.json = udp.iceServers
        input.stunURLs = udp.stunURLs
        input.turnURLs = udp.turnURLs
        input.turnUsername = udp.turnUsername
        input.turnCredential = udp.turnCredential
        configuration.udp.iceServers = Result { () throws(ICEServers.Fault) in try ICEServers(input, withREST: !secret.isEmpty) }
    }

    // MARK: What waits for WebRTC

    /// Section 8.3 of the specification: the largest message, and what one association may hold.
    private var channelBytes: (message: Int, receive: Int) {
        let udp = draft.udp
        let message = udp.channelMessageBytes > 0 ? udp.channelMessageBytes : max(udp.payloadBytes + 24, udp.backendMessageBytes) + 256
        return (message, udp.receiveBufferBytes > 0 ? udp.receiveBufferBytes : max(1_048_576, 2 * message))
    }

    private mutating func checkUnusedRelaySettings() {
        let udp = draft.udp
        if udp.signalingPingMilliseconds >= udp.signalingIdleMilliseconds {
            fault("udp.signaling_ping_interval", "SIGNALING_WS_PING_INTERVAL must be shorter than SIGNALING_WS_IDLE_TIMEOUT")
        }
        let hasPorts = (udp.portMinimum > 0, udp.portMaximum > 0)
        if hasPorts.0 != hasPorts.1 {
            fault("udp.webrtc_port_min", "WEBRTC_UDP_PORT_MIN and WEBRTC_UDP_PORT_MAX belong together")
        } else if hasPorts.0, udp.portMaximum - udp.portMinimum < 99 {
            fault("udp.webrtc_port_max", "WEBRTC_UDP_PORT_MIN to WEBRTC_UDP_PORT_MAX must be at least 100 ports")
        }
        if draft.sources["udp.webrtc_nat_1to1_ips"] != nil, udp.outerAddresses.isEmpty {
            fault("udp.webrtc_nat_1to1_ips", "WEBRTC_NAT_1TO1_IPS names no address")
        }
        let least = max(udp.payloadBytes + 24, udp.backendMessageBytes)
        let (message, receive) = channelBytes
        if message < least {
            fault("udp.webrtc_max_message",
                  "WEBRTC_DATACHANNEL_MAX_MESSAGE_BYTES must be at least \(least), the largest frame or L2 message")
        }
        if receive < max(message, 1500) {
            fault("udp.webrtc_receive_buffer", "WEBRTC_SCTP_MAX_RECEIVE_BUFFER_BYTES must be at least \(max(message, 1500))")
        }
        if !udp.backendURL.isEmpty, udp.backendOrigin.isEmpty,
            let problem = ConfigurationSchema.checkBackendOrigin(udp.backendSocketOrigin)
        {
            fault("udp.l2_backend_ws_origin", "Invalid L2_BACKEND_WS_ORIGIN: \(problem)")
        }
    }

    // MARK: Warnings

    private func relayWarnings(_ configuration: Configuration) -> [RelayWarning] {
        let udp = draft.udp
        let isDevelopment = udp.preset.lowercased().hasPrefix("dev")
        let (message, receive) = channelBytes
        let all: [(Bool, String, String)] = [
            (udp.filter == RelayFilterMode.any.rawValue, "udp_inbound_filter_mode_any", "anybody may send to the guest ports of clients"),
            (configuration.udp.access == .open, "auth_mode_none", "the UDP relay admits everybody"),
            (configuration.udp.origins.admitsAnyOrigin, "allowed_origins_wildcard", "pages of every origin may use the UDP relay"),
            (isDevelopment, "destination_policy_preset_dev", "datagrams may go anywhere, private networks among it"),
            (isProduction && !isDevelopment && configuration.udp.destinations.allowsPrivate, "allow_private_networks_in_prod",
                "datagrams may go to private networks"),
            (isProduction && configuration.udp.settings.maximumSessions == 0, "max_sessions_unlimited_in_prod",
                "sessions of the UDP relay are not limited (MAX_SESSIONS)"),
            (message > 1 << 20, "webrtc_datachannel_max_message_large", "messages of data channels may be \(message) bytes"),
            (receive > 8 << 20, "webrtc_sctp_max_receive_buffer_large", "one peer may hold \(receive) bytes"),
            (udp.connectMilliseconds > 120_000, "webrtc_session_connect_timeout_large",
                "a peer may take \(udp.connectMilliseconds) ms to connect"),
            (udp.backendAuthentication == "query" && configuration.udp.access != .open, "l2_backend_auth_forward_mode_query",
                "clients' credentials would go to the L2 backend in URLs, which are logged"),
        ]
        return all.filter(\.0).map { RelayWarning(code: $0.1, text: $0.2) }
    }
}
