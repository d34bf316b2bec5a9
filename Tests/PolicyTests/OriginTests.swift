import Policy
import Testing

@Suite struct OriginTests {
    @Test(arguments: [
        ("null", "null"), (" HTTPS://Example.COM:443/ ", "https://example.com"), ("http://a:443", "http://a:443"),
        ("https://a:00443", "https://a"),
        ("https://a:000000000000000000080", "https://a:80"), ("http://0x7f.1", "http://127.0.0.1"),
        ("https://1.2.3.4.", "https://1.2.3.4"),
        ("http://[2001:DB8:0:0:0:0:0:1]:80", "http://[2001:db8::1]"), ("http://[::ffff:192.0.2.1]", "http://[::ffff:c000:201]"),
        ("https://256", "https://0.0.1.0"), ("https://a..b", "https://a..b"), ("https://a.", "https://a."),
        ("https://a!b", "https://a!b"), ("https://xn--mnchen-3ya.de", "https://xn--mnchen-3ya.de"),
    ])
    func normalForms(_ raw: String, _ expected: String) {
        #expect(Origin(raw)?.text == expected)
    }

    @Test(arguments: [
        "", " ", "NULL", "null,null", "https", "https:", "https:/", "https://", "https:///", "https:///a", "https://a/b",
        "https://a//", "https://a:", "https://a:/",
        "https://:1", "https://a:0", "https://a:65536", "https://a:99999999999999999999", "https://a:1x", "https://a:-1",
        "https://a@b", "https://a b", "https://a%41",
        "https://a?", "https://a#", "https://a,https://b", "https://a\\", "https://xn--", "https://xn--a.b", "https://[",
        "https://]", "https://[]", "https://[::1",
        "https://::1]", "https://[::1]x", "https://[::1]:", "https://[::1%25eth0]", "https://1.2.3.4.5", "https://a.0x1",
        "https://08", "http://1.256.1.1",
        "ws://a", "file:///a", "//a", "https://\u{FC}.de", "https://a\u{0}",
    ])
    func refused(_ raw: String) {
        #expect(Origin(raw) == nil)
    }

    @Test func lengths() {
        let prefix = "https://a.b/"
        #expect(Origin("https://" + String(repeating: "a", count: Origin.maximumCharacters - 8)) != nil)
        #expect(Origin("https://" + String(repeating: "a", count: Origin.maximumCharacters - 7)) == nil)
        #expect(Origin(String(repeating: " ", count: 5000) + prefix)?.text == "https://a.b")
    }

