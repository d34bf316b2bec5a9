import Testing
import Wire

@testable import Control

@Suite struct TopTextTests {
    @Test(arguments: [(0.0, "0"), (7, "7"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-5, "0")] as [(Double, String)])
    func counts(_ value: Double, _ text: String) { #expect(TopText.count(value) == text) }

    @Test(arguments: [
        (0.0, "0"), (0.004, "0"), (0.25, "0.25"), (9.999, "10.0"), (12.34, "12.3"), (99.96, "100"), (1234.4, "1,234"),
    ] as [(Double, String)])
    func rates(_ value: Double, _ text: String) { #expect(TopText.rate(value) == text) }

    @Test(arguments: [
        (0.0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (150 * 1024, "150 KiB"), (3 * 1_073_741_824, "3.0 GiB"),
    ] as [(Double, String)]) func sizes(_ value: Double, _ text: String) { #expect(TopText.bytes(value) == text) }

    @Test(arguments: [
        (0.4, "0.4s"), (12, "12s"), (185, "3m05s"), (7800, "2h10m"), (4 * 86_400 + 3 * 3600, "4d03h"),
    ] as [(Double, String)]) func durations(_ value: Double, _ text: String) { #expect(TopText.duration(value) == text) }

    @Test func textsOfStrangersCannotMoveTheCursor() {
        #expect(TopText.fitted("a\u{1B}[2Jb", 10) == "a?[2Jb    ")
        #expect(TopText.fitted("a-name-that-is-too-long", 10) == "a-name-t… ")
    }
}

@Suite struct ScrapeReadingTests {
    private let reading = ScrapeReading("""
        # HELP a_total Something
        # TYPE a_total counter
        a_total{shard="0",class="small"} 3
        a_total{shard="1",class="small"} 4
        a_total{shard="10",class="bulk"} 0.5
        b 2
        not a sample
        """)

    @Test func sumsByLabel() {
        #expect(reading.sum("a_total") == 7.5)
        #expect(reading.sum("a_total", ["class": "small"]) == 7)
        #expect(reading.sum("a_total", ["class": "none"]) == 0)
        #expect(reading.sum("b") == 2 && reading.sum("c") == 0)
        #expect(reading.values("shard", of: "a_total") == ["0", "1", "10"])
        #expect(reading.sums("a_total", by: "class").map(\.sum) == [0.5, 7])
    }
}

@Suite struct TopScreenTests {
    private func metrics(_ factor: Double, datagrams: Double = 0) -> ScrapeReading {
        ScrapeReading("""
            process_start_time_seconds 1000
            process_resident_memory_bytes 104857600
            process_cpu_seconds_total \(factor)
            sluice_build_info{version="1.2.3",revision="abc"} 1
            sluice_reload_last_succeeded 1
            sluice_tcp_websockets_active 1234
            sluice_tcp_websockets_opened_total \(100 * factor)
            sluice_tcp_bytes_total{direction="from_client"} \(2_097_152 * factor)
            sluice_tcp_bytes_total{direction="to_client"} \(1024 * factor)
            sluice_shard_turns_total{shard="0"} \(1000 * factor)
            sluice_shard_completions_total{shard="0"} \(5000 * factor)
            sluice_shard_receive_starved_total{shard="0"} \(factor)
            sluice_shard_turns_total{shard="1"} \(10 * factor)
            sluice_shard_slots_used{shard="0"} 17
            aero_webrtc_udp_relay_events_total{event="udp_ws_connections"} \(datagrams * factor)
            aero_webrtc_udp_relay_events_total{event="udp_ws_datagrams_in"} \(100 * datagrams * factor)
            aero_webrtc_udp_relay_events_total{event="udp_ws_dropped"} \(datagrams * factor)
            sluice_udp_sessions_active \(datagrams)
            sluice_udp_bytes_total{direction="to_client"} \(1024 * datagrams * factor)
            sluice_udp_sockets_refused_total \(datagrams * factor)
            """)
    }

    private func connection(_ bytes: Double) -> TopConnection {
        TopConnection(identifier: "0-1-1", feature: "tcp", client: "192.0.2.1", target: "db.example:5432", ageMilliseconds: 185_000,
                      quietMilliseconds: 400, bytesFromClient: bytes, bytesToClient: 2 * bytes)
    }

    private func frame() -> TopFrame {
        TopFrame(
            address: "http://127.0.0.1:9901",
            latest: TopReading(seconds: 12, metrics: metrics(3), connections: [connection(4096)], connectionCount: 1234),
            earlier: TopReading(seconds: 10, metrics: metrics(1), connections: [connection(2048)], connectionCount: 1234),
            wallSeconds: 1000 + 7800)
    }

    @Test func showsRatesBetweenTwoReadings() {
        let lines = TopScreen(columns: 120, rows: 40, hasColors: false).lines(frame())
        let text = lines.joined(separator: "\n")
        #expect(lines[0] == "sluice 1.2.3   http://127.0.0.1:9901   up 2h10m   ready")
        #expect(text.contains("websockets 1,234") && text.contains("opened/s 100"))
        #expect(text.contains("in 2.0 MiB/s") && text.contains("out 1.0 KiB/s"))
        #expect(text.contains("memory 100 MiB") && text.contains("cpu 100 %"))
        #expect(text.contains("biggest connections of 1,234"))
        let shard = lines.first { $0.hasPrefix("       0") }
        #expect(shard?.split(separator: " ").prefix(4).joined(separator: " ") == "0 1,000 5.00 17", "\(text)")
        let biggest = lines.last.map { $0.split(separator: " ").joined(separator: " ") }
        #expect(biggest == "192.0.2.1 db.example:5432 4.0 KiB 8.0 KiB 1.0 KiB 2.0 KiB 3m05s 0.4s", "\(text)")
    }

    @Test func datagramsHaveRowsOnceThereWereSome() {
        var frame = frame()
        #expect(!TopScreen(columns: 120, rows: 40, hasColors: false).lines(frame).contains { $0.contains("datagrams") })
        frame.latest.metrics = metrics(3, datagrams: 7)
        frame.earlier?.metrics = metrics(1, datagrams: 7)
        var one = connection(4096)
        one.feature = "udp"
        one.target = ""
        frame.latest.connections = [one]
        let text = TopScreen(columns: 120, rows: 40, hasColors: false).lines(frame).joined(separator: "\n")
        #expect(text.contains("─ datagrams ─") && text.contains("sessions 7") && text.contains("datagrams in/s 700"), "\(text)")
        #expect(text.contains("out 7.0 KiB/s") && text.contains("dropped/s 7.00") && text.contains("no socket/s 7.00"), "\(text)")
        #expect(text.contains("192.0.2.1") && text.contains("/udp"), "\(text)")
        #expect(TopScreen(columns: 60, rows: 100, hasColors: false).lines(frame).allSatisfy { $0.count <= 60 })
    }

    @Test func theFirstLookShowsRatesSinceTheStart() {
        var first = frame()
        first.earlier = nil
        #expect(first.rate("sluice_tcp_websockets_opened_total") == 300.0 / 7800)
    }

    @Test func aRestartIsNoNegativeRate() {
        var restarted = frame()
        restarted.latest.metrics = metrics(0)
        #expect(restarted.rate("sluice_tcp_websockets_opened_total") == 0)
    }

    @Test(arguments: [60, 80, 100, 120, 200])
    func neverWiderOrHigherThanTheTerminal(_ columns: Int) {
        for rows in [1, 5, 10, 24] {
            let lines = TopScreen(columns: columns, rows: rows, hasColors: false).lines(frame())
            #expect(lines.count <= rows)
            #expect(lines.allSatisfy { $0.count <= columns }, "\(columns)")
        }
    }

    @Test func coloursChangeNothingButColours() {
        let plain = TopScreen(columns: 120, rows: 40, hasColors: false).lines(frame())
        let colored = TopScreen(columns: 120, rows: 40, hasColors: true).lines(frame())
        #expect(colored.joined().contains("\u{1B}[33m"), "a starved shard stands out")
        let stripped = colored.map { $0.replacing(#/\u{1B}\[[0-9]+m/#, with: "") }
        #expect(stripped == plain)
    }

    @Test func tellsWhatNeedsAttention() {
        var drained = frame()
        drained.latest.metrics = ScrapeReading("sluice_draining 1\nsluice_reload_last_succeeded 0\nsluice_restart_needed_keys 2")
        let title = TopScreen(columns: 120, rows: 1, hasColors: false).lines(drained)[0]
        #expect(title.hasSuffix("draining   last reload refused   restart needed"))
    }

    @Test func readsConnections() throws {
        let text = "{\"total\":7,\"connections\":[{\"id\":\"0-1-2\",\"feature\":\"tcp\",\"client\":\"c\","
            + "\"target\":\"t\",\"ageMs\":5,\"quietMs\":6,\"bytesFromClient\":7,\"bytesToClient\":8}]}"
        let bytes = Array(text.utf8)
        let document = JSONReader.read(bytes.span)
        let found = try #require(document.flatMap { TopConnection.read($0) })
        #expect(found.total == 7)
        #expect(found.connections == [
            TopConnection(identifier: "0-1-2", feature: "tcp", client: "c", target: "t", ageMilliseconds: 5, quietMilliseconds: 6,
                          bytesFromClient: 7, bytesToClient: 8)
        ])
        #expect(TopConnection.read(.array([])) == nil)
    }
}

@Suite struct AdminClientTests {
    @Test(arguments: ["http://127.0.0.1:9901", "http://127.0.0.1:9901/", "127.0.0.1:9901", "localhost:9901"])
    func addresses(_ url: String) { #expect(AdminClient(url: url, token: nil)?.text == "http://127.0.0.1:9901") }

    @Test(arguments: ["", "https://127.0.0.1:9901", "http://127.0.0.1", "http://127.0.0.1:0", ":9901", "http://127.0.0.1:9901/metrics"])
    func others(_ url: String) { #expect(AdminClient(url: url, token: nil) == nil) }

    @Test(arguments: [("HTTP/1.1 401 x\r\n\r\n", "--token-file"), ("HTTP/1.1 404 x\r\n\r\n", "admin.address"), ("SSH-2.0\r\n", "not HTTP")])
    func failuresNameTheRemedy(_ answer: String, _ words: String) {
        #expect { try AdminClient.body(Array(answer.utf8), "http://127.0.0.1:1") } throws: { error in
            (error as? AdminClient.Failure)?.message.contains(words) == true
        }
    }
}
