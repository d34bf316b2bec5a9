"""The JWT proxy's keys while handshakes go on at 500 a second: rotation, issuers that fail in every way, names nobody has."""
import base64
import json
import threading
import time

from cases_jwt import native, need
from handshakes import Opened, Stream
from harness import case, check, equal, eventually

try:
    from issuer import AUDIENCE, Issuer
except ImportError:
    pass  # cases_jwt says what is missing
from services import websocket_echo

ROUTE = '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "ws://127.0.0.1:%d/" }]%s }'
NO_LIMITS = """  limits: { handshakes_per_second: 0, handshakes_per_ip: 10000, connections_per_ip: 0, failures_per_minute: 0,
            sessions_per_subject: 0 }"""
# Longer than any handshake that asks nobody, whatever else the machine does, and no longer than one that waits for an issuer: that
# takes 2 s for a key, 5 s for an answer.
WAITED_SECONDS = 2
LOAD_SECONDS = 3


def refreshes(server):
    """What fetches came to, by provider and result."""
    samples, _ = server.metrics()
    return {name: value for name, value in samples.items() if name.startswith("ws_jwks_refresh_total")}


def all_well(stream, least):
    """Everybody was let in, and nobody waited for an issuer."""
    equal(stream.faults[:1], [], "handshakes that failed")
    equal(list(stream.statuses()), [101], f"answers {stream.statuses()}")
    check(len(stream.done) >= least, "handshakes", len(stream.done))
    slow = [seconds for _, seconds, _ in stream.done if seconds >= WAITED_SECONDS]
    equal(slow[:3], [], "handshakes that waited for an issuer")


@case("jwt-keys-rotation")
def rotation(context):
    """T9: keys that are published before they sign, and when they first do, under 500 handshakes a second: nobody is refused."""
    need()
    issuer = Issuer(context, "ES256")
    server = native(context, issuer, ROUTE % (websocket_echo(context), ""), ", min_refetch: 1s", NO_LIMITS)
    token = lambda number: issuer.token(sub=f"s{number % 100}", jti=f"j{number}")
    with Stream(server.port, token) as stream:
        for name in ("second", "third", "fourth"):
            time.sleep(1)
            issuer.rotate(name)
        time.sleep(1)
        # Published ahead: known to the gateway before anybody shows it.
        issuer.rotate("ahead")
        issuer.current = "fourth"
        known = Opened(server.port, token=issuer.token(key_id="ahead"))
        known.close()
        issuer.current = "ahead"
        time.sleep(0.5)
    equal(stream.faults[:1], [], "handshakes that failed")
    equal(list(stream.statuses()), [101], f"answers {stream.statuses()}")
    check(len(issuer.requests) <= 6, "one fetch at the start, and one for each rotation", len(issuer.requests))
    context.note(stream.summary())


