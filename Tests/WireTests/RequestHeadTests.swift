import Testing
import Wire

@Suite struct RequestHeadTests {
    @Test(arguments: requestShapes)
    func shape(_ shape: RequestShape) {
        #expect(refusal(parseRequest(shape.bytes).outcome) == shape.status)
    }

    @Test func thereAreManyShapes() {
        #expect(requestShapes.count >= 250)
        #expect(Set(requestShapes.map(\.name)).count == requestShapes.count)
    }

    /// However the bytes are cut, the result is that of the whole; and once final it stays.
    @Test(arguments: requestShapes)
    func everySplit(_ shape: RequestShape) {
        let whole = parseRequest(shape.bytes)
        let step = shape.bytes.count > 1000 ? 97 : 1
        var head = RequestHead(limits: HTTPLimits())
        for split in stride(from: 0, through: shape.bytes.count, by: step) {
            head.reset()
            let early = head.parse(shape.bytes.span.extracting(0..<split))
            let late = head.parse(shape.bytes.span)
            if early != .needMore, early != late { Issue.record("final answer changed at \(split): \(early), \(late)") }
            if describe(head, late, shape.bytes) != whole { Issue.record("split at \(split) differs") }
        }
    }

    @Test(arguments: requestShapes)
    func byteByByte(_ shape: RequestShape) {
        var head = RequestHead(limits: HTTPLimits())
        var outcome = HeadOutcome.needMore
        for count in 0...shape.bytes.count { outcome = head.parse(shape.bytes.span.extracting(0..<count)) }
        #expect(describe(head, outcome, shape.bytes) == parseRequest(shape.bytes))
    }

    /// A megabyte of single-byte calls at the head limit would take minutes if each call began at the first byte.
    @Test func oneByteAtATimeIsLinear() {
        let bytes = headOf(16384)
        var head = RequestHead(limits: HTTPLimits())
        let clock = ContinuousClock()
        let spent = clock.measure {
            for _ in 0..<10 {
                head.reset()
                for count in 0...bytes.count { _ = head.parse(bytes.span.extracting(0..<count)) }
            }
        }
        #expect(spent < .seconds(5))
    }

    @Test func browserUpgrade() {
        let parsed = parseRequest(
            [
                "GET /tcp?v=1&host=example.com&port=443 HTTP/1.1",
                "Host: gateway.example:8443",
                "Connection: keep-alive, Upgrade",
                "Upgrade: websocket",
                "Origin: https://gateway.example",
                "Sec-WebSocket-Version: 13",
                "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==",
                "Cookie: aero_session=x.y",
            ].joined(separator: "\r\n") + "\r\n\r\n")
        #expect(parsed.method == .get && parsed.minorVersion == 1)
        #expect(parsed.target == "/tcp?v=1&host=example.com&port=443")
        #expect(parsed.path == "/tcp" && parsed.query == "v=1&host=example.com&port=443")
        #expect(parsed.wantsUpgrade && parsed.keepAlive && !parsed.expectsContinue && parsed.body == .none)
        #expect(parsed.fields.count == 7)
        #expect(parsed.fields[5] == ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==", "secWebSocketKey"])
    }

    @Test func everyKnownFieldIsRecognised() {
        for field in KnownField.allCases where field != .other {
            let name = "\(field.name)"
            for spelling in [name, name.uppercased(), name.prefix(1).uppercased() + name.dropFirst()] {
                let value =
                    switch field {
                    case .host: "a"
                    case .contentLength: "0"
                    case .expect: "100-continue"
                    default: "chunked"
                    }
                let bytes = Array("POST / HTTP/1.1\r\n\(field == .host ? "" : "Host: a\r\n")\(spelling): \(value)\r\n\r\n".utf8)
                var head = RequestHead(limits: HTTPLimits())
                _ = head.parse(bytes.span)
                #expect(head.count(of: field) == 1 && head.field(head.fieldCount - 1) == field, "\(spelling)")
            }
            // One character more, less or different is another name.
            for changed in [name + "x", String(name.dropLast()), "x" + name.dropFirst(), name.dropLast() + "0"]
            where !changed.isEmpty {
                let parsed = parseRequest("POST / HTTP/1.1\r\nHost: a\r\n\(changed): b\r\n\r\n")
                let known = KnownField.allCases.map { "\($0.name)" }
                #expect(parsed.fields.last?[2] == "other" || known.contains(changed), "\(changed)")
            }
        }
    }

