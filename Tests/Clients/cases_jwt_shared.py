"""JWT proxies that share a Redis: revocation, budgets and counts over two instances, and what holds while Redis is away.

Theory of operation
  goal      what one instance denies all deny within a second; no message and no client ever waits for Redis
  redis     `redis-server` on a free port, without persistence: a restart comes back empty, the hardest case
  clients   the websockets library; the upstream counts what arrives
"""
import collections
import http.client
import json
import os
import signal
import socket
import stat
import threading
import time

from harness import Failure, case, check, equal, eventually

try:
    import websockets.exceptions
    from websockets.sync.client import connect

    from issuer import AUDIENCE, ISSUER, Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

from cases_jwt import bearer, compatible, echo, need, refused, url
from cases_jwt_limits import RAW, ask, ending, free_port
from cases_shared import Redis, read_reply

KEY = "0123456789abcdef0123"
ADMIN = {"Authorization": "Bearer " + KEY}
# A revocation is known everywhere within this; the requirement.
REVOKED_SECONDS = 1.0


class Instance:
    """A gateway with a file and an admin port of its own."""

    def __init__(self, context, issuer, upstream, jwt="", route="", redis=None, prefix="", wait=True, **environment):
        number = len(list(context.folder.glob("sluice-*.yaml")))
        self.path, self.admin = context.folder / f"sluice-{number}.yaml", free_port()
        self.path.write_text(f"""
listeners: [{{ name: public, address: "127.0.0.1:0", features: [jwt] }}]
admin: {{ address: "127.0.0.1:{self.admin}", token: "{KEY}" }}
shards: 2
{f'redis: {{ url: "{redis}" }}' if redis else ''}
jwt:
  providers:
    - {{ name: main, issuer: "{ISSUER}", audiences: [{AUDIENCE}], jwks_url: "{issuer.url}", jwks_allow_http: true,
         algorithms: [{issuer.algorithm}], leeway: 0s }}
  routes:
    - {RAW % (upstream.url, route)}
{jwt}
{'' if 'drain:' in jwt else '  drain: { delay: 0s }'}
""")
        self.server = context.server(["--config", str(self.path)], private=False, SESSION_SECRET=None, DNS_UPSTREAMS=None, HOST=None,
                                     PORT=None, **environment)
        if wait:
            eventually(lambda: self.server.request("GET", "/readyz")[0].status == 200, "ready", 8)
            if redis:
                self.await_store(1)

    def sample(self, name):
        for line in ask(self.admin, "GET", "/metrics", headers=ADMIN)[1].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return None

    def await_store(self, value, seconds=10):
        eventually(lambda: self.sample('ws_store_up{store="redis"}') == value, f"ws_store_up is {value}", seconds)

    def revoke(self, **form):
        status, body = ask(self.admin, "POST", "/admin/revoke", json.dumps(form).encode(), ADMIN)
        return status, json.loads(body) if status == 200 else body

    def open(self, token, **options):
        return connect(url(self.server), compression=None, open_timeout=10, additional_headers=bearer(token), **options)

    def status(self, token):
        return refused(self.server, additional_headers=bearer(token))[0]


QUIET = "  limits: { failures_per_minute: 0, handshakes_per_second: 0%s }\n"


def pair(context, redis, jwt=QUIET % "", **more):
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    return issuer, upstream, [Instance(context, issuer, upstream, jwt, redis=redis.url, **more) for _ in range(2)]


def listen(redis, pattern):
    """A connection to Redis that is subscribed; what it hears comes from `read_reply`."""
    connection = socket.create_connection(("127.0.0.1", redis.port), 10)
    connection.sendall(f"PSUBSCRIBE {pattern}\r\n".encode())
    stream = connection.makefile("rb")
    equal(read_reply(stream)[0], "psubscribe", "subscribed")
    return stream


