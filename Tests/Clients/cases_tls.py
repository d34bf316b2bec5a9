"""TLS on a listener: versions and suites, certificates by name, resumption, slow and foreign peers, WebSockets, exchanged certificates."""
import asyncio
import hashlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import services
from harness import Skip, case, check, equal, eventually
from secure import LOCAL, certificate, connect, metric, openssl, request, secure_server, trusting

LIVE = 200
STREAM_PER_SECOND = 500
STREAM_SECONDS = 6


def s_client(server, *arguments, input=b"Q\n", check_status=False):
    return openssl("s_client", "-connect", f"127.0.0.1:{server.port}", *arguments, input=input, check=check_status)


# What no listener may agree to, as testssl names them: (name, options of s_client).
REFUSED = [
    ("SSLv3-TLS1.0", ["-tls1", "-cipher", "ALL:@SECLEVEL=0"]),
    ("TLS1.1", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]),
    ("CBC with ECDHE", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"]),
    ("CBC with ECDHE-RSA", ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA384:@SECLEVEL=0"]),
    ("static RSA, AEAD", ["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-GCM-SHA384:@SECLEVEL=0"]),
    ("static RSA, CBC", ["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA256:@SECLEVEL=0"]),
    ("finite-field DHE", ["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"]),
    ("3DES, where the client still has it", ["-tls1_2", "-cipher", "3DES:@SECLEVEL=0"]),
    ("RC4, where the client still has it", ["-tls1_2", "-cipher", "RC4:@SECLEVEL=0"]),
    ("anonymous", ["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"]),
    ("no encryption", ["-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"]),
    ("PSK without a certificate", ["-tls1_2", "-psk", "00", "-cipher", "PSK:@SECLEVEL=0"]),
    ("CCM", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM8:ECDHE-ECDSA-AES128-CCM:@SECLEVEL=0"]),
    ("TLS 1.3 CCM", ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256:TLS_AES_128_CCM_SHA256"]),
    ("h2 only", ["-alpn", "h2"]),
    ("a group that is not offered", ["-tls1_3", "-groups", "P-521"]),
]

ACCEPTED = [
    ("TLS 1.3 AES-128", ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLS_AES_128_GCM_SHA256"),
    ("TLS 1.3 AES-256", ["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], "TLS_AES_256_GCM_SHA384"),
    ("TLS 1.3 ChaCha20", ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], "TLS_CHACHA20_POLY1305_SHA256"),
    ("TLS 1.2 AES-128", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("TLS 1.2 AES-256", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("TLS 1.2 ChaCha20", ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ("P-256", ["-groups", "P-256"], "TLS_AES_128_GCM_SHA256"),
    ("http/1.1 by ALPN", ["-alpn", "h2,http/1.1"], "ALPN protocol: http/1.1"),
]


@case("tls-versions-and-suites")
def suites(context):
    server = secure_server(context)
    for name, options, expected in ACCEPTED:
        text = s_client(server, *options)
        check(expected in text and "Cipher is (NONE)" not in text, name, text[-600:])
    for name, options in REFUSED:
        text = s_client(server, *options)
        refused = "Cipher is (NONE)" in text or "no ciphers available" in text or "no cipher match" in text or "alert" in text
        check(refused and not re.search(r"New, .*Cipher is (?!\(NONE\))", text), f"{name} is refused", text[-600:])
    text = s_client(server, "-tls1_2", input=b"R\nQ\n")
    check("Secure Renegotiation IS supported" in text and "RENEGOTIATING" in text and "no renegotiation" in text,
          "renegotiation is refused", text[-800:])
    text = s_client(server)
    check("Compression: NONE" in text, "no compression", text[-400:])
    chosen = re.search(r"Server Temp Key: (\S+)", text)
    check(chosen and chosen.group(1).startswith("X25519"), "forward secrecy", text[-400:])
    check(metric(server, "sluice_shard_tls_handshakes_failed_total") >= 10, "refused handshakes are counted")
    check(metric(server, "sluice_shard_tls_version12_total") >= 3 and metric(server, "sluice_shard_tls_version13_total") >= 5, "by version")


@case("tls-rsa-certificate")
def rsa(context):
    server = secure_server(context, certificate(context.folder, "rsa", LOCAL, rsa=True))
    for options in (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], ["-tls1_3"]):
        check("Verify return code: 0 (ok)" in s_client(server, *options, "-CAfile", server.certificate), f"RSA with {options[0]}")


@case("tls-resumption")
def resumption(context):
    server = secure_server(context)
    # Tickets are good on every shard: of twenty connections some meet another shard than the one that made the ticket.
    for version in ("-tls1_2", "-tls1_3"):
        session = context.folder / f"session{version}"
        s_client(server, version, "-sess_out", session, input=b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        if version == "-tls1_3" and not session.exists():
            text = openssl("s_client", "-connect", f"127.0.0.1:{server.port}", version, "-sess_out", session, "-ign_eof",
                           input=b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", check=False)
            check(session.exists(), "a ticket came", text[-600:])
        for _ in range(20):
            text = s_client(server, version, "-sess_in", session)
            check("Reused, TLS" in text, f"{version} resumes", text[-600:])
    check(metric(server, "sluice_shard_tls_resumed_total") >= 40, "resumed handshakes are counted")


@case("tls-certificates-by-name")
def names(context):
    pairs = [certificate(context.folder, "first", LOCAL), certificate(context.folder, "one", ["DNS:one.test", "DNS:alias.test"]),
             certificate(context.folder, "wild", ["DNS:*.wild.test"]), certificate(context.folder, "exact", ["DNS:a.wild.test"], rsa=True)]
    listed = "\n".join(f"          - {{ cert: {chain}, key: {key} }}" for chain, key in pairs)
    path = context.folder / "sluice.yaml"
    path.write_text(f"listeners:\n  - name: public\n    address: 127.0.0.1:0\n    tls:\n        certificates:\n{listed}\n")
    server = context.server(["--config", str(path)], HOST="", PORT="")
    for asked, expected in (("one.test", "one"), ("ALIAS.test", "one"), ("b.wild.test", "wild"), ("a.wild.test", "exact"),
                            ("wild.test", "first"), ("x.y.wild.test", "first"), ("unknown.test", "first"), (None, "first")):
        options = ["-servername", asked] if asked else ["-noservername"]
        subject = re.search(r"subject=CN = (\S+)", s_client(server, *options))
        equal(subject and subject.group(1), expected, f"certificate for {asked}")


@case("tls-plain-http-and-strangers")
def strangers(context):
    server = secure_server(context)
    for name, sent in (("plain HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), ("noise", bytes(range(256)) * 8),
                       ("an SSLv2 hello", b"\x80\x2e\x01\x00\x02" + bytes(60)), ("an endless record", b"\x16\x03\x01\xff\xff" + bytes(70000))):
        client = server.connect()
        try:
            client.sendall(sent)
            answer = b""
            while part := client.recv(4096):
                answer += part
        except ConnectionResetError:
            raise AssertionError(f"{name}: a reset instead of an end")
        finally:
            client.close()
        if name == "plain HTTP" or name == "noise":
            equal(answer, b"", f"{name} is closed without a word")
        else:
            check(answer == b"" or answer[:1] == b"\x15", f"{name}: an alert or nothing", answer)
    equal(request(server, "GET", "/healthz")[0].status, 200, "the listener goes on")


def client_hello():
    """The first flight of a TLS client, and its two ends for going on."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
    return tls, incoming, outgoing


@case("tls-one-byte-at-a-time")
def slow(context):
    server = secure_server(context)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        options = trusting()
        options.minimum_version = options.maximum_version = version
        tls = options.wrap_bio(incoming, outgoing, server_hostname="localhost")
        client = server.connect()

        def send():
            for byte in outgoing.read():
                client.sendall(bytes([byte]))
        while True:
            try:
                tls.do_handshake()
                send()
                break
            except ssl.SSLWantReadError:
                send()
                incoming.write(client.recv(1))
        tls.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        send()
        answer = b""
        while True:
            try:
                part = tls.read(100)
                if not part:
                    break
                answer += part
            except ssl.SSLWantReadError:
                received = client.recv(1)
                check(received, "close_notify comes before FIN", answer)
                incoming.write(received)
            except ssl.SSLZeroReturnError:
                break
        check(answer.startswith(b"HTTP/1.1 200"), f"an answer over {version.name}", answer)
        client.close()


@case("tls-handshake-time-limit", slow=True)
def limit(context):
    server = secure_server(context)
    silent = [server.connect(timeout=20) for _ in range(50)]
    tls, _, outgoing = client_hello()
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    half = server.connect(timeout=20)
    half.sendall(outgoing.read()[:100])
    began = time.monotonic()
    for client in silent + [half]:
        try:
            equal(client.recv(1), b"", "a silent peer is closed")
        except ConnectionResetError:
            pass
    check(8 < time.monotonic() - began < 14, "after the time for a handshake", time.monotonic() - began)
    equal(metric(server, "sluice_shard_tls_handshake_timeouts_total"), 51, "handshake timeouts")


@case("tls-session-cookie")
def cookie(context):
    server = secure_server(context)
    for method in ("POST", "GET"):
        response, _ = request(server, method, "/session", context=trusting(server.certificate))
        check(response.getheader("Set-Cookie").endswith("; Secure"), f"{method} /session over TLS sets Secure")


@case("tls-curl")
def curl(context):
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    server = secure_server(context)
    for options in ([], ["--tls-max", "1.2"], ["--tlsv1.3"], ["--http2"]):
        done = subprocess.run(["curl", "-sS", "--cacert", server.certificate, *options, f"https://localhost:{server.port}/healthz",
                               f"https://localhost:{server.port}/version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        check(done.returncode == 0 and done.stdout.startswith(b'{"ok":true}'), f"curl {options}", done.stdout)
    done = subprocess.run(["curl", "-sS", f"https://localhost:{server.port}/healthz"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    equal(done.returncode, 60, "a certificate nobody signed")


@case("tls-websockets")
def websockets(context):
    """The `websockets` library over wss: an echo of sizes around records and buffers, and bulk both ways."""
    try:
        from websockets.asyncio.client import connect as websocket
    except ImportError:
        raise Skip("the Python package websockets is not installed")
    server = secure_server(context)
    echo, sink = services.start(context, "echo"), services.start(context, "sink")
    response, _ = request(server, "POST", "/session")
    cookie = response.getheader("Set-Cookie").split(";")[0]

    def dial(port):
        return websocket(f"wss://localhost:{server.port}/tcp?v=1&host=127.0.0.1&port={port}", ssl=trusting(server.certificate),
                         additional_headers={"Cookie": cookie}, compression=None, max_size=None, proxy=None)

    async def exchange():
        async with dial(echo) as client:
            for size in (1, 64, 1399, 1400, 1401, 4096, 16383, 16384, 16385, 65536, 200_000, 1_000_000):
                sent = os.urandom(size)
                await client.send(sent)
                received = b""
                while len(received) < size:
                    received += await client.recv()
                check(received == sent, f"{size} bytes come back")
        async with dial(sink) as client:
            count = 64 << 20
            block = os.urandom(1 << 20)
            await client.send(count.to_bytes(8, "big"))
            for _ in range(count >> 20):
                await client.send(block)
            digest = hashlib.sha256()
            for _ in range(count >> 20):
                digest.update(block)
            answer = b""
            while len(answer) < 64:
                answer += await client.recv()
            equal(answer.decode().strip(), digest.hexdigest(), "64 MiB upwards")
        source = services.start(context, "source", 64 << 20)
        async with dial(source) as client:
            received = 0
            while received < 64 << 20:
                part = await client.recv()
                check(services.is_pattern(part, received), f"bytes from {received} on")
                received += len(part)
    asyncio.run(exchange())


@case("tls-truncation-is-not-an-end")
def truncation(context):
    server = secure_server(context)
    for _ in range(5):
        client = connect(server)
        client.sendall(b"POST /session HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        # The TCP connection ends; TLS does not.
        raw = socket.socket(fileno=os.dup(client.fileno()))
        raw.shutdown(socket.SHUT_WR)
        raw.close()
        client.close()
    eventually(lambda: metric(server, "sluice_shard_tls_truncated_total") >= 5, "cut streams are counted")
    eventually(lambda: metric(server, "sluice_shard_tls_streams") <= 1, "and gone")


def serial(path):
    return openssl("x509", "-in", path, "-noout", "-serial").strip().split("=")[1].lower().lstrip("0")


def served_serial(server, trust):
    client = connect(server, trust)
    try:
        return client.getpeercert()["serialNumber"].lower().lstrip("0")
    finally:
        client.close()


class NewConnections:
    """A steady stream of new connections, each a handshake and a request, from some threads."""

    THREADS = 8

    def __init__(self, server, seconds):
        self.server, self.seconds = server, seconds
        self.done, self.failures, self.serials = 0, [], set()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(self.THREADS)]

    def run(self, number):
        context = trusting()
        interval = self.THREADS / STREAM_PER_SECOND
        began = time.monotonic()
        due, count = began + interval * number / self.THREADS, 0
        while due < began + self.seconds:
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            due += interval
            try:
                client = connect(self.server, context)
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                answer = b""
                while part := client.recv(4096):
                    answer += part
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise OSError(f"answer {answer[:40]!r}")
                with self.lock:
                    self.serials.add(client.getpeercert(binary_form=True))
                client.close()
                count += 1
            except OSError as error:
                with self.lock:
                    self.failures.append(repr(error))
        with self.lock:
            self.done += count

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join()


def exchange_under_load(context, server, swap, swaps):
    """Swaps certificates while connections live and others come; none may notice."""
    live = [connect(server) for _ in range(LIVE)]
    with NewConnections(server, STREAM_SECONDS) as stream:
        for number in range(swaps):
            time.sleep(STREAM_SECONDS / (swaps + 1))
            swap(number)
    equal(stream.failures[:3], [], "failures of new connections")
    check(len(stream.serials) >= 2, "new connections got new certificates", len(stream.serials))
    for client in live:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        check(client.recv(65536).startswith(b"HTTP/1.1 200"), "a connection from before still answers")
        client.close()
    context.note(f"{LIVE} live connections, {stream.done} new ones in {STREAM_SECONDS} s, {len(stream.serials)} certificates seen")


@case("tls-certificate-exchanged-under-load", slow=True)
def exchanged(context):
    fresh = [certificate(context.folder / f"next{number}", "fresh", LOCAL) for number in range(4)]
    chain, key = certificate(context.folder, "served", LOCAL)
    server = secure_server(context, (chain, key))

    def swap(number):
        for source, target in zip(fresh[number], (chain, key)):
            part = target.with_suffix(".part")
            shutil.copy(source, part)
            part.rename(target)
        if number % 2:
            os.kill(server.pid, signal.SIGHUP)
    exchange_under_load(context, server, swap, len(fresh))


@case("tls-certificate-in-a-configmap", slow=True)
def configmap(context):
    """Files as a Kubernetes Secret mounts them: links through `..data`, which is exchanged as a whole."""
    mount = context.folder / "mount"
    for number in range(4):
        certificate(mount / f"..{number}", "tls", LOCAL)
    (mount / "..data").symlink_to("..0")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    server = secure_server(context, (mount / "tls.crt", mount / "tls.key"))
    equal(served_serial(server, trusting(mount / "..0" / "tls.crt")), serial(mount / "..0" / "tls.crt"), "the first certificate")

    def swap(number):
        link = mount / "..data_tmp"
        link.symlink_to(f"..{number + 1}")
        link.rename(mount / "..data")
    exchange_under_load(context, server, swap, 3)
    trust = trusting(mount / "..3" / "tls.crt")
    eventually(lambda: served_serial(server, trust) == serial(mount / "..3" / "tls.crt"), "the last certificate")
    told = [record["changed"] for record in server.records() if record["msg"] == "configuration reloaded"]
    check(told and set(told) == {"certificates of listener `public`"}, "each exchange is told", told)


@case("tls-bad-certificate-keeps-the-former")
def bad(context):
    chain, key = certificate(context.folder, "good", LOCAL)
    server = secure_server(context, (chain, key))
    trust = trusting(chain)
    former = served_serial(server, trust)
    keep = context.folder / "keep.crt"
    shutil.copy(chain, keep)
    trust = trusting(keep)
    for name, text in (("garbage", "not a certificate\n"), ("empty", ""), ("of another key", (certificate(
            context.folder / "other", "other", LOCAL)[0]).read_text())):
        before = len([r for r in server.records() if "not reloaded" in r["msg"]])
        chain.write_text(text)
        eventually(lambda: len([r for r in server.records() if "not reloaded" in r["msg"]]) > before, f"{name}: the refusal is logged", 10)
        equal(served_serial(server, trust), former, f"{name}: the former certificate goes on")
    faults = [r["msg"] for r in server.records() if r["msg"].startswith("Invalid configuration")]
    check(any(str(chain) in text for text in faults), "the log names the file", faults)
    shutil.copy(keep, chain)
    fresh = certificate(context.folder / "fresh", "fresh", LOCAL)
    for source, target in zip(fresh, (chain, key)):
        shutil.copy(source, target)
    eventually(lambda: serial(fresh[0]) == current(server), "a good pair is taken again", 10)


def current(server):
    """Serial number served now, whoever signed it."""
    client = connect(server)
    try:
        return openssl("x509", "-inform", "DER", "-noout", "-serial", input=client.getpeercert(binary_form=True)).strip().split("=")[
            1].lower().lstrip("0")
    finally:
        client.close()


@case("tls-idle-memory", slow=True)
def memory(context):
    """What an idle TLS connection holds in user space: at most 20 KiB."""
    server = secure_server(context)
    count = 2000
    trust = trusting()

    def opened(number):
        held = [connect(server, trust) for _ in range(number)]
        for client in held:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            check(client.recv(65536).startswith(b"HTTP/1.1 200"), "an answer")
        return held
    opened(200)  # pools and caches of the library
    time.sleep(1)
    before = server.resident_bytes()
    held = opened(count)
    each = (server.resident_bytes() - before) / count
    context.note(f"{each / 1024:.1f} KiB resident for each of {count} idle TLS connections")
    check(each <= 20 * 1024, "idle memory of a TLS connection", each)
    for client in held:
        client.close()
