"""The admin interface: who may use it, what it tells, what it does; `sluice top` on it."""
import fcntl
import http.client
import json
import os
import pty
import select
import socket
import struct
import subprocess
import termios
import threading

import services
from harness import case, check, equal, eventually, gateway_environment, raise_descriptor_limit
from rawsocket import BINARY, Peer, frame, tcp, upgrade

TOKEN = "a-token-of-the-admin-tests-0123456789"
SESSION_SECRET = "session-secret-that-never-shows"
RELAY_KEY = "relay-key-that-never-shows"


class Admin:
    """The admin interface of a server, by its own port."""

    def __init__(self, server, token=None):
        self.token, self.server = token, server
        record = eventually(lambda: next((r for r in server.records() if r["msg"] == "listening" and r["name"] == "admin"), None),
                            "the admin interface listens")
        self.port = record["port"]

    def ask(self, method, path, body=None, headers=None, authorized=True):
        """Returns (status, headers, body as text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = dict(headers or {})
        if self.token and authorized:
            headers["Authorization"] = "Bearer " + self.token
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()

    def get(self, path):
        status, _, body = self.ask("GET", path)
        equal(status, 200, f"GET {path} {body}")
        return json.loads(body)


def with_admin(context, arguments=(), token=TOKEN, **environment):
    if token:
        environment["SLUICE_ADMIN_TOKEN"] = token
    server = context.server(arguments, SLUICE_ADMIN_ADDRESS="127.0.0.1:0", **environment)
    return server, Admin(server, token)


@case("admin-access")
def access(context):
    """Token or loopback; a page in a browser on this machine has neither."""
    server, admin = with_admin(context)
    equal(admin.ask("GET", "/config")[0], 200, "with the token")
    for wrong in ({}, {"Authorization": "Bearer " + TOKEN[:-1]}, {"Authorization": "Bearer " + TOKEN + "x"}, {"Authorization": TOKEN},
                  {"Authorization": "Basic " + TOKEN}, {"Authorization": "Bearer"}):
        for method, path in (("GET", "/config"), ("GET", "/metrics"), ("POST", "/reload"), ("POST", "/drain"), ("GET", "/nowhere")):
            status, headers, body = admin.ask(method, path, headers=wrong, authorized=False)
            equal((status, headers["WWW-Authenticate"]), (401, "Bearer"), f"{method} {path} with {wrong}")
    equal(admin.ask("GET", "/healthz", authorized=False)[0], 200, "a probe without the token")
    equal(admin.ask("GET", "/nowhere")[0], 404, "an unknown resource")
    status, headers, _ = admin.ask("DELETE", "/config")
    equal((status, headers["Allow"]), (405, "GET"), "a wrong method")
    equal(admin.ask("GET", "/connections?limit=0")[0], 400, "a limit out of range")
    equal(admin.ask("GET", "/connections?limt=1")[0], 400, "an unknown parameter")
    equal(admin.ask("HEAD", "/config")[2], "", "HEAD has no body")
    # The gateway's own paths are not served here, nor the admin's on the gateway.
    equal(admin.ask("POST", "/session")[0], 404, "a session at the admin interface")
    equal(server.request("GET", "/config", {"Authorization": "Bearer " + TOKEN})[0].status, 404, "/config at the gateway")

    _, open_admin = with_admin(context, token=None)
    equal(open_admin.ask("GET", "/config")[0], 200, "without a token from this machine")
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Host": "evil.example:9901"},
                    {"Host": "127.0.0.1.evil.example"}, {"Host": "10.0.0.1"}, {"Sec-Fetch-Site": "cross-site"}):
        for method, path in (("GET", "/config"), ("POST", "/reload"), ("POST", "/drain")):
            equal(open_admin.ask(method, path, headers=headers)[0], 403, f"{method} {path} with {headers}")
    for host in ("localhost", "localhost:9901", "127.0.0.1", "[::1]:9901"):
        equal(open_admin.ask("GET", "/config", headers={"Host": host})[0], 200, f"Host {host}")


@case("admin-refused-configuration")
def refused(context):
    """An admin interface that others can reach needs a token."""
    for environment, words in (({"SLUICE_ADMIN_ADDRESS": "0.0.0.0:9901"}, "SLUICE_ADMIN_TOKEN_FILE"),
                               ({"SLUICE_ADMIN_ADDRESS": "[::]:9901"}, "can be reached from other machines"),
                               ({"SLUICE_ADMIN_ADDRESS": "0.0.0.0:9901", "SLUICE_ADMIN_TOKEN": "short"}, "shorter than 16")):
        done = subprocess.run([str(context.binary), "check"], env=gateway_environment(environment), capture_output=True, text=True)
        equal(done.returncode, 2, f"sluice check with {environment}")
        check(words in done.stderr, f"the remedy for {environment}", done.stderr)
    done = subprocess.run([str(context.binary), "check"], env=gateway_environment(
        {"SLUICE_ADMIN_ADDRESS": "0.0.0.0:9901", "SLUICE_ADMIN_TOKEN": TOKEN}), capture_output=True, text=True)
    equal(done.returncode, 0, f"with a token {done.stderr}")
    check(TOKEN not in done.stdout, "the token is masked")


@case("admin-malformed")
def malformed(context):
    """What is not HTTP gets an answer and the connection its end, and the next client is served."""
    server, admin = with_admin(context)
    for request, status in ((b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                            (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505), (b"\x00\x01\x02\r\n\r\n", 400),
                            (b"PUT /log-level HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
                            (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
                            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100000 + b"\r\n\r\n", 431)):
        peer = Peer(socket.create_connection(("127.0.0.1", admin.port), 10))
        peer.send(request)
        found, _, body = peer.response()
        equal(found, status, f"{request[:60]}: {body}")
        peer.expect_end()
    equal(admin.ask("GET", "/healthz")[0], 200, "the next client")


@case("admin-connections")
def connections(context):
    """Live connections over all shards, with what they carried; one can be closed."""
    server, admin = with_admin(context)
    echo = services.start(context, "echo")
    cookie, other = server.session(), server.session()
    peers = [upgrade(server, tcp(echo), cookie if number % 2 else other) for number in range(20)]
    for number, peer in enumerate(peers):
        payload = bytes(100 * (number + 1))
        peer.send(frame(BINARY, payload))
        peer.exactly(len(payload))
    found = admin.get("/connections")
    equal((found["total"], len(found["connections"])), (20, 20), "connections")
    equal([entry["bytesFromClient"] for entry in found["connections"]], [100 * n for n in range(20, 0, -1)], "biggest first")
    first = found["connections"][0]
    equal((first["bytesToClient"], first["target"], first["client"], first["feature"], first["phase"]),
          (2000, f"127.0.0.1:{echo}", "127.0.0.1", "tcp", "open"), "an entry")
    check(first["ageMs"] >= 0 and first["quietMs"] >= 0 and first["peer"].startswith("127.0.0.1:"), "its times and peer", first)
    page = admin.get("/connections?limit=5&offset=5")
    equal([entry["id"] for entry in page["connections"]], [entry["id"] for entry in found["connections"][5:10]], "the second page")
    equal(admin.get("/connections?session=" + first["session"])["total"], 10, "connections of one session")
    equal(admin.get("/connections?feature=none")["total"], 0, "connections of no feature")
    ages = [entry["ageMs"] for entry in admin.get("/connections?sort=age")["connections"]]
    equal(ages, sorted(ages, reverse=True), "oldest first")
    equal(admin.ask("DELETE", "/connections/" + first["id"])[0], 200, "closing the biggest")
    equal(peers[19].until_close()[0], 1001, "its Close frame")
    equal(admin.ask("DELETE", "/connections/" + first["id"])[0], 404, "closing it again")
    equal(admin.ask("DELETE", "/connections/99-1-1")[0], 404, "closing one of no shard")
    equal(admin.get("/connections")["total"], 19, "one fewer")
    shards = admin.get("/shards")["shards"]
    check(sum(shard["accepted"] for shard in shards) >= 20 and sum(shard["slotsUsed"] for shard in shards) >= 38, "shards", shards)
    # Many questions at once, of all shards to all shards.
    failures = []

    def hammer():
        try:
            for _ in range(50):
                equal(admin.get("/connections?limit=1")["total"], 19, "under load")
        except BaseException as error:
            failures.append(repr(error))
    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(failures[:1], [], "questions at once")


@case("admin-many-connections")
def many(context):
    """More connections than a shard looks at in one turn: each is told once, in one order over all shards."""
    raise_descriptor_limit()
    server, admin = with_admin(context)
    cookie, count = server.session(), 1500
    extra = [("Sec-WebSocket-Protocol", "aero-tcp-mux-v1")]
    peers = [upgrade(server, "/tcp-mux", cookie, extra=extra) for _ in range(count)]
    for number, peer in enumerate(peers[::100]):
        peer.send(frame(BINARY, b"\5" + bytes(4) + struct.pack(">I", 200 * number) + bytes(200 * number)))
    found = eventually(lambda: (page := admin.get("/connections?limit=1000"))["connections"][0]["bytesFromClient"] > 2800 and page,
                       "the pings have arrived")
    equal((found["total"], len(found["connections"])), (count, 1000), "connections and the longest page")
    rest = admin.get("/connections?limit=1000&offset=1000")["connections"]
    equal(len(rest), count - 1000, "the last page")
    # A Pong may not have left yet when its connection is told.
    ordered = [entry["bytesFromClient"] + entry["bytesToClient"] for entry in found["connections"]]
    equal(ordered, sorted(ordered, reverse=True), "biggest first, over all shards")
    ages = [entry for offset in (0, 1000) for entry in admin.get(f"/connections?sort=age&limit=1000&offset={offset}")["connections"]]
    equal(len({entry["id"] for entry in ages}), count, "each is told once")
    equal({entry["id"].split("-")[0] for entry in ages} > {"0"}, True, "of more than one shard")
    for peer in peers:
        peer.close()
    eventually(lambda: admin.get("/connections")["total"] == 0, "none is left")


@case("admin-masks-secrets")
def masks(context):
    """The configuration in force, and nowhere a secret."""
    path = context.folder / "sluice.yaml"
    path.write_text("tcp: { max_message: 64KiB }\n")
    server, admin = with_admin(context, ["--config", str(path)], SESSION_SECRET=SESSION_SECRET, UDP_RELAY_API_KEY=RELAY_KEY,
                               UDP_RELAY_BASE_URL="https://relay.example", UDP_RELAY_AUTH_MODE="api_key", LOG_LEVEL="trace")
    found = admin.get("/config")
    equal((found["generation"], found["values"]["tcp.max_message"], found["values"]["sessions.secret"], found["values"]["admin.token"]),
          (1, "64KiB", "***", "***"), "the configuration")
    check(found["sources"]["tcp.max_message"].endswith("sluice.yaml:1"), "where a value comes from", found["sources"])
    equal([entry["serves"] for entry in found["listeners"]], ["gateway", "admin"], "listeners")
    status, headers, yaml = admin.ask("GET", "/config?format=yaml")
    check(status == 200 and "max_message: 64KiB" in yaml, "as a file", yaml[:200])
    path.write_text("tcp: { max_mesage: 1 }\n")
    equal(admin.ask("POST", "/reload")[0], 422, "a bad reload")
    everything = "".join(admin.ask("GET", path)[2] for path in
                         ("/", "/config", "/config?format=yaml", "/reload", "/shards", "/connections", "/metrics"))
    everything += server.log_path.read_text() + server.error_path.read_text()
    for secret in (SESSION_SECRET, RELAY_KEY, TOKEN):
        check(secret not in everything, "a secret shows", secret)


@case("admin-commands")
def commands(context):
    """Reload, log level and drain."""
    path = context.folder / "sluice.yaml"
    path.write_text("tcp: { max_message: 64KiB }\n")
    server, admin = with_admin(context, ["--config", str(path)])
    path.write_text("tcp: { max_message: 32KiB }\nshards: 9\n")
    status, _, body = admin.ask("POST", "/reload")
    answer = json.loads(body)
    equal((status, answer["changed"], answer["needingRestart"]), (200, ["tcp.max_message"], ["shards"]), "a reload")
    equal(admin.get("/config")["generation"], 2, "its generation")
    path.write_text("tcp: { max_mesage: 1 }\n")
    status, _, body = admin.ask("POST", "/reload")
    equal(status, 422, "a bad file")
    check("sluice.yaml:1:8: tcp.max_mesage" in json.loads(body)["faults"][0], "its fault", body)
    found = admin.get("/reload")
    equal((found["applied"], found["refused"], found["lastSucceeded"]), (1, 1, False), "how reloads went")
    check("max_mesage" in found["lastFaults"][0], "the last fault", found)

    equal(admin.ask("PUT", "/log-level", "loud")[0], 400, "an unknown level")
    equal(json.loads(admin.ask("PUT", "/log-level", "warn")[2]), {"level": "warn", "former": "info"}, "a level")
    server.request("GET", "/version", {"X-Request-Id": "quiet"})
    equal(json.loads(admin.ask("PUT", "/log-level", "debug\n")[2])["former"], "warn", "back")
    server.request("GET", "/version", {"X-Request-Id": "loud"})
    eventually(lambda: [r for r in server.records() if r.get("reqId") == "loud" and r["msg"] == "request started"], "a debug record")
    equal([r for r in server.records() if r.get("reqId") == "quiet"], [], "records below the level")

    echo = services.start(context, "echo")
    peer = upgrade(server, tcp(echo), server.session())
    equal(admin.ask("POST", "/drain")[0], 202, "drain")
    equal(peer.until_close()[0], 1001, "the Close frame of a drain")
    peer.close()
    equal(server.process.wait(10), 0, "exit status after a drain")


@case("top-once")
def top(context):
    """`sluice top` prints one snapshot when it is not on a terminal, and draws on one until `q`."""
    server, admin = with_admin(context)
    echo = services.start(context, "echo")
    peer = upgrade(server, tcp(echo), server.session())
    payload = bytes(3 << 10)
    peer.send(frame(BINARY, payload))
    peer.exactly(len(payload))
    token = context.folder / "token"
    token.write_text(TOKEN + "\n")
    command = [str(context.binary), "top", "--admin", f"http://127.0.0.1:{admin.port}", "--token-file", str(token)]
    done = subprocess.run(command + ["--once"], capture_output=True, text=True, timeout=20)
    equal((done.returncode, done.stderr), (0, ""), "status")
    for words in ("ready", "websockets 1", "shard", f"127.0.0.1:{echo}", "3.0 KiB", "biggest connections of 1"):
        check(words in done.stdout, f"the snapshot has {words!r}", done.stdout)
    check("\x1b" not in done.stdout, "plain text", done.stdout)
    refused = subprocess.run(command[:4] + ["--once"], capture_output=True, text=True, timeout=20, env=gateway_environment({}))
    equal(refused.returncode, 1, "without the token")
    check("--token-file" in refused.stderr, "the remedy", refused.stderr)
    drawn = on_terminal(command)
    check("\x1b[?1049h" in drawn and "\x1b[?1049l" in drawn, "the alternate screen, and back", drawn[-80:])
    check("websockets" in drawn and "q quit" in drawn, "the live view", drawn[:400])


def on_terminal(command):
    """What a command draws on a terminal of 100 by 30 until it gets a `q`."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    drawn, pressed = b"", False
    try:
        while True:
            ready, _, _ = select.select([master], [], [], 10)
            check(ready, "the view is drawn", drawn[-200:])
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            if not data:
                break
            drawn += data
            # The second frame has rates.
            if not pressed and drawn.count(b"\x1b[H") >= 2:
                os.write(master, b"q")
                pressed = True
        equal(process.wait(10), 0, "status of a view that was quit")
    finally:
        process.kill()
        os.close(master)
    return drawn.decode(errors="replace")
