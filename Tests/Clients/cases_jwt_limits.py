"""The JWT proxy's limits, revocation, origins and failing upstreams, with clients of others."""
import http.client
import json
import re
import socket
import time

from harness import Failure, case, check, equal, eventually

try:
    import websockets.exceptions
    from websockets.sync.client import connect

    from issuer import Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

from cases_jwt import bearer, closed, compatible, echo, native, need, refused, url

RAW = '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "%s" }]%s }'


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def ending(client, seconds=5):
    """Code and reason of the close a client gets."""
    try:
        while True:
            client.recv(timeout=seconds)
    except websockets.exceptions.ConnectionClosed as error:
        return (error.rcvd.code, error.rcvd.reason) if error.rcvd else None


@case("jwt-revocation")
def revocation(context):
    """T26 and T27 on one instance: every form ends live sessions within a second and refuses the same token afterwards."""
    need()
    issuer, upstream, admin = Issuer(context), Upstream(context), free_port()
    server = native(context, issuer, RAW % (upstream.url, ""), rest=f"""  limits: {{ failures_per_minute: 0 }}
admin: {{ address: "127.0.0.1:{admin}", token: "0123456789abcdef0123" }}
shards: 2
""", leeway="30s")
    key = {"Authorization": "Bearer 0123456789abcdef0123"}
    equal(ask(admin, "POST", "/admin/revoke", b'{"jti":"x"}')[0], 401, "without a credential")
    equal(ask(admin, "GET", "/admin/revoke", headers=key)[0], 405, "another method")
    equal(ask(admin, "POST", "/admin/revoke", b"{" + b" " * 5000, key)[0], 413, "a large body")
    for body, text in ((b"[]", b"invalid payload\n"), (b'{"sub":"","jti":"a"}', b"missing required field: sub\n"),
                       (b'{"sub":"a","jti":""}', b"missing required field: jti\n")):
        equal(ask(admin, "POST", "/admin/revoke", body, key), (400, text), body.decode())
    forms = [dict(sub="s1", jti="j1"), dict(jti="j2"), dict(sub="s3"), dict(sid="d4")]
    for number, form in enumerate(forms, 1):
        token = issuer.token(sub=f"s{number}", jti=f"j{number}", sid=f"d{number}")
        other = issuer.token(sub="other", jti=f"o{number}")
        with connect(url(server), compression=None, additional_headers=bearer(token)) as client, \
                connect(url(server), compression=None, additional_headers=bearer(other)) as bystander:
            began = time.monotonic()
            status, answer = ask(admin, "POST", "/admin/revoke", json.dumps(form).encode(), key)
            equal((status, json.loads(answer)["closed"]), (200, 1), str(form))
            equal(ending(client), (4401, "token revoked"), str(form))
            check(time.monotonic() - began < 1, "it took long")
            bystander.send("still")
            equal(bystander.recv(timeout=5), "still", "somebody else's session")
        equal(refused(server, additional_headers=bearer(token))[0], 401, f"the same token again {form}")
    # Tokens are accepted for 30 s behind their end, and so long, at least, is one denied whose end is given.
    ends = int(time.time()) - 4
    for exp in (ends, ends - 100):
        token = issuer.token(sub="late", jti=f"late-{exp}", exp=ends)
        with connect(url(server), compression=None, additional_headers=bearer(token)) as client:
            body = json.dumps(dict(sub="late", jti=f"late-{exp}", exp=exp)).encode()
            equal(json.loads(ask(admin, "POST", "/admin/revoke", body, key)[1])["closed"], 1, "a token in its leeway")
            equal(ending(client), (4401, "token revoked"), "a token in its leeway")
        equal(refused(server, additional_headers=bearer(token))[0], 401, "the same token again, in its leeway")
    # A denial ends a day from now, unless the token is known to live longer.
    token = issuer.token(sub="longer", jti="longer", exp=ends + 864_000)
    with connect(url(server), compression=None, additional_headers=bearer(token)) as client:
        equal(json.loads(ask(admin, "POST", "/admin/revoke", b'{"jti":"longer"}', key)[1])["closed"], 1, "a long token")
        equal(ending(client), (4401, "token revoked"), "a long token")
    status, answer = ask(admin, "GET", "/admin/jwks", headers=key)
    equal((status, json.loads(answer)["providers"][0]["kids"]), (200, ["first"]), "keys")
    token = issuer.token(sub="last")
    with connect(url(server), compression=None, additional_headers=bearer(token)) as client:
        issuer.keys["first"][1] = False
        issuer.rotate("second")
        equal(ask(admin, "POST", "/admin/jwks/purge?kid=first", b"", key)[0], 200, "purge")
        equal(ending(client), (4401, "token revoked"), "a session whose key was purged")
    eventually(lambda: refused(server, additional_headers=bearer(issuer.token()))[0] == "open", "keys after the purge")
    log = server.log_path.read_text()
    check("0123456789abcdef0123" not in log, "the admin token is in the log")