@case("jwt-shared-revocation")
def revocation(context):
    """T26: every form ends sessions on both instances within a second, and the token is refused on both, and by one that starts later."""
    redis = Redis(context)
    issuer, upstream, instances = pair(context, redis)
    heard = listen(redis, "ws:revocations:*")
    now = int(time.time())
    forms = [(dict(sub="s0", jti="j0"), "ws:revocations:s0:j0"), (dict(jti="j1"), "ws:revocations::j1"), (dict(sub="s2"), "ws:revocations:s2:"),
             (dict(sid="d3"), "ws:revocations::"), (dict(sub="s4", before=now + 5), "ws:revocations:s4:"),
             (dict(iss=ISSUER, sub="s5", jti="j5"), "ws:revocations:s5:j5"), (dict(sub="s:6", jti="j:6", exp=now + 600), "ws:revocations:s:6:j:6")]
    tokens, worst = [], 0
    for number, (form, channel) in enumerate(forms):
        subject, identity = form.get("sub", f"s{number}"), form.get("jti", f"j{number}")
        token = issuer.token(sub=subject, jti=identity, sid=f"d{number}")
        tokens.append(token)
        bystander = issuer.token(sub="other", jti=f"o{number}", sid=f"e{number}")
        here, there = [instance.open(token) for instance in instances]
        stay = [instance.open(bystander) for instance in instances]
        began = time.monotonic()
        status, answer = instances[0].revoke(**form)
        equal((status, answer), (200, {"closed": 1, "entries": 1}), str(form))
        for client in (here, there):
            equal(ending(client), (4401, "token revoked"), str(form))
        worst = max(worst, time.monotonic() - began)
        check(time.monotonic() - began < REVOKED_SECONDS, f"it took long {form}", time.monotonic() - began)
        message = read_reply(heard)
        equal((message[0], message[2]), ("pmessage", channel), "channel")
        for instance in instances:
            equal(instance.status(token), 401, f"the same token again {form}")
        for client in stay:
            client.send("still")
            equal(client.recv(timeout=5), "still", "somebody else's session")
            client.close()
    context.note(f"sessions on both instances had ended after {worst * 1000:.0f} ms at most")
    spare(issuer, instances, now)
    late = Instance(context, issuer, upstream, QUIET % "", redis=redis.url)
    for token in tokens:
        equal(late.status(token), 401, "an instance that started later")
    equal(sum(instance.sample("ws_revocations_total") for instance in instances), 2 * len(forms), "sessions that were closed")
    equal(int(redis.command("ZCARD", "jwt_cached_token_denied")), len(forms) + 2, "entries in Redis")
    check(0 < int(redis.command("TTL", "jwt_cached_token_denied")) < 90_000, "the list expires")
    for instance in instances:
        log = instance.server.log_path.read_text()
        check(not any(token.split(".")[1] in log for token in tokens) and KEY not in log, "a token in the log")
    lines = [record for record in instances[0].server.records() if record["msg"] == "tokens revoked"]
    check(len(lines) == len(forms) + 2 and all(line["peer"] == "127.0.0.1" for line in lines), "who called is in the log", lines[:1])


def spare(issuer, instances, now):
    """Denials of another issuer, or of before the token was made: nobody is meant."""
    spared = issuer.token(sub="spared", jti="spared")
    with instances[1].open(spared) as client:
        for form in (dict(iss="https://else.test", sub="spared"), dict(sub="spared", before=now - 1000)):
            equal(instances[0].revoke(**form)[0], 200, str(form))
        time.sleep(1.2)
        client.send("still")
        equal(client.recv(timeout=5), "still", "a token that was not meant")


