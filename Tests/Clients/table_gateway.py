"""Requests that are strange to the gateway rather than to HTTP: cookies, origins, request ids, forwarded fields."""
import base64
import hashlib
import hmac
import json
import os
import time

from table import CLOSED, Answer, Table, request

# The secret every gateway of the client suite has (harness.gateway_environment).
SECRET = b"test-secret-of-the-client-suite"


def token(sid="session-of-the-table", expiry=None, secret=SECRET, payload=None):
    """A session token, written along the section on its format."""
    if payload is None:
        payload = json.dumps({"v": 1, "sid": sid, "exp": int(time.time()) + 3600 if expiry is None else expiry}, separators=(",",
            ":")).encode()
    encoded = base64.urlsafe_b64encode(payload).rstrip(b"=")
    return encoded + b"." + base64.urlsafe_b64encode(hmac.new(secret, encoded, hashlib.sha256).digest()).rstrip(b"=")


GOOD = token()


def fresh():
    """A good token of a session of its own: the limiter of relay tokens allows a session five in a burst."""
    return token(os.urandom(8).hex())


# POST /udp-relay/token tells sessions apart: 401 without, 200 with one.
table = Table("cookies", "relay")
ORIGIN = b"Origin: https://app.example"
MISSING = Answer(401, b'{"error":"unauthorized","message":"Missing or expired session"}')


def relay(*lines):
    return request(b"POST", b"/udp-relay/token", ORIGIN, *lines)


def cookie(value):
    return relay(b"Cookie: " + value)


COOKIES = {
    "a good cookie": (b"aero_session=" + fresh(), 200), "a good cookie among others": (b"a=b; aero_session=" + fresh() + b"; c=d", 200),
    "blanks around name and value": (b" \t aero_session \t = \t " + fresh() + b" \t ;", 200),
    "pairs without equals sign are skipped": (b"x; aero_session; y; aero_session=" + fresh(), 200),
    "empty pairs are skipped": (b";; ; aero_session=" + fresh(), 200), "a percent escape": (b"aero_session=" + fresh().replace(b".",
        b"%2E"), 200),
    "a comma is no separator": (b"a=b, aero_session=" + fresh(), MISSING),
    "an escape that fails is taken as it is": (b"aero_session=" + fresh() + b"%zz", MISSING),
    "an escape of bytes that are no UTF-8": (b"aero_session=" + fresh() + b"%ff", MISSING),
    "another case of the name": (b"Aero_Session=" + fresh(), MISSING),
    "a name with a prefix": (b"xaero_session=" + fresh(), MISSING), "a quoted value": (b'aero_session="' + fresh() + b'"', MISSING),
    "no cookie": (b"", MISSING),
    "an empty value": (b"aero_session=", MISSING), "an empty value before a good one": (b"aero_session=; aero_session=" + fresh(),
        MISSING),
    "a bad value before a good one": (b"aero_session=x.y; aero_session=" + fresh(), MISSING),
    "a good value before a bad one": (b"aero_session=" + fresh() + b"; aero_session=x", 200),
    "a name in escapes": (b"aero%5fsession=" + fresh(), MISSING), "a second equals sign": (b"aero_session==" + fresh(), MISSING),
    "no dot": (b"aero_session=" + fresh().replace(b".", b""), MISSING),
    "two dots": (b"aero_session=" + fresh().replace(b".", b".."), MISSING), "another secret": (b"aero_session=" + token(secret=b"x"),
        MISSING), "an expired one": (b"aero_session=" + token(expiry=1), MISSING),
    "a padded signature": (b"aero_session=" + fresh() + b"=", MISSING), "a value of 4096 letters": (b"aero_session=" + b"x" * 4096,
        MISSING),
    "a good value and more than 4096 letters": (b"aero_session=" + fresh() + b"x" * 4096, MISSING),
    "bytes above 0x7f": (b"aero_session=\xff\xfe", MISSING),
    "a version that is text": (b"aero_session=" + token(payload=b'{"v":"1","sid":"a","exp":99999999999}'), MISSING),
    "a version of 1.0": (b"aero_session=" + token(payload=b'{"v":1.0,"sid":"a","exp":99999999999}'), 200),
    "an empty session id": (b"aero_session=" + token(payload=b'{"v":1,"sid":"","exp":99999999999}'), MISSING),
    "an expiry that is text": (b"aero_session=" + token(payload=b'{"v":1,"sid":"a","exp":"99999999999"}'), MISSING),
    "trailing garbage in the payload": (b"aero_session=" + token(payload=b'{"v":1,"sid":"a","exp":99999999999}x'), MISSING),
    "a byte order mark": (b"aero_session=" + token(payload=b'\xef\xbb\xbf{"v":1,"sid":"a","exp":99999999999}'), MISSING),
    "duplicate members, the last one good": (b"aero_session=" + token(payload=b'{"v":2,"v":1,"sid":"a","exp":99999999999}'), 200),
    "duplicate members, the last one bad": (b"aero_session=" + token(payload=b'{"v":1,"v":2,"sid":"a","exp":99999999999}'), MISSING),
}
for name, (value, answer) in COOKIES.items():
    table.served(f"cookie: {name}", cookie(value), "spec, reading the cookie", answer)
