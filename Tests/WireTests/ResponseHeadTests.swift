import Testing
import Wire

private func parseResponse(_ response: String, answerToHead: Bool = false, split: Int? = nil)
    -> (outcome: HeadOutcome, status: Int, reason: String, body: BodyFraming, keepAlive: Bool)
{
    let bytes = Array(response.utf8)
    var head = ResponseHead(limits: HTTPLimits())
    head.reset(answerToHead: answerToHead)
    if let split { _ = head.parse(bytes.span.extracting(0..<split)) }
    let outcome = head.parse(bytes.span)
    let reason = text(bytes, head.reason)
    return (outcome, head.status, reason, head.body, head.keepAlive)
}

private let goodResponses: [(String, Int, BodyFraming, Bool)] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, .length(5), true),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, .chunked, true),
    ("HTTP/1.1 200 OK\r\n\r\n", 200, .untilClose, false),
    ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 200, .length(1), false),
    ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", 200, .length(1), true),
    ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", 200, .length(1), false),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, .none, true),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, .none, true),
    ("HTTP/1.1 100 Continue\r\n\r\n", 100, .none, true),
    ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 101, .none, true),
    ("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, .length(0), true),
    ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, .length(0), true),
    ("HTTP/1.1 599 \u{FC}\r\nContent-Length: 0\r\n\r\n", 599, .length(0), true),
    ("HTTP/1.1 404 Not\tFound\r\nContent-Length: 0\r\n\r\n", 404, .length(0), true),
]

private let badResponses: [(String, String)] = [
    ("version 2", "HTTP/2.0 200 OK\r\n\r\n"), ("version 1.2", "HTTP/1.2 200 OK\r\n\r\n"),
    ("lower case", "http/1.1 200 OK\r\n\r\n"),
    ("two digits", "HTTP/1.1 20 OK\r\n\r\n"), ("four digits", "HTTP/1.1 2000 OK\r\n\r\n"), ("letters", "HTTP/1.1 2x0 OK\r\n\r\n"),
    ("below 100", "HTTP/1.1 099 OK\r\n\r\n"), ("above 599", "HTTP/1.1 600 OK\r\n\r\n"),
    ("two spaces", "HTTP/1.1  200 OK\r\n\r\n"),
    ("tab", "HTTP/1.1\t200 OK\r\n\r\n"), ("empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n"), ("LF", "HTTP/1.1 200 OK\n\n"),
    ("H1", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("H2", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
    ("H2 list", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n"), ("H3", "HTTP/1.1 200 OK\r\nContent-Length: 01\r\n\r\n"),
    ("H4", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("H4 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("H5", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n"), ("H5 folded", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n"),
    ("H6", "HTTP/1.1 200 OK\r\nX: y\0\r\n\r\n"),
    ("H1 in 204", "HTTP/1.1 204 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("too long", "HTTP/1.1 200 OK\r\nX: \(String(repeating: "a", count: 17000))\r\n\r\n"),
    ("a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
]

@Suite struct ResponseHeadTests {
    @Test(arguments: goodResponses)
    func good(_ text: String, _ status: Int, _ body: BodyFraming, _ keepAlive: Bool) {
        for split in 0...text.utf8.count {
            let parsed = parseResponse(text, split: split)
            #expect(parsed.outcome == .complete(headBytes: text.utf8.count))
            #expect(parsed.status == status && parsed.body == body && parsed.keepAlive == keepAlive)
        }
    }

    @Test(arguments: badResponses)
    func bad(_ name: String, _ text: String) {
        #expect(parseResponse(text).outcome == .violation(.badGateway), "\(name)")
        for split in stride(from: 0, through: text.utf8.count, by: text.utf8.count > 1000 ? 101 : 1) {
            #expect(parseResponse(text, split: split).outcome == .violation(.badGateway), "\(name)")
        }
    }

    @Test func answerToHeadHasNoBody() {
        #expect(parseResponse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", answerToHead: true).body == .none)
        #expect(parseResponse("HTTP/1.1 200 OK\r\n\r\n", answerToHead: true).keepAlive)
    }

    @Test func reasons() {
        #expect(parseResponse("HTTP/1.1 404 Not Found\r\n\r\n").reason == "Not Found")
        #expect(parseResponse("HTTP/1.1 404 \r\n\r\n").reason == "")
        #expect(parseResponse("HTTP/1.1 404\r\n\r\n").reason == "")
    }
}
