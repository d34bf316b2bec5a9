import HTTP
import Policy
import Testing

@testable import SessionGateway

/// The table of endpoints, their aliases, and what every answer carries.
@Suite struct EndpointTests {
    private static let served: [(method: String, path: String, status: Int, type: String)] = [
        ("GET", "/healthz", 200, "application/json; charset=utf-8"), ("GET", "/readyz", 200, "application/json; charset=utf-8"),
        ("GET", "/version", 200, "application/json; charset=utf-8"),
        ("GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("POST", "/session", 201, "application/json; charset=utf-8"), ("GET", "/session", 200, "application/json; charset=utf-8"),
        ("GET", "/demo", 200, "text/html; charset=utf-8"), ("GET", "/demo/config.json", 200, "application/json; charset=utf-8"),
    ]

    @Test func everyEndpointAnswersAtBothPaths() throws {
        let bench = GatewayBench { $0.http.basePath = "/p" }
        for (method, path, status, type) in Self.served {
            for target in [path, "/p" + path, path + "?a=b", "/p" + path + "?"] {
                let response = try bench.send(method, target)
                #expect(response.status == status && response.value("Content-Type") == type, "\(method) \(target)")
                if method == "GET" {
                    let head = try bench.send("HEAD", target)
                    #expect(head.status == status && head.bodyCount == response.bodyCount, "HEAD \(target)")
                }
            }
        }
        #expect(try bench.send("GET", "/healthz").text == "{\"ok\":true}" && bench.send("GET", "/readyz").text == "{\"ok\":true}")
        #expect(try bench.send("GET", "/version").text == "{\"version\":\"1\",\"gitSha\":\"2\",\"builtAt\":\"3\"}")
        #expect(try bench.send("GET", "/metrics").text == "# scrape\n")
        #expect(try bench.send("GET", "http://gateway.test/healthz").status == 200)
    }

    @Test(arguments: [
        ("GET", "/"), ("GET", "/healthz/"), ("GET", "/Healthz"), ("GET", "//healthz"), ("GET", "/p"), ("GET", "/phealthz"),
        ("GET", "/p/p/healthz"), ("GET", "/%68ealthz"), ("POST", "/healthz"), ("POST", "/metrics"), ("PUT", "/session"),
        ("DELETE", "/session"), ("PATCH", "/session"), ("HEAD", "/udp-relay/token"), ("GET", "/udp-relay/token"), ("GET", "/tcp"),
        ("GET", "/tcp-mux"), ("POST", "/demo"), ("GET", "/l2"), ("GET", "/unknown"), ("GET", "/*"), ("GET", "/session;x"),
    ])
    func everythingElseIsNotFound(_ method: String, _ target: String) throws {
        let response = try GatewayBench { $0.http.basePath = "/p" }.send(method, target)
        #expect(response.status == 404 && response.text == "{\"error\":\"not_found\",\"message\":\"Not found\"}")
        #expect(response.value("Content-Type") == "application/json; charset=utf-8" && response.value("Cache-Control") == "no-store")
        #expect(!response.closes)
    }

    @Test func withoutBasePathThereIsNoAlias() throws {
        #expect(try GatewayBench().send("GET", "/p/healthz").status == 404)
    }

    @Test func aListenerServesWhatItIsToldTo() throws {
        let bench = GatewayBench()
        #expect(try bench.send("POST", "/session", features: [.tcp]).status == 404)
        #expect(try bench.send("GET", "/demo", features: [.sessions]).status == 404)
        #expect(try bench.send("GET", "/healthz", features: []).status == 200)
        #expect(try bench.upgrade("/tcp?v=1&host=a&port=1", features: [.sessions]).summary == "404 Not Found")
    }

    @Test func theSelfTestPageIsServedWhenItIsAskedFor() throws {
        #expect(try GatewayBench().send("GET", "/e2e").status == 404)
        let bench = GatewayBench {
            $0.http.selfTestPage = true
            $0.http.basePath = "/p"
        }
        for target in ["/e2e", "/p/e2e"] {
            let response = try bench.send("GET", target)
            #expect(response.status == 200 && response.value("Cache-Control") == "no-store")
            #expect(response.value("Content-Type") == "text/html; charset=utf-8" && response.text.hasPrefix("<!doctype html>"))
        }
        #expect(try bench.send("POST", "/e2e").status == 404)
    }

    @Test func optionsIs204EverywhereAndNeverLimited() throws {
        let bench = GatewayBench { $0.http.requestsPerMinute = 1 }
        for target in ["/session", "/nowhere", "*", "/healthz", "/session"] {
            let response = try bench.send("OPTIONS", target)
            #expect(response.status == 204 && response.bodyCount == 0, "\(target)")
        }
    }

    @Test func everyAnswerCarriesTheSecurityFields() throws {
        let expected = [
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), usb=(self)",
        ]
        let isolation = [
            "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
            "Cross-Origin-Resource-Policy": "same-origin", "Origin-Agent-Cluster": "?1",
        ]
        for isolated in [false, true] {
            let bench = GatewayBench { $0.http.crossOriginIsolation = isolated }
            let preflight = ["Origin: https://app.test", "Access-Control-Request-Method: POST"]
            let responses = [
                try bench.send("GET", "/healthz"), try bench.send("GET", "/none"), try bench.send("POST", "/session"),
                try bench.send("OPTIONS", "/x"), try bench.send("OPTIONS", "/x", preflight),
                try bench.send("GET", "/version", ["Origin: https://evil.test"]),
                try bench.refuse(Problem(400, "bad_request", "Malformed request"), "GARBAGE"),
            ]
            for response in responses {
                for (name, value) in expected { #expect(response.value(name) == value, "\(response.status) \(name)") }
                for (name, value) in isolation { #expect(response.value(name) == (isolated ? value : nil), "\(response.status) \(name)") }
                #expect(response.values("X-Request-Id").count == 1)
            }
        }
    }

    @Test func aRequestIdentifierIsEchoedWhenItIsHarmless() throws {
        let bench = GatewayBench()
        let long = String(repeating: "x", count: 128)
        for sent in ["abc", "a b", "~!{}\"", long] {
            for target in ["/healthz", "/none"] {
                #expect(try bench.send("GET", target, ["X-Request-Id: \(sent)"]).value("X-Request-Id") == sent)
            }
        }
        for sent in ["", "  ", long + "x", "caf\u{E9}", "tab\tinside"] {
            let value = try #require(try bench.send("GET", "/healthz", ["X-Request-Id: \(sent)"]).value("X-Request-Id"))
            #expect(value != sent && value.utf8.count == 36 && value.split(separator: "-").map(\.utf8.count) == [8, 4, 4, 4, 12])
        }
        #expect(try bench.send("GET", "/healthz").value("X-Request-Id") != bench.send("GET", "/healthz").value("X-Request-Id"))
    }

    @Test func whileDrainingOnlyProbesAreServed() throws {
        let bench = GatewayBench { $0.http.basePath = "/p" }
        bench.gateway.draining = true
        #expect(try bench.send("GET", "/readyz").status == 503 && bench.send("GET", "/p/readyz").text == "{\"ok\":false}")
        #expect(try bench.send("GET", "/healthz").status == 200 && bench.send("GET", "/metrics").status == 200)
        for (method, target) in [("POST", "/session"), ("GET", "/version"), ("GET", "/x/readyz"), ("OPTIONS", "/session")] {
            let response = try bench.send(method, target, ["Origin: https://app.test", "X-Request-Id: mine"])
            #expect(response.status == 503 && response.closes && response.value("X-Request-Id") == "mine", "\(target)")
            #expect(response.value("Access-Control-Allow-Origin") == "https://app.test")
            #expect(response.text == "{\"error\":\"unavailable\",\"message\":\"Shutting down\"}")
        }
    }
}

/// The limit of requests counts a client, not each of the addresses it may choose from.
@Suite struct RequestLimitKeyTests {
    @Test(arguments: [("2001:db8:1:2::9", 429), ("2001:db8:1:3::5", 201), ("192.0.2.2", 201)])
    func aSubscriberHasTheSixtyFour(_ peer: String, _ status: Int) throws {
        let bench = GatewayBench { $0.http.requestsPerMinute = 2 }
        for _ in 0..<2 { #expect(try bench.send("POST", "/session", peer: "2001:db8:1:2::5").status == 201) }
        #expect(try bench.send("POST", "/session", peer: peer).status == status)
    }
}
