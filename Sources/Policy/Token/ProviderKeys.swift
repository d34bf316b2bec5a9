// Theory of operation
//
// All keys of a provider: static ones from the configuration, and those of its sources, in the order of precedence. Out comes one
// `KeySet` with a generation; shards get it when `update` says that it changed.
//
// A token may name a key that is not there. The issuer may have published it a moment ago, so the sources are fetched again, but
// strangers choose these names, so:
//   * a name that was still unknown after a fetch that began after it was asked for is refused for a minute without another;
//   * fetches for unknown names take from an allowance: a burst of 5, then one each `min_refetch`;
//   * all names that wait share one fetch, and a fetch that was already in flight does not count, since its answer may be older;
//   * while the issuer does not answer, names are refused at once and none is remembered.

import Wire

/// The keys of one provider.
public struct ProviderKeys: Sendable {
    /// What to do with a handshake whose key is not there.
    public enum UnknownKey: Sendable, Hashable {
        /// Refuse it (`TokenRefusal.keyIDUnknown`).
        case refuse
        /// Let it wait, `TokenLimits.waitForKeyMilliseconds` at most, and decide again whenever a fetch of the provider has ended.
        case wait
        /// It is there: the key came since whoever asks took the key set. Take it again and decide.
        case known
    }

    /// The configured provider. A reload may put another in its place that has its name, its algorithms and its sources.
    public var provider: TokenProvider
    private let statics: [KeySetEntry]
    /// The sources, in their order.
    public private(set) var lives: [KeySetLife]
    /// The keys in use.
    public private(set) var keySet: KeySet
    private var revisions: [UInt64]

    /// Names that wait, with the serial that each source's next fetch will have at least.
    private var pending: [TokenDigest: [UInt64]] = [:]
    private var unknownIDs: RecentDigests<Bool>
    /// When the allowance for fetches would be whole again.
    private var allowanceMilliseconds = Int64.min
    /// A fetch for unknown names is to begin then.
    private var wantedMilliseconds: Int64?
    private let minimumRefetchMilliseconds: Int64

    /// The keys of a provider; sources want to be fetched at once.
    public init(provider: TokenProvider, sources: KeySources, staticKeys: [KeySetEntry] = [], seed: UInt64) {
        self.provider = provider
        statics = staticKeys
        lives = sources.origins.enumerated().map { index, origin in
            KeySetLife(
                origin: origin, settings: sources, algorithms: provider.algorithms, source: index,
                seed: seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15)
        }
        revisions = lives.map(\.revision)
        keySet = KeySet(generation: 1, entries: staticKeys, isLocal: sources.origins.isEmpty)
        unknownIDs = RecentDigests(
            capacity: TokenLimits.unknownKeyIDs, lifetimeMilliseconds: TokenLimits.unknownKeyIDMilliseconds)
        minimumRefetchMilliseconds = Int64(sources.minimumRefetchSeconds) * 1000
    }

    /// Whether tokens can be verified at all: readiness.
    public var isReady: Bool { !keySet.isEmpty }

    /// When to call `poll` again at the latest; nil when nothing is ever due.
    public func deadlineMilliseconds(nowMilliseconds: Int64) -> Int64? {
        var deadlines = lives.map { $0.deadlineMilliseconds(nowMilliseconds: nowMilliseconds) }
        if let wantedMilliseconds, !isFetching { deadlines.append(wantedMilliseconds) }
        return deadlines.min()
    }

    /// Lets time pass, and hands out the fetches that are to be made now. Call `update` afterwards.
    public mutating func poll(nowMilliseconds: Int64) -> [KeyFetch] {
        if let wanted = wantedMilliseconds, nowMilliseconds >= wanted { beginRefetch(nowMilliseconds) }
        let fetches = lives.indices.compactMap { lives[$0].poll(nowMilliseconds: nowMilliseconds) }
        // A fetch may just have been given up.
        if !pending.isEmpty { forgetIfFailing(nowMilliseconds) }
        return fetches
    }

    /// Takes the answer to a fetch. Call `update` and `poll` afterwards, then let handshakes that wait ask again.
    public mutating func answer(_ fetch: KeyFetch, _ response: KeyResponse, nowMilliseconds: Int64) -> KeyFetchResult {
        guard lives.indices.contains(fetch.source) else { return .late }
        let result = lives[fetch.source].answer(fetch, response, nowMilliseconds: nowMilliseconds)
        if result.isSuccess { settle(nowMilliseconds) } else if result != .discovered, result != .late { forgetIfFailing(nowMilliseconds) }
        return result
    }

    /// Takes the news that a fetch has no answer; as `answer`.
    public mutating func fail(_ fetch: KeyFetch, _ failure: KeyFetchFailure, nowMilliseconds: Int64) -> KeyFetchResult {
        guard lives.indices.contains(fetch.source) else { return .late }
        let result = lives[fetch.source].fail(fetch, failure, nowMilliseconds: nowMilliseconds)
        if result != .late { forgetIfFailing(nowMilliseconds) }
        return result
    }