LINES = {
    "the first line decides, good": ((b"Cookie: aero_session=" + fresh(), b"Cookie: aero_session=x"), 200),
    "the first line decides, bad": ((b"Cookie: aero_session=x", b"Cookie: aero_session=" + fresh()), MISSING),
    "a line without the name is passed over": ((b"Cookie: a=b", b"Cookie: aero_session=" + fresh()), 200),
    "a line of 15 KiB with a good cookie at its end": ((b"Cookie: a=" + b"x" * 15_000 + b"; aero_session=" + fresh(),), 200),
    "an empty line is passed over": ((b"Cookie:", b"Cookie: aero_session=" + fresh()), 200),
}
for name, (lines, answer) in LINES.items():
    table.served(f"cookie lines: {name}", relay(*lines), "spec, reading the cookie", answer)
table.refused("cookie lines: one of more than 16384 characters", cookie(b"a=" + b"x" * 16_384 + b"; aero_session=" + fresh()),
    "spec, HTTP level: the head is too large", 431)
table.served("relay token without Origin", request(b"POST", b"/udp-relay/token", b"Cookie: aero_session=" + fresh()),
    "spec, POST /udp-relay/token", Answer(403, b'"Origin header required"'))
table.served("relay token: its body is ignored", request(b"POST", b"/udp-relay/token", ORIGIN, b"Cookie: aero_session=" + fresh(),
    b"Content-Length: 3", body=b"\0\xff{"), "spec, POST /udp-relay/token", 200)

# ---- Origin -----------------------------------------------------------------------------------------------------------
ALLOWED = "https://app.example"
CORS = {"access-control-allow-origin": ALLOWED, "access-control-allow-credentials": "true",
    "access-control-expose-headers": "x-request-id, content-length", "vary": "Origin"}
NO_CORS = {name: None for name in CORS}
FORBIDDEN = Answer(403, b'{"error":"forbidden","message":"Origin not allowed"}', NO_CORS)
table = Table("origins")
table.served("no Origin", request(), "spec, allowlist", Answer(200, fields=NO_CORS))
for text in (b"https://app.example", b"https://app.example:443", b"https://app.example/", b"HTTPS://APP.EXAMPLE",
    b" https://app.example\t", b"https://app.example:00443"):
    table.served(f"the Origin {text!r} is allowed", request(b"GET", b"/healthz", b"Origin: " + text), "spec, normalising an Origin",
        Answer(200, fields=CORS))
