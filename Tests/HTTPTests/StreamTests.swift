import Testing

@testable import HTTP

/// Answers that are produced as the client takes them.
@Suite struct StreamTests {
    private func streaming(_ bench: ServerBench, _ count: Int) {
        bench.answer = { request in
            var response = Response(status: 200)
            guard request.path == "/s" else { return Response(status: 200, body: Array("plain".utf8)) }
            response.body = .stream(count: UInt64(count)) { offset, room in
                for index in 0..<room.count { room[index] = UInt8(truncatingIfNeeded: (Int(offset) + index) &* 31) }
            }
            return response
        }
    }

    private func expected(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) } }
    private let request = "GET /s HTTP/1.1\r\nHost: h\r\n\r\n"
    private let plain = "GET /p HTTP/1.1\r\nHost: h\r\n\r\n"

    @Test(arguments: [0, 1, 5000, 3_000_000]) func aStreamArrivesWholeAndTheNextRequestBehindIt(_ count: Int) throws {
        let bench = try ServerBench(outgoing: 30_000)
        streaming(bench, count)
        let client = try bench.client()
        bench.write(client, request + plain)
        var most = 0
        var bytes: [UInt8] = []
        bench.turn(until: {
            most = max(most, bench.shard.buffersHeld)
            bytes += bench.read(client)
            return bytes.suffix(5) == Array("plain".utf8)
        })
        let answers = Answer.parse(bytes)
        #expect(answers.count == 2)
        #expect(answers.first?.body == expected(count) && answers.last?.text == "plain")
        #expect(most <= 4, "a slow client holds a few buffers, not the answer")
        bench.finish()
    }

    @Test func headOfAStreamSendsItsLengthOnly() throws {
        let bench = try ServerBench()
        streaming(bench, 1 << 30)
        let client = try bench.client()
        bench.write(client, "HEAD /s HTTP/1.1\r\nHost: h\r\n\r\n" + plain)
        let answers = Answer.parse(bench.read(client), heads: [0])
        #expect(answers.count == 2 && answers[0].has("Content-Length: 1073741824"))
        bench.finish()
    }

    /// Requests that come while an answer streams wait outside the pool, and never get between its bytes.
    @Test func whatComesWhileAStreamWaitsDoesNotDisturbIt() throws {
        let bench = try ServerBench(outgoing: 20_000)
        streaming(bench, 2_000_000)
        let client = try bench.client()
        bench.write(client, request)
        bench.write(client, plain + "GARBAGE\r\n\r\n")
        #expect(bench.violations.isEmpty)
        var bytes: [UInt8] = []
        bench.turn(until: {
            bytes += bench.read(client)
            return bench.isEnded(client)
        })
        let answers = Answer.parse(bytes)
        #expect(answers.map(\.status) == [200, 200, 400] && answers[0].body == expected(2_000_000))
        bench.finish()
    }

    @Test func aFloodBehindAStreamIsNotTakenIn() throws {
        let bench = try ServerBench(incoming: 100_000, outgoing: 20_000)
        streaming(bench, 2_000_000)
        let client = try bench.client()
        bench.write(client, request)
        let flood = Array(String(repeating: plain, count: 100_000).utf8)
        var sent = 0
        for _ in 0..<60 where sent < flood.count {
            let count = flood.withUnsafeBytes { bench.kernel.remoteWrite(client, $0.baseAddress! + sent, flood.count - sent) }
            if count < 0 { break }
            sent += count
            bench.turn()
        }
        #expect(sent < 1 << 20)
        #expect(bench.http.state.pointee.inputBytes <= 2 << 20 && bench.shard.buffersHeld <= 4)
        bench.finish()
    }

    @Test func aClientThatFinishedBehindItsRequestGetsTheStream() throws {
        let bench = try ServerBench(outgoing: 20_000)
        streaming(bench, 1_000_000)
        let client = try bench.client()
        bench.write(client, request + plain)
        bench.kernel.remoteFinish(client)
        var bytes: [UInt8] = []
        bench.turn(until: {
            bytes += bench.read(client)
            return bench.isEnded(client)
        })
        let answers = Answer.parse(bytes)
        #expect(answers.count == 2 && answers[0].body.count == 1_000_000 && answers[1].text == "plain")
        bench.finish()
    }

    @Test func aClientThatStopsReadingLosesTheStream() throws {
        var limits = ServerBench.patient
        limits.drainMilliseconds = 30_000
        let bench = try ServerBench(limits: limits, outgoing: 20_000)
        streaming(bench, 2_000_000)
        let client = try bench.client()
        bench.write(client, request)
        bench.wait(milliseconds: 25_000)
        #expect(bench.http.connectionCount == 1)
        bench.wait(milliseconds: 10_000)
        #expect(bench.http.connectionCount == 0)
        bench.finish()
    }

    @Test func aPoolWithoutBuffersEndsTheConnectionAndNothingIsLost() throws {
        let bench = try ServerBench(outgoing: 100, small: 8, bulk: 1)
        bench.answer = { _ in Response(status: 200, body: [UInt8](repeating: 1, count: 4_000_000)) }
        let client = try bench.client()
        bench.write(client, plain)
        bench.turns(3)
        #expect(bench.http.connectionCount == 0)
        bench.finish()
    }
}
