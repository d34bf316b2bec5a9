"""/tcp-mux: item 9 of the acceptance checklist, every row of the tables in the section TCP multiplexing, and many streams at
once; raw frames where the client has to be wrong or slow, `websockets` where it has to be a client."""
import asyncio
import hashlib
import os
import socket
import struct
import time

import services
from harness import Skip, case, check, equal, eventually, vectors
from rawsocket import BINARY, CLOSE, PING, PONG, TEXT, frame, head, refusal, upgrade

OPEN, DATA, MUX_CLOSE, ERROR, MUX_PING, MUX_PONG = 1, 2, 3, 4, 5, 6
FIN, RST = 1, 2
PROTOCOL = "aero-tcp-mux-v1"
OFFER = [("Sec-WebSocket-Protocol", PROTOCOL)]


def mux(kind, stream, payload=b""):
    return struct.pack(">BII", kind, stream, len(payload)) + payload


def target(port, host="127.0.0.1", metadata=b""):
    name = host if isinstance(host, bytes) else host.encode()
    return struct.pack(">H", len(name)) + name + struct.pack(">HH", port, len(metadata)) + metadata


def opening(stream, port, host="127.0.0.1"):
    return mux(OPEN, stream, target(port, host))


class Mux:
    """A multiplexed WebSocket: each message of the server must carry exactly one frame."""

    def __init__(self, server, cookie, path="/tcp-mux", **options):
        self.peer = upgrade(server, path, cookie, extra=OFFER, **options)

    def send(self, *frames):
        self.peer.send(frame(BINARY, b"".join(frames)))

    def next(self):
        """One frame: (type, stream, payload)."""
        message = self.peer.message()
        kind, stream, count = struct.unpack(">BII", message[:9])
        equal(count, len(message) - 9, "one frame a message")
        check(count <= 65536, "a DATA frame has at most 64 KiB", count)
        return kind, stream, message[9:]

    def error(self, stream, code, text, why=""):
        equal(self.next(), (ERROR, stream, struct.pack(">HH", code, len(text)) + text.encode()), why or text)

    def data(self, stream, count):
        """So many bytes of one stream; nothing else may come."""
        received = bytearray()
        while len(received) < count:
            kind, number, payload = self.next()
            equal((kind, number), (DATA, stream), f"DATA of stream {stream}; {payload[:80]!r}")
            received += payload
        return bytes(received)

    def alive(self, payload=b"alive"):
        self.send(mux(MUX_PING, 77, payload))
        equal(self.next(), (MUX_PONG, 77, payload), "PING is answered with its id and payload")

    def close(self):
        self.peer.close()


@case("mux-upgrade")
def upgrades(context):
    server = context.server(PUBLIC_BASE_URL="http://localhost:8080/base")
    cookie = server.session()
    missing, invalid = (400, "Missing required subprotocol: " + PROTOCOL), (400, "Invalid Sec-WebSocket-Protocol header")
    for path in ("/tcp-mux", "/base/tcp-mux", "/tcp-mux?token=anything"):
        for lines, answer in (
                ([], missing), ([""], missing), (["AERO-TCP-MUX-V1"], missing), (["aero-tcp-mux-v2"], missing), ([PROTOCOL + " x"], invalid),
                ([PROTOCOL, "a/b"], invalid), ([PROTOCOL + "," + ",".join("t" * 32)], invalid), ([PROTOCOL, "a" * 4096], invalid),
                ([PROTOCOL], (101, "")), (["chat, ,", ", " + PROTOCOL + ",,"], (101, ""))):
            equal(refusal(server, head(path, cookie, extra=[("Sec-WebSocket-Protocol", line) for line in lines])), answer, f"{path} {lines}"[:200])
    equal(refusal(server, head("/tcp-mux", None, extra=OFFER)), (401, "Unauthorized"), "no cookie")
    equal(refusal(server, head("/tcp-mux", cookie, replace={"Sec-WebSocket-Version": "12"})), (400, "Invalid WebSocket upgrade"), "handshake")
    equal(refusal(server, head("/tcp-mux", cookie, extra=OFFER + [("Origin", "https://evil.example")])), (403, "Origin not allowed"), "origin")
    for entry in vectors("observed-gateway.json")["ws_handshake"]:
        raw = server.connect()
        raw.sendall(head("/tcp-mux", cookie, extra=OFFER, key=entry["key"]))
        expected = entry["responseWithMux"].encode()
        received = b""
        while len(received) < len(expected):
            received += raw.recv(4096)
        equal(received, expected, "the bytes of the answer")
        raw.close()


