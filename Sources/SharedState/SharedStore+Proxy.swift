import Engine
import HTTP
import Policy

/// What the JWT proxies of several instances share: denied tokens, and budgets of messages.
///
/// Theory of operation
///
/// ```
///   denied here ─► DenialTable ─► deny script: kept in `denied`, published on `ws:revocations:<sub>:<jti>` ─► confirmed
///   denied elsewhere ─► message of the subscription ──────────────┐
///                    └► `denied_version` moved on ─► what came since ─► DenialTable ─► shards
///   messages admitted ─► MessageBudgets ◄─► budgets script: buckets `wsrl:<key>`, ten times a second
/// ```
/// - The subscription is a connection of its own, and only makes things quicker: whoever misses a message finds the list changed within
///   half a second. On it also arrives what instances of the program this one replaces publish: `1`.
/// - A new connection reads the list again, and writes what it lacks.
extension SharedStore {
    enum SubscriberPurpose { case subscribe, ping }

    /// The state of this part of the conversation.
    struct ProxyState {
        /// Begins the keys of denials; nil when nothing is shared.
        var prefix: String?
        /// Whether denials are kept here; if not, only budgets are, and what that other program publishes is heard.
        var keepsDenials = true
        /// Number of the last change that was read; below zero: none.
        var version: Int64 = -1
        var isReading = false
        var hasWatch = false
        var budgetsUnderWay = 0
        var subscriber: RedisConnection<SubscriberPurpose>?
        var hasPing = false
        var subscribesMilliseconds: UInt64 = 0
        var backoffMilliseconds = StoreLimits.backoffMilliseconds
    }

    // MARK: - Connecting

    /// The main connection is there.
    func beginProxies() {
        guard proxies.prefix != nil else { return }
        (proxies.version, proxies.isReading, proxies.hasWatch, proxies.budgetsUnderWay) = (-1, false, false, 0)
        if proxies.keepsDenials { limits.denials.sendAll(nowSeconds: Self.nowSeconds) }
        limits.budgets.divide(into: 1)
        watch()
        if proxies.subscriber == nil { subscribe() }
    }

    /// The main connection is gone. `isOver`: nothing is shared any more.
    func endProxies(isOver: Bool) {
        guard proxies.prefix != nil else { return }
        if proxies.keepsDenials {
            limits.denials.sharing = isOver ? .off : .cutOff
            limits.denials.abandon()
        }
        // Alone, this instance has the budgets to itself.
        limits.budgets.divide(into: isOver ? 1 : limits.budgets.knownInstances)
        proxies.budgetsUnderWay = 0
        guard isOver else { return }
        proxies.subscriber?.finish()
        proxies.subscriber = nil
    }

    private func subscribe() {
        guard let settings else { return }
        proxies.hasPing = false
        let opened = RedisConnection<SubscriberPurpose>(
            settings.location, tls: tls, shard: shard, owner: owner, context: nextContext()
        ) { [unowned self] in subscriberReported($0) }
        proxies.subscriber = opened
        opened.open()
    }

    private func subscriberReported(_ report: RedisConnection<SubscriberPurpose>.Report) {
        switch report {
        case .ready:
            proxies.subscriber?.hearsMessages = true
            proxies.subscriber?.command(["PSUBSCRIBE", Revocation.channelPrefix + "*"], for: .subscribe)
        case .answered(_, .error, _):
            // A user of the store who may not subscribe: the list is looked at all the same.
            counters.add(.errors)
            proxies.subscriber?.lose("refused")
        case .answered(.subscribe, _, _): proxies.backoffMilliseconds = StoreLimits.backoffMilliseconds
        case .answered(.ping, _, _): proxies.hasPing = false
        case .heard(let channel, let payload): heard(channel, payload)
        case .late: counters.add(.timeouts)
        case .lost:
            proxies.subscriber = nil
            let backoff = proxies.backoffMilliseconds
            proxies.subscribesMilliseconds = shard.now + backoff / 2 + UInt64.random(in: 0...backoff / 2)
            proxies.backoffMilliseconds = min(2 * backoff, StoreLimits.backoffLongestMilliseconds)
        }
    }

    private func heard(_ channel: String, _ payload: String) {
        let now = Self.nowSeconds
        merge(Revocation.denials(channel: channel, payload: Array(payload.utf8).span, nowSeconds: now))
    }

    private func merge(_ denials: [Revocation]) {
        if limits.denials.merge(denials, nowSeconds: Self.nowSeconds) > 0 { limits.directory.wakeAll() }
    }

    static var nowSeconds: Double { Double(WallClock.nowMilliseconds) / 1000 }

    // MARK: - Time

