"""The JWT proxy's bounds: who takes up how much room, what a drain waits for, whether upstreams are looked after, and what is counted."""
import re
import signal
import socket
import threading
import time

from harness import case, check, equal, eventually

try:
    import websockets.exceptions
    from websockets.sync.client import connect

    from issuer import Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

from cases_jwt import bearer, echo, native, need, refused, url
from cases_jwt_limits import ask, ending, free_port

ROUTE = '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "%s" }]%s }'
OPEN = "handshakes_per_second: 0, failures_per_minute: 0"


def samples(text, name):
    """Labels and values of a family."""
    return {found[1]: float(found[2]) for found in re.finditer(rf"^{name}(\{{[^}}]*\}})? (\S+)$", text, re.M)}


def metrics(admin):
    return ask(admin, "GET", "/metrics", headers={"Authorization": "Bearer 0123456789abcdef0123"})[1].decode()


def admin_section(port):
    return f'admin: {{ address: "127.0.0.1:{port}", token: "0123456789abcdef0123" }}\n'


def silent(context):
    """An upstream that accepts and says nothing."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    context.defer(listener.close)
    return "ws://127.0.0.1:%d/" % listener.getsockname()[1]


@case("jwt-bounds-handshakes")
def handshakes(context):
    """T24: handshakes in progress of one address and of all, a flood of them, and sessions that live on."""
    need()
    issuer, upstream, admin = Issuer(context), Upstream(context), free_port()
    routes = ROUTE % (upstream.url, "") + "\n    - " + ROUTE.replace("name: raw, prefix: /ws", "name: slow, prefix: /slow") % (silent(context), "")
    server = native(context, issuer, routes, rest=f"""  limits: {{ {OPEN}, handshakes_per_ip: 4, handshakes: 6 }}
  dial: {{ handshake: 4s, attempt: 4s, deadline: 4s }}
  breaker: {{ failures: 1000 }}
""" + admin_section(admin))
    token = issuer.token()
    with connect(url(server), compression=None, additional_headers=bearer(token)) as living:
        held = []
        for _ in range(4):
            client = server.connect()
            client.sendall((f"GET /slow HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n").encode())
            held.append(client)
            context.defer(client.close)
        eventually(lambda: refused(server, additional_headers=bearer(token))[0] == 429, "a fifth handshake")
        status, headers = refused(server, additional_headers=bearer(token))
        equal((status, headers["Retry-After"], headers["X-Edge-Error"]), (429, "1", "rate_limited"), "of one address")
        living.send("alive")
        equal(living.recv(timeout=5), "alive", "a session that lives")
        held.pop().close()
        eventually(lambda: refused(server, additional_headers=bearer(token))[0] == "open", "places came back with the dials", 8)
    counted = samples(metrics(admin), "ws_limit_rejections_total")
    check(counted['{limit="handshakes_per_ip"}'] >= 2, "counted", counted)
    server.end()
    server = native(context, issuer, ROUTE % (upstream.url, ""), rest="  limits: { handshakes_per_second: 1, handshake_burst: 5, failures_per_minute: 0 }\n")
    with connect(url(server), compression=None, additional_headers=bearer(token)) as living:
        answers = [refused(server, additional_headers=bearer(token)) for _ in range(30)]
        late = [headers for status, headers in answers if status == 429]
        check(len(late) >= 10, "a flood is refused", [status for status, _ in answers])
        check(all(headers["Retry-After"].isdigit() and int(headers["Retry-After"]) >= 1 for headers in late), "Retry-After")
        living.send("alive")
        equal(living.recv(timeout=5), "alive", "a session that lives")


@case("jwt-bounds-connections")
def connections(context):
    """Connections of one address: those beyond are closed when they are accepted, and a place that is given back is a place."""
    need()
    issuer, upstream, admin = Issuer(context), Upstream(context), free_port()
    server = native(context, issuer, ROUTE % (upstream.url, ""), rest=f"  limits: {{ {OPEN}, connections_per_ip: 5 }}\n" + admin_section(admin))
    time.sleep(0.3)
    token = issuer.token()
    sessions = [connect(url(server), compression=None, additional_headers=bearer(token)) for _ in range(3)]
    plain = [server.connect() for _ in range(2)]
    time.sleep(0.2)
    extra = server.connect()
    extra.settimeout(5)
    try:
        equal(extra.recv(1), b"", "one too many is closed")
    except ConnectionResetError:
        pass
    for client in sessions:
        client.send("hi")
        equal(client.recv(timeout=5), "hi", "those that are there live")
    plain.pop().close()
    sessions.pop().close()
    eventually(lambda: echo(server, additional_headers=bearer(token))[0] == "hi", "places came back")
    check(samples(metrics(admin), "ws_limit_rejections_total")['{limit="connections_per_ip"}'] >= 1, "counted")


@case("jwt-bounds-evict")
def evict(context):
    """`evict: oldest`: a new session of a subject ends its oldest, whichever shard that is on."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = native(context, issuer, ROUTE % (upstream.url, ""), rest=f"  limits: {{ {OPEN}, sessions_per_subject: 2, evict: oldest }}\nshards: 2\n")
    open_session = lambda subject="alice": connect(url(server), compression=None, additional_headers=bearer(issuer.token(sub=subject)))
    sessions = [open_session(), open_session()]
    other = open_session("bob")
    for _ in range(6):
        sessions.append(open_session())
        equal(ending(sessions.pop(0), 2)[0], 4429, "the oldest goes")
        for client in sessions:
            client.send("hi")
            equal(client.recv(timeout=5), "hi", "the others live")
    other.send("hi")
    equal(other.recv(timeout=5), "hi", "another subject")