@case("mux-echo-and-framing")
def echo(context):
    server, port = context.server(), services.start(context, "echo")
    cookie = server.session()
    # Pipelined behind the upgrade; two streams in one message; OPEN and DATA at once.
    client = Mux(server, cookie, after=frame(BINARY, opening(1, port) + mux(DATA, 1, b"first")))
    equal(client.data(1, 5), b"first", "frames behind the head of the upgrade")
    client.send(opening(2, port), opening(3, port, "127.1"), mux(DATA, 2, b"two"), mux(DATA, 3, b"three"), mux(DATA, 2, b"TWO"))
    received = {2: b"", 3: b""}
    while len(received[2] + received[3]) < 11:
        kind, stream, payload = client.next()
        equal(kind, DATA, "type")
        received[stream] += payload
    equal(received, {2: b"twoTWO", 3: b"three"}, "two interleaved streams in one message")
    # Cut anywhere: over messages, over fragments, with a Ping between.
    for byte in opening(9, port) + mux(DATA, 9, b"cut to pieces"):
        client.peer.send(frame(BINARY, bytes([byte])))
    equal(client.data(9, 13), b"cut to pieces", "a byte a message")
    for byte in mux(MUX_PING, 5, b"xyz"):
        client.peer.send(frame(BINARY, bytes([byte])))
    equal(client.next(), (MUX_PONG, 5, b"xyz"), "PING in pieces")
    whole = mux(DATA, 9, os.urandom(3000))
    for cut in (1, 5, 9, 10, 1000):
        client.peer.send(frame(BINARY, whole[:cut], fin=False) + frame(PING, b"between") + frame(0, b"", fin=False) + frame(0, whole[cut:]))
        equal(client.peer.frame(), (PONG, b"between"), "a Ping inside a fragmented message")
        equal(client.data(9, 3000), whole[9:], f"fragments cut at {cut}")
    data = os.urandom(700_000)
    client.peer.send(b"".join(frame(BINARY, part) for part in (mux(DATA, 1, data)[:300_000], mux(DATA, 1, data)[300_000:])))
    equal(hashlib.sha256(client.data(1, 700_000)).digest(), hashlib.sha256(data).digest(), "a frame over two messages")
    client.send(mux(DATA, 1, b""), mux(MUX_PONG, 1, b"ignored"), mux(ERROR, 1, b"ignored"), mux(MUX_PING, 0xFFFFFFFF, b""))
    equal(client.next(), (MUX_PONG, 0xFFFFFFFF, b""), "an empty PING; PONG, ERROR and empty DATA are silent")
    big = os.urandom(60000)
    client.send(mux(MUX_PING, 3, big))
    equal(client.next(), (MUX_PONG, 3, big), "a large PING")
    client.peer.send(frame(CLOSE, struct.pack(">H", 1000) + b"bye"))
    equal(client.peer.frame(), (CLOSE, struct.pack(">H", 1000) + b"bye"), "Close is echoed")
    client.peer.expect_end()


