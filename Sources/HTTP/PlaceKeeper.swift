import Engine
import Synchronization

/// Connections counted per session and per client address, over all shards and, when they share a store, all instances.
///
/// Theory of operation
///
/// ```
///   shard n: admit ─► granted / refused                          at once, when this process alone can say so
///              └────► pending ─► list ─► wakes shard 0 ─► takeQuestions ─► store ─► answered ─┐
///   shard n: takeDecided ◄─ claim.take() ◄───────────────────── wakes shard n ◄───────────────┘
/// ```
/// - Touched when a connection opens and closes, never per message. Striped, so that shards rarely meet. An entry exists as
///   long as somebody holds, leases or awaits a place under its key: the table is bounded by the connections that are open.
/// - Without a store, or when it cannot be reached, each process judges by its own count: `used < limit`.
/// - With a store, an instance may open only what it *leases*: the store counts `lease.places` for it, and the sum over the
///   instances never exceeds the limit. Far from the limit a lease comes with a few spare places; they, and those that
///   closed connections leave, are used again without a question, and go back after a second or when another instance is short.
/// - One question per key is under way at a time and it states the absolute count: a lost answer cannot make counts drift.
/// - A count above the lease is possible after a time without the store; then nothing is granted until it fell below the limit.
public final class PlaceKeeper: Sendable {
    /// How decisions are taken.
    enum Mode: UInt8 {
        case alone  // no store is configured
        case cutOff  // one is configured and cannot be asked
        case shared
    }

    /// Connections that may wait for the store at once, over all shards; a store that is too slow for more is not waited for.
    public static let waitingMaximum = 16_384

    /// How long a waiter waits at most before it has this process decide (`admitAlone`). The store's own time limit is shorter;
    /// this one holds when even the thread that talks to it is late.
    public static let decisionMilliseconds: UInt64 = 2000

    private static let stripeCount = 16
    final class Stripe: Sendable {
        let entries = Mutex<[PlaceKey: PlaceEntry]>([:])
    }
    struct PlaceKey: Hashable {
        let scope: PlaceScope
        let key: String
    }

    let stripes: [Stripe]
    let mode = Atomic<UInt8>(Mode.alone.rawValue)
    let waitingCount = Atomic<Int>(0)
    let fallbackCount = Atomic<UInt64>(0)
    /// Milliseconds of the thread that talks to the store.
    let clock = Atomic<UInt64>(0)
    let lists = Mutex(Lists())
    let decided = Mutex<[Int: [PlaceClaim]]>([:])
    let directory: ShardDirectory

    /// Entries the thread that talks to the store has to look at.
    struct Lists {
        var toAsk: [PlaceEntry] = []
        var spare: [PlaceEntry] = []
    }

    /// An empty table. `directory` tells how to wake the shards.
    public init(directory: ShardDirectory = ShardDirectory()) {
        self.directory = directory
        stripes = (0..<Self.stripeCount).map { _ in Stripe() }
    }

    func stripe(_ scope: PlaceScope, _ key: String) -> Stripe {
        stripes[Int(truncatingIfNeeded: UInt(bitPattern: key.hashValue &+ Int(scope.rawValue)) % UInt(Self.stripeCount))]
    }

    /// Asks for a place under a session and, when addresses are limited, one under the client's address.
    public func admit(session: String, address: String, limits: PlaceLimits, for waiter: PlaceWaiter) -> Admission {
        let claim = isShared ? PlaceClaim(waiter, address: limits.address > 0 ? address : nil, limits: limits) : nil
        switch acquire(.session, session, limits.session, claim) {
        case .refused: return .refused
        case .pending: return .pending(claim!)
        case .granted(let place):
            guard limits.address > 0 else { return .granted(Places(session: place, address: nil)) }
            claim?.state.withLock { $0.session = place }
            switch acquire(.address, address, limits.address, claim) {
            case .granted(let second): return .granted(Places(session: place, address: second))
            case .pending: return .pending(claim!)
            case .refused:
                release(place)
                return .refused
            }
        }
    }

