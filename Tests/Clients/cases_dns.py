"""DNS over HTTPS: items 6 and 7 of the acceptance checklist, and every row of the tables of the specification's section."""
import base64
import concurrent.futures
import json
import os
import shutil
import subprocess
import time

from harness import Skip, case, check, equal, eventually
from resolvers import Scripted, address, answer, certificate, dnsdist, free_port, query, question_end, record, unbound, wire_name
from secure import LOCAL, certificate as pair_of, request as secure_request, secure_server

MESSAGE = "application/dns-message"


class Asker:
    """A client with a session."""

    def __init__(self, server, base=""):
        self.server, self.base = server, base
        self.cookie = server.session()

    def post(self, message, kind=MESSAGE, cookie=True, headers=()):
        fields = [("Content-Type", kind)] if kind else []
        if cookie:
            fields.append(("Cookie", self.cookie))
        return self.server.request("POST", self.base + "/dns-query", fields + list(headers), message)

    def get(self, text, method="GET"):
        return self.server.request(method, self.base + "/dns-query" + text, [("Cookie", self.cookie)])

    def ask(self, message):
        response, body = self.post(message)
        equal((response.status, response.getheader("Content-Type"), response.getheader("Cache-Control")), (200, MESSAGE, "no-store"),
              "an answer")
        return body

    def document(self, name="a.example.test", kind="A", raw=None):
        target = raw if raw is not None else f"?name={name}&type={kind}"
        response, body = self.server.request("GET", self.base + "/dns-json" + target, [("Cookie", self.cookie)])
        return response, json.loads(body)


def encode(message):
    return base64.urlsafe_b64encode(message).rstrip(b"=").decode()


def error(code, identifier=0, flags=0, question=b""):
    bits = 0x8080 | flags & 0x7910 | code
    return identifier.to_bytes(2, "big") + bits.to_bytes(2, "big") + bytes([0, 1 if question else 0]) + bytes(6) + question


def resolver(context, upstreams="", **environment):
    environment.setdefault("DNS_QPS_PER_IP", "0")
    return context.server(DNS_UPSTREAMS=upstreams, **environment)


def metric(server, name, **labels):
    """Sum of the samples of a family that carry these labels."""
    total = 0.0
    for line in server.request("GET", "/metrics")[1].decode().splitlines():
        head, _, value = line.rpartition(" ")
        if head.split("{")[0] == name and all(f'{label}="{text}"' in head for label, text in labels.items()):
            total += float(value)
    return total


