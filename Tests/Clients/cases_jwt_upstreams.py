"""The JWT proxy's upstreams that fail, by every step of a dial, and what changes under live sessions."""
import socket
import ssl
import struct
import threading
import time

import mqtt
import secure
from cases_jwt import native, need
from handshakes import Opened, Peer, RawUpstream, Stream, session
from harness import check, case, equal, eventually
from rawsocket import BINARY, CLOSE, frame
from services import websocket_echo

try:
    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: %s, upstreams: [{ url: "%s" }]%s }'
REST = """  limits: { handshakes_per_second: 0, handshakes_per_ip: 10000, connections_per_ip: 0, failures_per_minute: 0,
            sessions_per_subject: 0 }
  dial: { attempts: 1, connect: 400ms, tls: 400ms, handshake: 400ms, deadline: 5s }
  breaker: { failures: 1000 }
"""


def answering(context, text, pause=0.0):
    """An upstream that answers with these bytes, whatever it is asked; byte by byte with a pause between. Its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    context.defer(listener.close)

    def answer(connection):
        try:
            connection.recv(65536)
            for piece in ([text] if not pause else [text[at:at + 1] for at in range(len(text))]):
                connection.sendall(piece)
                time.sleep(pause)
            connection.settimeout(20)
            connection.recv(65536)
        except OSError:
            pass
        connection.close()

    def run():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()
    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def blackhole(context):
    """A port whose queue of connections is full: whoever connects hears nothing."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    context.defer(listener.close)
    for _ in range(2):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        context.defer(filler.close)
    return listener.getsockname()[1]


def unused():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def server_side(chain, key, authorities=None):
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(chain, key)
    if authorities:
        found.verify_mode = ssl.CERT_REQUIRED
        found.load_verify_locations(authorities)
    return found


@case("jwt-dial-failures")
def dial_failures(context):
    """T20: an upstream that refuses, says nothing, says no, lies or trickles, as a status before the 101 and a close behind it."""
    need()
    issuer, good = Issuer(context, "ES256"), RawUpstream(context)
    head = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n"
    switch = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
    table = {
        "refused": (unused(), 502), "blackholed": (blackhole(context), 504), "silent": (answering(context, b""), 504),
        "forbidden": (answering(context, head % b"403 Forbidden"), 502), "broken": (answering(context, head % b"500 No"), 502),
        "ok": (answering(context, head % b"200 OK"), 502), "key": (answering(context, switch), 502),
        "ssh": (answering(context, b"SSH-2.0-OpenSSH_9.2\r\n"), 502), "trickle": (answering(context, switch, 0.1), 504),
        "redirect": (answering(context, head.replace(b"\r\n", b"\r\nLocation: ws://127.0.0.1:%d/\r\n" % good.port, 1) % b"302 Found"), 502),
        "relayed": (answering(context, head % b"403 Forbidden"), 403),
    }
    routes = [ROUTE % (name, name, "raw", f"ws://127.0.0.1:{port}/", ", relay_status: true" if name == "relayed" else "")
              for name, (port, _) in table.items()]
    routes += [ROUTE % ("m" + name, "m" + name, "mqtt", f"ws://127.0.0.1:{table[name][0]}/", "") for name in ("refused", "silent", "key")]
    server = native(context, issuer, "\n    - ".join(routes), rest=REST)
    token = issuer.token()
    for name, (_, status) in table.items():
        began = time.monotonic()
        opened = Opened(server.port, "/" + name, token)
        equal(opened.status, status, f"the upstream {name}")
        # Each step has 400 ms; the rest is a machine busy with something else.
        check(time.monotonic() - began < 2, f"the time of the upstream {name}", time.monotonic() - began)
        # What an upstream said is for the log.
        check("x-edge-error" in opened.fields and "OpenSSH" not in str(opened.fields), "fields of the answer", opened.fields)
        opened.socket.close()
    for name in ("refused", "silent", "key"):
        for level in (4, 5):
            opened = Opened(server.port, "/m" + name, fields=["Sec-WebSocket-Protocol: mqtt"])
            client = Peer(opened.socket, opened.rest)
            client.send(frame(BINARY, mqtt.connect(level, username="u", password=token)))
            code = b"\x20\x03\0\x88\0" if level == 5 else b"\x20\x02\0\x03"
            equal(client.frame(), (0x82, code), f"CONNACK: unavailable, {name}")
            first, payload = client.frame()
            equal((first, payload[:2]), (0x88, struct.pack(">H", 1014)), f"behind a 101, {name}")
            client.close()
    equal(good.heads, [], "upstreams nobody was sent to")
    # TCP is there at once, and TLS has the time of its own, whatever that of TCP is.
    hangs = ROUTE % ("hangs", "hangs", "raw", f"wss://127.0.0.1:{table['silent'][0]}/", "")
    server.end()
    slow = native(context, issuer, hangs, rest=REST.replace("connect: 400ms, tls: 400ms", "connect: 4s, tls: 1s"))
    began = time.monotonic()
    equal(Opened(slow.port, "/hangs", token).status, 504, "TLS that hangs")
    check(0.9 < time.monotonic() - began < 3, "the time of TLS", time.monotonic() - began)


