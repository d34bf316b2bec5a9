"""What the JWT proxy says to MQTT clients in packets of its own: CONNACK for refusals, SUBACK and PUBACK, DISCONNECT with a reason."""
import struct
import time

import mqtt
from brokers import paho_client, rabbit
from cases_jwt import native, need
from cases_jwt_topics import RULES, client, ended, packet, publish_packet, raw, setting
from cases_jwt_upstreams import answering, unused
from handshakes import Opened, Peer, RawUpstream
from harness import case, check, equal, eventually
from rawsocket import BINARY, frame

try:
    import paho.mqtt.client as paho

    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing

ROUTE = '{ name: %s, prefix: /%s, protocol: mqtt, upstreams: [{ url: "%s" }]%s }'
OFFER = "Sec-WebSocket-Protocol: mqtt"
LOOSE = "handshakes_per_second: 0, handshakes_per_ip: 10000, connections_per_ip: 0, failures_per_minute: 0"
# How MQTT tells each reason: level 3 and 4, level 5.
NOT_AUTHORISED, BAD_CREDENTIALS, UNAVAILABLE, QUOTA, CLIENT_ID = (5, 0x87), (4, 0x86), (3, 0x88), (3, 0x97), (2, 0x85)


def refused(server, path, level, **connect):
    """What a client is told in answer to its CONNECT: packets, and the code of the Close behind them."""
    opened = Opened(server.port, "/" + path, fields=[OFFER])
    equal(opened.status, 101, f"the upgrade to /{path}")
    peer = Peer(opened.socket, opened.rest)
    peer.send(frame(BINARY, mqtt.connect(level, **{"client_id": "c", "username": "u", **connect})))
    packets = b""
    while True:
        first, payload = peer.frame()
        if first == 0x88:
            peer.close()
            return packets, struct.unpack(">H", payload[:2])[0]
        equal(first, 0x82, "a binary message")
        packets += payload


def connack(level, codes):
    return bytes([0x20, 3, 0, codes[1], 0]) if level == 5 else bytes([0x20, 2, 0, codes[0]])


@case("jwt-mqtt-connack")
def connacks(context):
    """7.2 and 16: whatever a CONNECT is refused for, its client gets a CONNACK that says so, then Close; or the bare Close, by option."""
    need()
    issuer, good = Issuer(context, "ES256"), RawUpstream(context, fields=[OFFER])
    lost, forbidden = (f"ws://127.0.0.1:{port}/" for port in (unused(), answering(context, b"HTTP/1.1 403 Forbidden\r\n\r\n")))
    will = ', authz: { mode: rules, rules: [{ publish: ["ok"], subscribe: ["ok"] }] }'
    routes = [("good", good.url, ""), ("lost", lost, ""), ("forbidden", forbidden, ""),
              ("name", good.url, ', mqtt: { client_id: "equals_claim:/sub" }'),
              ("will", good.url, will), ("claim", good.url, ', mqtt: { username: "claim:/nothing" }'), ("inspected", lost, will),
              ("header", forbidden, ", auth: { sources: [authorization] }")]
    for answers in (True, False):
        more = [] if answers else [", mqtt: { connack_on_reject: false }"]
        server = native(context, issuer, "\n    - ".join(
            ROUTE % (name, name, url, options if not more else options.replace("mqtt: {", "mqtt: { connack_on_reject: false,")
                     if "mqtt: {" in options else options + more[0]) for name, url, options in routes),
            rest=f"  limits: {{ {LOOSE}, sessions_per_subject: 1 }}\n"
                 "  dial: { attempts: 1, connect: 400ms, tls: 400ms, handshake: 2s, deadline: 5s }\n  breaker: { failures: 4, open: 1h }\n")
        token = issuer.token()
        table = [
            ("no token", "good", dict(), NOT_AUTHORISED, 4401), ("no token at all", "good", dict(password="password"), None, 4401),
            ("a token of others", "good", dict(password=issuer.token(aud="other")), BAD_CREDENTIALS, 4401),
            ("an expired token", "good", dict(password=issuer.token(exp=1)), BAD_CREDENTIALS, 4401),
            ("another's name", "name", dict(password=token), CLIENT_ID, 4403),
            ("a claim that is missing", "claim", dict(password=token), NOT_AUTHORISED, 4403),
            ("a will", "will", dict(password=token, will=("no", b"", 0, False)), NOT_AUTHORISED, 4403),
            ("an upstream that is not there", "lost", dict(password=token), UNAVAILABLE, 1014),
            ("an upstream that refuses", "forbidden", dict(password=token), UNAVAILABLE, 1014),
        ]
        for level in (3, 4, 5):
            for name, path, connect, codes, close in table:
                packets, code = refused(server, path, level, **connect)
                equal(code, close, f"{name}, level {level}")
                if not answers:
                    equal(packets, b"", f"{name}, level {level}: bare")
                elif codes:
                    equal(packets, connack(level, codes), f"{name}, level {level}")
                else:
                    check(packets in (connack(level, NOT_AUTHORISED), connack(level, BAD_CREDENTIALS)), name, packets)
            # One session of a subject is all there may be.
            first = Opened(server.port, "/good", fields=[OFFER])
            first.send(mqtt.connect(level, username="u", password=token))
            above = good.take()
            equal(refused(server, "good", level, password=token), (connack(level, QUOTA) if answers else b"", 4429), "a session too many")
            first.close()
            above.close()
            eventually(lambda: server.request("GET", "/readyz")[0].status == 200, "the place comes back")
            time.sleep(0.3)
        # What failed so often is not tried again.
        for _ in range(4):
            refused(server, "lost", 4, password=token)
        for level in (3, 4, 5):
            equal(refused(server, "lost", level, password=token), (connack(level, UNAVAILABLE) if answers else b"", 1013), "open breaker")
            equal(refused(server, "inspected", level, password=token)[1], 1013, "the endpoint's breaker is every route's")
        # Who is known before 101 learns it from the status.
        equal(Opened(server.port, "/header", issuer.token(sub="other"), [OFFER]).status, 502, "a status")
        server.end()


