"""The WebSocket proxy between the `websockets` library's client and server: frames, closes, limits, and upstreams that fail."""
import asyncio
import functools
import os
import random
import re
import socket
import ssl
import subprocess
import sys
import time

import secure
from harness import Failure, Skip, case, check, equal, eventually, stop

try:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    MISSING = None
except ImportError:
    MISSING = "the Python package websockets is not installed"


def proxy_case(name):
    """A case that is a coroutine, given a context."""
    def register(function):
        @case("ws-proxy-" + name)
        @functools.wraps(function)
        def run(context):
            if MISSING:
                raise Skip(MISSING)
            asyncio.run(asyncio.wait_for(function(context), 120))
        return run
    return register


class Proxy:
    """`sluice-proxy` in front of an upstream; what it says is in `lines`."""

    def __init__(self, context, upstream, *options):
        binary = context.binary.parent / "sluice-proxy"
        if not os.access(binary, os.X_OK):
            raise Skip("sluice-proxy is not built beside the gateway")
        self.path = context.folder / f"proxy-{random.randrange(1 << 30)}.log"
        with open(self.path, "wb") as log:
            self.process = context.process([binary, "0", upstream, *options], stdout=log, stderr=log)
        eventually(lambda: "listening" in self.path.read_text() or self.process.poll() is not None, "the proxy listens", 15)
        found = re.search(r"listening on 127.0.0.1:(\d+)", self.path.read_text())
        check(found, "the proxy listens", self.path.read_text())
        self.url = f"ws://127.0.0.1:{found.group(1)}"
        self.port = int(found.group(1))

    def said(self):
        return self.path.read_text().splitlines()[1:]

    def resident(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read()).group(1)) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


async def echo(stream):
    async for message in stream:
        await stream.send(message)


def port(server):
    return server.sockets[0].getsockname()[1]


def plain(handler, **options):
    options = {"compression": None, "max_size": None} | options
    return serve(handler, "127.0.0.1", 0, **options)


def dial(url, **options):
    options = {"compression": None, "max_size": None, "proxy": None} | options
    return connect(url, **options)


async def refused(url, **options):
    """Status and fields of a refused upgrade."""
    try:
        async with dial(url, **options):
            raise Failure("the upgrade was accepted")
    except InvalidStatus as answer:
        return answer.response.status_code, answer.response.headers


@proxy_case("carries")
async def carries(context):
    """Text, binary, fragments, empty and large messages come back equal, with every way to carry them."""
    async with plain(echo) as upstream:
        for options in [(), ("masks=fresh",), ("first=1",), ("mode=inspected",)]:
            proxy = Proxy(context, f"ws://127.0.0.1:{port(upstream)}/up", *options)
            async with dial(proxy.url) as stream:
                binary = [os.urandom(size) for size in (1, 125, 126, 65535, 65536, 1 << 20, 3 << 20)]
                messages = binary if "mode=inspected" in options else [b"\x10first", "text", *binary, "", b"", "ü" * 40_000]
                for message in messages:
                    await stream.send(message)
                    if "mode=inspected" in options:
                        got = b""
                        while len(got) < len(message):
                            got += await stream.recv()
                    else:
                        got = await stream.recv()
                    check(got == message, f"a message of {len(message)} comes back with {options}")
                if not options:
                    await stream.send([b"one ", b"two ", b"three"])
                    equal(await stream.recv(), b"one two three", "a fragmented message")
                    await asyncio.wait_for(await stream.ping(b"hello"), 5)


@proxy_case("subprotocols")
async def subprotocols(context):
    """The upstream's choice is the client's; one that was not offered is a failure."""
    async with plain(echo, select_subprotocol=lambda server, offered: "mqtt" if "mqtt" in offered else None) as upstream:
        proxy = Proxy(context, f"ws://127.0.0.1:{port(upstream)}/")
        async with dial(proxy.url, subprotocols=["other", "mqtt"]) as stream:
            equal(stream.subprotocol, "mqtt", "the subprotocol")
        async with dial(proxy.url) as stream:
            equal(stream.subprotocol, None, "no subprotocol")


@proxy_case("deflate")
async def deflate(context):
    """permessage-deflate is between the ends when it is let through, and not there when it is not."""
    async with plain(echo, compression="deflate") as upstream:
        for options, extensions in [(("extensions=on",), 1), ((), 0)]:
            proxy = Proxy(context, f"ws://127.0.0.1:{port(upstream)}/", *options)
            async with dial(proxy.url, compression="deflate") as stream:
                equal(len(stream.protocol.extensions), extensions, f"extensions with {options}")
                for message in ["hello " * 10_000, b"x" * 100_000, os.urandom(50_000)]:
                    await stream.send(message)
                    check(await stream.recv() == message, "a compressed message comes back")


