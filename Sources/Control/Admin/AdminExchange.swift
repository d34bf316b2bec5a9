import Engine
import HTTP
import Policy
import Synchronization

/// A request to the admin interface that its shard cannot answer alone.
///
/// ```
/// asking shard ── question ──► inbox of every shard concerned ── the last to answer ──► inbox of the asking shard ─► respond
///             └─ command ───► control thread ────────────────────────────────────────► inbox of the asking shard ─► respond
/// ```
/// The connections that shards have told are sorted and written by the control thread, which the last to answer gives them to.
/// The request is postponed meanwhile; a shard that never answers costs the client its connection after
/// `ServerLimits.answerMilliseconds`, and nobody else anything.
final class AdminExchange: Sendable {
    /// What is asked.
    enum Request: Sendable {
        case connections(ConnectionQuery)
        case close(ConnectionIdentifier)
        case reload
        case drain
        case setLogLevel(LogLevel)
        /// Tokens of the JWT proxy are denied from now on, and their sessions end.
        case deny(Revocation)
        /// Its sessions end whose token one of these keys signed.
        case closeSigned([TokenDigest])
    }

    let request: Request
    let postponed: PostponedRequest
    let access: RequestAccess?
    private let asker: Inbox
    private let state: Mutex<State>

    private struct State {
        var missing: Int
        var found: [LiveConnection] = []
        var closed = false
        var closedCount = 0
        var reach = DenialTable.Reach.local
        var response: Response?
    }

    /// - Parameter answers: how many parties have to answer.
    init(_ request: Request, postponed: PostponedRequest, access: RequestAccess?, asker: Inbox, answers: Int) {
        self.request = request
        self.postponed = postponed
        self.access = access
        self.asker = asker
        state = Mutex(State(missing: answers))
    }

    /// What to answer, once all have; taken by the asking shard.
    func takeResponse() -> Response? { state.withLock { $0.response } }

    /// Some of a shard's connections.
    func collect(_ connections: [LiveConnection]) { state.withLock { $0.found += connections } }

    /// A shard has told all of its connections. True for the last, when nobody's answer stands yet: `sort` has to follow.
    func endCollecting() -> Bool {
        let (isLast, isAnswered) = state.withLock { state in
            // The last answer is that of `sort`.
            if state.missing == 1, state.response == nil { return (true, false) }
            state.missing -= 1
            return (state.missing == 0, state.response != nil)
        }
        if isLast, isAnswered { tell() }
        return isLast && !isAnswered
    }

    /// Answers with the connections that were told. The control thread.
    func sort() {
        guard case .connections(let query) = request else { return }
        let found = state.withLock { $0.found }
        add(AdminInterface.json(query.document(found)))
    }

    /// Whether a shard closed the connection.
    func add(closed: Bool) { answer { $0.closed = $0.closed || closed } }

    /// How many sessions of a shard ended.
    func add(closedCount: Int) { answer { $0.closedCount += closedCount } }

    /// How far a denial reached.
    func add(reach: DenialTable.Reach) { answer { $0.reach = reach } }

    /// The control thread's answer, or that of a party that could not be asked.
    func add(_ response: Response) { answer { $0.response = response } }

    private func answer(_ change: (inout State) -> Void) {
        let isLast = state.withLock { state in
            change(&state)
            state.missing -= 1
            guard state.missing == 0 else { return false }
            if state.response == nil { state.response = compose(state) }
            return true
        }
        if isLast { tell() }
    }

    private func tell() { _ = asker.post(Inbox.Message(kind: ShardMessage.answered.rawValue, object: self)) }

    private func compose(_ state: State) -> Response {
        switch request {
        case .deny: AdminProxy.denied(state.closedCount, state.reach)
        case .closeSigned(let keys):
            AdminInterface.json(.object([("closed", .number(state.closedCount)), ("keys", .number(keys.count))]))
        case .close:
            state.closed ? AdminInterface.json(.object([("closed", true)]))
                : AdminInterface.problem(404, "not_found", "No such connection; it may have ended")
        case .connections, .reload, .drain, .setLogLevel: AdminInterface.problem(500, "internal_error", "Nobody answered")
        }
    }
}