    /// Asks for a place under a subject, `limit` of which there are over all instances. An answer that comes later is for the waiter.
    public func admit(subject: String, limit: Int, for waiter: PlaceWaiter) -> Admission {
        let claim = isShared ? PlaceClaim(waiter, address: nil, limits: PlaceLimits(session: limit, address: 0)) : nil
        switch acquire(.subject, subject, limit, claim) {
        case .refused: return .refused
        case .pending: return .pending(claim!)
        case .granted(let place): return .granted(Places(session: place, address: nil))
        }
    }

    /// Asks for a place under a subject that this process alone grants.
    public func admitAlone(subject: String, limit: Int) -> Admission {
        fallbackCount.add(1, ordering: .relaxed)
        guard case .granted(let place) = acquire(.subject, subject, limit, nil) else { return .refused }
        return .granted(Places(session: place, address: nil))
    }

    /// Asks for places that this process alone grants, for a connection that has waited long enough.
    public func admitAlone(session: String, address: String, limits: PlaceLimits) -> Admission {
        fallbackCount.add(1, ordering: .relaxed)
        guard case .granted(let place) = acquire(.session, session, limits.session, nil) else { return .refused }
        guard limits.address > 0 else { return .granted(Places(session: place, address: nil)) }
        if case .granted(let second) = acquire(.address, address, limits.address, nil) {
            return .granted(Places(session: place, address: second))
        }
        release(place)
        return .refused
    }

    /// Gives places back.
    public func release(_ places: Places) {
        release(places.session)
        if let address = places.address { release(address) }
    }

    /// Gives up a claim whose connection is gone; places it was or will be granted go back.
    public func cancel(_ claim: PlaceClaim) {
        let held = claim.state.withLock { state -> [PlaceEntry] in
            let held = state.phase == .over ? [] : [state.session, state.address].compactMap { $0 }
            // While it waits, the session's place is the claim's; `settle` finds it over and returns what comes.
            state = PlaceClaim.State(phase: .over)
            return held
        }
        for entry in held { release(entry) }
    }

    /// Places held under a key.
    public func count(_ scope: PlaceScope, _ key: String) -> Int {
        stripe(scope, key).entries.withLock { $0[PlaceKey(scope: scope, key: key)]?.used ?? 0 }
    }

    /// Whether no place is held, leased or waited for.
    public var isEmpty: Bool { stripes.allSatisfy { $0.entries.withLock { $0.isEmpty } } }

    /// Whether a store is asked.
    public var isShared: Bool { mode.load(ordering: .relaxed) == Mode.shared.rawValue }

    /// Decisions taken without the store although one is configured, since the start.
    public var fallbacks: UInt64 { fallbackCount.load(ordering: .relaxed) }

    /// Claims of a shard that were decided since the last call. The shard's thread, on an `inbox` event.
    public func takeDecided(shard: Int) -> [PlaceClaim] { decided.withLock { $0.removeValue(forKey: shard) ?? [] } }

    // MARK: - One place

    enum Outcome {
        case granted(PlaceEntry)
        case refused
        case pending
    }

    /// Takes a place, or has the claim wait for one. Without a claim the decision is this process's.
    func acquire(_ scope: PlaceScope, _ key: String, _ limit: Int, _ claim: PlaceClaim?) -> Outcome {
        var lists = false
        let outcome = stripe(scope, key).entries.withLock { entries -> Outcome in
            let place = PlaceKey(scope: scope, key: key)
            let entry = entries[place] ?? PlaceEntry(scope, key)
            if limit > 0, entry.used + entry.lease.waiting.count >= limit { return .refused }
            // Looked at under the lock: whoever changes the mode goes through every stripe afterwards.
            if limit == 0 || (entry.used < entry.lease.places && entry.lease.waiting.isEmpty) || !mayAsk(claim) {
                entry.used += 1
                entries[place] = entry
                // Granted here although there is a store: it is told.
                if limit > 0, isShared, entry.used > entry.lease.places, markListed(entry) { list(entry) }
                return .granted(entry)
            }
            if clock.load(ordering: .relaxed) < entry.lease.fullUntilMilliseconds { return .refused }
            entry.lease.limit = limit
            entry.lease.waiting.append(claim!)
            entries[place] = entry
            lists = entry.lease.secondAskMilliseconds == nil && markListed(entry)
            waitingCount.add(1, ordering: .relaxed)
            if lists { list(entry) }
            return .pending
        }
        if lists { directory.wake(0) }
        return outcome
    }

