"""Plain HTTP of the session gateway: items 1, 2, 3, 5, 6, 12 and 13 of the specification's acceptance checklist."""
import base64
import datetime
import json
import re
import uuid

from harness import case, check, equal
from rawsocket import open_peer

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
                    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), usb=(self)"}
ISOLATION_HEADERS = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
                     "Cross-Origin-Resource-Policy": "same-origin", "Origin-Agent-Cluster": "?1"}
ENDPOINTS = {"tcp": "/tcp", "tcpMux": "/tcp-mux", "dnsQuery": "/dns-query", "dnsJson": "/dns-json", "l2": "/l2",
             "udpRelayToken": "/udp-relay/token"}
LIMITS = {"tcp": {"maxConnections": 64, "maxMessageBytes": 1048576, "connectTimeoutMs": 10000, "idleTimeoutMs": 300000},
          "dns": {"maxQueryBytes": 4096}, "l2": {"maxFramePayloadBytes": 2048, "maxControlPayloadBytes": 256}}
ORIGIN = "http://localhost:8080"


@case("http-health-and-limits")
def health(context):
    server = context.server()
    for path in ("/healthz", "/readyz"):
        response, body = server.request("GET", path)
        equal((response.status, json.loads(body)), (200, {"ok": True}), path)
        for name, value in SECURITY_HEADERS.items():
            equal(response.getheader(name), value, f"{name} on {path}")
        uuid.UUID(response.getheader("X-Request-Id"))
        head, body = server.request("HEAD", path)
        equal((head.status, head.getheader("Content-Length"), body), (200, response.getheader("Content-Length"), b""), f"HEAD {path}")
    response, body = server.request("GET", "/healthz?" + "q" * 9000)
    equal((response.status, json.loads(body)), (414, {"error": "url_too_long", "message": "Request URL too long"}), "9000-character query")
    response, _ = server.request("GET", "/healthz?" + "q" * (8192 - 9))
    equal(response.status, 200, "a target of exactly 8192 characters")
    for method, path in (("GET", "/nothing"), ("GET", "/healthz/"), ("POST", "/healthz"), ("GET", "/HEALTHZ"), ("DELETE", "/session")):
        response, body = server.request(method, path)
        equal((response.status, json.loads(body)["error"]), (404, "not_found"), f"{method} {path}")
    response, body = server.request("GET", "/version")
    answer = json.loads(body)
    check(response.status == 200 and set(answer) == {"version", "gitSha", "builtAt"} and
          all(isinstance(value, str) for value in answer.values()), "/version", answer)
    for given, returned in (("abc-123", True), ("x" * 128, True), ("x" * 129, False), ("", False)):
        response, _ = server.request("GET", "/healthz", {"X-Request-Id": given})
        equal(response.getheader("X-Request-Id") == given, returned, f"request id of {len(given)} characters is echoed")
    response, body = server.request("OPTIONS", "/anything")
    equal((response.status, body), (204, b""), "plain OPTIONS")


@case("http-keep-alive-and-pipelining")
def pipelining(context):
    server = context.server()
    peer = open_peer(server)
    one = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b"POST /session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    chunked = (b"POST /session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"1;ext=1\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n")
    peer.send((one + post + chunked) * 20)
    equal([peer.response()[0] for _ in range(60)], [200, 201, 201] * 20, "answers to 60 pipelined requests, in order")
    for byte in one:
        peer.send(bytes([byte]))
    equal(peer.response()[0], 200, "a request that arrives byte by byte")
    peer.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    equal(peer.response()[0], 200, "the last request of a connection")
    peer.expect_end()
    peer = open_peer(server)
    peer.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    equal(peer.response()[0], 200, "HTTP/1.0 without Host")
    peer.expect_end("an HTTP/1.0 connection closes")


