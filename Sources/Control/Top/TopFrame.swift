import Wire

/// What one look at a running instance saw.
struct TopReading {
    /// When, in seconds of a monotonic clock.
    var seconds: Double
    var metrics: ScrapeReading
    var connections: [TopConnection]
    /// All there are; `connections` are the biggest.
    var connectionCount: Int
}

/// A connection as the admin interface describes it.
struct TopConnection: Equatable {
    var identifier: String
    var feature: String
    var client: String
    var target: String
    var ageMilliseconds: Double
    var quietMilliseconds: Double
    var bytesFromClient: Double
    var bytesToClient: Double

    /// Reads the answer to `GET /connections`; nil when it is something else.
    static func read(_ document: JSONValue) -> (connections: [TopConnection], total: Int)? {
        guard let total = document["total"]?.number, case .array(let entries)? = document["connections"] else { return nil }
        let connections = entries.map { entry in
            TopConnection(
                identifier: entry["id"]?.string ?? "", feature: entry["feature"]?.string ?? "", client: entry["client"]?.string ?? "",
                target: entry["target"]?.string ?? "", ageMilliseconds: entry["ageMs"]?.number ?? 0,
                quietMilliseconds: entry["quietMs"]?.number ?? 0, bytesFromClient: entry["bytesFromClient"]?.number ?? 0,
                bytesToClient: entry["bytesToClient"]?.number ?? 0)
        }
        return (connections, Int(total))
    }
}

/// Two readings, and what happened between them. Without an earlier one, rates are those since the start.
struct TopFrame {
    var address: String
    var latest: TopReading
    var earlier: TopReading?

    /// Seconds between the readings.
    var elapsedSeconds: Double {
        if let earlier { return max(latest.seconds - earlier.seconds, 0.001) }
        return max(uptimeSeconds, 0.001)
    }

    /// Since the process started.
    var uptimeSeconds: Double {
        max(0, wallSeconds - latest.metrics.sum("process_start_time_seconds"))
    }

    /// Seconds since 1970 of the latest reading.
    var wallSeconds: Double

    /// How much a counter grew a second.
    func rate(_ family: String, _ labels: [String: String] = [:]) -> Double {
        let before = earlier?.metrics.sum(family, labels) ?? 0
        // A restart sets counters back.
        return max(0, latest.metrics.sum(family, labels) - before) / elapsedSeconds
    }

    func value(_ family: String, _ labels: [String: String] = [:]) -> Double { latest.metrics.sum(family, labels) }
}