@case("jwt-dial-tls")
def dial_tls(context):
    """T20: upstreams over TLS: verified by name and authority, and shown a certificate where they ask for one."""
    need()
    issuer = Issuer(context, "ES256")
    chain, key = secure.certificate(context.folder, "upstream", ["DNS:broker.example"])
    own, own_key = secure.certificate(context.folder, "own", ["DNS:gateway.example"])
    plain, strict = RawUpstream(context, security=server_side(chain, key)), RawUpstream(context, security=server_side(chain, key, own))
    named, shown = f"ca_file: {chain}, server_name: broker.example", f", cert_file: {own}, key_file: {own_key}"
    table = {
        "named": (plain.url, named, 101), "other": (plain.url, f"ca_file: {chain}, server_name: other.example", 502),
        "address": (plain.url, f"ca_file: {chain}", 502), "system": (plain.url, "server_name: broker.example", 502),
        "authority": (plain.url, f"ca_file: {own}, server_name: broker.example", 502), "unasked": (plain.url, named + shown, 101),
        "shown": (strict.url, named + shown, 101), "nothing": (strict.url, named, 502),
        "stranger": (strict.url, named + f", cert_file: {chain}, key_file: {key}", 502),
        "plaintext": (f"wss://127.0.0.1:{answering(context, b'HTTP/1.1 400 No TLS' + bytes(4))}/", named, 502),
        "newest": (plain.url, named + ', min_version: "1.3"', 101),
    }
    routes = [ROUTE % (name, name, "raw", url, f", tls: {{ {options} }}") for name, (url, options, _) in table.items()]
    server = native(context, issuer, "\n    - ".join(routes), rest=REST.replace("400ms", "3s"))
    for name, (_, _, status) in table.items():
        opened = Opened(server.port, "/" + name, issuer.token())
        equal(opened.status, status, f"the upstream {name}")
        if status == 101:
            client, above = Peer(opened.socket, opened.rest), (strict if name == "shown" else plain).take()
            data = frame(BINARY, b"x" * 100_000)
            client.send(data)
            check(above.raw(len(data)) == data, "a message over TLS")
            above.send(frame(BINARY, b"back", masked=False))
            equal(client.frame(), (0x82, b"back"), "and one back")
            above.close()
            client.close()
        opened.socket.close()


@case("jwt-endpoint-dies")
def endpoint_dies(context):
    """T22: of two endpoints one dies: its sessions are told, the other's live, and new ones go there at once."""
    need()
    issuer, first, second = Issuer(context, "ES256"), RawUpstream(context), RawUpstream(context)
    route = '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "%s" }, { url: "%s" }] }' % (first.url, second.url)
    server = native(context, issuer, route, rest=REST.replace("attempts: 1", "attempts: 3"))
    clients = [Opened(server.port, token=issuer.token()) for _ in range(8)]
    equal([client.status for client in clients], [101] * 8, "sessions")
    equal((len(first.heads), len(second.heads)), (4, 4), "the fewest sessions first")
    first.listener.shutdown(socket.SHUT_RDWR)
    first.listener.close()
    for _ in range(4):
        first.take().reset()
    ended = 0
    living = [second.take() for _ in range(4)]
    for above in living:
        above.send(frame(BINARY, b"alive", masked=False))
    for client in clients:
        opcode, payload = client.receive()
        check((opcode, payload) == (BINARY, b"alive") or (opcode, payload[:2]) == (CLOSE, struct.pack(">H", 1014)), "a session",
              opcode, payload)
        ended += opcode == CLOSE
    equal(ended, 4, "sessions of the endpoint that died")
    more = [Opened(server.port, token=issuer.token()) for _ in range(20)]
    equal([client.status for client in more], [101] * 20, "new sessions")
    for client in clients + more:
        client.socket.close()


