import Policy
import Synchronization
import WebSocketProxy
import Wire

/// What the JWT proxies of all shards count when sessions are set up and end. Labels are made from configuration and closed sets
/// only; messages and bytes are counted by the shards (`ProxyCounters`).
final class ProxyMetrics: Sendable {
    /// Families that are counted here.
    enum Family: UInt8, CaseIterable, Sendable {
        case connections, protocols, authFailures, authSuccesses, errors, retries, circuits, healthy, unhealthy, rates,
             revocations, handshakes, auth, algorithms, cache, closes, dials, limits, expired, droppedRoles

        /// As it is shown.
        var name: String {
            switch self {
            case .connections: "ws_connections_total"
            case .protocols: "ws_protocol_connections_total"
            case .authFailures: "ws_auth_failures_total"
            case .authSuccesses: "ws_auth_success_total"
            case .errors: "ws_proxy_errors_total"
            case .retries: "ws_proxy_retries_total"
            case .circuits: "ws_circuit_open_total"
            case .healthy: "ws_upstream_health_success_total"
            case .unhealthy: "ws_upstream_health_failure_total"
            case .rates: "ws_rate_limit_violations_total"
            case .revocations: "ws_revocations_total"
            case .handshakes: "ws_handshakes_total"
            case .auth: "ws_auth_total"
            case .algorithms: "ws_token_alg_total"
            case .cache: "ws_token_cache_total"
            case .closes: "ws_closes_total"
            case .dials: "ws_upstream_dials_total"
            case .limits: "ws_limit_rejections_total"
            case .expired: "ws_expired_sessions_total"
            case .droppedRoles: "sluice_jwt_dropped_roles_total"
            }
        }

        var help: String {
            switch self {
            case .connections: "Upgrades that succeeded"
            case .protocols: "Sessions by what they speak"
            case .authFailures: "Credentials that were refused"
            case .authSuccesses: "Credentials that were accepted"
            case .errors: "Sessions that could not be set up"
            case .retries: "Dials that failed"
            case .circuits: "Circuits that opened"
            case .healthy: "Probes of upstreams that succeeded"
            case .unhealthy: "Probes of upstreams that failed"
            case .rates: "Sessions that sent more messages than they may, by who shares the budget"
            case .revocations: "Sessions closed because their token was revoked"
            case .handshakes: "Handshakes by route and answer"
            case .auth: "Decisions about credentials"
            case .algorithms: "Accepted tokens by signature algorithm"
            case .cache: "Tokens found among those verified before, or not"
            case .closes: "Ends of sessions by who ended them and the close code"
            case .dials: "Dials of upstreams by what they came to"
            case .limits: "Clients refused because of a limit"
            case .expired: "Sessions that outlived their token"
            case .droppedRoles: "Roles that upstreams were not told of: with a comma or a control character, or one too many"
            }
        }
    }

    /// Histograms of set-up and end.
    enum Timing: UInt8, CaseIterable, Sendable {
        case connection, session, auth, dial

        /// As it is shown.
        var name: String {
            switch self {
            case .connection: "ws_connection_duration_seconds"
            case .session: "ws_session_seconds"
            case .auth: "ws_auth_seconds"
            case .dial: "ws_upstream_dial_seconds"
            }
        }

        /// Upper bounds of the buckets, seconds: a day for sessions, seconds for the rest.
        var bounds: [Double] {
            switch self {
            case .connection, .session: [0.1, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400]
            case .auth: [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1, 1, 2]
            case .dial: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
            }
        }

        var help: String {
            switch self {
            case .connection: "How long upgraded connections lasted"
            case .session: "How long sessions lasted, by route and what they spoke"
            case .auth: "Time to decide about a credential"
            case .dial: "Time of a dial, by upstream"
            }
        }
    }

    struct Histogram {
        var buckets: [UInt64]
        var count: UInt64 = 0
        var sum = 0.0

        /// Nothing observed yet.
        init(_ timing: Timing) { buckets = [UInt64](repeating: 0, count: timing.bounds.count) }
    }

    /// One series of a counter.
    final class Sample: Sendable {
        private let value = Atomic<UInt64>(0)

        var count: UInt64 { value.load(ordering: .relaxed) }

        func add(_ amount: UInt64 = 1) { value.add(amount, ordering: .relaxed) }
    }

    /// One series of a histogram.
    final class Series: Sendable {
        private let bounds: [Double]
        private let histogram: Mutex<Histogram>

