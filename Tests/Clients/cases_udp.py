"""/udp: credentials in every place, frames both ways, refusals, limits, and the ends of a WebSocket. Client: `websockets`."""
import json
import re
import socket
import threading
import time

from harness import Failure, Skip, case, check, equal, eventually, vectors
from relay import JWT_SECRET, Echo, Relay, frame1, frame2, parse, token

READY = re.compile('[0-9a-f]{32}')


def library():
    try:
        from websockets.sync.client import connect
    except ImportError:
        raise Skip("the Python package websockets is not installed") from None
    return connect


def open_udp(server, path="/udp", headers=(), ready=True):
    """A WebSocket of /udp, past `ready` unless said otherwise."""
    client = library()(server.url(path), compression=None, additional_headers=list(headers), max_size=None, open_timeout=10,
                       ping_interval=None)
    if ready:
        client.session = ready_of(client)
    return client


def ready_of(client):
    message = json.loads(client.recv(5))
    equal((message["type"], sorted(message)), ("ready", ["sessionId", "type"]), "the first message")
    check(READY.fullmatch(message["sessionId"]), "sessionId", message)
    return message["sessionId"]


def ending(client):
    """The messages up to the Close, its code and reason."""
    from websockets.exceptions import ConnectionClosed
    messages = []
    try:
        while True:
            messages.append(client.recv(10))
    except ConnectionClosed as closed:
        received = closed.rcvd
        return messages, (received.code, received.reason) if received else None


def refusal(client, code, close, reason, name):
    messages, end = ending(client)
    equal([json.loads(one)["code"] for one in messages], [code] if code else [], f"{name}: the error message")
    equal(end, (close, reason), f"{name}: the Close")


def round_trip(client, frame, name, wanted=None, seconds=5):
    client.send(frame)
    found = client.recv(seconds)
    equal(found, wanted if wanted is not None else frame, name)


@case("udp_frames")
def udp_frames(context):
    server = Relay(context)
    four, six = Echo(context), Echo(context, "::1")
    with open_udp(server) as client:
        round_trip(client, frame1(1000, four.remote, b"one"), "version 1")
        round_trip(client, frame1(1000, four.remote, b""), "an empty payload")
        round_trip(client, frame1(0, four.remote, b"zero"), "guest port 0")
        round_trip(client, frame2(1000, four.remote, b"two"), "version 2, answered in version 1", frame1(1000, four.remote, b"two"))
        round_trip(client, frame2(41474, six.remote, b"six"), "IPv6")
        round_trip(client, frame1(1000, four.remote, b"x" * 1200), "the largest payload")
        mapped = ("::ffff:127.0.0.1", four.remote[1])
        round_trip(client, frame2(7, mapped, b"mapped"), "an IPv4-mapped address", frame1(7, four.remote, b"mapped"))
        frame = frame1(9, four.remote, b"in pieces")
        client.send(iter([frame[:3], frame[3:10], frame[10:]]))
        equal(client.recv(5), frame, "a message in fragments")
        client.send('{"type":"auth","token":"x"}')
        client.send(b"\1")
        client.send(b"\xa2\x02\x05\0" + bytes(20))
        client.send(frame1(1, four.remote, b"y" * 1201))
        client.send(frame1(1, (four.remote[0], 0), b"to port 0"))
        round_trip(client, frame1(1, four.remote, b"good"), "a good frame behind bad ones")
        client.ping().wait(5)
    events = server.events()
    wanted = {"udp_ws_connections": 1, "udp_ws_datagrams_in": 13, "udp_ws_datagrams_out": 9, "udp_ws_dropped": 4,
              "udp_ws_dropped_malformed": 2, "udp_ws_dropped_oversized": 1, "udp_ws_dropped_denied_by_policy": 1}
    equal({name: events[name] for name in wanted}, wanted, "events")
    server = Relay(context, PREFER_V2="1")
    with open_udp(server) as client:
        round_trip(client, frame1(1000, four.remote, b"one"), "version 1 before a frame of version 2")
        round_trip(client, frame2(1001, four.remote, b"two"), "version 2, preferred")
        round_trip(client, frame1(1000, four.remote, b"one"), "and from then on", frame2(1000, four.remote, b"one"))


