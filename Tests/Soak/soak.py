"""Mixed load for many minutes, from well-behaved, stalling, vanishing and malformed clients, with reloads in between.

Theory of operation
  actors   each is a coroutine that repeats one kind of client until the time is over; `ACTORS` says how many of each there are
  exact    what well-behaved actors send through an echo comes back byte for byte, or the soak fails
  probing  endpoints this build or configuration does not serve are found out first and said to be left out
  memory   resident bytes every 2 s, those of the buffer pools apart. Behind the warm-up the line fitted to the others may not
           rise by more than GROWTH_BYTES in all; pools follow the bursts of the load, and their highest mark of the second
           half may not be more than POOL_GROWTH above that of the first
  the end  actors stop, and descriptors and every gauge of the gateway return to what they were before the first client
  log      at level `warn`; no record of level error or above may appear
"""
import argparse
import asyncio
import collections
import json
import os
import pathlib
import random
import shutil
import socket
import struct
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Clients"))
import harness  # noqa: E402
import services  # noqa: E402
import table_body  # noqa: E402, F401
import table_frames  # noqa: E402
import table_gateway  # noqa: E402, F401
import table_head  # noqa: E402, F401
from harness import Failure, check, eventually  # noqa: E402
from rawsocket import BINARY, CLOSE, PING, PONG, frame, head, tcp  # noqa: E402
from table import CANARY, Table  # noqa: E402

# Warm-up: pools, caches and the allocator reach their size. A fifth of the time, a minute at least, half of a short run.
WARM_UP_SHARE, WARM_UP_SECONDS = 0.2, 60
# Resident growth outside the pools that a fit over the rest may show: slack of the allocator. A leak of 10 bytes in each
# connection of ten minutes is twice as much.
GROWTH_BYTES = 1 << 20
POOL_GROWTH = 0.35
# Anonymous mappings from this size are buffer pools and tables of slots.
POOL_BYTES = 16 << 20
SAMPLE_SECONDS, PROGRESS_SECONDS, RELOAD_SECONDS = 2, 15, 20
# Longest time any well-behaved exchange may take on a machine that is busy with everything here.
EXCHANGE_SECONDS = 60
# Kept connections to a resolver end by themselves: 72 s of idleness, and some grain.
IDLE_SECONDS = 100
ACTORS = {"echo": 6, "mux": 2, "plain": 3, "lookup": 1, "stall": 4, "vanish": 3, "malformed": 2, "frames": 1, "silent": 6}
LARGEST_MESSAGE = 128 << 10


