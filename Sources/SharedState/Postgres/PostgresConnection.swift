import CPostgres
import HTTP

/// Why a statement, or the connection, came to nothing. The reason holds no parameter of a statement.
struct PostgresFailure: Error {
    var reason: String
    /// SQLSTATE of an answer, or empty.
    var code = ""
    var isLate = false

    /// The statement was refused for what its parameters hold (class 22, data exceptions); the connection is as good as before.
    var isOfData: Bool { code.hasPrefix("22") }
}

/// One connection to PostgreSQL, used by one thread: a statement at a time, each within its time.
final class PostgresConnection {
    private let handle: OpaquePointer
    private let wake: Int32
    /// Asked whenever the thread is woken: whether nobody needs the connection any more.
    private let isOver: () -> Bool

    /// Connects; returns when statements can be sent.
    ///
    /// - Parameter wake: what ends waiting, of `cpostgres_wake_open`.
    init(_ settings: PostgresSettings, wake: Int32, isOver: @escaping () -> Bool) throws(PostgresFailure) {
        guard let opened = cpostgres_open(settings.source) else { throw PostgresFailure(reason: "no memory") }
        handle = opened
        self.wake = wake
        self.isOver = isOver
        let deadline = Self.nowMilliseconds + PostgresLimits.greetingMilliseconds
        // As if the last step had asked to write (libpq, PQconnectPoll).
        var step = CPOSTGRES_WRITING
        while step != CPOSTGRES_DONE {
            try awaits(step, deadline)
            step = cpostgres_connect(handle)
            if step == CPOSTGRES_FAILED { throw PostgresFailure(reason: problem) }
        }
    }

    deinit { cpostgres_close(handle) }

    /// The last line of what libpq says: why the last host refused. What it adds by way of advice begins with a tab.
    private var problem: String {
        let lines = String(cString: cpostgres_problem(handle)).split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("\t") }
        return String((lines.last ?? "the connection ended").prefix(PostgresLimits.reasonCharacters))
    }

    /// Waits until the connection has what it wants.
    private func awaits(_ step: cpostgres_step, _ deadline: UInt64) throws(PostgresFailure) {
        while true {
            let now = Self.nowMilliseconds
            guard now < deadline else { throw PostgresFailure(reason: "no answer in time", isLate: true) }
            let events = cpostgres_wait(handle, step, wake, Int32(deadline - now))
            if events & Int32(CPOSTGRES_WOKEN.rawValue) != 0, isOver() { throw PostgresFailure(reason: "not needed any more") }
            if events & Int32(CPOSTGRES_SOCKET.rawValue) != 0 { return }
        }
    }

    /// The rows a statement answered, and how many columns it has, which it has without rows, too.
    struct Answer {
        var columns = 0
        var rows: [[String?]] = []

        init() {}

        init(_ answer: OpaquePointer) {
            let columns = cpostgres_answer_columns(answer)
            self.columns = Int(columns)
            rows = (0..<cpostgres_answer_rows(answer)).map { row in
                (0..<columns).map { cpostgres_answer_text(answer, row, $0).map { String(cString: $0) } }
            }
        }
    }

    /// Runs a statement with parameters or, when they are nil, one or more without; the answer of the last.
    func run(_ statement: String, _ parameters: [String]? = nil) throws(PostgresFailure) -> Answer {
        let deadline = Self.nowMilliseconds + PostgresLimits.statementMilliseconds
        guard send(statement, parameters) else { throw PostgresFailure(reason: problem) }
        var last = Answer()
        var failure: PostgresFailure?
        while true {
            var step = cpostgres_exchange(handle)
            while step != CPOSTGRES_DONE {
                if step == CPOSTGRES_FAILED { throw PostgresFailure(reason: problem) }
                try awaits(step, deadline)
                step = cpostgres_exchange(handle)
            }
            guard let answer = cpostgres_take(handle) else { break }
            defer { cpostgres_answer_free(answer) }
            if let code = cpostgres_answer_error(answer).map({ String(cString: $0) }) {
                // No error of a server, but the end of the connection, or an answer that nothing asked for and that would come for ever.
                guard !code.isEmpty else { throw PostgresFailure(reason: problem) }
                // What the server says may quote a parameter; its code is enough.
                failure = PostgresFailure(reason: "refused: \(code)", code: code)
            } else {
                last = Answer(answer)
            }
            guard Self.nowMilliseconds < deadline else { throw PostgresFailure(reason: "no end of answers", isLate: true) }
        }
        if let failure { throw failure }
        return last
    }

    private func send(_ statement: String, _ parameters: [String]?) -> Bool {
        guard let parameters else { return cpostgres_send(handle, statement, -1, nil) == 0 }
        // A parameter ends at its first zero; JSON has none, and digits and numbers neither.
        let texts = parameters.map { Array($0.utf8CString) }
        return Self.pointers(texts[...], []) { cpostgres_send(handle, statement, Int32(texts.count), $0) == 0 }
    }

    /// Calls with pointers to all texts.
    private static func pointers(
        _ texts: ArraySlice<[CChar]>, _ found: [UnsafePointer<CChar>?], _ body: ([UnsafePointer<CChar>?]) -> Bool
    ) -> Bool {
        guard let first = texts.first else { return body(found) }
        return first.withUnsafeBufferPointer { pointers(texts.dropFirst(), found + [$0.baseAddress], body) }
    }

    /// Waits for something unasked, for `wake`, or for a moment.
    func rest(until milliseconds: UInt64) throws(PostgresFailure) {
        let now = Self.nowMilliseconds
        guard milliseconds > now else { return }
        let events = cpostgres_wait(handle, CPOSTGRES_READING, wake, Int32(min(milliseconds - now, UInt64(Int32.max))))
        if events & Int32(CPOSTGRES_SOCKET.rawValue) != 0, cpostgres_read(handle) != 0 { throw PostgresFailure(reason: problem) }
    }

    /// Payloads of notifications, oldest first, at most so many; what is longer than an id is cut.
    func takeNotifications(maximum: Int) -> [String] {
        var payload = [CChar](repeating: 0, count: 66)
        var taken: [String] = []
        while taken.count < maximum, cpostgres_notification(handle, &payload, payload.count) == 1 {
            taken.append(payload.withUnsafeBufferPointer { String(cString: $0.baseAddress!) })
        }
        return taken
    }

    static var nowMilliseconds: UInt64 { RedisConnection<Void>.nanoseconds / 1_000_000 }
}
