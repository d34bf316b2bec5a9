"""What every client case uses: cases, checks, and the gateway as a process.

Theory of operation
  goal     drive a running gateway from outside, with clients and services that were not written here
  a case   a function with a name; it passes by returning, fails by raising, skips by raising Skip
  cleanup  a case starts processes only through its Context, which ends them in reverse order, by their id
  server   `sluice serve` with environment variables, on port 0; the chosen port is in the listening record
"""
import base64
import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT.parent / "shared" / "vectors" / "aero"
RELEASE = ROOT / ".build" / "release"

# A start takes milliseconds; the rest of this is a machine busy with something else.
START_SECONDS = 15
# Longer than the 2 s after which the gateway forces a connection closed.
SETTLE_SECONDS = 3
CASES = {}


class Skip(Exception):
    """The case cannot run here; its text says why."""


class Failure(AssertionError):
    """The gateway did not do what the specification says."""


def case(name, slow=False):
    """Registers a case. Slow ones are left out by --quick."""
    def register(function):
        if name in CASES:
            raise ValueError("two cases are called " + name)
        function.slow = slow
        CASES[name] = function
        return function
    return register


def check(condition, text, *found):
    """Fails with the text, and what was found, unless the condition holds."""
    if not condition:
        raise Failure(text + "".join("; found " + repr(item)[:600] for item in found))


def equal(found, expected, text):
    check(found == expected, f"{text}: expected {repr(expected)[:600]}", found)


def eventually(probe, text, seconds=5.0):
    """Polls until the probe returns a true value, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{text} (waited {seconds} s); last {value!r}")
        time.sleep(0.05)


def vectors(name):
    path = VECTORS / name
    if not path.exists():
        raise Skip(f"no vectors at {path}")
    return json.loads(path.read_text())


def raise_descriptor_limit():
    """Hundreds of clients in one process need more than the usual soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Context:
    """One run of one case: its folder, its notes, and what it started."""

    def __init__(self, name, folder, binary):
        self.name, self.folder, self.binary = name, folder, binary
        self.notes, self.cleanups, self.processes = [], [], []
        folder.mkdir(parents=True, exist_ok=True)

    def note(self, text):
        """A figure or fact for the report; shown with the result."""
        self.notes.append(text)

    def defer(self, function):
        self.cleanups.append(function)

    def close(self):
        """Ends what was started, in reverse order; a fault of one step is raised behind the last."""
        faults = []
        while self.cleanups:
            try:
                self.cleanups.pop()()
            except Exception as fault:
                faults.append(fault)
        if faults:
            raise faults[0]

    def process(self, arguments, **options):
        """Starts a process that ends with the case."""
        started = subprocess.Popen([str(argument) for argument in arguments], **options)
        self.defer(lambda: stop(started))
        self.processes.append(started)
        return started

    def server(self, arguments=(), private=True, **environment):
        """Starts the gateway. `private` lets clients reach loopback, where every target of these tests is."""
        if private:
            environment.setdefault("TCP_ALLOW_PRIVATE_IPS", "1")
        server = Server(self, arguments, environment)
        self.defer(lambda: stop(server.process, 15, hurries=True))
        return server


def stop(process, seconds=5, hurries=False):
    """Ends one process: asks first, insists after a while."""
    if process.poll() is None:
        process.terminate()
        if hurries:
            # A second signal spares the wait for load balancers and clients that nobody needs any more.
            try:
                process.wait(0.7)
            except subprocess.TimeoutExpired:
                process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def gateway_environment(changes):
    """The environment of a gateway: nothing of the caller's configuration, loopback, a port of its own choice."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "ASAN_OPTIONS") if name in os.environ}
    # Addresses are given as numbers, and no case may depend on a resolver outside.
    environment.update(HOST="127.0.0.1", PORT="0", LOG_LEVEL="info", SESSION_SECRET="test-secret-of-the-client-suite", DNS_UPSTREAMS="")
    environment.update({name: str(value) for name, value in changes.items()})
    # None leaves a variable out.
    return {name: value for name, value in environment.items() if changes.get(name, "") is not None}


class Server:
    """A running gateway."""

    def __init__(self, context, arguments, environment):
        if not context.binary.exists():
            raise Failure(f"{context.binary} does not exist; build it first: swift build -c release")
        number = len(list(context.folder.glob("server-*.log")))
        self.log_path = context.folder / f"server-{number}.log"
        self.error_path = context.folder / f"server-{number}.err"
        command = [str(context.binary), "serve", *arguments]
        with open(self.log_path, "wb") as log, open(self.error_path, "wb") as error:
            self.process = subprocess.Popen(command, stdout=log, stderr=error, stdin=subprocess.DEVNULL,
                                            env=gateway_environment(environment))
        self.pid = self.process.pid
        try:
            self.port = self.await_port()
        except BaseException:
            stop(self.process)
            raise
        self.address = ("127.0.0.1", self.port)

    def records(self):
        """The log so far, as objects; lines that are not JSON are left out."""
        found = []
        for line in self.log_path.read_bytes().split(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append(record)
        return found

    def await_port(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for record in self.records():
                # Other listeners (the demonstration service) may say so too.
                if "listening" in str(record.get("msg")) and record.get("port") and record.get("scheme"):
                    return int(record["port"])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise Failure("the gateway did not start", self.process.poll(), self.error_path.read_text()[-800:],
                      self.log_path.read_text()[-800:])

    def end(self):
        stop(self.process, 15)

    def signal(self, number=signal.SIGTERM):
        os.kill(self.pid, number)

    def connect(self, timeout=10, receive_buffer=None):
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(timeout)
        client.connect(self.address)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def request(self, method, target, headers=(), body=None):
        """One plain request. Header names may repeat. Returns (response, body)."""
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in dict(headers).items() if isinstance(headers, dict) else headers:
                connection.putheader(name, value)
            if body is not None and "Content-Length" not in dict(headers):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def session(self, base=""):
        """Opens a session; returns the value for a Cookie header."""
        response, body = self.request("POST", base + "/session")
        equal(response.status, 201, f"POST {base}/session {body!r}")
        return response.getheader("Set-Cookie").split(";")[0]

    # What the process holds, read from outside.

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise Failure("the gateway is gone")

    def metrics(self):
        """All samples of /metrics by name with labels, and the set of families that are gauges."""
        response, body = self.request("GET", "/metrics")
        equal(response.status, 200, "GET /metrics")
        samples, gauges = {}, set()
        for line in body.decode().splitlines():
            if line.startswith("# TYPE "):
                _, _, family, kind = line.split()
                if kind == "gauge":
                    gauges.add(family)
            elif line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples, gauges

    def gauges(self):
        """Gauges of the gateway itself, over all shards: what connections hold and must give back. Peaks only grow, and
        what is offered to the kernel belongs to no connection."""
        samples, families = self.metrics()
        totals = {}
        for name, value in samples.items():
            family = name.split("{")[0]
            if family in families and not family.startswith("process_") and not family.endswith(("_peak", "_offered")):
                totals[family] = totals.get(family, 0) + value
        return totals

    def settled_descriptors(self):
        """Descriptors once the connections of earlier requests, which may linger for 2 s, are gone."""
        last, since = self.descriptors(), time.monotonic()
        while time.monotonic() - since < SETTLE_SECONDS:
            time.sleep(0.05)
            if self.descriptors() != last:
                last, since = self.descriptors(), time.monotonic()
        return last


def websocket_key():
    return base64.b64encode(os.urandom(16)).decode()
