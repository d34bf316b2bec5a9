import HTTP
import Policy
import Synchronization
import WebSocketProxy

/// What the JWT proxies of all shards share whatever the configuration is: counts, rates, breakers, keys. Asked when a session is set
/// up or ends, never for a message.
final class ProxyCommon: Sendable {
    /// A subject of an issuer.
    struct Subject: Hashable, Sendable {
        var issuer: String
        var subject: String
    }

    /// What a session holds until it ends.
    struct Lease: Sendable {
        let subject: Subject?
        let address: IPAddress
        /// The route, where its sessions are counted.
        let route: String?
        /// The rate of its messages, and whose it is counted as.
        let rate: (MessageRate, MessageRateCell)?
    }

    /// Why there is no place.
    enum Full: Error { case subject, address, route }

    private struct Held {
        var sessions = 0
        /// By rate: routes may have rates of their own.
        var cells: [MessageRate: MessageRateCell] = [:]
    }

    /// Whose cells outlive their sessions for a while: who comes back has no new budget.
    private enum Lingering {
        case subject(Subject)
        case address(IPAddress)
    }
    private static let lingerMilliseconds: Int64 = 60_000
    /// Beyond it the first of them go; who makes so many subjects has budgets enough.
    private static let lingeringMaximum = 65_536

    private struct Tables {
        var handshakes: BucketTable<IPAddress>?
        var failures: FailureTable<IPAddress>?
        var failuresPerMinute = -1
        var subjects: [Subject: Held] = [:]
        var addresses: [IPAddress: Held] = [:]
        /// Sessions of routes that have a limit.
        var routes: [String: Int] = [:]
        var lingering: [(whose: Lingering, untilMilliseconds: Int64)] = []
        var firstLingering = 0
    }

    /// Denials, budgets and counts that other instances may share.
    let limits: SharedLimits
    let sessions = ProxyShared()
    let keys = KeyBoard()
    let places = ProxyPlaces()
    let subjects = SubjectLabels()
    let metrics = ProxyMetrics()
    let lines = FailureLines()
    let beats = ShardBeats()
    private let tables = Mutex(Tables())
    /// By name.
    private let endpoints = Mutex<[String: EndpointState]>([:])
    /// Counts sessions, for endpoints that take turns.
    private let turn = Atomic<UInt64>(0)
    /// Keys digests of subjects in logs; another at every start.
    private let secret = Digest.random(32)

    init(limits: SharedLimits) { self.limits = limits }

    /// A subject as a log tells it that must not name people.
    func subjectDigest(_ subject: String) -> String {
        String(Digest.hexadecimal(Digest.sha256(secret + Array(subject.utf8))).prefix(16))
    }

    private let cutSessions = Atomic<Int>(0)

    /// Sessions that a drain had to cut.
    var cutCount: Int { cutSessions.load(ordering: .relaxed) }

    func cut(_ count: Int) { cutSessions.add(count, ordering: .relaxed) }

    /// Puts limits in force; buckets keep what they hold.
    func apply(_ limits: ProxyLimits) {
        sessions.maximumSessions = limits.sessions
        tables.withLock { tables in
            let buckets = limits.handshakeBuckets
            if let buckets, tables.handshakes?.change(capacity: buckets.capacity, perSecond: buckets.perSecond) == true {
                // Only the rate is another.
            } else {
                tables.handshakes = limits.handshakesPerSecond > 0 ? buckets : nil
            }
            if tables.failuresPerMinute != limits.failuresPerMinute {
                tables.failuresPerMinute = limits.failuresPerMinute
                tables.failures = FailureTable(failuresPerMinute: limits.failuresPerMinute)
            }
        }
    }

    /// Counts a handshake. Seconds to wait when there were too many, or credentials failed too often, and which limit it was.
    func admitHandshake(_ address: IPAddress, nowMilliseconds: Int64) -> (seconds: Int, limit: StaticString)? {
        tables.withLock { tables in
            let blocked = tables.failures?.blockedMilliseconds(address.limitKey, nowMilliseconds: nowMilliseconds) ?? 0
            if blocked > 0 { return (Int((blocked + 999) / 1000), "auth_failures") }
            return tables.handshakes?.admit(address.limitKey, nowMilliseconds: nowMilliseconds) ?? true ? nil : (1, "handshake_rate")
        }
    }

    /// Counts a credential that failed.
    func failed(_ address: IPAddress, nowMilliseconds: Int64) {
        tables.withLock { _ = $0.failures?.failed(address.limitKey, nowMilliseconds: nowMilliseconds) }
    }

    // MARK: Places

