"""/tcp over raw sockets: items 8 and 10 of the acceptance checklist, and the tables of the section TCP over WebSocket."""
import os
import socket
import struct
import time

import services
from harness import case, check, equal, eventually
from rawsocket import BINARY, CLOSE, PING, PONG, TEXT, frame, head, open_peer, refusal, tcp, upgrade

DENIED = (403, "Target IP is not allowed by IP egress policy")


@case("tcp-refusals")
def refusals(context):
    server = context.server(TCP_BLOCKED_CLIENT_IPS="192.0.2.9", TRUST_PROXY=1, ALLOWED_ORIGINS="https://app.example")
    cookie, port = server.session(), services.start(context, "echo")
    target = tcp(port)

    def expect(request, status, message, text):
        equal(refusal(server, request), (status, message), text)

    invalid, missing = "Invalid WebSocket upgrade", "Missing required header: Sec-WebSocket-Key"
    for replace in ({"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Version": None}, {"Sec-WebSocket-Version": ["13", "13"]},
                    {"Upgrade": "websocket2"}, {"Upgrade": ["websocket", "websocket"]}, {"Upgrade": "websocket" + " " * 260 + ",x"},
                    {"Sec-WebSocket-Key": ["a", "b"]}, {"Sec-WebSocket-Key": "k" * 257}):
        expect(head(target, None, replace=replace), 400, invalid, f"malformed handshake without cookie {replace}")
    for replace in ({"Sec-WebSocket-Key": None}, {"Sec-WebSocket-Key": ""}, {"Sec-WebSocket-Key": "  "}):
        expect(head(target, None, replace=replace), 400, missing, f"no key {replace}")
    expect(head(target, cookie, method="POST"), 400, invalid, "POST")
    expect(head(target, cookie, version="HTTP/1.0"), 400, invalid, "HTTP/1.0")
    expect(head(target, None), 401, "Unauthorized", "no cookie")
    expect(head(target, f"aero_session=; {cookie}"), 401, "Unauthorized", "the first cookie decides")
    expect(head(target, f"aero_session=x.y; {cookie}"), 401, "Unauthorized", "the first cookie decides")
    expect(head(target, None, extra=[("Cookie", "aero_session=x"), ("Cookie", cookie)]), 401, "Unauthorized", "the first Cookie line decides")
    expect(head(target, cookie[:-1] + ("A" if cookie[-1] != "A" else "B")), 401, "Unauthorized", "a changed signature")
    expect(head("/other", cookie), 404, "Not Found", "an unknown path")
    expect(head("/tcp/", cookie), 404, "Not Found", "a trailing slash")
    for malformed in ("tcp", "*", "http://[", "http:///tcp", "http://a:99999/tcp", "/tcp#part", "/tcp?host=\x80"):
        expect(head(malformed, None, replace={"Sec-WebSocket-Version": "12"}), 400, "Invalid request URL", f"the target {malformed!r}")
    expect(head("/tcp?v=1&x=" + "x" * 9000, cookie), 414, "Request URL too long", "a long target")
    expect(head(target, cookie, extra=[("X-Forwarded-For", "192.0.2.9")]), 403, "Client IP blocked", "a blocked client")
    for origins in (["https://evil.example"], ["https://app.example"] * 2, [""]):
        expect(head(target, cookie, extra=[("Origin", origin) for origin in origins]), 403, "Origin not allowed", f"{origins}")
    expect(head(target.replace("v=1", "v=2"), cookie), 400, "Unsupported TCP proxy protocol version", "v=2")
    equal(refusal(server, head(target, cookie, extra=[("Origin", "https://app.example")]))[0], 101, "an allowed origin")
    equal(refusal(server, head(target, cookie, replace={"Upgrade": "h2c, WebSocket", "Connection": "keep-alive, UPGRADE"}))[0], 101, "token lists")


