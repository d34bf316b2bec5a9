import HTTP
import Testing

/// Answers that come later than their request was handled.
@Suite struct PostponeTests {
    private let later = "GET /later HTTP/1.1\r\nHost: h\r\n\r\n"

    @Test func aPostponedAnswerComesInItsPlace() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n" + later + "GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(Answer.parse(bench.read(client)).map(\.text) == ["GET /a "])
        #expect(bench.postponed.count == 1 && bench.shard.buffersHeld == 0, "what waits holds no buffer")
        // More comes while the answer is awaited: it is kept, and what follows it is not read.
        bench.write(client, "GET /c HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(bench.read(client).isEmpty && bench.seen.count == 2)
        #expect(bench.answerPostponed())
        bench.turns(3)
        #expect(Answer.parse(bench.read(client)).map(\.text) == ["GET /later ", "GET /b ", "GET /c "])
        bench.write(client, "GET /d HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(Answer.parse(bench.read(client)).map(\.text) == ["GET /d "], "the connection is read again")
        bench.finish()
    }

    @Test func headAndCloseAreRemembered() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "HEAD /later HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(bench.answerPostponed())
        bench.turns(3)
        let head = String(decoding: bench.read(client), as: UTF8.self)
        #expect(head.contains("Content-Length: 12\r\n") && head.hasSuffix("\r\n\r\n"))
        bench.write(client, "GET /later HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        #expect(bench.answerPostponed())
        bench.turns(3)
        #expect(Answer.parse(bench.read(client)).first?.has("Connection: close") == true)
        #expect(bench.isEnded(client))
        bench.finish()
    }

    @Test func aClientThatLeftIsNotAnswered() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, later)
        bench.kernel.remoteReset(client)
        bench.turns(5)
        #expect(!bench.answerPostponed())
        // Its place goes to another, who does not get the answer.
        let other = try bench.client()
        bench.write(other, later)
        bench.postponed.append(bench.postponed[0])
        #expect(bench.answerPostponed())
        #expect(!bench.answerPostponed(), "one answer a request")
        bench.turns(3)
        #expect(Answer.parse(bench.read(other)).count == 1)
        bench.finish()
    }

    @Test func aClientThatClosedItsSideIsAnswered() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, later)
        bench.kernel.remoteFinish(client)
        bench.turns(5)
        #expect(bench.answerPostponed())
        bench.turns(3)
        #expect(Answer.parse(bench.read(client)).map(\.text) == ["GET /later "])
        #expect(bench.isEnded(client))
        bench.finish()
    }

    @Test func anAnswerThatNeverComesEndsTheConnection() throws {
        var limits = ServerBench.patient
        limits.answerMilliseconds = 5000
        let bench = try ServerBench(limits: limits)
        let client = try bench.client()
        bench.write(client, later)
        bench.wait(milliseconds: 6000)
        #expect(bench.isEnded(client) && !bench.answerPostponed())
        bench.finish()
    }
}