    /// Takes a session's place under its subject and its address.
    func lease(
        subject: Subject?, address: IPAddress, routing: ProxyRouting, limits: ProxyLimits, scope: String, nowMilliseconds: Int64
    ) throws(Full) -> Lease {
        let key = address.limitKey
        let own = routing.detail.draft.sessionsPerAddress
        let perAddress = own == ProxyAmount.unset ? limits.sessionsPerAddress : own
        let result: Result<Lease, Full> = tables.withLock { tables in
            sweep(&tables, nowMilliseconds: nowMilliseconds)
            if perAddress > 0, tables.addresses[key]?.sessions ?? 0 >= perAddress { return .failure(.address) }
            let counted = routing.detail.draft.sessions > 0 ? routing.route.name : nil
            if let counted, tables.routes[counted] ?? 0 >= routing.detail.draft.sessions { return .failure(.route) }
            // Last: nobody makes room for a session that is refused all the same.
            if let subject, limits.sessionsPerSubject > 0, tables.subjects[subject]?.sessions ?? 0 >= limits.sessionsPerSubject {
                return .failure(.subject)
            }
            if let counted { tables.routes[counted, default: 0] += 1 }
            var rate: (MessageRate, MessageRateCell)?
            if let allowed = routing.detail.rate {
                if scope == "session" {
                    rate = (allowed, MessageRateCell())
                } else if let subject, scope == "subject" {
                    rate = (allowed, cell(&tables.subjects[subject, default: Held()], allowed, "s:" + subject.key))
                } else {
                    rate = (allowed, cell(&tables.addresses[key, default: Held()], allowed, "a:\(key)"))
                }
            }
            if let subject { tables.subjects[subject, default: Held()].sessions += 1 }
            tables.addresses[key, default: Held()].sessions += 1
            return .success(Lease(subject: subject, address: key, route: counted, rate: rate))
        }
        return try result.get()
    }

    /// The cell that all sessions of a key share, on this instance and the others; in the store a digest names it.
    private func cell(_ held: inout Held, _ rate: MessageRate, _ name: String) -> MessageRateCell {
        if let cell = held.cells[rate] { return cell }
        let digest = Digest.hexSHA256("\(name)\n\(rate.perSecond)/\(rate.burst)")
        let cell = limits.budgets.makeCell("wsrl:" + digest, rate)
        held.cells[rate] = cell
        return cell
    }

    /// Gives a session's place back.
    func release(_ lease: Lease, nowMilliseconds now: Int64) {
        tables.withLock { tables in
            sweep(&tables, nowMilliseconds: now)
            if let subject = lease.subject, leave(&tables.subjects, subject, nowMilliseconds: now) {
                tables.lingering.append((.subject(subject), now + Self.lingerMilliseconds))
            }
            if let route = lease.route {
                let left = (tables.routes[route] ?? 1) - 1
                tables.routes[route] = left > 0 ? left : nil
            }
            if leave(&tables.addresses, lease.address, nowMilliseconds: now) {
                tables.lingering.append((.address(lease.address), now + Self.lingerMilliseconds))
            }
        }
    }

    /// True when the key has used something of its budget and stays for a while.
    private func leave<Key: Hashable>(_ table: inout [Key: Held], _ key: Key, nowMilliseconds: Int64) -> Bool {
        guard var held = table[key] else { return false }
        held.sessions -= 1
        let now = UInt64(nowMilliseconds) * 1_000_000
        guard held.sessions > 0 || held.cells.values.contains(where: { !$0.isFull(nowNanoseconds: now) }) else {
            forget(&table, key)
            return false
        }
        table[key] = held
        return held.sessions == 0
    }

    private func forget<Key: Hashable>(_ table: inout [Key: Held], _ key: Key) {
        guard let held = table.removeValue(forKey: key) else { return }
        for cell in held.cells.values { limits.budgets.remove(cell) }
    }

    /// Forgets those who did not come back.
    private func sweep(_ tables: inout Tables, nowMilliseconds: Int64) {
        while tables.firstLingering < tables.lingering.count {
            let next = tables.lingering[tables.firstLingering]
            let count = tables.lingering.count - tables.firstLingering
            guard next.untilMilliseconds <= nowMilliseconds || count > Self.lingeringMaximum else { break }
            tables.firstLingering += 1
            switch next.whose {
            case .subject(let subject): if tables.subjects[subject]?.sessions == 0 { forget(&tables.subjects, subject) }
            case .address(let address): if tables.addresses[address]?.sessions == 0 { forget(&tables.addresses, address) }
            }
        }
        if tables.firstLingering > Self.lingeringMaximum || tables.firstLingering == tables.lingering.count {
            tables.lingering.removeFirst(tables.firstLingering)
            tables.firstLingering = 0
        }
    }

    // MARK: Endpoints

    /// What is known of an endpoint.
    func endpoint(_ name: String) -> EndpointState {
        endpoints.withLock { endpoints in
            if let known = endpoints[name] { return known }
            let state = EndpointState(name)
            endpoints[name] = state
            return state
        }
    }

    /// The endpoints of a route in the order in which they are tried, those left out whose circuit is open.
    func order(_ plan: ProxyPlan, _ numbers: [Int], _ balancing: EndpointBalancing, subject: String?, nowMilliseconds: Int64) -> [Int] {
        let settings = plan.breakerSettings
        func admits(_ number: Int) -> Bool { plan.endpoints[number].state.wouldAdmit(settings, nowMilliseconds: nowMilliseconds) }
        if numbers.count == 1 { return admits(numbers[0]) ? numbers : [] }
        let order = balancing.order(
            weights: numbers.map { plan.endpoints[$0].upstream.weight }, sessions: numbers.map { plan.endpoints[$0].state.sessions },
            turn: turn.add(1, ordering: .relaxed).newValue, subject: subject, names: numbers.map { plan.endpoints[$0].name })
        return order.map { numbers[$0] }.filter(admits)
    }
}
