"""The acceptance checklist at the end of the specification: one case for each of its items, named by its number.

Most items are tested more widely elsewhere (Tests/README.md lists where); here stands each as the checklist words it, with the
aliases under the base path.
"""
import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import struct
import subprocess
import threading
import time

import services
from harness import case, check, equal, vectors
from rawsocket import BINARY, CLOSE, TEXT, Peer, frame, head, refusal, tcp, upgrade
from table_gateway import token

BASE = "/base"
PUBLIC = {"PUBLIC_BASE_URL": "http://gateway.example/base"}
ORIGIN = {"Origin": "http://gateway.example"}
PATHS = ("", BASE)
MUX = [("Sec-WebSocket-Protocol", "aero-tcp-mux-v1")]


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@case("acceptance-01-health")
def health(context):
    server = context.server(**PUBLIC)
    for base in PATHS:
        response, body = server.request("GET", base + "/healthz")
        equal((response.status, body), (200, b'{"ok":true}'), base + "/healthz")
        response, body = server.request("GET", base + "/healthz?" + "x" * 9000)
        equal((response.status, body), (414, b'{"error":"url_too_long","message":"Request URL too long"}'), "a query of 9000 characters")


@case("acceptance-02-session")
def session(context):
    server = context.server(**PUBLIC)
    for base in PATHS:
        response, body = server.request("POST", base + "/session")
        answer = json.loads(body)
        equal((response.status, response.getheader("Cache-Control")), (201, "no-store"), f"POST {base}/session")
        check(re.fullmatch(r"aero_session=[\w-]+\.[\w-]{43}; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax",
            response.getheader("Set-Cookie")),
              "attributes of the cookie", response.getheader("Set-Cookie"))
        equal(answer["endpoints"], {"tcp": "/base/tcp", "tcpMux": "/base/tcp-mux", "dnsQuery": "/base/dns-query",
            "dnsJson": "/base/dns-json",
                                    "l2": "/base/l2", "udpRelayToken": "/base/udp-relay/token"}, "endpoints")
        equal(set(answer["limits"]), {"tcp", "dns", "l2"}, "limits")


@case("acceptance-03-secure")
def secure(context):
    def is_secure(response):
        return response.getheader("Set-Cookie").endswith("; Secure")
    trusting, plain = context.server(TRUST_PROXY=1), context.server()
    for method in ("POST", "GET"):
        check(is_secure(trusting.request(method, "/session", {"X-Forwarded-Proto": "https"})[0]), f"{method} behind a trusted proxy")
        for server, headers in ((trusting, {}), (trusting, {"X-Forwarded-Proto": "http"}), (plain, {"X-Forwarded-Proto": "https"})):
            check(not is_secure(server.request(method, "/session", headers)[0]), f"{method} without TLS {headers}")


