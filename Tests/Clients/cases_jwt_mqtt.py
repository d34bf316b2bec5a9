"""The JWT proxy and MQTT: CONNECT as the broker gets it, subprotocols, and Mosquitto and RabbitMQ behind browsers and paho."""
import itertools

import mqtt
from brokers import mosquitto, paho_library, publish_and_receive, rabbit
from cases_browser import browser
from cases_jwt import bearer, native, need, refused
from handshakes import Opened, Peer, RawUpstream
from harness import case, check, equal, eventually
from rawsocket import BINARY, TEXT, frame

try:
    from issuer import Issuer, Upstream
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: mqtt, prefix: /mqtt, protocol: mqtt, upstreams: [{ url: "%s" }]%s }'
OFFER = ["Sec-WebSocket-Protocol: mqtt"]
REST = """  limits: { handshakes_per_second: 0, handshakes_per_ip: 10000, connections_per_ip: 0, failures_per_minute: 0,
            sessions_per_subject: 0 }
"""


def payloads(peer, count):
    """So many payload bytes of binary messages, whatever their frames."""
    data = b""
    while len(data) < count:
        first, payload = peer.frame()
        check(first & 15 in (0, BINARY), "an opcode of MQTT", first)
        data += payload
    return data


def speak(server, pieces, path="/mqtt", fields=()):
    """A client that offers `mqtt` and sends binary messages."""
    opened = Opened(server.port, path, fields=[*OFFER, *fields])
    equal((opened.status, opened.fields.get("sec-websocket-protocol")), (101, "mqtt"), "the upgrade")
    peer = Peer(opened.socket, opened.rest)
    for piece in pieces:
        peer.send(frame(BINARY, piece))
    return peer


