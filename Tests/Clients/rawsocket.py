"""A WebSocket and HTTP client that can also be wrong: bytes are sent as given, answers are parsed strictly."""
import os
import socket
import struct

from harness import Failure, check, equal, websocket_key

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def head(target, cookie=None, method="GET", version="HTTP/1.1", key=None, replace=None, extra=()):
    """An upgrade request. `replace` maps a header to another value, to a list of values, or to None (left out)."""
    headers = [("Host", "localhost"), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
               ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key or websocket_key())]
    if cookie:
        headers.append(("Cookie", cookie))
    lines = [f"{method} {target} {version}"]
    replace = replace or {}
    for name, value in headers:
        value = replace.get(name, value)
        for one in [] if value is None else value if isinstance(value, list) else [value]:
            lines.append(f"{name}: {one}")
    lines += [f"{name}: {value}" for name, value in extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def frame(opcode, payload=b"", fin=True, reserved=0, masked=True, length=None):
    """One frame. `length` lies about the payload; a tuple (7-bit value, bytes) spells the length field out."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    count = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if isinstance(count, tuple):
        field = bytes([bit | count[0]]) + count[1]
    elif count < 126:
        field = bytes([bit | count])
    elif count < 65536:
        field = bytes([bit | 126]) + struct.pack(">H", count)
    else:
        field = bytes([bit | 127]) + struct.pack(">Q", count)
    if not masked:
        return bytes([first]) + field + payload
    key = os.urandom(4)
    return bytes([first]) + field + key + mask(payload, key)


def mask(payload, key):
    if not payload:
        return b""
    count = len(payload)
    repeated = (key * (count // 4 + 1))[:count]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(count, "big")


class Peer:
    """A connection to the gateway with a receive buffer."""

    def __init__(self, connection):
        self.socket, self.buffer = connection, b""

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            raise Failure(f"nothing arrives for {self.socket.gettimeout()} s; so far {self.buffer[:200]!r}")
        self.buffer += data
        return bool(data)

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError(f"connection ended with {len(self.buffer)} of {count} bytes")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def head(self):
        """Reads a response head; returns (status, reason, [(name, value)], raw bytes)."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill():
                raise EOFError(f"connection ended inside a head: {self.buffer[:200]!r}")
        raw, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = raw.decode("latin-1").split("\r\n")
        version, status, reason = (lines[0].split(" ", 2) + [""])[:3]
        equal(version, "HTTP/1.1", "version of the response")
        headers = [tuple(line.split(": ", 1)) if ": " in line else (line.rstrip(":"), "") for line in lines[1:]]
        return int(status), reason, headers, raw + b"\r\n\r\n"

    def response(self):
        """Reads a whole response; returns (status, headers as a dict of lower-case names, body)."""
        status, _, headers, _ = self.head()
        fields = {name.lower(): value for name, value in headers}
        body = self.take(int(fields.get("content-length", "0"))) if status not in (101, 204, 304) else b""
        return status, fields, body

    def frame(self):
        """Reads one frame of the server: unmasked, whole, shortest length. Returns (opcode, payload)."""
        first, second = self.take(2)
        check(first & 0x80 and not first & 0x70, "server frames are unfragmented and have no RSV bit", hex(first))
        check(not second & 0x80, "server frames are not masked", hex(second))
        count = second
        if second == 126:
            count, = struct.unpack(">H", self.take(2))
            check(count > 125, "the shortest length encoding", count)
        elif second == 127:
            count, = struct.unpack(">Q", self.take(8))
            check(count > 65535, "the shortest length encoding", count)
        return first & 15, self.take(count)

    def message(self):
        opcode, payload = self.frame()
        equal(opcode, BINARY, f"opcode of a message with {len(payload)} bytes")
        return payload

    def exactly(self, count):
        """Payload bytes of binary messages until there are `count`."""
        data = bytearray()
        while len(data) < count:
            data += self.message()
        equal(len(data), count, "bytes received")
        return bytes(data)

    def until_close(self):
        """Reads to the Close frame; returns (code or None, payload of the messages before it)."""
        data = bytearray()
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                return (struct.unpack(">H", payload[:2])[0] if payload else None), bytes(data)
            if opcode == BINARY:
                data += payload

    def expect_end(self, text="the server closes the connection"):
        """Nothing but the end of the stream may follow."""
        try:
            ended = self.buffer == b"" and not self.fill()
        except ConnectionResetError:
            return
        except Failure:
            raise Failure(text + ": it is still open")
        check(ended, text, self.buffer[:200])

    def close(self):
        self.socket.close()


def open_peer(server, timeout=10, **options):
    return Peer(server.connect(timeout, **options))


def upgrade(server, target, cookie, timeout=10, receive_buffer=None, after=b"", **options):
    """Opens a WebSocket, which must succeed. `after` is sent in the same segment as the head."""
    peer = open_peer(server, timeout, receive_buffer=receive_buffer)
    peer.send(head(target, cookie, **options) + after)
    status, reason, _, _ = peer.head()
    if status != 101:
        raise Failure(f"upgrade of {target}: {status} {reason} {peer.buffer!r}")
    return peer


def refusal(server, request):
    """Sends an upgrade request that must be refused in the specified shape; returns (status, message)."""
    peer = open_peer(server)
    try:
        peer.send(request)
        status, reason, headers, _ = peer.head()
        if status == 101:
            return 101, ""
        names = [name.lower() for name, _ in headers]
        equal(names, ["content-type", "content-length", "cache-control", "connection"], f"headers of the refusal {status} {reason}")
        fields = dict((name.lower(), value) for name, value in headers)
        equal(fields["content-type"], "text/plain; charset=utf-8", "content type of a refusal")
        equal(fields["cache-control"], "no-store", "cache control of a refusal")
        equal(fields["connection"], "close", "connection option of a refusal")
        body = peer.take(int(fields["content-length"])).decode()
        check(body.endswith("\n"), "a refusal ends with a line feed", body)
        peer.expect_end("the connection closes after a refusal")
        return status, body[:-1]
    finally:
        peer.close()


def tcp(port, host="127.0.0.1", base=""):
    """The target of an upgrade request for /tcp, as clients of the reference write it."""
    return f"{base}/tcp?v=1&host={host}&port={port}"
