import Testing

@testable import Engine

/// How many handshake steps a turn makes, by what the turn before received.
@Suite struct HandshakeBudgetTests {
    /// Steps of one turn when each takes so long.
    private func steps(_ budget: inout HandshakeBudget, stepNanoseconds: UInt64) -> Int {
        var clock: UInt64 = 1_000_000_000
        var made = 0
        while budget.mayStep({ clock }) {
            made += 1
            clock += stepNanoseconds
        }
        return made
    }

    @Test func messagesKeepTheTimeShort() {
        var budget = HandshakeBudget(stepsMaximum: 64)
        for _ in 0..<4 { budget.received() }
        budget.beginTurn(receives: 8)
        #expect(steps(&budget, stepNanoseconds: 100_000) == 3)
        // As many messages as handshakes are not few.
        for _ in 0..<4 { budget.received() }
        budget.beginTurn(receives: 16)
        #expect(steps(&budget, stepNanoseconds: 100_000) == 3)
    }

    @Test func aloneTheyMayTakeLonger() {
        var budget = HandshakeBudget(stepsMaximum: 64)
        for _ in 0..<4 { budget.received() }
        budget.beginTurn(receives: 5)
        #expect(steps(&budget, stepNanoseconds: 100_000) == 10)
        // Messages again: at once the short time again.
        budget.received()
        budget.beginTurn(receives: 25)
        #expect(steps(&budget, stepNanoseconds: 100_000) == 3)
    }

    @Test func aTurnWithoutAnyIsNotTakenForAQuietOne() {
        var budget = HandshakeBudget(stepsMaximum: 64)
        budget.beginTurn(receives: 0)
        #expect(steps(&budget, stepNanoseconds: 100_000) == 3)
    }

    @Test func theFirstStepIsAlwaysMadeAndTheNumberIsBounded() {
        var budget = HandshakeBudget(stepsMaximum: 5)
        budget.beginTurn(receives: 0)
        #expect(steps(&budget, stepNanoseconds: 10_000_000) == 1)
        budget.beginTurn(receives: 0)
        #expect(steps(&budget, stepNanoseconds: 1) == 5)
        // Until the next turn there is none, whatever the clock says.
        #expect(!budget.mayStep { 0 })
    }
}
