import DNS
import Engine
import Glibc
import SessionGateway
import SharedState
import Synchronization
import TCPBridge
import TCPMux
import UDPRelay
import WebSocketProxy

/// What one shard offers to a scrape.
struct ShardMetrics: Sendable {
    let index: Int
    let statistics: Statistics
    let bridge: BridgeCounters
    let mux: MuxCounters
    let relay: RelayCounters
    let proxy: ProxyCounters
    let requests: RequestMetrics
    let refusals: GatewayCounters
    let dns: DNSMetrics
    let poolBytes: Int
    /// On the shard that talks to the store of several instances.
    var store: StoreMetrics?
    /// On the same shard: the store of revocations.
    var postgres: StoreCounters?

    init(index: Int, shard: Shard, bridge: BridgeCounters, mux: MuxCounters, relay: RelayCounters, proxy: ProxyCounters,
         gateway: SessionGateway, dns: DNSMetrics) {
        self.index = index
        statistics = shard.statistics
        self.bridge = bridge
        self.mux = mux
        self.relay = relay
        self.proxy = proxy
        requests = gateway.metrics
        refusals = gateway.counters
        self.dns = dns
        poolBytes = shard.poolBytes
    }
}

/// The process's metrics: counters live in the shards, text is made when it is asked for.
final class MetricsRegistry: Sendable {
    private let shards = Mutex<[ShardMetrics]>([])
    private let logRings = Mutex<[(name: String, ring: LogRing)]>([])
    private let build = Mutex((version: "", revision: ""))
    private let dns = Mutex<DNSShared?>(nil)
    private let proxy = Mutex<ProxyPlan?>(nil)
    private let startSeconds: Double
    private let draining = Atomic<Bool>(false)
    /// How reloads went.
    let reloads = ReloadRecord()

    init() {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        startSeconds = Double(now.tv_sec)
    }

    func add(_ metrics: ShardMetrics) { shards.withLock { $0.append(metrics) } }

    /// Names a ring whose drops are counted.
    func add(_ ring: LogRing, name: String) { logRings.withLock { $0.append((name, ring)) } }

    /// Says what was built; what would need escaping in a label is left out.
    func describe(version: String, revision: String) {
        func clean(_ text: String) -> String {
            text.filter { ($0.isLetter || $0.isNumber || ".-_+".contains($0)) && $0.isASCII }
        }
        build.withLock { $0 = (clean(version), clean(revision)) }
    }

    /// Whether the process drains.
    var isDraining: Bool {
        get { draining.load(ordering: .relaxed) }
        set { draining.store(newValue, ordering: .relaxed) }
    }

    /// What the shards offer.
    var readings: [ShardMetrics] { shards.withLock { $0 } }

    /// Says which upstreams and which cache are in use.
    func describe(dns shared: DNSShared) { dns.withLock { $0 = shared } }

    /// Says which JWT proxy is in force.
    func describe(proxy plan: ProxyPlan?) { proxy.withLock { $0 = plan } }

    /// The JWT proxy in force.
    var proxyPlan: ProxyPlan? { proxy.withLock { $0 } }

    /// Streams open on all shards.
    var slotsUsed: UInt64 { shards.withLock { $0.reduce(0) { $0 + $1.statistics.read(.slotsUsed) } } }

    /// Prometheus text format 0.0.4.
    func text() -> String {
        let shards = shards.withLock { $0 }
        var page = MetricsPage()
        requests(&page, shards)
        refusals(&page, shards)
        blocked(&page, shards)
        bridges(&page, shards)
        MuxMetrics.write(to: &page, shards.map(\.mux))
        RelayMetrics.write(to: &page, shards.map(\.relay))
        if let plan = proxy.withLock({ $0 }) {
            plan.common.metrics.write(to: &page, shards.map(\.proxy), plan)
            plan.writeStore(to: &page, isConnected: shards.contains { $0.store?.isConnected == true })
            page.gauge("ws_draining", "Whether the process drains", isDraining ? 1 : 0)
        }
        if let shared = dns.withLock({ $0 }) { page.dns(shards.map(\.dns), shared) }
        engine(&page, shards)
        for shard in shards {
            shard.store?.write(to: &page)
            shard.postgres?.writePostgres(to: &page)
        }
        reloads.reading.write(to: &page)
        page.gauge("sluice_draining", "Whether the process drains", isDraining ? 1 : 0)
        logs(&page)
        ProcessMetrics.read().write(to: &page, startSeconds: startSeconds)
        return page.text
    }

