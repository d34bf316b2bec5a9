// What is in force where nothing was written, and what goes together within one provider or route.

/// Something wrong with an item: the key in it, empty or beginning with a point, and the words.
typealias ProxyProblem = (key: String, message: String)

extension ProxyDraft {
    /// Fills what the profile decides.
    mutating func settleDefaults() {
        let isCompat = profile == "compat"
        if rate.messagesPerSecond == ProxyAmount.unset { rate.messagesPerSecond = isCompat ? 10 : 0 }
        if rate.burst == ProxyAmount.unset { rate.burst = 30 }
        if rate.bytesPerSecond == ProxyAmount.unset { rate.bytesPerSecond = 0 }
        if rate.action.isEmpty { rate.action = isCompat ? "close" : "throttle" }
        if rate.scope.isEmpty { rate.scope = "subject" }
        if dial.retryDelaySeconds != ProxyAmount.unset { dial.retryDelayMilliseconds = dial.retryDelaySeconds * 1000 }
        if dial.retryDelayMilliseconds == ProxyAmount.unset { dial.retryDelayMilliseconds = isCompat ? 2000 : 100 }
        if closeCodes.isEmpty { closeCodes = isCompat ? "standard" : "extended" }
        if publicMetrics.isEmpty { publicMetrics = isCompat ? "true" : "false" }
    }

    /// What `JWKS_URL` and its kin say.
    mutating func applyVariablesToFirstProvider(allowsPlainHTTP: Bool) {
        if !keySetURL.isEmpty {
            providers[0].keySetURL = keySetURL
            if allowsPlainHTTP { providers[0].allowsPlainHTTP = true }
        }
        if keySetMinutes != ProxyAmount.unset { providers[0].refreshSeconds = keySetMinutes * 60 }
        if !expectedIssuer.isEmpty { providers[0].issuer = expectedIssuer }
        if !expectedAudiences.isEmpty { providers[0].audiences = expectedAudiences }
        if !algorithms.isEmpty { providers[0].algorithms = algorithms }
    }
}

extension ProxyProviderDraft {
    /// Fills what the profile decides.
    mutating func settleDefaults(isCompat: Bool) {
        if algorithms.isEmpty {
            algorithms = !secret.isEmpty ? ["HS256"] : isCompat ? ["RS256"] : ["RS256", "PS256", "ES256", "EdDSA"]
        }
        guard isCompat else { return }
        if issuer.isEmpty { allowsAnyIssuer = true }
        if audiences.isEmpty { allowsAnyAudience = true }
    }

    /// What is valid as that program has it, and not safe.
    var warnings: [String] {
        var warnings: [String] = []
        if issuer.isEmpty { warnings.append("JWT_EXPECTED_ISSUER is not set: tokens of any issuer are accepted that these keys signed") }
        if audiences.isEmpty { warnings.append("JWT_EXPECTED_AUDIENCE is not set: tokens for any audience are accepted") }
        if ProxyURL(keySetURL, schemes: ["http"]) != nil {
            warnings.append("JWKS_URL is fetched without TLS: whoever is on the way can make tokens that are accepted")
        }
        return warnings
    }

