"""JWT proxies that share a Postgres: revocation over two instances, and what holds while it is away, late, or lost its table.

Theory of operation
  goal      what one instance denies all deny within a second, and after every restart; no message and no client ever waits for the store
  postgres  a server of the case's own with a password; psql says what is in its table
  clients   the websockets library
"""
import concurrent.futures
import json
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import Failure, case, check, equal, eventually, gateway_environment

try:
    from websockets.sync.client import connect

    from issuer import ISSUER, Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

from cases_jwt import bearer, compatible, need, refused, url
from cases_jwt_limits import ask, ending
from cases_jwt_shared import ADMIN, KEY, QUIET, REVOKED_SECONDS, Instance, outlive, spare
from cases_shared import Redis
from postgres import PASSWORD, Postgres

UP = 'ws_store_up{store="postgres"}'


class Member(Instance):
    """An instance whose store is Postgres; its address comes from a file."""

    def __init__(self, context, issuer, upstream, database, failure="open", up=True, jwt="", **more):
        secret = context.folder / "postgres-url"
        secret.write_text((database if isinstance(database, str) else database.url) + "\n")
        store = QUIET % "" + f"  store: {{ kind: postgres, url_file: {secret}, failure: {failure} }}\n" + jwt
        super().__init__(context, issuer, upstream, store, wait=False, **more)
        eventually(lambda: self.server.request("GET", "/readyz")[0].status == 200, "ready", 8)
        if up:
            self.await_store(1)

    def await_store(self, value, seconds=15):
        eventually(lambda: self.sample(UP) == value, f"ws_store_up is {value}", seconds)

    def lines(self):
        return [record for record in self.server.records() if "postgres" in record]


def setting(context, count=2, starts=True, **more):
    need()
    database = Postgres(context, starts)
    issuer, upstream = Issuer(context), Upstream(context)
    return database, issuer, upstream, [Member(context, issuer, upstream, database, up=starts, **more) for _ in range(count)]


def secret_is_kept(context, instances):
    """The password is in no log, no metrics, no printed configuration."""
    for instance in instances:
        texts = [instance.server.log_path.read_text(), ask(instance.admin, "GET", "/metrics", headers=ADMIN)[1].decode(),
                 ask(instance.admin, "GET", "/config", headers=ADMIN)[1].decode()]
        printed = subprocess.run([str(context.binary), "check", "--config", str(instance.path)], capture_output=True, text=True, timeout=60,
                                 env=gateway_environment({}))
        equal(printed.returncode, 0, printed.stderr[-300:])
        for text in texts + [printed.stdout, printed.stderr]:
            check(PASSWORD not in text and "p%40ss" not in text, "the password is shown")


def revoked_at(client, began):
    """Seconds until the session had ended."""
    equal(ending(client), (4401, "token revoked"), "a session")
    return time.monotonic() - began


