"""The JWT proxy with clients, brokers and issuers of others: websockets, PyJWT, paho, Mosquitto."""
import base64
import hashlib
import hmac
import json
import time

from brokers import mosquitto, paho_library, publish_and_receive
from harness import Failure, Skip, case, check, equal, eventually

try:
    import jwt
    import websockets.exceptions
    from websockets.sync.client import connect

    from issuer import AUDIENCE, ISSUER, Issuer, Upstream, forged
    missing = None
except ImportError as reason:
    missing = str(reason)


def need():
    if missing:
        raise Skip(missing)


def compatible(context, issuer, upstream, **more):
    """The gateway as go-ws-gateway-proxy is started: by its variables alone."""
    values = dict(JWKS_URL=issuer.url, UPSTREAM_WS_URL=upstream, JWT_EXPECTED_ISSUER=ISSUER, JWT_EXPECTED_AUDIENCE=AUDIENCE,
                  SESSION_SECRET=None, DNS_UPSTREAMS=None, SLUICE_ADMIN_ADDRESS="127.0.0.1:0")
    values.update(more)
    server = context.server(private=False, **values)
    eventually(lambda: server.request("GET", "/readyz")[0].status == 200, "ready", 8)
    return server


def native(context, issuer, route, more="", rest="", wait=True, issuer_url=None, leeway="0s", features="jwt"):
    """The gateway with a file of its own: one provider, one route. Features beside `jwt` may need the environment's secrets."""
    path = context.folder / "sluice.yaml"
    path.write_text(f"""
listeners: [{{ name: public, address: "127.0.0.1:0", features: [{features}] }}]
jwt:
  providers:
    - {{ name: main, issuer: "{ISSUER}", audiences: [{AUDIENCE}], jwks_url: "{issuer_url or issuer.url}", jwks_allow_http: true,
         algorithms: [{issuer.algorithm}], leeway: {leeway}{more} }}
  routes:
    - {route}
{rest}
""")
    secret = {"SESSION_SECRET": None} if features == "jwt" else {}
    server = context.server(["--config", str(path)], private=False, DNS_UPSTREAMS=None, HOST=None, PORT=None, **secret)
    if wait:
        eventually(lambda: server.request("GET", "/readyz")[0].status == 200, "ready", 8)
    return server


def reload(context, server, changed):
    """Gives the gateway of `native` another file, and waits until it has taken it."""
    def count():
        return sum("configuration reloaded" in str(record.get("msg")) for record in server.records())
    before = count()
    (context.folder / "sluice.yaml").write_text(changed)
    eventually(lambda: count() > before, "a reload", 10)


def url(server, path="/ws"):
    return f"ws://127.0.0.1:{server.port}{path}"


def bearer(token):
    return {"Authorization": "Bearer " + token}


def echo(server, path="/ws", text="hi", **options):
    with connect(url(server, path), compression=None, open_timeout=10, **options) as client:
        client.send(text)
        return client.recv(timeout=10), client.subprotocol


def refused(server, path="/ws", **options):
    """The status of a handshake that is refused."""
    try:
        with connect(url(server, path), compression=None, open_timeout=10, **options) as client:
            return "open", client.subprotocol
    except websockets.exceptions.InvalidStatus as error:
        return error.response.status_code, error.response.headers


def closed(server, path="/ws", first=None, **options):
    """Code and reason of the close frame behind a 101."""
    with connect(url(server, path), compression=None, open_timeout=10, **options) as client:
        try:
            if first is not None:
                client.send(first)
            client.recv(timeout=10)
        except websockets.exceptions.ConnectionClosed as error:
            return error.rcvd.code if error.rcvd else None, error.rcvd.reason if error.rcvd else None
    raise Failure("not closed")


