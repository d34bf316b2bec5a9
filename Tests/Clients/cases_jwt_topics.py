"""Topic rights of the JWT proxy (T28), asked for by clients that were not written here: paho before Mosquitto."""
import contextlib
import signal
import struct
import threading
import time

from harness import Skip, case, check, equal, eventually

try:
    import paho.mqtt.client as paho
    import websockets.exceptions
    from websockets.sync.client import connect

    from cases_jwt import mosquitto, native
    from cases_jwt_limits import ask, free_port
    from issuer import Issuer
    missing = None
except ImportError as reason:
    missing = str(reason)

ROUTE = '{ name: mqtt, prefix: /mqtt, protocol: mqtt, upstreams: [{ url: "ws://127.0.0.1:%d/" }], mqtt: { password: remove }, authz: %s }'
RULES = """{ mode: rules, deny: %s, rules: [
  { publish: ["up/${claim:/sub}/#", "both/+"], subscribe: ["down/${claim:/sub}/#", "both/+", "$SYS/broker/uptime"] },
  { when: { claim: /realm_access/roles, contains: admin }, publish: ["#"], subscribe: ["#"] } ] }"""


ADMIN = "0123456789abcdef0123"


def need():
    if missing:
        raise Skip(missing)


def versions():
    return (paho.MQTTv31, paho.MQTTv311, paho.MQTTv5)


class Client:
    """A client of paho that remembers what it is told."""

    def __init__(self, server, version, token, will=None, identifier=None):
        self.heard, self.acknowledged, self.granted, self.reasons, self.ends = [], {}, {}, [], []
        options = {} if version == paho.MQTTv5 else {"clean_session": True}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=identifier or f"c{time.time_ns()}", transport="websockets",
                                  protocol=version, reconnect_on_failure=False, **options)
        self.client.ws_set_options(path="/mqtt")
        self.client.username_pw_set("u", token)
        if will:
            self.client.will_set(will, b"will", 1)
        self.client.on_connect = lambda *a: self.reasons.append(a[3])
        self.client.on_message = lambda *a: self.heard.append((a[2].topic, a[2].payload))
        self.client.on_publish = lambda *a: self.acknowledged.__setitem__(a[2], a[3])
        self.client.on_subscribe = lambda *a: self.granted.__setitem__(a[2], a[3])
        self.client.on_disconnect = lambda *a: self.ends.append(a[3])
        self.client.connect("127.0.0.1", server.port, 30)
        self.client.loop_start()
        eventually(lambda: self.reasons, "an answer to CONNECT", 10)

    def publish(self, topic, qos, payload=b"x", properties=None):
        """The reason code of the acknowledgement, for QoS 1 and 2."""
        message = self.client.publish(topic, payload, qos, properties=properties)
        if qos == 0:
            return None
        eventually(lambda: message.mid in self.acknowledged, f"an acknowledgement of {topic} at QoS {qos}")
        return self.acknowledged[message.mid].value

    def subscribe(self, *filters):
        """The codes of the SUBACK."""
        _, number = self.client.subscribe([(name, 1) for name in filters])
        eventually(lambda: number in self.granted, "a SUBACK")
        return [code.value for code in self.granted[number]]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@contextlib.contextmanager
def client(*arguments, **options):
    made = Client(*arguments, **options)
    try:
        yield made
    finally:
        made.close()


def setting(context, authz=None, more=""):
    need()
    issuer, port, admin = Issuer(context), mosquitto(context), free_port()
    server = native(context, issuer, ROUTE % (port, authz or RULES % "drop"),
                    rest=more + f'admin: {{ address: "127.0.0.1:{admin}", token: "{ADMIN}" }}')
    server.admin = admin
    return issuer, server


def samples(server):
    """What the admin listener's metrics say, by name with labels."""
    status, body = ask(server.admin, "GET", "/metrics", headers={"Authorization": "Bearer " + ADMIN})
    equal(status, 200, "/metrics")
    pairs = (line.rsplit(" ", 1) for line in body.decode().splitlines() if line and line[0] != "#")
    return {name: float(value) for name, value in pairs}


