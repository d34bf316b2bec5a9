"""The UDP relay as a process of its own, its tokens and its frames, for the cases."""
import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import harness

# What the vectors' requests carry.
HOST = "relay.example"
JWT_SECRET = "test-jwt-secret"
MAXIMUM_MESSAGE = 1 << 16


def environment(changes):
    """Nothing of the caller's configuration; what a relay's harness sets."""
    found = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "ASAN_OPTIONS") if name in os.environ}
    found.update(AERO_WEBRTC_UDP_RELAY_LOG_FORMAT="json", AUTH_MODE="none", DESTINATION_POLICY_PRESET="dev")
    found.update({name: str(value) for name, value in changes.items()})
    return {name: value for name, value in found.items() if changes.get(name, "") is not None}


class Relay(harness.Server):
    """`sluice --listen-addr …` with everything else in the environment, as the relay's users start it."""

    def __init__(self, context, **changes):
        if not context.binary.exists():
            raise harness.Failure(f"{context.binary} does not exist; build it first")
        number = len(list(context.folder.glob("relay-*.log")))
        self.log_path = context.folder / f"relay-{number}.log"
        self.error_path = context.folder / f"relay-{number}.err"
        with open(self.log_path, "wb") as log, open(self.error_path, "wb") as error:
            self.process = subprocess.Popen([str(context.binary), "--listen-addr", "127.0.0.1:0"], stdout=log, stderr=error,
                                            stdin=subprocess.DEVNULL, env=environment(changes))
        context.defer(self.end)
        self.pid = self.process.pid
        self.port = self.await_port()
        self.address = ("127.0.0.1", self.port)

    def url(self, path="/udp"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def events(self):
        """The counters of aero_webrtc_udp_relay_events_total."""
        response, body = self.request("GET", "/metrics")
        harness.equal(response.status, 200, "GET /metrics")
        found = {}
        for line in body.decode().splitlines():
            if line.startswith("aero_webrtc_udp_relay_events_total{"):
                name, value = line.split('event="')[1].split('"} ')
                found[name] = int(value)
        return found


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(sid, secret=JWT_SECRET, **claims):
    now = int(time.time())
    payload = {"iat": now, "exp": now + 300, "sid": sid, "jti": os.urandom(4).hex()}
    payload.update(claims)
    signed = base64url(b'{"alg":"HS256","typ":"JWT"}') + "." + base64url(json.dumps(payload).encode())
    return signed + "." + base64url(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def frame1(guest, remote, payload):
    return struct.pack(">H4sH", guest, socket.inet_aton(remote[0]), remote[1]) + payload


def frame2(guest, remote, payload):
    six = ":" in remote[0]
    address = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, remote[0])
    return bytes((0xA2, 2, 6 if six else 4, 0)) + struct.pack(">H", guest) + address + struct.pack(">H", remote[1]) + payload


def parse(frame):
    """(version, guest port, (address, port), payload)"""
    if frame[:2] != b"\xa2\x02":
        guest, address, port = struct.unpack(">H4sH", frame[:8])
        return 1, guest, (socket.inet_ntoa(address), port), frame[8:]
    family, size = (socket.AF_INET6, 16) if frame[2] == 6 else (socket.AF_INET, 4)
    guest, = struct.unpack(">H", frame[4:6])
    port, = struct.unpack(">H", frame[6 + size:8 + size])
    return 2, guest, (socket.inet_ntop(family, frame[6:6 + size]), port), frame[8 + size:]


class Echo:
    """A UDP socket of a family that answers; `answer` makes what is sent of what came, or None."""

    def __init__(self, context, host="127.0.0.1", answer=lambda data: data):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((host, 0))
        self.remote = (host, self.socket.getsockname()[1])
        self.answer, self.peers, self.count = answer, set(), 0
        threading.Thread(target=self.run, daemon=True).start()
        context.defer(self.socket.close)

    def run(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(1 << 16)
            except OSError:
                return
            self.count += 1
            self.peers.add(peer[:2])
            reply = self.answer(data)
            if reply is not None:
                try:
                    self.socket.sendto(reply, peer)
                except OSError:
                    pass
