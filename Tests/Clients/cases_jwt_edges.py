"""The JWT proxy at the edges of its contract: limits nobody reaches by chance, ends of sessions, names, restarts."""
import ctypes
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import mqtt
from cases_jwt import compatible, native, need
from cases_jwt import reload as replace
from cases_jwt_bounds import admin_section, metrics, samples
from cases_jwt_limits import ask, free_port
from handshakes import Opened, Peer, RawUpstream, Stream, session
from harness import Skip, case, check, equal, eventually
from rawsocket import BINARY, CLOSE, frame
from services import websocket_echo

try:
    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing
try:
    import dns.message
    import dns.rrset
except ImportError:
    dns = None

ROUTE = '{ name: %s, prefix: /%s, protocol: %s, upstreams: [{ url: "%s" }]%s }'
OPEN = "  limits: { handshakes_per_second: 0, failures_per_minute: 0, sessions_per_subject: 0, handshakes_per_ip: 1000%s }\n"
PUBLIC = '  metrics: { public: "true" }\n'


def closed(code, reason=""):
    return (0x88, struct.pack(">H", code) + reason.encode())


def page(server):
    return server.request("GET", "/metrics")[1].decode()


@case("jwt-edges-limits")
def limits(context):
    """17, 21.3: sessions of a route and of the process, fields of a head, the time for one; each is counted under a name of its own."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    routes = "\n    - ".join([ROUTE % ("raw", "ws", "raw", upstream.url, ", limits: { sessions: 1 }"),
                              ROUTE % ("more", "more", "raw", upstream.url, "")])
    server = native(context, issuer, routes, rest="  limits: { sessions: 2, handshakes_per_second: 0 }\n" + PUBLIC)
    late = server.connect(20)
    began = time.monotonic()
    late.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\n")
    first = session(server, upstream, token=issuer.token())
    opened = Opened(server.port, token=issuer.token(sub="bob"))
    equal((opened.status, opened.fields.get("retry-after")), (429, "1"), "a second session of the route")
    second = session(server, upstream, "/more", issuer.token())
    equal(Opened(server.port, "/more", issuer.token()).status, 503, "a third session of the process")
    for end in first:
        end.close()
    eventually(lambda: samples(page(server), "ws_active_sessions")[None] == 1, "the first has ended")
    first = session(server, upstream, token=issuer.token())
    many = [f"X-{number}: a" for number in range(60)]
    equal(Opened(server.port, token=issuer.token(), fields=many).status, 431, "more than 64 fields")
    equal(Opened(server.port, "/ws", fields=["Sec-WebSocket-Protocol: a, a"]).status, 400, "a subprotocol twice")
    equal(Opened(server.port, "/nowhere").status, 404, "no route")
    for _ in range(12):
        Opened(server.port, token="a.b.c")
    found = samples(page(server), "ws_handshakes_total")
    for labels in ('{route="raw",code="429"}', '{route="raw",code="431"}', '{route="raw",code="400"}', '{route="other",code="404"}'):
        check(found.get(labels), f"handshakes {labels}", found)
    found = samples(page(server), "ws_limit_rejections_total")
    for name in ("sessions_per_route", "sessions", "auth_failures"):
        check(found.get('{limit="%s"}' % name), f"rejections by {name}", found)
    equal(found['{limit="handshake_rate"}'], 0, "rejections by a rate that was not reached")
    check(late.recv(4096).startswith(b"HTTP/1.1 408"), "a head that does not end")
    check(4 < time.monotonic() - began < 15, "its time", time.monotonic() - began)
    for end in first + second:
        end.close()
    for _ in range(60):
        equal(server.request("GET", "/nowhere")[0].status, 404, "a request for nothing")
    time.sleep(1)
    server.request("GET", "/nowhere")
    eventually(lambda: sum(record.get("suppressed", 0) for record in server.records() if record.get("path") == "/nowhere") > 0,
               "a flood of requests is no flood of lines, and what was left out is counted")
    check(sum(record.get("path") == "/nowhere" for record in server.records()) < 60, "lines of a flood")


@case("jwt-edges-ends")
def ends(context):
    """14, 16, 19: a session that is too old, a receiver that is too slow, the oldest that gives way: codes, reasons and times."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context, receive_buffer=1 << 14)
    routes = "\n    - ".join([ROUTE % ("old", "old", "raw", upstream.url, ", max_session: 1s"),
                              ROUTE % ("slow", "slow", "raw", upstream.url, ", timeouts: { write: 4s }"),
                              ROUTE % ("mqtt", "mqtt", "mqtt", upstream.url, ", inspect: on")])
    bounds = "  limits: { handshakes_per_second: 0, sessions_per_subject: 2, evict: oldest }\n"
    server = native(context, issuer, routes, rest=bounds + PUBLIC)
    for end in session(server, upstream, "/old", issuer.token()):
        equal(end.frame(), closed(1001, "session timeout"), "a session that is too old")
        end.close()
    equal(samples(page(server), "ws_expired_sessions_total")[None], 0, "no token has expired")
    for slow in ("client", "upstream"):
        client, above = session(server, upstream, "/slow", issuer.token(sub=slow))
        source, sink = (above, client) if slow == "client" else (client, above)

        def write():
            try:
                while True:
                    source.send(frame(BINARY, bytes(1 << 20), masked=slow == "upstream"))
            except OSError:
                pass
        threading.Thread(target=write, daemon=True).start()
        began = time.monotonic()
        equal(source.frame(), closed(1013, "peer too slow"), f"a {slow} that reads nothing, as the other end hears of it")
        check(3.9 < time.monotonic() - began < 6.5, f"the write timeout of the {slow}", time.monotonic() - began)
        source.close()
        sink.close()
    clients = []
    for number in range(3):
        opened = Opened(server.port, "/mqtt", fields=["Sec-WebSocket-Protocol: mqtt"])
        client = Peer(opened.socket, opened.rest)
        client.send(frame(BINARY, mqtt.connect(5, f"c{number}", username="u", password=issuer.token(sub="mqtt"))))
        above = upstream.take()
        above.frame()
        above.send(frame(BINARY, b"\x20\x03\x00\x00\x00", masked=False))
        equal(client.frame(), (0x82, b"\x20\x03\x00\x00\x00"), "CONNACK")
        clients.append((client, above))
    equal(clients[0][0].frame()[1][:3], b"\xe0\x01\x97", "DISCONNECT: quota")
    equal(clients[0][0].frame()[1][:2], struct.pack(">H", 4429), "and the close behind it")
    for client, above in clients:
        client.close()
        above.close()


