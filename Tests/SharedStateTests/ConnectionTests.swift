import HTTP
import Policy
import Testing

@testable import SharedState

/// The conversation with a store that is slow, wrong, or gone, on a simulated kernel.
@Suite("Connection to the store")
struct ConnectionTests {
    private let places = RedisScript.places.digest

    @Test("answers may come in as many pieces as they have bytes", arguments: [false, true])
    func pieces(bytewise: Bool) throws {
        let bench = try SimulatedStoreBench()
        try bench.greet(bytewise: bytewise)
        #expect(bench.notices == ["connected redis://10.0.0.9:6379/0"])
        let claim = try bench.claim()
        let question = try bench.request()
        #expect(question[0] == "EVALSHA" && question[1] == places && question[3] == "sluice:")
        #expect(question[4] == "s:" + Digest.hexSHA256("s") && question[6...9] == ["0", "1", "8", "2"])
        bench.write("*2\r\n:1\r\n:0\r\n", bytewise: bytewise)
        #expect(bench.turn(until: { !bench.limits.places.takeDecided(shard: 0).isEmpty }))
        guard case .granted(let granted) = try #require(claim.take()) else { return #expect(Bool(false)) }
        bench.limits.places.release(granted)
        bench.finish()
    }

    @Test("credentials and database are said before anything else, and never to the operator")
    func credentials() throws {
        let bench = try SimulatedStoreBench("redis://us%65r:p%40ss@10.0.0.9/7")
        #expect(try #require(bench.command(within: 1000)) == ["AUTH", "user", "p@ss"])
        #expect(try #require(bench.command()) == ["SELECT", "7"])
        bench.write("-WRONGPASS invalid username-password pair for user p@ss\r\n")
        #expect(bench.turn(until: { !bench.notices.isEmpty }))
        #expect(bench.notices == ["lost redis://10.0.0.9:6379/7: refused: WRONGPASS"])
        bench.finish()
    }

    @Test("a script the store does not know is sent whole")
    func unknownScript() throws {
        let bench = try SimulatedStoreBench()
        try bench.greet()
        _ = try bench.claim()
        let call = try bench.request()
        bench.write("-NOSCRIPT No matching script. Please use EVAL.\r\n")
        let whole = try bench.request()
        #expect(whole[0] == "EVAL" && whole[1] == RedisScript.places.text && whole[2...] == call[2...])
        bench.write("*2\r\n:1\r\n:0\r\n")
        #expect(bench.turn(until: { !bench.limits.places.takeDecided(shard: 0).isEmpty }))
        bench.finish()
    }

    @Test("a store that accepts and says nothing is given up, and tried again with growing pauses")
    func mute() throws {
        let bench = try SimulatedStoreBench()
        #expect(bench.turn(until: { bench.peers.count == 1 }))
        let began = bench.shard.now
        #expect(!bench.limits.places.isShared)
        #expect(bench.turn(until: { bench.notices.count == 1 }))
        #expect(bench.notices[0] == "lost redis://10.0.0.9:6379/0: no answer within 2000 ms")
        #expect(bench.shard.now - began <= 2200)
        #expect(bench.counters.read(.timeouts) == 1)
        bench.isListening = false
        bench.pass(milliseconds: 20_000)
        #expect((8...25).contains(bench.counters.read(.connections)), "pauses grow to two seconds and no further")
        #expect(bench.notices.count == 1, "one line for one change")
        bench.isListening = true
        let peers = bench.peers.count
        #expect(bench.turn(until: { bench.peers.count > peers }))
        bench.forgetReceived()
        try bench.greet()
        #expect(bench.notices.last == "connected redis://10.0.0.9:6379/0")
        bench.finish()
    }

    @Test("a connection that the store never confirmed does not hide the one before it")
    func unconfirmed() throws {
        let bench = try SimulatedStoreBench()
        try bench.greet()
        let claim = try bench.claim()
        let first = try bench.request()
        bench.write("*2\r\n:1\r\n:0\r\n")
        #expect(bench.turn(until: { !bench.limits.places.takeDecided(shard: 0).isEmpty }))
        guard case .granted(let granted) = try #require(claim.take()) else { return #expect(Bool(false)) }
        bench.closeConnection()
        #expect(bench.turn(until: { bench.peers.count == 2 }))
        bench.forgetReceived()
        #expect(try #require(bench.command(within: 1000))[0] == "SELECT")
        bench.write("+OK\r\n")
        #expect(try #require(bench.command())[0] == "SET")
        bench.closeConnection()
        #expect(bench.turn(until: { bench.peers.count == 3 }))
        bench.forgetReceived()
        try bench.greet()
        let restated = try bench.request()
        #expect(restated[1] == places && restated[6] == "1" && restated[5] != first[5])
        #expect(restated.last == first[5], "what the first instance holds there is this one's")
        bench.write("*2\r\n:1\r\n:0\r\n")
        bench.limits.places.release(granted)
        bench.finish()
    }

