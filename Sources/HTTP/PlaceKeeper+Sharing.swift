import Policy
import Synchronization

/// A question to the store about one key: "count `held` for me, and `wanted` more if the limit allows".
public struct PlaceQuestion: Sendable {
    /// The entry the answer is about.
    let entry: PlaceEntry
    /// Name of the key in the store: no session id or address is written there.
    public let name: String
    /// Places this instance holds or keeps leased.
    public let held: Int
    /// Further places that connections wait for.
    public let wanted: Int
    /// Further places that would save questions, if the limit is far.
    public let spare: Int
    /// The limit over all instances.
    public let limit: Int
}

/// The side of the keeper that talks to the store. One thread calls all of this.
extension PlaceKeeper {
    /// Places asked for beyond those that are needed: a page that opens a handful of connections asks once.
    static let sparePlaces = 8
    /// How long spare places are kept: the time in which clients that reconnect come back.
    static let spareMilliseconds: UInt64 = 1000
    /// Others look for recalls ten times a second while they have spare places; then they have given them back.
    static let secondAskMilliseconds: UInt64 = 250
    /// After a refusal nobody asks about the key for so long.
    static let fullMilliseconds: UInt64 = 200
    /// How often the store is told again what it should know, so that its records do not expire.
    static let repeatMilliseconds: UInt64 = 120_000

    /// No store is configured any more: everything is decided here, and uncounted.
    public func standAlone() { leave(.alone) }

    /// The store cannot be asked: those who wait are judged here, and so is everybody else.
    public func cutOff() { leave(.cutOff) }

    private func leave(_ next: Mode) {
        mode.store(next.rawValue, ordering: .sequentiallyConsistent)
        lists.withLock { $0 = Lists() }
        for stripe in stripes {
            var settled: [(PlaceClaim, PlaceEntry?, PlaceScope)] = []
            stripe.entries.withLock { entries in
                for entry in entries.values {
                    let waiting = entry.lease.waiting
                    let limit = entry.lease.limit
                    entry.lease = PlaceEntry.Lease()
                    for claim in waiting {
                        waitingCount.subtract(1, ordering: .relaxed)
                        fallbackCount.add(1, ordering: .relaxed)
                        let isGranted = entry.used < limit
                        if isGranted { entry.used += 1 }
                        settled.append((claim, isGranted ? entry : nil, entry.scope))
                    }
                    forgetIfUnused(entry, &entries)
                }
            }
            for (claim, entry, scope) in settled { settle(claim, granted: entry, scope: scope) }
        }
    }

    /// The store can be asked from now on. What is held is stated before anything is asked for.
    public func beginSharing(nowMilliseconds: UInt64) {
        clock.store(nowMilliseconds, ordering: .relaxed)
        mode.store(Mode.shared.rawValue, ordering: .sequentiallyConsistent)
        for stripe in stripes {
            stripe.entries.withLock { entries in
                for entry in entries.values where entry.used > 0 && markListed(entry) { list(entry) }
            }
        }
    }

    /// The next questions, at most `maximum`.
    public func takeQuestions(nowMilliseconds: UInt64, maximum: Int) -> [PlaceQuestion] {
        clock.store(nowMilliseconds, ordering: .relaxed)
        let entries = lists.withLock { lists -> [PlaceEntry] in
            let taken = Array(lists.toAsk.prefix(maximum))
            lists.toAsk.removeFirst(taken.count)
            return taken
        }
        return entries.compactMap { entry in
            if entry.storedName.isEmpty { entry.storedName = Self.storedName(entry.scope, entry.key) }
            return stripe(entry.scope, entry.key).entries.withLock { entries in question(entry, &entries, nowMilliseconds) }
        }
    }

    /// Whether questions wait to be taken.
    public var hasQuestions: Bool { lists.withLock { !$0.toAsk.isEmpty } }

    private func question(_ entry: PlaceEntry, _ entries: inout [PlaceKey: PlaceEntry], _ now: UInt64) -> PlaceQuestion? {
        entry.lease.isListed = false
        guard !entry.lease.isAsking, isShared else { return nil }
        let wanted = entry.lease.waiting.count
        let returns = wanted == 0 && entry.lease.isRecalled && entry.lease.places > entry.used
        let isNews = wanted > 0 || returns || entry.used > entry.lease.places
        let isOld = entry.lease.places > 0 && now &- entry.lease.askedMilliseconds >= Self.repeatMilliseconds
        guard isNews || isOld else {
            entry.lease.secondAskMilliseconds = nil
            entry.lease.isRecalled = false
            noteSpare(entry)
            forgetIfUnused(entry, &entries)
            return nil
        }
        if returns { entry.lease.places = entry.used }
        entry.lease.isRecalled = false
        entry.lease.isAsking = true
        entry.lease.askedMilliseconds = now
        entry.lease.secondAskMilliseconds = entry.lease.secondAskMilliseconds == nil ? nil : 0
        return PlaceQuestion(
            entry: entry, name: entry.storedName, held: max(entry.used, entry.lease.places), wanted: wanted,
            spare: wanted > 0 ? Self.sparePlaces : 0, limit: max(entry.lease.limit, 1))
    }

