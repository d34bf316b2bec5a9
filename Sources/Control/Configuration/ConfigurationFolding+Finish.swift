// The last step of loading: values that are right on their own become a configuration that is right as a whole.

import Policy

extension ConfigurationFolding {
    /// The configuration, or every fault.
    mutating func finish(fallbackSecret: [UInt8]?) throws(ConfigurationFaults)
        -> LoadedConfiguration
    {
        var warnings: [String] = []
        var configuration = draft.configuration
        configuration.shards = draft.shards == 0 ? .automatic : .exactly(draft.shards)
        configuration.log = Log(
            level: LogLevel(name: draft.logLevel) ?? .info, format: LogFormat(rawValue: draft.logFormat) ?? .json)
        if let address = ListenAddress(draft.demoAddress) { configuration.demo.serviceAddress = address }
        finishListeners(&configuration)
        placeProxyAdministration()
        finishAdmin(&configuration)
        finishHTTP(&configuration)
        finishSession(&configuration, fallbackSecret, &warnings)
        finishTCP(&configuration, &warnings)
        finishRelay(&configuration)
        let relayWarnings = finishUDP(&configuration)
        if case .failure(let fault) = configuration.udp.iceServers {
            warnings.append("\(fault) (udp.ice_servers, AERO_ICE_SERVERS_JSON or its parts); until then GET /webrtc/ice answers 503")
        }
        warnings += finishProxy(&configuration)
        finishAdvertised(&configuration)
        configuration.gateway.dns.upstreams = draft.dnsUpstreams.compactMap { PolicyText.upstream($0) }
        configuration.resolvesDemonstration = configuration.demo.enabled && draft.sources["dns.upstreams"] == nil
        let resolverAuthorities = authorities(configuration.gateway.dns.upstreamAuthoritiesPath, key: "dns.upstream_ca")
        configuration.gateway.dns.upstreamAuthoritiesDigest = resolverAuthorities
        let storeAuthorities = authorities(draft.redisAuthorities, key: "redis.authorities")
        configuration.redis = RedisLocation(Quantity.trimmed(draft.redisURL)).map {
            RedisSettings(
                location: $0, prefix: draft.redisPrefix, authoritiesPath: draft.redisAuthorities, authoritiesDigest: storeAuthorities)
        }
        guard faults.isEmpty else { throw ConfigurationFaults(faults: faults, ofRelay: configuration.udp.isAlone) }
        let text = EffectiveConfiguration(schema: schema, draft: draft, configuration: configuration).text
        return LoadedConfiguration(
            configuration: configuration, warnings: warnings, relayWarnings: relayWarnings, effectiveText: text, files: files, draft: draft)
    }

    mutating func fault(_ key: String, _ message: String) { refuse(draft.sources[key], key, message) }

    // MARK: Listeners

    private mutating func finishListeners(_ configuration: inout Configuration) {
        applyFirstListenerVariables()
        placeRelayListener(&configuration)
        placeProxyListener(&configuration)
        var listeners: [Listener] = []
        for (index, draftListener) in draft.listeners.enumerated() {
            var listener = Listener()
            listener.name = draftListener.name
            guard let address = ListenAddress(draftListener.address) else { continue }  // refused when it was set
            listener.address = address
            listener.features = draftListener.features.compactMap { Feature(rawValue: $0) }
            if let certificates = draftListener.certificates {
                listener.tls = ListenerTLS(
                    certificates: certificates.map {
                        ListenerTLS.Certificate(certificatePath: $0.certificatePath, keyPath: $0.keyPath)
                    })
                checkCertificates(certificates, key: "listeners[\(index)].tls")
            }
            if listeners.contains(where: { $0.name == listener.name }) {
                fault("listeners", "two listeners are named `\(listener.name)`")
            }
            if address.port != 0, listeners.contains(where: { $0.address == address }) {
                fault("listeners", "two listeners have the address \(address)")
            }
            listeners.append(listener)
        }
        if !listeners.isEmpty { configuration.listeners = listeners }
    }

    private mutating func applyFirstListenerVariables() {
        guard var address = ListenAddress(draft.listeners[0].address) else { return }
        if let host = ListenAddress.numericHost(draft.host) {
            address.host = host
            draft.sources["listeners"] = draft.sources["host"]
        }
        if draft.port >= 0, let port = UInt16(exactly: draft.port) {
            address.port = port
            draft.sources["listeners"] = draft.sources["port"]
        }
        draft.listeners[0].address = "\(address)"
        guard draft.tlsEnabled else { return }
        if draft.tlsCertificatePath.isEmpty {
            refuse(draft.sources["tls_enabled"], "tls_cert_path", "TLS_CERT_PATH is required when TLS_ENABLED=1")
        }
        if draft.tlsKeyPath.isEmpty {
            refuse(draft.sources["tls_enabled"], "tls_key_path", "TLS_KEY_PATH is required when TLS_ENABLED=1")
        }
        draft.listeners[0].certificates = [
            ListenerDraft.Certificate(certificatePath: draft.tlsCertificatePath, keyPath: draft.tlsKeyPath)
        ]
    }