@case("acceptance-03-secure-over-tls")
def secure_over_tls(context):
    key, certificate = context.folder / "key.pem", context.folder / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
                   check=True, capture_output=True)
    server = context.server(TLS_ENABLED=1, TLS_CERT_PATH=certificate, TLS_KEY_PATH=key)
    trust = ssl.create_default_context(cafile=str(certificate))
    for method, status in (("POST", 201), ("GET", 200)):
        with trust.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(f"{method} /session HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answered, fields, _ = Peer(connection).response()
            equal(answered, status, f"{method} /session over TLS")
            check(fields["set-cookie"].endswith("; Secure"), "Secure over TLS", fields["set-cookie"])


@case("acceptance-04-tokens")
def tokens(context):
    """Tokens of an independent writer are accepted, tokens of the gateway are verified by an independent reader, and of the
    vectors those are refused that are invalid whatever the time is. Minting byte by byte and the vectors' clock: PolicyTests."""
    data = vectors("auth-tokens.json")["sessionTokens"]
    secret = data["testSecret"]
    server = context.server(SESSION_SECRET=secret, **PUBLIC)

    def reused(value):
        response, _ = server.request("POST", "/session", {"Cookie": "aero_session=" + value})
        payload, _, mac = response.getheader("Set-Cookie").split(";")[0].removeprefix("aero_session=").partition(".")
        equal(decoded(mac), hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest(), "MAC of the gateway's token")
        return json.loads(decoded(payload))["sid"]
    equal(reused(token("sid-of-another", secret=secret.encode()).decode()), "sid-of-another", "a token written elsewhere")
    count = 0
    for vector in data["vectors"]:
        # Every vector is refused today: the valid ones have expired long ago.
        if vector.get("token") and all(0x20 < ord(character) < 0x7F and character not in ";%" for character in vector["token"]):
            check(reused(vector["token"]) != vector.get("sid", ""), f"vector {vector['name']}")
            count += 1
    context.note(f"{count} vectors")


@case("acceptance-05-origins")
def origins(context):
    server = context.server(RATE_LIMIT_REQUESTS_PER_MINUTE=1, **PUBLIC)
    for status in (200, 429):
        response, _ = server.request("GET", "/version", ORIGIN)
        equal((response.status, response.getheader("Access-Control-Allow-Origin")), (status, ORIGIN["Origin"]), "CORS fields")
        check("content-length" in response.getheader("Access-Control-Expose-Headers"), "exposed fields")
    response, _ = server.request("GET", "/healthz", [("Origin", ORIGIN["Origin"])] * 2)
    equal(response.status, 403, "a repeated Origin")


@case("acceptance-06-request-limit")
def request_limit(context):
    server = context.server(RATE_LIMIT_REQUESTS_PER_MINUTE=1, TRUST_PROXY=1, **PUBLIC)

    def status(path, client="192.0.2.1"):
        return server.request("GET", path, {"X-Forwarded-For": client})[0].status
    equal([status("/version"), status(BASE + "/version")], [200, 429], "the second request, under either alias")
    equal(status("/version", "192.0.2.2"), 200, "another client has a bucket of its own")
    response, body = server.request("GET", "/dns-query", {"X-Forwarded-For": "192.0.2.1"})
    equal((response.status, response.getheader("Content-Type")), (429, "application/dns-message"), "/dns-query beyond the limit")
    check(len(body) == 12 and body[:2] == b"\0\0" and body[3] & 15 == 2, "a DNS message with id 0 and rcode 2", body)
    for path in ("/healthz", "/readyz", "/metrics"):
        for base in PATHS:
            equal([status(base + path) for _ in range(3)], [200] * 3, f"{base}{path} is exempt")


def query(name, kind=1, identifier=0x1234, flags=0x0100, padding=0):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", identifier, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", kind, 1) + b"\0" * padding


def answer_to(message, ttl=60, padding=0):
    """What the upstream of these tests says: A 192.0.2.7, AAAA 2001:db8::7, or an alias."""
    kind, = struct.unpack(">H", message[-4:-2])
    data = {1: bytes([192, 0, 2, 7]), 28: bytes.fromhex("20010db8") + bytes(11) + b"\7", 5: b"\x05Other\x07example\0"}[kind]
    return (message[:2] + b"\x81\x80" + message[4:6] + b"\0\1\0\0\0\0" + message[12:] + b"\xc0\x0c" + struct.pack(">2HIH", kind, 1, ttl,
        len(data))
            + data + b"\0" * padding)


def upstream(context):
    """A resolver over UDP; returns its port and the list of messages it was asked."""
    listener, asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
    listener.bind(("127.0.0.1", 0))
    context.defer(listener.close)

    def serve():
        while True:
            try:
                message, client = listener.recvfrom(4096)
                asked.append(message)
                question = message[:12] + message[12:message.index(b"\0", 12) + 5]
                question = question[:4] + b"\0\1\0\0\0\0\0\0" + question[12:]
                listener.sendto(answer_to(question, padding=8000 if b"large" in message else 0), client)
            except OSError:
                return
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], asked


def ask(server, message, cookie, path="/dns-query"):
    text = base64.urlsafe_b64encode(message).rstrip(b"=").decode()
    return server.request("GET", f"{path}?dns={text}", {"Cookie": cookie} if cookie else {})