@case("udp_credentials")
def udp_credentials(context):
    """Every place of a credential, in both modes, and which of two wins."""
    server = Relay(context, AUTH_MODE="api_key", API_KEY="secret", SIGNALING_AUTH_TIMEOUT="500ms", MAX_SIGNALING_MESSAGE_BYTES=2000)
    good = [("/udp", [("X-API-Key", "secret")]), ("/udp", [("Authorization", "ApiKey secret")]),
            ("/udp", [("Authorization", "bearer secret")]),
            ("/udp?apiKey=secret", []), ("/udp?token=secret", []), ("/udp?apiKey=secret&token=bad", []), ("/udp?apiKey=&token=secret", []),
            ("/udp?apiKey=bad", [("X-API-Key", "secret")]), ("/udp?v=1&raw=1&apiKey=s%65cret", []),
            ("/udp", [("X-API-Key", " "), ("Authorization", "Bearer secret")])]
    for path, headers in good:
        open_udp(server, path, headers).close()
    bad = [("/udp?token=bad", []), ("/udp?apiKey=bad&token=secret", []),
           ("/udp", [("X-API-Key", "bad"), ("Authorization", "Bearer secret")]),
           ("/udp?apiKey=secret", [("X-API-Key", "bad")])]
    for path, headers in bad:
        client = open_udp(server, path, headers, ready=False)
        try:
            client.send('{"type":"auth","apiKey":"secret"}')
        except Exception:
            pass  # closed already
        refusal(client, "unauthorized", 1008, "invalid credentials", f"{path} {headers}")
    first = [('{"type":"auth","apiKey":"secret"}', True), ('{"type":"auth","token":"secret","apiKey":"secret","x":[1]}', True),
             ('{"type":"auth","token":"bad"}', ("unauthorized", 1008, "invalid credentials")),
             ('{"type":"auth"}', ("unauthorized", 1008, "missing credentials")),
             ('{"type":"auth","token":"secret","apiKey":"b"}', ("bad_message", 1008, "invalid auth message")),
             ('{"type":"auth","token":5}', ("bad_message", 1003, "invalid auth message")),
             ('{"type":"x"}', ("unauthorized", 1008, "authentication required")), ("x", ("unauthorized", 1008, "authentication required")),
             (b"\0\1\2", ("unauthorized", 1008, "authentication required")), ("y" * 2001, (None, 1009, "")),
             (None, ("unauthorized", 1008, "authentication timeout"))]
    for message, wanted in first:
        client = open_udp(server, ready=False)
        if message is not None:
            client.send(message)
        if wanted is True:
            ready_of(client)
            client.close()
        else:
            refusal(client, *wanted, f"first message {message!r:.50}")
    equal(server.events()["auth_failure"], len(bad) + 8, "auth_failure")
    server = Relay(context, AUTH_MODE="jwt", JWT_SECRET=JWT_SECRET)
    for number, (path, headers) in enumerate([
            ("/udp", [("Authorization", "Bearer {}")]), ("/udp", [("X-API-Key", "{}")]), ("/udp?token={}", []), ("/udp?apiKey={}", []),
            ("/udp?token={}&apiKey=x", []), ("/udp", [("Authorization", "Basic x"), ("X-API-Key", "{}")])]):
        text = token(f"S{number}")
        open_udp(server, path.format(text), [(name, value.format(text)) for name, value in headers]).close()
    for text in (token("S", secret="other"), token("S", exp=int(time.time())), token("S", nbf=int(time.time()) + 60), token(""),
                 token("S", aud=5), "a.b.c"):
        refusal(open_udp(server, "/udp?token=" + text, ready=False), "unauthorized", 1008, "invalid credentials", text)


