import DNS
import Policy

/// The families of DNS over HTTPS.
extension MetricsPage {
    /// Writes them, summed over shards. `shared` tells which upstreams there are and what the cache holds.
    mutating func dns(_ shards: [DNSMetrics], _ shared: DNSShared) {
        family("dns_queries_total", "counter", "DNS queries answered, by where the answer came from")
        for source in DNSMetrics.Source.allCases {
            for (type, typeLabel) in DNSLabel.types.enumerated() {
                for (code, codeLabel) in DNSLabel.codes.enumerated() {
                    let count = shards.reduce(0) { $0 &+ $1.queries(type: type, code: code, source: source) }
                    guard count > 0 else { continue }
                    sample("dns_queries_total", "qtype=\"\(typeLabel)\",rcode=\"\(codeLabel)\",source=\"\(source)\"", count)
                }
            }
        }
        byType("dns_cache_hits_total", "DNS queries answered from the cache", shards) { $0.hits(type: $1) }
        byType("dns_cache_misses_total", "DNS queries the cache had no answer for", shards) { $0.misses(type: $1) }
        upstreams(shards, shared)
        let cache = shared.cache.usage
        gauge("sluice_dns_cache_entries", "Answers in the cache", UInt64(cache.entries))
        gauge("sluice_dns_cache_bytes", "Bytes of answers in the cache, keys included", UInt64(cache.bytes))
        counter("sluice_dns_cache_evicted_total", "Answers dropped for want of room", cache.evicted)
        for (name, help, place) in Self.plain { counter(name, help, shards.reduce(0) { $0 &+ $1.read(place) }) }
    }

    private static let plain: [(String, String, DNSMetrics.Counter)] = [
        ("sluice_dns_coalesced_total", "DNS queries that joined an equal one under way", .coalesced),
        ("sluice_dns_foreign_answers_total", "Datagrams from upstreams that did not answer the question asked", .foreignAnswers),
        ("sluice_dns_stream_retries_total", "DNS queries repeated over TCP because the answer was truncated", .truncatedRetries),
        ("sluice_dns_overloaded_total", "DNS queries refused because too many were under way", .overloaded),
        ("sluice_dns_doh_connections_total", "Connections made to DoH upstreams", .connections),
        ("sluice_dns_doh_reused_total", "DNS queries sent on a connection that had carried others", .connectionsReused),
    ]

    private mutating func byType(_ name: String, _ help: String, _ shards: [DNSMetrics], _ read: (DNSMetrics, Int) -> UInt64) {
        family(name, "counter", help)
        for (type, label) in DNSLabel.types.enumerated() {
            let count = shards.reduce(0) { $0 &+ read($1, type) }
            if count > 0 { sample(name, "qtype=\"\(label)\"", count) }
        }
    }

    private mutating func upstreams(_ shards: [DNSMetrics], _ shared: DNSShared) {
        var sums: [(labels: String, reading: DNSMetrics.UpstreamReading)] = []
        let readings = shards.map(\.upstreamReadings)
        for (number, upstream) in shared.directory.upstreams.enumerated() {
            var sum = DNSMetrics.UpstreamReading()
            for shard in readings where number < shard.count { sum.add(shard[number]) }
            // URLs that differ in what is masked are one series.
            let labels = Self.labels(upstream)
            if let place = sums.firstIndex(where: { $0.labels == labels }) {
                sums[place].reading.add(sum)
            } else {
                sums.append((labels, sum))
            }
        }
        family("dns_upstream_errors_total", "counter", "Attempts with a DNS upstream that failed")
        for sum in sums where sum.reading.errors > 0 { sample("dns_upstream_errors_total", sum.labels, sum.reading.errors) }
        family("dns_upstream_latency_seconds", "histogram", "Time of an attempt with a DNS upstream, failed ones too")
        for sum in sums where sum.reading.attempts > 0 {
            var cumulated: UInt64 = 0
            for (bound, count) in zip(DNSMetrics.bounds, sum.reading.buckets) {
                cumulated += count
                sample("dns_upstream_latency_seconds_bucket", sum.labels + ",le=\"\(Self.number(bound))\"", cumulated)
            }
            sample("dns_upstream_latency_seconds_bucket", sum.labels + ",le=\"+Inf\"", sum.reading.attempts)
            sample("dns_upstream_latency_seconds_sum", sum.labels, sum.reading.seconds)
            sample("dns_upstream_latency_seconds_count", sum.labels, sum.reading.attempts)
        }
    }

    /// A URL may hold what a label must escape (`"` and `\`).
    private static func labels(_ upstream: DNSUpstream) -> String {
        let kind = if case .https = upstream { "doh" } else { "udp" }
        let name = upstream.label.reduce(into: "") { text, character in
            if character == "\"" || character == "\\" { text.append("\\") }
            text.append(character)
        }
        return "upstream=\"\(name)\",kind=\"\(kind)\""
    }
}