    /// The keys in use if they changed since the last call: to be given to every shard.
    public mutating func update() -> KeySet? {
        let now = lives.map(\.revision)
        guard now != revisions else { return nil }
        revisions = now
        var entries = statics
        var names = Set(statics.compactMap(\.keyID).map { Array($0.utf8) })
        for life in lives {
            // A name belongs to the first source that has it; within one it may stand for several keys.
            let own = life.keys.filter { entry in entry.keyID.map { !names.contains(Array($0.utf8)) } ?? true }
            names.formUnion(own.compactMap(\.keyID).map { Array($0.utf8) })
            entries += own
        }
        keySet = KeySet(generation: keySet.generation + 1, entries: entries, isLocal: lives.isEmpty)
        return keySet
    }

    /// Forgets keys at once, those called `keyID` or all that were fetched, and fetches again. Returns the thumbprints of those that
    /// were in use, whose sessions may have to end. Call `update` and `poll` afterwards.
    public mutating func purge(keyID: String? = nil) -> [TokenDigest] {
        lives.indices.flatMap { lives[$0].purge(keyID: keyID) }
    }

    // MARK: Unknown names

    /// What to do with a handshake whose `kid` is not in the key set. Call `poll` afterwards: a fetch may be due.
    public mutating func unknown(keyID: String, nowMilliseconds: Int64) -> UnknownKey {
        guard keyID.utf8.count <= TokenLimits.keyIDBytes, lives.contains(where: { $0.origin.isRemote }) else { return .refuse }
        if keySet.has(keyID) { return .known }
        let digest = TokenDigest(of: Array(keyID.utf8).span)
        if unknownIDs.value(digest, nowMilliseconds: nowMilliseconds) != nil { return .refuse }
        if pending[digest] != nil { return .wait }
        guard pending.count < TokenLimits.waitingForKey, !isFailing(nowMilliseconds) else { return .refuse }
        if wantedMilliseconds == nil {
            let allowed = allowedMilliseconds(nowMilliseconds)
            guard allowed <= nowMilliseconds + TokenLimits.waitForKeyMilliseconds else { return .refuse }
            wantedMilliseconds = allowed
        }
        pending[digest] = lives.map(\.nextSerial)
        return .wait
    }

    /// Names that wait for a fetch.
    public var pendingCount: Int { pending.count }

    private var isFetching: Bool { lives.contains { $0.origin.isRemote && $0.isFetching } }

    /// When the next fetch for unknown names may begin: a generic cell rate with room for `TokenLimits.refetchBurst` cells.
    private func allowedMilliseconds(_ nowMilliseconds: Int64) -> Int64 {
        guard allowanceMilliseconds > nowMilliseconds else { return nowMilliseconds }
        return max(nowMilliseconds, allowanceMilliseconds - Int64(TokenLimits.refetchBurst - 1) * minimumRefetchMilliseconds)
    }

    private mutating func beginRefetch(_ nowMilliseconds: Int64) {
        // A fetch in flight is waited for first, so that the names that come meanwhile share the next.
        guard !isFetching else { return }
        wantedMilliseconds = nil
        allowanceMilliseconds = max(allowanceMilliseconds, nowMilliseconds) + minimumRefetchMilliseconds
        for index in lives.indices where lives[index].origin.isRemote { lives[index].request(.unknownKeyID) }
    }

    /// Names that all remote sources have now been asked for are known, or unknown for a while.
    private mutating func settle(_ nowMilliseconds: Int64) {
        guard !pending.isEmpty else { return }
        let known = Set(lives.flatMap(\.keys).compactMap(\.keyID).map { TokenDigest(of: Array($0.utf8).span) })
        for (digest, serials) in pending {
            let isAnswered = zip(lives, serials).allSatisfy { !$0.origin.isRemote || $0.confirmedSerial >= $1 }
            guard isAnswered else { continue }
            pending[digest] = nil
            if !known.contains(digest) { unknownIDs.insert(digest, true, nowMilliseconds: nowMilliseconds) }
        }
    }

    private func isFailing(_ nowMilliseconds: Int64) -> Bool {
        lives.allSatisfy { !$0.origin.isRemote || $0.isBackingOff(nowMilliseconds: nowMilliseconds) }
    }

    /// Nobody waits for an issuer that does not answer; the names are not known to be unknown either.
    private mutating func forgetIfFailing(_ nowMilliseconds: Int64) {
        guard isFailing(nowMilliseconds) else { return }
        pending = [:]
        wantedMilliseconds = nil
    }

    // MARK: Persisting

    /// The sources whose keys changed, with the contents of their files.
    public mutating func persisted(nowMilliseconds: Int64, wallSeconds: Int64) -> [(source: Int, file: [UInt8])] {
        lives.indices.filter { lives[$0].wantsPersisting }.map { index in
            (index, lives[index].persisted(nowMilliseconds: nowMilliseconds, wallSeconds: wallSeconds))
        }
    }

    /// Takes the file of a source, before its first answer. Call `update` afterwards.
    public mutating func restore(source: Int, _ file: [UInt8], nowMilliseconds: Int64, wallSeconds: Int64) -> Bool {
        guard lives.indices.contains(source) else { return false }
        return lives[source].restore(file, nowMilliseconds: nowMilliseconds, wallSeconds: wallSeconds)
    }
}
