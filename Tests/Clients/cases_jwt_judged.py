"""What nobody talks a JWT proxy out of: first messages that must be judged whatever a client calls them, forged tokens by the dozen,
and an issuer that comes up late."""
import base64
import hashlib
import hmac
import http.server
import json
import socket
import struct
import threading
import time
import urllib.parse

import mqtt
from cases_jwt import bearer, compatible, echo, native, need, refused
from handshakes import Opened, Peer, RawUpstream
from harness import case, check, equal, eventually
from rawsocket import BINARY, TEXT, frame

try:
    import jwt
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    from issuer import AUDIENCE, ISSUER, Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: %s, upstreams: [{ url: "%s" }]%s }'
REST = "  limits: { handshakes_per_second: 0, handshakes_per_ip: 10000, failures_per_minute: 0, sessions_per_subject: 0 }\n"
MQTT = "Sec-WebSocket-Protocol: mqtt"
# Nothing listens there.
NOBODY = "ws://127.0.0.1:1/"


def speak(server, path, token=None, fields=(), packet=None, opcode=BINARY):
    """An upgraded client that has sent its first message."""
    opened = Opened(server.port, path, token, fields)
    equal(opened.status, 101, f"the upgrade of {path}")
    client = Peer(opened.socket, opened.rest)
    if packet is not None:
        client.send(frame(opcode, packet))
    return client


def told(client):
    """How a client is turned away: its CONNACK's code, if any, and its close code."""
    first, payload = client.frame()
    code = None
    if first == 0x82:
        code = payload[3]
        first, payload = client.frame()
    equal(first, 0x88, f"no Close but {payload}")
    return code, struct.unpack(">H", payload[:2])[0]


