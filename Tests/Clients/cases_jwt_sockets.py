"""The JWT proxy and what its sockets are told: packets that leave together, and peers that are looked after.

Theory of operation
  packets      `TCP_INFO` of the other end counts segments that came in. What is told to leave together may still be parted by a
               machine that does not get round to it within the kernel's patience (40 to 200 ms): one set-up of several has to show it.
  keep-alive   `/proc/net/tcp` says which timer a socket has. Nothing is expected within a time; only nothing before its time.
"""
import socket
import struct
import threading
import time

from cases_jwt import native, need
from handshakes import Opened, RawUpstream, session
from harness import case, check, equal, eventually
from rawsocket import BINARY, CLOSE, frame, head

try:
    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: raw, health: off, upstreams: [{ url: "%s" }]%s }'
REST = """  limits: { handshakes_per_second: 0, failures_per_minute: 0, sessions_per_subject: 0 }
  dial: { attempts: 1 }
  breaker: { failures: 1000 }
shards: 1
"""
# Connections until one has to show that its packets leave together.
TRIES = 20
# `ProxyBounds.keepAliveMilliseconds`, and what a clock of milliseconds loses.
KEEP_ALIVE_SECONDS, CLOCK_SECONDS = 10, 0.01


def segments(connection):
    """Segments that came in (`tcpi_segs_in`, linux/tcp.h)."""
    return struct.unpack_from("I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), 140)[0]


def least(count, expected, text):
    """One of several connections has to come by with so many segments."""
    found = []
    while len(found) < TRIES and expected not in found:
        found.append(count())
    equal(min(found), expected, text)


def timer(local, remote):
    """Kind of the timer of a connection over 127.0.0.1 by its ports: 0 none, 1 data under way, 2 keep-alive; None: no such connection."""
    with open("/proc/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if (fields[1], fields[2]) == (f"0100007F:{local:04X}", f"0100007F:{remote:04X}"):
                return int(fields[5].split(":")[0], 16)
    return None


@case("jwt-packets-first")
def first(context):
    """The last ACK of a dial's handshake leaves with the first bytes: an upstream has its request, or ClientHello, after two packets."""
    need()
    issuer = Issuer(context, "ES256")
    listener = socket.create_server(("127.0.0.1", 0))
    context.defer(listener.close)
    port = listener.getsockname()[1]
    server = native(context, issuer, "\n    - ".join([ROUTE % ("plain", "plain", f"ws://127.0.0.1:{port}/", ""),
                                                     ROUTE % ("tls", "tls", f"wss://127.0.0.1:{port}/", "")]), rest=REST)
    # Who has nothing to say yet sends the ACK alone.
    with socket.create_connection(("127.0.0.1", port)):
        accepted = listener.accept()[0]
        alone = segments(accepted)
        accepted.close()

    def dialled(path):
        """Segments that an upstream has when it can read something."""
        client = threading.Thread(target=Opened, args=(server.port, path, issuer.token()), daemon=True)
        client.start()
        upstream = listener.accept()[0]
        upstream.settimeout(10)
        check(upstream.recv(65536, socket.MSG_PEEK), "what the gateway says first")
        found = segments(upstream)
        # It is refused, and the client told.
        upstream.close()
        client.join(10)
        return found
    for path in ("/plain", "/tls"):
        least(lambda: dialled(path), alone, f"segments with the first bytes to {path}")


@case("jwt-packets-last")
def last(context):
    """FIN leaves with the last bytes: the Close that ends a session is one packet with the end, and so is an answer that refuses."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    server = native(context, issuer, ROUTE % ("raw", "ws", upstream.url, ""), rest=REST)

    def closed():
        client, above = session(server, upstream, token=issuer.token())
        # A connection on which there was a dialogue has its ACKs leave with answers.
        for _ in range(8):
            client.send(frame(BINARY, b"x"))
            above.frame()
            above.send(frame(BINARY, b"x", masked=False))
            client.frame()
        before = segments(client.socket)
        client.send(frame(CLOSE, struct.pack(">H", 1000)))
        above.frame()
        above.send(frame(CLOSE, struct.pack(">H", 1000), masked=False))
        equal(client.frame(), (0x88, struct.pack(">H", 1000)), "the Close")
        check(client.ended() and above.ended(), "the ends")
        found = segments(client.socket) - before
        client.close(), above.close()
        return found
    least(closed, 1, "segments of a Close and the end")

    def refused():
        client = server.connect()
        before = segments(client)
        client.sendall(head("/ws"))
        text = b""
        while data := client.recv(65536):
            text += data
        check(text.startswith(b"HTTP/1.1 401 "), "the answer", text)
        found = segments(client) - before
        client.close()
        return found
    least(refused, 2, "segments that acknowledge a request, and refuse it and end")


@case("jwt-keep-alive", slow=True)
def keep_alive(context):
    """Both connections of a session are looked after by the kernel once the session has lived for a while, and not before."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    server = native(context, issuer, ROUTE % ("raw", "ws", upstream.url, ""), rest=REST)
    began = time.monotonic()
    client, above = session(server, upstream, token=issuer.token())
    places = {"client": (server.port, client.socket.getsockname()[1]), "upstream": (above.socket.getpeername()[1], upstream.port)}
    eventually(lambda: all(timer(*place) == 0 for place in places.values()), "a session without timers", KEEP_ALIVE_SECONDS)
    kinds = {}
    while time.monotonic() - began < 3 * KEEP_ALIVE_SECONDS and list(kinds.values()) != [2, 2]:
        kinds = {name: timer(*place) for name, place in places.items()}
        now = time.monotonic()
        check(2 not in kinds.values() or now - began > KEEP_ALIVE_SECONDS - CLOCK_SECONDS, "looked after too soon", kinds, now - began)
        time.sleep(0.05)
    equal(kinds, {"client": 2, "upstream": 2}, "timers of an old session")
    context.note(f"looked after from {now - began:.1f} s on")
    client.close()
    above.close()
