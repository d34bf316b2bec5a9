import Foundation
import Policy
import Testing
import UDPRelay

@testable import Control

/// The UDP relay's variables and flags: how their values are written, what follows from one another, what is refused.
@Suite("Configuration of the UDP relay")
struct RelayConfigurationTests {
    /// As `sluice check` with these arguments.
    static func load(_ environment: [String: String], _ arguments: [String] = []) throws
        -> Result<LoadedConfiguration, ConfigurationFaults>
    {
        guard case .check(let options) = try Invocation.parse(["check"] + arguments) else {
            throw UsageError(message: "no check: \(arguments)")
        }
        var loader = ConfigurationLoader()
        loader.environment = environment
        loader.assignments = options.assignments
        return Result { () throws(ConfigurationFaults) in try loader.load() }
    }

    /// The relay's settings with one variable more than it needs.
    static func settings(_ name: String, _ value: String) throws -> LoadedConfiguration? {
        try? load(["AUTH_MODE": "none", name: value], ["--listen-addr", "127.0.0.1:8080"]).get()
    }

    // MARK: - Values

    @Test("durations have units and may be compound", arguments: [
        ("1m30s", 90_000), ("1.5s", 1500), (".5s", 500), ("700ms", 700), ("0", 0), ("0s", 0), ("1h2m3s4ms", 3_723_004), ("1500us", 2),
        ("1µs", 1), ("1μs", 1), ("1ns", 1), ("2s2s", 4000), ("1.s", 1000), ("0.0001ms", 1), ("3153600000s", nil), ("", nil), ("5", nil),
        ("1", nil), ("00", nil), ("-1s", nil), ("+1s", nil), ("1 s", nil), (" 1s", nil), ("1S", nil), ("s", nil), (".s", nil),
        ("1..5s", nil), ("1.5.s", nil), ("1d", nil), ("1s5", nil), ("1e3s", nil), ("0x1s", nil), ("١s", nil),
        (String(repeating: "9", count: 400) + "s", nil),
    ] as [(String, Int?)])
    func durations(text: String, milliseconds: Int?) {
        #expect(Quantity.compoundMilliseconds(text) == milliseconds)
    }

    @Test("switches have six spellings each", arguments: [
        ("1", true), ("t", true), ("T", true), ("true", true), ("TRUE", true), ("True", true), ("0", false), ("f", false), ("F", false),
        ("false", false), ("FALSE", false), ("False", false), (" true ", true), ("", false), ("yes", nil), ("tRUE", nil), ("on", nil),
        ("2", nil), ("-1", nil), ("truee", nil),
    ] as [(String, Bool?)])
    func switches(text: String, value: Bool?) throws {
        #expect(try Self.settings("PREFER_V2", text)?.configuration.udp.settings.prefersV2 == value)
    }

    @Test("integers are decimal and may have a sign", arguments: [
        ("7", 7), ("+7", 7), (" 7 ", 7), ("0", 0), ("-3", 0), ("007", 7), ("", 0), ("++7", nil), ("+-7", nil), ("+", nil), ("7.0", nil),
        ("1_000", nil), ("0x7", nil), ("7k", nil), ("99999999999999999999", nil), ("٧", nil),
    ] as [(String, Int?)])
    func integers(text: String, value: Int?) throws {
        #expect(try Self.settings("MAX_SESSIONS", text)?.configuration.udp.settings.maximumSessions == value)
    }

    @Test("choices are read in any case", arguments: [
        ("address_and_port", RelayFilterMode.addressAndPort), ("ANY", .any), ("Any", .any), (" any ", .any), ("", .addressAndPort),
        ("address", nil), ("any,any", nil), ("none", nil),
    ] as [(String, RelayFilterMode?)])
    func choices(text: String, value: RelayFilterMode?) throws {
        #expect(try Self.settings("UDP_INBOUND_FILTER_MODE", text)?.configuration.udp.settings.bindings.filterMode == value)
    }

