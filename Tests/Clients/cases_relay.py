"""The UDP relay over HTTP and its configuration: what was observed of it, its origin policy, places, metrics, and lifecycle."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

from harness import Failure, case, check, equal, eventually, vectors
from relay import HOST, Relay, environment, token

# Reservations of the observation with several steps hold a `sid`; each name of a token stands for one.
TOKENS = {"<sid S1, token 1>": "S1", "<sid S1, token 2>": "S1", "<sid S2>": "S2", "<good>": "G"}
# WebRTC comes later: these answer 404 where they would judge an SDP.
SIGNALLING = ("/webrtc/offer", "/offer", "/webrtc/signal")


def ask(server, request):
    """One request of the vectors, on a connection of its own."""
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    try:
        path = request["path"].replace("<good>", token("G"))
        connection.putrequest(request["method"], path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", HOST)
        for name, value in request.get("headers", []):
            connection.putheader(name, value.replace("<good>", token("G")))
        if "bearer" in request:
            connection.putheader("Authorization", "Bearer " + token(TOKENS[request["bearer"]]))
        body = request.get("body")
        if body is not None:
            body = b"a" * 2097153 if body.startswith("2097153") else body.encode()
            connection.putheader("Content-Length", str(len(body)))
        try:
            connection.endheaders(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused by its length before it was read
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def compare(server, step, fields):
    request, wanted = step["request"], step["response"]
    response, body = ask(server, request)
    name = f"{request['method']} {request['path']} {request.get('headers', '')} {request.get('body', '')[:40]} with {step['config']}"
    text = body.decode()
    served = {name.lower(): value for name, value in response.getheaders()}
    check("x-request-id" in served, f"{name}: no X-Request-ID")
    isSignalling = request["path"] in SIGNALLING and wanted["status"] not in (403, 405, 204) and "websocket" not in str(request).lower()
    if isSignalling and not (request["path"] == "/webrtc/signal" and wanted["status"] == 400):
        if "2097153" in request.get("body", ""):
            equal(response.status, 400, name)
        else:
            equal((response.status, json.loads(text)["code"]), (404, "not_found"), name)
        return
    equal(response.status, wanted["status"], name)
    if "json" in wanted and request["method"] != "HEAD":
        expected = json.loads(json.dumps(wanted["json"]))
        found = json.loads(text)
        for key, value in expected.items():
            if value == "<text>":
                check(isinstance(found.pop(key), str), f"{name}: {key}", text)
            else:
                equal(found.pop(key), value, f"{name}: {key}")
        equal(found, {}, f"{name}: further members")
    if "code" in wanted:
        found = json.loads(text)
        equal(found["code"], wanted["code"], name)
        equal(found.get("type") == "error", wanted["isUdpShape"], f"{name}: shape")
    for field in fields:
        equal(served.get(field), wanted["headers"].get(field), f"{name}: {field}")


FIELDS = ["allow", "cache-control", "pragma", "expires", "vary", "access-control-allow-origin", "access-control-allow-credentials",
          "access-control-expose-headers", "access-control-allow-methods", "access-control-allow-headers", "access-control-max-age"]


@case("relay_http_observed")
def relay_http_observed(context):
    observed = vectors("observed-udp-relay.json")
    servers = {name: Relay(context, **settings) for name, settings in observed["httpConfigs"].items()}
    for step in observed["http"]:
        compare(servers[step["config"]], step, FIELDS + (["content-type"] if step["response"]["headers"].get("content-type") else []))
    for sequence in ("httpSidSequence", "httpMaxSessionsSequence"):
        for step in observed[sequence]:
            if step["request"]["path"] not in SIGNALLING:
                compare(servers[step["config"]], step, FIELDS)
    context.note(f"{len(observed['http'])} requests as observed; signalling answers 404 with JSON until WebRTC is there")


@case("relay_configuration_observed")
def relay_configuration_observed(context):
    cases = vectors("observed-udp-relay.json")["configuration"]["cases"]
    base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    for one in cases:
        arguments = one.get("args", [])
        if not any("listen-addr" in argument for argument in arguments):
            arguments = ["--listen-addr", "127.0.0.1:8080"] + arguments
        found = subprocess.run([str(context.binary), "check", *arguments], env={**base, **one["env"]}, capture_output=True, text=True,
                               timeout=20)
        name = f"{one['env']} {one.get('args', '')}"
        if one.get("startupError"):
            equal(found.returncode, 2, name + found.stdout[-300:])
            check(found.stderr.strip(), f"{name}: no word of what is wrong")
        else:
            equal(found.returncode, 0, name + " " + found.stderr)
            effective(name, found.stdout, one.get("effective") or one.get("effectiveDiff"))
    context.note(f"{len(cases)} configurations as observed")


# The observation's names of values that the effective configuration prints, with how they are printed there.
PRINTED = {
    "preferV2": ("  prefer_v2: ", lambda value: "true" if value else "false"),
    "maxDatagramPayloadBytes": ("  max_payload: ", lambda value: f"{value}B"),
    "maxSessions": ("  max_sessions: ", str),
    "signalingAuthTimeoutMs": ("  auth_timeout: ", lambda value: f"{value // 1000}s"),
}


def effective(name, text, values):
    for key, (prefix, printed) in PRINTED.items():
        if key not in values:
            continue
        line = next(line for line in text.splitlines() if line.startswith(prefix))
        equal(line[len(prefix):].split()[0], printed(values[key]), f"{name}: {key}")


@case("relay_start")
def relay_start(context):
    """As the relay's harnesses start it: dozens of empty variables, and the exit status of what is wrong."""
    base = environment({"AUTH_MODE": "", "API_KEY": ""})
    command = [str(context.binary), "serve", "--listen-addr", "127.0.0.1:0"]
    found = subprocess.run(command, env=base, capture_output=True, text=True, timeout=20)
    equal(found.returncode, 2, "nobody could use it")
    check("API_KEY" in found.stderr, "the remedy is not named", found.stderr)
    found = subprocess.run(command, env=environment({"MAX_SESSIONS": "x"}), capture_output=True, text=True, timeout=20)
    equal(found.returncode, 2, "a bad number")
    check("MAX_SESSIONS" in found.stderr and "`x`" in found.stderr, "key and value are not named", found.stderr)
    found = subprocess.run(command + ["--max-sesions", "3"], env=base, capture_output=True, text=True, timeout=20)
    equal(found.returncode, 2, "an unknown flag")
    check("--max-sessions" in found.stderr, "the nearest flag is not named", found.stderr)
    empty = {name: "" for name in ("API_KEY", "JWT_SECRET", "MAX_SESSIONS", "PREFER_V2", "UDP_READ_BUFFER_BYTES",
                                   "L2_BACKEND_WS_URL", "WEBRTC_UDP_PORT_MIN", "AERO_WEBRTC_UDP_RELAY_LISTEN_ADDR", "ALLOWED_ORIGINS")}
    found = subprocess.run([str(context.binary), "--listen-addr", "nowhere"], env=environment({}), capture_output=True, text=True, timeout=20)
    equal(found.returncode, 2, "no address, and no command: " + found.stderr)
    server = Relay(context, AERO_WEBRTC_UDP_RELAY_PUBLIC_BASE_URL="https://relay.example/", AERO_ICE_SERVERS_JSON="[{}]", **empty)
    equal([record["public_base_url"] for record in server.records() if record["msg"] == "udp relay"], ["https://relay.example"], "the URL")
    equal([record["msg"] for record in server.records() if record["level"] == 40 and "warning_code" not in record],
          ["ICE servers: element 1 has no URL (udp.ice_servers, AERO_ICE_SERVERS_JSON or its parts); until then GET /webrtc/ice answers 503"],
          "other warnings")
    taken = subprocess.run([str(context.binary), "serve", "--listen-addr", f"127.0.0.1:{server.port}"], env=environment({}),
                           capture_output=True, text=True, timeout=20)
    equal(taken.returncode, 1, "a taken port " + taken.stderr)
    codes = {record.get("warning_code") for record in server.records() if record.get("warning_code")}
    equal(codes, {"auth_mode_none", "destination_policy_preset_dev"}, "warnings")
    server = Relay(context, AUTH_MODE="api_key", API_KEY="k", AERO_WEBRTC_UDP_RELAY_MODE="prod", DESTINATION_POLICY_PRESET="",
                   ALLOW_PRIVATE_NETWORKS="1", ALLOWED_ORIGINS="*", UDP_INBOUND_FILTER_MODE="any",
                   WEBRTC_DATACHANNEL_MAX_MESSAGE_BYTES=5 << 20, WEBRTC_SESSION_CONNECT_TIMEOUT="3m")
    codes = {record.get("warning_code") for record in server.records() if record.get("warning_code")}
    equal(codes, {"udp_inbound_filter_mode_any", "allowed_origins_wildcard", "allow_private_networks_in_prod",
                  "max_sessions_unlimited_in_prod", "webrtc_datachannel_max_message_large", "webrtc_sctp_max_receive_buffer_large",
                  "webrtc_session_connect_timeout_large", "l2_backend_auth_forward_mode_query"}, "warnings in production")
    log = server.log_path.read_text()
    check('"k"' not in log, "the key is in the log")


