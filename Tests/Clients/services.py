"""Real services behind the gateway: each a process of its own, so that the client's work does not slow it.

Run as `services.py KIND [ARGUMENT]`; prints its port. Kinds:
  echo             sends back what it receives
  sink             reads an 8-byte length and as many bytes, answers with their SHA-256 in hex; again and again
  source COUNT     sends COUNT bytes of the pattern (31 i + 7) mod 256, then closes
  deaf             accepts and never reads
  slow             waits for a file to appear (ARGUMENT), then reads to the end, and writes count and SHA-256 beside it
"""
import asyncio
import hashlib
import os
import socket
import subprocess
import sys

from harness import check, eventually

BLOCK = 1 << 16
PATTERN = bytes((i * 31 + 7) & 255 for i in range(256)) * (BLOCK // 256)


# Long enough to compare a message of any size the gateway may send, whatever its phase.
LONG_PATTERN = PATTERN * 64


def is_pattern(data, offset):
    """Whether bytes received from `source` at this offset of the stream are what it sent."""
    start = offset % BLOCK
    return data == LONG_PATTERN[start:start + len(data)]


async def echo(reader, writer, _):
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()


async def sink(reader, writer, _):
    while True:
        remaining, digest = int.from_bytes(await reader.readexactly(8), "big"), hashlib.sha256()
        while remaining:
            data = await reader.read(min(remaining, 4 * BLOCK))
            if not data:
                return
            digest.update(data)
            remaining -= len(data)
        writer.write(digest.hexdigest().encode())
        await writer.drain()


async def source(_, writer, argument):
    remaining = int(argument)
    while remaining:
        writer.write(PATTERN[:min(BLOCK, remaining)])
        remaining -= min(BLOCK, remaining)
        await writer.drain()


async def deaf(_, writer, argument):
    writer.transport.pause_reading()
    await asyncio.Event().wait()


async def slow(reader, writer, argument):
    writer.transport.pause_reading()
    while not os.path.exists(argument):
        await asyncio.sleep(0.02)
    writer.transport.resume_reading()
    count, digest = 0, hashlib.sha256()
    try:
        while data := await reader.read(BLOCK):
            count += len(data)
            digest.update(data)
            await asyncio.sleep(0.01)
        ending = "end"
    except ConnectionError as error:
        ending = type(error).__name__
    with open(argument + ".part", "w") as result:
        result.write(f"{count} {digest.hexdigest()} {ending}")
    os.rename(argument + ".part", argument + ".result")


KINDS = {function.__name__: function for function in (echo, sink, source, deaf, slow)}


async def serve(kind, argument):
    async def handle(reader, writer):
        try:
            await KINDS[kind](reader, writer, argument)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
    listener = socket.socket()
    if kind in ("deaf", "slow"):
        # Inherited by what is accepted: a small window shows a stalled target early.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(handle, sock=listener, backlog=2048)
    print(listener.getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def start(context, kind, argument=""):
    """Starts a service that ends with the case; returns its port."""
    process = context.process([sys.executable, __file__, kind, str(argument)], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    check(line.strip().isdigit(), f"service {kind} started", line)
    return int(line)


def websocket_echo(context):
    """Starts the WebSocket echo made of the gateway's own engine, which is never what limits a case; returns its port."""
    binary = context.binary.parent / "sluice-echo"
    check(binary.exists(), f"{binary} exists")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with open(context.folder / "echo.log", "wb") as log:
        process = context.process([binary, port], stdout=log, stderr=log)

    def is_up():
        check(process.poll() is None, "the echo server runs", process.poll())
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False
    eventually(is_up, "the echo server listens", 10)
    return port


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
