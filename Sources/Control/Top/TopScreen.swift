/// The view of `sluice top` as a pure function: a frame and a size in, lines out.
///
/// ```
///  sluice 1.2.0   http://127.0.0.1:9901   up 3h12m   ready                                 ← title
///  ─ traffic ───────────────────────────
///    connections   1,204 open   312 /s …        requests, refusals, ends by cause
///  ─ datagrams ─────────────────────────                                                 ← once /udp was used
///    sessions   guest ports   sockets   …       datagrams each way, drops
///  ─ shards ────────────────────────────
///    shard   turns/s  events/turn   streams   buffers   in/s   out/s   starved  paused
///  ─ biggest connections ───────────────
///    client            target              in        out      age     quiet
/// ```
struct TopScreen {
    /// Columns and rows of the terminal. A snapshot has as many rows as it needs.
    var columns: Int
    var rows: Int
    /// Whether lines carry ANSI colours (ECMA-48 SGR).
    var hasColors: Bool

    /// Narrowest view that is laid out; what is cut off then is cut off.
    static let columnsMinimum = 60

    /// The lines of a frame, at most `rows`, none wider than `columns`.
    func lines(_ frame: TopFrame) -> [String] {
        var lines = [title(frame)]
        lines += [heading("traffic")] + traffic(frame)
        lines += relay(frame)
        lines += [heading("shards")] + shards(frame)
        lines += [heading("biggest connections of \(TopText.count(Double(frame.latest.connectionCount)))")] + connections(frame)
        return Array(lines.prefix(rows))
    }

    // MARK: Parts

    private func title(_ frame: TopFrame) -> String {
        let build = frame.latest.metrics.families["sluice_build_info"]?.first?.labels["version"] ?? ""
        let isReady = frame.value("sluice_draining") == 0
        let reload = frame.value("sluice_reload_last_succeeded") == 0 ? "last reload refused" : ""
        let restart = frame.value("sluice_restart_needed_keys") > 0 ? "restart needed" : ""
        let state = isReady ? style("ready", .good) : style("draining", .bad)
        let age = "up \(TopText.duration(frame.uptimeSeconds))"
        let plain = ["sluice \(build)", frame.address, age, isReady ? "ready" : "draining", reload, restart]
            .filter { !$0.isEmpty }.joined(separator: "   ")
        guard plain.count <= columns else { return String(plain.prefix(columns)) }
        return [style("sluice \(build)", .bold), frame.address, age, state,
                reload.isEmpty ? "" : style(reload, .bad), restart.isEmpty ? "" : style(restart, .warning)]
            .filter { !$0.isEmpty }.joined(separator: "   ")
    }

    func heading(_ text: String) -> String {
        let head = "─ \(text) "
        return style(head + String(repeating: "─", count: max(0, columns - head.count)), .dim)
    }

    private func traffic(_ frame: TopFrame) -> [String] {
        let refusals = frame.rate("sluice_upgrades_refused_total") + frame.rate("sluice_requests_refused_total")
            + frame.rate("sluice_tcp_refused_total")
        let denials = frame.rate("tcp_proxy_blocked_by_host_policy_total") + frame.rate("tcp_proxy_blocked_by_ip_policy_total")
        let acceptErrors = frame.rate("sluice_shard_accept_failed_total") + frame.rate("sluice_shard_refused_no_slot_total")
        let cells: [(String, String, Style)] = [
            ("websockets", TopText.count(frame.value("sluice_tcp_websockets_active")), .bold),
            ("opened/s", TopText.rate(frame.rate("sluice_tcp_websockets_opened_total")), .plain),
            ("ended/s", TopText.rate(frame.rate("sluice_tcp_ended_total")), .plain),
            ("requests/s", TopText.rate(frame.rate("http_requests_total")), .plain),
            ("messages in/s", TopText.rate(frame.rate("sluice_tcp_frames_total", ["direction": "from_client"])), .plain),
            ("messages out/s", TopText.rate(frame.rate("sluice_tcp_frames_total", ["direction": "to_client"])), .plain),
            ("in", TopText.bytes(frame.rate("sluice_tcp_bytes_total", ["direction": "from_client"])) + "/s", .good),
            ("out", TopText.bytes(frame.rate("sluice_tcp_bytes_total", ["direction": "to_client"])) + "/s", .good),
            ("refused/s", TopText.rate(refusals), refusals > 0 ? .warning : .plain),
            ("policy/s", TopText.rate(denials), .plain),
            ("dial errors/s", TopText.rate(frame.rate("sluice_shard_connect_failed_total")), .plain),
            ("accept errors/s", TopText.rate(acceptErrors), acceptErrors > 0 ? .bad : .plain),
            ("memory", TopText.bytes(frame.value("process_resident_memory_bytes")), .plain),
            ("cpu", TopText.rate(100 * frame.rate("process_cpu_seconds_total")) + " %", .plain),
            ("descriptors", TopText.count(frame.value("process_open_fds")), .plain),
            ("log dropped/s", TopText.rate(frame.rate("sluice_log_records_dropped_total")), .plain),
        ]
        return grid(cells)
    }