@case("dns-table-of-dns-query")
def table(context):
    server = resolver(context, PUBLIC_BASE_URL="http://localhost/p", DNS_MAX_QUERY_BYTES=512)
    for base in ("", "/p"):
        asker = Asker(server, base)
        good = query("Example.COM", identifier=0x4321, flags=0x0110)
        asked = wire_name("example.com") + b"\0\1\0\1"
        for cookie in ("", "aero_session=no", "aero_session=; " + asker.cookie):
            response, body = server.request("POST", base + "/dns-query", [("Cookie", cookie), ("Content-Type", MESSAGE)], good)
            equal((response.status, json.loads(body), response.getheader("Cache-Control")),
                  (401, {"error": "unauthorized", "message": "Missing or invalid session"}, "no-store"), f"cookie {cookie[:20]!r}")
        equal(asker.ask(good), error(2, 0x4321, 0x0110, asked), "no upstreams: SERVFAIL with the question")
        # ANY and private reverse names.
        refused = query("example.com", 255, 7, 0x0110)
        equal(asker.ask(refused), error(5, 7, 0x0110, wire_name("example.com") + b"\0\xff\0\1"), "ANY")
        equal(asker.ask(query("1.0.0.10.in-addr.arpa", 12))[3] & 15, 5, "a private reverse name")
        equal(asker.ask(query("8.8.8.8.in-addr.arpa", 12))[3] & 15, 2, "a public reverse name")
        rows = [
            (asker.get(""), 400, error(1)), (asker.get("?dns="), 400, error(1)), (asker.get("?x=1"), 400, error(1)),
            (asker.get("?dns=" + encode(good) + "&dns=" + encode(good)), 400, error(1)), (asker.get("?dns=a$b"), 400, error(1)),
            (asker.get("?dns=" + encode(good) + "="), 400, error(1)), (asker.get("?dns=AAAAA"), 400, error(1)),
            (asker.get("?dns=AAA"), 400, error(1)), (asker.get("?dns=" + encode(good[:11])), 400, error(1, 0x4321, 0x0110)),
            (asker.post(good, "text/plain"), 415, error(1)), (asker.post(good, None), 415, error(1)),
            (asker.post(good, "application/json"), 415, error(1)), (asker.post(good, MESSAGE + ";" + "a" * 256), 415, error(1)),
            (asker.post(b""), 400, error(1)), (asker.post(b"\x12\x34"), 400, error(1, 0x1234)),
            (asker.post(query("a", counts=(2, 0, 0, 0))), 400, error(1, 0x1234, 0x0100)),
            (asker.post(query("a", counts=(0, 0, 0, 0))), 400, error(1, 0x1234, 0x0100)),
            (asker.post(good[:-1]), 400, error(1, 0x4321, 0x0110)),
            (asker.post(good[:12] + b"\xc0\x0c\0\1\0\1"), 400, error(1, 0x4321, 0x0110)),
        ]
        for size in (513, 514, 515, 600):
            rows.append((asker.get("?dns=" + encode(good + bytes(size - len(good)))), 413, error(1, 0x4321, 0x0110)))
            rows.append((asker.post(good + bytes(size - len(good))), 413, error(1, 0x4321, 0x0110)))
        rows.append((asker.get("?dns=" + "$" * 700), 413, error(1)))
        for number, ((response, body), status, expected) in enumerate(rows):
            equal((response.status, response.getheader("Content-Type"), response.getheader("Cache-Control"), body),
                  (status, MESSAGE, "no-store", expected), f"row {number}")
        response, body = asker.get("?dns=" + encode(good + bytes(512 - len(good))))
        equal((response.status, body[3] & 15), (200, 2), "a query of exactly the limit")
        # Accepted spellings: parameters, case, unused bits of the last character, percent-encoding.
        equal(asker.post(good, " Application/DNS-Message ; charset=x")[0].status, 200, "media type with a parameter")
        loose = encode(query("ab"))
        check(len(loose) % 4, "the test's query has unused bits", loose)
        loose = loose[:-1] + chr(ord(loose[-1]) + 1)
        equal(asker.get("?dns=" + loose)[0].status, 200, "unused bits that are set")
        equal(asker.get("?x=1&d%6Es=%" + f"{ord(encode(good)[0]):02x}" + encode(good)[1:])[0].status, 200, "an escaped parameter")
        head, body = asker.get("?dns=" + encode(good), "HEAD")
        equal((head.status, head.getheader("Content-Length"), body), (200, str(12 + len(asked)), b""), "HEAD")
        for method, path in (("PUT", "/dns-query"), ("POST", "/dns-json"), ("DELETE", "/dns-query")):
            equal(server.request(method, base + path, [("Cookie", asker.cookie)])[0].status, 404, f"{method} {path}")
    equal(metric(server, "dns_queries_total", qtype="ANY", rcode="REFUSED", source="policy"), 2, "policy is counted")
    check(metric(server, "http_requests_total", route="/p/dns-query", status_code="413") >= 9, "requests are counted by route")


@case("dns-limits")
def limits(context):
    server = resolver(context, RATE_LIMIT_REQUESTS_PER_MINUTE=2, ALLOWED_ORIGINS="https://app.test")
    asker = Asker(server)
    asker.ask(query("a.test"))
    for send in (lambda: asker.post(query("a.test"), headers=[("Origin", "https://app.test")]), lambda: asker.get("?dns=AA")):
        response, body = send()
        equal((response.status, response.getheader("Content-Type"), body), (429, MESSAGE, error(2)), "the request limiter")
    response, _ = asker.post(query("a.test"), cookie=False, headers=[("Origin", "https://app.test")])
    equal((response.status, response.getheader("Access-Control-Allow-Origin")), (429, "https://app.test"), "before the session, with CORS")
    equal(asker.post(query("a.test"), headers=[("Origin", "https://evil.test")])[0].status, 403, "a strange origin")
    server = resolver(context, DNS_QPS_PER_IP="0.01", DNS_BURST_PER_IP="3")
    asker = Asker(server)
    equal(asker.ask(query("a.test"))[3] & 15, 2, "the first")
    equal(asker.document()[0].status, 502, "the second")
    equal(asker.get("")[0].status, 400, "the third; what is malformed counts too")
    response, body = asker.post(query("a.test"))
    equal((response.status, response.getheader("Cache-Control"), body), (429, "no-store", error(2)), "the fourth")
    response, document = asker.document()
    equal((response.status, document), (429, {"error": "too_many_requests", "message": "Rate limit exceeded"}), "both share a bucket")
    equal(server.request("GET", "/dns-json?name=a&type=A")[0].status, 401, "the session comes first")
    server = resolver(context, DNS_QPS_PER_IP="0.01", DNS_BURST_PER_IP="1", TRUST_PROXY="1")
    asker = Asker(server)
    for client, status in (("192.0.2.1", 200), ("192.0.2.1", 429), ("192.0.2.2, 192.0.2.1", 200)):
        equal(asker.post(query("a.test"), headers=[("X-Forwarded-For", client)])[0].status, status, f"client {client}")


