extension ConfigurationSchema {
    /// One item of `rules` of a provider or a route.
    static var proxyClaimRule: ConfigurationMapping<ProxyClaimRuleDraft> {
        ConfigurationMapping(
            noun: "a rule",
            keys: [
                .text("claim", at: \.claim, check: checkPointer, "JSON pointer to a claim, for example /scope."),
                .text("equals", at: \.equals, "What the claim is."),
                .text("contains", at: \.contains, "A member of the claim, which is a list or a text of words."),
                .text("matches", at: \.matches, "What the claim is, where * stands for any text."),
            ])
    }

    /// A list of claim rules.
    static func proxyClaimRules<Root>(_ path: String, at place: WritableKeyPath<Root, [ProxyClaimRuleDraft]>) -> ConfigurationList<Root> {
        ConfigurationList(
            path, of: proxyClaimRule, at: place, make: { _ in ProxyClaimRuleDraft() },
            check: { rule in
                if rule.claim.isEmpty { return "`claim` is missing" }
                let given = [rule.equals, rule.contains, rule.matches].count { !$0.isEmpty }
                return given == 1 ? nil : "exactly one of `equals`, `contains` and `matches` belongs here"
            }, "What a token has to say beyond its signature; all of them hold.")
    }

    /// One item of `jwt.providers`.
    static var proxyProvider: ConfigurationMapping<ProxyProviderDraft> {
        ConfigurationMapping(
            noun: "a provider", keys: providerKeys + providerTokens + providerFetching, lists: [proxyClaimRules("rules", at: \.rules)])
    }

    private static var providerKeys: [ConfigurationKey<ProxyProviderDraft>] {
        [
            .text("name", at: \.name, check: checkName, "Name in routes, logs and metrics; unique."),
            .text("issuer", at: \.issuer, "Claim `iss` of its tokens, exactly."),
            .flag("allow_any_issuer", .zeroOrOne, at: \.allowsAnyIssuer, "Accepts tokens of any issuer that these keys signed."),
            .text("jwks_url", at: \.keySetURL, check: checkKeySetURL, "Where its key set is fetched."),
            .flag("discovery", .zeroOrOne, at: \.discovers, "Learns that from the issuer's /.well-known/openid-configuration."),
            .text("jwks_file", at: \.keySetPath, check: checkAbsoluteOrRelativePath, "A key set in a file, read again when it changes."),
            .list("public_keys", of: "PEM texts", at: \.publicKeys, check: checkPublicKey, "Public keys written out."),
            .text("secret", .secret, at: \.secret, check: checkSecret, "Key of HS256, HS384 or HS512: at least 32, 48 or 64 bytes."),
            .text(
                "missing_kid", .choice(["reject", "single"]), at: \.missingKey,
                "A token that names no key: refused, or checked with the only key that fits."),
        ]
    }

    private static var providerTokens: [ConfigurationKey<ProxyProviderDraft>] {
        [
            .list("audiences", of: "audiences", at: \.audiences, check: { _ in nil }, "A token has any of them in claim `aud`."),
            .flag("allow_any_audience", .zeroOrOne, at: \.allowsAnyAudience, "Accepts tokens for any audience."),
            .list("algorithms", of: "signature algorithms", at: \.algorithms, check: checkAlgorithm, "Accepted algorithms.")
                .otherwise("RS256, PS256, ES256 and EdDSA; RS256 in the profile compat"),
            .amount("leeway", .duration(0...300, .seconds), at: \.leewaySeconds, "How far clocks may differ."),
            .flag("require_typ", .zeroOrOne, at: \.requiresType, "Refuses tokens without `typ`."),
            .flag("require_exp", .zeroOrOne, at: \.requiresExpiry, "Refuses tokens without an end."),
            .flag("require_sub", .zeroOrOne, at: \.requiresSubject, "Refuses tokens without a subject."),
            .amount(
                "max_token_age", .duration(0...longestLifetimeSeconds, .seconds), at: \.maximumAgeSeconds,
                "Age by claim `iat` beyond which tokens are refused; 0 is never."),
            .list("scopes", of: "scopes", at: \.scopes, check: { _ in nil }, "Scopes a token has to have, all of them."),
            .list("clients", of: "client identifiers", at: \.clients, check: { _ in nil },
                "A token has any of them in `azp` or `client_id`."),
        ]
    }

    private static var providerFetching: [ConfigurationKey<ProxyProviderDraft>] {
        [
            .amount("refresh", .duration(60...86_400, .seconds), at: \.refreshSeconds,
                "Between two fetches; Cache-Control may shorten it."),
            .text(
                "max_stale", at: \.maximumStale, check: checkMaximumStale,
                "How long keys are used while fetching fails; a duration with unit from 1m to 30d, or never: for ever."),
            .amount(
                "key_grace", .duration(0...86_400, .seconds), at: \.keyGraceSeconds,
                "How long a key is used that is no longer in the set."),
            .amount(
                "min_refetch", .duration(1...3600, .seconds), at: \.minimumRefetchSeconds,
                "Between two fetches because of unknown keys, beyond the first five."),
            .flag("jwks_allow_http", .zeroOrOne, at: \.allowsPlainHTTP, "Fetches without TLS; whoever is on the way can then make tokens."),
            .text(
                "ca_file", at: \.authoritiesPath, check: checkAbsoluteOrRelativePath,
                "PEM file of the authorities its certificate may come from. Empty: the system's."),
            .pairs(
                "jwks_headers", of: "names of header fields to texts", at: \.requestHeaders, check: checkHeaderPair,
                "Fields of the request for the set."),
        ]
    }
}
