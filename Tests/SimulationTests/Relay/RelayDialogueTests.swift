import Foundation
@testable import Policy
import Simulator
import Testing
import UDPRelay

/// What is said on a `/udp` WebSocket beside datagrams.
@Suite struct RelayDialogueTests {
    static let secret = "test-jwt-secret"

    static func access(_ name: String) -> RelayAccess {
        switch name {
        case "key": .apiKey(Array("secret".utf8))
        case "jwt": .jwt(secret: Array(secret.utf8))
        default: .open
        }
    }

    static func token(sid: String, salt: Int) -> String {
        let now = Int64(Date().timeIntervalSince1970)
        return RelayToken.sign(.init(issuedAt: now, expiry: now + 300 + Int64(salt), sessionID: sid), secret: Array(secret.utf8)) ?? ""
    }

    /// The dialogues a reference was seen to have, word for word where words count.
    @Test func observedDialogues() throws {
        let url = URL(filePath: #filePath).appending(path: "../../../../../shared/vectors/aero/observed-udp-relay.json").standardized
        guard let data = try? Data(contentsOf: url) else { return print("skipped: no vectors at \(url.path)") }
        let root = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let entries = try #require(root["websocket"] as? [[String: Any]])
        var judged = 0
        for entry in entries {
            guard let path = entry["path"] as? String, path.hasPrefix("/udp"), let config = entry["config"] as? String else { continue }
            judged += 1
            try dialogue(entry, path, config)
        }
        #expect(judged >= 15)
        let raw = try #require(root["websocketRawFrames"] as? [[String: Any]])
        for entry in raw { try rawFrames(entry) }
        #expect(raw.count >= 8 && raw.count(where: { $0["clientHex"] != nil }) >= 7)
    }

    private func dialogue(_ entry: [String: Any], _ path: String, _ config: String) throws {
        let name = Comment(rawValue: entry["name"] as? String ?? "")
        var settings = RelaySettings()
        if config == "key" { (settings.authenticationMilliseconds, settings.maximumControlMessageBytes) = (500, 2000) }
        var authorization = (entry["headers"] as? [[String]])?.first?.last
        // The query is the HTTP layer's; a field says the same.
        if path.contains("token=bad") { authorization = "Bearer bad" }
        if config == "jwt" { authorization = "Bearer " + Self.token(sid: "s", salt: 1) }
        let bench = try RelayBench(settings, access: Self.access(config), authorization: authorization)
        if config == "jwt" {
            #expect(bench.hear().first?.text.contains("\"ready\"") == true, name)
            try bench.reconnect(authorization: "Bearer " + Self.token(sid: "s", salt: 2))
        }
        for item in entry["send"] as? [[String: Any]] ?? [] {
            if let text = item["text"] as? String {
                let isPlaceholder = text.hasPrefix("<")
                bench.write(RelayBench.message(1, isPlaceholder ? [UInt8](repeating: 0x20, count: 3030) : Array(text.utf8)))
            }
            if let hex = item["hex"] as? String { bench.write(RelayBench.message(2, try #require(Self.bytes(hex)))) }
            if let count = item["binaryBytes"] as? Int { bench.write(RelayBench.message(2, [UInt8](repeating: 0, count: count))) }
        }
        bench.turns(30)
        if entry["name"] as? String == "auth timeout" { bench.wait(milliseconds: 501) }
        let result = try #require(entry["result"] as? [String: Any])
        var heard = bench.hear()
        let messages = result["messages"] as? [[String: Any]] ?? []
        for message in messages {
            let text = heard.isEmpty ? "" : heard.removeFirst().text
            let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any] ?? [:]
            #expect(text.hasSuffix("\n") && object["type"] as? String == message["type"] as? String, name)
            #expect(object["code"] as? String == message["code"] as? String && object.count == message.count, name)
            if let identifier = object["sessionId"] as? String { #expect(identifier.wholeMatch(of: /[0-9a-f]{32}/) != nil, name) }
        }
        if let close = result["close"] as? [String: Any] {
            #expect(heard.count == 1 && heard.first?.opcode == 8, name)
            #expect(heard.first?.closeCode == close["code"] as? Int && heard.first?.closeReason == close["reason"] as? String, name)
            #expect(bench.sawEnd, name)
        } else {
            #expect(heard.isEmpty && !bench.sawEnd, name)
        }
        bench.finish()
    }

    private func rawFrames(_ entry: [String: Any]) throws {
        guard let hex = entry["clientHex"] as? String else { return try keepalive(entry) }
        let name = Comment(rawValue: entry["name"] as? String ?? "")
        let bench = try RelayBench()
        _ = bench.hear()
        bench.write(try #require(Self.bytes(hex)))
        bench.turns(20)
        let heard = bench.hear()
        let expected = try (entry["serverFrames"] as? [[String: Any]] ?? []).map { try #require(Self.bytes($0["hex"] as? String ?? "")) }
        #expect(heard.count == expected.count, name)
        for (frame, bytes) in zip(heard, expected) {
            // Codes count, words of our own do not.
            let isClose = frame.opcode == 8 && frame.closeCode == 1002
            let judged = isClose ? 2 : 125
            #expect(frame.opcode == bytes[0] & 15 && frame.payload.prefix(judged).elementsEqual(bytes.dropFirst(2).prefix(judged)), name)
        }
        #expect(bench.sawEnd == (entry["thenEof"] as? Bool ?? false), name)
        bench.finish()
    }

    /// A client that says nothing hears Pings and then its end, each in its time. Observed of another endpoint that keeps alive alike.
    private func keepalive(_ entry: [String: Any]) throws {
        let name = Comment(rawValue: entry["name"] as? String ?? "")
        let config = try #require(entry["config"] as? [String: String])
        var settings = RelaySettings()
        settings.idleMilliseconds = try #require(Self.milliseconds(config["SIGNALING_WS_IDLE_TIMEOUT"]))
        settings.pingMilliseconds = try #require(Self.milliseconds(config["SIGNALING_WS_PING_INTERVAL"]))
        let bench = try RelayBench(settings)
        #expect(bench.hear().first?.text.contains("\"ready\"") == true, name)
        var passed: UInt64 = 0
        for frame in try #require(entry["serverFrames"] as? [[String: Any]]) {
            let due = UInt64(try #require(frame["atMs"] as? Int))
            bench.wait(milliseconds: due - passed - 20)
            #expect(bench.hear().isEmpty, name)
            bench.wait(milliseconds: 25)
            passed = due + 5
            let bytes = try #require(Self.bytes(frame["hex"] as? String ?? ""))
            #expect(bench.hear() == [RelayBench.Heard(opcode: bytes[0] & 15, payload: Array(bytes.dropFirst(2)))], name)
        }
        bench.turns(5)
        _ = bench.hear()
        #expect(bench.sawEnd == (entry["thenEof"] as? Bool ?? false), name)
        bench.finish()
    }

    private static func milliseconds(_ text: String?) -> UInt64? { text.flatMap { $0.hasSuffix("ms") ? UInt64($0.dropLast(2)) : nil } }

    private static func bytes(_ hex: String) -> [UInt8]? {
        let digits = hex.compactMap(\.hexDigitValue)
        guard digits.count == hex.count, digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    @Test func aRedundantCredentialIsIgnoredAndFramesBehindItAreNot() throws {
        let bench = try RelayBench(access: Self.access("key"))
        let credential = RelayBench.message(1, Array("{\"type\":\"auth\",\"apiKey\":\"secret\",\"token\":\"secret\"}".utf8))
        // All in one piece: what follows the credential is not lost although `ready` was not awaited.
        bench.write(credential + RelayBench.frame(1, 30_000, [1]) + credential + RelayBench.frame(1, 30_000, [2]))
        bench.turns(20)
        let heard = bench.hear()
        #expect(heard.count == 1 && heard.first?.text.contains("\"ready\"") == true)
        #expect(bench.left.map(\.payload) == [[1], [2]])
        bench.finish()
    }

    @Test func pingsAndIdleTime() throws {
        var settings = RelaySettings()
        (settings.idleMilliseconds, settings.pingMilliseconds) = (600, 200)
        let bench = try RelayBench(settings)
        _ = bench.hear()
        for _ in 0..<8 {
            // Pongs keep it alive; what the server sends does not.
            bench.wait(milliseconds: 200)
            bench.write(RelayBench.message(10, []))
        }
        let pings = bench.hear()
        #expect(pings.count >= 6 && pings.allSatisfy { $0.opcode == 9 && $0.payload.isEmpty })
        bench.wait(milliseconds: 900)
        let end = bench.hear()
        #expect(end.last?.closeCode == 1000 && end.last?.closeReason == "idle timeout")
        #expect(end.dropLast().allSatisfy { $0.opcode == 9 })
        bench.finish()
    }

    @Test func refusalsAndShutdown() throws {
        var settings = RelaySettings()
        settings.maximumSessions = 1
        let bench = try RelayBench(settings)
        let first = bench.socket
        #expect(bench.hear().count == 1)
        try bench.reconnect()
        let refused = bench.hear()
        #expect(refused.first?.text == "{\"type\":\"error\",\"code\":\"too_many_sessions\",\"message\":\"too many sessions\"}\n")
        #expect(refused.last?.closeCode == 1013 && bench.counters.read(.tooManySessions) == 1)
        bench.kernel.remoteReset(first)
        bench.turns(10)
        try bench.reconnect()
        #expect(bench.hear().first?.text.contains("\"ready\"") == true)
        bench.loop.relay.drain(graceMilliseconds: 1000)
        bench.turns(10)
        #expect(bench.hear().last?.closeCode == 1001)
        #expect(bench.shared.sessionCount == 0)
        bench.finish()
    }
}