for text in (b"", b"null", b"NULL", b"https://evil.example", b"http://app.example", b"https://app.example:444", b"https://app.example.",
    b"https://sub.app.example", b"https://app.example.evil.example", b"https://app.example@evil.example",
             b"https://evil.example#https://app.example", b"https://evil.example/https://app.example", b"https://app.example/x",
             b"https://app.example//", b"https://app.example:", b"https://app.example:/", b"https://app.example:0",
             b"https://app.example:65536",
             b"https://app.example:x", b"https:/app.example", b"https:app.example", b"https:///app.example", b"//app.example",
             b"app.example", b"*", b"https://", b"https://*", b"https://app.example, https://app.example",
             b"https://app.example https://evil.example",
             b"https://app%2eexample", b"https://app.example\\", b"https://app.example?", b"https://app.example{}",
             b"https://app\xffexample", b"file://", b"ftp://app.example", b"ws://app.example", b"data:",
             b"blob:https://app.example", b"https://xn--a",
             b"https://[::1", b"https://" + b"a" * 5000):
    table.served(f"the Origin {text[:48]!r} is refused", request(b"GET", b"/healthz", b"Origin: " + text),
        "spec, normalising an Origin", FORBIDDEN)
table.served("Origin twice", request(b"GET", b"/healthz", b"Origin: https://app.example", b"Origin: https://app.example"),
    "spec, allowlist", FORBIDDEN)
table.served("Origin and an empty Origin", request(b"GET", b"/healthz", b"Origin: https://app.example", b"Origin:"), "spec, allowlist",
    FORBIDDEN)
table.served("a refused Origin on an unknown path", request(b"GET", b"/x", b"Origin: https://evil.example"), "spec, processing order",
    FORBIDDEN)
table.served("a refused Origin on a preflight", request(b"OPTIONS", b"/session", b"Origin: https://evil.example",
    b"Access-Control-Request-Method: POST"), "spec, processing order", FORBIDDEN)
table.served("an allowed Origin on an unknown path", request(b"GET", b"/x", b"Origin: https://app.example"), "spec, processing order",
    Answer(404, fields=CORS))
table.served("an allowed Origin on a bad body", request(b"POST", b"/session", b"Origin: https://app.example", b"Content-Length: 1",
    body=b"x"), "spec, processing order", Answer(415, fields=CORS))
table.row("an allowed Origin on too large a body", request(b"POST", b"/session", b"Origin: https://app.example",
    b"Content-Length: 1048577"), Answer(413, fields=CORS), CLOSED, "spec, processing order")
table.row("a refused Origin on too large a body", request(b"POST", b"/session", b"Origin: https://evil.example",
    b"Content-Length: 1048577"), FORBIDDEN, CLOSED, "spec, processing order")
table.row("an Origin before a fault in the head", request(b"GET", b"/healthz", b"Origin: https://app.example", b"X : y"), Answer(400,
    fields=NO_CORS), CLOSED, "the head was never whole")


def preflight(*lines):
    return request(b"OPTIONS", b"/session", b"Origin: https://app.example", b"Access-Control-Request-Method: POST", *lines)


METHODS = {"access-control-allow-methods": "GET,POST,PUT,PATCH,DELETE,OPTIONS", "access-control-max-age": "600"}
HEADERS = {
    "nothing requested": ([], "Content-Type"), "an empty list": ([b""], "Content-Type"), "a name": ([b"x-a"], "Content-Type, x-a"),
    "Content-Type in other case": ([b"CONTENT-TYPE, X-A"], "CONTENT-TYPE, X-A"),
    "a name that begins like it": ([b"content-type-x"], "Content-Type, content-type-x"), "a strange character": ([b"x-a;q=1"],
        "Content-Type"), "a quoted name": ([b'"x"'], "Content-Type"),
    "a byte above 0x7f": ([b"x\xff"], "Content-Type"), "4096 letters": ([b"x" * 4096], "Content-Type, " + "x" * 4096),
    "4097 letters": ([b"x" * 4097], "Content-Type"), "a tab between": ([b"x,\ty"], "Content-Type, x,\ty"),
}
for name, (values, expected) in HEADERS.items():
    table.served(f"preflight: {name}", preflight(*[b"Access-Control-Request-Headers: " + value for value in values]), "spec, CORS",
        Answer(204, fields=CORS | METHODS | {"access-control-allow-headers": expected}))
