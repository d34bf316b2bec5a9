"""Reload: a changed file, SIGHUP and a ConfigMap put a configuration in force, and no connection notices."""
import os
import signal
import socket
import threading
import time

import services
from harness import check, case, equal, eventually
from rawsocket import BINARY, CLOSE, frame, head, open_peer, refusal, tcp, upgrade

ROUNDS = 100
LIVE = 40
# What a hundred reloads may leave behind: the allocator's slack, not a leak of a snapshot (a few hundred KiB each round).
GROWTH_BYTES = 8 << 20
RELOADED = "configuration reloaded"


def write(path, text):
    """Replaces a file as editors and deployments do: whole, by renaming."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.rename(path)


def reloads(server):
    return [record for record in server.records() if record["msg"].startswith(RELOADED)]


def await_reload(server, count, seconds=10):
    return eventually(lambda: (found := reloads(server)) and len(found) >= count and found[-1], f"reload number {count}", seconds)


def configured(context, text, **environment):
    path = context.folder / "sluice.yaml"
    write(path, text)
    return path, context.server(["--config", str(path)], **environment)


def exchange(peer, number):
    payload = f"message {number}".encode()
    peer.send(frame(BINARY, payload))
    return peer.exactly(len(payload)) == payload


@case("reload-under-load", slow=True)
def under_load(context):
    """A hundred reloads with unrelated changes, while WebSockets talk and others open and close."""
    path, server = configured(context, "log: { level: info }\n")
    echo = services.start(context, "echo")
    cookies = [server.session() for _ in range(8)]
    live = [upgrade(server, tcp(echo), cookies[number % len(cookies)]) for number in range(LIVE)]
    descriptors = server.settled_descriptors()
    stop, failures, opened = threading.Event(), [], [0]

    def talk():
        number = 0
        while not stop.is_set():
            for peer in live:
                number += 1
                if not exchange(peer, number):
                    failures.append("a live WebSocket lost bytes")

    def churn():
        while not stop.is_set():
            peer = upgrade(server, tcp(echo), cookies[opened[0] % len(cookies)])
            if not exchange(peer, opened[0]):
                failures.append("a new WebSocket lost bytes")
            peer.send(frame(CLOSE, b"\x03\xe8"))
            peer.until_close()
            peer.close()
            opened[0] += 1

    def guarded(work):
        def body():
            try:
                work()
            except BaseException as error:
                failures.append(repr(error))
        return body

    threads = [threading.Thread(target=guarded(work)) for work in (talk, churn, churn)]
    for thread in threads:
        thread.start()
    resident = 0
    for number in range(1, ROUNDS + 1):
        write(path, f"log: {{ level: info }}\ntcp: {{ idle_timeout: {300 + number}s }}\nhttp: {{ idle_timeout: {60 + number % 7}s }}\n")
        server.signal(signal.SIGHUP)
        await_reload(server, number)
        if number == 20:
            resident = server.resident_bytes()
    stop.set()
    for thread in threads:
        thread.join()
    equal(failures[:3], [], "failures under reload")
    grown = server.resident_bytes() - resident
    check(grown < GROWTH_BYTES, "memory grown from reload 20 to 100", grown)
    check(all(exchange(peer, 0) for peer in live), "the connections of the beginning still talk")
    eventually(lambda: server.settled_descriptors() == descriptors, "descriptors back to where they were", 15)
    durations = sorted(record["durationMs"] for record in reloads(server))
    context.note(f"{ROUNDS} reloads, median {durations[len(durations) // 2]} ms, longest {durations[-1]} ms; {LIVE} WebSockets talked on, "
                 f"{opened[0]} came and went; memory {grown >> 10:+} KiB")


@case("reload-bad-file")
def bad_file(context):
    """A file with faults changes nothing; its faults are in the log as `sluice check` prints them."""
    path, server = configured(context, "tcp: { max_message: 64KiB }\n")
    echo = services.start(context, "echo")
    peer = upgrade(server, tcp(echo), server.session())
    write(path, "tcp:\n  max_mesage: 1KiB\n  idle_timeout: soon\n")
    server.signal(signal.SIGHUP)
    eventually(lambda: any("stays in force" in record["msg"] for record in server.records()), "the refusal is in the log")
    faults = [record["msg"] for record in server.records() if record["msg"].startswith("Invalid configuration: ")]
    equal(len(faults), 2, f"faults {faults}")
    check("sluice.yaml:2:3: tcp.max_mesage: unknown key; did you mean `tcp.max_message`?" in faults[0], "the first fault", faults)
    check(exchange(peer, 1), "the live WebSocket goes on")
    check(exchange(upgrade(server, tcp(echo), server.session()), 2), "a new one opens")
    metrics, _ = server.metrics()
    equal(metrics['sluice_reloads_total{outcome="refused"}'], 1, "refused reloads")
    equal(metrics["sluice_reload_last_succeeded"], 0, "the gauge of the last reload")
    write(path, "tcp: { max_message: 1KiB }\n")
    await_reload(server, 1)
    equal(server.metrics()[0]["sluice_reload_last_succeeded"], 1, "the gauge after a good file")


@case("reload-rules-of-a-connection")
def rules(context):
    """A connection keeps the rules it was opened under; the next one has the new."""
    path, server = configured(context, "tcp: { max_message: 2KiB }\nlog: { level: info }\n")
    echo = services.start(context, "echo")
    cookie = server.session()
    old = upgrade(server, tcp(echo), cookie)
    write(path, "tcp: { max_message: 1KiB, blocked_hosts: [blocked.example] }\n")
    record = await_reload(server, 1)
    equal((record["changed"], record["trigger"]), ("tcp.blocked_hosts, tcp.max_message", "file"), "the record of the reload")
    new = upgrade(server, tcp(echo), cookie)
    payload = bytes(1500)
    old.send(frame(BINARY, payload))
    equal(old.exactly(len(payload)), payload, "1,500 bytes on the old connection")
    new.send(frame(BINARY, payload))
    equal(new.until_close()[0], 1009, "1,500 bytes on the new connection")
    equal(refusal(server, head("/tcp?v=1&host=blocked.example&port=80", cookie))[0], 403, "a host that is blocked now")
    # A quota counts what was opened before the reload, too.
    write(path, "tcp: { max_connections: 1 }\n")
    await_reload(server, 2)
    equal(refusal(server, head(tcp(echo), cookie))[0], 429, "a second connection of the session")


@case("reload-listeners")
def listeners(context):
    """Listeners come and go; connections of a closed one live on, and one that stays loses nothing."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        one, two = first.getsockname()[1], second.getsockname()[1]
    base = f"  - {{ name: public, address: \"127.0.0.1:{one}\" }}\n"
    extra = f"  - {{ name: extra, address: \"127.0.0.1:{two}\", features: [sessions, tcp] }}\n"
    path, server = configured(context, "listeners:\n" + base, PORT=one)
    echo = services.start(context, "echo")
    cookie = server.session()
    check(refused_connection(two), "nothing listens on the second port")
    write(path, "listeners:\n" + base + extra)
    await_reload(server, 1)
    server.address = ("127.0.0.1", two)
    peer, idle = upgrade(server, tcp(echo), cookie), open_peer(server)
    idle.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    equal(idle.response()[0], 200, "a request on the new listener")
    write(path, "listeners:\n" + base)
    await_reload(server, 2)
    eventually(lambda: refused_connection(two), "the second listener is closed")
    check(exchange(peer, 1), "the WebSocket of the closed listener talks on")
    idle.send(b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    equal(idle.response()[0], 201, "a kept connection of the closed listener is served as before")
    server.address = ("127.0.0.1", one)
    # The listener that stays answers while others come and go.
    stop, failures, count = threading.Event(), [], [0]

    def connect():
        while not stop.is_set():
            try:
                equal(server.request("GET", "/healthz")[0].status, 200, "a request")
                count[0] += 1
            except BaseException as error:
                failures.append(repr(error))
    worker = threading.Thread(target=connect)
    worker.start()
    for number in range(20):
        write(path, "listeners:\n" + base + (extra if number % 2 == 0 else ""))
        server.signal(signal.SIGHUP)
        await_reload(server, 3 + number)
    stop.set()
    worker.join()
    equal(failures[:2], [], "refused connections on the listener that stays")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write(path, "listeners:\n" + base + f"  - {{ name: taken, address: \"127.0.0.1:{taken.getsockname()[1]}\" }}\n")
        server.signal(signal.SIGHUP)
        eventually(lambda: any("the port is taken" in record["msg"] for record in server.records()), "a taken port is refused")
    context.note(f"{count[0]} connections while listeners came and went")


@case("reload-storm")
def storm(context):
    """Signals as fast as they come, each with all other listeners: no place of a listener that still closes is given twice, no port
    of one is found taken, and the end of the process in the midst of it is a clean one."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(57)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()

    def listening(chosen):
        return "listeners:\n" + "".join(f"  - {{ name: l{port}, address: \"127.0.0.1:{port}\" }}\n" for port in chosen)

    public, sides = ports[:1], (ports[1:29], ports[29:])
    path, server = configured(context, listening(public + sides[0]), PORT=public[0])
    echo = services.start(context, "echo")
    peer = upgrade(server, tcp(echo), server.session())
    for number in range(40):
        write(path, listening(public + sides[number % 2]))
        server.signal(signal.SIGHUP)
        time.sleep(0.001 * (number % 7))
    write(path, listening(public + sides[1]))
    server.signal(signal.SIGHUP)
    eventually(lambda: all(refused_connection(port) for port in sides[0]) and not any(refused_connection(port) for port in sides[1]),
               "the last configuration is in force", 20)
    check(exchange(peer, 1), "a live WebSocket did not notice")
    problems = [record["msg"] for record in server.records() if record["level"] >= 50]
    equal(problems, [], "nothing was refused")
    context.note(f"{len(reloads(server))} reloads")
    for number in range(6):
        write(path, listening(public + sides[number % 2]))
        server.signal(signal.SIGHUP)
    server.signal(signal.SIGTERM)
    equal(peer.until_close()[0], 1001, "the WebSocket is told")
    peer.close()
    equal(server.process.wait(10), 0, "exit status")


def refused_connection(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
        return False
    except ConnectionRefusedError:
        return True


@case("reload-config-map")
def config_map(context):
    """A mounted ConfigMap changes by the exchange of its `..data` link; the level and shape of the log follow."""
    mount = context.folder / "mount"
    mount.mkdir()

    def publish(name, text):
        (mount / name).mkdir()
        (mount / name / "sluice.yaml").write_text(text)
        os.symlink(name, mount / "..data_tmp")
        os.rename(mount / "..data_tmp", mount / "..data")
    publish("..one", "log: { level: info }\n")
    os.symlink("..data/sluice.yaml", mount / "sluice.yaml")
    environment = {"LOG_LEVEL": ""}
    server = context.server(["--config", str(mount / "sluice.yaml")], **environment)
    equal(server.request("GET", "/healthz")[0].status, 200, "a request")
    eventually(lambda: [record for record in server.records() if record["msg"] == "request"], "its record")
    publish("..two", "log: { level: warn }\nshards: 7\n")
    eventually(lambda: any("a restart is needed to change shards" in record["msg"] for record in server.records()), "the warning")
    time.sleep(0.2)
    before = len(server.records())
    equal(server.request("GET", "/healthz")[0].status, 200, "a request at level warn")
    publish("..three", "log: { level: info, format: text }\n")
    eventually(lambda: b" INFO  configuration reloaded trigger=\"file\" changed=" in server.log_path.read_bytes(), "a record in the new shape")
    equal(len([r for r in server.records()[before:] if r["msg"] == "request"]), 0, "records below the level")


@case("reload-secret")
def secret(context):
    """A generated session secret survives a reload; a mounted one that changes ends the sessions signed with the old."""
    server = context.server(SESSION_SECRET="")
    cookie = server.session()
    server.signal(signal.SIGHUP)
    await_reload(server, 1)
    echo = services.start(context, "echo")
    check(exchange(upgrade(server, tcp(echo), cookie), 1), "a session from before the reload")
    path = context.folder / "secret"
    write(path, "the first secret of this test\n")
    mounted = context.server(SESSION_SECRET="", SESSION_SECRET_FILE=str(path))
    cookie = mounted.session()
    write(path, "the second secret of this test\n")
    record = await_reload(mounted, 1)
    equal(record["changed"], "sessions.secret", "what changed")
    equal(refusal(mounted, head(tcp(echo), cookie)), (401, "Unauthorized"), "a session of the old secret")
    check(b"secret of this test" not in mounted.log_path.read_bytes(), "no secret in the log")


@case("reload-retried")
def retried(context):
    """What a refused reload lacked comes without a watched file being touched: it is put in force all the same, and told once."""
    path, server = configured(context, "log: { level: info }\n")
    blocker = socket.socket()
    blocker.bind(("127.0.0.1", 0))
    blocker.listen()
    taken = blocker.getsockname()[1]
    listeners = f'listeners: [{{ name: public, address: "127.0.0.1:{server.port}" }}, {{ name: second, address: "127.0.0.1:{taken}" }}]'
    write(path, listeners + "\n")
    refused = lambda: [record for record in server.records() if "stays in force" in record["msg"]]
    eventually(refused, "the reload is refused: the port is taken")
    # Long enough for another attempt that is refused for the same reason.
    time.sleep(1.5)
    equal((len(refused()), server.metrics()[0]['sluice_reloads_total{outcome="refused"}']), (1, 1), "refusals told and counted")
    blocker.close()
    await_reload(server, 1, 20)
    equal(socket.create_connection(("127.0.0.1", taken), 5).close(), None, "the second listener")
    # A file that only the new configuration names, and that is mounted after it.
    secret = context.folder / "admin-token"
    write(path, listeners + f'\nadmin: {{ address: "127.0.0.1:0", token_file: {secret} }}\n')
    eventually(lambda: len(refused()) == 2, "the reload is refused: there is no such file")
    write(secret, "a-token-that-is-long-enough-to-be-one")
    await_reload(server, 2, 20)
    equal(server.metrics()[0]["sluice_reload_last_succeeded"], 1, "the gauge of the last reload")


@case("reload-authorities-dns")
def authorities_of_resolvers(context):
    """An exchanged file of authorities is taken without a restart: a resolver nobody vouched for answers."""
    from cases_dns import Asker, Scripted, certificate, query
    good, other = certificate(context.folder, "127.0.0.1"), certificate(context.folder, "elsewhere.test")
    upstream = Scripted(context, certificate=good)
    bundle = context.folder / "authorities.pem"
    write(bundle, other[0].read_text())
    path, server = configured(context, f"shards: 1\ndns: {{ upstream_ca: {bundle} }}\n", DNS_UPSTREAMS=upstream.url, DNS_QPS_PER_IP="0")
    equal(Asker(server).ask(query("a.test"))[3] & 15, 2, "a certificate nobody vouches for")
    write(bundle, good[0].read_text() + other[0].read_text())
    equal(await_reload(server, 1).get("changed"), "dns.upstream_ca", "what is told of it")
    equal(Asker(server).ask(query("b.test"))[-4:], b"\xc0\0\2\1", "an answer once somebody does")
    # One that is no certificate is refused, and the former goes on.
    write(bundle, "no certificate")
    eventually(lambda: any("stays in force" in record["msg"] for record in server.records()), "junk is refused")
    faults = [record["msg"] for record in server.records() if record["msg"].startswith("Invalid configuration: ")]
    check(any(str(bundle) in fault and "dns.upstream_ca" in fault for fault in faults), "the fault names file and key", faults)
    equal(Asker(server).ask(query("c.test"))[-4:], b"\xc0\0\2\1", "the former authorities go on")


@case("reload-authorities-redis")
def authorities_of_redis(context):
    """The same for Redis behind TLS: limits are shared once its authority is known."""
    from cases_shared import Redis, await_connected, sample
    from secure import LOCAL, certificate
    chain, key = certificate(context.folder, "redis", LOCAL)
    stranger, _ = certificate(context.folder, "stranger", ["DNS:stranger.test"])
    redis = Redis(context)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    redis.command("CONFIG", "SET", "tls-port", port, "tls-cert-file", chain, "tls-key-file", key, "tls-ca-cert-file", chain,
                  "tls-auth-clients", "no")
    bundle = context.folder / "authorities.pem"
    write(bundle, stranger.read_text())
    path, server = configured(context, f"redis: {{ url: 'rediss://127.0.0.1:{port}/0', authorities: '{bundle}' }}\n")
    eventually(lambda: any("certificate" in record.get("reason", "") for record in server.records()), "nobody vouches for it")
    equal(sample(server, "sluice_shared_connected"), 0, "connected without a known authority")
    write(bundle, chain.read_text())
    await_reload(server, 1)
    await_connected(server)
