import Engine
import Glibc
import SessionGateway
import Synchronization
import TCPBridge

/// What one shard offers to a scrape.
struct ShardMetrics: Sendable {
    let index: Int
    let statistics: Statistics
    let bridge: BridgeCounters
    let requests: RequestMetrics
    let poolBytes: Int

    init(index: Int, shard: Shard, bridge: BridgeCounters, requests: RequestMetrics) {
        self.index = index
        statistics = shard.statistics
        self.bridge = bridge
        self.requests = requests
        poolBytes = shard.poolBytes
    }
}

/// The process's metrics: counters live in the shards, text is made when it is asked for.
final class MetricsRegistry: Sendable {
    private let shards = Mutex<[ShardMetrics]>([])
    private let startSeconds: Double
    /// How reloads went.
    let reloads = ReloadRecord()

    init() {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        startSeconds = Double(now.tv_sec)
    }

    func add(_ metrics: ShardMetrics) { shards.withLock { $0.append(metrics) } }

    /// Streams open on all shards.
    var slotsUsed: UInt64 { shards.withLock { $0.reduce(0) { $0 + $1.statistics.read(.slotsUsed) } } }

    /// Prometheus text format 0.0.4.
    func text() -> String {
        let shards = shards.withLock { $0 }
        var page = MetricsPage()
        requests(&page, shards)
        bridges(&page, shards)
        engine(&page, shards)
        reloads.reading.write(to: &page)
        ProcessMetrics.read().write(to: &page, startSeconds: startSeconds)
        return page.text
    }

    private func requests(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        var merged: [RequestMetrics.Key: RequestMetrics.Series] = [:]
        for shard in shards {
            for (key, series) in shard.requests.snapshot() {
                var sum = merged[key] ?? RequestMetrics.Series()
                sum.count += series.count
                sum.seconds += series.seconds
                for index in sum.buckets.indices { sum.buckets[index] += series.buckets[index] }
                merged[key] = sum
            }
        }
        let ordered = merged.sorted { ($0.key.route, $0.key.method, $0.key.status) < ($1.key.route, $1.key.method, $1.key.status) }
        page.family("http_requests_total", "counter", "Plain HTTP requests answered")
        for (key, series) in ordered { page.sample("http_requests_total", labels(key), series.count) }
        page.family("http_request_duration_seconds", "histogram", "Time to answer a plain HTTP request")
        for (key, series) in ordered {
            var cumulated: UInt64 = 0
            for (bound, count) in zip(RequestMetrics.bounds, series.buckets) {
                cumulated += count
                page.sample("http_request_duration_seconds_bucket", labels(key) + ",le=\"\(MetricsPage.number(bound))\"", cumulated)
            }
            page.sample("http_request_duration_seconds_bucket", labels(key) + ",le=\"+Inf\"", series.count)
            page.sample("http_request_duration_seconds_sum", labels(key), series.seconds)
            page.sample("http_request_duration_seconds_count", labels(key), series.count)
        }
    }

    private func labels(_ key: RequestMetrics.Key) -> String {
        "method=\"\(key.method)\",route=\"\(key.route)\",status_code=\"\(key.status)\""
    }

    private func bridges(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        func sum(_ counter: BridgeCounters.Counter) -> UInt64 { shards.reduce(0) { $0 &+ $1.bridge.read(counter) } }
        page.counter("tcp_proxy_blocked_by_host_policy_total", "Dials denied by host rules", sum(.blockedByHostPolicy))
        page.counter("tcp_proxy_blocked_by_ip_policy_total", "Dials denied by address rules", sum(.blockedByAddressPolicy))
        page.gauge("sluice_tcp_websockets_active", "WebSockets of /tcp that are open", sum(.active))
        page.counter("sluice_tcp_websockets_opened_total", "WebSockets of /tcp that were answered 101", sum(.opened))
        page.family("sluice_tcp_bytes_total", "counter", "Payload bytes forwarded by /tcp")
        page.sample("sluice_tcp_bytes_total", "direction=\"from_client\"", sum(.bytesFromClient))
        page.sample("sluice_tcp_bytes_total", "direction=\"to_client\"", sum(.bytesToClient))
        page.family("sluice_tcp_frames_total", "counter", "Data frames forwarded by /tcp")
        page.sample("sluice_tcp_frames_total", "direction=\"from_client\"", sum(.framesFromClient))
        page.sample("sluice_tcp_frames_total", "direction=\"to_client\"", sum(.framesToClient))
        page.family("sluice_tcp_ended_total", "counter", "WebSockets of /tcp that ended, by cause")
        let causes: [(String, BridgeCounters.Counter)] = [
            ("target_ended", .targetEnded), ("target_failed", .targetFailed), ("connect_failed", .connectFailed),
            ("connect_timeout", .connectTimedOut), ("idle_timeout", .idleTimedOut), ("client_close", .closedByClient),
            ("client_ended", .clientEnded), ("client_failed", .clientFailed), ("protocol_error", .protocolErrors),
            ("text_message", .textMessages), ("message_too_big", .messagesTooBig), ("buffer_overflow", .bufferOverflows),
            ("drained", .drained),
        ]
        for (name, counter) in causes { page.sample("sluice_tcp_ended_total", "cause=\"\(name)\"", sum(counter)) }
        page.counter("sluice_tcp_refused_total", "Upgrades of /tcp refused after the common checks", sum(.refused))
        page.counter("sluice_tcp_refused_quota_total", "Upgrades of /tcp refused by a connection limit", sum(.tooManyConnections))
        page.family("sluice_tcp_paused_total", "counter", "Times one side was not read because the other was behind")
        page.sample("sluice_tcp_paused_total", "side=\"client\"", sum(.clientPaused))
        page.sample("sluice_tcp_paused_total", "side=\"target\"", sum(.targetPaused))
    }

    private func engine(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        let gauges: [Statistics.Counter: (String, String)] = [
            .slotsUsed: ("sluice_shard_slots_used", "Streams open, clients' and targets'"),
            .buffersSmallUsed: ("sluice_shard_buffers_small_used", "Small buffers with streams"),
            .buffersBulkUsed: ("sluice_shard_buffers_bulk_used", "Bulk buffers with streams"),
            .buffersSmallPeak: ("sluice_shard_buffers_small_peak", "Most small buffers with streams at once"),
            .buffersBulkPeak: ("sluice_shard_buffers_bulk_peak", "Most bulk buffers with streams at once"),
        ]
        for counter in Statistics.Counter.allCases {
            let gauge = gauges[counter]
            let name = gauge?.0 ?? "sluice_shard_\(Self.snakeCase("\(counter)"))_total"
            page.family(name, gauge == nil ? "counter" : "gauge", gauge?.1 ?? "Engine events: \(Self.words("\(counter)"))")
            for shard in shards { page.sample(name, "shard=\"\(shard.index)\"", shard.statistics.read(counter)) }
        }
        page.family("sluice_shard_buffer_pool_bytes", "gauge", "Address space of the buffer pool; memory is used where buffers were used")
        for shard in shards { page.sample("sluice_shard_buffer_pool_bytes", "shard=\"\(shard.index)\"", UInt64(shard.poolBytes)) }
    }

    private static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { text, character in
            if character.isUppercase { text += "_" + character.lowercased() } else { text.append(character) }
        }
    }

    private static func words(_ name: String) -> String { snakeCase(name).split(separator: "_").joined(separator: " ") }
}