@case("udp_observed")
def udp_observed(context):
    """The dialogues that were observed."""
    observed = vectors("observed-udp-relay.json")
    steps = [step for step in observed["websocket"] if step["path"].startswith("/udp") and "channel" not in step]
    servers = {name: Relay(context, **settings) for name, settings in observed["httpConfigs"].items()}
    done = 0
    for step in steps:
        holder = None
        path = step["path"]
        if "<same sid" in path:
            holder = open_udp(servers["jwt"], "/udp?token=" + token("same"))
            path = "/udp?token=" + token("same")
        client = open_udp(servers[step["config"]], path, step.get("headers", []), ready=False)
        equal(client.subprotocol, step["selectedSubprotocol"], step["name"])
        for one in step["send"]:
            data = bytes.fromhex(one["hex"]) if "hex" in one else bytes(one["binaryBytes"]) if "binaryBytes" in one else one["text"]
            if isinstance(data, str) and data.startswith("<3030"):
                data = "x" * 3030
            try:
                client.send(data)
            except Exception:
                break
        wanted = step["result"]
        if wanted.get("open"):
            messages, end = [client.recv(5) for _ in wanted["messages"]], None
            client.ping().wait(5)
            client.close()
        else:
            messages, end = ending(client)
        found = [json.loads(one) for one in messages]
        equal([(one["type"], one.get("code")) for one in found], [(one["type"], one.get("code")) for one in wanted["messages"]],
              step["name"])
        if "close" in wanted:
            equal(end, (wanted["close"]["code"], wanted["close"]["reason"]), step["name"])
        if holder:
            holder.close()
        done += 1
    context.note(f"{done} dialogues as observed")


@case("udp_places")
def udp_places(context):
    """One session of a `sid`, MAX_SESSIONS, and a `sid` that is free as soon as its client's close is complete."""
    server = Relay(context, AUTH_MODE="jwt", JWT_SECRET=JWT_SECRET, MAX_SESSIONS=2)
    first = open_udp(server, "/udp?token=" + token("A"))
    refusal(open_udp(server, "/udp?token=" + token("A"), ready=False), "session_already_active", 1013, "session already active",
            "sid busy")
    equal(server.request("POST", "/session", {"Authorization": "Bearer " + token("A")})[0].status, 409, "POST /session meanwhile")
    second = open_udp(server, "/udp?token=" + token("B"))
    refusal(open_udp(server, "/udp?token=" + token("C"), ready=False), "too_many_sessions", 1013, "too many sessions", "no place")
    identifiers = {first.session, second.session}
    for _ in range(200):
        first.close()
        first = open_udp(server, "/udp?token=" + token("A"))
        identifiers.add(first.session)
    equal(len(identifiers), 202, "ids of sessions")
    # Without a close: the end of the stream frees the place as well.
    first.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: server.request("POST", "/session", {"Authorization": "Bearer " + token("A")})[0].status == 201, "free after EOF", 3)
    equal(server.events()["too_many_sessions"], 1, "too_many_sessions")
    second.close()


