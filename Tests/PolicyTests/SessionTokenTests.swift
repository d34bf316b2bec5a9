import Foundation
import Policy
import Testing

@Suite struct SessionTokenTests {
    private let secret = Array("a secret of our own".utf8)
    private let now: Int64 = 1_800_000_000_000

    private func encode(_ text: String) -> String {
        Data(text.utf8).base64EncodedString().replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }

    /// A correctly signed token around any payload characters.
    private func signed(payload: String) -> String {
        let mac = Digest.hmacSHA256(key: secret, Array(payload.utf8))
        return payload + "." + encode(bytes: mac)
    }

    private func encode(bytes: [UInt8]) -> String {
        Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }

    private func verify(json: String) -> SessionToken? {
        SessionToken.verify(signed(payload: encode(json)), secret: secret, nowMilliseconds: now)
    }

    @Test func roundTrip() throws {
        let expiry = SessionToken.expirySeconds(nowMilliseconds: now + 999, lifetimeSeconds: 60)
        #expect(expiry == 1_800_000_060)
        let token = try #require(SessionToken.mint(sessionID: "s\"\u{FC}\n", expirySeconds: expiry, secret: secret))
        let session = try #require(SessionToken.verify(token, secret: secret, nowMilliseconds: now))
        #expect(session == SessionToken(sessionID: "s\"\u{FC}\n", expirySeconds: 1_800_000_060))
        #expect(SessionToken.verify(token, secret: secret, nowMilliseconds: 1_800_000_059_999) != nil)
        #expect(SessionToken.verify(token, secret: secret, nowMilliseconds: 1_800_000_060_000) == nil)
        #expect(SessionToken.verify(token, secret: secret + [1], nowMilliseconds: now) == nil)
    }

    @Test(arguments: [
        #"{"v":1,"sid":"a","exp":1800000001}"#, #" {"exp":1800000000.001,"sid":"a","v":1.0,"x":[{}]} "#,
        #"{"v":2,"v":1,"sid":"","sid":"a","exp":9e9}"#,
        #"{"v":1e0,"sid":"\u0061","exp":1800000001}"#,
    ])
    func accepted(_ json: String) {
        #expect(verify(json: json)?.sessionID == "a")
    }

    @Test(arguments: [
        #"{"v":"1","sid":"a","exp":1800000001}"#, #"{"v":true,"sid":"a","exp":1800000001}"#,
        #"{"v":1.5,"sid":"a","exp":1800000001}"#,
        #"{"v":1,"sid":"","exp":1800000001}"#, #"{"v":1,"sid":null,"exp":1800000001}"#, #"{"v":1,"sid":"a","exp":"1800000001"}"#,
        #"{"v":1,"sid":"a","exp":1e999}"#, #"{"v":1,"sid":"a","exp":1800000000}"#, #"{"v":1,"sid":"a","exp":-1}"#,
        #"{"v":1,"sid":"a"}"#, "[]", "", "1",
        #"{"v":1,"sid":"a","exp":1800000001}x"#, #"{"v":1,"v":2,"sid":"a","exp":1800000001}"#,
        "\u{FEFF}" + #"{"v":1,"sid":"a","exp":1800000001}"#,
    ])
    func refusedPayloads(_ json: String) {
        #expect(verify(json: json) == nil)
    }

