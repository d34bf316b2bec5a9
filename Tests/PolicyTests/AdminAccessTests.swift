import Testing

@testable import Policy

@Suite struct AdminAccessTests {
    private let withToken = AdminAccess(token: "0123456789abcdef")
    private let withoutToken = AdminAccess(token: nil)

    private func judge(_ access: AdminAccess, authorization: [String] = [], origins: [String] = [], hosts: [String] = ["localhost"],
                       sites: [String] = []) -> AdminAccess.Verdict {
        access.judge(authorization: authorization, origins: origins, hosts: hosts, fetchSites: sites)
    }

    @Test(arguments: ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER   0123456789abcdef"])
    func theTokenOpens(_ value: String) {
        // Wherever the request comes from: the token is the proof.
        #expect(judge(withToken, authorization: [value], origins: ["https://a.test"], hosts: ["gateway.test"]) == .allowed)
    }

    @Test(arguments: [
        [], [""], ["Bearer"], ["Bearer "], ["Bearer 0123456789abcde"], ["Bearer 0123456789abcdef0"], ["0123456789abcdef"],
        ["Basic 0123456789abcdef"], ["Bearer 0123456789abcdeF"], ["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
    ])
    func nothingElseDoes(_ values: [String]) {
        #expect(judge(withToken, authorization: values) == .unauthorized)
    }

    @Test(arguments: [
        "localhost", "LOCALHOST:9901", "127.0.0.1", "127.0.0.1:9901", "127.9.9.9:1", "[::1]", "[::1]:9901", "localhost:65535",
    ])
    func thisMachineNeedsNone(_ host: String) {
        #expect(judge(withoutToken, hosts: [host]) == .allowed)
    }

    @Test(arguments: [
        [], [""], ["localhost", "localhost"], ["example.test"], ["localhost.example.test"], ["127.0.0.1.example.test"], ["10.0.0.1"],
        ["[::2]"], ["[::1"], ["[::1]x"], ["localhost:x"], ["localhost:70000"], ["localhost:"], ["128.0.0.1"], ["0.0.0.0"], ["::1"],
        ["2130706433"], ["0x7f.1"],
    ])
    func otherHostsAreRefused(_ hosts: [String]) {
        #expect(judge(withoutToken, hosts: hosts) != .allowed)
    }

    @Test func pagesAreRefused() {
        #expect(judge(withoutToken, origins: ["http://localhost"]) != .allowed)
        #expect(judge(withoutToken, origins: ["null"]) != .allowed)
        #expect(judge(withoutToken, sites: ["cross-site"]) != .allowed)
        #expect(judge(withoutToken, sites: ["same-site"]) != .allowed)
        #expect(judge(withoutToken, sites: ["none"]) == .allowed)
        #expect(judge(withoutToken, sites: ["same-origin"]) == .allowed)
    }
}