@case("udp_keepalive")
def udp_keepalive(context):
    server = Relay(context, UDP_WS_IDLE_TIMEOUT="1200ms", UDP_WS_PING_INTERVAL="300ms")
    # The library answers Pings by itself, which keeps the connection.
    with open_udp(server) as client:
        time.sleep(2.5)
        client.ping().wait(5)
    import rawsocket  # noqa: F401  a client that answers nothing
    silent = server.connect()
    silent.sendall(b"GET /udp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    began, data = time.monotonic(), b""
    while True:
        piece = silent.recv(4096)
        if not piece:
            break
        data += piece
    check(1.0 < time.monotonic() - began < 6, "the idle time", time.monotonic() - began)
    check(data.count(b"\x89\0") >= 3, "Pings without payload", data[-60:])
    check(b"\x88\x0e\x03\xe8idle timeout" in data, "Close 1000", data[-60:])


@case("udp_inbound_filter")
def udp_inbound_filter(context):
    """Only those who were sent to may answer, for each guest port by itself; `any` lets everybody."""
    remote, stranger = Echo(context), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for mode in ("address_and_port", "any"):
        server = Relay(context, UDP_INBOUND_FILTER_MODE=mode)
        with open_udp(server) as client:
            remote.peers.clear()
            round_trip(client, frame1(5, remote.remote, b"known"), "from whom was sent to")
            guest = remote.peers.pop()
            for _ in range(10):
                stranger.sendto(b"spoofed", guest)
            if mode == "any":
                equal(parse(client.recv(5))[3], b"spoofed", "from anybody")
            else:
                eventually(lambda: server.events()["udp_remote_allowlist_overflow_drops_total"] == 10, "spoofed replies are counted")
                round_trip(client, frame1(5, remote.remote, b"still"), "and nothing else came")
                equal(server.events()["udp_ws_dropped"], 0, "they are no drops of the relay's own")
    # Expiry and cap, for each guest port.
    server = Relay(context, UDP_REMOTE_ALLOWLIST_IDLE_TIMEOUT="500ms", MAX_ALLOWED_REMOTES_PER_BINDING=2)
    others = [Echo(context, answer=lambda data: None) for _ in range(3)]
    with open_udp(server) as client:
        remote.peers.clear()
        round_trip(client, frame1(6, remote.remote, b"a"), "listed")
        guest = remote.peers.pop()
        time.sleep(0.8)
        remote.socket.sendto(b"late", guest)
        eventually(lambda: server.events()["udp_remote_allowlist_overflow_drops_total"] == 1, "too late")
        for port in range(20, 30):
            client.send(frame1(port, others[0].remote, b"x"))
        client.ping().wait(5)
        equal(server.events()["udp_remote_allowlist_evictions_total"], 0, "different guest ports evict nobody")
        for one in others:
            client.send(frame1(6, one.remote, b"x"))
        eventually(lambda: server.events()["udp_remote_allowlist_evictions_total"] == 1, "the cap evicts one")


@case("udp_bindings")
def udp_bindings(context):
    """One local port for each guest port while it lives; the one used longest ago goes first; idle ones go."""
    remote = Echo(context)
    server = Relay(context, MAX_UDP_BINDINGS_PER_SESSION=2, UDP_BINDING_IDLE_TIMEOUT="700ms")

    def local(client, port):
        remote.peers.clear()
        round_trip(client, frame1(port, remote.remote, b"?"), f"guest port {port}")
        return next(iter(remote.peers))
    with open_udp(server) as client:
        one, two = local(client, 1), local(client, 2)
        check(one != two, "guest ports share a local port")
        equal(local(client, 1), one, "the local port stays")
        three = local(client, 3)
        equal(local(client, 1), one, "the one that was used stays")
        check(local(client, 2) not in (two, three), "the one used longest ago went")
        time.sleep(1.6)
        equal(server.gauges()["sluice_udp_bindings_active"], 0, "idle ones go")
        check(local(client, 1) != one, "and come back as others")


@case("udp_limits")
def udp_limits(context):
    remote = Echo(context)
    with_limits = [
        ({"MAX_UDP_PPS_PER_SESSION": 5}, "udp_ws_dropped_rate_limited", "rate_limited"),
        ({"MAX_UDP_BPS_PER_SESSION": 50}, "udp_ws_dropped_rate_limited", "rate_limited"),
        ({"MAX_UDP_PPS_PER_DEST": 5}, "udp_ws_dropped_rate_limited", "rate_limited"),
        ({"MAX_DC_BPS_PER_SESSION": 100}, "udp_ws_dropped_rate_limited", "rate_limited"),
    ]
    for settings, *names in with_limits:
        server = Relay(context, **settings)
        with open_udp(server) as client:
            for _ in range(20):
                client.send(frame1(1, remote.remote, b"0123456789"))
            eventually(lambda: server.events()[names[0]] >= 10, f"{settings} {names}")
            events = server.events()
            equal(events[names[1]], events[names[0]], f"{settings}: both counters")
            check(events["udp_ws_datagrams_out"] >= 4, f"{settings}: what the bucket holds passes", events)
    server = Relay(context, MAX_UNIQUE_DESTINATIONS_PER_SESSION=1, HARD_CLOSE_AFTER_VIOLATIONS=3)
    client = open_udp(server)
    round_trip(client, frame1(1, remote.remote, b"known"), "the first destination")
    for port in (9, 10, 11):
        client.send(frame1(1, ("127.0.0.1", port), b"new"))
    equal(ending(client)[1], (1008, "session closed"), "the hard close")
    events = server.events()
    for name in ("quota_exceeded", "too_many_destinations", "udp_ws_dropped_quota_exceeded"):
        equal(events[name], 3, name)
    equal(events["session_hard_closed"], 1, "session_hard_closed")
    server = Relay(context, DESTINATION_POLICY_PRESET="", ALLOW_PRIVATE_NETWORKS="true", ALLOW_UDP_CIDRS="127.0.0.0/8",
                   DENY_UDP_PORTS="1-1023")
    with open_udp(server) as client:
        for to in (("192.0.2.1", 5000), ("127.0.0.1", 53)):
            client.send(frame1(1, to, b"denied"))
        client.send(frame2(1, ("::1", 5000), b"denied"))
        round_trip(client, frame1(1, remote.remote, b"allowed"), "what the policy allows")
        equal(server.events()["udp_ws_dropped_denied_by_policy"], 3, "what it does not")


@case("udp_oversized_reply")
def udp_oversized_reply(context):
    remote = Echo(context, answer=lambda data: b"z" * int(data))
    server = Relay(context)
    with open_udp(server) as client:
        for size in (1201, 9000, 65507):
            client.send(frame1(1, remote.remote, str(size).encode()))
        eventually(lambda: server.events()["udp_ws_dropped_oversized"] == 3, "replies that are too long are dropped and counted")
        client.send(frame1(1, remote.remote, b"1200"))
        equal(parse(client.recv(5))[3], b"z" * 1200, "the largest reply")
    server = Relay(context, MAX_DATAGRAM_PAYLOAD_BYTES=65507)
    with open_udp(server) as client:
        client.send(frame1(1, remote.remote, b"65507"))
        equal(len(client.recv(5)), 65515, "the largest datagram there is")
        round_trip(client, frame1(1, Echo(context).remote, b"w" * 65507), "and back")


@case("udp_reload")
def udp_reload(context):
    """A reload: sessions that live keep what they have; those that come get the new rules; places are carried over."""
    remote = Echo(context)
    path = context.folder / "sluice.yaml"
    text = """listeners: [{{ name: relay, address: "127.0.0.1:0", features: [udp] }}]
udp: {{ auth_mode: jwt, jwt_secret: {0}, policy_preset: dev, max_payload: {1} }}
"""
    path.write_text(text.format(JWT_SECRET, "1200B"))
    server = context.server(["--config", str(path)], HOST=None, PORT=None, private=False)
    server.url = lambda path="/udp": f"ws://127.0.0.1:{server.port}{path}"
    client = open_udp(server, "/udp?token=" + token("A"))
    path.write_text(text.format(JWT_SECRET, "100B"))
    eventually(lambda: any("reloaded" in str(record.get("msg")) for record in server.records()), "reloaded", 10)
    round_trip(client, frame1(1, remote.remote, b"x" * 1200), "who lives keeps the former limit")
    refusal(open_udp(server, "/udp?token=" + token("A"), ready=False), "session_already_active", 1013, "session already active", "places")
    other = open_udp(server, "/udp?token=" + token("B"))
    other.send(bytes(125))
    equal(ending(other)[1], (1009, ""), "who comes gets the new one")
    client.close()


@case("udp_upgrade_headers")
def udp_upgrade_headers(context):
    """The 101 says what every answer says: the request's id, and what the page's origin may read."""
    for server, origin in ((Relay(context, ALLOWED_ORIGINS="https://app.example"), "https://app.example"),
                           (context.server(AUTH_MODE="none", ALLOWED_ORIGINS="https://app.example"), "https://app.example")):
        url = f"ws://127.0.0.1:{server.port}/udp"
        with library()(url, compression=None, additional_headers=[("X-Request-ID", "the-request"), ("Origin", "HTTPS://App.Example:443")],
                       subprotocols=["offered"]) as client:
            fields = client.response.headers
            equal(fields.get_all("X-Request-ID"), ["the-request"], "the id is echoed")
            equal({name: fields.get(name) for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials",
                                                       "Access-Control-Expose-Headers", "Vary")},
                  {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true",
                   "Access-Control-Expose-Headers": "X-Request-ID", "Vary": "Origin"}, "what the origin may read")
            check(client.subprotocol is None and "Sec-WebSocket-Extensions" not in fields, "nothing else is selected", fields)
        with library()(url, compression=None, additional_headers=[("X-API-Key", "none")]) as client:
            fields = client.response.headers
            check(re.fullmatch("[0-9a-f]{32}", fields["X-Request-ID"]), "an id is made up", fields)
            check("Access-Control-Allow-Origin" not in fields and "Vary" not in fields, "no origin, no permission", fields)
    # What a client names may be long: the answer holds the longest origin and the longest id.
    name = ".".join(["a" * 60] * 4)
    server = Relay(context, ALLOWED_ORIGINS="*")
    fields = [("Origin", f"https://{name}"), ("X-Request-ID", "i" * 128)]
    with library()(server.url(), compression=None, additional_headers=fields) as client:
        equal(client.response.headers["Access-Control-Allow-Origin"], f"https://{name}", "a long origin")
        ready_of(client)