    private func mayAsk(_ claim: PlaceClaim?) -> Bool {
        guard claim != nil else {
            if mode.load(ordering: .relaxed) == Mode.cutOff.rawValue { fallbackCount.add(1, ordering: .relaxed) }
            return false
        }
        if isShared, waitingCount.load(ordering: .relaxed) < Self.waitingMaximum { return true }
        fallbackCount.add(1, ordering: .relaxed)
        return false
    }

    /// Gives a place back; the first who waits for one may have it.
    func release(_ entry: PlaceEntry) {
        let successor = stripe(entry.scope, entry.key).entries.withLock { entries -> PlaceClaim? in
            precondition(entry.used > 0, "a place is given back once")
            entry.used -= 1
            if entry.used < entry.lease.places, !entry.lease.waiting.isEmpty {
                entry.used += 1
                waitingCount.subtract(1, ordering: .relaxed)
                return entry.lease.waiting.removeFirst()
            }
            noteSpare(entry)
            forgetIfUnused(entry, &entries)
            return nil
        }
        if let successor { settle(successor, granted: entry, scope: entry.scope) }
    }

    /// Lists may still name an entry that was forgotten; its key may have another by now, which stays.
    func forgetIfUnused(_ entry: PlaceEntry, _ entries: inout [PlaceKey: PlaceEntry]) {
        guard entry.used == 0, entry.lease.places == 0, entry.lease.waiting.isEmpty, !entry.lease.isAsking else { return }
        let place = PlaceKey(scope: entry.scope, key: entry.key)
        if entries[place] === entry { entries[place] = nil }
    }

    /// Under the entry's lock: whether the caller has to list it.
    func markListed(_ entry: PlaceEntry) -> Bool {
        if entry.lease.isListed || entry.lease.isAsking { return false }
        entry.lease.isListed = true
        return true
    }

    func list(_ entry: PlaceEntry) { lists.withLock { $0.toAsk.append(entry) } }

    /// Under the entry's lock.
    func noteSpare(_ entry: PlaceEntry) {
        guard entry.lease.places > entry.used else { return }
        entry.lease.spareSinceMilliseconds = clock.load(ordering: .relaxed)
        if entry.lease.isSpareListed { return }
        entry.lease.isSpareListed = true
        lists.withLock { $0.spare.append(entry) }
    }

    /// Tells a claim about one of its places; with the session's it goes on to the address's.
    func settle(_ claim: PlaceClaim, granted entry: PlaceEntry?, scope: PlaceScope) {
        var returned: [PlaceEntry] = []
        let goesOn = claim.state.withLock { state -> Bool in
            guard state.phase == .waiting else {
                if let entry { returned.append(entry) }
                return false
            }
            if scope.isFirst { state.session = entry } else { state.address = entry }
            if entry != nil, scope.isFirst, claim.address != nil { return true }
            if entry == nil, let held = state.session {
                returned.append(held)
                state.session = nil
            }
            state.isGranted = entry != nil
            state.phase = .decided
            return false
        }
        for entry in returned { release(entry) }
        if goesOn {
            switch acquire(.address, claim.address!, claim.limits.address, claim) {
            case .granted(let place): return settle(claim, granted: place, scope: .address)
            case .refused: return settle(claim, granted: nil, scope: .address)
            case .pending: return
            }
        }
        guard claim.state.withLock({ $0.phase == .decided }) else { return }
        let isFirst = decided.withLock { decided in
            decided[claim.waiter.shard, default: []].append(claim)
            return decided[claim.waiter.shard]!.count == 1
        }
        if isFirst { directory.wake(claim.waiter.shard) }
    }
}
