import Engine
import Testing

@testable import HTTP

/// Several instances' keepers and a store between them that answers when the test says so.
private final class Instances {
    var keepers: [PlaceKeeper]
    var now: UInt64 = 1000
    /// What the store counts: key name, then instance.
    var stored: [String: [Int]] = [:]
    var recalled: [Set<String>]
    /// Questions asked and not answered, per instance.
    var asked: [[PlaceQuestion]]
    var questions = 0

    init(_ count: Int, sharing: Bool = true) {
        keepers = (0..<count).map { _ in PlaceKeeper() }
        recalled = Array(repeating: [], count: count)
        asked = Array(repeating: [], count: count)
        if sharing { for keeper in keepers { keeper.beginSharing(nowMilliseconds: now) } }
    }

    func admit(_ instance: Int, session: String = "s", address: String = "10.0.0.1", limit: Int, addressLimit: Int = 0) -> Admission {
        keepers[instance].admit(
            session: session, address: address, limits: PlaceLimits(session: limit, address: addressLimit),
            for: PlaceWaiter(shard: 0, owner: Owner(2), context: 0))
    }

    func ask(_ instance: Int) {
        let taken = keepers[instance].takeQuestions(nowMilliseconds: now, maximum: 100)
        questions += taken.count
        asked[instance] += taken
    }

    /// Does what the script does in the real store.
    func answer(_ instance: Int) {
        let waiting = asked[instance]
        asked[instance] = []
        for question in waiting {
            var counts = stored[question.name] ?? Array(repeating: 0, count: keepers.count)
            let others = counts.enumerated().reduce(0) { $0 + ($1.offset == instance ? 0 : $1.element) }
            let free = max(0, question.limit - others - question.held)
            var granted = min(question.wanted, free)
            if granted == question.wanted { granted += min(question.spare, (free - granted) / 8) }
            counts[instance] = question.held + granted
            stored[question.name] = counts
            if granted < question.wanted {
                for other in keepers.indices where other != instance && counts[other] > 0 { recalled[other].insert(question.name) }
            }
            keepers[instance].answered(question, places: counts[instance], others: others, nowMilliseconds: now)
        }
    }

    func tick(_ instance: Int) {
        keepers[instance].passTime(nowMilliseconds: now, recalled: recalled[instance])
        recalled[instance] = []
    }

    /// Time passes and everybody does what is due.
    func settle(milliseconds: UInt64 = 1500) {
        let end = now + milliseconds
        while now < end {
            for instance in keepers.indices {
                tick(instance)
                ask(instance)
                answer(instance)
            }
            now += 50
        }
    }

    /// What was decided for an instance: places granted, refusals counted.
    func decisions(_ instance: Int) -> (granted: [Places], refused: Int) {
        var granted: [Places] = []
        var refused = 0
        for claim in keepers[instance].takeDecided(shard: 0) {
            switch claim.take() {
            case .granted(let places)?: granted.append(places)
            case .refused?: refused += 1
            default: break
            }
        }
        return (granted, refused)
    }

    func used(_ session: String = "s") -> Int { keepers.reduce(0) { $0 + $1.count(.session, session) } }
}