@case("relay_file")
def relay_file(context):
    """The same in a file, with line and key of what is wrong, and a secret from a file of its own."""
    path = context.folder / "sluice.yaml"
    key = context.folder / "key"
    key.write_text("of-the-file\n")
    path.write_text(f"""udp:
  listen_address: "127.0.0.1:0"
  auth_mode: api_key
  api_key_file: {key}
  max_sesions: 4
""")
    base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    found = subprocess.run([str(context.binary), "check", "--config", str(path)], env=base, capture_output=True, text=True, timeout=20)
    equal(found.returncode, 2, "an unknown key")
    check("sluice.yaml:5:" in found.stderr and "udp.max_sessions" in found.stderr, "line and nearest key", found.stderr)
    path.write_text(path.read_text().replace("max_sesions: 4", "max_sessions: 4\n  allowed_cidrs: [192.0.2.0/24, \"2001:db8::/32\"]"))
    found = subprocess.run([str(context.binary), "check", "--config", str(path)], env=base, capture_output=True, text=True, timeout=20)
    equal((found.returncode, found.stderr), (0, ""), "a sound file")
    check("of-the-file" not in found.stdout, "the key is printed")
    again = context.folder / "again.yaml"
    again.write_text(found.stdout)
    found = subprocess.run([str(context.binary), "check", "--config", str(again)], env={**base, "API_KEY": "k"}, capture_output=True,
                           text=True, timeout=20)
    equal((found.returncode, found.stderr), (0, ""), "the printed configuration loads again")