    @Test func countsAndOrder() {
        let bytes = Array("GET / HTTP/1.1\r\nCookie: a\r\nHost: a\r\nCOOKIE: b\r\nX_Y: c\r\ncookie: d\r\n\r\n".utf8)
        var head = RequestHead(limits: HTTPLimits())
        #expect(head.parse(bytes.span) == .complete(headBytes: bytes.count))
        #expect(head.fieldCount == 4 && head.count(of: .cookie) == 3 && head.count(of: .origin) == 0)
        let first = head.first(.cookie)
        #expect(first == 0 && head.next(.cookie, after: 0) == 2 && head.next(.cookie, after: 2) == 3)
        #expect(head.next(.cookie, after: 3) == nil && head.first(.origin) == nil)
        // Nothing of it is left for the next request.
        head.reset()
        let next = Array("GET / HTTP/1.0\r\n\r\n".utf8)
        #expect(head.parse(next.span) == .complete(headBytes: next.count))
        #expect(head.fieldCount == 0 && head.count(of: .cookie) == 0 && head.first(.host) == nil)
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true), ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: x, CLOSE\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true),
    ])
    func keepAlive(_ text: String, _ expected: Bool) { #expect(parseRequest(text).keepAlive == expected) }

    @Test(arguments: [
        ("Upgrade: websocket\r\nConnection: Upgrade", true), ("Upgrade: websocket\r\nConnection: keep-alive,upgrade", true),
        ("Upgrade: websocket", false), ("Connection: upgrade", false), ("Upgrade: h2c\r\nConnection: upgrade", true),
        ("Upgrade: websocket\r\nConnection: upgraded", false),
        ("Upgrade: websocket\r\nConnection: a\r\nConnection: UPGRADE", true),
    ])
    func wantsUpgrade(_ fields: String, _ expected: Bool) {
        #expect(parseRequest("GET / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n\r\n").wantsUpgrade == expected)
        #expect(parseRequest("GET / HTTP/1.0\r\nHost: a\r\n\(fields)\r\n\r\n").wantsUpgrade == expected)
    }

    @Test(arguments: [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", BodyFraming.length(0)),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n", .length(1_048_576)),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", .chunked),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", .none), ("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n", .length(3)),
    ])
    func framing(_ text: String, _ expected: BodyFraming) { #expect(parseRequest(text).body == expected) }

    @Test func expectation() {
        #expect(parseRequest("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").expectsContinue)
        #expect(
            parseRequest("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
                .expectsContinue)
        #expect(!parseRequest("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n").expectsContinue)
        #expect(!parseRequest("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expectsContinue)
        #expect(!parseRequest("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").expectsContinue)
    }

    @Test(arguments: [
        ("GET /a?b HTTP/1.1", "/a", "b"), ("GET /a HTTP/1.1", "/a", ""), ("GET /a? HTTP/1.1", "/a", ""),
        ("GET http://a/b?c HTTP/1.1", "/b", "c"), ("GET http://a HTTP/1.1", "/", ""), ("GET http://a?c/d HTTP/1.1", "/", "c/d"),
        ("OPTIONS * HTTP/1.1", "*", ""), ("GET /?a?b HTTP/1.1", "/", "a?b"),
    ])
    func pathAndQuery(_ line: String, _ path: String, _ query: String) {
        let parsed = parseRequest(line + "\r\nHost: a\r\n\r\n")
        #expect(parsed.path == path && parsed.query == query)
    }

    @Test func hopByHop() {
        let names = [
            "Connection", "Upgrade", "HTTP2-Settings", "TE", "Keep-Alive", "X-Mine", "X-Other", "Authorization", "Cookie",
            "X-Forwarded-Weird", "Content-Weird", "X-Request-ID", "Trailer", "Proxy-Connection",
        ]
        let named = "X-Mine, authorization, cookie, host, x-forwarded-weird, content-weird, x-request-id, upgrade"
        let bytes = Array(
            ("GET / HTTP/1.1\r\nHost: a\r\n"
                + names.map { "\($0): \($0 == "Connection" ? named : "b")\r\n" }.joined() + "\r\n").utf8)
        var head = RequestHead(limits: HTTPLimits())
        #expect(head.parse(bytes.span) == .complete(headBytes: bytes.count))
        var removed: Set<String> = []
        for index in 0..<head.fieldCount where head.isHopByHop(index, in: bytes.span) {
            removed.insert(text(bytes, head.name(index)))
        }
        #expect(
            removed == ["Connection", "Upgrade", "HTTP2-Settings", "TE", "Keep-Alive", "X-Mine", "Trailer", "Proxy-Connection"])
    }

    @Test func violationIsFinalUntilReset() {
        var head = RequestHead(limits: HTTPLimits())
        let bad = Array("GET / HTTP/1.1\r\n\r\n".utf8)
        #expect(head.parse(bad.span) == .violation(.badRequest))
        let good = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        #expect(head.parse(good.span) == .violation(.badRequest))
        head.reset()
        #expect(head.parse(good.span) == .complete(headBytes: good.count))
        #expect(head.parse(good.span) == .complete(headBytes: good.count))
    }

    @Test func smallLimits() {
        let limits = HTTPLimits(targetBytes: 10, headBytes: 64, fieldCount: 2)
        #expect(refusal(parseRequest("GET /123456789 HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits).outcome) == 0)
        #expect(refusal(parseRequest("GET /1234567890 HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits).outcome) == 414)
        #expect(refusal(parseRequest("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n", limits: limits).outcome) == 431)
        #expect(
            refusal(parseRequest("GET / HTTP/1.1\r\nHost: a\r\nA: \(String(repeating: "b", count: 60))", limits: limits).outcome)
                == 431)
    }

    /// Random damage to a good request: never a crash, and always the same answer in one piece and in two.
    @Test func randomDamage() {
        var generator = Generator(seed: 7)
        let good = Array(
            "POST /a?b=c HTTP/1.1\r\nHost: a.example\r\nContent-Length: 12\r\nConnection: close\r\nX: y\r\n\r\n".utf8)
        for _ in 0..<20000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.remove(at: place)
                default: bytes.insert(Array("\r\n \t:\0,x".utf8).randomElement(using: &generator) ?? 0, at: place)
                }
            }
            var head = RequestHead(limits: HTTPLimits())
            _ = head.parse(bytes.span.extracting(0..<Int.random(in: 0...bytes.count, using: &generator)))
            let outcome = head.parse(bytes.span)
            #expect(describe(head, outcome, bytes) == parseRequest(bytes))
        }
    }
}