@case("acceptance-07-dns")
def dns(context):
    port, asked = upstream(context)
    bare = context.server(**PUBLIC)
    response, _ = ask(bare, query("a.example"), None)
    equal(response.status, 401, "without cookie")
    cookie = bare.session()
    for base in PATHS:
        response, body = ask(bare, query("a.example"), cookie, base + "/dns-query")
        equal((response.status, body[:2], body[3] & 15), (200, b"\x12\x34", 2), "no upstream: SERVFAIL")
    response, body = ask(bare, query("a.example", 255), cookie)
    equal((response.status, body[:2], body[3] & 15, response.getheader("Cache-Control")), (200, b"\x12\x34", 5, "no-store"),
        "ANY is refused")
    small = context.server(DNS_MAX_QUERY_BYTES=512, DNS_QPS_PER_IP=0)
    for size in (513, 550, 600):
        message = query("a.example", flags=0x0110)
        response, body = ask(small, message + b"\0" * (size - len(message)), small.session())
        equal((response.status, body[:2], body[2] & 1, body[3] & 0x10), (413, b"\x12\x34", 1, 0x10), f"a query of {size} bytes")
    server = context.server(DNS_UPSTREAMS=f"127.0.0.1:{port}", DNS_QPS_PER_IP=0, DNS_MAX_RESPONSE_BYTES=4096, **PUBLIC)
    cookie = server.session()
    _, first = ask(server, query("a.example"), cookie)
    _, second = ask(server, query("a.example", identifier=0x4321), cookie, BASE + "/dns-query")
    check(first[:2] == b"\x12\x34" and second[:2] == b"\x43\x21" and len(first) == len(second), "the ids of the callers", first, second)
    equal(len(asked), 1, "the second query is answered from the cache")
    # The TTL may have fallen by a second in between; nothing else may differ.
    place = len(first) - 10
    equal(first[2:place] + first[place + 4:], second[2:place] + second[place + 4:], "the cached answer apart from id and TTL")
    _, body = ask(server, query("large.example"), cookie)
    equal(body[3] & 15, 2, "an oversize answer of the upstream")
    before = len(asked)
    for name, kind, data in (("a.example", "A", "192.0.2.7"), ("b.example", "AAAA", "2001:db8::7"), ("c.example", "CNAME",
        "other.example")):
        response, body = server.request("GET", f"/dns-json?name={name}&type={kind}", {"Cookie": cookie})
        check(response.status == 200 and response.getheader("Content-Type").startswith("application/dns-json"), f"/dns-json {kind}", body)
        # The alias of the upstream is written with a capital letter.
        equal([record["data"].lower() for record in json.loads(body)["Answer"]], [data], f"/dns-json {kind}")
    equal(len(asked), before + 2, "/dns-json shares the cache of /dns-query")


@case("acceptance-08-tcp")
def tcp_item(context):
    port = services.start(context, "echo")
    closed, server = context.server(private=False), context.server(TCP_PROXY_MAX_CONNECTIONS=1, **PUBLIC)
    equal(refusal(closed, head(tcp(port), closed.session())), (403, "Target IP is not allowed by IP egress policy"),
        "loopback by default")
    for base in PATHS:
        cookie = server.session()
        target = base + tcp(port)
        equal(refusal(server, head(target, cookie, replace={"Upgrade": "x"}))[0], 400, "no handshake")
        equal(refusal(server, head(target))[0], 401, "no cookie")
        equal(refusal(server, head(target, f"aero_session=x; {cookie}"))[0], 401, "the first cookie decides")
        equal(refusal(server, head(target.replace("v=1", "v=2"), cookie))[0], 400, "v=2")
        peer = upgrade(server, f"{target}&target=127.0.0.1:{port}", cookie)
        peer.send(frame(BINARY, b"echo"))
        equal(peer.exactly(4), b"echo", "the echo")
        equal(refusal(server, head(target, cookie)), (429, "Too many concurrent connections"), "the limit of the session")
        peer.send(frame(TEXT, b"text"))
        equal(peer.until_close()[0], 1003, "a text message")
        peer.close()
        peer = upgrade(server, f"{base}/tcp?v=1&host=nowhere.invalid&port=1&target=127.0.0.1:{port}", server.session())
        peer.send(frame(BINARY, b"target"))
        equal(peer.exactly(6), b"target", "`target` is preferred")
        peer.close()


