import Engine
import HTTP
import Policy

/// What instances share through Redis: counts of connections, rates, revoked sessions, and of the JWT proxies denied tokens and
/// budgets (`SharedStore+Proxy`).
///
/// Theory of operation
///
/// ```
///   shards ─► SharedLimits (places, limiters, revocations) ◄─ pump, tick ─► RedisConnection ─► store
/// ```
/// - One shard of the process runs this; the others meet it through `SharedLimits` and their inboxes. No message of a client
///   ever waits for the store; an opening may, and at most for the time limit of a request.
/// - In the store (names begin with the prefix; ids of sessions and addresses appear as digests):
///   `instance:<id>` expires unless the pulse beats, `places:<key>` counts by instance, `recall:<id>` names keys others are
///   short of, `rate:<limiter>:<key>` is a bucket, `revoked` holds digests with the second they end, `revoked:version` counts
///   changes. Every other key than the last two expires.
/// - When the store is late, gone or breaks its protocol, the connection ends: those who wait are judged by this process, and
///   so is everybody until it is back. A new connection is a new instance in the store: what a former one may still execute there
///   counts for nobody. It states what is held, key by key and before anything is asked, as absolute numbers.
/// - At the end of the process, when the last place was given back, its record goes too.
public final class SharedStore {
    enum Purpose {
        case introduced
        case places(PlaceQuestion)
        case pulse
        case rates(any LimitExchange, count: Int)
        case revocations(start: Int)
        case revoked
        case former
        case watch
        case denied(Int)
        case denials(since: Int64)
        case budgets([MessageBudgets.Use])
    }

    /// What the operator is told, once for each change: an event and, when there is one, its cause.
    public enum Notice {
        case connected(String)
        case lost(String, reason: String)
        case left(String)
    }

    let shard: Shard
    let owner: Owner
    let limits: SharedLimits
    private let timer: UInt32
    private let notify: (Notice) -> Void
    /// Counters, readable from any thread.
    public let counters: StoreCounters
    private(set) var settings: RedisSettings?
    private(set) var connection: RedisConnection<Purpose>?
    private(set) var tls: TLSClientContext?
    var proxies = ProxyState()
    private var connections: UInt32 = 0
    private(set) var instance = ""
    private var formerInstance = ""
    private(set) var isIntroduced = false
    private var backoffMilliseconds = StoreLimits.backoffMilliseconds
    private var reconnectMilliseconds: UInt64?
    private var tick = 0
    private var hasPulse = false
    private var ratesUnderWay = 0
    private var readsRevocations = false
    private var revocationMark: (count: Int64, version: Int64) = (-1, -1)
    private var saidConnected: Bool?
    private var isLeaving = false

    /// Nothing happens before `apply`. `timer`: the shard timer that is this one's.
    public init(shard: Shard, owner: Owner, timer: UInt32, limits: SharedLimits, counters: StoreCounters,
                notify: @escaping (Notice) -> Void) {
        self.shard = shard
        self.owner = owner
        self.timer = timer
        self.limits = limits
        self.counters = counters
        self.notify = notify
    }

    /// Takes settings over: connects, connects elsewhere, or stops sharing. Unchanged ones change nothing.
    ///
    /// - Parameters:
    ///   - denials: begins the keys of tokens that JWT proxies deny; nil when they share nothing.
    ///   - keepsDenials: whether those are kept here. Another store may have them; budgets are shared here all the same.
    public func apply(_ next: RedisSettings?, denials: String? = nil, keepsDenials: Bool = true) {
        let denials = next == nil ? nil : denials
        guard next != settings || denials != proxies.prefix || keepsDenials != proxies.keepsDenials else { return }
        let former = settings
        end()
        settings = next
        reconnectMilliseconds = nil
        endProxies(isOver: true)
        proxies = ProxyState()
        proxies.prefix = denials
        proxies.keepsDenials = keepsDenials
        if denials != nil, keepsDenials { limits.denials.sharing = .cutOff }
        counters.set(.configured, next == nil ? 0 : 1)
        saidConnected = nil
        formerInstance = ""
        guard next != nil else {
            limits.places.standAlone()
            if let former { notify(.left("\(former.location)")) }
            return
        }
        limits.places.cutOff()
        backoffMilliseconds = StoreLimits.backoffMilliseconds
        openTLS()
        connect()
        shard.setShardTimer(timer, afterMilliseconds: StoreLimits.tickMilliseconds)
    }

