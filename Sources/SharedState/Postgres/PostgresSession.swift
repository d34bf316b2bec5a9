import HTTP
import Policy

/// What is said on one connection to PostgreSQL: the table made ready, read, written and tidied.
final class PostgresSession {
    private let connection: PostgresConnection
    private let limits: SharedLimits
    private let counters: StoreCounters
    private var pulseMilliseconds: UInt64
    private var cleanupMilliseconds: UInt64
    /// A message asked to look at all rows; they are with the next pulse.
    private var looksAtAll = false

    init(connection: PostgresConnection, limits: SharedLimits, counters: StoreCounters) {
        self.connection = connection
        self.limits = limits
        self.counters = counters
        let now = PostgresConnection.nowMilliseconds
        pulseMilliseconds = now + PostgresLimits.pulseMilliseconds
        // The first with the first pulse: an instance may never live for an hour.
        cleanupMilliseconds = now
    }

    /// When `passTime` has something to do.
    var nextMilliseconds: UInt64 { pulseMilliseconds }

    @discardableResult
    private func run(_ statement: String, _ parameters: [String]? = nil) throws(PostgresFailure) -> PostgresConnection.Answer {
        counters.add(.requests)
        let began = PostgresConnection.nowMilliseconds
        defer { counters.latency(microseconds: (PostgresConnection.nowMilliseconds - began) * 1000) }
        return try connection.run(statement, parameters)
    }

    private static let misshapen = PostgresFailure(reason: "an answer has not the shape that was asked for")

    /// Runs a statement that answers one row, of which the first value is asked for.
    private func value(_ statement: String, _ parameters: [String] = []) throws(PostgresFailure) -> String {
        guard let value = try run(statement, parameters).rows.first?.first ?? nil else { throw Self.misshapen }
        return value
    }

    private func isTrue(_ statement: String) throws(PostgresFailure) -> Bool {
        switch try value(statement) {
        case "t": return true
        case "f": return false
        default: throw Self.misshapen
        }
    }

    private func number(_ statement: String, _ parameters: [String]) throws(PostgresFailure) -> Int {
        guard let number = Int(try value(statement, parameters)), number >= 0 else { throw Self.misshapen }
        return number
    }

    /// Runs a statement that answers ids and documents.
    private func documents(_ statement: String, _ parameters: [String]) throws(PostgresFailure) -> [[String?]] {
        let answer = try run(statement, parameters)
        guard answer.columns == 2, answer.rows.count <= PostgresLimits.rowsPerPage else { throw Self.misshapen }
        return answer.rows
    }

    // MARK: - Reading

    /// Makes ready what is read and written.
    func greet() throws(PostgresFailure) {
        try run(PostgresStatement.greeting)
        if try !isTrue(PostgresStatement.exists) { try run(PostgresStatement.create) }
    }

    /// Reads every row that holds, as many as can be held; what the table knows, by what tells denials apart.
    func readAll() throws(PostgresFailure) -> [TokenDigest: Revocation] {
        var known: [TokenDigest: Revocation] = [:]
        var last = ""
        var count = 0
        while count < TokenLimits.denials {
            let now = SharedStore.nowSeconds
            let rows = try documents(PostgresStatement.page, [last, "\(now)"])
            let denials = PostgresStatement.denials(rows, nowSeconds: now)
            for denial in denials { known[denial.digest] = known[denial.digest]?.merged(with: denial) ?? denial }
            merge(denials, of: rows.count)
            count += rows.count
            guard rows.count == PostgresLimits.rowsPerPage, let id = rows.last?.first ?? nil else { break }
            last = id
        }
        return known
    }

    private func merge(_ denials: [Revocation], of rows: Int) {
        if denials.count < rows { counters.add(.errors, UInt64(rows - denials.count)) }
        if limits.denials.merge(denials, nowSeconds: SharedStore.nowSeconds) > 0 { limits.directory.wakeAll() }
    }

    /// Looks up what was told, a helping of it; false when nothing was.
    func takeNews() throws(PostgresFailure) -> Bool {
        let payloads = connection.takeNotifications(maximum: PostgresLimits.notificationsPerStatement)
        if payloads.isEmpty { return false }
        let ids = payloads.filter(StoreAnswer.isDigest)
        if ids.count < payloads.count { looksAtAll = true }
        if ids.isEmpty { return true }
        let rows = try documents(PostgresStatement.rows, [PostgresStatement.parameter(ids: ids)])
        merge(PostgresStatement.denials(rows, nowSeconds: SharedStore.nowSeconds), of: rows.count)
        return true
    }

    // MARK: - Writing

    /// Writes denials; `settled` is told of the oldest that are settled, and whether they are kept.
    func write(_ denials: [Revocation], settled: (Int, Bool) -> Void) throws(PostgresFailure) {
        do throws(PostgresFailure) {
            let refused = try number(PostgresStatement.keep, [PostgresStatement.parameter(denials), "\(TokenLimits.denials)"])
            settled(denials.count, refused == 0)
        } catch {
            guard error.isOfData else { throw error }
            counters.add(.errors)
            // One that the database cannot hold must not keep the others out.
            guard denials.count > 1 else { return settled(1, false) }
            for denial in denials { try write([denial], settled: settled) }
        }
    }

    // MARK: - Time

    /// Asks whether all is as it should be, once it is time to.
    func passTime() throws(PostgresFailure) {
        let now = PostgresConnection.nowMilliseconds
        guard now >= pulseMilliseconds else { return }
        pulseMilliseconds = now + PostgresLimits.pulseMilliseconds
        // An empty table is one that lost its rows, if there were any.
        if try !isTrue(PostgresStatement.pulse) { limits.denials.sendAll(nowSeconds: SharedStore.nowSeconds) }
        if looksAtAll {
            looksAtAll = false
            _ = try readAll()
        }
        guard now >= cleanupMilliseconds else { return }
        let ended = SharedStore.nowSeconds - Double(PostgresLimits.keptSeconds)
        // A full helping leaves more for the next pulse.
        if try number(PostgresStatement.cleanup, ["\(ended)"]) >= PostgresLimits.rowsPerCleanup { return }
        let chance = UInt64.random(in: 0...PostgresLimits.cleanupMilliseconds / 4)
        cleanupMilliseconds = now + PostgresLimits.cleanupMilliseconds - chance
    }
}