class Mux:
    """The client side of /tcp-mux."""
    OPEN, DATA, CLOSE, ERROR, PING, PONG = 1, 2, 3, 4, 5, 6

    def __init__(self, server, path="/tcp-mux"):
        self.peer = upgrade(server, path, server.session(), extra=MUX)

    @staticmethod
    def frame(kind, number, payload=b""):
        return struct.pack(">BII", kind, number, len(payload)) + payload

    @classmethod
    def opening(cls, number, port, host=b"127.0.0.1"):
        return cls.frame(cls.OPEN, number, struct.pack(">H", len(host)) + host + struct.pack(">HH", port, 0))

    def send(self, *frames):
        self.peer.send(frame(BINARY, b"".join(frames)))

    def receive(self):
        payload = self.peer.message()
        kind, number, length = struct.unpack(">BII", payload[:9])
        equal(length, len(payload) - 9, "one frame in each message")
        return kind, number, payload[9:]

    def error(self):
        kind, number, payload = self.receive()
        equal(kind, self.ERROR, f"an ERROR frame; {payload}")
        code, length = struct.unpack(">HH", payload[:4])
        equal(length, len(payload) - 4, "length of the message")
        return number, code, payload[4:].decode()


@case("acceptance-09-mux")
def mux(context):
    echo, sink = services.start(context, "echo"), services.start(context, "deaf")
    server = context.server(TCP_ALLOWED_PORTS=f"{echo},{sink}", TCP_MUX_MAX_STREAM_BUFFER_BYTES=70_000,
        TCP_MUX_MAX_FRAME_PAYLOAD_BYTES=200_000,
                            **PUBLIC)
    cookie = server.session()
    for extra in ([], [("Sec-WebSocket-Protocol", "x")], [("Sec-WebSocket-Protocol", "a" * 4097)]):
        equal(refusal(server, head("/tcp-mux", cookie, extra=extra))[0], 400, "no subprotocol, another, an oversized one")
    for base in PATHS:
        client = Mux(server, base + "/tcp-mux")
        client.send(client.opening(1, echo), client.opening(2, echo), client.frame(2, 1, b"one"), client.frame(2, 2, b"two"))
        equal({client.receive() for _ in range(2)}, {(2, 1, b"one"), (2, 2, b"two")}, "two streams in one message")
        client.send(client.opening(3, 1))
        equal(client.error(), (3, 1, "Target port not allowed"), "a blocked port")
        client.send(client.frame(2, 1, b"still"), client.frame(5, 7, b"ping"))
        equal({client.receive() for _ in range(2)}, {(2, 1, b"still"), (6, 7, b"ping")}, "other streams go on; PING and PONG")
        client.send(client.frame(3, 2, b"\1"))
        equal(client.receive(), (3, 2, b"\1"), "FIN reaches the target, whose FIN comes back")
        client.send(client.frame(1, 4, b"") + struct.pack(">BII", 2, 1, 200_001))
        equal(client.error()[:2], (4, 3), "what stands before an oversized header is dealt with")
        equal(client.peer.until_close()[0], 1002, "an oversized frame header")
        client.peer.close()
    client = Mux(server)
    client.send(client.opening(1, sink))
    # More than the kernel takes for a target that does not read, in messages below the limit of a message.
    for _ in range(400):
        client.send(client.frame(2, 1, b"x" * 60_000))
        client.peer.socket.settimeout(0.001)
        try:
            if client.peer.fill():
                break
        except AssertionError:
            pass
    client.peer.socket.settimeout(10)
    equal(client.error(), (1, 6, "stream buffered too much data"), "overflow")
    client.peer.close()
    closed = context.server(private=False)
    client = Mux(closed)
    client.send(client.opening(1, echo))
    equal(client.error(), (1, 1, "Target IP is not allowed by IP egress policy"), "loopback by default")
    single = context.server(TCP_PROXY_MAX_CONNECTIONS=1)
    client = Mux(single)
    client.send(client.opening(1, echo), client.opening(2, echo))
    equal(client.error(), (2, 5, "session max connections exceeded"), "a second stream of a session limited to one")
    client.peer.close()


@case("acceptance-09-mux-half-close")
def mux_half_close(context):
    """A target that finishes first still gets what the client sends afterwards."""
    server, received, done = context.server(), [], threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    context.defer(listener.close)

    def serve():
        connection, _ = listener.accept()
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(4096):
            received.append(data)
        connection.close()
        done.set()
    threading.Thread(target=serve, daemon=True).start()
    client = Mux(server)
    client.send(client.opening(1, listener.getsockname()[1]))
    equal([client.receive(), client.receive()], [(2, 1, b"bye"), (3, 1, b"\1")], "data and FIN of the target")
    client.send(client.frame(2, 1, b"after"))
    client.send(client.frame(3, 1, b"\1"))
    check(done.wait(10), "the target sees the end")
    equal(b"".join(received), b"after", "what the client sent after the target's FIN")
    client.peer.close()


