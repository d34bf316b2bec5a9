// The JWT proxy's part of a configuration as a whole: whose defaults are in force, what follows from variables and from the route
// file, what goes together, what deserves a warning.

extension ConfigurationFolding {
    /// What starts go-ws-gateway-proxy: where its keys and its routes are.
    private static let startingKeys = ["jwt.jwks_url", "jwt.upstream_url", "jwt.raw_upstream_url", "jwt.route_file"]

    /// Sections of whoever wants more than a JWT proxy.
    private static let otherSections = ["gateway", "sessions", "tcp", "dns", "demo", "udp_relay_base_url"]

    private var isStartedByVariables: Bool { Self.startingKeys.contains { draft.sources[$0] != nil } }

    private func isWritten(_ path: String) -> Bool {
        switch draft.sources[path] {
        case .file?, .flag?, .demonstration?: true
        default: false
        }
    }

    // MARK: Listener

    /// Adds the proxy's own listener, or makes the proxy all that is served. Before listeners are checked.
    mutating func placeProxyListener(_ configuration: inout Configuration) {
        let isNamed = draft.listeners.contains { $0.features.contains(Feature.jwt.rawValue) }
        configuration.proxy.isConfigured = isStartedByVariables || isNamed
            || draft.sources.keys.contains { $0.hasPrefix("jwt.") && isWritten($0) }
        guard configuration.proxy.isConfigured else { return }
        let hasOthers = draft.sources.keys.contains { key in
            Self.otherSections.contains { key == $0 || key.hasPrefix($0 + ".") } && key != "gateway.allowed_origins"
        }
        let isRelay = !draft.udp.address.isEmpty
        let address = draft.proxy.address
        // --port and PORT move the listener, whoever it serves.
        let hasListeners = isWritten("listeners") && draft.sources["listeners"] != .flag("--port")
        let isOnly = hasListeners
            ? draft.listeners.allSatisfy { $0.features == [Feature.jwt.rawValue] }
            : !hasOthers && (isStartedByVariables || !address.isEmpty)
        configuration.proxy.isAlone = !isRelay && isOnly
        guard !hasListeners || !address.isEmpty else { return }
        if configuration.proxy.isAlone {
            if hasListeners { return }
            draft.listeners[0].features = [Feature.jwt.rawValue]
            if !address.isEmpty {
                draft.listeners[0].address = address
                draft.sources["listeners"] = draft.sources["jwt.listen"]
            }
        } else if !address.isEmpty {
            var listener = ListenerDraft()
            listener.name = "jwt-proxy"
            listener.address = address
            listener.features = [Feature.jwt.rawValue]
            if draft.listeners.contains(where: { $0.address == listener.address && $0.features == listener.features }) { return }
            draft.listeners.append(listener)
        }
    }

    /// Settings of the process that the section may hold too. Before those are finished.
    mutating func placeProxyAdministration() {
        if draft.adminAddress.isEmpty, !draft.proxy.adminAddress.isEmpty {
            draft.adminAddress = draft.proxy.adminAddress
            draft.sources["admin.address"] = draft.sources["jwt.admin.listen"]
        }
        if draft.adminToken.isEmpty { draft.adminToken = draft.proxy.adminToken }
        if draft.redisURL.isEmpty, draft.proxy.store.kind == "redis" { draft.redisURL = draft.proxy.store.url }
    }

    // MARK: The whole

    /// Settles what profiles and variables decide, and checks how values go together.
    /// - Returns: lines worth a warning.
    mutating func finishProxy(_ configuration: inout Configuration) -> [String] {
        var warnings: [String] = []
        if draft.proxy.profile.isEmpty || draft.proxy.profile == "auto" {
            let isCompat = isStartedByVariables && draft.sources["jwt.routes"] == nil
            draft.proxy.profile = isCompat ? "compat" : "native"
        }
        draft.proxy.settleDefaults()
        checkRedisURL(isTakenAsUnset: configuration.proxy.isAlone && draft.proxy.profile == "compat", &warnings)
        if configuration.proxy.isConfigured {
            addFileRoutes()
            addImplicitRoutes()
            finishProviders(&warnings)
            finishRoutes(&warnings)
            finishStore(&warnings)
            let state = draft.proxy.stateDirectory
            if !state.isEmpty, let problem = KeyFiles.problem(state) { fault("jwt.state_dir", problem) }
            checkProxyOrigins()
            warnings += unknownVariables()
            var problems: [ProxyProblem] = []
            if faults.isEmpty { configuration.proxy.policy = ProxyPolicy(draft.proxy, problems: &problems) }
            for problem in problems { fault(problem.key, problem.message) }
        }
        configuration.proxy.settings = draft.proxy
        if configuration.proxy.isAlone, draft.sources["drain.grace"] == nil {
            let drain = draft.proxy.drain
            configuration.drainGraceMilliseconds = drain.delayMilliseconds + drain.timeoutSeconds * 1000
            // What is printed is in force when it is loaded again.
            draft.configuration.drainGraceMilliseconds = configuration.drainGraceMilliseconds
        }
        return warnings
    }

