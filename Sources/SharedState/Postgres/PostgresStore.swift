import CPostgres
import Glibc
import HTTP
import Policy
import Synchronization

/// What instances share through PostgreSQL: denied tokens. Rates and counts are for Redis, which is made to be asked ten times a second.
///
/// Theory of operation
///
/// ```
///   denied here ─► DenialTable ─► wake ─► one statement: row written, id told ─► confirmed to whoever denied
///   denied elsewhere ─► notification with an id ─► its row ─► DenialTable ─► shards end sessions
///
///   connect ─► LISTEN ─► table there, or created ─► all rows read ─► current ═► news, writes, pulse, clean-up
///      ▲                                                                              │ broken, late, refused
///      └───────────────────────── pause, doubled, half of it chance ◄── cut off ◄──────┘
/// ```
/// - A thread of its own: libpq looks names up and reads certificates where it is called, and no shard may wait for that. Statements go
///   one after the other with a deadline each; between them the thread sleeps on the connection and on `wake`. Shards and this thread meet
///   in `DenialTable`, which any thread may use, and in `wish`.
/// - The table is heard of before it is read, so nothing falls between. After every new connection it is read whole, and what it lacks
///   is written: sessions are judged again by whatever that brings.
/// - A pulse finds a server that hangs, a table that was dropped (it is created again) and one that was emptied (it is filled again).
/// - While the server is away this instance goes on with what it knows. Nothing that a client does waits for it.
/// - A configuration has a number, and what the thread says counts only as long as that number is the latest: another store may have
///   taken over meanwhile.
public final class PostgresStore: Sendable {
    /// What the operator is told, once for each change.
    public enum Notice: Sendable {
        case connected(String)
        case lost(String, reason: String)
        case left(String)
    }

    private struct Wish: Sendable {
        var settings: PostgresSettings?
        var number: UInt64 = 0
        var isLeaving = false
        var notices: [Notice] = []
        /// What was said last of these settings.
        var saidConnected: Bool?
    }

    private let limits: SharedLimits
    /// Counters, readable from any thread.
    public let counters = StoreCounters()
    private let wish = Mutex(Wish())
    private let latest = Atomic<UInt64>(0)
    private let hasEnded = Atomic<Bool>(true)
    private let wake = cpostgres_wake_open()

    /// Nothing happens before `apply`.
    public init(limits: SharedLimits) { self.limits = limits }

    deinit { close(wake) }

    // MARK: - Shards

    /// Takes settings over: nil ends sharing, unchanged ones change nothing. True when a thread is to call `run`.
    public func apply(_ next: PostgresSettings?) -> Bool {
        let needsThread: Bool? = wish.withLock { wish in
            guard wish.settings != next else { return nil }
            if next == nil, let former = wish.settings { wish.notices.append(.left(former.description)) }
            wish.settings = next
            wish.number += 1
            wish.saidConnected = nil
            latest.store(wish.number, ordering: .releasing)
            counters.set(.configured, next == nil ? 0 : 1)
            counters.set(.connected, 0)
            limits.denials.sharing = next == nil ? .off : .cutOff
            limits.denials.abandon()
            return next != nil && hasEnded.exchange(false, ordering: .acquiringAndReleasing)
        }
        if needsThread != nil { cpostgres_wake(wake) }
        return needsThread ?? false
    }

    /// There is no thread to call `run`: nothing is shared, and that is said.
    public func failed(_ reason: String) {
        wish.withLock { wish in
            if let settings = wish.settings { wish.notices.append(.lost(settings.description, reason: reason)) }
            wish.saidConnected = false
        }
        hasEnded.store(true, ordering: .releasing)
    }

    /// Something may wait to be written; called when a shard's inbox had messages.
    public func pump() {
        if counters.read(.connected) == 1, limits.denials.hasUnsent { cpostgres_wake(wake) }
    }

    /// What the operator has not been told yet.
    public func takeNotices() -> [Notice] {
        guard latest.load(ordering: .acquiring) > 0 else { return [] }
        return wish.withLock { wish in
            defer { wish.notices = [] }
            return wish.notices
        }
    }