@case("jwt-edges-compat")
def compat(context):
    """16, 21.2: who is refused behind a 101 was upgraded and closed, and `close_codes: extended` holds in the profile compat too."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    server = compatible(context, issuer, upstream.url, JWT_VALID_ALGORITHMS="ES256")
    equal(Opened(server.port, token="a.b").receive(), (8, b"\x03\xf0Malformed JWT"), "a refusal")
    text = page(server)
    equal(samples(text, "ws_connections_total")[None], 1, "upgrades")
    equal(samples(text, "ws_closes_total").get('{route="/ws",from="proxy",code="1008"}'), 1, "closes")
    server.end()
    route = ROUTE % ("raw", "ws", "raw", upstream.url, "")
    server = native(context, issuer, route, rest=OPEN % "" + "  profile: compat\n  close_codes: extended\n")
    equal(Opened(server.port, token="a.b").receive(), (8, struct.pack(">H", 4401) + b"token malformed"), "another set of codes")


@case("jwt-edges-reload")
def reload(context):
    """22.3: a limit that is taken away and comes back counts who is there, and nobody else."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    server = native(context, issuer, ROUTE % ("raw", "ws", "raw", upstream.url, ""), rest=OPEN % ", connections_per_ip: 5")
    text = (context.folder / "sluice.yaml").read_text()

    def put(changed):
        replace(context, server, changed)

    def admitted(count):
        """Connections that are answered, all held."""
        held = []
        for _ in range(count):
            client = server.connect()
            context.defer(client.close)
            try:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                if client.recv(100):
                    held.append(client)
            except OSError:
                pass
        return held
    held = admitted(3)
    put(text.replace("connections_per_ip: 5", "connections_per_ip: 0"))
    for client in held:
        client.close()
    held = admitted(4)
    equal(len(held), 4, "connections without a limit")
    put(text)
    equal(len(admitted(3)), 1, "connections beside the four that are there")