@case("jwt-judged-connect")
def judged_connect(context):
    """18, 12 and 7.1: no CONNECT passes unseen where it is judged: not under another subprotocol, as text, or without a token."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    only_a = ", authz: { mode: rules, rules: [{ publish: ['a/#'] }] }"
    own = ", mqtt: { client_id: 'equals_claim:/sub', roles: user_property }"
    server = native(context, issuer, "\n    - ".join([
        ROUTE % ("topics", "topics", "auto", upstream.url, only_a), ROUTE % ("own", "own", "auto", upstream.url, own),
        ROUTE % ("open", "open", "mqtt", upstream.url, ", auth: { required: false }, mqtt: { roles: user_property }"),
        ROUTE % ("suffix", "suffix", "mqtt", upstream.url, ", auth: { required: false }, mqtt: { roles: username_suffix }"),
    ]), rest=REST)
    token = issuer.token(realm_access={"roles": ["reader"]})
    ways = {"another subprotocol": (["Sec-WebSocket-Protocol: chat"], token), "none": ([], token), "mqtt": ([MQTT], token),
            "the word in front of the token": (["Sec-WebSocket-Protocol: bearer, " + token], None)}
    forged = mqtt.user_property("roles", "admin")
    for name, (fields, credential) in ways.items():
        client = speak(server, "/topics", credential, fields, mqtt.connect(client_id="c"))
        above = upstream.take()
        equal(above.frame(), (0x82, mqtt.connect(client_id="c")), f"CONNECT, {name}")
        # One that may not be sent is dropped, and what follows it goes on.
        client.send(frame(BINARY, mqtt.publish("b/no", b"1") + mqtt.publish("a/yes", b"2")))
        equal(above.frame()[1], mqtt.publish("a/yes", b"2"), f"what may be published, {name}")
        client.close(), above.close()
        equal(told(speak(server, "/own", credential, fields, mqtt.connect(5, "somebody else")))[1], 4403, f"another's client id, {name}")
        equal(upstream.take().frame()[0], 0x88, f"the broker of who was refused, {name}")
        client = speak(server, "/own", credential, fields, mqtt.connect(5, "alice", properties=forged))
        above = upstream.take()
        equal(above.frame()[1], mqtt.connect(5, "alice", properties=mqtt.user_property("roles", "reader")), f"forged roles, {name}")
        client.close(), above.close()
        if name != "mqtt":
            for path in ("/topics", "/own"):
                code = told(speak(server, path, credential, fields, mqtt.connect(client_id="x"), TEXT))[1]
                equal(code, 1003, f"a CONNECT in text, {name}")
                equal(upstream.take().frame()[0], 0x88, "its broker")
    # Who has no token has no roles.
    client = speak(server, "/open", None, [MQTT], mqtt.connect(5, "c", properties=forged))
    equal(upstream.take().frame()[1], mqtt.connect(5, "c"), "roles of nobody")
    client.close()
    equal(told(speak(server, "/suffix", None, [MQTT], mqtt.connect(4, "c", username="u|admin")))[1], 4403, "a name with roles of nobody")
    # As go-ws-gateway-proxy is started every route finds out what is spoken, and roles go into CONNECT.
    server = compatible(context, issuer, upstream.url, JWT_VALID_ALGORITHMS="ES256")
    client = speak(server, "/ws", token, [], mqtt.connect(5, "c", properties=forged))
    equal(upstream.take().frame()[1], mqtt.connect(5, "c", properties=mqtt.user_property("roles", "reader")), "roles, compat")
    client.close()


@case("jwt-judged-server-first")
def server_first(context):
    """5.1, D12: an authenticated client's upstream is dialled before the 101, and speaks first, where its CONNECT would be judged, too."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    authz = ", authz: { mode: rules, rules: [{ publish: ['a/#'] }] }, timeouts: { first_message: 1s }"
    server = native(context, issuer, "\n    - ".join([
        ROUTE % ("auto", "auto", "auto", upstream.url, authz),
        ROUTE % ("mqtt", "mqtt", "mqtt", upstream.url, ", timeouts: { first_message: 1s }"),
        ROUTE % ("down", "down", "mqtt", NOBODY, ""), ROUTE % ("both", "both", "auto", NOBODY, authz),
    ]), rest=REST + "  dial: { attempts: 1 }\n")
    token = issuer.token()
    for path in ("/down", "/both"):
        equal(Opened(server.port, path, token, [MQTT]).status, 502, f"{path}: nobody listens")
    client = speak(server, "/auto", token)
    above = upstream.take()
    for payload in (b"hello", bytes(70_000), b""):
        above.send(frame(TEXT if payload == b"hello" else BINARY, payload, masked=False))
        equal(client.frame()[1] == payload, True, f"{len(payload)} bytes of a server that speaks first")
    client.send(frame(0x9, b"ping"))
    equal(client.frame(), (0x8A, b"ping"), "a Pong before anything was said")
    time.sleep(1.5)
    # A client of the server's own protocol may be silent for as long as it likes; then opcodes and fragments are its own.
    client.send(frame(TEXT, b"he", fin=False))
    equal(above.frame(), (0x01, b"he"), "a first fragment")
    client.send(frame(0, b"llo") + frame(BINARY, b"\x10"))
    equal((above.frame(), above.frame()), ((0x80, b"llo"), (0x82, b"\x10")), "what follows")
    client.send(frame(8, struct.pack(">H", 4001) + b"bye"))
    equal(above.frame(), (0x88, struct.pack(">H", 4001) + b"bye"), "Close")
    client.close(), above.close()
    # What a client begins with may be larger than a CONNECT.
    for pieces in ([300_000], [1, 299_999], [70_000, 230_000]):
        client, above = speak(server, "/auto", token), upstream.take()
        message, whole = b"", frame(BINARY, bytes(range(250)) * 1200)
        for count in pieces:
            client.send(whole[:count])
            whole = whole[count:]
            time.sleep(0.1)
        client.send(whole)
        while len(message) < 300_000:
            message += above.frame()[1]
        check(message == bytes(range(250)) * 1200, f"a large first message in {pieces}")
        client.close(), above.close()
    # Each end before anything was said.
    client, above = speak(server, "/auto", token), upstream.take()
    above.send(frame(8, struct.pack(">H", 4002), masked=False))
    equal(client.frame(), (0x88, struct.pack(">H", 4002)), "the server closes first")
    client.send(frame(8, struct.pack(">H", 4002)))
    equal(above.frame(), (0x88, struct.pack(">H", 4002)), "its answer")
    client, above = speak(server, "/auto", token), upstream.take()
    client.send(frame(8, b""))
    equal(above.frame(), (0x88, b""), "the client closes first")
    client, above = speak(server, "/auto", token), upstream.take()
    client.reset()
    equal(above.frame()[0], 0x88, "a client that vanishes")
    # MQTT clients speak first: one that does not is not waited for.
    client, above = speak(server, "/mqtt", token, [MQTT]), upstream.take()
    equal(told(client)[1], 4408, "no CONNECT")
    equal(above.frame()[0], 0x88, "its broker")
    equal(told(speak(server, "/mqtt", token, [MQTT], b"no CONNECT"))[1], 1002, "no MQTT")
    # Compat: who cannot be served is told by a code that a page can read, with the subprotocol it offered.
    server = compatible(context, issuer, NOBODY, WS_DIAL_RETRY_MAX=1, JWT_VALID_ALGORITHMS="ES256")
    opened = Opened(server.port, "/ws", token, [MQTT])
    equal((opened.status, opened.fields.get("sec-websocket-protocol")), (101, "mqtt"), "compat, nobody listens")
    equal(told(Peer(opened.socket, opened.rest))[1], 1014, "compat, nobody listens")