@case("dns-cache")
def cache(context):
    upstream = Scripted(context, lambda message, how: answer(message, flags=0x8183) if b"\4none" in message else
                        answer(message, flags=0x8182) if b"\4fail" in message else
                        answer(message, record(1, 0, b"\1\2\3\4")) if b"\4zero" in message else address(message, seconds=40))
    server = resolver(context, upstream.entry, DNS_CACHE_NEGATIVE_TTL_SECONDS=1)
    asker = Asker(server)
    began = time.monotonic()
    first = asker.ask(query("a.example.test", identifier=0x1111))
    equal(first[:2], b"\x11\x11", "the caller's id")
    # New connections, which any shard may serve.
    for number in range(16):
        second = asker.ask(query("a.example.test", identifier=0x2200 + number))
        equal(second[:2], (0x2200 + number).to_bytes(2, "big"), "the caller's id from the cache")
        if time.monotonic() - began < 0.9:
            equal(second[2:], first[2:], "a hit within the second, byte for byte")
    equal(upstream.count(), 1, "queries that went upstream")
    spelt = asker.ask(query("A.Example.TEST", flags=0x0110))
    equal(spelt[12:28], wire_name("A.Example.TEST"), "the caller's spelling")
    equal((spelt[2] & 1, spelt[3] & 0x10), (1, 0x10), "the caller's RD and CD")
    equal(asker.ask(query("a.example.test", flags=0))[2] & 1, 0, "the caller's RD")
    equal(upstream.count(), 1, "spelling and bits do not matter")
    response, document = asker.document()
    equal((response.status, document["Answer"][0]["data"], upstream.count()), (200, "192.0.2.1", 1), "/dns-json shares the cache")
    time.sleep(max(0, began + 2.1 - time.monotonic()))
    old = asker.ask(query("a.example.test"))
    seconds = int.from_bytes(old[38:42], "big")
    check(36 <= seconds <= 38, "the TTL falls", seconds)
    for name, count in (("none", 1), ("fail", 2), ("zero", 2)):
        for _ in range(2):
            asker.ask(query(name + ".test"))
        equal(sum(1 for _, message in upstream.asked if name.encode() in message), count, f"queries upstream for {name}")
    time.sleep(1.1)
    asker.ask(query("none.test"))
    equal(sum(1 for _, message in upstream.asked if b"none" in message), 2, "a negative answer is forgotten in time")
    # What asks for more than the cached answer holds goes upstream: EDNS, DO.
    for extra in (b"\0\0\x29\4\xd0\0\0\0\0\0\0", b"\0\0\x29\4\xd0\0\0\x80\0\0\0"):
        before = upstream.count()
        asker.ask(query("a.example.test", counts=(1, 0, 0, 1), extra=extra))
        asker.ask(query("a.example.test", counts=(1, 0, 0, 1), extra=extra))
        equal(upstream.count(), before + 1, "EDNS has answers of its own")
    check(metric(server, "dns_cache_hits_total", qtype="A") >= 20, "hits are counted")
    check(metric(server, "dns_cache_misses_total", qtype="A") >= 6, "misses are counted")
    small = resolver(context, upstream.entry, DNS_CACHE_MAX_ENTRIES=2)
    asker, before = Asker(small), upstream.count()
    for name in "x", "y", "x", "z", "x", "y":
        asker.ask(query(name))
    equal(upstream.count() - before, 4, "the least recently used of two entries goes")
    off = resolver(context, upstream.entry, DNS_CACHE_MAX_ENTRIES=0)
    asker, before = Asker(off), upstream.count()
    for _ in range(3):
        asker.ask(query("x"))
    equal(upstream.count() - before, 3, "no cache")