    // MARK: Routes

    private mutating func addFileRoutes() {
        var path = draft.proxy.routeFile
        if path.isEmpty {
            // Another way to a route makes the file of the default path optional; nobody named it.
            guard isStartedByVariables, draft.sources["jwt.routes"] == nil else { return }
            path = RouteFile.defaultPath
            let hasOther = !draft.proxy.upstreamURL.isEmpty || !draft.proxy.rawUpstreamURL.isEmpty
            if hasOther, FileIdentity.of(path) == nil { return }
        }
        willRead(path)
        let bytes: [UInt8]
        do { bytes = try SmallFile.read(path, limit: YAMLLimits().bytes) } catch {
            refuse(draft.sources["jwt.route_file"], "jwt.route_file",
                   "Invalid ROUTE_FILE: \(error.message); name a file of routes with ROUTE_FILE or --route-file, or set UPSTREAM_WS_URL")
            return
        }
        let file = RouteFile(bytes)
        for fault in file.faults { refuse(.file(path, fault.position), fault.key, fault.message) }
        for (index, entry) in file.entries.enumerated() {
            var route = ProxyRouteDraft()
            route.prefix = entry.prefix
            route.match = "string"
            route.upstreams = [ProxyUpstreamDraft(url: entry.upstream)]
            route.subprotocolChoice = entry.copiesSubprotocol ? "upstream" : "gateway"
            route.query = [entry.preservesQuery ? "preserve" : "drop"]
            draft.sources["jwt.routes[\(draft.proxy.routes.count)]"] = .file(path, TextPosition(line: index + 1, column: 1))
            draft.proxy.routes.append(route)
        }
    }

    /// `UPSTREAM_WS_URL` and `RAW_WS_BACKEND_URL`: `/ws` behind all other routes.
    private mutating func addImplicitRoutes() {
        let proxy = draft.proxy
        guard !proxy.upstreamURL.isEmpty || !proxy.rawUpstreamURL.isEmpty else { return }
        var route = ProxyRouteDraft()
        route.prefix = "/ws"
        route.match = "string"
        route.subprotocolChoice = "upstream"
        route.query = ["preserve"]
        if proxy.rawUpstreamURL.isEmpty {
            route.upstreams = [ProxyUpstreamDraft(url: proxy.upstreamURL)]
        } else if proxy.upstreamURL.isEmpty {
            route.carries = "raw"
            route.upstreams = [ProxyUpstreamDraft(url: proxy.rawUpstreamURL)]
        } else {
            route.upstreams = [
                ProxyUpstreamDraft(url: proxy.upstreamURL, carries: "mqtt"), ProxyUpstreamDraft(url: proxy.rawUpstreamURL, carries: "raw"),
            ]
        }
        draft.proxy.routes.append(route)
    }

    private mutating func finishRoutes(_ warnings: inout [String]) {
        if draft.proxy.routes.isEmpty, faults.isEmpty {
            refuse(draft.sources["jwt.routes"], "jwt.routes",
                   "no route: add one to jwt.routes or to the route file, or set UPSTREAM_WS_URL")
        }
        let isCompat = draft.proxy.profile == "compat"
        var names: Set<String> = []
        for index in draft.proxy.routes.indices {
            let place = "jwt.routes[\(index)]"
            draft.proxy.routes[index].settleDefaults(isCompat: isCompat)
            let route = draft.proxy.routes[index]
            if !route.name.isEmpty, !names.insert(route.name).inserted {
                fault(place + ".name", "two routes are named `\(route.name)`")
            }
            for name in route.authentication.providers where !draft.proxy.providers.contains(where: { $0.name == name }) {
                let hint = NearestName.find(name, among: draft.proxy.providers.map(\.name)).map { "; did you mean `\($0)`?" } ?? ""
                fault(place + ".auth.providers", "no provider is named `\(Quantity.excerpt(name))`\(hint)")
            }
            for problem in route.problems { fault(place + problem.key, problem.message) }
            checkFiles(of: route, place)
        }
        if draft.proxy.providers.isEmpty, draft.proxy.routes.contains(where: \.authentication.isRequired) {
            refuse(draft.sources["jwt.providers"], "jwt.providers", isStartedByVariables
                ? "JWKS_URL is required: nobody's tokens could be checked" : "no provider, so nobody's tokens could be checked; add one")
        }
        let keeps = draft.proxy.routes.contains {
            $0.authentication.keepsCredentialQuery == "true" && $0.query != ["drop"]
                && ($0.authentication.sources.isEmpty || $0.authentication.sources.contains { $0.hasPrefix("query") })
        }
        if keeps { warnings.append("tokens in the query of a request go on to upstreams, which may log them (auth.keep_credential_query)") }
    }

