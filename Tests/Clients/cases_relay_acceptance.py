"""The relay's acceptance checklist where no case of its own has it: every row of its paths, origins, and what ends a /udp WebSocket."""
import json
import re

from cases_udp import ending, library, open_udp, ready_of, refusal, round_trip
from harness import case, check, equal
from relay import Echo, Relay, frame1, frame2, token

APP = "https://app.example"
UNCACHED = {"Cache-Control": "no-store", "Pragma": "no-cache", "Expires": "0"}
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
# What is refused as a body: one byte more than 2 MiB.
TOO_LARGE = (2 << 20) + 1


def answer(server, method, path, headers=(), body=None):
    """(status, fields, body) of a request; every answer has an id."""
    response, data = server.request(method, path, headers, body)
    check(re.fullmatch("[0-9a-f]{32}", response.getheader("X-Request-ID") or ""), f"{method} {path}: an id", response.getheaders())
    return response.status, dict(response.getheaders()), data


@case("relay_acceptance_paths")
def paths(context):
    """Section 2: each path with its success, HEAD, its Allow, and nothing beside it."""
    server = Relay(context, AUTH_MODE="api_key", API_KEY="k")
    key = {"X-API-Key": "k"}
    reads = {"/healthz": b'{"ok":true}\n', "/readyz": b'{"ready":true}\n', "/version": None, "/metrics": None,
             "/webrtc/ice": b'{"iceServers":[]}\n'}
    for path, wanted in reads.items():
        status, fields, body = answer(server, "GET", path, key)
        equal(status, 200, path)
        equal(fields["Content-Type"], "text/plain; version=0.0.4; charset=utf-8" if path == "/metrics" else "application/json", path)
        check(wanted is None or body == wanted, f"body of {path}", body)
        status, head, body = answer(server, "HEAD", path, key)
        equal((status, head["Content-Type"], body), (200, fields["Content-Type"], b""), f"HEAD {path}")
        status, fields, _ = answer(server, "POST", path, key, b"")
        equal((status, fields["Allow"]), (405, "GET, HEAD"), f"POST {path}")
        equal(answer(server, "GET", path + "/", key)[0], 404, f"{path}/")
    check({"commit", "buildTime"} <= set(json.loads(answer(server, "GET", "/version")[2])), "/version")
    for path in ("/session", "/offer", "/webrtc/offer"):
        status, fields, _ = answer(server, "GET", path, key)
        equal((status, fields["Allow"]), (405, "POST"), f"GET {path}")
    for path in ("/udp", "/webrtc/signal"):
        equal(answer(server, "POST", path, key, b"")[0], 405, f"POST {path}")
        for headers in ({}, {**UPGRADE, "Sec-WebSocket-Version": "12"}, {**UPGRADE, "Sec-WebSocket-Key": "c2hvcnQ="}):
            status, fields, body = answer(server, "GET", path, {**headers, **key})
            found = (status, fields["Content-Type"], json.loads(body)["code"])
            equal(found, (400, "application/json", "bad_message"), f"{path} {headers}")
            equal(json.loads(body).get("type"), "error" if path == "/udp" else None, f"the shape of an error of {path}")
    for path in ("/", "/nope", "/udp-relay/token", "/udpx", "/webrtc", "/webrtc/"):
        equal(answer(server, "GET", path)[0], 404, path)
    for path in ("/webrtc/ice", "/session"):
        status, _, body = answer(server, "POST" if path == "/session" else "GET", path)
        equal((status, json.loads(body)["code"]), (401, "unauthorized"), f"{path} without a credential")
    status, fields, body = answer(server, "POST", "/session", key, b"")
    equal((status, fields["Content-Type"]), (201, "text/plain; charset=utf-8"), "/session")
    check(re.fullmatch(b"[0-9a-f]{32}", body), "its body is the id and nothing else", body)
    response, body = server.request("POST", "/offer", {**key, "Content-Length": str(TOO_LARGE)}, b"x")
    equal((response.status, json.loads(body)["code"]), (400, "bad_message"), "a body over 2 MiB")
    response, _ = server.request("GET", "/healthz", {"X-Request-ID": "given"})
    equal(response.getheader("X-Request-ID"), "given", "an id that was given")