    /// The process ends: the thread says goodbye to the server. Waits for it a moment, since libraries are taken down after this.
    public func finish() {
        wish.withLock { $0.isLeaving = true }
        cpostgres_wake(wake)
        var waited = 0
        while !hasEnded.load(ordering: .acquiring), waited < PostgresLimits.goodbyeMilliseconds {
            usleep(1000)
            waited += 1
        }
    }

    // MARK: - The thread

    /// The body of the thread: returns when the process ends.
    public func run() {
        var backoff = PostgresLimits.backoffMilliseconds
        while true {
            let (settings, number, isLeaving) = wish.withLock { ($0.settings, $0.number, $0.isLeaving) }
            if isLeaving { break }
            guard let settings else {
                _ = cpostgres_wait(nil, CPOSTGRES_READING, wake, -1)
                continue
            }
            do throws(PostgresFailure) {
                try converse(settings, number) { backoff = PostgresLimits.backoffMilliseconds }
            } catch {
                guard isCurrent(number) else {
                    backoff = PostgresLimits.backoffMilliseconds
                    continue
                }
                lost(settings, number, error)
                // Half of the pause is chance, so that instances do not come back all at once.
                pause(backoff / 2 + UInt64.random(in: 0...backoff / 2), number)
                backoff = min(2 * backoff, PostgresLimits.backoffLongestMilliseconds)
            }
        }
        hasEnded.store(true, ordering: .releasing)
    }

    private func isCurrent(_ number: UInt64) -> Bool { wish.withLock { $0.number == number && !$0.isLeaving } }

    /// Does something that only the store in force may do.
    private func asCurrent(_ number: UInt64, _ body: (inout Wish) -> Void) {
        wish.withLock { wish in
            if wish.number == number { body(&wish) }
        }
    }

    private func pause(_ milliseconds: UInt64, _ number: UInt64) {
        let end = PostgresConnection.nowMilliseconds + milliseconds
        while isCurrent(number) {
            let now = PostgresConnection.nowMilliseconds
            guard now < end else { return }
            _ = cpostgres_wait(nil, CPOSTGRES_READING, wake, Int32(end - now))
        }
    }

    private func lost(_ settings: PostgresSettings, _ number: UInt64, _ failure: PostgresFailure) {
        if failure.isLate { counters.add(.timeouts) }
        if !failure.code.isEmpty { counters.add(.errors) }
        asCurrent(number) { wish in
            counters.set(.connected, 0)
            limits.denials.sharing = .cutOff
            limits.denials.abandon()
            if wish.saidConnected != false { wish.notices.append(.lost(settings.description, reason: failure.reason)) }
            wish.saidConnected = false
        }
        limits.directory.wake(0)
    }

    // MARK: - The conversation

    private func converse(_ settings: PostgresSettings, _ number: UInt64, introduced: () -> Void) throws(PostgresFailure) {
        counters.add(.connections)
        let connection = try PostgresConnection(settings, wake: wake) { [unowned self] in !isCurrent(number) }
        let session = PostgresSession(connection: connection, limits: limits, counters: counters)
        try session.greet()
        let known = try session.readAll()
        introduced()
        asCurrent(number) { wish in
            limits.denials.sendAll(nowSeconds: SharedStore.nowSeconds, except: known)
            limits.denials.sharing = .current
            counters.set(.connected, 1)
            if wish.saidConnected != true { wish.notices.append(.connected(settings.description)) }
            wish.saidConnected = true
        }
        limits.directory.wake(0)
        while isCurrent(number) {
            while let batch = take(number) {
                try session.write(batch.map(\.denial)) { count, isKept in
                    asCurrent(number) { _ in limits.denials.confirm(count, isKept: isKept) }
                }
            }
            try session.passTime()
            // Last: an answer may have brought messages along, and waiting for it may have used up a waking.
            let hadNews = try session.takeNews()
            if !hadNews, !limits.denials.hasUnsent { try connection.rest(until: session.nextMilliseconds) }
        }
    }

    private func take(_ number: UInt64) -> [DenialTable.Unsent]? {
        var batch: [DenialTable.Unsent] = []
        asCurrent(number) { _ in batch = limits.denials.takeUnsent(maximum: PostgresLimits.denialsPerStatement) }
        return batch.isEmpty ? nil : batch
    }
}