    /// The process ends: once no place is held, the store forgets this instance and the connection closes.
    public func drain() { isLeaving = true }

    /// Whether nothing is open.
    public var isIdle: Bool { connection == nil && proxies.subscriber == nil }

    /// An event of a stream or look-up of this owner.
    public func handle(_ event: Event) {
        defer {
            connection?.flush()
            proxies.subscriber?.flush()
        }
        if let subscriber = proxies.subscriber, event.context == subscriber.context { return subscriber.handle(event) }
        if let connection { return connection.handle(event) }
        switch event.kind {
        case .received: shard.release(event.buffer)
        case .resolved: _ = shard.takeAddresses(event.detail)
        default: break
        }
    }

    /// Claims, spare places or revocations may wait to be told; called when the shard's inbox had messages.
    public func pump() {
        askWhatWaits()
        connection?.flush()
    }

    private func askWhatWaits() {
        guard isIntroduced, let connection else { return }
        while connection.isReady, limits.places.hasQuestions, connection.underWay < StoreLimits.pipelineMaximum {
            let room = StoreLimits.pipelineMaximum - connection.underWay
            for question in limits.places.takeQuestions(nowMilliseconds: shard.now, maximum: room) { ask(question) }
        }
        guard connection.isReady else { return }
        let unsent = limits.revocations.takeUnsent(maximum: StoreLimits.keysPerExchange)
        if !unsent.isEmpty { tell(unsent) }
        tellDenials()
        if !formerInstance.isEmpty, !limits.places.hasQuestions, connection.underWay == 0 {
            counters.add(.requests)
            connection.command(["DEL", "\(prefix)instance:\(formerInstance)", "\(prefix)recall:\(formerInstance)"], for: .former)
            formerInstance = ""
        }
    }

    /// The shard timer fired.
    public func timePassed() {
        guard settings != nil else { return }
        defer { connection?.flush() }
        shard.setShardTimer(timer, afterMilliseconds: StoreLimits.tickMilliseconds)
        tick &+= 1
        if let due = reconnectMilliseconds, shard.now >= due, !isLeaving {
            reconnectMilliseconds = nil
            connect()
        }
        connection?.passTime()
        subscriberTick(tick)
        if tick % StoreLimits.ticksPerPulse == 0 {
            limits.revocations.removeExpired(nowSeconds: Double(WallClock.nowMilliseconds) / 1000)
        }
        guard isIntroduced, let connection, connection.isReady else {
            if isLeaving { end() }
            return
        }
        limits.places.passTime(nowMilliseconds: shard.now, recalled: [], returnsAll: isLeaving)
        if tick % StoreLimits.ticksPerPulse == 0 {
            limits.places.repeatOld(part: tick / StoreLimits.ticksPerPulse, nowMilliseconds: shard.now)
        }
        if !hasPulse, tick % StoreLimits.ticksPerPulse == 0 || limits.places.awaitsTime { beat(connection) }
        if tick % StoreLimits.ticksPerExchange == 0, ratesUnderWay == 0 { exchange(connection) }
        if tick % StoreLimits.ticksPerRevocationRead == 0 { revocationMark = (-1, -1) }
        proxiesTick(tick)
        askWhatWaits()
        if isLeaving, limits.places.isEmpty, connection.underWay == 0 { end() }
    }

    // MARK: - Connecting

    /// What tells the events of the next connection from those of all before.
    func nextContext() -> UInt32 {
        connections &+= 1
        counters.add(.connections)
        return connections
    }

    private var prefix: String { settings?.prefix ?? "" }

