import Policy
import Synchronization

/// Denied tokens as the process knows them: what operators denied here, and what other instances told.
///
/// Theory of operation
///
/// ```
///   admin call ─► deny ─┬─► numbered ─► take(since:) ─► every shard: its deny list, its sessions
///                       └─► unsent ─► takeUnsent ─► store: written and published ─► confirmed / failed ─► the caller
///   store: list, messages ─► merge ─► numbered
/// ```
/// - A denial is final until its end: tables of several instances are merged in any order, and a store that lost its list is told
///   again by whoever remembers.
/// - News have numbers. A shard asks for those behind the last it saw; one that is far behind gets all that hold.
/// - Whoever denies is told how far that reached. A denial that could not be told holds here, and is told when the store is back.
/// - Bounded. A full table refuses, and says so; it never forgets what still holds.
public final class DenialTable: Sendable {
    /// How far a denial reached.
    public enum Reach: Sendable, Equatable {
        /// This process alone: nothing is shared.
        case local
        /// It is in the store, and published.
        case shared
        /// The store refused to keep it.
        case refused
        /// The store cannot be asked.
        case unreachable
    }

    /// Told once how far a denial reached. Any thread.
    public typealias Completion = @Sendable (Reach) -> Void

    /// A denial for the store.
    public struct Unsent: Sendable {
        public let denial: Revocation
        /// Whether others have not been told of it: a message goes to them, too.
        public let isNews: Bool
        let completion: Completion?
    }

    /// News that are kept for shards; one that is farther behind goes through the whole table.
    static let recentMaximum = 1024

    private struct Content {
        var denials: [TokenDigest: Revocation] = [:]
        var recent: [Revocation] = []
        /// Of the last denial.
        var number: UInt64 = 0
        var unsent: [Unsent] = []
        var underWay: [Unsent] = []
        var sweptSeconds = -Double.infinity
    }

    /// Whether and how a store shares it.
    public enum Sharing: UInt8, Sendable {
        /// No store is configured.
        case off
        /// One is, and cannot be asked, or its list has not been read yet.
        case cutOff
        /// What other instances deny is known here.
        case current
    }

    private let content = Mutex(Content())
    private let latest = Atomic<UInt64>(0)
    private let mode = Atomic<UInt8>(Sharing.off.rawValue)
    private let dropped = Atomic<UInt64>(0)
    private let capacity: Int
    /// Ended denials are looked for at most this often; it reads the whole table.
    private static let sweepSeconds = 60.0

    /// An empty table.
    public init(capacity: Int = TokenLimits.denials) { self.capacity = capacity }

    /// Denials held, ended ones included until the next sweep.
    public var count: Int { content.withLock { $0.denials.count } }
    /// Denials that found no room.
    public var droppedCount: UInt64 { dropped.load(ordering: .relaxed) }
    /// Number of the latest denial: a shard that has seen it has seen all.
    public var latestNumber: UInt64 { latest.load(ordering: .acquiring) }

    /// Whether it is shared. Said by whoever talks to the store.
    public var sharing: Sharing {
        get { Sharing(rawValue: mode.load(ordering: .acquiring)) ?? .off }
        set { mode.store(newValue.rawValue, ordering: .releasing) }
    }

    // MARK: - Denying

    /// Denies tokens from now on. The number of the denial, under which shards find it, 0 when it held already; nil when the table is
    /// full, and then `completion` is not called.
    public func deny(_ denial: Revocation, nowSeconds: Double, completion: @escaping Completion) -> UInt64? {
        guard denial.expirySeconds > nowSeconds else {
            // It has ended everywhere.
            completion(sharing == .off ? .local : .shared)
            return 0
        }
        let (number, reach) = content.withLock { content -> (UInt64?, Reach?) in
            guard let number = insert(denial, &content, nowSeconds) else { return (nil, nil) }
            switch sharing {
            case .off: return (number, .local)
            case .cutOff:
                queue(Unsent(denial: denial, isNews: true, completion: nil), &content)
                return (number, .unreachable)
            case .current:
                queue(Unsent(denial: denial, isNews: true, completion: completion), &content)
                return (number, nil)
            }
        }
        if let reach { completion(reach) }
        return number
    }