    /// Checks the files of a TLS listener, and has them watched: an exchanged certificate is a changed configuration.
    private mutating func checkCertificates(_ certificates: [ListenerDraft.Certificate], key: String) {
        let source = key == "listeners[0].tls" && draft.tlsEnabled ? draft.sources["tls_enabled"] : draft.sources["listeners"]
        for certificate in certificates {
            // What is missing was said where it was read.
            if certificate.certificatePath.isEmpty || certificate.keyPath.isEmpty { continue }
            willRead(certificate.certificatePath)
            willRead(certificate.keyPath)
            for problem in CertificatePair.problems(certificatePath: certificate.certificatePath, keyPath: certificate.keyPath) {
                refuse(source, key, problem)
            }
        }
    }

    private mutating func finishAdmin(_ configuration: inout Configuration) {
        guard let address = ListenAddress(draft.adminAddress) else { return }
        configuration.admin.address = address
        let token = Quantity.trimmed(draft.adminToken)
        configuration.admin.token = token.isEmpty ? nil : Masked(token)
        if token.isEmpty, let host = IPAddress(address.host), !AdminAccess.isLoopbackAddress(host) {
            fault("admin.address", "\(address) can be reached from other machines and no token is set; "
                + "set admin.token_file (or SLUICE_ADMIN_TOKEN_FILE), or listen on 127.0.0.1:\(address.port)")
        }
        if address.port != 0, configuration.listeners.contains(where: { $0.address == address }) {
            fault("admin.address", "a listener has the address \(address) already")
        }
    }

    // MARK: Gateway

    private mutating func finishHTTP(_ configuration: inout Configuration) {
        let first = configuration.listeners[0]
        configuration.gateway.http.bindHost = first.address.host
        configuration.gateway.http.shutdownGraceMilliseconds = configuration.drainGraceMilliseconds
        configuration.gateway.http.logLevel = GatewaySettings.LogLevel(rawValue: draft.logLevel) ?? .info
        configuration.derivesBaseURL = draft.publicBaseURL.isEmpty
        configuration.derivesOrigins = draft.allowedOrigins.isEmpty
        if let base = BaseURL(draft.publicBaseURL) {
            configuration.gateway.http.publicBaseURL = base.text
            configuration.gateway.http.basePath = base.path
        }
        if !draft.allowedOrigins.isEmpty {
            let origins = draft.allowedOrigins.compactMap { $0 == "null" ? $0 : PolicyText.normalizedOrigin($0) }
            configuration.gateway.origins = OriginAllowlist(anyOrigin: draft.allowedOrigins.contains("*"), origins: Set(origins))
        }
        configuration = configuration.bound(port: first.address.port)
    }

    private mutating func finishSession(
        _ configuration: inout Configuration, _ fallbackSecret: [UInt8]?, _ warnings: inout [String]
    ) {
        let secret = Array(Quantity.trimmed(draft.sessionSecret).utf8)
        if secret.isEmpty {
            configuration.gateway.session.secret = fallbackSecret ?? Self.randomSecret()
            configuration.generatesSessionSecret = true
            // A relay alone has no sessions that are signed with it.
            if !configuration.udp.isAlone {
                warnings.append(
                    "no session secret is configured; a random one is used, so sessions end with this process "
                        + "and no other instance accepts them"
                )
            }
        } else {
            configuration.gateway.session.secret = secret
        }
        if let sameSite = SessionCookie.SameSite(rawValue: draft.sameSite) { configuration.gateway.session.sameSite = sameSite }
    }