@Suite("Places of connections")
struct PlaceKeeperTests {
    @Test("alone, a process counts for itself and asks nobody")
    func alone() throws {
        let world = Instances(1, sharing: false)
        var held: [Places] = []
        for _ in 0..<3 {
            guard case .granted(let places) = world.admit(0, limit: 3) else { return #expect(Bool(false)) }
            held.append(places)
        }
        if case .refused = world.admit(0, limit: 3) {} else { #expect(Bool(false), "a fourth") }
        #expect(!world.keepers[0].hasQuestions)
        #expect(world.keepers[0].fallbacks == 0)
        for places in held { world.keepers[0].release(places) }
        #expect(world.keepers[0].isEmpty)
    }

    @Test("an address has its own limit, and a refused one returns the session's place")
    func addresses() throws {
        let world = Instances(1, sharing: false)
        guard case .granted(let places) = world.admit(0, session: "a", limit: 9, addressLimit: 1) else { return #expect(Bool(false)) }
        if case .refused = world.admit(0, session: "b", limit: 9, addressLimit: 1) {} else { #expect(Bool(false)) }
        #expect(world.keepers[0].count(.session, "b") == 0)
        world.keepers[0].release(places)
        #expect(world.keepers[0].isEmpty)
    }

    @Test("two instances that open at once reach the limit and do not pass it", arguments: [1, 2, 5, 64])
    func concurrent(limit: Int) {
        let world = Instances(2)
        var granted: [[Places]] = [[], []]
        for _ in 0..<(2 * limit) {
            for instance in 0..<2 {
                if case .granted(let places) = world.admit(instance, limit: limit) { granted[instance].append(places) }
            }
        }
        world.settle()
        var refused = 0
        for instance in 0..<2 {
            let decisions = world.decisions(instance)
            granted[instance] += decisions.granted
            refused += decisions.refused
        }
        #expect(granted[0].count + granted[1].count == limit)
        #expect(world.used() == limit)
        for instance in 0..<2 { for places in granted[instance] { world.keepers[instance].release(places) } }
        world.settle(milliseconds: 3000)
        #expect(world.keepers.allSatisfy { $0.isEmpty })
        #expect(world.stored.values.allSatisfy { $0 == [0, 0] })
    }

    @Test("spare places go where they are needed")
    func recalled() {
        let world = Instances(2)
        var held: [Places] = []
        for _ in 0..<64 { _ = world.admit(0, limit: 64) }
        world.ask(0)
        world.answer(0)
        held = world.decisions(0).granted
        #expect(held.count == 64)
        for _ in 0..<10 { world.keepers[0].release(held.removeLast()) }
        for _ in 0..<10 { _ = world.admit(1, limit: 64) }
        world.settle(milliseconds: 600)
        #expect(world.decisions(1).granted.count == 10)
        #expect(world.used() == 64)
    }

    @Test("connections that come back find the place of the former one without a question")
    func leases() {
        let world = Instances(1)
        _ = world.admit(0, limit: 64)
        world.ask(0)
        world.answer(0)
        var places = world.decisions(0).granted
        let before = world.questions
        for _ in 0..<100 {
            world.keepers[0].release(places.removeLast())
            guard case .granted(let next) = world.admit(0, limit: 64) else { return #expect(Bool(false)) }
            places.append(next)
        }
        for _ in 0..<5 { if case .granted(let next) = world.admit(0, limit: 64) { places.append(next) } }
        #expect(world.questions == before)
        #expect(places.count == 6, "spare places serve the next openings")
    }

    @Test("a store that is lost leaves the decision here, and learns the truth when it is back")
    func lost() {
        let world = Instances(2)
        for _ in 0..<4 { _ = world.admit(0, limit: 4) }
        world.ask(0)
        world.keepers[0].cutOff()
        #expect(world.decisions(0).granted.count == 4)
        #expect(world.keepers[0].fallbacks >= 4)
        for _ in 0..<3 { _ = world.admit(1, limit: 4) }
        world.ask(1)
        world.keepers[1].cutOff()
        #expect(world.decisions(1).granted.count == 3)
        world.asked = [[], []]
        world.stored = [:]
        for keeper in world.keepers { keeper.beginSharing(nowMilliseconds: world.now) }
        world.settle()
        #expect(world.stored.values.first == [4, 3])
        _ = world.admit(1, limit: 4)
        world.settle()
        #expect(world.decisions(1).refused == 1)
    }

    @Test("what is granted to a client that left goes back")
    func cancelled() {
        let world = Instances(1)
        guard case .pending(let claim) = world.admit(0, limit: 64, addressLimit: 5) else { return #expect(Bool(false)) }
        world.ask(0)
        world.keepers[0].cancel(claim)
        world.answer(0)
        world.settle(milliseconds: 3000)
        #expect(world.keepers[0].takeDecided(shard: 0).isEmpty)
        #expect(world.keepers[0].isEmpty)
        guard case .pending(let second) = world.admit(0, limit: 64, addressLimit: 5) else { return #expect(Bool(false)) }
        world.settle(milliseconds: 100)
        world.keepers[0].cancel(second)
        #expect(second.take() == nil)
        world.settle(milliseconds: 3000)
        #expect(world.keepers[0].isEmpty)
    }

    @Test("an entry that was forgotten while it was listed does not take the next one of its key along")
    func listedAndForgotten() throws {
        let world = Instances(1)
        // Granted here although there is a store: the store is to be told, but the connection is gone before.
        guard case .granted(let first) = world.keepers[0].admitAlone(
            session: "s", address: "", limits: PlaceLimits(session: 1, address: 0))
        else { return #expect(Bool(false)) }
        world.keepers[0].release(first)
        guard case .pending = world.admit(0, limit: 1) else { return #expect(Bool(false)) }
        world.ask(0)
        world.answer(0)
        let granted = world.decisions(0).granted
        #expect(granted.count == 1 && world.used() == 1, "the place is counted")
        if case .refused = world.admit(0, limit: 1) {} else { #expect(Bool(false), "a second connection within a limit of one") }
        for places in granted { world.keepers[0].release(places) }
        world.settle(milliseconds: 3000)
        #expect(world.keepers[0].isEmpty)
    }

    @Test("any order of openings, ends, losses and answers keeps the limit and leaks nothing", arguments: 0..<100)
    func random(seed: UInt64) {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        func next(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(bound))
        }
        let world = Instances(3)
        let limit = 1 + next(20)
        var held: [[Places]] = [[], [], []]
        var claims: [[PlaceClaim]] = [[], [], []]
        for step in 0..<3000 {
            let instance = next(3)
            switch next(8) {
            case 0, 1, 2:
                switch world.admit(instance, limit: limit) {
                case .granted(let places): held[instance].append(places)
                case .pending(let claim): claims[instance].append(claim)
                case .refused: break
                }
            case 3 where !held[instance].isEmpty: world.keepers[instance].release(held[instance].remove(at: next(held[instance].count)))
            case 4: world.ask(instance)
            case 5: world.answer(instance)
            case 6:
                world.now += UInt64(next(200))
                world.tick(instance)
            case 7 where next(4) == 0 && !claims[instance].isEmpty:
                world.keepers[instance].cancel(claims[instance].remove(at: next(claims[instance].count)))
            default: held[instance] += world.decisions(instance).granted
            }
            #expect(world.used() <= limit, "step \(step)")
        }
        world.settle()
        for instance in 0..<3 {
            held[instance] += world.decisions(instance).granted
            for places in held[instance] { world.keepers[instance].release(places) }
        }
        world.settle(milliseconds: 4000)
        #expect(world.keepers.allSatisfy { $0.isEmpty })
        #expect(world.stored.values.allSatisfy { $0.allSatisfy { $0 == 0 } })
    }
}
