import HTTP
import Policy
import Synchronization
import Testing

/// Denials of a process: numbered for shards, told to a store, merged with others'.
@Suite struct DenialTableTests {
    private final class Told: Sendable {
        private let list = Mutex<[DenialTable.Reach]>([])
        var reaches: [DenialTable.Reach] { list.withLock { $0 } }
        func tell(_ reach: DenialTable.Reach) { list.withLock { $0.append(reach) } }
    }

    private static func token(_ name: String, until: Double = 1000) -> Revocation {
        Revocation(target: .tokenID(name), expirySeconds: until)
    }

    private static func subject(_ name: String, before: Double, until: Double = 1000) -> Revocation {
        Revocation(target: .subject(name, beforeSeconds: before), expirySeconds: until)
    }

    private func deny(_ table: DenialTable, _ denial: Revocation, _ told: Told = Told()) -> UInt64? {
        table.deny(denial, nowSeconds: 10) { told.tell($0) }
    }

    @Test("news have numbers, and a shard gets those it has not seen")
    func numbers() {
        let table = DenialTable()
        #expect(deny(table, Self.token("a")) == 1)
        #expect(deny(table, Self.token("b")) == 2)
        #expect(deny(table, Self.token("a")) == 0, "it holds already")
        #expect(deny(table, Self.token("ended", until: 9)) == 0)
        #expect(table.latestNumber == 2 && table.count == 2)
        #expect(table.take(since: 0).denials == [Self.token("a"), Self.token("b")])
        #expect(table.take(since: 1).denials == [Self.token("b")])
        #expect(table.take(since: 2).denials.isEmpty)
        #expect(table.merge([Self.token("b"), Self.token("c"), Self.token("old", until: 9)], nowSeconds: 10) == 1)
        #expect(table.take(since: 2).denials == [Self.token("c")])
    }

    @Test("a later end and a later moment are news, earlier ones are not, and no name is taken for another")
    func merging() {
        let table = DenialTable()
        #expect(table.merge([Self.subject("s", before: 100, until: 500)], nowSeconds: 10) == 1)
        #expect(table.merge([Self.subject("s", before: 50, until: 400)], nowSeconds: 10) == 0)
        #expect(table.merge([Self.subject("s", before: 200, until: 300)], nowSeconds: 10) == 1)
        #expect(table.take(since: 1).denials == [Self.subject("s", before: 200, until: 500)])
        #expect(table.merge([Self.token("s")], nowSeconds: 10) == 1)
        // Texts that Unicode holds for equal are not the same claim.
        #expect(table.merge([Self.token("e\u{301}"), Self.token("\u{e9}")], nowSeconds: 10) == 2)
        #expect(table.merge([Revocation(target: .tokenID("s"), issuer: "i", expirySeconds: 1000)], nowSeconds: 10) == 1)
    }

    @Test("a shard far behind gets all that hold")
    func farBehind() {
        let table = DenialTable()
        #expect(table.merge((0..<5000).map { Self.token("t\($0)") }, nowSeconds: 10) == 5000)
        let (denials, number) = table.take(since: 0)
        #expect(denials.count == 5000 && number == 5000)
        #expect(table.take(since: 4999).denials.count == 1)
    }

    @Test("a full table refuses, and makes room for new ones when others have ended")
    func full() {
        let table = DenialTable(capacity: 2)
        #expect(deny(table, Self.token("a", until: 100)) == 1)
        #expect(deny(table, Self.token("b")) == 2)
        #expect(deny(table, Self.token("c")) == nil && table.droppedCount == 1)
        #expect(deny(table, Self.token("b", until: 2000)) == 3, "one that is known is no new one")
        #expect(table.deny(Self.token("c"), nowSeconds: 101) { _ in } == 4)
    }

    @Test("whoever denies is told how far it reached")
    func reaches() {
        let table = DenialTable()
        let told = Told()
        _ = deny(table, Self.token("a"), told)
        #expect(told.reaches == [.local] && !table.hasUnsent)
        table.sharing = .cutOff
        _ = deny(table, Self.token("b"), told)
        #expect(told.reaches == [.local, .unreachable])
        table.sharing = .current
        _ = deny(table, Self.token("c"), told)
        _ = deny(table, Self.token("d"), told)
        #expect(told.reaches.count == 2)
        let unsent = table.takeUnsent(maximum: 10)
        #expect(unsent.map(\.denial) == [Self.token("b"), Self.token("c"), Self.token("d")] && unsent.allSatisfy(\.isNews))
        table.confirm(2, isKept: true)
        #expect(told.reaches == [.local, .unreachable, .shared])
        table.confirm(1, isKept: false)
        #expect(told.reaches == [.local, .unreachable, .shared, .refused])
    }