@case("relay_ice")
def relay_ice(context):
    server = Relay(context, AERO_ICE_SERVERS_JSON='[{"urls":"stun:a"},{"urls":["turn:b","turns:c"]}]', TURN_REST_SHARED_SECRET="s",
                   TURN_REST_TTL_SECONDS=60)
    response, body = server.request("GET", "/webrtc/ice")
    servers = json.loads(body)["iceServers"]
    equal(servers[0], {"urls": ["stun:a"], "credentialType": "password"}, "the STUN server")
    expiry, prefix, random = servers[1]["username"].split(":")
    check(abs(int(expiry) - time.time() - 60) < 5 and prefix == "aero" and re.fullmatch("[0-9a-f]{32}", random), "the user", servers[1])
    import base64, hashlib, hmac
    expected = base64.b64encode(hmac.new(b"s", servers[1]["username"].encode(), hashlib.sha1).digest()).decode()
    equal(servers[1]["credential"], expected, "the password")
    for path in ("/webrtc/ice", "/webrtc/ice"):
        response, _ = server.request("HEAD", path)
        equal((response.status, response.getheader("Cache-Control"), response.getheader("Expires")), (200, "no-store", "0"), "HEAD")


@case("relay_metrics")
def relay_metrics(context):
    server = Relay(context, AUTH_MODE="api_key", API_KEY="k")
    server.request("GET", "/webrtc/ice")
    _, body = server.request("GET", "/metrics")
    lines = [line for line in body.decode().splitlines() if line.startswith("aero_webrtc_udp_relay_events_total")]
    for line in lines:
        check(re.fullmatch(r'aero_webrtc_udp_relay_events_total\{event="[a-z0-9_]+"\} [0-9]+', line), "the shape of a line", line)
    equal(lines, sorted(lines), "the order")
    equal(len(lines), len(set(lines)), "lines are there once")
    specified = {"auth_failure", "too_many_sessions", "rate_limited", "quota_exceeded", "too_many_destinations", "session_hard_closed",
                 "webrtc_session_connect_timeout", "ice_gathering_timeout", "udp_remote_allowlist_evictions_total",
                 "udp_remote_allowlist_overflow_drops_total", "udp_per_dest_bucket_evictions", "udp_ws_connections",
                 "udp_ws_datagrams_in", "udp_ws_datagrams_out", "udp_ws_dropped", "udp_ws_dropped_malformed", "udp_ws_dropped_oversized",
                 "udp_ws_dropped_denied_by_policy", "udp_ws_dropped_rate_limited", "udp_ws_dropped_quota_exceeded",
                 "udp_ws_dropped_backpressure", "webrtc_udp_datagrams_in", "webrtc_udp_dropped_too_many_bindings",
                 "l2_bridge_dials_total", "l2_bridge_dropped_rate_limited_total"}
    events = server.events()
    equal(specified - set(events), set(), "events that are not there")
    equal(events["auth_failure"], 1, "auth_failure")
    head = body.decode()
    check("# HELP aero_webrtc_udp_relay_events_total Internal event counters.\n# TYPE aero_webrtc_udp_relay_events_total counter\n" in head,
          "the head of the family")


