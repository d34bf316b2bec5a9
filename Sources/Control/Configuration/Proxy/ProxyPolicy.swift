import Policy
import Wire

/// What the JWT proxy decides by: a settled configuration in the values of `Policy`.
struct ProxyPolicy: Sendable {
    /// An issuer, its keys, and how they are fetched.
    struct Provider: Sendable {
        var provider: TokenProvider
        var sources = KeySources()
        var staticKeys: [KeySetEntry] = []
        /// PEM file of authorities; empty: the system's.
        var authoritiesPath = ""
        var requestFields: [ConfigurationPair] = []
    }

    /// What of a route is not in `ProxyRoute`.
    struct Route: Sendable {
        /// As configured and settled.
        var draft: ProxyRouteDraft
        /// Places of the providers it believes.
        var providers: [Int]
        var rules: ClaimRules
        var expiry: ExpiryRule
        var rate: MessageRate?
        var sources: TokenSources?
        /// Beside its `url`, of each of `draft.upstreams`.
        var upstreams: [ProxyUpstream]
    }

    var profile = ProxyProfile.native
    var codes = ProxyCloseCodes.extended
    var providers: [Provider] = []
    var routes: ProxyRoutes
    /// Beside each of `routes`.
    var details: [Route]
    var origins: ProxyOrigins
    var trusted: [AddressBlock] = []
    var limits = ProxyLimits()
    var draft: ProxyDraft

    /// Where a token may be on a route that speaks this.
    func sources(_ route: Int, _ spoken: ProxyProtocol) -> TokenSources {
        details[route].sources ?? TokenSources(defaultsFor: spoken, cookieName: draft.cookieName)
    }

    /// Which page may read an answer: fields for a request with these Origin fields, none where no origins are listed.
    func sharingFields(_ lines: [String]) -> [(name: String, value: String)] {
        if origins.isEmpty { return [] }
        let vary = (name: "Vary", value: "Origin")
        guard case .allowed(let origin) = origins.judge(lines) else { return [vary] }
        return [
            (name: "Access-Control-Allow-Origin", value: origin.text), (name: "Access-Control-Allow-Credentials", value: "true"), vary,
        ]
    }

    /// Compiles settled values; nil when there are problems, which carry the full key.
    init?(_ draft: ProxyDraft, problems: inout [ProxyProblem]) {
        let before = problems.count
        self.draft = draft
        profile = draft.profile == "compat" ? .compat : .native
        codes = draft.closeCodes == "extended" ? .extended : profile == .compat ? .compat : .standard
        trusted = draft.trustedProxies.compactMap { text in
            AddressBlock(text) ?? IPAddress(text).flatMap { AddressBlock($0, length: $0.family == .v4 ? 32 : 128) }
        }
        limits = Self.limits(draft)
        for (index, provider) in draft.providers.enumerated() {
            let compiled = Self.provider(provider, draft, "jwt.providers[\(index)]", &problems)
            if let compiled { providers.append(compiled) }
        }
        var compiled: [ProxyRoute] = []
        details = []
        for (index, route) in draft.routes.enumerated() {
            guard let (own, detail) = Self.route(route, draft, profile, "jwt.routes[\(index)]", &problems) else { continue }
            compiled.append(own)
            details.append(detail)
        }
        let usesCookies = details.contains { $0.sources?.usesCookies ?? true }
        do throws(ProxyOrigins.Fault) {
            origins = try ProxyOrigins(
                draft.origins, profile: profile, usesCookies: usesCookies, allowsMissing: draft.allowsMissingOrigin)
        } catch {
            problems.append(("jwt.origins", error.description))
            return nil
        }
        guard problems.count == before else { return nil }
        do throws(ProxyRouteFault) { routes = try ProxyRoutes(Self.named(compiled)) } catch {
            problems.append(("jwt.routes" + (error.entry > 0 ? "[\(error.entry - 1)].\(error.key)" : ""), error.problem))
            return nil
        }
    }

    /// The routes with names of their own: they are labels, and nothing else of a route need be unique.
    private static func named(_ routes: [ProxyRoute]) -> [ProxyRoute] {
        var names: Set<String> = []
        return routes.map { route in
            var route = route
            // Room for a number behind it.
            let bytes = (route.name.isEmpty ? "/" : route.name).utf8.prefix(ProxyRoutes.maximumNameBytes - 8)
            let base = String(decoding: bytes, as: UTF8.self)
            route.name = base
            var number = 2
            while !names.insert(route.name).inserted {
                route.name = "\(base)#\(number)"
                number += 1
            }
            return route
        }
    }

