"""Sequences of frames on /tcp towards an echo service: what is carried, and which close code a violation gets."""
import struct

from harness import Failure, check, equal
from rawsocket import BINARY, CLOSE, PING, PONG, TEXT, frame, tcp, upgrade
from table import pieces
from table_gateway import GOOD

COOKIE = "aero_session=" + GOOD.decode()
LIMIT = 65536  # TCP_PROXY_MAX_MESSAGE_BYTES of the gateway under test
AFTER = frame(BINARY, b"after the violation")


def bare(first, second, rest=b""):
    return bytes([first, second]) + rest


MASKED, KEY = 0x80, b"\0\0\0\0"
# name, bytes, expected echo, expected close code (None: the gateway does not close), reason
ROWS = [
    ("one message", frame(BINARY, b"x"), b"x", None, "RFC 6455 5.6"),
    ("an empty message", frame(BINARY) + frame(BINARY, b"x"), b"x", None, "spec, data path: a no-op"),
    ("two fragments", frame(BINARY, b"a", fin=False) + frame(0, b"b"), b"ab", None, "RFC 6455 5.4"),
    ("empty fragments", frame(BINARY, fin=False) + frame(0, fin=False) + frame(0, b"x", fin=False) + frame(0), b"x", None,
        "RFC 6455 5.4"),
    ("a hundred fragments", frame(BINARY, b"a", fin=False) + frame(0, b"b", fin=False) * 100 + frame(0, b"c"), b"a" + b"b" * 100 + b"c",
        None, "RFC 6455 5.4"),
    ("a Ping between fragments", frame(BINARY, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b"), b"ab", None, "RFC 6455 5.4"),
    ("a Pong nobody asked for", frame(PONG, b"p") + frame(BINARY, b"x"), b"x", None, "RFC 6455 5.5.3"),
    ("a Ping of 125 bytes", frame(PING, b"p" * 125) + frame(BINARY, b"x"), b"x", None, "RFC 6455 5.5"),
    ("a length of 125", frame(BINARY, b"x" * 125), b"x" * 125, None, "RFC 6455 5.2"),
    ("a length of 126", frame(BINARY, b"x" * 126), b"x" * 126, None, "RFC 6455 5.2"),
    ("a length of 65535", frame(BINARY, b"x" * 65535), b"x" * 65535, None, "RFC 6455 5.2"),
    ("a length of 65536, the limit", frame(BINARY, b"x" * LIMIT), b"x" * LIMIT, None, "spec, limits"),
    ("a length in a longer form than needed", frame(BINARY, b"x", length=(126, b"\0\x01")), b"x", None, "RFC 6455 5.2 binds the sender"),
    ("a length in the longest form", frame(BINARY, b"x", length=(127, b"\0\0\0\0\0\0\0\x01")), b"x", None,
        "RFC 6455 5.2 binds the sender"),
    ("a mask of zeros", bare(0x82, MASKED | 1, KEY + b"x"), b"x", None, "RFC 6455 5.3"),
    ("an unmasked frame", frame(BINARY, b"x", masked=False), b"", 1002, "RFC 6455 5.1"),
    ("an unmasked Ping", frame(PING, b"x", masked=False), b"", 1002, "RFC 6455 5.1"),
    ("an unmasked Close", frame(CLOSE, b"\x03\xe8", masked=False), b"", 1002, "RFC 6455 5.1"),
    ("an unmasked empty frame", frame(BINARY, masked=False), b"", 1002, "RFC 6455 5.1"),
    *[(f"reserved bit {bit} on a message", frame(BINARY, b"x", reserved=bit), b"", 1002, "RFC 6455 5.2") for bit in (1, 2, 4, 7)],
    ("a reserved bit on a Ping", frame(PING, b"x", reserved=4), b"", 1002, "RFC 6455 5.2"),
    ("a reserved bit on a Close", frame(CLOSE, reserved=1), b"", 1002, "RFC 6455 5.2"),
    ("a reserved bit on a continuation", frame(BINARY, b"a", fin=False) + frame(0, b"b", reserved=4), None, 1002, "RFC 6455 5.2"),
    *[(f"opcode {opcode}", frame(opcode, b"x"), b"", 1002, "RFC 6455 5.2") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
    ("an unfinished frame of opcode 3", frame(3, b"x", fin=False), b"", 1002, "RFC 6455 5.2"),
    ("a continuation of nothing", frame(0, b"x"), b"", 1002, "RFC 6455 5.4"),
    ("an unfinished continuation of nothing", frame(0, b"x", fin=False), b"", 1002, "RFC 6455 5.4"),
    ("a continuation behind a whole message", frame(BINARY, b"x") + frame(0, b"y"), None, 1002, "RFC 6455 5.4"),
    ("a message inside a message", frame(BINARY, b"a", fin=False) + frame(BINARY, b"b"), None, 1002, "RFC 6455 5.4"),
    ("a text message inside a message", frame(BINARY, b"a", fin=False) + frame(TEXT, b"b"), None, 1002, "RFC 6455 5.4"),
    *[(f"a fragmented {name}", frame(opcode, b"x", fin=False), b"", 1002, "RFC 6455 5.5") for name, opcode in (("Ping", PING), ("Pong",
        PONG), ("Close", CLOSE))],
    *[(f"a {name} of 126 bytes", frame(opcode, b"x" * 126), b"", 1002, "RFC 6455 5.5") for name, opcode in (("Ping", PING), ("Pong",
        PONG), ("Close", CLOSE))],
    ("a Ping with a length in 64 bits", frame(PING, b"x", length=(127, b"\0\0\0\0\0\0\0\x01")), b"", 1002, "RFC 6455 5.5"),
    ("a text message", frame(TEXT, b"x"), b"", 1003, "spec, framing rules"),
    ("an empty text message", frame(TEXT), b"", 1003, "spec, framing rules"),
    ("a text message that is no UTF-8", frame(TEXT, b"\xff"), b"", 1003, "spec, framing rules"),
    ("a text message in fragments", frame(TEXT, b"a", fin=False) + frame(0, b"b"), b"", 1003, "spec, framing rules"),
    ("a text message behind a binary one", frame(BINARY, b"x") + frame(TEXT, b"y"), None, 1003, "spec, framing rules"),
    ("a length of one more than the limit", bare(0x82, MASKED | 127, struct.pack(">Q", LIMIT + 1)), b"", 1009,
        "spec, framing rules: on the length alone"),
    ("a length of 2^53 - 1", bare(0x82, MASKED | 127, struct.pack(">Q", (1 << 53) - 1)), b"", 1009, "spec, framing rules"),
    ("a length of 2^53", bare(0x82, MASKED | 127, struct.pack(">Q", 1 << 53)), b"", 1002, "spec, framing rules"),
    ("a length of 2^63", bare(0x82, MASKED | 127, struct.pack(">Q", 1 << 63)), b"", 1002, "RFC 6455 5.2: most significant bit 0"),
    ("a length of 2^64 - 1", bare(0x82, MASKED | 127, b"\xff" * 8), b"", 1002, "RFC 6455 5.2"),
    ("fragments beyond the limit", frame(BINARY, b"x" * 65000, fin=False) + frame(0, b"y" * 600), None, 1009, "spec, framing rules"),
    ("empty fragments do not count", frame(BINARY, b"x" * LIMIT, fin=False) + frame(0, fin=False) + frame(0), b"x" * LIMIT, None,
        "spec, framing rules"),
    ("a text length beyond the limit", bare(0x81, MASKED | 127, struct.pack(">Q", LIMIT + 1)), b"", 1009, "spec, framing rules"),
    ("a Close with a code", frame(CLOSE, b"\x03\xe8"), b"", b"\x03\xe8", "RFC 6455 5.5.1; spec: echoed"),
    ("a Close with a code and a reason", frame(CLOSE, b"\x03\xe9bye"), b"", b"\x03\xe9bye", "spec: echoed"),
    ("an empty Close", frame(CLOSE), b"", b"", "spec: echoed"),
    ("a Close of one byte", frame(CLOSE, b"x"), b"", b"x", "spec: echoed unvalidated"),
    ("a Close with a code nobody may send", frame(CLOSE, b"\x03\xed"), b"", b"\x03\xed", "spec: echoed unvalidated"),
    ("a Close whose reason is no UTF-8", frame(CLOSE, b"\x03\xe8\xff"), b"", b"\x03\xe8\xff", "spec: echoed unvalidated"),
    ("a Close of 125 bytes", frame(CLOSE, b"\x03\xe8" + b"x" * 123), b"", b"\x03\xe8" + b"x" * 123, "spec: echoed"),
    ("a Close between fragments", frame(BINARY, b"a", fin=False) + frame(CLOSE, b"\x03\xe8"), None, b"\x03\xe8", "RFC 6455 5.4"),
    ("a Close behind a message", frame(BINARY, b"x") + frame(CLOSE, b"\x03\xe8"), None, b"\x03\xe8", "RFC 6455 5.5.1"),
    ("an HTTP request instead of a frame", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", 1002, "RFC 6455 5.2: 'G' has a reserved bit"),
    ("the preface of TLS instead of a frame", b"\x16\x03\x01\x02\x00", b"", 1002, "RFC 6455 5.2"),
]


def attempt(server, port, name, data, echo, code, cut):
    peer = upgrade(server, tcp(port), COOKIE)
    try:
        for piece in pieces(data + (AFTER if code is not None else b""), cut):
            try:
                peer.send(piece)
            except OSError:
                break
        received, pongs = b"", 0
        while code is not None or len(received) < len(echo):
            opcode, payload = peer.frame()
            if opcode == CLOSE:
                if isinstance(code, bytes):
                    equal(payload, code, f"{name}: the Close is echoed")
                else:
                    equal(payload, struct.pack(">H", code or 0), f"{name}: close code")
                peer.expect_end(f"{name}: the connection ends behind the Close")
                break
            if opcode == BINARY:
                received += payload
            elif opcode == PONG:
                pongs += 1
        check(AFTER[6:] not in received and b"after the violation" not in received, f"{name}: what follows has no effect", received[-60:])
        if echo is not None:
            equal(received, echo, f"{name}: echo")
        if code is None and "Ping" in name:
            equal(pongs, 1, f"{name}: one Pong")
    finally:
        peer.close()


def run(server, port):
    failures = []
    for name, data, echo, code, why in ROWS:
        for cut in (False, True):
            try:
                attempt(server, port, name, data, echo, code, cut)
            except (Failure, EOFError, OSError) as failure:
                failures.append(f"{name} ({why}){' in pieces' if cut else ''}: {failure!r}")
                break
    if failures:
        raise Failure(f"{len(failures)} of {len(ROWS)} rows:\n" + "\n".join(failures[:40]))
    return len(ROWS)
