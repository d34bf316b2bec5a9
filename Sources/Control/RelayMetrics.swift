import UDPRelay

/// The families of the UDP relay.
enum RelayMetrics {
    /// Events of transports that this version has not. Their counters are there and do not move.
    private static let absent = [
        "webrtc_udp_datagrams_in", "webrtc_udp_datagrams_out", "webrtc_udp_dropped", "webrtc_udp_dropped_malformed",
        "webrtc_udp_dropped_oversized", "webrtc_udp_dropped_denied_by_policy", "webrtc_udp_dropped_rate_limited",
        "webrtc_udp_dropped_quota_exceeded", "webrtc_udp_dropped_backpressure", "webrtc_udp_dropped_too_many_bindings",
        "webrtc_datachannel_rejected_unknown_label", "webrtc_datachannel_rejected_duplicate_udp",
        "webrtc_datachannel_rejected_duplicate_l2", "webrtc_datachannel_udp_message_too_large",
        "webrtc_datachannel_l2_message_too_large", "l2_bridge_dials_total", "l2_bridge_dial_errors_total",
        "l2_bridge_messages_from_client_total", "l2_bridge_messages_to_client_total", "l2_bridge_bytes_from_client_total",
        "l2_bridge_bytes_to_client_total", "l2_bridge_dropped_oversized_total", "l2_bridge_dropped_rate_limited_total",
    ]

    static func write(to page: inout MetricsPage, _ shards: [RelayCounters]) {
        func sum(_ counter: RelayCounters.Counter) -> UInt64 { shards.reduce(0) { $0 &+ $1.read(counter) } }
        func samples(_ name: String, _ label: String, _ values: [(String, RelayCounters.Counter)]) {
            for (value, counter) in values { page.sample(name, "\(label)=\"\(value)\"", sum(counter)) }
        }
        events(&page, shards)
        page.gauge("sluice_udp_websockets_active", "WebSockets of /udp that are open", sum(.socketsActive))
        page.gauge("sluice_udp_sessions_active", "WebSockets of /udp that are ready", sum(.sessionsActive))
        page.gauge("sluice_udp_bindings_active", "Guest ports that have sockets", sum(.bindingsActive))
        page.family("sluice_udp_bindings_total", "counter", "Guest ports that got sockets, or gave them back")
        samples("sluice_udp_bindings_total", "event", [
            ("opened", .bindingsOpened), ("evicted", .bindingsEvicted), ("displaced", .bindingsDisplaced), ("idle", .bindingsIdle),
        ])
        page.family("sluice_udp_bytes_total", "counter", "Payload bytes of datagrams forwarded by /udp")
        samples("sluice_udp_bytes_total", "direction", [("from_client", .bytesFromClient), ("to_client", .bytesToClient)])
        page.gauge("sluice_udp_sockets_active", "Sockets of guest ports that are open", sum(.datagramSocketsActive))
        page.counter("sluice_udp_sockets_refused_total",
                     "Sockets not opened at limits.udp_sockets_per_shard: nobody had one to give", sum(.socketsRefused))
        page.counter("sluice_udp_websockets_refused_total", "Upgrades of /udp refused because a shard had as many WebSockets as it may",
                     sum(.webSocketsRefused))
        page.counter("sluice_udp_sockets_failed_total", "Sockets of guest ports that could not be opened, or broke", sum(.socketsFailed))
        page.counter("sluice_udp_frames_copied_total", "Frames copied behind others for a client that is behind", sum(.framesCopied))
        page.family("sluice_udp_ended_total", "counter", "WebSockets of /udp that ended, by cause")
        for counter in RelayCounters.Counter.allCases {
            if let cause = counter.cause { page.sample("sluice_udp_ended_total", "cause=\"\(cause)\"", sum(counter)) }
        }
    }

    /// The one family of the relay's specification, sorted, all events that are known.
    private static func events(_ page: inout MetricsPage, _ shards: [RelayCounters]) {
        let name = "aero_webrtc_udp_relay_events_total"
        page.family(name, "counter", "Internal event counters.")
        var values: [(String, UInt64)] = absent.map { ($0, 0) }
        for event in RelayCounters.Event.allCases { values.append(("\(event.name)", shards.reduce(0) { $0 &+ $1.read(event) })) }
        for (event, value) in values.sorted(by: { $0.0 < $1.0 }) { page.sample(name, "event=\"\(event)\"", value) }
    }
}