@case("dns-cache-longest")
def longest(context):
    """No answer is kept beyond the configured time, whatever its TTL; 0 keeps none."""
    upstream = Scripted(context, lambda message, how: address(message, seconds=300))
    for seconds, pause, expected in ((1, 0, 1), (1, 1.3, 2), (0, 0, 2)):
        asker, before = Asker(resolver(context, upstream.entry, DNS_CACHE_MAX_TTL_SECONDS=seconds)), upstream.count()
        asker.ask(query("a.example.test"))
        time.sleep(pause)
        asker.ask(query("a.example.test"))
        equal(upstream.count() - before, expected, f"questions with a longest time of {seconds} s and {pause} s between")


@case("dns-upstream-udp")
def datagrams(context):
    def reply(message, how):
        good = address(message)
        if b"\5spoof" in message:
            identifier = int.from_bytes(message[:2], "big")
            other = wire_name("other.test") + message[-4:]
            return [address(message, "6.6.6.6")[:5], b"", answer(message, record(1, 9, b"\6\6\6\6"), identifier=identifier ^ 1),
                    answer(message, record(1, 9, b"\6\6\6\6"), question=other), message, good]
        if b"\3big" in message:
            records = [record(1, 60, bytes([10, 0, number, 1])) for number in range(100)]
            return answer(message, flags=0x8380) if how == "udp" else answer(message, *records)
        if b"\4huge" in message:
            return answer(message, flags=0x8380) if how == "udp" else answer(message, *[record(16, 60, bytes(255))] * 20)
        if b"\3bad" in message:
            return good[:-3]
        if b"\5mixed" in message:
            return answer(message, record(1, 60, b"\1\2\3\4"), question=message[12:22].swapcase() + message[22:])
        return good
    upstream = Scripted(context, reply)
    server = resolver(context, upstream.entry, DNS_UPSTREAM_TIMEOUT_MS=1500)
    asker = Asker(server)
    for number in range(20):
        asker.ask(query(f"n{number}.test", identifier=5))
    identifiers = {message[:2] for _, message in upstream.asked}
    check(len(identifiers) > 15, "identifiers are fresh", len(identifiers))
    check(len(set(upstream.ports)) > 15, "so are ports", len(set(upstream.ports)))
    spoofed = asker.ask(query("spoof.test"))
    equal(spoofed[-4:], b"\xc0\0\2\1", "wrong ids and questions are ignored")
    equal(metric(server, "sluice_dns_foreign_answers_total"), 4, "and counted; an empty datagram is nothing")
    big = asker.ask(query("big.test"))
    equal((int.from_bytes(big[6:8], "big"), big[2] & 2, upstream.count("tcp")), (100, 0, 1), "a truncated answer is fetched over TCP")
    asker.ask(query("big.test"))
    equal(upstream.count("tcp"), 1, "and kept")
    equal(asker.ask(query("huge.test"))[3] & 15, 2, "an answer above DNS_MAX_RESPONSE_BYTES")
    equal(asker.ask(query("bad.test"))[3] & 15, 2, "an answer that cannot be read")
    check(metric(server, "dns_upstream_errors_total", upstream=upstream.entry, kind="udp") == 2, "errors are counted")
    check(metric(server, "dns_upstream_latency_seconds_count", upstream=upstream.entry, kind="udp") >= 24, "attempts are timed")


@case("dns-upstream-order")
def order(context):
    silent = Scripted(context, lambda message, how: None)
    live = Scripted(context)
    dead = f"127.0.0.1:{free_port()}"
    server = resolver(context, f"{dead},{silent.entry},{live.entry}", DNS_UPSTREAM_TIMEOUT_MS=300)
    asker = Asker(server)
    began = time.monotonic()
    equal(asker.ask(query("a.test"))[-4:], b"\xc0\0\2\1", "dead, silent, then live")
    check(0.25 < time.monotonic() - began < 2, "one timeout was waited for", time.monotonic() - began)
    for entry, errors in ((dead, 1), (silent.entry, 1), (live.entry, 0)):
        equal(metric(server, "dns_upstream_errors_total", upstream=entry), errors, f"errors of {entry}")
    only = resolver(context, f"{dead},{silent.entry}", DNS_UPSTREAM_TIMEOUT_MS=100)
    asker = Asker(only)
    equal(asker.ask(query("a.test", identifier=3))[:4], b"\0\3\x81\x82", "all failed: SERVFAIL")
    response, document = asker.document("a.test")
    equal((response.status, document), (502, {"error": "bad_gateway", "message": "DNS resolution failed"}), "all failed, as JSON")
    equal(metric(only, "dns_queries_total", source="error", rcode="SERVFAIL"), 1, "counted for /dns-query only")
    # Names of upstreams come from the hosts file, on the shard's own resolver.
    named = resolver(context, f"localhost:{live.port}")
    equal(Asker(named).ask(query("b.test"))[-4:], b"\xc0\0\2\1", "an upstream with a name")
    unknown = resolver(context, f"no-such-host.invalid,{live.entry}", DNS_UPSTREAM_TIMEOUT_MS=500)
    equal(Asker(unknown).ask(query("c.test"))[-4:], b"\xc0\0\2\1", "a name nobody knows, then a live one")


