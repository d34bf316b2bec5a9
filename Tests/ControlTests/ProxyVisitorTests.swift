import Engine
import Policy
import Testing
import Wire

@testable import Control
@testable import HTTP

/// What makes a request the upgrade of a JWT proxy's client (specification section 5.1), and how it is answered when something is missing.
@Suite struct ProxyVisitorTests {
    /// A request, changed in some of its fields, and the status it comes to; 101: it is an upgrade.
    struct Shape: CustomTestStringConvertible, Sendable {
        let status: Int
        let line: String
        let fields: [(name: String, value: String)]
        var testDescription: String { line + " " + fields.map { "\($0.name): \($0.value.prefix(40))" }.joined(separator: "; ") }

        /// `values`: of each field as often as there are values.
        init(_ status: Int, _ values: KeyValuePairs<String, [String]> = [:], line: String = "GET /ws HTTP/1.1") {
            let usual: [(String, String)] = [
                ("Host", "a"), ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", ProxyVisitorTests.key),
            ]
            self.status = status
            self.line = line
            let kept = usual.filter { field in !values.contains { $0.key == field.0 } }
            let changed = values.flatMap { field in field.value.map { (field.key, $0) } }
            fields = (kept + changed).map { (name: $0.0, value: $0.1) }
        }
    }

    static let key = "dGhlIHNhbXBsZSBub25jZQ=="
    private let plan: ProxyPlan

    init() throws {
        let outcome = load(file: """
            listeners: [{ name: public, address: "127.0.0.1:0", features: [jwt] }]
            jwt:
              providers: [{ name: main, issuer: "https://id.test", audiences: [a], jwks_url: "https://id.test/certs" }]
              routes: [{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "ws://127.0.0.1:1/" }] }]
            """)
        let policy = try #require(outcome.configuration?.proxy.policy, "\(outcome.faults)")
        plan = try ProxyPlan(policy, common: ProxyCommon(limits: SharedLimits()), shards: 1, generation: 1)
    }

    /// The key of an upgrade, or what stands in its way; nil: no request at all.
    private func judge(_ shape: Shape) -> Result<String, ProxyVisitor.Fault>? {
        let lines = [shape.line] + shape.fields.map { "\($0.name): \($0.value)" }
        let bytes = Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
        var head = RequestHead(limits: HTTPLimits())
        guard case .complete = head.parse(bytes.span) else { return nil }
        var generator = SystemRandomNumberGenerator()
        let trace = TraceContext(startedBy: &generator)
        return bytes.withUnsafeBytes { bytes in
            withUnsafePointer(to: head) { head in
                let request = RequestView(
                    head: head, bytes: bytes, body: UnsafeRawBufferPointer(start: nil, count: 0),
                    peer: SocketAddress(ipv4: (127, 0, 0, 1), port: 1), listener: 0, isSecure: false)
                return Result { () throws(ProxyVisitor.Fault) in
                    try ProxyVisitor(request, plan: plan, route: 0, requestID: "r", trace: trace, nowNanoseconds: 0).webSocketKey
                }
            }
        }
    }