@case("jwt-bounds-bytes")
def byte_rate(context):
    """`bytes_per_second`: one second's worth at once, then the rate; nothing is lost, and what comes back is not slowed."""
    need()
    issuer, upstream, admin = Issuer(context), Upstream(context), free_port()
    server = native(context, issuer, ROUTE % (upstream.url, ", rate: { bytes_per_second: 1MiB }"), rest=f"  limits: {{ {OPEN} }}\n" + admin_section(admin))
    with connect(url(server), compression=None, additional_headers=bearer(issuer.token()), max_size=None) as client:
        began = time.monotonic()
        count = 0

        def send():
            for _ in range(60):
                client.send(b"x" * 102400)

        sender = threading.Thread(target=send)
        sender.start()
        while count < 60 * 102400:
            count += len(client.recv(timeout=20))
        took = time.monotonic() - began
        sender.join()
    # 6 MB at 1 MiB/s, the first second's worth at once: not quite five seconds, and what one read holds less.
    check(2.5 < took < 15, "the rate", took)
    check(samples(metrics(admin), "ws_throttled_total")['{route="raw"}'] >= 1, "counted")


@case("jwt-bounds-probes")
def probes(context):
    """13.4: endpoints are probed, by connection or as a WebSocket; an endpoint that is dead opens its circuit without a client."""
    need()
    issuer, upstream, admin = Issuer(context), Upstream(context), free_port()
    dead = free_port()
    token = context.folder / "probe-token"
    token.write_text(issuer.token(sub="probe") + "\n")
    routes = "\n    - ".join([
        ROUTE % (upstream.url, ""),
        ROUTE.replace("name: raw, prefix: /ws", "name: dead, prefix: /dead") % (f"ws://127.0.0.1:{dead}/", ""),
        ROUTE.replace("name: raw, prefix: /ws", "name: asked, prefix: /asked") % (upstream.url + "/asked", f", health: ws, health_token_file: {token}"),
        ROUTE.replace("name: raw, prefix: /ws", "name: off, prefix: /off") % (f"ws://127.0.0.1:{dead}/off", ", health: off"),
    ])
    server = native(context, issuer, routes, rest=f"""  limits: {{ {OPEN} }}
  breaker: {{ failures: 2, open: 1s, probe_interval: 1s }}
""" + admin_section(admin))
    eventually(lambda: samples(metrics(admin), "ws_upstream_health_failure_total")[None] >= 2, "failures", 8)
    text = metrics(admin)
    eventually(lambda: samples(metrics(admin), "ws_upstream_health_success_total")[None] >= 2, "successes", 8)
    up = samples(text, "ws_upstream_up")
    equal(up[f'{{upstream="ws://127.0.0.1:{dead}/"}}'], 0, "the dead one")
    equal(up[f'{{upstream="ws://127.0.0.1:{dead}/off"}}'], 1, "one that is not probed")
    check(samples(text, "ws_circuit_open_total")['{protocol="raw"}'] >= 1, "its circuit opened")
    check(any(request.headers.get("Authorization") == "Bearer " + token.read_text().strip() for request in upstream.requests), "the probe's token")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", dead))
    listener.listen(16)
    context.defer(listener.close)
    eventually(lambda: samples(metrics(admin), "ws_upstream_up")[f'{{upstream="ws://127.0.0.1:{dead}/"}}'] == 1, "a probe closed the circuit", 8)