@case("dns-coalescing")
def coalescing(context):
    upstream = Scripted(context, lambda message, how: (time.sleep(0.5), address(message))[1])
    server = resolver(context, upstream.entry, DNS_CACHE_MAX_ENTRIES=0)
    (context.folder / "one.yaml").write_text("shards: 1\n")
    one = context.server(["--config", str(context.folder / "one.yaml")], DNS_UPSTREAMS=upstream.entry, DNS_QPS_PER_IP="0",
                         DNS_CACHE_MAX_ENTRIES=0)
    asker = Asker(one)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda number: asker.ask(query("same.test", identifier=number)), range(40)))
        equal([body[:2] for body in answers], [number.to_bytes(2, "big") for number in range(40)], "each its own id")
        equal((upstream.count(), {body[2:] for body in answers} == {answers[0][2:]}), (1, True), "one query upstream for 40 clients")
        equal(metric(one, "sluice_dns_coalesced_total"), 39, "coalesced")
        before = upstream.count()
        list(pool.map(lambda number: asker.ask(query(f"n{number}.test")), range(20)))
        equal(upstream.count() - before, 20, "different questions are different queries")
    # A client that leaves does not take the others' answer with it.
    leaver = server.connect()
    cookie = server.session()
    body = query("left.test")
    request = (b"POST /dns-query HTTP/1.1\r\nHost: a\r\nContent-Type: application/dns-message\r\n"
               b"Cookie: %s\r\nContent-Length: %d\r\n\r\n%s")
    leaver.sendall(request % (cookie.encode(), len(body), body))
    time.sleep(0.1)
    leaver.close()
    equal(Asker(server).ask(query("left.test"))[3] & 15, 0, "the one who stays is answered")
    # Requests behind one that waits are answered in order.
    peer = server.connect()
    bodies = [query(f"p{n}.test", identifier=n) for n in range(3)]
    peer.sendall(b"".join(request % (cookie.encode(), len(body), body) for body in bodies) +
                 b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    received = b""
    while piece := peer.recv(65536):
        received += piece
    equal([received.count(b"HTTP/1.1 200"), received.index(b"\0\0\x81\x80") < received.index(b"\0\1\x81\x80") < received.index(b"\0\2\x81\x80"),
           received.endswith(b'{"ok":true}')], [4, True, True], "pipelined answers")


@case("dns-upstream-doh")
def doh(context):
    def reply(message, how):
        good = address(message)
        if b"\4type" in message:
            return 200, "text/plain", good
        if b"\6status" in message:
            return 404, MESSAGE, good
        if b"\7chunked" in message:
            return 200, MESSAGE, [good[:5], good[5:]]
        if b"\4huge" in message:
            return answer(message, *[record(16, 60, bytes(255))] * 20)
        if b"\5wrong" in message:
            return answer(message, record(1, 60, b"\6\6\6\6"), question=wire_name("x.test") + b"\0\1\0\1")
        return good
    upstream = Scripted(context, reply)
    server = resolver(context, upstream.url)
    asker = Asker(server)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = asker.post(query("a.test", identifier=0x7777), headers=[("traceparent", trace), ("tracestate", "a=1"), ("tracestate", "b@c=2,d=3")])[1]
    equal((body[:2], body[-4:]), (b"\x77\x77", b"\xc0\0\2\1"), "an answer over DoH")
    equal(upstream.asked[0][1][:2], b"\0\0", "the id upstream")
    fields = {name.lower(): value for name, value in upstream.requests[0].items()}
    equal((fields["content-type"], fields["accept"], fields["traceparent"], fields["host"]),
          (MESSAGE, MESSAGE, trace, upstream.url.split("/")[2]), "the request upstream")
    equal(fields["tracestate"], "a=1,b@c=2,d=3", "the state of the trace, lines joined")
    zeros = "00-" + "0" * 32 + "-00f067aa0ba902b7-01"
    asker.post(query("zeros.test"), headers=[("traceparent", zeros), ("tracestate", "a=1")])
    asker.post(query("long.test"), headers=[("traceparent", trace), ("tracestate", "a=" + "x" * 511)])
    passed = [{name.lower() for name in request.keys()} & {"traceparent", "tracestate"} for request in upstream.requests[1:3]]
    equal(passed, [set(), {"traceparent"}], "what is no trace, and what is too long a state, stays here")
    for number in range(20):
        asker.ask(query(f"n{number}.test"))
    check(upstream.connections <= os.cpu_count(), "connections are reused", upstream.connections)
    check(metric(server, "sluice_dns_doh_reused_total") >= 21 - os.cpu_count(), "reuse is counted")
    equal(asker.ask(query("chunked.test"))[-4:], b"\xc0\0\2\1", "a chunked answer")
    for name in ("type", "status", "huge", "wrong"):
        equal(asker.ask(query(name + ".test"))[3] & 15, 2, f"an upstream that answers with a wrong {name}")
    equal(metric(server, "dns_upstream_errors_total", upstream=upstream.url, kind="doh"), 4, "errors are counted")
    # An upstream that closes after each answer, and more queries than connections.
    closing = Scripted(context, lambda message, how: (time.sleep(0.05), address(message))[1], keep_alive=False)
    asker = Asker(resolver(context, closing.url))
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda number: asker.ask(query(f"n{number}.test"))[-4:], range(120)))
    equal(set(answers), {b"\xc0\0\2\1"}, "120 queries over at most 16 connections a shard")
    # The upstream goes away while connections are idle: the next query finds a new one, or fails in time.
    upstream.web.shutdown()
    upstream.web.server_close()
    server = resolver(context, f"{upstream.url},{closing.entry}", DNS_UPSTREAM_TIMEOUT_MS=500)
    equal(Asker(server).ask(query("later.test"))[-4:], b"\xc0\0\2\1", "a dead DoH upstream, then a live one over UDP")


