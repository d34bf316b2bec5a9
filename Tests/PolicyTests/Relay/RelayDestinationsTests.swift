import Policy
import Testing
import Wire

private func permits(_ settings: RelayDestinationSettings, _ address: String, _ port: UInt16 = 53) throws -> Bool {
    let owner = RelayDestinations(settings)
    return owner.rules.permits(Endpoint(try #require(IPAddress(address)), port: port))
}

/// Settings from the variables, nil where the relay would not start.
private func settings(_ variables: [String: String]) -> RelayDestinationSettings? {
    let names = ["DESTINATION_POLICY_PRESET", "UDP_DESTINATION_POLICY_PRESET", "POLICY_PRESET"]
    guard var settings = RelayDestinationSettings(preset: names.lazy.compactMap { variables[$0] }.first ?? "") else { return nil }
    switch variables["ALLOW_PRIVATE_NETWORKS"] {
    case nil: break
    case "1", "true": settings.allowsPrivate = true
    case "0", "false": settings.allowsPrivate = false
    default: return nil
    }
    for (name, denies) in [("ALLOW_UDP_CIDRS", false), ("DENY_UDP_CIDRS", true)] {
        guard let text = variables[name] else { continue }
        guard let blocks = RelayDestinationSettings.blocks(text) else { return nil }
        if denies { settings.deniedBlocks = blocks } else { settings.allowedBlocks = blocks }
    }
    for (name, denies) in [("ALLOW_UDP_PORTS", false), ("DENY_UDP_PORTS", true)] {
        guard let text = variables[name] else { continue }
        guard let ports = RelayDestinationSettings.ports(text) else { return nil }
        if denies { settings.deniedPorts = ports } else { settings.allowedPorts = ports }
    }
    return settings
}

@Suite struct RelayDestinationsTests {
    @Test func observedEnvironments() throws {
        guard let root = try Vectors.load("observed-udp-relay.json") as? [String: Any],
            let table = root["destinationPolicy"] as? [String: Any], let cases = table["cases"] as? [[String: Any]]
        else { return }
        let probes = table.strings("probes")
        #expect(cases.count >= 19 && probes.count >= 38)
        for entry in cases {
            let variables = try #require(entry["env"] as? [String: String])
            guard let settings = settings(variables) else {
                #expect(entry.boolean("startupError") == true, "\(variables)")
                continue
            }
            #expect(entry.boolean("startupError") != true, "\(variables)")
            let owner = RelayDestinations(settings)
            let allowed = Set(entry.strings("allowed"))
            for probe in probes {
                let parts = probe.split(separator: "#")
                let endpoint = Endpoint(try #require(IPAddress(String(parts[0]))), port: try #require(UInt16(parts[1])))
                // The two ranges the specification adds to the list of the reference.
                let isAdded = !settings.allowsPrivate && (probe.hasPrefix("fec0:") || probe.hasPrefix("64:ff9b::a00:"))
                let expected = allowed.contains(probe) && !isAdded
                #expect(owner.rules.permits(endpoint) == expected, "\(variables) \(probe)")
            }
        }
    }

    @Test func privateAddresses() throws {
        var settings = try #require(RelayDestinationSettings(preset: " DEV "))
        settings.allowsPrivate = false
        for address in [
            "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.255.255.255", "169.254.0.0",
            "172.31.255.255",
            "192.168.0.0", "224.0.0.0", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "fe80::", "febf::1", "fec0::",
            "feff::1",
            "fc00::", "fdff::1", "ff00::", "64:ff9b::7f00:1", "2002:7f00:1::1", "2002:a00:1:ffff::", "64:ff9b:1::a00:1",
            "64:ff9b:1:a00:0:100::",
            "64:ff9b:1:0a:00:0001::", "64:ff9b:1:0:a:0:800:0",
        ] {
            #expect(try !permits(settings, address), "\(address)")
        }
        for address in [
            "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.0.2.1",
            "198.18.0.1",
            "223.255.255.255", "2001:db8::1", "2606:4700::1", "64:ff9b::808:808", "2002:808:808::1", "64:ff9b:1::808:808", "fbff::1",
            "fe7f::1",
        ] {
            #expect(try permits(settings, address), "\(address)")
        }
        settings.allowsPrivate = true
        #expect(try permits(settings, "10.0.0.0") && permits(settings, "64:ff9b::7f00:1") && !permits(settings, "10.0.0.0", 0))
    }

    @Test func blocks() throws {
        for (text, first, last) in [
            ("10.1.2.3/8", "10.0.0.0", "10.255.255.255"), ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"), ("1.2.3.4/32", "1.2.3.4", "1.2.3.4"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ("2001:db8::/32", "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::1/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"), ("2001:db8::1/65", "2001:db8::",
            "2001:db8::7fff:ffff:ffff:ffff"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::1"), ("::ffff:10.0.0.0/104", "10.0.0.0", "10.255.255.255"),
        ] {
            let block = try #require(AddressBlock(text))
            #expect(block.first == IPAddress(first) && block.last == IPAddress(last), "\(text)")
        }
        for text in ["1.1.1.1", "1.1.1.1/", "1.1.1.1/33", "::/129", "1.1.1.1/-1", "1.1.1.1/08", "1.1.1.1/8/8", "x/8", "/8", "1.1.1/8",
            "::1%e/8"] {
            #expect(AddressBlock(text) == nil, "\(text)")
        }
        #expect(RelayDestinationSettings.blocks(" 1.1.1.0/24, ,8.8.8.8/32") == [AddressBlock("1.1.1.0/24")!, AddressBlock("8.8.8.8/32")!])
        #expect(RelayDestinationSettings.blocks("1.1.1.0/24,x") == nil)
        #expect(RelayDestinationSettings.blocks(Array(repeating: "::/0", count: 4097).joined(separator: ",")) == nil)
    }

    @Test func ports() {
        #expect(RelayDestinationSettings.ports("53, 30000 - 30100 ,,1-65535") == [53...53, 30_000...30_100, 1...65_535])
        for text in ["0", "65536", "a", "1-", "-1", "2-1", "1-2-3", "+1", "1 2", "0-5"] {
            #expect(RelayDestinationSettings.ports(text) == nil, "\(text)")
        }
    }

    /// Overlapping and touching blocks in any order are as one.
    @Test func manyBlocks() throws {
        var settings = RelayDestinationSettings()
        settings.allowsPrivate = true
        settings.allowedBlocks = RelayDestinationSettings.blocks(
            "10.2.0.0/16,10.0.0.0/24,10.0.0.128/25,10.1.0.0/16,2001:db8::/32,9.0.0.0/8")
        let owner = RelayDestinations(settings)
        var generator = SystemRandomNumberGenerator()
        var differences = 0
        for _ in 0..<20_000 {
            let address = IPAddress(v4: UInt32.random(in: 0x0900_0000...0x0A03_FFFF, using: &generator))
            let expected = settings.allowedBlocks?.contains {
                $0.first.family == .v4 && $0.first.low <= address.low && address.low <= $0.last.low
            }
            if owner.rules.permits(Endpoint(address, port: 1)) != expected { differences += 1 }
        }
        #expect(differences == 0)
        settings.allowedBlocks = []
        #expect(try !permits(settings, "9.0.0.1"))
        #expect(RelayDestinationSettings(preset: "test") == nil)
    }
}