@case("jwt-keys-outages")
def outages(context):
    """T10: seven issuers that fail, each in a way of its own, while 500 handshakes a second go on with the keys there were."""
    need()
    kinds = ("down", "slow", "error", "garbage", "empty", "huge", "redirect")
    issuers = {kind: Issuer(context, "ES256", f"https://{kind}.test/") for kind in kinds}
    providers = "".join(
        f'    - {{ name: {kind}, issuer: "{issuer.name}", audiences: [{AUDIENCE}], jwks_url: "{issuer.url}", jwks_allow_http: true,'
        f' algorithms: [ES256], min_refetch: 1s }}\n' for kind, issuer in issuers.items())
    path = context.folder / "sluice.yaml"
    route = ROUTE % (websocket_echo(context), f", auth: {{ providers: [{', '.join(kinds)}] }}")
    path.write_text(f'listeners: [{{ name: public, address: "127.0.0.1:0", features: [jwt] }}]\njwt:\n  metrics: {{ public: "true" }}\n'
                    f"  providers:\n{providers}  routes:\n    - {route}\n{NO_LIMITS}\n")
    server = context.server(["--config", str(path)], private=False, SESSION_SECRET=None, DNS_UPSTREAMS=None, HOST=None, PORT=None)
    eventually(lambda: server.request("GET", "/readyz")[0].status == 200, "ready", 20)
    issuers["down"].stop()
    issuers["slow"].delay = 30
    issuers["error"].status = 500
    issuers["garbage"].body = b"<html>not a key set" * 50
    issuers["empty"].body = b'{"keys":[]}'
    issuers["huge"].body = b'{"keys":[' + b" " * (10 << 20) + b"]}"
    issuers["redirect"].status, issuers["redirect"].fields = 302, {"Location": issuers["error"].url + "/moved"}
    asked = {kind: len(issuer.requests) for kind, issuer in issuers.items()}
    stopped, answers = threading.Event(), []

    def provoke():
        """Names of keys that nobody has: each lets the gateway ask its issuer as often as it may."""
        number = 0
        while not stopped.is_set():
            for kind in kinds:
                number += 1
                issuer = issuers[kind]
                opened = Opened(server.port, token=issuer.token(headers={"kid": f"unknown{number}"}, jti=f"u{number}"))
                answers.append(opened.status)
                opened.close()
            time.sleep(0.1)

    provokers = [threading.Thread(target=provoke, daemon=True) for _ in range(3)]
    token = lambda number: issuers[kinds[number % len(kinds)]].token(sub=f"s{number % 100}", jti=f"j{number}")
    with Stream(server.port, token) as stream:
        for provoker in provokers:
            provoker.start()
        time.sleep(LOAD_SECONDS)
        stopped.set()
    for provoker in provokers:
        provoker.join(30)
    all_well(stream, 300)
    equal(set(answers), {401}, "tokens with a key nobody has")
    for kind, issuer in issuers.items():
        if kind != "down":
            check(len(issuer.requests) > asked[kind], f"the issuer {kind} was asked meanwhile", len(issuer.requests))
            check(all("moved" not in path for _, path in issuer.requests), "a redirect was followed")
    # The slow one held its first fetch from then on: what was let in meanwhile did not wait for it.
    began = next(began for began, _ in issuers["slow"].requests[asked["slow"]:])
    check(stream.during(began, began + 5) >= 100, "handshakes while a fetch is under way", stream.during(began, began + 5))
    context.note(stream.summary())
    for kind in kinds:
        # The slow one is given up after 5 s.
        eventually(lambda: any(f'provider="{kind}"' in name and 'result="ok"' not in name for name in refreshes(server)),
                   f"failed fetches of {kind} are counted", 10)
    # Whoever comes back is believed again, with another key.
    issuer = issuers["error"]
    issuer.status = 200
    issuer.rotate("after")
    eventually(lambda: Opened(server.port, token=issuer.token()).status == 101, "the issuer came back", 20)


@case("jwt-keys-flood")
def flood(context):
    """T11: thousands of random names of keys cost six fetches in ten seconds at most, and the valid are let in beside them."""
    need()
    issuer = Issuer(context, "ES256")
    server = native(context, issuer, ROUTE % (websocket_echo(context), ""), rest=NO_LIMITS)
    fetched, began, counts = len(issuer.requests), time.monotonic(), []
    valid = issuer.token()
    head, body, signature = valid.split(".")

    def unknown(number):
        name = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": f"k{number}"}).encode()).rstrip(b"=").decode()
        return f"{name}.{body}.{signature}"

    def attack(first):
        refused = 0
        for number in range(first, first + 1000):
            if time.monotonic() - began > 8:
                break
            opened = Opened(server.port, token=unknown(number))
            refused += opened.status == 401
            opened.close()
        counts.append(refused)

    attackers = [threading.Thread(target=attack, args=(first * 1000,), daemon=True) for first in range(4)]
    with Stream(server.port, lambda number: issuer.token(jti=f"j{number}"), rate=50, threads=1) as stream:
        for attacker in attackers:
            attacker.start()
        for attacker in attackers:
            attacker.join(60)
    took = time.monotonic() - began
    check(sum(counts) >= 500, "refused names", counts)
    check(len(issuer.requests) - fetched <= 6 + took // 10, "fetches", len(issuer.requests) - fetched, took)
    all_well(stream, 20)
    context.note(f"{sum(counts)} unknown names in {took:.1f} s cost {len(issuer.requests) - fetched} fetches")
    eventually(lambda: Opened(server.port, token=issuer.token()).status == 101, "valid afterwards")