    /// Files a route needs: looked at now, and watched.
    private mutating func checkFiles(of route: ProxyRouteDraft, _ place: String) {
        let tls = route.tls
        if !tls.certificatePath.isEmpty, !tls.keyPath.isEmpty {
            willRead(tls.certificatePath)
            willRead(tls.keyPath)
            for problem in CertificatePair.problems(certificatePath: tls.certificatePath, keyPath: tls.keyPath) {
                fault(place + ".tls.cert_file", problem)
            }
        }
        checkReadable(tls.authoritiesPath, place + ".tls.ca_file")
        checkReadable(route.healthTokenPath, place + ".health_token_file")
        let credentials = [(".mqtt.password", route.mqtt.password), (".mqtt.username", route.mqtt.username)]
        for (key, value) in credentials where value.hasPrefix("file:") {
            checkReadable(String(value.dropFirst(5)), place + key)
        }
    }

    private mutating func checkReadable(_ path: String, _ key: String) {
        if path.isEmpty { return }
        willRead(path)
        do { _ = try SmallFile.read(path, limit: 1 << 20) } catch { fault(key, error.message) }
    }

    // MARK: Providers

    private mutating func finishProviders(_ warnings: inout [String]) {
        let proxy = draft.proxy
        let isCompat = proxy.profile == "compat"
        if proxy.providers.isEmpty, !proxy.keySetURL.isEmpty {
            var provider = ProxyProviderDraft()
            provider.name = "default"
            draft.proxy.providers = [provider]
        }
        // The variables speak of the first provider, as those of an address do of the first listener.
        if !draft.proxy.providers.isEmpty { draft.proxy.applyVariablesToFirstProvider(allowsPlainHTTP: isCompat) }
        var names: Set<String> = []
        for index in draft.proxy.providers.indices {
            let place = "jwt.providers[\(index)]"
            draft.proxy.providers[index].settleDefaults(isCompat: isCompat)
            let provider = draft.proxy.providers[index]
            if provider.name.isEmpty { fault(place, "`name` is missing") }
            if !provider.name.isEmpty, !names.insert(provider.name).inserted {
                fault(place + ".name", "two providers are named `\(provider.name)`")
            }
            for problem in provider.problems { fault(place + problem.key, problem.message) }
            if isCompat { warnings += provider.warnings }
            checkReadable(provider.keySetPath, place + ".jwks_file")
            checkReadable(provider.authoritiesPath, place + ".ca_file")
        }
    }

    // MARK: Origins

    private mutating func checkProxyOrigins() {
        let takesCookies = draft.proxy.routes.contains { route in
            route.authentication.sources.isEmpty || route.authentication.sources.contains { $0.hasPrefix("cookie") }
        }
        guard draft.proxy.origins.contains("*"), takesCookies else { return }
        let words = "* admits every page, and cookies come with every page: list origins, or auth.sources without cookie in each route"
        let isVariable = !isWritten("jwt.origins") && draft.sources["jwt.origins"] != nil
        fault("jwt.origins", isVariable ? "Invalid WS_ALLOWED_ORIGINS: \(words)" : words)
    }

    // MARK: Variables

    /// Prefixes of the reference's variables.
    private static let variablePrefixes = [
        "JWKS_", "JWT_", "WS_", "CB_", "RATE_LIMIT_", "UPSTREAM_WS", "RAW_WS_", "GRACEFUL_", "SHUTDOWN_", "INGRESS_HOST", "REDIS_UR",
        "POSTGRES_DS", "POSTGRES_DN", "ROUTE_", "ROUTES_",
    ]

    /// Variables that look like the proxy's and are nobody's.
    private func unknownVariables() -> [String] {
        let known = Set(schema.keys.flatMap(\.variables))
        return environmentNames.sorted().compactMap { name in
            let bare = name.hasSuffix("_FILE") && !known.contains(name) ? String(name.dropLast(5)) : name
            // Kubernetes adds such for every service, whatever it is called.
            if bare.contains("_SERVICE_") || bare.contains("_PORT") { return nil }
            guard !known.contains(bare), Self.variablePrefixes.contains(where: { bare.hasPrefix($0) }) else { return nil }
            let hint = NearestName.find(bare, among: known).map { "; did you mean \($0)?" } ?? ""
            return "variable \(Quantity.excerpt(name)) is not known and has no effect\(hint)"
        }
    }
}
