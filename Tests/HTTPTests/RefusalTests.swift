import Testing
import Wire

@testable import HTTP

/// Requests the parser refuses: one answer, the end, and nothing behind them is interpreted.
@Suite struct RefusalTests {
    private static let shapes: [(request: String, status: Int)] = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\n\r\n", 417),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET /" + String(repeating: "a", count: 9000) + " HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: " + String(repeating: "a", count: 17000) + "\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: h\r\n" + String(repeating: "A: b\r\n", count: 200) + "\r\n", 431),
    ]

    @Test func everyShapeIsAnsweredOnceAndTheConnectionEnds() throws {
        let behind = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        for (request, status) in Self.shapes {
            for piece in [1 << 20, 700] {
                let bench = try ServerBench()
                let client = try bench.client()
                let bytes = Array((request + behind).utf8)
                for start in stride(from: 0, to: bytes.count, by: piece) where bench.violations.isEmpty {
                    bench.write(client, Array(bytes[start..<min(start + piece, bytes.count)]))
                }
                let answers = Answer.parse(bench.read(client))
                #expect(answers.map(\.status) == [status], "\(request.prefix(60))")
                #expect(answers.first?.has("Connection: close") == true)
                #expect(bench.seen.isEmpty && bench.violations.count == 1)
                bench.turns(3)
                #expect(bench.isEnded(client))
                bench.finish()
            }
        }
    }

    /// What comes behind a refusal is read and dropped, so that the client can read its answer.
    @Test func aClientThatKeepsSendingStillReadsItsAnswer() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "BREW / HTTP/1.1\r\nHost: h\r\n\r\n")
        let more = [UInt8](repeating: 65, count: 100_000)
        _ = more.withUnsafeBytes { bench.kernel.remoteWrite(client, $0.baseAddress!, more.count) }
        bench.turns(4)
        #expect(Answer.parse(bench.read(client)).map(\.status) == [400])
        bench.finish()
    }

    @Test func requestsBeforeTheRefusedOneAreAnswered() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET  /3\r\n\r\n")
        #expect(Answer.parse(bench.read(client)).map(\.status) == [200, 200, 400])
        bench.finish()
    }

    /// A target without an end is refused when it is too long, not when its time is over.
    @Test func anEndlessTargetIsRefusedAsSoonAsItIsTooLong() throws {
        for piece in [100, 4096, 8192] {
            let bench = try ServerBench()
            let client = try bench.client()
            let bytes = Array(("GET /" + String(repeating: "a", count: 8300)).utf8)
            for start in stride(from: 0, to: bytes.count, by: piece) where bench.violations.isEmpty {
                bench.write(client, Array(bytes[start..<min(start + piece, bytes.count)]))
            }
            #expect(bench.violations == [.targetTooLong], "pieces of \(piece)")
            bench.finish()
        }
    }

    /// A refused request behind one with a longer head: the earlier head's length must not be taken for its own.
    @Test func aRefusedRequestDoesNotInheritTheLengthOfTheOneBefore() throws {
        let bench = try ServerBench()
        let client = try bench.client()
        bench.write(client, "GET /long HTTP/1.1\r\nHost: h\r\nCookie: " + String(repeating: "c", count: 15_000) + "\r\n\r\n")
        bench.write(client, "GET /" + String(repeating: "a", count: 8400) + " HTTP/1.1\r\n")
        #expect(bench.violations == [.targetTooLong] && bench.seen.count == 1)
        bench.finish()
        // The loop of a shard takes such a connection away to answer it as an upgrade.
        let second = try ServerBench()
        let socket = try second.client()
        second.write(socket, "GET /long HTTP/1.1\r\nHost: h\r\nCookie: " + String(repeating: "c", count: 15_000) + "\r\n\r\n")
        second.takesRefused = true
        second.write(socket, "GET /" + String(repeating: "a", count: 8400) + " HTTP/1.1\r\nUpgrade: websocket\r\n")
        #expect(second.taken.count == 1)
        second.finish()
    }

    @Test func moreConnectionsThanPlacesAreClosed() throws {
        var limits = ServerBench.patient
        limits.connections = 2
        let bench = try ServerBench(limits: limits)
        let first = try bench.client()
        _ = try bench.client()
        let third = try bench.client()
        bench.turns(5)
        #expect(bench.http.connectionCount == 2 && bench.isEnded(third))
        bench.kernel.remoteFinish(first)
        bench.turn(until: { bench.http.connectionCount == 1 })
        let fourth = try bench.client()
        bench.write(fourth, "GET /4 HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(bench.seen.count == 1)
        bench.finish()
    }
}