    private static func limits(_ draft: ProxyDraft) -> ProxyLimits {
        var limits = ProxyLimits()
        let own = draft.limits
        limits.sessions = own.sessions
        limits.connectionsPerAddress = own.connectionsPerAddress
        limits.handshakes = own.handshakes
        limits.handshakesPerAddress = own.handshakesPerAddress
        limits.handshakesPerSecond = own.handshakesPerSecond
        limits.handshakeBurst = own.handshakeBurst
        limits.failuresPerMinute = own.failuresPerMinute
        limits.sessionsPerSubject = own.sessionsPerSubject
        limits.evictsOldest = own.evict == "oldest"
        limits.sessionsPerAddress = own.sessionsPerAddress
        limits.firstMessageBytes = own.firstMessageBytes
        limits.packetBytes = own.packetBytes
        limits.subscriptions = own.subscriptions
        limits.connectMilliseconds = draft.timeouts.firstMessageMilliseconds
        return limits
    }

    // MARK: Providers

    private static func provider(
        _ draft: ProxyProviderDraft, _ proxy: ProxyDraft, _ place: String, _ problems: inout [ProxyProblem]
    ) -> Provider? {
        var provider = TokenProvider(
            name: draft.name, issuers: draft.issuer.isEmpty ? [] : [draft.issuer], audiences: draft.audiences,
            algorithms: draft.algorithms.compactMap { TokenAlgorithm(name: $0) })
        provider.allowsAnyIssuer = draft.allowsAnyIssuer
        provider.allowsAnyAudience = draft.allowsAnyAudience
        provider.leewaySeconds = draft.leewaySeconds
        provider.requiresExpiry = draft.requiresExpiry
        provider.requiresSubject = draft.requiresSubject
        provider.requiresType = draft.requiresType
        provider.missingKeyID = TokenProvider.MissingKeyID(rawValue: draft.missingKey) ?? .reject
        provider.maximumAgeSeconds = draft.maximumAgeSeconds > 0 ? draft.maximumAgeSeconds : nil
        provider.maximumTokenBytes = proxy.limits.tokenBytes
        provider.rules = rules(draft.rules, scopes: draft.scopes, parties: draft.clients)
        var compiled = Provider(provider: provider, authoritiesPath: draft.authoritiesPath, requestFields: draft.requestHeaders)
        compiled.sources.allowsPlain = draft.allowsPlainHTTP
        compiled.sources.refreshSeconds = draft.refreshSeconds
        compiled.sources.minimumRefetchSeconds = draft.minimumRefetchSeconds
        compiled.sources.keyGraceSeconds = draft.keyGraceSeconds
        compiled.sources.maximumStaleSeconds = draft.maximumStale == "never" ? nil : (Quantity.milliseconds(draft.maximumStale) ?? 0) / 1000
        if let location = KeyLocation(draft.keySetURL) { compiled.sources.origins.append(.url(location)) }
        if draft.discovers { compiled.sources.origins.append(.discovery(issuer: draft.issuer)) }
        if !draft.keySetPath.isEmpty { compiled.sources.origins.append(.file(path: draft.keySetPath)) }
        for (index, text) in draft.publicKeys.enumerated() {
            do throws(VerificationKey.Problem) {
                compiled.staticKeys.append(KeySetEntry(key: try VerificationKey(pem: Array(text.utf8)), keyID: nil))
            } catch { problems.append((place + ".public_keys[\(index)]", error.text)) }
        }
        if !draft.secret.isEmpty, let key = try? VerificationKey(secret: Array(draft.secret.utf8)) {
            compiled.staticKeys.append(KeySetEntry(key: key, keyID: nil))
        }
        for problem in provider.problems + compiled.sources.problems(of: provider, staticKeys: compiled.staticKeys) {
            problems.append((place, problem))
        }
        return compiled
    }

    private static func rules(_ drafts: [ProxyClaimRuleDraft], scopes: [String], parties: [String] = []) -> ClaimRules {
        var rules = ClaimRules()
        rules.requiredScopes = scopes
        rules.authorizedParties = parties
        rules.conditions = drafts.compactMap { draft in
            guard let pointer = JSONPointer(draft.claim) else { return nil }
            if !draft.contains.isEmpty { return ClaimRule(pointer: pointer, condition: .contains(.text(draft.contains))) }
            if let pattern = TextPattern(draft.matches) { return ClaimRule(pointer: pointer, condition: .matches(pattern)) }
            return ClaimRule(pointer: pointer, condition: .isOne(of: scalars(draft.equals)))
        }
        return rules
    }

    /// A text of the file as a claim may have it: issuers write numbers and booleans as such, or as texts.
    private static func scalars(_ text: String) -> [ClaimRule.Scalar] {
        if text == "true" || text == "false" { return [.text(text), .boolean(text == "true")] }
        return [.text(text)] + (Quantity.number(text).map { [.number($0)] } ?? [])
    }