@case("mux-reactions")
def reactions(context):
    """The table of server reactions, row by row, on one WebSocket that stays usable all the time."""
    server, port = context.server(TCP_MUX_MAX_STREAMS=3), services.start(context, "echo")
    client = Mux(server, server.session())
    client.send(opening(0, port))
    client.error(0, 3, "stream_id=0 is reserved")
    client.send(opening(1, port), opening(1, port))
    client.error(1, 3, "stream_id already exists")
    client.send(mux(DATA, 1, b"kept"))
    equal(client.data(1, 4), b"kept", "the existing stream is unaffected")
    client.send(opening(2, port), opening(3, port), opening(4, port))
    client.error(4, 5, "max streams exceeded")
    client.send(mux(MUX_CLOSE, 3, bytes([RST])))
    good = target(port)
    for payload in (b"", good[:-1], good + b"x", target(port, ""), target(port, "a b"), target(port, b"\xff"), target(port, "h" * 1025),
                    target(port, metadata=b"\xc3("), target(port, metadata=b"m" * 4097), target(port, "a\u2028"), b"x" * 6000):
        client.send(mux(OPEN, 5, payload))
        client.error(5, 3, "Invalid OPEN payload", repr(payload[:40]))
    client.send(mux(OPEN, 5, target(0)))
    client.error(5, 3, "Invalid target port")
    for host in ("-a.example", "a_b.example", "a..b", "a%41"):
        client.send(opening(5, port, host))
        client.error(5, 3, "Invalid host", host)
    client.send(mux(DATA, 99, b"x" * 5000), mux(DATA, 0, b""), mux(MUX_CLOSE, 99, bytes([FIN])), mux(MUX_CLOSE, 99, b""))
    client.error(99, 4, "unknown stream")
    client.error(0, 4, "unknown stream")
    for payload in (b"", b"\x01\x01", b"x" * 300):
        client.send(mux(MUX_CLOSE, 1, payload))
        client.error(1, 3, "Invalid CLOSE payload")
    client.send(mux(MUX_CLOSE, 1, b"\x00"), mux(MUX_CLOSE, 1, b"\xfc"), mux(DATA, 1, b"still"))
    equal(client.data(1, 5), b"still", "other flags of CLOSE are ignored")
    for kind in (0, 7, 255):
        client.send(mux(kind, 1, b"abc"))
        client.error(1, 3, f"Unknown msg_type {kind}")
    client.send(mux(MUX_CLOSE, 1, bytes([FIN])), mux(DATA, 1, b"late"))
    seen = [client.next(), client.next()]
    check((MUX_CLOSE, 1, bytes([FIN])) in seen, "the echo ends with the client", seen)
    texts = {payload[4:] for kind, _, payload in seen if kind == ERROR}
    check(texts <= {b"stream is half-closed (client FIN)", b"unknown stream"} and texts, "DATA after FIN", seen)
    client.send(opening(1, port), mux(DATA, 1, b"again"))
    equal(client.data(1, 5), b"again", "an id is free again once its stream is gone")
    client.send(mux(MUX_CLOSE, 1, bytes([FIN | RST])), mux(DATA, 1, b"x"))
    client.error(1, 4, "unknown stream", "RST wins over FIN and destroys without a reply")
    client.alive()
    eventually(lambda: server.metrics()[0]["sluice_mux_streams_active"] == 1, "one stream is left")
    client.close()
    eventually(lambda: server.metrics()[0]["sluice_mux_streams_active"] == 0, "the end of the WebSocket destroys its streams")
    eventually(lambda: server.metrics()[0]["sluice_mux_websockets_active"] == 0, "no WebSocket is left")