@case("jwt-sources-raw")
def sources_raw(context):
    """T1 on a raw route: every place of a token, right and wrong, as a status and as a close code."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = native(context, issuer, '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "%s" }] }' % upstream.url)
    good, bad = issuer.token(), issuer.token()[:-6] + "AAAAAA"
    origin = f"http://127.0.0.1:{server.port}"
    encoded = lambda token: "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()
    places = {
        "authorization": lambda token: dict(additional_headers=bearer(token)),
        "query": lambda token: dict(path="/ws?token=" + token),
        "cookie": lambda token: dict(additional_headers={"Cookie": "session=" + token}, origin=origin),
        "subprotocol pair": lambda token: dict(subprotocols=["bearer", token]),
        "subprotocol encoded": lambda token: dict(subprotocols=[encoded(token), "chat"]),
    }
    for name, place in places.items():
        equal(echo(server, **place(good))[0], "hi", name)
        status, headers = refused(server, **place(bad))
        equal(status, 401, name)
        check(headers["WWW-Authenticate"].startswith('Bearer realm="sluice", error="invalid_token"'), name, dict(headers))
        check(bad not in str(headers), "the answer quotes the token")
    status, headers = refused(server)
    equal((status, headers["WWW-Authenticate"]), (401, 'Bearer realm="sluice"'), "no token")
    equal(refused(server, additional_headers={"Cookie": "session=" + good})[0], 403, "a cookie without Origin")
    equal(refused(server, additional_headers={"Cookie": "session=" + good}, origin="http://evil.test")[0], 403, "a cookie of another page")
    equal(refused(server, path="/nowhere", additional_headers=bearer(good))[0], 404, "no route")
    check(all("token=" not in request.path for request in upstream.requests), "a token in the query went on")
    check(all(request.headers["Authorization"] == "Bearer " + good for request in upstream.requests), "identity of the upstream")
    check(all("Cookie" not in request.headers for request in upstream.requests), "a cookie went on")
    log = server.log_path.read_text()
    check(good not in log and bad not in log and good.split(".")[1] not in log, "a token is in the log")


@case("jwt-compat-close-codes")
def compat_codes(context):
    """T1 as go-ws-gateway-proxy answers: upgraded, then its codes and texts."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = compatible(context, issuer, upstream.url)
    good = issuer.token()
    equal(echo(server, additional_headers=bearer(good))[0], "hi", "accepted")
    equal(closed(server, additional_headers=bearer("a.b")), (1008, "Malformed JWT"), "two parts")
    head, _, signature = good.split(".")
    equal(closed(server, additional_headers=bearer(f"{head}.!!!.{signature}")), (1008, "Malformed JWT payload"), "not base64url")
    equal(closed(server, additional_headers=bearer(f"{head}.YWJj.{signature}")), (1008, "Invalid JWT claims"), "not JSON")
    equal(closed(server, additional_headers=bearer(issuer.token(exp=1))), (1008, "JWT invalid or expired"), "expired")
    equal(closed(server, additional_headers=bearer(forged(good, sub="root"))), (1008, "JWT invalid or expired"), "forged")
    equal(closed(server, first="hello"), (1008, "Malformed JWT"), "nothing, on a raw session")
    equal(closed(server, first=b"\x10\x03abc", subprotocols=["mqtt"])[0], 1002, "no CONNECT")
    equal(refused(server, path="/other")[0], 404, "no route")
    response, body = server.request("GET", "/healthz")
    equal((response.status, body), (200, b"ok"), "/healthz")
    text = server.request("GET", "/metrics")[1].decode()
    for name in ("ws_connections_total", "ws_auth_failures_total", "ws_active_sessions", "ws_connection_duration_seconds_bucket"):
        check("\n" + name in text, "no " + name)