class Wire:
    """A client connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, soak, receive_buffer=None):
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(connection, soak.server.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        soak.counts["connections"] += 1
        return cls(*await asyncio.open_connection(sock=connection, limit=1 << 18))

    async def upgrade(self, soak, target, **options):
        self.writer.write(head(target, soak.cookie(), **options))
        answer = await self.reader.readuntil(b"\r\n\r\n")
        check(answer.startswith(b"HTTP/1.1 101 "), f"upgrade of {target}", answer)
        return self

    async def frame(self):
        _, second = await self.reader.readexactly(2)
        count = second
        if second == 126:
            count, = struct.unpack(">H", await self.reader.readexactly(2))
        elif second == 127:
            count, = struct.unpack(">Q", await self.reader.readexactly(8))
        return _ & 15, await self.reader.readexactly(count)

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def close(self, abortive=False):
        if abortive:
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        self.writer.close()


class Soak:
    def __init__(self, server, echo, seconds, has):
        self.server, self.echo, self.has = server, echo, has
        self.deadline = time.monotonic() + seconds
        self.counts, self.failures = collections.Counter(), []
        self.cookies = [server.session() for _ in range(16)]

    def cookie(self):
        return random.choice(self.cookies)

    @property
    def is_over(self):
        return time.monotonic() >= self.deadline or bool(self.failures)

    async def rest(self, seconds):
        await asyncio.sleep(max(0, min(seconds, self.deadline - time.monotonic())))

    # ---- Well-behaved

    async def echo_once(self):
        wire = await (await Wire.open(self)).upgrade(self, tcp(self.echo))
        try:
            for _ in range(random.randint(1, 8)):
                data = random.randbytes(random.choice((1, 100, 5000, 60_000, LARGEST_MESSAGE)))
                await asyncio.gather(self.send_message(wire, data), self.receive_exactly(wire, data))
                self.counts["bytes exact"] += len(data)
            await wire.send(frame(CLOSE, b"\x03\xe8"))
            opcode, payload = await wire.frame()
            while opcode == PONG:
                opcode, payload = await wire.frame()
            check((opcode, payload) == (CLOSE, b"\x03\xe8"), "the Close is echoed", opcode, payload)
        finally:
            wire.close()
        await self.rest(random.random() * 0.05)

    async def send_message(self, wire, data):
        cuts = sorted(random.sample(range(1, len(data)), min(len(data) - 1, random.randint(0, 3)))) if len(data) > 4 else []
        parts = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]
        for number, part in enumerate(parts):
            await wire.send(frame(BINARY if number == 0 else 0, part, fin=number == len(parts) - 1))
            if random.random() < 0.1:
                await wire.send(frame(PING, b"soak"))

    async def receive_exactly(self, wire, data):
        place = 0
        while place < len(data):
            opcode, payload = await wire.frame()
            if opcode == PONG:
                continue
            check(opcode == BINARY, "a message", opcode, payload[:20])
            check(payload == data[place:place + len(payload)], f"bytes {place} to {place + len(payload)} of {len(data)}")
            place += len(payload)

    async def mux_once(self):
        wire = await (await Wire.open(self)).upgrade(self, "/tcp-mux", extra=[("Sec-WebSocket-Protocol", "aero-tcp-mux-v1")])
        try:
            count = random.randint(1, 16)
            data = {number: random.randbytes(random.choice((1, 3000, 60_000))) for number in range(1, count + 1)}
            host = b"127.0.0.1"
            opening = struct.pack(">H", len(host)) + host + struct.pack(">HH", self.echo, 0)
            received = dict.fromkeys(data, b"")

            async def send():
                for number in data:
                    await wire.send(frame(BINARY, struct.pack(">BII", 1, number, len(opening)) + opening))
                for start in range(0, 60_000, 16_384):
                    for number, whole in data.items():
                        if part := whole[start:start + 16_384]:
                            await wire.send(frame(BINARY, struct.pack(">BII", 2, number, len(part)) + part))

            async def receive():
                while any(len(received[number]) < len(data[number]) for number in data):
                    opcode, payload = await wire.frame()
                    check(opcode == BINARY, "a message of frames", opcode, payload[:20])
                    kind, number, length = struct.unpack(">BII", payload[:9])
                    check(kind == 2 and length == len(payload) - 9, "a DATA frame", kind, number, payload[:60])
                    received[number] += payload[9:]
            await asyncio.gather(send(), receive())
            check(received == data, "the bytes of every stream")
            self.counts["bytes exact"] += sum(map(len, data.values()))
            self.counts["streams"] += count
        finally:
            wire.close(random.random() < 0.3)
        await self.rest(random.random() * 0.1)

    async def plain_once(self):
        wire = await Wire.open(self)
        try:
            for _ in range(random.randint(1, 50)):
                method, target, status = random.choice((("GET", "/healthz", 200), ("GET", "/version", 200), ("POST", "/session", 201),
                                                        ("GET", "/nothing", 404), ("GET", "/metrics", 200), ("OPTIONS", "/session", 204)))
                await wire.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answer = await wire.reader.readuntil(b"\r\n\r\n")
                check(answer.startswith(b"HTTP/1.1 %d " % status), f"{method} {target}", answer[:200])
                fields = answer.lower()
                if b"content-length: " in fields:
                    await wire.reader.readexactly(int(fields.split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.counts["plain answers"] += 1
        finally:
            wire.close()
        await self.rest(random.random() * 0.05)

    async def lookup_once(self):
        wire = await Wire.open(self)
        try:
            name, status = random.choice((("sluice.example", 0), ("many.sluice.example", 0), (f"x{random.randrange(99)}.sluice.example",
                3)))
            await wire.send(f"GET /dns-json?name={name}&type=A HTTP/1.1\r\nHost: a\r\nCookie: {self.cookie()}\r\n\r\n".encode())
            answer = await wire.reader.readuntil(b"\r\n\r\n")
            body = await wire.reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            check(answer.startswith(b"HTTP/1.1 200 ") and json.loads(body)["Status"] == status, f"look-up of {name}", answer[:100], body)
            self.counts["look-ups"] += 1
        finally:
            wire.close()
        await self.rest(0.02)

    # ---- Badly behaved: nothing is expected but that others do not notice

    async def stall_once(self):
        """Sends more than anybody reads, then goes on after all, or away."""
        wire = await (await Wire.open(self, receive_buffer=8192)).upgrade(self, tcp(self.echo))
        data = random.randbytes(LARGEST_MESSAGE) * 8
        sender = asyncio.create_task(self.send_large(wire, data))
        try:
            wire.writer.transport.pause_reading()
            await self.rest(random.uniform(0.5, 6))
            if random.random() < 0.5:
                wire.writer.transport.resume_reading()
                await self.receive_exactly(wire, data)
                self.counts["bytes exact"] += len(data)
        finally:
            sender.cancel()
            wire.close(True)
        self.counts["stalls"] += 1

    async def send_large(self, wire, data):
        for start in range(0, len(data), LARGEST_MESSAGE):
            await wire.send(frame(BINARY, data[start:start + LARGEST_MESSAGE]))

    async def vanish_once(self):
        """Goes away in the middle of a head, a body, a frame or a message, with and without a word."""
        wire = await Wire.open(self)
        try:
            if random.random() < 0.5:
                await wire.upgrade(self, tcp(self.echo))
                await wire.send(frame(BINARY, b"x" * 5000)[:random.randrange(1, 5000)])
            else:
                row = random.choice(Table.rows)
                await wire.send(row.data[:random.randrange(len(row.data)) + 1])
            if random.random() < 0.3:
                await self.rest(random.uniform(0, 3))
        finally:
            wire.close(random.random() < 0.5)
        self.counts["vanished"] += 1
        await self.rest(0.01)

    async def malformed_once(self):
        row = random.choice(Table.rows)
        wire = await Wire.open(self)
        try:
            await wire.send(row.data + CANARY)
            wire.writer.write_eof()
            await wire.reader.read()
        finally:
            wire.close()
        self.counts["malformed"] += 1
        await self.rest(0.01)

    async def frames_once(self):
        name, data, *_ = random.choice(table_frames.ROWS)
        wire = await (await Wire.open(self)).upgrade(self, tcp(self.echo))
        try:
            await wire.send(data + os.urandom(random.choice((0, 10, 5000))))
            wire.writer.write_eof()
            await wire.reader.read()
        finally:
            wire.close()
        self.counts["frames"] += 1
        await self.rest(0.01)

    async def silent_once(self):
        """Connects, perhaps says a little, and then nothing for a while."""
        wire = await Wire.open(self)
        try:
            await wire.send(random.choice((b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n",
                b"POST /session HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")))
            await self.rest(random.uniform(5, 20))
        finally:
            wire.close(random.random() < 0.5)

    # Ends of connections that the badly behaved bring upon themselves.
    RUDE = {"stall", "vanish", "malformed", "frames", "silent"}

    async def actor(self, kind):
        once = getattr(self, kind + "_once")
        while not self.is_over:
            try:
                await asyncio.wait_for(once(), EXCHANGE_SECONDS)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if kind not in self.RUDE:
                    self.failures.append(f"{kind}: {error!r}")
            except (Failure, asyncio.TimeoutError) as error:
                self.failures.append(f"{kind}: {error!r}")
            except Exception:
                self.failures.append(f"{kind}: {traceback.format_exc()}")

    async def reloader(self):
        while not self.is_over:
            await self.rest(RELOAD_SECONDS)
            self.server.signal(1)
            self.counts["reloads"] += 1

    async def sampler(self, began, samples):
        told = time.monotonic()
        while not self.is_over:
            try:
                samples.append((time.monotonic() - began, *resident_bytes(self.server.process.pid), self.server.descriptors()))
            except (Failure, OSError) as error:
                self.failures.append(f"the gateway: {error!r}")
                return
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                at, pools, others, descriptors = samples[-1]
                print(f"{at:7.0f} s  {pools / (1 << 20):.1f} MiB in pools, {others / (1 << 20):.1f} besides  {descriptors:4} descriptors  "
                      + ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if name != "bytes exact")
                      + f", {self.counts['bytes exact'] / (1 << 30):.2f} GiB exact", flush=True)
            await self.rest(SAMPLE_SECONDS)

    async def main(self):
        samples, began = [], time.monotonic()
        actors = [self.actor(kind) for kind, count in ACTORS.items() if self.has.get(kind, True) for _ in range(count)]
        await asyncio.gather(self.reloader(), self.sampler(began, samples), *actors)
        return samples


def resident_bytes(process):
    """Resident bytes of the buffer pools, and of all else."""
    pools, others, is_pool = 0, 0, False
    with open(f"/proc/{process}/smaps", encoding="ascii", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "Rss:":
                resident = int(value.split()[0]) << 10
                pools, others = (pools + resident, others) if is_pool else (pools, others + resident)
            elif "-" in name and not name.endswith(":"):
                start, end = (int(address, 16) for address in name.split("-"))
                is_pool = end - start >= POOL_BYTES and len(value.split()) == 4
    return pools, others


def growth(points):
    """By how much the line fitted to (second, bytes) rises from the first to the last."""
    count = len(points)
    check(count >= 5, "samples behind the warm-up", count)
    middle, mean = sum(at for at, _ in points) / count, sum(resident for _, resident in points) / count
    slope = sum((at - middle) * (resident - mean) for at, resident in points) / sum((at - middle) ** 2 for at, _ in points)
    return slope * (points[-1][0] - points[0][0])


def check_memory(samples, warm_up):
    """Prints what memory did behind the warm-up, and fails when it grew."""
    steady = [sample for sample in samples if sample[0] >= warm_up]
    rise = growth([(at, others) for at, _, others, _ in steady])
    half = len(steady) // 2
    first, second = (max(pools for _, pools, _, _ in part) for part in (steady[:half], steady[half:]))
    mebibyte = 1 << 20
    print(f"memory besides the pools {steady[-1][2] / mebibyte:.1f} MiB, fitted rise {rise / 1024:+.0f} KiB in "
          f"{steady[-1][0] - steady[0][0]:.0f} s (bound {GROWTH_BYTES >> 10} KiB)")
    print(f"pools at most {first / mebibyte:.1f} MiB in the first half, {second / mebibyte:.1f} MiB in the second "
          f"(bound {POOL_GROWTH:.0%} more)")
    check(rise <= GROWTH_BYTES, "memory besides the pools is flat", f"{rise / 1024:.0f} KiB")
    check(second <= first * (1 + POOL_GROWTH), "the pools do not grow", f"{first} to {second} bytes")


def probe(server, echo):
    """Which optional endpoints answer."""
    client = server.connect()
    client.sendall(head("/tcp-mux", server.session(), extra=[("Sec-WebSocket-Protocol", "aero-tcp-mux-v1")]))
    mux = client.recv(4096).startswith(b"HTTP/1.1 101")
    client.close()
    response, _ = server.request("GET", "/dns-json?name=sluice.example&type=A", {"Cookie": server.session()})
    return {"mux": mux, "lookup": response.status == 200}


def held(server):
    """Gauges of what connections hold; those of reloads say what happened last, and a cache is there to keep."""
    return {name: value for name, value in server.gauges().items() if not name.startswith(("sluice_reload_", "sluice_dns_cache_"))}


def soak(context, seconds):
    configuration = context.folder / "sluice.yaml"
    configuration.write_text("log: { level: info }\n")
    # The demonstration brings a zone for look-ups; its egress rules are replaced, so that the echo service can be reached.
    server = context.server(["--demo", "--set", "demo.service_address=127.0.0.1:0", "--config", str(configuration)],
                            LOG_LEVEL=None, TCP_PROXY_MAX_CONNECTIONS=100_000, DNS_UPSTREAMS=None, DNS_QPS_PER_IP=0)
    # The address is in a record of level info; the records of every request after that would fill the disk.
    configuration.write_text("log: { level: warn }\n")
    server.signal(1)
    echo = services.start(context, "echo")
    server.request("GET", "/healthz")
    descriptors, gauges = server.settled_descriptors(), held(server)
    has = probe(server, echo)
    for kind, served in has.items():
        if not served:
            print(f"left out: {kind} (not served by this build)")
    load = Soak(server, echo, seconds, has)
    samples = asyncio.run(load.main())
    (context.folder / "samples.json").write_text(json.dumps(samples))
    check(not load.failures, f"{len(load.failures)} failures", *load.failures[:5])
    check(server.process.poll() is None, "the gateway runs on")
    eventually(lambda: server.descriptors() == descriptors, f"descriptors return to {descriptors}", IDLE_SECONDS)
    eventually(lambda: held(server) == gauges, f"gauges return to {gauges}", IDLE_SECONDS)
    errors = [record for record in server.records() if record.get("level", 0) >= 50]
    check(not errors, f"{len(errors)} error records in the log", errors[:3])
    warm_up = min(max(seconds * WARM_UP_SHARE, WARM_UP_SECONDS), seconds / 2)
    print(f"{load.counts['connections']:,} connections, {load.counts['bytes exact'] / (1 << 30):.2f} GiB exact, "
          f"{load.counts['reloads']} reloads")
    print(f"{descriptors} descriptors and {len(gauges)} gauges back to start; no error record")
    check_memory(samples, warm_up)
    server.signal(15)
    check(server.process.wait(20) == 0, "the gateway drains and exits with 0", server.process.returncode)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=30)
    parser.add_argument("--binary", type=pathlib.Path, default=harness.RELEASE / "sluice", help="the gateway to test")
    options = parser.parse_args()
    harness.raise_descriptor_limit()
    folder = harness.ROOT / ".build" / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    context = harness.Context("soak", folder, options.binary.resolve())
    try:
        soak(context, options.minutes * 60)
    except Failure as failure:
        print("soak failed: " + "; ".join(map(str, failure.args)))
        return 1
    finally:
        context.close()
    print("soak passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
