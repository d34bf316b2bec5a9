import Policy
import Testing
import Wire

@Suite("Message rate")
struct MessageRateTests {
    private static let second: UInt64 = 1_000_000_000

    @Test("the compat numbers: 30 at once, the 31st not, then 10 a second")
    func compat() throws {
        let rate = try #require(MessageRate(perSecond: 10, burst: 30))
        let cell = MessageRateCell()
        let start = 1000 * Self.second
        for _ in 0..<30 { #expect(cell.take(rate, nowNanoseconds: start) == 0) }
        #expect(cell.take(rate, nowNanoseconds: start) == Self.second / 10)
        #expect(cell.take(rate, nowNanoseconds: start + Self.second / 10 - 1) == 1)
        #expect(cell.take(rate, nowNanoseconds: start + Self.second / 10) == 0)
        #expect(cell.take(rate, nowNanoseconds: start + Self.second / 10) > 0)
        // A greedy sender gets burst + rate × time, exactly.
        var admitted = 0
        for step: UInt64 in 0..<100_000 where cell.take(rate, nowNanoseconds: start + Self.second + step * 100_000) == 0 { admitted += 1 }
        #expect((108...110).contains(admitted))
        // After silence the whole burst is there again, and no more.
        let later = start + 1000 * Self.second
        #expect((0..<100).count { _ in cell.take(rate, nowNanoseconds: later) == 0 } == 30)
        #expect(cell.takeSpent() == 31 + admitted + 30 && cell.takeSpent() == 0)
    }

    @Test("rates that mean none", arguments: [(0, 1), (-1, 5), (10, 0), (1_000_001, 1), (1, 1_000_001)])
    func off(perSecond: Int, burst: Int) { #expect(MessageRate(perSecond: perSecond, burst: burst) == nil) }

    @Test("what others used is deducted, and a clock that goes back gives nothing")
    func settled() throws {
        let rate = try #require(MessageRate(perSecond: 10, burst: 30))
        let cell = MessageRateCell()
        let now = 50 * Self.second
        cell.settle(rate, messages: 5, nowNanoseconds: now)
        #expect((0..<30).count { _ in cell.take(rate, nowNanoseconds: now) == 0 } == 5)
        #expect(cell.take(rate, nowNanoseconds: now - Self.second) > Self.second)
        cell.settle(rate, messages: -20, nowNanoseconds: now)
        #expect(cell.take(rate, nowNanoseconds: now) == 26 * Self.second / 10, "20 in debt, and 5 that the store has not heard of")
    }

    @Test("sessions that share a cell share its budget")
    func shared() async throws {
        let rate = try #require(MessageRate(perSecond: 1, burst: 1000))
        let cell = MessageRateCell()
        let admitted = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask { (0..<1000).count { _ in cell.take(rate, nowNanoseconds: 7 * Self.second) == 0 } }
            }
            return await group.reduce(0, +)
        }
        #expect(admitted == 1000)
    }
}

/// A value whose changing calls may stand in expectations.
private final class Held<Value> {
    var value: Value
    init(_ value: Value) { self.value = value }
}

extension Held where Value == CircuitBreaker {
    var state: CircuitBreaker.State { value.state }
    func admit(_ settings: CircuitBreaker.Settings, nowMilliseconds: Int64) -> CircuitBreaker.Admission {
        value.admit(settings, nowMilliseconds: nowMilliseconds)
    }
    func succeeded(_ pass: CircuitBreaker.Pass) -> Bool { value.succeeded(pass) }
    func failed(_ pass: CircuitBreaker.Pass, _ settings: CircuitBreaker.Settings, nowMilliseconds: Int64) -> Bool {
        value.failed(pass, settings, nowMilliseconds: nowMilliseconds)
    }
    func abandoned(_ pass: CircuitBreaker.Pass) { value.abandoned(pass) }
}

