"""The JWT proxy's forwarding between two raw ends: what one writes the other reads, bit for bit; and how sessions end."""
import hashlib
import os
import socket
import struct
import threading
import time

from cases_jwt import native, need
from handshakes import Opened, RawUpstream, session
from harness import case, check, equal, eventually
from rawsocket import BINARY, CLOSE, PING, PONG, TEXT, frame
from services import websocket_echo

try:
    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "%s" }]%s }'
REST = """  limits: { handshakes_per_second: 0, sessions_per_subject: 0 }
  metrics: { public: "true" }
"""
# Header of a frame of 2^31 bytes and a few.
HUGE_BYTES = (1 << 31) + 5
SLOW_BYTES = 100 << 20
# What a stalled direction may hold: buffers of 64 KiB, reads that were under way, and pages the pool touched for the first time.
STALL_GROWTH_BYTES = 16 << 20


def pair(context, more="", other="", **options):
    """A gateway whose upstream is a raw socket, and perhaps another route; what makes tokens."""
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context, **options)
    server = native(context, issuer, ROUTE % (upstream.url, more) + other, rest=REST)
    return server, upstream, issuer.token


def closed(code=None, reason=""):
    return b"" if code is None else struct.pack(">H", code) + reason.encode()


def is_idle(server):
    return server.metrics()[0].get("ws_active_sessions") == 0