@case("jwt-forged")
def forgeries(context):
    """T5: forged tokens beside accepted ones."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = native(context, issuer, '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "%s" }] }' % upstream.url,
                    rest="  limits: { failures_per_minute: 0, handshakes_per_second: 0 }")
    good = issuer.token(jti="one")
    equal(echo(server, additional_headers=bearer(good))[0], "hi", "accepted")
    public = issuer.keys["first"][0].public_key()
    from cryptography.hazmat.primitives import serialization
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    claims = jwt.decode(good, options={"verify_signature": False})

    def unsigned(algorithm):
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
        return f"{part({'alg': algorithm, 'kid': 'first', 'typ': 'JWT'})}.{part(claims)}"

    attempts = {f"alg {name}": unsigned(name) + ".AA" for name in ("none", "None", "NONE", "nOnE", "none ", "", "NoNe", "nonE")}
    attempts["roles of another"] = forged(good, realm_access={"roles": ["admin"]})
    attempts["unsigned"] = unsigned("RS256") + ".AA"
    attempts["five parts"] = good + ".a.b"
    attempts["padding"] = good + "="
    body = unsigned("HS256")
    attempts["HS256 with the public key"] = body + "." + base64.urlsafe_b64encode(hmac.new(pem, body.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    fetched = len(issuer.requests)
    for name in ("jku", "x5u"):
        attempts[name] = issuer.token(headers={name: issuer.url + "/evil"}, key_id=None)[:-4] + "AAAA"
    attempts["crit"] = issuer.token(headers={"crit": ["exp"]})
    for name, token in attempts.items():
        equal(refused(server, additional_headers=bearer(token))[0], 401, name)
    check(not any("evil" in path for _, path in issuer.requests), "the issuer was asked for a key the token named")
    check(len(issuer.requests) - fetched <= 1, "fetches because of forged tokens", issuer.requests)
    equal(len(upstream.requests), 1, "clients that reached the upstream")


@case("jwt-frames")
def frames(context):
    """T4 and T15: opcodes, a server that speaks first, close codes both ways, and nothing left behind."""
    need()
    issuer, upstream = Issuer(context), Upstream(context, greet=True)
    server = native(context, issuer, '{ name: raw, prefix: /ws, upstreams: [{ url: "%s" }] }' % upstream.url)
    options = dict(additional_headers=bearer(issuer.token()), compression=None, open_timeout=10)
    with connect(url(server), **options) as client:
        equal(client.recv(timeout=5), "hello", "the server speaks first")
        for message in ("text", b"binary", "", b"", "x" * 70_000, bytes(1 << 20)):
            client.send(message)
            equal(client.recv(timeout=10) == message, True, f"{type(message).__name__} of {len(message)}")
        client.close(4001, "client says")
    eventually(lambda: upstream.ends and upstream.ends[-1] == (4001, "client says"), "the upstream sees the client's close")
    for code, reason in ((1000, ""), (1011, "broken"), (4000, "why")):
        with connect(url(server), **options) as client:
            client.recv(timeout=5)
            began = time.monotonic()
            client.send(f"close {code} {reason}".strip())
            try:
                client.recv(timeout=5)
            except websockets.exceptions.ConnectionClosed as error:
                equal((error.rcvd.code, error.rcvd.reason), (code, reason), "the upstream's close")
            check(time.monotonic() - began < 1, "the close took long")
    equal(len(upstream.requests), 4, "dials")
    eventually(lambda: len(upstream.ends) == 4, "upstream connections that ended")


@case("jwt-rotation")
def rotation(context):
    """T9 and T12: keys that change before or when they first sign, and an issuer that comes up late."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    route = '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "%s" }] }' % upstream.url
    server = native(context, issuer, route)
    issuer.rotate("second")
    equal(echo(server, additional_headers=bearer(issuer.token()))[0], "hi", "published when it first signs")
    equal(echo(server, additional_headers=bearer(issuer.token(key_id="first")))[0], "hi", "the former key stays published")
    fetched = len(issuer.requests)
    issuer.rotate("hidden", publish=False)
    for _ in range(3):
        equal(refused(server, additional_headers=bearer(issuer.token()))[0], 401, "a key nobody published")
    check(len(issuer.requests) - fetched <= 1, "one fetch for a name that stays unknown", len(issuer.requests) - fetched)
    issuer.status = 500
    issuer.current = "second"
    began = time.monotonic()
    equal(echo(server, additional_headers=bearer(issuer.token()))[0], "hi", "the issuer is down")
    check(time.monotonic() - began < 0.5, "a handshake waited for the issuer")
    server.end()
    late = native(context, issuer, route, wait=False)
    time.sleep(0.5)
    equal(late.request("GET", "/readyz")[0].status, 503, "ready without keys")
    equal(refused(late, additional_headers=bearer(issuer.token()))[0], 503, "no keys")
    issuer.status = 200
    eventually(lambda: late.request("GET", "/readyz")[0].status == 200, "ready once the issuer is up", 5)
    equal(echo(late, additional_headers=bearer(issuer.token()))[0], "hi", "keys came")