    @Test func invalidUTF8IsRefused() {
        let payload = encode(bytes: Array(#"{"v":1,"sid":""#.utf8) + [0xFF] + Array(#"","exp":1800000001}"#.utf8))
        #expect(SessionToken.verify(signed(payload: payload), secret: secret, nowMilliseconds: now) == nil)
    }

    @Test func everyChangedCharacterIsRefused() throws {
        let token = try #require(SessionToken.mint(sessionID: "a", expirySeconds: 1_800_000_060, secret: secret))
        for index in token.utf8.indices {
            var bytes = Array(token.utf8)
            let offset = token.utf8.distance(from: token.startIndex, to: index)
            bytes[offset] = bytes[offset] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            #expect(
                SessionToken.verify(String(decoding: bytes, as: UTF8.self), secret: secret, nowMilliseconds: now) == nil,
                "\(offset)")
            #expect(SessionToken.verify(String(token[..<index]), secret: secret, nowMilliseconds: now) == nil, "\(offset)")
        }
        for other in [token + "=", token + ".", "." + token, " " + token, token + "\n"] {
            #expect(SessionToken.verify(other, secret: secret, nowMilliseconds: now) == nil)
        }
    }

    @Test func lengths() throws {
        // 12,288 bytes of JSON are 16,384 characters; the frame around the id takes 35.
        let longest = String(repeating: "a", count: 12_288 - #"{"v":1,"sid":"","exp":1800000060}"#.utf8.count)
        let token = try #require(SessionToken.mint(sessionID: longest, expirySeconds: 1_800_000_060, secret: secret))
        #expect(token.utf8.count == SessionToken.maximumCharacters)
        #expect(SessionToken.verify(token, secret: secret, nowMilliseconds: now)?.sessionID == longest)
        #expect(SessionToken.mint(sessionID: longest + "a", expirySeconds: 1_800_000_060, secret: secret) == nil)
        let tooLong = signed(payload: encode(#"{"v":1,"sid":"\#(longest)a","exp":1800000060}"#))
        #expect(SessionToken.verify(tooLong, secret: secret, nowMilliseconds: now) == nil)
    }

    @Test func authorityRefreshesValidSessionsAndReplacesOthers() throws {
        var settings = GatewaySettings.SessionSettings()
        settings.secret = secret
        settings.lifetimeSeconds = 100
        settings.sameSite = .strict
        let authority = SessionAuthority(settings)
        let first = try #require(authority.issue(refreshing: nil, secure: true, nowMilliseconds: now + 5))
        #expect(first.expiryMilliseconds == now + 100_005)
        #expect(
            first.setCookie.hasPrefix("aero_session=")
                && first.setCookie.hasSuffix("; Max-Age=100; Path=/; HttpOnly; SameSite=Strict; Secure"))
        #expect(first.sessionID.wholeMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/) != nil)
        let cookie = SessionCookie.value(inLines: [String(first.setCookie.prefix { $0 != ";" })])
        let session = try #require(authority.session(cookie: cookie, nowMilliseconds: now + 99_999))
        #expect(session.sessionID == first.sessionID)
        let second = try #require(authority.issue(refreshing: session, secure: false, nowMilliseconds: now + 50_000))
        #expect(
            second.sessionID == first.sessionID && second.expiryMilliseconds == now + 150_000
                && !second.setCookie.contains("Secure"))
        #expect(authority.session(cookie: cookie, nowMilliseconds: now + 100_000) == nil)
        #expect(authority.session(cookie: "", nowMilliseconds: now) == nil)
        #expect(authority.session(cookie: nil, nowMilliseconds: now) == nil)
        #expect(try #require(authority.issue(refreshing: nil, secure: true, nowMilliseconds: now)).sessionID != first.sessionID)
    }

    @Test func publishedVectors() throws {
        for entry in try Vectors.list("auth-tokens.json", "sessionTokens", "vectors", atLeast: 25) {
            let (name, token) = (try #require(entry.string("name")), try #require(entry.string("token")))
            let secret = Array(try #require(entry.string("secret")).utf8)
            let session = SessionToken.verify(token, secret: secret, nowMilliseconds: try #require(entry.integer("nowMs")))
            if entry.boolean("expectError") == true {
                #expect(session == nil, "\(name)")
            } else {
                #expect(session?.sessionID == entry.string("sid"), "\(name)")
                #expect(session.map { Int64($0.expirySeconds) } == entry.integer("exp"), "\(name)")
            }
            if name == "valid" {
                let minted = SessionToken.mint(
                    sessionID: try #require(entry.string("sid")), expirySeconds: try #require(entry.integer("exp")),
                    secret: secret)
                #expect(minted == token)
            }
        }
        for entry in try Vectors.list("observed-gateway.json", "mint", "session", atLeast: 1) {
            let minted = SessionToken.mint(
                sessionID: try #require(entry.string("sid")), expirySeconds: try #require(entry.integer("exp")),
                secret: Array(try #require(entry.string("secret")).utf8))
            #expect(minted == entry.string("token"))
        }
    }
}
