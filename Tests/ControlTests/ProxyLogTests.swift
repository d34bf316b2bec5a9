import Policy
import Testing

@testable import Control

/// What the log says of the JWT proxy's clients.
@Suite struct ProxyLogTests {
    @Test("ten lines a second and reason; the next says how many there were not")
    func failures() {
        let lines = FailureLines()
        var told = 0
        for number in 0..<100 { told += lines.admit("invalid_token", nowMilliseconds: 5000 + Int64(number)) == nil ? 0 : 1 }
        #expect(told == FailureLines.linesPerSecond)
        #expect(lines.admit("origin", nowMilliseconds: 5100) == 0, "another reason has lines of its own")
        #expect(lines.admit("invalid_token", nowMilliseconds: 6000) == 90)
        #expect(lines.admit("invalid_token", nowMilliseconds: 6001) == 0)
    }

    @Test("reasons that came are told, but for what may be part of a credential", arguments: [
        ("going away", "going away"), ("", ""), ("a  b ", "a  b "),
        ("Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImZpcnN0In0.eyJzdWIiOiJhbGljZSJ9", "Bearer …"),
    ])
    func reasons(received: String, told: String) { #expect(ShardLoop.told(received) == told) }

    @Test("what clients sent is cut at 256 bytes, between characters", arguments: [
        (String(repeating: "a", count: 256), 256), (String(repeating: "a", count: 257), 256), (String(repeating: "€", count: 86), 255),
        (String(repeating: "😀", count: 16_000), 255), ("a" + String(repeating: "\u{301}", count: 30_000), 256),
    ])
    func cuts(text: String, bytes: Int) {
        let told = ShardLoop.cut(text)
        #expect(told.utf8.count == bytes)
        #expect(text.utf8.count <= 256 ? told == text : told.hasSuffix("…") && text.utf8.starts(with: told.utf8.dropLast(3)))
    }

    @Test("times have microseconds", arguments: [
        (Int64(0), "1970-01-01T00:00:00.000000Z"), (1_700_000_000_123_456, "2023-11-14T22:13:20.123456Z"),
        (1_700_000_000_000_007, "2023-11-14T22:13:20.000007Z"),
    ])
    func times(microseconds: Int64, text: String) { #expect(Timestamp.rfc3339(microseconds: microseconds) == text) }
}