@case("mux-egress-policy")
def egress(context):
    port = services.start(context, "echo")
    closed = context.server(private=False)
    client = Mux(closed, closed.session())
    for number, host in enumerate(("127.0.0.1", "127.1", "2130706433", "::1", "[::1]", "::ffff:127.0.0.1", "10.1.2.3", "169.254.169.254"), 1):
        client.send(opening(number, port, host), mux(DATA, number, b"x"))
        client.error(number, 1, "Target IP is not allowed by IP egress policy", host)
        client.error(number, 4, "unknown stream")
    client.alive()
    equal(closed.metrics()[0]["tcp_proxy_blocked_by_ip_policy_total"], 8.0, "denials are counted with those of /tcp")
    names = context.server(TCP_REQUIRE_DNS_NAME=1)
    client = Mux(names, names.session())
    client.send(opening(1, port, "0x7f.1"))
    client.error(1, 1, "IP-literal targets are not allowed")
    limited = context.server(TCP_ALLOWED_PORTS=f"{port},1", TCP_ALLOWED_HOSTS="127.0.0.1,*.example", TCP_BLOCKED_HOSTS="bad.example")
    client = Mux(limited, limited.session())
    client.send(opening(1, port))
    for host, number, code, text in (("127.0.0.1", 2, 1, "Target port not allowed"), ("127.0.0.2", port, 1, "Target host not allowed"),
                                     ("example", port, 1, "Target host not allowed"), ("-x", port, 3, "Invalid target host"),
                                     ("bad.example", port, 1, "Target is blocked")):
        client.send(opening(2, number, host))
        client.error(2, code, text, host)
    client.send(mux(DATA, 1, b"other streams keep working"))
    equal(client.data(1, 26), b"other streams keep working", "a denied OPEN leaves the others alone")
    resolving = context.server()
    client = Mux(resolving, resolving.session())
    client.send(opening(1, port, "localhost"), mux(DATA, 1, b"by name"), mux(MUX_CLOSE, 1, bytes([FIN])))
    equal(client.data(1, 7), b"by name", "a name is looked up; what came meanwhile, FIN included, is kept")
    equal(client.next(), (MUX_CLOSE, 1, bytes([FIN])), "the echo ends")
    client.send(opening(2, port, "nowhere.invalid"))
    client.error(2, 2, "dial failed", "a name without an address")


@case("mux-places")
def places(context):
    server, port = context.server(TCP_PROXY_MAX_CONNECTIONS=1, TCP_PROXY_MAX_CONNECTIONS_PER_IP=2), services.start(context, "echo")
    cookie = server.session()
    client = Mux(server, cookie)
    client.send(opening(1, port), opening(2, port))
    client.error(2, 5, "session max connections exceeded")
    equal(refusal(server, head(f"/tcp?v=1&host=127.0.0.1&port={port}", cookie)), (429, "Too many concurrent connections"), "/tcp counts the streams")
    second, third = Mux(server, server.session()), Mux(server, server.session())
    second.send(opening(1, port), mux(DATA, 1, b"x"))
    equal(second.data(1, 1), b"x", "another session")
    third.send(opening(1, port))
    third.error(1, 5, "session max connections exceeded", "the limit of the address")
    client.send(mux(MUX_CLOSE, 1, bytes([RST])), opening(3, port), mux(DATA, 3, b"y"))
    equal(client.data(3, 1), b"y", "a stream that is gone has given its place back")
    client.send(mux(MUX_CLOSE, 3, bytes([FIN])))
    equal(client.next(), (MUX_CLOSE, 3, bytes([FIN])), "both directions end")

    def again():
        client.send(opening(4, port), mux(DATA, 4, b"z"))
        kind, _, payload = client.next()
        if kind == ERROR:
            equal(client.next()[0], ERROR, "and its DATA finds no stream")
            return False
        equal((kind, payload), (DATA, b"z"), "echo")
        return True
    eventually(again, "the place of a finished stream comes back")
    client.close()
    eventually(lambda: refusal(server, head(f"/tcp?v=1&host=127.0.0.1&port={port}", cookie))[0] == 101, "and all places with the WebSocket")


