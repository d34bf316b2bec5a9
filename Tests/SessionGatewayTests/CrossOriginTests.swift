import HTTP
import Policy
import Testing
import Wire

@testable import SessionGateway

/// The Origin guard, CORS, preflights, the request limiter, and what is counted.
@Suite struct CrossOriginTests {
    private static let allowed = "Origin: https://app.test"

    private func hasCrossOriginFields(_ response: Response, _ origin: String = "https://app.test") -> Bool {
        response.value("Access-Control-Allow-Origin") == origin && response.value("Access-Control-Allow-Credentials") == "true"
            && response.value("Access-Control-Expose-Headers") == "x-request-id, content-length" && response.value("Vary") == "Origin"
    }

    @Test func anAllowedOriginMayReadEveryAnswer() throws {
        let bench = GatewayBench { $0.http.requestsPerMinute = 1 }
        #expect(hasCrossOriginFields(try bench.send("POST", "/session", [Self.allowed])))
        let limited = try bench.send("POST", "/session", [Self.allowed])
        #expect(limited.status == 429 && hasCrossOriginFields(limited))
        #expect(limited.text == "{\"error\":\"too_many_requests\",\"message\":\"Rate limit exceeded\"}")
        let free = GatewayBench()
        #expect(hasCrossOriginFields(try free.send("GET", "/none", [Self.allowed])))
        #expect(hasCrossOriginFields(try free.send("POST", "/session", [Self.allowed], body: "x")))
        #expect(hasCrossOriginFields(try free.send("OPTIONS", "/x", [Self.allowed])))
        #expect(hasCrossOriginFields(try free.send("GET", "/healthz", ["Origin: HTTPS://APP.test:443/"])))
        let any = GatewayBench { $0.origins = OriginAllowlist(anyOrigin: true, origins: []) }
        #expect(hasCrossOriginFields(try any.send("GET", "/healthz", ["Origin: http://other.test"]), "http://other.test"))
        #expect(hasCrossOriginFields(try any.send("GET", "/healthz", ["Origin: null"]), "null"))
    }

    @Test func otherOriginsAreRefusedAndLearnNothing() throws {
        for any in [false, true] {
            let bench = GatewayBench { if any { $0.origins = OriginAllowlist(anyOrigin: true, origins: []) } }
            var strange = [["Origin: not an origin"], ["Origin:"], [Self.allowed, Self.allowed], ["Origin: https://u@app.test"]]
            if !any { strange += [["Origin: https://evil.test"], ["Origin: null"], ["Origin: http://app.test"]] }
            for fields in strange {
                for (method, target) in [("GET", "/healthz"), ("POST", "/session"), ("GET", "/none"), ("OPTIONS", "/session")] {
                    let response = try bench.send(method, target, fields + ["Access-Control-Request-Method: POST"])
                    #expect(response.status == 403 && response.text == "{\"error\":\"forbidden\",\"message\":\"Origin not allowed\"}")
                    #expect(!response.fields.contains { $0.name.hasPrefix("Access-Control") } && response.values("Set-Cookie").isEmpty)
                }
            }
        }
        let none = try GatewayBench().send("GET", "/healthz")
        #expect(none.status == 200 && !none.fields.contains { $0.name.hasPrefix("Access-Control") || $0.name == "Vary" })
    }

    @Test func preflights() throws {
        let bench = GatewayBench { $0.http.requestsPerMinute = 1 }
        let cases: [(requested: String?, expected: String)] = [
            (nil, "Content-Type"), ("", "Content-Type"), ("bad value", "Content-Type, bad value"), ("a:b", "Content-Type"),
            ("X-Custom", "Content-Type, X-Custom"), ("x-custom, Content-Type", "x-custom, Content-Type"),
            (String(repeating: "x", count: 4097), "Content-Type"),
        ]
        for (requested, expected) in cases {
            let fields = [Self.allowed, "Access-Control-Request-Method: POST"]
                + (requested.map { ["Access-Control-Request-Headers: \($0)"] } ?? [])
            let response = try bench.send("OPTIONS", "/anything", fields)
            #expect(response.status == 204 && response.bodyCount == 0 && hasCrossOriginFields(response))
            #expect(response.value("Access-Control-Allow-Headers") == expected)
            #expect(response.value("Access-Control-Allow-Methods") == "GET,POST,PUT,PATCH,DELETE,OPTIONS")
            #expect(response.value("Access-Control-Max-Age") == "600")
        }
        #expect(bench.gateway.metrics.snapshot().isEmpty, "preflights are answered before the timer starts")
    }

    @Test func theLimiterLeavesProbesAlone() throws {
        let bench = GatewayBench {
            $0.http.requestsPerMinute = 1
            $0.http.basePath = "/p"
        }
        #expect(try bench.send("GET", "/version").status == 200)
        for target in ["/version", "/p/version", "/none", "/session", "/demo"] {
            #expect(try bench.send("GET", target).status == 429, "\(target)")
        }
        for target in ["/healthz", "/readyz", "/metrics", "/p/healthz", "/p/readyz", "/p/metrics"] {
            #expect(try bench.send("GET", target).status == 200, "\(target)")
        }
        #expect(try bench.send("OPTIONS", "/version").status == 204)
        // Unknown paths are limited, and so are probes' paths under another name.
        #expect(try bench.send("GET", "/healthz/").status == 429)
        #expect(try bench.send("GET", "/version", peer: "192.0.2.2").status == 200)
        bench.clock.advance(61)
        #expect(try bench.send("GET", "/version").status == 200)
    }