@case("jwt-closes")
def closes(context):
    """T15: every close from either end is the other's, with its code and reason; whoever vanishes is told of; nobody dials again."""
    need()
    server, upstream, token = pair(context)
    sessions, delays = 0, []
    for payload in (closed(), closed(1000), closed(1011), closed(4000, "why"), closed(3999, "é" * 61)):
        for ours in ("client", "upstream"):
            client, above = session(server, upstream, token=token())
            sessions += 1
            first, second = (client, above) if ours == "client" else (above, client)
            began = time.monotonic()
            first.send(frame(CLOSE, payload, masked=ours == "client"))
            equal(second.frame(), (0x88, payload), f"the {ours}'s close")
            delays.append(time.monotonic() - began)
            second.send(frame(CLOSE, payload, masked=ours == "upstream"))
            equal(first.frame(), (0x88, payload), f"the answer to the {ours}'s close")
            check(first.ended() and second.ended(), "both connections end")
    for way in ("reset", "close"):
        client, above = session(server, upstream, token=token())
        began = time.monotonic()
        getattr(above, way)()
        equal(client.frame(), (0x88, closed(1014, "upstream unavailable")), f"upstream {way}")
        delays.append(time.monotonic() - began)
        client.send(frame(CLOSE, closed(1014)))
        check(client.ended(), "the client's connection ends")
        client, above = session(server, upstream, token=token())
        began = time.monotonic()
        getattr(client, way)()
        equal(above.frame()[0], 0x88, f"client {way}")
        delays.append(time.monotonic() - began)
        above.send(frame(CLOSE, masked=False))
        check(above.ended(), "the upstream's connection ends")
        sessions += 2
    # A machine that is busy with something else may be late once or twice.
    check(sorted(delays)[len(delays) * 3 // 4] < 0.1, "the other side sees it within 100 ms", delays)
    # Codes that nobody may send.
    for code in (1005, 1006, 1015, 999):
        client, above = session(server, upstream, token=token())
        client.send(frame(CLOSE, closed(code)))
        equal(above.frame()[1][:2], closed(1002), f"{code} is not passed on")
        sessions += 1
        client.close()
        above.close()
    eventually(lambda: is_idle(server), "no session is left", 10)
    equal(len(upstream.heads), sessions, "dials")


def exchange(source, sink, data, answers, pieces):
    """Sends bytes in pieces; what arrives, and the Pongs that came back."""
    def write():
        at = 0
        while at < len(data):
            count = next(pieces)
            source.send(data[at:at + count])
            at += count
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    got = sink.raw(len(data) - sum(map(len, answers)))
    writer.join(30)
    return got


@case("jwt-frames-exact")
def exact(context):
    """T18: fragments, empty frames, control frames between fragments and frames of every length arrive as they were sent."""
    need()
    server, upstream, token = pair(context)
    for masked in (True, False):
        for step in (1 << 20, 1459, 7):
            client, above = session(server, upstream, token=token())
            source, sink = (client, above) if masked else (above, client)
            make = lambda opcode, payload=b"", fin=True: frame(opcode, payload, fin, masked=masked)
            pings = [make(PING, b"one"), make(PING, b"two" * 41), make(PING)]
            parts = [make(TEXT, "ü".encode()[:1], False), pings[0], make(0, b"", False), make(0, "ü".encode()[1:], True),
                     make(BINARY), make(TEXT, b"", False), make(0), make(BINARY, b"a", False), pings[1], pings[2], make(0, b"b")]
            for size in (1, 125, 126, 127, 65535, 65536, 70_000) if step == 7 else (1, 125, 126, 65535, 65536, 1 << 20):
                parts.append(make(BINARY, os.urandom(size)))
            # The longer forms of a length that a shorter would do for.
            parts.append(frame(BINARY, b"long", length=(126, struct.pack(">H", 4)), masked=masked))
            parts.append(frame(BINARY, b"long", length=(127, struct.pack(">Q", 4)), masked=masked))
            data = b"".join(parts)
            expected = b"".join(part for part in parts if part not in pings)
            got = exchange(source, sink, data, pings, iter(lambda: step, None))
            check(got == expected, f"bytes of the {'client' if masked else 'upstream'} in pieces of {step}")
            for ping in (b"one", b"two" * 41, b""):
                equal(source.frame(), (0x80 | PONG, ping), "a Ping is answered by the gateway")
            client.close()
            above.close()


@case("jwt-frames-hostile")
def hostile(context):
    """T18: frames that are none end the session: 1002 to who sent them, and the other end is told."""
    need()
    server, upstream, token = pair(context)
    attempts = {
        "reserved bit": dict(opcode=BINARY, payload=b"x", reserved=4), "opcode 3": dict(opcode=3, payload=b"x"),
        "opcode 15": dict(opcode=15), "fragmented Ping": dict(opcode=PING, fin=False), "long Ping": dict(opcode=PING, payload=b"x" * 126),
        "top bit of the length": dict(opcode=BINARY, length=(127, b"\x80" + bytes(7))), "continuation of nothing": dict(opcode=0, payload=b"x"),
        "close of one byte": dict(opcode=CLOSE, payload=b"\x03"),
    }
    for masked in (True, False):
        for name, options in {**attempts, "the other mask": dict(opcode=BINARY, payload=b"x")}.items():
            client, above = session(server, upstream, token=token())
            source, sink = (client, above) if masked else (above, client)
            source.send(frame(masked=masked != (name == "the other mask"), **options))
            who = f"{name} of the {'client' if masked else 'upstream'}"
            equal(source.frame()[1][:2], closed(1002), who)
            first, payload = sink.frame()
            check((first, payload[:2]) in ((0x88, closed(1002)), (0x88, closed(1014))), f"the other end of {who}", first, payload)
            client.close()
            above.close()
    eventually(lambda: is_idle(server), "no session is left", 15)


@case("jwt-frames-huge", slow=True)
def huge(context):
    """T18: one frame of more than 2^31 bytes each way, which nothing keeps in memory."""
    need()
    server, upstream, token = pair(context)
    client, above = session(server, upstream, token=token())
    before = server.resident_bytes()
    block = bytes(1 << 20)
    for source, sink, masked in ((client, above, True), (above, client, False)):
        header = frame(BINARY, b"", length=HUGE_BYTES, masked=masked)

        def write():
            source.send(header)
            left = HUGE_BYTES
            while left:
                source.send(block[:min(left, len(block))])
                left -= min(left, len(block))
            source.send(frame(TEXT, b"behind", masked=masked))
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        equal(sink.raw(len(header)), header, "its header")
        sink.skip(HUGE_BYTES)
        equal(sink.frame(), (0x81, b"behind"), "the frame behind it")
        writer.join(30)
    check(server.resident_bytes() - before < STALL_GROWTH_BYTES, "memory", server.resident_bytes() - before)


@case("jwt-slow-readers")
def slow(context):
    """T17: a reader that stands still, each way: memory stays, others go on, and all 100 MiB arrive when it reads again."""
    need()
    other = "\n    - { name: echo, prefix: /echo, protocol: raw, upstreams: [{ url: 'ws://127.0.0.1:%d/' }] }" % websocket_echo(context)
    server, upstream, token = pair(context, other=other, receive_buffer=1 << 16)
    neighbour = Opened(server.port, "/echo", token())
    for masked in (True, False):
        client, above = session(server, upstream, token=token())
        source, sink = (client, above) if masked else (above, client)
        source.socket.settimeout(60)
        before = server.resident_bytes()
        digest, sent = hashlib.sha256(), [0]

        def write():
            for number in range(SLOW_BYTES >> 20):
                payload = hashlib.sha256(b"%d" % number).digest() * (1 << 15)
                digest.update(payload)
                source.send(frame(BINARY, payload, masked=masked))
                sent[0] += 1
        writer = threading.Thread(target=write, daemon=True)
        writer.start()

        def stands():
            last = sent[0]
            for _ in range(20):
                neighbour.send(b"still")
                equal(neighbour.receive(), (2, b"still"), "a neighbour of a stalled session")
                time.sleep(0.02)
            return sent[0] == last
        eventually(stands, "the sender is no longer read", 8)
        check(sent[0] < SLOW_BYTES >> 21, "messages taken from the sender while the reader stands still", sent[0])
        check(server.resident_bytes() - before < STALL_GROWTH_BYTES, "memory", server.resident_bytes() - before)
        got = hashlib.sha256()
        for _ in range(SLOW_BYTES >> 20):
            first, payload = sink.frame()
            equal(first, 0x82, "a message")
            got.update(payload)
        writer.join(30)
        equal(got.digest(), digest.digest(), "what arrived")
        client.close()
        above.close()


@case("jwt-deflate")
def deflate(context):
    """T19: permessage-deflate is agreed between the ends, and its bit passes; without the option the offer is taken out."""
    need()
    fields = ["Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_max_window_bits=12"]
    offer = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other"]
    server, upstream, token = pair(context, ", compression: passthrough", fields=fields)
    client, above = session(server, upstream, token=token(), fields=offer)
    check("permessage-deflate; client_max_window_bits" in upstream.heads[-1], "the offer goes up", upstream.heads[-1])
    for source, sink, masked in ((client, above, True), (above, client, False)):
        data = frame(TEXT, b"\xaa\x56\x2a", reserved=4, masked=masked) + frame(BINARY, b"plain", masked=masked)
        source.send(data)
        equal(sink.raw(len(data)), data, "a compressed message")
    opened = Opened(server.port, token=token(), fields=offer)
    equal(opened.fields["sec-websocket-extensions"], fields[0].split(": ")[1], "parameters come back as they are")
    for end in (client, above, opened.socket, upstream.take()):
        end.close()
    server.end()
    server, upstream, token = pair(context)
    opened = Opened(server.port, token=token(), fields=offer)
    equal((opened.status, opened.fields.get("sec-websocket-extensions")), (101, None), "without the option")
    check("permessage-deflate" not in upstream.heads[-1], "the offer is taken out", upstream.heads[-1])