@proxy_case("closes")
async def closes(context):
    """Codes and reasons go through, both ways, at once; no session stays."""
    seen = asyncio.Queue()

    async def handler(stream):
        try:
            async for message in stream:
                code, reason = message.split(" ", 1)
                if code == "reset":
                    stream.transport.abort()
                    return
                await stream.close(int(code), reason)
        finally:
            await seen.put((stream.close_code, stream.close_reason))

    async with plain(handler) as upstream:
        proxy = Proxy(context, f"ws://127.0.0.1:{port(upstream)}/")
        for code, reason in [(1000, ""), (1011, "broken"), (4000, "é" * 61), (3000, "r")]:
            async with dial(proxy.url) as stream:
                began = time.monotonic()
                await stream.close(code, reason)
                equal(await asyncio.wait_for(seen.get(), 5), (code, reason), "what the upstream saw")
                check(time.monotonic() - began < 1, "within a moment", time.monotonic() - began)
            async with dial(proxy.url) as stream:
                await stream.send(f"{code} {reason}")
                try:
                    await stream.recv()
                except ConnectionClosed:
                    pass
                equal((stream.close_code, stream.close_reason), (code, reason), "what the client saw")
                await seen.get()
        async with dial(proxy.url) as stream:
            await stream.send("reset now")
            try:
                await stream.recv()
            except ConnectionClosed:
                pass
            equal((stream.close_code, stream.close_reason), (1014, "upstream unavailable"), "a reset of the upstream")
            await seen.get()
        async with dial(proxy.url) as stream:
            stream.transport.abort()
            code, _ = await asyncio.wait_for(seen.get(), 5)
            equal(code, 1001, "a reset of the client")