@case("jwt-topics-rules")
def rules(context):
    """T28: publishing and subscribing by rules with placeholders, refusals as each version tells them, counted and logged."""
    issuer, server = setting(context)
    for version in versions():
        is5 = version == paho.MQTTv5
        refused = 0x87 if is5 else 0x80
        with client(server, version, issuer.token(sub="admin", realm_access={"roles": ["admin"]})) as watcher:
            equal(watcher.subscribe("#"), [1], "an admin's subscription")
            with client(server, version, issuer.token(sub="alice")) as alice:
                for qos in (0, 1, 2):
                    equal(alice.publish("up/alice/t", qos, b"good%d" % qos) in (None, 0), True, f"QoS {qos}")
                    # Behind a PUBREC that refuses, paho sends PUBREL and reports what that is answered with.
                    told = (None, 0x87, 0x92) if is5 else (None, 0, 0)
                    equal(alice.publish("up/bob/t", qos, b"bad"), told[qos], f"refused, QoS {qos}")
                equal(alice.subscribe("down/alice/+", "down/bob/+", "both/x", "#", "$SYS/#", "$SYS/broker/uptime", "$share/g/both/+"),
                      [1, refused, 1, refused, refused, 1, 1], "a SUBACK with holes")
                equal(alice.subscribe("down/#", "$share/g/up/alice/x"), [refused, refused], "a SUBACK of refusals only")
                watcher.publish("down/alice/a", 1, b"for alice")
                watcher.publish("down/bob/a", 1, b"for bob")
                eventually(lambda: ("down/alice/a", b"for alice") in alice.heard, "what alice may hear")
                equal([topic for topic, _ in alice.heard if topic.startswith("down/bob")], [], "what she may not")
            eventually(lambda: len([1 for _, payload in watcher.heard if payload.startswith(b"good")]) == 3, "three good messages")
            check(not any(payload == b"bad" for _, payload in watcher.heard), "a refused message reached the broker", watcher.heard)
    page = samples(server)
    equal(page['ws_authz_denied_total{route="mqtt",action="publish"}'], 9, "refused messages")
    equal(page['ws_authz_denied_total{route="mqtt",action="subscribe"}'], 15, "refused filters")
    check(page['ws_mqtt_packets_total{direction="up",type="publish"}'] >= 24, "packets", page)
    lines = [record for record in server.records() if record.get("msg") == "topic refused"]
    check({line["topic"] for line in lines} >= {"up/bob/t", "down/bob/+", "#"}, "lines of refusals", lines)
    check(len([line for line in lines if line["topic"] == "up/bob/t"]) == 3, "one line for a session and topic", lines)


@case("jwt-topics-scopes")
def scopes(context):
    """T28: scopes as RabbitMQ reads them, and the claim acl as EMQX does, each alone and both together."""
    issuer, server = setting(context, '{ mode: scopes, resource_server_id: rabbitmq }')
    token = issuer.token(scope="rabbitmq.write:%2F/amq.topic/plant.* rabbitmq.read:*/*/plant.one.# rabbitmq.read:/other/x openid")
    with client(server, paho.MQTTv5, token) as one:
        equal(one.publish("plant/one/x", 1) in (0, 0x10), True, "a written topic")
        equal(one.publish("office/one", 1), 0x87, "another")
        equal(one.subscribe("plant/one/#", "plant/+/#", "plant/two"), [1, 0x87, 0x87], "read topics, taken literally")
    server.end()
    issuer, server = setting(context, "{ mode: acl }")
    acl = [{"permission": "deny", "action": "subscribe", "topic": "a/secret/#"}, {"permission": "allow", "action": "all", "topic": "a/#"},
           {"permission": "allow", "action": "publish", "topic": "q/${clientid}", "qos": [0, 1]},
           {"permission": "allow", "action": "subscribe", "topic": "eq x/+"}]
    with client(server, paho.MQTTv5, issuer.token(acl=acl), identifier="me") as one:
        equal(one.subscribe("a/b", "a/#", "a/secret/x", "x/+", "x/y"), [1, 0x87, 0x87, 1, 0x87], "a list, first match first")
        equal([one.publish("q/me", 1) in (0, 0x10), one.publish("q/me", 2), one.publish("q/other", 1)], [True, 0x92, 0x87], "QoS")
    with client(server, paho.MQTTv311, issuer.token(acl={"pub": ["p/#"], "sub": ["s/#"], "all": ["b"]})) as one:
        equal(one.subscribe("s/1", "p/1", "b"), [1, 0x80, 1], "an object of lists")
    server.end()
    issuer, server = setting(context, '{ mode: [scopes, acl], combine: all, resource_server_id: r }')
    with client(server, paho.MQTTv5, issuer.token(scope="r.write:%2F/amq.topic/*", acl={"pub": ["only/this"]})) as one:
        equal([one.publish("only/this", 1) in (0, 0x10), one.publish("only/that", 1)], [True, 0x87], "both have to allow")


