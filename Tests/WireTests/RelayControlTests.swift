import Testing
import Wire

private func read(_ text: String) -> RelayControlMessage { RelayControlMessage.read(Array(text.utf8).span) }
private func text(_ bytes: [UInt8]?) -> String { String(decoding: bytes ?? [], as: UTF8.self) }

@Suite struct RelayControlTests {
    @Test(arguments: [
        ("{\"type\":\"auth\",\"token\":\"t\",\"apiKey\":\"t\"}", .credential("t")),
        ("{\"type\":\"auth\",\"token\":\"t\"}", .credential("t")),
        (" {\"apiKey\":\"\\u0074\",\"type\":\"auth\"}\n", .credential("t")),
        ("{\"type\":\"auth\",\"apiKey\":\"secret\",\"x\":{\"y\":[1]}}", .credential("secret")),
        ("{\"type\":\"auth\",\"apiKey\":null,\"token\":\" t \"}", .credential(" t ")),
        ("{\"type\":\"auth\",\"apiKey\":\"\",\"token\":\"t\"}", .credential("t")),
        ("{\"type\":\"auth\",\"token\":\"a\",\"token\":\"b\"}", .credential("b")),
        ("{\"type\":\"x\",\"type\":\"auth\",\"token\":\"b\"}", .credential("b")),
        ("{\"type\":\"auth\"}", .noCredential), ("{\"type\":\"auth\",\"apiKey\":\" \\t\"}", .noCredential),
        ("{\"type\":\"auth\",\"APIKEY\":\"t\"}", .noCredential), ("{\"type\":\"auth\",\"apiKey\":null}", .noCredential),
        ("{\"type\":\"auth\",\"apiKey\":5}", .wrongType), ("{\"type\":\"auth\",\"token\":[\"t\"],\"apiKey\":\"t\"}", .wrongType),
        ("{\"type\":\"auth\",\"token\":false}", .wrongType), ("{\"type\":\"auth\",\"token\":\"a\",\"apiKey\":\"b\"}", .unequal),
        // The same letter, composed and not.
        ("{\"type\":\"auth\",\"token\":\"\u{FC}\",\"apiKey\":\"u\u{308}\"}", .unequal),
        ("", .notAuthentication), ("hello", .notAuthentication), ("null", .notAuthentication), ("[]", .notAuthentication),
        ("{\"type\":\"AUTH\",\"token\":\"t\"}", .notAuthentication), ("{\"type\":\"close\"}", .notAuthentication),
        ("{\"token\":\"t\"}", .notAuthentication), ("{\"type\":\"auth\",\"token\":\"t\"} x", .notAuthentication),
        ("{\"type\":\"auth\",\"type\":\"x\"}", .notAuthentication), ("{\"type\":5,\"token\":\"t\"}", .notAuthentication),
    ] as [(String, RelayControlMessage)])
    func messages(_ message: String, _ expected: RelayControlMessage) {
        #expect(read(message) == expected)
    }

    @Test func texts() throws {
        let id = String(repeating: "0a", count: 16)
        #expect(text(written { $0.relayReady(sessionID: id) }) == "{\"type\":\"ready\",\"sessionId\":\"\(id)\"}\n")
        #expect(
            text(written { $0.relayError(.tooManySessions, "too many sessions") })
                == "{\"type\":\"error\",\"code\":\"too_many_sessions\",\"message\":\"too many sessions\"}\n")
        for ending in RelayEnding.allCases {
            guard let error = ending.error else { continue }
            let body = try #require(written(ByteWriter.relayTextBytes) { $0.relayErrorBody(error, ending.reason) })
            let value = JSONReader.read(body.span)
            #expect(value?["code"]?.string == "\(error.text)" && value?["message"]?.string == "\(ending.reason)" && body.last == 0x0A)
            #expect(written(ByteWriter.relayTextBytes) { $0.relayError(error, ending.reason) } != nil)
        }
    }

    @Test(arguments: [
        ("{\"type\":\"x\"}", "unauthorized", 1008, "authentication required"), ("x", "unauthorized", 1008, "authentication required"),
        ("{\"type\":\"auth\",\"token\":\"secret\",\"apiKey\":\"b\"}", "bad_message", 1008, "invalid auth message"),
        ("{\"type\":\"auth\",\"token\":1}", "bad_message", 1003, "invalid auth message"),
        ("{\"type\":\"auth\"}", "unauthorized", 1008, "missing credentials"),
    ])
    func endings(_ message: String, _ code: String, _ close: Int, _ reason: String) throws {
        let ending = try #require(RelayEnding(read(message)))
        #expect("\(try #require(ending.error).text)" == code && Int(ending.closeCode.rawValue) == close && "\(ending.reason)" == reason)
        #expect(ending.isAuthenticationFailure)
    }

    @Test func closeCodes() {
        for (ending, code) in [
            (RelayEnding.tooManySessions, 1013), (.sessionAlreadyActive, 1013), (.expectedBinary, 1003), (.internalError, 1011),
            (.messageTooBig, 1009), (.idle, 1000), (.pingFailed, 1001), (.sessionClosed, 1008), (.shutdown, 1001),
            (.authenticationTimeout, 1008), (.invalidCredentials, 1008),
        ] as [(RelayEnding, Int)] {
            #expect(Int(ending.closeCode.rawValue) == code)
        }
        #expect(RelayEnding(.credential("x")) == nil)
        #expect(RelayEnding.allCases.filter(\.isAuthenticationFailure).count == 6)
        #expect(RelayErrorCode.allCases.map(\.status) == [400, 401, 403, 409, 503, 500, 400, 429])
    }
}