@case("acceptance-10-close")
def close(context):
    server, port = context.server(**PUBLIC), services.start(context, "echo")
    for payload in (b"", b"\x03\xe8", b"\x0f\xa0reason"):
        peer = upgrade(server, BASE + tcp(port), server.session())
        peer.send(frame(CLOSE, payload))
        equal(peer.frame(), (CLOSE, payload), "Close is echoed before the end")
        peer.expect_end()
        peer.close()


@case("acceptance-11-udp-relay")
def relay(context):
    _, body = context.server(**PUBLIC).request("POST", "/session")
    check("udpRelay" not in json.loads(body), "absent without base URL")
    endpoints = {"webrtcSignal": "/webrtc/signal", "webrtcOffer": "/webrtc/offer", "udp": "/udp", "webrtcIce": "/webrtc/ice"}
    for scheme in ("http", "https", "ws", "wss"):
        server = context.server(UDP_RELAY_BASE_URL=f"{scheme}://relay.example/")
        _, body = server.request("POST", "/session")
        equal(json.loads(body)["udpRelay"], {"baseUrl": f"{scheme}://relay.example", "authMode": "none", "endpoints": endpoints}, scheme)
    server = context.server(UDP_RELAY_BASE_URL="http://relay.example", UDP_RELAY_AUTH_MODE="api_key", UDP_RELAY_API_KEY="the-key")
    equal(json.loads(server.request("POST", "/session")[1])["udpRelay"]["token"], "the-key", "the token of api_key")
    server = context.server(UDP_RELAY_BASE_URL="http://relay.example", UDP_RELAY_AUTH_MODE="jwt", UDP_RELAY_JWT_SECRET="jwt-secret",
                            UDP_RELAY_AUDIENCE="relay", UDP_RELAY_ISSUER="gateway", **PUBLIC)
    response, body = server.request("POST", "/session", ORIGIN)
    cookie = response.getheader("Set-Cookie").split(";")[0]
    header, claims, mac = json.loads(body)["udpRelay"]["token"].split(".")
    equal(json.loads(decoded(header)), {"alg": "HS256", "typ": "JWT"}, "header")
    equal(decoded(mac), hmac.new(b"jwt-secret", f"{header}.{claims}".encode(), hashlib.sha256).digest(), "signature")
    found = json.loads(decoded(claims))
    equal(list(found), ["iat", "exp", "sid", "origin", "aud", "iss"], "claims in order")
    sid = json.loads(decoded(cookie.split("=")[1].split(".")[0]))["sid"]
    equal((found["exp"] - found["iat"], found["sid"], found["origin"], found["aud"], found["iss"]),
          (300, sid, ORIGIN["Origin"], "relay", "gateway"), "claims")
    check(abs(found["iat"] - time.time()) < 10, "iat is now", found["iat"])

    def refresh(base, headers):
        return server.request("POST", base + "/udp-relay/token", headers)[0].status
    equal(refresh(BASE, {"Cookie": cookie}), 403, "without Origin")
    equal(refresh(BASE, ORIGIN), 401, "without cookie")
    statuses = [refresh(PATHS[number % 2], ORIGIN | {"Cookie": cookie}) for number in range(6)]
    equal(statuses, [200] * 5 + [429], "five in a burst, then no more, over both aliases")


@case("acceptance-12-isolation")
def isolation(context):
    server = context.server(CROSS_ORIGIN_ISOLATION=1, **PUBLIC)
    expected = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
                "Cross-Origin-Resource-Policy": "same-origin", "Origin-Agent-Cluster": "?1"}
    for base in PATHS:
        for path in ("/healthz", "/nothing"):
            response, _ = server.request("GET", base + path)
            equal({name: response.getheader(name) for name in expected}, expected, base + path)


@case("acceptance-13-metrics")
def metrics(context):
    server = context.server(**PUBLIC)
    server.request("GET", "/version")
    for base in PATHS:
        response, body = server.request("GET", base + "/metrics")
        equal(response.status, 200, base + "/metrics")
        check(b"http_requests_total" in body, base + "/metrics contains http_requests_total")
