import Testing

@testable import HTTP

/// What slow and silent clients get.
@Suite struct TimeoutTests {
    private func limits() -> ServerLimits {
        var limits = ServerBench.patient
        limits.headMilliseconds = 60_000
        limits.bodyMilliseconds = 50_000
        limits.idleMilliseconds = 72_000
        limits.drainMilliseconds = 30_000
        return limits
    }

    @Test func aClientThatSaysNothingIsClosedWithoutAWord() throws {
        let bench = try ServerBench(limits: limits())
        let client = try bench.client()
        bench.wait(milliseconds: 58_000)
        #expect(bench.http.connectionCount == 1)
        bench.wait(milliseconds: 4000)
        #expect(bench.http.connectionCount == 0 && bench.lateCount == 0 && bench.read(client).isEmpty)
        bench.finish()
    }

    /// The clock runs from the first byte: more bytes buy no time.
    @Test func aSlowHeadIs408() throws {
        let bench = try ServerBench(limits: limits())
        let client = try bench.client()
        bench.wait(milliseconds: 40_000)
        let start = bench.shard.now
        bench.write(client, "GET / HTTP/1.1\r\nX-Request-Id: nine\r\n")
        while bench.lateCount == 0, bench.shard.now < start + 100_000 {
            bench.wait(milliseconds: 5000)
            if bench.lateCount == 0 { bench.write(client, "A: b\r\n") }
        }
        #expect(bench.shard.now >= start + 60_000 && bench.shard.now <= start + 67_000)
        let answers = Answer.parse(bench.read(client))
        #expect(answers.map(\.status) == [408] && answers[0].has("Connection: close") && answers[0].has("X-Request-Id: nine"))
        #expect(bench.seen.isEmpty && bench.isEnded(client))
        bench.finish()
    }

    @Test func aSlowBodyIs408() throws {
        for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            let bench = try ServerBench(limits: limits())
            let client = try bench.client()
            bench.write(client, "POST /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: ten\r\n\(framing)\r\n\r\n")
            // Another connection uses the shard's head meanwhile.
            let other = try bench.client()
            bench.write(other, "GET /other HTTP/1.1\r\nHost: h\r\nX-Request-Id: other\r\n\r\n")
            for _ in 0..<12 where bench.lateCount == 0 {
                bench.write(client, "4\r\nabcd\r\n")
                bench.wait(milliseconds: 4000)
            }
            bench.wait(milliseconds: 4000)
            #expect(bench.lateCount == 1)
            let answers = Answer.parse(bench.read(client))
            #expect(answers.map(\.status) == [408] && answers[0].has("X-Request-Id: ten") && answers[0].has("X-Path: /b"))
            #expect(bench.seen.count == 1)
            bench.finish()
        }
    }

    @Test func anIdleConnectionIsClosedAfterItsTime() throws {
        let bench = try ServerBench(limits: limits())
        let client = try bench.client()
        bench.write(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.wait(milliseconds: 68_000)
        bench.write(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        bench.wait(milliseconds: 67_000)
        #expect(bench.http.connectionCount == 1 && bench.seen.count == 2)
        bench.wait(milliseconds: 8000)
        #expect(bench.http.connectionCount == 0 && bench.lateCount == 0)
        #expect(Answer.parse(bench.read(client)).map(\.status) == [200, 200])
        bench.finish()
    }

    /// The rest of a pipelined request has the time of a head, not that of an idle connection.
    @Test func theStartOfAPipelinedRequestStartsTheHeadsClock() throws {
        let bench = try ServerBench(limits: limits())
        let client = try bench.client()
        bench.write(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HT")
        bench.wait(milliseconds: 55_000)
        #expect(bench.lateCount == 0)
        bench.wait(milliseconds: 8000)
        #expect(bench.lateCount == 1)
        #expect(Answer.parse(bench.read(client)).map(\.status) == [200, 408])
        bench.finish()
    }

    /// A suspended machine: everything is due at once, and nothing breaks.
    @Test func aJumpOfTheClockEndsWhatIsDue() throws {
        let bench = try ServerBench(limits: limits())
        let idle = try bench.client()
        let slow = try bench.client()
        bench.write(slow, "GET / HT")
        bench.kernel.faults.clockJump = 1_000_000
        bench.turns(30)
        bench.kernel.faults.clockJump = 0
        bench.wait(milliseconds: 80_000)
        #expect(bench.http.connectionCount == 0 && bench.lateCount == 1)
        _ = (idle, slow)
        bench.finish()
    }

    @Test func indexesAreUsedAgainWithoutTheOldRequest() throws {
        let bench = try ServerBench(limits: limits())
        for round in 0..<5 {
            let client = try bench.client()
            bench.write(client, "POST /\(round) HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhalf")
            if round % 2 == 0 { bench.kernel.remoteReset(client) } else { bench.kernel.remoteFinish(client) }
            bench.turn(until: { bench.http.connectionCount == 0 })
            let next = try bench.client()
            bench.write(next, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(bench.seen.last == ServerBench.Seen(method: "GET", path: "/next", body: []))
            bench.kernel.remoteReset(next)
            bench.turn(until: { bench.http.connectionCount == 0 })
        }
        #expect(bench.http.state.pointee.touched == 1)
        bench.finish()
    }
}