@case("jwt-topics-will")
def will(context):
    """T28: a will is a PUBLISH that is judged with CONNECT; the broker publishes an allowed one when the client vanishes."""
    issuer, server = setting(context)
    for version in versions():
        with client(server, version, issuer.token(sub="alice"), will="up/bob/will") as one:
            check(one.reasons[0].is_failure and "ot authori" in str(one.reasons[0]), "a CONNACK says why", one.reasons)
        with client(server, version, issuer.token(sub="admin", realm_access={"roles": ["admin"]})) as watcher:
            watcher.subscribe("up/#")
            with client(server, version, issuer.token(sub="alice"), will="up/alice/will") as one:
                check(not one.reasons[0].is_failure, "an allowed will", one.reasons)
                drop(one)
            eventually(lambda: ("up/alice/will", b"will") in watcher.heard, "the will of a client that vanished")
    equal(samples(server)['ws_authz_denied_total{route="mqtt",action="will"}'], len(versions()), "refused wills")


def drop(one):
    """Ends a client's connection without a DISCONNECT."""
    one.client.loop_stop()
    one.client._sock_close()


def field(text):
    return struct.pack(">H", len(text)) + text.encode()


def packet(first, body):
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([first]) + digits + body


def connect_packet(level, token):
    name = "MQIsdp" if level == 3 else "MQTT"
    return packet(0x10, field(name) + bytes([level, 0xC2, 0, 60]) + (b"\0" if level == 5 else b"") + field(f"r{time.time_ns()}")
                  + field("u") + field(token))


@contextlib.contextmanager
def raw(server, level, token, aliases=None):
    """A session of packets written here, behind CONNACK, which is returned with it."""
    with connect(f"ws://127.0.0.1:{server.port}/mqtt", subprotocols=["mqtt"], compression=None, open_timeout=10) as stream:
        stream.send(connect_packet(level, token))
        yield stream, stream.recv(timeout=5)


def ended(stream):
    """What came before the close, its code and its reason."""
    found = b""
    try:
        while True:
            found += stream.recv(timeout=10)
    except websockets.exceptions.ConnectionClosed as error:
        return found, error.rcvd.code if error.rcvd else None, error.rcvd.reason if error.rcvd else None


def publish_packet(topic, payload=b"x", qos=0, number=1, alias=None, level=4):
    properties = b"" if level != 5 else b"\0" if alias is None else b"\3\x23" + struct.pack(">H", alias)
    return packet(0x30 | qos << 1, field(topic) + (struct.pack(">H", number) if qos else b"") + properties + payload)


