"""Upgrade requests: the order of the checks, the rules of the handshake fields, the query of /tcp."""
from harness import Failure, equal
from rawsocket import Peer, frame, head, tcp
from table import CANARY, exchange, pieces
from table_gateway import GOOD

COOKIE = "aero_session=" + GOOD.decode()
INVALID, MISSING_KEY = "Invalid WebSocket upgrade", "Missing required header: Sec-WebSocket-Key"
NOT_ALLOWED = "Target IP is not allowed by IP egress policy"
OK = (101, "")
# An accepted /tcp-mux selects its subprotocol, and answers a PING of its own protocol.
MUX_OK = (101, "aero-tcp-mux-v1")
MUX_PING = bytes([5, 0, 0, 0, 9, 0, 0, 0, 4]) + b"ping"
ROWS = []


def row(name, request, status, message, why):
    if any(name == known for known, *_ in ROWS):
        raise ValueError("two rows are called " + name)
    ROWS.append((name, request, (status, message), why))


def build(target):
    """All rows, for an echo service at `target`."""
    def order(name, status, message, why, path=target, cookie=COOKIE, **options):
        row(name, head(path, cookie, **options), status, message, why)

    # The order of the checks: each row breaks one rule and all rules behind it.
    bad = {"replace": {"Sec-WebSocket-Version": "12"}, "extra": [("X-Forwarded-For", "192.0.2.9"), ("Origin", "https://evil.example")]}
    later = {"extra": bad["extra"]}
    table = "spec, order of an upgrade, row "
    order("row 2: a long target before everything", 414, "Request URL too long", table + "2", "/nowhere?" + "x" * 9000, None, **bad)
    order("row 4: an unknown path before the handshake", 404, "Not Found", table + "4", "/nowhere?v=2", None, **bad)
    order("row 5: the handshake before the cookie", 400, INVALID, table + "5", "/tcp?v=2", None, **bad)
    order("row 5: the key before the cookie", 400, MISSING_KEY, table + "5", "/tcp?v=2", None, replace={"Sec-WebSocket-Key": None},
        **later)
    order("row 6: the cookie before the client", 401, "Unauthorized", table + "6", "/tcp?v=2", None, **later)
    order("row 7: the client before the Origin", 403, "Client IP blocked", table + "7", "/tcp?v=2", **later)
    order("row 8: the Origin before the query", 403, "Origin not allowed", table + "8", "/tcp?v=2", extra=[("Origin",
        "https://evil.example")])
    order("row 9: the query", 400, "Unsupported TCP proxy protocol version", table + "9", "/tcp?v=2", extra=[("Origin",
        "https://app.example")])
    order("all rows passed", *OK, table + "17", extra=[("Origin", "https://app.example"), ("X-Forwarded-For", "192.0.2.8")])
    for path in ("/tcp/", "/TCP", "/tcp%2f", "/%74cp", "//tcp", "/./tcp", "/tcp;x", "/tcpx", "/base", "/base/tcp/", "/base/base/tcp",
        "/healthz", "/session", "/", "/l2"):
        order(f"the path {path} is unknown to upgrades", 404, "Not Found", "spec, routing rules", path + "?v=1")
    order("the alias under the base path", *OK, "spec, endpoints", "/base" + target)

    handshake = "spec, handshake headers; RFC 6455 4.2.1"
    for name, replace in {
        "no Sec-WebSocket-Version": {"Sec-WebSocket-Version": None}, "an empty version": {"Sec-WebSocket-Version": ""},
        "version 8": {"Sec-WebSocket-Version": "8"}, "version 0": {"Sec-WebSocket-Version": "0"},
        "version 013": {"Sec-WebSocket-Version": "013"}, "version 13.0": {"Sec-WebSocket-Version": "13.0"},
        "a list of versions": {"Sec-WebSocket-Version": "13, 8"}, "version 13 twice": {"Sec-WebSocket-Version": ["13", "13"]},
        "version 130": {"Sec-WebSocket-Version": "130"}, "Upgrade twice": {"Upgrade": ["websocket", "websocket"]},
        "Upgrade of 257 characters": {"Upgrade": "websocket," + "x" * 247},
        "Connection of 257 characters": {"Connection": "Upgrade," + "x" * 249}, "Connection twice": {"Connection": ["keep-alive",
            "Upgrade"]}, "websocket2": {"Upgrade": "websocket2"}, "web socket": {"Upgrade": "web socket"},
        "websocket/13": {"Upgrade": "websocket/13"}, "a quoted websocket": {"Upgrade": '"websocket"'}, "h2c": {"Upgrade": "h2c"},
        "an empty Upgrade": {"Upgrade": ""}, "the key twice": {"Sec-WebSocket-Key": ["x", "x"]},
        "a key of 257 characters": {"Sec-WebSocket-Key": "k" * 257},
    }.items():
        order(f"handshake: {name}", 400, INVALID, handshake, replace=replace)
    for name, value in {"no key": None, "an empty key": "", "a blank key": " \t "}.items():
        order(f"handshake: {name}", 400, MISSING_KEY, handshake, replace={"Sec-WebSocket-Key": value})
    for name, replace in {
        "a key that is no base64": {"Sec-WebSocket-Key": "!"}, "a key of 256 characters": {"Sec-WebSocket-Key": "k" * 256},
        "blanks around the version": {"Sec-WebSocket-Version": " \t13 "}, "WEBSOCKET": {"Upgrade": "WEBSOCKET"},
        "a list with websocket": {"Upgrade": "h2c, websocket"}, "empty elements": {"Upgrade": ",, websocket ,"},
        "Upgrade of 256 characters": {"Upgrade": "websocket," + "x" * 246},
        "a list with upgrade": {"Connection": "keep-alive,UPGRADE"},
        "close beside upgrade": {"Connection": "close, Upgrade"},
    }.items():
        order(f"handshake: {name} is fine", *OK, handshake, replace=replace)
    for name, extra in {
        "an offered subprotocol is not selected": [("Sec-WebSocket-Protocol", "x, aero-tcp-mux-v1")],
        "a broken subprotocol is not read": [("Sec-WebSocket-Protocol", "\"")],
        "an offered extension is not accepted": [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")],
        "length 0": [("Content-Length", "0")],
        "other fields of browsers": [("Sec-Fetch-Mode", "websocket"), ("Cache-Control", "no-cache"), ("Pragma", "no-cache")],
    }.items():
        order(f"handshake: {name}", *OK, handshake, extra=extra)
    for method in ("POST", "HEAD", "PUT", "OPTIONS", "DELETE"):
        order(f"handshake: method {method}", 400, INVALID, "spec: choose 400", method=method)
    order("handshake: HTTP/1.0", 400, INVALID, "spec: choose 400", version="HTTP/1.0")
    for field, body in (("Transfer-Encoding: chunked", b"0\r\n\r\n"), ("Content-Length: 2", b"{}")):
        name, value = field.split(": ")
        row(f"handshake: {field}", head(target, COOKIE, extra=[(name, value)]) + body, 400, INVALID,
            "a body in front of frames has two readings")
    order("handshake: an Origin twice", 403, "Origin not allowed", "spec, upgrades", extra=[("Origin", "https://app.example")] * 2)
    order("handshake: an empty Origin", 403, "Origin not allowed", "spec, upgrades", extra=[("Origin", "")])
    order("handshake: the Origin null", 403, "Origin not allowed", "spec, upgrades", extra=[("Origin", "null")])
    for value in ("192.0.2.9", " 192.0.2.9 , 10.0.0.1", "::ffff:192.0.2.9"):
        order(f"handshake: forwarded for {value}", 403, "Client IP blocked", "spec, client IP block list", extra=[("X-Forwarded-For",
            value)])
    for value in ("192.0.2.10, 192.0.2.9", "", "x, 192.0.2.9", "192.0.2.9.", "unknown"):
        order(f"handshake: forwarded for {value!r} is somebody else", *OK, "spec, TRUST_PROXY", extra=[("X-Forwarded-For", value)])
    queries(target)
    multiplexed()


def multiplexed():
    """The rows of /tcp-mux: the same order and the same rules, then the subprotocol."""
    protocol = [("Sec-WebSocket-Protocol", "aero-tcp-mux-v1")]
    evil, blocked = [("Origin", "https://evil.example")], [("X-Forwarded-For", "192.0.2.9")]
    missing, invalid = "Missing required subprotocol: aero-tcp-mux-v1", "Invalid Sec-WebSocket-Protocol header"

    def order(name, status, message, why, path="/tcp-mux", cookie=COOKIE, extra=(), **options):
        row("mux, " + name, head(path, cookie, extra=list(extra), **options), status, message, why)
    table = "spec, order of an upgrade, row "
    order("row 2: a long target before everything", 414, "Request URL too long", table + "2", "/tcp-mux?" + "x" * 9000, None,
        blocked + evil, replace={"Sec-WebSocket-Version": "12"})
    order("row 5: the handshake before the cookie", 400, INVALID, table + "5", cookie=None, extra=blocked + evil,
        replace={"Sec-WebSocket-Version": "12"})
    order("row 5: the key before the cookie", 400, MISSING_KEY, table + "5", cookie=None, extra=blocked + evil,
        replace={"Sec-WebSocket-Key": None})
    order("row 6: the cookie before the client", 401, "Unauthorized", table + "6", cookie=None, extra=blocked + evil)
    order("row 7: the client before the Origin", 403, "Client IP blocked", table + "7", extra=blocked + evil)
    order("row 8: the Origin before the subprotocol", 403, "Origin not allowed", table + "8", extra=evil)
    order("the subprotocol last", 400, missing, "spec, TCP multiplexing, after the common checks",
        extra=[("Origin", "https://app.example")])
    order("all rows passed", *MUX_OK, table + "17", extra=protocol + [("Origin", "https://app.example"), ("X-Forwarded-For", "192.0.2.8")])
    order("the alias under the base path", *MUX_OK, "spec, endpoints", "/base/tcp-mux", extra=protocol)
    for query in ("token=anything", "v=2", "host=&port=0", "target=", "%ff", ""):
        order(f"the query {query!r} means nothing", *MUX_OK, "spec: no query parameters", "/tcp-mux?" + query, extra=protocol)
    for path in ("/tcp-mux/", "/TCP-MUX", "/tcp%2dmux", "//tcp-mux", "/tcp-mux;x", "/tcp-muxx", "/tcp_mux", "/base/base/tcp-mux", "/base/tcp-mux/"):
        order(f"the path {path} is unknown to upgrades", 404, "Not Found", "spec, routing rules", path, extra=protocol)
    for method in ("POST", "HEAD", "PUT", "OPTIONS", "DELETE"):
        order(f"method {method}", 400, INVALID, "spec: choose 400", extra=protocol, method=method)
    order("HTTP/1.0", 400, INVALID, "spec: choose 400", extra=protocol, version="HTTP/1.0")
    row("mux, a body", head("/tcp-mux", COOKIE, extra=protocol + [("Content-Length", "2")]) + b"{}", 400, INVALID,
        "a body in front of frames has two readings")
    order("an Origin twice", 403, "Origin not allowed", "spec, upgrades", extra=protocol + [("Origin", "https://app.example")] * 2)
    order("a cookie of another secret", 401, "Unauthorized", "spec, session token", cookie=COOKIE[:-2] + "xx", extra=protocol)
    tokens = "spec, TCP multiplexing, Sec-WebSocket-Protocol"
    for name, values, status, message in (
        ("an empty field", [""], 400, missing), ("empty items only", [", ,,"], 400, missing), ("another case", ["Aero-Tcp-Mux-V1"], 400, missing),
        ("a longer token", ["aero-tcp-mux-v10"], 400, missing), ("a shorter token", ["aero-tcp-mux-v"], 400, missing),
        ("other tokens", ["chat, superchat"], 400, missing), ("among others", ["chat, aero-tcp-mux-v1, superchat"], *MUX_OK),
        ("twice", ["aero-tcp-mux-v1, aero-tcp-mux-v1"], *MUX_OK), ("in a second field", ["chat", "aero-tcp-mux-v1"], *MUX_OK),
        ("between empty items", [",, aero-tcp-mux-v1 ,\t,"], *MUX_OK), ("two words in an item", ["aero-tcp-mux-v1 x"], 400, invalid),
        ("a quoted item", ['"aero-tcp-mux-v1"'], 400, invalid), ("a parameter", ["aero-tcp-mux-v1;q=1"], 400, invalid),
        ("a slash behind the right one", ["aero-tcp-mux-v1, a/b"], 400, invalid), ("an at sign in a second field", ["aero-tcp-mux-v1", "a@b"], 400,
            invalid), ("a token that is no ASCII", ["aero-tcp-mux-v1, \u00e9"], 400, invalid),
        ("32 tokens", ["aero-tcp-mux-v1" + ",t" * 31], *MUX_OK), ("33 tokens", ["aero-tcp-mux-v1" + ",t" * 32], 400, invalid),
        ("33 tokens over two fields", ["aero-tcp-mux-v1" + ",t" * 30, "t,t"], 400, invalid),
        ("4096 characters", ["aero-tcp-mux-v1," + "a" * (4096 - 16)], *MUX_OK), ("4097 characters", ["aero-tcp-mux-v1," + "a" * (4097 - 16)], 400,
            invalid),
    ):
        order(f"subprotocol: {name}", status, message, tokens, extra=[("Sec-WebSocket-Protocol", value) for value in values])


def queries(target):
    port = target.rsplit("=", 1)[1]
    rule = "spec, query parameters of /tcp"
    for query, status, message in (
        ("", 400, "Missing required query parameter: host"), ("host=a", 400, "Missing required query parameter: port"), ("port=80", 400,
            "Missing required query parameter: host"), ("HOST=a&port=80", 400, "Missing required query parameter: host"),
        ("host=&port=80", 400, "Host must not be empty"), ("host=" + "a" * 1025 + "&port=80", 400, "Invalid host: too long"),
        ("host=[::1&port=80", 400, "Invalid host: mismatched brackets"), ("host=::1]&port=80", 400,
            "Invalid host: mismatched brackets"),
        ("host=[]&port=80", 400, "Invalid host: empty bracketed host"), ("host=a&port=", 400, "Invalid port"), ("host=a&port=0", 400,
            "Invalid port"), ("host=a&port=65536", 400, "Invalid port"), ("host=a&port=+80", 400, "Invalid port"),
        ("host=a&port=-1", 400, "Invalid port"), ("host=a&port=0x50", 400, "Invalid port"), ("host=a&port=8e1", 400, "Invalid port"),
        ("host=a&port=%EF%BC%98%EF%BC%90", 400, "Invalid port"), ("host=a&port=00000000000000080", 400, "Invalid port"),
        ("v=2&host=a&port=80", 400, "Unsupported TCP proxy protocol version"), ("v=01&host=a&port=80", 400,
            "Unsupported TCP proxy protocol version"), ("v=1%20&host=a&port=80", 400, "Unsupported TCP proxy protocol version"),
        ("v=2&v=1&host=a&port=80", 400, "Unsupported TCP proxy protocol version"), ("v=" + "1" * 17 + "&host=a&port=80", 400,
            "Unsupported TCP proxy protocol version"), ("target=", 400, "Query parameter target must not be empty"),
        ("target=" + "a" * 1057, 400, "Invalid target: too long"), ("target=[::1:80", 400,
            "Invalid target: missing closing bracket for IPv6 literal"), ("target=[]:80", 400, "Invalid target: empty IPv6 literal"),
        ("target=a", 400, "Invalid target: missing port separator"), ("target=[::1]", 400, "Invalid target: missing port separator"),
        ("target=[::1]80", 400, "Invalid target: missing port separator"), ("target=a:", 400,
            "Invalid target: expected <host>:<port>"),
        ("target=:80", 400, "Invalid target: expected <host>:<port>"), ("target=::1:80", 400,
            "Invalid target: IPv6 literals must use bracket form, e.g. [::1]:443"), ("target=a]:80", 400,
            "Invalid target: unexpected bracket in host"),
        ("target=a[b]:80", 400, "Invalid target: unexpected bracket in host"), ("target=a:80x", 400, "Invalid port"), ("target=a:0",
            400, "Invalid port"), ("target=a:65536", 400, "Invalid port"), ("target=&host=a&port=80", 400,
            "Query parameter target must not be empty"),
        ("host=a%00b&port=80", 400, "Invalid host"), ("host=a_b&port=80", 400, "Invalid host"), ("host=-a&port=80", 400,
            "Invalid host"), ("host=a..b&port=80", 400, "Invalid host"), ("host=a%20b&port=80", 400, "Invalid host"),
        ("host=a%252e&port=80", 400, "Invalid host"), ("host=a/b&port=80", 400, "Invalid host"), ("host=a@b&port=80", 400,
            "Invalid host"), ("host=%ff&port=80", 400, "Invalid host"), ("host=fe80::1%25eth0&port=80", 400, "Invalid host"),
        ("host=1.2.3.4.5&port=80", 400, "Invalid host"), ("host=256.1.1.1&port=80", 400, "Invalid host"),
        ("host=[127.0.0.1]&port=" + port, *OK), ("host=127.1&port=" + port, *OK), ("host=2130706433&port=" + port, *OK),
        ("host=0x7f.1&port=" + port, *OK), ("host=+127.0.0.1+&port=" + port, *OK), ("host=%31%32%37.0.0.1&port=" + port, *OK),
        ("host=127.0.0.1&port=0" + port, *OK), ("v=&host=127.0.0.1&port=" + port, *OK),
        ("host=127.0.0.1&host=&port=" + port + "&port=0", *OK), ("host=x&port=x&target=127.0.0.1:" + port, *OK),
        ("target=[::ffff:127.0.0.1]:" + port, *OK), ("a=b&&=&x&host=127.0.0.1&port=" + port, *OK),
    ):
        row(f"query {query[:60]!r}" + (f" of {len(query)} characters" if len(query) > 60 else ""), head("/tcp?" + query, COOKIE),
            status, message, rule)


def outcome(server, request, expected, cut):
    """(status, message) of an upgrade; an accepted one must answer the frame behind its head, a refused one must not."""
    accepted = expected[0] == 101
    behind = frame(2, MUX_PING if expected == MUX_OK else b"behind the head") if accepted else CANARY
    connection = server.connect()
    try:
        peer = Peer(connection)
        # Frames may follow the head at once; behind a refused one nothing is read, be it a frame or a request.
        for piece in pieces(request + behind, cut):
            try:
                connection.sendall(piece)
            except OSError:
                break
        status, reason, headers, _ = peer.head()
        names = [name.lower() for name, _ in headers]
        if status == 101:
            protocol = dict(headers).get("Sec-WebSocket-Protocol", "")
            equal(names, ["upgrade", "connection", "sec-websocket-accept"] + ["sec-websocket-protocol"] * bool(protocol), "fields of 101")
            if protocol:
                answer = bytes([0x82, 13, 6]) + MUX_PING[1:]
                equal(peer.take(len(answer)), answer, "what stood behind the head")
                return 101, protocol
            equal(peer.exactly(len(b"behind the head")), b"behind the head", "what stood behind the head")
            return 101, ""
        equal(names, ["content-type", "content-length", "cache-control", "connection"], "fields of a refusal")
        fields = {name.lower(): value for name, value in headers}
        equal((fields["content-type"], fields["cache-control"], fields["connection"]), ("text/plain; charset=utf-8", "no-store",
            "close"), "fields of a refusal")
        body = peer.take(int(fields["content-length"]))
        peer.expect_end("nothing behind a refused upgrade is answered")
        return status, body.decode().removesuffix("\n")
    finally:
        connection.close()


def run(server, port):
    ROWS.clear()
    build(tcp(port))
    failures = []
    for name, request, expected, why in ROWS:
        for cut in (False, True):
            try:
                equal(outcome(server, request, expected, cut), expected, f"{name} ({why}){' in pieces' if cut else ''}")
            except (Failure, EOFError, OSError) as failure:
                failures.append(f"{name} ({why}): {failure}")
                break
    if failures:
        raise Failure(f"{len(failures)} of {len(ROWS)} rows:\n" + "\n".join(failures[:40]))
    return len(ROWS)