@case("jwt-mqtt-connect")
def connects(context):
    """T2: every form of CONNECT reaches the broker as it was, however it is cut, and what follows comes behind it in order."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context, fields=OFFER)
    server = native(context, issuer, ROUTE % (upstream.url, ""), rest=REST)
    token = issuer.token()
    behind = mqtt.subscribe(1, "a/#") + mqtt.publish("a/b", b"payload", 2) + mqtt.publish("a/c", bytes(20_000))
    count = 0
    for level, clean, will in itertools.product((3, 4, 5), (False, True), (None, ("will/topic", b"gone", 0, False), ("w", b"", 2, True))):
        extra = dict(properties=b"\x11" + bytes(4) + mqtt.user_property("a", "b") + mqtt.user_property("a", "c"),
                     will_properties=b"\x18\0\0\0\x05") if level == 5 else {}
        packet = mqtt.connect(level, f"client-{count}", clean, will, "user", token, **extra)
        ways = {"whole": [packet], "with packets behind it": [packet + behind], "in two": [packet[:9], packet[9:] + behind[:3], behind[3:]]}
        if will:
            ways["byte by byte"] = [packet[at:at + 1] for at in range(len(packet))]
        for way, pieces in ways.items():
            client = speak(server, pieces)
            above = upstream.take()
            sent = b"".join(pieces)
            check(payloads(above, len(sent)) == sent, f"level {level}, clean {clean}, will {will}, {way}")
            above.send(frame(BINARY, mqtt.packet(mqtt.CONNACK, b"\0\0"), masked=False))
            equal(client.frame(), (0x82, mqtt.packet(mqtt.CONNACK, b"\0\0")), "CONNACK")
            client.close()
            above.close()
            count += 1
    check(all("Sec-WebSocket-Protocol: mqtt" in head for head in upstream.heads), "the offer to the broker")
    context.note(f"{count} CONNECTs")
    wrong = {
        "reserved flag": mqtt.connect(flags=0xC3, username="u", password=token), "will QoS 3": mqtt.connect(flags=0xDE, username="u"),
        "bytes left over": mqtt.packet(1, mqtt.connect(username="u", password=token)[2:] + b"x"), "another packet": mqtt.subscribe(1, "a"),
        "NUL in the client's name": mqtt.connect(client_id="a\0b", username="u", password=token),
    }
    for name, packet in wrong.items():
        equal(speak(server, [packet]).frame(), (0x88, b"\x03\xeaBad CONNECT"), name)
    for level, code in ((6, 0x84), (2, 0x01)):
        client = speak(server, [mqtt.connect(level, username="u", password=token)])
        equal(client.frame(), (0x82, mqtt.packet(mqtt.CONNACK, bytes([0, code]) + (b"\0" if code == 0x84 else b""))), f"level {level}")
        equal(client.frame()[1][:2], b"\x03\xea", f"close of level {level}")
    client = speak(server, [])
    client.send(frame(TEXT, b"text"))
    equal(client.frame()[1][:2], b"\x03\xeb", "a text message")
    equal(len(upstream.heads), count, "clients that reached the broker")


@case("jwt-mqtt-rewritten")
def rewritten(context):
    """T2: what the gateway puts into CONNECT or takes out of it, and that nothing else of it changes."""
    need()
    issuer, upstream = Issuer(context, "ES256"), RawUpstream(context, fields=OFFER)
    (context.folder / "name").write_text("broker-user\n")
    (context.folder / "word").write_text("broker-word\n")
    token = issuer.token(sub="alice", preferred_username="Alice", realm_access={"roles": ["b", "a"]})
    cookie = ["Cookie: session=" + token]
    will = ("will/topic", b"\0\xff", 1, True)
    rich = dict(properties=b"\x21\0\x10" + mqtt.user_property("k", "v"), will_properties=b"\x01\x01")
    # Options of the route, then by level: what the client sends, and what the broker gets.
    table = [
        ("password: remove", 4, dict(username="u", password=token, will=will), dict(username="u", will=will)),
        ("password: remove", 5, dict(username="u", password=token, will=will, **rich), dict(username="u", will=will, **rich)),
        ('password: token, username: "claim:/preferred_username"', 3, dict(), dict(username="Alice", password=token)),
        ('password: token, username: "claim:/preferred_username"', 4, dict(will=will), dict(username="Alice", password=token, will=will)),
        ('password: token, username: "claim:/preferred_username"', 5, dict(username="x", will=will, **rich),
         dict(username="Alice", password=token, will=will, **rich)),
        (f'password: "file:{context.folder}/word", username: "file:{context.folder}/name"', 4, dict(),
         dict(username="broker-user", password="broker-word")),
        ('client_id: "rewrite_prefix:/sub"', 4, dict(client_id="mine"), dict(client_id="alice-mine")),
        ("roles: user_property", 5, dict(**rich), dict(rich, properties=rich["properties"] + mqtt.user_property("roles", "b,a"))),
        ("roles: username_suffix", 4, dict(username="u"), dict(username="u|b,a")),
    ]
    for options, level, sent, expected in table:
        server = native(context, issuer, ROUTE % (upstream.url, ", mqtt: { %s }" % options), rest=REST)
        origin = [f"Origin: http://127.0.0.1:{server.port}"]
        behind = mqtt.subscribe(1, "a/#", level=level)
        client = speak(server, [mqtt.connect(level, **sent) + behind], fields=[] if sent.get("password") else cookie + origin)
        above = upstream.take()
        wanted = mqtt.connect(level, **expected) + behind
        found = payloads(above, len(wanted))
        check(found == wanted, f"{options} at level {level}: {wanted!r}", found)
        client.close()
        above.close()
        server.end()
    for options, name, good in (('client_id: "prefix_claim:/sub"', "alice-1", True), ('client_id: "prefix_claim:/sub"', "bob", False),
                                ('client_id: "equals_claim:/sub"', "alice", True), ('client_id: "equals_claim:/sub"', "alice-1", False)):
        server = native(context, issuer, ROUTE % (upstream.url, ", mqtt: { %s }" % options), rest=REST)
        client = speak(server, [mqtt.connect(5, name, username="u", password=token)])
        if good:
            above = upstream.take()
            above.close()
        else:
            first, payload = client.frame()
            equal((first, payload[0] >> 4), (0x82, mqtt.CONNACK), f"{options} with {name}")
            equal(client.frame()[1][:2], b"\x11\x33", "Forbidden")
        client.close()
        server.end()
    log = "".join(path.read_text() for path in context.folder.glob("server-*.log"))
    check(token not in log and "broker-word" not in log, "a password in the log")


@case("jwt-subprotocols")
def subprotocols(context):
    """T14: what is offered upstream and answered, by the kind of route and what the client offers."""
    need()
    issuer = Issuer(context, "ES256")
    plain, chooses = RawUpstream(context), Upstream(context, subprotocols=["second", "third"])
    broker, lies = RawUpstream(context, fields=OFFER), RawUpstream(context, fields=["Sec-WebSocket-Protocol: other"])
    routes = "\n    - ".join(
        '{ name: %s, prefix: /%s, upstreams: [{ url: "%s" }], auth: { sources: [authorization] }, %s }' % (name, name, url, options)
        for name, url, options in (
            ("raw", plain.url, "protocol: raw"), ("list", plain.url, 'protocol: raw, subprotocols: ["x", "y"]'),
            ("strict", plain.url, 'protocol: raw, subprotocols: ["x", "y"], subprotocol_mismatch: reject'),
            ("copy", chooses.url, "protocol: raw, subprotocol_choice: upstream"),
            ("lies", lies.url, "protocol: raw, subprotocol_choice: upstream"), ("mqtt", broker.url, "protocol: mqtt")))
    server = native(context, issuer, routes, rest=REST)
    token = issuer.token()
    nothing = "none"

    def asks(path, *offers):
        """The status, what was answered, and what the upstream was offered."""
        opened = Opened(server.port, path, token, [f"Sec-WebSocket-Protocol: {offer}" for offer in offers])
        opened.socket.close()
        return opened.status, opened.fields.get("sec-websocket-protocol", nothing)

    def offered(upstream):
        return [line.split(": ", 1)[1] for line in upstream.heads[-1].split("\r\n") if line.lower().startswith("sec-websocket-protocol")]

    # MQTT routes: `mqtt` whatever the client says, or what of MQTT's it chose; others are refused.
    for offers, answer, up in (((), nothing, ["mqtt"]), (("mqtt",), "mqtt", ["mqtt"]), (("x, mqtt",), "mqtt", ["mqtt"])):
        equal((asks("/mqtt", *offers), offered(broker)), ((101, answer), up), f"MQTT, {offers}")
    equal(asks("/mqtt", "x")[0], 400, "MQTT, nothing that fits")
    # A list: the first offer that is in it, and that one alone goes up.
    for offers, answer, up in (((), nothing, []), (("y, x",), "y", ["y"]), (("z", "x"), "x", ["x"])):
        equal((asks("/list", *offers), offered(plain)), ((101, answer), up), f"list, {offers}")
    equal(asks("/list", "z"), (101, nothing), "a list, nothing fits: no field")
    equal(asks("/strict", "z")[0], 400, "a strict list, nothing fits")
    # The upstream chooses.
    equal(asks("/copy", "first, second", "third"), (101, "second"), "the upstream's choice")
    eventually(lambda: chooses.requests, "the request above")
    equal([str(value) for value in chooses.requests[-1].headers.get_all("Sec-WebSocket-Protocol")], ["first, second, third"], "in order")
    equal(asks("/lies", "first, second")[0], 502, "a choice that was not offered")
    # Lists that are none.
    for name, offer in (("twice the same", "a, a"), ("33 entries", ", ".join(f"p{n}" for n in range(33))), ("4 KiB", "a" * 4097),
                        ("an empty entry", "a b")):
        equal(asks("/raw", offer)[0], 400, name)


PAGE_SCRIPT = """
const [url, connect, subscribe, publish, done] = arguments;
const bytes = hex => new Uint8Array(hex.match(/../g).map(x => parseInt(x, 16)));
const socket = new WebSocket(url, ['mqtt']), seen = [];
socket.binaryType = 'arraybuffer';
const end = reason => { socket.onclose = null; socket.close(); done({reason, seen, protocol: socket.protocol}); };
socket.onopen = () => socket.send(bytes(connect));
socket.onclose = event => end('closed ' + event.code);
socket.onmessage = event => {
    const data = new Uint8Array(event.data);
    seen.push(Array.from(data, x => x.toString(16).padStart(2, '0')).join(''));
    if (data[0] >> 4 === 2) socket.send(bytes(subscribe));
    if (data[0] >> 4 === 9) socket.send(bytes(publish));
    if (data[0] >> 4 === 3) end('heard');
};
setTimeout(() => end('late'), 20000);
"""


def page(chromium, server, token):
    """What a page of the gateway's own origin gets that has the cookie and nothing else."""
    chromium.get(f"http://127.0.0.1:{server.port}/healthz")
    chromium.delete_all_cookies()
    if token:
        chromium.add_cookie({"name": "session", "value": token, "httpOnly": True, "path": "/"})
    chromium.set_script_timeout(30)
    packets = [mqtt.connect(4, "page"), mqtt.subscribe(1, "page/topic", 0), mqtt.publish("page/topic", b"from a page")]
    return chromium.execute_async_script(PAGE_SCRIPT, f"ws://127.0.0.1:{server.port}/mqtt", *[packet.hex() for packet in packets])