@case("jwt-topics-faults")
def faults(context):
    """T28: what breaks the protocol ends the session with DISCONNECT (5) and a close code, and pipelined packets are judged too."""
    issuer, server = setting(context, more="  limits: { packet: 4KiB }\n")
    token = issuer.token(sub="alice")
    wrong = {
        "a wildcard in a topic": (publish_packet("up/+", level=5), b"\xe0\x01\x81", 1002),
        "alias 0": (publish_packet("up/alice/x", alias=0, level=5), b"\xe0\x01\x94", 1002),
        "an alias above the broker's maximum": (publish_packet("up/alice/x", alias=60_000, level=5), b"\xe0\x01\x94", 1002),
        "an alias that stands for nothing": (publish_packet("", alias=3, level=5), b"\xe0\x01\x94", 1002),
        "a second CONNECT": (connect_packet(5, token), b"\xe0\x01\x82", 1002),
        "too long a packet": (publish_packet("up/alice/x", bytes(5000), level=5), b"\xe0\x01\x95", 1009),
        "a malformed filter": (packet(0x82, b"\0\1\0" + field("a/#/b") + b"\0"), b"\xe0\x01\x81", 1002),
    }
    for name, (bad, disconnect, code) in wrong.items():
        with raw(server, 5, token) as (stream, connack):
            equal(connack[3], 0, "CONNACK")
            stream.send(bad)
            found, got, _ = ended(stream)
            equal((found, got), (disconnect, code), name)
    with raw(server, 4, token) as (stream, _):
        stream.send(publish_packet("up/#"))
        equal(ended(stream)[:2], (b"", 1002), "3.1.1 has no DISCONNECT for it")
    with raw(server, 4, token) as (stream, _):
        stream.send("text")
        equal(ended(stream)[1], 1003, "a text message")
    # Everything in one message, before CONNACK: refused in place, answered behind it.
    with connect(f"ws://127.0.0.1:{server.port}/mqtt", subprotocols=["mqtt"], compression=None) as stream:
        stream.send(connect_packet(4, token) + publish_packet("no", qos=1, number=5) + packet(0x82, b"\0\2" + field("both/a") + b"\1" + field("no") + b"\1")
                    + publish_packet("both/a", b"mine", qos=1, number=6))
        found = b""
        while len(found) < 4 + 4 + 6 + 4 + 11:
            found += stream.recv(timeout=5)
        equal(found[:4], b"\x20\2\0\0", "CONNACK first")
        for part in (b"\x40\2\0\5", b"\x90\4\0\2\1\x80", b"\x40\2\0\6", b"both/a"):
            check(part in found, "an answer is missing", part, found)
    # Byte by byte, and many packets in many messages that do not fit them.
    with connect(f"ws://127.0.0.1:{server.port}/mqtt", subprotocols=["mqtt"], compression=None) as stream:
        everything = connect_packet(4, token) + packet(0x82, b"\0\2" + field("no") + b"\1" + field("both/b") + b"\1")
        everything += publish_packet("no", bytes(50), qos=1, number=5) + publish_packet("both/b", b"through", qos=1, number=6)
        for place in range(len(everything)):
            stream.send(everything[place:place + 1])
        found = b""
        while b"through" not in found or b"\x40\2\0\6" not in found:
            found += stream.recv(timeout=5)
        check(b"\x90\4\0\2\x80\1" in found and b"\x40\2\0\5" in found, "answers", found)


@case("jwt-topics-disconnect")
def disconnect(context):
    """T25, T26, T28 and T30 on inspected routes: an MQTT 5 client is told by DISCONNECT why its session ends."""
    issuer, server = setting(context, RULES % "disconnect")
    token = issuer.token(sub="alice")
    for level, told in ((5, b"\xe0\x01\x87"), (4, b"")):
        for bad in (publish_packet("no", level=level), packet(0x82, b"\0\1" + (b"\0" if level == 5 else b"") + field("no") + b"\0")):
            with raw(server, level, token) as (stream, _):
                stream.send(bad)
                equal(ended(stream), (told, 4403, "forbidden"), f"level {level}")
    for level, told in ((5, b"\xe0\x01\xa0"), (4, b"")):
        with raw(server, level, issuer.token(sub="alice", exp=int(time.time()) + 2)) as (stream, _):
            equal(ended(stream), (told, 4401, "token expired"), f"level {level}, expired")
    with raw(server, 5, issuer.token(sub="alice", jti="gone")) as (stream, _), raw(server, 5, token) as (other, _):
        equal(ask(server.admin, "POST", "/admin/revoke", b'{"jti":"gone"}', {"Authorization": "Bearer " + ADMIN})[0], 200, "revoked")
        equal(ended(stream), (b"\xe0\x01\x98", 4401, "token revoked"), "revoked")
        # And who is left when the gateway goes, in the middle of traffic.
        stop = threading.Event()

        def traffic():
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    other.send(publish_packet("both/t", b"%d" % number, level=5))
                except websockets.exceptions.ConnectionClosed:
                    return
                time.sleep(0.001)

        worker = threading.Thread(target=traffic)
        other.send(packet(0x82, b"\0\1\0" + field("both/t") + b"\0"))
        worker.start()
        time.sleep(0.3)
        server.signal(signal.SIGTERM)
        found, code, reason = ended(other)
        stop.set()
        worker.join()
        equal((found[-3:], code, reason), (b"\xe0\x01\x8b", 1001, "going away"), "drained")