    /// Everything that does not go together.
    var problems: [ProxyProblem] {
        var problems: [ProxyProblem] = []
        let hasKeys = !keySetURL.isEmpty || discovers || !keySetPath.isEmpty || !publicKeys.isEmpty
        if !hasKeys, secret.isEmpty {
            problems.append(("", "no keys: one of `jwks_url`, `discovery`, `jwks_file`, `public_keys` and `secret_file` belongs here"))
        }
        if hasKeys, !secret.isEmpty { problems.append((".secret", "a provider has a secret or public keys, never both")) }
        if issuer.isEmpty, !allowsAnyIssuer { problems.append((".issuer", "`issuer` is missing; or allow_any_issuer: true")) }
        if audiences.isEmpty, !allowsAnyAudience { problems.append((".audiences", "`audiences` is missing; or allow_any_audience: true")) }
        if discovers, ProxyURL(issuer, schemes: allowsPlainHTTP ? ["http", "https"] : ["https"]) == nil {
            problems.append((".discovery", "`issuer` has to be an https URL to be asked"))
        }
        if !allowsPlainHTTP, ProxyURL(keySetURL, schemes: ["http"]) != nil {
            problems.append((".jwks_url", "fetched without TLS, anybody on the way could make tokens; use https, or jwks_allow_http: true"))
        }
        let symmetric = algorithms.filter { $0.hasPrefix("HS") }
        // A set in a file is ours, as a secret is: one that is fetched never holds any.
        let mayBeSecret = !secret.isEmpty || (!keySetPath.isEmpty && keySetURL.isEmpty && !discovers && publicKeys.isEmpty)
        let isMixed = !symmetric.isEmpty && symmetric.count != algorithms.count
        if isMixed || (mayBeSecret ? !secret.isEmpty && symmetric.isEmpty : !symmetric.isEmpty) {
            problems.append((".algorithms", "HS256, HS384 and HS512 belong to a provider with `secret_file`, or with a `jwks_file` of oct "
                + "keys and no other source; all others to one without"))
        }
        let shortest = symmetric.compactMap { Int($0.dropFirst(2)) }.max().map { $0 / 8 } ?? 0
        if !secret.isEmpty, secret.utf8.count < shortest {
            problems.append((".secret", "shorter than the \(shortest) bytes its algorithms need; make one with "
                + "`openssl rand -base64 \(shortest)`"))
        }
        return problems
    }
}

extension ProxyRouteDraft {
    /// Fills what the profile decides.
    mutating func settleDefaults(isCompat: Bool) {
        if match.isEmpty { match = !path.isEmpty ? "exact" : isCompat ? "string" : "segment" }
        if subprotocolChoice.isEmpty { subprotocolChoice = carries == "mqtt" || !subprotocols.isEmpty ? "gateway" : "upstream" }
        if authentication.reject.isEmpty { authentication.reject = isCompat ? "close" : "http" }
        if authentication.keepsCredentialQuery.isEmpty { authentication.keepsCredentialQuery = isCompat ? "true" : "false" }
        if mqtt.roles.isEmpty { mqtt.roles = isCompat ? "user_property" : "off" }
        if mqtt.lenientPassword.isEmpty { mqtt.lenientPassword = isCompat ? "true" : "false" }
    }

    /// Whether something looks into MQTT packets behind CONNECT.
    var inspects: Bool {
        if carries == "raw" || inspect == "off" { return false }
        return inspect == "on" || authorization.modes != ["off"]
    }

    /// Everything that does not go together.
    var problems: [ProxyProblem] {
        var problems: [ProxyProblem] = []
        let modes = authorization.modes
        if inspects, compression == "passthrough" {
            problems.append((".compression", "compressed packets cannot be looked into; use compression: off, or authz.mode: off"))
        }
        if inspect == "off", modes != ["off"] {
            problems.append((".inspect", "authz.mode needs packets to be looked into; use inspect: auto"))
        }
        if modes.contains("off"), modes.count > 1 { problems.append((".authz.mode", "off stands alone")) }
        if modes.contains("rules") != !authorization.rules.isEmpty {
            problems.append((".authz.rules", "`rules` belong to authz.mode: rules, and that needs rules"))
        }
        if carries == "raw", modes != ["off"] { problems.append((".authz.mode", "topics are MQTT's; the route is of protocol raw")) }
        if graceSeconds > 0, expiry != "grace" { problems.append((".grace", "belongs to expiry: grace")) }
        if query.count > 1, query.contains("drop") || query.contains("preserve") {
            problems.append((".query", "drop and preserve stand alone"))
        }
        if compression == "passthrough", dial == "after_accept" {
            problems.append((".compression", "passthrough is agreed on with the upstream, which is dialled afterwards; use dial: auto"))
        }
        return problems
    }
}
