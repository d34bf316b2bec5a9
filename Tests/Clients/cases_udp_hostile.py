"""/udp under attack: limits hold, memory stays bounded, and a neighbour notices nothing."""
import socket
import struct
import threading
import time

from cases_udp import open_udp, round_trip
from harness import case, check, equal, eventually
from relay import Echo, Relay, frame1

# What a shard may have taken besides what the case itself accounts for: buffers it offers the kernel, tables, the log.
SLACK_BYTES = 64 << 20
# A round trip of a neighbour while somebody floods: the machine may be busy with other things too.
NEIGHBOUR_SECONDS = 2.0


class Neighbour:
    """Round trips from beginning to end of a case; the slowest counts."""

    def __init__(self, context, server):
        self.client, self.remote, self.worst, self.count, self.stopped = open_udp(server), Echo(context), 0, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            began = time.monotonic()
            round_trip(self.client, frame1(1, self.remote.remote, b"neighbour"), "a neighbour's round trip")
            self.worst = max(self.worst, time.monotonic() - began)
            self.count += 1
            time.sleep(0.005)

    def finish(self, context):
        self.stopped = True
        self.thread.join(10)
        check(not self.thread.is_alive() and self.count > 0, "the neighbour is stuck")
        check(self.worst < NEIGHBOUR_SECONDS, "the neighbour's slowest round trip", self.worst)
        context.note(f"a neighbour meanwhile: {self.count} round trips, slowest {self.worst * 1000:.0f} ms")
        self.client.close()


def masked(payload, opcode=2):
    """A frame of a client, masked with zeros."""
    head = bytes((0x80 | opcode,))
    if len(payload) < 126:
        head += bytes((0x80 | len(payload),))
    else:
        head += struct.pack(">BH", 0xFE, len(payload))
    return head + bytes(4) + payload


@case("udp_flood_malformed", slow=True)
def udp_flood_malformed(context):
    server = Relay(context)
    neighbour, before = Neighbour(context, server), server.resident_bytes()
    client = open_udp(server)
    bad = [b"", b"\1", bytes(7), b"\xa2\2\5\0" + bytes(20), b"\xa2\2\6\0" + bytes(12), b"\xa2\2\4\1" + bytes(8)]
    block = b"".join(masked(bad[number % len(bad)]) for number in range(600)) * 10
    for _ in range(50):
        client.socket.sendall(block)
    expected = 6000 * 50
    eventually(lambda: server.events()["udp_ws_dropped_malformed"] == expected, "every bad frame is counted", 30)
    check(server.events()["udp_ws_datagrams_in"] >= expected, "and came in")
    round_trip(client, frame1(3, Echo(context).remote, b"good"), "a good frame behind them")
    grown = server.resident_bytes() - before
    check(grown < SLACK_BYTES, "memory grew", grown)
    neighbour.finish(context)
    context.note(f"{expected} malformed frames dropped and counted; resident memory grew by {grown >> 10} KiB")