    /// Takes over what other instances denied; how many were news.
    public func merge(_ denials: [Revocation], nowSeconds: Double) -> Int {
        content.withLock { content in
            let before = content.number
            for denial in denials where denial.expirySeconds > nowSeconds { _ = insert(denial, &content, nowSeconds) }
            return Int(content.number - before)
        }
    }

    /// The number under which the denial is news, 0 when it is none; nil when there is no room.
    private func insert(_ denial: Revocation, _ content: inout Content, _ nowSeconds: Double) -> UInt64? {
        let digest = denial.digest
        var news = denial
        if let known = content.denials[digest] {
            if denial.isCovered(by: known) { return 0 }
            news = known.merged(with: denial)
        } else {
            if content.denials.count >= capacity || nowSeconds >= content.sweptSeconds + Self.sweepSeconds {
                content.sweptSeconds = nowSeconds
                content.denials = content.denials.filter { $0.value.expirySeconds > nowSeconds }
            }
            guard content.denials.count < capacity else {
                dropped.add(1, ordering: .relaxed)
                return nil
            }
        }
        content.denials[digest] = news
        content.number += 1
        content.recent.append(news)
        if content.recent.count >= 2 * Self.recentMaximum { content.recent.removeFirst(Self.recentMaximum) }
        latest.store(content.number, ordering: .releasing)
        return content.number
    }

    private func queue(_ unsent: Unsent, _ content: inout Content) {
        // As many as can be denied; one that finds no room is in the table, which is told as a whole when the store is back.
        if content.unsent.count < capacity { content.unsent.append(unsent) } else { unsent.completion?(.unreachable) }
    }

    // MARK: - Shards

    /// Denials since a number, and that of the last.
    public func take(since number: UInt64) -> (denials: [Revocation], number: UInt64) {
        content.withLock { content in
            let missing = content.number - number
            if missing > content.recent.count { return (Array(content.denials.values), content.number) }
            return (Array(content.recent.suffix(Int(missing))), content.number)
        }
    }

    // MARK: - The store

    /// Denials to write, in the order they came; they are under way until `confirm` or `abandon`.
    public func takeUnsent(maximum: Int) -> [Unsent] {
        content.withLock { content in
            let taken = Array(content.unsent.prefix(maximum))
            content.unsent.removeFirst(taken.count)
            content.underWay += taken
            return taken
        }
    }

    /// The store answered for the oldest `count` under way.
    public func confirm(_ count: Int, isKept: Bool) {
        let settled = content.withLock { content -> [Unsent] in
            let settled = Array(content.underWay.prefix(count))
            content.underWay.removeFirst(settled.count)
            return settled
        }
        for item in settled { item.completion?(isKept ? .shared : .refused) }
    }

    /// The store cannot be asked: who waits is told, and what is under way will be told again.
    public func abandon() {
        let waiting = content.withLock { content -> [Unsent] in
            let waiting = content.underWay + content.unsent
            content.underWay = []
            content.unsent = waiting.filter(\.isNews).map { Unsent(denial: $0.denial, isNews: true, completion: nil) }
            return waiting
        }
        for item in waiting { item.completion?(.unreachable) }
    }

    /// All that hold are to be written again, but for what the store is known to have: it may have lost them.
    public func sendAll(nowSeconds: Double, except known: [TokenDigest: Revocation] = [:]) {
        content.withLock { content in
            content.unsent = content.unsent.filter(\.isNews)
            content.unsent += content.denials
                .filter { item in item.value.expirySeconds > nowSeconds && known[item.key].map(item.value.isCovered(by:)) != true }.values
                .map { Unsent(denial: $0, isNews: false, completion: nil) }
        }
    }

    /// Whether something is to be written.
    public var hasUnsent: Bool { content.withLock { !$0.unsent.isEmpty } }
}
