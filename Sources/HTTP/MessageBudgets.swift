import Engine
import Policy
import Synchronization

/// Rates of messages that the sessions of a key have together, on all shards and, when a store is shared, on all instances.
///
/// Theory of operation
///
/// ```
///   message ─► cell.take ─► admitted or not, at once            spent ──┐ 10 times a second, keys that were used
///                ▲                                                      ▼
///                └──── settle: what all together have left ◄──── store: bucket `wsrl:<key>`
/// ```
/// - An instance leases a slice of a tenth of a second: what it may admit until it has told the store what it admitted. It is all that is
///   left of the budget, so a key that uses one instance loses nothing by there being others; what several admit at once beyond the
///   budget is owed, and nobody gets a slice until it is paid. So in the long run the budget is met, and at any time exceeded
///   by a tenth of a second's messages, or a burst, of each further instance.
/// - No message waits for the store. While it cannot be asked each instance has the budget divided by the number of instances that were
///   known last.
/// - Looking for keys that were used costs the same however many there are (`RateActivity`). Keys beyond its places are judged
///   by this instance alone.
public final class MessageBudgets: Sendable {
    /// One key's use since the last exchange.
    public struct Use: Sendable {
        /// Key in the store.
        public let name: String
        public let rate: MessageRate
        public let spent: Int
        let cell: MessageRateCell
    }

    private struct Entry {
        let cell: MessageRateCell
        let rate: MessageRate
        let name: String
    }

    private struct Content {
        var entries: [Entry?] = []
        var free: [Int] = []
        var parts = 1
        /// Places are given while somebody exchanges; the others' cells have none.
        var local: [ObjectIdentifier: MessageRateCell] = [:]
    }

    private let content = Mutex(Content())
    private let activity = RateActivity()
    private let instances = Atomic<Int>(1)

    /// No key.
    public init() {}

    /// Instances that share the budgets, as last known; at least this one.
    public var knownInstances: Int {
        get { instances.load(ordering: .relaxed) }
        set { instances.store(max(1, newValue), ordering: .relaxed) }
    }

    /// Makes the cell of a key that is new. `remove` has to follow when the key is forgotten.
    public func makeCell(_ name: String, _ rate: MessageRate) -> MessageRateCell {
        content.withLock { content in
            let place: Int
            if let free = content.free.popLast() {
                place = free
            } else if content.entries.count < RateActivity.places {
                place = content.entries.count
                content.entries.append(nil)
            } else {
                let cell = MessageRateCell(place: RateActivity.places)
                cell.divide(into: content.parts)
                content.local[ObjectIdentifier(cell)] = cell
                return cell
            }
            let cell = MessageRateCell(activity: activity, place: place)
            cell.divide(into: content.parts)
            content.entries[place] = Entry(cell: cell, rate: rate, name: name)
            return cell
        }
    }

    /// Forgets a key.
    public func remove(_ cell: MessageRateCell) {
        content.withLock { content in
            if cell.place == RateActivity.places { return content.local[ObjectIdentifier(cell)] = nil }
            content.entries[cell.place] = nil
            content.free.append(cell.place)
        }
    }

    /// Keys there are.
    public var count: Int { content.withLock { $0.entries.count - $0.free.count + $0.local.count } }

    /// Divides every budget into so many parts, of which this instance has one: as many as instances when they cannot tell each other.
    public func divide(into parts: Int) {
        content.withLock { content in
            guard content.parts != parts else { return }
            content.parts = parts
            for entry in content.entries { entry?.cell.divide(into: parts) }
            for cell in content.local.values { cell.divide(into: parts) }
        }
    }

    /// What keys used since the last call, of about `maximum` keys.
    public func takeUses(maximum: Int) -> [Use] {
        let places = activity.take(maximum: maximum)
        if places.isEmpty { return [] }
        return content.withLock { content in
            places.compactMap { place in
                guard place < content.entries.count, let entry = content.entries[place] else { return nil }
                let spent = entry.cell.takeSpent()
                return spent > 0 ? Use(name: entry.name, rate: entry.rate, spent: spent, cell: entry.cell) : nil
            }
        }
    }

    /// Takes what all instances together have left of each key, in the order of the uses; below zero is owed.
    public func settle(_ uses: some Sequence<Use>, left: [Double], nowNanoseconds: UInt64) {
        for (use, left) in zip(uses, left) { use.cell.settle(use.rate, messages: left, nowNanoseconds: nowNanoseconds) }
    }
}