@case("jwt-postgres-revocation")
def revocation(context):
    """T26 with Postgres: every form ends sessions on both instances within a second; the token is refused on both, and by one that starts later,
    and after the database was killed and started again."""
    need()
    database = Postgres(context)
    # Rows that ended are tidied away; a row by hand that makes no sense hurts nobody; one that does counts.
    database.command("CREATE TABLE jwt_revocations (id text PRIMARY KEY, sub text, jti text, sid text, iss text, before double precision, "
                     "expires double precision NOT NULL)")
    ends = time.time() + 900
    database.command(f"INSERT INTO jwt_revocations (id, sub, jti, expires) VALUES ('old', 'o', 'o', {time.time() - 700}), "
                     f"('senseless', repeat('x', 5000), 'j', {ends}), ('endless', 'e', 'e', 'infinity'), ('by hand', 'hand', 'hand', {ends})")
    issuer, upstream = Issuer(context), Upstream(context)
    instances = [Member(context, issuer, upstream, database) for _ in range(2)]
    by_hand = issuer.token(sub="hand", jti="hand")
    equal([instance.status(by_hand) for instance in instances], [401, 401], "a row that was written by hand")
    now = int(time.time())
    forms = [dict(sub="s0", jti="j0"), dict(jti="j1"), dict(sub="s2"), dict(sid="d3"), dict(sub="s4", before=now + 5),
             dict(iss=ISSUER, sub="s5", jti="j5"), dict(sub="s:6", jti="j:6", exp=now + 600), dict(sub="ü\"'\\s7", jti="{7},NULL")]
    tokens, times = [], []
    for number, form in enumerate(forms):
        token = issuer.token(sub=form.get("sub", f"s{number}"), jti=form.get("jti", f"j{number}"), sid=f"d{number}")
        tokens.append(token)
        bystander = issuer.token(sub="other", jti=f"o{number}", sid=f"e{number}")
        here, there = [instance.open(token) for instance in instances]
        stay = [instance.open(bystander) for instance in instances]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            began = time.monotonic()
            seconds = [pool.submit(revoked_at, client, began) for client in (here, there)]
            equal(instances[0].revoke(**form), (200, {"closed": 1, "entries": 1}), str(form))
            times.append(max(one.result() for one in seconds))
        check(times[-1] < REVOKED_SECONDS, f"it took long {form}", times[-1])
        equal([instance.status(token) for instance in instances], [401, 401], f"the same token again {form}")
        for client in stay:
            client.send("still")
            equal(client.recv(timeout=5), "still", "somebody else's session")
            client.close()
    context.note(f"sessions on both instances had ended after {min(times) * 1000:.0f} to {max(times) * 1000:.0f} ms")
    spare(issuer, instances, now)
    equal(int(database.command("SELECT count(*) FROM jwt_revocations")), len(forms) + 2 + 3, "rows")
    equal(database.command("SELECT count(*) FROM jwt_revocations WHERE id = 'old'"), "0", "an ended row")
    equal(database.command("SELECT sub, jti, iss, before FROM jwt_revocations WHERE sub = 's5'"), f"s5|j5|{ISSUER}|", "a row")
    # What a database cannot hold holds here, and whoever asked is told.
    status, body = instances[0].revoke(sub="a\0b", jti="zero")
    equal(status, 500, f"a text the database cannot hold {body}")
    equal(instances[0].revoke(sub="after", jti="it")[0], 200, "the next one")
    # Later and longer is taken over; earlier and shorter is not.
    for before in (now - 50, now + 50, now - 20):
        equal(instances[1].revoke(sub="grows", before=before)[0], 200, "before")
    equal(float(database.command("SELECT before FROM jwt_revocations WHERE sub = 'grows'")), now + 50, "one row for a subject")
    late = Member(context, issuer, upstream, database)
    for token in tokens + [by_hand]:
        equal(late.status(token), 401, "an instance that started later")
    # A message of somebody else that is no id: all rows are looked at.
    database.command(f"INSERT INTO jwt_revocations (id, sub, jti, expires) VALUES ('hand 2', 'hand', 'second', {ends}); "
                     "NOTIFY jwt_revocations; NOTIFY jwt_revocations, 'x'")
    second = issuer.token(sub="hand", jti="second")
    eventually(lambda: [instance.status(second) for instance in instances] == [401, 401], "a row by hand, told", 5)
    # The list outlives the database's death and the instances'.
    database.kill()
    for instance in instances + [late]:
        instance.server.end()
    database.start()
    fresh = Member(context, issuer, upstream, database)
    for token in tokens:
        equal(fresh.status(token), 401, "after everything was started again")
    secret_is_kept(context, [fresh])
    for instance in instances:
        log = instance.server.log_path.read_text()
        check(not any(token.split(".")[1] in log for token in tokens) and KEY not in log and PASSWORD not in log, "a secret in the log")


@case("jwt-postgres-killed")
def killed(context):
    """T29: Postgres is killed and comes back. Sessions live, new ones are let in, a revocation says that it reached nobody, and reaches them then.
    Its table is dropped, and emptied: it is made and filled again."""
    database, issuer, upstream, instances = setting(context)
    first, second = instances
    live, _, _ = outlive(database, issuer, instances, 15)
    equal(database.command("SELECT sub FROM jwt_revocations ORDER BY sub"), "early\nmarked", "rows")
    # The list is lost while the connections stay.
    database.command("DELETE FROM jwt_revocations")
    eventually(lambda: database.command("SELECT count(*) FROM jwt_revocations") == "2", "the list is told again", 5)
    database.command("DROP TABLE jwt_revocations")
    eventually(lambda: database.command("SELECT to_regclass('jwt_revocations') IS NOT NULL") == "t", "the table is made again", 10)
    eventually(lambda: database.command("SELECT count(*) FROM jwt_revocations") == "2", "and filled", 10)
    for instance in instances:
        instance.await_store(1)
    third = issuer.token(sub="third")
    with second.open(third) as client:
        began = time.monotonic()
        equal(first.revoke(sub="third")[0], 200, "after it was made again")
        equal(ending(client), (4401, "token revoked"), "the other instance")
        check(time.monotonic() - began < REVOKED_SECONDS, "it took long", time.monotonic() - began)
    for client in live:
        client.send("alive")
        equal(client.recv(timeout=5), "alive", "a session from before")
    for instance in instances:
        told = [line["msg"] for line in instance.lines()]
        check(len(told) >= 3 and all(one != next for one, next in zip(told, told[1:])), "one line for each change", told)
    secret_is_kept(context, instances)