extension Held where Value == FailureTable<Int> {
    var count: Int { value.count }
    func failed(_ key: Int, nowMilliseconds: Int64) -> Int64 { value.failed(key, nowMilliseconds: nowMilliseconds) }
    func blockedMilliseconds(_ key: Int, nowMilliseconds: Int64) -> Int64 {
        value.blockedMilliseconds(key, nowMilliseconds: nowMilliseconds)
    }
}

@Suite("Circuit breaker")
struct CircuitBreakerTests {
    private let settings = CircuitBreaker.Settings(threshold: 5, openMilliseconds: 60_000)

    private func opened() -> Held<CircuitBreaker> {
        let breaker = Held(CircuitBreaker())
        for number in 1...5 {
            let admission = breaker.admit(settings, nowMilliseconds: 1000)
            let didOpen = breaker.failed(.regular, settings, nowMilliseconds: 1000)
            #expect(admission == .admitted(.regular) && didOpen == (number == 5))
        }
        return breaker
    }

    @Test("five failures in a row open it; a success in between counts anew")
    func opens() {
        let breaker = Held(CircuitBreaker())
        for _ in 0..<10 {
            for _ in 0..<4 {
                let didOpen = breaker.failed(.regular, settings, nowMilliseconds: 0)
                #expect(!didOpen)
            }
            _ = breaker.succeeded(.regular)
        }
        #expect(breaker.state == .closed)
        #expect(opened().state == .open)
    }