    /// Labels with their values, as many in a line as fit.
    func grid(_ cells: [(String, String, Style)]) -> [String] {
        let perLine = max(1, min(4, columns / Self.cellColumns))
        let width = columns / perLine
        return stride(from: 0, to: cells.count, by: perLine).map { start in
            cells[start..<min(start + perLine, cells.count)].map { label, value, style in
                let room = max(0, width - label.count - 4)
                let shown = String(value.prefix(room))
                return "  " + self.style(label, .dim) + " " + self.style(shown, style)
                    + String(repeating: " ", count: max(1, room - shown.count + 1))
            }.joined().trimmingTrailingBlanks()
        }
    }

    /// What the longest label needs with its value.
    private static let cellColumns = 25

    private static let shardColumns: [(name: String, width: Int)] = [
        ("shard", 6), ("turns/s", 9), ("events/turn", 12), ("streams", 9), ("buffers", 9), ("in/s", 11), ("out/s", 11), ("starved/s", 11),
        ("paused/s", 10),
    ]

    private func shards(_ frame: TopFrame) -> [String] {
        let header = row(Self.shardColumns.map { TopText.padded($0.name, $0.width) })
        return [style(header, .dim)] + frame.latest.metrics.values("shard", of: "sluice_shard_turns_total").map { shard in
            let labels = ["shard": shard]
            let turns = frame.rate("sluice_shard_turns_total", labels)
            let completions = frame.rate("sluice_shard_completions_total", labels)
            let starved = frame.rate("sluice_shard_receive_starved_total", labels)
            let values = [
                shard, TopText.rate(turns), turns > 0 ? TopText.rate(completions / turns) : "0",
                TopText.count(frame.value("sluice_shard_slots_used", labels)),
                TopText.count(frame.value("sluice_shard_buffers_used", labels)),
                TopText.bytes(frame.rate("sluice_shard_received_bytes_total", labels)),
                TopText.bytes(frame.rate("sluice_shard_sent_bytes_total", labels)), TopText.rate(starved),
                TopText.rate(frame.rate("sluice_shard_receive_paused_total", labels)),
            ]
            let line = row(zip(values, Self.shardColumns).map { TopText.padded($0, $1.width) })
            return starved > 0 ? style(line, .warning) : line
        }
    }