        init(_ timing: Timing) {
            bounds = timing.bounds
            histogram = Mutex(Histogram(timing))
        }

        var reading: Histogram { histogram.withLock { $0 } }

        func observe(seconds: Double) {
            histogram.withLock { histogram in
                if let bucket = bounds.firstIndex(where: { seconds <= $0 }) { histogram.buckets[bucket] += 1 }
                histogram.count += 1
                histogram.sum += seconds
            }
        }
    }

    private struct State {
        var counts: [Family: [String: Sample]] = [:]
        var timings: [Timing: [String: Series]] = [:]
    }

    private let state = Mutex(State())

    /// A sample, to be added to; `labels` as they stand between the braces.
    func sample(_ family: Family, _ labels: String) -> Sample {
        state.withLock { state in
            if let known = state.counts[family]?[labels] { return known }
            let sample = Sample()
            state.counts[family, default: [:]][labels] = sample
            return sample
        }
    }

    /// A histogram likewise.
    func series(_ timing: Timing, _ labels: String) -> Series {
        state.withLock { state in
            if let known = state.timings[timing]?[labels] { return known }
            let series = Series(timing)
            state.timings[timing, default: [:]][labels] = series
            return series
        }
    }

    /// Adds to a sample.
    func add(_ family: Family, _ labels: String = "", _ amount: UInt64 = 1) { sample(family, labels).add(amount) }