@case("dns-upstream-doh-tls")
def secure(context):
    good, other = certificate(context.folder, "127.0.0.1"), certificate(context.folder, "elsewhere.test")
    right, wrong = Scripted(context, certificate=good), Scripted(context, certificate=other)
    bundle = context.folder / "authorities.pem"
    bundle.write_bytes(good[0].read_bytes() + other[0].read_bytes())
    configuration = context.folder / "trust.yaml"
    configuration.write_text(f"dns: {{ upstream_ca: {bundle} }}\n")
    server = context.server(["--config", str(configuration)], DNS_UPSTREAMS=right.url, DNS_QPS_PER_IP="0")
    asker = Asker(server)
    for number in range(20):
        equal(asker.ask(query(f"n{number}.test"))[-4:], b"\xc0\0\2\1", "an answer over TLS")
    check(right.count() == 20 and metric(server, "sluice_dns_doh_connections_total") <= os.cpu_count(), "connections are reused")
    server = context.server(["--config", str(configuration)], DNS_UPSTREAMS=wrong.url, DNS_QPS_PER_IP="0")
    equal(Asker(server).ask(query("a.test"))[3] & 15, 2, "a certificate for somebody else")
    server = resolver(context, right.url)
    equal(Asker(server).ask(query("a.test"))[3] & 15, 2, "a certificate nobody vouches for")
    equal((right.count(), wrong.count()), (20, 0), "no question was sent to those")


