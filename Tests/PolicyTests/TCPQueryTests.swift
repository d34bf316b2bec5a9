import Policy
import Testing

@Suite struct TCPQueryTests {
    private func outcome(_ query: String) -> String {
        do throws(TCPQuery.Fault) {
            let target = try TCPQuery.parse(query)
            return "\(target.host) \(target.port)"
        } catch {
            return error.message
        }
    }

    @Test(arguments: [
        ("v=1&host=a&port=80", "a 80"), ("v=&host=a&port=80", "a 80"), ("port=80&host=a", "a 80"),
        ("host=a&host=b&port=1&port=2", "a 1"),
        ("x=1&host=%61%2Eb&port=%38%30", "a.b 80"), ("host=%5b::1%5d&port=1", "::1 1"), ("host=::1&port=1", "::1 1"),
        ("target=a:80&v=1", "a 80"),
        ("target=%5B::1%5D%3A443", "::1 443"), ("host=a&port=00065535", "a 65535"), ("h%6Fst=a&port=1", "a 1"),
        ("host=m%C3%BC&port=1", "m\u{FC} 1"),
        ("v=2", "Unsupported TCP proxy protocol version"),
        ("v=11111111111111111&host=a&port=1", "Unsupported TCP proxy protocol version"),
        ("v=2&v=1&host=a&port=1", "Unsupported TCP proxy protocol version"),
        ("v=+1&host=a&port=1", "Unsupported TCP proxy protocol version"),
        ("", "Missing required query parameter: host"), ("HOST=a&port=1", "Missing required query parameter: host"),
        ("host=a", "Missing required query parameter: port"), ("host=", "Missing required query parameter: port"),
        ("host=&port=1", "Host must not be empty"), ("host&port=1", "Host must not be empty"),
        ("host=[a&port=1", "Invalid host: mismatched brackets"), ("host=a]&port=1", "Invalid host: mismatched brackets"),
        ("host=[&port=1", "Invalid host: mismatched brackets"), ("host=[]&port=1", "Invalid host: empty bracketed host"),
        ("host=a&port=0", "Invalid port"), ("host=a&port=65536", "Invalid port"), ("host=a&port=", "Invalid port"),
        ("host=a&port=+1", "Invalid port"),
        ("host=a&port=0x50", "Invalid port"), ("host=a&port=00000000000000080", "Invalid port"),
        ("host=a&port=%D9%A1", "Invalid port"),
        ("target=", "Query parameter target must not be empty"),
        ("target=&host=a&port=1", "Query parameter target must not be empty"),
        ("target=[::1", "Invalid target: missing closing bracket for IPv6 literal"),
        ("target=[]:1", "Invalid target: empty IPv6 literal"),
        ("target=a", "Invalid target: missing port separator"), ("target=[::1]", "Invalid target: missing port separator"),
        ("target=[::1]x:1", "Invalid target: missing port separator"), ("target=a:", "Invalid target: expected <host>:<port>"),
        ("target=:1", "Invalid target: expected <host>:<port>"), ("target=:", "Invalid target: expected <host>:<port>"),
        ("target=[::1]:", "Invalid port"),
        ("target=::1:443", "Invalid target: IPv6 literals must use bracket form, e.g. [::1]:443"),
        ("target=a[b:1", "Invalid target: unexpected bracket in host"),
        ("target=a]:1", "Invalid target: unexpected bracket in host"),
        ("target=a:b", "Invalid port"), ("target=a:65536", "Invalid port"), ("target=a:%CC%81", "Invalid port"),
    ])
    func queries(_ query: String, _ expected: String) {
        #expect(outcome(query) == expected)
    }

    @Test func lengths() {
        let host = String(repeating: "h", count: TCPQuery.maximumHostCharacters)
        #expect(outcome("host=\(host)&port=1") == host + " 1")
        #expect(outcome("host=\(host)h&port=1") == "Invalid host: too long")
        let target = String(repeating: "t", count: TCPQuery.maximumTargetCharacters - 2)
        #expect(outcome("target=\(target):1") == target + " 1")
        #expect(outcome("target=\(target)t:1") == "Invalid target: too long")
    }

    /// Every text of the published table is reachable.
    @Test func sixteenFaults() {
        #expect(TCPQuery.Fault.allCases.count == 16)
    }

    @Test func publishedVectors() throws {
        for entry in try Vectors.list("observed-gateway.json", "tcp_query", atLeast: 29) {
            let query = try #require(entry.string("query"))
            let expected = try entry.string("message") ?? "\(#require(entry.string("host"))) \(#require(entry.integer("port")))"
            #expect(outcome(query) == expected, "\(query)")
        }
    }
}