@case("mux-target-side")
def target_side(context):
    server = context.server(TCP_PROXY_IDLE_TIMEOUT_MS=800, TCP_PROXY_CONNECT_TIMEOUT_MS=600)
    client = Mux(server, server.session())
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    client.send(opening(1, unused.getsockname()[1]))
    client.error(1, 2, "dial failed", "a refused connection")
    client.send(opening(2, services.start(context, "source", 3_000_000)))
    data = client.data(2, 3_000_000)
    check(services.is_pattern(data[:65536], 0) and len(data) == 3_000_000, "the bytes of the source")
    equal(client.next(), (MUX_CLOSE, 2, bytes([FIN])), "FIN of the target, once")
    client.send(mux(MUX_CLOSE, 2, bytes([FIN])))
    listener = socket.create_server(("127.0.0.1", 0))
    number = listener.getsockname()[1]

    def accepted(stream):
        client.send(opening(stream, number))
        connection, _ = listener.accept()
        connection.settimeout(5)
        return connection
    connection = accepted(3)
    connection.shutdown(socket.SHUT_WR)
    equal(client.next(), (MUX_CLOSE, 3, bytes([FIN])), "FIN of the target")
    client.send(mux(DATA, 3, b"after the server's FIN"))
    equal(connection.recv(100), b"after the server's FIN", "data is accepted after the server's FIN")
    client.send(mux(DATA, 3, b"last"), mux(MUX_CLOSE, 3, bytes([FIN])))
    equal(connection.recv(100) + connection.recv(100), b"last", "queued DATA, then FIN reaches the target")
    connection.close()
    connection = accepted(4)
    client.send(mux(MUX_CLOSE, 4, bytes([FIN])))
    equal(connection.recv(100), b"", "FIN reaches the target")
    connection.sendall(b"half-open")
    equal(client.data(4, 9), b"half-open", "the target may go on")
    connection.close()
    equal(client.next(), (MUX_CLOSE, 4, bytes([FIN])), "and end")
    connection = accepted(5)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    client.error(5, 2, "dial failed", "a reset")
    connection = accepted(6)
    began = time.monotonic()
    client.error(6, 2, "TCP idle timeout")
    check(0.7 < time.monotonic() - began < 3, "the idle timeout", time.monotonic() - began)
    # A full backlog drops SYNs: the connect neither succeeds nor fails.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    time.sleep(0.2)
    client.send(opening(7, full.getsockname()[1]), mux(DATA, 7, b"x"))
    client.error(7, 2, "TCP connect timeout")
    client.alive()


@case("mux-framing-rules")
def framing(context):
    server = context.server(TCP_PROXY_MAX_MESSAGE_BYTES=1000, TCP_MUX_MAX_FRAME_PAYLOAD_BYTES=5000)
    cookie, port = server.session(), services.start(context, "echo")
    for name, sent, code in (
            ("text", frame(TEXT, b"text"), 1003), ("an unmasked frame", frame(BINARY, b"x", masked=False), 1002),
            ("RSV", frame(BINARY, b"x", reserved=4), 1002), ("a message above the limit", frame(BINARY, b"", length=1001)[:4], 1009),
            ("a reassembled message above it", frame(BINARY, mux(MUX_PONG, 1, b"x" * 600), fin=False) + frame(0, mux(MUX_PONG, 1, b"y" * 600)), 1009),
            ("a fragmented Ping", frame(PING, b"x", fin=False), 1002), ("a reserved opcode", frame(3, b""), 1002),
            ("a frame above its limit", frame(BINARY, struct.pack(">BII", DATA, 1, 5001)), 1002),
            ("its header in pieces", b"".join(frame(BINARY, bytes([byte])) for byte in struct.pack(">BII", DATA, 1, 1 << 31)), 1002)):
        client = Mux(server, cookie)
        client.peer.send(sent)
        equal(client.peer.until_close(), (code, b""), name)
        client.peer.expect_end()
    client = Mux(server, cookie)
    data = os.urandom(5000)
    whole = opening(1, port) + mux(DATA, 1, data)
    client.peer.send(b"".join(frame(BINARY, whole[start:start + 1000]) for start in range(0, len(whole), 1000)))
    equal(client.data(1, 5000), data, "a frame as long as may be, over several messages")
    client.send(mux(DATA, 1, b"before"), struct.pack(">BII", DATA, 1, 5001), b"behind")
    code, received = client.peer.until_close()
    equal(code, 1002, "behind good frames")
    check(received in (b"", mux(DATA, 1, b"before")), "nothing behind it is processed", received)


