import Engine
import HTTP
import Policy
import Synchronization
import Testing

@testable import SharedState

/// Denials and budgets of JWT proxies, with a store that the test plays and with a real one.
@Suite("Sharing of JWT proxies")
struct ProxySharingTests {
    private final class Told: Sendable {
        private let list = Mutex<[DenialTable.Reach]>([])
        var reaches: [DenialTable.Reach] { list.withLock { $0 } }
        func add(_ reach: DenialTable.Reach) { list.withLock { $0.append(reach) } }
    }

    private static func denial(_ name: String) -> Revocation { Revocation(target: .tokenID(name), expirySeconds: 4_000_000_000) }

    @Test("answers of another shape are none")
    func shapes() {
        #expect(StoreAnswer.denied(.integer(0)) == 0 && StoreAnswer.denied(.integer(-1)) == nil && StoreAnswer.denied(.absent) == nil)
        #expect(StoreAnswer.watch(.array([.integer(2), .integer(7)]))?.instances == 2)
        #expect(StoreAnswer.watch(.array([.integer(0), .integer(7)])) == nil)
        #expect(StoreAnswer.watch(.array([.integer(1), .integer(-7)])) == nil)
        #expect(StoreAnswer.watch(.array([.integer(1)])) == nil)
        let page = StoreAnswer.denials(.array([.text("{}"), .text("5"), .text("x"), .text("1.763e15")]))
        #expect(page?.documents == ["{}", "x"] && page?.last == 1_763_000_000_000_000)
        #expect(StoreAnswer.denials(.array([.text("{}")])) == nil)
        #expect(StoreAnswer.denials(.array([.text("{}"), .text("nan")])) == nil)
        #expect(StoreAnswer.denials(.array([.text("{}"), .text("-1")])) == nil)
        let heard = StoreAnswer.message(.array([.text("pmessage"), .text("ws:*"), .text("ws:a"), .text("1")]))
        #expect(heard?.channel == "ws:a" && heard?.payload == "1")
        #expect(StoreAnswer.message(.array([.text("psubscribe"), .text("ws:*"), .integer(1)])) == nil)
        #expect(StoreAnswer.message(.integer(1)) == nil)
    }

    @Test("two instances know each other's denials, a third reads them, a store that lost them is told again")
    func denials() throws {
        guard let instances = try RealInstances(2, denials: "p_") else { return }
        let limits = instances.limits
        #expect(instances.turn { limits.allSatisfy { $0.denials.sharing == .current } })
        let told = Told()
        for index in 0..<500 {
            _ = limits[index % 2].denials.deny(Self.denial("t\(index)"), nowSeconds: SharedStore.nowSeconds) { told.add($0) }
        }
        #expect(instances.turn { limits.allSatisfy { $0.denials.count == 500 } })
        #expect(instances.turn { told.reaches.count == 500 })
        #expect(told.reaches.allSatisfy { $0 == .shared })
        try instances.add(denials: "p_")
        #expect(instances.turn { instances.limits[2].denials.count == 500 && instances.limits[2].denials.sharing == .current })
        #expect(instances.turn { instances.limits.allSatisfy { $0.budgets.knownInstances == 3 } })
        #expect(instances.limits[2].denials.take(since: 0).denials.allSatisfy { $0.expirySeconds == 4_000_000_000 })
        instances.finish()
    }

    @Test("instances with another prefix keep their denials to themselves, but for what is published")
    func prefixes() throws {
        guard let instances = try RealInstances(1, denials: "p_") else { return }
        try instances.add(denials: nil)
        #expect(instances.turn { instances.limits[0].denials.sharing == .current })
        _ = instances.limits[0].denials.deny(Self.denial("t"), nowSeconds: SharedStore.nowSeconds) { _ in }
        #expect(instances.turn { !instances.limits[0].denials.hasUnsent })
        #expect(instances.limits[1].denials.count == 0 && instances.limits[1].denials.sharing == .off)
        instances.finish()
    }

    @Test("where another store keeps denials, Redis neither gets nor gives them, and budgets are shared all the same")
    func budgetsAlone() throws {
        guard let instances = try RealInstances(1, denials: "p_") else { return }
        try instances.add(denials: "p_", keepsDenials: false)
        let (keeper, other) = (instances.limits[0], instances.limits[1])
        other.denials.sharing = .current
        #expect(instances.turn { keeper.denials.sharing == .current && other.budgets.knownInstances == 2 })
        _ = other.denials.deny(Self.denial("of the other"), nowSeconds: SharedStore.nowSeconds) { _ in }
        _ = keeper.denials.merge([Self.denial("of the keeper")], nowSeconds: SharedStore.nowSeconds)
        keeper.denials.sendAll(nowSeconds: SharedStore.nowSeconds)
        #expect(instances.turn { !keeper.denials.hasUnsent })
        let began = MonotonicClock.seconds
        _ = instances.turn { MonotonicClock.seconds - began >= 1 }
        #expect(other.denials.hasUnsent && other.denials.count == 1 && keeper.denials.count == 1 && other.denials.sharing == .current)
        instances.finish()
        #expect(other.denials.sharing == .current, "the end of Redis is not the end of the other store")
    }

    @Test("instances that use a budget at once have what it holds together", arguments: [2, 4])
    func budgets(count: Int) throws {
        guard let instances = try RealInstances(count, denials: "p_") else { return }
        #expect(instances.turn { instances.limits.allSatisfy { $0.denials.sharing == .current } })
        let rate = try #require(MessageRate(perSecond: 200, burst: 50))
        let cells = instances.limits.map { $0.budgets.makeCell("wsrl:test", rate) }
        let began = MonotonicClock.seconds
        var admitted = 0
        _ = instances.turn {
            for (cell, shard) in zip(cells, instances.shards) {
                for _ in 0..<20 where cell.take(rate, nowNanoseconds: shard.nowNanoseconds) == 0 { admitted += 1 }
            }
            return MonotonicClock.seconds - began >= 4
        }
        let budget = 50 + 200 * (MonotonicClock.seconds - began)
        #expect(abs(Double(admitted) - budget) <= budget / 10, "\(admitted) of \(budget)")
        instances.finish()
    }
}