@proxy_case("upstreams")
async def upstreams(context):
    """An upstream that refuses, is silent, answers something else, or lies about its key is a status within its time."""
    async def answer(text, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if text:
            writer.write(text.encode())
            await writer.drain()
            writer.close()
        else:
            await asyncio.sleep(60)

    cases = {
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n": 502,
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n": 502,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n": 502,
        "SSH-2.0-OpenSSH\r\n\r\n": 502,
        "": 504,
    }
    for text, status in cases.items():
        server = await asyncio.start_server(functools.partial(answer, text), "127.0.0.1", 0)
        proxy = Proxy(context, f"ws://127.0.0.1:{port(server)}/")
        began = time.monotonic()
        found, headers = await refused(proxy.url, open_timeout=30)
        equal(found, status, f"the status for {text[:30]!r}")
        check("X-Edge-Error" in headers and headers["X-Frame-Options"] == "DENY", "fields of a refusal", dict(headers))
        check(time.monotonic() - began < 12, "within the time of a dial", time.monotonic() - began)
        server.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused = free.getsockname()[1]
    proxy = Proxy(context, f"ws://127.0.0.1:{unused}/")
    equal((await refused(proxy.url))[0], 502, "nobody listens")
    check(sum("dial refused" in line for line in proxy.said()) == 4, "it was tried four times", proxy.said())
    proxy = Proxy(context, f"ws://no-such-name.invalid:{unused}/")
    equal((await refused(proxy.url, open_timeout=30))[0], 502, "a name without address")


@proxy_case("tls")
async def tls(context):
    """Upstreams over TLS: verified, by another name, and with a certificate of our own."""
    chain, key = secure.certificate(context.folder, "upstream", ["DNS:broker.example"])
    own, own_key = secure.certificate(context.folder, "own", ["DNS:gateway.example"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    async with plain(echo, ssl=server) as upstream:
        url = f"wss://127.0.0.1:{port(upstream)}/"
        async with dial(Proxy(context, url, f"ca={chain}", "name=broker.example").url) as stream:
            for message in [b"hello", os.urandom(2 << 20)]:
                await stream.send(message)
                check(await stream.recv() == message, "a message over TLS comes back")
        for options in [(f"ca={chain}",), (f"ca={chain}", "name=other.example"), ("name=broker.example",),
                        (f"ca={own}", "name=broker.example")]:
            proxy = Proxy(context, url, *options)
            equal((await refused(proxy.url))[0], 502, f"an upstream that is not the one asked for, {options[-1]}")
            check(any("tls" in line for line in proxy.said()), "the reason is told", proxy.said())
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(own)
    async with plain(echo, ssl=server) as upstream:
        url = f"wss://127.0.0.1:{port(upstream)}/"
        equal((await refused(Proxy(context, url, f"ca={chain}", "name=broker.example").url))[0], 502, "without a certificate")
        proxy = Proxy(context, url, f"ca={chain}", "name=broker.example", f"cert={own}", f"key={own_key}")
        async with dial(proxy.url) as stream:
            await stream.send("known")
            equal(await stream.recv(), "known", "with a certificate")


@proxy_case("limits")
async def limits(context):
    """Message size, message rate both ways to bound it, the end of a session, and silence."""
    async with plain(echo) as upstream:
        url = f"ws://127.0.0.1:{port(upstream)}/"

        async def closed(proxy, messages, waits=False, seconds=10):
            async with dial(proxy.url, ping_interval=None) as stream:
                received = 0
                try:
                    for message in messages:
                        await stream.send(message)
                        if waits:
                            await stream.recv()
                            received += 1
                    while True:
                        await asyncio.wait_for(stream.recv(), seconds)
                        received += 1
                except ConnectionClosed:
                    return stream.close_code, received
        equal(await closed(Proxy(context, url, "max=1000"), [b"x" * 1000, b"x" * 1001], waits=True), (1009, 1), "a message too big")
        code, received = await closed(Proxy(context, url, "rate=10", "burst=30"), [b"x"] * 60)
        equal(code, 1008, "above the rate")
        check(received <= 31, "messages within the burst", received)
        async with dial(Proxy(context, url, "rate=50", "burst=10", "throttle=on").url) as stream:
            began = time.monotonic()
            for number in range(60):
                await stream.send(str(number))
                await stream.recv()
            check(0.9 <= time.monotonic() - began <= 2, "sixty messages at fifty a second take a second", time.monotonic() - began)
        began = time.monotonic()
        equal((await closed(Proxy(context, url, "ends=700"), []))[0], 1008, "the end of a session")
        check(0.6 < time.monotonic() - began < 2, "at its time", time.monotonic() - began)
        equal((await closed(Proxy(context, url, "idle=500"), []))[0], 1001, "no data")


@proxy_case("liveness")
async def liveness(context):
    """Whoever answers pings lives; whoever says nothing is dead after its time."""
    async with plain(echo, ping_interval=None) as upstream:
        proxy = Proxy(context, f"ws://127.0.0.1:{port(upstream)}/", "dead=1000")
        async with dial(proxy.url, ping_interval=None) as stream:
            await asyncio.sleep(3)
            await stream.send("still")
            equal(await stream.recv(), "still", "three silent seconds")
        with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            await asyncio.sleep(2)
        check(any("client_dead" in line for line in proxy.said()), "a silent client is dead", proxy.said())


@proxy_case("slow")
async def slow(context):
    """A receiver that takes nothing bounds memory, leaves others alone, and ends after the write timeout; a slow one gets all."""
    chunk = os.urandom(1 << 20)

    async def pour(stream):
        if stream.request.path.startswith("/up"):
            try:
                for _ in range(100):
                    await stream.send(chunk)
                await stream.wait_closed()
            except ConnectionClosed:
                pass

    async with plain(pour) as upstream:
        proxy = Proxy(context, f"ws://127.0.0.1:{port(upstream)}/up", "write=2000")
        before = proxy.resident()
        async with dial(proxy.url, max_queue=1, ping_interval=None) as stream:
            await asyncio.sleep(1)
            check(proxy.resident() - before < 16 << 20, "memory while a receiver takes nothing", proxy.resident() - before)
            async with dial(proxy.url) as other:
                began = time.monotonic()
                for _ in range(100):
                    check(await other.recv() == chunk, "another session's bytes")
                check(time.monotonic() - began < 30, "another session goes on", time.monotonic() - began)
            await asyncio.to_thread(
                eventually, lambda: any("client_too_slow" in line for line in proxy.said()), "the end of the slow one", 10)


@proxy_case("cycles")
async def cycles(context):
    """Two thousand sessions leave no descriptor and no memory."""
    async with plain(echo) as upstream:
        proxy = Proxy(context, f"ws://127.0.0.1:{port(upstream)}/")

        async def round_trips(count):
            for _ in range(count):
                async with dial(proxy.url) as stream:
                    await stream.send("x")
                    await stream.recv()
        await asyncio.gather(*[round_trips(50) for _ in range(10)])
        await asyncio.sleep(3)
        descriptors, resident = proxy.descriptors(), proxy.resident()
        await asyncio.gather(*[round_trips(150) for _ in range(10)])
        await asyncio.to_thread(eventually, lambda: proxy.descriptors() <= descriptors, "descriptors go back", 10)
        check(proxy.resident() - resident < 2 << 20, "memory stays", proxy.resident() - resident)
        equal(sum(line.startswith("ended client_close") for line in proxy.said()), 2000, "sessions that ended")
