"""The JWT proxy and clients that wait or leave: while an upstream is dialled, above a rate, and in a drain."""
import signal
import socket
import struct
import threading
import time

import mqtt
from cases_jwt import native, need
from cases_jwt_bounds import admin_section, metrics, samples
from cases_jwt_frames import ROUTE as RAW
from cases_jwt_frames import closed, is_idle, pair
from cases_jwt_limits import free_port
from cases_jwt_upstreams import blackhole
from handshakes import Opened, Peer, RawUpstream, session
from harness import case, check, equal, eventually
from rawsocket import BINARY, CLOSE, frame
from services import websocket_echo

try:
    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: %s, upstreams: [{ url: "ws://127.0.0.1:%d/" }]%s }'
# What is done "at once" takes so long at most; a machine that is busy with much else is allowed for.
SOON_SECONDS = 1.0
# A warning, in the numbers of this log.
WARN = 40


def upgrade(server, path, token=None, more=()):
    """A connection whose upgrade is asked for and not answered."""
    client = server.connect()
    lines = [f"GET {path} HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *more]
    if token:
        lines.append("Authorization: Bearer " + token)
    client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return client


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@case("jwt-leaves-dial")
def leaves(context):
    """A client that leaves while its upstream is dialled gives its place back at once, and the dial ends."""
    need()
    issuer, admin = Issuer(context, "ES256"), free_port()
    silent = socket.create_server(("127.0.0.1", 0))
    context.defer(silent.close)
    ports = {"silent": silent.getsockname()[1], "hole": blackhole(context)}
    routes = [ROUTE % ("echo", "echo", "raw", websocket_echo(context), "")]
    for name, port in ports.items():
        routes += [ROUTE % (name, name, "raw", port, ""), ROUTE % ("m" + name, "m" + name, "mqtt", port, "")]
    server = native(context, issuer, "\n    - ".join(routes), rest="""  limits: { handshakes_per_second: 0, failures_per_minute: 0, sessions_per_subject: 1 }
  dial: { attempts: 1, connect: 60s, handshake: 60s, attempt: 60s, deadline: 60s }
  breaker: { failures: 1000 }
""" + admin_section(admin))
    longest = 0.0
    for name in ports:
        for leave in (socket.socket.close, reset):
            for protocol in ("raw", "mqtt"):
                token = issuer.token(sub=f"{name} {leave.__name__} {protocol}")
                if protocol == "raw":
                    client = upgrade(server, "/" + name, token)
                else:
                    opened = Opened(server.port, "/m" + name, fields=["Sec-WebSocket-Protocol: mqtt"])
                    client = opened.socket
                    client.sendall(frame(BINARY, mqtt.connect(4, username="u", password=token)))
                    client.sendall(frame(BINARY, b"\xc0\x00") * 20)
                dialled = silent.accept()[0] if name == "silent" else None
                # The place is taken: the subject may have one. Whoever asks too soon takes it instead.
                time.sleep(0.5)
                eventually(lambda: Opened(server.port, "/echo", token).status == 429, "a second session of the subject is refused", 3)
                began = time.monotonic()
                leave(client)
                eventually(lambda: Opened(server.port, "/echo", token).status == 101, f"{protocol} on {name}: its place came back", SOON_SECONDS)
                longest = max(longest, time.monotonic() - began)
                if dialled:
                    dialled.settimeout(SOON_SECONDS)
                    try:
                        while dialled.recv(65536):
                            pass
                    except ConnectionResetError:
                        pass
                    dialled.close()
    eventually(lambda: samples(metrics(admin), "ws_active_sessions")[None] == 0, "no session is left", 10)
    context.note(f"places came back within {longest * 1000:.0f} ms")


@case("jwt-throttle")
def throttle(context):
    """T23: with `action: throttle` nobody gets more than the budget in any second, nor less; what one read brought waits as well."""
    need()
    admin = free_port()
    rate, burst, count = 200, 20, 1200
    for options in ("", ", mask: fresh"):
        server, upstream, token = pair(
            context, f", rate: {{ messages_per_second: {rate}, burst: {burst}, action: throttle }}{options}", other="")
        client, above = session(server, upstream, token=token())
        came = []

        def read():
            while len(came) < count:
                first, payload = above.frame()
                came.append(time.monotonic())
                equal((first, payload), (0x82, b"%d" % (len(came) - 1)), "a message")
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        began = time.monotonic()
        # All at once: many in each read, and a Ping between, which is not counted and waits in its turn.
        client.send(b"".join(frame(BINARY, b"%d" % number) for number in range(count)) + frame(9, b"last"))
        reader.join(30)
        equal(len(came), count, "messages that arrived")
        most = max(sum(1 for other in came[index:] if other < at + 1) for index, at in enumerate(came[::7]) for index in [index * 7])
        took = came[-1] - began
        owed = (count - burst) / rate
        check(most <= burst + rate * 1.1, "messages within a second", most)
        check(abs(took - owed) <= owed / 10 + 0.2, "time for all of them", took, owed)
        equal(client.frame(), (0x8A, b"last"), "the Ping behind them")
        context.note(f"{count} messages in {took:.2f} s, owed {owed:.2f}; at most {most} in a second")
        # Its Close waits in its turn too, and is told with what it said.
        client.send(frame(BINARY, b"end") + frame(CLOSE, closed(4001, "bye")))
        equal((above.frame(), above.frame()), ((0x82, b"end"), (0x88, closed(4001, "bye"))), "the end")
        client.close()
        above.close()
        server.end()


@case("jwt-throttle-subject")
def throttle_subject(context):
    """T23: three connections of a subject, and sessions on several shards, have one budget together; ten seconds above it end a session."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    server = native(context, issuer, RAW % (upstream.url, ", rate: { messages_per_second: 100, burst: 10, action: throttle }"),
                    rest='  limits: { handshakes_per_second: 0 }\n  metrics: { public: "true" }\nshards: 2\n')
    token = issuer.token()
    pairs = [session(server, upstream, token=token) for _ in range(3)]
    came, codes, stop = [], [], time.monotonic() + 20

    def read(above):
        try:
            while above.frame()[0] == 0x82:
                came.append(time.monotonic())
        except Exception:
            pass  # it ends with its session

    def write(client):
        try:
            while time.monotonic() < stop:
                client.send(b"".join(frame(BINARY, b"x" * 40) for _ in range(100)))
        except OSError:
            pass  # the gateway ended it

    def end(client):
        codes.append(client.frame())

    threads = [threading.Thread(target=run, args=(end_,), daemon=True) for client, above in pairs
               for run, end_ in ((read, above), (write, client), (end, client))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(6)
    for second in range(1, 5):
        within = sum(1 for at in list(came) if began + second <= at < began + second + 1)
        check(90 <= within <= 110, f"messages in second {second}", within)
    eventually(lambda: len(codes) == 3, "all three are closed", 12)
    check(9.5 < time.monotonic() - began < 16, "after ten seconds", time.monotonic() - began)
    equal(set(codes), {(0x88, closed(4429, "rate limit exceeded"))}, "their Close")
    for client, above in pairs:
        client.close()
        above.close()
    eventually(lambda: is_idle(server), "no session is left", 15)


def leaving(context, route_options="", **drain):
    """A gateway with a raw upstream and this drain."""
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    options = ", ".join(f"{name}: {value}" for name, value in drain.items())
    server = native(context, issuer, RAW % (upstream.url, route_options),
                    rest=f"  limits: {{ handshakes_per_second: 0, sessions_per_subject: 0, connections_per_ip: 0, handshakes_per_ip: 1000 }}\n"
                         f'  drain: {{ {options} }}\n  metrics: {{ public: "true" }}\nshards: 2\n')
    return server, upstream, issuer.token()


@case("jwt-drain-strict")
def strict(context):
    """20: a session that does not end in time is cut and counted, and with `strict_exit` the status says so; one that does is neither."""
    need()
    for is_strict in ("false", "true"):
        for stays in (True, False):
            server, upstream, token = leaving(context, delay="0s", timeout="2s", spread=0, strict_exit=is_strict)
            client, above = session(server, upstream, token=token)
            other, other_above = session(server, upstream, token=token)
            if stays:
                # In the middle of a frame no Close can stand, and this one does not end.
                above.send(frame(BINARY, b"", masked=False, length=1000) + b"x" * 10)
                equal(client.raw(14)[4:], b"x" * 10, "half a frame")
            began = time.monotonic()
            server.signal()
            equal(other.frame(), (0x88, closed(1001, "going away")), "the other session is told")
            other.send(frame(CLOSE, closed(1001)))
            if not stays:
                equal(client.frame(), (0x88, closed(1001, "going away")), "a session that can be told")
                client.send(frame(CLOSE, closed(1001)))
            status = server.process.wait(10)
            equal(status, 3 if stays and is_strict == "true" else 0, f"exit status, strict {is_strict}, a session that stays: {stays}")
            warnings = [record for record in server.records() if record.get("level") == WARN and "sessions" in record]
            equal([record["sessions"] for record in warnings], [1] if stays else [], "the warning's count")
            check(time.monotonic() - began < 6, "in time", time.monotonic() - began)
            if stays:
                check(client.ended(), "the session that stayed is cut")
            for end in (client, above, other, other_above):
                end.close()


@case("jwt-drain-order")
def order(context):
    """20: those that are silent for longest go first, the oldest among equals, evenly; what was read is delivered before the Close."""
    need()
    count = 40
    server, upstream, token = leaving(context, delay="0s", timeout="5s", spread=80)
    pairs = [session(server, upstream, token=token) for _ in range(count)]
    # The second half speaks, in this order; the first half stays as silent as it was since it came.
    for number in range(count // 2, count):
        pairs[number][0].send(frame(BINARY, b"%d" % number))
        equal(pairs[number][1].frame(), (0x82, b"%d" % number), "a message")
        time.sleep(0.02)
    ends, lock = [], threading.Lock()

    def watch(number):
        client, above = pairs[number]
        first = client.frame()
        with lock:
            ends.append((time.monotonic(), number, first))
        client.send(frame(CLOSE, closed(1001)))
    threads = [threading.Thread(target=watch, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    server.signal()
    for thread in threads:
        thread.join(20)
    equal(len(ends), count, "sessions that were told")
    check(all(first == (0x88, closed(1001, "going away")) for _, _, first in ends), "1001 for everybody", ends[0])
    times = [at for at, _, _ in sorted(ends)]
    numbers = [number for _, number, _ in sorted(ends)]
    # Two shards spread theirs alike, each in order.
    check(sum(1 for number in numbers[:count // 2] if number < count // 2) >= count // 2 - 3, "the silent ones go first", numbers)
    spread = times[-1] - times[0]
    check(3.0 < spread < 4.5, "over four fifths of five seconds", spread)
    quarters = [sum(1 for at in times if times[0] + spread * part / 4 <= at < times[0] + spread * (part + 1) / 4 + 1e-9) for part in range(4)]
    check(max(quarters) <= count // 2 and min(quarters) >= count // 8, "evenly", quarters)
    equal(server.process.wait(10), 0, "exit status")
    check(time.monotonic() - began < 6, "in time", time.monotonic() - began)
    context.note(f"ends over {spread:.2f} s, in quarters {quarters}")


@case("jwt-drain-delivers")
def delivers(context):
    """20: what was read of either end before its session was told to go arrives in front of the Close, though the other end was slow."""
    need()
    server, upstream, token = leaving(context, delay="0s", timeout="8s", spread=0)
    size = 300_000
    for name in ("client", "upstream"):
        client, above = session(server, upstream, token=token)
        source = client if name == "client" else above
        source.send(b"".join(frame(BINARY, bytes([number]) * 3000, masked=name == "client") for number in range(size // 3000)))
        if name == "client":
            first_pair = (client, above)
    second_pair = (client, above)
    time.sleep(0.5)
    before = {direction: sum(value for labels, value in samples_of(server).items() if f'direction="{direction}"' in labels) for direction in ("up", "down")}
    server.signal()
    time.sleep(0.3)
    for name, (client, above) in (("client", first_pair), ("upstream", second_pair)):
        sink = above if name == "client" else client
        got = 0
        while True:
            first, payload = sink.frame()
            if first == 0x88:
                break
            equal(payload, bytes([got]) * 3000, "a message in its place")
            got += 1
        equal(payload[:2], closed(1001), f"the Close behind what the {name} sent")
        direction = "up" if name == "client" else "down"
        check(got >= before[direction] > 0, f"messages of the {name} that had been read", got, before)
    for client, above in (first_pair, second_pair):
        client.close()
        above.close()
    equal(server.process.wait(12), 0, "exit status")


def samples_of(server):
    """Messages by route and direction."""
    return {labels or "": value for labels, value in samples(server.request("GET", "/metrics")[1].decode(), "ws_messages_total").items()}


@case("jwt-drain-twice")
def twice(context):
    """20: a second SIGTERM skips to the end: during the delay and during the drain, with the count of what was left and the status for it."""
    need()
    for delay, is_strict, status in (("20s", "true", 3), ("0s", "true", 3), ("20s", "false", 0), ("0s", "false", 0)):
        server, upstream, token = leaving(context, delay=delay, timeout="30s", spread=100, strict_exit=is_strict)
        pairs = [session(server, upstream, token=token) for _ in range(10)]
        server.signal()
        time.sleep(1)
        check(server.process.poll() is None, "it does not leave at the first")
        began = time.monotonic()
        server.signal(signal.SIGINT if delay == "0s" else signal.SIGTERM)
        equal(server.process.wait(5), status, f"exit status, delay {delay}, strict {is_strict}")
        check(time.monotonic() - began < 2, "at once", time.monotonic() - began)
        warnings = [record for record in server.records() if record.get("level") == WARN and "sessions" in record]
        check(len(warnings) == 1 and 1 <= warnings[0]["sessions"] <= 10, "the warning's count", warnings)
        for client, above in pairs:
            client.close()
            above.close()
    # Nobody is left: nothing is cut, and strictness has nothing to say.
    server, upstream, token = leaving(context, delay="20s", timeout="30s", strict_exit="true")
    server.signal()
    time.sleep(1)
    server.signal()
    equal(server.process.wait(5), 0, "exit status without sessions")