@case("jwt-edges-trial")
def trial(context):
    """13.4: an endpoint whose circuit is half open is dialled once, whoever else wants it and however often one tries."""
    need()
    issuer = Issuer(context, "ES256")
    ports = [free_port(), free_port()]
    dials = dict.fromkeys(ports, 0)
    upstreams = ", ".join('{ url: "ws://127.0.0.1:%d/" }' % port for port in ports)
    route = "{ name: raw, prefix: /ws, protocol: raw, health: off, balance: round_robin, upstreams: [%s] }" % upstreams
    server = native(context, issuer, route, rest=OPEN % "" + """  dial: { attempts: 6, handshake: 600ms, retry_delay: 10ms, deadline: 8s }
  breaker: { failures: 2, open: 2s }
""")
    equal([Opened(server.port, token=issuer.token()).status for _ in range(2)], [502, 503], "both circuits open")

    def listen(port):
        listener = socket.create_server(("127.0.0.1", port))
        context.defer(listener.close)
        held = []
        while True:
            try:
                held.append(listener.accept())
            except OSError:
                return
            dials[port] += 1
    for port in ports:
        threading.Thread(target=listen, args=(port,), daemon=True).start()
    time.sleep(2.2)
    threads = [threading.Thread(target=lambda: Opened(server.port, token=issuer.token())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    equal(list(dials.values()), [1, 1], "dials of endpoints on trial")


def stop_thread(context, process, name):
    """Stops one thread of a process as a debugger does, until the case ends; false where that is not allowed."""
    seize, interrupt, detach, all_threads = 0x4206, 0x4207, 17, 0x40000000
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for task in map(int, os.listdir(f"/proc/{process}/task")):
        with open(f"/proc/{process}/task/{task}/comm") as comm:
            if comm.read().strip() != name:
                continue
        if ptrace(seize, task, None, None) or ptrace(interrupt, task, None, None):
            return False
        os.waitpid(task, all_threads)
        context.defer(lambda: ptrace(detach, task, None, None))
        return True
    return False


@case("jwt-edges-health")
def health(context):
    """21.1: an instance with a shard that stands still is not healthy; one without an upstream not ready, where that is wanted."""
    need()
    issuer, admin = Issuer(context, "ES256"), free_port()
    gone = f"ws://127.0.0.1:{free_port()}/"
    server = native(context, issuer, ROUTE % ("raw", "ws", "raw", gone, ", health: off"), rest=OPEN % "" + """  breaker: { failures: 1 }
  dial: { attempts: 1 }
  ready_requires_upstream: true
""" + admin_section(admin) + "shards: 2\n")
    equal(server.request("GET", "/readyz")[0].status, 200, "ready before anybody tried")
    equal(Opened(server.port, token=issuer.token()).status, 502, "nobody is there")
    response, body = server.request("GET", "/readyz?verbose")
    check(response.status == 503 and b'"upstreams": false' in body, "not ready without an upstream", response.status, body)
    equal(ask(admin, "GET", "/readyz")[0], 503, "nor for the admin interface")
    equal(server.request("GET", "/healthz")[0].status, 200, "healthy")
    if not stop_thread(context, server.pid, "sluice-shard-1"):
        raise Skip("threads cannot be stopped here")
    time.sleep(2.2)
    statuses = set()
    for _ in range(12):
        client = server.connect(0.5)
        try:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            statuses.add(client.recv(100)[9:12])
        except OSError:
            pass  # the one that stands still
        client.close()
    equal(statuses, {b"503"}, "answers of the other shard")


@case("jwt-edges-restart")
def restart(context):
    """20: another process takes the ports over while the first one drains: nobody is refused; the log file follows a rotation."""
    need()
    issuer = Issuer(context, "ES256")
    upstream = f"ws://127.0.0.1:{websocket_echo(context)}/"
    route = ROUTE % ("raw", "ws", "raw", upstream, "")
    server = native(context, issuer, route, rest=OPEN % "" + "  drain: { delay: 1s, timeout: 3s }\nshards: 2\n")
    path = context.folder / "sluice.yaml"
    text = path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{server.port}")
    (context.folder / "second.yaml").write_text(text)
    plain = dict(private=False, SESSION_SECRET=None, DNS_UPSTREAMS=None, HOST=None, PORT=None)
    command = [str(context.binary), "serve", "--config", str(context.folder / "second.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env={"PATH": "/bin"})
    check(done.returncode == 1 and "taken" in done.stderr, "without being told to, a port that is taken stops the start", done.stderr)
    done = subprocess.run([str(context.binary), "--check-config", *command[2:]], capture_output=True, text=True, env={"PATH": "/bin"})
    check(done.returncode == 0 and "\njwt:" in done.stdout, "--check-config prints what is in force", done.stderr)
    held = Opened(server.port, token=issuer.token())
    with Stream(server.port, lambda number: issuer.token(sub=f"s{number % 50}"), rate=200, threads=3) as stream:
        second = context.server(["--config", str(context.folder / "second.yaml"), "--set", "take_over=true"], **plain)
        equal(second.port, server.port, "the same port")
        # Its keys come first.
        time.sleep(1)
        before = len(stream.done)
        server.signal()
        equal(held.receive(), (CLOSE, struct.pack(">H", 1001) + b"going away"), "a session of the first is told to go")
        held.socket.close()
        equal(server.process.wait(15), 0, "the first one's exit status")
        eventually(lambda: len(stream.done) > before + 300, "handshakes go on", 20)
    equal(stream.faults[:1], [], "handshakes that failed")
    statuses = stream.statuses()
    check(set(statuses) <= {101, 503} and statuses.get(503, 0) <= 60, f"answers {statuses}")
    equal([record for record in stream.done[before:] if record[2] != 101][:1], [], "refusals since the first began to leave")
    rotated = second.log_path.with_suffix(".1")
    second.log_path.rename(rotated)
    second.signal(signal.SIGUSR1)
    eventually(second.log_path.exists, "the log file is there again")
    Opened(second.port, token=issuer.token()).close()
    eventually(lambda: "websocket ended" in second.log_path.read_text(), "and is written")
    context.note(stream.summary())


@case("jwt-edges-grace")
def grace(context):
    """20: where the process has less time than the proxy's drain, everybody is told within it."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    server = native(context, issuer, ROUTE % ("raw", "ws", "raw", upstream.url, ""),
                    rest=OPEN % "" + "  drain: { delay: 0s, timeout: 60s }\ndrain: { grace: 4s }\n")
    sessions = [session(server, upstream, token=issuer.token()) for _ in range(10)]
    server.signal()
    began = time.monotonic()
    for client, _ in sessions:
        equal(client.frame(), closed(1001, "going away"), "a session is told to go")
        client.send(frame(CLOSE, struct.pack(">H", 1001)))
    for end in [end for pair in sessions for end in pair]:
        end.close()
    equal(server.process.wait(10), 0, "exit status")
    check(time.monotonic() - began < 5, "in time", time.monotonic() - began)


@case("jwt-edges-core")
def core(context):
    """24 (S7): a process that holds tokens leaves no core dump."""
    need()
    with open("/proc/sys/kernel/core_pattern") as pattern:
        if pattern.read().strip() != "core":
            raise Skip("core dumps go elsewhere")
    folder = context.folder / "cores"
    folder.mkdir()

    def crash(command, environment, wait):
        """Whether a process that is told to abort leaves a core behind."""
        started = context.process(["sh", "-c", 'ulimit -c unlimited; cd "$0"; exec "$@"', folder, *command], env=environment,
                                  stdout=open(context.folder / "core.log", "wb"), stderr=subprocess.STDOUT)
        wait(started)
        started.send_signal(signal.SIGABRT)
        equal(started.wait(30), -signal.SIGABRT, "the end")
        found = list(folder.glob("core*"))
        for path in found:
            path.unlink()
        return bool(found)
    if not crash(["sleep", "60"], {"PATH": "/bin:/usr/bin"}, lambda _: time.sleep(0.3)):
        raise Skip("no core dumps here")
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context)
    native(context, issuer, ROUTE % ("raw", "ws", "raw", upstream.url, ""), rest=OPEN % "").end()
    log = context.folder / "core.log"
    check(not crash([str(context.binary), "serve", "--config", str(context.folder / "sluice.yaml")], {"PATH": "/bin"},
                    lambda _: eventually(lambda: "listening" in log.read_text(), "a start", 15)), "a core dump")


class Names(threading.Thread):
    """A resolver for one name, on an address of loopback: its addresses and its time to live are the test's to choose."""

    def __init__(self, context, address):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        context.defer(self.socket.close)
        self.addresses, self.seconds, self.asked, self.is_silent = [], 1, 0, False

    def run(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            question = dns.message.from_wire(data)
            entry = question.question[0]
            self.asked += entry.rdtype == 1
            if self.is_silent:
                continue
            answer = dns.message.make_response(question)
            if entry.rdtype == 1:
                answer.answer.append(dns.rrset.from_text(entry.name, self.seconds, "IN", "A", *self.addresses))
            self.socket.sendto(answer.to_wire(), peer)


@case("jwt-edges-names", slow=True)
def names(context):
    """13.2: names are asked for again when their time is over; an address that is silent costs a moment, a resolver that is nothing."""
    need()
    if dns is None:
        raise Skip("no dnspython")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        raise Skip("no mount namespace for a resolver of one's own")
    resolver = "127.0.53.1"
    names = Names(context, resolver)
    (context.folder / "resolv.conf").write_text(f"nameserver {resolver}\n")
    wrapper = context.folder / "sluice"
    wrapper.write_text(f"""#!/bin/sh
exec unshare -m sh -c 'mount --bind {context.folder}/resolv.conf /etc/resolv.conf && exec {context.binary} "$@"' sluice "$@"
""")
    wrapper.chmod(0o755)
    context.binary = wrapper
    issuer, port = Issuer(context, "ES256"), free_port()

    def listen(address, backlog=64):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(backlog)
        context.defer(listener.close)
        return listener
    full = listen("127.0.53.2", 0)
    for _ in range(2):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
        context.defer(filler.close)
    seen = {"127.0.53.3": 0, "127.0.53.4": 0}

    def answer(address):
        listener = listen(address)
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            seen[address] += 1
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
            connection.close()
    for address in seen:
        threading.Thread(target=answer, args=(address,), daemon=True).start()
    names.addresses = ["127.0.53.3"]
    names.start()
    server = native(context, issuer, ROUTE % ("raw", "ws", "raw", f"ws://broker.test:{port}/", ", health: off"),
                    rest=OPEN % "" + "  dial: { attempts: 1 }\nshards: 1\n")

    def dial():
        began = time.monotonic()
        equal(Opened(server.port, token=issuer.token()).status, 502, "an upstream that says no")
        return time.monotonic() - began
    dial()
    equal(seen["127.0.53.3"], 1, "dials of the first address")
    names.addresses = ["127.0.53.4"]
    time.sleep(1.2)
    dial()
    equal((seen["127.0.53.4"], names.asked), (1, 2), "dials of another address, and questions")
    names.addresses = ["127.0.53.2", "127.0.53.4"]
    time.sleep(1.2)
    took = [dial() for _ in range(4)]
    check(seen["127.0.53.4"] == 5 and max(took) < 1.5, "an address that is silent is left for the other", seen, took)
    names.addresses, names.is_silent = ["127.0.53.4"], True
    time.sleep(1.2)
    first = dial()
    took = []
    while len(took) < 30:
        took.append(dial())
        time.sleep(0.15)
    check(max(took) < 1.5, "while the resolver is silent nobody waits for it", max(took))
    context.note(f"the first that found the resolver silent waited {first:.1f} s, those behind it {max(took) * 1000:.0f} ms at most")
