import Engine
import Glibc
import Policy
import Simulator
import Testing

@testable import HTTP

/// Plain requests.
@Suite struct ClientTests {
    @Test func aGetIsWrittenAndItsAnswerRead() throws {
        let bench = try ClientBench()
        var request = ClientBench.request("/keys?x=1")
        request.fields = [ClientRequest.Field("If-None-Match", "\"7\"")]
        _ = bench.begin(request, context: 9)
        let asked = bench.asked()
        #expect(asked.lines == ["GET /keys?x=1 HTTP/1.1", "Host: 10.0.0.7:8080", "Connection: close", "If-None-Match: \"7\""])
        try bench.answer("HTTP/1.1 200 OK\r\nETag: \"8\"\r\nContent-Length: 5\r\n\r\nhello", pieceBytes: 7)
        let answer = try #require(bench.answered())
        #expect(answer.status == 200 && answer.first("etag") == "\"8\"" && answer.body == Array("hello".utf8))
        #expect(bench.results[0].context == 9)
        bench.finish()
    }

    @Test func aPostCarriesItsBody() throws {
        let bench = try ClientBench()
        var request = ClientBench.request()
        request.method = .post
        request.body = Array(repeating: 65, count: 9000)
        _ = bench.begin(request)
        bench.pass(milliseconds: 5)
        let asked = bench.asked()
        #expect(asked.lines.contains("Content-Length: 9000") && asked.body == request.body)
        try bench.answer("HTTP/1.1 204 No Content\r\n\r\n")
        #expect(bench.answered()?.status == 204)
        bench.finish()
    }

    @Test(arguments: [1, 3, 1000]) func aBodyMayComeInChunks(pieceBytes: Int) throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.request())
        _ = bench.asked()
        let chunks = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
        try bench.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks, pieceBytes: pieceBytes)
        #expect(bench.answered()?.body == Array("abcde".utf8))
        bench.finish()
    }

    @Test func aBodyMayEndWithTheConnection() throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.request())
        _ = bench.asked()
        try bench.answer("HTTP/1.1 200 OK\r\n\r\nall of it", ends: true)
        #expect(bench.answered()?.body == Array("all of it".utf8))
        bench.finish()
    }

    @Test(arguments: ["Content-Length: 11\r\n\r\n", "\r\nabcdefghijk", "Transfer-Encoding: chunked\r\n\r\nb\r\n"])
    func aBodyBeyondItsBoundIsAFailure(rest: String) throws {
        let bench = try ClientBench()
        var request = ClientBench.request()
        request.maximumBodyBytes = 10
        _ = bench.begin(request)
        _ = bench.asked()
        try bench.answer("HTTP/1.1 200 OK\r\n" + rest)
        #expect(bench.failure() == .tooLarge)
        bench.finish()
    }

    @Test(arguments: [
        "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "220 mail.example ESMTP\r\n",
    ])
    func anAnswerThatIsNoneIsAFailure(text: String) throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.request())
        _ = bench.asked()
        try bench.answer(text)
        #expect(bench.failure() == .malformed)
        bench.finish()
    }

    @Test func aHeadWithoutEndIsAFailure() throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.request())
        _ = bench.asked()
        try bench.answer("HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 20_000))
        #expect(bench.failure() == .malformed)
        bench.finish()
    }

    @Test func interimAnswersAreSkipped() throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.request())
        _ = bench.asked()
        try bench.answer("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", pieceBytes: 11)
        #expect(bench.answered()?.body == Array("ok".utf8))
        bench.finish()
    }

    @Test func anEndBeforeTheBodyIsAFailure() throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.request())
        _ = bench.asked()
        try bench.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour", ends: true)
        #expect(bench.failure() == .ended)
        bench.finish()
    }

    @Test func theStepsHaveTheirTimes() throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.request(), context: 1)
        _ = bench.asked()
        #expect(bench.failure() == .answerTimeout)
        #expect((5000...5100).contains(bench.results[0].milliseconds))
        // A server that trickles its body is cut at the end of the whole.
        _ = bench.begin(ClientBench.request(), context: 2)
        _ = bench.asked()
        try bench.answer("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        for _ in 0..<20 where bench.results.count == 1 {
            bench.pass(milliseconds: 1000)
            try bench.answer("x")
        }
        #expect(bench.failure(2) == .answerTimeout)
        #expect((10_000...10_100).contains(bench.results[1].milliseconds))
        bench.finish()
    }

    @Test func aNameIsLookedUpAndItsAddressesTriedInTurn() throws {
        let bench = try ClientBench()
        bench.dials = [.fail(ECONNREFUSED)]
        // Both families of the system's own file, or one: the second try may be a second request.
        _ = bench.begin(ClientBench.request(host: "10.0.0.7"))
        #expect(bench.failure() == .refused(ECONNREFUSED))
        bench.finish()
        let addresses = [SocketAddress("::1", port: 0), SocketAddress("::2", port: 0), SocketAddress("10.0.0.1", port: 0)].compactMap { $0 }
        #expect(NameCache.interleave(addresses).map(\.family) == [AF_INET6, AF_INET, AF_INET6])
    }

    @Test func aRequestThatMayNotBeWrittenFails() throws {
        let bench = try ClientBench()
        var request = ClientBench.request()
        request.fields = [ClientRequest.Field("X", "a\r\nEvil: b")]
        _ = bench.begin(request)
        #expect(bench.failure() == .request)
        bench.finish()
    }

    @Test func aCancelledExchangeLeavesNothing() throws {
        let bench = try ClientBench()
        let ticket = bench.begin(ClientBench.request())
        _ = bench.asked()
        bench.client.cancel(ticket)
        bench.pass(milliseconds: 20_000)
        #expect(bench.results.isEmpty)
        bench.finish()
    }
}

