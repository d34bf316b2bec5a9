import Policy
import Testing
import Wire

private let key = RelayAccess.apiKey(Array("secret".utf8))
private let now: Int64 = 1_700_000_000
private let jwtSecret = Array("test-jwt-secret".utf8)
private let good = RelayToken.sign(
    RelayToken.Claims(issuedAt: now, expiry: now + 60, sessionID: "sid"), secret: jwtSecret)!

/// The verdict over a request with these header lines and this query.
private func judge(_ access: RelayAccess, _ headers: [(String, String)], _ query: String = "") -> RelayAccess.Verdict {
    let bytes = Array(query.utf8)
    return access.judge(
        authorization: headers.filter { $0.0 == "Authorization" }.map(\.1), apiKeys: headers.filter { $0.0 == "X-API-Key" }.map(\.1),
        query: bytes.span, 0..<bytes.count, nowSeconds: now)
}

@Suite struct RelayCredentialTests {
    @Test(arguments: [
        ([("X-API-Key", "secret")], "", "granted"), ([("X-API-Key", " secret\t")], "", "granted"),
        ([("Authorization", "ApiKey secret")], "", "granted"), ([("Authorization", "BEARER  secret")], "", "granted"),
        ([("Authorization", "secret")], "", "missing"), ([("Authorization", "Basic secret")], "", "missing"),
        ([("Authorization", "Bearer")], "", "missing"), ([("Authorization", "Bearer\tsecret")], "", "missing"),
        ([("X-API-Key", "bad"), ("Authorization", "Bearer secret")], "", "refused"),
        ([("X-API-Key", " "), ("Authorization", "Bearer secret")], "", "granted"),
        ([("Authorization", "Bearer secret")], "apiKey=bad", "granted"), ([("Authorization", "Basic x")], "apiKey=secret", "granted"),
        ([], "apiKey=secret", "granted"), ([], "token=secret", "granted"), ([], "apiKey=bad&token=secret", "refused"),
        ([], "token=bad&apiKey=secret", "granted"), ([], "apiKey=&token=secret", "granted"), ([], "apiKey=%20&token=secret", "granted"),
        ([], "apiKey=secret%20", "refused"), ([], "apiKey=%73ecret", "granted"), ([], "token=bad&token=secret", "refused"),
        ([], "APIKEY=secret", "missing"), ([], "", "missing"), ([], "apiKey=secre", "refused"), ([], "apiKey=secrets", "refused"),
    ] as [([(String, String)], String, String)])
    func keys(_ headers: [(String, String)], _ query: String, _ expected: String) {
        let verdict = judge(key, headers, query)
        #expect("\(verdict)".hasPrefix(expected), "\(headers) \(query)")
        if expected == "granted" { #expect(verdict == .granted(sessionID: nil)) }
    }

    @Test func tokens() {
        let granted = RelayAccess.Verdict.granted(sessionID: "sid")
        let access = RelayAccess.jwt(secret: jwtSecret)
        #expect(judge(access, []) == .missing)
        #expect(judge(access, [("Authorization", "ApiKey " + good)]) == granted)
        #expect(judge(access, [("X-API-Key", good)]) == granted)
        #expect(judge(access, [("Authorization", "Bearer " + good), ("X-API-Key", "x")]) == granted)
        #expect(judge(access, [("Authorization", "Bearer x"), ("X-API-Key", good)]) == .refused)
        #expect(judge(access, [("Authorization", "Basic x"), ("X-API-Key", good)]) == granted)
        #expect(judge(access, [], "apiKey=" + good) == granted)
        #expect(judge(access, [], "token=x&apiKey=" + good) == .refused)
        #expect(judge(access, [], "apiKey=x&token=" + good) == granted)
        #expect(access.judge(good, nowSeconds: now + 60) == .refused)
    }

    @Test func open() {
        #expect(judge(.open, [("X-API-Key", "whatever")], "token=x") == .granted(sessionID: nil))
        #expect(RelayAccess.open.judge("x", nowSeconds: now) == .granted(sessionID: nil))
    }

    /// The observed requests to /webrtc/ice that differ in their credential.
    @Test func observedRequests() throws {
        var judged = 0
        for entry in try Vectors.list("observed-udp-relay.json", "http", atLeast: 74) {
            guard let request = entry["request"] as? [String: Any], let path = request.string("path"), path.hasPrefix("/webrtc/ice"),
                request.string("method") == "GET", let status = (entry["response"] as? [String: Any])?.integer("status")
            else { continue }
            let access: RelayAccess
            switch entry.string("config") {
            case "key": access = key
            case "jwt": access = .jwt(secret: jwtSecret)
            default: continue
            }
            let headers = (request["headers"] as? [[String]] ?? []).map { (String($0[0]), String($0[1].replacing("<good>", with: good))) }
            let query = String(path.split(separator: "?").dropFirst().first ?? "").replacing("<good>", with: good)
            let verdict = judge(access, headers, query)
            judged += 1
            #expect("\(verdict)".hasPrefix("granted") == (status == 200), "\(path) \(headers)")
        }
        #expect(judged == 0 || judged >= 20)
    }
}