@case("jwt-expiry")
def expiry(context):
    """T25: a token that ends during the session, in all three modes."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    modes = {"close": 0, "grace": 2, "ignore": None}
    routes = "\n    - ".join(
        '{ name: %s, prefix: /%s, protocol: raw, upstreams: [{ url: "%s" }], expiry: %s%s }'
        % (mode, mode, upstream.url, mode, f", grace: {more}s" if more else "") for mode, more in modes.items())
    server = native(context, issuer, routes)
    ends = int(time.time()) + 2
    token = issuer.token(exp=ends)
    clients = {mode: connect(url(server, "/" + mode), compression=None, additional_headers=bearer(token)) for mode in modes}
    for mode, more in modes.items():
        with clients[mode] as client:
            try:
                client.recv(timeout=1 if more is None else 8)
                raise Failure("a message nobody sent")
            except TimeoutError:
                equal(more, None, mode + " did not close")
            except websockets.exceptions.ConnectionClosed as error:
                equal((error.rcvd.code, error.rcvd.reason), (4401, "token expired"), mode)
                check(abs(time.time() - ends - more) <= 1.1, mode + " closed at another time", time.time() - ends)


@case("jwt-mqtt-mosquitto")
def mqtt(context):
    """T1 and T3 with Mosquitto and paho: versions 3.1, 3.1.1 and 5, token in the password or a cookie only."""
    need()
    paho = paho_library()
    issuer, port = Issuer(context), mosquitto(context)
    route = '{ name: mqtt, prefix: /mqtt, protocol: mqtt, upstreams: [{ url: "ws://127.0.0.1:%d/" }], mqtt: { password: remove } }' % port
    server = native(context, issuer, route)
    token = issuer.token()
    for version in (paho.MQTTv31, paho.MQTTv311, paho.MQTTv5):
        heard, reasons = publish_and_receive(server, version, username="u", password=token)
        equal((heard, reasons), ([b"payload"], ["Success"]), f"version {version}, password")
    cookie = {"Cookie": "session=" + token, "Origin": f"http://127.0.0.1:{server.port}"}
    heard, reasons = publish_and_receive(server, paho.MQTTv311, headers=cookie)
    equal(heard, [b"payload"], f"a cookie only {reasons}")
    heard, reasons = publish_and_receive(server, paho.MQTTv5, username="u", password=issuer.token(exp=1))
    check(heard == [] and reasons and "Bad user name or password" in reasons[0], "a CONNACK says why", reasons)
    heard, reasons = publish_and_receive(server, paho.MQTTv311)
    check(heard == [] and reasons and "Not authorized" in reasons[0], "a CONNACK says that a token is missing", reasons)
    text = server.log_path.read_text()
    check(token not in text, "a password is in the log")


@case("jwt-mqtt-compat")
def mqtt_compat(context):
    """The reference's variables before Mosquitto: roles as a user property, subprotocol mqtt chosen."""
    need()
    paho = paho_library()
    issuer, port = Issuer(context), mosquitto(context)
    server = compatible(context, issuer, f"ws://127.0.0.1:{port}/")
    token = issuer.token(realm_access={"roles": ["device", "reader"]})
    for version in (paho.MQTTv311, paho.MQTTv5):
        heard, reasons = publish_and_receive(server, version, username="u", password=token, path="/ws")
        equal(heard, [b"payload"], f"version {version} {reasons}")