    /// A configured text as the value of a label.
    static func label(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: " ")
    }

    /// Close codes that are labels; any other is `other`.
    static func code(_ code: UInt16) -> String {
        switch labelledCode(code) {
        case 0: "none"
        case otherCode: "other"
        default: "\(code)"
        }
    }

    private static let otherCode = Int(UInt16.max)

    /// The code, if it is a label.
    static func labelledCode(_ code: UInt16) -> Int {
        switch code {
        case 0, 1000...1003, 1005...1015, 4401, 4403, 4408, 4429: Int(code)
        default: otherCode
        }
    }

    // MARK: The page

    func write(to page: inout MetricsPage, _ shards: [ProxyCounters], _ plan: ProxyPlan) {
        let (counts, timings) = state.withLock { state in
            (state.counts.mapValues { $0.mapValues(\.count) }, state.timings.mapValues { $0.mapValues(\.reading) })
        }
        for family in Family.allCases {
            page.family(family.name, "counter", family.help)
            let samples = Self.none(of: family, plan).merging(counts[family] ?? [:]) { $1 }
            for (labels, value) in samples.sorted(by: { $0.key < $1.key }) { page.sample(family.name, labels, value) }
        }
        for timing in Timing.allCases {
            page.family(timing.name, "histogram", timing.help)
            let samples = Self.none(of: timing, plan).merging(timings[timing] ?? [:]) { $1 }
            for (labels, histogram) in samples.sorted(by: { $0.key < $1.key }) {
                Self.write(histogram, timing, labels, &page)
            }
        }
        live(&page, shards, plan)
        inspected(&page, shards, plan)
        keys(&page, plan)
        upstreams(&page, plan)
    }

    private static func write(_ histogram: Histogram, _ timing: Timing, _ labels: String, _ page: inout MetricsPage) {
        let prefix = labels.isEmpty ? "" : labels + ","
        var sum: UInt64 = 0
        for (bound, count) in zip(timing.bounds, histogram.buckets) {
            sum += count
            page.sample(timing.name + "_bucket", prefix + "le=\"\(Quantity.number(bound))\"", sum)
        }
        page.sample(timing.name + "_bucket", prefix + "le=\"+Inf\"", histogram.count)
        page.sample(timing.name + "_sum", labels, histogram.sum)
        page.sample(timing.name + "_count", labels, histogram.count)
    }

    private func live(_ page: inout MetricsPage, _ shards: [ProxyCounters], _ plan: ProxyPlan) {
        page.gauge("ws_active_sessions", "Sessions that were answered and have not ended", shards.reduce(0) { $0 &+ $1.read(.active) })
        let routes = plan.policy.routes.routes.prefix(ProxyCounters.routes).enumerated().map { ($0, Self.label($1.name)) }
        func sum(_ counter: ProxyCounters.RouteCounter, _ route: Int) -> UInt64 {
            shards.reduce(0) { $0 &+ $1.read(counter, route: UInt16(route)) }
        }
        page.family("ws_messages_total", "counter", "Messages carried")
        for (index, name) in routes {
            page.sample("ws_messages_total", "route=\"\(name)\",direction=\"up\"", sum(.messagesUp, index))
            page.sample("ws_messages_total", "route=\"\(name)\",direction=\"down\"", sum(.messagesDown, index))
        }
        page.family("ws_bytes_total", "counter", "Payload bytes carried")
        for (index, name) in routes {
            page.sample("ws_bytes_total", "route=\"\(name)\",direction=\"up\"", sum(.bytesUp, index))
            page.sample("ws_bytes_total", "route=\"\(name)\",direction=\"down\"", sum(.bytesDown, index))
        }
        page.family("ws_throttled_total", "counter", "Times a session was held back because it sent too much")
        for (index, name) in routes { page.sample("ws_throttled_total", "route=\"\(name)\"", sum(.throttled, index)) }
        page.family("ws_stall_seconds_total", "counter", "Time receivers did not take what was for them")
        for (index, name) in routes {
            page.sample("ws_stall_seconds_total", "route=\"\(name)\",direction=\"up\"", Double(sum(.stallUpMilliseconds, index)) / 1000)
            page.sample("ws_stall_seconds_total", "route=\"\(name)\",direction=\"down\"", Double(sum(.stallDownMilliseconds, index)) / 1000)
        }
    }

    /// What inspected sessions count.
    private func inspected(_ page: inout MetricsPage, _ shards: [ProxyCounters], _ plan: ProxyPlan) {
        let name = "ws_authz_denied_total"
        page.family(name, "counter", "Topics and filters that were refused")
        let actions: [(String, ProxyCounters.RouteCounter)] = [
            ("publish", .deniedPublishes), ("subscribe", .deniedSubscriptions), ("will", .deniedWills),
        ]
        for (index, route) in plan.policy.routes.routes.prefix(ProxyCounters.routes).enumerated() {
            for (action, counter) in actions {
                page.sample(
                    name, "route=\"\(Self.label(route.name))\",action=\"\(action)\"",
                    shards.reduce(0) { $0 &+ $1.read(counter, route: UInt16(index)) })
            }
        }
        page.family("ws_mqtt_packets_total", "counter", "MQTT packets where they are looked into")
        for (direction, up) in [("up", true), ("down", false)] {
            for type in MQTTType.allCases {
                let count = shards.reduce(0) { $0 &+ $1.readPackets(type, up: up) }
                guard count > 0 || type == .publish else { continue }
                page.sample("ws_mqtt_packets_total", "direction=\"\(direction)\",type=\"\(type)\"", count)
            }
        }
    }

    private func keys(_ page: inout MetricsPage, _ plan: ProxyPlan) {
        let readings = plan.common.keys.readings
        page.family("ws_jwks_keys", "gauge", "Keys in use, by provider")
        for reading in readings { page.sample("ws_jwks_keys", "provider=\"\(Self.label(reading.name))\"", UInt64(reading.keys)) }
        page.family("ws_jwks_age_seconds", "gauge", "Age of the freshest key set, by provider")
        for reading in readings {
            guard let age = reading.ageMilliseconds else { continue }
            page.sample("ws_jwks_age_seconds", "provider=\"\(Self.label(reading.name))\"", Double(age) / 1000)
        }
        page.family("ws_jwks_refresh_total", "counter", "Fetches of key sets by what they came to")
        for (key, count) in Self.fetches(plan).sorted(by: { "\($0.key)" < "\($1.key)" }) {
            let labels = "provider=\"\(Self.label(key.provider))\",trigger=\"\(key.trigger.rawValue)\",result=\"\(key.result.rawValue)\""
            page.sample("ws_jwks_refresh_total", labels, count)
        }
    }

    private func upstreams(_ page: inout MetricsPage, _ plan: ProxyPlan) {
        // Routes may have endpoints in common.
        let endpoints = Dictionary(plan.endpoints.map { ($0.name, $0) }) { first, _ in first }.values.sorted { $0.name < $1.name }
        page.family("ws_upstream_up", "gauge", "Whether an upstream's circuit is closed")
        for endpoint in endpoints { page.sample("ws_upstream_up", endpoint.label, UInt64(endpoint.state.circuit == .closed ? 1 : 0)) }
        page.family("ws_circuit_state", "gauge", "0 closed, 1 half open, 2 open")
        for endpoint in endpoints { page.sample("ws_circuit_state", endpoint.label, UInt64(endpoint.state.circuit.rawValue)) }
    }
}