@case("udp_log")
def udp_log(context):
    """`udp_ws_connected` and `udp_ws_disconnected` with the session's id; nothing secret in any line."""
    server = Relay(context, AUTH_MODE="api_key", API_KEY="the-very-secret-key")
    client = open_udp(server, "/udp?apiKey=the-very-secret-key", [("X-Request-ID", "the-request")])
    client.close(1000)
    refused = open_udp(server, "/udp?apiKey=wrong-secret", ready=False)
    refusal(refused, "unauthorized", 1008, "invalid credentials", "a wrong key")

    def found(message): return [record for record in server.records() if record["msg"] == message]
    ended = eventually(lambda: found("udp_ws_disconnected"), "the end is in the log")
    began = found("udp_ws_connected")
    equal((len(began), len(ended)), (1, 1), "records of the one session")
    for record in began + ended:
        equal((record["session_id"], record["remote_addr"], record["reqId"]), (client.session, "127.0.0.1", "the-request"), "fields")
    equal(ended[0]["cause"], "client_close", "the cause")
    others = eventually(lambda: found("websocket ended"), "the end of the refused one")
    equal([record["cause"] for record in others], ["authentication_failed"], "its cause")
    # One line for each request, upgrades with 101.
    server.request("GET", "/webrtc/ice?apiKey=the-very-secret-key")
    requests = eventually(lambda: found("request"), "the request is in the log")
    equal([(record["method"], record["path"], record["status"]) for record in requests], [("GET", "/webrtc/ice", 200)], "requests")
    equal([record["status"] for record in found("websocket opened")], [101, 101], "upgrades")
    text = server.log_path.read_text() + server.error_path.read_text()
    check("very-secret" not in text and "wrong-secret" not in text, "no credential in the log")