    /// A tick passed while the main connection is there.
    func proxiesTick(_ tick: Int) {
        guard proxies.prefix != nil else { return }
        if tick % StoreLimits.ticksPerWatch == 0, !proxies.hasWatch { watch() }
        if proxies.budgetsUnderWay == 0 { exchangeBudgets() }
        tellDenials()
    }

    /// A tick passed, whether it is there or not.
    func subscriberTick(_ tick: Int) {
        guard proxies.prefix != nil else { return }
        guard let subscriber = proxies.subscriber else {
            // Where the main connection cannot be opened this one could not either.
            if isIntroduced, shard.now >= proxies.subscribesMilliseconds { subscribe() }
            return
        }
        subscriber.passTime()
        guard proxies.subscriber != nil, subscriber.isReady else { return }
        if tick % StoreLimits.ticksPerPulse == 0, !proxies.hasPing {
            proxies.hasPing = true
            subscriber.command(["PING"], for: .ping)
        }
        subscriber.flush()
    }

    private func watch() {
        guard let denials = proxies.prefix else { return }
        proxies.hasWatch = true
        call(.watch, [denials, instance, "\(StoreLimits.instanceMilliseconds)"], for: .watch)
    }

    // MARK: - Requests

    /// Writes what was denied here.
    func tellDenials() {
        // What is already there need not be written again: it is read first.
        guard proxies.keepsDenials, let prefix = proxies.prefix, let connection, limits.denials.sharing == .current else { return }
        while connection.isReady, connection.underWay < StoreLimits.pipelineMaximum {
            let unsent = limits.denials.takeUnsent(maximum: StoreLimits.denialsPerRequest)
            if unsent.isEmpty { return }
            let words = unsent.flatMap { item in
                [item.denial.json, "\(item.denial.expirySeconds)", item.isNews ? item.denial.channel : ""]
            }
            counters.add(.requests)
            connection.call(.deny, [prefix, "\(Int(Self.nowSeconds))", "\(TokenLimits.denials)"] + words, for: .denied(unsent.count))
        }
    }

    /// Reads what was denied behind a change.
    private func readDenials(since number: Int64) {
        guard let prefix = proxies.prefix else { return }
        proxies.isReading = true
        counters.add(.requests)
        connection?.command(
            ["ZRANGEBYSCORE", "\(prefix)denied_order", "(\(number)", "+inf", "WITHSCORES", "LIMIT", "0", "\(StoreLimits.denialsPerPage)"],
            for: .denials(since: number))
    }

    private func exchangeBudgets() {
        guard let connection, connection.isReady else { return }
        var uses = limits.budgets.takeUses(maximum: StoreLimits.budgetsPerTick)[...]
        counters.add(.keysExchanged, UInt64(uses.count))
        while !uses.isEmpty {
            let batch = Array(uses.prefix(StoreLimits.keysPerExchange))
            uses = uses.dropFirst(batch.count)
            proxies.budgetsUnderWay += 1
            counters.add(.requests)
            connection.call(
                .budgets, batch.flatMap { [$0.name, "\($0.rate.burst)", "\($0.rate.perSecond)", "\($0.spent)"] }, for: .budgets(batch))
        }
    }

    // MARK: - Answers

    /// Takes an answer; false when it has not the shape that was asked for.
    func proxiesAnswered(_ purpose: Purpose, _ reply: RedisReply) -> Bool {
        switch purpose {
        case .watch:
            guard let answer = StoreAnswer.watch(reply) else { return false }
            proxies.hasWatch = false
            limits.budgets.knownInstances = answer.instances
            guard proxies.keepsDenials else { break }
            if answer.version < proxies.version {
                // Numbers never go back: the list was lost while the connection stayed, and is told again.
                limits.denials.sendAll(nowSeconds: Self.nowSeconds)
                proxies.version = -1
            }
            if answer.version != proxies.version, !proxies.isReading { readDenials(since: max(0, proxies.version)) }
        case .denials(let since):
            guard let page = StoreAnswer.denials(reply) else { return false }
            let now = Self.nowSeconds
            merge(page.documents.compactMap { try? Revocation(json: Array($0.utf8).span, nowSeconds: now) })
            proxies.version = max(since, page.last)
            if page.documents.count == StoreLimits.denialsPerPage {
                readDenials(since: proxies.version)
            } else {
                proxies.isReading = false
                limits.denials.sharing = .current
                tellDenials()
            }
        case .denied(let count):
            guard let full = StoreAnswer.denied(reply) else { return false }
            limits.denials.confirm(count, isKept: full == 0)
        case .budgets(let uses):
            guard let left = StoreAnswer.rates(reply, count: uses.count) else { return false }
            proxies.budgetsUnderWay -= 1
            limits.budgets.settle(uses, left: left, nowNanoseconds: shard.nowNanoseconds)
        default: return false
        }
        return true
    }
}