/// Upgrades to WebSocket.
@Suite struct ClientUpgradeTests {
    private static func accept(_ lines: [String]) -> String {
        let key = lines.first { $0.hasPrefix("Sec-WebSocket-Key: ") }.map { String($0.dropFirst(19)) } ?? ""
        return "Sec-WebSocket-Accept: \(Digest.webSocketAccept(key: key))\r\n"
    }
    private static let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"

    @Test func theStreamIsHandedOverWithWhatCameBehindTheHead() throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.upgrade(["mqtt", "mqttv3.1"], extensions: "permessage-deflate"))
        let lines = bench.asked().lines
        #expect(lines.prefix(5) == [
            "GET /ws?a=b HTTP/1.1", "Host: 10.0.0.7:8080", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        ])
        #expect(lines.contains("Sec-WebSocket-Protocol: mqtt, mqttv3.1") && lines.contains("Sec-WebSocket-Extensions: permessage-deflate"))
        try bench.answer(
            Self.switching + Self.accept(lines) + "Sec-WebSocket-Protocol: mqtt\r\n"
                + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\nframes")
        let stream = try #require(bench.upgraded())
        #expect(stream.subprotocol == "mqtt" && stream.extensions == "permessage-deflate; server_no_context_takeover")
        let start = bench.shard.bytes(stream.leftover.buffer) + stream.leftover.start
        let bytes = UnsafeRawBufferPointer(start: start, count: stream.leftover.count)
        #expect(Array(bytes) == Array("frames".utf8))
        bench.shard.release(stream.leftover.buffer)
        bench.shard.close(stream.slot)
        bench.finish()
    }

    @Test func whatWasNotOfferedIsAFailure() throws {
        for (number, (field, failure)) in [
            ("Sec-WebSocket-Protocol: other\r\n", ClientFailure.subprotocol),
            ("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\n", .subprotocol),
            ("Sec-WebSocket-Extensions: permessage-deflate\r\n", .extensions), ("Upgrade: h2c\r\n", .handshake),
        ].enumerated() {
            let bench = try ClientBench()
            _ = bench.begin(ClientBench.upgrade(["a"]))
            let lines = bench.asked().lines
            try bench.answer(Self.switching + Self.accept(lines) + field + "\r\n")
            #expect(bench.failure() == failure, "case \(number)")
            bench.finish()
        }
    }

    @Test(arguments: [
        "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n", "",
    ])
    func aWrongAcceptIsAFailure(field: String) throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.upgrade())
        _ = bench.asked()
        try bench.answer(Self.switching + field + "\r\n")
        #expect(bench.failure() == .handshake)
        bench.finish()
    }

    @Test func anythingButASwitchIsAStatus() throws {
        let bench = try ClientBench()
        _ = bench.begin(ClientBench.upgrade())
        _ = bench.asked()
        try bench.answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nno way")
        let failure = try #require(bench.failure())
        #expect(failure == .status(403) && !failure.mayRetry && !failure.isEndpointFault && !failure.isTimeout)
        #expect(ClientFailure.status(500).isEndpointFault && ClientFailure.status(500).mayRetry && ClientFailure.connectTimeout.isTimeout)
        bench.finish()
    }

    @Test func extensionsAreComparedByName() {
        #expect(HTTPClient.isOffered("permessage-deflate; a=1", in: "permessage-deflate; client_max_window_bits, x-other"))
        #expect(!HTTPClient.isOffered("permessage-deflate, permessage-deflate", in: "permessage-deflate"))
        #expect(!HTTPClient.isOffered("x", in: "permessage-deflate"))
    }
}

/// Masks of our own frames.
@Suite struct MaskSourceTests {
    @Test func masksDoNotRepeat() {
        let source = MaskSource()
        var seen = Set<UInt32>()
        for _ in 0..<5000 { seen.insert(source.next()) }
        #expect(seen.count > 4990)
        source.destroy()
    }
}