    @Test func bucketsFollowATrustedProxy() throws {
        for trusts in [false, true] {
            let bench = GatewayBench {
                $0.http.requestsPerMinute = 1
                $0.http.trustProxy = trusts
            }
            func ask(_ forwarded: String) throws -> Int { try bench.send("GET", "/version", ["X-Forwarded-For: \(forwarded)"]).status }
            #expect(try ask("198.51.100.1, 10.0.0.1") == 200)
            #expect(try ask("198.51.100.1") == 429)
            #expect(try ask("198.51.100.2") == (trusts ? 200 : 429))
            #expect(try ask("nonsense") == (trusts ? 200 : 429))  // the peer's own bucket
            #expect(try ask("also nonsense") == 429)
        }
    }

    @Test func answersAreCountedByRoute() throws {
        let bench = GatewayBench {
            $0.http.basePath = "/p"
            $0.http.requestsPerMinute = 3
        }
        _ = try bench.send("GET", "/healthz")
        _ = try bench.send("GET", "/healthz")
        _ = try bench.send("HEAD", "/p/healthz")
        _ = try bench.send("POST", "/p/session")
        _ = try bench.send("GET", "/some/path")
        _ = try bench.send("OPTIONS", "/p/version")
        _ = try bench.send("POST", "/session", body: "x")
        _ = try bench.send("GET", "/version")  // limited: not counted
        _ = try bench.send("GET", "/healthz", ["Origin: https://evil.test"])  // refused: not counted
        let counted = bench.gateway.metrics.snapshot().map { "\($0.key.method) \($0.key.route) \($0.key.status) \($0.value.count)" }
        #expect(counted.sorted() == [
            "GET /healthz 200 2", "GET unknown 404 1", "HEAD /p/healthz 200 1", "OPTIONS /* 204 1", "POST /p/session 201 1",
            "POST /session 415 1",
        ])
    }

    // MARK: - Requests that were not read to their end

    @Test func aBodyThatIsTooLargeIsJudgedLikeAnyRequest() throws {
        let problem = Problem(413, "payload_too_large", "Request body too large")
        let bench = GatewayBench()
        let head = "POST /session HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\nX-Request-Id: mine\r\n"
        let allowed = try bench.refuse(problem, head + Self.allowed + "\r\n\r\n")
        #expect(allowed.status == 413 && allowed.closes && hasCrossOriginFields(allowed) && allowed.value("X-Request-Id") == "mine")
        let refused = try bench.refuse(problem, head + "Origin: https://evil.test\r\n\r\n")
        #expect(refused.status == 403 && refused.closes && refused.value("Access-Control-Allow-Origin") == nil)
        #expect(bench.gateway.metrics.snapshot().map { "\($0.key.route) \($0.key.status) \($0.value.count)" } == ["/session 413 1"])
    }

    @Test func whatTheParserRefusesHasTheShapeOfEveryError() throws {
        let expected: [(HTTPViolation, Int, String)] = [
            (.badRequest, 400, "bad_request"), (.methodNotAllowed, 404, "not_found"), (.contentTooLarge, 413, "payload_too_large"),
            (.targetTooLong, 414, "url_too_long"), (.expectationFailed, 417, "expectation_failed"),
            (.headTooLarge, 431, "headers_too_large"), (.notImplemented, 501, "not_implemented"),
            (.versionNotSupported, 505, "version_not_supported"),
        ]
        for (violation, status, identifier) in expected {
            let response = try GatewayBench().refuse(SessionGateway.problem(violation), "x")
            #expect(response.status == status && response.text.hasPrefix("{\"error\":\"\(identifier)\",\"message\":\"") && response.closes)
        }
        let long = try GatewayBench().refuse(SessionGateway.problem(.targetTooLong), "x")
        #expect(long.text == "{\"error\":\"url_too_long\",\"message\":\"Request URL too long\"}")
    }

    @Test func ofABrokenHeadOnlyTheIdentifierIsEchoed() throws {
        let bench = GatewayBench()
        let problem = Problem(400, "bad_request", "Malformed request")
        let broken = try bench.refuse(problem, "GET / HTTP/1.1\r\nX-Request-Id: mine\r\n\(Self.allowed)\r\nbroken line\r\n\r\n")
        #expect(broken.status == 400 && broken.closes && broken.value("X-Request-Id") == "mine")
        #expect(broken.value("Access-Control-Allow-Origin") == nil && bench.gateway.metrics.snapshot().isEmpty)
        #expect(try bench.refuse(problem, "\u{1}").value("X-Request-Id")?.utf8.count == 36)
    }
}
