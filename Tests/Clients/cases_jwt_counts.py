"""The JWT proxy and what it counts: connections of an address through every end of a session, and sessions before and behind a reload."""
import socket
import struct
import time

from cases_jwt import native, need
from cases_jwt import reload as replace
from cases_jwt_bounds import samples
from cases_jwt_upstreams import unused
from cases_jwt_waiting import reset
from handshakes import Peer, RawUpstream, session
from harness import case, check, equal, eventually
from rawsocket import BINARY, CLOSE, frame, head

try:
    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: %s, health: off, upstreams: [{ url: "%s" }]%s }'
REST = """  limits: { handshakes_per_second: 0, handshakes_per_ip: 1000, failures_per_minute: 0, sessions_per_subject: 0%s }
  breaker: { failures: 1000 }
  dial: { attempts: 1, connect: 60s, handshake: 60s, attempt: 60s, deadline: 60s }
  metrics: { public: "true" }
"""
# Connections an address may have.
PLACES = 4
# How long an issuer takes that clients wait for, and the time from one fetch to the next: `min_refetch`, and what a fetch takes.
FETCH_SECONDS, REFETCH_SECONDS = 1.0, 2.5


def answered(context, server, path):
    """A connection that is kept, and how a request was answered on it; None: it was closed."""
    client = server.connect()
    try:
        client.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
        data = client.recv(4096)
    except (BrokenPipeError, ConnectionResetError):
        data = b""
    if not data:
        client.close()
        return None
    context.defer(client.close)
    return client, data


class Address:
    """The connections of this client's address. All are answered once: so they are counted, and not about to be closed."""

    def __init__(self, context, server):
        self.context, self.server = context, server
        self.held = []
        while len(self.held) < PLACES:
            self.come()
        self.is_full("at first")

    def connect(self):
        """A connection that is answered; None: it was closed."""
        found = answered(self.context, self.server, "/healthz")
        if not found:
            return None
        check(found[1].startswith(b"HTTP/1.1 200 ") and found[1].endswith(b"ok"), "an answer", found[1])
        return found[0]

    def come(self):
        """One more connection, as soon as there is a place."""
        self.held.append(eventually(self.connect, "a place comes back", 10))

    def is_full(self, text):
        check(self.connect() is None, f"one connection too many, {text}")

    def upgrade(self, path, token=None, status=101, **options):
        """Turns one of the connections into a client of the proxy; its end, with the answer's head read when one is expected."""
        client = Peer(self.held.pop())
        extra = [("Authorization", "Bearer " + token)] if token else []
        client.send(head(path, extra=extra, **options))
        if status:
            while b"\r\n\r\n" not in client.buffer:
                check(client.fill(), "no answer", client.buffer)
            found, client.buffer = client.buffer.split(b"\r\n\r\n", 1)
            equal(int(found.split()[1]), status, f"the answer of {path}")
        return client


