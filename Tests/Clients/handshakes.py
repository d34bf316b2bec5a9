"""Handshakes by the hundred a second: a WebSocket client of few lines, for cases that count what becomes of many."""
import base64
import hashlib
import os
import queue
import socket
import struct
import threading
import time

from harness import Failure
from rawsocket import mask

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# What a gateway that does not answer is given; nothing in these cases takes a fraction of it.
PATIENCE_SECONDS = 30


class Opened:
    """An answer to an upgrade: its status and its fields; for a 101 the socket, and what came behind the head."""

    def __init__(self, port, path="/ws", token=None, fields=()):
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade",
                 "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key.decode()]
        if token:
            lines.append("Authorization: Bearer " + token)
        lines += fields
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.socket.recv(65536)
            if not more:
                raise Failure("the gateway ended the connection instead of answering", data)
            data += more
        head, self.rest = data.split(b"\r\n\r\n", 1)
        status, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(status.split()[1])
        self.fields = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}
        if self.status == 101:
            expected = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
            if self.fields.get("sec-websocket-accept") != expected:
                raise Failure("a wrong Sec-WebSocket-Accept", head)

    def send(self, payload, opcode=2):
        """One frame, masked with zeros."""
        length = (struct.pack(">BB", 0x80 | opcode, 0x80 | len(payload)) if len(payload) < 126 else
                  struct.pack(">BBH", 0x80 | opcode, 0xFE, len(payload)) if len(payload) < 65536 else
                  struct.pack(">BBQ", 0x80 | opcode, 0xFF, len(payload)))
        self.socket.sendall(length + bytes(4) + payload)

    def take(self, count):
        while len(self.rest) < count:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(f"the connection ended with {len(self.rest)} of {count} bytes")
            self.rest += more
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def receive(self):
        """The next frame: opcode and payload."""
        first, length = self.take(2)
        if length == 126:
            length, = struct.unpack(">H", self.take(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.take(8))
        return first & 15, self.take(length)

    def close(self):
        """Closes as a WebSocket does; the answer is waited for."""
        if self.status == 101:
            self.send(struct.pack(">H", 1000), 8)
            while self.receive()[0] != 8:
                pass
        self.socket.close()


class Stream:
    """Handshakes at a steady rate by several threads, each with an echo behind it, until it is stopped."""

    def __init__(self, port, token, rate=500, threads=4):
        self.port, self.token, self.rate = port, token, rate
        # (began, seconds, status) of each; exceptions of whichever failed.
        self.done, self.faults = [], []
        self.lock, self.next, self.began = threading.Lock(), 0, time.monotonic()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)

    def run(self):
        while not self.stopped.is_set():
            with self.lock:
                number, self.next = self.next, self.next + 1
            pause = self.began + number / self.rate - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            token = self.token(number)
            began = time.monotonic()
            try:
                opened = Opened(self.port, token=token)
                self.done.append((began, time.monotonic() - began, opened.status))
                if opened.status == 101:
                    opened.send(b"x")
                    if opened.receive() != (2, b"x"):
                        raise Failure("not what was sent")
                opened.close()
            except Exception as fault:
                self.faults.append(fault)

    def statuses(self):
        counts = {}
        for _, _, status in self.done:
            counts[status] = counts.get(status, 0) + 1
        return counts

    def during(self, began, ended):
        """How many began and were answered within a time."""
        return sum(1 for start, seconds, _ in list(self.done) if began <= start and start + seconds <= ended)

    def summary(self):
        took = sorted(seconds for _, seconds, _ in self.done)
        elapsed = max((start + seconds for start, seconds, _ in self.done), default=self.began) - self.began
        return (f"{len(took)} handshakes in {elapsed:.1f} s; ms: median {took[len(took) // 2] * 1000:.1f}, "
                f"99 % {took[len(took) * 99 // 100] * 1000:.1f}, longest {took[-1] * 1000:.1f}")


class RawUpstream:
    """Accepts every upgrade, and hands the connections over as they are: `take` gives them in the order they came."""

    def __init__(self, context, fields=(), receive_buffer=None, security=None, port=0):
        """With `security`, a context of Python's ssl, it speaks TLS."""
        self.listener = socket.socket()
        self.security = security
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(1024)
        self.port = self.listener.getsockname()[1]
        self.fields, self.heads, self.peers = fields, [], queue.Queue()
        context.defer(self.listener.close)
        threading.Thread(target=self.run, daemon=True).start()

    @property
    def url(self):
        return f"{'wss' if self.security else 'ws'}://127.0.0.1:{self.port}/up"

    def run(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            connection.settimeout(PATIENCE_SECONDS)
            try:
                self.answer(Peer(self.security.wrap_socket(connection, server_side=True) if self.security else connection))
            except OSError:
                # Whoever does not believe this certificate, has none to show, or only looks whether there is a listener.
                connection.close()

    def answer(self, peer):
        while b"\r\n\r\n" not in peer.buffer:
            if not peer.fill():
                return peer.close()
        head, _, peer.buffer = peer.buffer.partition(b"\r\n\r\n")
        self.heads.append(head.decode("latin-1"))
        key = next(line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        peer.send("\r\n".join(["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                               "Sec-WebSocket-Accept: " + accept, *self.fields, "", ""]).encode())
        self.peers.put(peer)

    def take(self):
        """The next connection, as soon as it is there."""
        try:
            return self.peers.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise Failure("the gateway did not come to the upstream")


class Peer:
    """A connection whose frames are read as they are, masked or not."""

    def __init__(self, connection, rest=b""):
        self.socket, self.buffer = connection, rest
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        data = self.socket.recv(1 << 20)
        self.buffer += data
        return bool(data)

    def raw(self, count):
        """So many bytes, as they came."""
        while len(self.buffer) < count:
            if not self.fill():
                raise Failure(f"the connection ended with {len(self.buffer)} of {count} bytes", self.buffer[:200])
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def frame(self):
        """The next frame: its first byte, and its payload unmasked."""
        first, length = self.raw(2)
        masked, length = length & 0x80, length & 0x7F
        if length == 126:
            length, = struct.unpack(">H", self.raw(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.raw(8))
        key = self.raw(4) if masked else None
        payload = self.raw(length)
        return first, mask(payload, key) if masked else payload

    def skip(self, count):
        """Reads so many bytes and forgets them."""
        block = memoryview(bytearray(1 << 20))
        count -= len(self.raw(min(count, len(self.buffer))))
        while count:
            got = self.socket.recv_into(block, min(count, len(block)))
            if not got:
                raise Failure(f"the connection ended {count} bytes early")
            count -= got

    def reset(self):
        """Ends the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def ended(self):
        """Whether nothing but the end follows."""
        try:
            return self.buffer == b"" and not self.fill()
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()


def session(server, upstream, path="/ws", token=None, fields=()):
    """A session through the gateway: the client's end and the upstream's, both raw."""
    opened = Opened(server.port, path, token, fields)
    if opened.status != 101:
        raise Failure(f"the upgrade was answered {opened.status}", opened.fields)
    return Peer(opened.socket, opened.rest), upstream.take()