def part(value):
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forgeries(issuer, good):
    """Attempts by name: what a token must not be. `good` was accepted; signatures are right wherever nothing is said of them."""
    claims = jwt.decode(good, options={"verify_signature": False})
    key = issuer.keys["first"][0]
    own = rsa.generate_private_key(65537, 2048)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    own_jwk = {**json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(own.public_key())), "kid": "first"}
    head, body, signature = good.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")

    def signed(header, payload=None, with_key=None):
        text = f"{part(header)}.{part(claims if payload is None else payload)}"
        made = (with_key or key).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{part(made)}"

    def header(**more):
        return {"alg": "RS256", "kid": "first", "typ": "JWT", **more}

    def mac(name, secret, digest):
        text = f"{part(header(alg=name))}.{part(claims)}"
        return f"{text}.{part(hmac.new(secret, text.encode(), digest).digest())}"

    attempts = {f"alg {name!r}": f"{part(header(alg=name))}.{part(claims)}.{signature}"
                for name in ("none", "None", "NONE", "nOnE", "none ", " none", "", "nonE")}
    attempts |= {f"alg {name!r}, empty signature": f"{part(header(alg=name))}.{part(claims)}." for name in ("none", "NONE", "RS256")}
    attempts |= {f"alg {name!r}": signed(header(alg=name))
                 for name in ("rs256", "RS255", "RS256 ", "RS512", "PS256", "ES256", "EdDSA", 5, None, ["RS256"])}
    without = header()
    del without["alg"]
    attempts["no alg"] = signed(without)
    for name, digest in (("HS256", hashlib.sha256), ("HS384", hashlib.sha384), ("HS512", hashlib.sha512)):
        attempts[f"{name} with the public key"] = mac(name, pem, digest)
    attempts["HS256 with the key's DER"] = mac("HS256", der, hashlib.sha256)
    attempts["HS256 with the key's modulus"] = mac("HS256", key.public_key().public_numbers().n.to_bytes(256, "big"), hashlib.sha256)
    attempts["HS256 with nothing"] = mac("HS256", b"", hashlib.sha256)
    attempts["a key of its own in jwk"] = signed(header(jwk=own_jwk), with_key=own)
    for name in ("jku", "x5u"):
        attempts[f"a key of its own behind {name}"] = signed(header(**{name: issuer.url + "/evil"}), with_key=own)
    attempts["a key of its own in x5c"] = signed(header(x5c=[base64.b64encode(der).decode()]), with_key=own)
    attempts["a key of its own, no kid"] = signed({"alg": "RS256"}, with_key=own)
    attempts["a key of its own under the kid"] = signed(header(), with_key=own)
    attempts["no kid"] = signed({"alg": "RS256"})
    attempts |= {f"kid {name!r}": signed(header(kid=kid)) for name, kid in (
        ("list", ["first"]), ("number", 1), ("null", None), ("path", "../../etc/passwd"), ("quote", "' OR 1=1 --"), ("long", "k" * 257),
        ("case", "First"), ("space", "first "), ("NUL", "first\0"))}
    attempts |= {f"crit {name}": signed(header(**more)) for name, more in {
        "of exp": dict(crit=["exp"]), "empty": dict(crit=[]), "b64": dict(crit=["b64"], b64=False), "null": dict(crit=None)}.items()}
    attempts["b64 false"] = signed(header(b64=False))
    attempts |= {f"typ {name!r}": signed(header(typ=name)) for name in ("logout+jwt", "dpop+jwt", "JWE", "", 5)}
    # The same name twice: whoever takes the last reads another header or payload than whoever takes the first.
    twice = '{"alg":"none","alg":"RS256","kid":"first"}'.encode()
    attempts["alg twice"] = signed(twice)
    attempts["kid twice"] = signed(b'{"alg":"RS256","kid":"x","kid":"first"}')
    attempts["sub twice"] = signed(header(), json.dumps(claims)[:-1].encode() + b',"sub":"admin"}')
    attempts["escaped twice"] = signed(header(), json.dumps(claims)[:-1].encode() + rb',"\u0073ub":"admin"}')
    attempts["header is a list"] = signed(b'["RS256"]')
    attempts["header is no JSON"] = signed(b'{"alg":"RS256"')
    attempts["header with more behind it"] = signed(json.dumps(header()).encode() + b"{}")
    attempts["payload is a list"] = signed(header(), [claims])
    attempts["payload is text"] = signed(header(), b"alice")
    attempts["payload of bad UTF-8"] = signed(header(), json.dumps(claims)[:-1].encode() + b',"x":"\xff"}')
    attempts["a deep payload"] = signed(header(), {**claims, "x": json.loads("[" * 20 + "]" * 20)})
    attempts["a deep header"] = signed(header(x=[[[[[1]]]]]))
    attempts["a large header"] = signed(header(x="y" * 4200))
    attempts["other claims, the former signature"] = f"{head}.{part({**claims, 'sub': 'admin'})}.{signature}"
    attempts["other roles, the former signature"] = f"{head}.{part({**claims, 'realm_access': {'roles': ['admin']}})}.{signature}"
    attempts["another header, the former signature"] = f"{part(header(x=1))}.{body}.{signature}"
    attempts["unsigned with sub and jti of one that was accepted"] = f"{head}.{part(claims)}.AA"
    attempts["a signature of zeros"] = f"{head}.{body}.{part(bytes(256))}"
    attempts["a signature of ones"] = f"{head}.{body}.{part(bytes([255]) * 256)}"
    attempts["a signature with a zero in front"] = f"{head}.{body}.{part(bytes(1) + raw)}"
    attempts["a signature cut short"] = f"{head}.{body}.{part(raw[:-1])}"
    attempts["a signature one bit off"] = f"{head}.{body}.{part(raw[:-1] + bytes([raw[-1] ^ 1]))}"
    attempts["a signature with more behind it"] = f"{head}.{body}.{part(raw + bytes(1))}"
    numbers = key.public_key().public_numbers()
    attempts["a signature plus the modulus"] = f"{head}.{body}.{part((int.from_bytes(raw, 'big') + numbers.n).to_bytes(257, 'big'))}"
    attempts["unused bits that are not zero"] = good[:-1] + chr(ord(good[-1]) + 1)
    attempts["padding"] = good + "="
    attempts["percent-encoded padding"] = good + "%3D"
    attempts["base64 instead of base64url"] = f"{base64.b64encode(b'{??>' + bytes(range(250, 256))).decode()}.{body}.{signature}"
    attempts["five parts"] = good + ".a.b"
    attempts["four parts"] = good + ".a"
    attempts["two parts"] = f"{head}.{body}"
    attempts["no header"] = f".{body}.{signature}"
    attempts["no payload"] = f"{head}..{signature}"
    attempts["a blank within"] = f"{head}. {body}.{signature}"
    attempts["two tokens"] = f"{good},{good}"
    attempts["longer than a token may be"] = signed(header(), {**claims, "x": "y" * 13_000})
    attempts |= {f"{name} {value!r}": signed(header(), {**claims, name: value}) for name, value in (
        ("exp", str(claims["exp"])), ("exp", -1), ("exp", 1e300), ("exp", True), ("exp", [claims["exp"]]), ("nbf", "0"), ("iat", "0"),
        ("iss", ISSUER + "/"), ("iss", [ISSUER]), ("aud", AUDIENCE + " "), ("aud", {"a": AUDIENCE}), ("aud", [AUDIENCE, 5]), ("aud", []),
        ("sub", ""), ("sub", 5), ("sub", "a\nb"), ("sub", "s" * 256), ("sub", None))}
    attempts["exp 1e400"] = signed(header(), json.dumps({**claims, "exp": 0})[:-1].replace('"exp": 0', '"exp": 1e400').encode() + b"}")
    for name in ("exp", "sub", "iss", "aud"):
        attempts[f"without {name}"] = signed(header(), {left: value for left, value in claims.items() if left != name})
    return attempts


