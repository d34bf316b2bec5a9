import Testing

@testable import Engine

/// The wheel against a list of expiries.
@Suite struct TimerWheelTests {
    /// What a timer is for whoever set it: a number and a time.
    struct Reference {
        var expiries: [UInt32: UInt64] = [:]
        var current: UInt64 = 0

        mutating func set(_ timer: UInt32, _ wanted: UInt64) {
            expiries[timer] = min(max(wanted, current + 1), current + TimerWheel.spanMilliseconds - 1)
        }

        mutating func advance(_ now: UInt64) -> Set<UInt32> {
            current = max(current, now)
            let due = Set(expiries.filter { $0.value <= current }.keys)
            for timer in due { expiries[timer] = nil }
            return due
        }
    }

    @Test(arguments: 1...20)
    func agreesWithAListOfTimes(seed: UInt64) throws {
        var numbers = Numbers(seed: seed)
        var wheel = try #require(TimerWheel(capacity: 64))
        defer { wheel.unmap() }
        var reference = Reference()
        for _ in 0..<3000 {
            let timer = UInt32.random(in: 0..<64, using: &numbers)
            switch Int.random(in: 0..<10, using: &numbers) {
            case 0..<5:
                let distance = UInt64(1) << UInt64.random(in: 0...25, using: &numbers)
                let wanted = reference.current &+ UInt64.random(in: 0...distance, using: &numbers)
                wheel.set(timer, atMilliseconds: wanted)
                reference.set(timer, wanted)
            case 5:
                wheel.clear(timer)
                reference.expiries[timer] = nil
            default:
                let step = UInt64(1) << UInt64.random(in: 0...22, using: &numbers)
                advance(&wheel, &reference, reference.current + UInt64.random(in: 0...step, using: &numbers))
            }
            #expect(wheel.count == reference.expiries.count)
            #expect(wheel.isSet(timer) == (reference.expiries[timer] != nil))
            if let earliest = reference.expiries.values.min() {
                let deadline = try #require(wheel.nextDeadline())
                #expect(deadline <= earliest && deadline > reference.current, "a sleep until the deadline misses no timer")
            } else {
                #expect(wheel.nextDeadline() == nil)
            }
        }
    }

    private func advance(_ wheel: inout TimerWheel, _ reference: inout Reference, _ now: UInt64) {
        wheel.advance(toMilliseconds: now)
        var fired: Set<UInt32> = []
        while let timer = wheel.takeDue() {
            #expect(!fired.contains(timer), "a timer fires once")
            fired.insert(timer)
        }
        #expect(fired == reference.advance(now))
    }

    @Test func aTimerThatIsDueCanStillBeClearedOrMoved() throws {
        var wheel = try #require(TimerWheel(capacity: 4))
        defer { wheel.unmap() }
        for timer in 0..<4 as Range<UInt32> { wheel.set(timer, atMilliseconds: 10) }
        wheel.advance(toMilliseconds: 10)
        let taken = wheel.takeDue()
        let first = try #require(taken)
        let others = (0..<4 as Range<UInt32>).filter { $0 != first }
        wheel.clear(others[0])
        wheel.set(others[1], atMilliseconds: 20)
        let rest = [wheel.takeDue(), wheel.takeDue()]
        #expect(rest == [others[2], nil] && wheel.count == 1)
        wheel.advance(toMilliseconds: 20)
        let last = wheel.takeDue()
        #expect(last == others[1])
    }

    @Test func sleepingFromDeadlineToDeadlineEndsInTime() throws {
        var wheel = try #require(TimerWheel(capacity: 1))
        defer { wheel.unmap() }
        wheel.set(0, atMilliseconds: 5_000_000)
        var sleeps = 0
        while let deadline = wheel.nextDeadline(), wheel.isSet(0) {
            wheel.advance(toMilliseconds: deadline)
            sleeps += 1
            if wheel.takeDue() != nil { break }
        }
        #expect(wheel.current == 5_000_000)
        #expect(sleeps <= 4, "one a level")
    }
}