@case("jwt-rates")
def rates(context):
    """T23 and T24: messages of a subject over several connections, handshakes, sessions of a subject."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = compatible(context, issuer, upstream.url)
    with connect(url(server), compression=None, additional_headers=bearer(issuer.token())) as client:
        try:
            for _ in range(60):
                client.send("x")
        except websockets.exceptions.ConnectionClosed:
            pass  # the gateway was faster
        code = ending(client)
        equal(code, (1008, "Rate limit exceeded"), "the burst is over")
    # An upstream that was told to close forgets what it has not read: the gateway's own count is asked.
    text = server.request("GET", "/metrics")[1].decode()
    carried = int(re.search(r'ws_messages_total\{route="/ws",direction="up"\} (\d+)', text)[1])
    check(28 <= carried <= 33, "messages that were taken", carried)
    check('ws_rate_limit_violations_total{scope="subject"} 1' in text, "the violation is counted")
    server.end()
    server = native(context, issuer, RAW % (upstream.url, ""), rest="""  limits: { sessions_per_subject: 2, handshakes_per_second: 5, handshake_burst: 10, failures_per_minute: 0 }
""")
    held = [connect(url(server), compression=None, additional_headers=bearer(issuer.token())) for _ in range(2)]
    status, headers = refused(server, additional_headers=bearer(issuer.token()))
    equal((status, headers["Retry-After"]), (429, "1"), "one session too many")
    equal(echo(server, additional_headers=bearer(issuer.token(sub="bob")))[0], "hi", "another subject")
    held.pop().close()
    eventually(lambda: refused(server, additional_headers=bearer(issuer.token()))[0] == "open", "a place came back")
    statuses = [refused(server, additional_headers=bearer(issuer.token(sub="c%d" % number)))[0] for number in range(15)]
    check(429 in statuses, "a flood of handshakes", statuses)
    held[0].send("alive")
    equal(held[0].recv(timeout=5), "alive", "a session that lives")


@case("jwt-origins")
def origins(context):
    """T13: the table of origins, without cookies and with one."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = native(context, issuer, RAW % (upstream.url, ""), rest="""  origins: ["https://app.example.com", "https://app.example.com:8443", "*.example.org", "http://*.test:*", "null"]
  limits: { handshakes_per_second: 0, failures_per_minute: 0 }