@case("dns-json")
def documents(context):
    def reply(message, how):
        if b"\5alias" in message:
            return answer(message, record(5, 30, b"\1T\4Test\0"), record(16, 5, b"\1x"), record(1, 90, b"\xc0\0\2\x09", b"\1t\4test\0"))
        if b"\3six" in message:
            return answer(message, record(28, 1, bytes.fromhex("20010000000000010000000000010001")))
        if b"\4none" in message:
            return answer(message, flags=0x8183)
        return address(message)
    upstream = Scripted(context, reply)
    asker = Asker(resolver(context, upstream.entry, DNS_MAX_QUERY_BYTES=64))
    response, document = asker.document("+A.Example.Test..%20", "a")
    equal(response.getheader("Content-Type"), "application/dns-json; charset=utf-8", "Content-Type")
    equal(response.getheader("Cache-Control"), "no-store", "Cache-Control")
    equal(document, {"Status": 0, "TC": False, "RD": True, "RA": True, "AD": False, "CD": False,
                     "Question": [{"name": "a.example.test", "type": 1}],
                     "Answer": [{"name": "a.example.test", "type": 1, "TTL": 300, "data": "192.0.2.1"}]}, "an address")
    equal(upstream.asked[0][1][2:], query("a.example.test")[2:], "the query upstream")
    equal(asker.document("alias.test", "5")[1]["Answer"], [
        {"name": "alias.test", "type": 5, "TTL": 30, "data": "t.test"}, {"name": "t.test", "type": 1, "TTL": 90, "data": "192.0.2.9"}],
        "alias and address; other records are left out")
    equal(asker.document("six.test", "aaaa")[1]["Answer"][0]["data"], "2001::1:0:0:1:1", "IPv6")
    document = asker.document("none.test", "28")[1]
    equal((document["Status"], "Answer" in document), (3, False), "no such name")
    name, kind, size = "Missing 'name' query parameter", "Missing 'type' query parameter", "DNS query too large"
    for raw, status, identifier, message in (
            ("", 400, "bad_request", name), ("?name=&type=A", 400, "bad_request", name), ("?name=+..&type=A", 400, "bad_request", name),
            ("?name=a", 400, "bad_request", kind), ("?name=a&type=", 400, "bad_request", kind),
            ("?name=a&type=MX", 400, "bad_request", "Invalid DNS record type"),
            ("?name=a&type=2", 400, "bad_request", "Invalid DNS record type"),
            ("?name=" + "a" * 64 + "&type=A", 400, "bad_request", None), ("?name=a..b&type=A", 400, "bad_request", None),
            ("?name=a&name=b&type=A", 400, "bad_request", None), ("?name=" + "abcdefg." * 7 + "&type=A", 413, "payload_too_large", size)):
        response, document = asker.document(raw=raw)
        found = document["message"] if message else None
        equal((response.status, document["error"], found), (status, identifier, message), f"/dns-json{raw[:30]}")
    response, body = asker.server.request("GET", "/dns-json?name=a&type=A")
    equal((response.status, json.loads(body)["message"], response.getheader("Cache-Control")),
          (401, "Missing or invalid session", "no-store"), "no session")


@case("dns-real-resolvers")
def real(context):
    port = unbound(context)
    url = dnsdist(context, port)
    for entry in (f"127.0.0.1:{port}", url):
        asker = Asker(resolver(context, entry))
        response, document = asker.document("a.example.test", "A")
        check("Answer" in document, f"an address through {entry}", response.status, document)
        equal(document["Answer"][0]["data"], "192.0.2.1", f"an address through {entry}")
        equal(asker.document("six.example.test", "AAAA")[1]["Answer"][0]["data"], "2001:db8::1", f"IPv6 through {entry}")
        equal(asker.document("nothing.example.test", "A")[1]["Status"], 3, f"no such name through {entry}")
        many = asker.ask(query("many.example.test"))
        equal(int.from_bytes(many[6:8], "big"), 199, f"an answer that no datagram holds, through {entry}")
        equal(metric(asker.server, "dns_upstream_errors_total"), 0, f"errors of {entry}")


@case("dns-curl")
def curl(context):
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    upstream = Scripted(context)
    server = resolver(context, upstream.entry)
    cookie = server.session()
    message = context.folder / "query.bin"
    message.write_bytes(query("a.example.test", identifier=0xBEEF))
    for arguments in (["--data-binary", f"@{message}", "-H", "Content-Type: application/dns-message"],
                      ["--get", "--data", "dns=" + encode(message.read_bytes())]):
        done = subprocess.run(["curl", "-sS", "--max-time", "10", "-w", "%{http_code} %{content_type}", "-H", "Cookie: " + cookie, "-o",
                               str(context.folder / "answer.bin"), *arguments, f"http://127.0.0.1:{server.port}/dns-query"],
                              capture_output=True)
        body = (context.folder / "answer.bin").read_bytes()
        equal((done.stdout, body[:2], body[-4:]), (b"200 application/dns-message", b"\xbe\xef", b"\xc0\0\2\1"), "curl " + arguments[0])