@case("jwt-bounds-drain")
def drain(context):
    """20: during the delay clients are let in and load balancers told; then sessions go; who does not in time is counted."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    for strict in (False, True):
        server = native(context, issuer, ROUTE % (upstream.url, ""), rest=f"""  limits: {{ {OPEN} }}
  drain: {{ delay: 2s, timeout: 3s, spread: 0, strict_exit: {str(strict).lower()} }}
""")
        token = issuer.token()
        first = connect(url(server), compression=None, additional_headers=bearer(token))
        # A client that does not answer its Close and does not read.
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        eventually(lambda: server.request("GET", "/readyz")[0].status == 503, "not ready", 1)
        response, _ = server.request("GET", "/healthz")
        equal((response.status, response.headers.get("Connection")), (200, "close"), "healthy, and each answer is the last")
        late = connect(url(server), compression=None, additional_headers=bearer(token))
        late.send("late")
        equal(late.recv(timeout=5), "late", "a client during the delay")
        check(time.monotonic() - began < 2, "that was quick")
        for client in (first, late):
            equal(ending(client, 6), (1001, "going away"), "told to go")
        check(1.8 < time.monotonic() - began < 4, "after the delay")
        equal(server.process.wait(10), 0, "all ended in time")


@case("jwt-bounds-metrics")
def every_name(context):
    """T33: every name of section 21 is on the page from the start, with a sample; subjects make no series unless they are asked for."""
    need()
    issuer, upstream, admin = Issuer(context), Upstream(context), free_port()
    names = """ws_connections_total ws_protocol_connections_total ws_auth_failures_total ws_auth_success_total ws_active_sessions
        ws_proxy_errors_total ws_proxy_retries_total ws_circuit_open_total ws_upstream_health_success_total ws_upstream_health_failure_total
        ws_rate_limit_violations_total ws_revocations_total ws_handshakes_total ws_auth_total ws_token_alg_total ws_token_cache_total
        ws_jwks_keys ws_jwks_age_seconds ws_jwks_refresh_total ws_closes_total ws_messages_total ws_bytes_total ws_stall_seconds_total
        ws_upstream_dials_total ws_upstream_up ws_circuit_state ws_limit_rejections_total ws_throttled_total ws_authz_denied_total
        ws_expired_sessions_total ws_draining ws_mqtt_packets_total""".split()
    histograms = "ws_connection_duration_seconds ws_auth_seconds ws_session_seconds ws_upstream_dial_seconds".split()
    for labelled in (False, True):
        server = native(context, issuer, ROUTE % (upstream.url, ""), rest=f"""  limits: {{ {OPEN} }}
  metrics: {{ subject_labels: {str(labelled).lower()} }}
""" + admin_section(admin))
        text = metrics(admin)
        for name in names + [name + "_count" for name in histograms]:
            if not (labelled and name == "ws_auth_success_total"):
                check(samples(text, name), f"{name} has a sample")
        for number in range(20):
            equal(echo(server, additional_headers=bearer(issuer.token(sub=f"subject-{number}")))[0], "hi", "a session")
        before = len(metrics(admin).splitlines())
        for number in range(20, 40):
            equal(echo(server, additional_headers=bearer(issuer.token(sub=f"subject-{number}", preferred_username="n\"")))[0], "hi", "a session")
        text = metrics(admin)
        equal(len(text.splitlines()) - before, 20 if labelled else 0, "series that came with subjects")
        equal(sum(samples(text, "ws_auth_success_total").values()), 40, "accepted credentials")
        server.end()
