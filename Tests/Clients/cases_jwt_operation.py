"""The JWT proxy in operation: thousands of connections that leave nothing, trickles, drain, variables, routes of the reference."""
import json
import os
import selectors
import subprocess
import threading
import time

import mqtt
from brokers import mosquitto, paho_client, paho_library
from cases_jwt import compatible, native, need
from handshakes import Opened, Peer, Stream
from harness import check, case, equal, eventually, gateway_environment
from rawsocket import BINARY, frame
from services import websocket_echo

try:
    from issuer import Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: %s, upstreams: [{ url: "%s" }]%s }'
REST = """  limits: { handshakes_per_second: 0, handshakes_per_ip: 10000, connections_per_ip: 0, failures_per_minute: 0,
            sessions_per_subject: 0 }
  metrics: { public: "true" }
"""
CYCLES = 10_000
# Growth of a gateway over ten thousand connections beside what remembers tokens: pages the pools touched for the first time.
GROWTH_BYTES = 4 << 20
# Section 21 of the specification, without the store's; those with labels have samples as soon as something happened.
FAMILIES = """ws_connections_total ws_protocol_connections_total ws_auth_failures_total ws_auth_success_total ws_active_sessions
ws_connection_duration_seconds ws_proxy_errors_total ws_proxy_retries_total ws_circuit_open_total ws_upstream_health_success_total
ws_upstream_health_failure_total ws_rate_limit_violations_total ws_revocations_total ws_handshakes_total ws_auth_total ws_auth_seconds
ws_token_alg_total ws_token_cache_total ws_jwks_keys ws_jwks_age_seconds ws_jwks_refresh_total ws_session_seconds ws_closes_total
ws_messages_total ws_bytes_total ws_stall_seconds_total ws_upstream_dials_total ws_upstream_dial_seconds ws_upstream_up ws_circuit_state
ws_limit_rejections_total ws_throttled_total ws_authz_denied_total ws_expired_sessions_total ws_draining ws_store_up
ws_mqtt_packets_total""".split()


def until(stream, count, seconds=300):
    eventually(lambda: stream.faults or len(stream.done) >= count, f"{count} connections", seconds)
    equal(stream.faults[:1], [], "connections that failed")


@case("jwt-churn", slow=True)
def churn(context):
    """T16, T33: ten thousand connections of as many subjects leave no session, upstream connection, descriptor, memory or series."""
    need()
    issuer = Issuer(context, "ES256")
    echo_port = websocket_echo(context)
    upstreams = context.processes[-1].pid
    server = native(context, issuer, ROUTE % ("raw", "ws", "raw", f"ws://127.0.0.1:{echo_port}/", ""), rest=REST + "shards: 2\n")
    tokens = [issuer.token(sub=f"subject-{number}", jti=f"j{number}") for number in range(CYCLES)]
    descriptors = lambda pid: len(os.listdir(f"/proc/{pid}/fd"))
    with Stream(server.port, lambda number: tokens[number % 100], rate=1e9) as stream:
        until(stream, 500)
    idle, idle_above = server.settled_descriptors(), descriptors(upstreams)
    series = set(server.metrics()[0])
    with Stream(server.port, lambda number: tokens[number % CYCLES], rate=1e9) as stream:
        until(stream, CYCLES)
    equal(list(stream.statuses()), [101], f"answers {stream.statuses()}")
    equal(sorted(set(server.metrics()[0]) - series), [], "series that came with subjects")
    families = {line.split()[2] for line in server.request("GET", "/metrics")[1].decode().splitlines() if line.startswith("# TYPE ")}
    equal([name for name in FAMILIES if name not in families], [], "families that are missing")
    # Remembered tokens are bounded, and may be many: what connections cost beside is seen with few of them.
    before, opened = server.resident_bytes(), 0
    load = [context.binary.parent / "sluice-load", f"ws://127.0.0.1:{server.port}/ws?token={tokens[0]}", "--connect-rate", "--connections",
            "16", "--warm-up", "0", "--duration", "1", "--json", "--quiet"]
    while opened < CYCLES:
        # A handshake, and a reset.
        report = json.loads(subprocess.run(load, capture_output=True, text=True, timeout=60, check=True).stdout)
        equal(report["failures"], 0, f"handshakes that failed {report}")
        opened += report["handshakes"]
    eventually(lambda: server.metrics()[0]["ws_active_sessions"] == 0, "sessions that ended", 20)
    eventually(lambda: descriptors(upstreams) <= idle_above, "connections to the upstream", 20)
    check(server.settled_descriptors() <= idle + 2, "descriptors", idle, server.descriptors())
    grown = server.resident_bytes() - before
    check(grown <= GROWTH_BYTES, "memory that stays", grown)
    context.note(f"{stream.summary()}; then {opened} that were reset: resident {server.resident_bytes() >> 10} KiB, {grown >> 10} KiB more")


