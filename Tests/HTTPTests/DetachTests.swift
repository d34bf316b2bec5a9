import Testing
import Wire

@testable import HTTP

/// Connections that leave the server, and the server's own end.
@Suite struct DetachTests {
    private let upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

    @Test(arguments: [0, 1, 3000, 20_000, 400_000]) func bytesBehindTheHeadGoAlong(_ count: Int) throws {
        let behind = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        // Whole: in the receive buffer. In pieces: in a block.
        for cut in [0, 1, 20] {
            let bench = try ServerBench()
            bench.takesUpgrades = true
            let client = try bench.client()
            let head = Array(upgrade.utf8)
            if cut > 0 { bench.write(client, Array(head[..<cut])) }
            let rest = Array(head[cut...]) + behind
            _ = rest.withUnsafeBytes { bench.kernel.remoteWrite(client, $0.baseAddress!, rest.count) }
            bench.turn(until: { bench.taken.count == 1 })
            let taken = bench.taken.first
            #expect((taken?.count ?? -1) >= 0)
            // What had not come with the head stays with the stream.
            #expect(taken?.bytes == Array(behind.prefix(taken?.bytes.count ?? 0)) && (taken?.bytes.isEmpty == true) == (count == 0))
            #expect(bench.http.connectionCount == 0)
            bench.finish()
        }
    }

    @Test func aRequestBeforeTheUpgradeIsAnsweredAndItsBodyIsNotTakenAlong() throws {
        let bench = try ServerBench()
        bench.takesUpgrades = true
        let client = try bench.client()
        bench.write(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" + upgrade + "frames")
        #expect(bench.seen.count == 1 && bench.taken.map(\.bytes) == [Array("frames".utf8)])
        bench.finish()
    }

    /// An upgrade with a body: the body is not the first bytes of the new protocol.
    @Test func theBodyOfAnUpgradeIsNotTakenAlong() throws {
        let bodies = ["Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"]
        for body in bodies {
            for cut in [0, 30, 90, 91] {  // in the head, in the body
                let bench = try ServerBench()
                bench.takesUpgrades = true
                let client = try bench.client()
                let bytes = Array((upgrade.dropLast() + body + "frames").utf8)
                if cut > 0 { bench.write(client, Array(bytes[..<cut])) }
                bench.write(client, Array(bytes[cut...]))
                #expect(bench.taken.map(\.bytes) == [Array("frames".utf8)], "\(body.prefix(20)) cut at \(cut)")
                bench.finish()
            }
        }
    }

    @Test func drainEndsIdleConnectionsAndAnswersTheOthersLast() throws {
        let bench = try ServerBench()
        let idle = try bench.client()
        let used = try bench.client()
        bench.write(used, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
        let body = try bench.client()
        bench.write(body, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
        bench.http.drain()
        bench.turns(2)
        #expect(bench.isEnded(idle) && Answer.parse(bench.read(used)).count == 1 && bench.isEnded(used))
        bench.write(body, "dy")
        let answers = Answer.parse(bench.read(body))
        #expect(answers.first?.text == "POST /b body" && answers.first?.has("Connection: close") == true)
        // A probe still comes in, and is told that this was all.
        let probe = try bench.client()
        bench.write(probe, "GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(Answer.parse(bench.read(probe)).first?.has("Connection: close") == true)
        bench.finish()
    }

    @Test func silentClientsDoNotHoldADrain() throws {
        let bench = try ServerBench()
        let slow = try bench.client()
        bench.write(slow, "GET / HT")
        bench.http.drain()
        let silent = try bench.client()
        bench.wait(milliseconds: 3000)
        #expect(bench.http.connectionCount == 0 && bench.lateCount == 1)
        #expect(Answer.parse(bench.read(slow)).map(\.status) == [408] && bench.read(silent).isEmpty)
        bench.finish()
    }

    @Test func pipelinedRequestsOutliveADrain() throws {
        let bench = try ServerBench(outgoing: 1000)
        let client = try bench.client()
        bench.write(client, String(repeating: "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", count: 100))
        let served = bench.seen.count
        #expect(served < 100)
        bench.http.drain()
        var bytes: [UInt8] = []
        bench.turn(until: {
            bytes += bench.read(client)
            return bench.isEnded(client)
        })
        // The first answer after the drain says that it is the last.
        let answers = Answer.parse(bytes)
        #expect(answers.count == served + 1 && answers.last?.has("Connection: close") == true)
        bench.finish()
    }
}
