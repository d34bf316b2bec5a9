import Engine
import Policy
import Testing

@testable import DNS

/// The parts of a DoH URL.
@Suite struct HTTPSTargetTests {
    @Test(arguments: [
        ("https://dns.test/dns-query", true, "dns.test", 443, "dns.test", "/dns-query"),
        ("http://dns.test", false, "dns.test", 80, "dns.test", "/"),
        ("HTTPS://dns.test:8443/q?a=1#part", true, "dns.test", 8443, "dns.test:8443", "/q?a=1"),
        ("https://dns.test?a", true, "dns.test", 443, "dns.test", "/?a"),
        ("https://dns.test#x", true, "dns.test", 443, "dns.test", "/"),
        ("https://[2001:db8::1]/q", true, "2001:db8::1", 443, "[2001:db8::1]", "/q"),
        ("http://[2001:db8::1]:8053/q", false, "2001:db8::1", 8053, "[2001:db8::1]:8053", "/q"),
        ("https://192.0.2.1:443/", true, "192.0.2.1", 443, "192.0.2.1", "/"),
        ("http://dns.test:443/", false, "dns.test", 443, "dns.test:443", "/"),
        ("https://dns.test:/q", true, "dns.test", 443, "dns.test", "/q"),
        ("https://dns.test:065/", true, "dns.test", 65, "dns.test:65", "/"),
    ])
    func isSplit(_ url: String, _ isSecure: Bool, _ host: String, _ port: UInt16, _ authority: String, _ path: String) throws {
        let target = try #require(HTTPSTarget(url))
        #expect(target.isSecure == isSecure && target.host == host && target.port == port)
        #expect(target.authority == authority && target.path == path)
    }

    @Test(arguments: [
        "", "dns.test", "ftp://dns.test/", "https://", "https:///q", "https://:443/", "https://user@dns.test/",
        "https://user:word@dns.test/", "https://dns.test:0/", "https://dns.test:65536/",
        "https://dns.test:4a3/", "https://dns.test:+443/", "https://[2001:db8::1/q",
        "https://[::1]443/", "https://2001:db8::1/q", "https://a:b:1/",
    ])
    func isRefused(_ url: String) { #expect(HTTPSTarget(url) == nil) }
}

/// Where an upstream is.
@Suite struct UpstreamAddressTests {
    @Test func anAddressIsKnownAtOnce() {
        let upstream = Upstream(.datagram(host: "192.0.2.1", port: 5353))
        #expect(upstream.address(at: 0, nowMilliseconds: 0).map { "\($0.host):\($0.port)" } == "192.0.2.1:5353")
    }

    @Test func aNameIsBelievedForAWhileAndDoubtedAfterAFailure() {
        var upstream = Upstream(.https(url: "https://dns.test:8443/q"))
        #expect(upstream.address(at: 0, nowMilliseconds: 0) == nil)
        upstream.learn([SocketAddress("192.0.2.7", port: 0)!, SocketAddress("192.0.2.8", port: 0)!], nowMilliseconds: 1000)
        #expect(upstream.address(at: 0, nowMilliseconds: 1000).map { "\($0.host):\($0.port)" } == "192.0.2.7:8443")
        #expect(upstream.address(at: 0, nowMilliseconds: 999 + DNSLimits.addressMilliseconds) != nil)
        #expect(upstream.address(at: 0, nowMilliseconds: 1000 + DNSLimits.addressMilliseconds) == nil)
        upstream.learn([SocketAddress("192.0.2.7", port: 0)!], nowMilliseconds: 2000)
        upstream.doubt()
        #expect(upstream.address(at: 0, nowMilliseconds: 2000) == nil)
        upstream.learn([], nowMilliseconds: 2000)
        #expect(upstream.address(at: 0, nowMilliseconds: 2000) == nil && upstream.lookup == nil)
    }

    @Test func attemptsBeginWithWhatAnsweredLast() {
        var upstream = Upstream(.datagram(host: "dns.test", port: 5353))
        upstream.prefer(1)
        #expect(upstream.preferred == 0 && upstream.addressCount == 0)
        upstream.learn((1...9).map { SocketAddress("192.0.2.\($0)", port: 0)! }, nowMilliseconds: 0)
        #expect(upstream.addressCount == DNSLimits.addressesOfUpstream)
        upstream.prefer(1)
        #expect(upstream.preferred == 1)
        #expect(upstream.address(at: 1, nowMilliseconds: 0).map { "\($0.host):\($0.port)" } == "192.0.2.2:5353")
        upstream.prefer(1)
        #expect(upstream.preferred == 1, "two that were asked at once say the same")
        #expect(upstream.address(at: 1 + DNSLimits.addressesOfUpstream, nowMilliseconds: 0)?.host == "192.0.2.2")
        upstream.learn([SocketAddress("192.0.2.7", port: 0)!], nowMilliseconds: 0)
        #expect(upstream.preferred == 0 && upstream.address(at: 3, nowMilliseconds: 0)?.host == "192.0.2.7")
    }

    @Test func aURLThatCannotBeAskedIsUnusable() {
        guard case .unusable = Upstream(.https(url: "https://user@dns.test/")).kind else { Issue.record("it is asked"); return }
    }
}
