// The three kinds of run: messages, handshakes, idle connections.

import Glibc

/// Processor time of the server and of this process at one moment.
private struct Sample {
    var time = nowNanoseconds()
    var server: UInt64 = 0
    var serverUser: UInt64 = 0
    var serverSystem: UInt64 = 0
    var own: UInt64 = 0

    init(_ meter: ProcessMeter?) {
        if let meter {
            server = meter.processorNanoseconds()
            (serverUser, serverSystem) = meter.userAndSystemNanoseconds()
        }
        var usage = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &usage)
        own = UInt64(usage.tv_sec) * 1_000_000_000 + UInt64(usage.tv_nsec)
    }
}

/// Runs what the options say and returns the figures.
struct Run {
    let options: Options
    private let meter: ProcessMeter?
    private static let gibibyte = 1_073_741_824.0
    private static let turnNanoseconds: Int64 = 50_000_000
    /// How long memory is left to settle before it is read.
    private static let settleNanoseconds: UInt64 = 1_000_000_000

    init(options: Options) {
        self.options = options
        meter = options.serverProcess.map { ProcessMeter(process: $0) }
    }

    func perform() throws -> Report {
        let cookies = try options.endpoint.openSessions(options)
        return switch options.mode {
        case .connect: try handshakes(cookies)
        case .idle: try idle(cookies)
        case .requests: try requests(cookies)
        case .echo, .upload, .download, .burst: try messages(cookies)
        }
    }

    private func progress(_ text: String) { if !options.isQuiet { complain(text) } }

    private func describe(_ report: inout Report) {
        report.add("mode", .text(options.mode.rawValue))
        report.add("transport", .text(options.endpoint.transport))
        report.add("connections", .integer(options.connections))
        if options.streams > 0 { report.add("streams_per_connection", .integer(options.streams)) }
    }

    private func addProcessor(_ report: inout Report, _ begin: Sample, _ end: Sample, units: [(String, Double)]) {
        let seconds = Double(end.time - begin.time) / 1e9
        let own = Double(end.own - begin.own)
        report.add("load_cpu_share", .number(own / 1e9 / seconds))
        guard meter != nil else { return }
        let server = Double(end.server &- begin.server)
        report.add("server_cpu_share", .number(server / 1e9 / seconds))
        report.add("server_user_seconds", .number(Double(end.serverUser &- begin.serverUser) / 1e9))
        report.add("server_system_seconds", .number(Double(end.serverSystem &- begin.serverSystem) / 1e9))
        for (name, count) in units where count > 0 { report.add(name, .number(server / 1000 / count)) }
    }

    // MARK: Messages

    private func messages(_ cookies: [String]) throws -> Report {
        let loop = LoadLoop(options: options, cookies: cookies)
        try loop.open(upTo: options.connections)
        loop.run()
        try drive(loop, seconds: options.warmUpSeconds, label: "warm-up")
        loop.histogram = Histogram()
        let arrivedBefore = try arrivals()
        let (begin, before, lostBefore) = (Sample(meter), loop.tally, loop.datagramsLost)
        try drive(loop, seconds: options.durationSeconds, label: "measure")
        let (end, after) = (Sample(meter), loop.tally)
        let arrived = try arrivals() - arrivedBefore
        loop.release()

        var report = Report()
        describe(&report)
        let seconds = Double(end.time - begin.time) / 1e9
        // Frame headers left with the payload; only payload counts.
        let share = Double(options.messageBytes) / Double(loop.pattern.frameBytes)
        let sent = Double(after.bytesOut - before.bytesOut) * share
        let received = Double(after.bytesIn - before.bytesIn) * Double(options.messageBytes) / Double(loop.answerBytes)
        let payload = options.mode == .upload ? sent : received
        let count = options.mode == .echo || options.mode == .burst
            ? Double(after.messages - before.messages)
            : payload / Double(options.messageBytes)
        report.add("size_bytes", .integer(options.messageBytes))
        report.add("depth", .integer(options.depth))
        report.add("rate", .number(options.rate))
        report.add("seconds", .number(seconds))
        report.add("messages", .integer(Int(count)))
        report.add("messages_per_second", .number(count / seconds))
        report.add("payload_bytes", .integer(Int(payload)))
        report.add("mebibytes_per_second", .number(payload / seconds / 1_048_576))
        addProcessor(
            &report, begin, end,
            units: [
                ("server_cpu_us_per_message", count), ("server_cpu_us_per_gib", payload / Run.gibibyte),
            ])
        addDatagrams(&report, begin, end, arrived: options.countsArrivals ? arrived : Int(count), lost: loop.datagramsLost - lostBefore)
        if options.mode == .echo { report.add("latency_us", Report.latency(loop.histogram)) }
        report.add("mismatches", .integer(loop.mismatches))
        report.add("connections_lost", .integer(loop.closedCount))
        if loop.mismatches > 0 { throw LoadError("\(loop.mismatches) runs of bytes came back changed") }
        if loop.closedCount > 0 { throw LoadError(loop.firstFailure ?? "connections were lost") }
        return report
    }