    @Test("where nothing may be empty, and which name of the preset counts", arguments: [
        (["ALLOW_PRIVATE_NETWORKS": ""], nil), (["ALLOW_PRIVATE_NETWORKS": " "], nil), (["ALLOW_PRIVATE_NETWORKS": "T"], false),
        (["POLICY_PRESET": "dev"], true), (["UDP_DESTINATION_POLICY_PRESET": "Development"], true),
        (["UDP_DESTINATION_POLICY_PRESET": "prod", "POLICY_PRESET": "dev"], false),
        (["DESTINATION_POLICY_PRESET": "", "POLICY_PRESET": "dev"], false), (["DESTINATION_POLICY_PRESET": "x"], nil),
        (["POLICY_PRESET": "x", "DESTINATION_POLICY_PRESET": "dev"], true), (["ALLOW_UDP_CIDRS": "10.0.0.0"], nil),
        (["DENY_UDP_PORTS": "5-4"], nil), (["DENY_UDP_PORTS": "0"], nil), (["ALLOW_UDP_PORTS": "53, 1000-2000"], false),
    ] as [([String: String], Bool?)])
    func policy(environment: [String: String], allows: Bool?) throws {
        let found = try? Self.load(environment.merging(["AUTH_MODE": "none"]) { $1 }, ["--listen-addr", "127.0.0.1:8080"]).get()
        #expect(found?.configuration.udp.destinations.allowsByDefault == allows)
    }

    @Test("flags come with one dash or two, with a space or a sign, and win over variables")
    func flags() throws {
        for arguments in [["--max-sessions", "5"], ["-max-sessions", "5"], ["--max-sessions=5"], ["-max-sessions=5"]] {
            let found = try Self.load(["AUTH_MODE": "none", "MAX_SESSIONS": "9"], ["--listen-addr=127.0.0.1:8080"] + arguments).get()
            #expect(found.configuration.udp.settings.maximumSessions == 5, "\(arguments)")
        }
        let window = try Self.load(
            ["AUTH_MODE": "none", "VIOLATION_WINDOW_SECONDS": "3"], ["--listen-addr=127.0.0.1:8080", "--violation-window", "1500ms"]).get()
        #expect(window.configuration.udp.settings.limits.violationWindowMilliseconds == 1500)
        let elsewhere = try Self.load(
            ["AUTH_MODE": "none", "AERO_WEBRTC_UDP_RELAY_LISTEN_ADDR": "127.0.0.1:1"], ["--listen-addr", "127.0.0.1:8080"]).get()
        #expect(elsewhere.configuration.listeners.map { "\($0.address)" } == ["127.0.0.1:8080"])
        // What is set for every feature keeps its place below the environment.
        let set = try Self.load(["AUTH_MODE": "none", "MAX_SESSIONS": "9"], ["--set", "udp.max_sessions=5"]).get()
        #expect(set.configuration.udp.settings.maximumSessions == 9)
        for arguments in [["--max-sessions"], ["--max-sesions", "5"], ["---max-sessions", "5"]] {
            #expect(throws: UsageError.self, "\(arguments)") { try Self.load([:], arguments) }
        }
    }

    @Test("a list of servers that cannot be told is warned of; a relay alone is not told of sessions it has not")
    func warnings() throws {
        let broken = try #require(try Self.settings("AERO_ICE_SERVERS_JSON", "[{\"urls\":\"turn:t\",\"credential\":\"hunter\"}]"))
        #expect(broken.warnings.count == 1 && broken.warnings[0].hasPrefix("ICE servers: element 1: a TURN server needs username"))
        #expect(broken.warnings[0].contains("AERO_ICE_SERVERS_JSON") && !broken.warnings[0].contains("hunter"))
        #expect(try Self.settings("AERO_STUN_URLS", "stun:s")?.warnings == [])
        let shared = try Self.load(["AUTH_MODE": "none"]).get()
        #expect(shared.warnings.count == 1 && shared.warnings[0].contains("session secret"))
    }

    @Test("where clients reach the relay is for the log, without what may be secret", arguments: [
        ("https://relay.example/a", "https://relay.example/a"), ("https://u:p@relay.example", ""), ("https://relay.example/?key=k", ""),
    ])
    func publicBaseURL(text: String, logged: String) throws {
        #expect(try Self.settings("AERO_WEBRTC_UDP_RELAY_PUBLIC_BASE_URL", text)?.configuration.udp.publicBaseURL == logged)
    }

    @Test("a refusal names the variable, its value and what is allowed")
    func refusals() throws {
        for (name, value, allowed) in [
            ("UDP_BINDING_IDLE_TIMEOUT", "30", "a duration with units"), ("PREFER_V2", "yes", "1, t, true, 0, f or false"),
            ("UDP_INBOUND_FILTER_MODE", "address", "address_and_port"), ("MAX_UDP_BINDINGS_PER_SESSION", "0", "integer"),
        ] {
            guard case .failure(let faults) = try Self.load(["AUTH_MODE": "none", name: value], ["--listen-addr", "127.0.0.1:0"]) else {
                Issue.record("\(name)=\(value) is taken")
                continue
            }
            let text = faults.faults.map(\.description).joined(separator: "\n")
            #expect(text.contains(name) && text.contains("`\(value)`") && text.contains(allowed), "\(text)")
            #expect(faults.ofRelay, "a relay alone ends with its own status")
        }
    }