def outlive(store, issuer, instances, seconds):
    """The store of denials is killed and started again; two instances live on, and what one was told meanwhile reaches the other so many
    seconds later at most. Sessions that stayed, and tokens that are denied."""
    first, second = instances
    early = issuer.token(sub="early")
    equal(first.revoke(sub="early")[0], 200, "a revocation before")
    live = [instance.open(issuer.token(sub="live")) for instance in instances]
    marked = issuer.token(sub="marked", jti="marked")
    here, there = [instance.open(marked) for instance in instances]
    store.kill()
    for instance in instances:
        instance.await_store(0)
    for instance in instances:
        equal(instance.status(issuer.token(sub="new")), "open", "a new session")
        equal(instance.status(early), 401, "what was known before")
    began = time.monotonic()
    equal(first.revoke(sub="marked", jti="marked"), (500, b"failed to publish revocation\n"), "the call")
    check(time.monotonic() - began < 1, "the call waited for the store")
    equal(ending(here), (4401, "token revoked"), "it holds here")
    equal(first.status(marked), 401, "the same token here")
    equal(second.status(marked), "open", "nobody else was told")
    store.start()
    equal(ending(there, seconds), (4401, "token revoked"), "the others are told when the store is back")
    for instance in instances:
        instance.await_store(1)
        eventually(lambda: instance.status(marked) == 401, "the token is refused everywhere", 3)
        equal(instance.status(early), 401, "what was known before")
    return live, early, marked


@case("jwt-shared-revocation-reference")
def revocation_reference(context):
    """What go-ws-gateway-proxy publishes, `1` on the token's channel, ends the session here and denies the token."""
    need()
    redis = Redis(context)
    issuer, upstream = Issuer(context), Upstream(context)
    server = compatible(context, issuer, upstream.url, REDIS_URL=redis.url, RATE_LIMIT_PER_SECOND=0)
    eventually(lambda: server.metrics()[0].get('ws_store_up{store="redis"}') == 1, "Redis is used", 5)
    token, other = issuer.token(sub="a:b", jti="c"), issuer.token(sub="a", jti="d")
    with connect(url(server), compression=None, additional_headers=bearer(token)) as client, \
            connect(url(server), compression=None, additional_headers=bearer(other)) as bystander:
        began = time.monotonic()
        equal(redis.command("PUBLISH", "ws:revocations:a:b:c", "1"), 1, "one subscription for the process")
        equal(ending(client), (1008, "Token revoked"), "the session")
        check(time.monotonic() - began < REVOKED_SECONDS, "it took long")
        for payload in ("", "2", "[]", "{}", "x" * 10_000, '{"sub":1}'):
            redis.command("PUBLISH", "ws:revocations:a:d", payload)
        bystander.send("still")
        equal(bystander.recv(timeout=5), "still", "messages that mean nothing")
    with connect(url(server), compression=None, additional_headers=bearer(token)) as client:
        equal(ending(client), (1008, "Token revoked"), "the same token again")


@case("jwt-shared-redis-killed")
def redis_killed(context):
    """T29: Redis dies and comes back empty. Sessions live, new ones are let in, a revocation says that it reached nobody, and reaches them then."""
    redis = Redis(context)
    issuer, upstream, instances = pair(context, redis)
    live, early, marked = outlive(redis, issuer, instances, 10)
    # A list that came back is one that a new instance can read.
    late = Instance(context, issuer, upstream, QUIET % "", redis=redis.url)
    equal([late.status(early), late.status(marked)], [401, 401], "an instance that started after the restart")
    for client in live:
        client.send("alive")
        equal(client.recv(timeout=5), "alive", "a session from before")
    # The list is lost while the connections stay.
    redis.command("FLUSHDB")
    eventually(lambda: int(redis.command("ZCARD", "jwt_cached_token_denied")) == 2, "the list is told again", 5)
    for instance in instances:
        transitions = [record["msg"] for record in instance.server.records() if "redis" in record]
        # On a busy machine an answer may come too late once more, which is a change there and back.
        check(len(transitions) >= 3 and all(one != next for one, next in zip(transitions, transitions[1:])), "one line for each change",
              transitions)