    /// Datagrams at the sink so far; 0 when it is not to be asked.
    private func arrivals() throws -> Int {
        guard options.countsArrivals, let remote = options.remote else { return 0 }
        return try Endpoint.datagramsArrived(at: remote)
    }

    /// Datagrams that reached their end, and what each cost the server.
    private func addDatagrams(_ report: inout Report, _ begin: Sample, _ end: Sample, arrived: Int, lost: Int) {
        guard options.remote != nil else { return }
        report.add("datagrams", .integer(arrived))
        report.add("datagrams_per_second", .number(Double(arrived) * 1e9 / Double(end.time - begin.time)))
        if options.mode == .burst { report.add("datagrams_lost", .integer(lost)) }
        let server = Double(end.server &- begin.server)
        guard meter != nil, arrived > 0, server > 0 else { return }
        report.add("server_cpu_us_per_datagram", .number(server / 1000 / Double(arrived)))
        report.add("datagrams_per_cpu_second", .number(Double(arrived) * 1e9 / server))
    }

    private func drive(_ loop: LoadLoop, seconds: Double, label: String) throws {
        let start = nowNanoseconds()
        let end = start + UInt64(seconds * 1e9)
        var (tick, mark) = (start + 1_000_000_000, loop.tally)
        let limit = label == "measure" && options.messageLimit > 0 ? loop.tally.messages + options.messageLimit : Int.max
        var now = start
        while now < end && loop.tally.messages < limit {
            loop.turn(timeoutNanoseconds: min(Run.turnNanoseconds, Int64(end - now)))
            if loop.aliveCount == 0 { throw LoadError(loop.firstFailure ?? "no connection left") }
            now = nowNanoseconds()
            if now >= tick {
                let bytes = max(loop.tally.bytesIn - mark.bytesIn, loop.tally.bytesOut - mark.bytesOut)
                var line = "\(label) \(Int((now - start) / 1_000_000_000)) s: \(loop.tally.messages - mark.messages) messages/s, "
                line += "\(fixed(Double(bytes) / 1_048_576, 1)) MiB/s"
                if options.mode == .echo {
                    let (median, tail) = (loop.recent.value(atShare: 0.5), loop.recent.value(atShare: 0.99))
                    line += ", p50 \(fixed(Double(median) / 1000, 1)) us, p99 \(fixed(Double(tail) / 1000, 1)) us"
                }
                progress(line)
                loop.recent = Histogram()
                mark = loop.tally
                tick += 1_000_000_000
            }
        }
    }

    // MARK: Handshakes

    private func handshakes(_ cookies: [String]) throws -> Report {
        guard options.endpoint.isWebSocket else { throw LoadError("--connect-rate needs a ws:// URL") }
        let connecting = ConnectRate(options: options, cookies: cookies)
        connecting.begin()
        try drive(connecting, seconds: options.warmUpSeconds, label: "warm-up")
        connecting.reset()
        let begin = Sample(meter)
        try drive(connecting, seconds: options.durationSeconds, label: "measure")
        let end = Sample(meter)
        var report = Report()
        describe(&report)
        let seconds = Double(end.time - begin.time) / 1e9
        report.add("seconds", .number(seconds))
        report.add("handshakes", .integer(connecting.accepted))
        report.add("handshakes_per_second", .number(Double(connecting.accepted) / seconds))
        report.add("failures", .integer(connecting.failures))
        if let reason = connecting.firstFailure { report.add("first_failure", .text(reason)) }
        addProcessor(&report, begin, end, units: [("server_cpu_us_per_handshake", Double(connecting.accepted))])
        report.add("latency_us", Report.latency(connecting.histogram))
        return report
    }