def check_session(server, path, base):
    before = datetime.datetime.now(datetime.timezone.utc)
    response, body = server.request("POST", path)
    equal(response.status, 201, f"POST {path}")
    equal(response.getheader("Cache-Control"), "no-store", f"Cache-Control of POST {path}")
    match = re.fullmatch(r"aero_session=([\w-]+)\.([\w-]{43}); Max-Age=86400; Path=/; HttpOnly; SameSite=Lax", response.getheader("Set-Cookie"))
    check(match, "Set-Cookie", response.getheader("Set-Cookie"))
    payload = json.loads(base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    equal(list(payload), ["v", "sid", "exp"], "members of the token")
    answer = json.loads(body)
    equal(set(answer), {"session", "endpoints", "limits"}, "members of the answer")
    equal(answer["endpoints"], {name: base + value for name, value in ENDPOINTS.items()}, "endpoints")
    equal(answer["limits"], LIMITS, "limits")
    expires = answer["session"]["expiresAt"]
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", expires), "shape of expiresAt", expires)
    seconds = (datetime.datetime.fromisoformat(expires.replace("Z", "+00:00")) - before).total_seconds()
    check(86399 < seconds < 86410, "expiresAt is a day away", seconds)
    return payload["sid"], response.getheader("Set-Cookie").split(";")[0]


@case("http-session")
def session(context):
    server = context.server()
    session, cookie = check_session(server, "/session", "")
    uuid.UUID(session)
    response, body = server.request("POST", "/session", {"Cookie": cookie})
    payload = response.getheader("Set-Cookie").split("=", 1)[1].split(".")[0]
    equal(json.loads(base64.urlsafe_b64decode(payload + "=="))["sid"], session, "a valid cookie keeps its session id")
    response, body = server.request("POST", "/session", {"Cookie": "aero_session=bad.token"})
    equal(response.status, 201, "an invalid cookie is not an error")
    response, body = server.request("GET", "/session")
    equal((response.status, json.loads(body)), (200, {"ok": True}), "GET /session")
    for kind, body, status in (("application/json", b"{}", 201), ("application/json", b'{"origin":"x"}', 201),
                               ("application/json; charset=utf-8", b"{}", 201),
                               ("application/json", b"[]", 400), ("application/json", b"null", 400), ("application/json", b'"s"', 400),
                               ("application/json", b"1", 400), ("application/json", b"true", 400), ("application/json", b"", 400),
                               ("application/json", b"{", 400), ("text/plain", b"x", 400), ("application/xml", b"<a/>", 415),
                               (None, b"x", 415)):
        response, answer = server.request("POST", "/session", {"Content-Type": kind} if kind else {}, body)
        equal(response.status, status, f"POST /session with {kind} {body}")
        if body in (b"[]", b"null"):
            equal(json.loads(answer), {"error": "bad_request", "message": "Request body must be a JSON object"}, "error body")
    based = context.server(PUBLIC_BASE_URL="http://localhost:8080/base/")
    for path in ("/session", "/base/session"):
        check_session(based, path, "/base")


@case("http-secure-cookie")
def secure_cookie(context):
    trusting, plain = context.server(TRUST_PROXY=1), context.server()
    for server, value, expected in ((trusting, "https", True), (trusting, " HTTPS , http", True), (trusting, "http", False),
                                    (trusting, "http, https", False), (trusting, None, False), (plain, "https", False)):
        for method in ("POST", "GET"):
            response, _ = server.request(method, "/session", {"X-Forwarded-Proto": value} if value else {})
            equal(response.getheader("Set-Cookie").endswith("; Secure"), expected, f"Secure with X-Forwarded-Proto {value!r}, {method}")


@case("http-origin-and-cors")
def cors(context):
    server = context.server(RATE_LIMIT_REQUESTS_PER_MINUTE=3, ALLOWED_ORIGINS="https://app.example, null", TRUST_PROXY=1)

    def as_client(address, headers, method="GET", path="/version"):
        return server.request(method, path, [("X-Forwarded-For", address)] + headers)

    def check_cors(response, origin, where):
        equal(response.getheader("Access-Control-Allow-Origin"), origin, f"allowed origin on {where}")
        equal(response.getheader("Access-Control-Allow-Credentials"), "true", f"credentials on {where}")
        equal(response.getheader("Access-Control-Expose-Headers"), "x-request-id, content-length", f"exposed headers on {where}")
        check("Origin" in (response.getheader("Vary") or ""), f"Vary on {where}", response.getheader("Vary"))

    allowed = [("Origin", "HTTPS://App.Example:443")]
    for _ in range(3):
        response, _ = as_client("10.0.0.1", allowed)
        equal(response.status, 200, "an allowed origin")
        check_cors(response, "https://app.example", "200")
    response, body = as_client("10.0.0.1", allowed)
    equal((response.status, json.loads(body)["error"]), (429, "too_many_requests"), "fourth request of a minute")
    check_cors(response, "https://app.example", "429")
    response, _ = as_client("10.0.0.2", [("Origin", "null")])
    check_cors(response, "null", "origin null")
    response, _ = as_client("10.0.0.3", [])
    equal(response.getheader("Access-Control-Allow-Origin"), None, "no CORS headers without Origin")
    for refused in ([("Origin", "https://other.example")], [("Origin", "")], [("Origin", "https://app.example")] * 2):
        response, body = as_client("10.0.0.4", refused)
        equal((response.status, json.loads(body)), (403, {"error": "forbidden", "message": "Origin not allowed"}), f"{refused}")
        equal(response.getheader("Access-Control-Allow-Origin"), None, f"no CORS headers on 403 for {refused}")
    response, body = as_client("10.0.0.5", allowed + [("Access-Control-Request-Method", "POST")], "OPTIONS", "/session")
    equal((response.status, body), (204, b""), "preflight")
    check_cors(response, "https://app.example", "preflight")
    equal(response.getheader("Access-Control-Allow-Methods"), "GET,POST,PUT,PATCH,DELETE,OPTIONS", "allowed methods")
    equal(response.getheader("Access-Control-Max-Age"), "600", "max age")
    equal(response.getheader("Access-Control-Allow-Headers"), "Content-Type", "allowed headers")


@case("http-rate-limit")
def rate_limit(context):
    server = context.server(RATE_LIMIT_REQUESTS_PER_MINUTE=1)
    equal([server.request("GET", "/version")[0].status for _ in range(2)], [200, 429], "two requests at one a minute")
    for path in ("/healthz", "/readyz", "/metrics"):
        equal([server.request("GET", path)[0].status for _ in range(5)], [200] * 5, f"{path} is exempt")
    equal(server.request("OPTIONS", "/version")[0].status, 204, "OPTIONS is exempt")
    equal(server.request("GET", "/nothing")[0].status, 429, "unknown paths are limited")
    behind = context.server(RATE_LIMIT_REQUESTS_PER_MINUTE=1, TRUST_PROXY=1)
    for address in ("192.0.2.1", "192.0.2.2, 192.0.2.1", "2001:db8::1"):
        statuses = [behind.request("GET", "/version", {"X-Forwarded-For": address})[0].status for _ in range(2)]
        equal(statuses, [200, 429], f"bucket of {address}")
    untrusting = context.server(RATE_LIMIT_REQUESTS_PER_MINUTE=1)
    statuses = [untrusting.request("GET", "/version", {"X-Forwarded-For": f"192.0.2.{n}"})[0].status for n in range(2)]
    equal(statuses, [200, 429], "without TRUST_PROXY the header changes nothing")


@case("http-cross-origin-isolation")
def isolation(context):
    isolated, plain = context.server(CROSS_ORIGIN_ISOLATION=1), context.server()
    for path in ("/healthz", "/session", "/nothing"):
        on, off = isolated.request("GET", path)[0], plain.request("GET", path)[0]
        for name, value in ISOLATION_HEADERS.items():
            equal((on.getheader(name), off.getheader(name)), (value, None), f"{name} on {path}")


@case("http-metrics")
def metrics(context):
    server = context.server(PUBLIC_BASE_URL="https://edge.example/base")
    for path in ("/healthz", "/base/healthz", "/nothing"):
        server.request("GET", path)
    for path in ("/metrics", "/base/metrics"):
        response, body = server.request("GET", path)
        equal((response.status, response.getheader("Content-Type")), (200, "text/plain; version=0.0.4; charset=utf-8"), path)
        check(b"http_requests_total" in body, f"http_requests_total in {path}")
    samples, _ = server.metrics()
    for route, status in (("/healthz", "200"), ("/base/healthz", "200"), ("unknown", "404")):
        found = [value for name, value in samples.items() if name.startswith("http_requests_total{") and f'route="{route}"' in name
                 and f'status_code="{status}"' in name and 'method="GET"' in name]
        equal(found, [1.0], f"requests of route {route}")
    for name in ("tcp_proxy_blocked_by_host_policy_total", "tcp_proxy_blocked_by_ip_policy_total"):
        equal(samples.get(name), 0.0, name)
    for name in ("resident_memory_bytes", "virtual_memory_bytes", "heap_bytes", "open_fds", "max_fds", "start_time_seconds"):
        check(samples.get("process_" + name, 0) > 0, f"process_{name} is exported", samples.get("process_" + name))
    user, system, both = (samples[f"process_cpu_{name}seconds_total"] for name in ("user_", "system_", ""))
    check(both > 0 and abs(user + system - both) < 0.05, "processor time of both kinds", user, system, both)
