import Foundation
import Testing
import Wire

@testable import Policy

@Suite struct DNSPolicyTests {
    @Test func privateReverseNamesOfTheVectors() throws {
        for entry in try Vectors.list("observed-gateway.json", "private_ptr", atLeast: 15) {
            let name = try #require(entry.string("name"))
            #expect(DNSPolicy.isPrivateReverse(Array(name.utf8).span) == entry.boolean("private"), "\(name)")
        }
    }

    @Test(arguments: [
        ("1.0.168.192.IN-ADDR.ARPA", true), ("1.0.0.192.in-addr.arpa", false), ("x.0.0.10.in-addr.arpa", false),
        ("+1.0.0.10.in-addr.arpa", false), ("1.1.0.0.10.in-addr.arpa", false), ("1.0.0.10.in-addr.arpa.example", false),
        ("1.255.31.172.in-addr.arpa", true), ("1.0.127.100.in-addr.arpa", true), ("ip6.arpa", false), ("", false),
    ])
    func privateReverseNames(name: String, isPrivate: Bool) {
        #expect(DNSPolicy.isPrivateReverse(Array(name.utf8).span) == isPrivate)
    }

    private func wire(_ name: String) -> [UInt8] {
        name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }

    @Test func switchesAllow() {
        var settings = GatewaySettings.DNSSettings()
        let reverse = wire("1.0.0.10.in-addr.arpa")
        #expect(DNSPolicy(settings).refuses(type: 255, name: wire("example.com").span) == true)
        #expect(DNSPolicy(settings).refuses(type: 12, name: reverse.span) == true)
        #expect(DNSPolicy(settings).refuses(type: 1, name: reverse.span) == false)
        #expect(DNSPolicy(settings).refuses(type: 12, name: wire("8.8.8.8.in-addr.arpa").span) == false)
        settings.allowAny = true
        settings.allowPrivatePointer = true
        #expect(DNSPolicy(settings).refuses(type: 255, name: wire("example.com").span) == false)
        #expect(DNSPolicy(settings).refuses(type: 12, name: reverse.span) == false)
    }

    @Test func labelsAreClosed() {
        let names = [1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 255: "ANY", 65: "65", 999: "OTHER"]
        for (type, name) in names { #expect(DNSLabel.types[DNSLabel.index(type: UInt16(type))] == name) }
        for type in UInt16.min...UInt16.max { #expect(DNSLabel.types.indices.contains(DNSLabel.index(type: type))) }
        let codes: [(UInt16, String)] = [(0, "NOERROR"), (1, "1"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (5, "REFUSED"), (15, "15")]
        for (code, name) in codes { #expect(DNSLabel.codes[DNSLabel.index(code: code)] == name) }
    }

    @Test func upstreamEntriesOfTheVectors() throws {
        for entry in try Vectors.list("observed-gateway.json", "dns_upstream_entry", atLeast: 9) {
            let text = try #require(entry.string("entry"))
            let upstream = DNSUpstream(parsing: text)
            #expect((upstream == nil) == (entry.boolean("error") ?? false), "\(text)")
            guard let upstream else { continue }
            #expect(upstream.label == entry.string("label"))
            switch upstream {
            case .datagram(let host, let port):
                #expect(entry.string("kind") == "udp" && host == entry.string("host") && Int64(port) == entry.integer("port"))
            case .https(let url): #expect(entry.string("kind") == "doh" && url == entry.string("url"))
            }
        }
    }

    @Test(arguments: [
        "https:///q", "https://host:99999/q", "https://host:0/q", "https://host:44x/q", "https://[::1/q", "https://[host]/q", "http://:80/",
        "https://user:word@host/q", "https://user@host/q",
    ])
    func aURLThatCannotBeAskedIsNoEntry(_ entry: String) { #expect(DNSUpstream(parsing: entry) == nil) }

    @Test func aQueryIsNotShown() {
        #expect(DNSUpstream(parsing: "https://host/q?key=secret")?.label == "https://host/q?***")
        #expect(DNSUpstream(parsing: "https://host/q")?.label == "https://host/q")
    }

    @Test func theLimiterIsOffAtZero() {
        var settings = GatewaySettings.DNSSettings()
        let address = IPAddress(v4: 1)
        var table = BucketTable<IPAddress>.queries(settings)
        var admitted: [Bool] = []
        for _ in 0..<21 { admitted.append(table?.admit(address, nowMilliseconds: 0) ?? true) }
        admitted.append(table?.admit(address, nowMilliseconds: 100) ?? false)
        #expect(admitted == Array(repeating: true, count: 20) + [false, true])
        settings.burstPerAddress = 0
        #expect(BucketTable<IPAddress>.queries(settings) == nil)
    }
}
