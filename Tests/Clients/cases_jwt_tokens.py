"""What the JWT proxy takes for a token: places in MQTT, algorithms, times, issuers and audiences, made by PyJWT."""
import base64
import json
import struct
import time
import warnings

import mqtt
from cases_jwt import native, need
from handshakes import Opened, Peer, RawUpstream
from harness import case, check, equal
from rawsocket import BINARY, frame
from services import websocket_echo

try:
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    from issuer import AUDIENCE, ISSUER, Issuer
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: %s, upstreams: [{ url: "%s" }]%s }'
REST = """  limits: { handshakes_per_second: 0, handshakes_per_ip: 10000, connections_per_ip: 0, failures_per_minute: 0,
            sessions_per_subject: 0 }
"""


def status(server, token, path="/raw"):
    opened = Opened(server.port, path, token)
    opened.socket.close()
    return opened.status


def raw_server(context, issuer, more="", **options):
    """A gateway with one raw route before an echo."""
    route = ROUTE % ("raw", "raw", "raw", f"ws://127.0.0.1:{websocket_echo(context)}/", "")
    return native(context, issuer, route, more, REST, **options)


@case("jwt-sources-mqtt")
def sources_mqtt(context):
    """T1 on an MQTT route: every place of a token, right and wrong; a password beside it; what the broker is told."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context, fields=["Sec-WebSocket-Protocol: mqtt"])
    routes = "\n    - ".join([ROUTE % ("mqtt", "mqtt", "mqtt", upstream.url, ""),
                              ROUTE % ("name", "name", "mqtt", upstream.url, ", auth: { sources: [mqtt_username] }"),
                              ROUTE % ("field", "field", "mqtt", upstream.url, ', auth: { sources: ["header:X-Token", "query:access_token"] }')])
    server = native(context, issuer, routes, rest=REST)
    good, expired, other = issuer.token(), issuer.token(exp=1), issuer.token(sub="mallory")
    broken = good[:-8] + "AAAAAAAA"
    encoded = lambda token: "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()
    origin = f"Origin: http://127.0.0.1:{server.port}"
    offer = "Sec-WebSocket-Protocol: mqtt"
    # The path, fields of the handshake, and user name and password of CONNECT.
    places = {
        "password": lambda token: ("/mqtt", [offer], ("u", token)), "user name": lambda token: ("/name", [offer], (token, "word")),
        "authorization": lambda token: ("/mqtt", [offer, "authorization: bEARER " + token], ("u", "word")),
        "cookie": lambda token: ("/mqtt", [offer, origin, "Cookie: a=b; session=" + token], (None, None)),
        "query": lambda token: ("/mqtt?x=1&token=" + token, [offer], ("u", "word")),
        "subprotocol pair": lambda token: ("/mqtt", [f"Sec-WebSocket-Protocol: bearer, {token}, mqtt"], (None, None)),
        "subprotocol encoded": lambda token: ("/mqtt", [f"Sec-WebSocket-Protocol: {encoded(token)}, mqtt"], (None, None)),
        "another header": lambda token: ("/field", [offer, "X-Token: " + token], (None, None)),
        "another parameter": lambda token: ("/field?access_token=" + token, [offer], (None, None)),
    }

    def ask(path, fields, credentials, level=5):
        """What becomes of a client: a status, "in", or its CONNACK and close code."""
        opened = Opened(server.port, path, fields=fields)
        if opened.status != 101:
            return opened.status
        equal(opened.fields["sec-websocket-protocol"], "mqtt", "the answer names mqtt and nothing else")
        client = Peer(opened.socket, opened.rest)
        username, password = credentials
        packet = mqtt.connect(level, username=username, password=password)
        client.send(frame(BINARY, packet))
        # Whoever is refused hears of it; whoever is not says something to the broker.
        while upstream.peers.empty():
            client.socket.settimeout(0.05)
            try:
                first, payload = client.frame()
            except TimeoutError:
                continue
            client.socket.settimeout(20)
            if first == 0x88:
                return None, struct.unpack(">H", payload[:2])[0]
            return payload[3], struct.unpack(">H", client.frame()[1][:2])[0]
        above = upstream.take()
        first, payload = above.frame()
        above.close()
        if first == 0x88:
            # The broker was there before the CONNECT was judged.
            connack = client.frame()[1]
            return connack[3], struct.unpack(">H", client.frame()[1][:2])[0]
        equal((first, payload), (0x82, packet), "CONNECT")
        client.close()
        return "in"

    for name, place in places.items():
        equal(ask(*place(good)), "in", name)
        in_connect = name in ("password", "user name")
        for kind, token in (("expired", expired), ("broken", broken)):
            equal(ask(*place(token)), (0x86, 4401) if in_connect else 401, f"{name}, {kind}")
    equal(ask("/mqtt", [offer], (None, None)), (0x87, 4401), "none anywhere")
    equal(ask("/mqtt", [offer], (None, None), 4), (0x05, 4401), "none anywhere, 3.1.1")
    equal(ask("/mqtt", [offer], ("u", expired), 4), (0x04, 4401), "expired, 3.1.1")
    # A second credential must be of the same person, if it is a token at all.
    field = "Authorization: Bearer " + good
    equal(ask("/mqtt", [offer, field], ("u", issuer.token())), "in", "two tokens of one subject")
    equal(ask("/mqtt", [offer, field], ("u", other))[1], 4403, "two tokens of two subjects")
    equal(ask("/mqtt", [offer, field], ("u", expired))[1], 4401, "a second token that expired")
    equal(ask("/mqtt", [offer, field], ("u", "not.a.token")), "in", "a password of the broker's")
    for name, fields in {"two Authorization": [field, field], "two cookies": [origin, "Cookie: session=a; session=b"],
                         "two Origins": [origin, origin, field]}.items():
        equal(ask("/mqtt", [offer, *fields], (None, None)), 400, name)
    equal(ask(f"/mqtt?token={good}&token={good}", [offer], (None, None)), 400, "a parameter twice")
    equal(ask("/mqtt", [offer, "Cookie: session=" + good], (None, None)), 403, "a cookie without Origin")
    for head in upstream.heads:
        check("token=" not in head and good not in head and "Cookie" not in head, "a credential went to the broker's head", head)


@case("jwt-algorithms")
def algorithms(context):
    """T6: every algorithm with a key of its own kind; keys of another kind, curve or size are no keys."""
    need()
    warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
    issuer = Issuer(context, "RS256")
    small, large = rsa.generate_private_key(65537, 1024), rsa.generate_private_key(65537, 3072)
    keys = {"rsa": large, "small": small, "p256": ec.generate_private_key(ec.SECP256R1()), "p384": ec.generate_private_key(ec.SECP384R1()),
            "p521": ec.generate_private_key(ec.SECP521R1()), "k1": ec.generate_private_key(ec.SECP256K1()),
            "ed": ed25519.Ed25519PrivateKey.generate()}
    fits = {"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa", "ES256": "p256", "ES384": "p384",
            "ES512": "p521", "EdDSA": "ed"}
    kinds = {"rsa": "RS256", "small": "RS256", "p256": "ES256", "p384": "ES384", "p521": "ES512", "k1": "ES256K", "ed": "EdDSA"}
    entries = []
    for name, key in keys.items():
        entry = json.loads(jwt.get_algorithm_by_name(kinds[name]).to_jwk(key.public_key()))
        entry.pop("key_ops", None)
        entries.append({**entry, "kid": name})
    encryption = {**entries[0], "kid": "encryption", "use": "enc"}
    bound = {**entries[0], "kid": "bound", "alg": "PS256"}
    issuer.body = json.dumps({"keys": entries + [encryption, bound, {"kty": "oct", "kid": "secret", "k": "c2VjcmV0" * 8}, {"kty": "new"}]}).encode()
    issuer.algorithm = ", ".join(fits)
    server = raw_server(context, issuer)

    def made(algorithm, key_id, key=None):
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 60, "jti": f"{algorithm}-{key_id}"}
        return jwt.encode(claims, key if key is not None else keys[key_id], algorithm=algorithm, headers={"kid": key_id})

    for algorithm, name in fits.items():
        equal(status(server, made(algorithm, name)), 101, algorithm)
        token = made(algorithm, name).rsplit(".", 1)
        equal(status(server, token[0] + "." + token[1][:-5] + ("A" if token[1][-5] != "A" else "B") + token[1][-4:]), 401,
              f"{algorithm}, a bit of the signature")
    refusals = {
        "1024 bits": made("RS256", "small"), "ES256 with P-384": made("ES256", "p384", keys["p256"]),
        "ES384 with P-256": made("ES384", "p256", keys["p384"]), "a key for encryption": made("RS256", "encryption", large),
        "a key bound to PS256": made("RS256", "bound", large), "an algorithm that is not listed": made("ES256K", "k1"),
        "RSA for EdDSA": made("EdDSA", "rsa", keys["ed"]), "a fetched secret": made("HS256", "secret", b"secret" * 8),
        "another's key": made("ES256", "p256", ec.generate_private_key(ec.SECP256R1())),
    }
    equal(status(server, made("PS256", "bound", large)), 101, "a bound key")
    for name, token in refusals.items():
        equal(status(server, token), 401, name)


@case("jwt-times")
def times(context):
    """T7: times within the leeway, beyond it, missing, and of kinds that are no times."""
    need()
    issuer = Issuer(context, "ES256")
    server = raw_server(context, issuer, ", max_token_age: 1h", leeway="30s")
    now = lambda: int(time.time())
    # Two seconds beside the leeway: what is exact to the second is tested with a clock of the test's own (TokenVerifierTests).
    for name, claims, good in (
            ("exp at the end of the leeway", lambda: dict(exp=now() - 28), True), ("exp behind it", lambda: dict(exp=now() - 32), False),
            ("nbf at the end of the leeway", lambda: dict(nbf=now() + 28), True), ("nbf behind it", lambda: dict(nbf=now() + 34), False),
            ("iat at the end of the leeway", lambda: dict(iat=now() + 28), True), ("iat behind it", lambda: dict(iat=now() + 34), False),
            ("iat of long ago", lambda: dict(iat=now() - 3700), False), ("exp with a fraction", lambda: dict(exp=now() + 5.5), True),
            ("exp negative", lambda: dict(exp=-1), False), ("exp null", lambda: dict(exp=None), False), ("exp true", lambda: dict(exp=True), False),
            ("exp in a list", lambda: dict(exp=[now() + 60]), False), ("exp beyond 2^53", lambda: dict(exp=1 << 60), False),
            ("nbf negative", lambda: dict(nbf=-5), False)):
        equal(status(server, issuer.token(**claims())), 101 if good else 401, name)
    equal(status(server, issuer.token(without=["exp"])), 401, "no exp")
    # What no library writes is signed by hand.
    key = issuer.keys[issuer.current][0]
    for name, text in (("a text", '"%d"' % (now() + 60)), ("1e400", "1e400"), ("1e9999999999", "1e9999999999"), ("hexadecimal", "0x7fffffff"),
                       ("twice", "%d,\"exp\":%d" % (now() + 60, now() + 60))):
        body = '{"iss":"%s","aud":"%s","sub":"alice","exp":%s}' % (ISSUER, AUDIENCE, text)
        parts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode()
                 for part in (json.dumps({"alg": "ES256", "kid": issuer.current}).encode(), body.encode())]
        algorithm = jwt.get_algorithm_by_name("ES256")
        signature = base64.urlsafe_b64encode(algorithm.sign(".".join(parts).encode(), key)).rstrip(b"=").decode()
        equal(status(server, ".".join([*parts, signature])), 401, f"exp as {name}")


@case("jwt-audiences")
def audiences(context):
    """T8: any of a provider's audiences, as a text or in a list; several issuers, each with keys of its own."""
    need()
    issuer, other = Issuer(context, "ES256"), Issuer(context, "ES256", "https://other.test/")
    route = ROUTE % ("raw", "raw", "raw", f"ws://127.0.0.1:{websocket_echo(context)}/", ", auth: { providers: [main, other] }")
    second = (f' }}\n    - {{ name: other, issuer: "{other.name}", audiences: [b, c], jwks_url: "{other.url}", jwks_allow_http: true,'
              " algorithms: [ES256]")
    server = native(context, issuer, route, second, REST)
    for name, token, good in (
            ("a text", issuer.token(), True), ("a list", issuer.token(aud=["x", AUDIENCE]), True), ("another", issuer.token(aud="x"), False),
            ("a list of others", issuer.token(aud=["x", "y"]), False), ("an empty list", issuer.token(aud=[]), False),
            ("none", issuer.token(without=["aud"]), False), ("a number", issuer.token(aud=5), False),
            ("the second issuer, first audience", other.token(aud="b"), True), ("its second audience", other.token(aud=["c", "z"]), True),
            ("the first's audience", other.token(), False), ("an issuer nobody knows", issuer.token(iss="https://nobody.test/"), False),
            ("an issuer with a slash more", issuer.token(iss=ISSUER + "/"), False), ("no issuer", issuer.token(without=["iss"]), False),
            ("the other issuer's name, this one's key", issuer.token(iss=other.name, aud="b"), False)):
        equal(status(server, token), 101 if good else 401, name)