def brokers(context, issuer, port, path, options, versions):
    """A page and paho with one broker behind the gateway."""
    paho = paho_library()
    server = native(context, issuer, ROUTE % (f"ws://127.0.0.1:{port}{path}", options), rest=REST)
    token = issuer.token()
    for version in versions:
        for clean in (True, False):
            heard, reasons = publish_and_receive(server, version, username="u", password=token, clean=clean, quality=2 if clean else 1,
                                                 payload=bytes(range(256)) * 40, will=("will/topic", b"gone", 1, False))
            equal((heard, reasons), ([bytes(range(256)) * 40], ["Success"]), f"version {version}, clean {clean}")
    cookie = {"Cookie": "session=" + token, "Origin": f"http://127.0.0.1:{server.port}"}
    heard, reasons = publish_and_receive(server, paho.MQTTv311, headers=cookie)
    equal((heard, reasons), ([b"payload"], ["Success"]), "a cookie, no password")
    heard, reasons = publish_and_receive(server, paho.MQTTv311, username="u", password=issuer.token(exp=1))
    check(heard == [] and reasons and reasons[0] != "Success", "an expired token", heard, reasons)
    # What a client offers decides nothing: the broker is offered `mqtt`, and the client gets what it asked for.
    for offer, answer in (([], None), (["mqtt"], "mqtt"), (["x", "mqtt"], "mqtt")):
        opened = Opened(server.port, "/mqtt", token, ["Sec-WebSocket-Protocol: " + ", ".join(offer)] if offer else [])
        equal((opened.status, opened.fields.get("sec-websocket-protocol")), (101, answer), f"offer {offer}")
        opened.socket.close()
    chromium = browser(context)
    found = page(chromium, server, token)
    equal((found["reason"], found["protocol"]), ("heard", "mqtt"), f"a page with a cookie: {found}")
    found = page(chromium, server, None)
    check(found["reason"].startswith("closed"), "a page without a cookie", found)
    # The page of somebody else's origin has the cookie as well, where a browser sends it; the gateway does not take it.
    equal(refused(server, "/mqtt", additional_headers=cookie | {"Origin": "http://evil.test"})[0], 403, "another origin")
    check(token not in server.log_path.read_text(), "a token in the log")