@case("jwt-shared-redis-silent")
def redis_silent(context):
    """T29: a Redis that stops answering costs a handshake its time limit, and a message nothing."""
    redis = Redis(context)
    issuer, upstream, instances = pair(context, redis, jwt=QUIET % "" + "  rate: { messages_per_second: 10000, burst: 10000 }\n")
    first = instances[0]
    with first.open(issuer.token(sub="live")) as client:
        client.send("x")
        client.recv(timeout=5)
        redis.signal(signal.SIGSTOP)
        slowest, stop = 0.0, time.monotonic() + 3
        while time.monotonic() < stop:
            began = time.monotonic()
            client.send("x")
            client.recv(timeout=5)
            slowest = max(slowest, time.monotonic() - began)
        began = time.monotonic()
        equal(first.status(issuer.token(sub="new")), "open", "a new session")
        waited = time.monotonic() - began
        check(waited < 1.5, "a handshake waited for Redis", waited)
        check(slowest < 1.0, "a message waited for Redis", slowest)
        context.note(f"while Redis hung: slowest echo {slowest * 1000:.1f} ms, a handshake {waited * 1000:.0f} ms")
        redis.signal(signal.SIGCONT)
        first.await_store(1)


@case("jwt-shared-store-closed")
def store_closed(context):
    """`store.failure: closed`: while Redis cannot be asked nobody is let in, and whoever is in stays."""
    need()
    redis = Redis(context)
    issuer, upstream = Issuer(context), Upstream(context)
    jwt = QUIET % "" + "  store: { kind: redis, failure: closed }\n"
    instance = Instance(context, issuer, upstream, jwt, redis=redis.url)
    token = issuer.token()
    with instance.open(token) as client:
        redis.kill()
        instance.await_store(0)
        status, headers = refused(instance.server, additional_headers=bearer(token))
        equal((status, headers["Retry-After"], headers["X-Edge-Error"]), (503, "1", "store_unavailable"), "a new session")
        client.send("alive")
        equal(client.recv(timeout=5), "alive", "a session from before")
        cold = Instance(context, issuer, upstream, jwt, redis=redis.url, wait=False)
        eventually(lambda: cold.server.request("GET", "/readyz")[0].status == 200, "keys", 8)
        equal(cold.status(token), 503, "an instance that started without Redis")
        redis.start()
        for one in (instance, cold):
            one.await_store(1)
            equal(one.status(token), "open", "after it came back")


@case("jwt-shared-redis-absent")
def redis_absent(context):
    """T29: Redis is not there at the start, or does not take the password: what is known holds, and it is used as soon as it is there. An address
    that cannot be understood counts as none in the profile compat, and stops the start elsewhere."""
    need()
    redis = Redis(context)
    redis.kill()
    issuer, upstream = Issuer(context), Upstream(context)
    absent = Instance(context, issuer, upstream, QUIET % "", redis=redis.url, wait=False)
    eventually(lambda: absent.server.request("GET", "/readyz")[0].status == 200, "ready", 8)
    equal(absent.sample('ws_store_up{store="redis"}'), 0, "ws_store_up")
    equal(absent.status(issuer.token()), "open", "a session")
    began = time.monotonic()
    equal(absent.revoke(sub="x", jti="y")[0], 500, "a revocation")
    check(time.monotonic() - began < 1, "the call waited for Redis")
    redis.start()
    absent.await_store(1)
    redis.command("CONFIG", "SET", "requirepass", "right")
    wrong = Instance(context, issuer, upstream, QUIET % "", redis=redis.url.replace("//", "//:guess@"), wait=False)
    eventually(lambda: wrong.server.request("GET", "/readyz")[0].status == 200, "ready", 8)
    eventually(lambda: any("reason" in record for record in wrong.server.records() if "redis" in record), "it says why", 5)
    equal((wrong.sample('ws_store_up{store="redis"}'), wrong.status(issuer.token(sub="x", jti="y"))), (0, "open"), "with a wrong password")
    check("guess" not in wrong.server.log_path.read_text(), "the wrong password is in the log")
    right = Instance(context, issuer, upstream, QUIET % "", redis=redis.url.replace("//", "//:right@"))
    equal(right.status(issuer.token(sub="x", jti="y")), 401, "what was denied without the store")
    server = compatible(context, issuer, upstream.url, REDIS_URL="redis://u:hunter2@:no/", JWT_CACHE_STORE="redis")
    log = server.log_path.read_text()
    check("REDIS_URL is taken as if it were not set" in log and "hunter2" not in log, "a warning", log[:600])
    equal(server.metrics()[0].get('ws_store_up{store="memory"}'), 1, "memory")
    refusal = ""
    try:
        Instance(context, issuer, upstream, QUIET % "", redis="redis://u:hunter2@:no/", wait=False)
    except Failure as failure:
        refusal = str(failure)
    check("redis.url: not a Redis URL" in refusal and "hunter2" not in refusal, "a start error", refusal)