    @Test func allowlists() throws {
        let list = try OriginAllowlist(parsing: " https://App.test:443/ , null,, http://b:8080 ")
        #expect(list.origins == ["https://app.test", "null", "http://b:8080"])
        #expect(!list.admitsAnyOrigin)
        #expect(list.judge(originLines: []) == .absent)
        #expect(list.judge(originLines: ["https://app.test"]) == .allowed(try #require(Origin("https://app.test"))))
        #expect(list.judge(originLines: ["null"]) == .allowed(.opaque))
        #expect(list.judge(originLines: [""]) == .refused)
        #expect(list.judge(originLines: ["https://app.test", "https://app.test"]) == .refused)
        #expect(list.judge(originLines: ["https://other.test"], hosts: ["other.test"]) == .refused)
        let any = try OriginAllowlist(parsing: "*")
        #expect(any.judge(originLines: ["https://x.y"]) == .allowed(try #require(Origin("https://x.y"))))
        #expect(any.judge(originLines: ["https://x.y/z"]) == .refused)
        #expect(throws: OriginAllowlist.ParseError.invalidOrigin("app.test")) { try OriginAllowlist(parsing: "*,app.test") }
        #expect(throws: OriginAllowlist.ParseError.tooManyEntries) {
            try OriginAllowlist(parsing: String(repeating: "*,", count: 1025))
        }
        #expect(throws: OriginAllowlist.ParseError.listTooLong) {
            try OriginAllowlist(parsing: String(repeating: ",", count: 65_537))
        }
    }

    @Test func sameHost() throws {
        let empty = OriginAllowlist(anyOrigin: false, origins: [])
        let origin = try #require(Origin("https://a.b"))
        #expect(empty.admits(origin, hosts: ["A.b:443"]))
        #expect(!empty.admits(origin, hosts: ["a.b", "a.b"]))
        #expect(!empty.admits(origin, hosts: []))
        for host in ["a.b:", "a.b/", "a.b?", "a.b#", "a.b,a.b", "a.b:80", "x@a.b", "a.b\\", "a%2eb", "\u{FC}", ""] {
            #expect(!empty.admits(origin, hosts: [host]), "\(host)")
        }
        #expect(!empty.admits(.opaque, hosts: ["null"]))
    }

    @Test(
        arguments: [
            (nil, "Content-Type"), ("", "Content-Type"), (" ", "Content-Type"), ("X-A", "Content-Type, X-A"),
            ("x-a , CONTENT-TYPE", "x-a , CONTENT-TYPE"),
            ("a/b", "Content-Type"), ("a\r\nb", "Content-Type"), ("\u{FC}", "Content-Type"),
            ("x-content-type", "Content-Type, x-content-type"),
        ] as [(String?, String)])
    func allowHeaders(_ requested: String?, _ expected: String) {
        #expect(CrossOriginHeaders.allowHeaders(requested: requested) == expected)
    }

    @Test func publishedNormalisation() throws {
        for entry in try Vectors.list("origin.json", "normalize", atLeast: 58) {
            #expect(Origin(try #require(entry.string("rawOriginHeader")))?.text == entry.string("normalizedOrigin"), "\(entry)")
        }
        for entry in try Vectors.list("origin-allowlist-test-vectors.json", atLeast: 63) {
            #expect(Origin(try #require(entry.string("raw")))?.text == entry.string("normalized"), "\(entry)")
        }
        for entry in try Vectors.list("observed-gateway.json", "origin_extra", atLeast: 18) {
            #expect(Origin(try #require(entry.string("rawOriginHeader")))?.text == entry.string("normalizedOrigin"), "\(entry)")
        }
    }

    @Test func publishedDecisions() throws {
        for entry in try Vectors.list("origin.json", "allow", atLeast: 30) {
            let list = try OriginAllowlist(entries: entry.strings("allowedOrigins"))
            let decision = list.judge(
                originLines: [try #require(entry.string("rawOriginHeader"))], hosts: [try #require(entry.string("requestHost"))])
            #expect((decision != .refused) == entry.boolean("expectAllowed"), "\(entry)")
        }
    }

    /// Origin lines of the relay's observed requests: `none` lists one origin, `key` none at all; the Host was relay.example.
    @Test func observedRelayDecisions() throws {
        var judged = 0
        for entry in try Vectors.list("observed-udp-relay.json", "http", atLeast: 74) {
            guard let request = entry["request"] as? [String: Any], let response = entry["response"] as? [String: Any],
                let configuration = entry.string("config"), ["none", "key"].contains(configuration)
            else { continue }
            let lines = (request["headers"] as? [[String]] ?? []).filter { $0[0] == "Origin" }.map { $0[1] }
            guard !lines.isEmpty else { continue }
            let list = try OriginAllowlist(entries: configuration == "none" ? ["https://app.example"] : [])
            let decision = list.judge(originLines: lines, hosts: ["relay.example"], blankIsAbsent: true)
            judged += 1
            #expect((decision == .refused) == (response.integer("status") == 403), "\(lines)")
            guard case .allowed(let origin) = decision, let headers = response["headers"] as? [String: Any] else { continue }
            #expect(headers.string("access-control-allow-origin") == origin.text)
        }
        #expect(judged == 0 || judged >= 10)
    }

    @Test func blankOriginLines() {
        let list = OriginAllowlist(anyOrigin: false, origins: [])
        for line in ["", " ", "\t"] {
            #expect(list.judge(originLines: [line]) == .refused)
            #expect(list.judge(originLines: [line], blankIsAbsent: true) == .absent)
            #expect(list.judge(originLines: [line, line], blankIsAbsent: true) == .refused)
        }
    }

    @Test func publishedAllowHeaders() throws {
        for entry in try Vectors.list("observed-gateway.json", "cors_allow_headers", atLeast: 10) {
            #expect(CrossOriginHeaders.allowHeaders(requested: entry.string("requested")) == entry.string("allowHeaders"))
        }
    }
}