""")
    token = issuer.token()
    for origin, good in (("https://app.example.com", True), ("https://APP.example.com", True), ("https://app.example.com:443", True),
                         ("https://app.example.com:8443", True), ("http://app.example.com", False), ("https://app.example.com:9", False),
                         ("https://a.example.org", True), ("https://a.b.example.org", True), ("https://example.org", False),
                         ("http://a.example.org", False), ("http://x.test:1234", True), ("https://x.test", False), ("null", True),
                         ("https://app.example.com.evil", False), (None, True)):
        status = refused(server, additional_headers=bearer(token), origin=origin)[0]
        equal(status, "open" if good else 403, f"Origin {origin}")
        status = refused(server, additional_headers={"Cookie": "session=" + token}, origin=origin)[0]
        equal(status, "open" if good and origin else 403, f"Origin {origin} with a cookie")


@case("jwt-upstreams")
def upstreams(context):
    """T20, T21 and T22: upstreams that are not there, do not answer or refuse; the circuit; another endpoint."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(16)
    context.defer(silent.close)
    gone = f"ws://127.0.0.1:{free_port()}/"
    rest = """  limits: { handshakes_per_second: 0 }
  dial: { attempts: 1, handshake: 1s }
  breaker: { failures: 3, open: 1s }
"""
    server = native(context, issuer, RAW % (gone, ""), rest=rest)
    for number in range(3):
        equal(refused(server, additional_headers=bearer(issuer.token()))[0], 502, "nobody listens")
    status, headers = refused(server, additional_headers=bearer(issuer.token()))
    equal((status, headers["X-Edge-Error"], headers["Retry-After"]), (503, "circuit_open", "1"), "the circuit is open")
    time.sleep(1.1)
    equal(refused(server, additional_headers=bearer(issuer.token()))[0], 502, "half open: one tries")
    equal(refused(server, additional_headers=bearer(issuer.token()))[0], 503, "and it is open again")
    server.end()
    server = native(context, issuer, RAW % (f"ws://127.0.0.1:{silent.getsockname()[1]}/", ""), rest=rest)
    began = time.monotonic()
    equal(refused(server, additional_headers=bearer(issuer.token()))[0], 504, "nobody answers")
    check(0.9 < time.monotonic() - began < 3, "the time of an answer", time.monotonic() - began)
    server.end()
    both = '{ name: raw, prefix: /ws, protocol: raw, balance: round_robin, upstreams: [{ url: "%s" }, { url: "%s" }] }' % (gone, upstream.url)
    server = native(context, issuer, both, rest=rest.replace("attempts: 1", "attempts: 2"))
    for _ in range(6):
        equal(echo(server, additional_headers=bearer(issuer.token()))[0], "hi", "the other endpoint takes over")
    text = server.request("GET", "/readyz?verbose")[1]
    equal(json.loads(text)["ready"], True, "readiness in detail")


@case("jwt-reload")
def reload(context):
    """T37: routes and providers change under live sessions; a faulty file changes nothing."""
    need()
    issuer, upstream, other = Issuer(context), Upstream(context), Upstream(context)
    server = native(context, issuer, RAW % (upstream.url, ""))
    path = context.folder / "sluice.yaml"
    text = path.read_text()
    with connect(url(server), compression=None, additional_headers=bearer(issuer.token())) as client:
        path.write_text(text.replace("prefix: /ws", "prefix: /ws, match: sgment"))
        eventually(lambda: any("not reloaded" in str(record.get("msg")) for record in server.records()), "a refused reload")
        equal(echo(server, additional_headers=bearer(issuer.token()))[0], "hi", "the former routes")
        more = '    - { name: more, prefix: /more, protocol: raw, upstreams: [{ url: "%s" }] }\n' % other.url
        path.write_text(text + more)
        eventually(lambda: refused(server, "/more/x", additional_headers=bearer(issuer.token()))[0] == "open", "a route that came")
        equal(len(other.requests) > 0, True, "sessions of the new route")
        client.send("alive")
        equal(client.recv(timeout=5), "alive", "a session from before")
        path.write_text(text.replace("audiences: [rabbitmq]", "audiences: [another]"))
        eventually(lambda: refused(server, additional_headers=bearer(issuer.token()))[0] == 401, "another audience", 10)
        equal(echo(server, additional_headers=bearer(issuer.token(aud="another")))[0], "hi", "tokens for it")
        client.send("alive")
        equal(client.recv(timeout=5), "alive", "a session whose provider changed")


@case("jwt-drain")
def drain(context):
    """A drain tells sessions to go with 1001, and the process leaves with 0."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = compatible(context, issuer, upstream.url, GRACEFUL_DRAIN_TIMEOUT_SECONDS=2)
    clients = [connect(url(server), compression=None, additional_headers=bearer(issuer.token(sub=f"s{n}"))) for n in range(10)]
    for client in clients:
        client.send("x")
        client.recv(timeout=5)
    server.signal()
    for client in clients:
        equal(ending(client, 12), (1001, "going away"), "a session, behind the delay for load balancers")
    equal(server.process.wait(10), 0, "exit status")
