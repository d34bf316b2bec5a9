"""The table of requests through real proxies: what nginx and HAProxy forward is understood by the gateway as they meant it.

Theory of operation
  goal     no desync: an answer of the gateway always belongs to the request the proxy thinks it belongs to
  marks    the proxy gives each request it forwards an id of its own, sends it as X-Request-Id and writes it into the answer as
           X-Sent; the gateway echoes X-Request-Id. Where the two differ, one answered another's request
  poison   the proxy keeps its connections to the gateway: behind each row a plain request on a new client connection shows that
           none of them was left with bytes of the row in it
  lenient  a proxy may refuse or repair what the gateway alone would refuse. That is its business; agreement is ours
"""
import shutil
import socket
import subprocess

import table_body  # noqa: F401  (fills the table)
import table_head  # noqa: F401
from harness import Failure, Skip, case, check, equal, eventually
from table import CLOSED, TAKEN, Table, request

# How long a proxy may wait for the rest of a row it finds incomplete.
PATIENCE_SECONDS = 2
CLOSING = request(b"GET", b"/version", b"Connection: close")
LISTED_FAILURES = 20
# What the parser answers: the only answers that may carry an id of the gateway's own.
UNREAD = (400, 408, 413, 414, 417, 431, 501, 505)

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log; worker_processes 1;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 8m; large_client_header_buffers 8 64k; client_body_timeout 1s; client_header_timeout 1s; keepalive_timeout 1s;
  underscores_in_headers on; ignore_invalid_headers off; lingering_close off;
  upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffer_size 64k;
      proxy_buffers 8 64k; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Request-Id $request_id;
      add_header X-Sent $request_id always; add_header X-Upstream $upstream_status always; add_header X-Method $request_method always;
    }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 500
  tune.bufsize 65536
defaults
  mode http
  timeout connect 5s
  timeout client 1s
  timeout server 5s
  timeout http-request 1s
  http-reuse always
frontend entrance
  bind 127.0.0.1:{port}
  option accept-invalid-http-request
  http-request set-var(txn.id) uuid()
  http-request set-var(txn.method) method
  http-request set-header X-Request-Id %[var(txn.id)]
  http-response set-header X-Sent %[var(txn.id)]
  http-response set-header X-Method %[var(txn.method)]
  default_backend gateway
backend gateway
  option accept-invalid-http-response
  server one 127.0.0.1:{gateway} pool-max-conn 1
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(context, name, text, arguments, gateway):
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if not program:
        raise Skip(f"{name} is not installed")
    port, path = free_port(), context.folder / f"{name}.conf"
    path.write_text(text.format(folder=context.folder, port=port, gateway=gateway))
    with open(context.folder / f"{name}.out", "wb") as out:
        process = context.process([program, *arguments(path)], stdout=out, stderr=subprocess.STDOUT)

    def answers():
        check(process.poll() is None, f"{name} starts", (context.folder / f"{name}.out").read_text()[-500:])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    eventually(answers, f"{name} starts", 10)
    return port


def exchange(port, data):
    """Everything a proxy answers, and whether it ended the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as connection:
        try:
            connection.sendall(data)
        except OSError:
            pass
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionError):
            pass
    return received


def forwarded(received):
    """The answers that came from the gateway: (status, X-Sent, X-Request-Id). What a proxy says itself has no X-Sent."""
    found, rest = [], received
    while rest.startswith(b"HTTP/1."):
        head, separator, rest = rest.partition(b"\r\n\r\n")
        if not separator:
            break
        status = int(head.split(b" ", 2)[1])
        fields = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        if status == 100:
            continue
        if status not in (204, 304) and fields.get(b"x-method") != b"HEAD":
            if b"content-length" not in fields:
                break
            rest = rest[int(fields[b"content-length"]):]
        if fields.get(b"x-sent") and fields.get(b"x-upstream", b"200") not in (b"", b"-"):
            found.append((status, fields[b"x-sent"], fields.get(b"x-request-id")))
    return found


def compare(context, name, port):
    rows = [row for row in Table.rows if row.server == "plain" and row.end != TAKEN and not row.group.startswith(("request ids",))]
    failures, passed_on, seen = [], 0, set()

    def judge(label, answers, refusal=None):
        for status, sent, echoed in answers:
            # A request that could not be read may have no id to echo; its answer ends the connection to the proxy.
            if echoed != sent and status not in (*UNREAD, refusal):
                failures.append(f"{label}: answer {status} for request {sent} carries {echoed}")
            if sent in seen:
                failures.append(f"{label}: two answers for request {sent}")
            seen.add(sent)
    for row in rows:
        answers = forwarded(exchange(port, row.data + CLOSING))
        passed_on += len(answers)
        # A method that is never served is refused at the request line, before any id was read.
        judge(f"{row.group}: {row.name}", answers, row.answers[-1].status if row.end == CLOSED and row.answers else None)
        after = forwarded(exchange(port, CLOSING))
        equal([status for status, *_ in after], [200], f"{name}: the plain request behind `{row.group}: {row.name}`")
        judge(f"behind {row.group}: {row.name}", after)
    if failures:
        raise Failure(f"{name}: {len(failures)} answers in the wrong place:\n" + "\n".join(failures[:LISTED_FAILURES]))
    check(passed_on > len(rows) // 2, f"{name} forwards most of the rows", passed_on)
    context.note(f"{name}: {len(rows)} rows, {passed_on} of their requests forwarded, each answer with the id of its own request")


@case("proxy-haproxy")
def haproxy(context):
    server = context.server(PUBLIC_BASE_URL="http://gateway.example/base", ALLOWED_ORIGINS="https://app.example")
    compare(context, "haproxy", start(context, "haproxy", HAPROXY, lambda path: ["-db", "-f", path], server.port))
    check(server.process.poll() is None, "the gateway runs on")


@case("proxy-nginx")
def nginx(context):
    server = context.server(PUBLIC_BASE_URL="http://gateway.example/base", ALLOWED_ORIGINS="https://app.example")
    arguments = lambda path: ["-p", context.folder, "-c", path]  # noqa: E731
    compare(context, "nginx", start(context, "nginx", NGINX, arguments, server.port))
    check(server.process.poll() is None, "the gateway runs on")