    @Test("a late answer ends the connection; who waits is judged here, and the next connection states the truth")
    func late() throws {
        let bench = try SimulatedStoreBench()
        try bench.greet()
        let claims = [try bench.claim(), try bench.claim()]
        let first = try bench.request()
        let began = bench.shard.now
        #expect(bench.turn(until: { !bench.limits.places.isShared }))
        #expect(bench.shard.now - began <= 400)
        #expect(bench.notices.last == "lost redis://10.0.0.9:6379/0: no answer within 250 ms")
        for claim in claims {
            guard case .granted = try #require(claim.take()) else { return #expect(Bool(false)) }
        }
        #expect(bench.limits.places.fallbacks == 2)
        let peers = bench.peers.count
        #expect(bench.turn(until: { bench.peers.count > peers }))
        try bench.greet()
        let stated = try bench.request()
        #expect(stated[1] == places && stated[6...7] == ["2", "0"])
        #expect(stated[5] != first[5], "a new connection is a new instance: what the old one may still do counts for nobody")
        #expect(stated[12] == first[5], "and names the former one, whose count is not another's")
        bench.write("*2\r\n:2\r\n:0\r\n")
        let removal = try bench.request()
        #expect(removal == ["DEL", "sluice:instance:\(first[5])", "sluice:recall:\(first[5])"])
        bench.write(":1\r\n")
        bench.finish()
    }

    @Test("what is no answer to the question ends the connection", arguments: [
        "*1\r\n:1\r\n", "*2\r\n:-1\r\n:0\r\n", "*2\r\n:1\r\n:-1\r\n", "*2\r\n:99999999999\r\n:0\r\n",
        "*2\r\n$1\r\nx\r\n:0\r\n", ":5\r\n", "$-1\r\n", "*-1\r\n", "+OK\r\n", "nonsense\r\n", "*9000\r\n", "*2147483647\r\n",
        "$99999999999999999999\r\n",
        "-GONE the instance is not known\r\n", "-OOM command not allowed\r\n", "\u{0}\u{0}\u{0}\r\n",
        String(repeating: "*1\r\n", count: 12),
    ])
    func nonsense(answer: String) throws {
        let bench = try SimulatedStoreBench()
        try bench.greet()
        let claim = try bench.claim()
        _ = try bench.request()
        bench.write(answer)
        #expect(bench.turn(until: { bench.counters.read(.connected) == 0 }))
        if bench.notices.count > 1 { #expect(!bench.notices[1].contains("not allowed") && !bench.notices[1].contains("known")) }
        let admission = claim.take()
        if case .granted = admission {} else { #expect(Bool(false), "the waiting client is judged here: \(String(describing: admission))") }
        bench.finish()
    }

    @Test("the store closes the connection in the middle of an answer")
    func cut() throws {
        let bench = try SimulatedStoreBench()
        try bench.greet()
        _ = try bench.claim()
        _ = try bench.request()
        bench.write("*2\r\n:1\r")
        bench.closeConnection()
        #expect(bench.turn(until: { !bench.limits.places.isShared }))
        #expect(bench.notices.last == "lost redis://10.0.0.9:6379/0: the store closed the connection")
        bench.finish()
    }

    @Test("no more requests are under way than the pipeline holds")
    func pipeline() throws {
        let bench = try SimulatedStoreBench()
        try bench.greet()
        #expect(try #require(bench.command())[1] == RedisScript.pulse.digest)
        for number in 0..<600 { _ = try bench.claim("session \(number)") }
        var asked = 0
        while asked < StoreLimits.pipelineMaximum - 1, try #require(bench.command())[1] == places { asked += 1 }
        #expect(bench.command(within: 10) == nil, "the pulse is the last that fits")
        bench.write("*3\r\n*0\r\n:0\r\n:0\r\n" + String(repeating: "*2\r\n:1\r\n:0\r\n", count: asked))
        while let command = bench.command(within: 100) {
            #expect(command[1] == places)
            asked += 1
            bench.write("*2\r\n:1\r\n:0\r\n")
        }
        #expect(asked == 600)
        #expect(bench.limits.places.takeDecided(shard: 0).count == 600)
        bench.finish()
    }

    @Test("without settings nothing is opened and nobody waits")
    func unset() throws {
        let bench = try SimulatedStoreBench(nil)
        bench.pass(milliseconds: 5000)
        #expect(bench.peers.isEmpty && bench.notices.isEmpty && bench.counters.read(.connections) == 0)
        #expect(throws: SimulatedStoreBench.Silence.self) { try bench.claim() }
        #expect(bench.limits.places.fallbacks == 0)
        bench.finish()
    }

    @Test("other settings mean another connection, none an end; the same ones change nothing")
    func settings() throws {
        let bench = try SimulatedStoreBench()
        try bench.greet()
        let location = try #require(RedisLocation("redis://10.0.0.9"))
        bench.store.apply(RedisSettings(location: location))
        #expect(bench.counters.read(.connections) == 1)
        bench.store.apply(RedisSettings(location: location, prefix: "other:"))
        bench.forgetReceived()
        #expect(bench.counters.read(.connections) == 2 && bench.counters.read(.connected) == 0)
        #expect(bench.turn(until: { bench.peers.count == 2 && bench.peers[1].socket != nil }))
        #expect(try bench.request()[0] == "SELECT")
        bench.write("+OK\r\n")
        #expect(try bench.request()[1].hasPrefix("other:instance:"))
        bench.write("+OK\r\n")
        #expect(bench.turn(until: { bench.counters.read(.connected) == 1 }))
        bench.store.apply(nil)
        #expect(bench.notices.last == "left redis://10.0.0.9:6379/0")
        #expect(!bench.limits.places.isShared && bench.counters.read(.configured) == 0)
        bench.finish()
    }
}