@case("tcp-egress-policy")
def egress(context):
    port = services.start(context, "echo")
    closed = context.server(private=False)
    cookie = closed.session()
    for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "::1", "[::1]", "::ffff:127.0.0.1", "10.1.2.3", "169.254.169.254",
                 "192.168.0.1", "0.0.0.0", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::"):
        equal(refusal(closed, head(tcp(port, host), cookie)), DENIED, f"target {host} by default")
    for host in ("a%2525", "-a.example", "a_b.example", "fe80::1%25eth0", "a..b"):
        equal(refusal(closed, head(tcp(port, host), cookie)), (400, "Invalid host"), f"target {host}")
    samples, _ = closed.metrics()
    equal(samples["tcp_proxy_blocked_by_ip_policy_total"], 14.0, "denials counted by the address rules")
    names = context.server(TCP_REQUIRE_DNS_NAME=1)
    cookie = names.session()
    for host in ("127.0.0.1", "0x7f.1", "::1"):
        equal(refusal(names, head(tcp(port, host), cookie)), (403, "IP-literal targets are not allowed"), f"{host} with required names")
    limited = context.server(TCP_ALLOWED_PORTS=f"{port},1", TCP_ALLOWED_HOSTS="127.0.0.1,*.example", TCP_BLOCKED_HOSTS="bad.example")
    cookie = limited.session()
    for host, number, answer in (("127.0.0.1", 2, (403, "Target port not allowed")), ("127.0.0.2", port, (403, "Target host not allowed")),
                                 ("example", port, (403, "Target host not allowed")), ("-x", port, (400, "Invalid target host")),
                                 ("bad.example", port, (403, "Target is blocked")), ("127.1", port, (101, ""))):
        equal(refusal(limited, head(tcp(number, host), cookie)), answer, f"target {host}:{number} under allowlists")
    resolving = context.server()
    equal(refusal(resolving, head(tcp(port, "nowhere.invalid"), "x"))[0], 401, "the cookie comes before the lookup")
    equal(refusal(resolving, head(tcp(port, "nowhere.invalid"), resolving.session())), (502, "DNS lookup failed"), "a name nobody has")


@case("tcp-echo-and-limit")
def echo(context):
    port = services.start(context, "echo")
    for base in ("", "/base"):
        server = context.server(TCP_PROXY_MAX_CONNECTIONS=2, PUBLIC_BASE_URL="http://localhost:8080" + base)
        for prefix in {"", base}:
            cookie = server.session(prefix)
            peer = upgrade(server, tcp(port, base=prefix), cookie, after=frame(BINARY, b"sent with the head"))
            equal(peer.exactly(18), b"sent with the head", "bytes pipelined behind the upgrade")
            peer.send(frame(BINARY, b"frag", fin=False) + frame(PING, b"in between") + frame(0, b"", fin=False) + frame(0, b"ments"))
            equal(peer.frame(), (PONG, b"in between"), "a Ping inside a fragmented message")
            equal(peer.exactly(9), b"fragments", "a message in fragments")
            data = os.urandom(300_000)
            peer.send(frame(BINARY, b"") + frame(PONG, b"unasked") + frame(BINARY, data))
            equal(peer.exactly(len(data)), data, "300,000 bytes")
            preferred = upgrade(server, f"{prefix}/tcp?target=127.0.0.1:{port}&host=ignored&port=bad", cookie)
            preferred.send(frame(BINARY, b"target"))
            equal(preferred.exactly(6), b"target", "target wins over host and port")
            equal(refusal(server, head(tcp(port, base=prefix), cookie)), (429, "Too many concurrent connections"), "third connection of a session")
            check(refusal(server, head(tcp(port, base=prefix), server.session()))[0] == 101, "another session has its own limit")
            preferred.close()
            eventually(lambda: refusal(server, head(tcp(port, base=prefix), cookie))[0] == 101, "a closed connection gives its slot back")
            peer.close()