@case("udp_sockets_of_a_shard")
def udp_sockets_of_a_shard(context):
    """limits.udp_sockets_per_shard: who has most gives to others, and to itself when nobody has more; it is said, and connections go on."""
    echo = Echo(context)
    path = context.folder / "sluice.yaml"
    path.write_text("shards: 1\nlimits: { udp_sockets_per_shard: 10 }\nudp: { auth_mode: none, policy_preset: dev }\n")
    server = context.server(["--config", str(path)])
    server.url = lambda path="/udp": f"ws://127.0.0.1:{server.port}{path}"
    client = open_udp(server)
    for guest in range(10):
        round_trip(client, frame1(guest, echo.remote, b"first"), f"guest port {guest}")
    for guest in range(10, 30):
        time.sleep(0.005)
        round_trip(client, frame1(guest, echo.remote, b"beyond"), f"guest port {guest}")
    neighbour = open_udp(server)
    for guest in range(5):
        round_trip(neighbour, frame1(guest, echo.remote, b"mine too"), f"guest port {guest} of a neighbour")
    for guest in range(30, 60):
        time.sleep(0.005)
        round_trip(client, frame1(guest, echo.remote, b"again"), f"guest port {guest}")
    for guest in range(5):
        round_trip(neighbour, frame1(guest, echo.remote, b"goes on"), f"guest port {guest} of the neighbour")
    samples, _ = server.metrics()
    equal((samples["sluice_udp_sockets_active"], samples["sluice_udp_sockets_refused_total"]), (10, 0), "sockets open and refused")
    equal(samples['sluice_udp_bindings_total{event="displaced"}'], 55, "guest ports that gave theirs, the neighbour's not among them")
    neighbour.close()
    def told(): return [record for record in server.records() if record.get("key") == "limits.udp_sockets_per_shard"]
    records = eventually(told, "a warning")
    equal([(record["level"], record["limit"]) for record in records], [(40, 10)], "one warning")
    equal(server.request("GET", "/healthz")[0].status, 200, "connections are not kept out")
    client.close()
    eventually(lambda: server.metrics()[0]["sluice_udp_sockets_active"] == 0, "the sockets come back")
    other = open_udp(server)
    round_trip(other, frame1(29, echo.remote, b"now"), "another session")
    other.close()
