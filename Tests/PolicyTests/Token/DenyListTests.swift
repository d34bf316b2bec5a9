import Policy
import Testing

private let now = Double(Issuer.now)

private func read(_ json: String) -> Result<Revocation, Revocation.Failure> {
    do throws(Revocation.Failure) {
        return .success(try Revocation(json: Array(json.utf8).span, nowSeconds: now))
    } catch {
        return .failure(error)
    }
}

/// Revocations by every form, and who is denied by them.
@Suite struct DenyListTests {
    private func token(_ changes: [String: String?] = [:]) throws -> VerifiedToken {
        try Issuer.verify(Issuer.token(claims: Issuer.claims(changes))).get()
    }

    @Test("an operator's `exp` is the token's: the denial outlives its leeway, and is there for as long as it takes to end sessions")
    func leeway() throws {
        func expiry(_ exp: Double, leewaySeconds: Int?) throws -> Double {
            let json = Array(#"{"jti":"t","exp":\#(exp)}"#.utf8)
            return try Revocation(json: json.span, nowSeconds: now, leewaySeconds: leewaySeconds).expirySeconds
        }
        #expect(try expiry(now + 100, leewaySeconds: 30) == now + 130 && expiry(now + 100, leewaySeconds: nil) == now + 100)
        #expect(try expiry(now - 10, leewaySeconds: 30) == now + 60 && expiry(now - 5000, leewaySeconds: 0) == now + 60)
    }

    @Test("each form denies what it names", arguments: [
        (#"{"sub":"alice","jti":"t-1"}"#, true), (#"{"sub":"bob","jti":"t-1"}"#, false), (#"{"sub":"alice","jti":"t-2"}"#, false),
        (#"{"jti":"t-1"}"#, true), (#"{"jti":"t-11"}"#, false), (#"{"sub":"alice"}"#, true), (#"{"sub":"bob"}"#, false),
        (#"{"sub":"alice","before":1700000000}"#, true), (#"{"sub":"alice","before":1699999999}"#, false), (#"{"sid":"s-1"}"#, true),
        (#"{"sid":"s"}"#, false), (#"{"iss":"https://id.example","sub":"alice"}"#, true), (#"{"iss":"https://x","sub":"alice"}"#, false),
        (#"{"iss":"https://id.example","jti":"t-1"}"#, true), (#"{"iss":"https://x","jti":"t-1"}"#, false),
        (#"{"iss":"https://id.example","sid":"s-1"}"#, true), (#"{"iss":"https://id.example","sub":"alice","jti":"t-1"}"#, true),
    ])
    func forms(json: String, isDenied: Bool) throws {
        let token = try token()
        let revocation = try read(json).get()
        var list = DenyList()
        #expect(!list.denies(token, nowSeconds: now) && list.insert(revocation, nowSeconds: now) == .kept)
        #expect(list.denies(token, nowSeconds: now) == isDenied && revocation.denies(token) == isDenied)
        // And after it has been to another instance.
        let copy = try read(revocation.json).get()
        #expect(copy == revocation)
        // It ends.
        #expect(!list.denies(token, nowSeconds: now + 86_400))
    }

    @Test("tokens that do not say when they were issued, or who they are")
    func incomplete() throws {
        let timeless = try token(["iat": Issuer.absent, "jti": Issuer.absent, "sid": Issuer.absent])
        var list = DenyList()
        _ = list.insert(try read(#"{"jti":"t-1"}"#).get(), nowSeconds: now)
        _ = list.insert(try read(#"{"sid":"s-1"}"#).get(), nowSeconds: now)
        #expect(!list.denies(timeless, nowSeconds: now))
        _ = list.insert(try read(#"{"sub":"alice","before":5}"#).get(), nowSeconds: now)
        #expect(list.denies(timeless, nowSeconds: now), "it may have been issued before")
        // Composed and decomposed are two subjects.
        let composed = try token(["sub": "\"\u{e9}\""])
        let decomposed = try read("{\"sub\":\"e\u{301}\"}").get()
        list.removeAll()
        _ = list.insert(decomposed, nowSeconds: now)
        #expect(!list.denies(composed, nowSeconds: now) && !decomposed.denies(composed))
    }

    @Test("requests that are refused, with the text of the answer", arguments: [
        ("", "invalid payload"), ("[]", "invalid payload"), ("{", "invalid payload"), ("null", "invalid payload"),
        (#"{"sub":1,"jti":"x"}"#, "invalid payload"), (#"{"sub":"a","jti":null}"#, "invalid payload"),
        (#"{"sub":"a","sub":"b"}"#, "invalid payload"), (#"{"sub":"a","before":"now"}"#, "invalid payload"),
        (#"{"sub":"a","exp":-1}"#, "invalid payload"), (#"{"sub":"a","exp":1e400}"#, "invalid payload"),
        (#"{"sub":"a","sid":"b"}"#, "invalid payload"), (#"{"iss":"","sub":"a"}"#, "invalid payload"), (#"{"sid":""}"#, "invalid payload"),
        ("{}", "missing required field: sub"), (#"{"iss":"x"}"#, "missing required field: sub"),
        (#"{"sub":"","jti":"x"}"#, "missing required field: sub"), (#"{"sub":"a","jti":""}"#, "missing required field: jti"),
        (#"{"sub":"\#(String(repeating: "a", count: 1025))"}"#, "invalid payload"),
    ])
    func refused(json: String, text: String) {
        guard case .failure(let failure) = read(json) else {
            Issue.record("accepted")
            return
        }
        #expect(failure.text == text)
    }

    @Test("the order of arrival does not matter, and twice is once")
    func merging() throws {
        let token = try token()
        let early = try read(#"{"sub":"alice","before":1600000000,"exp":1700000500}"#).get()
        let late = try read(#"{"sub":"alice","before":1700000000,"exp":1700000100}"#).get()
        for order in [[early, late], [late, early], [late, early, late, early]] {
            var list = DenyList()
            for each in order { #expect(list.insert(each, nowSeconds: now) == .kept) }
            #expect(list.count == 1 && list.denies(token, nowSeconds: now + 499) && !list.denies(token, nowSeconds: now + 500))
        }
    }

    @Test("two denials of one name are one: the later end and the later moment")
    func oneName() throws {
        let early = Revocation(target: .subject("s", beforeSeconds: 1), expirySeconds: 20)
        let late = Revocation(target: .subject("s", beforeSeconds: 2), expirySeconds: 10)
        #expect(early.digest == late.digest && !early.isCovered(by: late) && !late.isCovered(by: early))
        let both = early.merged(with: late)
        #expect(both == Revocation(target: .subject("s", beforeSeconds: 2), expirySeconds: 20) && both == late.merged(with: early))
        #expect(early.isCovered(by: both) && late.isCovered(by: both) && both.isCovered(by: both))
        // Names that are written alike are not the same.
        let names = [
            Revocation(target: .token(subject: "a", tokenID: "bc"), expirySeconds: 1),
            Revocation(target: .token(subject: "ab", tokenID: "c"), expirySeconds: 1), Revocation(target: .tokenID("a"), expirySeconds: 1),
            Revocation(target: .session("a"), expirySeconds: 1), Revocation(target: .subject("a", beforeSeconds: 0), expirySeconds: 1),
            Revocation(target: .tokenID("a"), issuer: "i", expirySeconds: 1),
            Revocation(target: .tokenID("e\u{301}"), expirySeconds: 1), Revocation(target: .tokenID("\u{e9}"), expirySeconds: 1),
        ]
        #expect(Set(names.map(\.digest)).count == names.count)
    }

    @Test("bounded: what has ended makes room, what holds is never forgotten")
    func capacity() throws {
        func denial(_ index: Int, _ expiry: Double) -> Revocation { Revocation(target: .tokenID("t-\(index)"), expirySeconds: expiry) }
        var list = DenyList(capacity: 10)
        for index in 0..<10 { #expect(list.insert(denial(index, now + Double(index + 1)), nowSeconds: now) == .kept) }
        #expect(list.insert(denial(10, now + 100), nowSeconds: now) == .full && list.insert(denial(3, now + 100), nowSeconds: now) == .kept)
        #expect(list.insert(denial(11, now), nowSeconds: now) == .ended)
        #expect(list.denies(try token(), nowSeconds: now))
        #expect(list.insert(denial(10, now + 100), nowSeconds: now + 2) == .kept && list.count == 9)
        #expect(!list.denies(try token(), nowSeconds: now + 2))
        #expect(list.denies(try token(["jti": "\"t-3\""]), nowSeconds: now + 50))
        list.removeAll()
        #expect(list.count == 0)
        // The real bound, filled.
        var full = DenyList()
        for index in 0..<TokenLimits.denials { _ = full.insert(denial(index, now + 10), nowSeconds: now) }
        #expect(full.count == TokenLimits.denials && full.insert(denial(-1, now + 10), nowSeconds: now) == .full)
        #expect(full.denies(try token(["jti": "\"t-65535\""]), nowSeconds: now))
    }

    @Test("channels and messages")
    func channels() throws {
        let revocation = try read(#"{"sub":"auth0|a:b","jti":"x:1"}"#).get()
        #expect(revocation.channel == "ws:revocations:auth0|a:b:x:1")
        func denials(_ channel: String, _ payload: String) -> [Revocation] {
            Revocation.denials(channel: channel, payload: Array(payload.utf8).span, nowSeconds: now)
        }
        #expect(denials("anything", revocation.json) == [revocation])
        let guesses = denials(revocation.channel, "1")
        #expect(guesses.count == 3 && guesses.contains { $0.target == revocation.target })
        #expect(denials("ws:revocations:alice:t-1", "1").map(\.target) == [.token(subject: "alice", tokenID: "t-1")])
        #expect(denials("ws:revocations:alice", "1").isEmpty && denials("ws:revocations::x", "1").isEmpty)
        #expect(denials("other:a:b", "1").isEmpty)
        #expect(denials("ws:revocations:a:b", "2").isEmpty && denials("ws:revocations:a:b", "").isEmpty)
        #expect(denials("ws:revocations:a:b", "{}").isEmpty)
        #expect(denials("ws:revocations:" + String(repeating: ":", count: 1000), "1").count <= 16)
        #expect(denials("ws:revocations:" + String(repeating: "a:", count: 5000), "1").isEmpty)
    }

    @Test("a gate refuses a denied token that it remembers, and forgets it")
    func gate() throws {
        var gate = Issuer.gate()
        let good = Issuer.token(claims: Issuer.claims())
        guard case .accepted(let token, _) = Issuer.judge(&gate, good) else { return }
        _ = gate.denyList.insert(try read(#"{"jti":"t-1","exp":1700000060}"#).get(), nowSeconds: now)
        guard case .refused(.revoked, _) = Issuer.judge(&gate, good) else {
            Issue.record("a revoked token was accepted")
            return
        }
        #expect(gate.cachedCount == 0 && gate.recheck(token, nowMilliseconds: Issuer.nowMilliseconds) == .revoked)
        guard case .refused(.revoked, _) = Issuer.judge(&gate, good, after: 59_999) else {
            Issue.record("it came back")
            return
        }
        #expect(gate.recheck(token, nowMilliseconds: Issuer.nowMilliseconds + 60_000) == nil)
    }
}

/// When sessions end.
@Suite struct SessionExpiryTests {
    private func end(_ expiry: Double?, _ rule: ExpiryRule, maximum: Int? = nil) -> SessionEnd? {
        .of(expirySeconds: expiry, rule: rule, leewaySeconds: 30, startedMilliseconds: 1_000_000, maximumSeconds: maximum)
    }

    @Test func rules() {
        #expect(end(2000, .close) == SessionEnd(milliseconds: 2_030_000, cause: .expired))
        #expect(end(2000.5, .grace(seconds: 60)) == SessionEnd(milliseconds: 2_090_500, cause: .expired))
        #expect(end(2000, .ignore) == nil && end(nil, .close) == nil)
        #expect(end(2000, .ignore, maximum: 600) == SessionEnd(milliseconds: 1_600_000, cause: .tooOld))
        #expect(end(2000, .close, maximum: 600)?.cause == .tooOld && end(1001, .close, maximum: 600)?.cause == .expired)
        #expect(end(9_007_199_254_740_992, .close)?.cause == .expired)
    }

    @Test("the first hundred of a second end at once, the others within five seconds, evenly")
    func spread() {
        var spread = ExpirySpread()
        for second in 0..<3 {
            var delays: [Int64] = []
            for _ in 0..<5100 { delays.append(spread.delayMilliseconds(nowMilliseconds: Int64(second) * 1000 + 500)) }
            #expect(delays.prefix(100).allSatisfy { $0 == 0 } && delays.dropFirst(100).allSatisfy { (1...5000).contains($0) })
            for tenth in 0..<10 {
                let count = delays.dropFirst(100).filter { $0 > tenth * 500 && $0 <= (tenth + 1) * 500 }.count
                #expect(count == 500)
            }
        }
        #expect(spread.delayMilliseconds(nowMilliseconds: 10_000) == 0)
    }
}
