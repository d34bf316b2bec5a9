"""Requests that are strange in their head: request line, methods, targets, versions, Host, fields."""
from table import CLOSED, OPEN, Answer, Table, request

LINE = b"Host: a\r\n\r\n"


def get(*lines, **options):
    return request(b"GET", b"/healthz", *lines, **options)


# ---- Request line -----------------------------------------------------------------------------------------------------
table = Table("request line")
table.served("a plain request", get(), "RFC 9112 3")
table.served("an empty line before the request", b"\r\n" + get(), "RFC 9112 2.2")
table.refused("two empty lines before the request", b"\r\n\r\n" + get(), "RFC 9112 2.2: at least one; more is noise")
table.refused("a bare LF before the request", b"\n" + get(), "RFC 9112 2.2")
table.refused("a bare CR before the request", b"\r" + get(), "RFC 9112 2.2")
table.refused("a space before the method", b" " + get(), "RFC 9112 3")
table.refused("a tab before the method", b"\t" + get(), "RFC 9112 3")
table.refused("two spaces before the target", b"GET  /healthz HTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("two spaces before the version", b"GET /healthz  HTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("a space behind the version", b"GET /healthz HTTP/1.1 \r\n" + LINE, "RFC 9112 3")
table.refused("a tab behind the version", b"GET /healthz HTTP/1.1\t\r\n" + LINE, "RFC 9112 3")
table.refused("a tab between method and target", b"GET\t/healthz HTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("a tab between target and version", b"GET /healthz\tHTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("a vertical tab as separator", b"GET\x0b/healthz HTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("a form feed as separator", b"GET /healthz\x0cHTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("a no-break space as separator", b"GET\xa0/healthz HTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("a word too many", b"GET /healthz /x HTTP/1.1\r\n" + LINE, "RFC 9112 3.2")
table.refused("a target with a raw space that looks like a request", b"GET /healthz HTTP/1.1 GET /version HTTP/1.1\r\n" + LINE,
    "RFC 9112 3.2")
table.refused("no version, as in HTTP/0.9", b"GET /healthz\r\n" + LINE, "RFC 9112 2.3")
table.refused("only a method", b"GET\r\n" + LINE, "RFC 9112 3")
table.refused("a method and a space", b"GET \r\n" + LINE, "RFC 9112 3")
table.refused("no target", b"GET HTTP/1.1\r\n" + LINE, "RFC 9112 3")
table.refused("an empty target", b"GET  HTTP/1.1\r\n" + LINE, "RFC 9112 3.2")
table.refused("bare LF behind the request line", b"GET /healthz HTTP/1.1\n" + LINE, "RFC 9112 2.2")
table.refused("bare CR behind the request line", b"GET /healthz HTTP/1.1\r" + LINE, "RFC 9112 2.2")
table.refused("CR CR LF behind the request line", b"GET /healthz HTTP/1.1\r\r\n" + LINE, "RFC 9112 2.2")
table.refused("LF CR behind the request line", b"GET /healthz HTTP/1.1\n\r" + LINE, "RFC 9112 2.2")
table.refused("bare CR inside the target", b"GET /heal\rthz HTTP/1.1\r\n" + LINE, "RFC 9112 2.2")
table.refused("NUL inside the target", b"GET /heal\0thz HTTP/1.1\r\n" + LINE, "RFC 9112 2.2")
table.refused("NUL inside the method", b"G\0ET /healthz HTTP/1.1\r\n" + LINE, "RFC 9110 9.1")
table.refused("DEL inside the target", b"GET /heal\x7fthz HTTP/1.1\r\n" + LINE, "RFC 3986 2")
table.refused("escape inside the target", b"GET /\x1b[2J HTTP/1.1\r\n" + LINE, "RFC 3986 2")
table.refused("a TLS ClientHello", bytes.fromhex("16030100a5010000a10303") + bytes(160), "RFC 9112 3")
table.refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "RFC 9113 3.4", 505)
table.refused("a line of SMTP", b"EHLO mail.example\r\n", "RFC 9112 3")
table.refused("a response instead of a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "RFC 9112 2.1")

# ---- Methods ----------------------------------------------------------------------------------------------------------
table = Table("methods")
NOT_FOUND = Answer(404, b'{"error":"not_found","message":"Not found"}')
table.served("HEAD where GET is", request(b"HEAD"), "spec, routing rules", Answer(200, b"", {"content-length": "11"}))
for method in (b"POST", b"PUT", b"DELETE", b"PATCH"):
    table.served(f"{method.decode()} on a path of GET", request(method), "spec, routing rules: 404, not 405", NOT_FOUND)
for method in (b"GET", b"HEAD", b"PUT"):
    table.served(f"{method.decode()} on a path of POST", request(method, b"/udp-relay/token"), "spec, routing rules", 404)
table.served("OPTIONS on a path", request(b"OPTIONS"), "spec, endpoints", Answer(204, b"", {"content-length": None}))
table.served("OPTIONS on an unknown path", request(b"OPTIONS", b"/nothing"), "spec, endpoints", 204)
table.served("OPTIONS on the whole server", request(b"OPTIONS", b"*"), "RFC 9112 3.2.4", 204)
for method in (b"TRACE", b"TRACK", b"DEBUG"):
    table.refused(f"{method.decode()} is not served", request(method), "spec, routing rules; RFC 9110 9.3.8", 404)
table.refused("CONNECT is not served", request(b"CONNECT", b"a:80"), "RFC 9110 9.3.6", 404)
table.refused("CONNECT with a path", request(b"CONNECT", b"/"), "RFC 9110 9.3.6", 404)
for method in (b"get", b"Get", b"gET", b"post", b"Options"):
    table.refused(f"the method {method.decode()}: case matters", request(method), "RFC 9110 9.1")
for method in (b"PROPFIND", b"LINK", b"QUERY", b"X", b"GETT", b"GE", b"!#$%&'*+-.^_`|~"):
    table.refused(f"the unregistered method {method.decode()}", request(method), "RFC 9110 9.1; no such method is served here")
for method in (b"G(T", b"GET,", b'"GET"', b"GET:", b"G/T", b"G@T", b"G=T", b"{GET}", b"G\\T", b"G\xc3\x8bT", b"\xef\xbb\xbfGET"):
    table.refused(f"the method {method!r}, which is no token", request(method), "RFC 9110 5.6.2")
table.refused("a method of 32 letters", request(b"M" * 32), "RFC 9110 9.1")
table.refused("a method of 33 letters", request(b"M" * 33), "RFC 9110 9.1")
table.refused("an endless method", b"M" * 40_000, "RFC 9112 3")

# ---- Targets ----------------------------------------------------------------------------------------------------------
table = Table("targets")
table.served("absolute form", get().replace(b"/healthz", b"http://a/healthz"), "RFC 9112 3.2.2")
table.served("absolute form, scheme and host in capitals", get().replace(b"/healthz", b"HTTP://A/healthz"), "RFC 9110 4.2.3")
table.served("absolute form with https", get().replace(b"/healthz", b"https://a/healthz"), "RFC 9112 3.2.2")
table.served("absolute form without path", get().replace(b"/healthz", b"http://a"), "RFC 9112 3.2.2", 404)
table.served("absolute form with query and no path", get().replace(b"/healthz", b"http://a?x"), "RFC 9112 3.2.2", 404)
table.served("absolute form with the port of Host", request(b"GET", b"http://a:80/healthz", host=b"a:80"), "RFC 9112 3.2.2")
table.refused("absolute form that contradicts Host", get().replace(b"/healthz", b"http://b/healthz"), "RFC 9112 3.2.2: two readings")
table.refused("absolute form that contradicts Host by port", get().replace(b"/healthz", b"http://a:80/healthz"), "RFC 9112 3.2.2")
table.refused("absolute form without host", get().replace(b"/healthz", b"http:///healthz"), "RFC 9110 4.2.1")
table.refused("absolute form with one slash", get().replace(b"/healthz", b"http:/healthz"), "RFC 9112 3.2.2")
table.refused("absolute form with user information", get().replace(b"/healthz", b"http://u@a/healthz"), "RFC 9110 4.2.4")
table.refused("absolute form with another scheme", get().replace(b"/healthz", b"ftp://a/healthz"), "RFC 9112 3.2.2")
table.refused("absolute form with a WebSocket scheme", get().replace(b"/healthz", b"ws://a/healthz"), "RFC 9112 3.2.2")
table.refused("absolute form with a bad port", request(b"GET", b"http://a:99999/healthz", host=b"a:99999"), "RFC 9110 4.2.1")
table.refused("authority form with GET", get().replace(b"/healthz", b"a:80"), "RFC 9112 3.2.3", 404)
table.refused("asterisk form with GET", get().replace(b"/healthz", b"*"), "RFC 9112 3.2.4")
table.refused("asterisk form with POST", request(b"POST", b"*"), "RFC 9112 3.2.4")
table.refused("two asterisks", request(b"OPTIONS", b"**"), "RFC 9112 3.2.4")
table.refused("a target without slash", get().replace(b"/healthz", b"healthz"), "RFC 9112 3.2.1")
table.refused("a target that begins with a query", get().replace(b"/healthz", b"?x"), "RFC 9112 3.2.1")
table.refused("a target that begins with a dot", get().replace(b"/healthz", b"../healthz"), "RFC 9112 3.2.1")
table.refused("a target that begins with an escape", get().replace(b"/healthz", b"%2fhealthz"), "RFC 9112 3.2.1")
table.refused("a fragment", get().replace(b"/healthz", b"/healthz#x"), "RFC 9112 3.2.1")
table.refused("a fragment in the query", get().replace(b"/healthz", b"/healthz?a#x"), "RFC 9112 3.2.1")
table.refused("a raw byte above 0x7f in the path", get().replace(b"/healthz", b"/\xff"), "RFC 3986 2")
table.refused("raw UTF-8 in the path", get().replace(b"/healthz", "/é".encode()), "RFC 3986 2")
table.refused("raw UTF-8 in the query", get().replace(b"/healthz", "/healthz?é".encode()), "RFC 3986 2")
UNKNOWN = {
    "a trailing slash": b"/healthz/", "two leading slashes": b"//healthz", "a slash too many inside": b"/base//healthz",
    "other case": b"/Healthz",
    "all capitals": b"/HEALTHZ", "an escaped letter": b"/%68ealthz", "an escaped slash": b"/base%2fhealthz",
    "a dot segment": b"/./healthz",
    "two dot segments": b"/x/../healthz", "escaped dots": b"/%2e%2e/healthz", "mixed dots": b"/.%2e/healthz",
    "above the root": b"/../healthz",
    "a path parameter": b"/healthz;x", "a path parameter before a slash": b"/;/healthz", "an escaped NUL": b"/healthz%00",
    "an escaped query mark": b"/healthz%3fx",
    "an escaped line end": b"/healthz%0d%0aX:%20y", "a backslash": b"/\\healthz", "a backslash inside": b"/base\\healthz",
    "the root": b"/", "the base alone": b"/base",
    "the base and a slash": b"/base/", "the base in capitals": b"/BASE/healthz", "the base twice": b"/base/base/healthz",
    "the base run together": b"/basehealthz",
    "a path behind a probe": b"/healthz/x", "a path that begins like a probe": b"/healthzz", "a double escape": b"/%2568ealthz",
    "a stray percent": b"/%",
    "an over-long escape of a slash": b"/base%c0%afhealthz", "the label of OPTIONS": b"/*", "an empty segment with a parameter": b"/;x=y",
}
for name, target in UNKNOWN.items():
    table.served(f"path with {name} is unknown", request(b"GET", target), "spec, routing rules: exact match", NOT_FOUND)
for target in (b"/healthz?", b"/healthz??", b"/healthz?a=%zz", b"/healthz?/../version", b"/healthz?http://b/", b"/healthz?\"<>\\^`{|}",
    b"/healthz?%00", b"/base/healthz",
               b"/base/healthz?x=/base/version"):
    table.served(f"{target.decode()} is the probe", request(b"GET", target), "spec, routing rules: query ignored")
table.served("a target of 8192 characters", request(b"GET", b"/healthz?" + b"x" * (8192 - 9)), "spec, HTTP level")
LONG = b'{"error":"url_too_long","message":"Request URL too long"}'
table.refused("a target of 8193 characters", request(b"GET", b"/healthz?" + b"x" * (8193 - 9)), "spec, HTTP level", 414, LONG)
table.refused("a query of 9000 characters", request(b"GET", b"/healthz?" + b"x" * 9000), "spec, acceptance 1", 414, LONG)
table.refused("an absolute target of 9000 characters", request(b"GET", b"http://a/?" + b"x" * 8990), "spec, HTTP level", 414, LONG)
table.refused("an endless target", b"GET /" + b"x" * 40_000, "spec, HTTP level", 414, LONG)

# ---- Versions ---------------------------------------------------------------------------------------------------------
table = Table("versions")
table.row("HTTP/1.0 without Host", request(version=b"HTTP/1.0", host=None), Answer(200, fields={"connection": "close"}), CLOSED,
    "RFC 9112 9.3")
table.row("HTTP/1.0 with Host", request(version=b"HTTP/1.0"), 200, CLOSED, "RFC 9112 9.3")
table.served("HTTP/1.0 with keep-alive", get(b"Connection: keep-alive", version=b"HTTP/1.0"), "RFC 9112 9.3", Answer(200,
    fields={"connection": "keep-alive"}))
table.row("HTTP/1.0 with keep-alive and close", get(b"Connection: keep-alive, close", version=b"HTTP/1.0"), 200, CLOSED, "RFC 9112 9.3")
table.row("HTTP/1.0 with Connection: Keep-Alive-X", get(b"Connection: keep-alive-x", version=b"HTTP/1.0"), 200, CLOSED, "RFC 9112 9.3")
table.served("HTTP/1.1 with keep-alive", get(b"Connection: keep-alive"), "RFC 9112 9.3", Answer(200, fields={"connection": None}))
for version in (b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/0.0", b"HTTP/9.9"):
    table.refused(f"{version.decode()}", request(version=version), "RFC 9110 15.6.6", 505)
for version in (b"HTTP/1.10", b"HTTP/1.01", b"HTTP/01.1", b"HTTP/11", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/1,1", b"HTTP/+1.1",
    b"HTTP/-1.1", b"HTTP/1.1x", b"HTTP/1.x",
                b"HTTPS/1.1", b"http/1.1", b"Http/1.1", b"HTTP 1.1", b"HTTP\\1.1", b"HTTP/1.1;", b"HTTP/2", b"XTTP/1.1", b"ICY/1.1",
                b"RTSP/1.0", b"SIP/2.0"):
    table.refused(f"the version {version.decode()}", request(version=version), "RFC 9112 2.3")

# ---- Host -------------------------------------------------------------------------------------------------------------
table = Table("Host")
table.refused("no Host", request(host=None), "RFC 9112 3.2")
table.refused("an empty Host", request(host=b""), "RFC 9112 3.2")
table.refused("a blank Host", request(host=b"  \t "), "RFC 9112 3.2")
table.refused("two Hosts", get(b"Host: b"), "RFC 9112 3.2")
table.refused("two equal Hosts", get(b"Host: a"), "RFC 9112 3.2")
table.refused("two Hosts in different case", get(b"hOST: a"), "RFC 9112 3.2")
table.refused("a list of Hosts", request(host=b"a, b"), "RFC 9112 3.2")
table.refused("no Host under HTTP/1.0 with an absolute target", request(b"GET", b"http://a/healthz", version=b"HTTP/1.0", host=None),
    "RFC 9112 3.2.2")
for host in (b"a b", b"a/b", b"u@a", b"a?", b"a#", b"a\\b", b"a%41", b"a,b", b"a;b", b"a'b", b"a\"b", b"a<b", b"(a)", b"a*", b"a\tb",
    b"\xc3\xa9", b"a:", b"a:x", b"a:-1", b"a:65536", b"a:000080",
             b"a:80:80", b":80", b"[::1", b"::1", b"[]", b"[g::1]", b"[::1]x", b"[::1]:", b"[::1%25eth0]", b"http://a"):
    table.refused(f"the Host {host!r}", request(host=host), "RFC 9110 7.2; RFC 3986 3.2.2")
for host in (b"a", b"A.Example.", b"a:0", b"a:65535", b"127.0.0.1:8080", b"[::1]", b"[::1]:443", b"[::ffff:1.2.3.4]", b"a_b",
    b"xn--mnchen-3ya.de", b"a~b", b"-"):
    table.served(f"the Host {host.decode()}", request(host=host), "RFC 9110 7.2")
table.served("a Host of 4000 letters", request(host=b"a" * 4000), "RFC 9110 7.2")

# ---- Fields -----------------------------------------------------------------------------------------------------------
table = Table("field names")
for name in (b"X A", b" X", b"X ", b"X\t", b"\tX", b"X/Y", b"X(Y)", b'"X"', b"X,Y", b"X;Y", b"X<Y", b"X=Y", b"X?Y", b"X@Y", b"[X]",
    b"X\\Y", b"{X}", b"X\x01", b"X\0", b"X\x7f", b"X\xff", "Xé".encode()):
    table.refused(f"the field name {name!r}", get(name + b": y"), "RFC 9110 5.1; RFC 9112 5.1")
table.refused("an empty field name", get(b": y"), "RFC 9112 5")
table.refused("a field line without colon", get(b"nothing"), "RFC 9112 5")
table.refused("a folded line", get(b"X: a", b" b"), "RFC 9112 5.2")
table.refused("a line folded with a tab", get(b"X: a", b"\tb"), "RFC 9112 5.2")
table.refused("a folded line that hides a length", get(b"X: a", b" Content-Length: 5"), "RFC 9112 5.2")
table.refused("a folded first line", b"GET /healthz HTTP/1.1\r\n Host: a\r\n\r\n", "RFC 9112 2.2")
table.refused("a line of one space", get(b" "), "RFC 9112 5.2")
table.refused("a space before the colon of Content-Length", request(b"POST", b"/session", b"Content-Length : 5"), "RFC 9112 5.1")
table.refused("a tab before the colon of Transfer-Encoding", request(b"POST", b"/session", b"Transfer-Encoding\t: chunked"),
    "RFC 9112 5.1")
table.served("a name with every character a token may have", get(b"!#$%&'*+-.^`|~09azAZ: y"), "RFC 9110 5.6.2")
table.served("a name with an underscore is dropped", request(b"POST", b"/session", b"Content_Length: 5"),
    "ambiguous behind CGI: never taken for Content-Length", 201)
table.served("an underscore does not make a transfer coding", request(b"POST", b"/session", b"Transfer_Encoding: chunked"), "as above",
    201)
table.served("128 fields", get(*[b"X-%d: y" % number for number in range(127)]), "limit of the parser: 128")
table.refused("129 fields", get(*[b"X-%d: y" % number for number in range(128)]), "limit of the parser: 128; RFC 6585 5", 431)
table.refused("4000 short fields", get(*[b"X: y"] * 4000), "RFC 6585 5", 431)

table = Table("field values")
for number in [*range(0, 9), *range(11, 13), *range(14, 32), 127]:
    table.refused(f"a value with the control character {number:#04x}", get(b"X: a" + bytes([number]) + b"b"), "RFC 9110 5.5")
table.refused("a value with a bare CR", get(b"X: a\rb"), "RFC 9112 2.2")
table.refused("a value with a bare LF", get(b"X: a\nb: c"), "RFC 9112 2.2")
table.refused("a value that ends with a bare CR", get(b"X: a\r"), "RFC 9112 2.2")
table.refused("a bare LF that hides a length", request(b"POST", b"/session", b"X: a\nContent-Length: 5"), "RFC 9112 2.2")
table.refused("a bare CR that hides a coding", request(b"POST", b"/session", b"X: a\rTransfer-Encoding: chunked"), "RFC 9112 2.2")
table.refused("LF LF as the end of the head", b"GET /healthz HTTP/1.1\r\nHost: a\n\n", "RFC 9112 2.2")
table.refused("LF CR LF as the end of the head", b"GET /healthz HTTP/1.1\r\nHost: a\n\r\n", "RFC 9112 2.2")
table.refused("CR CR as the end of the head", b"GET /healthz HTTP/1.1\r\nHost: a\r\r", "RFC 9112 2.2")
table.served("a value with a tab inside", get(b"X: a\tb"), "RFC 9110 5.5")
table.served("a value with bytes above 0x7f", get(b"X: \xff\xfe\x80"), "RFC 9110 5.5")
table.served("an empty value", get(b"X:"), "RFC 9110 5.5")
table.served("a value of blanks", get(b"X: \t \t"), "RFC 9110 5.5")
table.served("blanks around a value", get(b"Connection:\t keep-alive \t"), "RFC 9112 5.1")
table.served("a colon in a value", get(b"X::: y"), "RFC 9112 5")
table.served("a field of 15 KiB", get(b"X: " + b"y" * 15_000), "spec, HTTP level: 16 KiB")
table.refused("a field of 17 KiB", get(b"X: " + b"y" * 17_000), "spec, HTTP level: 16 KiB", 431)
table.refused("two fields of 9 KiB", get(b"X: " + b"y" * 9000, b"Y: " + b"y" * 9000), "spec, HTTP level: 16 KiB", 431)
table.refused("a head without end", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000, "spec, HTTP level: 16 KiB", 431)
HEAD_ALONE = get(b"X: ")
table.served("a head of exactly 16384 bytes", get(b"X: " + b"y" * (16384 - len(HEAD_ALONE))), "spec, HTTP level: 16 KiB")
table.refused("a head of 16385 bytes", get(b"X: " + b"y" * (16385 - len(HEAD_ALONE))), "spec, HTTP level: 16 KiB", 431)
table.row("an unfinished field takes the next request line in", b"GET /healthz HTTP/1.1\r\nX: ", [], OPEN,
          "RFC 9112 5: one request in all")
