"""What an operator sees: the access log, and metrics while connections are open."""
import json
import re
import shutil
import subprocess

import services
from harness import ROOT, Skip, case, check, equal, eventually
from rawsocket import BINARY, CLOSE, frame, head, open_peer, refusal, tcp, upgrade

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET_QUERY = "secret-of-a-query"


def find(server, message, **fields):
    """The one record with this message and these fields."""
    def look():
        found = [record for record in server.records()
                 if record["msg"] == message and all(record.get(name) == value for name, value in fields.items())]
        return found[0] if found else None
    return eventually(look, f"a record `{message}` with {fields}")


@case("access-log")
def access_log(context):
    """One record per request and per end of a WebSocket, tied together by ids, without anything secret."""
    server = context.server(LOG_LEVEL="debug", TCP_BLOCKED_HOSTS="blocked.example")
    echo = services.start(context, "echo")
    cookie = server.session()
    headers = {"X-Request-Id": "request-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Cookie": cookie}
    response, body = server.request("GET", f"/version?token={SECRET_QUERY}", headers)
    record = find(server, "request", reqId="request-1")
    equal((record["method"], record["path"], record["peer"], record["status"], record["bytes"], record["traceId"]),
          ("GET", "/version", "127.0.0.1", 200, len(body), TRACE), "the record of a request")
    check(record["responseTimeMs"] >= 0, "a duration", record)
    equal(find(server, "request started", reqId="request-1")["traceId"], TRACE, "the record of its start")
    for wrong in (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01", "", "x"):
        server.request("GET", "/version", {"X-Request-Id": "wrong-" + wrong[:8], "traceparent": wrong})
        made = find(server, "request", reqId="wrong-" + wrong[:8])["traceId"]
        check(made != TRACE and len(made) == 32, f"a trace of its own for {wrong!r}", made)
    # Two fields are none.
    server.request("GET", "/version", [("X-Request-Id", "twice"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),
                                       ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")])
    check(find(server, "request", reqId="twice")["traceId"] != TRACE, "two fields name no trace")

    ids = (("X-Request-Id", "socket-1"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"))
    peer = upgrade(server, tcp(echo) + f"&token={SECRET_QUERY}", cookie, extra=ids)
    payload = bytes(1000)
    peer.send(frame(BINARY, payload))
    equal(peer.exactly(len(payload)), payload, "an echo")
    record = find(server, "websocket opened", reqId="socket-1")
    equal((record["path"], record["target"], record["status"], record["traceId"]), ("/tcp", f"127.0.0.1:{echo}", 101, TRACE), "opened")
    peer.send(frame(CLOSE, b"\x03\xe8"))
    peer.until_close()
    record = find(server, "websocket ended", reqId="socket-1")
    equal((record["cause"], record["bytesFromClient"], record["bytesToClient"], record["traceId"], record["target"]),
          ("client_close", 1000, 1000, TRACE, f"127.0.0.1:{echo}"), "ended")
    check(record["durationMs"] >= 0 and len(record["session"]) == 8, "duration and session's digest", record)
    equal(refusal(server, head(tcp(echo), extra=(("X-Request-Id", "refused-1"),)))[0], 401, "an upgrade without session")
    equal(find(server, "upgrade", reqId="refused-1")["status"], 401, "its record")
    equal(refusal(server, head("/tcp?v=1&host=blocked.example&port=80", cookie, extra=(("X-Request-Id", "refused-2"),)))[0], 403, "a refused target")
    equal(find(server, "upgrade", reqId="refused-2")["status"], 403, "its record")
    behind = context.server(TRUST_PROXY="1", TCP_BLOCKED_CLIENT_IPS="192.0.2.9")
    session = behind.session()
    for address, message in (("192.0.2.8", "websocket opened"), ("192.0.2.9", "upgrade")):
        asked = (("X-Request-Id", address), ("X-Forwarded-For", address))
        if message == "upgrade":
            equal(refusal(behind, head(tcp(echo), session, extra=asked))[0], 403, "a blocked client")
        else:
            upgrade(behind, tcp(echo), session, extra=asked).close()
        behind.request("GET", "/version", dict(asked))
        for record in (find(behind, message, reqId=address), find(behind, "request", reqId=address)):
            equal((record["peer"], record["client"]), ("127.0.0.1", address), f"peer and client in `{record['msg']}`")
    with open_peer(server).socket as bad:
        bad.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        bad.recv(1000)
    find(server, "request", status=400)
    log = server.log_path.read_text()
    for secret in (SECRET_QUERY, cookie.split("=", 1)[1], "test-secret-of-the-client-suite"):
        check(secret not in log, "nothing secret in the log", secret)


@case("metrics-live")
def metrics(context):
    """Families of the specification exist from the start; those of connections move while these are open."""
    server = context.server()
    body = server.request("GET", "/metrics")[1].decode()
    for family, kind in [("http_requests_total", "counter"), ("http_request_duration_seconds", "histogram"),
                         ("tcp_proxy_blocked_by_host_policy_total", "counter"), ("tcp_proxy_blocked_by_ip_policy_total", "counter"),
                         ("process_cpu_seconds_total", "counter"), ("process_open_fds", "gauge"), ("sluice_build_info", "gauge"),
                         ("sluice_shard_completions_per_turn", "histogram"), ("sluice_shard_buffers_used", "gauge"),
                         ("sluice_upgrades_refused_total", "counter"), ("sluice_requests_refused_total", "counter"),
                         ("sluice_log_records_dropped_total", "counter"), ("sluice_reloads_total", "counter")]:
        check(f"# TYPE {family} {kind}\n" in body and f"# HELP {family} " in body, f"HELP and TYPE of {family}")
    for line in ("tcp_proxy_blocked_by_host_policy_total 0", "tcp_proxy_blocked_by_ip_policy_total 0"):
        check(line + "\n" in body, f"{line} from the start")
    names = [line.split(" ")[2] for line in body.splitlines() if line.startswith("# TYPE")]
    equal(len(names), len(set(names)), "every family is written once")
    echo = services.start(context, "echo")
    peer = upgrade(server, tcp(echo), server.session())
    peer.send(frame(BINARY, bytes(5000)))
    peer.exactly(5000)
    samples, _ = server.metrics()
    equal(samples["sluice_tcp_websockets_active"], 1, "open WebSockets")
    equal(samples['sluice_tcp_bytes_total{direction="from_client"}'], 5000, "bytes while it is open")
    refusal(server, head(tcp(echo)))
    server.request("GET", "/version", {"Origin": "https://stranger.example"})
    samples, _ = server.metrics()
    equal(samples['sluice_upgrades_refused_total{reason="unauthorized"}'], 1, "refused upgrades")
    equal(samples['sluice_requests_refused_total{reason="origin"}'], 1, "refused requests")
    turns = sum(value for name, value in samples.items() if name.startswith("sluice_shard_completions_per_turn_count"))
    check(turns > 0, "turns with completions", turns)


# What PromQL and the templates of dashboards have besides names of metrics.
WORDS = {"sum", "rate", "increase", "min", "max", "by", "le", "histogram_quantile", "label_values", "instance", "without", "and", "or", "on",
         "ignoring", "group_left", "avg", "count", "topk", "irate", "delta"}
# Made by Prometheus itself.
FOREIGN = {"up"}


def metric_names(expression):
    """Names of metrics in a PromQL expression: what is left without labels, durations, groupings and functions."""
    expression = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    expression = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"(?<![\w.$])[a-zA-Z_:][a-zA-Z0-9_:]*", expression)) - WORDS - FOREIGN


def matched_labels(expression):
    """Names of labels that an expression compares or groups by."""
    return set(re.findall(r"[{,]\s*([a-z_]+)\s*[=!]", expression)) - {"instance", "job"}


@case("metrics-promtool")
def promtool(context):
    """Prometheus' own tool finds nothing wrong with a scrape."""
    program = shutil.which("promtool")
    if program is None:
        raise Skip("promtool is not installed (Debian package prometheus)")
    server = context.server()
    found = subprocess.run([program, "check", "metrics"], input=server.request("GET", "/metrics")[1], capture_output=True, timeout=30)
    equal((found.returncode, found.stdout + found.stderr), (0, b""), "the scrape")


@case("dashboard-and-alerts")
def dashboard(context):
    """Every metric and label that the dashboard and the alerts use is in a scrape of a live gateway."""
    check(metric_names('sum by (le) (rate(a_total{x="sum"}[5m])) / on (z) b > 0.05') == {"a_total", "b"}, "names are found")
    server = context.server()
    echo = services.start(context, "echo")
    peer = upgrade(server, tcp(echo), server.session())
    peer.send(frame(BINARY, b"x"))
    peer.exactly(1)
    body = server.request("GET", "/metrics")[1].decode()
    present, labels = set(), set()
    for line in body.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:4]
            present.add(name)
            if kind == "histogram":
                present.update(name + suffix for suffix in ("_bucket", "_sum", "_count"))
        elif not line.startswith("#"):
            labels.update(re.findall(r"[{,]([a-z_]+)=\"", line))
    events = set(re.findall(r'event="([^"]*)"', body))
    expressions = []
    panels = json.loads((ROOT / "deploy" / "grafana" / "sluice.json").read_text())["panels"]
    for panel in panels:
        found = [target["expr"] for target in panel.get("targets", [])]
        check(panel["type"] == "row" or found, "a panel asks for something", panel["title"])
        expressions += found
    equal(len({panel["id"] for panel in panels}), len(panels), "panels have ids of their own")
    rules = ROOT / "deploy" / "prometheus" / "sluice.rules.yaml"
    try:
        import yaml
    except ImportError:
        raise Skip("the Python package yaml is not installed")
    names = []
    for group in yaml.safe_load(rules.read_text())["groups"]:
        for rule in group["rules"]:
            equal(set(rule), {"alert", "expr", "for", "labels", "annotations"}, f"keys of {rule.get('alert')}")
            check(rule["labels"]["severity"] in ("critical", "warning", "info"), "a severity", rule)
            equal(set(rule["annotations"]), {"summary", "description"}, f"annotations of {rule['alert']}")
            names.append(rule["alert"])
            expressions.append(rule["expr"])
    equal(len(names), len(set(names)), "every alert has a name of its own")
    for expression in expressions:
        check(metric_names(expression) <= present, f"metrics of {expression!r}", metric_names(expression) - present)
        check(matched_labels(expression) <= labels, f"labels of {expression!r}", matched_labels(expression) - labels)
        # The relay's events are names in a label: one that is spelled wrong would match nothing for ever.
        for pattern in re.findall(r'event=~?"([^"]*)"', expression):
            for alternative in re.sub(r"\(([^)]*)\)", lambda group: "(" + group[1].replace("|", "\0") + ")", pattern).split("|"):
                alternative = alternative.replace("\0", "|")
                check(any(re.fullmatch(alternative, event) for event in events), f"an event of {expression!r}", alternative)
    used = set().union(*map(metric_names, expressions))
    context.note(f"{len(expressions)} expressions, {len(used)} metrics, {len(names)} alerts")
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True)
        equal(done.returncode, 0, f"promtool: {done.stdout}{done.stderr}")
        context.note("promtool accepts the rules")