    // MARK: - What was observed

    /// Configurations of a reference: what it refused, and what it made of the others.
    @Test func observedConfigurations() throws {
        let url = URL(filePath: #filePath).appending(path: "../../../../shared/vectors/aero/observed-udp-relay.json").standardized
        guard let data = try? Data(contentsOf: url) else { return print("skipped: no vectors at \(url.path)") }
        let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let cases = try #require((root["configuration"] as? [String: Any])?["cases"] as? [[String: Any]])
        let usual = try #require(cases.lazy.compactMap { $0["effective"] as? [String: Any] }.first)
        var (refused, compared) = (0, 0)
        for entry in cases {
            let environment = try #require(entry["env"] as? [String: String])
            var arguments = entry["args"] as? [String] ?? []
            if !arguments.contains(where: { $0.contains("listen-addr") }) { arguments += ["--listen-addr", "127.0.0.1:8080"] }
            let name = Comment(rawValue: "\(environment) \(arguments)")
            let outcome = try Self.load(environment, arguments)
            guard entry["startupError"] == nil else {
                guard case .failure(let faults) = outcome else {
                    Issue.record(name)
                    continue
                }
                #expect(!faults.faults.isEmpty, name)
                refused += 1
                continue
            }
            let loaded = try outcome.get()
            let expected = usual.merging(entry["effectiveDiff"] as? [String: Any] ?? [:]) { $1 }
            for (key, value) in try Self.effective(loaded) {
                compared += 1
                #expect(value == Self.text(expected[key]), "\(name): \(key)")
            }
        }
        #expect(refused >= 30 && compared >= 40 * 20)
    }

    private static func text(_ value: Any?) -> String {
        if let list = value as? [Any] {
            let data = try? JSONSerialization.data(withJSONObject: list, options: [.sortedKeys, .withoutEscapingSlashes])
            return String(decoding: data ?? Data(), as: UTF8.self)
        }
        guard let value, !(value is NSNull) else { return "[]" }
        if let number = value as? NSNumber, isTruth(number) { return number.boolValue ? "true" : "false" }
        return "\(value)"
    }

    /// Whether a number of JSON was `true` or `false`.
    private static func isTruth(_ number: NSNumber) -> Bool { String(cString: number.objCType) == "c" }

    /// By the observation's names, what a configuration came to.
    private static func effective(_ loaded: LoadedConfiguration) throws -> [String: String] {
        let (relay, draft) = (loaded.configuration.udp, loaded.draft.udp)
        let (bindings, limits) = (relay.settings.bindings, relay.settings.limits)
        let buckets = limits.destinationBuckets ?? (limits.uniqueDestinations > 0 ? limits.uniqueDestinations : 1024)
        var servers = "[]"
        var fails = true
        if case .success(let found) = relay.iceServers {
            fails = false
            let object = try JSONSerialization.jsonObject(with: Data(found.json(turn: nil).utf8)) as? [String: Any]
            servers = text(object?["iceServers"])
        }
        return [
            "authMode": relay.access == .open ? "none" : "other", "iceConfigError": "\(fails)", "iceServers": servers,
            "inboundFilterMode": bindings.filterMode.rawValue, "l2BackendAuthForwardMode": draft.backendAuthentication,
            "l2BackendToken": draft.backendToken, "listenAddr": "\(loaded.configuration.listeners[0].address)",
            "logFormat": loaded.configuration.log.format.rawValue, "logLevel": "\(loaded.configuration.log.level)",
            "maxDatagramPayloadBytes": "\(relay.settings.maximumPayloadBytes)", "maxSessions": "\(relay.settings.maximumSessions)",
            "maxUdpDestBucketsPerSession": "\(buckets)", "mode": draft.mode.hasPrefix("prod") ? "prod" : "dev",
            "preferV2": "\(relay.settings.prefersV2)", "shutdownTimeoutMs": "\(loaded.configuration.drainGraceMilliseconds)",
            "signalingAuthTimeoutMs": "\(relay.settings.authenticationMilliseconds)",
            "signalingWsPingIntervalMs": "\(draft.signalingPingMilliseconds)",
            "udpBindingIdleTimeoutMs": "\(bindings.idleMilliseconds)",
            "udpReadBufferBytes": "\(max(draft.readBufferBytes, relay.settings.maximumPayloadBytes + 1))",
            "udpRemoteAllowlistIdleTimeoutMs": "\(bindings.remoteIdleMilliseconds)",
            "violationWindowMs": "\(limits.violationWindowMilliseconds)",
        ]
    }
}