@case("jwt-postgres-silent")
def silent(context):
    """T29: a Postgres that stops answering costs a handshake and a message nothing; whoever revokes is told within two seconds."""
    database, issuer, upstream, instances = setting(context, jwt="  rate: { messages_per_second: 10000, burst: 10000 }\n")
    first, second = instances
    marked = issuer.token(sub="marked", jti="marked")
    there = second.open(marked)
    with first.open(issuer.token(sub="live")) as client:
        database.signal(signal.SIGSTOP)
        began = time.monotonic()
        status, body = first.revoke(sub="marked", jti="marked")
        waited = time.monotonic() - began
        equal((status, body), (500, b"failed to publish revocation\n"), "a revocation")
        check(waited < 2.5, "whoever revokes waited long", waited)
        slowest = slowest_handshake = 0.0
        stop = time.monotonic() + 3
        while time.monotonic() < stop:
            began = time.monotonic()
            client.send("x")
            client.recv(timeout=5)
            slowest = max(slowest, time.monotonic() - began)
            began = time.monotonic()
            equal(first.status(issuer.token(sub="new")), "open", "a new session")
            slowest_handshake = max(slowest_handshake, time.monotonic() - began)
        check(slowest < 1 and slowest_handshake < 1, "somebody waited for Postgres", slowest, slowest_handshake)
        context.note(f"while Postgres hung: slowest echo {slowest * 1000:.1f} ms, handshake {slowest_handshake * 1000:.0f} ms, "
                     f"the call {waited * 1000:.0f} ms")
        for instance in instances:
            instance.await_store(0)
        database.signal(signal.SIGCONT)
        equal(ending(there, 20), (4401, "token revoked"), "the others are told when it goes on")
        for instance in instances:
            instance.await_store(1)
        client.send("alive")
        equal(client.recv(timeout=5), "alive", "a session from before")


@case("jwt-postgres-absent")
def absent(context):
    """T29: Postgres is not there at the start, or does not take the password: what is known holds, `closed` lets nobody in, and it is used as soon
    as it is there."""
    database, issuer, upstream, (opened,) = setting(context, count=1, starts=False)
    closed = Member(context, issuer, upstream, database, failure="closed", up=False)
    token = issuer.token()
    for instance in (opened, closed):
        equal(instance.sample(UP), 0, "ws_store_up")
    equal(opened.status(token), "open", "a session without the store")
    status, headers = refused(closed.server, additional_headers=bearer(token))
    equal((status, headers["Retry-After"], headers["X-Edge-Error"]), (503, "1", "store_unavailable"), "a session with failure: closed")
    equal(opened.revoke(sub="x", jti="y")[0], 500, "a revocation")
    database.start()
    for instance in (opened, closed):
        instance.await_store(1, 20)
        equal(instance.status(token), "open", "a session")
    denied = issuer.token(sub="x", jti="y")
    eventually(lambda: closed.status(denied) == 401, "what was denied without the store", 3)
    wrong = Member(context, issuer, upstream, database.url.replace("p%40ss", "guess"), up=False)
    eventually(lambda: any("password" in line.get("reason", "") for line in wrong.lines()), "it says why", 10)
    eventually(lambda: wrong.sample("sluice_postgres_connections_total") > 3, "it is tried again", 20)
    equal((wrong.sample(UP), wrong.status(denied)), (0, "open"), "with a wrong password")
    check("guess" not in wrong.server.log_path.read_text(), "the wrong password is in the log")
    check(all(f"127.0.0.1:{database.port}/postgres" == line["postgres"] for line in opened.lines()), "where it is", opened.lines()[:1])
    # A user who may read, and not make the table.
    database.command("CREATE ROLE plain LOGIN PASSWORD 'plain'; GRANT SELECT, INSERT, UPDATE, DELETE ON jwt_revocations TO plain")
    plain = Member(context, issuer, upstream, f"host=127.0.0.1 port={database.port} dbname=postgres user=plain password=plain")
    equal((plain.status(denied), plain.revoke(sub="by plain")[0]), (401, 200), "a user without the right to make tables")
    # A database that will not have our table.
    database.command("CREATE DATABASE other")
    database.command("ALTER DATABASE other SET default_transaction_read_only = on")
    fixed = Member(context, issuer, upstream, database.url.replace("/postgres", "/other"), up=False)
    eventually(lambda: any("25006" in line.get("reason", "") for line in fixed.lines()), "it says why", 10)
    equal((fixed.sample(UP), fixed.status(token)), (0, "open"), "a database that cannot be written to")


