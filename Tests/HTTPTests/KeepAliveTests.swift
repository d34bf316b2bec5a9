import HTTP
import Testing

/// One request after the other, and many at once.
@Suite struct KeepAliveTests {
    private let plain = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

    @Test func aConnectionCarriesRequestAfterRequest() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        for number in 0..<5 {
            bench.write(client, "GET /\(number) HTTP/1.1\r\nHost: h\r\n\r\n")
            let answers = Answer.parse(bench.read(client))
            #expect(answers.map(\.text) == ["GET /\(number) "])
            #expect(answers.first?.status == 200 && answers.first?.has("Connection: close") == false)
        }
        #expect(!bench.isEnded(client) && bench.shard.buffersHeld == 0)
        bench.finish()
    }

    @Test func closeAndOldVersionsEndTheConnection() throws {
        let cases: [(head: String, ends: Bool, field: String?)] = [
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true, "Connection: close"),
            ("GET / HTTP/1.0\r\n\r\n", true, "Connection: close"),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, "Connection: keep-alive"),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", false, nil),
        ]
        for item in cases {
            let bench = try ServerBench()
            let client = try bench.client()
            bench.write(client, item.head)
            let answers = Answer.parse(bench.read(client))
            bench.turns(3)
            #expect(answers.count == 1 && answers[0].status == 200, "\(item.head)")
            if let field = item.field { #expect(answers[0].has(field), "\(item.head)") }
            #expect(bench.isEnded(client) == item.ends, "\(item.head)")
            bench.finish()
        }
    }

    @Test func tenRequestsInOneBufferAreAnsweredInOrder() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, (0..<10).map { "GET /\($0) HTTP/1.1\r\nHost: h\r\n\r\n" }.joined())
        #expect(Answer.parse(bench.read(client)).map(\.text) == (0..<10).map { "GET /\($0) " })
        bench.finish()
    }

    /// Requests of every kind, cut at every position: the answers are the same.
    @Test func pipelinedRequestsCutAnywhereGiveTheSameAnswers() throws {
        let stream = Array((0..<10).map { number in
            switch number % 4 {
            case 0: "GET /\(number) HTTP/1.1\r\nHost: h\r\n\r\n"
            case 1: "POST /\(number) HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
            case 2: "POST /\(number) HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n"
            default: "HEAD /\(number) HTTP/1.1\r\nHost: h\r\n\r\n"
            }
        }.joined().utf8)
        let heads: Set = [3, 7]
        let expected = ["GET /0 ", "POST /1 hello", "POST /2 abcde", "", "GET /4 ", "POST /5 hello", "POST /6 abcde", "", "GET /8 ",
                        "POST /9 hello"]
        let bench = try ServerBench()
        for cut in 0..<stream.count {
            let client = try bench.client()
            bench.write(client, Array(stream[..<cut]))
            #expect(bench.shard.buffersHeld == 0, "what waits holds no buffer of the pool")
            bench.write(client, Array(stream[cut...]))
            let texts = Answer.parse(bench.read(client), heads: heads).map(\.text)
            #expect(texts == expected, "cut at \(cut)")
            bench.kernel.remoteClose(client)
            bench.turn(until: { bench.shard.slotsUsed == 0 })
        }
        bench.finish()
    }

    @Test func byteByByteGivesTheSameAnswers() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        let stream = plain + "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n2\r\nyz\r\n0\r\n\r\n" + plain
        for byte in stream.utf8 { bench.write(client, [byte]) }
        #expect(Answer.parse(bench.read(client)).map(\.text) == ["GET /a ", "POST /b xyz", "GET /a "])
        bench.finish()
    }

    @Test func anAnswerToHeadHasTheLengthAndNoBody() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n" + plain)
        let answers = Answer.parse(bench.read(client), heads: [0])
        #expect(answers.count == 2 && answers[0].has("Content-Length: 8") && answers[1].text == "GET /a ")
        bench.finish()
    }

    @Test func a204HasNoLength() throws {
        let bench = try ServerBench()
        bench.answer = { _ in Response(status: 204) }
        let client = try bench.client()
        bench.write(client, plain)
        let answers = Answer.parse(bench.read(client))
        #expect(answers.first?.status == 204 && answers.first?.fields.contains { $0.hasPrefix("Content-Length") } == false)
        bench.finish()
    }

    /// A thousand requests at once from a client that reads nothing: what it is not given is not read from it either.
    @Test func aClientThatDoesNotReadIsNotServedOn() throws {
        let bench = try ServerBench(outgoing: 2000)
        let client = try bench.client()
        let requests = Array(String(repeating: plain, count: 1000).utf8)
        bench.write(client, requests)
        let served = bench.seen.count
        #expect(served < 100)
        #expect(bench.shard.buffersHeld <= 20)
        // It reads on: everything is answered, in order and once.
        var bytes: [UInt8] = []
        bench.turn(until: {
            bytes += bench.read(client)
            return bench.seen.count == 1000
        })
        bench.turns(40)
        bytes += bench.read(client)
        bench.turn(until: {
            bytes += bench.read(client)
            return Answer.parse(bytes).count == 1000
        })
        #expect(Answer.parse(bytes).map(\.text) == [String](repeating: "GET /a ", count: 1000))
        bench.finish()
    }

    @Test func aClientThatNeverReadsIsDropped() throws {
        var limits = ServerLimits()
        limits.drainMilliseconds = 3000
        let bench = try ServerBench(limits: limits, outgoing: 2000)
        let client = try bench.client()
        bench.write(client, Array(String(repeating: plain, count: 1000).utf8))
        bench.wait(milliseconds: 3100)
        #expect(bench.http.connectionCount == 0)
        bench.turn(until: { bench.shard.slotsUsed == 0 })
        #expect(client.isReleased)
        bench.finish()
    }

    @Test func aClientThatHasFinishedGetsItsAnswers() throws {
        for outgoing in [1 << 20, 300] {
            let bench = try ServerBench(outgoing: outgoing)
            let client = try bench.client()
            let requests = Array(String(repeating: plain, count: 40).utf8)
            _ = requests.withUnsafeBytes { bench.kernel.remoteWrite(client, $0.baseAddress!, requests.count) }
            bench.kernel.remoteFinish(client)
            var bytes: [UInt8] = []
            bench.turn(until: {
                bytes += bench.read(client)
                return bench.isEnded(client)
            })
            #expect(Answer.parse(bytes).count == 40, "room for \(outgoing) bytes")
            bench.finish()
        }
    }

    @Test func aClientThatFinishesInTheMiddleOfARequestIsForgotten() throws {
        for start in ["GET / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc", ""] {
            let bench = try ServerBench()
            let client = try bench.client()
            bench.write(client, plain + start)
            bench.kernel.remoteFinish(client)
            bench.turn(until: { bench.shard.slotsUsed == 0 })
            #expect(bench.seen.count == 1 && Answer.parse(bench.read(client)).count == 1)
            bench.finish()
        }
    }
}