@case("jwt-brokers-mosquitto")
def with_mosquitto(context):
    """T2, T3, T14 with Mosquitto: paho with MQTT 3.1, 3.1.1 and 5, and a page in Chromium with nothing but a cookie."""
    need()
    paho = paho_library()
    brokers(context, Issuer(context), mosquitto(context), "/", ", mqtt: { password: remove }", (paho.MQTTv31, paho.MQTTv311, paho.MQTTv5))


@case("jwt-brokers-rabbitmq", slow=True)
def with_rabbit(context):
    """T2, T3, T14, T19 with RabbitMQ: paho with MQTT 3.1.1, a page in Chromium, compression between client and broker."""
    need()
    paho = paho_library()
    issuer, port = Issuer(context), rabbit(context)
    for name in ("name", "word"):
        (context.folder / name).write_text("guest")
    options = f', mqtt: {{ username: "file:{context.folder}/name", password: "file:{context.folder}/word" }}'
    brokers(context, issuer, port, "/ws", options, (paho.MQTTv31, paho.MQTTv311))
    from websockets.sync.client import connect
    server = native(context, issuer, ROUTE % (f"ws://127.0.0.1:{port}/ws", ", compression: passthrough, auth: { sources: [authorization] }"))
    url = f"ws://127.0.0.1:{server.port}/mqtt"
    with connect(url, subprotocols=["mqtt"], additional_headers=bearer(issuer.token()), compression="deflate") as client:
        equal(len(client.protocol.extensions), 1, "compression that RabbitMQ agreed to")
        client.send(mqtt.connect(4, "deflated", username="guest", password="guest"))
        equal(client.recv(timeout=20), mqtt.packet(mqtt.CONNACK, b"\0\0"), "CONNACK, compressed or not")
        client.send(mqtt.subscribe(1, "deflated", 0))
        equal(client.recv(timeout=20)[0] >> 4, mqtt.SUBACK, "SUBACK")
        client.send(mqtt.publish("deflated", b"x" * 20_000))
        equal(client.recv(timeout=20), mqtt.publish("deflated", b"x" * 20_000), "a compressed message")