def flood(instance, token, seconds, counts, name, pause=0.0, size=0):
    """Sends as fast as it is let for so long; counts what was sent, and how it ended."""
    with instance.open(token) as client:
        stop = time.monotonic() + seconds

        def drain():
            try:
                while True:
                    client.recv(timeout=seconds + 20)
            except (websockets.exceptions.ConnectionClosed, TimeoutError):
                pass
        threading.Thread(target=drain, daemon=True).start()
        try:
            while time.monotonic() < stop:
                client.send(name + "x" * size)
                counts[name + " sent"] += 1
                if pause:
                    time.sleep(pause)
        except websockets.exceptions.ConnectionClosed as error:
            counts[name + " closed"] = error.rcvd.code if error.rcvd else None


def flooded(instances, issuer, upstream, seconds, counts, **claims):
    """Messages that reached the upstream in about so many seconds while every instance was flooded with a subject's, what its budget
    of 50 a second and 20 at once was, and who floods."""
    before, began = len(upstream.messages), time.monotonic()
    threads = [threading.Thread(target=flood, args=(instance, issuer.token(**claims), seconds, counts, f"i{number}", 0.0, 200))
               for number, instance in enumerate(instances)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    arrived = len(upstream.messages) - before
    return arrived, 20 + round(50 * (time.monotonic() - began)), threads


@case("jwt-shared-rate")
def shared_rate(context):
    """T23 over two instances: a subject that floods both has one budget, within a tenth; alone each has its part of it."""
    redis = Redis(context)
    rate = QUIET % "" + "  rate: { messages_per_second: 50, burst: 20, action: throttle }\n"
    issuer, upstream, instances = pair(context, redis, jwt=rate)
    counts, seconds = collections.Counter(), 6
    arrived, budget, threads = flooded(instances, issuer, upstream, seconds, counts, sub="flood")
    context.note(f"budget {budget}, arrived {arrived} of two instances")
    check(abs(arrived - budget) <= budget / 10, "messages of one subject on two instances", arrived, budget)
    for thread in threads:
        thread.join(30)
    check(len(redis.command("KEYS", "wsrl:*")) >= 1, "the budget is in Redis")
    # One instance alone has the whole budget, though there are two.
    arrived, budget, threads = flooded(instances[:1], issuer, upstream, seconds, counts, sub="single")
    context.note(f"budget {budget}, arrived {arrived} of one instance of two")
    check(abs(arrived - budget) <= budget / 10, "messages of one subject on one of two instances", arrived, budget)
    for thread in threads:
        thread.join(30)
    eventually(lambda: instances[0].sample("sluice_proxy_instances") == 2, "both instances are known", 5)
    redis.kill()
    for instance in instances:
        instance.await_store(0)
    arrived, budget, threads = flooded(instances, issuer, upstream, seconds, counts, sub="apart")
    context.note(f"budget {budget}, arrived {arrived} of two instances without Redis")
    check(abs(arrived - budget) <= budget / 10, "each has its part of the budget without Redis", arrived, budget)
    for thread in threads:
        thread.join(30)
    check(not any(name.endswith("closed") for name in counts), "nobody was closed", counts)


@case("jwt-shared-rate-close")
def shared_rate_close(context):
    """Budgets of the reference's defaults over two instances: half of it on each is never closed, more than it is."""
    need()
    redis = Redis(context)
    issuer, upstream = Issuer(context), Upstream(context)
    servers = [compatible(context, issuer, upstream.url, REDIS_URL=redis.url, RATE_LIMIT_PER_SECOND=50, RATE_LIMIT_BURST=30) for _ in range(2)]
    for server in servers:
        eventually(lambda: server.metrics()[0].get('ws_store_up{store="redis"}') == 1, "Redis is used", 5)

    class Compat(Instance):
        def __init__(self, server):
            self.server = server
    instances = [Compat(server) for server in servers]
    counts = collections.Counter()
    threads = [threading.Thread(target=flood, args=(instance, issuer.token(sub="good"), 4, counts, f"good{number}", 0.05))
               for number, instance in enumerate(instances)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    check(not any(name.endswith("closed") for name in counts), "within the budget of both", counts)
    # Each sends less than the budget, together they send more.
    threads = [threading.Thread(target=flood, args=(instance, issuer.token(sub="bad"), 8, counts, f"bad{number}", 1 / 45))
               for number, instance in enumerate(instances)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    check(1008 in (counts["bad0 closed"], counts["bad1 closed"]), "above the budget of both together", counts)


@case("jwt-shared-sessions")
def shared_sessions(context):
    """T24 over two instances: sessions of a subject, opened on both from many threads at once, are as many as may be, again and again."""
    redis = Redis(context)
    issuer, upstream, instances = pair(context, redis, jwt=QUIET % ", sessions_per_subject: 7")
    for round_number in range(4):
        token, outcomes, held, lock = issuer.token(sub=f"many{round_number}"), collections.Counter(), [], threading.Lock()

        def one(number):
            try:
                client = instances[number % 2].open(token)
                with lock:
                    held.append((number % 2, client))
                    outcomes["open"] += 1
            except websockets.exceptions.InvalidStatus as error:
                with lock:
                    outcomes[error.response.status_code] += 1
        threads = [threading.Thread(target=one, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        equal(outcomes, {"open": 7, 429: 17}, f"round {round_number}")
        equal(instances[0].status(issuer.token(sub="somebody")), "open", "another subject")
        # What one instance gives back, the other may have.
        place, client = held.pop()
        client.close()
        held.append((1 - place, eventually(lambda: attempt(instances[1 - place], token), "the place of a closed session", 5)))
        equal(instances[place].status(token), 429, "one more")
        for _, client in held:
            client.close()
    eventually(lambda: not redis.command("KEYS", "sluice:places:j:*"), "no place is taken any more", 10)
    redis.kill()
    for instance in instances:
        instance.await_store(0)
    token = issuer.token(sub="apart")
    held = [instance.open(token) for instance in instances for _ in range(7)]
    equal([instance.status(token) for instance in instances], [429, 429], "each instance holds its own limit without Redis")
    redis.start()
    for instance in instances:
        instance.await_store(1)
    eventually(lambda: sum(map(int, sum((redis.command("HVALS", key) for key in redis.command("KEYS", "sluice:places:j:*")), []))) == 14,
               "true counts are in Redis again", 5)
    for client in held[:10]:
        client.close()
    eventually(lambda: attempt(instances[0], token), "below the limit again", 5)


def attempt(instance, token):
    """A session, or None when it was refused."""
    try:
        return instance.open(token)
    except websockets.exceptions.InvalidStatus:
        return None


@case("jwt-shared-subject-killed", slow=True)
def subject_killed(context):
    """Places of an instance that was killed are free again within half a minute."""
    redis = Redis(context)
    issuer, upstream, instances = pair(context, redis, jwt=QUIET % ", sessions_per_subject: 4")
    token = issuer.token()
    held = [instances[number % 2].open(token) for number in range(4)]
    equal(instances[1].status(token), 429, "one more")
    instances[0].server.signal(signal.SIGKILL)
    began = time.monotonic()
    held.append(eventually(lambda: attempt(instances[1], token), "a place of the dead", 30))
    context.note(f"free {time.monotonic() - began:.1f} s after the death")


@case("jwt-shared-admin")
def admin_access(context):
    """T27: the call on the admin listener and, where a credential keeps strangers out, on the proxy's own."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    server = compatible(context, issuer, upstream.url, SLUICE_ADMIN_TOKEN=KEY)
    equal(server.request("POST", "/admin/revoke", body=b'{"jti":"x"}')[0].status, 401, "without a credential")
    equal(server.request("POST", "/admin/revoke", {"Authorization": "Bearer wrong"}, b'{"jti":"x"}')[0].status, 401, "another one")
    equal(server.request("GET", "/admin/revoke", ADMIN)[0].status, 405, "another method")
    equal(server.request("POST", "/admin/revoke", ADMIN, b"{" + b" " * 5000)[0].status, 413, "a large body")
    for body, text in ((b"{", b"invalid payload\n"), (b'{"jti":"a","sub":""}', b"missing required field: sub\n"),
                       (b'{"sub":"a","jti":""}', b"missing required field: jti\n")):
        response, answer = server.request("POST", "/admin/revoke", ADMIN, body)
        equal((response.status, answer), (400, text), body.decode())
    with connect(url(server), compression=None, additional_headers=bearer(issuer.token(sub="a", jti="b"))) as client:
        response, answer = server.request("POST", "/admin/revoke", ADMIN, b'{"sub":"a","jti":"b"}')
        equal((response.status, json.loads(answer)), (200, {"closed": 1, "entries": 1, "scope": "local"}), "the call")
        equal(ending(client), (1008, "Token revoked"), "the session")
    for path in ("/admin/jwks", "/admin/drain", "/config"):
        check(server.request("POST", path, ADMIN, b"")[0].status in (400, 404), "nothing else of the admin interface is public " + path)
    server.end()
    server = compatible(context, issuer, upstream.url)
    check(server.request("POST", "/admin/revoke", body=b'{"jti":"x"}')[0].status in (400, 404), "public without a credential")


@case("jwt-shared-state-dir")
def state_directory(context):
    """Keys on disk: a start while the issuer is down serves, as long as they are not too old and nobody else could have written them."""
    need()
    issuer, upstream = Issuer(context), Upstream(context)
    folder = context.folder / "state"
    folder.mkdir()
    jwt = QUIET % "" + f'  state_dir: "{folder}"\n'
    instance = Instance(context, issuer, upstream, jwt)
    # A draft stands beside its place until it is renamed.
    file, = eventually(lambda: [path for path in folder.iterdir() if path.suffix != ".new"], "keys are kept")
    equal(stat.S_IMODE(file.stat().st_mode), 0o600, "mode")
    token = issuer.token()
    equal(instance.status(token), "open", "a session")
    # A rotated set is kept in its place.
    former = file.read_bytes()
    issuer.rotate("second")
    equal(instance.status(issuer.token()), "open", "another key")
    eventually(lambda: file.read_bytes() != former and b"second" in file.read_bytes(), "the new set is kept")
    equal(list(folder.iterdir()), [file], "nothing else lies there")
    instance.server.end()
    issuer.status = 500
    fresh = file.read_bytes()

    def start():
        one = Instance(context, issuer, upstream, jwt, wait=False)
        # Keys on disk are there before the first client is.
        status = one.status(token)
        one.server.end()
        return status, one.server.log_path.read_text()
    equal(start()[0], "open", "a start while the issuer is down")
    for name, change, word in (("readable by others", lambda: file.chmod(0o644), "0600"),
                               ("too old", lambda: file.write_bytes(aged(fresh, 90_000)), ""),
                               ("from the future", lambda: file.write_bytes(aged(fresh, -90_000)), ""),
                               ("of another source", lambda: file.write_bytes(fresh.replace(b"/certs", b"/other", 1)), ""),
                               ("broken", lambda: file.write_bytes(fresh[:-20]), ""),
                               ("empty", lambda: file.write_bytes(b""), ""),
                               ("a directory", lambda: (file.unlink(), file.mkdir()), "regular")):
        change()
        status, log = start()
        equal(status, 503, name)
        check(word in log, f"the log says why: {name}")
        if file.is_dir():
            file.rmdir()
            file.write_bytes(fresh)
        file.chmod(0o600)
    file.write_bytes(aged(fresh, 3600))
    equal(start()[0], "open", "an hour old")
    # What is purged is not kept.
    issuer.status = 200
    instance = Instance(context, issuer, upstream, jwt)
    issuer.status = 500
    equal(ask(instance.admin, "POST", "/admin/jwks/purge", b"", ADMIN)[0], 200, "purge")
    eventually(lambda: not list(folder.iterdir()), "purged keys are gone from the disk")
    instance.server.end()
    refusal = None
    try:
        Instance(context, issuer, upstream, QUIET % "" + f'  state_dir: "{folder}/none"\n', wait=False)
    except Failure as failure:
        refusal = str(failure)
    check(refusal and "jwt.state_dir" in refusal and "create it" in refusal, "a directory that is not there is a fault", refusal)


def aged(file, seconds):
    """The file as if it had been written so long ago."""
    lines = file.split(b"\n")
    index = next(index for index, line in enumerate(lines) if line.startswith(b"fetched: "))
    lines[index] = b"fetched: %d" % (int(time.time()) - seconds)
    return b"\n".join(lines)


@case("jwt-shared-credentials-stay")
def credentials_stay(context):
    """A token in the query stays here whatever the query is, and a CONNECT that cannot carry one is answered as MQTT answers."""
    need()
    issuer, upstream, broker = Issuer(context), Upstream(context), Upstream(context, subprotocols=["mqtt"])
    token = issuer.token()
    for query, expected in (("preserve", "/up?a=1&b=%202&c"), ("[a, token]", "/up?a=1"), ("drop", "/up")):
        instance = Instance(context, issuer, upstream, QUIET % "", route=f", query: {query}")
        equal(echo(instance.server, path=f"/ws?a=1&token={token}&b=%202&c")[0], "hi", query)
        equal(upstream.requests[-1].path, expected, f"query: {query}")
        # A second credential behind the first: neither goes on.
        equal(echo(instance.server, path=f"/ws?t%6Fken={token}&a=1", additional_headers=bearer(token))[0], "hi", query)
        check(token not in upstream.requests[-1].path, "an encoded name", upstream.requests[-1].path)
        instance.server.end()
    instance = Instance(context, issuer, broker, QUIET % "", route=", mqtt: { password: token }")
    instance.server.end()
    instance.path.write_text(instance.path.read_text().replace("protocol: raw", "protocol: mqtt"))
    server = context.server(["--config", str(instance.path)], private=False, SESSION_SECRET=None, DNS_UPSTREAMS=None, HOST=None, PORT=None)
    eventually(lambda: server.request("GET", "/readyz")[0].status == 200, "ready", 8)
    for version, body in ((4, b"\0\4MQTT\4\2\0\x1e\0\1c"), (3, b"\0\6MQIsdp\3\2\0\x1e\0\1c")):
        headers = {"Cookie": "session=" + token, "Origin": f"http://127.0.0.1:{server.port}"}
        with connect(url(server), compression=None, additional_headers=headers, subprotocols=["mqtt"]) as client:
            client.send(b"\x10" + bytes([len(body)]) + body)
            equal(client.recv(timeout=5), b"\x20\x02\0\4", f"CONNACK to level {version} without a user name")
            equal(ending(client)[0], 4403, "close")
    equal(broker.messages, [], "what a broker got of a CONNECT that is refused")
