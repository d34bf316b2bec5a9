/// The relay's rows of `sluice top`: shown once `/udp` was used.
extension TopScreen {
    private static let events = "aero_webrtc_udp_relay_events_total"

    func relay(_ frame: TopFrame) -> [String] {
        func events(_ name: String) -> Double { frame.rate(Self.events, ["event": name]) }
        guard frame.value(Self.events, ["event": "udp_ws_connections"]) > 0 else { return [] }
        let filtered = events("udp_remote_allowlist_overflow_drops_total")
        let refused = frame.rate("sluice_udp_websockets_refused_total") + events("too_many_sessions")
        let displaced = frame.rate("sluice_udp_bindings_total", ["event": "displaced"])
        let withoutSocket = frame.rate("sluice_udp_sockets_refused_total") + displaced
        let dropped = events("udp_ws_dropped")
        return [heading("datagrams")] + grid([
            ("sessions", TopText.count(frame.value("sluice_udp_sessions_active")), .bold),
            ("guest ports", TopText.count(frame.value("sluice_udp_bindings_active")), .plain),
            ("sockets", TopText.count(frame.value("sluice_udp_sockets_active")), .plain),
            ("opened/s", TopText.rate(events("udp_ws_connections")), .plain),
            ("datagrams in/s", TopText.rate(events("udp_ws_datagrams_in")), .plain),
            ("datagrams out/s", TopText.rate(events("udp_ws_datagrams_out")), .plain),
            ("in", TopText.bytes(frame.rate("sluice_udp_bytes_total", ["direction": "from_client"])) + "/s", .good),
            ("out", TopText.bytes(frame.rate("sluice_udp_bytes_total", ["direction": "to_client"])) + "/s", .good),
            ("dropped/s", TopText.rate(dropped), dropped > 0 ? .warning : .plain),
            ("strangers/s", TopText.rate(filtered), .plain),
            ("refused/s", TopText.rate(refused), refused > 0 ? .warning : .plain),
            ("no socket/s", TopText.rate(withoutSocket), withoutSocket > 0 ? .bad : .plain),
        ])
    }
}