@case("jwt-trickle")
def trickle(context):
    """T35: a head, and a first message, of one byte a second are cut at their limits; nobody reaches the upstream."""
    need()
    issuer, upstream = Issuer(context, "ES256"), Upstream(context)
    routes = "\n    - ".join([ROUTE % ("raw", "ws", "raw", upstream.url, ", auth: { sources: [authorization] }"),
                              ROUTE % ("mqtt", "mqtt", "mqtt", upstream.url, "")])
    server = native(context, issuer, routes, rest=REST + "  timeouts: { first_message: 2s }\nhttp: { head_timeout: 2s }\n")
    results = {}

    def drip(name, peer, data):
        """Sends a byte a second until the other side has had enough of it."""
        began = time.monotonic()
        try:
            peer.socket.settimeout(1)
            for at in range(len(data)):
                peer.send(data[at:at + 1])
                try:
                    if not peer.fill():
                        break
                except TimeoutError:
                    continue
            peer.socket.settimeout(5)
            while peer.fill():
                pass
        except OSError:
            pass
        results[name] = (peer.buffer, time.monotonic() - began)

    mqtt_client = Opened(server.port, "/mqtt", fields=["Sec-WebSocket-Protocol: mqtt"])
    silent = Opened(server.port, "/mqtt", fields=["Sec-WebSocket-Protocol: mqtt"])
    connect = frame(BINARY, mqtt.connect(username="u", password=issuer.token()))
    head = f"GET /ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {issuer.token()}\r\n".encode()
    threads = [threading.Thread(target=drip, args=arguments, daemon=True) for arguments in (
        ("head", Peer(server.connect()), head), ("message", Peer(mqtt_client.socket, mqtt_client.rest), connect),
        ("nothing", Peer(silent.socket, silent.rest), b""))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    check(results["head"][0].startswith(b"HTTP/1.1 408"), "a head that trickles", results["head"])
    for name in ("message", "nothing"):
        check(b"\x11\x38connect timeout" in results[name][0], f"4408: {name}", results[name])
    check(all(seconds < 20 for _, seconds in results.values()), "all are cut", results)
    equal(upstream.requests, [], "clients that reached the upstream")


class Field:
    """Many MQTT clients with one thread, each with a message of quality 1 under way; what came to each."""

    def __init__(self, server, tokens):
        self.clients = []
        for number, token in enumerate(tokens):
            opened = Opened(server.port, "/mqtt", fields=["Sec-WebSocket-Protocol: mqtt"])
            client = Peer(opened.socket, opened.rest)
            client.send(frame(BINARY, mqtt.connect(5, f"c{number}", username="u", password=token)))
            client.packets, client.acknowledged, client.sent, client.end, client.last = bytearray(), 0, 0, None, None
            self.clients.append(client)
        for client in self.clients:
            first, payload = client.frame()
            equal((first, payload[0] >> 4, payload[3]), (0x82, mqtt.CONNACK, 0), "CONNACK")

    def publish(self, number):
        client = self.clients[number]
        client.sent += 1
        client.send(frame(BINARY, mqtt.publish(f"t/{number}", b"%d %d" % (number, client.sent), client.sent, 5)))

    def run(self, numbers):
        """Serves some clients until each of them has ended: an acknowledgement is answered with the next message."""
        with selectors.DefaultSelector() as selector:
            for number in numbers:
                selector.register(self.clients[number].socket, selectors.EVENT_READ, number)
            while selector.get_map():
                for key, _ in selector.select(30):
                    client = self.clients[key.data]
                    if self.serve(client, key.data):
                        selector.unregister(client.socket)
                        client.close()
                time.sleep(0.1)

    def serve(self, client, number):
        """Deals with one frame of a client; true when it was the last."""
        first, payload = client.frame()
        if first == 0x88:
            client.end = (time.monotonic(), payload)
            client.send(frame(8, payload[:2]))
            return True
        equal(first, 0x82, "a message")
        client.packets += payload
        while found := mqtt.take(client.packets):
            kind, body = found
            client.last = (kind, body)
            if kind >> 4 == mqtt.PUBACK:
                client.acknowledged = int.from_bytes(body[:2], "big")
                self.publish(number)
        return False


@case("jwt-drain-mqtt", slow=True)
def drain(context):
    """T30: a thousand MQTT sessions under traffic are told to go, spread over the time there is; what was acknowledged has arrived."""
    drained(context, ", mqtt: { password: remove }")


@case("jwt-drain-inspected", slow=True)
def drain_inspected(context):
    """T30 where topics are judged: the same, and each client of MQTT 5 gets DISCONNECT 0x8B between two packets, then 1001."""
    drained(context, """, mqtt: { password: remove }, authz: { mode: rules, rules: [
        { publish: ["t/+", "own/${claim:/sub}/#"], subscribe: ["t/#", "own/${claim:/sub}/#"] } ] }""", farewell=(0xE0, b"\x8b"))


class Leaver:
    """A client of paho with MQTT 5 that publishes to itself until it is told to go."""

    def __init__(self, server, name, token):
        paho = paho_library()
        self.topic, self.ends, self.acknowledged, self.heard = f"own/{name}/x", [], set(), []
        self.joined, self.gone = threading.Event(), threading.Event()
        self.client = paho_client(paho.MQTTv5, client_id=name, reconnect_on_failure=False)
        self.client.ws_set_options(path="/mqtt")
        self.client.username_pw_set("u", token)
        self.client.on_connect = lambda own, *_: own.subscribe(self.topic, 1)
        self.client.on_subscribe = lambda *_: (self.joined.set(), self.send())
        self.client.on_publish = lambda *told: (self.acknowledged.add(told[2]), time.sleep(0.05), self.send())
        self.client.on_message = lambda *told: self.heard.append(told[2].payload)
        self.client.on_disconnect = lambda *told: (self.ends.append(told[3]), self.gone.set())
        self.client.connect("127.0.0.1", server.port, 60)
        self.client.loop_start()

    def send(self):
        self.client.publish(self.topic, bytes(2000), 1)


def drained(context, options, farewell=None):
    """A thousand sessions through a route with these options; the packet each gets in front of its Close, if any."""
    need()
    issuer = Issuer(context, "ES256")
    port = mosquitto(context, "max_queued_messages 0\nmax_inflight_messages 0\n")
    server = native(context, issuer, ROUTE % ("mqtt", "mqtt", "mqtt", f"ws://127.0.0.1:{port}/", options),
                    rest=REST + "  drain: { delay: 0s, timeout: 5s }\nshards: 2\n")
    arrived = set()
    paho = paho_library()
    witness = paho_client(paho.MQTTv311)
    witness.on_message = lambda _own, _data, message: arrived.add(message.payload)
    ready = threading.Event()
    witness.on_connect = lambda own, *_: own.subscribe("t/#", 1)
    witness.on_subscribe = lambda *_: ready.set()
    witness.ws_set_options(path="/")
    witness.connect("127.0.0.1", port, 60)
    witness.loop_start()
    context.defer(lambda: (witness.disconnect(), witness.loop_stop()))
    check(ready.wait(20), "the witness has subscribed")
    # First of all: paho cannot wait for descriptors beyond 1,023.
    leavers = [Leaver(server, f"p{number}", issuer.token(sub=f"p{number}", jti=f"p{number}")) for number in range(10 if farewell else 0)]
    check(all(one.joined.wait(30) for one in leavers), "clients of paho")
    field = Field(server, [issuer.token(sub=f"s{number}", jti=f"j{number}") for number in range(1000)])
    busy = [number for number in range(1000) if number % 10]
    for number in busy:
        field.publish(number)
    threads = [threading.Thread(target=field.run, args=(range(first, 1000, 2),), daemon=True) for first in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    server.signal()
    began = time.monotonic()
    for thread in threads:
        thread.join(60)
    equal(server.process.wait(30), 0, "exit status")
    took = time.monotonic() - began
    ends = [client.end for client in field.clients]
    check(all(end and end[1] == b"\x03\xe9going away" for end in ends), "1001 for everybody", [end for end in ends if not end][:1], ends[0])
    check(not any(client.packets for client in field.clients), "a packet that was cut")
    if farewell:
        wrong = [client.last for client in field.clients if client.last != farewell]
        check(not wrong, "DISCONNECT in front of every Close", len(wrong), wrong[:3])
        for one in leavers:
            check(one.gone.wait(20), "an end of paho's")
            one.client.loop_stop()
            equal([reason.value for reason in one.ends], [farewell[1][0]], "the reason paho was told")
            check(one.acknowledged, "traffic of paho's")
    times = sorted(end[0] for end in ends)
    tenths = {int((at - times[0]) * 10 / (times[-1] - times[0] + 1e-9)) for at in times}
    check(len(tenths) >= 8 and times[-1] - times[0] > 2, "ends are spread", sorted(tenths), times[-1] - times[0])
    acknowledged = {b"%d %d" % (number, message) for number, client in enumerate(field.clients)
                    for message in range(1, client.acknowledged + 1)}
    eventually(lambda: acknowledged <= arrived, "what was acknowledged has arrived", 20)
    check(len(acknowledged) > 900, "traffic", len(acknowledged))
    context.note(f"{len(acknowledged)} messages; ends over {times[-1] - times[0]:.1f} s, exit after {took:.1f} s")


START = dict(JWKS_URL="https://id.test/certs", UPSTREAM_WS_URL="ws://broker.test:15675/ws", SESSION_SECRET=None, DNS_UPSTREAMS=None, HOST=None,
             PORT=None, LOG_LEVEL=None)
# Variable; what is printed by default; a value and what is printed then; a value that is refused.
VARIABLES = [
    ("WS_ALLOWED_ORIGINS", "  origins: []", "https://a.test, *.b.test", '  origins: ["https://a.test", "*.b.test"]', "https://a.test/x"),
    ("JWT_COOKIE_NAME", "  cookie_name: session", "sid", "  cookie_name: sid", "a b"),
    ("JWKS_URL", 'jwks_url: "https://id.test/certs"', "https://id.test/other", 'jwks_url: "https://id.test/other"', "/certs"),
    ("JWKS_TTL_MINUTES", None, "1440", "refresh: 1d", "1441"),
    ("JWT_EXPECTED_ISSUER", "allow_any_issuer: true", "https://id.test", 'issuer: "https://id.test"', None),
    ("JWT_EXPECTED_AUDIENCE", "allow_any_audience: true", "one, two", "audiences: [one, two]", None),
    ("JWT_VALID_ALGORITHMS", "algorithms: [RS256]", "RS256, ES256", "algorithms: [RS256, ES256]", "none"),
    ("JWT_CACHE_STORE", "kind: memory", "redis", "kind: redis", "etcd"),
    ("JWT_CACHE_PREFIX", "prefix: jwt_cached_token_", "p_", "prefix: p_", "x" * 65),
    ("REDIS_URL", "  url: ~", "redis://r.test:6379/1", None, None),
    ("POSTGRES_DSN", "postgres_url: ~", "host=pg password=hunter2", None, None),
    ("WS_IDLE_TIMEOUT_SECONDS", "dead_peer: 1m", "90", "dead_peer: 90s", "4"),
    ("WS_WRITE_TIMEOUT_SECONDS", "write: 10s", "600", "write: 10m", "601"),
    ("WS_CONTROL_TIMEOUT_SECONDS", "control: 1s", "60", "control: 1m", "0"),
    ("GRACEFUL_DRAIN_TIMEOUT_SECONDS", "timeout: 30s", "0", "timeout: 0s", "86401"),
    ("SHUTDOWN_HARD_LIMIT", "hard_limit: 5s", "0", "hard_limit: 0s", "601"),
    ("CB_FAILURE_THRESHOLD", "failures: 5", "1000", "failures: 1000", "0"),
    ("CB_OPEN_TIMEOUT_SECONDS", "open: 1m", "3600", "open: 1h", "3601"),
    ("CB_HEALTHCHECK_INTERVAL_SECONDS", "probe_interval: 30s", "0", "probe_interval: 0s", "-1"),
    ("WS_DIAL_RETRY_MAX", "attempts: 3", "20", "attempts: 20", "21"),
    ("WS_DIAL_RETRY_INTERVAL_SECONDS", "retry_delay: 2s", "60", "retry_delay: 1m", "61"),
    ("RATE_LIMIT_PER_SECOND", "messages_per_second: 10", "1000000", "messages_per_second: 1000000", "1000001"),
    ("RATE_LIMIT_BURST", "burst: 30", "1", "burst: 1", "thirty"),
    ("ROUTE_FILE", None, "ROUTES", 'url: "wss://routes.test/"', "/nonexistent/routes.yaml"),
    ("UPSTREAM_WS_URL", 'url: "ws://broker.test:15675/ws"', "wss://other.test", 'url: "wss://other.test', "broker:1"),
    ("RAW_WS_BACKEND_URL", None, "ws://raw.test/x", 'url: "ws://raw.test/x"', "ftp://raw.test"),
    ("INGRESS_HOST", 'public_host: ""', "gw.example.com", "public_host: gw.example.com", "a/b"),
]


@case("jwt-variables")
def variables(context):
    """T31: every variable of the reference: its default, a value, and a value that stops the start with its name and its range."""
    def ask(**changes):
        done = subprocess.run([str(context.binary), "check"], env=gateway_environment({**START, **changes}), capture_output=True, text=True,
                              timeout=60)
        return done.returncode, done.stdout + done.stderr

    routes = context.folder / "routes.yaml"
    routes.write_text("- { prefix: /r, upstream: wss://routes.test/ }\n")
    status, text = ask()
    equal(status, 0, f"only what is needed {text[-600:]}")
    for name, default, _, _, _ in VARIABLES:
        check(default is None or default in text, f"default of {name}: {default}", text[:200])
    values = {name: value.replace("ROUTES", str(routes)) for name, _, value, _, _ in VARIABLES}
    status, text = ask(**values)
    equal(status, 0, f"a value for each {text[-600:]}")
    for name, _, _, shown, _ in VARIABLES:
        check(shown is None or shown in text, f"{name} as {shown}", text[text.find("\njwt:"):][:3000])
    check("hunter2" not in text, "a secret is shown")
    # Empty counts as unset, and a file stands for a value.
    (context.folder / "burst").write_text("7\n")
    status, text = ask(**{name: "" for name, *_ in VARIABLES if name not in START}, RATE_LIMIT_BURST_FILE=context.folder / "burst")
    check(status == 0 and "burst: 7" in text and "dead_peer: 1m" in text, "empty values, and one in a file", status, text[-600:])
    for name, _, _, _, wrong in VARIABLES:
        if wrong:
            status, text = ask(**{name: wrong})
            # What is too long is not repeated.
            check(status == 2 and name in text and (wrong in text or name == "JWT_CACHE_PREFIX"), f"{name}={wrong}", status, text[-600:])
    # A store that cannot be understood is none; its address may hold a password.
    for store, name, wrong in (("redis", "REDIS_URL", "http://hunter2@r"), ("postgres", "POSTGRES_DSN", "hunter2")):
        status, text = ask(JWT_CACHE_STORE=store, **{name: wrong})
        check(status == 0 and "kind: memory" in text and name in text and "hunter2" not in text, f"{name}={wrong}", status, text[-600:])


# What go-ws-gateway-proxy ships: two routes, and the variables of its base and its overlays.
SHIPPED = """- prefix: /mqtt
  upstream: UPSTREAM
  copySubProtocol: false
  preserveQuery: true
- prefix: /livekit
  upstream: UPSTREAM
  copySubProtocol: true
  preserveQuery: true
"""
BASE = dict(WS_ALLOWED_ORIGINS="*.example.com", JWT_COOKIE_NAME="session", JWKS_TTL_MINUTES="10", JWT_VALID_ALGORITHMS="RS256",
            JWT_CACHE_STORE="redis", JWT_CACHE_PREFIX="jwt_cached_token_", WS_IDLE_TIMEOUT_SECONDS="90", WS_WRITE_TIMEOUT_SECONDS="10",
            WS_CONTROL_TIMEOUT_SECONDS="1", GRACEFUL_DRAIN_TIMEOUT_SECONDS="30", CB_FAILURE_THRESHOLD="5", CB_OPEN_TIMEOUT_SECONDS="60",
            CB_HEALTHCHECK_INTERVAL_SECONDS="30", WS_DIAL_RETRY_MAX="3", WS_DIAL_RETRY_INTERVAL_SECONDS="2", RATE_LIMIT_PER_SECOND="10",
            RATE_LIMIT_BURST="30", INGRESS_HOST="gw.example.com", REDIS_URL="", POSTGRES_DSN="")
OVERLAYS = {
    "base": BASE,
    "staging": {**BASE, "WS_IDLE_TIMEOUT_SECONDS": "45", "RATE_LIMIT_PER_SECOND": "5", "RATE_LIMIT_BURST": "10"},
    # Its store is not there: tokens are judged without it.
    "production": {**BASE, "REDIS_URL": "redis://127.0.0.1:1/0", "POSTGRES_DSN": "postgres://gw:secret@db.messaging:5432/gw"},
}


@case("jwt-reference-files")
def reference_files(context):
    """T32: the routes the reference ships, with the variables of its overlays: `/ws`, `/mqtt` and `/livekit` are reachable."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    routes = context.folder / "routes.yaml"
    routes.write_text(SHIPPED.replace("UPSTREAM", upstream.url))
    for name, values in OVERLAYS.items():
        server = compatible(context, issuer, upstream.url, **{**values, "UPSTREAM_WS_URL": None}, ROUTE_FILE=routes)
        token = issuer.token()
        for path in ("/ws", "/mqtt", "/livekit", "/livekit/rtc?room=1"):
            opened = Opened(server.port, path, token)
            equal(opened.status, 101, f"{name}: {path}")
            opened.send(b"hello", 1)
            equal(opened.receive(), (1, b"hello"), f"{name}: {path}")
            opened.close()
        equal(Opened(server.port, "/other", token).status, 404, f"{name}: no route")
        check(upstream.requests[-1].path.endswith("?room=1"), "the query goes on", upstream.requests[-1].path)
        check("gw:secret" not in server.log_path.read_text(), "a secret is in the log")
        server.end()