table.served("OPTIONS with Origin and no requested method", request(b"OPTIONS", b"/session", b"Origin: https://app.example"),
    "spec, CORS: no preflight",
             Answer(204, fields=CORS | {"access-control-allow-methods": None}))
table = Table("origins of an open gateway", "open")
for text, echoed in ((b"null", "null"), (b"https://any.example", "https://any.example"), (b"http://[::FFFF:1.2.3.4]:80",
    "http://[::ffff:102:304]"), (b"http://0x7f.1", "http://127.0.0.1"), (b"https://A.b:8443", "https://a.b:8443")):
    table.served(f"any list: the Origin {text!r}", request(b"GET", b"/healthz", b"Origin: " + text), "spec, allowlist: echoed, never *",
        Answer(200, fields=CORS | {"access-control-allow-origin": echoed}))
for text in (b"", b"*", b"Null", b"https://a b", b"https://user@a", b"https://1.2.3.256", b"https://a:99999"):
    table.served(f"any list: the Origin {text!r} is no origin", request(b"GET", b"/healthz", b"Origin: " + text), "spec, allowlist",
        FORBIDDEN)

# ---- Request ids and forwarded fields ---------------------------------------------------------------------------------
table = Table("request ids")
for value in ("x", "a b", "~" * 128, "id-1, id-2", "<script>", "%0d%0aSet-Cookie: x", "é".encode().decode("latin-1")):
    kept = all(0x20 <= ord(character) < 0x7f for character in value)
    table.served(f"the request id {value[:24]!r}", request(b"GET", b"/healthz", b"X-Request-Id: " + value.encode("latin-1")),
        "spec, HTTP level", Answer(200, fields={"x-request-id": value} if kept else {}))
table.served("an empty request id is replaced", request(b"GET", b"/healthz", b"X-Request-Id:"), "spec, HTTP level", 200)
table.served("a request id of 129 characters is replaced", request(b"GET", b"/healthz", b"X-Request-Id: " + b"x" * 129),
    "spec, HTTP level", 200)
table.served("two request ids: the first counts", request(b"GET", b"/healthz", b"X-Request-Id: 1", b"X-Request-Id: 2"),
    "spec, HTTP level", Answer(200, fields={"x-request-id": "1"}))
table.row("a request id before a fault", request(b"GET", b"/healthz", b"X-Request-Id: 1", b"X : y"), Answer(400,
    fields={"x-request-id": "1"}), CLOSED, "spec: on every response")
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self), usb=(self)"}
table.served("security fields on success", request(), "spec, security headers", Answer(200, fields=HEADERS))
table.served("security fields on 404", request(b"GET", b"/x"), "spec, security headers", Answer(404,
    fields=HEADERS | {"cache-control": "no-store"}))
table.row("security fields on a parser's refusal", b"GET / HTTP/1.1\r\n\r\n", Answer(400,
    b'{"error":"bad_request","message":"Malformed request"}', HEADERS | {"cache-control": "no-store"}), CLOSED, "spec, security headers")
table = Table("forwarded fields")
SECURE, PLAIN = b"; Secure", b""
for value in (b"https", b"HTTPS, http", b"http"):
    table.served(f"X-Forwarded-Proto {value!r} is not believed", request(b"GET", b"/session", b"X-Forwarded-Proto: " + value),
        "spec, TRUST_PROXY=0", 200)
for name in (b"X-Forwarded-For: 192.0.2.9", b"Forwarded: for=192.0.2.9", b"X-Real-IP: 192.0.2.9", b"X-Forwarded-Host: b",
    b"X-Original-URL: /version", b"X-Rewrite-URL: /version", b"X-HTTP-Method-Override: POST", b"X-Method-Override: PUT"):
    table.served(f"{name.decode()} changes nothing", request(b"GET", b"/healthz", name), "spec, TRUST_PROXY: only two fields matter",
        Answer(200, b'{"ok":true}'))