@case("jwt-reload-load")
def reload_under_load(context):
    """T37: routes, providers and files of TLS change under live sessions and a stream of handshakes: nobody notices."""
    need()
    issuer = Issuer(context, "ES256")
    chain, key = secure.certificate(context.folder, "upstream", ["DNS:broker.example"])
    pairs = [secure.certificate(context.folder, name, ["DNS:gateway.example"]) for name in ("one", "two")]
    (context.folder / "known.crt").write_bytes(pairs[0][0].read_bytes() + pairs[1][0].read_bytes())
    upstream = RawUpstream(context, security=server_side(chain, key, context.folder / "known.crt"))
    own, own_key = context.folder / "own.crt", context.folder / "own.key"

    def install(pair):
        # As a mounted secret changes: both files are replaced, one after the other.
        for source, target in zip(pair, (own, own_key)):
            part = target.with_suffix(".part")
            part.write_bytes(source.read_bytes())
            part.rename(target)
    install(pairs[0])
    tls = f", tls: {{ ca_file: {chain}, server_name: broker.example, cert_file: {own}, key_file: {own_key} }}"
    routes = "\n    - ".join([ROUTE % ("raw", "ws", "raw", f"ws://127.0.0.1:{websocket_echo(context)}/", ""),
                              ROUTE % ("secure", "secure", "raw", upstream.url, tls)])
    server = native(context, issuer, routes, rest=REST.replace("400ms", "3s"))
    path = context.folder / "sluice.yaml"
    text = path.read_text()
    pairs_of_peers = [session(server, upstream, "/secure", issuer.token()) for _ in range(20)]
    with Stream(server.port, lambda number: issuer.token(sub=f"s{number % 50}", jti=f"j{number}"), rate=200, threads=3) as stream:
        text = text.replace("breaker:", "realm: other\n  breaker:")
        path.write_text(text)
        eventually(lambda: 'realm="other"' in Opened(server.port).fields.get("www-authenticate", ""), "another realm", 10)
        text = text.replace("  limits:", "    - " + ROUTE % ("more", "more", "raw", "ws://127.0.0.1:1/", "") + "\n  limits:", 1)
        path.write_text(text)
        eventually(lambda: Opened(server.port, "/more").status == 401, "another route", 10)
        text = text.replace("audiences: [rabbitmq]", "audiences: [rabbitmq, another]")
        path.write_text(text)
        eventually(lambda: Opened(server.port, token=issuer.token(aud="another")).status == 101, "another audience", 10)
        install(pairs[1])
        expected = ssl.PEM_cert_to_DER_cert(pairs[1][0].read_text())

        def shows_the_new():
            client, above = session(server, upstream, "/secure", issuer.token())
            found = above.socket.getpeercert(True)
            client.close()
            above.close()
            return found == expected
        eventually(shows_the_new, "the new certificate is shown to upstreams", 10)
        path.write_text(text.replace("prefix: /ws", "prefix: ws"))
        eventually(lambda: any("not reloaded" in str(record.get("msg")) for record in server.records()), "a faulty file is refused", 10)
        path.write_text(text)
        for number, (client, above) in enumerate(pairs_of_peers):
            client.send(frame(BINARY, b"%d" % number))
            equal(above.frame(), (0x82, b"%d" % number), "a session from before")
    equal(stream.faults[:1], [], "handshakes that failed")
    equal(list(stream.statuses()), [101], f"answers {stream.statuses()}")
    check(len(stream.done) > 100, "handshakes meanwhile", len(stream.done))
    for client, above in pairs_of_peers:
        client.close()
        above.close()
    context.note(stream.summary())


@case("jwt-breaker-spares")
def breaker_spares(context):
    """T21: what a client did wrong, or an upstream refused it for, opens no circuit; a probe that succeeds closes an open one."""
    need()
    issuer, good = Issuer(context, "ES256"), RawUpstream(context)
    forbids = answering(context, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    gone = unused()
    routes = "\n    - ".join(ROUTE % (name, name, "raw", f"ws://127.0.0.1:{port}/", ", health: off")
                             for name, port in (("forbids", forbids), ("good", good.port), ("gone", gone)))
    server = native(context, issuer, routes, rest=REST.replace("failures: 1000", "failures: 2, open: 1s"))
    for _ in range(6):
        equal(Opened(server.port, "/forbids", issuer.token()).status, 502, "an upstream that says no")
        equal(Opened(server.port, "/good", issuer.token(exp=1)).status, 401, "a client that may not")
        client, above = session(server, good, "/good", issuer.token())
        client.reset()
        equal(above.frame()[0], 0x88, "a client that vanishes")
        above.close()
    equal(Opened(server.port, "/good", issuer.token()).status, 101, "an upstream whose clients failed")
    equal([Opened(server.port, "/gone", issuer.token()).status for _ in range(3)], [502, 502, 503], "one that is not there")
    # It comes up: half open, one session tries, and the circuit is closed.
    listener = RawUpstream(context, port=gone)
    eventually(lambda: Opened(server.port, "/gone", issuer.token()).status == 101, "the session that tries", 5)
    equal([Opened(server.port, "/gone", issuer.token()).status for _ in range(5)], [101] * 5, "and those behind it")
    check(len(listener.heads) >= 6, "upgrades that arrived")