@case("jwt-postgres-compat")
def compat(context):
    """Sections 10 and 22.1: JWT_CACHE_STORE=postgres with POSTGRES_DSN in both forms; a DSN that is missing or broken means memory with a warning,
    and in the native profile a start that fails without telling the password. With REDIS_URL too, budgets are shared through Redis."""
    need()
    database, redis = Postgres(context), Redis(context)
    issuer, upstream = Issuer(context), Upstream(context)
    pairs = f"host=127.0.0.1 port={database.port} dbname=postgres user=gateway password='{PASSWORD}' sslmode=disable"
    started = []
    for source, more in ((database.url, {}), (pairs, dict(REDIS_URL=redis.url))):
        server = compatible(context, issuer, upstream.url, JWT_CACHE_STORE="postgres", POSTGRES_DSN=source, SLUICE_ADMIN_TOKEN=KEY,
                            RATE_LIMIT_PER_SECOND=0, **more)
        eventually(lambda: server.metrics()[0].get(UP) == 1, "Postgres is used", 10)
        started.append(server)
    token = issuer.token(sub="a", jti="b")
    with connect(url(started[1]), compression=None, additional_headers=bearer(token)) as client:
        began = time.monotonic()
        response, answer = started[0].request("POST", "/admin/revoke", ADMIN, b'{"sub":"a","jti":"b"}')
        equal((response.status, json.loads(answer)), (200, {"closed": 0, "entries": 1}), "the call")
        equal(ending(client), (1008, "Token revoked"), "the session on the other instance")
        check(time.monotonic() - began < REVOKED_SECONDS, "it took long")
    check(redis.command("KEYS", "*denied*") == [], "denials in Redis")
    check(redis.command("KEYS", "sluice:proxies") == ["sluice:proxies"], "budgets are shared through Redis", redis.command("KEYS", "*"))
    # What instances of that other program publish is heard.
    other = issuer.token(sub="c", jti="d")
    with connect(url(started[1]), compression=None, additional_headers=bearer(other)) as client:
        equal(redis.command("PUBLISH", "ws:revocations:c:d", "1"), 1, "subscriptions")
        equal(ending(client), (1008, "Token revoked"), "the session")
    # One store's death is not the other's.
    redis.kill()
    eventually(lambda: started[1].metrics()[0].get("sluice_shared_connected") == 0, "Redis is gone", 10)
    equal(started[1].metrics()[0].get(UP), 1, "Postgres is not")
    third = issuer.token(sub="e", jti="f")
    with connect(url(started[1]), compression=None, additional_headers=bearer(third)) as client:
        equal(started[0].request("POST", "/admin/revoke", ADMIN, b'{"sub":"e","jti":"f"}')[0].status, 200, "the call")
        equal(ending(client), (1008, "Token revoked"), "the session on the other instance")
    for server in started:
        server.signal(signal.SIGKILL)
    # Nothing that could be used: memory, and a warning.
    for dsn, words in (("", "POSTGRES_DSN is not set"), ("hunter2", "POSTGRES_DSN is not a PostgreSQL URL"),
                       ("postgres://u:hunter2/x@h/db", "POSTGRES_DSN is not a PostgreSQL URL"),
                       ("host=h hunter2=x", "POSTGRES_DSN is not a PostgreSQL URL")):
        server = compatible(context, issuer, upstream.url, JWT_CACHE_STORE="postgres", POSTGRES_DSN=dsn, SLUICE_ADMIN_TOKEN=KEY)
        equal(server.metrics()[0].get('ws_store_up{store="memory"}'), 1, f"memory with {dsn}")
        log = server.log_path.read_text()
        check(words in log and "hunter2" not in log, f"a warning with {dsn}", log[:800])
        response, answer = server.request("POST", "/admin/revoke", ADMIN, b'{"sub":"a","jti":"b"}')
        equal(json.loads(answer).get("scope"), "local", "a revocation")
        server.signal(signal.SIGKILL)
    for url_line, words in (('url: "postgres://u:hunter2/x@h/db"', "jwt.store.url: not a PostgreSQL URL"), ("failure: open", "postgres needs"),
                            ('url: "redis://h"', "jwt.store.url: not a PostgreSQL URL")):
        refusal = ""
        try:
            Instance(context, issuer, upstream, QUIET % "" + f"  store: {{ kind: postgres, {url_line} }}\n", wait=False)
        except Failure as failure:
            refusal = str(failure)
        check(words in refusal and "hunter2" not in refusal, f"a start error with {url_line}", refusal)