    /// Reads the authorities; without them every connection fails with a reason.
    private func openTLS() {
        tls = nil
        guard let settings, settings.location.isSecure else { return }
        tls = try? TLSClientContext(authoritiesPath: settings.authoritiesPath.isEmpty ? nil : settings.authoritiesPath)
    }

    private func connect() {
        guard let settings else { return }
        isIntroduced = false
        hasPulse = false
        ratesUnderWay = 0
        readsRevocations = false
        revocationMark = (-1, -1)
        let opened = RedisConnection<Purpose>(settings.location, tls: tls, shard: shard, owner: owner, context: nextContext()) {
            [unowned self] in reported($0)
        }
        connection = opened
        opened.open()
    }

    private func reported(_ report: RedisConnection<Purpose>.Report) {
        switch report {
        case .ready: introduce()
        case .late: counters.add(.timeouts)
        case .lost(let reason): lost(reason)
        case .answered(let purpose, let reply, let microseconds):
            counters.latency(microseconds: microseconds)
            answered(purpose, reply)
        case .heard: break
        }
    }

    private func introduce() {
        instance = Digest.uuid()
        counters.add(.requests)
        connection?.command(["SET", "\(prefix)instance:\(instance)", "1", "PX", "\(StoreLimits.instanceMilliseconds)"], for: .introduced)
    }

    private func introduced() {
        isIntroduced = true
        backoffMilliseconds = StoreLimits.backoffMilliseconds
        counters.set(.connected, 1)
        limits.revocations.sendAll()
        limits.places.beginSharing(nowMilliseconds: shard.now)
        limits.shareRates(true)
        beginProxies()
        if saidConnected != true, let settings { notify(.connected("\(settings.location)")) }
        saidConnected = true
        if let connection { beat(connection) }
        askWhatWaits()
    }

    private func lost(_ reason: String) {
        connection = nil
        // One that the store never confirmed holds nothing there; the one before it may.
        if isIntroduced { formerInstance = instance }
        isIntroduced = false
        counters.set(.connected, 0)
        limits.shareRates(false)
        for limiter in limits.exchanges { limiter.abandon() }
        limits.places.cutOff()
        endProxies(isOver: false)
        if saidConnected != false, let settings { notify(.lost("\(settings.location)", reason: reason)) }
        saidConnected = false
        // Half of the pause is chance, so that instances do not come back all at once.
        reconnectMilliseconds = shard.now + backoffMilliseconds / 2 + UInt64.random(in: 0...backoffMilliseconds / 2)
        backoffMilliseconds = min(2 * backoffMilliseconds, StoreLimits.backoffLongestMilliseconds)
    }

    /// Ends the conversation; a store that can be asked forgets this instance.
    private func end() {
        guard let connection else { return }
        if isIntroduced, connection.isReady {
            let names = [instance, formerInstance].filter { !$0.isEmpty }.flatMap { ["\(prefix)instance:\($0)", "\(prefix)recall:\($0)"] }
            connection.command(["DEL"] + names, for: .former)
            if proxies.prefix != nil { connection.command(["ZREM", "\(prefix)proxies", instance], for: .former) }
        }
        endProxies(isOver: true)
        connection.finish()
        self.connection = nil
        isIntroduced = false
        instance = ""
        formerInstance = ""
        reconnectMilliseconds = nil
        counters.set(.connected, 0)
        limits.shareRates(false)
        for limiter in limits.exchanges { limiter.abandon() }
        if isLeaving { limits.places.cutOff() }
    }

    // MARK: - Requests

    func call(_ script: RedisScript, _ arguments: [String], for purpose: Purpose) {
        counters.add(.requests)
        connection?.call(script, [prefix] + arguments, for: purpose)
    }

    private func ask(_ question: PlaceQuestion) {
        call(.places, [
            question.name, instance, "\(question.held)", "\(question.wanted)", "\(question.spare)", "\(question.limit)",
            "\(StoreLimits.placesMilliseconds)", "\(StoreLimits.recallMilliseconds)", formerInstance,
        ], for: .places(question))
    }

