"""Several instances that share their limits through a Redis of this machine.

Theory of operation
  goal      a limit holds over all instances, never stops a client for want of Redis, and nothing stays taken by the dead
  redis     `redis-server` on a free port, without persistence; a restart comes back empty, the hardest case
  clients   raw sockets, opened by many threads at once; an answer is 101 or 429, anything else fails the case
"""
import collections
import hashlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import services
from cases_mux import DATA, ERROR, Mux, mux, opening
from harness import Failure, Skip, case, check, equal, eventually
from rawsocket import BINARY, Peer, frame, head, tcp

SECRET = "secret-of-the-shared-cases"
LIMIT = 64
# Expiry of an instance's record, the pulse, and the second question; the requirement is 30 s.
RECOVERY_SECONDS = 30


class Redis:
    """A Redis of the case's own, that can be stopped, killed and started again on its port."""

    def __init__(self, context):
        self.program = shutil.which("redis-server")
        if not self.program:
            raise Skip("redis-server is not installed: apt-get install redis-server")
        self.context = context
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/3"
        self.process = None
        self.start()
        context.defer(self.kill)

    def start(self):
        folder = self.context.folder
        with open(folder / "redis.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                 "--dir", str(folder)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        eventually(lambda: self.answers(), "Redis answers")

    def answers(self):
        try:
            return self.command("PING") == "PONG"
        except OSError:
            return False

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def command(self, *arguments):
        """One command on a connection of its own, in the database of the instances."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            for words in (("SELECT", "3"), arguments):
                words = [str(word).encode() for word in words]
                connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
                reply = read_reply(connection.makefile("rb"))
            return reply


def read_reply(stream):
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        raise Failure("Redis refused", rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2].decode()
    return [read_reply(stream) for _ in range(int(rest))]


def instances(context, redis, count=2, **environment):
    servers = [context.server(SESSION_SECRET=SECRET, REDIS_URL=redis.url, LOG_LEVEL="warn" if count > 9 else "info", **environment)
               for _ in range(count)]
    for server in servers:
        await_connected(server)
    return servers


def sample(server, name):
    return server.metrics()[0].get(name, 0)


def await_connected(server, value=1, seconds=10):
    eventually(lambda: sample(server, "sluice_shared_connected") == value, f"connected to Redis: {value}", seconds)


def session_id(cookie):
    import base64
    import json
    payload = cookie.split("=", 1)[1].split(".")[0]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"]


def digest(cookie):
    return hashlib.sha256(session_id(cookie).encode()).hexdigest()


class Opener:
    """Opens WebSockets from many threads at once and keeps those that were granted."""

    def __init__(self, servers, cookie, target):
        self.servers, self.cookie, self.target = servers, cookie, target
        self.open, self.outcomes, self.lock = collections.defaultdict(list), collections.Counter(), threading.Lock()

    def one(self, server):
        peer = Peer(server.connect())
        peer.send(head(self.target, self.cookie))
        status = peer.head()[0]
        with self.lock:
            self.outcomes[status] += 1
            if status == 101:
                self.open[server].append(peer)
            else:
                peer.socket.close()
        return status

    def many(self, count, threads=32):
        """`count` openings, spread over the instances."""
        numbers = iter(range(count))

        def work():
            while True:
                with self.lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    self.one(self.servers[number % len(self.servers)])
                except Exception as fault:
                    with self.lock:
                        self.outcomes[repr(fault)] += 1
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def total(self):
        return sum(map(len, self.open.values()))

    def close(self, count=None):
        for server in list(self.open):
            while self.open[server] and (count is None or count > 0):
                self.open[server].pop().socket.close()
                count = None if count is None else count - 1


def settled(opener, redis, cookie):
    """Every connection is gone and no place is taken under the session any more."""
    opener.close()
    eventually(lambda: not redis.command("HVALS", f"sluice:places:s:{digest(cookie)}"), "no place is leased", 10)


@case("shared-limit")
def shared_limit(context):
    """64 connections of one session over two instances, opened from 32 threads at once: exactly 64, again and again."""
    redis = Redis(context)
    servers = instances(context, redis)
    port = services.start(context, "echo")
    cookie = servers[0].session()
    for number in range(8):
        opener = Opener(servers, cookie, tcp(port))
        opener.many(120)
        equal(set(opener.outcomes), {101, 429}, f"answers of round {number}: {opener.outcomes}")
        equal(opener.total(), LIMIT, f"open connections in round {number} {opener.outcomes}")
        # What one instance returns, the other may take.
        opener.open[servers[0]][0].socket.close()
        del opener.open[servers[0]][0]
        eventually(lambda: opener.one(servers[1]) == 101, "the place of a closed connection is taken elsewhere", 5)
        equal(opener.total(), LIMIT, "open connections after one was replaced")
        if number % 2:
            settled(opener, redis, cookie)
        else:
            opener.close()  # the next round finds connections that are just ending
            eventually(lambda: sum(sample(server, "sluice_tcp_websockets_active") for server in servers) == 0, "all ended")
            settled(opener, redis, cookie)
    for server in servers:
        equal(sample(server, "sluice_shared_fallbacks_total"), 0, "decisions without Redis")
        equal(sample(server, "sluice_shared_errors_total"), 0, "errors of Redis")


@case("shared-limit-address")
def shared_limit_address(context):
    """The limit of a client address holds over instances and sessions."""
    redis = Redis(context)
    servers = instances(context, redis, TCP_PROXY_MAX_CONNECTIONS_PER_IP=10)
    port = services.start(context, "echo")
    openers = [Opener(servers, servers[0].session(), tcp(port)) for _ in range(3)]
    for opener in openers:
        opener.many(10, threads=10)
    equal(sum(opener.total() for opener in openers), 10, "connections of one address")
    for opener in openers:
        opener.close()


@case("shared-limit-mixed")
def shared_limit_mixed(context):
    """Connections of /tcp and streams of /tcp-mux of one session, opened on two instances at once, are 64 together."""
    redis = Redis(context)
    servers = instances(context, redis)
    port = services.start(context, "echo")
    for number in range(4):
        cookie = servers[0].session()
        opener = Opener(servers, cookie, tcp(port))
        peers = [Mux(server, cookie) for server in servers]
        answers, faults = collections.Counter(), []

        def streams(peer):
            """Opens 50 streams in one message; each answers with its echo, or with ERROR 5."""
            try:
                peer.send(*[opening(stream, port) + mux(DATA, stream, b"x") for stream in range(1, 51)])
                undecided = set(range(1, 51))
                while undecided:
                    kind, stream, payload = peer.next()
                    # The byte behind an OPEN that was refused at once meets no stream any more: a second error.
                    if stream in undecided:
                        undecided.remove(stream)
                        answers["open" if kind == DATA else payload[:2] if kind == ERROR else kind] += 1
            except Exception as fault:
                faults.append(repr(fault))
        threads = [threading.Thread(target=streams, args=(peer,)) for peer in peers]
        for thread in threads:
            thread.start()
        opener.many(60, threads=16)
        for thread in threads:
            thread.join(20)
        equal(faults, [], "faults of the streams")
        equal(set(answers) | {"open", b"\0\5"}, {"open", b"\0\5"}, "answers to streams")
        check(set(opener.outcomes) <= {101, 429}, "answers to upgrades", opener.outcomes)
        equal(opener.total() + answers["open"], LIMIT, f"open in round {number}: {opener.outcomes} {answers}")
        for peer in peers:
            peer.peer.close()
        settled(opener, redis, cookie)


@case("shared-instance-killed", slow=True)
def shared_instance_killed(context):
    """Places of an instance that was killed are free again within 30 s, and those of the living stay."""
    redis = Redis(context)
    servers = instances(context, redis)
    port = services.start(context, "echo")
    cookie = servers[0].session()
    opener = Opener(servers, cookie, tcp(port))
    opener.many(120)
    equal(opener.total(), LIMIT, "open connections")
    dead, alive = servers
    lost = len(opener.open[dead])
    check(lost > 0 and len(opener.open[alive]) > 0, "both instances hold some", lost)
    began = time.monotonic()
    dead.signal(signal.SIGKILL)
    opener.open.pop(dead)
    while opener.total() < LIMIT and time.monotonic() - began < RECOVERY_SECONDS:
        if opener.one(alive) != 101:
            time.sleep(0.2)
    elapsed = time.monotonic() - began
    equal(opener.total(), LIMIT, f"open connections {elapsed:.1f} s after the death of an instance")
    equal(opener.one(alive), 429, "one more")
    context.note(f"{lost} places of the dead instance were free after {elapsed:.1f} s")
    for peer in opener.open[alive][:5]:
        peer.send(frame(BINARY, b"still here"))
        equal(peer.message(), b"still here", "an older connection")
    settled(opener, redis, cookie)


@case("shared-redis-killed", slow=True)
def shared_redis_killed(context):
    """Redis killed and started again under load: no connection is lost, limits hold per instance meanwhile, and then over all."""
    redis = Redis(context)
    servers = instances(context, redis)
    port = services.start(context, "echo")
    cookie, busy_cookie = servers[0].session(), servers[0].session()
    opener = Opener(servers, cookie, tcp(port))
    opener.many(40)
    equal(opener.outcomes, {101: 40}, "openings")
    stop, faults, messages = threading.Event(), [], [0, 0]

    def talk(number, peer):
        """Echoes over a connection that was open before; every answer must come."""
        try:
            while not stop.is_set():
                payload = os.urandom(100)
                peer.send(frame(BINARY, payload))
                equal(peer.exactly(len(payload)), payload, "echo")
                messages[0] += 1
        except Exception as fault:
            faults.append(repr(fault))

    def open_and_close(number):
        """New connections of another session all the time: each must be answered."""
        own = Opener(servers, busy_cookie, tcp(port))
        try:
            while not stop.is_set():
                status = own.one(servers[messages[1] % 2])
                check(status == 101, "an opening of a session far from its limit", status)
                own.close()
                messages[1] += 1
        except Exception as fault:
            faults.append(repr(fault))
    threads = [threading.Thread(target=talk, args=(number, peer))
               for number, peer in enumerate([peer for server in servers for peer in opener.open[server][:8]])]
    threads += [threading.Thread(target=open_and_close, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            time.sleep(1)
            redis.kill()
            for server in servers:
                await_connected(server, 0)
            held = opener.total()
            local = Opener(servers, cookie, tcp(port))
            local.many(200)
            equal(local.total() + held, 2 * LIMIT, f"each instance holds its own limit without Redis {local.outcomes}")
            redis.start()
            for server in servers:
                await_connected(server, 1)
            eventually(lambda: sum(map(int, redis.command("HVALS", f"sluice:places:s:{digest(cookie)}"))) == 2 * LIMIT,
                       "true counts are in Redis again", 5)
            equal([local.one(server) for server in servers], [429, 429], "openings above the limit after Redis came back")
            local.close()
            eventually(lambda: sum(map(int, redis.command("HVALS", f"sluice:places:s:{digest(cookie)}"))) == 40,
                       "counts follow the connections", 10)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    equal(faults, [], "lost connections and refused openings")
    context.note(f"{messages[0]} echoes and {messages[1]} openings while Redis went and came three times")
    equal(sum(len(opener.open[server]) for server in servers), 40, "connections from before")
    transitions = [record["msg"] for record in servers[0].records() if "redis" in record]
    equal(len(transitions), 7, f"one line for each change {transitions}")
    opener.many(100)
    equal(opener.total(), LIMIT, "the limit over both instances afterwards")
    settled(opener, redis, cookie)


@case("shared-redis-silent")
def shared_redis_silent(context):
    """A Redis that stops answering, and one that accepts and never answers: clients wait a quarter of a second, then limits are local."""
    redis = Redis(context)
    servers = instances(context, redis)
    port = services.start(context, "echo")
    cookie = servers[0].session()
    opener = Opener(servers, cookie, tcp(port))
    equal(opener.one(servers[0]), 101, "an opening")
    redis.signal(signal.SIGSTOP)
    began = time.monotonic()
    fresh = Opener(servers, servers[0].session(), tcp(port))
    equal(fresh.one(servers[1]), 101, "an opening while Redis hangs")
    waited = time.monotonic() - began
    check(waited < 1.0, "the opening did not wait for Redis longer than its time limit", waited)
    context.note(f"an opening while Redis hangs took {waited * 1000:.0f} ms")
    await_connected(servers[1], 0)
    began = time.monotonic()
    for _ in range(20):
        equal(fresh.one(servers[1]), 101, "further openings do not ask")
    check(time.monotonic() - began < 1.0, "and do not wait", time.monotonic() - began)
    check(sample(servers[1], "sluice_shared_timeouts_total") >= 1, "the timeout is counted")
    redis.signal(signal.SIGCONT)
    for server in servers:
        await_connected(server, 1)
    opener.many(150)
    fresh.close()
    equal(opener.total(), LIMIT, "the limit afterwards")
    settled(opener, redis, cookie)

    with socket.create_server(("127.0.0.1", 0)) as mute:
        alone = context.server(SESSION_SECRET=SECRET, REDIS_URL=f"redis://127.0.0.1:{mute.getsockname()[1]}")
        local = Opener([alone], alone.session(), tcp(port))
        began = time.monotonic()
        local.many(100)
        equal(local.total(), LIMIT, "one instance with a mute Redis limits for itself")
        check(time.monotonic() - began < 3, "without waiting", time.monotonic() - began)
        eventually(lambda: sample(alone, "sluice_shared_timeouts_total") >= 1, "the timeout is counted", 5)
        local.close()


@case("shared-redis-nonsense")
def shared_redis_nonsense(context):
    """Answers that are no answers end the connection to Redis and nothing else."""
    stop = threading.Event()
    nonsense = [b"+OK\r\n" * 50, b"$-5\r\n", b"*99999999\r\n", b"\0" * 100, b"-ERR no\r\n", b":1\r\n" * 9, b"$1048577\r\n" + b"x" * 1200000,
                b"+OK\r\n+OK\r\n*1\r\n:5\r\n"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def babble():
            for number in range(10 ** 6):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if stop.is_set():
                    return
                with connection:
                    try:
                        connection.recv(4096)
                        connection.sendall(nonsense[number % len(nonsense)])
                        connection.settimeout(0.3)
                        connection.recv(4096)
                    except OSError:
                        pass
        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        server = context.server(SESSION_SECRET=SECRET, REDIS_URL=f"redis://127.0.0.1:{listener.getsockname()[1]}")
        port = services.start(context, "echo")
        opener = Opener([server], server.session(), tcp(port))
        for _ in range(4):
            opener.many(30)
            time.sleep(1.5)
        equal(opener.total(), LIMIT, "the limit")
        opener.close()
        check(sample(server, "sluice_shared_connections_total") >= 3, "new connections are tried")
        stop.set()


@case("shared-revocation")
def shared_revocation(context):
    """A session revoked in Redis is refused by every instance, its WebSockets are closed with 1008, and later instances know it."""
    redis = Redis(context)
    servers = instances(context, redis)
    port = services.start(context, "echo")
    cookie, other = servers[0].session(), servers[0].session()
    opener, others = Opener(servers, cookie, tcp(port)), Opener(servers, other, tcp(port))
    for server in servers:
        equal((opener.one(server), others.one(server)), (101, 101), "openings")
    began = time.monotonic()
    redis.command("ZADD", "sluice:revoked", int(time.time()) + 3600, digest(cookie))
    for server in servers:
        code, _ = opener.open[server][0].until_close()
        equal(code, 1008, "Close of a revoked session")
    context.note(f"closed on both instances after {time.monotonic() - began:.2f} s")
    check(time.monotonic() - began < 3, "within a second or two", time.monotonic() - began)
    late = instances(context, redis, 1)[0]
    eventually(lambda: sample(late, "sluice_revoked_sessions") == 1, "a later instance loads the set")
    for server in [*servers, late]:
        equal(opener.one(server), 401, "a revoked session")
        equal(others.one(server), 101, "another session")
        response, body = server.request("GET", "/session", {"Cookie": cookie})
        equal(response.status, 200, "a new session")
        check(session_id(response.getheader("Set-Cookie").split(";")[0]) != session_id(cookie), "is not the revoked one")
    for server in servers:
        peer = others.open[server][0]
        peer.send(frame(BINARY, b"x"))
        equal(peer.message(), b"x", "a connection of another session")
    redis.kill()
    redis.start()
    eventually(lambda: redis.command("ZCARD", "sluice:revoked") == 1, "a Redis that lost the set is told again", 10)
    others.close()


@case("shared-rate")
def shared_rate(context):
    """Requests of one address a minute, over two instances, within the bound that README.md states."""
    redis = Redis(context)
    limit = 120
    servers = instances(context, redis, RATE_LIMIT_REQUESTS_PER_MINUTE=limit)

    def ask(server):
        return server.request("GET", "/version")[0].status
    admitted, began = 0, time.monotonic()
    for number in range(400):
        admitted += ask(servers[number % 2]) == 200
        time.sleep(0.005)
    elapsed = time.monotonic() - began
    # What the other instance admits in one exchange (200 ms and a round trip), at the pace of this client, and what refills.
    refilled, pace = limit / 60 * elapsed, 400 / elapsed / 2
    bound = limit + refilled + 0.4 * pace + 1
    context.note(f"{admitted} of {limit} and {refilled:.0f} refilled were admitted in {elapsed:.1f} s; the bound is {bound:.0f}")
    check(limit * 0.95 <= admitted <= bound, "admitted by both instances", admitted, bound)
    statuses = {ask(server) for server in servers for _ in range(3)}
    equal(statuses, {429}, "both refuse now")
    check(redis.command("KEYS", "sluice:rate:requests:*"), "buckets are in Redis")
    check(all(redis.command("PTTL", key) > 0 for key in redis.command("KEYS", "sluice:rate:*")), "and expire")


@case("shared-drain")
def shared_drain(context):
    """An instance that drains gives everything back and leaves nothing in Redis."""
    redis = Redis(context)
    servers = instances(context, redis)
    port = services.start(context, "echo")
    cookie = servers[0].session()
    opener = Opener(servers, cookie, tcp(port))
    opener.many(120)
    equal(opener.total(), LIMIT, "open connections")
    names = set(redis.command("KEYS", "sluice:instance:*"))
    equal(len(names), 2, "records of instances")
    for key in redis.command("KEYS", "*"):
        check(session_id(cookie) not in key and SECRET not in key, "no id in a key", key)
    began = time.monotonic()
    servers[0].signal(signal.SIGTERM)
    equal(servers[0].process.wait(10), 0, "exit status of an instance that drains")
    context.note(f"drained in {time.monotonic() - began:.1f} s")
    equal(len(redis.command("KEYS", "sluice:instance:*")), 1, "records of instances afterwards")
    counts = redis.command("HVALS", f"sluice:places:s:{digest(cookie)}")
    equal(list(map(int, counts)), [len(opener.open[servers[1]])], "places of the other instance remain")
    opener.open.pop(servers[0])
    while opener.total() < LIMIT:
        equal(opener.one(servers[1]), 101, "the places are free at once")
    settled(opener, redis, cookie)
    servers[1].signal(signal.SIGTERM)
    equal(servers[1].process.wait(10), 0, "exit status of the other")
    equal(redis.command("KEYS", "*"), [], "keys left in Redis")


@case("shared-reload")
def shared_reload(context):
    """A changed redis section connects elsewhere, a removed one stops sharing; connections do not notice."""
    first, second = Redis(context), Redis(context)
    path = context.folder / "sluice.yaml"

    def write(text):
        path.with_suffix(".new").write_text("tcp: { allow_private_ips: true }\n" + text)
        path.with_suffix(".new").rename(path)
    write(f"redis: {{ url: '{first.url}', prefix: 'a:' }}\n")
    server = context.server(["--config", str(path)], SESSION_SECRET=SECRET)
    await_connected(server)
    port = services.start(context, "echo")
    opener = Opener([server], server.session(), tcp(port))
    opener.many(10)
    equal(opener.total(), 10, "openings")
    write(f"redis: {{ url: '{second.url}', prefix: 'b:' }}\n")
    server.signal(signal.SIGHUP)
    eventually(lambda: second.command("KEYS", "b:places:*"), "counts are stated at the other Redis")
    equal(list(map(int, second.command("HVALS", second.command("KEYS", "b:places:*")[0]))), [10], "places")
    equal(first.command("KEYS", "a:instance:*"), [], "the first Redis forgot the instance")
    write("")
    server.signal(signal.SIGHUP)
    await_connected(server, 0)
    eventually(lambda: second.command("KEYS", "b:instance:*") == [], "the second forgot it too")
    for peer in opener.open[server]:
        peer.send(frame(BINARY, b"x"))
        equal(peer.message(), b"x", "a connection from before")
    opener.many(100)
    equal(opener.total(), LIMIT, "the limit of one instance")
    opener.close()


@case("revocation-alone")
def revocation_alone(context):
    """Without Redis the admin interface revokes a session of this instance."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        admin = probe.getsockname()[1]
    path = context.folder / "sluice.yaml"
    path.write_text(f"tcp: {{ allow_private_ips: true }}\nadmin: {{ address: '127.0.0.1:{admin}' }}\n")
    server = context.server(["--config", str(path)], SESSION_SECRET=SECRET)
    port = services.start(context, "echo")
    cookie, other = server.session(), server.session()
    opener, others = Opener([server], cookie, tcp(port)), Opener([server], other, tcp(port))
    equal((opener.one(server), others.one(server)), (101, 101), "openings")
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
    connection.request("DELETE", f"/sessions/{session_id(cookie)}")
    equal(connection.getresponse().status, 204, "DELETE /sessions/ID")
    equal(opener.open[server][0].until_close()[0], 1008, "Close of a revoked session")
    equal((opener.one(server), others.one(server)), (401, 101), "openings afterwards")
    equal(sample(server, 'sluice_tcp_ended_total{cause="revoked"}'), 1, "the end is counted")


@case("shared-tls")
def shared_tls(context):
    """Redis behind TLS: its certificate is verified; one that nobody vouches for leaves the limits local."""
    folder = context.folder

    def openssl(*arguments):
        done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True)
        equal(done.returncode, 0, f"openssl {arguments[0]} {done.stderr[-300:]!r}")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", 2,
            "-subj", "/CN=redis.test", "-addext", "subjectAltName=IP:127.0.0.1")
    redis = Redis(context)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        secure = probe.getsockname()[1]
    redis.command("CONFIG", "SET", "tls-port", secure, "tls-cert-file", folder / "cert.pem", "tls-key-file", folder / "key.pem",
                  "tls-ca-cert-file", folder / "cert.pem", "tls-auth-clients", "no")
    url = f"rediss://127.0.0.1:{secure}/3"
    path = folder / "sluice.yaml"
    path.write_text(f"redis: {{ url: '{url}', authorities: '{folder / 'cert.pem'}' }}\n")
    servers = [context.server(["--config", str(path)], SESSION_SECRET=SECRET) for _ in range(2)]
    for server in servers:
        await_connected(server)
    port = services.start(context, "echo")
    opener = Opener(servers, servers[0].session(), tcp(port))
    opener.many(120)
    equal(opener.total(), LIMIT, "open connections")
    opener.close()
    stranger = context.server(SESSION_SECRET=SECRET, REDIS_URL=url)
    line = eventually(lambda: [record for record in stranger.records() if "reason" in record and "redis" in record], "a line says why")[0]
    check("certificate" in line["reason"], "the reason", line)
    equal(sample(stranger, "sluice_shared_connected"), 0, "connected without a known authority")
