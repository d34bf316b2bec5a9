"""Published and observed vectors over the wire. They are read where they lie beside the repository, if they do."""
import ipaddress

import services
from harness import case, check, equal, vectors
from rawsocket import head, open_peer, refusal, tcp


def port_of_nothing(entries):
    used = {entry["port"] for entry in entries if "port" in entry}
    return next(port for port in range(60000, 65000) if port not in used)


@case("vectors-tcp-query")
def tcp_query(context):
    entries = vectors("observed-gateway.json")["tcp_query"]
    # The query is judged first, so that a server that allows one other port tells accepted queries from refused ones.
    elsewhere = context.server(TCP_ALLOWED_PORTS=port_of_nothing(entries))
    cookie = elsewhere.session()
    for entry in entries:
        expected = (entry["status"], entry["message"]) if "status" in entry else (403, "Target port not allowed")
        equal(refusal(elsewhere, head("/tcp?" + entry["query"], cookie)), expected, f"query {entry['query'][:80]!r}")
    # And one that allows the ports but blocks the hosts shows that host and port were understood.
    accepted = [entry for entry in entries if "host" in entry]
    blocked = sorted({entry["host"] for entry in accepted if " " not in entry["host"]})
    blocking = context.server(TCP_ALLOWED_PORTS=",".join(sorted({str(entry["port"]) for entry in accepted})), TCP_BLOCKED_HOSTS=",".join(blocked))
    cookie = blocking.session()
    for entry in accepted:
        expected = (403, "Target is blocked") if entry["host"] in blocked else (400, "Invalid host")
        equal(refusal(blocking, head("/tcp?" + entry["query"], cookie)), expected, f"host of {entry['query'][:80]!r}")
    context.note(f"{len(entries)} queries, {len(accepted)} of them accepted")


@case("vectors-handshake")
def handshake(context):
    entries = vectors("observed-gateway.json")["ws_handshake"]
    server, port = context.server(), services.start(context, "echo")
    cookie = server.session()
    for entry in entries:
        for offered in ((), (("Sec-WebSocket-Protocol", "aero-tcp-mux-v1, other"), ("Sec-WebSocket-Extensions", "permessage-deflate"))):
            peer = open_peer(server)
            peer.send(head(tcp(port), cookie, key=entry["key"], extra=offered))
            equal(peer.head()[3].decode(), entry["response"], f"answer to key {entry['key']!r}, offered {offered}")
            peer.close()


@case("vectors-cookie")
def cookie_value(context):
    entries = vectors("observed-gateway.json")["cookie_value"]
    server, port = context.server(), services.start(context, "echo")
    token = server.session().split("=", 1)[1]
    for entry in entries:
        if not entry["value"]:
            continue
        # The value that counts, the last text of its kind in its line, becomes a valid token; the others stay invalid.
        lines = [token.join(line.rsplit(entry["value"], 1)) for line in entry["cookieHeaders"]]
        equal(refusal(server, head(tcp(port), extra=[("Cookie", line) for line in lines]))[0], 101, f"cookies {entry['cookieHeaders']}")
        invalid = [("Cookie", line) for line in entry["cookieHeaders"]]
        equal(refusal(server, head(tcp(port), extra=invalid))[0], 401, f"invalid cookies {entry['cookieHeaders']}")


@case("vectors-address-policy")
def address_policy(context):
    entries = vectors("observed-gateway.json")["ip_public"]
    server = context.server(private=False)
    cookie, count = server.session(), 0
    for entry in entries:
        # Public addresses would be dialled, and no test may send anything outside.
        if entry.get("specChoice", entry["public"]) or not is_address(entry["address"]):
            continue
        answer = refusal(server, head(tcp(9, entry["address"]), cookie))
        equal(answer, (403, "Target IP is not allowed by IP egress policy"), f"address {entry['address']}")
        count += 1
    context.note(f"{count} addresses that are not public")


def is_address(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return False


@case("vectors-origin")
def origin(context):
    entries = [(entry["rawOriginHeader"], entry.get("normalizedOrigin")) for entry in vectors("origin.json")["normalize"]]
    entries += [(entry["raw"], entry.get("normalized")) for entry in vectors("origin-allowlist-test-vectors.json")]
    entries += [(entry["rawOriginHeader"], entry.get("normalizedOrigin")) for entry in vectors("observed-gateway.json")["origin_extra"]
                if "specChoice" not in entry]
    server, count = context.server(ALLOWED_ORIGINS="*"), 0
    for raw, normalised in entries:
        peer = open_peer(server)
        peer.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nOrigin: " + raw.encode() + b"\r\nConnection: close\r\n\r\n")
        status, fields, _ = peer.response()
        peer.close()
        # Control characters do not reach the Origin rules: the header itself is malformed.
        if any(ord(character) < 32 and character != "\t" or ord(character) == 127 for character in raw):
            check(status in (400, 403), f"origin {raw!r}", status)
        else:
            equal((status, fields.get("access-control-allow-origin")), (200, normalised) if normalised else (403, None), f"origin {raw!r}")
        count += 1
    context.note(f"{count} origins")


@case("vectors-headers")
def security_headers(context):
    """Every plain answer has the baseline headers, and those of isolation exactly when it is on; the policy of content is the edge's."""
    expected = vectors("headers.json")
    isolation, baseline = expected["crossOriginIsolation"], expected["baseline"]
    for isolated in (0, 1):
        server = context.server(CROSS_ORIGIN_ISOLATION=isolated)
        for method, target, status in (("GET", "/healthz", 200), ("POST", "/session", 201), ("GET", "/nowhere", 404), ("OPTIONS", "/", 204),
                                       ("GET", "/dns-query", 401), ("GET", "/" + "x" * 9000, 414), ("HEAD", "/metrics", 200)):
            response, _ = server.request(method, target)
            equal(response.status, status, f"{method} {target[:20]}")
            for name, value in baseline.items():
                equal(response.getheader(name), value, f"{name} of {method} {target[:20]}")
            for name, value in isolation.items():
                equal(response.getheader(name), value if isolated else None, f"{name} of {method} {target[:20]}, isolation {isolated}")
            equal(response.getheader("X-Frame-Options"), "DENY", "X-Frame-Options")
            for name in expected["contentSecurityPolicy"]:
                equal(response.getheader(name), None, name)