    private func expect(_ shape: Shape, key: String = Self.key) throws {
        switch try #require(judge(shape), "the head cannot be read") {
        case .success(let found): #expect(shape.status == 101 && found == key)
        case .failure(let fault):
            #expect(fault.status == shape.status)
            // RFC 9110 sections 15.5.6 and 15.5.22: what would be had.
            let told = fault.fields.map { "\($0.name): \($0.value)" }
            #expect(told == (shape.status == 405 ? ["Allow: GET"] : shape.status == 426 ? ["Upgrade: websocket"] : []))
        }
    }

    /// Lists: in one field or in several (RFC 9110 section 5.3), tokens as a whole and in any case.
    @Test(arguments: [("Upgrade", "websocket"), ("Connection", "upgrade")])
    func lists(field: String, token: String) throws {
        func filled(_ count: Int) -> String { token + "," + String(repeating: "x", count: count - token.utf8.count - 1) }
        let accepted: [[String]] = [
            [token], [token.uppercased()], [token.capitalized], ["h2c, " + token], [token + ",h2c"], ["a ,\t\(token)\t, b"],
            [",, ,\(token),,"], ["h2c", token], [token, "h2c"], ["", token], ["a, b", "c", "d, " + token], [token, token], ["é, " + token],
            [filled(256)], [filled(100), String(repeating: "y", count: 100)],
        ]
        let refused: [[String]] = [
            [], [""], [","], [token + "s"], ["x" + token], [token + "/13"], [token + ";q=1"], ["\"\(token)\""], [token + " h2c"],
            [String(token.dropLast())], [String(token.dropLast(3)), String(token.suffix(3))], ["h2c"], [token + "é"],
            [String(token.dropLast()) + "\u{212A}"], [filled(257)], [filled(9000)], [token, String(repeating: "y", count: 256)],
            [String(repeating: "y", count: 256), token], [filled(150), String(repeating: "y", count: 150)],
        ]
        for values in accepted { try expect(Shape(101, [field: values])) }
        for values in refused { try expect(Shape(400, [field: values])) }
    }

    @Test(arguments: [
        Shape(101, ["Sec-WebSocket-Version": [" 13 "]]), Shape(101, ["Sec-WebSocket-Version": ["\t13"]]),
        Shape(426, ["Sec-WebSocket-Version": []]), Shape(426, ["Sec-WebSocket-Version": [""]]),
        Shape(426, ["Sec-WebSocket-Version": ["12"]]),
        Shape(426, ["Sec-WebSocket-Version": ["13", "13"]]), Shape(426, ["Sec-WebSocket-Version": ["13", "8"]]),
        Shape(426, ["Sec-WebSocket-Version": ["13, 8"]]), Shape(426, ["Sec-WebSocket-Version": ["8, 13"]]),
        Shape(426, ["Sec-WebSocket-Version": ["013"]]), Shape(426, ["Sec-WebSocket-Version": ["+13"]]),
        Shape(426, ["Sec-WebSocket-Version": ["1 3"]]), Shape(426, ["Sec-WebSocket-Version": ["130"]]),
        Shape(426, ["Sec-WebSocket-Version": ["13.0"]]), Shape(426, ["Sec-WebSocket-Version": ["１３"]]),
        // Who asks for a WebSocket of another version is told which there is, whatever else is wrong; who asks for none is not.
        Shape(426, ["Sec-WebSocket-Version": ["8"], "Connection": [], "Sec-WebSocket-Key": []]),
        Shape(426, ["Sec-WebSocket-Version": ["8"], "Content-Length": ["1"]]),
        Shape(426, ["Sec-WebSocket-Version": ["8"]], line: "GET /ws HTTP/1.0"),
        Shape(400, ["Sec-WebSocket-Version": ["8"], "Upgrade": ["h2c"]]), Shape(400, ["Sec-WebSocket-Version": [], "Upgrade": []]),
    ])
    func version(_ shape: Shape) throws { try expect(shape) }

    /// 16 bytes in base64 (RFC 6455 section 4.2.1), in the form an encoder gives them.
    @Test(arguments: [
        Shape(400, ["Sec-WebSocket-Key": []]), Shape(400, ["Sec-WebSocket-Key": [""]]), Shape(400, ["Sec-WebSocket-Key": [key, key]]),
        Shape(400, ["Sec-WebSocket-Key": [key, ""]]),
        // 15, 17 and 18 bytes, and 16 without padding or with half of it.
        Shape(400, ["Sec-WebSocket-Key": ["AAAAAAAAAAAAAAAAAAAA"]]), Shape(400, ["Sec-WebSocket-Key": ["AAAAAAAAAAAAAAAAAAAAAAA="]]),
        Shape(400, ["Sec-WebSocket-Key": ["AAAAAAAAAAAAAAAAAAAAAAAA"]]), Shape(400, ["Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ"]]),
        Shape(400, ["Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ="]]), Shape(400, ["Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ==="]]),
        Shape(400, ["Sec-WebSocket-Key": ["=Ghl=HNhbXBsZSBub25jZQ=="]]), Shape(400, ["Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZ==="]]),
        Shape(400, ["Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ=A"]]),
        // The other alphabet, characters of none, and more than one byte each.
        Shape(400, ["Sec-WebSocket-Key": ["-GhlIHNhbXBsZSBub25jZQ=="]]), Shape(400, ["Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25j_Q=="]]),
        Shape(400, ["Sec-WebSocket-Key": ["dGhl HNhbXBsZSBub25jZQ=="]]), Shape(400, ["Sec-WebSocket-Key": ["dGhl\tHNhbXBsZSBub25jZQ=="]]),
        Shape(400, ["Sec-WebSocket-Key": ["dGhl.HNhbXBsZSBub25jZQ=="]]), Shape(400, ["Sec-WebSocket-Key": ["@Ghl[HNhb`Bs{SBub25j:Q=="]]),
        Shape(400, ["Sec-WebSocket-Key": ["éGhlHNhbXBsZSBub25jZQ=="]]), Shape(400, ["Sec-WebSocket-Key": ["éGhlIHNhbXBsZSBub25jZQ=="]]),
        // Blanks of HTTP are two; those of other alphabets are no part of a field's surroundings.
        Shape(400, ["Sec-WebSocket-Key": ["\u{A0}" + key]]), Shape(400, ["Sec-WebSocket-Key": [key + "\u{2003}"]]),
        Shape(400, ["Sec-WebSocket-Key": [key + ", " + key]]), Shape(400, ["Sec-WebSocket-Key": [String(repeating: key, count: 300)]]),
    ])
    func brokenKey(_ shape: Shape) throws { try expect(shape) }

    @Test func wholeKeys() throws {
        for key in [Self.key, "+/+/+/+/+/+/+/+/+/+/+w==", "0123456789azAZ+/089AAg==", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            for value in [key, " \(key)", "\t\(key) \t"] { try expect(Shape(101, ["Sec-WebSocket-Key": [value]]), key: key) }
        }
        // Four bits of the last character are no part of the 16 bytes, and zero.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        for last in alphabet {
            let key = "dGhlIHNhbXBsZSBub25jZ\(last)=="
            try expect(Shape("AQgw".contains(last) ? 101 : 400, ["Sec-WebSocket-Key": [key]]), key: key)
        }
    }

    @Test(arguments: [
        Shape(101), Shape(101, ["Content-Length": ["0"]]), Shape(400, ["Content-Length": ["1"]]),
        Shape(400, ["Transfer-Encoding": ["chunked"]]),
        Shape(400, line: "GET /ws HTTP/1.0"), Shape(400, ["Connection": ["keep-alive, Upgrade"]], line: "GET /ws HTTP/1.0"),
        Shape(405, line: "POST /ws HTTP/1.1"), Shape(405, line: "HEAD /ws HTTP/1.1"), Shape(405, line: "PUT /ws HTTP/1.1"),
        Shape(405, line: "DELETE /ws HTTP/1.1"), Shape(405, line: "PATCH /ws HTTP/1.1"), Shape(405, line: "OPTIONS /ws HTTP/1.1"),
        Shape(405, ["Upgrade": [], "Connection": [], "Sec-WebSocket-Version": [], "Sec-WebSocket-Key": []], line: "POST /ws HTTP/1.0"),
    ])
    func request(_ shape: Shape) throws { try expect(shape) }

    /// Section 17: 64 fields.
    @Test func fieldsAreBounded() throws {
        func more(_ count: Int) -> [String] { (0..<count).map { "\($0)" } }
        try expect(Shape(101, ["X-More": more(59)]))
        try expect(Shape(431, ["X-More": more(60)]))
    }
}