@case("relay_reservation_ends")
def relay_reservation_ends(context):
    server = Relay(context, AUTH_MODE="jwt", JWT_SECRET="test-jwt-secret", SESSION_PREALLOC_TTL="1s", MAX_SESSIONS=2)

    def reserve(sid):
        return server.request("POST", "/session", {"Authorization": "Bearer " + token(sid)})
    response, body = reserve("A")
    equal(response.status, 201, "the first")
    check(re.fullmatch(b"[0-9a-f]{32}", body), "the id", body)
    began = time.monotonic()
    equal(reserve("A")[0].status, 409, "another token of the same sid")
    equal(reserve("B")[0].status, 201, "another sid")
    equal(reserve("C")[0].status, 503, "no place is left")
    equal(reserve("A")[0].status, 409, "the same sid comes before the number of places")
    eventually(lambda: reserve("A")[0].status == 201, "free after its time", 3)
    check(time.monotonic() - began > 0.9, "it was free too early")
    equal(server.events()["too_many_sessions"], 1, "too_many_sessions")


@case("relay_slow_head")
def relay_slow_head(context):
    server = Relay(context)
    client = server.connect(timeout=15)
    began = time.monotonic()
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n")
    answer = client.recv(4096)
    check(4.5 < time.monotonic() - began < 8 and answer.startswith(b"HTTP/1.1 408 "), "5 s for a head", answer)


@case("relay_shared_listener")
def relay_shared_listener(context):
    """Beside the gateway only /webrtc/…, /offer and /udp are the relay's."""
    server = context.server(AUTH_MODE="none", DESTINATION_POLICY_PRESET="dev")
    response, body = server.request("POST", "/session")
    equal((response.status, response.getheader("Set-Cookie") is not None), (201, True), "POST /session is the gateway's")
    equal(server.request("GET", "/webrtc/ice")[1], b'{"iceServers":[]}\n', "GET /webrtc/ice")
    equal(server.request("GET", "/udp")[0].status, 400, "GET /udp")
    equal(server.request("POST", "/udp-relay/token")[0].status, 404, "POST /udp-relay/token is the gateway's")
    equal(server.request("GET", "/readyz")[1], b'{"ok":true}', "GET /readyz is the gateway's")
    equal(server.request("GET", "/udp/")[0].status, 404, "paths are exact")
    _, body = server.request("GET", "/metrics")
    check(b'aero_webrtc_udp_relay_events_total{event="udp_ws_connections"} 0' in body, "the family is on the gateway's page too")
    # What the gateway would take as too large is refused as the relay refuses: 400, whatever its own limit.
    for size in (1_200_000, 2_500_000):
        response, body = server.request("POST", "/offer", {"Content-Length": str(size), "X-Request-ID": "large"}, b"x")
        equal((response.status, response.getheader("Content-Type"), response.getheader("X-Request-ID"), json.loads(body)["code"]),
              (400, "application/json", "large", "bad_message"), f"an offer of {size} bytes")
    equal(server.request("POST", "/session", {"Content-Length": "1200000"}, b"x")[0].status, 413, "the gateway's own paths keep 413")
    # Nobody configured the relay: it admits nobody.
    alone = context.server()
    equal(alone.request("GET", "/webrtc/ice")[0].status, 401, "a relay that nobody configured")


@case("relay_shutdown")
def relay_shutdown(context):
    from websockets.sync.client import connect
    server = Relay(context)
    client = connect(server.url(), compression=None)
    check("ready" in client.recv(5), "ready")
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    try:
        client.recv(5)
        raise Failure("a message after the end")
    except Exception as error:
        check("1001" in str(error), "Close 1001", error)
    equal(server.process.wait(5), 0, "exit status")
    check(time.monotonic() - began < 3, "it took too long", time.monotonic() - began)
    # A second signal does not wait for anybody.
    server = Relay(context)
    stuck = server.connect()
    stuck.sendall(b"GET /healthz HTTP/1.1\r\n")
    time.sleep(0.2)
    server.signal(signal.SIGTERM)
    # Within half a second it is taken for the same, sent to the process and to its group.
    time.sleep(0.7)
    server.signal(signal.SIGTERM)
    server.process.wait(2)