@case("relay_acceptance_origins")
def origins(context):
    """Section 3, and the fields of /webrtc/ice on every answer it has."""
    server = Relay(context, AUTH_MODE="api_key", API_KEY="k", ALLOWED_ORIGINS=APP)
    key, stranger = {"X-API-Key": "k"}, {"Origin": "https://stranger.example"}
    for path in ("/healthz", "/metrics", "/nope", "/webrtc/ice", "/udp"):
        status, fields, body = answer(server, "GET", path, stranger)
        equal((status, json.loads(body)["code"]), (403, "forbidden"), f"a stranger at {path}")
        check("Access-Control-Allow-Origin" not in fields, f"nothing is allowed to a stranger at {path}", fields)
    equal(answer(server, "GET", "/udp", {**UPGRADE, **stranger})[0], 403, "a stranger's upgrade")
    equal(answer(server, "GET", "/healthz", [("Origin", APP), ("Origin", APP)])[0], 403, "two origins")
    equal(answer(server, "GET", "/healthz", {"Origin": " "})[0], 200, "a blank one is none")
    allowed = {"Access-Control-Allow-Origin": APP, "Access-Control-Allow-Credentials": "true",
               "Access-Control-Expose-Headers": "X-Request-ID", "Vary": "Origin"}
    for method, path, wanted in (("GET", "/healthz", 200), ("GET", "/nope", 404), ("POST", "/healthz", 405), ("GET", "/webrtc/ice", 401)):
        status, fields, _ = answer(server, method, path, {"Origin": "HTTPS://APP.example:443"})
        equal((status, {name: fields.get(name) for name in allowed}), (wanted, allowed), f"{method} {path} of an allowed origin")
    for path in ("/webrtc/ice", "/offer", "/nope"):
        status, fields, _ = answer(server, "OPTIONS", path, {"Origin": APP, "Access-Control-Request-Method": "POST",
                                                             "Access-Control-Request-Headers": "authorization, x-api-key"})
        permission = [fields.get("Access-Control-" + name) for name in ("Allow-Methods", "Allow-Headers", "Max-Age", "Allow-Origin")]
        equal((status, permission), (204, ["GET,POST,PUT,PATCH,DELETE,OPTIONS", "authorization, x-api-key", "600", APP]), path)
        equal(answer(server, "OPTIONS", path, {"Origin": APP})[0], 405, f"no preflight at {path}")
    bad = Relay(context, AERO_STUN_URLS="x")
    for name, relay, method, headers, wanted in (
            ("good", server, "GET", key, 200), ("no credential", server, "GET", {}, 401), ("a stranger", server, "GET", stranger, 403),
            ("HEAD", server, "HEAD", key, 200), ("HEAD without a credential", server, "HEAD", {}, 401),
            ("a bad list", bad, "GET", {}, 503)):
        status, fields, _ = answer(relay, method, "/webrtc/ice", headers)
        equal((status, {field: fields.get(field) for field in UNCACHED}), (wanted, UNCACHED), f"/webrtc/ice: {name}")