    // MARK: Routes

    private static func route(
        _ draft: ProxyRouteDraft, _ proxy: ProxyDraft, _ profile: ProxyProfile, _ place: String, _ problems: inout [ProxyProblem]
    ) -> (ProxyRoute, Route)? {
        var upstreams: [ProxyUpstream] = []
        for (index, upstream) in draft.upstreams.enumerated() {
            do throws(ProxyUpstreamURL.Fault) {
                upstreams.append(ProxyUpstream(url: try ProxyUpstreamURL(upstream.url), weight: upstream.weight))
            } catch { problems.append((place + ".upstreams[\(index)].url", error.description)) }
        }
        guard upstreams.count == draft.upstreams.count else { return nil }
        let all = zip(upstreams, draft.upstreams)
        let isParted = draft.upstreams.contains { $0.carries != "auto" }
        let common = all.filter { $1.carries != "raw" }.map(\.0)
        let spoken = ProxyProtocol(rawValue: draft.carries) ?? .auto
        var route = ProxyRoute(
            name: draft.label, prefix: draft.path.isEmpty ? draft.prefix : draft.path, upstreams: common.isEmpty ? upstreams : common,
            sessionProtocol: spoken, profile: profile)
        if isParted, !common.isEmpty { route.rawUpstreams = all.filter { $1.carries != "mqtt" }.map(\.0) }
        fill(&route, draft)
        for (index, rule) in draft.authorization.rules.enumerated() {
            do throws(TopicTemplate.Fault) { route.topics.rules.append(try topicRule(rule)) } catch {
                problems.append((place + ".authz.rules[\(index)]", error.description))
            }
        }
        let detail = Route(
            draft: draft, providers: draft.authentication.providers.compactMap { name in proxy.providers.firstIndex { $0.name == name } },
            rules: rules(draft.authentication.rules, scopes: draft.authentication.scopes), expiry: expiry(draft),
            rate: rate(draft.rate, proxy.rate), sources: sources(draft.authentication.sources, proxy.cookieName), upstreams: upstreams)
        return (route, detail)
    }

    private static func fill(_ route: inout ProxyRoute, _ draft: ProxyRouteDraft) {
        route.hosts = draft.hosts.compactMap { ProxyHostPattern($0) }
        route.match = ProxyRoute.Match(rawValue: draft.match) ?? .segment
        route.balancing = EndpointBalancing(rawValue: draft.balance) ?? .leastSessions
        route.appendsPath = draft.appendsPath
        route.rewritePrefix = draft.rewritePrefix.isEmpty ? nil : draft.rewritePrefix
        route.subprotocols.copies = draft.subprotocolChoice == "upstream"
        if !draft.subprotocols.isEmpty { route.subprotocols.list = draft.subprotocols }
        if !draft.subprotocolMismatch.isEmpty { route.subprotocols.rejectsMismatch = draft.subprotocolMismatch == "reject" }
        route.query = draft.query == ["drop"] ? .drop : draft.query == ["preserve"] ? .preserve : .keep(draft.query)
        route.keepsCredentialQuery = draft.authentication.keepsCredentialQuery == "true"
        route.requiresToken = draft.authentication.isRequired
        route.rejection = draft.authentication.reject == "close" ? .close : .http
        route.passesCompression = draft.compression == "passthrough"
        route.dial = ProxyRoute.Dial(rawValue: draft.dial) ?? .auto
        route.countsPackets = draft.inspect == "on"
        route.maximumMessageBytes = draft.maximumMessageBytes == ProxyAmount.unset ? nil : draft.maximumMessageBytes
        route.identity = identity(draft, route.identity)
        route.topics = topics(draft.authorization)
    }

    private static func identity(_ draft: ProxyRouteDraft, _ defaults: UpstreamIdentity) -> UpstreamIdentity {
        var identity = defaults
        let name = draft.identity.token.split(separator: ":", maxSplits: 1).last.map(String.init) ?? ""
        switch draft.identity.token.prefix(while: { $0 != ":" }) {
        case "authorization": identity.token = .authorization
        case "header": identity.token = .header(name)
        case "query": identity.token = .query(name)
        case "cookie": identity.token = .cookie(name)
        case "none": identity.token = UpstreamIdentity.Token.none
        default: break
        }
        if draft.identity.rolesHeader == "off" { identity.rolesHeader = nil }
        if !draft.identity.rolesHeader.isEmpty, draft.identity.rolesHeader != "off" { identity.rolesHeader = draft.identity.rolesHeader }
        identity.claims = draft.identity.claims.compactMap { pair in
            JSONPointer(pair.value).map { UpstreamIdentity.Claim(header: pair.name, pointer: $0) }
        }
        identity.passedFields = draft.identity.headers
        let host = draft.identity.host
        identity.host = host == "upstream" ? .upstream : host == "client" ? .client : .fixed(host)
        identity.mqtt = mqtt(draft.mqtt)
        return identity
    }

