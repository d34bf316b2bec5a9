"""Start and end of the process: what cannot work is refused in one line, and SIGTERM loses nothing."""
import fcntl
import http.client
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time

import services
from harness import Failure, Skip, case, check, equal, eventually, gateway_environment
from rawsocket import BINARY, CLOSE, frame, head, open_peer, refusal, tcp, upgrade

START_SECONDS = 10
UNACKNOWLEDGED = termios.TIOCOUTQ
MESSAGE_BYTES = 16 << 10


def refused_start(context, text, contains, arguments=(), port=None, binary=None, user=None, **environment):
    """Starts a gateway that must end by itself, with a status other than 0 and one line on standard error."""
    command = [str(binary or context.binary), "serve", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                               env=gateway_environment(environment), user=user, cwd="/")
    try:
        output, error = process.communicate(timeout=START_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failure(f"{text}: the gateway runs instead of refusing")
    lines = [line for line in error.decode().splitlines() if line.strip()]
    check(process.returncode > 0, f"{text}: status", process.returncode, lines)
    equal(len(lines), 1, f"{text}: lines on standard error {lines}")
    for part in contains:
        check(part.lower() in lines[0].lower(), f"{text}: the line contains {part!r}", lines[0])
    check(b"listening" not in output, f"{text}: nothing listens", output)
    context.note(f"{text}: {lines[0]}")


@case("start-refused")
def bad_start(context):
    refused_start(context, "a port that is no number", ["Invalid configuration", "PORT"], PORT="http")
    refused_start(context, "a port out of range", ["Invalid configuration", "PORT"], PORT="65536")
    refused_start(context, "a flag that is neither 0 nor 1", ["Invalid configuration", "TRUST_PROXY"], TRUST_PROXY="yes")
    refused_start(context, "an unknown level", ["Invalid configuration", "LOG_LEVEL"], LOG_LEVEL="loud")
    refused_start(context, "a pattern that admits all", ["TCP_ALLOWED_HOSTS"], TCP_ALLOWED_HOSTS="*")
    refused_start(context, "a port list out of range", ["Invalid TCP_ALLOWED_PORTS entry"], TCP_ALLOWED_PORTS="80,70000")
    refused_start(context, "a port list that is none", ["Invalid TCP_ALLOWED_PORTS number"], TCP_ALLOWED_PORTS="80,http")
    refused_start(context, "an origin that is none", ["ALLOWED_ORIGINS"], ALLOWED_ORIGINS="https://a/path")
    present = context.folder / "present.pem"
    present.write_text("not a certificate\n")
    refused_start(context, "TLS without certificate", ["TLS_CERT_PATH is required"], TLS_ENABLED="1", TLS_KEY_PATH=present)
    refused_start(context, "TLS without key", ["TLS_KEY_PATH is required"], TLS_ENABLED="1", TLS_CERT_PATH=present)
    refused_start(context, "a certificate that does not exist", ["/nowhere.pem"], TLS_ENABLED="1", TLS_CERT_PATH="/nowhere.pem", TLS_KEY_PATH=present)
    broken = context.folder / "broken.yaml"
    broken.write_text("log:\n  levle: info\n")
    refused_start(context, "a misspelt key", ["broken.yaml", "2", "levle", "level"], ["--config", str(broken)])
    broken.write_text("log: [unclosed\n")
    refused_start(context, "a file that is not YAML", ["broken.yaml"], ["--config", str(broken)])
    refused_start(context, "a file that does not exist", ["/nowhere.yaml"], ["--config", "/nowhere.yaml"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused_start(context, "a taken port", [str(taken.getsockname()[1])], PORT=taken.getsockname()[1])


@case("start-without-permission")
def permission(context):
    if os.geteuid() != 0:
        raise Skip("needs root, to run as somebody with fewer rights")
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    # The folder of a build may be closed to others, so the program goes where all may read.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-test-"))
    context.defer(lambda: shutil.rmtree(folder))
    folder.chmod(0o755)
    binary = shutil.copy(context.binary, folder / "sluice")
    key = folder / "key.pem"
    key.write_text("private")
    key.chmod(0o600)
    certificate = folder / "certificate.pem"
    certificate.write_text("public")
    certificate.chmod(0o644)
    refused_start(context, "an unreadable key", [str(key)], binary=binary, user=65534, TLS_ENABLED="1", TLS_CERT_PATH=certificate,
                  TLS_KEY_PATH=key)
    if first <= 1:
        raise Skip("this kernel lets everybody bind every port (net.ipv4.ip_unprivileged_port_start); the key was refused as it must be")
    refused_start(context, "a privileged port", [str(first - 1)], binary=binary, user=65534, PORT=first - 1)


def queued(number):
    """Bytes of a socket's send queue that the other side has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(number, UNACKNOWLEDGED, b"\0" * 4))[0]


def unread_by(server, peer):
    """Bytes that the kernel holds for the gateway from this client: arrived, but not read."""
    local, remote = peer.socket.getsockname()[1], server.port
    for line in pathlib.Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == remote and int(fields[2].split(":")[1], 16) == local:
            return int(fields[4].split(":")[1], 16)
    raise Failure("the gateway's socket for this client is gone")


def fill(peer):
    """Sends messages until nothing more is taken for a while; returns the payload bytes that left this process whole."""
    data, sent = frame(BINARY, bytes(MESSAGE_BYTES)), 0
    peer.socket.settimeout(1)
    while sent < 256 << 20:
        done = 0
        while done < len(data):
            try:
                done += peer.socket.send(data[done:])
            except (socket.timeout, BlockingIOError):
                return sent, done
        sent += MESSAGE_BYTES
    raise Failure("a target that does not read never held its client back")


@case("drain")
def drain(context):
    """SIGTERM beside load: 503 and Close 1001, accepted bytes delivered, exit 0 inside the grace."""
    server = context.server(SHUTDOWN_GRACE_MS=20_000)
    cookie, gate = server.session(), context.folder / "gate"
    echo, slow = services.start(context, "echo"), services.start(context, "slow", gate)
    idle = [upgrade(server, tcp(echo), cookie) for _ in range(8)]
    endless = upgrade(server, tcp(services.start(context, "source", 1 << 34)), cookie)
    uploading = upgrade(server, tcp(slow), cookie)
    kept = open_peer(server)
    kept.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
    equal(kept.response()[0], 200, "ready before")
    # The target does not read, so kernel and gateway fill up; what the gateway has read, it has accepted.
    sent, partial = fill(uploading)
    accepted = sent + partial - queued(uploading.socket) - unread_by(server, uploading)
    endings, downloads = [], []
    threads = [threading.Thread(target=collect, args=(endings, load, peer)) for peer in idle[:4]]
    threads.append(threading.Thread(target=collect, args=(downloads, read_pattern, endless)))
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    server.signal(signal.SIGTERM)
    began = time.monotonic()
    status = eventually(lambda: readiness(server) != 200 and readiness(server), "readiness turns", 3)
    equal(status, 503, "readiness while draining")
    equal(refusal(server, head(tcp(echo), cookie)), (503, "Shutting down"), "an upgrade while draining")
    for thread in threads:
        thread.join(15)
    equal(endings, [1001] * 4, "Close on WebSockets under load")
    for peer in idle[4:]:
        equal(peer.until_close()[0], 1001, "Close on an idle WebSocket")
    check(downloads and isinstance(downloads[0], tuple) and downloads[0][0] == 1001, "Close after the download's data", downloads)
    time.sleep(0.5)
    check(server.process.poll() is None, "the gateway waits for the slow target")
    gate.touch()
    uploading.socket.settimeout(15)
    equal(uploading.until_close()[0], 1001, "Close on the uploading WebSocket")
    result = eventually(lambda: pathlib.Path(f"{gate}.result").exists() and pathlib.Path(f"{gate}.result").read_text(), "the target sees the end", 20)
    count, digest, ending = result.split()
    equal(ending, "end", f"the target's connection ends in order, after {count} bytes")
    for peer in idle + [endless, uploading, kept]:
        peer.close()
    equal(server.process.wait(20), 0, "exit status")
    check(time.monotonic() - began < 20, "inside the grace")
    # Of a message of which only a part had arrived, the gateway may or may not have passed on that part.
    headers = 8 * (sent // MESSAGE_BYTES + 1)
    check(int(count) >= accepted - headers - MESSAGE_BYTES, "accepted bytes reach the target", int(count), accepted)
    context.note(f"{int(count) / (1 << 20):.1f} MiB delivered, {accepted / (1 << 20):.1f} MiB had been accepted; exit after {time.monotonic() - began:.1f} s")


def readiness(server):
    try:
        return server.request("GET", "/readyz")[0].status
    except OSError:
        return "refused"


def collect(results, function, peer):
    """Runs in a thread: keeps what the function returns, or how it failed."""
    try:
        results.append(function(peer))
    except Exception as error:
        results.append(error)


def load(peer):
    """Echo round trips until the Close comes; returns its code."""
    while True:
        peer.send(frame(BINARY, b"l" * 100))
        opcode, payload = peer.frame()
        if opcode == CLOSE:
            return struct.unpack(">H", payload)[0]


def read_pattern(peer):
    """Reads to the Close; returns (close code, bytes); all bytes must be as the source sent them."""
    received = 0
    while True:
        opcode, payload = peer.frame()
        if opcode == CLOSE:
            return struct.unpack(">H", payload)[0], received
        check(services.is_pattern(payload, received), "bytes of the download", received, len(payload))
        received += len(payload)


@case("drain-grace-expires")
def grace(context):
    """A target that never reads cannot hold the process longer than the grace: status 1."""
    server = context.server(SHUTDOWN_GRACE_MS=1000)
    peer = upgrade(server, tcp(services.start(context, "deaf")), server.session())
    fill(peer)
    server.signal(signal.SIGTERM)
    began = time.monotonic()
    status = server.process.wait(10)
    seconds = time.monotonic() - began
    check(status == 1 and 0.5 < seconds < 4, "forced exit with status 1 after the grace", status, seconds)
    peer.close()


@case("drain-idle")
def idle_drain(context):
    server = context.server()
    kept = open_peer(server)
    kept.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    equal(kept.response()[0], 200, "a kept connection")
    server.signal(signal.SIGTERM)
    kept.expect_end("an idle kept connection is closed")
    equal(server.process.wait(5), 0, "exit status with nothing to drain")
    interrupted = context.server()
    interrupted.signal(signal.SIGINT)
    equal(interrupted.process.wait(5), 0, "exit status after SIGINT")


@case("drain-signalled-twice")
def signalled_twice(context):
    """One that supervisors send to the process and to its group is one signal; another one ends the wait."""
    echo, deaf = services.start(context, "echo"), services.start(context, "deaf")
    server = context.server()
    peer = upgrade(server, tcp(echo), server.session())
    server.signal(signal.SIGTERM)
    time.sleep(0.1)
    server.signal(signal.SIGTERM)
    equal(server.process.wait(8), 0, "exit status after the same signal from two senders")
    peer.close()
    # A hook asks for the drain, then comes the signal.
    server = context.server(SLUICE_ADMIN_ADDRESS="127.0.0.1:0")
    peer = upgrade(server, tcp(echo), server.session())
    admin = eventually(lambda: next((r["port"] for r in server.records() if r.get("name") == "admin"), None), "the admin interface")
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
    connection.request("POST", "/drain", headers={"Connection": "close"})
    equal(connection.getresponse().status, 202, "POST /drain")
    time.sleep(0.8)
    server.signal(signal.SIGTERM)
    equal(server.process.wait(8), 0, "exit status after a signal behind POST /drain")
    peer.close()
    server = context.server(SHUTDOWN_GRACE_MS=60_000)
    peer = upgrade(server, tcp(deaf), server.session())
    fill(peer)
    server.signal(signal.SIGTERM)
    time.sleep(1)
    server.signal(signal.SIGINT)
    equal(server.process.wait(8), 1, "exit status after a second signal")
    peer.close()