    @Test("what was under way when the store went is told when it is back, as news; the rest as what is known")
    func lostStore() {
        let table = DenialTable()
        let told = Told()
        table.sharing = .current
        _ = table.merge([Self.token("theirs")], nowSeconds: 10)
        _ = deny(table, Self.token("a"), told)
        _ = deny(table, Self.token("b"), told)
        _ = table.takeUnsent(maximum: 1)
        table.sharing = .cutOff
        table.abandon()
        #expect(told.reaches == [.unreachable, .unreachable])
        table.abandon()
        #expect(told.reaches.count == 2, "once")
        table.sendAll(nowSeconds: 10)
        let unsent = table.takeUnsent(maximum: 100)
        #expect(unsent.prefix(2).map(\.denial) == [Self.token("a"), Self.token("b")] && unsent.prefix(2).allSatisfy(\.isNews))
        #expect(unsent.count == 5 && unsent.dropFirst(2).allSatisfy { !$0.isNews })
        table.sendAll(nowSeconds: 2000)
        #expect(table.takeUnsent(maximum: 100).isEmpty, "those that ended are not told")
    }
}

/// Budgets that several instances share.
@Suite struct MessageBudgetsTests {
    private static let rate = MessageRate(perSecond: 100, burst: 10)!
    private static let second: UInt64 = 1_000_000_000

    private func admitted(_ cell: MessageRateCell, _ tries: Int, at now: UInt64) -> Int {
        (0..<tries).reduce(0) { count, _ in count + (cell.take(Self.rate, nowNanoseconds: now) == 0 ? 1 : 0) }
    }

    @Test("only keys that were used are exchanged, once")
    func uses() {
        let budgets = MessageBudgets()
        let cells = (0..<200).map { budgets.makeCell("k\($0)", Self.rate) }
        #expect(budgets.takeUses(maximum: 1000).isEmpty && budgets.count == 200)
        for index in [0, 63, 64, 199] { #expect(admitted(cells[index], 3, at: Self.second) == 3) }
        let uses = budgets.takeUses(maximum: 1000)
        #expect(uses.map(\.name) == ["k0", "k63", "k64", "k199"] && uses.allSatisfy { $0.spent == 3 })
        #expect(budgets.takeUses(maximum: 1000).isEmpty)
        for cell in cells { budgets.remove(cell) }
        #expect(budgets.count == 0)
        let again = budgets.makeCell("new", Self.rate)
        #expect(again.place < 200, "places are used again")
    }

    @Test("what all have left replaces what this one believed; what is owed is waited for")
    func settling() {
        let budgets = MessageBudgets()
        let cell = budgets.makeCell("k", Self.rate)
        #expect(admitted(cell, 5, at: Self.second) == 5)
        var uses = budgets.takeUses(maximum: 10)
        budgets.settle(uses, left: [2.5], nowNanoseconds: Self.second)
        #expect(admitted(cell, 10, at: Self.second) == 2)
        // Half a token is there, the other half comes in five milliseconds.
        let wait = cell.take(Self.rate, nowNanoseconds: Self.second)
        #expect(wait == 5_000_000)
        uses = budgets.takeUses(maximum: 10)
        budgets.settle(uses, left: [-10], nowNanoseconds: Self.second)
        #expect(admitted(cell, 10, at: Self.second + 105_000_000) == 0)
        #expect(admitted(cell, 10, at: Self.second + 111_000_000) == 1)
    }

    @Test("instances that cannot tell each other have a part of the budget each")
    func parts() {
        let budgets = MessageBudgets()
        let before = budgets.makeCell("a", Self.rate)
        budgets.divide(into: 2)
        let after = budgets.makeCell("b", Self.rate)
        for cell in [before, after] {
            #expect(admitted(cell, 50, at: Self.second) == 5)
            var count = 0
            for step in 1...1000 { count += admitted(cell, 5, at: Self.second + UInt64(step) * 1_000_000) }
            #expect((49...51).contains(count), "\(count)")
        }
        budgets.divide(into: 1)
        #expect(admitted(before, 50, at: 10 * Self.second) == 10)
    }
}