    /// Takes the store's answer.
    ///
    /// - Parameters:
    ///   - places: what the store counts for this instance now.
    ///   - others: what it counts for other instances.
    public func answered(_ question: PlaceQuestion, places: Int, others: Int, nowMilliseconds now: UInt64) {
        clock.store(now, ordering: .relaxed)
        let entry = question.entry
        var settled: [(PlaceClaim, PlaceEntry?)] = []
        stripe(entry.scope, entry.key).entries.withLock { entries in
            guard entry.lease.isAsking else { return }
            entry.lease.isAsking = false
            entry.lease.places = places
            while entry.used < places, !entry.lease.waiting.isEmpty {
                entry.used += 1
                settled.append((entry.lease.waiting.removeFirst(), entry))
            }
            if entry.lease.waiting.isEmpty {
                entry.lease.secondAskMilliseconds = nil
            } else if places - question.held >= question.wanted {
                // They came while the question was under way.
                if markListed(entry) { list(entry) }
            } else if others > 0, entry.lease.secondAskMilliseconds == nil {
                entry.lease.secondAskMilliseconds = now + Self.secondAskMilliseconds
                keepInSpare(entry)
            } else {
                entry.lease.secondAskMilliseconds = nil
                entry.lease.fullUntilMilliseconds = now + Self.fullMilliseconds
                settled += entry.lease.waiting.map { ($0, nil) }
                entry.lease.waiting = []
            }
            if entry.used > places, markListed(entry) { list(entry) }
            noteSpare(entry)
            forgetIfUnused(entry, &entries)
        }
        waitingCount.subtract(settled.count, ordering: .relaxed)
        for (claim, place) in settled { settle(claim, granted: place, scope: entry.scope) }
    }

    /// Second questions are found with the spare places: both wait for time to pass.
    private func keepInSpare(_ entry: PlaceEntry) {
        if entry.lease.isSpareListed { return }
        entry.lease.isSpareListed = true
        lists.withLock { $0.spare.append(entry) }
    }

    /// Looks after what waits for time to pass: spare places that are old or wanted elsewhere go back, second questions are asked.
    ///
    /// - Parameters:
    ///   - recalled: names of keys under which other instances are short.
    ///   - returnsAll: every spare place goes back, because this instance ends.
    public func passTime(nowMilliseconds now: UInt64, recalled: Set<String>, returnsAll: Bool = false) {
        clock.store(now, ordering: .relaxed)
        let candidates = lists.withLock { lists -> [PlaceEntry] in
            let taken = lists.spare
            lists.spare = []
            return taken
        }
        for entry in candidates {
            let isRecalled = returnsAll || recalled.contains(entry.storedName)
            stripe(entry.scope, entry.key).entries.withLock { _ in
                entry.lease.isSpareListed = false
                if let due = entry.lease.secondAskMilliseconds, due > 0 {
                    if due > now { return keepInSpare(entry) }
                    if markListed(entry) { list(entry) }
                    return
                }
                guard entry.lease.places > entry.used else { return }
                let isDue = isRecalled || now &- entry.lease.spareSinceMilliseconds >= Self.spareMilliseconds
                if isDue, !entry.lease.isAsking {
                    entry.lease.isRecalled = true
                    if markListed(entry) { list(entry) }
                } else {
                    if isDue { entry.lease.spareSinceMilliseconds = 0 }
                    keepInSpare(entry)
                }
            }
        }
    }

    /// Whether spare places or second questions wait for time to pass.
    public var awaitsTime: Bool { lists.withLock { !$0.spare.isEmpty } }

    /// Lists what the store has not been told for a while; one part of the table a call.
    public func repeatOld(part: Int, nowMilliseconds now: UInt64) {
        stripes[part % stripes.count].entries.withLock { entries in
            for entry in entries.values
            where entry.lease.places > 0 && now &- entry.lease.askedMilliseconds >= Self.repeatMilliseconds && markListed(entry) {
                list(entry)
            }
        }
    }

    /// Marks the sessions for which `isRevoked` holds, given the session's id; whether there were any.
    public func markRevoked(_ isRevoked: (String) -> Bool) -> Bool {
        var found = false
        for stripe in stripes {
            stripe.entries.withLock { entries in
                for entry in entries.values where entry.scope == .session {
                    let isMarked = isRevoked(entry.key)
                    entry.revoked.store(isMarked, ordering: .relaxed)
                    found = found || isMarked
                }
            }
        }
        return found
    }

    /// A letter for the scope, and a digest: what is in the store names nobody.
    static func storedName(_ scope: PlaceScope, _ key: String) -> String {
        let letter = switch scope {
        case .session: "s:"
        case .address: "a:"
        case .subject: "j:"
        }
        return letter + Digest.hexSHA256(key)
    }
}
