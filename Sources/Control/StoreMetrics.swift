import HTTP
import SharedState

/// What is shared with other instances, for a scrape.
struct StoreMetrics: Sendable {
    let counters: StoreCounters
    let limits: SharedLimits

    /// Whether the store answers.
    var isConnected: Bool { counters.read(.connected) == 1 }

    func write(to page: inout MetricsPage) {
        page.gauge("sluice_shared_configured", "Whether limits are to be shared with other instances", counters.read(.configured))
        page.gauge("sluice_shared_connected", "Whether the store of several instances answers", counters.read(.connected))
        page.counter("sluice_shared_connections_total", "Connections begun to the store", counters.read(.connections))
        page.counter("sluice_shared_requests_total", "Requests sent to the store", counters.read(.requests))
        page.counter("sluice_shared_errors_total", "Errors the store answered, or answers that make no sense", counters.read(.errors))
        page.counter("sluice_shared_timeouts_total", "Requests given up because the store was late", counters.read(.timeouts))
        page.counter("sluice_shared_fallbacks_total", "Connections judged by this instance alone although a store is configured",
                     limits.places.fallbacks)
        page.counter("sluice_shared_rate_keys_total", "Keys of rate limits exchanged with the store", counters.read(.keysExchanged))
        page.gauge("sluice_revoked_sessions", "Sessions known to be revoked", UInt64(limits.revocations.count))
        page.counter("sluice_revoked_sessions_dropped_total", "Revocations that found the table full", limits.revocations.droppedCount)
        latency(&page)
    }

    private func latency(_ page: inout MetricsPage) {
        let name = "sluice_shared_request_duration_seconds"
        page.family(name, "histogram", "Time to an answer of the store")
        var cumulated: UInt64 = 0
        for (index, bound) in StoreCounters.bounds.enumerated() {
            cumulated += counters.latencyBucket(index)
            page.sample(name + "_bucket", "le=\"\(Double(bound) / 1e6)\"", cumulated)
        }
        cumulated += counters.latencyBucket(StoreCounters.bounds.count)
        page.sample(name + "_bucket", "le=\"+Inf\"", cumulated)
        page.plain(name + "_sum", Double(counters.read(.latencyMicroseconds)) / 1e6)
        page.plain(name + "_count", Double(cumulated))
    }
}

extension StoreCounters {
    /// The store of revocations, where one is configured.
    func writePostgres(to page: inout MetricsPage) {
        guard read(.configured) == 1 else { return }
        page.gauge("sluice_postgres_connected", "Whether the store of revocations answers", read(.connected))
        page.counter("sluice_postgres_connections_total", "Connections begun to it", read(.connections))
        page.counter("sluice_postgres_requests_total", "Statements sent to it", read(.requests))
        page.counter("sluice_postgres_errors_total", "Errors it answered, and rows that make no sense", read(.errors))
        page.counter("sluice_postgres_timeouts_total", "Statements given up because it was late", read(.timeouts))
    }
}