    private static func mqtt(_ draft: ProxyRouteMQTTDraft) -> MQTTIdentity {
        var identity = MQTTIdentity(acceptsPasswordAlone: draft.lenientPassword == "true")
        switch draft.password {
        case "token": identity.password = .token
        case "remove": identity.password = .remove
        case let text where text.hasPrefix("file:"): identity.password = .fixed(content(text))
        default: break
        }
        if draft.username.hasPrefix("file:") { identity.username = .fixed(content(draft.username)) }
        if draft.username.hasPrefix("claim:"), let pointer = JSONPointer(String(draft.username.dropFirst(6))) {
            identity.username = .claim(pointer)
        }
        let parts = draft.clientIdentifier.split(separator: ":", maxSplits: 1)
        if parts.count == 2, let pointer = JSONPointer(String(parts[1])) {
            identity.clientID = parts[0] == "prefix_claim" ? .prefixClaim(pointer)
                : parts[0] == "equals_claim" ? .equalsClaim(pointer) : .rewritePrefix(pointer)
        }
        identity.roles = MQTTIdentity.Roles(rawValue: draft.roles) ?? .off
        return identity
    }

    /// What stands behind `file:`; that it can be read was checked.
    private static func content(_ text: String) -> [UInt8] {
        (try? SmallFile.text(String(text.dropFirst(5)))).map { Array($0.utf8) } ?? []
    }

    private static func topics(_ draft: ProxyRouteAuthorizationDraft) -> TopicSettings {
        var topics = TopicSettings()
        if draft.modes.contains("scopes") { topics.modes.insert(.scopes) }
        if draft.modes.contains("acl") { topics.modes.insert(.acl) }
        if draft.modes.contains("rules") { topics.modes.insert(.rules) }
        topics.combination = TopicSettings.Combination(rawValue: draft.combine) ?? .all
        topics.denial = TopicSettings.Denial(rawValue: draft.deny) ?? .drop
        topics.scopes = TopicScopeSettings(
            prefix: !draft.scopePrefix.isEmpty ? draft.scopePrefix : draft.resourceServer.isEmpty ? "" : draft.resourceServer + ".",
            claim: draft.claim.isEmpty ? nil : JSONPointer(draft.claim), vhost: draft.vhost, exchange: draft.exchange,
            aliases: Dictionary(draft.aliases.map { ($0.name, $0.value.split(separator: " ").map(String.init)) }) { $1 })
        topics.allowsSlash = draft.allowsSlash
        return topics
    }

    private static func topicRule(_ draft: ProxyTopicRuleDraft) throws(TopicTemplate.Fault) -> TopicRule {
        var rule = TopicRule()
        if let pointer = JSONPointer(draft.claim), !draft.claim.isEmpty {
            rule.conditions = [ClaimCondition(claim: pointer, draft.equals.isEmpty ? .contains(draft.contains) : .equals(draft.equals))]
        }
        for text in draft.publish { rule.publish.append(try TopicTemplate(text)) }
        for text in draft.subscribe { rule.subscribe.append(try TopicTemplate(text)) }
        return rule
    }

    private static func expiry(_ draft: ProxyRouteDraft) -> ExpiryRule {
        switch draft.expiry {
        case "ignore": .ignore
        case "grace": .grace(seconds: draft.graceSeconds)
        default: .close
        }
    }

    private static func rate(_ own: ProxyRateDraft, _ general: ProxyRateDraft) -> MessageRate? {
        let perSecond = own.messagesPerSecond == ProxyAmount.unset ? general.messagesPerSecond : own.messagesPerSecond
        return perSecond > 0 ? MessageRate(perSecond: perSecond, burst: own.burst == ProxyAmount.unset ? general.burst : own.burst) : nil
    }

    private static func sources(_ texts: [String], _ cookieName: String) -> TokenSources? {
        if texts.isEmpty { return nil }
        return TokenSources(texts.map { text in
            let name = text.split(separator: ":", maxSplits: 1).dropFirst().first.map(String.init)
            switch text.prefix(while: { $0 != ":" }) {
            case "header":
                let parts = (name ?? "").split(separator: ":", maxSplits: 1)
                return .header(name: String(parts.first ?? ""), prefix: parts.count > 1 ? String(parts[1]) : "")
            case "cookie": return .cookie(name: name ?? cookieName)
            case "query": return .query(name: name ?? "token")
            case "subprotocol": return .subprotocol
            case "mqtt_password": return .mqttPassword
            case "mqtt_username": return .mqttUsername
            default: return .authorization(scheme: "Bearer")
            }
        })
    }
}