@case("jwt-mqtt-connack-keys")
def keys(context):
    """7.2: an issuer whose keys never came: CONNACK says the server is not available."""
    need()
    issuer, good = Issuer(context, "ES256"), RawUpstream(context, fields=[OFFER])
    server = native(context, issuer, ROUTE % ("good", "good", good.url, ""), issuer_url=f"http://127.0.0.1:{unused()}/", wait=False,
                    rest=f"  limits: {{ {LOOSE} }}\n")
    for level in (3, 4, 5):
        equal(refused(server, "good", level, password=issuer.token()), (connack(level, UNAVAILABLE), 1013), f"level {level}")


@case("jwt-topics-subscriptions")
def subscriptions(context):
    """17: so many subscriptions of a session, and what counts as one, with Mosquitto behind."""
    issuer, server = setting(context, more="  limits: { subscriptions: 3 }\n")
    token = issuer.token(sub="alice")
    for version in (paho.MQTTv311, paho.MQTTv5):
        refusal, quota = (0x87, 0x97) if version == paho.MQTTv5 else (0x80, 0x80)
        with client(server, version, token) as one:
            equal(one.subscribe(*[f"no/{number}" for number in range(20)]), [refusal] * 20, "what is refused")
            equal(one.subscribe("both/a", "no", "both/b", "both/a"), [1, refusal, 1, 1], "does not count, and a filter counts once")
            equal(one.subscribe("both/a", "both/c", "both/d"), [1, 1, quota], "one too many")
            equal(one.subscribe("both/d"), [quota], "and alone")
            one.client.unsubscribe(["both/b"])
            eventually(lambda: one.subscribe("both/d") == [1], "a place that was given back")
            one.publish("both/d", 1, b"heard")
            eventually(lambda: ("both/d", b"heard") in one.heard, "a subscription that works")
    # A session that the broker remembers: what counts is what this connection asks for.
    name = f"kept-{time.time_ns()}"
    for round in range(2):
        kept = paho_client(paho.MQTTv311, clean=False, client_id=name)
        granted, present = [], []
        kept.ws_set_options(path="/mqtt")
        kept.username_pw_set("u", token)
        kept.on_connect = lambda own, data, flags, *rest: (present.append(flags.session_present), own.subscribe(
            [(f"down/alice/{round}{number}", 1) for number in range(4)]))
        kept.on_subscribe = lambda *told: granted.append([code.value for code in told[3]])
        kept.connect("127.0.0.1", server.port, 30)
        kept.loop_start()
        eventually(lambda: granted, "a SUBACK")
        equal((present, granted), ([round == 1], [[1, 1, 1, 0x80]]), f"connection {round} of a kept session")
        kept.disconnect()
        kept.loop_stop()