@case("udp_flood_spoofed", slow=True)
def udp_flood_spoofed(context):
    """A stranger floods a guest port: nothing of it reaches the client, and the shard's buffers are not taken."""
    server = Relay(context)
    neighbour, remote = Neighbour(context, server), Echo(context)
    client = open_udp(server)
    round_trip(client, frame1(3, remote.remote, b"known"), "the guest port's address")
    guest, stranger = remote.peers.pop(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    before, end, sent = server.resident_bytes(), time.monotonic() + 3, 0
    while time.monotonic() < end:
        for _ in range(100):
            stranger.sendto(b"s" * 1200, guest)
        sent += 100
    eventually(lambda: server.events()["udp_remote_allowlist_overflow_drops_total"] > 0, "they are counted")
    round_trip(client, frame1(3, remote.remote, b"still"), "only what was asked for came")
    grown = server.resident_bytes() - before
    check(grown < SLACK_BYTES, "memory grew", grown)
    neighbour.finish(context)
    context.note(f"{sent} spoofed datagrams; resident memory grew by {grown >> 10} KiB")


@case("udp_destinations_100000", slow=True)
def udp_destinations_100000(context):
    """One client names 100,000 destinations, from one guest port and from many."""
    server = Relay(context, MAX_UDP_PPS_PER_DEST=1000)
    neighbour, before = Neighbour(context, server), server.resident_bytes()
    client = open_udp(server)
    for start in range(0, 100_000, 1000):
        block = b"".join(masked(frame1(number % 64, (f"127.{1 + number // 60000}.{number // 250 % 240}.{1 + number % 250}",
                                                     9 + number % 7), b"x")) for number in range(start, start + 1000))
        client.socket.sendall(block)
    eventually(lambda: server.events()["udp_per_dest_bucket_evictions"] > 90_000, "buckets are given up", 30)
    events = server.events()
    check(events["udp_remote_allowlist_evictions_total"] > 20_000, "so are allowed remotes", events)
    round_trip(client, frame1(3, Echo(context).remote, b"good"), "and one that answers")
    grown = server.resident_bytes() - before
    check(grown < SLACK_BYTES, "memory grew", grown)
    neighbour.finish(context)
    context.note(f"100,000 destinations; resident memory grew by {grown >> 10} KiB")


@case("udp_guest_ports_65536", slow=True)
def udp_guest_ports_65536(context):
    """One client cycles through all guest ports: its bindings stay within their number, and so do descriptors."""
    server = Relay(context)
    neighbour, remote = Neighbour(context, server), Echo(context, answer=lambda data: None)
    client, before, descriptors = open_udp(server), server.resident_bytes(), []
    for start in range(0, 65_536, 512):
        ports = [port for port in range(start, start + 512) if port != 41474]
        client.socket.sendall(b"".join(masked(frame1(port, remote.remote, b"x")) for port in ports))
        descriptors.append(server.descriptors())
    # A client that needs more sockets than a turn opens waits for its turns; its neighbours do not.
    began = time.monotonic()
    round_trip(client, frame1(3, Echo(context).remote, b"good"), "behind all of them", seconds=60)
    descriptors.append(server.descriptors())
    context.note(f"its last frame waited {time.monotonic() - began:.1f} s for its turn")
    gauges = server.gauges()
    check(gauges["sluice_udp_bindings_active"] <= 128 + 1, "bindings", gauges["sluice_udp_bindings_active"])
    # Sockets of bindings that just went are open for a turn longer.
    check(max(descriptors) < 128 + 64 + 100, "descriptors", max(descriptors))
    grown = server.resident_bytes() - before
    check(grown < SLACK_BYTES, "memory grew", grown)
    neighbour.finish(context)
    context.note(f"65,535 guest ports; at most {max(descriptors)} descriptors; resident memory grew by {grown >> 10} KiB")


@case("udp_client_stops_reading", slow=True)
def udp_client_stops_reading(context):
    """Remotes go on sending: the queue ends at its bound, the newest is dropped and counted, and reading again brings the oldest."""
    server = Relay(context, DATACHANNEL_SEND_QUEUE_BYTES=1 << 20)
    neighbour, remote = Neighbour(context, server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    remote.bind(("127.0.0.1", 0))
    client = server.connect(receive_buffer=1 << 16)
    client.sendall(b"GET /udp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + masked(frame1(3, remote.getsockname(), b"hello")))
    _, guest = remote.recvfrom(100)
    before = server.resident_bytes()
    for number in range(40_000):
        remote.sendto(struct.pack(">I", number) + b"p" * 1196, guest)
        if number % 100 == 0:
            time.sleep(0.001)
    events = server.events()
    check(events["udp_ws_dropped_backpressure"] > 10_000, "what does not fit is dropped", events["udp_ws_dropped_backpressure"])
    grown = server.resident_bytes() - before
    check(grown < SLACK_BYTES, "memory grew", grown)
    client.settimeout(2)
    data = b""
    try:
        while len(data) < 2 << 20:
            piece = client.recv(1 << 16)
            if not piece:
                break
            data += piece
    except TimeoutError:
        pass
    first = data.index(b"p" * 1196)
    check(struct.unpack(">I", data[first - 4:first])[0] < 100, "the oldest comes first")
    neighbour.finish(context)
    context.note(f"{events['udp_ws_dropped_backpressure']} frames dropped for a client that reads nothing; resident memory grew by "
                 f"{grown >> 10} KiB")
    client.close()
