import Policy
import Testing

@Suite("Proxy origins")
struct ProxyOriginsTests {
    private static func origins(_ list: [String], _ profile: ProxyProfile = .native, missing: Bool = true) -> ProxyOrigins {
        do { return try ProxyOrigins(list, profile: profile, usesCookies: false, allowsMissing: missing) } catch { fatalError("\(error)") }
    }

    @Test("entries and what they match", arguments: [
        (
            "https://app.example.com", ["https://app.example.com", "https://APP.example.com", "HTTPS://app.example.com:443"],
            [
                "http://app.example.com", "https://app.example.com:8443", "https://x.app.example.com",
                "https://app.example.com.evil.net", "null",
            ]
        ),
        ("https://app.example.com:8443", ["https://app.example.com:8443"], ["https://app.example.com", "http://app.example.com:8443"]),
        (
            "*.example.com", ["https://a.example.com", "https://a.b.example.com", "https://A.EXAMPLE.com"],
            [
                "http://a.example.com", "https://example.com", "https://a.example.com:8443", "https://aexample.com",
                "https://a.example.com.evil.net",
            ]
        ),
        (
            "http://*.example.com:*", ["http://a.example.com", "http://a.example.com:8080"],
            ["https://a.example.com", "http://example.com:80"]
        ),
        ("https://*.example.com:8443", ["https://a.example.com:8443"], ["https://a.example.com", "https://a.example.com:443"]),
        ("https://*.example.com", ["https://a.example.com"], ["http://a.example.com"]),
        ("null", ["null"], ["https://null", "https://a"]),
        ("*", ["https://a", "null", "http://b:1"], ["ftp://a", "a"]),
    ] as [(String, [String], [String])])
    func native(entry: String, matched: [String], others: [String]) throws {
        let origins = Self.origins([entry])
        for text in matched { #expect(origins.judge([text]) == .allowed(try #require(Origin(text))), "\(text)") }
        for text in others { #expect(origins.judge([text]) == .refused, "\(text)") }
    }

    @Test("in the compat profile a suffix stands for http, too")
    func compat() throws {
        let origins = Self.origins(ProxyOrigins.list(" *.example.com , https://b.org,,"), .compat)
        for text in ["https://a.example.com", "http://a.example.com", "https://b.org"] {
            #expect(origins.lists(try #require(Origin(text))))
        }
        for text in ["https://example.com", "https://a.example.com:8443", "http://b.org"] {
            #expect(!origins.lists(try #require(Origin(text))))
        }
    }

    @Test("missing, repeated, and no list")
    func lines() throws {
        let listed = Self.origins(["https://a"])
        #expect(listed.judge([]) == .absent && listed.judge(["https://a", "https://a"]) == .malformed)
        #expect(Self.origins(["https://a"], missing: false).judge([]) == .refused)
        let none = Self.origins([])
        #expect(none.judge(["https://any"]) == .allowed(try #require(Origin("https://any"))) && none.judge([]) == .absent)
    }

    @Test("cookies need an origin that is listed or, without a list, the request's own")
    func cookies() throws {
        let own = try #require(Origin("https://gw.example.com"))
        let listed = Self.origins(["https://gw.example.com"])
        #expect(listed.judgeCookie([own.text], host: "x", isSecure: true) == .allowed(own))
        #expect(listed.judgeCookie([], host: "x", isSecure: true) == .refused)
        #expect(listed.judgeCookie(["https://evil"], host: "evil", isSecure: true) == .refused)
        let none = Self.origins([])
        #expect(none.judgeCookie([own.text], host: "gw.example.com", isSecure: true) == .allowed(own))
        #expect(none.judgeCookie([own.text], host: "gw.example.com:443", isSecure: true) == .allowed(own))
        #expect(none.judgeCookie([own.text], host: "gw.example.com", isSecure: false) == .refused)
        #expect(none.judgeCookie(["https://evil"], host: "gw.example.com", isSecure: true) == .refused)
        #expect(none.judgeCookie(["null"], host: "gw.example.com", isSecure: true) == .refused)
        #expect(none.judgeCookie([], host: "gw.example.com", isSecure: true) == .refused)
        #expect(none.judgeCookie([own.text, own.text], host: "gw.example.com", isSecure: true) == .malformed)
    }

    @Test("lists that are refused", arguments: [
        "example.com", "https://", "*.", "*.*.com", "https://a/b", "ftp://*.a.com", "*.1.2.3.4", "*.a.com:0", "a*",
    ])
    func refused(entry: String) {
        #expect(throws: ProxyOrigins.Fault.malformed(entry)) { try ProxyOrigins([entry], profile: .native, usesCookies: false) }
    }

    @Test("everything and cookies do not go together")
    func anyWithCookies() {
        #expect(throws: ProxyOrigins.Fault.anyWithCookies) { try ProxyOrigins(["*"], profile: .compat, usesCookies: true) }
    }
}
