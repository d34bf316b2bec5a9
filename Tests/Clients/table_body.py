"""Requests that are strange in how their body is delimited: lengths, codings, chunks; and what follows them."""
from table import CANARY, CLOSED, OPEN, TAKEN, Answer, Table, request

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
JSON = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"


def post(*lines, body=b"", **options):
    return request(b"POST", b"/session", *lines, body=body, **options)


def chunks(body, *lines, **options):
    return post(JSON, CHUNKED, *lines, body=body, **options)


# ---- Content-Length ---------------------------------------------------------------------------------------------------
table = Table("Content-Length")
table.served("a length of 0", post(b"Content-Length: 0"), "RFC 9110 8.6", 201)
table.served("a length that is right", post(JSON, b"Content-Length: 2", body=b"{}"), "RFC 9112 6.2", 201)
table.served("a body that looks like a request", post(b"Content-Type: text/plain", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
             "RFC 9112 6.2", Answer(400, b"Request body must be a JSON object"))
table.served("a body on GET is read and ignored", request(b"GET", b"/healthz", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    "RFC 9110 9.3.1")
table.served("a body on HEAD is read and ignored", request(b"HEAD", b"/healthz", b"Content-Length: 5", body=b"GET /"), "RFC 9110 9.3.2",
    200)
table.served("a body on OPTIONS is read and ignored", request(b"OPTIONS", b"*", b"Content-Length: 5", body=b"GET /"), "RFC 9110 9.3.7",
    204)
table.served("a body on an unknown path is read and ignored", request(b"POST", b"/x", b"Content-Length: 5", body=b"GET /"),
    "RFC 9112 6.2", 404)
table.row("a length that takes the next request in", post(JSON, b"Content-Length: %d" % (len(CANARY) + 1)), [], TAKEN,
    "RFC 9112 6.2: the body is not complete")
table.served("a length that is the next request", post(b"Content-Type: text/plain", b"Content-Length: %d" % len(CANARY), body=CANARY),
    "RFC 9112 6.2", 400)
for value in (b"", b" ", b"+0", b"-0", b"+5", b"-1", b"00", b"05", b"0x5", b"5h", b"5 5", b"5,5", b"0, 5", b"0,0", b"5;", b"5.0",
    b"5e0", b"1_0", b'"5"', b"'5'", b"five", b"\xd9\xa5",
              "５".encode(), b"\xb2", b"5\x0b", b"9223372036854775808", b"18446744073709551616", b"18446744073709551621",
              b"99999999999999999999999", b"0" * 40, b"NaN", b"5\t5"):
    table.refused(f"the length {value!r}", post(b"Content-Length: " + value, body=SMUGGLED), "RFC 9112 6.3; RFC 9110 8.6")
table.refused("two different lengths", post(b"Content-Length: 0", b"Content-Length: 5", body=SMUGGLED), "RFC 9112 6.3")
table.refused("two equal lengths", post(b"Content-Length: 5", b"Content-Length: 5", body=b"12345"),
    "RFC 9112 6.3: refused although it may be repaired")
table.refused("a length twice, in other case", post(b"content-length: 5", b"CONTENT-LENGTH: 0", body=b"12345"), "RFC 9112 6.3")
table.refused("a length folded", post(b"Content-Length:", b" 5", body=b"12345"), "RFC 9112 5.2")
TOO_LARGE = b'{"error":"payload_too_large","message":"Request body too large"}'
table.refused("a length of 1 MiB and a byte", post(JSON, b"Content-Length: 1048577"), "spec, HTTP level", 413, TOO_LARGE)
table.refused("a length of 2^63 - 1", post(JSON, b"Content-Length: 9223372036854775807"), "spec, HTTP level", 413, TOO_LARGE)
table.refused("a length of 2^32", post(JSON, b"Content-Length: 4294967296"), "spec, HTTP level: no 32-bit wrap", 413, TOO_LARGE)
table.refused("a length of 2^32 on a path without body", request(b"GET", b"/healthz", b"Content-Length: 4294967296"),
    "spec, HTTP level", 413, TOO_LARGE)
table.served("a body of exactly 1 MiB", post(JSON, b"Content-Length: 1048576", body=b"{" + b" " * 1048574 + b"}"), "spec, HTTP level",
    201)

# ---- Transfer-Encoding ------------------------------------------------------------------------------------------------
table = Table("Transfer-Encoding")
table.served("chunked", chunks(b"2\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1", 201)
table.served("chunked in capitals", post(JSON, b"Transfer-Encoding: CHUNKED", body=b"2\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7", 201)
table.served("chunked with blanks around it", post(JSON, b"Transfer-Encoding: \t chunked \t", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "RFC 9112 5.1", 201)
table.served("the field name in other case", post(JSON, b"tRANSFER-eNCODING: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"), "RFC 9110 5.1", 201)
for value in (b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, identity", b"chunked, chunked", b"chunked,",
    b",chunked", b", chunked", b"chunked;q=1", b"chunked ;", b'"chunked"',
              b"'chunked'", b"xchunked", b"chunkedx", b"chunke", b"chunked chunked", b"chun\tked", b"cow", b"", b" ", b"x, chunked",
              b"\xffchunked", b"chunked\xa0", b"ch\xc3\xbcnked", b"*"):
    table.refused(f"the coding {value!r}", post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n" + SMUGGLED),
        "RFC 9112 6.1: only chunked is served", 501)
for value in (b"\x0bchunked", b"\x0cchunked", b"chunked\x00", b"\x01chunked", b"chun\rked", b"chunked\r"):
    table.refused(f"the coding {value!r} with a control", post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n" + SMUGGLED),
        "RFC 9110 5.5")
table.refused("chunked folded", post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"), "RFC 9112 5.2")
table.refused("two codings in two fields", post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), "RFC 9112 6.1", 501)
table.refused("chunked in two fields", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), "RFC 9112 6.1", 501)
for name, lines in {"length before coding": (b"Content-Length: 4", CHUNKED), "coding before length": (CHUNKED, b"Content-Length: 4"),
                    "length 0 and coding": (b"Content-Length: 0", CHUNKED), "length and identity": (b"Content-Length: 4",
                        b"Transfer-Encoding: identity"),
                    "length and an unknown coding": (b"Content-Length: 4", b"Transfer-Encoding: cow"),
                    "length and an empty coding": (b"Content-Length: 4", b"Transfer-Encoding:"),
                    "lengths around a coding": (b"Content-Length: 4", CHUNKED, b"Content-Length: 4")}.items():
    table.refused(name, post(*lines, body=b"0\r\n\r\n" + SMUGGLED), "RFC 9112 6.1, 11.2")
table.refused("chunked under HTTP/1.0", post(CHUNKED, body=b"0\r\n\r\n", version=b"HTTP/1.0"), "RFC 9112 6.1")
table.refused("chunked and keep-alive under HTTP/1.0", post(CHUNKED, b"Connection: keep-alive", body=b"0\r\n\r\n", version=b"HTTP/1.0"),
    "RFC 9112 6.1")
table.served("chunked on GET is read and ignored", request(b"GET", b"/healthz", CHUNKED, body=b"3\r\nGET\r\n0\r\n\r\n"), "RFC 9110 9.3.1")
table.served("TE and Trailer mean nothing here", request(b"GET", b"/healthz", b"TE: trailers, chunked", b"Trailer: Content-Length"),
    "RFC 9110 10.1.4")
table.served("Content-Encoding is no transfer coding", request(b"GET", b"/healthz", b"Content-Encoding: chunked"), "RFC 9110 8.4")
table.served("Transfer-Coding is another field", request(b"GET", b"/healthz", b"Transfer-Coding: chunked"), "RFC 9112 6.1")

# ---- Chunks -----------------------------------------------------------------------------------------------------------
table = Table("chunks")
table.served("many small chunks", chunks(b"1\r\n{\r\n1\r\n \r\n1\r\n}\r\n0\r\n\r\n"), "RFC 9112 7.1", 201)
table.served("a size in capitals", chunks(b"A\r\n{        }\r\n0\r\n\r\n"), "RFC 9112 7.1", 201)
table.served("a size with leading zeros", chunks(b"0000000000000002\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1: 16 digits at most", 201)
table.served("a last chunk of several zeros", chunks(b"2\r\n{}\r\n000\r\n\r\n"), "RFC 9112 7.1", 201)
table.served("an extension", chunks(b"2;a=b\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1.1: ignored", 201)
table.served("a quoted extension", chunks(b"2;a=\"b;c\"\r\n{}\r\n0;x\r\n\r\n"), "RFC 9112 7.1.1", 201)
table.served("256 bytes of extension", chunks(b"2;" + b"x" * 255 + b"\r\n{}\r\n0\r\n\r\n"), "limit of the decoder: 256", 201)
table.served("an extension that looks like a chunk", chunks(b"2;0\t0\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1.1", 201)
table.served("a trailer", chunks(b"2\r\n{}\r\n0\r\nX: y\r\nZ:\r\n\r\n"), "RFC 9112 7.1.2: dropped", 201)
table.served("a trailer that would be a length", chunks(b"2\r\n{}\r\n0\r\nContent-Length: 99\r\n\r\n"), "RFC 9110 6.5.1: dropped", 201)
table.served("a trailer that would be a cookie", chunks(b"2\r\n{}\r\n0\r\nOrigin: https://evil.example\r\n\r\n"),
    "RFC 9110 6.5.1: dropped", 201)
table.served("a chunk that looks like the end", chunks(b"7\r\n\"0\\r\\n\"\r\n0\r\n\r\n"), "RFC 9112 7.1", 400)
table.row("no end", chunks(b"2\r\n{}\r\n"), Answer(400), CLOSED, "the canary is no chunk size")
table.row("a chunk that takes the next request in", chunks(b"fff\r\n"), [], TAKEN, "RFC 9112 8: an incomplete body is no request")
for size in (b"", b" ", b"2 ", b" 2", b"\t2", b"2\t", b"2 ;x", b"+2", b"-2", b"0x2", b"2h", b"g", b"2,", b"2_", b"2.0", "２".encode(),
    b"\xff", b"00000000000000002", b"ffffffffffffffff", b"8000000000000000",
             b"10000000000000002", b"fffffffffffffffffe", b"'2'", b'"2"', b"2\0"):
    table.refused(f"the chunk size {size!r}", chunks(size + b"\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1")
table.refused("a size line ended by LF", chunks(b"2\n{}\r\n0\r\n\r\n"), "RFC 9112 2.2, 7.1")
table.refused("a size line ended by CR", chunks(b"2\r{}\r\n0\r\n\r\n"), "RFC 9112 7.1")
table.refused("a size line ended by CR CR LF", chunks(b"2\r\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1")
table.refused("a chunk ended by LF", chunks(b"2\r\n{}\n0\r\n\r\n"), "RFC 9112 7.1")
table.refused("a chunk ended by CR", chunks(b"2\r\n{}\r0\r\n\r\n"), "RFC 9112 7.1")
table.refused("a chunk longer than its size", chunks(b"1\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1")
table.refused("a chunk shorter than its size", chunks(b"5\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1")
table.refused("a last chunk with data", chunks(b"2\r\n{}\r\n0\r\n{}\r\n\r\n"), "RFC 9112 7.1")
table.refused("an end of LF LF", chunks(b"2\r\n{}\r\n0\n\n"), "RFC 9112 7.1")
table.refused("an end of CR LF LF", chunks(b"2\r\n{}\r\n0\r\n\n"), "RFC 9112 7.1")
table.refused("a bare CR in an extension", chunks(b"2;a\rb\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1.1")
table.refused("a bare LF in an extension", chunks(b"2;a\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1.1: the reading of other servers")
table.refused("NUL in an extension", chunks(b"2;\0\r\n{}\r\n0\r\n\r\n"), "RFC 9112 7.1.1")
table.refused("257 bytes of extension", chunks(b"2;" + b"x" * 256 + b"\r\n{}\r\n0\r\n\r\n"), "limit of the decoder: 256")
table.refused("256 bytes of extensions over many chunks", chunks(b"1;xxxxxxxxx\r\n \r\n" * 30 + b"0\r\n\r\n"),
    "limit of the decoder: 256 a body")
table.refused("a folded trailer", chunks(b"2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n"), "RFC 9112 5.2")
table.refused("a trailer without colon", chunks(b"2\r\n{}\r\n0\r\nX\r\n\r\n"), "RFC 9112 7.1.2")
table.refused("a trailer with a space before the colon", chunks(b"2\r\n{}\r\n0\r\nX : y\r\n\r\n"), "RFC 9112 5.1")
table.refused("a trailer ended by LF", chunks(b"2\r\n{}\r\n0\r\nX: y\n\r\n"), "RFC 9112 2.2")
table.refused("NUL in a trailer", chunks(b"2\r\n{}\r\n0\r\nX: \0\r\n\r\n"), "RFC 9110 5.5")
table.refused("trailers of 9 KiB", chunks(b"2\r\n{}\r\n0\r\n" + b"X: yyyyyyyyyyyy\r\n" * 530 + b"\r\n"), "limit of the decoder: 8192",
    431)
table.refused("a chunk of 1 MiB and a byte", chunks(b"100001\r\n"), "spec, HTTP level: refused at its size", 413, TOO_LARGE)
table.refused("a chunk of 2^63 - 1", chunks(b"7fffffffffffffff\r\n"), "spec, HTTP level", 413, TOO_LARGE)
table.refused("chunks of more than 1 MiB", chunks((b"10000\r\n" + b" " * 65536 + b"\r\n") * 17 + b"0\r\n\r\n"), "spec, HTTP level", 413,
    TOO_LARGE)
table.served("chunks of exactly 1 MiB", chunks(b"1\r\n{\r\nffffe\r\n" + b" " * 0xffffe + b"\r\n1\r\n}\r\n0\r\n\r\n"),
    "spec, HTTP level", 201)

# ---- What follows a request -------------------------------------------------------------------------------------------
table = Table("pipelines")
probe = request(b"GET", b"/healthz")
table.served("ten requests at once", probe * 10, "RFC 9112 9.3.2", *[200] * 10)
table.served("different requests keep their order", probe + request(b"GET", b"/x") + post() + request(b"HEAD") + request(b"OPTIONS",
    b"*"), "RFC 9112 9.3.2",
             200, 404, 201, 200, 204)
table.row("nothing behind close", request(b"GET", b"/healthz", b"Connection: close") + probe, 200, CLOSED, "RFC 9112 9.6")
table.row("close among other options", request(b"GET", b"/healthz", b"Connection: x, CLOSE, y"), 200, CLOSED, "RFC 9112 9.6")
table.row("close in a second Connection field", request(b"GET", b"/healthz", b"Connection: keep-alive", b"Connection: close"), 200,
    CLOSED, "RFC 9110 7.6.1")
table.served("closed is not close", request(b"GET", b"/healthz", b"Connection: closed, clos"), "RFC 9110 7.6.1")
table.served("Connection may name any field", request(b"GET", b"/healthz", b"Connection: host, content-length, x"),
    "RFC 9110 7.6.1: this is no proxy")
table.served("Proxy-Connection means nothing", request(b"GET", b"/healthz", b"Proxy-Connection: close"), "RFC 9112 C.2.2")
table.served("Keep-Alive means nothing", request(b"GET", b"/healthz", b"Keep-Alive: timeout=0, max=0"), "RFC 9112 C.2.2")
table.row("a refused request behind a good one", probe + b"GET /\0 HTTP/1.1\r\n" + SMUGGLED, [200, 400], CLOSED, "RFC 9112 9.3.2")
table.row("a refused body behind a good one", probe + chunks(b"z\r\n" + SMUGGLED), [200, 400], CLOSED, "RFC 9112 9.3.2")
table.row("a head too large behind a good one", probe + b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 17_000, [200, 431], CLOSED,
    "spec, HTTP level")
table.served("CRLF behind a body", post(JSON, b"Content-Length: 2", body=b"{}\r\n"), "RFC 9112 2.2: one empty line is forgiven", 201)
table.row("more CRLF behind a body", post(JSON, b"Content-Length: 2", body=b"{}\r\n\r\n"), [201, 400], CLOSED,
    "RFC 9112 2.2: two are not")
table.row("bytes behind a body", post(JSON, b"Content-Length: 2", body=b"{}x"), [201, 400], CLOSED, "xGET is no method")
table.row("bytes behind chunks", chunks(b"2\r\n{}\r\n0\r\n\r\nx"), [201, 400], CLOSED, "xGET is no method")
table.row("CL.TE in front of a request", post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\nG"), 400, CLOSED, "RFC 9112 11.2")
table.row("TE.CL in front of a request", post(b"Content-Length: 4", CHUNKED, body=b"23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"), 400, CLOSED,
    "RFC 9112 11.2")
table.row("TE.TE in front of a request", post(CHUNKED, b"Transfer-encoding: cow", body=b"0\r\n\r\nG"), 501, CLOSED, "RFC 9112 11.2")
table.row("CL.0: a body on a path that takes none", request(b"POST", b"/healthz", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED),
    404, OPEN, "RFC 9112 6.2: always read")

# ---- Expect -----------------------------------------------------------------------------------------------------------
table = Table("Expect")
table.served("100-continue with a body", post(JSON, b"Content-Length: 2", b"Expect: 100-continue", body=b"{}"), "RFC 9110 10.1.1", 100,
    201)
table.served("100-continue in capitals", post(JSON, b"Content-Length: 2", b"Expect: 100-CONTINUE", body=b"{}"), "RFC 9110 10.1.1", 100,
    201)
table.served("100-continue with chunks", chunks(b"2\r\n{}\r\n0\r\n\r\n", b"Expect: 100-continue"), "RFC 9110 10.1.1", 100, 201)
table.served("100-continue without body", request(b"GET", b"/healthz", b"Expect: 100-continue"), "RFC 9110 10.1.1: no interim answer")
table.served("100-continue with length 0", post(b"Content-Length: 0", b"Expect: 100-continue"), "RFC 9110 10.1.1", 201)
table.row("100-continue under HTTP/1.0", post(JSON, b"Content-Length: 2", b"Expect: 100-continue", body=b"{}", version=b"HTTP/1.0"),
    201, CLOSED, "RFC 9110 10.1.1: ignored")
table.refused("100-continue with too large a body", post(b"Content-Length: 1048577", b"Expect: 100-continue"),
    "RFC 9110 10.1.1: no 100 first", 413)
table.refused("100-continue and two readings", post(b"Content-Length: 4", CHUNKED, b"Expect: 100-continue"), "RFC 9112 6.1")
for value in (b"", b"200-ok", b"100-continue, 100-continue", b"100", b"100-continue;x", b"x"):
    table.refused(f"the expectation {value!r}", post(b"Content-Length: 0", b"Expect: " + value), "RFC 9110 10.1.1", 417)
table.refused("a second, unknown expectation", post(b"Content-Length: 0", b"Expect: 100-continue", b"Expect: x"), "RFC 9110 10.1.1", 417)

# ---- The body of POST /session ----------------------------------------------------------------------------------------
table = Table("POST /session")
OBJECT, MEDIA = b"Request body must be a JSON object", b'{"error":"unsupported_media_type","message":"Unsupported media type"}'


def typed(content, body, *lines):
    return post(*([b"Content-Type: " + content] if content is not None else []), b"Content-Length: %d" % len(body), *lines, body=body)


for body in (b"{}", b" {} ", b'{"origin":"x","clientVersion":"1"}', b'{"a":{"a":{"a":[]}}}', b'{"a":1,"a":2}',
    '{"é":"\\u00e9"}'.encode()):
    table.served(f"the object {body!r}", typed(b"application/json", body), "spec, POST /session", 201)
for content in (b"application/json; charset=utf-8", b"Application/JSON", b"application/json ;x"):
    table.served(f"the media type {content!r}", typed(content, b"{}"), "spec, POST /session", 201)
for body in (b"null", b"[]", b'"s"', b"1", b"1.5e3", b"true", b"false"):
    table.served(f"the JSON value {body!r}", typed(b"application/json", body), "spec, POST /session", Answer(400, OBJECT))
for body in (b"", b"{", b"}", b"{} {}", b"{a:1}", b"{'a':1}", b'{"a":1,}', b'{"a":01}', b'{"a":"\\x"}', b'{"a":"\n"}',
    b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b"{}\0", b'{"a":NaN}', b"// {}",
             b'{"a":"\\ud800"', b"[" * 5000, b'{"a":' * 2000):
    table.served(f"the text {body[:16]!r}, {len(body)} bytes, is no JSON", typed(b"application/json", body), "spec, POST /session",
        Answer(400, b'"bad_request"'))
for content, body in ((b"text/plain", b"{}"), (b"text/plain; charset=utf-8", b"hello")):
    table.served(f"{content!r} with a body", typed(content, body), "spec, POST /session", Answer(400, OBJECT))
for content in (b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"application/octet-stream",
    b"application/json5", b"application/jsonx", b"text/json", b"json", b"*/*", b"", b";"):
    table.served(f"the media type {content!r} with a body", typed(content, b"{}"), "spec, POST /session", Answer(415, MEDIA))
table.served("a body without media type", typed(None, b"{}"), "spec, POST /session", Answer(415, MEDIA))
table.served("a media type without body", post(b"Content-Type: application/octet-stream"), "spec, POST /session: no body", 201)
table.served("JSON without body", post(JSON), "spec, POST /session", 400)
table.refused("two media types", post(JSON, b"Content-Type: text/plain", b"Content-Length: 2", body=b"{}"), "RFC 9110 8.3: two readings")