    @Test("half-open: one probe; its success closes")
    func recovers() {
        let breaker = opened()
        #expect(breaker.admit(settings, nowMilliseconds: 31_000) == .refused(retryAfterMilliseconds: 30_000))
        guard case .admitted(let pass) = breaker.admit(settings, nowMilliseconds: 61_000) else { Issue.record("no probe"); return }
        #expect(pass == .probe(number: 1) && breaker.state == .halfOpen)
        for _ in 0..<3 { #expect(breaker.admit(settings, nowMilliseconds: 61_001) == .refused(retryAfterMilliseconds: 0)) }
        // Sessions from before say nothing now.
        #expect(!breaker.succeeded(.regular) && breaker.state == .halfOpen)
        #expect(!breaker.failed(.regular, settings, nowMilliseconds: 61_002) && breaker.state == .halfOpen)
        #expect(breaker.succeeded(pass) && breaker.state == .closed)
        #expect(breaker.admit(settings, nowMilliseconds: 61_003) == .admitted(.regular))
        // The count begins at nothing.
        for _ in 0..<4 { #expect(!breaker.failed(.regular, settings, nowMilliseconds: 61_004)) }
        #expect(breaker.failed(.regular, settings, nowMilliseconds: 61_005))
    }

    @Test("a probe that fails opens it for the whole time again; one given up lets another try")
    func fails() {
        let breaker = opened()
        guard case .admitted(let first) = breaker.admit(settings, nowMilliseconds: 61_000) else { Issue.record("no probe"); return }
        #expect(breaker.failed(first, settings, nowMilliseconds: 62_000) && breaker.state == .open)
        #expect(breaker.admit(settings, nowMilliseconds: 121_999) == .refused(retryAfterMilliseconds: 1))
        guard case .admitted(let second) = breaker.admit(settings, nowMilliseconds: 122_000) else { Issue.record("no probe"); return }
        breaker.abandoned(second)
        guard case .admitted(let third) = breaker.admit(settings, nowMilliseconds: 122_001) else { Issue.record("no probe"); return }
        #expect(!breaker.succeeded(second), "late, and no longer the probe")
        // A probe nobody hears of again.
        #expect(breaker.admit(settings, nowMilliseconds: 152_000) == .refused(retryAfterMilliseconds: 0))
        guard case .admitted(let fourth) = breaker.admit(settings, nowMilliseconds: 152_001) else { Issue.record("no probe"); return }
        #expect(!breaker.succeeded(third) && breaker.succeeded(fourth))
    }
}

@Suite("Endpoint order")
struct EndpointBalancingTests {
    private let names = ["ws://a/", "ws://b/", "ws://c/"]

    @Test("least sessions for the weight, ties in turn")
    func leastSessions() {
        func order(_ weights: [Int], _ sessions: [Int], _ turn: UInt64) -> [Int] {
            EndpointBalancing.leastSessions.order(weights: weights, sessions: sessions, turn: turn, subject: nil, names: names)
        }
        #expect(order([1, 1, 1], [5, 2, 9], 0) == [1, 0, 2])
        #expect(Set((0..<3).map { order([1, 1, 1], [4, 4, 4], $0)[0] }) == [0, 1, 2])
        #expect(order([1, 3, 1], [2, 5, 2], 0)[0] == 1)
        #expect(order([1], [0], 7) == [0])
    }

    @Test("round robin by weight")
    func roundRobin() {
        var counts = [0, 0, 0]
        for turn: UInt64 in 0..<60 {
            let order = EndpointBalancing.roundRobin.order(weights: [3, 2, 1], sessions: [0, 0, 0], turn: turn, subject: nil, names: names)
            counts[order[0]] += 1
            #expect(order.sorted() == [0, 1, 2])
        }
        #expect(counts == [30, 20, 10])
    }

    @Test("a subject stays where it was when another upstream leaves, and weights count")
    func hash() {
        func first(_ subject: String, _ names: [String], _ weights: [Int]) -> String {
            let order = EndpointBalancing.hashSubject.order(
                weights: weights, sessions: [Int](repeating: 0, count: names.count), turn: UInt64(subject.utf8.count),
                subject: subject, names: names)
            return names[order[0]]
        }
        var counts: [String: Int] = [:]
        for number in 0..<6000 {
            let place = first("user-\(number)", names, [1, 1, 2])
            counts[place, default: 0] += 1
            if place != names[2] { #expect(first("user-\(number)", Array(names[..<2]), [1, 1]) == place) }
        }
        #expect(abs((counts[names[0]] ?? 0) - 1500) < 150 && abs((counts[names[2]] ?? 0) - 3000) < 200)
    }
}

@Suite("Close codes")
struct ProxyCloseTests {
    @Test("the table", arguments: [
        (ProxyEnd.badConnect, 1002, "Bad CONNECT", 1002), (.tokenMissing, 1008, "Malformed JWT", 4401),
        (.tokenMalformed, 1008, "Malformed JWT", 4401),
        (.tokenPayload, 1008, "Malformed JWT payload", 4401), (.tokenClaims, 1008, "Invalid JWT claims", 4401),
        (.tokenRefused(reason: "signature"), 1008, "JWT invalid or expired", 4401), (.forbidden, 1008, "Forbidden", 4403),
        (.tokenExpired, 1008, "Token expired", 4401), (.tokenRevoked, 1008, "Token revoked", 4401),
        (.noRoute, 1003, "unknown WS path", 1003),
        (.messageRate, 1008, "Rate limit exceeded", 4429), (.sessionLimit, 1013, "session limit", 4429),
        (.upstreamUnavailable, 1014, "upstream unavailable", 1014), (.upstreamVanished, 1014, "upstream unavailable", 1014),
        (.tryAgainLater, 1013, "try again later", 1013), (.messageTooBig, 1009, "message too big", 1009),
        (.protocolError, 1002, "protocol error", 1002), (.draining, 1001, "going away", 1012),
        (.connectTimeout, 1008, "connect timeout", 4408),
        (.peerTooSlow, 1008, "peer too slow", 1013), (.idle, 1001, "idle", 1001), (.textFrame, 1003, "binary frames only", 1003),
    ] as [(ProxyEnd, UInt16, String, UInt16)])
    func table(end: ProxyEnd, compat: UInt16, reason: String, extended: UInt16) {
        let restart = CloseCode.serviceRestart
        #expect(end.close(.compat, draining: restart) == ProxyClose(CloseCode(rawValue: compat), reason))
        #expect(end.close(.extended, draining: restart).code.rawValue == extended)
        #expect(end.close(.standard, draining: restart).code.rawValue == (extended >= 4000 ? 1008 : extended))
        for codes in ProxyCloseCodes.allCases { #expect(end.close(codes).code.isValidOnWire) }
    }

    @Test("native texts")
    func native() {
        #expect(ProxyEnd.tokenMissing.close(.extended).reason == "token missing")
        #expect(ProxyEnd.tokenMalformed.close(.standard).reason == "token malformed")
        #expect(ProxyEnd.tokenRefused(reason: "kid_unknown").close(.extended).reason == "token kid_unknown")
        #expect(ProxyEnd.draining.disconnectReason == .serverShuttingDown && ProxyEnd.tokenMissing.connectRefusal == .notAuthorised)
        #expect(ProxyClose(.normal, String(repeating: "ü", count: 100)).reason.utf8.count == 122)
    }

    private func forwarded(_ payload: [UInt8]) -> [UInt8] { ForwardedClose(payload: payload.span).payload }

    @Test("received frames as they are passed on")
    func received() {
        #expect(forwarded([]) == [] && forwarded([3]) == [3, 234])
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4000, 4999] as [UInt16] {
            let payload = [UInt8(code >> 8), UInt8(code & 255)] + Array("bye ü".utf8)
            #expect(forwarded(payload) == payload)
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] as [UInt16] {
            #expect(forwarded([UInt8(code >> 8), UInt8(code & 255)] + Array("x".utf8)) == [3, 234])
        }
        #expect(forwarded([3, 232, 0xFF]) == [3, 232], "a reason that is no text")
    }
}

@Suite("Authentication failures")
struct FailureTableTests {
    @Test("ten a minute, then one second, doubling to sixty")
    func blocks() throws {
        let table = Held(try #require(FailureTable<Int>(failuresPerMinute: 10)))
        for _ in 0..<10 { #expect(table.failed(1, nowMilliseconds: 0) == 0) }
        #expect(table.blockedMilliseconds(1, nowMilliseconds: 0) == 0)
        var now: Int64 = 0
        for seconds: Int64 in [1, 2, 4, 8, 16, 32, 60, 60] {
            #expect(table.failed(1, nowMilliseconds: now) == seconds * 1000)
            #expect(table.blockedMilliseconds(1, nowMilliseconds: now + seconds * 1000 - 1) == 1)
            now += seconds * 1000
            #expect(table.blockedMilliseconds(1, nowMilliseconds: now) == 0)
        }
        #expect(table.blockedMilliseconds(2, nowMilliseconds: 0) == 0)
        // A minute of quiet behind the last block forgets it.
        #expect(table.failed(1, nowMilliseconds: now + 60_000) == 0)
        #expect(FailureTable<Int>(failuresPerMinute: 0) == nil)
    }

    @Test("bounded, and quiet keys make room")
    func bounded() throws {
        let table = Held(try #require(FailureTable<Int>(failuresPerMinute: 1)))
        for key in 0..<70_000 { _ = table.failed(key, nowMilliseconds: 0) }
        #expect(table.count == FailureTable<Int>.maximumKeys)
        _ = table.failed(-1, nowMilliseconds: 120_000)
        #expect(table.count == 1)
    }

    @Test("limits of IPv6 are of the /64")
    func keys() throws {
        let first = try #require(IPAddress("2001:db8:1:2::5"))
        let second = try #require(IPAddress("2001:db8:1:2:ffff::1"))
        #expect(first.limitKey == second.limitKey && first.limitKey != IPAddress("2001:db8:1:3::5")?.limitKey)
        #expect(IPAddress("::ffff:10.0.0.1")?.limitKey == IPAddress("10.0.0.1")?.limitKey)
        #expect(IPAddress("10.0.0.1")?.limitKey != IPAddress("10.0.0.2")?.limitKey)
    }
}
