"""The JWT proxy's HTTP surface, what upstreams are told of a client, where keys come from, and what the log says."""
import base64
import datetime
import http.client
import json
import re
import time

from cases_jwt import native, need
from handshakes import Opened, RawUpstream, session
from harness import case, check, equal, eventually
from rawsocket import BINARY, CLOSE, frame
from services import websocket_echo

try:
    import jwt
    from cryptography.hazmat.primitives import serialization

    from issuer import AUDIENCE, ISSUER, Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: raw, upstreams: [{ url: "%s" }]%s }'
REST = """  limits: { handshakes_per_second: 0, failures_per_minute: 0, sessions_per_subject: 0 }
"""
UPGRADE = {"Host": "x", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


def ask(server, method, path, fields, body=None):
    """One request with these fields; status, and fields by lower-case name."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in fields.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        text = b"" if response.status == 101 else response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, text
    finally:
        connection.close()


@case("jwt-http-surface")
def surface(context):
    """Section 3 and 5: statuses and fields of what is no handshake, or a broken one; CORS; health."""
    need()
    issuer, upstream = Issuer(context, "ES256"), Upstream(context)
    server = native(context, issuer, ROUTE % ("raw", "ws", upstream.url, ""),
                    rest=REST + '  origins: ["https://app.example.com"]\n')
    token = issuer.token()
    field = {"Authorization": "Bearer " + token}
    table = {
        "a handshake": (UPGRADE | field, 101), "no token": (UPGRADE, 401), "no WebSocket": ({"Host": "x"}, 400),
        "another upgrade": (UPGRADE | field | {"Upgrade": "h2c"}, 400), "version 8": (UPGRADE | field | {"Sec-WebSocket-Version": "8"}, 426),
        "no version": (UPGRADE | field | {"Sec-WebSocket-Version": None}, 426), "no Connection": (UPGRADE | field | {"Connection": "close"}, 400),
        "no key": (UPGRADE | field | {"Sec-WebSocket-Key": None}, 400), "a short key": (UPGRADE | field | {"Sec-WebSocket-Key": "AAAA"}, 400),
        "a body": (UPGRADE | field | {"Content-Length": "1"}, 400), "a refused origin": (UPGRADE | field | {"Origin": "https://evil"}, 403),
        "a listed origin": (UPGRADE | field | {"Origin": "https://app.example.com"}, 101),
        "a wide upgrade": (UPGRADE | field | {"Upgrade": "WebSocket"}, 101),
        "a list of upgrades": (UPGRADE | field | {"Upgrade": "h2c, websocket"}, 101),
    }
    for name, (fields, status) in table.items():
        found, answer, _ = ask(server, "GET", "/ws", fields, b"x" if name == "a body" else None)
        equal(found, status, name)
        if status != 101:
            equal((answer.get("x-content-type-options"), answer.get("x-frame-options"), answer.get("cache-control")),
                  ("nosniff", "DENY", "no-store"), f"fields of {name}: {answer}")
            equal(answer.get("sec-websocket-version"), "13", f"fields of {name}: {answer}")
        if status == 426:
            equal((answer.get("upgrade"), answer.get("sec-websocket-version")), ("websocket", "13"), name)
    for method in ("POST", "PUT", "HEAD", "DELETE"):
        found, answer, _ = ask(server, method, "/ws", UPGRADE | field)
        equal((found, answer.get("allow")), (405, "GET"), method)
    # A list may stand in several fields (RFC 9110 section 5.3).
    equal(Opened(server.port, "/ws", token, ["Connection: keep-alive", "Upgrade: h2c"]).status, 101, "lists in two fields each")
    # A page of a listed origin may read what it is answered, and no other.
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/ws", 400), ("/nowhere", 404)):
        for origin, shared in (("https://app.example.com", "https://app.example.com"), ("https://evil", None), (None, None)):
            found, answer, _ = ask(server, "GET", path, {"Host": "x", "Origin": origin})
            equal((found, answer.get("access-control-allow-origin"), answer.get("vary")), (status, shared, "Origin"), f"{path}, {origin}")
    equal(ask(server, "OPTIONS", "/healthz", {"Host": "x", "Origin": "https://app.example.com",
                                             "Access-Control-Request-Method": "GET"})[0], 204, "a preflight beside routes")
    # Whatever is refused is in the log, be it before its path could be read.
    equal(Opened(server.port, "/ws#x", token).status, 400, "a target with a fragment")
    eventually(lambda: [record["reason"] for record in server.records() if record["msg"] == "upgrade" and record["path"] == ""]
               == ["Invalid request URL"], "the record of an upgrade that could not be read")
    equal(ask(server, "GET", "/wsx", UPGRADE | field)[0], 404, "a path that only begins like a route")
    equal(ask(server, "GET", "/ws/below", UPGRADE | field)[0], 101, "a path below a route")
    equal(ask(server, "GET", "/healthz", {"Host": "x"})[::2], (200, b"ok"), "/healthz")
    equal(ask(server, "HEAD", "/healthz", {"Host": "x"})[0], 200, "HEAD /healthz")
    equal(ask(server, "GET", "/readyz", {"Host": "x"})[0], 200, "/readyz")
    equal(ask(server, "GET", "/metrics", {"Host": "x"})[0], 404, "/metrics is not for everybody")
    preflight = {"Host": "x", "Origin": "https://app.example.com", "Access-Control-Request-Method": "GET"}
    status, answer, _ = ask(server, "OPTIONS", "/ws", preflight)
    equal((status, answer.get("access-control-allow-origin"), answer.get("access-control-allow-credentials"),
           answer.get("access-control-max-age")), (204, "https://app.example.com", "true", "600"), f"preflight {answer}")
    status, answer, _ = ask(server, "OPTIONS", "/ws", preflight | {"Origin": "https://evil"})
    check("access-control-allow-origin" not in answer, "a preflight of another origin", status, answer)


@case("jwt-identity")
def identity(context):
    """Section 12: what the upstream is told of a client, and that a client cannot tell it itself."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    routes = "\n    - ".join([
        ROUTE % ("plain", "plain", upstream.url, ""),
        ROUTE % ("claims", "claims", upstream.url, ", upstream: { token: 'header:X-Token', roles_header: X-Roles, host: client,"
                 " claims: { X-Auth-Subject: /sub, X-Auth-Name: /name }, headers: [X-Pass, X-Auth-Subject] }, query: [keep]"),
        ROUTE % ("none", "none", upstream.url + "?own=1", ", upstream: { token: none, roles_header: 'off' }, query: preserve"),
        ROUTE % ("path", "path", upstream.url, ", append_path: true, rewrite_prefix: /other, upstream: { token: 'query:jwt' }"),
        ROUTE % ("query", "query", upstream.url, ", query: preserve, upstream: { token: 'query:jwt' }"),
        ROUTE % ("field", "field", upstream.url, ", auth: { sources: ['header:X-Jwt:Token '] }"),
    ])
    server = native(context, issuer, routes, rest=REST + "  trusted_proxies: [127.0.0.0/8]\n")
    roles = dict(realm_access={"roles": ["b", "a,x"]}, resource_access={"z": {"roles": ["c"]}, "m": {"roles": ["d", "b", 5]}})
    token = issuer.token(name="Zoë\n", **roles)
    own = ["User-Agent: tester", "X-User-Roles: admin", "X-Auth-Subject: root", "X-Roles: admin", "X-Pass: yes", "Cookie: other=1",
           "X-Forwarded-For: 192.0.2.7, 127.0.0.9", "X-Request-Id: request-1", "X-Evil: yes",
           "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate: a=1", "tracestate: b=2"]

    def told(path, own=own, token=token):
        client, above = session(server, upstream, path, token, own)
        client.close()
        above.close()
        first, *lines = upstream.heads[-1].split("\r\n")
        fields = {}
        for line in lines:
            name, value = line.split(": ", 1)
            check(name.lower() not in fields, f"{name} twice", lines)
            fields[name.lower()] = value
        return first.split()[1], fields

    target, fields = told("/plain?token=x&a=1")
    equal(target, "/up", "the query is dropped")
    equal((fields["authorization"], fields["x-user-roles"], fields["user-agent"]), ("Bearer " + token, "b,d,c", "tester"), "identity")
    equal(fields["host"], f"127.0.0.1:{upstream.port}", "Host")
    check(fields["x-forwarded-for"].startswith("192.0.2.7, 127.0.0.9, 127.0.0.1"), "X-Forwarded-For", fields["x-forwarded-for"])
    check(fields["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "traceparent", fields["traceparent"])
    equal(fields["tracestate"], "a=1,b=2", "tracestate")
    equal((fields["x-forwarded-proto"], fields["x-forwarded-host"]), ("http", f"127.0.0.1:{server.port}"), "what was asked for")
    for name in ("cookie", "x-evil", "x-auth-subject", "x-roles", "x-pass"):
        check(name not in fields, f"{name} went on", fields)
    target, fields = told("/claims?keep=1&token=x&drop=2")
    equal(target, "/up?keep=1", "a query of names to keep")
    equal((fields["x-token"], fields["x-roles"], fields["x-auth-subject"], fields["x-auth-name"], fields["x-pass"]),
          (token, "b,d,c", "alice", "Zo%C3%AB%0A", "yes"), "claims")
    check("authorization" not in fields and "x-user-roles" not in fields, "another place for the token", fields)
    equal(fields["host"], f"127.0.0.1:{server.port}", "the client's Host")
    target, fields = told("/none?a=1&token=t&b=2")
    equal(target, "/up?a=1&b=2", "the query without the credential")
    check("authorization" not in fields and "x-user-roles" not in fields, "nothing of a token", fields)
    equal(told("/path/below/it")[0], f"/other/below/it?jwt={token}", "the path behind the prefix")
    equal(told("/query?jwt=evil&a=1&%6Awt=evil")[0], f"/up?a=1&jwt={token}", "a parameter of the client's with the token's name")
    target, fields = told("/field", ["X-Jwt: Token " + token, "tracestate: a=1", "X-Forwarded-Proto: wss"], None)
    check(re.fullmatch("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00", fields["traceparent"]), "a trace of its own", fields)
    check("tracestate" not in fields, "the state of no trace", fields)
    # Traefik writes wss for an upgrade over TLS: the cookie is of a page of the host itself.
    equal((fields["authorization"], fields["x-forwarded-proto"]), ("Bearer " + token, "https"), "a field with a prefix; a scheme")
    page = [f"Origin: https://127.0.0.1:{server.port}", "Cookie: session=" + token]
    for scheme, status in (("wss", 101), ("https", 101), ("ws", 403), ("http", 403)):
        equal(Opened(server.port, "/plain", None, [*page, "X-Forwarded-Proto: " + scheme]).status, status, f"a cookie over {scheme}")


@case("jwt-key-sources")
def key_sources(context):
    """Section 9.2: keys found by discovery, in files, written out; a secret."""
    need()
    issuer = Issuer(context, "ES256")
    upstream = f"ws://127.0.0.1:{websocket_echo(context)}/"
    key = issuer.keys["first"][0].public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    keys_file = context.folder / "keys.json"
    keys_file.write_bytes(issuer.document())
    secret = context.folder / "secret"
    secret.write_text("s" * 40)
    secrets = context.folder / "secrets.json"
    octets = lambda text: base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    secrets.write_text(json.dumps({"keys": [{"kty": "oct", "kid": "first", "k": octets("s" * 40)},
                                            {"kty": "oct", "kid": "second", "k": octets("t" * 40)}]}))
    lines = "".join("          " + line + "\n" for line in pem.splitlines())
    here = f"http://127.0.0.1:{issuer.port}"
    issuer.pages["/.well-known/openid-configuration"] = json.dumps({"issuer": here, "jwks_uri": issuer.url}).encode()
    issuer.pages["/other/.well-known/openid-configuration"] = json.dumps({"issuer": here, "jwks_uri": issuer.url}).encode()
    names = {"found": f'issuer: "{here}", discovery: true, jwks_allow_http: true, algorithms: [ES256]',
             "file": f'issuer: "https://file/", jwks_file: {keys_file}, algorithms: [ES256]',
             "secret": f'issuer: "https://secret/", secret_file: {secret}, algorithms: [HS256]',
             "secrets": f'issuer: "https://secrets/", jwks_file: {secrets}, algorithms: [HS256]'}
    providers = "".join(f"    - {{ name: {name}, audiences: [{AUDIENCE}], {text} }}\n" for name, text in names.items())
    providers += f'    - name: written\n      issuer: "https://written/"\n      audiences: [{AUDIENCE}]\n      algorithms: [ES256]\n' \
                 f"      missing_kid: single\n      public_keys:\n        - |\n{lines}"
    path = context.folder / "sluice.yaml"
    path.write_text('listeners: [{ name: public, address: "127.0.0.1:0", features: [jwt] }]\njwt:\n'
                    f"  providers:\n{providers}  routes:\n    - "
                    + ROUTE % ("raw", "ws", upstream, f", auth: {{ providers: [{', '.join([*names, 'written'])}] }}") + "\n" + REST)
    server = context.server(["--config", str(path)], private=False, SESSION_SECRET=None, DNS_UPSTREAMS=None, HOST=None, PORT=None)

    def token(issuer_name, key_id="first", algorithm="ES256", signer=None):
        claims = {"iss": issuer_name, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + 60}
        return jwt.encode(claims, signer or issuer.keys[issuer.current][0], algorithm=algorithm, headers={"kid": key_id} if key_id else None)

    def status(text):
        opened = Opened(server.port, token=text)
        opened.socket.close()
        return opened.status

    good = {"discovery": token(here), "a file": token("https://file/"), "written out": token("https://written/", None),
            "a secret": token("https://secret/", "any", "HS256", "s" * 40),
            "a secret in a key file": token("https://secrets/", "second", "HS256", "t" * 40)}
    for name, text in good.items():
        eventually(lambda: status(text) == 101, f"keys by {name}", 10)
    equal(status(token("https://secret/", "any", "HS256", "t" * 40)), 401, "another secret")
    equal(status(token("https://secret/", algorithm="ES256")), 401, "no secret's algorithm")
    equal(status(token("https://secrets/", "first", "HS256", "t" * 40)), 401, "another secret of the file")
    # A file is read again when it changes.
    issuer.rotate("later")
    part = context.folder / "keys.part"
    part.write_bytes(issuer.document())
    part.rename(keys_file)
    eventually(lambda: status(token("https://file/", "later")) == 101, "a key that came to the file", 15)


@case("jwt-log")
def log(context):
    """Section 21.4: the line of a session's end, in names of the specification; failures at most ten a second and reason."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    server = native(context, issuer, ROUTE % ("raw", "ws", upstream.url, ""), rest=REST)
    client, above = session(server, upstream, token=issuer.token(jti="number-1"), fields=["X-Request-Id: request-1"])
    client.send(frame(BINARY, b"four") + frame(BINARY, b"x"))
    above.send(frame(BINARY, b"back", masked=False))
    equal((above.frame(), above.frame(), client.frame()), ((0x82, b"four"), (0x82, b"x"), (0x82, b"back")), "messages")
    above.send(frame(CLOSE, b"\x0f\xa0bye", masked=False))
    client.frame()
    client.send(frame(CLOSE, b"\x0f\xa0"))
    client.ended()
    ends = lambda: [record for record in server.records() if record.get("msg") == "websocket ended"]
    eventually(ends, "the line of the end")
    found = ends()[0]
    expected = dict(module="jwt", route="raw", protocol="raw", client_ip="127.0.0.1", upstream=upstream.url, sub="alice", iss=ISSUER,
                    kid="first", alg="ES256", jti="number-1", bytes_up=5, bytes_down=4, messages_up=2, messages_down=1, close_from="upstream",
                    close_code=4000, stall_ms=0)
    equal({name: found.get(name) for name in expected}, expected, f"fields of {found}")
    check(all(found.get(name) not in (None, "") for name in ("conn_id", "request_id", "reason")), "names", found)
    check(isinstance(found.get("shard"), int) and isinstance(found.get("duration_ms"), int), "numbers", found)
    moment = datetime.datetime.fromisoformat(found["ts"].replace("Z", "+00:00"))
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["ts"]) and abs(moment.timestamp() - time.time()) < 60, "ts", found["ts"])
    for _ in range(100):
        Opened(server.port, token="a.b.c").socket.close()
    time.sleep(1.2)
    Opened(server.port, token="a.b.c").socket.close()
    refusals = lambda: [record for record in server.records() if record.get("status") == 401]
    counted = lambda: sum(1 + record.get("suppressed", 0) for record in refusals())
    eventually(lambda: counted() == 101, "refusals told, and counted with the next that is")
    check(len(refusals()) <= 60, "lines", len(refusals()))