@case("udp_acceptance")
def udp(context):
    """`ready` first, a bad frame and then a good one, what ends a WebSocket and what does not, the counters of all that."""
    echo = Echo(context)
    server = Relay(context, AUTH_MODE="jwt", JWT_SECRET="test-jwt-secret", MAX_SESSIONS=1, MAX_DATAGRAM_PAYLOAD_BYTES=100)
    first = open_udp(server, "/udp?token=" + token("A"))
    for sid, code in (("A", "session_already_active"), ("B", "too_many_sessions")):
        refusal(open_udp(server, "/udp?token=" + token(sid), ready=False), code, 1013, code.replace("_", " "), f"sid {sid}")
    first.send(bytes(7))
    first.send(frame1(1, echo.remote, b"x" * 101))
    # P + 24 bytes are a message that is looked at: a payload of P behind the longest header, and one that is too long behind a short one.
    first.send(frame1(1, echo.remote, b"x" * 116))
    first.send(frame2(1, ("::1", 0), b"x" * 100))
    round_trip(first, frame1(1, echo.remote, b"x" * 100), "a good frame behind bad ones")
    first.send('{"type":"auth","token":"redundant"}')
    round_trip(first, frame2(1, echo.remote, b"again"), "behind a redundant credential", frame1(1, echo.remote, b"again"))
    first.send(bytes(125))
    equal(ending(first), ([], (1009, "")), "a message of P + 25 bytes")
    second = open_udp(server, "/udp?token=" + token("A"))
    second.send('{"type":"hello"}')
    refusal(second, "bad_message", 1003, "expected binary message", "other text")
    third = open_udp(server, "/udp?token=" + token("B"))
    third.close()
    # The close event of the client, and at once another session of the same sid.
    for _ in range(20):
        again = open_udp(server, "/udp?token=" + token("B"))
        again.close()
    wanted = {"udp_ws_connections": 25, "udp_ws_datagrams_in": 6, "udp_ws_datagrams_out": 2, "udp_ws_dropped": 5,
              "udp_ws_dropped_malformed": 1,
              "udp_ws_dropped_oversized": 3, "udp_ws_dropped_denied_by_policy": 1, "udp_ws_dropped_rate_limited": 0,
              "udp_ws_dropped_quota_exceeded": 0, "udp_ws_dropped_backpressure": 0, "too_many_sessions": 1, "auth_failure": 0}
    events = server.events()
    equal({name: events[name] for name in wanted}, wanted, "events")
    # Before `ready` nothing is lost: frames behind the credential are dealt with after it.
    server = Relay(context, AUTH_MODE="api_key", API_KEY="k")
    with library()(server.url(), compression=None) as client:
        client.send('{"type":"auth","apiKey":"k","more":1}')
        client.send(frame1(2, echo.remote, b"early"))
        ready_of(client)
        equal(client.recv(5), frame1(2, echo.remote, b"early"), "a frame that was sent before `ready` came")


@case("relay_acceptance_warnings")
def warnings(context):
    """Section 16: a warning at the start for each doubtful setting, by its code, and none without."""
    careful = dict(AUTH_MODE="api_key", API_KEY="k", DESTINATION_POLICY_PRESET="prod", MAX_SESSIONS=5,
                   AERO_WEBRTC_UDP_RELAY_MODE="prod", L2_BACKEND_AUTH_FORWARD_MODE="none")

    def codes(**changes):
        server = Relay(context, **{**careful, **changes})
        found = [(record["warning_code"], record["level"]) for record in server.records() if "warning_code" in record]
        check(all(level == 40 for _, level in found), "the level of warnings", found)
        server.end()
        return {code for code, _ in found}
    equal(codes(), set(), "a careful configuration")
    for code, changes in {
            "udp_inbound_filter_mode_any": dict(UDP_INBOUND_FILTER_MODE="any"), "auth_mode_none": dict(AUTH_MODE="none"),
            "allowed_origins_wildcard": dict(ALLOWED_ORIGINS="*"), "destination_policy_preset_dev": dict(DESTINATION_POLICY_PRESET="dev"),
            "allow_private_networks_in_prod": dict(ALLOW_PRIVATE_NETWORKS="true"), "max_sessions_unlimited_in_prod": dict(MAX_SESSIONS=0),
            "webrtc_session_connect_timeout_large": dict(WEBRTC_SESSION_CONNECT_TIMEOUT="121s"),
            "webrtc_datachannel_max_message_large": dict(WEBRTC_DATACHANNEL_MAX_MESSAGE_BYTES=(1 << 20) + 1),
            "webrtc_sctp_max_receive_buffer_large": dict(WEBRTC_SCTP_MAX_RECEIVE_BUFFER_BYTES=(8 << 20) + 1),
            "l2_backend_auth_forward_mode_query": dict(L2_BACKEND_AUTH_FORWARD_MODE="query")}.items():
        equal(codes(**changes), {code}, f"warnings with {changes}")
