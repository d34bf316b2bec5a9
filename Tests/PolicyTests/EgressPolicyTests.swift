import Policy
import Testing

@Suite struct EgressPolicyTests {
    private func policy(
        ports: [UInt16] = [], allowed: String = "", blocked: String = "", requiresName: Bool = false, allowsPrivate: Bool = false
    ) throws -> EgressPolicy {
        var settings = GatewaySettings.TCPSettings()
        settings.allowedPorts = ports
        settings.allowedHosts = try HostPattern.list(parsing: allowed)
        settings.blockedHosts = try HostPattern.list(parsing: blocked)
        settings.requireDNSName = requiresName
        settings.allowPrivateAddresses = allowsPrivate
        return EgressPolicy(settings)
    }

    @Test func defaults() throws {
        let policy = try policy()
        #expect(policy.judge(host: "Example.com.", port: 1) == .resolve(hostname: "example.com"))
        #expect(policy.judge(host: "8.8.8.8", port: 65535) == .address(IPAddress(v4: 0x0808_0808)))
        #expect(policy.judge(host: "::ffff:8.8.8.8", port: 1) == .address(IPAddress(v4: 0x0808_0808)))
        for text in ["127.0.0.1", "::1", "0x7f.1", "2130706433", "169.254.169.254", "::ffff:10.0.0.1", "[fd00::1]", "0"] {
            #expect(policy.judge(host: text, port: 80) == .refused(.addressNotPublic), "\(text)")
        }
        #expect(policy.judge(host: "a b", port: 80) == .refused(.hostMalformed))
    }

    /// The rows of the table stand in this order: a request that breaks several rules gets the first answer.
    @Test func order() throws {
        let strict = try policy(ports: [443, 80], allowed: "*.a.b,10.0.0.1", blocked: "x.a.b", requiresName: true)
        #expect(strict.judge(host: "a b", port: 22) == .refused(.portNotAllowed))
        #expect(strict.judge(host: "a b", port: 80) == .refused(.hostMalformedUnderAllowlist))
        #expect(strict.judge(host: "10.0.0.2", port: 80) == .refused(.hostNotAllowlisted))
        #expect(strict.judge(host: "10.0.0.1", port: 80) == .refused(.literalForbidden))
        #expect(strict.judge(host: "x.a.b", port: 443) == .refused(.hostBlocked))
        #expect(strict.judge(host: "y.a.b", port: 443) == .resolve(hostname: "y.a.b"))
        let listed = try policy(allowed: "10.0.0.1")
        #expect(listed.judge(host: "10.0.0.1", port: 80) == .refused(.addressNotPublic))
        #expect(try policy(requiresName: true).judge(host: "0x08.8.8.8", port: 80) == .refused(.literalForbidden))
    }

    @Test func privateAddresses() throws {
        let open = try policy(blocked: "10.0.0.9", allowsPrivate: true)
        #expect(open.judge(host: "127.0.0.1", port: 80) == .address(IPAddress(v4: 0x7F00_0001)))
        #expect(open.judge(host: "10.0.0.9", port: 80) == .refused(.hostBlocked))
        #expect(open.permits(IPAddress(v4: 0x0A00_0001)))
        #expect(!open.permits(IPAddress(v4: 0x0A00_0009)))
    }

    @Test func resolvedAddresses() throws {
        let policy = try policy(blocked: "8.8.8.8,2606:4700::1")
        #expect(policy.permits(IPAddress(v4: 0x0101_0101)))
        #expect(!policy.permits(IPAddress(v4: 0x7F00_0001)))
        #expect(!policy.permits(IPAddress(v4: 0x0808_0808)))
        #expect(!policy.permits(try #require(IPAddress("::ffff:8.8.8.8"))))
        #expect(!policy.permits(try #require(IPAddress("2606:4700::1"))))
        #expect(policy.permits(try #require(IPAddress("2606:4700::2"))))
    }

    @Test func answers() {
        #expect(Refusal.addressNotPublic.message == "Target IP is not allowed by IP egress policy")
        #expect(Refusal.noAddressAcceptable.message == Refusal.addressNotPublic.message)
        let statuses: [Refusal: Int] = [
            .hostMalformed: 400, .hostMalformedUnderAllowlist: 400, .lookupFailed: 502, .tooManyConnections: 429,
        ]
        for refusal in Refusal.allCases {
            #expect(refusal.status == statuses[refusal] ?? 403)
            #expect(!(refusal.countsAsHostPolicy && refusal.countsAsIPPolicy))
            #expect(refusal.message.utf8.count <= 512)
        }
        #expect(Refusal.allCases.filter(\.countsAsIPPolicy) == [.addressNotPublic, .noAddressAcceptable])
        #expect(Refusal.allCases.filter(\.countsAsHostPolicy).count == 6)
    }
}