@case("jwt-topics-rabbitmq", slow=True)
def with_rabbit(context):
    """T28 with RabbitMQ: rules and scopes; what is refused is answered here, and a SUBACK has the codes of both."""
    need()
    issuer, port = Issuer(context), rabbit(context)
    for name in ("name", "word"):
        (context.folder / name).write_text("guest")
    identity = f'mqtt: {{ username: "file:{context.folder}/name", password: "file:{context.folder}/word" }}'
    scopes = " ".join(f"rabbitmq.{scope}" for scope in (
        "write:%2F/amq.topic/up.alice.*", "write:%2F/amq.topic/both.*", "read:*/*/down.alice.*", "read:*/*/both.*"))
    for authz, claims in ((RULES % "drop", {}), ("{ mode: scopes, resource_server_id: rabbitmq }", {"scope": scopes})):
        server = native(context, issuer, ROUTE % ("mqtt", "mqtt", f"ws://127.0.0.1:{port}/ws", f", {identity}, authz: {authz}"))
        admin = issuer.token(sub="admin", realm_access={"roles": ["admin"]}, scope="rabbitmq.write:*/*/* rabbitmq.read:*/*/*")
        for version in (paho.MQTTv31, paho.MQTTv311):
            with client(server, version, admin) as watcher, client(server, version, issuer.token(sub="alice", **claims)) as alice:
                # Scopes take filters literally, and `*` covers any run: RabbitMQ's own wildcard for all levels is another character.
                equal(watcher.subscribe("up/+/t"), [1], "an admin's subscription")
                for qos in (0, 1):
                    alice.publish("up/bob/t", qos, b"bad")
                    alice.publish("up/alice/t", qos, b"good%d" % qos)
                eventually(lambda: len([1 for _, payload in watcher.heard if payload.startswith(b"good")]) == 2, "two good messages")
                equal([payload for _, payload in watcher.heard if payload == b"bad"], [], "a refused message reached the broker")
                equal(alice.subscribe("down/alice/+", "down/bob/+", "both/x", "other"), [1, 0x80, 1, 0x80], "a SUBACK with holes")
                equal(alice.subscribe("down/bob/x", "other"), [0x80, 0x80], "a SUBACK of refusals only")
                watcher.publish("down/bob/a", 1, b"for bob")
                watcher.publish("down/alice/a", 1, b"for alice")
                eventually(lambda: ("down/alice/a", b"for alice") in alice.heard, "what alice may hear")
                equal([topic for topic, _ in alice.heard if topic.startswith("down/bob")], [], "what she may not")
        server.end()


@case("jwt-mqtt-disconnects")
def disconnects(context):
    """16: rate, quota, an administrator's close, a message that is too long: each with its reason for MQTT 5, and none for 3.1.1."""
    issuer, server = setting(context, RULES % "drop" + ", limits: { max_message: 4KiB }",
                             "  limits: { packet: 2KiB, sessions_per_subject: 1, evict: oldest }\n"
                             "  rate: { messages_per_second: 5, burst: 10, action: close, scope: session }\n")
    token = issuer.token(sub="alice")
    for level in (5, 4):
        def told(reason):
            return b"\xe0\x01" + bytes([reason]) if level == 5 else b""
        with raw(server, level, token) as (stream, _):
            for number in range(20):
                try:
                    stream.send(publish_packet("both/t", b"%d" % number, level=level))
                except Exception:
                    break
            equal(ended(stream)[:2], (told(0x96), 4429), f"level {level}, rate")
        with raw(server, level, token) as (stream, _):
            stream.send(publish_packet("both/t", bytes(3000), level=level))
            equal(ended(stream)[:2], (told(0x95), 1009), f"level {level}, a packet too long")
        with raw(server, level, token) as (stream, _):
            stream.send(publish_packet("both/t", bytes(100), level=level) * 100)
            equal(ended(stream)[:2], (told(0x95), 1009), f"level {level}, a message too long")
        with raw(server, level, token) as (stream, _), raw(server, level, token) as (second, _):
            equal(ended(stream)[:2], (told(0x97), 4429), f"level {level}, a newer session of the same subject")
            second.send(packet(0xC0, b""))
            equal(second.recv(timeout=5), b"\xd0\0", "which lives")


@case("jwt-topics-aliases")
def aliases(context):
    """T28: an alias is judged as the topic it stands for, whoever set it last, with Mosquitto behind."""
    issuer, server = setting(context)
    with raw(server, 5, issuer.token(sub="alice")) as (stream, _):
        stream.send(packet(0x82, b"\0\1\0" + struct.pack(">H", 6) + b"both/+" + b"\0"))
        for topic, payload, number in (("both/a", b"one", 0), ("", b"two", 0), ("no", b"three", 9), ("", b"four", 10), ("", b"five", 0),
                                       ("both/b", b"six", 0), ("", b"seven", 0)):
            stream.send(publish_packet(topic, payload, qos=1 if number else 0, number=number, alias=1, level=5))
        found = b""
        while b"seven" not in found:
            found += stream.recv(timeout=10)
        check(all(word in found for word in (b"one", b"two", b"six", b"\x40\3\0\x09\x87", b"\x40\3\0\x0a\x87")), "what passed", found)
        check(not any(word in found for word in (b"three", b"four", b"five")), "what did not", found)