/// `GET /connections`: which, in which order, and how many.
struct ConnectionQuery: Sendable, Equatable {
    enum Order: String, Sendable, CaseIterable {
        case bytes, age, quiet
    }

    /// Most connections of one answer.
    static let limitMaximum = 1000
    /// Farthest page: beyond it the order has changed before it is read, and a shard would gather more than it should.
    static let offsetMaximum = 100_000

    var order = Order.bytes
    var offset = 0
    var limit = 100
    var feature: String?
    var session: String?

    /// Reads a query's pairs, or says what is wrong with them.
    static func parse(_ pairs: [(name: String, value: String)]) -> Result<ConnectionQuery, AdminFault> {
        var query = ConnectionQuery()
        for (name, value) in pairs {
            switch name {
            case "sort":
                guard let order = Order(rawValue: value) else {
                    return .failure(AdminFault("sort: allowed: \(Order.allCases.map(\.rawValue).joined(separator: ", "))"))
                }
                query.order = order
            case "limit":
                guard let limit = Int(value), (1...limitMaximum).contains(limit) else {
                    return .failure(AdminFault("limit: allowed: 1 to \(limitMaximum)"))
                }
                query.limit = limit
            case "offset":
                guard let offset = Int(value), (0...offsetMaximum).contains(offset) else {
                    return .failure(AdminFault("offset: allowed: 0 to \(offsetMaximum)"))
                }
                query.offset = offset
            case "feature": query.feature = value
            case "session": query.session = value
            default: return .failure(AdminFault("unknown parameter; known: sort, limit, offset, feature, session"))
            }
        }
        return .success(query)
    }

    /// Whether a connection is asked for.
    func matches(_ connection: LiveConnection) -> Bool {
        (feature == nil || connection.feature == feature) && (session == nil || connection.record.session == session)
    }

    /// The page asked for, in its order.
    func page(_ connections: [LiveConnection]) -> ArraySlice<LiveConnection> {
        connections.sorted(by: precedes).dropFirst(offset).prefix(limit)
    }

    /// Equal ones follow their identifiers: whatever shard answers first, a page goes on where the one before it ended.
    private func precedes(_ left: LiveConnection, _ right: LiveConnection) -> Bool {
        let (first, second) = (rank(left), rank(right))
        return first == second ? left.identifier < right.identifier : first < second
    }

    private func rank(_ connection: LiveConnection) -> Int64 {
        switch order {
        case .bytes: -Int64(truncatingIfNeeded: connection.bytesFromClient &+ connection.bytesToClient)
        case .age: connection.record.openedMilliseconds
        case .quiet: -Int64(truncatingIfNeeded: connection.quietMilliseconds)
        }
    }

    func document(_ found: [LiveConnection]) -> JSONDocument {
        let now = MonotonicClock.milliseconds
        return .object([
            ("total", .number(found.count)), ("offset", .number(offset)), ("limit", .number(limit)),
            ("connections", .array(page(found).map { Self.document($0, now) })),
        ])
    }

    private static func document(_ connection: LiveConnection, _ now: Int64) -> JSONDocument {
        let record = connection.record
        return .object([
            ("id", .string("\(connection.identifier)")), ("feature", .string(connection.feature)), ("phase", .string(connection.phase)),
            ("peer", .string("\(connection.peer.host):\(connection.peer.port)")), ("client", .string(record.client)),
            ("target", .string(record.target)), ("session", .string(record.session)), ("requestId", .string(record.requestID)),
            ("bytesFromClient", .count(connection.bytesFromClient)), ("bytesToClient", .count(connection.bytesToClient)),
            ("ageMs", .number(Int(now - record.openedMilliseconds))), ("quietMs", .count(connection.quietMilliseconds)),
        ])
    }
}

/// What is wrong with a request to the admin interface.
struct AdminFault: Error, Equatable {
    let message: String
    init(_ message: String) { self.message = message }
}