    private func connections(_ frame: TopFrame) -> [String] {
        let before = Dictionary((frame.earlier?.connections ?? []).map { ($0.identifier, $0) }, uniquingKeysWith: { first, _ in first })
        let room = max(12, (columns - 2 - 4 * 11 - 2 * 9) / 2)
        func line(_ texts: [String]) -> String {
            row([
                TopText.fitted(texts[0], room), TopText.fitted(texts[1], room), TopText.padded(texts[2], 11), TopText.padded(texts[3], 11),
                TopText.padded(texts[4], 11), TopText.padded(texts[5], 11), TopText.padded(texts[6], 9), TopText.padded(texts[7], 9),
            ])
        }
        let header = line(["client", "target", "in", "out", "in/s", "out/s", "age", "quiet"])
        return [style(header, .dim)] + frame.latest.connections.map { connection in
            let former = before[connection.identifier]
            func rate(_ place: KeyPath<TopConnection, Double>) -> String {
                guard let former else { return "" }
                return TopText.bytes(max(0, connection[keyPath: place] - former[keyPath: place]) / frame.elapsedSeconds)
            }
            return line([
                connection.client, connection.target.isEmpty ? "/" + connection.feature : connection.target,
                TopText.bytes(connection.bytesFromClient), TopText.bytes(connection.bytesToClient),
                rate(\.bytesFromClient), rate(\.bytesToClient), TopText.duration(connection.ageMilliseconds / 1000),
                TopText.duration(connection.quietMilliseconds / 1000),
            ])
        }
    }

    private func row(_ cells: [String]) -> String { String(("  " + cells.joined()).prefix(columns)).trimmingTrailingBlanks() }

    // MARK: Colours

    enum Style: String {
        case plain = "0"
        case bold = "1"
        case dim = "2"
        case good = "32"
        case warning = "33"
        case bad = "31"
    }

    private func style(_ text: String, _ style: Style) -> String {
        hasColors && style != .plain && !text.isEmpty ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

/// Amounts as people read them.
enum TopText {
    /// `1,234,567`.
    static func count(_ value: Double) -> String {
        let digits = String(Int(max(0, min(value, 1e15))))
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return text
    }

    /// `0`, `0.25`, `12.5`, `1,234`: three digits that mean something.
    static func rate(_ value: Double) -> String {
        if value < 0.005 { return "0" }
        if value < 9.995 { return fraction(value, digits: 2) }
        return value < 99.95 ? fraction(value, digits: 1) : count(value.rounded())
    }

    /// `0 B`, `1.5 KiB`, `12.3 GiB`.
    static func bytes(_ value: Double) -> String {
        var (amount, unit) = (max(0, value), 0)
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        while amount >= 1024, unit < units.count - 1 { (amount, unit) = (amount / 1024, unit + 1) }
        return (unit == 0 || amount >= 100 ? String(Int(amount.rounded())) : fraction(amount, digits: 1)) + " " + units[unit]
    }

    /// `0.4s`, `12s`, `3m05s`, `2h10m`, `4d03h`.
    static func duration(_ seconds: Double) -> String {
        if seconds < 10 { return fraction(max(0, seconds), digits: 1) + "s" }
        let whole = Int(min(seconds, 1e12))
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        switch whole {
        case ..<60: return "\(whole)s"
        case ..<3600: return "\(whole / 60)m\(two(whole % 60))s"
        case ..<86_400: return "\(whole / 3600)h\(two(whole / 60 % 60))m"
        default: return "\(whole / 86_400)d\(two(whole / 3600 % 24))h"
        }
    }

    private static func fraction(_ value: Double, digits: Int) -> String {
        let scale = digits == 1 ? 10 : 100
        let scaled = Int((value * Double(scale)).rounded())
        let rest = String(scaled % scale)
        return "\(scaled / scale)." + String(repeating: "0", count: digits - rest.count) + rest
    }

    /// Right-aligned.
    static func padded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(1, width - text.count)) + text }

    /// Left-aligned, cut when it is too long.
    static func fitted(_ text: String, _ width: Int) -> String {
        // Names come from clients: what could move the cursor does not reach the terminal.
        let safe = String(text.unicodeScalars.map { $0.value >= 0x20 && $0.value < 0x7F ? Character($0) : "?" })
        let shown = safe.count <= width - 1 ? safe : safe.prefix(max(0, width - 2)) + "…"
        return shown + String(repeating: " ", count: max(0, width - shown.count))
    }
}

extension String {
    fileprivate func trimmingTrailingBlanks() -> String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}