@case("jwt-forgeries")
def forged_tokens(context):
    """T5: tokens forged in ways that have a name; none is accepted, and nothing is fetched for one."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = native(context, issuer, ROUTE % ("raw", "ws", "raw", upstream.url, ""), rest=REST)
    good = issuer.token(jti="one")
    equal(echo(server, additional_headers=bearer(good))[0], "hi", "accepted")
    attempts = forgeries(issuer, good)
    check(len(attempts) >= 60, "so few attempts", len(attempts))
    for token in attempts.values():
        issuer.parts.update(word for word in token.encode().split(b".")[1:] if len(word) > 40 and word not in good.encode())
    fetched = len(issuer.requests)
    wrong = {}
    for name, token in attempts.items():
        # A field cannot hold every attempt; the query can.
        opened = Opened(server.port, "/ws?token=" + urllib.parse.quote(token, safe=""))
        # A head that is too long is not read.
        if opened.status not in ((401, 414, 431) if name.startswith("longer") else (401,)):
            wrong[name] = opened.status
        opened.socket.close()
    equal(wrong, {}, "attempts that were not refused with 401")
    check(not any("evil" in path for _, path in issuer.requests), "a token named where its key is, and it was fetched there")
    # The allowance for unknown keys is five, and one each ten seconds.
    check(len(issuer.requests) - fetched <= 6, "fetches because of forged tokens", len(issuer.requests) - fetched)
    equal(len(upstream.requests), 1, "clients that reached the upstream")
    equal(echo(server, additional_headers=bearer(good))[0], "hi", "the one that is good still is")
    context.note(f"{len(attempts)} attempts, {len(issuer.requests) - fetched} fetches")


@case("jwt-start-late")
def start_late(context):
    """T12: nothing listens where the keys are; ready within 5 s of the issuer's first answer, by URL and by discovery."""
    need()
    for name in ("url", "discovery"):
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        holder.close()
        issuer, upstream = Issuer(context, "ES256"), Upstream(context)
        base = f"http://127.0.0.1:{port}"
        issuer.name = base if name == "discovery" else ISSUER
        source = "discovery: true" if name == "discovery" else f'jwks_url: "{base}/certs"'
        path = context.folder / f"{name}.yaml"
        path.write_text(f"""
listeners: [{{ name: public, address: "127.0.0.1:0", features: [jwt] }}]
jwt:
  providers: [{{ name: main, issuer: "{issuer.name}", audiences: [{AUDIENCE}], {source}, jwks_allow_http: true, algorithms: [ES256] }}]
  routes: [{ROUTE % ("raw", "ws", "raw", upstream.url, "")}]
""")
        server = context.server(["--config", str(path)], private=False, SESSION_SECRET=None, DNS_UPSTREAMS=None, HOST=None, PORT=None)
        # Long enough for its waits to have grown to their longest.
        time.sleep(9)
        equal(server.request("GET", "/readyz")[0].status, 503, f"{name}: ready without keys")
        status, fields = refused(server, additional_headers=bearer(issuer.token()))
        equal((status, fields["Retry-After"]), (503, "1"), f"{name}: no keys")
        pages = {"/certs": issuer.document, "/.well-known/openid-configuration":
                 lambda: json.dumps({"issuer": base, "jwks_uri": base + "/certs"}).encode()}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = pages[self.path]()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        late = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        context.defer(late.server_close)
        context.defer(late.shutdown)
        threading.Thread(target=late.serve_forever, daemon=True).start()
        began = time.monotonic()
        eventually(lambda: server.request("GET", "/readyz")[0].status == 200, f"{name}: ready once the issuer is up", 5)
        context.note(f"{name}: ready {time.monotonic() - began:.1f} s after the issuer")
        equal(echo(server, additional_headers=bearer(issuer.token()))[0], "hi", f"{name}: keys came")
