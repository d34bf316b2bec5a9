import Policy
import Testing

@Suite struct SessionCookieTests {
    @Test(
        arguments: [
            ([], nil), ([""], nil), (["a=1"], nil), (["aero_session"], nil), (["aero_session=t"], "t"),
            (["a=1; aero_session=t; b=2"], "t"),
            (["a=1", "aero_session=t"], "t"), (["aero_session=", "aero_session=t"], ""),
            (["aero_session=x; aero_session=t"], "x"),
            (["Aero_Session=x"], nil), ([" \taero_session\u{1} = \u{1}t\t "], "t"), (["aero_session==t="], "=t="),
            (["aero_session; aero_session=t"], "t"),
            ([#"aero_session="t""#], #""t""#), (["aero_session=a%2Eb"], "a.b"), (["aero_session=a%2"], "a%2"),
            (["aero_session=%FF"], "%FF"), (["aero_session=a+b"], "a+b"),
            (["xaero_session=1; aero_sessionx=2"], nil), (["=x; aero_session=t"], "t"), ([";;;=;aero_session=t;;"], "t"),
            (["aero_session=a b"], "a b"),
        ] as [([String], String?)])
    func lookup(_ lines: [String], _ expected: String?) {
        #expect(SessionCookie.value(inLines: lines) == expected)
    }

    @Test func lengths() {
        let pad = String(repeating: "x", count: SessionCookie.maximumLineBytes - "aero_session=t; a=".utf8.count)
        #expect(SessionCookie.value(inLines: ["aero_session=t; a=" + pad]) == "t")
        // A line that is too long is a present and invalid cookie: it must not let a later one through.
        #expect(SessionCookie.value(inLines: ["a=y; aero_session=t; b=" + pad, "aero_session=t"]) == "")
        let value = String(repeating: "v", count: SessionCookie.maximumValueBytes)
        #expect(SessionCookie.value(inLines: ["aero_session=" + value]) == value)
        #expect(SessionCookie.value(inLines: ["aero_session=" + value + "w"]) == value)
    }

    @Test func setCookie() {
        #expect(
            SessionCookie.setCookie(token: "p.s", maxAgeSeconds: 60, sameSite: .none, secure: true)
                == "aero_session=p.s; Max-Age=60; Path=/; HttpOnly; SameSite=None; Secure")
        #expect(
            SessionCookie.setCookie(token: "p.s", maxAgeSeconds: 86_400, sameSite: .lax, secure: false)
                == "aero_session=p.s; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax")
    }

    @Test func publishedVectors() throws {
        for entry in try Vectors.list("observed-gateway.json", "cookie_value", atLeast: 8) {
            #expect(SessionCookie.value(inLines: entry.strings("cookieHeaders")) == entry.string("value"), "\(entry)")
        }
    }
}
