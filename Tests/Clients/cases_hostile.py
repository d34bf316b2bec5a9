"""Hostile input: each gets the specified answer, and afterwards the gateway holds what it held before."""
import os
import select
import socket
import struct
import threading
import time

import services
from harness import Failure, case, check, equal, eventually
from rawsocket import BINARY, CLOSE, PING, TEXT, frame, head, open_peer, tcp, upgrade

# Memory counts as stable when this many rounds in a row add less than this; a round makes about 170 connections, so a
# leak of 400 bytes in each would never pass. First uses of a buffer in a pool of fixed size end after some rounds.
STABLE_ROUNDS, MOST_ROUNDS = 4, 40
RESIDENT_GROWTH_BYTES = 256 << 10
# 60 s header timeout, checked by a wheel with some grain, on a busy machine.
SLOW_HEAD_SECONDS = (58, 70)

GET = b"GET /healthz HTTP/1.1\r\n"
POST = b"POST /session HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

# (name, bytes, acceptable statuses). All of these end the connection after one answer.
MALFORMED = [
    ("length and chunked", POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, {400}),
    ("chunked and length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED, {400}),
    ("two lengths", POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + SMUGGLED, {400}),
    ("a list of lengths", POST + b"Content-Length: 0, 5\r\n\r\n" + SMUGGLED, {400}),
    ("a signed length", POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED, {400}),
    ("a negative length", POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED, {400}),
    ("a hexadecimal length", POST + b"Content-Length: 0x10\r\n\r\n" + SMUGGLED, {400}),
    ("an empty length", POST + b"Content-Length: \r\n\r\n" + SMUGGLED, {400}),
    ("a length of 2^64", POST + b"Content-Length: 18446744073709551616\r\n\r\n" + SMUGGLED, {400, 413}),
    ("an unknown coding", POST + b"Transfer-Encoding: xchunked\r\n\r\n" + SMUGGLED, {400, 501}),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, {400, 501}),
    ("chunked not last", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED, {400, 501}),
    ("chunked in a quoted string", POST + b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + SMUGGLED, {400, 501}),
    ("a vertical tab in the coding", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED, {400, 501}),
    ("chunked under HTTP/1.0", b"POST /session HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, {400}),
    ("a chunk size that is no number", POST + b"Transfer-Encoding: chunked\r\n\r\nz\r\n\r\n" + SMUGGLED, {400}),
    ("a chunk size of 2^64", POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + SMUGGLED, {400, 413}),
    ("a chunk size with a sign", POST + b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n" + SMUGGLED, {400}),
    ("a chunk longer than it says", POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + SMUGGLED, {400}),
    ("a chunk line ended by LF", POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n" + SMUGGLED, {400}),
    ("a chunk extension with a bare CR", POST + b"Transfer-Encoding: chunked\r\n\r\n1;a\rb\r\na\r\n0\r\n\r\n" + SMUGGLED, {400}),
    ("a space before the colon", POST + b"Content-Length : 5\r\n\r\n" + SMUGGLED, {400}),
    ("a tab before the colon", POST + b"Content-Length\t: 5\r\n\r\n" + SMUGGLED, {400}),
    ("a folded line", GET + b"Host: a\r\nX-A: b\r\n c\r\n\r\n", {400}),
    ("a first header line with a leading space", GET + b" Host: a\r\n\r\n", {400}),
    ("a header line without colon", GET + b"Host: a\r\nnothing\r\n\r\n", {400}),
    ("an empty header name", GET + b"Host: a\r\n: x\r\n\r\n", {400}),
    ("a header name with a slash", GET + b"Host: a\r\na/b: x\r\n\r\n", {400}),
    ("bare LF after the request line", b"GET /healthz HTTP/1.1\nHost: a\r\n\r\n", {400}),
    ("bare LF after a header", GET + b"Host: a\nX: y\r\n\r\n", {400}),
    ("bare LF everywhere", b"GET /healthz HTTP/1.1\nHost: a\n\n", {400}),
    ("bare CR in a value", GET + b"Host: a\r\nX: y\rz\r\n\r\n", {400}),
    ("bare CR as a line end", b"GET /healthz HTTP/1.1\rHost: a\r\n\r\n", {400}),
    ("NUL in a value", GET + b"Host: a\r\nX: y\0z\r\n\r\n", {400}),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    ("a control character in a value", GET + b"Host: a\r\nX: \x01\r\n\r\n", {400}),
    ("no Host", GET + b"\r\n", {400}),
    ("two Hosts", GET + b"Host: a\r\nHost: b\r\n\r\n", {400}),
    ("a Host with a space", GET + b"Host: a b\r\n\r\n", {400}),
    ("two spaces in the request line", b"GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    ("a tab in the request line", b"GET\t/healthz HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    ("no version", b"GET /healthz\r\nHost: a\r\n\r\n", {400, 505}),
    ("version 2.0", b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n", {400, 505}),
    ("lower-case version", b"GET /healthz http/1.1\r\nHost: a\r\n\r\n", {400, 505}),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    ("a method that is no token", b"G(T /healthz HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    ("a target without slash", b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    ("a TLS ClientHello", bytes.fromhex("16030100a5010000a10303") + bytes(160) + b"\r\n\r\n", {400}),
    ("a head of 17 KiB", GET + b"Host: a\r\nX: " + b"y" * 17_000 + b"\r\n\r\n", {431}),
    ("a head of many small lines", GET + b"Host: a\r\n" + b"X: y\r\n" * 4_000 + b"\r\n", {431}),
    ("an endless header without line end", GET + b"Host: a\r\nX: " + b"y" * 40_000, {431}),
    ("an endless method", b"M" * 40_000, {400, 414, 431}),
    ("an endless target", b"GET /" + b"x" * 40_000, {414, 431}),
    ("a body of 1 MiB and a byte", POST + b"Content-Type: application/json\r\nContent-Length: 1048577\r\n\r\n", {413}),
    ("chunks of more than 1 MiB", POST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
     + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17 + b"0\r\n\r\n", {413}),
]


def send_all(peer, data):
    """Sends what the gateway takes: it may answer and close before the end."""
    try:
        peer.send(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def one_answer(server, name, data, statuses):
    peer = open_peer(server)
    try:
        send_all(peer, data)
        status, _, _ = peer.response()
        check(status in statuses, f"{name}: one of {sorted(statuses)}", status)
        peer.expect_end(f"{name}: one answer, then the end")
    except (EOFError, ConnectionResetError) as error:
        raise Failure(f"{name}: no answer, expected {sorted(statuses)}; {error}")
    finally:
        peer.close()


def lies_about_length(server, cookie, port):
    """Announces more than it sends, in every place that has a length, and goes away."""
    for data in (POST + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", POST + b"Transfer-Encoding: chunked\r\n\r\nff\r\nx",
                 GET + b"Host: a", b"G", b""):
        for abortive in (False, True):
            peer = open_peer(server)
            send_all(peer, data)
            end(peer, abortive)
    for data in (frame(BINARY, b"x" * 10, length=1_000_000), frame(BINARY, b"x" * 100_000)[:70_000], frame(BINARY, b"")[:1], b"\x82\xff\0\0",
                 frame(BINARY, b"part", fin=False), frame(PING, b"x", length=100), frame(CLOSE, b"\x03\xe8", length=50)):
        for abortive in (False, True):
            peer = upgrade(server, tcp(port), cookie)
            send_all(peer, data)
            end(peer, abortive)


def end(peer, abortive):
    if abortive:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def illegal_frames(server, cookie, port):
    for data, code in ((frame(BINARY, b"x", masked=False), 1002), (frame(BINARY, b"x", reserved=4), 1002), (frame(3, b"x"), 1002),
                       (frame(11), 1002), (frame(0, b"x"), 1002), (frame(PING, b"x" * 126), 1002), (frame(TEXT, b"x"), 1003),
                       (frame(BINARY, b"", length=1 << 60), 1002), (frame(BINARY, b"", length=2_000_000)[:10], 1009)):
        peer = upgrade(server, tcp(port), cookie)
        # What follows an illegal frame must have no effect, however much it is.
        send_all(peer, data + os.urandom(100_000))
        try:
            equal(peer.until_close()[0], code, f"illegal frame {data[:12].hex()}")
        except ConnectionResetError:
            raise Failure(f"illegal frame {data[:12].hex()}: reset instead of Close {code}")
        peer.close()


def noise(server, cookie, port):
    """Random bytes where a head, a body and frames belong: any refusal will do, but no harm."""
    for number in range(40):
        peer = open_peer(server)
        send_all(peer, os.urandom(1 + number * 50))
        end(peer, number % 2 == 0)
        peer = upgrade(server, tcp(port), cookie)
        send_all(peer, os.urandom(1 + number * 50))
        end(peer, number % 2 == 1)


def attack(server, cookie, port):
    for name, data, statuses in MALFORMED:
        one_answer(server, name, data, statuses)
    illegal_frames(server, cookie, port)
    lies_about_length(server, cookie, port)
    noise(server, cookie, port)


@case("hostile-input")
def hostile(context):
    # Attacks leave sockets that are still closing, which must not meet the limit of the session.
    server, port = context.server(TCP_PROXY_MAX_CONNECTIONS=10_000), services.start(context, "echo")
    cookie = server.session()
    equal(server.request("GET", "/healthz")[0].status, 200, "health before")
    descriptors, gauges = server.settled_descriptors(), server.gauges()
    resident = []
    while len(resident) <= STABLE_ROUNDS or resident[-1] - resident[-1 - STABLE_ROUNDS] >= RESIDENT_GROWTH_BYTES:
        check(len(resident) < MOST_ROUNDS, "memory becomes stable", [figure >> 10 for figure in resident])
        attack(server, cookie, port)
        resident.append(server.resident_bytes())
    eventually(lambda: server.descriptors() == descriptors, "descriptors return to their starting figure")
    eventually(lambda: server.gauges() == gauges, f"gauges return to {gauges}")
    context.note(f"{len(resident)} rounds of {len(MALFORMED)} malformed requests and more; {descriptors} descriptors before and after; "
                 f"{len(gauges)} gauges; memory {(resident[-1] - resident[-1 - STABLE_ROUNDS]) / 1024:+.0f} KiB in the last {STABLE_ROUNDS} rounds")
    check(server.process.poll() is None, "the gateway runs on")


@case("hostile-slow-head", slow=True)
def slow_head(context):
    """Heads at one byte a second, and silence: 408 after the header timeout, and others are served meanwhile."""
    server = context.server()
    cookie, results = server.session(), {}

    def trickle(name, data, pause):
        peer, began = open_peer(server, 90), time.monotonic()
        try:
            for byte in data:
                peer.send(bytes([byte]))
                if select.select([peer.socket], [], [], pause)[0]:
                    break
            peer.socket.settimeout(90)
            results[name] = (peer.response()[0], time.monotonic() - began)
            peer.expect_end(f"{name}: the connection closes")
        except Exception as error:
            results[name] = (error, time.monotonic() - began)
        finally:
            peer.close()

    slow = GET + b"Host: a\r\nX: " + b"y" * 500
    threads = [threading.Thread(target=trickle, args=arguments) for arguments in (
        ("a byte a second", slow, 1), ("an upgrade, a byte a second", head(tcp(9), cookie) * 3, 1), ("half a head, then silence", GET, 0))]
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        equal(server.request("GET", "/healthz")[0].status, 200, "others are served meanwhile")
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.25)
    for name, (status, seconds) in results.items():
        equal(status, 408, f"{name}, after {seconds:.1f} s")
        check(SLOW_HEAD_SECONDS[0] < seconds < SLOW_HEAD_SECONDS[1], f"{name}: time of the answer", seconds)
    context.note(f"408 after {', '.join(f'{seconds:.1f} s' for _, seconds in results.values())}; slowest other request {slowest * 1000:.1f} ms")