# curl's own look-ups carry no cookie: the edge in front of the gateway adds the session's, as one that vouches for its clients would.
EDGE = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
    location / {{
      proxy_pass https://127.0.0.1:{gateway}; proxy_http_version 1.1; proxy_set_header Cookie "{cookie}";
      proxy_ssl_trusted_certificate {chain}; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
    }}
  }}
}}
"""


@case("dns-curl-doh")
def curl_resolving(context):
    """curl as a resolver's client: it looks the host of its own request up through the gateway, over TLS."""
    nginx = shutil.which("nginx")
    if not shutil.which("curl") or not nginx:
        raise Skip("curl or nginx is not installed")
    upstream = Scripted(context, lambda message, how: address(message, "127.0.0.1") if message[-3] == 1 else answer(message))
    pair = pair_of(context.folder, "edge", LOCAL)
    server = secure_server(context, pair, DNS_UPSTREAMS=upstream.entry, DNS_QPS_PER_IP="0")
    target = f"http://looked-up.example.test:{upstream.web.server_port}/"

    def look_up(port, *arguments):
        done = subprocess.run(["curl", "-sS", "--max-time", "10", "--doh-url", f"https://127.0.0.1:{port}/dns-query", *arguments, "-o",
                               "/dev/null", "-w", "%{remote_ip}", target], capture_output=True, text=True)
        return done.returncode, done.stdout

    equal(look_up(server.port, "--doh-insecure"), (6, ""), "without a session nothing is resolved")
    eventually(lambda: len([line for line in server.log_path.read_text().splitlines() if "/dns-query" in line and '"status":401' in line]) == 2,
               "curl asked for A and AAAA: 401")
    check(look_up(server.port)[0] != 0, "nor from a server whose certificate nobody vouches for")
    port, configuration = free_port(), context.folder / "nginx.conf"
    cookie = secure_request(server, "POST", "/session")[0].getheader("Set-Cookie").split(";")[0]
    configuration.write_text(EDGE.format(
        folder=context.folder, port=port, gateway=server.port, cookie=cookie, chain=pair[0], key=pair[1]))
    context.process([nginx, "-p", context.folder, "-c", configuration, "-e", context.folder / "nginx-error.log"])
    eventually(lambda: look_up(port, "--doh-insecure") == (0, "127.0.0.1"), "the gateway resolves what curl asks")
    equal(look_up(port, "--cacert", str(pair[0])), (0, "127.0.0.1"), "with the certificate's authority")
    asked = {message[12:question_end(message) - 4] for _, message in upstream.asked}
    equal(asked, {wire_name("looked-up.example.test")}, "what was asked")


@case("dns-dnspython")
def dnspython(context):
    try:
        import dns.message
        import httpx
    except ImportError:
        raise Skip("the Python packages dnspython and httpx are not installed") from None
    port = unbound(context)
    server = resolver(context, f"127.0.0.1:{port}")
    with httpx.Client(headers={"Cookie": server.session()}) as client:
        for post in (True, False):
            for name, kind, expected in (("a", "A", "192.0.2.1"), ("six", "AAAA", "2001:db8::1"), ("mail", "MX", "10 a.example.test.")):
                asked = dns.message.make_query(f"{name}.example.test", kind, use_edns=0)
                wire = asked.to_wire()
                url = f"http://127.0.0.1:{server.port}/dns-query"
                if post:
                    response = client.post(url, content=wire, headers={"Content-Type": MESSAGE})
                else:
                    response = client.get(url, params={"dns": encode(wire)})
                found = dns.message.from_wire(response.content)
                equal([item.to_text() for item in found.answer[0]], [expected], f"{kind} of {name}")
                check(asked.is_response(found), "it is the response to the query")


@case("dns-log")
def log(context):
    upstream = Scripted(context)
    server = resolver(context, upstream.entry)
    asker = Asker(server)
    for _ in range(2):
        asker.post(query("Logged.example.test"), headers=[("X-Request-Id", "the-request")])

    def found():
        return [item for item in server.records() if item.get("msg") == "dns" and item.get("reqId") == "the-request"]
    eventually(lambda: len(found()) == 2, "two records")
    # Two shards may have written them.
    equal(sorted((item["qname"], item["qtype"], item["rcode"], item["cacheHit"]) for item in found()),
          [("logged.example.test", "A", "NOERROR", False), ("logged.example.test", "A", "NOERROR", True)], "what is recorded")
    requests = [item for item in server.records() if item.get("msg") == "request" and item.get("reqId") == "the-request"]
    equal([item["status"] for item in requests], [200, 200], "the access log knows both, the late one too")
    check(all(asker.cookie.split("=")[1] not in json.dumps(item) for item in server.records()), "no cookie in the log")
