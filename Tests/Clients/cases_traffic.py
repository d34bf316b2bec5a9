"""Real traffic: the `websockets` library fetches from a real nginx and pushes to a sink, byte for byte."""
import asyncio
import hashlib
import os
import random
import shutil
import socket
import time

import services
from harness import Skip, case, check, equal

FILE_BYTES = 256 << 20
# Below the gateway's limit of 1 MiB a message; what a bulk client would choose.
MESSAGE_BYTES = 256 << 10
CLIENTS = 500
CLIENT_BYTES = 128 << 10
# A session may hold 64 connections.
CLIENTS_PER_SESSION = 60
# Clients shake hands this many at a time, so that the listen queue is not what is measured.
OPENING_AT_ONCE = 50

NGINX_CONFIGURATION = """\
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log; worker_processes 1;
{user}events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }}
}}
"""


def start_nginx(context):
    """Serves a pseudo-random file of FILE_BYTES from a real nginx; returns (port, SHA-256 of the file)."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not nginx:
        raise Skip("nginx is not installed (Debian package nginx-light)")
    www = context.folder / "www"
    www.mkdir()
    generator, digest = random.Random(2), hashlib.sha256()
    with open(www / "file", "wb") as file:
        for _ in range(FILE_BYTES >> 20):
            block = generator.randbytes(1 << 20)
            digest.update(block)
            file.write(block)
    context.defer(lambda: shutil.rmtree(www))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configuration = context.folder / "nginx.conf"
    configuration.write_text(NGINX_CONFIGURATION.format(folder=context.folder, port=port, user="user root; " if os.geteuid() == 0 else ""))
    process = context.process([nginx, "-p", context.folder, "-c", configuration])
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return port, digest.hexdigest()
        except ConnectionRefusedError:
            check(process.poll() is None and time.monotonic() < deadline, "nginx starts", process.poll())
            time.sleep(0.05)


def connect(server, port, cookie):
    try:
        from websockets.asyncio.client import connect as websocket
    except ImportError:
        raise Skip("the Python package websockets is not installed")
    return websocket(f"ws://127.0.0.1:{server.port}/tcp?v=1&host=127.0.0.1&port={port}", additional_headers={"Cookie": cookie},
                     compression=None, max_size=None, open_timeout=30, proxy=None)


async def fetch(server, port, cookie):
    """GET /file over HTTP/1.1 over the WebSocket; returns the SHA-256 of the body."""
    async with connect(server, port, cookie) as client:
        await client.send(b"GET /file HTTP/1.1\r\nHost: nginx\r\nConnection: close\r\n\r\n")
        head, digest, received = b"", hashlib.sha256(), 0
        while b"\r\n\r\n" not in head:
            head += await client.recv()
        head, body = head.split(b"\r\n\r\n", 1)
        check(head.startswith(b"HTTP/1.1 200") and b"Server: nginx" in head, "answer of nginx", head)
        while body is not None:
            digest.update(body)
            received += len(body)
            body = await client.recv() if received < FILE_BYTES else None
        equal(received, FILE_BYTES, "bytes fetched")
        # nginx closes, which the gateway passes on as a normal end.
        await client.wait_closed()
        equal(client.close_code, 1000, "close code after the end of the target")
        return digest.hexdigest()


async def push(server, port, cookie, count=FILE_BYTES):
    """Sends pseudo-random bytes to the sink; returns (SHA-256 of the sink, SHA-256 of what was sent)."""
    generator, digest = random.Random(3), hashlib.sha256()
    async with connect(server, port, cookie) as client:
        await client.send(count.to_bytes(8, "big"))
        for _ in range(count // MESSAGE_BYTES):
            block = generator.randbytes(MESSAGE_BYTES)
            digest.update(block)
            await client.send(block)
        answer = b""
        while len(answer) < 64:
            answer += await client.recv()
        return answer.decode(), digest.hexdigest()


def timed(context, text, work, count):
    began = time.monotonic()
    result = asyncio.run(work)
    seconds = time.monotonic() - began
    context.note(f"{text}: {seconds:.1f} s, {count / seconds / (1 << 20):.0f} MiB/s, client included")
    return result


@case("traffic-256-mib")
def bulk(context):
    server = context.server()
    cookie = server.session()
    nginx, expected = start_nginx(context)
    sink = services.start(context, "sink")
    equal(timed(context, "fetched 256 MiB from nginx", fetch(server, nginx, cookie), FILE_BYTES), expected, "SHA-256 of the fetched file")
    received, sent = timed(context, "pushed 256 MiB to the sink", push(server, sink, cookie), FILE_BYTES)
    equal(received, sent, "SHA-256 of the pushed bytes")

    async def both():
        return await asyncio.gather(fetch(server, nginx, cookie), push(server, sink, cookie))
    fetched, (received, sent) = timed(context, "both at once", both(), 2 * FILE_BYTES)
    equal(fetched, expected, "SHA-256 of the fetched file, both at once")
    equal(received, sent, "SHA-256 of the pushed bytes, both at once")


async def exchange(server, port, cookie, number, opening):
    """Sends bytes of its own in messages of many sizes while it receives their echo, and compares."""
    generator = random.Random(number)
    data, received = generator.randbytes(CLIENT_BYTES), bytearray()
    async with opening:
        connection = connect(server, port, cookie)
        client = await connection.__aenter__()

    async def send():
        offset = 0
        while offset < len(data):
            size = generator.choice((1, 125, 126, 1000, 65535, 65536))
            await client.send(data[offset:offset + size])
            offset += size
    sending = asyncio.create_task(send())
    try:
        while len(received) < len(data):
            received += await client.recv()
        await sending
        return bytes(received) == data
    finally:
        sending.cancel()
        await connection.__aexit__(None, None, None)


@case("traffic-500-clients")
def crowd(context):
    server, port = context.server(), services.start(context, "echo")
    cookies = [server.session() for _ in range(CLIENTS // CLIENTS_PER_SESSION + 1)]

    async def everyone():
        opening = asyncio.Semaphore(OPENING_AT_ONCE)
        return await asyncio.gather(*(exchange(server, port, cookies[number // CLIENTS_PER_SESSION], number, opening)
                                      for number in range(CLIENTS)), return_exceptions=True)
    results = timed(context, f"{CLIENTS} clients, {CLIENT_BYTES >> 10} KiB each way", everyone(), 2 * CLIENTS * CLIENT_BYTES)
    for skipped in (result for result in results if isinstance(result, Skip)):
        raise skipped
    wrong = [result for result in results if result is not True]
    check(not wrong, f"{len(wrong)} of {CLIENTS} clients got other bytes than they sent", *wrong[:3])
