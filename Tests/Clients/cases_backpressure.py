"""Backpressure: a side that stops reading costs the gateway a bounded amount, and its neighbours nothing."""
import socket
import threading
import time

import services
from harness import case, check, equal, eventually
from rawsocket import BINARY, frame, tcp, upgrade

STREAM_BYTES = 1 << 30
# Stalled at once, and what each may hold of the pool, in buffers of both classes: three large ones, of which one is being sent, one
# waits behind it, and one was with the kernel when the flow stopped.
FLOWS = 8
HELD_BYTES = 3 * (448 << 10)
BUFFER_BYTES = {"small": 4096, "bulk": 448 << 10}
# And what the resident size may grow by for each: the first use of a buffer shows in it for good, by whole buffers, and while the
# flows still ran more were in use than are held in the end, the more so the busier the machine.
GROWTH_BYTES = 2 << 20
# Far more than kernel and gateway hold back during the stall.
RESUMED_BYTES = 64 << 20
# A client that goes away behind bytes the gateway does not read is only noticed by the idle timer.
IDLE_MILLISECONDS = 6000
# Long enough for everything that will be read to be read; the stall itself lasts as long as the case lets it.
STALL_SECONDS = 3
NEIGHBOUR_PROBES = 400


def probe(peer, count=NEIGHBOUR_PROBES):
    """Round trips of 64 bytes; returns the sorted times in seconds."""
    times, data = [], frame(BINARY, b"n" * 64)
    for _ in range(count):
        began = time.perf_counter()
        peer.send(data)
        peer.exactly(64)
        times.append(time.perf_counter() - began)
    return sorted(times)


def held(server):
    """Bytes of the pool that streams hold, for each flow."""
    samples, _ = server.metrics()
    return sum(value * size for name, value in samples.items() for kind, size in BUFFER_BYTES.items()
               if name.startswith("sluice_shard_buffers_used") and f'"{kind}"' in name) / FLOWS


def compare(context, before, during):
    def p99(times):
        return times[int(len(times) * 0.99)]
    context.note(f"neighbour's round trip, p50/p99: {before[len(before) // 2] * 1e6:.0f}/{p99(before) * 1e6:.0f} µs alone, "
                 f"{during[len(during) // 2] * 1e6:.0f}/{p99(during) * 1e6:.0f} µs beside the stall")
    # A busy machine moves a p99 by itself; a neighbour that waited for the stalled flow would show in whole timeouts.
    check(p99(during) < 3 * p99(before) + 0.01, "a neighbour's p99 does not move", p99(before), p99(during))


def warm(server, cookie, source, sink):
    """Brings every pool to its size: what is measured is what a stall adds, not the first use of a buffer."""
    peers = [upgrade(server, tcp(source), cookie, timeout=60) for _ in range(2)]
    for peer in peers:
        code, data = peer.until_close()
        equal((code, len(data)), (1000, 32 << 20), "warming up: a download")
        peer.close()
    peer = upgrade(server, tcp(sink), cookie, timeout=60)
    peer.send(frame(BINARY, (32 << 20).to_bytes(8, "big")))
    for _ in range(32 << 2):
        peer.send(frame(BINARY, bytes(1 << 18)))
    peer.exactly(64)
    peer.close()


def setting(context, **environment):
    server = context.server(**environment)
    cookie = server.session()
    warm(server, cookie, services.start(context, "source", 32 << 20), services.start(context, "sink"))
    neighbour = upgrade(server, tcp(services.start(context, "echo")), cookie)
    probe(neighbour)
    return server, cookie, neighbour


@case("backpressure-client-stops-reading")
def stalled_client(context):
    server, cookie, neighbour = setting(context)
    source = services.start(context, "source", STREAM_BYTES)
    before, resident = probe(neighbour), server.resident_bytes()
    peers = [upgrade(server, tcp(source), cookie, timeout=120, receive_buffer=65536) for _ in range(FLOWS)]
    time.sleep(STALL_SECONDS)
    during, growth, holds = probe(neighbour), (server.resident_bytes() - resident) / FLOWS, held(server)
    context.note(f"1 GiB offered to each of {FLOWS} clients that do not read: memory {growth / 1024:+.0f} KiB each, "
                 f"{holds / 1024:.0f} KiB of the pool held each")
    check(0 < holds < HELD_BYTES, "held for a client that stopped reading", holds)
    check(growth < GROWTH_BYTES, "memory for a client that stopped reading", growth)
    compare(context, before, during)
    # The flow resumes where it stopped: all bytes arrive, in order.
    received = 0
    while received < RESUMED_BYTES:
        data = peers[0].message()
        check(services.is_pattern(data, received), "bytes after the stall", received, len(data))
        received += len(data)
    for peer in peers:
        peer.close()
    neighbour.close()


@case("backpressure-target-stops-reading")
def stalled_target(context):
    server, cookie, neighbour = setting(context, TCP_PROXY_IDLE_TIMEOUT_MS=IDLE_MILLISECONDS)
    deaf = services.start(context, "deaf")
    before, resident = probe(neighbour), server.resident_bytes()
    peers = [upgrade(server, tcp(deaf), cookie) for _ in range(FLOWS)]
    sent, closing = [0] * FLOWS, []

    def send(number):
        data = frame(BINARY, bytes(1 << 16))
        peers[number].socket.setblocking(True)
        try:
            for _ in range(STREAM_BYTES >> 16):
                peers[number].send(data)
                sent[number] += 1 << 16
        except OSError:
            closing.append(number)
    senders = [threading.Thread(target=send, args=(number,), daemon=True) for number in range(FLOWS)]
    for sender in senders:
        sender.start()
    time.sleep(STALL_SECONDS)
    during, growth, holds = probe(neighbour), (server.resident_bytes() - resident) / FLOWS, held(server)
    context.note(f"{FLOWS} targets that do not read: {max(sent) / (1 << 20):.1f} MiB taken by kernel and gateway at most, "
                 f"memory {growth / 1024:+.0f} KiB each, {holds / 1024:.0f} KiB of the pool held each")
    check(not closing, "the gateway stops reading instead of closing", closing)
    check(max(sent) < 64 << 20, "the client is held back", sent)
    check(0 < holds < HELD_BYTES, "held for a target that stopped reading", holds)
    check(growth < GROWTH_BYTES, "memory for a target that stopped reading", growth)
    compare(context, before, during)
    descriptors = server.descriptors()
    for peer, sender in zip(peers, senders):
        peer.socket.shutdown(socket.SHUT_RDWR)
        sender.join(10)
        peer.close()
    neighbour.close()
    # Two sockets of each stalled flow and two of the neighbour's. After the idle timeout the gateway gives its peers
    # 2 s to take what it has for them.
    eventually(lambda: server.descriptors() <= descriptors - 2 * (FLOWS + 1), "all sockets are closed", IDLE_MILLISECONDS / 1000 + 6)