    private func beat(_ connection: RedisConnection<Purpose>) {
        hasPulse = true
        call(.pulse, [instance, "\(StoreLimits.instanceMilliseconds)"], for: .pulse)
    }

    private func exchange(_ connection: RedisConnection<Purpose>) {
        for limiter in limits.exchanges where limiter.hasActive && connection.isReady {
            let batch = limiter.takeActive(maximum: StoreLimits.keysPerExchange)
            if batch.items.isEmpty { continue }
            ratesUnderWay += 1
            counters.add(.keysExchanged, UInt64(batch.items.count))
            call(.rates, [limiter.name, "\(batch.capacity)", "\(batch.perSecond)"] + batch.items.flatMap { [$0.digest, "\($0.spent)"] },
                 for: .rates(limiter, count: batch.items.count))
        }
    }

    private func tell(_ entries: [RevocationTable.Entry]) {
        call(.revoke, ["\(WallClock.nowMilliseconds / 1000)"] + entries.flatMap { [$0.digest, "\($0.expirySeconds)"] }, for: .revoked)
    }

    private func readRevocations(start: Int) {
        readsRevocations = true
        counters.add(.requests)
        let stop = start + StoreLimits.revocationsPerPage - 1
        connection?.command(["ZRANGE", "\(prefix)revoked", "\(start)", "\(stop)", "WITHSCORES"], for: .revocations(start: start))
    }

    // MARK: - Answers

    private func answered(_ purpose: Purpose, _ reply: RedisReply) {
        if case .error(let text) = reply {
            counters.add(.errors)
            if case .denied(let count) = purpose { limits.denials.confirm(count, isKept: false) }
            // What the store says of a script may quote it; the kind of error is enough.
            connection?.lose("refused: \(text.prefix { $0 != " " })")
            return
        }
        let isSound: Bool
        switch purpose {
        case .introduced:
            introduced()
            isSound = true
        case .places(let question): isSound = places(question, reply)
        case .pulse: isSound = pulse(reply)
        case .rates(let limiter, let count): isSound = rates(limiter, count, reply)
        case .revocations(let start): isSound = revocations(start, reply)
        case .revoked, .former: isSound = true
        case .watch, .denied, .denials, .budgets: isSound = proxiesAnswered(purpose, reply)
        }
        guard isSound else {
            counters.add(.errors)
            connection?.lose("an answer has not the shape that was asked for")
            return
        }
        askWhatWaits()
    }

    private func places(_ question: PlaceQuestion, _ reply: RedisReply) -> Bool {
        guard let answer = StoreAnswer.places(reply, held: question.held) else { return false }
        limits.places.answered(question, places: answer.places, others: answer.others, nowMilliseconds: shard.now)
        return true
    }

    private func pulse(_ reply: RedisReply) -> Bool {
        guard let pulse = StoreAnswer.pulse(reply) else { return false }
        hasPulse = false
        limits.places.passTime(nowMilliseconds: shard.now, recalled: pulse.recalled)
        if revocationMark != (pulse.revokedCount, pulse.revokedVersion), !readsRevocations {
            revocationMark = (pulse.revokedCount, pulse.revokedVersion)
            if pulse.revokedCount > 0 { readRevocations(start: 0) }
        }
        return true
    }

    private func rates(_ limiter: any LimitExchange, _ count: Int, _ reply: RedisReply) -> Bool {
        guard let tokens = StoreAnswer.rates(reply, count: count) else { return false }
        ratesUnderWay -= 1
        limiter.settle(tokens)
        return true
    }

    private func revocations(_ start: Int, _ reply: RedisReply) -> Bool {
        guard let page = StoreAnswer.revocations(reply) else { return false }
        limits.merge(page.revoked.map { (digest: $0.key, expirySeconds: $0.value) }, isShared: true)
        if page.members == StoreLimits.revocationsPerPage, start < RevocationTable.entriesMaximum {
            readRevocations(start: start + page.members)
        } else {
            readsRevocations = false
        }
        return true
    }
}
