@testable import HTTP
import Testing

/// Bodies: by length, in chunks, too large, announced.
@Suite struct BodyTests {
    private func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) } }

    @Test(arguments: [0, 1, 4095, 4096, 65536, 1 << 20]) func aBodyArrivesWhole(_ count: Int) throws {
        let bench = try ServerBench()
        bench.answer = { Response(status: 200, body: Array("\($0.body.count)".utf8)) }
        let client = try bench.client()
        let body = pattern(count)
        let head = Array("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: \(count)\r\n\r\n".utf8)
        bench.write(client, head + body + Array("GET / HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
        #expect(bench.seen.map(\.path) == ["/b", "/"] && bench.violations == [])
        #expect(bench.seen.first?.body == body)
        bench.turns(20)
        #expect(Answer.parse(bench.read(client)).count == 2)
        bench.finish()
    }

    @Test(arguments: [(1, 70_000), (7, 100_000), (65_536, 1 << 20), (1 << 20, 1 << 20)])
    func aChunkedBodyArrivesWhole(_ chunk: Int, _ count: Int) throws {
        let bench = try ServerBench()
        bench.answer = { Response(status: 200, body: Array("\($0.body.count)".utf8)) }
        let client = try bench.client()
        let body = pattern(count)
        var wire = Array("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".utf8)
        for start in stride(from: 0, to: count, by: chunk) {
            let part = body[start..<min(start + chunk, count)]
            wire += Array(String(part.count, radix: 16).utf8) + [13, 10] + part + [13, 10]
        }
        wire += Array("0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n".utf8)
        for start in stride(from: 0, to: wire.count, by: 200_000) {
            bench.write(client, Array(wire[start..<min(start + 200_000, wire.count)]))
        }
        #expect(bench.seen.map(\.path) == ["/c", "/next"] && bench.violations == [])
        #expect(bench.seen.first?.body == body)
        bench.finish()
    }

    /// Answered straight or later, as DNS over HTTPS answers.
    @Test(arguments: [false, true]) func whatDecodedABodyGoesWithItsRequest(_ isLater: Bool) throws {
        let bench = try ServerBench()
        bench.answersDirectly = true
        let client = try bench.client()
        let wire = "POST \(isLater ? "/later" : "/c") HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        for _ in 0..<3 {
            bench.write(client, wire)
            #expect(bench.http.state.pointee.table[0].cold == nil)
            if isLater { #expect(bench.answerPostponed()) }
            bench.turns(3)
            #expect(bench.http.state.pointee.table[0].cold == nil && Answer.parse(bench.read(client)).count == 1)
        }
        bench.finish()
    }

    @Test func tooLargeBodiesAreRefusedAndNothingBehindThemIsRead() throws {
        let lengths = ["Content-Length: 1048577", "Content-Length: 9223372036854775807"]
        for field in lengths {
            let bench = try ServerBench()
            let client = try bench.client()
            let head = "POST /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: seven\r\n\(field)\r\n\r\n"
            bench.write(client, head + "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
            let answers = Answer.parse(bench.read(client))
            #expect(answers.count == 1 && answers[0].status == 413 && answers[0].has("Connection: close"))
            #expect(answers[0].has("X-Request-Id: seven") && answers[0].has("X-Path: /b"))
            #expect(bench.seen.isEmpty && bench.violations == [.contentTooLarge])
            bench.finish()
        }
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "POST /b HTTP/1.1\r\nHost: h\r\nX-Request-Id: eight\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        bench.write(client, "100000\r\n")
        let answers = Answer.parse(bench.read(client))
        #expect(answers.map(\.status) == [413] && answers[0].has("X-Request-Id: eight") && bench.seen.isEmpty)
        bench.finish()
    }

    @Test func brokenChunksAreRefused() throws {
        for wire in ["5\r\nhelloX", "g\r\n", "5 \r\nhello\r\n", "1\nx\r\n", "0\r\nbad field\r\n\r\n"] {
            let bench = try ServerBench()
            let client = try bench.client()
            bench.write(client, "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
            bench.write(client, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(Answer.parse(bench.read(client)).map(\.status) == [400], "\(wire)")
            #expect(bench.seen.isEmpty)
            bench.turns(3)
            #expect(bench.isEnded(client))
            bench.finish()
        }
    }

    @Test func continueIsSentBeforeTheBodyAndOnlyThen() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        #expect(String(decoding: bench.read(client), as: UTF8.self) == "HTTP/1.1 100 Continue\r\n\r\n")
        bench.write(client, "ok")
        #expect(Answer.parse(bench.read(client)).map(\.text) == ["POST /b ok"])
        // Refused before it is asked for.
        bench.write(client, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        #expect(Answer.parse(bench.read(client)).map(\.status) == [413])
        bench.finish()
    }

    /// Two bodies at once on two connections: the shard's one head serves both in turn.
    @Test func bodiesOfTwoConnectionsDoNotMeet() throws {
        let bench = try ServerBench()
        let one = try bench.client()
        let two = try bench.client()
        bench.write(one, "POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab")
        bench.write(two, "PUT /two HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nAB\r\n")
        bench.write(one, "cd")
        bench.write(two, "2\r\nCD\r\n0\r\n\r\n")
        #expect(bench.seen == [
            ServerBench.Seen(method: "POST", path: "/one", body: Array("abcd".utf8)),
            ServerBench.Seen(method: "PUT", path: "/two", body: Array("ABCD".utf8)),
        ])
        #expect(Answer.parse(bench.read(one)).first?.has("Connection: close") == true)
        #expect(Answer.parse(bench.read(two)).first?.has("Connection: close") == false)
        bench.finish()
    }

    /// What slow senders hold is counted over the shard: the newest is refused, the others go on.
    @Test func tooManyUnfinishedRequestsRefuseTheNewest() throws {
        var limits = ServerBench.patient
        limits.shardInputBytes = 3 << 20
        let bench = try ServerBench(limits: limits)
        let head = Array("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n".utf8)
        for _ in 0..<4 {
            let client = try bench.client()
            bench.write(client, head + pattern(900_000))
            if bench.overloadedCount > 0 { break }
        }
        #expect(bench.overloadedCount == 1 && bench.http.state.pointee.inputBytes <= limits.shardInputBytes)
        let refused = bench.clients[bench.clients.count - 1]
        #expect(Answer.parse(bench.read(refused)).map(\.status) == [503])
        bench.write(bench.clients[0], pattern(100_000))
        #expect(bench.seen.count == 1 && bench.seen[0].body.count == 1_000_000)
        bench.finish()
    }
}