@case("jwt-counts-connections")
def connections(context):
    """17: an upgraded connection counts under its address until its session ends, however that is, and then no more: once."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    silent = socket.create_server(("127.0.0.1", 0))
    context.defer(silent.close)
    routes = [ROUTE % ("raw", "ws", "raw", upstream.url, ""), ROUTE % ("told", "told", "raw", upstream.url, ", auth: { reject: close }"),
              ROUTE % ("first", "first", "mqtt", upstream.url, ""), ROUTE % ("late", "late", "raw", upstream.url, ", dial: after_accept"),
              ROUTE % ("dead", "dead", "raw", f"ws://127.0.0.1:{unused()}/", ""),
              ROUTE % ("lost", "lost", "raw", f"ws://127.0.0.1:{unused()}/", ", dial: after_accept"),
              ROUTE % ("silent", "silent", "raw", "ws://127.0.0.1:%d/" % silent.getsockname()[1], ""),
              ROUTE % ("mute", "mute", "raw", "ws://127.0.0.1:%d/" % silent.getsockname()[1], ", dial: after_accept")]
    server = native(context, issuer, "\n    - ".join(routes), ", min_refetch: 1s", REST % f", connections_per_ip: {PLACES}")
    token = issuer.token()
    bad = token[:-6] + "AAAAAA"
    address = Address(context, server)

    def rest(client):
        """Reads to the end, and goes too."""
        try:
            while client.fill():
                pass
        except ConnectionResetError:
            pass
        client.close()

    def refused():
        rest(address.upgrade("/ws", bad, 401))

    def no_credential():
        rest(address.upgrade("/ws", status=401))

    def no_upgrade():
        # An answer of the HTTP server: the connection goes on, and is counted.
        client = address.upgrade("/ws", token, 426, replace={"Sec-WebSocket-Version": "8"})
        address.is_full("behind an answer that is no end")
        client.close()

    def refused_behind():
        rest(address.upgrade("/told", bad))

    def refused_first():
        client = address.upgrade("/first")
        address.is_full("before first data")
        client.send(frame(BINARY, b"no CONNECT"))
        rest(client)

    def unreached():
        rest(address.upgrade("/dead", token, 502))

    def unreached_behind():
        client = address.upgrade("/lost", token)
        client.send(frame(BINARY, b"first"))
        rest(client)

    def closed(path, by_client, ends):
        def end():
            client = address.upgrade(path, token)
            client.send(frame(BINARY, b"first"))
            above = upstream.take()
            equal(above.frame(), (0x82, b"first"), "a message")
            address.is_full("beside a session")
            one, other = (client, above) if by_client else (above, client)
            if ends:
                one.reset()
                rest(other)
                return
            one.send(frame(CLOSE, struct.pack(">H", 1000), masked=by_client))
            other.frame()
            other.send(frame(CLOSE, struct.pack(">H", 1000), masked=not by_client))
            rest(one), rest(other)
        return end

    def left_dialling(path, status, leave):
        def end():
            client = address.upgrade(path, token, status)
            if status:
                client.send(frame(BINARY, b"first"))
            dialled = silent.accept()[0]
            address.is_full("beside a dial")
            leave(client)
            dialled.close()
        return end

    def wait_for_keys(status=None):
        """A client whose key nobody knows: it waits while the keys are fetched again."""
        # As long as they may not be, nobody waits.
        time.sleep(REFETCH_SECONDS)
        before = len(issuer.requests)
        issuer.rotate(f"unpublished-{before}", publish=False)
        client = address.upgrade("/ws", issuer.token(), status)
        eventually(lambda: len(issuer.requests) > before, "a fetch of keys", 10)
        return client

    def left_waiting(leave):
        def end():
            issuer.delay = FETCH_SECONDS
            client = wait_for_keys()
            address.is_full("beside one that waits")
            client.socket.setblocking(False)
            try:
                client.fill()
            except BlockingIOError:
                issuer.delay = 0
                return leave(client)
            # The machine was busy with something else for longer than the issuer took.
            rest(client)
            address.come()
            return end()
        return end

    ends = {
        "refused": refused, "without a credential": no_credential, "no upgrade": no_upgrade, "refused behind a 101": refused_behind,
        "refused for its first data": refused_first, "an upstream that is not there": unreached, "and behind a 101": unreached_behind,
    }
    for path in ("/ws", "/late"):
        for by_client in (True, False):
            for resets in (False, True):
                name = f"{path} {'reset' if resets else 'closed'} by the {'client' if by_client else 'upstream'}"
                ends[name] = closed(path, by_client, resets)
    for name, leave in (("left", Peer.close), ("reset", Peer.reset)):
        ends[f"{name} during the dial"] = left_dialling("/silent", None, leave)
        ends[f"{name} during the dial behind a 101"] = left_dialling("/mute", 101, leave)
        ends[f"{name} while waiting for keys"] = left_waiting(leave)
    ends["refused after waiting for keys"] = lambda: rest(wait_for_keys(401))
    for name, end in ends.items():
        end()
        try:
            address.come()
            address.is_full(f"after: {name}")
        except AssertionError as failure:
            raise type(failure)(name, *failure.args)
    # What ended has been over for seconds by now.
    address.is_full("in the end")
    for client in address.held:
        client.close()
    context.note(f"{len(ends)} ends")
    Address(context, server)


@case("jwt-counts-reload")
def reload(context):
    """21.2: routes and upstreams that have other places after a reload are counted by their names, and sessions from before by theirs."""
    need()
    issuer, first, second = Issuer(context, "ES256"), RawUpstream(context), RawUpstream(context)
    routes = [ROUTE % ("one", "one", "raw", first.url, ""), ROUTE % ("two", "two", "raw", second.url, "")]
    server = native(context, issuer, "\n    - ".join(routes), rest=REST % "" + "shards: 1\n")
    path = context.folder / "sluice.yaml"

    def end(client, above):
        client.send(frame(CLOSE, struct.pack(">H", 1000)))
        above.frame()
        above.send(frame(CLOSE, struct.pack(">H", 1000), masked=False))
        check(client.frame()[0] == 0x88 and client.ended(), "the end")
        client.close(), above.close()

    def run(name, upstream):
        end(*session(server, upstream, "/" + name, issuer.token()))
    run("two", second)
    living = session(server, first, "/one", issuer.token())
    replace(context, server, path.read_text().replace("\n    - ".join(routes), "\n    - ".join(reversed(routes))))
    end(*living)
    # Different numbers: sums that are mixed up are wrong.
    for _ in range(3):
        run("two", second)
    run("one", first)
    expected = {"one": 2, "two": 4}

    def counted():
        page = server.request("GET", "/metrics")[1].decode()
        found = {}
        for name, upstream in (("one", first), ("two", second)):
            place = f"ws://127.0.0.1:{upstream.port}/up"
            accepted = f'{{route="{name}",result="accepted",reason="ok",source="authorization"}}'
            found[name] = [
                samples(page, "ws_handshakes_total").get(f'{{route="{name}",code="101"}}'),
                samples(page, "ws_auth_total").get(accepted),
                samples(page, "ws_closes_total").get(f'{{route="{name}",from="client",code="1000"}}'),
                samples(page, "ws_session_seconds_count").get(f'{{route="{name}",protocol="raw"}}'),
                samples(page, "ws_upstream_dials_total").get(f'{{upstream="{place}",result="ok"}}'),
                samples(page, "ws_upstream_dial_seconds_count").get(f'{{upstream="{place}"}}'),
            ]
        return found
    wanted = {name: [number] * 6 for name, number in expected.items()}
    eventually(lambda: sum(found[2] or 0 for found in counted().values()) == 6, "the ends of all sessions")
    equal(counted(), wanted, "handshakes, credentials, closes, sessions, dials and their times")


@case("jwt-counts-features")
def features(context):
    """17: connections of a listener that ceases to serve the proxy, or begins to, are counted no more, or from then on."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    without, served = "features: [sessions]", "features: [jwt, sessions]"
    rest = REST % f", connections_per_ip: {PLACES}" + "shards: 1\n"
    server = native(context, issuer, ROUTE % ("one", "one", "raw", upstream.url, ""), rest=rest, features="jwt, sessions")
    path = context.folder / "sluice.yaml"

    def put(former, latter):
        replace(context, server, path.read_text().replace(former, latter))

    def come():
        found = answered(context, server, "/nowhere")
        return found and found[0]

    held = [eventually(come, "a place", 10) for _ in range(PLACES)]
    check(come() is None, "one connection too many at first")
    # Counted, and gone while nobody counts: their places are free when somebody counts again.
    put(served, without)
    for client in held:
        client.close()
    eventually(come, "a listener that counts nobody", 10).close()
    put(without, served)
    held = [eventually(come, "a place that was held before", 10) for _ in range(PLACES)]
    check(come() is None, "one connection too many behind a reload")
    for client in held:
        client.close()
    # Not counted when they came, and sessions since: they count, and give back no more than they had.
    put(served, without)
    held = [eventually(come, "a listener that counts nobody", 10) for _ in range(PLACES - 1)]
    put(without, served)
    sessions = []
    for client in held:
        peer = Peer(client)
        peer.send(head("/one", extra=[("Authorization", "Bearer " + issuer.token())]))
        while b"101 Switching" not in peer.buffer or not peer.buffer.endswith(b"\r\n\r\n"):
            check(peer.fill(), "a session on a connection from before", peer.buffer)
        sessions.append(peer)
    last = eventually(come, "the last place", 10)
    check(come() is None, "one connection too many beside sessions")
    for peer in sessions:
        peer.close()
    held = [eventually(come, "a place of a session that ended", 10) for _ in range(PLACES - 1)]
    check(come() is None, "one connection too many behind sessions")
    for client in held + [last]:
        client.close()