@case("mux-overflow")
def overflow(context):
    server = context.server(TCP_MUX_MAX_STREAM_BUFFER_BYTES=100_000, TCP_PROXY_CONNECT_TIMEOUT_MS=3000)
    client, echoes = Mux(server, server.session()), services.start(context, "echo")
    # Exactly: before the target is connected nothing is handed to the kernel.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    time.sleep(0.2)
    client.send(opening(1, full.getsockname()[1]), opening(2, echoes), mux(DATA, 1, b"x" * 60_000))
    client.send(mux(DATA, 1, b"y" * 39_999), mux(DATA, 1, b"z"))
    client.alive(b"at the cap")
    client.send(mux(DATA, 1, b"!"), mux(DATA, 2, b"unaffected"))
    client.error(1, 6, "stream buffered too much data", "one byte above the cap")
    equal(client.data(2, 10), b"unaffected", "the other stream")
    client.send(mux(DATA, 1, b"!"))
    client.error(1, 4, "unknown stream", "the stream is gone")
    # A connected target that never reads: the kernel takes what it takes, then the cap counts.
    client.send(opening(3, services.start(context, "deaf")))
    sent = 0
    client.peer.socket.settimeout(20)
    while True:
        client.send(*[mux(DATA, 3, b"d" * 10_000) for _ in range(10)])
        sent += 100_000
        client.send(mux(MUX_PING, 1, b""))
        kind, stream, payload = client.next()
        if kind == ERROR:
            break
        equal((kind, stream), (MUX_PONG, 1), "only PONG and ERROR")
        check(sent < 50_000_000, "a deaf target overflows", sent)
    equal((stream, payload[:2], payload[4:]), (3, b"\x00\x06", b"stream buffered too much data"), "overflow of a deaf target")
    while client.next()[0] != MUX_PONG:
        pass
    client.send(mux(DATA, 2, b"still there"))
    equal(client.data(2, 11), b"still there", "the other stream")
    context.note(f"a deaf target overflowed after {sent} bytes")
    check(server.metrics()[0]['sluice_mux_errors_total{code="buffer_overflow"}'] == 2, "overflows are counted")