def message(kind, body=b""):
    """A message of the server's (PostgreSQL, chapter Message Formats)."""
    return kind + struct.pack("!I", len(body) + 4) + body


WELCOME = message(b"R", struct.pack("!I", 0)) + message(b"K", struct.pack("!II", 1, 2)) + message(b"Z", b"I")
MANY = b"".join(message(b"A", struct.pack("!I", 1) + b"jwt_revocations\0" + b"%064x\0" % number) for number in range(5000))
COLUMN = message(b"T", struct.pack("!H", 1) + b"x\0" + struct.pack("!IHIHIH", 0, 0, 25, 0xFFFF, 0xFFFFFFFF, 0))
# What is said instead of a greeting, and then to every statement.
NONSENSE = [
    (b"", b""), (b"\0" * 100, b""), (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""), (message(b"E", b"SFATAL\0C" + b"x" * 500 + b"\0\0"), b""),
    (b"R" + struct.pack("!I", 1 << 30), b""), (message(b"R", struct.pack("!I", 10) + b"PLAIN\0\0"), b""), (b"E" + b"\xff" * 4 + b"x" * 9999, b""),
    (WELCOME, b"\0" * 100), (WELCOME, message(b"Z", b"I") * 3), (WELCOME, message(b"G", b"\0\0\0")), (WELCOME, message(b"H", b"\0\0\0")),
    (WELCOME, b"D" + struct.pack("!I", 0x7FFFFFFF) + b"x" * 100_000), (WELCOME, MANY + message(b"C", b"SET\0") + message(b"Z", b"I")),
    (WELCOME, COLUMN + message(b"D", struct.pack("!HI", 1, 5) + b"maybe") + message(b"C", b"SELECT 1\0") + message(b"Z", b"I")),
    (WELCOME, COLUMN + message(b"D", struct.pack("!HI", 1, 1) + b"t") + message(b"C", b"SELECT 1\0") + message(b"Z", b"I")),
    (WELCOME, COLUMN + message(b"D", struct.pack("!HI", 9, 1) + b"t") + message(b"C", b"SELECT 1\0")),
    (WELCOME, message(b"E", b"SERROR\0C22P05\0Mno\0\0") + message(b"Z", b"I")), (WELCOME, message(b"C", b"SET\0") * 1000),
]


@case("jwt-postgres-nonsense")
def nonsense(context):
    """Answers that are no answers end the connection to the store, or wait for its deadline, and cost nobody anything else."""
    need()
    served, stop = [], threading.Event()

    def talk(connection, greeting, answer):
        with connection:
            connection.settimeout(3)
            try:
                # The wish for TLS is refused; then comes the greeting proper.
                if connection.recv(4096)[4:8] == struct.pack("!I", 80877103):
                    connection.sendall(b"N")
                    connection.recv(4096)
                connection.sendall(greeting)
                while answer and connection.recv(65536):
                    connection.sendall(answer)
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        def babble():
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                greeting, answer = NONSENSE[len(served) % len(NONSENSE)]
                served.append(time.monotonic())
                threading.Thread(target=talk, args=(connection, greeting, answer), daemon=True).start()
        threading.Thread(target=babble, daemon=True).start()
        issuer, upstream = Issuer(context), Upstream(context)
        address = f"postgres://u:p@127.0.0.1:{listener.getsockname()[1]}/x"
        # Several, since each waits longer from attempt to attempt.
        instances = [Member(context, issuer, upstream, address, up=False) for _ in range(4)]
        instance = instances[0]
        with instance.open(issuer.token(sub="live")) as client:
            before, slowest = [one.server.resident_bytes() for one in instances], 0.0

            def asked():
                nonlocal slowest
                began = time.monotonic()
                client.send("x")
                equal(client.recv(timeout=5), "x", "an echo")
                slowest = max(slowest, time.monotonic() - began)
                return len(served) > len(NONSENSE)
            eventually(asked, "every answer was given", 120)
            token = issuer.token(sub="s", jti="j")
            with instance.open(token) as other:
                check(instance.revoke(sub="s", jti="j")[0] in (200, 500), "a revocation")
                equal(ending(other), (4401, "token revoked"), "the session")
        grown = max(one.server.resident_bytes() - former for one, former in zip(instances, before))
        check(grown < 32 << 20, "memory that nonsense takes", grown)
        check(slowest < 1, "an echo waited for the store", slowest)
        context.note(f"{len(served)} connections, {grown >> 10} KiB more, slowest echo {slowest * 1000:.1f} ms")
        stop.set()
