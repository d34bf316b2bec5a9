import Policy

extension ConfigurationSchema {
    /// The keys of DNS over HTTPS.
    static var dns: [Key] {
        [
            .list(
                "dns.upstreams", of: "resolvers (host, host:port, [v6]:port, udp://…, http://… or https://…)", "DNS_UPSTREAMS",
                at: \.dnsUpstreams, check: checkUpstream,
                "Resolvers of DNS over HTTPS, tried in order; the first answer counts. Plain addresses and names are asked over UDP, "
                    + "again over TCP when the answer is truncated; URLs over DNS over HTTPS. Empty: every query is answered SERVFAIL."
            ).acceptingBlank().masking(DNSUpstream.masked),
            .amount(
                "dns.upstream_timeout", .duration(1...longestTimerMilliseconds, .milliseconds), "DNS_UPSTREAM_TIMEOUT_MS",
                at: \.configuration.gateway.dns.upstreamTimeoutMilliseconds,
                "Time of one resolver for one query, retry over TCP included; then the next is asked."),
            .text(
                "dns.upstream_ca", at: \.configuration.gateway.dns.upstreamAuthoritiesPath,
                "PEM file with the certificate authorities that vouch for https:// resolvers. Empty: those of the system."),
            .amount(
                "dns.cache_entries", .integer(0...largestCount), "DNS_CACHE_MAX_ENTRIES",
                at: \.configuration.gateway.dns.cacheMaxEntries,
                "Answers kept for all clients, the least recently used dropped first; 0 keeps none. 64 MiB bound them too."),
            .amount(
                "dns.cache_max_ttl", .duration(0...longestLifetimeSeconds, .seconds), "DNS_CACHE_MAX_TTL_SECONDS",
                at: \.configuration.gateway.dns.cacheMaxLifetimeSeconds, "Longest time an answer is kept, whatever its TTL."),
            .amount(
                "dns.cache_negative_ttl", .duration(0...longestLifetimeSeconds, .seconds), "DNS_CACHE_NEGATIVE_TTL_SECONDS",
                at: \.configuration.gateway.dns.cacheNegativeLifetimeSeconds,
                "How long the absence of a name or record is kept when the answer has no SOA record to say it."),
            .amount(
                "dns.max_query", .size(0...largestSizeBytes), "DNS_MAX_QUERY_BYTES",
                at: \.configuration.gateway.dns.maxQueryBytes,
                "Largest query; above, 413. Announced to clients. A DNS message has at most 65535 bytes."),
            .amount(
                "dns.max_response", .size(0...largestSizeBytes), "DNS_MAX_RESPONSE_BYTES",
                at: \.configuration.gateway.dns.maxResponseBytes, "Largest answer of a resolver; a larger one counts as its failure."),
            .flag(
                "dns.allow_any", .oneIsOn, "DNS_ALLOW_ANY", at: \.configuration.gateway.dns.allowAny,
                "Answers queries of type ANY, which are refused otherwise: their answers serve attacks."),
            .flag(
                "dns.allow_private_ptr", .oneIsOn, "DNS_ALLOW_PRIVATE_PTR", at: \.configuration.gateway.dns.allowPrivatePointer,
                "Answers reverse queries for private addresses, which may tell names of internal machines."),
            .number(
                "dns.queries_per_second", 0...1e9, "DNS_QPS_PER_IP", at: \.configuration.gateway.dns.queriesPerSecondPerAddress,
                "Queries of one client address a second, both endpoints together; 0 is unlimited."),
            .number(
                "dns.query_burst", 0...1e9, "DNS_BURST_PER_IP", at: \.configuration.gateway.dns.burstPerAddress,
                "Queries one client address may send at once; 0 is unlimited."),
        ]
    }
}