    /// Records that found their ring full, and what this process was built from.
    private func logs(_ page: inout MetricsPage) {
        page.family("sluice_log_records_dropped_total", "counter", "Log records dropped because the output was slower than they came")
        for (name, ring) in logRings.withLock({ $0 }) {
            page.sample("sluice_log_records_dropped_total", "source=\"\(name)\"", UInt64(ring.dropped))
        }
        let version = build.withLock { $0 }
        page.family("sluice_build_info", "gauge", "Always 1; the labels say what runs")
        page.sample("sluice_build_info", "version=\"\(version.version)\",revision=\"\(version.revision)\"", UInt64(1))
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

    private func refusals(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        func write(_ name: String, _ help: String, _ reasons: [GatewayCounters.Reason]) {
            page.family(name, "counter", help)
            var sums: [String: UInt64] = [:]
            for reason in reasons { sums["\(reason.name)", default: 0] += shards.reduce(0) { $0 &+ $1.refusals.read(reason) } }
            for (reason, count) in sums.sorted(by: { $0.key < $1.key }) { page.sample(name, "reason=\"\(reason)\"", count) }
        }
        let all = GatewayCounters.Reason.allCases
        write("sluice_requests_refused_total", "Plain requests refused before their handler, by reason", all.filter { !$0.isUpgrade })
        write("sluice_upgrades_refused_total", "Upgrades refused before a feature saw them, by reason", all.filter(\.isUpgrade))
    }

    private func labels(_ key: RequestMetrics.Key) -> String {
        "method=\"\(key.method)\",route=\"\(key.route)\",status_code=\"\(key.status)\""
    }

    /// Denials of `/tcp` and `/tcp-mux` together.
    private func blocked(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        let host = shards.reduce(0) { $0 &+ $1.bridge.read(.blockedByHostPolicy) &+ $1.mux.read(.blockedByHostPolicy) }
        let address = shards.reduce(0) { $0 &+ $1.bridge.read(.blockedByAddressPolicy) &+ $1.mux.read(.blockedByAddressPolicy) }
        page.counter("tcp_proxy_blocked_by_host_policy_total", "Dials denied by host rules", host)
        page.counter("tcp_proxy_blocked_by_ip_policy_total", "Dials denied by address rules", address)
    }

    private func bridges(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        func sum(_ counter: BridgeCounters.Counter) -> UInt64 { shards.reduce(0) { $0 &+ $1.bridge.read(counter) } }
        page.gauge("sluice_tcp_websockets_active", "WebSockets of /tcp that are open", sum(.active))
        page.counter("sluice_tcp_websockets_opened_total", "WebSockets of /tcp that were answered 101", sum(.opened))
        page.family("sluice_tcp_bytes_total", "counter", "Payload bytes forwarded by /tcp")
        page.sample("sluice_tcp_bytes_total", "direction=\"from_client\"", sum(.bytesFromClient))
        page.sample("sluice_tcp_bytes_total", "direction=\"to_client\"", sum(.bytesToClient))
        page.family("sluice_tcp_frames_total", "counter", "Data frames forwarded by /tcp")
        page.sample("sluice_tcp_frames_total", "direction=\"from_client\"", sum(.framesFromClient))
        page.sample("sluice_tcp_frames_total", "direction=\"to_client\"", sum(.framesToClient))
        page.family("sluice_tcp_ended_total", "counter", "WebSockets of /tcp that ended, by cause")
        for counter in BridgeCounters.Counter.allCases {
            if let cause = counter.cause { page.sample("sluice_tcp_ended_total", "cause=\"\(cause)\"", sum(counter)) }
        }
        page.counter("sluice_tcp_refused_total", "Upgrades of /tcp refused after the common checks", sum(.refused))
        page.counter("sluice_tcp_refused_quota_total", "Upgrades of /tcp refused by a connection limit", sum(.tooManyConnections))
        page.family("sluice_tcp_paused_total", "counter", "Times one side was not read because the other was behind")
        page.sample("sluice_tcp_paused_total", "side=\"client\"", sum(.clientPaused))
        page.sample("sluice_tcp_paused_total", "side=\"target\"", sum(.targetPaused))
    }

    private static let bufferGauges: [(counter: Statistics.Counter, name: String, labels: String)] = [
        (.buffersSmallUsed, "sluice_shard_buffers_used", "class=\"small\""),
        (.buffersSmallOffered, "sluice_shard_buffers_offered", "class=\"small\""),
        (.buffersBulkUsed, "sluice_shard_buffers_used", "class=\"bulk\""),
        (.buffersBulkOffered, "sluice_shard_buffers_offered", "class=\"bulk\""),
        (.buffersSmallPeak, "sluice_shard_buffers_peak", "class=\"small\""),
        (.buffersBulkPeak, "sluice_shard_buffers_peak", "class=\"bulk\""),
        (.buffersPacketUsed, "sluice_shard_buffers_used", "class=\"packet\""),
        (.buffersPacketOffered, "sluice_shard_buffers_offered", "class=\"packet\""),
        (.buffersPacketPeak, "sluice_shard_buffers_peak", "class=\"packet\""),
        (.buffersTrainUsed, "sluice_shard_buffers_used", "class=\"train\""),
        (.buffersTrainOffered, "sluice_shard_buffers_offered", "class=\"train\""),
        (.buffersTrainPeak, "sluice_shard_buffers_peak", "class=\"train\""),
    ]

    private func engine(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        for counter in Statistics.Counter.allCases where !Self.bufferGauges.contains(where: { $0.counter == counter }) {
            let isGauge = counter == .slotsUsed || counter == .tlsStreams
            let name = "sluice_shard_\(Self.snakeCase("\(counter)"))" + (isGauge ? "" : "_total")
            page.family(name, isGauge ? "gauge" : "counter",
                        counter == .slotsUsed ? "Streams open, clients' and targets'" : isGauge ? "Streams that speak TLS"
                            : "Engine events: \(Self.words("\(counter)"))")
            for shard in shards { page.sample(name, "shard=\"\(shard.index)\"", shard.statistics.read(counter)) }
        }
        for (name, help) in [
            ("sluice_shard_buffers_used", "Buffers with streams and datagram sockets"),
            ("sluice_shard_buffers_offered", "Buffers offered to the kernel, which fills them as bytes come"),
            ("sluice_shard_buffers_peak", "Most buffers with streams and datagram sockets at once"),
        ] {
            page.family(name, "gauge", help)
            for shard in shards {
                for gauge in Self.bufferGauges where gauge.name == name {
                    page.sample(name, "shard=\"\(shard.index)\",\(gauge.labels)", shard.statistics.read(gauge.counter))
                }
            }
        }
        page.family("sluice_shard_buffer_pool_bytes", "gauge", "Address space of the buffer pool; memory is used where buffers were used")
        for shard in shards { page.sample("sluice_shard_buffer_pool_bytes", "shard=\"\(shard.index)\"", UInt64(shard.poolBytes)) }
        turns(&page, shards)
        trains(&page, shards)
    }

    private func trains(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        let name = "sluice_shard_datagrams_per_train"
        page.family(name, "histogram", "Datagrams that one receive or one send moved")
        for shard in shards {
            for direction in Statistics.Direction.allCases {
                let labels = "shard=\"\(shard.index)\",direction=\"\(direction)\""
                var cumulated: UInt64 = 0
                for bucket in 0..<Statistics.trainBuckets - 1 {
                    cumulated &+= shard.statistics.trains(direction, inBucket: bucket)
                    page.sample("\(name)_bucket", "\(labels),le=\"\(1 << bucket)\"", cumulated)
                }
                cumulated &+= shard.statistics.trains(direction, inBucket: Statistics.trainBuckets - 1)
                page.sample("\(name)_bucket", "\(labels),le=\"+Inf\"", cumulated)
                let sum = shard.statistics.read(direction == .sent ? .datagramsSent : .datagramsReceived)
                page.sample("\(name)_sum", labels, sum)
                page.sample("\(name)_count", labels, cumulated)
            }
        }
    }

    private func turns(_ page: inout MetricsPage, _ shards: [ShardMetrics]) {
        let name = "sluice_shard_completions_per_turn"
        page.family(name, "histogram", "Completions that one turn of the loop found")
        for shard in shards {
            var cumulated: UInt64 = 0
            for bucket in 0..<Statistics.turnBuckets - 1 {
                cumulated &+= shard.statistics.turns(inBucket: bucket)
                page.sample("\(name)_bucket", "shard=\"\(shard.index)\",le=\"\(1 << bucket)\"", cumulated)
            }
            cumulated &+= shard.statistics.turns(inBucket: Statistics.turnBuckets - 1)
            page.sample("\(name)_bucket", "shard=\"\(shard.index)\",le=\"+Inf\"", cumulated)
            page.sample("\(name)_sum", "shard=\"\(shard.index)\"", shard.statistics.read(.completions))
            page.sample("\(name)_count", "shard=\"\(shard.index)\"", cumulated)
        }
    }

    private static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { text, character in
            if character.isUppercase { text += "_" + character.lowercased() } else { text.append(character) }
        }
    }

    private static func words(_ name: String) -> String { snakeCase(name).split(separator: "_").joined(separator: " ") }
}