@case("tcp-closing")
def closing(context):
    server, port = context.server(TCP_PROXY_IDLE_TIMEOUT_MS=700), services.start(context, "echo")
    cookie = server.session()
    for payload in (struct.pack(">H", 1000) + b"bye", struct.pack(">H", 4999), b"", struct.pack(">H", 1005), b"\x03"):
        peer = upgrade(server, tcp(port), cookie)
        peer.send(frame(CLOSE, payload))
        equal(peer.frame(), (CLOSE, payload), "the Close of the client is echoed as it is")
        peer.expect_end("the echoed Close precedes the end of the stream")
    peer = upgrade(server, tcp(port), cookie)
    peer.send(frame(TEXT, b"text"))
    equal(peer.until_close(), (1003, b""), "a text message")
    peer.expect_end()
    peer = upgrade(server, tcp(services.start(context, "source", 3_000_000)), cookie)
    code, data = peer.until_close()
    equal((code, len(data)), (1000, 3_000_000), "all data of the target, then Close 1000")
    check(data == (services.PATTERN * (3_000_000 // len(services.PATTERN) + 1))[:3_000_000], "the bytes of the source")
    unused = socket.socket()
    unused.bind(("127.0.0.1", 0))
    equal(upgrade(server, tcp(unused.getsockname()[1]), cookie).until_close(), (1011, b""), "a refused connection")
    began = time.monotonic()
    equal(upgrade(server, tcp(port), cookie).until_close(), (1011, b""), "an idle connection")
    check(0.6 < time.monotonic() - began < 3, "the idle timeout", time.monotonic() - began)
    resetting = socket.create_server(("127.0.0.1", 0))
    peer = upgrade(server, tcp(resetting.getsockname()[1]), cookie)
    target, _ = resetting.accept()
    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    target.close()
    equal(peer.until_close(), (1011, b""), "a reset by the target")
    listener = socket.create_server(("127.0.0.1", 0))
    peer = upgrade(server, tcp(listener.getsockname()[1]), cookie)
    target, _ = listener.accept()
    peer.send(frame(BINARY, b"last words") + frame(CLOSE, struct.pack(">H", 1000)))
    target.settimeout(5)
    received = b""
    while data := target.recv(100):
        received += data
    equal(received, b"last words", "what was accepted before the Close of the client reaches the target, then the end")


@case("tcp-framing-rules")
def framing(context):
    server, port = context.server(TCP_PROXY_MAX_MESSAGE_BYTES=1000), services.start(context, "echo")
    cookie = server.session()
    wrong = [
        ("an unmasked frame", frame(BINARY, b"x", masked=False), 1002),
        ("RSV1", frame(BINARY, b"x", reserved=4), 1002), ("RSV2", frame(BINARY, b"x", reserved=2), 1002),
        ("RSV3", frame(BINARY, b"x", reserved=1), 1002), ("RSV on a Ping", frame(PING, b"x", reserved=4), 1002),
        ("a length of 2^53", frame(BINARY, b"", length=1 << 53), 1002), ("a length of 2^64 - 1", frame(BINARY, b"", length=(1 << 64) - 1), 1002),
        ("one byte above the limit, payload withheld", frame(BINARY, b"", length=1001)[:4], 1009),
        ("a gigabyte announced", frame(BINARY, b"", length=1 << 30)[:10], 1009),
        ("a reassembled message above the limit", frame(BINARY, b"x" * 600, fin=False) + frame(0, b"y" * 600), 1009),
        ("a fragmented Ping", frame(PING, b"x", fin=False), 1002), ("a Ping of 126 bytes", frame(PING, b"x" * 126), 1002),
        ("a Close of 126 bytes", frame(CLOSE, b"x" * 126), 1002), ("a continuation without start", frame(0, b"x"), 1002),
        ("a new message inside a fragmented one", frame(BINARY, b"x", fin=False) + frame(BINARY, b"y"), 1002),
        ("text inside a fragmented message", frame(BINARY, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        ("a fragmented text message", frame(TEXT, b"x", fin=False) + frame(0, b"y"), 1003),
    ] + [(f"opcode {code}", frame(code, b"x"), 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)]
    for text, sent, code in wrong:
        for splits in (False, True):
            peer = upgrade(server, tcp(port), cookie)
            for piece in [bytes([byte]) for byte in sent] if splits and len(sent) < 200 else [sent]:
                try:
                    peer.send(piece)
                except (BrokenPipeError, ConnectionResetError):
                    break
            equal(peer.until_close()[0], code, f"{text}{', byte by byte' if splits else ''}")
            peer.close()
    peer = upgrade(server, tcp(port), cookie)
    peer.send(frame(BINARY, b"z" * 1000) + frame(PING, b"p" * 125) + frame(PING))
    received, pongs = b"", []
    while len(received) < 1000 or len(pongs) < 2:
        opcode, payload = peer.frame()
        if opcode == PONG:
            pongs.append(len(payload))
        else:
            received += payload
    equal((received, pongs), (b"z" * 1000, [125, 0]), "messages and Pings at the limit")
    peer = upgrade(server, tcp(port), cookie)
    # A 64-bit length that a shorter field could hold is tolerated by the reference's table, or refused as RFC 6455 says.
    peer.send(frame(BINARY, b"abc", length=(127, struct.pack(">Q", 3))))
    opcode, payload = peer.frame()
    check((opcode, payload) in ((BINARY, b"abc"), (CLOSE, b"\x03\xea")), "a length that is not the shortest", opcode, payload)
    open_peer(server).close()


@case("tcp-connect-timeout-and-cap")
def unconnected(context):
    """While a target does not accept, what the client sends waits up to the cap, and the connect up to its time."""
    server = context.server(TCP_PROXY_MAX_TCP_BUFFER_BYTES=20_000, TCP_PROXY_CONNECT_TIMEOUT_MS=900)
    cookie, full = server.session(), socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    time.sleep(0.2)
    target = tcp(full.getsockname()[1])
    for size, least, most, text in ((9_000, 0.8, 4, "less than half of the cap waits for the connect's time"),
                                    (15_000, 0.8, 4, "so does more than half of it"), (20_001, 0, 0.7, "more than the cap does not wait")):
        peer, began = upgrade(server, target, cookie), time.monotonic()
        peer.send(frame(BINARY, bytes(size)))
        equal(peer.until_close(), (1011, b""), text)
        seconds = time.monotonic() - began
        check(least <= seconds < most, text, seconds)
        peer.close()
    samples = server.metrics()[0]
    ends = {cause: sum(value for name, value in samples.items() if f'"{cause}"' in name) for cause in ("buffer_overflow", "connect_timeout")}
    equal(ends, {"buffer_overflow": 1, "connect_timeout": 2}, "how they ended")
    for one in (full, *fillers):
        one.close()