    /// 256 bits from getrandom(2): as strong as the MAC they key.
    static func randomSecret() -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }

    private mutating func finishTCP(_ configuration: inout Configuration, _ warnings: inout [String]) {
        confineDemonstration(&configuration)
        configuration.gateway.tcp.allowedHosts = draft.allowedHosts.compactMap { PolicyText.hostPattern($0) }
        configuration.gateway.tcp.blockedHosts = draft.blockedHosts.compactMap { PolicyText.hostPattern($0) }
        configuration.gateway.tcp.allowedPorts = draft.allowedPorts.compactMap { UInt16(Quantity.trimmed($0)) }
        configuration.gateway.tcp.blockedClients = draft.blockedClients.compactMap { IPAddress($0)?.normalized }
        if configuration.gateway.tcp.allowPrivateAddresses, draft.allowedHosts.isEmpty {
            warnings.append(
                "tcp.allow_private_ips is on and tcp.allowed_hosts is empty: clients reach loopback and every private network")
        }
    }

    /// The demonstration needs a private target. Unless the operator wrote egress rules, it is permitted that one and no other target.
    private mutating func confineDemonstration(_ configuration: inout Configuration) {
        let egress = Self.demonstrationEgress
        guard configuration.demo.enabled, egress.allSatisfy({ draft.sources[$0] == nil }) else { return }
        configuration.confinesDemonstration = true
        configuration.gateway.tcp.allowPrivateAddresses = true
        draft.configuration.gateway.tcp.allowPrivateAddresses = true
        draft.allowedHosts = [configuration.demo.serviceAddress.host]
        draft.allowedPorts = ["\(configuration.demo.serviceAddress.port)"]
        for key in egress { draft.sources[key] = .demonstration }
    }

    /// The keys that follow the demonstration service while nobody wrote them.
    static let demonstrationEgress = ["tcp.allow_private_ips", "tcp.allowed_hosts", "tcp.allowed_ports"]

    private mutating func finishRelay(_ configuration: inout Configuration) {
        guard let base = RelayURL(draft.relayBaseURL) else { return }
        var relay = GatewaySettings.RelaySettings(baseURL: base.text)
        switch draft.relayAuthentication {
        case "api_key":
            if draft.relayKey.isEmpty {
                fault("udp_relay_auth_mode", "UDP_RELAY_API_KEY is required when UDP_RELAY_AUTH_MODE=api_key")
            }
            relay.authentication = .apiKey(draft.relayKey)
        case "jwt":
            if draft.relaySecret.isEmpty {
                fault("udp_relay_auth_mode", "UDP_RELAY_JWT_SECRET is required when UDP_RELAY_AUTH_MODE=jwt")
            }
            relay.authentication = .jwt(secret: Array(draft.relaySecret.utf8))
        default: break
        }
        relay.tokenLifetimeSeconds = draft.relayLifetimeSeconds
        relay.audience = draft.relayAudience
        relay.issuer = draft.relayIssuer
        configuration.gateway.relay = relay
    }

    private func finishAdvertised(_ configuration: inout Configuration) {
        let frame = draft.l2FramePayloadBytes > 0 ? draft.l2FramePayloadBytes : draft.l2LegacyFramePayloadBytes
        if frame > 0 { configuration.gateway.l2.maxFramePayloadBytes = frame }
        if draft.l2ControlPayloadBytes > 0 { configuration.gateway.l2.maxControlPayloadBytes = draft.l2ControlPayloadBytes }
        let version = configuration.gateway.version.version
        configuration.gateway.version.gitRevision = draft.gitRevision.isEmpty ? version : draft.gitRevision
    }
}

extension Configuration {
    /// The same configuration for the port the first listener really got. What is derived from the port follows: the public
    /// base URL and the origin allowlist, unless they were configured.
    public func bound(port: UInt16) -> Configuration {
        var result = self
        result.gateway.http.port = port
        let scheme = listeners[0].tls == nil ? "http" : "https"
        let standard: UInt16 = scheme == "http" ? 80 : 443
        let suffix = port == standard ? "" : ":\(port)"
        if derivesBaseURL {
            result.gateway.http.publicBaseURL = "\(scheme)://localhost\(suffix)"
            result.gateway.http.basePath = ""
        }
        if derivesOrigins {
            var origins: Set = [BaseURL(result.gateway.http.publicBaseURL)?.origin ?? "\(scheme)://localhost\(suffix)"]
            // The demonstration is opened under the address that its start prints.
            if demo.enabled { origins.insert("\(scheme)://127.0.0.1\(suffix)") }
            result.gateway.origins = OriginAllowlist(anyOrigin: false, origins: origins)
        }
        return result
    }

    /// The same configuration for the port the demonstration service really got (`demo.service_address` may ask for port 0).
    /// The egress rules and the upstream of DNS over HTTPS follow, unless somebody wrote their own.
    public func demonstrationBound(port: UInt16) -> Configuration {
        var result = self
        result.demo.serviceAddress.port = port
        if confinesDemonstration { result.gateway.tcp.allowedPorts = [port] }
        if udp.confinesDemonstration { result.udp.destinations.allowedPorts = [port...port] }
        if resolvesDemonstration {
            // With no network, and nobody's resolver asked: the service answers for a zone of its own.
            result.gateway.dns.upstreams = [.https(url: "http://\(result.demo.serviceAddress)/dns-query")]
        }
        return result
    }
}
