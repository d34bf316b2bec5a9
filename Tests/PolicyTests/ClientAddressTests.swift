import Policy
import Testing

@Suite struct ClientAddressTests {
    private let peer = IPAddress(v4: 0x7F00_0001)

    @Test(
        arguments: [
            (nil, "127.0.0.1"), ("", "127.0.0.1"), ("unknown", "127.0.0.1"), (",1.2.3.4", "127.0.0.1"), ("1.2.3.4", "1.2.3.4"),
            (" 1.2.3.4 , 5.6.7.8", "1.2.3.4"),
            ("x, 5.6.7.8", "127.0.0.1"), ("2001:DB8::1, 1.2.3.4", "2001:db8::1"), ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[2001:db8::1]:443", "2001:db8::1"), ("[::1]", "::1"),
            ("1.2.3.4:443", "1.2.3.4"), ("1.2.3.4:x", "127.0.0.1"), ("[1.2.3.4]", "127.0.0.1"), ("[::1]x", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"), ("1.2.3.4;", "127.0.0.1"),
        ] as [(String?, String)])
    func forwardedFor(_ header: String?, _ expected: String) {
        #expect(ClientAddress.effective(peer: peer, forwardedFor: header, trustProxy: true) == IPAddress(expected))
        #expect(ClientAddress.effective(peer: peer, forwardedFor: header, trustProxy: false) == peer)
    }

    @Test func mappedPeersAreOneKey() throws {
        let mapped = try #require(IPAddress("::ffff:127.0.0.1"))
        #expect(ClientAddress.effective(peer: mapped, forwardedFor: nil, trustProxy: false) == peer)
    }

    @Test(
        arguments: [
            (nil, false), ("", false), ("http", false), ("https", true), (" HTTPS , http", true), ("http, https", false),
            (",https", false), ("httpsx", false),
        ] as [(String?, Bool)])
    func forwardedProto(_ header: String?, _ expected: Bool) {
        #expect(ClientAddress.isSecure(connectionIsTLS: false, forwardedProto: header, trustProxy: true) == expected)
        #expect(!ClientAddress.isSecure(connectionIsTLS: false, forwardedProto: header, trustProxy: false))
        #expect(ClientAddress.isSecure(connectionIsTLS: true, forwardedProto: header, trustProxy: false))
    }
}