    private func drive(_ connecting: ConnectRate, seconds: Double, label: String) throws {
        let start = nowNanoseconds()
        let end = start + UInt64(seconds * 1e9)
        var (tick, mark, now) = (start + 1_000_000_000, connecting.accepted, start)
        while now < end {
            connecting.turn(timeoutNanoseconds: min(Run.turnNanoseconds, Int64(end - now)))
            guard connecting.aliveCount > 0 else { throw LoadError(connecting.firstFailure ?? "no connection could be opened") }
            now = nowNanoseconds()
            if now >= tick {
                progress(
                    "\(label) \(Int((now - start) / 1_000_000_000)) s: \(connecting.accepted - mark) handshakes/s, "
                        + "\(connecting.failures) failed")
                mark = connecting.accepted
                tick += 1_000_000_000
            }
        }
    }

    // MARK: Plain requests

    private func requests(_ cookies: [String]) throws -> Report {
        let load = RequestLoad(options: options, cookies: cookies)
        try load.begin()
        try drive(load, seconds: options.warmUpSeconds)
        load.reset()
        let begin = Sample(meter)
        try drive(load, seconds: options.durationSeconds)
        let end = Sample(meter)
        if load.failures > 0 { throw LoadError(load.firstFailure ?? "requests failed") }
        var report = Report()
        describe(&report)
        let seconds = Double(end.time - begin.time) / 1e9
        report.add("seconds", .number(seconds))
        report.add("requests", .integer(load.answered))
        report.add("requests_per_second", .number(Double(load.answered) / seconds))
        report.add("answer_bytes", .integer(load.bodyBytes))
        addProcessor(&report, begin, end, units: [("server_cpu_us_per_request", Double(load.answered))])
        report.add("latency_us", Report.latency(load.histogram))
        return report
    }

    private func drive(_ load: RequestLoad, seconds: Double) throws {
        let end = nowNanoseconds() + UInt64(seconds * 1e9)
        var now = nowNanoseconds()
        while now < end {
            load.turn(timeoutNanoseconds: min(Run.turnNanoseconds, Int64(end - now)))
            guard load.aliveCount > 0 else { throw LoadError(load.firstFailure ?? "no connection left") }
            now = nowNanoseconds()
        }
    }

    // MARK: Idle connections

    private func idle(_ cookies: [String]) throws -> Report {
        guard let meter else { throw LoadError("--idle needs --server-pid") }
        let loop = LoadLoop(options: options, cookies: cookies)
        let half = options.connections / 2
        let empty = meter.memory()
        progress("no connection: \(empty.resident / 1024) KiB resident")
        try fill(loop, from: 0, to: half)
        let middle = meter.memory()
        try fill(loop, from: half, to: options.connections)
        let full = meter.memory()
        let before = Sample(meter)
        wait(loop, nanoseconds: UInt64(options.durationSeconds * 1e9))
        let after = Sample(meter)
        if loop.mismatches > 0 { throw LoadError("\(loop.mismatches) runs of bytes came back changed") }
        if loop.closedCount > 0 { throw LoadError(loop.firstFailure ?? "connections were lost") }

        var report = Report()
        describe(&report)
        report.add("resident_bytes_empty", .integer(empty.resident))
        report.add("resident_bytes_half", .integer(middle.resident))
        report.add("resident_bytes_full", .integer(full.resident))
        let count = Double(options.connections)
        report.add("resident_bytes_per_connection", .number(Double(full.resident - empty.resident) / count))
        report.add("anonymous_bytes_per_connection", .number(Double(full.anonymous - empty.anonymous) / count))
        report.add(
            "resident_bytes_per_connection_second_half",
            .number(Double(full.resident - middle.resident) / Double(options.connections - half)))
        addProcessor(&report, before, after, units: [])
        return report
    }

    /// Opens connections and has one message echoed on each, so that whatever a connection needs has been allocated.
    private func fill(_ loop: LoadLoop, from: Int, to count: Int) throws {
        let step = 1000
        for start in stride(from: from, to: count, by: step) {
            let end = min(start + step, count)
            try loop.open(upTo: end)
            for index in start..<end { loop.sendOne(index) }
            let deadline = nowNanoseconds() + 30_000_000_000
            while loop.tally.messages < end {
                loop.turn(timeoutNanoseconds: Run.turnNanoseconds)
                if loop.closedCount > 0 { throw LoadError(loop.firstFailure ?? "connections were lost") }
                guard nowNanoseconds() < deadline else {
                    throw LoadError("only \(loop.tally.messages) of \(end) messages came back")
                }
            }
            progress("\(end) connections open")
        }
        wait(loop, nanoseconds: Run.settleNanoseconds)
    }

    private func wait(_ loop: LoadLoop, nanoseconds: UInt64) {
        let end = nowNanoseconds() + nanoseconds
        while nowNanoseconds() < end { loop.turn(timeoutNanoseconds: Run.turnNanoseconds) }
    }
}