@case("mux-slow-client")
def slow_client(context):
    """A client that does not read stops every target of its WebSocket; each gets its turn afterwards."""
    server = context.server()
    ports = [services.start(context, "source", 20_000_000) for _ in range(6)]
    client = Mux(server, server.session(), receive_buffer=65536)
    client.send(*[opening(number, port) for number, port in enumerate(ports, 1)])
    time.sleep(1.5)
    held = server.resident_bytes()
    check(server.metrics()[0]['sluice_mux_paused_total{behind="client"}'] > 0, "targets were paused")
    digests, counts, ended, first = {n: hashlib.sha256() for n in range(1, 7)}, dict.fromkeys(range(1, 7), 0), set(), {}
    total = 0
    while len(ended) < 6:
        kind, stream, payload = client.next()
        if kind == MUX_CLOSE:
            ended.add(stream)
            first.setdefault("spread", max(counts.values()) - min(counts.values()))
            continue
        equal(kind, DATA, "DATA or CLOSE")
        digests[stream].update(payload)
        counts[stream] += len(payload)
        total += len(payload)
    expected = hashlib.sha256((services.PATTERN * (20_000_000 // len(services.PATTERN) + 1))[:20_000_000]).digest()
    for number in range(1, 7):
        equal((counts[number], digests[number].digest()), (20_000_000, expected), f"stream {number}")
    context.note(f"six sources of 20 MB; when the first ended the slowest was {first['spread'] / 1e6:.1f} MB behind; rss {held >> 20} MiB")
    # How fast the sources themselves are is not up to the gateway; a stream that gets no turn stands at almost nothing.
    check(first["spread"] < 16_000_000, "streams are served in turn", first)


@case("mux-stalled-beside-fast")
def stalled(context):
    """One stream whose target stalled below its cap; others echo at full speed meanwhile."""
    server = context.server()
    flag = context.folder / "go"
    flag.unlink(missing_ok=True)
    deaf, echoes = services.start(context, "slow", flag), services.start(context, "echo")
    client = Mux(server, server.session())
    block = os.urandom(50_000)
    client.send(opening(1, deaf), opening(2, echoes))
    sent = hashlib.sha256()
    for _ in range(16):
        client.send(mux(DATA, 1, block))
        sent.update(block)
    for number in range(200):
        client.send(mux(DATA, 2, block[:1000 + number]))
        equal(client.data(2, 1000 + number), block[:1000 + number], "the fast stream")
    flag.touch()
    client.send(mux(MUX_CLOSE, 1, bytes([FIN])))
    equal(client.next(), (MUX_CLOSE, 1, bytes([FIN])), "the stalled stream ends when its target has read all")
    result = eventually(lambda: (context.folder / "go.result").exists() and (context.folder / "go.result").read_text(), "the slow target's result", 20)
    equal(result.split(), [str(16 * len(block)), sent.hexdigest(), "end"], "every byte, then FIN")


@case("mux-many-streams")
def many(context):
    """Many streams at once through `websockets`; every stream's echo has the SHA-256 of what it sent."""
    try:
        import websockets
    except ImportError:
        raise Skip("the Python package websockets is not installed") from None
    server, port = context.server(TCP_PROXY_MAX_CONNECTIONS=1000), services.start(context, "echo")
    cookie, streams, bytes_each = server.session(), 200, 250_000

    async def run():
        uri = f"ws://127.0.0.1:{server.port}/tcp-mux"
        async with websockets.connect(uri, subprotocols=[PROTOCOL], additional_headers={"Cookie": cookie}, max_size=None,
                                      compression=None, ping_interval=None) as socket:
            equal(socket.subprotocol, PROTOCOL, "the subprotocol")
            sent = {n: hashlib.sha256() for n in range(1, streams + 1)}
            got = {n: hashlib.sha256() for n in range(1, streams + 1)}
            left = dict.fromkeys(sent, bytes_each)
            received = dict.fromkeys(sent, 0)

            async def write():
                for number in sent:
                    await socket.send(opening(number, port))
                while any(left.values()):
                    for number in sent:
                        count = min(left[number], 1 + int.from_bytes(os.urandom(2), "big") // 4)
                        # A client of this protocol limits what is under way of a stream.
                        while bytes_each - left[number] - received[number] > 500_000:
                            await asyncio.sleep(0.001)
                        if count:
                            data = os.urandom(count)
                            sent[number].update(data)
                            left[number] -= count
                            await socket.send(mux(DATA, number, data))
                for number in sent:
                    await socket.send(mux(MUX_CLOSE, number, bytes([FIN])))

            async def read():
                ended = 0
                while ended < streams:
                    message = await socket.recv()
                    kind, number, count = struct.unpack(">BII", message[:9])
                    equal(count, len(message) - 9, "one frame a message")
                    if kind == MUX_CLOSE:
                        ended += 1
                        continue
                    equal(kind, DATA, f"a frame of stream {number}: {message[9:80]!r}")
                    got[number].update(message[9:])
                    received[number] += count
            await asyncio.gather(write(), read())
            for number in sent:
                equal(got[number].hexdigest(), sent[number].hexdigest(), f"stream {number}")
    asyncio.run(asyncio.wait_for(run(), 120))
    samples, _ = server.metrics()
    equal(samples['sluice_mux_bytes_total{direction="from_client"}'], float(streams * bytes_each), "bytes counted")
    equal(samples['sluice_mux_bytes_total{direction="to_client"}'], float(streams * bytes_each), "bytes counted")


@case("mux-drain")
def drain(context):
    server, port = context.server(), services.start(context, "echo")
    client = Mux(server, server.session())
    client.send(opening(1, port), mux(DATA, 1, b"x"))
    equal(client.data(1, 1), b"x", "echo")
    server.signal()
    equal(client.peer.until_close(), (1001, b""), "Close 1001 when the process drains")
    client.peer.send(frame(CLOSE, struct.pack(">H", 1001)))
    client.close()
    equal(server.process.wait(10), 0, "exit status")
